"""Values, gradients, buffers and errors are torch's, for every type and order of memory."""

import _thread
import copy
import inspect
import io
import operator
import pickle
import time

import pytest
import torch
from torch import nn

import ironstep
from nn.batchnorm_cases import (
    DTYPES,
    assert_close,
    buffers,
    by_torch,
    each_class,
    each_config,
    each_dtype,
    each_layout,
    gradients,
    in_float64,
    ours,
    pair,
    randn,
    theirs,
)

CHAINS = {
    "alone": (None, False),
    "relu": ("relu", False),
    "residual": (None, True),
    "residual-relu": ("relu", True),
}
each_chain = pytest.mark.parametrize(("activation", "adds"), CHAINS.values(), ids=CHAINS)
each_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


@each_mode
@each_chain
@each_dtype
@each_layout
def test_output_gradients_and_buffers(shape, order, dtype, activation, adds, training, calls):
    """Against torch's layers in float64 on the same numbers."""
    module, reference = pair(shape, dtype, activation)
    reference = in_float64(reference)
    module.train(training)
    reference.train(training)
    x = randn(shape, order, dtype).requires_grad_()
    residual = randn(shape, order, dtype).requires_grad_() if adds else None
    x64 = x.detach().double().requires_grad_()
    residual64 = residual.detach().double().requires_grad_() if adds else None

    y = module(x, residual) if adds else module(x)
    y64 = by_torch(reference, x64, residual64, activation == "relu")
    grad = randn(shape, order, dtype)
    # Where the float64 output is nearly 0, its sign may be another here: no gradient is compared.
    if activation:
        grad = grad * (y64.abs() > 0.1)
    ours_ = gradients(y, grad, [x, *module.parameters(), *([residual] if adds else [])])
    wanted = gradients(
        y64, grad.double(), [x64, *reference.parameters(), *([residual64] if adds else [])]
    )

    assert tuple(calls) == (1, 1)
    # One rounding of the result; float32 and float64 also round what they compute with.
    ulps = 1 if dtype in (torch.bfloat16, torch.float16) else 16
    assert_close(y, y64, dtype, ulps)
    for got, want in zip(ours_, wanted, strict=True):
        assert_close(got, want, dtype, ulps)
    for name, buffer in buffers(reference).items():
        got = buffers(module)[name]
        if name == "num_batches_tracked":
            assert got == buffer
            assert got.dtype == torch.int64
        else:
            assert_close(got, buffer, dtype, 2)


@each_layout
def test_strides_are_the_inputs(shape, order, calls):
    module, reference = pair(shape)
    x = randn(shape, order).requires_grad_()
    strides = [(size, stride) for size, stride in zip(shape, x.stride(), strict=True) if size != 1]
    for one in (module, reference):
        y = one(x)
        # A gradient that is laid out otherwise.
        (grad,) = torch.autograd.grad(y, x, torch.ones(()).double().expand(shape))
        for tensor in (y, grad):
            got = zip(shape, tensor.stride(), strict=True)
            assert [(size, stride) for size, stride in got if size != 1] == strides
    assert tuple(calls) == (1, 1)


@each_layout
def test_gradients_of_any_strides(shape, order):
    module, reference = pair(shape)
    x = randn(shape, order).requires_grad_()
    expanded = randn((shape[0], *[1] * (len(shape) - 1))).expand(shape)
    gaps = randn((*shape, 2))[..., 0]
    backwards = randn(shape[::-1]).permute(*reversed(range(len(shape))))
    for grad in (expanded, gaps, backwards):
        got = gradients(module(x), grad, [x, *module.parameters()])
        wanted = gradients(reference(x), grad, [x, *reference.parameters()])
        for a, b in zip(got, wanted, strict=True):
            assert_close(a, b, torch.float64, 16)


