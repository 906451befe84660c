"""`from_torch` gives an optimizer that somebody else made our step, in place."""

import copy
import pickle

import pytest
import torch
from torch import nn

from optim.cases import FULL, Pair, assert_native, each_name, randn, random_params, reference

ironstep_optim = pytest.importorskip("ironstep.optim")
from_torch = ironstep_optim.from_torch


def converted(name, **options):
    """A pair whose one side was made by torch and then given to us."""
    pair = Pair(name, **FULL[name])
    pair.ours = from_torch(reference(name)(pair.params, **FULL[name]), **options)
    return pair


@each_name
def test_the_same_object_gets_our_class(name):
    optimizer = reference(name)(random_params(), **FULL[name])
    groups, state = optimizer.param_groups, optimizer.state
    assert from_torch(optimizer) is optimizer
    assert type(optimizer) is getattr(ironstep_optim, name)
    assert optimizer.param_groups is groups
    assert optimizer.state is state
    assert optimizer.backend == "auto"
    assert optimizer.clip_grad_norm is None
    assert optimizer.last_dispatch is None


@each_name
def test_it_steps_as_torch_from_the_start(name):
    pair = converted(name)
    for _ in range(3):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@each_name
def test_it_goes_on_where_torch_stopped(name):
    pair = Pair(name, **FULL[name])
    pair.ours = reference(name)(pair.params, **FULL[name])
    for _ in range(3):
        pair.step()
    states = {k: dict(v) for k, v in pair.ours.state.items()}
    from_torch(pair.ours)
    for p, state in states.items():
        assert all(pair.ours.state[p][key] is value for key, value in state.items())
    for _ in range(3):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@each_name
def test_options_are_taken_and_checked(name):
    optimizer = from_torch(reference(name)(random_params()), backend="native", clip_grad_norm=0.5)
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert_native(optimizer, 6)
    assert optimizer.last_grad_norm is not None
    plain = reference(name)(random_params())
    with pytest.raises(ValueError, match="backend"):
        from_torch(plain, backend="fast")
    with pytest.raises(ValueError, match="clip_grad_norm"):
        from_torch(plain, clip_grad_norm=-1.0)
    assert type(plain) is reference(name)


@each_name
def test_our_own_group_options_are_there_afterwards(name):
    expected = set(getattr(ironstep_optim, name)(random_params()).param_groups[0])
    optimizer = reference(name)(random_params())
    from_torch(optimizer)
    assert set(optimizer.param_groups[0]) == expected
    optimizer.add_param_group({"params": random_params(((2,),))})
    assert set(optimizer.param_groups[1]) == expected


@each_name
def test_hooks_registered_before_still_run_once(name):
    optimizer, events = reference(name)(random_params()), []
    optimizer.register_step_pre_hook(lambda o, a, k: events.append("pre"))
    optimizer.register_step_post_hook(lambda o, a, k: events.append("post"))
    optimizer.register_state_dict_post_hook(lambda o, d: events.append("state"))
    from_torch(optimizer)
    optimizer.step()
    optimizer.state_dict()
    assert events == ["pre", "post", "state"]


@each_name
def test_a_scheduler_attached_before_drives_it(name):
    pair = Pair(name, **FULL[name])
    pair.ours = reference(name)(pair.params, **FULL[name])
    schedulers = [torch.optim.lr_scheduler.StepLR(o, 1, gamma=0.5) for o in (pair.ours, pair.torch)]
    pair.step()
    for scheduler in schedulers:
        scheduler.step()
    from_torch(pair.ours)
    for _ in range(3):
        pair.step()
        assert_native(pair.ours, len(pair.params))
        for scheduler in schedulers:
            scheduler.step()
    pair.check()


@each_name
def test_several_schedulers_attached_before_drive_it(name):
    """Each wraps the `step` that it finds: ours must be reached through all of them."""
    pair = Pair(name, **FULL[name])
    pair.ours = reference(name)(pair.params, **FULL[name])
    make = torch.optim.lr_scheduler
    schedulers = [
        (make.StepLR(o, 1, gamma=0.9), make.ExponentialLR(o, gamma=0.8), make.LinearLR(o))
        for o in (pair.ours, pair.torch)
    ]
    from_torch(pair.ours)
    for _ in range(3):
        pair.step()
        assert_native(pair.ours, len(pair.params))
        for group in schedulers:
            for scheduler in group:
                scheduler.step()
    pair.check()


@each_name
def test_checkpoints_copies_and_pickles_of_the_converted(name):
    pair = converted(name)
    pair.step()
    for twin in (copy.deepcopy(pair.ours), pickle.loads(pickle.dumps(pair.ours))):
        assert type(twin) is getattr(ironstep_optim, name)
        for p in twin.param_groups[0]["params"]:
            p.grad = torch.ones_like(p)
        twin.step()
        assert_native(twin, len(pair.params))
    other = reference(name)(random_params())
    other.load_state_dict(pair.ours.state_dict())


@each_name
def test_a_second_conversion_is_refused_or_nothing_happens(name):
    optimizer = from_torch(reference(name)(random_params()))
    with pytest.raises(TypeError, match="optimizer"):
        from_torch(optimizer)
    optimizer.step()


