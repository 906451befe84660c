"""No pointer is remembered: whatever the user replaces between two steps, the next step uses."""

import gc
import weakref
from collections import UserDict

import pytest
import torch
from torch import nn

from optim.cases import (
    FULL,
    Pair,
    assert_native,
    assert_same,
    each_config,
    each_name,
    each_name_with_late_states,
    ours_only,
    randn,
    reference,
    subject,
    suited,
)


def both(pair):
    return ((pair.ours, pair.params), (pair.torch, pair.torch_params))


@each_config
def test_step_after_data_swap_uses_the_new_memory(name, kwargs):
    pair = Pair(name, **kwargs)
    pair.step()
    old = [p.data for p in pair.params]
    kept = [t.clone() for t in old]
    for _, params in both(pair):
        torch.manual_seed(5)
        for p in params:
            p.data = randn(*p.shape)
    pair.step()
    assert all(map(torch.equal, old, kept))
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@each_name
def test_step_after_data_swap_to_another_layout(name):
    pair = Pair(name, lambda: [nn.Parameter(randn(6, 4)) for _ in range(3)], **FULL[name])
    pair.step()
    for _, params in both(pair):
        torch.manual_seed(5)
        for p in params:
            p.data = randn(4, 6).t()
    pair.step()
    assert_native(pair.ours, 3)
    pair.check()


@each_name
def test_gradients_zeroed_or_replaced_or_reused(name):
    pair = Pair(name, **FULL[name])
    pair.step()
    for how in ("zero", "none", "same", "in place"):
        for optimizer, params in both(pair):
            torch.manual_seed(5)
            if how in ("zero", "none"):
                optimizer.zero_grad(set_to_none=how == "none")
            for p in params:
                if how == "none":
                    p.grad = randn(*p.shape)
                elif how == "in place":
                    p.grad.mul_(-0.5)
            optimizer.step()
    pair.check(ulps=8)


@each_name
def test_step_after_states_were_replaced(name):
    pair = Pair(name, **FULL[name])
    pair.step()
    old = []
    for optimizer, params in both(pair):
        torch.manual_seed(5)
        for p in params:
            for key, value in optimizer.state[p].items():
                old.append((value, value.clone()))
                optimizer.state[p][key] = value.clone() if key == "step" else 1.5 * value
    pair.step()
    assert all(torch.equal(value, kept) for value, kept in old)
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@each_name_with_late_states
def test_step_after_the_state_was_cleared(name):
    """As after torch.optim's own recipe for restarting: states are made anew."""
    pair = Pair(name, **FULL[name])
    for _ in range(2):
        pair.step()
    for optimizer, _ in both(pair):
        optimizer.state.clear()
    pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@each_name_with_late_states
def test_step_after_one_parameters_state_was_dropped(name):
    pair = Pair(name, **FULL[name])
    for _ in range(2):
        pair.step()
    for optimizer, params in both(pair):
        del optimizer.state[params[1]]
    pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@each_name
def test_states_in_another_order_than_the_parameters(name):
    """A dictionary that was filled in another order belongs to the same parameters."""
    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer, _ in both(pair):
        items = list(optimizer.state.items())
        optimizer.state.clear()
        for key, value in reversed(items):
            optimizer.state[key] = value
    for _ in range(2):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@each_name
def test_states_in_a_plain_dictionary(name):
    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer, _ in both(pair):
        optimizer.state = dict(optimizer.state)
    pair.step()
    pair.check()


@each_name
def test_groups_and_states_in_other_containers(name):
    """torch asks for no more than a sequence of mappings."""
    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer, params in both(pair):
        for param in params[:2]:
            optimizer.state[param] = UserDict(optimizer.state[param])
        optimizer.state = UserDict(optimizer.state)
        groups = [
            UserDict(group, params=tuple(group["params"])) for group in optimizer.param_groups
        ]
        optimizer.param_groups = tuple(groups)
    for _ in range(2):
        pair.step()
        assert_native(pair.ours, len(pair.params))
    for mine, theirs in zip(pair.params, pair.torch_params, strict=True):
        assert_same(mine, theirs, size=1.0)


@each_name
def test_states_of_nobody_and_keys_of_others_do_no_harm(name):
    """Libraries keep notes of their own among the states."""
    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer, params in both(pair):
        optimizer.state["notes"] = {"who": "somebody"}
        optimizer.state[params[0]]["mine"] = [1, 2, 3]
    pair.step()
    assert_native(pair.ours, len(pair.params))
    assert pair.ours.state[pair.params[0]]["mine"] == [1, 2, 3]
    assert_same(pair.params[0], pair.torch_params[0], size=1.0)


@each_name_with_late_states
def test_parameters_exchanged_in_the_group(name):
    """`group["params"]` is a list that users edit: frozen layers leave, others come."""
    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer, _ in both(pair):
        params = optimizer.param_groups[0]["params"]
        torch.manual_seed(5)
        params[1] = nn.Parameter(randn(4, 4))
        del params[0]
        params.append(nn.Parameter(randn(3)))
    for _ in range(2):
        pair.step()
    pair.check(ulps=8)


