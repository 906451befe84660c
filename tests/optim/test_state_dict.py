"""Checkpoints go both ways between ours and torch's, in the middle of a run, and so do copies."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from optim.cases import (
    FULL,
    IS_TORCH,
    NAMES,
    Pair,
    assert_native,
    assert_same,
    each_config,
    each_name,
    each_name_with_late_states,
    ours_only,
    randn,
    random_params,
    reference,
    subject,
)


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


each_way = pytest.mark.parametrize("carry", [copy.deepcopy, through_a_file], ids=["copy", "file"])


def same_numbers(a, b):
    """Two state dicts with equal states and groups, to the bit."""
    assert a["state"].keys() == b["state"].keys()
    for i, state in a["state"].items():
        assert list(state) == list(b["state"][i])
        for key, value in state.items():
            other = b["state"][i][key]
            assert torch.equal(value, other) if torch.is_tensor(value) else value == other
    for mine, theirs in zip(a["param_groups"], b["param_groups"], strict=True):
        shared = mine.keys() & theirs.keys()
        assert {k: mine[k] for k in shared} == {k: theirs[k] for k in shared}


def run_on(optimizer, steps, seed):
    torch.manual_seed(seed)
    for _ in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = randn(*p.shape, dtype=p.dtype)
        optimizer.step()


@each_way
@each_config
def test_torchs_checkpoint_goes_on_in_ours(name, kwargs, carry):
    pair = Pair(name, **kwargs)
    run_on(pair.torch, 3, seed=1)
    for p, q in zip(pair.params, pair.torch_params, strict=True):
        p.data.copy_(q.detach())
    pair.ours.load_state_dict(carry(pair.torch.state_dict()))
    run_on(pair.ours, 3, seed=2)
    run_on(pair.torch, 3, seed=2)
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@each_way
@each_config
def test_our_checkpoint_goes_on_in_torchs(name, kwargs, carry):
    pair = Pair(name, **kwargs)
    run_on(pair.ours, 3, seed=1)
    run_on(pair.torch, 3, seed=1)
    resumed_params = [nn.Parameter(p.detach().clone()) for p in pair.params]
    resumed = reference(name)(resumed_params, lr=1.0, foreach=False)
    resumed.load_state_dict(carry(pair.ours.state_dict()))
    run_on(resumed, 3, seed=2)
    run_on(pair.torch, 3, seed=2)
    for p, q in zip(resumed_params, pair.torch_params, strict=True):
        assert_same(p, q, ulps=8, size=1.0)


@each_way
@each_config
def test_our_checkpoint_goes_on_in_ours_to_the_bit(name, kwargs, carry):
    torch.manual_seed(0)
    params = random_params()
    optimizer = subject(name)(params, **kwargs)
    run_on(optimizer, 3, seed=1)
    resumed_params = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = subject(name)(resumed_params, lr=1.0)
    resumed.load_state_dict(carry(optimizer.state_dict()))
    for one in (optimizer, resumed):
        run_on(one, 3, seed=2)
    assert all(map(torch.equal, params, resumed_params))
    same_numbers(optimizer.state_dict(), resumed.state_dict())


@each_name
def test_switching_classes_every_step_is_one_run(name):
    pair = Pair(name, **FULL[name])
    params = pair.params
    current = pair.ours
    for step in range(6):
        grads = [randn(*p.shape) for p in params]
        for p, q, grad in zip(params, pair.torch_params, grads, strict=True):
            p.grad, q.grad = grad.clone(), grad
        current.step()
        pair.torch.step()
        cls = reference(name) if step % 2 == 0 else subject(name)
        following = cls(params, lr=1.0)
        following.load_state_dict(current.state_dict())
        current = following
    for p, q in zip(params, pair.torch_params, strict=True):
        assert_same(p, q, ulps=8, size=1.0)


@each_name
def test_state_dicts_have_torchs_keys_in_torchs_order(name):
    pair = Pair(name, **FULL[name])
    for _ in range(2):
        pair.step()
    mine, theirs = pair.ours.state_dict(), pair.torch.state_dict()
    assert list(mine) == list(theirs)
    assert list(mine["state"]) == list(theirs["state"])
    for i, state in theirs["state"].items():
        assert list(mine["state"][i]) == list(state)
        for key, value in state.items():
            assert mine["state"][i][key].dtype == value.dtype
    for a, b in zip(mine["param_groups"], theirs["param_groups"], strict=True):
        assert set(b) <= set(a)
        assert a["params"] == b["params"]


@each_name
def test_state_dict_refers_to_the_states_without_a_copy(name):
    params = random_params()
    optimizer = subject(name)(params, **FULL[name])
    run_on(optimizer, 1, seed=1)
    state = optimizer.state_dict()["state"][0]
    for key, value in optimizer.state[params[0]].items():
        assert state[key] is value


@ours_only
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("RMSprop", {"eps_inside_sqrt": True}),
        ("Adam", {"bias_correction": "second"}),
        ("AdamW", {"bias_correction": "second"}),
    ],
)
def test_our_options_travel_in_our_checkpoints(name, option):
    params = random_params()
    optimizer = subject(name)(params, **option)
    run_on(optimizer, 2, seed=1)
    saved = through_a_file(optimizer.state_dict())
    (key, value), *_ = option.items()
    assert saved["param_groups"][0][key] == value
    resumed = subject(name)([nn.Parameter(p.detach().clone()) for p in params])
    resumed.load_state_dict(saved)
    assert resumed.param_groups[0][key] == value
    for one in (optimizer, resumed):
        run_on(one, 2, seed=2)
    assert all(map(torch.equal, params, resumed.param_groups[0]["params"]))
    # And torch's class takes it, though it does not know the option.
    reference(name)(random_params()).load_state_dict(saved)


@ours_only
@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("RMSprop", {"eps_inside_sqrt": True}),
        ("Adam", {"bias_correction": "second"}),
        ("AdamW", {"bias_correction": "second"}),
    ],
)
def test_our_options_survive_a_checkpoint_of_torchs(name, option):
    """A torch state dict says nothing of them: what the constructor was given stays."""
    pair = Pair(name)
    run_on(pair.torch, 1, seed=1)
    optimizer = subject(name)(pair.params, **option)
    optimizer.load_state_dict(copy.deepcopy(pair.torch.state_dict()))
    (key, value), *_ = option.items()
    assert optimizer.param_groups[0][key] == value
    run_on(optimizer, 1, seed=2)
    assert_native(optimizer, len(pair.params))


@pytest.mark.parametrize("name", NAMES[1:])
def test_old_checkpoints_count_steps_in_python_numbers(name):
    for number in (int, float):
        pair = Pair(name, **FULL[name])
        pair.step()
        pair.step()
        for optimizer in (pair.ours, pair.torch):
            saved = copy.deepcopy(optimizer.state_dict())
            for state in saved["state"].values():
                state["step"] = number(state["step"])
            optimizer.load_state_dict(saved)
        pair.step()
        assert_native(pair.ours, len(pair.params))
        pair.check()


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_python_number_put_into_the_state_by_hand(name):
    """torch adds 1 to it and keeps neither: its functional wants tensors. An error or a right step."""
    p = nn.Parameter(torch.ones(3))
    q = nn.Parameter(torch.ones(3))
    p.grad = q.grad = torch.ones(3)
    optimizer, torch_optimizer = subject(name)([p]), reference(name)([q])
    optimizer.step()
    torch_optimizer.step()
    outcomes = []
    for one, param in ((optimizer, p), (torch_optimizer, q)):
        one.state[param]["step"] = 1.0
        try:
            one.step()
            outcomes.append("stepped")
        except (RuntimeError, AttributeError, TypeError):
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]
    if outcomes[0] == "stepped":
        assert_same(p, q)


@each_name
def test_checkpoints_from_before_an_option_existed(name):
    """Missing keys get torch's defaults."""
    later = (
        "maximize",
        "foreach",
        "differentiable",
        "capturable",
        "fused",
        "amsgrad",
        "nesterov",
        "momentum",
        "centered",
        "decoupled_weight_decay",
        "bias_correction",
        "eps_inside_sqrt",
    )
    results = []
    for cls in (subject(name), reference(name)):
        torch.manual_seed(0)
        params = random_params()
        optimizer = cls(params, lr=0.01)
        run_on(optimizer, 1, seed=1)
        saved = copy.deepcopy(optimizer.state_dict())
        for group in saved["param_groups"]:
            for key in later:
                if name != "SGD" or key != "momentum":
                    group.pop(key, None)
        resumed = cls([nn.Parameter(p.detach().clone()) for p in params], lr=0.01)
        if name == "AdamW":
            saved["param_groups"][0]["decoupled_weight_decay"] = True
        resumed.load_state_dict(saved)
        run_on(resumed, 2, seed=2)
        results.append(resumed.param_groups[0]["params"])
    for p, q in zip(*results, strict=True):
        assert_same(p, q, ulps=8, size=1.0)