def user_subclass(name):
    class Mine(reference(name)):
        """Somebody's own."""

    return Mine(random_params())


OTHERS = {
    "Adamax": lambda: torch.optim.Adamax(random_params()),
    "LBFGS": lambda: torch.optim.LBFGS(random_params()),
    "NAdam": lambda: torch.optim.NAdam(random_params()),
    "SparseAdam": lambda: torch.optim.SparseAdam(random_params()),
    "subclass": lambda: user_subclass("Adam"),
    "module": lambda: nn.Linear(2, 2),
    "None": lambda: None,
    "list": lambda: [torch.optim.SGD(random_params())],
    "class": lambda: torch.optim.Adam,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_anything_else_is_a_type_error_that_names_it(make):
    other = make()
    before = type(other)
    with pytest.raises(TypeError, match=r"optimizer: got .*torch\.optim\.Adam") as raised:
        from_torch(other)
    assert before.__name__ in str(raised.value) or "type" in str(raised.value)
    assert type(other) is before


class Wrapper(torch.optim.Optimizer):
    """As accelerate's: an optimizer that holds the real one."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    @property
    def param_groups(self):
        return self.optimizer.param_groups

    @property
    def state(self):
        return self.optimizer.state

    def step(self, closure=None):
        return self.optimizer.step(closure)


class Holder:
    """As Lightning's: not an optimizer by itself."""

    def __init__(self, optimizer):
        self._optimizer = self.optimizer = optimizer

    def step(self):
        return self.optimizer.step()


@pytest.mark.parametrize(
    "wrap", [Wrapper, Holder, lambda o: Wrapper(Wrapper(o))], ids=["optimizer", "holder", "two"]
)
@each_name
def test_wrappers_are_looked_through(name, wrap):
    inner = reference(name)(random_params(), **FULL[name])
    wrapper = wrap(inner)
    assert from_torch(wrapper) is wrapper
    assert type(inner) is getattr(ironstep_optim, name)
    for p in inner.param_groups[0]["params"]:
        p.grad = randn(*p.shape)
    wrapper.step()
    assert_native(inner, 6)


def test_a_wrapper_around_something_else_is_refused():
    with pytest.raises(TypeError, match="optimizer"):
        from_torch(Wrapper(torch.optim.Adamax(random_params())))


@each_name
def test_fused_and_foreach_optimizers_are_converted_too(name):
    for flag in ({"foreach": True}, {"fused": True}):
        if name == "RMSprop" and "fused" in flag:
            continue
        pair = Pair(name, **FULL[name])
        pair.ours = reference(name)(pair.params, **FULL[name], **flag)
        pair.step()
        from_torch(pair.ours)
        pair.step()
        assert_native(pair.ours, len(pair.params))
        pair.check(ulps=8)


@each_name
def test_other_optimizers_of_torch_keep_their_own_step(name):
    """The class of ours changes one object, not torch's class."""
    other = reference(name)(random_params())
    from_torch(reference(name)(random_params()))
    assert type(other) is reference(name)
    assert "ironstep" not in type(other).step.__module__
    other.step()
    assert not hasattr(other, "last_dispatch")


def wrapped_by_hand(optimizer):
    """As users do it: a function around the bound method. It knows itself, and an empty cell."""
    original = optimizer.step

    def step(*args, **kwargs):
        step.calls = getattr(step, "calls", 0) + 1
        return original(*args, **kwargs) if step.calls else never

    optimizer.step = step
    if optimizer is None:
        never = None  # so that it is a cell


def replaced_by_itself(optimizer):
    optimizer.step = optimizer.step


@pytest.mark.parametrize("wrap", [wrapped_by_hand, replaced_by_itself])
@each_name
def test_a_step_wrapped_on_the_instance_leads_to_ours(name, wrap):
    optimizer = reference(name)(random_params(), **FULL[name])
    wrap(optimizer)
    from_torch(optimizer)
    for p in optimizer.param_groups[0]["params"]:
        p.grad = randn(*p.shape)
    optimizer.step()
    assert_native(optimizer, 6)


@each_name
def test_a_step_that_calls_something_else_is_refused(name):
    optimizer = reference(name)(random_params(), **FULL[name])
    optimizer.step = lambda closure=None: None
    with pytest.raises(TypeError, match="its step was replaced"):
        from_torch(optimizer)
    assert type(optimizer) is reference(name)


class Patching(Wrapper):
    """As accelerate's with a GradScaler: keeps the step, and puts its own around it for a while."""

    def __init__(self, optimizer):
        super().__init__(optimizer)
        self.original = method = optimizer.step
        self.calls = 0

        def patched(*args, **kwargs):
            self.calls += 1
            return method(*args, **kwargs)

        self.patched = patched

    def step(self, closure=None):
        self.optimizer.step = self.patched
        result = self.optimizer.step(closure)
        self.optimizer.step = self.original
        return result


@each_name
def test_a_wrapper_that_keeps_the_step_leads_to_ours(name):
    inner = reference(name)(random_params(), **FULL[name])
    wrapper = from_torch(Patching(inner))
    for step in (wrapper.step, inner.step):
        for p in inner.param_groups[0]["params"]:
            p.grad = randn(*p.shape)
        inner._last = None
        step()
        assert_native(inner, 6)
    assert wrapper.calls == 1
