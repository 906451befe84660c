"""What torch tests of every one of its optimizers, on ours: after test/test_optim.py of torch."""

import copy
import inspect
import math

import numpy as np
import pytest
import torch
from torch import nn

from optim.cases import (
    FULL,
    NAMES,
    Pair,
    assert_native,
    assert_same,
    each_config,
    each_dtype,
    each_name,
    ours_only,
    randn,
    random_params,
    reference,
    shaped_numbers,
    subject,
    suited,
)


@each_name
def test_is_a_subclass_with_torchs_arguments(name):
    ours, theirs = subject(name), reference(name)
    assert issubclass(ours, theirs)
    assert ours.__name__ == name
    mine = inspect.signature(ours).parameters
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    for i, (key, parameter) in enumerate(inspect.signature(theirs).parameters.items()):
        assert mine[key].default == parameter.default, key
        if parameter.kind in positional:
            assert list(mine)[i] == key
            assert mine[key].kind in positional


@each_name
def test_positional_arguments_mean_what_they_mean_in_torch(name):
    values = {
        "SGD": (0.1, 0.9, 0.3, 0.01, False),
        "Adagrad": (0.1, 0.2, 0.01, 0.3, 1e-6, False),
        "RMSprop": (0.1, 0.9, 1e-6, 0.01, 0.5, True, False, False, True),
        "Adam": (0.1, (0.8, 0.9), 1e-6, 0.01, True),
        "AdamW": (0.1, (0.8, 0.9), 1e-6, 0.01, True),
    }[name]
    ours = subject(name)(random_params(), *values)
    theirs = reference(name)(random_params(), *values)
    for key, value in theirs.defaults.items():
        assert ours.defaults[key] == value, key


@each_name
def test_can_be_printed(name):
    optimizer = subject(name)(random_params(), lr=0.25)
    assert repr(optimizer).startswith(f"{name} (\nParameter Group 0\n")
    assert "    lr: 0.25\n" in repr(optimizer)


@each_name
def test_step_is_a_python_method(name):
    """Schedulers and hooks wrap it: they need __func__ and __self__."""
    optimizer = subject(name)(random_params())
    assert inspect.ismethod(optimizer.step)
    assert inspect.isfunction(optimizer.step.__func__)
    assert getattr(type(optimizer).step, "hooked", False)
    assert optimizer.step.__doc__


@each_name
def test_step_has_torchs_signature(name):
    signatures = [
        inspect.signature(make(random_params()).step) for make in (subject(name), reference(name))
    ]
    names = [list(signature.parameters) for signature in signatures]
    assert names == [["closure"], ["closure"]]


@each_name
def test_nothing_happens_without_gradients(name):
    params = random_params()
    before = [p.detach().clone() for p in params]
    optimizer = subject(name)(params, **FULL[name])
    state = copy.deepcopy(optimizer.state_dict()["state"])
    optimizer.step()
    for p, old in zip(params, before, strict=True):
        assert torch.equal(p, old)
    if name != "Adagrad":  # its states are made in the constructor
        assert optimizer.state_dict()["state"] == state == {}
    assert_native(optimizer, 0)


@each_name
def test_zero_gradients_without_decay_change_no_parameter(name):
    params = random_params()
    before = [p.detach().clone() for p in params]
    optimizer = subject(name)(params, lr=0.1, weight_decay=0.0)
    for p in params:
        p.grad = torch.zeros_like(p)
    for _ in range(3):
        optimizer.step()
    for p, old in zip(params, before, strict=True):
        assert torch.equal(p, old)


@each_name
def test_gradients_are_not_changed(name):
    params = random_params()
    optimizer = subject(name)(params, maximize=True, **FULL[name])
    for p in params:
        p.grad = randn(*p.shape)
    before = [p.grad.clone() for p in params]
    grads = [p.grad for p in params]
    optimizer.step()
    for p, grad, old in zip(params, grads, before, strict=True):
        assert p.grad is grad
        assert torch.equal(grad, old)


@each_name
def test_two_runs_from_equal_states_are_equal_to_the_bit(name):
    def run():
        torch.manual_seed(3)
        params = random_params()
        optimizer = subject(name)(params, **FULL[name])
        for _ in range(4):
            for p in params:
                p.grad = randn(*p.shape)
            optimizer.step()
        return params, optimizer.state_dict()

    (p1, s1), (p2, s2) = run(), run()
    assert all(map(torch.equal, p1, p2))
    assert s1["param_groups"] == s2["param_groups"]
    for key, state in s1["state"].items():
        for k, value in state.items():
            assert torch.equal(value, s2["state"][key][k])


@each_config
def test_none_gradients_are_skipped_and_catch_up_later(name, kwargs):
    pair = Pair(name, **kwargs)
    count = len(pair.params)
    for step in range(6):
        grads = [randn(*p.shape) if (i + step) % 3 else None for i, p in enumerate(pair.params)]
        pair.step(grads)
        assert_native(pair.ours, sum(g is not None for g in grads))
    assert count > 3
    pair.check(ulps=8)


