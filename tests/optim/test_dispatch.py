"""What the native step does not know goes to torch, in the same step, and `last_dispatch` says so."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode

from optim.cases import (
    FULL,
    NAMES,
    Pair,
    assert_handed_over,
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


def dense(*shape):
    p = nn.Parameter(randn(*shape))
    p.grad = randn(*shape)
    return p


def sparse_grad(rows, columns):
    indices = torch.randint(0, rows, (1, 4))
    return torch.sparse_coo_tensor(indices, randn(4, columns), (rows, columns))


@pytest.fixture
def checked_sparse():
    """torch warns once of whoever has not chosen whether to check."""
    with torch.sparse.check_sparse_tensor_invariants():
        yield


class Labelled(torch.Tensor):
    """A tensor subclass that changes nothing, of the kind that libraries hang metadata on."""


class LabelledParameter(nn.Parameter):
    pass


def complex_param():
    p = nn.Parameter(torch.randn(4, dtype=torch.complex64))
    p.grad = torch.randn(4, dtype=torch.complex64)
    return p


def with_sparse_grad():
    p = nn.Parameter(randn(6, 3))
    p.grad = sparse_grad(6, 3)
    return p


def negative(*shape):
    """The imaginary part of a conjugate: its numbers have the other sign in memory."""
    view = torch.randn(*shape, 1, dtype=torch.complex64)[..., 0].conj().imag
    assert view.is_neg()
    return view


def negative_param():
    p = nn.Parameter(negative(4))
    p.grad = randn(4)
    return p


def with_negative_grad(shape, of):
    p = nn.Parameter(randn(*shape))
    p.grad = negative(*of).expand(shape)
    return p


def conjugate_grad():
    p = nn.Parameter(torch.randn(4, dtype=torch.complex64))
    p.grad = torch.randn(4, dtype=torch.complex64).conj()
    assert p.grad.is_conj()
    return p


def subclass_param():
    p = LabelledParameter(randn(4))
    p.grad = randn(4)
    return p


def subclass_tensor():
    p = randn(4).as_subclass(Labelled)
    p.grad = randn(4)
    return p


def subclass_grad():
    p = nn.Parameter(randn(4))
    p.grad = randn(4).as_subclass(Labelled)
    return p


def wrapper_subclass():
    p = nn.Parameter(TwoTensor(randn(4), randn(4)))
    p.grad = TwoTensor(randn(4), randn(4))
    return p


# Each with a word that the reason must have.
FOREIGN = {
    "complex": (complex_param, "complex"),
    "neg-param": (negative_param, "neg"),
    "neg-grad": (lambda: with_negative_grad((4, 3), (4, 3)), "neg"),
    "neg-grad-of-one": (lambda: with_negative_grad((1,), (1,)), "neg"),
    "neg-grad-0d": (lambda: with_negative_grad((), ()), "neg"),
    "neg-grad-expanded": (lambda: with_negative_grad((3, 2), (1, 2)), "neg"),
    "subclass-param": (subclass_param, "LabelledParameter"),
    "subclass-tensor": (subclass_tensor, "Labelled"),
    "subclass-grad": (subclass_grad, "Labelled"),
    "wrapper-subclass": (wrapper_subclass, ""),
}
each_foreign = pytest.mark.parametrize(("make", "reason"), FOREIGN.values(), ids=FOREIGN)


def assert_all_same(pair, ulps=4):
    for i, (p, q) in enumerate(zip(pair.params, pair.torch_params, strict=True)):
        assert type(p) is type(q)
        if isinstance(p.data, TwoTensor):
            assert_same(p.a, q.a, ulps, what=f"parameter {i}")
            assert_same(p.b, q.b, ulps, what=f"parameter {i}")
        elif p.is_complex():
            assert_same(torch.view_as_real(p.detach()), torch.view_as_real(q.detach()), ulps)
        else:
            assert_same(
                p.detach().as_subclass(torch.Tensor), q.detach().as_subclass(torch.Tensor), ulps
            )
        assert list(pair.ours.state.get(p, {})) == list(pair.torch.state.get(q, {}))


@each_foreign
@each_name
def test_foreign_tensors_go_to_torch_beside_native_ones(name, make, reason):
    pair = Pair(name, lambda: [dense(3, 2), make(), dense(5)], **FULL[name])
    for _ in range(3):
        pair.ours.step()
        pair.torch.step()
        assert_handed_over(pair.ours, {(0, 1): reason}, native=2)
    assert_all_same(pair)


@each_foreign
@each_name
def test_foreign_tensors_in_any_group_are_named_by_their_place(name, make, reason):
    def groups():
        return [
            {"params": [dense(2), dense(2)]},
            {"params": [make()], "lr": 0.003},
            {"params": [dense(3), dense(2), make()], "weight_decay": 0.0},
        ]

    pair = Pair(name, groups, **FULL[name])
    for _ in range(2):
        pair.ours.step()
        pair.torch.step()
        assert_handed_over(pair.ours, {(1, 0): reason, (2, 2): reason}, native=4)
    assert_all_same(pair)


@each_name
def test_conjugate_gradients_end_as_in_torch(name):
    """SGD adds them up; the others would view them as real numbers, and torch cannot."""
    pair = Pair(name, lambda: [dense(3), conjugate_grad()], **FULL[name])
    for optimizer in (pair.ours, pair.torch):
        if name == "SGD":
            optimizer.step()
        else:
            with pytest.raises(RuntimeError, match="view_as_real doesn't work on unresolved conj"):
                optimizer.step()
    if name == "SGD":
        assert_handed_over(pair.ours, {(0, 1): "complex"}, native=1)
        assert_all_same(pair)


@ours_only
@each_foreign
@each_name
def test_native_backend_refuses_foreign_tensors_and_changes_nothing(name, make, reason):
    params = [dense(3, 2), make(), dense(5)]
    before = [p.detach().clone() for p in (params[0], params[2])]
    optimizer = subject(name)(params, backend="native", **FULL[name])

    def counts():
        return [int(state["step"]) for state in optimizer.state.values() if "step" in state]

    steps = counts()
    with pytest.raises(RuntimeError, match=r"param_groups\[0\]\['params'\]\[1\]") as raised:
        optimizer.step()
    assert reason.lower() in str(raised.value).lower()
    assert all(map(torch.equal, (params[0], params[2]), before))
    assert counts() == steps
    assert not optimizer.state.get(params[0]) or name == "Adagrad"
    # Without the foreign one it goes on as if nothing had been.
    params[1].grad = None
    optimizer.step()
    assert_native(optimizer, 2)


@ours_only
@each_config
def test_native_backend_steps_what_it_knows(name, kwargs):
    pair = Pair(name, extra={"backend": "native"}, **kwargs)
    for _ in range(2):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@ours_only
@each_config
def test_torch_backend_hands_everything_over(name, kwargs):
    pair = Pair(name, extra={"backend": "torch"}, **kwargs)
    for _ in range(3):
        pair.step()
    assert_handed_over(pair.ours, {(0, i): "backend" for i in range(len(pair.params))}, native=0)
    pair.check(ulps=0)


@ours_only
@each_name
def test_backend_may_be_changed_between_steps(name):
    pair = Pair(name, **FULL[name])
    for backend in ("native", "torch", "auto", "torch", "native"):
        pair.ours.backend = backend
        pair.step()
    pair.check(ulps=8)


@pytest.mark.usefixtures("checked_sparse")
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_sparse_gradients_go_to_torch_beside_dense_ones(name):
    kwargs = {"SGD": dict(lr=0.1, momentum=0.9), "Adagrad": dict(lr=0.1)}[name]
    pair = Pair(name, lambda: [dense(3, 2), with_sparse_grad(), dense(5)], **kwargs)
    for _ in range(3):
        pair.ours.step()
        pair.torch.step()
        assert_handed_over(pair.ours, {(0, 1): "sparse"}, native=2)
        grad = sparse_grad(6, 3)
        pair.params[1].grad, pair.torch_params[1].grad = grad, grad.clone()
    assert_same(pair.params[1], pair.torch_params[1])
    assert_same(pair.params[0], pair.torch_params[0])


@pytest.mark.usefixtures("checked_sparse")
@pytest.mark.parametrize("name", ["RMSprop", "Adam", "AdamW"])
def test_sparse_gradients_are_refused_in_torchs_words(name):
    messages = []
    for cls in (subject(name), reference(name)):
        with pytest.raises(RuntimeError, match="sparse") as raised:
            cls([dense(3, 2), with_sparse_grad()]).step()
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


@pytest.mark.usefixtures("checked_sparse")
def test_embedding_with_sparse_gradients_trains_as_with_torch():
    def train(cls):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(20, 4, sparse=True), nn.Linear(4, 1))
        optimizer = cls(model.parameters(), lr=0.1, momentum=0.0)
        for _ in range(4):
            optimizer.zero_grad()
            model(torch.randint(0, 20, (8,))).pow(2).mean().backward()
            optimizer.step()
        return nn.utils.parameters_to_vector(model.parameters())

    assert_same(train(subject("SGD")), train(reference("SGD")), ulps=16)


@each_name
def test_meta_parameters_go_to_torch(name):
    p = nn.Parameter(torch.empty(3, 2, device="meta"))
    p.grad = torch.empty(3, 2, device="meta")
    optimizer = subject(name)([dense(2), p])
    optimizer.step()
    assert_handed_over(optimizer, {(0, 1): "meta"}, native=1)


def fake_cuda_params():
    """Tensors of a GPU that is not there: torch knows their device, shape and type, and no number."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        params = [nn.Parameter(torch.randn(4, 3, device="cuda")) for _ in range(2)]
        for p in params:
            p.grad = torch.ones_like(p)
    return params