@each_config
@each_class
def test_training_and_eval_interleaved(name, config, calls):
    shape = {"BatchNorm1d": (8, 3), "BatchNorm2d": (4, 3, 2, 3), "BatchNorm3d": (2, 3, 2, 2, 3)}[
        name
    ]
    module, reference = pair(shape, **config)
    sgd = [
        torch.optim.SGD(m.parameters(), lr=0.1)
        for m in (module, reference)
        if config.get("affine", True)
    ]
    for step in range(12):
        training = step % 4 != 3
        x, grad = randn(shape, mean=step).requires_grad_(), randn(shape)
        outputs = []
        for one in (module, reference):
            one.train(training)
            one.zero_grad()
            x.grad = None
            y = one(x)
            y.backward(grad)
            outputs.append((y.detach(), x.grad))
        for got, wanted in zip(*outputs, strict=True):
            assert_close(got, wanted, torch.float64, 64)
        for optimizer in sgd:
            optimizer.step()
        for key, value in reference.state_dict().items():
            # Each step goes on from the last one's rounding.
            torch.testing.assert_close(module.state_dict()[key], value, rtol=1e-11, atol=1e-11)
    assert tuple(calls) == (12, 12)
    assert module.extra_repr() == reference.extra_repr()


@pytest.mark.parametrize("affine", [True, False])
def test_eval_with_no_statistics_normalizes_by_the_batch(affine):
    module, reference = pair((4, 3), affine=affine)
    for one in (module, reference):
        one.eval()
        one.running_mean = one.running_var = None
    x = randn((4, 3))
    assert_close(module(x), reference(x), torch.float64, 16)
    assert module.num_batches_tracked == reference.num_batches_tracked == 0


def test_buffers_are_used_in_eval_though_not_tracked():
    module, reference = pair((4, 3))
    for one in (module, reference):
        one.track_running_stats = False
    for training in (True, False):
        x = randn((4, 3))
        assert_close(module.train(training)(x), reference.train(training)(x), torch.float64, 16)
        for key, value in reference.state_dict().items():
            assert torch.equal(module.state_dict()[key], value)


@each_mode
@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (0, 3, 4, 4), (2, 3, 0, 4), (0, 3, 2, 2, 2)])
def test_empty_batches(shape, training):
    module, reference = pair(shape)
    for one in (module, reference):
        one.train(training)
    fused = ours(shape)(3, activation="relu").double().train(training)
    fused.load_state_dict(reference.state_dict())
    x = randn(shape).requires_grad_()
    wanted = reference(x)
    for one in (module, fused):
        y = one(x)
        assert (y.shape, y.dtype) == (wanted.shape, wanted.dtype)
        for got, want in zip(
            gradients(y, torch.ones_like(y), [x, *one.parameters()]),
            gradients(reference(x), torch.ones_like(y), [x, *reference.parameters()]),
            strict=True,
        ):
            assert torch.equal(got, want)
    reference.num_batches_tracked.fill_(int(training))
    for key, value in reference.state_dict().items():
        assert torch.equal(module.state_dict()[key], value)


def outcome(module, x):
    """The output, or what the error says."""
    try:
        return module(x)
    except Exception as error:
        return type(error), str(error)


ERRORS = {
    "1d-of-4": ("BatchNorm1d", {}, lambda: torch.zeros(2, 3, 4, 4)),
    "1d-of-1": ("BatchNorm1d", {}, lambda: torch.zeros(3)),
    "2d-of-3": ("BatchNorm2d", {}, lambda: torch.zeros(2, 3, 4)),
    "3d-of-4": ("BatchNorm3d", {}, lambda: torch.zeros(2, 3, 4, 4)),
    "one-value": ("BatchNorm1d", {}, lambda: torch.zeros(1, 3)),
    "one-value-2d": ("BatchNorm2d", {}, lambda: torch.zeros(1, 3, 1, 1)),
    "channels": ("BatchNorm1d", {}, lambda: torch.zeros(4, 5)),
    "channels-not-affine": ("BatchNorm1d", {"affine": False}, lambda: torch.zeros(4, 5)),
    "channels-2d": ("BatchNorm2d", {}, lambda: torch.zeros(4, 5, 2, 2)),
    "eps-0": ("BatchNorm1d", {"eps": 0.0}, lambda: torch.zeros(4, 3)),
    "eps-below": ("BatchNorm1d", {"eps": -1e-5}, lambda: torch.zeros(4, 3)),
    "integers": ("BatchNorm1d", {}, lambda: torch.zeros(4, 3, dtype=torch.int64)),
    "complex": ("BatchNorm1d", {}, lambda: torch.zeros(4, 3, dtype=torch.complex64)),
    "float64-in-float32": ("BatchNorm1d", {}, lambda: torch.zeros(4, 3, dtype=torch.float64)),
    "sparse": ("BatchNorm1d", {}, lambda: torch.ones(4, 3).to_sparse()),
    "no-tensor": ("BatchNorm1d", {}, lambda: [[1.0, 2.0, 3.0]]),
}