@each_name
def test_param_groups_have_their_own_options(name):
    def make():
        a, b, c = random_params(((4, 3), (5,), (2, 2)))
        return [
            {"params": [a]},
            {"params": [b], "lr": 1e-4, "weight_decay": 0.3},
            {"params": [c], "maximize": True},
        ]

    pair = Pair(name, make, **FULL[name])
    for _ in range(5):
        pair.step()
    assert_native(pair.ours, 3)
    pair.check(ulps=8)


@each_name
def test_groups_may_have_different_flags(name):
    flags = {
        "SGD": ({"momentum": 0.0}, {"nesterov": True, "dampening": 0}),
        "Adagrad": ({"lr_decay": 0.0}, {"eps": 1e-3}),
        "RMSprop": ({"centered": False}, {"momentum": 0.0}),
        "Adam": ({"amsgrad": False}, {"decoupled_weight_decay": True}),
        "AdamW": ({"amsgrad": False}, {"betas": (0.5, 0.7)}),
    }[name]

    def make():
        return [{"params": random_params(((3, 2),)), **flag} for flag in ({}, *flags)]

    pair = Pair(name, make, **FULL[name])
    for _ in range(5):
        pair.step()
    pair.check(ulps=8)


@each_name
def test_an_empty_group_is_no_obstacle(name):
    params = random_params(((3,),))
    optimizer = subject(name)([{"params": []}, {"params": params}])
    params[0].grad = torch.ones(3)
    optimizer.step()
    assert_native(optimizer, 1)


@each_name
def test_named_parameters_are_kept_in_the_state_dict(name):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    optimizer = subject(name)(model.named_parameters(), lr=0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    names = optimizer.state_dict()["param_groups"][0]["param_names"]
    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert_native(optimizer, 4)


@each_dtype
@each_name
def test_types_may_be_mixed_in_one_group(name, dtype):
    def make():
        return [
            nn.Parameter(randn(6, 4, dtype=t))
            for t in (dtype, torch.float32, torch.float64, torch.bfloat16, dtype)
        ]

    pair = Pair(name, make, **suited(name, FULL[name], dtype))
    pair.step()
    assert_native(pair.ours, 5)
    pair.check(ulps=4)


@each_name
def test_integer_parameters_are_refused_as_by_torch(name):
    for cls in (subject(name), reference(name)):
        p = torch.zeros(3, dtype=torch.int64)
        optimizer = cls([p], lr=0.1)
        p.grad = torch.ones(3, dtype=torch.int64)
        with pytest.raises(RuntimeError):
            optimizer.step()


@each_name
def test_non_leaf_parameters_are_refused(name):
    with pytest.raises(ValueError, match="can't optimize a non-leaf Tensor"):
        subject(name)([torch.ones(3, requires_grad=True) * 2])


@each_name
def test_plain_tensors_are_optimized_too(name):
    tensor = torch.ones(4)
    optimizer = subject(name)([tensor], lr=0.1)
    tensor.grad = torch.ones(4)
    optimizer.step()
    assert_native(optimizer, 1)
    assert (tensor < 1).all()


@each_name
def test_step_under_default_dtype_float64_counts_in_float64(name):
    torch.set_default_dtype(torch.float64)
    pair = Pair(name, **FULL[name])
    for _ in range(3):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    if name != "SGD":
        assert pair.ours.state[pair.params[0]]["step"].dtype == torch.float64
    pair.check(ulps=8)


@pytest.mark.parametrize("name", NAMES[1:])  # SGD does not count
def test_step_stays_exact_beyond_a_million(name):
    """The number of the step enters bias corrections and decays."""
    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer in (pair.ours, pair.torch):
        for state in optimizer.state.values():
            state["step"].fill_(3_000_000)
    pair.step()
    pair.check(ulps=8)
    assert pair.ours.state[pair.params[0]]["step"].item() == 3_000_001


@pytest.mark.parametrize("as_tensor", [False, True])
@each_config
def test_lr_may_be_a_tensor_and_change_every_step(name, kwargs, as_tensor):
    pair = Pair(name, **kwargs)
    for step in range(6):
        lr = 0.1 / (1 + step)
        for optimizer in (pair.ours, pair.torch):
            optimizer.param_groups[0]["lr"] = (
                torch.tensor(lr, dtype=torch.float64) if as_tensor else lr
            )
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@pytest.mark.parametrize(
    "shape", [(), *(pytest.param(shape, marks=shaped_numbers) for shape in ((1,), (1, 1)))]
)
@each_name
def test_tensor_lr_of_any_one_element_shape(name, shape):
    pair = Pair(name, **(FULL[name] | {"lr": torch.full(shape, 0.01)}))
    for _ in range(3):
        pair.step()
    pair.check(ulps=8)
    assert pair.ours.param_groups[0]["lr"].shape == shape


@pytest.mark.parametrize(
    "shapes", [((), ()), pytest.param(((1, 1, 1), (1, 1)), marks=shaped_numbers)], ids=str
)
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_betas_may_be_tensors(name, shapes):
    betas = tuple(torch.full(shape, b) for shape, b in zip(shapes, (0.9, 0.99), strict=True))
    pair = Pair(name, lr=torch.tensor(0.01), betas=betas)
    for _ in range(5):
        pair.step()
    pair.check(ulps=16)  # 1 − β in f32 has 22 bits


NUMBERS = {"int": 1, "float32": np.float32(0.01), "float64": np.float64(0.01), "bool": True}


@pytest.mark.parametrize("lr", NUMBERS.values(), ids=NUMBERS)
@each_name
def test_lr_may_be_any_kind_of_number(name, lr):
    pair = Pair(name, **FULL[name])
    for optimizer in (pair.ours, pair.torch):
        optimizer.param_groups[0]["lr"] = lr
    pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@pytest.mark.parametrize(
    "make",
    [list, lambda b: np.array(b), lambda b: torch.tensor(b)],
    ids=["list", "numpy", "tensor"],
)
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_betas_may_be_any_pair(name, make):
    """A list is what a configuration in JSON or YAML makes of them."""
    pair = Pair(name, **FULL[name])
    for optimizer in (pair.ours, pair.torch):
        optimizer.param_groups[0]["betas"] = make([0.8, 0.9])
    for _ in range(2):
        pair.step()
    pair.check(ulps=16)


def test_sgd_weight_decay_may_be_a_tensor():
    pair = Pair("SGD", lr=0.1, momentum=0.9, weight_decay=torch.tensor(0.1))
    for _ in range(4):
        pair.step()
    pair.check(ulps=8)


@each_name
def test_zero_grad_sets_to_none_or_zero(name):
    params = random_params()
    optimizer = subject(name)(params)
    for p in params:
        p.grad = torch.ones_like(p)
    grads = [p.grad for p in params]
    optimizer.zero_grad(set_to_none=False)
    for p, grad in zip(params, grads, strict=True):
        assert p.grad is grad
        assert not grad.any()
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@each_name
def test_closure_is_called_once_with_gradients_enabled(name):
    def steps(optimizer, p):
        calls = []

        def closure():
            assert torch.is_grad_enabled()
            calls.append(1)
            optimizer.zero_grad()
            loss = (p**2).sum()
            loss.backward()
            return loss

        with torch.no_grad():
            loss = optimizer.step(closure)
            assert not torch.is_grad_enabled()
        loss_by_keyword = optimizer.step(closure=closure)
        assert len(calls) == 2
        return loss.item(), loss_by_keyword.item()

    pair = Pair(name, lambda: random_params(((4,),)), **FULL[name])
    mine, theirs = steps(pair.ours, *pair.params), steps(pair.torch, *pair.torch_params)
    assert mine == pytest.approx(theirs)
    pair.check()


@each_name
def test_an_error_in_the_closure_is_passed_on_and_changes_nothing(name):
    params = random_params()
    optimizer = subject(name)(params)
    for p in params:
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in params]

    def closure():
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        optimizer.step(closure)
    assert all(map(torch.equal, params, before))
    assert torch.is_grad_enabled()