@each_name
def test_cuda_parameters_go_to_torch_beside_native_ones(name):
    gpu = fake_cuda_params()
    pair = Pair(name, lambda: [dense(3, 2), dense(4)], **FULL[name])
    optimizer = subject(name)(
        [{"params": [gpu[0], pair.params[0]]}, {"params": [pair.params[1], gpu[1]]}], **FULL[name]
    )
    for _ in range(2):
        optimizer.step()
        pair.torch.step()
        assert_handed_over(optimizer, {(0, 0): "", (1, 1): ""}, native=2)
    for p, q in zip(pair.params, pair.torch_params, strict=True):
        assert_same(p, q)
    assert all(isinstance(p, FakeTensor) and p.device.type == "cuda" for p in gpu)
    states = [v for v in optimizer.state[gpu[0]].values() if v.dim()]
    assert all(isinstance(v, FakeTensor) and v.device.type == "cuda" for v in states)


@each_name
def test_inside_fake_tensor_mode_no_native_memory_is_touched(name):
    with FakeTensorMode(allow_non_fake_inputs=True):
        p = nn.Parameter(torch.randn(4, 3))
        optimizer = subject(name)([p], foreach=True)
        p.grad = torch.ones_like(p)
        if name != "Adagrad":  # torch's own reads a number out of the step, which has none
            optimizer.step()
            assert_handed_over(optimizer, {(0, 0): ""}, native=0)