@each_mode
@pytest.mark.parametrize(("name", "config", "make"), ERRORS.values(), ids=ERRORS)
def test_what_torch_refuses_is_refused_alike(name, config, make, training):
    module, reference = ours(name)(3, **config), theirs(name)(3, **config)
    for one in (module, reference):
        one.train(training)
    before = copy.deepcopy(module.state_dict())
    wanted = outcome(reference, make())
    got = outcome(module, make())
    if isinstance(wanted, torch.Tensor):  # one value per channel, in eval
        torch.testing.assert_close(got, wanted)
        return
    assert got == wanted
    for key, value in module.state_dict().items():
        # torch counts a batch before it looks at it.
        assert torch.equal(value, before[key]) or key == "num_batches_tracked"
    assert module.num_batches_tracked == reference.num_batches_tracked


def test_a_batch_of_one_says_what_is_wrong():
    with pytest.raises(ValueError, match="more than 1 value per channel when training"):
        ironstep.nn.BatchNorm2d(3, activation="relu")(torch.zeros(1, 3, 1, 1))


def test_a_residual_of_another_shape():
    module = ironstep.nn.BatchNorm2d(3)
    x = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"^residual: got shape \(1, 3, 4, 4\); that of input"):
        module(x, x[:1])
    assert module.num_batches_tracked == 0
    assert torch.equal(module.running_mean, torch.zeros(3))


@pytest.mark.parametrize("activation", ["gelu", True, nn.ReLU(), "ReLU"])
def test_an_activation_that_is_not_known(activation):
    with pytest.raises(ValueError, match=r"^activation: got .*; None or 'relu' expected"):
        ironstep.nn.BatchNorm1d(3, activation=activation)
    if isinstance(activation, nn.Module):
        return  # torch puts an assigned module among the children
    module = ironstep.nn.BatchNorm1d(3)
    module.activation = activation
    with pytest.raises(ValueError, match=r"^activation"):
        module(torch.zeros(4, 3))
    assert module.num_batches_tracked == 0


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@each_mode
def test_half_inputs_with_float32_parameters(half, training, calls):
    module, reference = pair((6, 4, 5, 5), torch.float32)
    x = randn((6, 4, 5, 5), dtype=half).requires_grad_()
    grad = randn((6, 4, 5, 5), dtype=half)
    results = []
    for one in (module, reference):
        one.train(training)
        y = one(x)
        results.append([y, *gradients(y, grad, [x, *one.parameters()]), *one.buffers()])
    assert tuple(calls) == (1, 1)
    for got, wanted in zip(*results, strict=True):
        assert got.dtype == wanted.dtype
        if got.is_floating_point():
            # torch rounds in between
            ulps = 2 if got.dtype == half else 64
            assert_close(got, wanted, got.dtype, ulps)


def test_inputs_of_half_the_precision_are_not_taken_beyond_torchs_rule():
    """Whatever torch says to a mixture, ours says."""
    for dtype in DTYPES:
        for parameters in DTYPES:
            module, reference = ours((4, 3))(3).to(parameters), theirs((4, 3))(3).to(parameters)
            x = randn((4, 3), dtype=dtype)
            got, wanted = outcome(module, x), outcome(reference, x)
            if isinstance(wanted, torch.Tensor):
                assert_close(got, wanted, dtype, 16)
            else:
                assert got == wanted