@each_name
def test_loading_the_wrong_checkpoint_is_torchs_error(name):
    optimizer = subject(name)(random_params())
    fewer = subject(name)(random_params(((3,),))).state_dict()
    with pytest.raises(ValueError, match="doesn't match the size"):
        optimizer.load_state_dict(fewer)
    groups = subject(name)([{"params": [p]} for p in random_params()]).state_dict()
    with pytest.raises(ValueError, match="different number of parameter groups"):
        optimizer.load_state_dict(groups)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@each_name
def test_float32_checkpoints_load_into_low_precision_as_in_torch(name, dtype):
    """torch casts every state to the parameter's type."""
    torch.manual_seed(0)
    source = subject(name)(random_params(), **FULL[name])
    run_on(source, 2, seed=1)
    results = []
    for cls in (subject(name), reference(name)):
        params = [nn.Parameter(p.detach().to(dtype)) for p in source.param_groups[0]["params"]]
        optimizer = cls(params, **FULL[name])
        optimizer.load_state_dict(copy.deepcopy(source.state_dict()))
        for p in params:
            assert all(v.dtype == dtype for k, v in optimizer.state[p].items() if k != "step")
        run_on(optimizer, 1, seed=2)
        results.append(params)
    for p, q in zip(*results, strict=True):
        assert_same(p, q, ulps=3, size=1.0)


