"""Hooks of the instance and global ones: in torch's order, each once, with torch's arguments."""

import contextlib
import copy

import pytest
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from optim.cases import (
    FULL,
    Pair,
    assert_native,
    assert_same,
    each_name,
    ours_only,
    randn,
    random_params,
    reference,
    subject,
)

ORDER = ["global pre", "pre 1", "pre 2", "post 1", "post 2", "global post"]


def with_grads():
    torch.manual_seed(0)
    params = random_params(((3, 2), (4,)))
    for p in params:
        p.grad = torch.ones_like(p)
    return params


def record(events, label):
    def hook(optimizer, args, kwargs):
        events.append((label, isinstance(optimizer, Optimizer), len(args), sorted(kwargs)))

    return hook


@contextlib.contextmanager
def global_hooks(events):
    handles = [
        register_optimizer_step_pre_hook(record(events, "global pre")),
        register_optimizer_step_post_hook(record(events, "global post")),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def events_of(optimizer, *args, **kwargs):
    events = []
    handles = [
        optimizer.register_step_pre_hook(record(events, "pre 1")),
        optimizer.register_step_pre_hook(record(events, "pre 2")),
        optimizer.register_step_post_hook(record(events, "post 1")),
        optimizer.register_step_post_hook(record(events, "post 2")),
    ]
    with global_hooks(events):
        optimizer.step(*args, **kwargs)
    for handle in handles:
        handle.remove()
    optimizer.step(*args, **kwargs)
    return events


@pytest.mark.parametrize("how", ["bare", "positional", "keyword"])
@each_name
def test_hooks_run_once_each_in_torchs_order(name, how):
    def closure():
        return torch.tensor(1.0)

    args, kwargs = {
        "bare": ((), {}),
        "positional": ((closure,), {}),
        "keyword": ((), {"closure": closure}),
    }[how]
    mine = events_of(subject(name)(with_grads()), *args, **kwargs)
    theirs = events_of(reference(name)(with_grads()), *args, **kwargs)
    assert [e[0] for e in mine] == ORDER
    assert mine == theirs


@each_name
def test_a_hook_alone_runs_once_of_each_kind(name):
    for register in ("register_step_pre_hook", "register_step_post_hook"):
        optimizer, events = subject(name)(with_grads()), []
        getattr(optimizer, register)(record(events, "it"))
        optimizer.step()
        optimizer.step()
        assert len(events) == 2
        assert_native(optimizer, 2)
    events = []
    with global_hooks(events):
        optimizer = subject(name)(with_grads())
        optimizer.step()
    assert len(events) == 2


@each_name
def test_hooks_run_once_when_some_parameters_go_to_torch(name):
    params = with_grads()
    foreign = nn.Parameter(torch.randn(3, dtype=torch.complex64))
    foreign.grad = torch.ones_like(foreign)
    mine = events_of(subject(name)([*params, foreign]))
    assert len(mine) == 6


@each_name
def test_pre_hooks_see_the_old_and_post_hooks_the_new_parameters(name):
    params = with_grads()
    before = [p.detach().clone() for p in params]
    optimizer = subject(name)(params, lr=0.1)
    seen = []

    def pre(optimizer, args, kwargs):
        seen.append(all(map(torch.equal, params, before)))

    def post(optimizer, args, kwargs):
        seen.append(not any(map(torch.equal, params, before)))

    optimizer.register_step_pre_hook(pre)
    optimizer.register_step_post_hook(post)
    optimizer.step()
    assert seen == [True, True]


@each_name
def test_a_pre_hook_may_change_the_gradients(name):
    """As DDP's and clipping hooks do."""
    pair = Pair(name, **FULL[name])

    def halve(optimizer, args, kwargs):
        for p in optimizer.param_groups[0]["params"]:
            p.grad = p.grad / 2

    pair.ours.register_step_pre_hook(halve)
    pair.torch.register_step_pre_hook(halve)
    for _ in range(3):
        pair.step()
    pair.check()


@each_name
def test_a_pre_hook_may_exchange_the_closure(name):
    optimizer = subject(name)(with_grads())

    def exchange(optimizer, args, kwargs):
        (me, *_) = args
        assert me is optimizer
        return (me, lambda: 42), {}

    optimizer.register_step_pre_hook(exchange)
    assert optimizer.step() == 42
    assert optimizer.step(lambda: 1) == 42


@each_name
def test_a_pre_hook_that_returns_nonsense_is_an_error(name):
    for cls in (subject(name), reference(name)):
        params = with_grads()
        before = [p.detach().clone() for p in params]
        optimizer = cls(params)
        optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: "nonsense")
        with pytest.raises(RuntimeError, match="must return None or a tuple"):
            optimizer.step()
        assert all(map(torch.equal, params, before))


@each_name
def test_an_error_in_a_hook_is_passed_on(name):
    def fail(optimizer, args, kwargs):
        raise ZeroDivisionError("mine")

    for register in ("register_step_pre_hook", "register_step_post_hook"):
        optimizer = subject(name)(with_grads())
        handle = getattr(optimizer, register)(fail)
        with pytest.raises(ZeroDivisionError, match="mine"):
            optimizer.step()
        handle.remove()
        optimizer.step()