@pytest.mark.parametrize(
    "order", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "NHWC"]
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "eval"])
@pytest.mark.parametrize("activation", [None, "relu"])
def test_only_what_is_asked_for_gets_a_gradient(activation, training, order, calls):
    x = randn((4, 3, 5, 5), order)
    residual = randn((4, 3, 5, 5), order)
    for mask in range(1, 16):
        module, reference = pair((4, 3, 5, 5), activation=activation)
        operands = []
        for one in (module.train(training), reference.train(training)):
            own = [x.clone(), residual.clone(), one.weight, one.bias]
            for i, operand in enumerate(own):
                operand.requires_grad_(bool(mask >> i & 1))
            operands.append(own)
        y = module(*operands[0][:2])
        wanted = by_torch(reference, *operands[1][:2], relu=activation is not None)
        y.square().sum().backward()
        wanted.square().sum().backward()
        for got, want in zip(*operands, strict=True):
            assert_close(got.grad, want.grad, torch.float64, 64)
    assert tuple(calls) == (15, 15)


def test_bias_without_weight_and_weight_without_bias(calls):
    for missing in ("weight", "bias"):
        for activation in (None, "relu"):
            module, reference = pair((5, 3), activation=activation)
            setattr(module, missing, None)
            setattr(reference, missing, None)
            x = randn((5, 3)).requires_grad_()
            y, wanted = module(x), by_torch(reference, x, relu=activation is not None)
            grad = torch.randn_like(y)
            for got, want in zip(
                (y, *gradients(y, grad, [x, *module.parameters()])),
                (wanted, *gradients(wanted, grad, [x, *reference.parameters()])),
                strict=True,
            ):
                assert_close(got, want, torch.float64, 16)
    assert tuple(calls) == (4, 4)


def test_the_bias_keyword_is_there_where_torch_has_it():
    if "bias" not in inspect.signature(nn.BatchNorm2d).parameters:
        with pytest.raises(TypeError, match="bias"):
            ironstep.nn.BatchNorm2d(3, bias=False)
        return
    module = ironstep.nn.BatchNorm2d(3, bias=False)
    assert module.bias is None
    y = module(torch.randn(2, 3, 4, 4))
    y.sum().backward()
    assert module.weight.grad is not None


def test_nan_and_infinity_travel_as_in_torch():
    for bad in (float("nan"), float("inf"), -float("inf")):
        module, reference = pair((4, 3, 2, 2), torch.float32, "relu")
        x = randn((4, 3, 2, 2), dtype=torch.float32)
        x[1, 1, 0, 1] = bad
        x.requires_grad_()
        y, wanted = module(x), by_torch(reference, x, relu=True)
        torch.testing.assert_close(y, wanted, equal_nan=True)
        grad = torch.randn_like(y)
        for got, want in zip(
            gradients(y, grad, [x, *module.parameters()]),
            gradients(wanted, grad, [x, *reference.parameters()]),
            strict=True,
        ):
            torch.testing.assert_close(got, want, equal_nan=True, rtol=1e-4, atol=1e-5)
        for key, value in reference.state_dict().items():
            got = module.state_dict()[key]
            # The mean of a channel with an infinity is infinite there and NaN here.
            assert torch.equal(got.isfinite(), value.isfinite())
            torch.testing.assert_close(got[got.isfinite()], value[got.isfinite()])


# What is kept for backward


def saved_bytes(forward):
    """Bytes of all tensors that a forward keeps, each memory counted once, parameters left out."""
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward()
    return sum(kept.values()), y


@each_chain
def test_no_more_is_kept_than_torch_keeps(activation, adds):
    shape = (8, 16, 12, 12)
    module, reference = pair(shape, torch.float32, activation)
    x = randn(shape, dtype=torch.float32).requires_grad_()
    residual = randn(shape, dtype=torch.float32).requires_grad_() if adds else None
    mine, y = saved_bytes(lambda: module(x, residual))
    torchs, _ = saved_bytes(lambda: by_torch(reference, x, residual, activation is not None))
    y.sum().backward()
    size = x.numel() * x.element_size()
    fewer = size if activation and not adds else 0
    # With the mask recomputed, the bias is looked at once more: it is a parameter, and no new memory.
    assert mine <= torchs - fewer + (module.bias.numel() * 4 if fewer else 0)


