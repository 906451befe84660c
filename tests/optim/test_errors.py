"""Wrong arguments: the message names the argument, what it got and what it takes."""

import numpy as np
import pytest
import torch
from torch import nn

from optim.cases import (
    FULL,
    IS_TORCH,
    NAMES,
    assert_native,
    each_name,
    ours_only,
    random_params,
    reference,
    subject,
)

WRONG = {
    "lr": dict(lr=-1.0),
    "weight_decay": dict(weight_decay=-0.1),
    "eps": dict(eps=-1e-8),
    "momentum": dict(momentum=-0.5),
    "alpha": dict(alpha=-0.1),
    "lr_decay": dict(lr_decay=-0.1),
    "initial_accumulator_value": dict(initial_accumulator_value=-0.1),
    "betas": dict(betas=(1.0, 0.9)),
    "betas-second": dict(betas=(0.9, 1.0)),
    "nesterov": dict(nesterov=True, momentum=0.0),
    "fused-foreach": dict(fused=True, foreach=True),
    "fused-differentiable": dict(fused=True, differentiable=True),
    "lr-vector": dict(lr=torch.ones(2)),
    "unknown": dict(learning_rate=0.1),
}


@pytest.mark.parametrize("kwargs", WRONG.values(), ids=WRONG)
@each_name
def test_hyperparameters_are_refused_in_torchs_words(name, kwargs):
    messages = []
    for cls in (subject(name), reference(name)):
        try:
            cls(random_params(), **kwargs)
            messages.append(None)
        except (ValueError, RuntimeError, TypeError) as error:
            # Python names the function that did not know an argument.
            messages.append((type(error), str(error).partition("()")[2] or str(error)))
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "params", [[], None, 3, "abc", [1, 2], [None], nn.Linear(2, 2), [np.ones(3)]], ids=str
)
def test_params_are_refused_in_torchs_words(params):
    messages = []
    for cls in (subject("Adam"), reference("Adam")):
        with pytest.raises((TypeError, ValueError)) as raised:
            cls(params)
        messages.append((raised.type, str(raised.value)))
    assert messages[0] == messages[1]


@ours_only
@pytest.mark.parametrize("backend", ["fast", "NATIVE", None, True, 1, ""])
@each_name
def test_an_unknown_backend_is_refused_by_name(name, backend):
    with pytest.raises(ValueError, match=r"backend: got .*'auto'.*'native'.*'torch'") as raised:
        subject(name)(random_params(), backend=backend)
    assert repr(backend) in str(raised.value)


@ours_only
@pytest.mark.parametrize("bound", [-1.0, float("nan"), -float("inf")])
@each_name
def test_a_wrong_clip_grad_norm_is_refused_by_name(name, bound):
    with pytest.raises(ValueError, match="clip_grad_norm: got") as raised:
        subject(name)(random_params(), clip_grad_norm=bound)
    assert str(bound) in str(raised.value)


@ours_only
@pytest.mark.parametrize("bound", ["1.0", [1.0], {}])
def test_a_clip_grad_norm_that_is_no_number_is_refused_by_name(bound):
    with pytest.raises((TypeError, ValueError), match="clip_grad_norm"):
        subject("Adam")(random_params(), clip_grad_norm=bound)


@ours_only
@pytest.mark.parametrize(
    ("key", "value"), [("backend", "fast"), ("clip_grad_norm", -1.0), ("clip_grad_norm", "1")]
)
@each_name
def test_our_options_are_checked_when_they_are_set_later_too(name, key, value):
    optimizer, params, before = changed(name, "lr", 0.1)
    setattr(optimizer, key, value)
    with pytest.raises((TypeError, ValueError), match=f"{key}: got"):
        optimizer.step()
    assert all(map(torch.equal, params, before))


@ours_only
@pytest.mark.parametrize("name", NAMES)
def test_our_options_are_keyword_only(name):
    count = {"SGD": 6, "Adagrad": 7, "RMSprop": 11, "Adam": 6, "AdamW": 6}[name]
    with pytest.raises(TypeError):
        subject(name)(random_params(), *([0.1] * (count + 2)))