@each_name
def test_step_without_closure_returns_none_and_keeps_grad_mode(name):
    params = random_params()
    optimizer = subject(name)(params)
    for p in params:
        p.grad = torch.ones_like(p)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            assert optimizer.step() is None
            assert torch.is_grad_enabled() == enabled
    assert all(p.requires_grad and p.grad_fn is None for p in params)


@each_config
def test_goes_downhill(name, kwargs):
    kwargs = kwargs | {"maximize": False}
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
    x, y = torch.randn(32, 5), torch.randn(32, 1)
    optimizer = subject(name)(model.parameters(), **kwargs)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert math.isfinite(losses[-1])
    assert losses[-1] < 0.9 * losses[0]


@each_config
def test_a_network_trains_as_with_torch(name, kwargs):
    """Through real backwards, where a difference in one step feeds the next."""

    kwargs = kwargs | {"maximize": False}  # uphill the smallest difference grows without end

    def train(cls, **flags):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 1)).double()
        x = torch.randn(64, 5, dtype=torch.float64)
        optimizer = cls(model.parameters(), **kwargs, **flags)
        for _ in range(30):
            optimizer.zero_grad()
            (model(x) - x[:, :1].sin()).pow(2).mean().backward()
            optimizer.step()
        return nn.utils.parameters_to_vector(model.parameters())

    assert_same(train(subject(name)), train(reference(name), foreach=False), ulps=1e5)


@ours_only
@each_name
def test_last_dispatch_is_none_before_the_first_step(name):
    optimizer = subject(name)(random_params())
    assert optimizer.last_dispatch is None
    assert optimizer.last_grad_norm is None
    optimizer.step()
    assert optimizer.last_dispatch.native == 0
    assert optimizer.last_dispatch.torch == ()


@each_name
def test_public_attributes_survive_deepcopy(name):
    optimizer = subject(name)(random_params(), **FULL[name])
    public = {k for k in optimizer.__dict__ if not k.startswith("_")}
    assert public <= {k for k in copy.deepcopy(optimizer).__dict__ if not k.startswith("_")}