def test_nothing_is_kept_without_gradients():
    module = ironstep.nn.BatchNorm2d(3, activation="relu")
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            kept, y = saved_bytes(lambda: module(x))
        assert (kept, y.requires_grad) == (0, False)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    kept, y = saved_bytes(lambda: module(x.detach()))
    assert (kept, y.requires_grad) == (0, False)
    assert module.num_batches_tracked == 3


def test_inference_tensors(calls):
    module, reference = pair((4, 3))
    with torch.inference_mode():
        x = randn((4, 3))
        assert_close(module(x), reference(x), torch.float64, 16)
        inner = ironstep.nn.BatchNorm1d(3)
        inner(x.float())
    assert tuple(calls) == (2, 0)


def test_a_saved_tensor_that_was_changed_raises():
    x = torch.randn(4, 3, requires_grad=True)
    for change in ("input", "weight", "output"):
        module = ironstep.nn.BatchNorm1d(3, activation="relu")
        inner = x * 1
        y = module(inner, inner * 2)
        changed = {"input": inner, "weight": module.weight, "output": y}[change]
        with torch.no_grad():
            changed.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


def test_updating_the_statistics_counts_versions_as_torch_does():
    x = torch.randn(4, 3)
    versions = []
    for cls in (ironstep.nn.BatchNorm1d, nn.BatchNorm1d):
        module = cls(3)
        before = [buffer._version for buffer in module.buffers()]
        module(x)
        versions.append([b._version - v for b, v in zip(module.buffers(), before, strict=True)])
    assert versions[0] == versions[1]


def test_statistics_that_change_before_backward_do_not_disturb_it():
    """In eval, the gradient belongs to the statistics that normalized."""
    module = ironstep.nn.BatchNorm1d(3).double().eval()
    x = randn((4, 3)).requires_grad_()
    y = module(x)
    wanted = gradients(module(x), torch.ones_like(y), [x])
    module.train()(randn((4, 3), mean=9.0, sd=7.0))
    assert torch.equal(gradients(y, torch.ones_like(y), [x])[0], wanted[0])


def test_backward_twice():
    module, reference = pair((4, 3))
    x = randn((4, 3)).requires_grad_()
    for one in (module, reference):
        y = one(x).sum()
        y.backward(retain_graph=True)
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()
    for a, b in zip(module.parameters(), reference.parameters(), strict=True):
        assert_close(a.grad, b.grad, torch.float64, 16)


def test_no_cycle_keeps_the_graph_alive():
    import gc
    import weakref

    module = ironstep.nn.BatchNorm2d(3, activation="relu")
    gc.collect()
    gc.disable()
    try:
        x = torch.randn(2, 3, 4, 4, requires_grad=True)
        y = module(x, x * 2)
        gone = weakref.ref(y.grad_fn)
        del y
        assert gone() is None
    finally:
        gc.enable()


# A module as any other


@each_class
def test_signature_and_representation(name):
    mine, torchs = ours(name), theirs(name)
    parameters = list(inspect.signature(mine).parameters)
    assert parameters == [*inspect.signature(torchs).parameters, "activation"]
    assert issubclass(mine, torchs)
    assert repr(mine(3, momentum=None)) == repr(torchs(3, momentum=None))
    assert repr(mine(3, activation="relu")).endswith(", activation='relu')")


def test_a_subclass_has_its_own_signature_and_checks():
    class Strict(ironstep.nn.BatchNorm2d):
        def __init__(self, width):
            super().__init__(width, activation="relu")

        def _check_input_dim(self, x):
            if x.shape[1] != 3:
                raise ValueError("three only")

    assert list(inspect.signature(Strict).parameters) == ["width"]
    assert Strict(3)(torch.randn(2, 3, 4, 4)).min() == 0
    with pytest.raises(ValueError, match="three only"):
        Strict(4)(torch.randn(2, 4, 4, 4))