@each_config
def test_copies_and_pickles_step_on_as_the_original(name, kwargs):
    torch.manual_seed(0)
    params = random_params()
    optimizer = subject(name)(params, **kwargs)
    run_on(optimizer, 2, seed=1)
    twins = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    run_on(optimizer, 2, seed=2)
    for twin in twins:
        assert type(twin) is type(optimizer)
        run_on(twin, 2, seed=2)
        assert_native(twin, len(params))
        assert all(map(torch.equal, params, twin.param_groups[0]["params"]))
        same_numbers(twin.state_dict(), optimizer.state_dict())


@ours_only
@each_name
def test_copies_keep_backend_and_clipping(name):
    optimizer = subject(name)(random_params(), backend="native", clip_grad_norm=0.5)
    run_on(optimizer, 1, seed=1)
    for twin in (
        copy.deepcopy(optimizer),
        pickle.loads(pickle.dumps(optimizer)),
        copy.copy(optimizer),
    ):
        assert twin.backend == "native"
        assert twin.clip_grad_norm == 0.5
        run_on(twin, 1, seed=2)
        assert twin.last_grad_norm is not None


@each_name
def test_model_and_optimizer_copied_together_stay_together(name):
    model = nn.Linear(3, 2)
    optimizer = subject(name)(model.parameters(), **FULL[name])
    run_on(optimizer, 1, seed=1)
    twin_model, twin = copy.deepcopy((model, optimizer))
    before = [p.detach().clone() for p in model.parameters()]
    twin_model(torch.ones(1, 3)).sum().backward()
    twin.step()
    assert twin.param_groups[0]["params"][0] is twin_model.weight
    assert not torch.equal(twin_model.weight, model.weight)
    assert all(map(torch.equal, model.parameters(), before))


@each_name_with_late_states
def test_adding_a_group_in_mid_run(name):
    def more():
        torch.manual_seed(9)
        return random_params(((4, 2), (3,)))

    pair = Pair(name, **FULL[name])
    pair.step()
    for optimizer in (pair.ours, pair.torch):
        optimizer.add_param_group({"params": more(), "lr": 0.003})
    for _ in range(3):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    if not IS_TORCH:
        added = set(pair.ours.param_groups[0]) ^ set(pair.ours.param_groups[1])
        assert added == set()
    pair.check(ulps=8)
    with pytest.raises(ValueError, match="more than one parameter group"):
        pair.ours.add_param_group({"params": pair.params[:1]})