@each_name
def test_a_hook_may_remove_itself(name):
    optimizer, calls = subject(name)(with_grads()), []

    def once(optimizer, args, kwargs):
        calls.append(1)
        handle.remove()

    handle = optimizer.register_step_post_hook(once)
    optimizer.step()
    optimizer.step()
    assert calls == [1]


@each_name
def test_hooks_registered_before_deepcopy_stay_with_the_original(name):
    optimizer, events = subject(name)(with_grads()), []
    optimizer.register_step_pre_hook(record(events, "pre"))
    twin = copy.deepcopy(optimizer)
    twin.step()
    assert events == []
    optimizer.step()
    assert len(events) == 1


def overriding(cls):
    """A user's own class: counts, then leaves the work to ours."""

    class Counting(cls):
        count = 0

        def step(self, closure=None):
            self.count += 1
            return super().step(closure)

    return Counting


@ours_only
@each_name
def test_a_subclass_that_overrides_step_runs_hooks_once(name):
    """In torch both wraps of `step` run them, the subclass's and that of the class below."""
    optimizer = overriding(subject(name))(with_grads(), **FULL[name])
    assert [e[0] for e in events_of(optimizer)] == ORDER
    assert optimizer.count == 2


@each_name
def test_a_subclass_that_overrides_step_steps_as_torch(name):
    optimizers = [
        overriding(cls)(with_grads(), **FULL[name]) for cls in (subject(name), reference(name))
    ]
    for optimizer in optimizers:
        optimizer.step()
        optimizer.step()
    for p, q in zip(*(o.param_groups[0]["params"] for o in optimizers), strict=True):
        assert_same(p, q)
    assert_native(optimizers[0], 2)


@each_name
def test_a_subclass_that_only_adds_methods_is_as_ours(name):
    class Named(subject(name)):
        """Nothing but a name."""

    optimizer = Named(with_grads())
    events = events_of(optimizer)
    assert len(events) == 6
    assert_native(optimizer, 2)


@each_name
def test_a_subclass_may_pass_init_group_on(name):
    class Passing(subject(name)):
        def _init_group(self, *args, **kwargs):
            return super()._init_group(*args, **kwargs)

    optimizer = Passing(with_grads(), **FULL[name])
    optimizer.step()
    assert_native(optimizer, 2)


@each_name
def test_a_subclass_may_change_gradients_in_its_step(name):
    def centralised(cls):
        class Centralised(cls):
            def step(self, closure=None):
                for p in self.param_groups[0]["params"]:
                    if p.dim() > 1:
                        p.grad.sub_(p.grad.mean(dim=1, keepdim=True))
                return super().step(closure)

        return Centralised

    results = []
    for cls in (subject(name), reference(name)):
        torch.manual_seed(0)
        params = random_params()
        optimizer = centralised(cls)(params, **FULL[name])
        for _ in range(3):
            for p in params:
                p.grad = randn(*p.shape)
            optimizer.step()
        results.append(params)
    for p, q in zip(*results, strict=True):
        assert_same(p, q, size=1.0)


@each_name
def test_profiler_shows_the_step_under_torchs_name(name):
    optimizer = subject(name)(with_grads())
    with torch.autograd.profiler.profile() as profile:
        optimizer.step()
        optimizer.zero_grad()
    names = [event.name for event in profile.function_events]
    assert names.count(f"Optimizer.step#{name}.step") == 1
    assert names.count(f"Optimizer.zero_grad#{name}.zero_grad") == 1
    assert_native(optimizer, 2)


@each_name
def test_the_new_profiler_shows_the_step_too(name):
    optimizer = subject(name)(with_grads())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert [e.key for e in profile.events()].count(f"Optimizer.step#{name}.step") == 1


@each_name
def test_state_dict_hooks_run_once(name):
    optimizer = subject(name)(with_grads())
    optimizer.step()
    events = []
    optimizer.register_state_dict_pre_hook(lambda o: events.append("pre"))
    optimizer.register_state_dict_post_hook(lambda o, d: d | {"extra": events.append("post")})
    optimizer.register_load_state_dict_pre_hook(lambda o, d: events.append("load pre"))
    optimizer.register_load_state_dict_post_hook(lambda o: events.append("load post"))
    state = optimizer.state_dict()
    assert "extra" in state
    optimizer.load_state_dict(state)
    optimizer.step()
    assert events == ["pre", "post", "load pre", "load post"]


@each_name
def test_steps_of_torchs_class_are_not_affected(name):
    """Ours sets marks on its own step only."""
    ours, theirs = subject(name)(with_grads()), reference(name)(with_grads())
    ours.step()
    events = events_of(theirs)
    assert len(events) == 6
    ours.step()
    assert len(events) == 6


@each_name
def test_step_called_through_the_class_is_the_same_step(name):
    """`type(optimizer).step(optimizer)`, as wrappers do it."""
    params, events = with_grads(), []
    before = [p.detach().clone() for p in params]
    optimizer = subject(name)(params, lr=0.1)
    optimizer.register_step_pre_hook(record(events, "pre"))
    type(optimizer).step(optimizer)
    assert len(events) == 1
    assert not any(map(torch.equal, params, before))