@each_class
def test_state_dicts_go_both_ways(name):
    mine, torchs = ours(name)(3, activation="relu"), theirs(name)(3)
    torchs.running_mean.fill_(2.0)
    torchs.num_batches_tracked.fill_(5)
    mine.load_state_dict(torchs.state_dict())
    assert mine.state_dict().keys() == torchs.state_dict().keys()
    assert mine.state_dict()._metadata == torchs.state_dict()._metadata
    torchs.load_state_dict(mine.state_dict())
    # Before version 2 there was no count.
    old = {k: v for k, v in torchs.state_dict().items() if k != "num_batches_tracked"}
    mine.load_state_dict(old)
    assert mine.num_batches_tracked == 5


@pytest.mark.parametrize("frozen", [False, True])
def test_copies_and_pickles(frozen):
    module = ironstep.nn.BatchNorm2d(3, eps=1e-3, activation="relu")
    if frozen:
        module.freeze()
    x = torch.randn(2, 3, 4, 4)
    module(x)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    for twin in (
        copy.copy(module),
        copy.deepcopy(module),
        pickle.loads(pickle.dumps(module)),
        torch.load(file, weights_only=False),
    ):
        assert type(twin) is type(module)
        assert repr(twin) == repr(module)
        assert torch.equal(twin(x), module(x))
        assert [p.requires_grad for p in twin.unfreeze().parameters()] == [True, True]
        if frozen:
            module.freeze()


def test_moves():
    module = ironstep.nn.BatchNorm2d(3, activation="relu")
    for dtype in DTYPES:
        x = torch.randn(2, 3, 4, 4).to(dtype)
        assert module.to(dtype)(x).dtype == dtype
    module.to(torch.float32).to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert module(x).is_contiguous(memory_format=torch.channels_last)
    assert module.to("meta")(x.to("meta")).device.type == "meta"


def test_hooks_run():
    module = ironstep.nn.BatchNorm1d(3, activation="relu")
    seen = []
    module.register_forward_pre_hook(lambda m, args: seen.append("before"))
    module.register_forward_hook(lambda m, args, y: seen.append("after"))
    module.register_full_backward_hook(lambda m, gx, gy: seen.append("backward"))
    module.weight.register_hook(lambda g: seen.append("weight"))
    x = torch.randn(4, 3, requires_grad=True)
    module(x).sum().backward()
    assert sorted(seen) == ["after", "backward", "before", "weight"]


def test_parameters_that_others_compute(calls):
    """torch.nn.utils.parametrize and spectral_norm put plain tensors where the parameter was."""

    class Positive(nn.Module):
        def forward(self, weight):
            return weight.exp()

    module, reference = pair((4, 3))
    for one in (module, reference):
        nn.utils.parametrize.register_parametrization(one, "weight", Positive())
    x = randn((4, 3)).requires_grad_()
    y, wanted = module(x), reference(x)
    assert_close(y, wanted, torch.float64, 16)
    y.square().sum().backward()
    wanted.square().sum().backward()
    for a, b in zip(module.parameters(), reference.parameters(), strict=True):
        assert_close(a.grad, b.grad, torch.float64, 64)
    assert tuple(calls) == (1, 1)


def test_functional_call():
    module, reference = pair((4, 3))
    x = randn((4, 3))
    others = {"weight": randn((3,)), "bias": randn((3,)), "running_mean": randn((3,))}
    for training in (True, False):
        got, wanted = (
            torch.func.functional_call(
                one.train(training), {k: v.clone() for k, v in others.items()}, (x,)
            )
            for one in (module, reference)
        )
        assert_close(got, wanted, torch.float64, 16)


def test_parameters_and_buffers_may_be_replaced_at_any_time():
    module, reference = pair((4, 3))
    x = randn((4, 3))
    for one in (module, reference):
        one(x)
        torch.manual_seed(1)
        one.weight = nn.Parameter(randn((3,)))
        one.bias.data = randn((3,))
        one.running_mean = randn((3,))
        one.running_var.data = torch.rand(3, dtype=torch.float64) + 1
    assert_close(module(x), reference(x), torch.float64, 16)
    assert_close(module.eval()(x), reference.eval()(x), torch.float64, 16)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(module.state_dict()[key], value)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_counter_that_is_a_plain_attribute_counts(momentum, calls):
    module, reference = pair((4, 3), momentum=momentum)
    for one in (module, reference):
        counter = one.num_batches_tracked
        del one.num_batches_tracked
        one.num_batches_tracked = counter
        for _ in range(3):
            one(torch.arange(12.0, dtype=torch.float64).view(4, 3))
        assert one.num_batches_tracked == 3
    assert_close(module.running_var, reference.running_var, torch.float64, 16)
    assert tuple(calls) == (3, 0)