class Recorder(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@each_name
def test_a_dispatch_mode_sees_the_operations_of_torch(name):
    """Whoever watches every operation, as FLOP counters and tracers do, must not miss this one."""
    pair = Pair(name, **FULL[name])
    pair.step()
    pair.set_grads()
    with Recorder() as ours:
        pair.ours.step()
    with Recorder() as theirs:
        pair.torch.step()
    # torch's own conversions of scalars differ between a list and its parts.
    assert [f for f in ours.seen if f.endswith("_")] == [f for f in theirs.seen if f.endswith("_")]
    assert_handed_over(pair.ours, {(0, i): "mode" for i in range(len(pair.params))}, native=0)
    pair.check()
    pair.step()
    assert_native(pair.ours, len(pair.params))


class FunctionWatcher(torch.overrides.TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


@each_name
def test_a_function_mode_does_not_disturb_the_step(name):
    pair = Pair(name, **FULL[name])
    for _ in range(2):
        pair.set_grads()
        with FunctionWatcher():
            pair.ours.step()
        pair.torch.step()
    pair.check()


@each_name
def test_default_device_does_not_disturb_the_step(name):
    pair = Pair(name, **FULL[name])
    pair.step()  # torch makes RMSprop's step on the default device, wherever the parameter is
    with torch.device("meta"):
        pair.set_grads([torch.randn(q.shape, device="cpu") for q in pair.torch_params])
        pair.ours.step()
        pair.torch.step()
    pair.check()


@each_name
def test_an_uninitialized_parameter_waits_for_its_shape(name):
    def make():
        return [dense(2), nn.Parameter(torch.zeros(()))]

    if name == "Adagrad":  # torch's constructor asks for the shape
        for cls in (subject(name), reference(name)):
            with pytest.raises(ValueError, match="uninitialized parameter"):
                cls([nn.UninitializedParameter()])
        return
    results = []
    for cls in (subject(name), reference(name)):
        torch.manual_seed(0)
        layer = nn.LazyLinear(3)
        optimizer = cls([dense(2), *layer.parameters()], **FULL[name])
        optimizer.step()
        if cls is subject(name):
            assert_native(optimizer, 1)
        layer(randn(2, 4)).pow(2).sum().backward()
        optimizer.step()
        if cls is subject(name):
            assert_native(optimizer, 3)
        results.append(nn.utils.parameters_to_vector(layer.parameters()))
    assert_same(results[0], results[1])


@ours_only
@pytest.mark.parametrize("what", ["parameter", "gradient"])
@each_name
def test_freed_storage_never_reaches_the_kernel(name, what):
    """FSDP frees the memory of parameters between uses. torch reads through the null pointer and dies."""
    params = [dense(3), dense(4)]
    before = params[0].detach().clone()
    optimizer = subject(name)(params, backend="native")
    tensor = params[1] if what == "parameter" else params[1].grad
    tensor.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match=r"params'\]\[1\]"):
        optimizer.step()
    assert torch.equal(params[0], before)


FREED = """
import sys, torch
import {module} as optim
p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)
optimizer = optim.Adam([p])
optimizer.step()
p.untyped_storage().resize_(0)
try:
    optimizer.step()
except RuntimeError as error:
    sys.exit(3)
"""


@ours_only
def test_freed_storage_under_auto_is_an_error_or_torchs_own_end():
    code = FREED.format(module=subject("Adam").__module__.rpartition(".")[0])
    ours = subprocess.run([sys.executable, "-c", code], check=False).returncode
    theirs = subprocess.run([sys.executable, "-c", FREED.format(module="torch.optim")], check=False)
    assert ours in (3, theirs.returncode)


@each_name
def test_copy_on_write_clones_are_not_changed_together(name):
    def make():
        return [nn.Parameter(torch._lazy_clone(randn(5))) for _ in range(2)]

    originals = [randn(5), randn(3, 4)]
    before = [t.clone() for t in originals]
    params = [nn.Parameter(torch._lazy_clone(t)) for t in originals]
    expected = [nn.Parameter(t.clone()) for t in originals]
    optimizer = subject(name)(params, **FULL[name])
    torch_optimizer = reference(name)(expected, foreach=False, **FULL[name])
    for p, q in zip(params, expected, strict=True):
        p.grad = q.grad = randn(*q.shape)
    optimizer.step()
    torch_optimizer.step()
    # States that share their memory with a snapshot, as a cheap checkpoint has them.
    snapshots = []
    for p in params:
        for key, value in optimizer.state[p].items():
            optimizer.state[p][key] = torch._lazy_clone(value)
            snapshots.append((value, value.clone()))
    lazy_grad = torch._lazy_clone(params[0].grad)
    grad_before = params[0].grad.clone()
    params[0].grad = lazy_grad
    optimizer.step()
    torch_optimizer.step()
    assert all(map(torch.equal, originals, before))
    assert all(torch.equal(value, copy) for value, copy in snapshots)
    assert torch.equal(lazy_grad, grad_before)
    for p, q in zip(params, expected, strict=True):
        assert_same(p, q)


def steps_as_torch(name, make, reasons, native, kwargs=None, steps=3):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns about duplicates
        pair = Pair(name, make, **(kwargs or FULL[name]))
    for _ in range(steps):
        pair.ours.step()
        pair.torch.step()
        assert_handed_over(pair.ours, reasons, native=native)
    for p, q in zip(pair.params, pair.torch_params, strict=True):
        assert_same(p, q)
    return pair


@each_name
def test_a_duplicate_parameter_steps_twice_as_in_torch(name):
    def make():
        p = dense(4)
        return [dense(3), p, dense(2), p]

    pair = steps_as_torch(name, make, {(0, 1): "", (0, 3): ""}, 2)
    pair.check()


@each_name
def test_overlapping_views_of_one_buffer_step_one_after_another(name):
    def make():
        buffer = randn(10)
        first, second = nn.Parameter(buffer[:6]), nn.Parameter(buffer[4:])
        first.grad, second.grad = randn(6), randn(6)
        return [dense(3), first, second]

    steps_as_torch(name, make, {(0, 1): "memory", (0, 2): "memory"}, 1)


@each_name
def test_overlap_across_groups_is_seen(name):
    def make():
        buffer = randn(10)
        first, second = nn.Parameter(buffer[:6]), nn.Parameter(buffer[5:])
        first.grad, second.grad = randn(6), randn(5)
        return [{"params": [first]}, {"params": [dense(3), second], "lr": 1e-3}]

    steps_as_torch(name, make, {(0, 0): "memory", (1, 1): "memory"}, 1)


@each_name
def test_interleaved_views_of_one_buffer_do_not_overlap(name):
    """Even and odd elements: nothing is shared. Either dispatch is right, the numbers are one."""

    def make():
        buffer = randn(10)
        params = [nn.Parameter(buffer[::2]), nn.Parameter(buffer[1::2])]
        for p in params:
            p.grad = randn(5)
        return params

    pair = Pair(name, make, **FULL[name])
    for _ in range(2):
        pair.step()
    pair.check()


@each_name
def test_adjacent_views_of_one_buffer_are_native(name):
    """As flattened parameters are: many views, one buffer, one flat gradient."""

    def make():
        buffer, grads = randn(12), randn(12)
        params = [nn.Parameter(buffer[4 * i : 4 * i + 4]) for i in range(3)]
        for i, p in enumerate(params):
            p.grad = grads[4 * i : 4 * i + 4]
        return params

    pair = steps_as_torch(name, make, {}, 3)
    pair.check()


@each_name
def test_a_gradient_that_is_the_parameter_itself(name):
    def make():
        p = nn.Parameter(randn(4))
        p.grad = p.data
        return [dense(3), p]

    steps_as_torch(name, make, {(0, 1): "memory"}, 1)


@each_name
def test_a_gradient_that_shares_part_of_its_parameter(name):
    def make():
        buffer = randn(8)
        p = nn.Parameter(buffer[:6])
        p.grad = buffer[2:]
        return [p, dense(3)]

    if name == "Adagrad":  # torch's operation refuses such an operand
        for cls in (subject(name), reference(name)):
            with pytest.raises(RuntimeError, match="single memory location"):
                cls(make()).step()
        return
    steps_as_torch(name, make, {(0, 0): "memory"}, 1)


@each_name
def test_one_gradient_for_two_parameters_is_native(name):
    """It is only read."""

    def make():
        grad = randn(5)
        params = [nn.Parameter(randn(5)), nn.Parameter(randn(5))]
        for p in params:
            p.grad = grad
        return params

    steps_as_torch(name, make, {}, 2)


@pytest.mark.parametrize("name", ["Adam", "RMSprop"])
def test_states_that_share_memory_step_as_in_torch(name):
    pair = Pair(
        name,
        lambda: [dense(4), dense(3)],
        lr=0.1,
        **({"centered": True} if name == "RMSprop" else {}),
    )
    pair.ours.step()
    pair.torch.step()
    for optimizer, params in ((pair.ours, pair.params), (pair.torch, pair.torch_params)):
        state = optimizer.state[params[0]]
        keys = [k for k in state if k != "step"]
        state[keys[1]] = state[keys[0]]
    pair.ours.step()
    pair.torch.step()
    assert_handed_over(pair.ours, {(0, 0): "memory"}, native=1)
    pair.check()


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_step_count_shared_by_two_parameters_counts_as_in_torch(name):
    pair = Pair(name, lambda: [dense(4), dense(3)], **FULL[name])
    pair.ours.step()
    pair.torch.step()
    for optimizer, params in ((pair.ours, pair.params), (pair.torch, pair.torch_params)):
        optimizer.state[params[1]]["step"] = optimizer.state[params[0]]["step"]
    for _ in range(2):
        pair.ours.step()
        pair.torch.step()
    pair.check()


@each_name
def test_a_parameter_whose_elements_share_memory_is_refused_as_by_torch(name):
    for cls in (subject(name), reference(name)):
        p = nn.Parameter(torch.ones(1).expand(4))
        p.grad = torch.ones(4)
        optimizer = cls([p], lr=0.1)
        with pytest.raises(RuntimeError, match="single memory location"):
            optimizer.step()


@each_name_with_late_states
def test_differentiable_steps_are_torchs(name):
    """The step is part of the graph: a gradient flows through it to the learning rate."""
    results = []
    for cls in (subject(name), reference(name)):
        torch.manual_seed(0)
        p = randn(3, dtype=torch.float64).requires_grad_()
        grad = randn(3, dtype=torch.float64).requires_grad_()
        copy = p.clone()
        optimizer = cls(
            [nn.Parameter(torch.zeros(3, dtype=torch.float64))], lr=0.1, differentiable=True
        )
        if name == "Adagrad":
            optimizer.state.clear()
        optimizer.param_groups[0]["params"] = [copy]
        copy.grad = grad
        optimizer.step()
        if cls is subject(name):
            assert_handed_over(optimizer, {(0, 0): "differentiable"}, native=0)
        copy.sum().backward()
        results.append((p.grad, grad.grad))
    for mine, theirs in zip(*results, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", ["RMSprop", "Adam", "AdamW"])
def test_capturable_on_the_cpu_is_refused_in_torchs_words(name):
    messages = []
    for cls in (subject(name), reference(name)):
        p = dense(3)
        optimizer = cls([p], capturable=True)
        with pytest.raises(AssertionError, match="capturable") as raised:
            optimizer.step()
        messages.append(str(raised.value))
    assert messages[0] == messages[1]


@ours_only
@each_name
def test_inference_tensors_step_as_others_do(name):
    """torch refuses them outside inference mode: they have no version. None is needed, for autograd
    does not save them."""
    with torch.inference_mode():
        p = torch.ones(3)
    q = torch.ones(3)
    p.grad = q.grad = torch.ones(3)
    for params, cls in (([p], subject(name)), ([q], reference(name))):
        cls(params).step()
    assert_same(p, q, size=1.0)


@each_name
def test_steps_inside_inference_mode_are_torchs(name):
    pair = Pair(name, **FULL[name])
    with torch.inference_mode():
        for _ in range(2):
            for p, q in zip(pair.params, pair.torch_params, strict=True):
                p.grad = q.grad = randn(*q.shape)
            pair.ours.step()
            pair.torch.step()
    for p, q in zip(pair.params, pair.torch_params, strict=True):
        assert_same(p, q, size=1.0)


@each_name
def test_frozen_parameters_step_if_they_have_a_gradient(name):
    """requires_grad says what autograd does; torch's step asks for the gradient alone."""
    pair = Pair(name, **FULL[name])
    pair.step()
    for p in (*pair.params, *pair.torch_params):
        p.requires_grad_(False)
    pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check()


@each_name
def test_a_gradient_with_history_is_used_and_not_kept(name):
    """As after backward(create_graph=True)."""
    pair = Pair(name, lambda: [nn.Parameter(randn(4))], **FULL[name])
    for _ in range(2):
        for (p,), optimizer in ((pair.params, pair.ours), (pair.torch_params, pair.torch)):
            (grad,) = torch.autograd.grad(p.pow(3).sum(), p, create_graph=True)
            assert grad.requires_grad
            p.grad = grad
            optimizer.step()
            for value in optimizer.state[p].values():
                assert not value.requires_grad
            assert p.is_leaf
            p.grad = None
    pair.check()


@pytest.mark.parametrize("wrong", ["dtype", "device"])
@each_name
def test_states_of_another_kind_are_treated_as_by_torch(name, wrong):
    """A float64 state beside a float32 parameter, or one on another device: torch decides."""
    pair = Pair(name, lambda: [dense(4), dense(3)], **FULL[name])
    pair.ours.step()
    pair.torch.step()
    outcomes = []
    for optimizer, params in ((pair.ours, pair.params), (pair.torch, pair.torch_params)):
        state = optimizer.state[params[0]]
        key = next(k for k in state if k != "step")
        state[key] = state[key].double() if wrong == "dtype" else torch.empty(4, device="meta")
        try:
            optimizer.step()
            outcomes.append(None)
        except (RuntimeError, NotImplementedError) as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


@each_name
def test_a_state_of_another_shape_is_an_error(name):
    p = dense(4)
    optimizer = subject(name)([p], **FULL[name])
    optimizer.step()
    key = next(k for k in optimizer.state[p] if k != "step")
    optimizer.state[p][key] = torch.zeros(5)
    with pytest.raises((RuntimeError, ValueError)):
        optimizer.step()


@each_name
def test_a_missing_state_is_torchs_error(name):
    if name == "SGD":
        return  # a missing buffer is made
    errors = []
    for cls in (subject(name), reference(name)):
        p = dense(4)
        optimizer = cls([p], **FULL[name])
        optimizer.step()
        key = next(k for k in optimizer.state[p] if k != "step")
        del optimizer.state[p][key]
        with pytest.raises(KeyError) as raised:
            optimizer.step()
        errors.append(str(raised.value))
    assert errors[0] == errors[1]


@each_name
def test_options_switched_on_in_mid_run_behave_as_in_torch(name):
    """amsgrad, momentum or centered switched on after the states were made."""
    option = {
        "SGD": {"momentum": 0.9},
        "Adagrad": {"lr_decay": 0.5},
        "RMSprop": {"momentum": 0.9},
        "Adam": {"amsgrad": True},
        "AdamW": {"amsgrad": True},
    }[name]
    outcomes = []
    pair = Pair(name, lambda: [dense(4)], lr=0.1)
    for optimizer in (pair.ours, pair.torch):
        optimizer.step()
        optimizer.param_groups[0].update(option)
        try:
            optimizer.step()
            outcomes.append(None)
        except KeyError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
    if outcomes[0] is None:
        pair.check()


def test_random_params_are_what_the_kernel_knows():
    optimizer = subject("Adam")(random_params())
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    assert_native(optimizer, 6)


def test_torchs_error_leaves_the_native_parameters_as_they_were():
    """A loop that catches the error and skips the batch goes on as with torch."""
    results = []
    for cls in (subject("Adam"), reference("Adam")):
        p, e = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
        p.grad, e.grad = torch.ones(3), torch.ones(3).to_sparse()
        optimizer = cls([p, e])
        with pytest.raises(RuntimeError, match="sparse"):
            optimizer.step()
        results.append(p.detach())
    assert torch.equal(*results)


@ours_only
def test_the_norm_keeps_a_nan_of_the_other_side():
    p, e = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    p.grad, e.grad = torch.full((3,), torch.inf), negative(3).fill_(torch.nan)
    optimizer = subject("SGD")([p, e], lr=0.1, clip_grad_norm=1.0)
    optimizer.step()
    assert optimizer.last_dispatch.native == 1
    assert optimizer.last_grad_norm.isnan()
    assert p.isnan().all()
