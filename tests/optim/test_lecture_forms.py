"""The forms that torch does not have: ε inside RMSprop's root, Adam without the first correction."""

import numpy as np
import pytest
import torch
from torch import nn

import oracles
from optim.cases import IS_TORCH, assert_native, each_dtype, randn, random_params, subject, suited

if IS_TORCH:
    pytest.skip("torch has no such options", allow_module_level=True)

FORMS = {
    "rmsprop": ("RMSprop", dict(eps_inside_sqrt=True, lr=0.01, eps=1e-2)),
    "rmsprop-all": (
        "RMSprop",
        dict(
            eps_inside_sqrt=True, lr=0.01, eps=1e-2, centered=True, momentum=0.9, weight_decay=0.1
        ),
    ),
    "adam": ("Adam", dict(bias_correction="second", lr=0.01)),
    "adam-amsgrad": (
        "Adam",
        dict(bias_correction="second", lr=0.01, amsgrad=True, weight_decay=0.1),
    ),
    "adamw": ("AdamW", dict(bias_correction="second", lr=0.01)),
}
PLAIN = {"RMSprop": {"eps_inside_sqrt": False}, "Adam": {"bias_correction": "both"}}
each_form = pytest.mark.parametrize(("name", "kwargs"), FORMS.values(), ids=FORMS)


def run(name, kwargs, dtype=torch.float64, steps=5):
    torch.manual_seed(0)
    p = nn.Parameter(randn(50, 3, dtype=dtype))
    start = p.detach().double().numpy().copy()
    optimizer = subject(name)([p], **kwargs)
    state, exact = {}, start
    for step in range(1, steps + 1):
        p.grad = randn(50, 3, dtype=dtype)
        optimizer.step()
        exact = oracles.RULES[name](exact, p.grad.double().numpy(), state, step, **kwargs)
    assert_native(optimizer, 1)
    return p.detach().double().numpy(), exact


@each_dtype
@each_form
def test_it_is_the_lectures_formula(name, kwargs, dtype):
    actual, exact = run(name, suited(name, kwargs, dtype), dtype)
    tolerance = {torch.float64: 1e-13, torch.float32: 2e-6}.get(dtype, 10 * torch.finfo(dtype).eps)
    np.testing.assert_allclose(actual, exact, rtol=tolerance, atol=tolerance)


@each_form
def test_it_is_not_torchs_formula(name, kwargs):
    plain = {k: v for k, v in kwargs.items() if k not in ("eps_inside_sqrt", "bias_correction")}
    assert np.abs(run(name, kwargs)[0] - run(name, plain)[0]).max() > 1e-3


@pytest.mark.parametrize("name", ["RMSprop", "Adam", "AdamW"])
def test_groups_may_choose_their_form(name):
    option = next(iter(PLAIN["Adam" if name == "AdamW" else name]))
    forms = (False, True) if option == "eps_inside_sqrt" else ("both", "second")
    a, b = (nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = subject(name)([{"params": [a]}, {"params": [b], option: forms[1]}], lr=0.1)
    chosen = [group.get(option, forms[0]) for group in optimizer.param_groups]
    assert chosen == list(forms)
    a.grad = b.grad = torch.full((3,), 1e-3)
    optimizer.step()
    assert not torch.equal(a, b)
    optimizer.param_groups[1][option] = forms[0]
    assert optimizer.param_groups[0].get(option, forms[0]) == forms[0]


@each_form
def test_what_only_torch_could_step_is_an_error_that_changes_nothing(name, kwargs):
    class Labelled(nn.Parameter):
        pass

    params = [nn.Parameter(torch.ones(3)), Labelled(torch.ones(3))]
    for p in params:
        p.grad = torch.ones(3)
    optimizer = subject(name)(params, **kwargs)
    option = "eps_inside_sqrt" if name == "RMSprop" else "bias_correction"
    with pytest.raises(RuntimeError, match=option):
        optimizer.step()
    optimizer.backend = "torch"
    with pytest.raises(RuntimeError, match="torch"):
        optimizer.step()
    assert all((p == 1).all() for p in params)
    params[1].grad = None
    optimizer.backend = "auto"
    optimizer.step()
    assert_native(optimizer, 1)


@pytest.mark.parametrize(
    ("name", "option", "wrong"),
    [
        ("RMSprop", "eps_inside_sqrt", "yes"),
        ("RMSprop", "eps_inside_sqrt", None),
        ("Adam", "bias_correction", "first"),
        ("Adam", "bias_correction", True),
        ("AdamW", "bias_correction", None),
    ],
)
def test_other_values_are_refused_by_name(name, option, wrong):
    with pytest.raises(ValueError, match=f"{option}: got {wrong!r}"):
        subject(name)(random_params(), **{option: wrong})


@pytest.mark.parametrize(
    ("name", "option", "wrong"),
    [("RMSprop", "eps_inside_sqrt", "yes"), ("Adam", "bias_correction", "first")],
)
def test_other_values_in_a_group_are_refused_before_anything_changes(name, option, wrong):
    params = random_params()
    before = [p.detach().clone() for p in params]
    with pytest.raises((ValueError, TypeError), match=option):  # noqa: PT012 - either is early enough
        optimizer = subject(name)([{"params": params, option: wrong}])
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert all(map(torch.equal, params, before))


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
@pytest.mark.parametrize("option", ["eps_inside_sqrt", "bias_correction"])
def test_classes_without_the_option_refuse_it(name, option):
    with pytest.raises(TypeError, match=option):
        subject(name)(random_params(), **{option: True})