def test_statistics_that_must_not_be_written_are_not():
    for cls in (ours("BatchNorm1d"), theirs("BatchNorm1d")):
        with torch.inference_mode():
            module = cls(3, affine=False)
        with pytest.raises(RuntimeError, match="inference tensor"):
            module(torch.arange(12.0).view(4, 3))
        assert not module.running_mean.any()
        assert module.running_var.eq(1).all()


def test_what_is_refused_counts_once():
    module, reference = pair((4, 3), momentum=None)
    x = randn((3, 4)).T  # not for the kernels
    for one in (module, reference):
        one(x)
        one(x)
        assert one.num_batches_tracked == 2
    assert_close(module.running_mean, reference.running_mean, torch.float64, 16)


def test_attributes_are_found_in_threads_without_python_code():
    module = ours("BatchNorm1d")(3)
    found = []
    # All of it is C: there is no Python frame that called.
    weights = map(operator.attrgetter("weight"), [module])
    _thread.start_new_thread(found.extend, (weights,))
    for _ in range(500):
        if found:
            break
        time.sleep(0.01)
    assert found == [module.weight]


def test_parameters_and_buffers_with_gaps():
    """torch 2.15 reads such a weight wrongly in backward: the reference's are dense."""
    module, reference = pair((4, 3))
    for name in ("weight", "running_mean"):
        values = getattr(reference, name).detach()
        gaps = torch.zeros(6, dtype=torch.float64)[::2].copy_(values)
        setattr(module, name, nn.Parameter(gaps) if name == "weight" else gaps)
    x = randn((4, 3)).requires_grad_()
    y, wanted = module(x), reference(x)
    assert_close(y, wanted, torch.float64, 16)
    grad = randn((4, 3))
    for got, want in zip(
        gradients(y, grad, [x, *module.parameters()]),
        gradients(wanted, grad, [x, *reference.parameters()]),
        strict=True,
    ):
        assert_close(got, want, torch.float64, 16)
    assert module.running_mean.stride() == (2,)
    assert_close(module.running_mean, reference.running_mean, torch.float64, 2)


# Frozen


def test_frozen_layers_survive_train(calls):
    module, reference = pair((4, 3, 2, 2))
    reference.eval()
    before = copy.deepcopy(module.state_dict())
    assert module.freeze() is module
    nn.Sequential(module).train()
    assert module.training
    x = randn((4, 3, 2, 2), mean=5.0).requires_grad_()
    y, wanted = module(x), reference(x)
    assert_close(y, wanted, torch.float64, 16)
    assert_close(
        *(gradients(one, torch.ones_like(y), [x])[0] for one in (y, wanted)), torch.float64, 16
    )
    for key, value in module.state_dict().items():
        assert torch.equal(value, before[key])
    assert tuple(calls) == (1, 1)
    assert [p.requires_grad for p in module.parameters()] == [False, False]
    module.unfreeze()
    module(x)
    assert module.num_batches_tracked == 1
    assert not torch.equal(module.running_mean, before["running_mean"])


def test_unfreezing_gives_back_what_was():
    module = ironstep.nn.BatchNorm1d(3)
    module.bias.requires_grad_(False)
    names = set(module.__dict__)
    module.freeze(parameters=False)
    assert [p.requires_grad for p in module.parameters()] == [True, False]
    module.freeze().freeze()
    assert [p.requires_grad for p in module.parameters()] == [False, False]
    assert "frozen=True" in repr(module)
    module.unfreeze().unfreeze()
    assert [p.requires_grad for p in module.parameters()] == [True, False]
    assert set(module.__dict__) == names


def test_freezing_without_statistics():
    module = ironstep.nn.BatchNorm1d(3, track_running_stats=False)
    with pytest.raises(RuntimeError, match="no running statistics"):
        module.freeze()
    assert module.weight.requires_grad
    assert not module.frozen