def changed(name, key, value):
    """An optimizer whose group was given a wrong value after the constructor's checks."""
    params = random_params()
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = subject(name)(params, **FULL[name])
    optimizer.step()
    optimizer.param_groups[0][key] = value
    before = [p.detach().clone() for p in params]
    return optimizer, params, before


GROUP_ERRORS = [
    ("SGD", "lr", "fast"),
    ("SGD", "momentum", None),
    ("SGD", "weight_decay", [0.1]),
    ("Adagrad", "eps", "small"),
    ("Adagrad", "lr_decay", {}),
    ("RMSprop", "alpha", None),
    ("RMSprop", "momentum", "much"),
    ("Adam", "betas", 0.9),
    ("Adam", "betas", ("a", "b")),
    ("Adam", "betas", (0.9,)),
    ("Adam", "betas", (0.9, 0.99, 0.999)),
    ("Adam", "eps", None),
    ("AdamW", "lr", torch.ones(3)),
    ("AdamW", "weight_decay", None),
]


@ours_only
@pytest.mark.parametrize(("name", "key", "value"), GROUP_ERRORS, ids=str)
def test_a_wrong_value_in_a_group_is_an_error_that_names_it(name, key, value):
    optimizer, params, before = changed(name, key, value)
    with pytest.raises((TypeError, ValueError), match=key):
        optimizer.step()
    assert all(map(torch.equal, params, before))


@ours_only
@pytest.mark.parametrize("name", NAMES)
def test_a_missing_key_in_a_group_is_an_error_that_names_it(name):
    optimizer, params, before = changed(name, "lr", 0.1)
    del optimizer.param_groups[0]["lr"]
    with pytest.raises(KeyError, match="lr"):
        optimizer.step()
    assert all(map(torch.equal, params, before))


@each_name
def test_a_wrong_closure_is_pythons_error(name):
    optimizer = subject(name)(random_params())
    with pytest.raises(TypeError, match="not callable"):
        optimizer.step(3)
    with pytest.raises(TypeError, match="unexpected keyword"):
        optimizer.step(closures=None)
    with pytest.raises(TypeError, match="positional argument"):
        optimizer.step(None, None)


@ours_only
@pytest.mark.parametrize("how", ["shape", "type"])
@each_name
def test_gradients_that_do_not_fit_never_reach_the_kernel(name, how):
    """torch refuses to assign them; `.data` goes around it."""
    params = random_params(((4,), (6,)))
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = subject(name)(params, backend="native", **FULL[name])
    if how == "shape":
        params[1].data = torch.ones(3)
    else:
        params[1].data = torch.ones(6, dtype=torch.float64)
    before = [p.detach().clone() for p in params]
    with pytest.raises((RuntimeError, ValueError), match=r"params'\]\[1\]"):
        optimizer.step()
    assert all(map(torch.equal, params, before))


@each_name
def test_a_gradient_of_another_shape_ends_as_in_torch(name):
    """One that broadcasts is added by torch's operations; another is refused."""
    for shape in ((1,), (3,)):
        outcomes = []
        for cls in (subject(name), reference(name)):
            p = nn.Parameter(torch.ones(2, 6))
            p.grad = torch.ones(2, 6)
            optimizer = cls([p], lr=0.1)
            p.grad.data = torch.full(shape, 0.5)
            try:
                optimizer.step()
                outcomes.append(p.detach())
            except (RuntimeError, ValueError) as error:
                outcomes.append(type(error).__name__)
        if isinstance(outcomes[1], torch.Tensor):
            torch.testing.assert_close(*outcomes)
        else:
            assert outcomes[0] == outcomes[1]


def test_ironstep_optim_is_what_is_under_test():
    assert IS_TORCH or subject("Adam").__module__.startswith("ironstep.optim")
    optimizer = subject("Adam")(random_params())
    optimizer.step()
    assert_native(optimizer, 0)