@each_name
def test_groups_reordered_and_removed(name):
    def make():
        return [{"params": [nn.Parameter(randn(3, i + 1))], "lr": 0.01 * (i + 1)} for i in range(4)]

    pair = Pair(name, make, **FULL[name])
    pair.step()
    for optimizer, _ in both(pair):
        optimizer.param_groups.reverse()
        optimizer.param_groups.pop()
    pair.step()
    assert_native(pair.ours, 3)
    pair.check(ulps=8)


@each_name
def test_a_parameter_that_changed_its_type(name):
    """`model.double()` in mid-run: the states stay float32, and torch decides what becomes of it."""
    pair = Pair(name, lambda: [nn.Parameter(randn(5))], **FULL[name])
    pair.step()
    outcomes = []
    for optimizer, params in both(pair):
        params[0].data = params[0].data.double()
        params[0].grad = torch.ones(5, dtype=torch.float64)
        try:
            optimizer.step()
            outcomes.append(None)
        except RuntimeError as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]
    if outcomes[0] is None:
        assert_same(pair.params[0], pair.torch_params[0], ulps=2**32)


@each_name
def test_hyperparameters_changed_between_steps(name):
    changes = {
        "SGD": [
            {"momentum": 0.5},
            {"nesterov": True},
            {"dampening": 0.2, "nesterov": False},
            {"weight_decay": 0.3},
        ],
        "Adagrad": [{"lr_decay": 0.5}, {"eps": 1e-2}, {"weight_decay": 0.3}, {"maximize": True}],
        "RMSprop": [{"alpha": 0.5}, {"eps": 1e-2}, {"momentum": 0.2}, {"maximize": True}],
        "Adam": [
            {"betas": (0.5, 0.6)},
            {"eps": 1e-2},
            {"amsgrad": False},
            {"decoupled_weight_decay": True},
        ],
        "AdamW": [
            {"betas": (0.5, 0.6)},
            {"weight_decay": 0.3},
            {"amsgrad": False},
            {"maximize": True},
        ],
    }[name]
    pair = Pair(name, **FULL[name])
    pair.step()
    for change in changes:
        for optimizer, _ in both(pair):
            optimizer.param_groups[0].update(change)
        pair.step()
        assert_native(pair.ours, len(pair.params))
    pair.check(ulps=16)


@ours_only
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@each_name
def test_float32_states_put_in_by_hand_stay_float32(name, dtype):
    """Low-precision parameters with full-precision states: the states lose nothing."""
    kwargs = suited(name, FULL[name], dtype)
    p = nn.Parameter(randn(64, 33, dtype=dtype))
    exact = nn.Parameter(p.detach().float())
    optimizer = subject(name)([p], **kwargs)
    float32 = reference(name)([exact], foreach=False, **kwargs)
    p.grad = randn(64, 33, dtype=dtype)
    exact.grad = p.grad.float()
    optimizer.step()
    float32.step()
    for key, value in float32.state[exact].items():
        optimizer.state[p][key] = value.clone()
    for _ in range(5):
        p.grad = randn(64, 33, dtype=dtype)
        # From the stored parameter: its rounding is not what is judged.
        exact.data.copy_(p.detach())
        exact.grad = p.grad.float()
        optimizer.step()
        float32.step()
        assert_native(optimizer, 1)
        assert_same(p.detach().float(), exact.detach().to(dtype).float(), ulps=0.5 * 2**16)
        for key, value in float32.state[exact].items():
            assert optimizer.state[p][key].dtype == value.dtype == torch.float32
            assert_same(optimizer.state[p][key], value, ulps=8, size=1.0)


@each_name
def test_a_parameter_moved_to_shared_memory(name):
    pair = Pair(name, lambda: [nn.Parameter(randn(6, 4))], **FULL[name])
    pair.step()
    for optimizer, (p,) in both(pair):
        p.share_memory_()
        for value in optimizer.state[p].values():
            value.share_memory_()
    pair.step()
    assert_native(pair.ours, 1)
    pair.check()


def test_adagrad_shares_its_sums():
    optimizer = subject("Adagrad")([nn.Parameter(randn(3))])
    optimizer.share_memory()
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["sum"].is_shared()


@each_name_with_late_states
def test_old_parameters_and_states_are_freed(name):
    """Nothing of ours keeps a tensor alive that the user has let go."""
    p = nn.Parameter(randn(4))
    p.grad = randn(4)
    optimizer = subject(name)([p], **FULL[name])
    optimizer.step()
    watched = [weakref.ref(t) for t in (p.grad, *optimizer.state[p].values())]
    p.grad = torch.ones(4)
    optimizer.state.clear()
    optimizer.step()
    gc.collect()
    assert all(ref() is None for ref in watched)
    watched = [weakref.ref(t) for t in (p, optimizer)]
    del p, optimizer
    gc.collect()
    assert all(ref() is None for ref in watched)
