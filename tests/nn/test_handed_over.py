"""Where torch's own operations run: nothing breaks, and nothing is another result."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

import ironstep
from nn.batchnorm_cases import assert_close, by_torch, pair, randn

SHAPE = (4, 3, 5, 2)
CHAINS = {"alone": (None, False), "relu": ("relu", False), "residual-relu": ("relu", True)}
each_chain = pytest.mark.parametrize(("activation", "adds"), CHAINS.values(), ids=CHAINS)
each_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def filtered(test):
    """torch deprecates its own ways to save a model one after another, and uses them itself."""
    for category in ("DeprecationWarning", "FutureWarning"):
        test = pytest.mark.filterwarnings(f"ignore::{category}")(test)
    return test


class Chain(nn.Module):
    """torch's layers, with the signature of ours."""

    def __init__(self, norm, relu):
        super().__init__()
        self.norm, self.relu = norm, relu

    def forward(self, x, residual=None):
        return by_torch(self.norm, x, residual, self.relu)


def chains(activation, adds, training=True, dtype=torch.float64):
    module, reference = pair(SHAPE, dtype, activation)
    operands = [randn(SHAPE, dtype=dtype), *([randn(SHAPE, dtype=dtype)] if adds else [])]
    return (
        module.train(training),
        Chain(reference, activation is not None).train(training),
        operands,
    )


def assert_same_buffers(module, chain):
    for key, value in chain.norm.state_dict().items():
        torch.testing.assert_close(module.state_dict()[key], value)


@each_mode
@each_chain
def test_double_backward(activation, adds, training, calls):
    module, chain, operands = chains(activation, adds, training)
    operands = [operand.requires_grad_() for operand in operands]
    results = []
    for one in (module, chain):
        y = one(*operands)
        torch.manual_seed(1)
        grad = torch.randn_like(y).requires_grad_()
        inputs = [*operands, *one.parameters()]
        first = torch.autograd.grad(y, inputs, grad, create_graph=True)
        total = sum((g * torch.randn_like(g)).sum() for g in first)
        second = torch.autograd.grad(total, [*inputs, grad], allow_unused=True)
        results.append([*first, *second])
    for got, wanted in zip(*results, strict=True):
        # torch gives None, or zeros, to what has no second derivative.
        if got is None or wanted is None:
            other = wanted if got is None else got
            assert other is None or not other.any()
        else:
            assert_close(got, wanted, torch.float64, 256)
    assert calls.backward == 0


@each_mode
@each_chain
def test_second_derivatives_by_finite_differences(activation, adds, training):
    module, _, operands = chains(activation, adds, training)
    parameters = dict(module.named_parameters())
    buffers = {key: value.clone() for key, value in module.named_buffers()}

    def forward(*values):
        given, affine = (
            values[: len(operands)],
            dict(zip(parameters, values[len(operands) :], strict=True)),
        )
        fresh = {key: value.clone() for key, value in buffers.items()}
        return torch.func.functional_call(module, affine | fresh, given)

    operands = [operand.requires_grad_() for operand in operands]
    inputs = (*operands, *parameters.values())
    assert torch.autograd.gradcheck(forward, inputs)
    assert torch.autograd.gradgradcheck(forward, inputs)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_double_backward_in_half(half):
    module, chain, operands = chains("relu", False, True, half)
    results = []
    x = operands[0].requires_grad_()
    for one in (module, chain):
        y = one(x)
        (first,) = torch.autograd.grad(y, x, torch.ones_like(y) * x, create_graph=True)
        results.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*results, atol=0.1, rtol=0.1)


@filtered
@each_chain
def test_forward_mode(activation, adds, calls):
    module, chain, operands = chains(activation, adds)
    tangent = randn(SHAPE)
    results = []
    for one in (module, chain):
        with forward_ad.dual_level():
            x = forward_ad.make_dual(operands[0], tangent)
            results.append(forward_ad.unpack_dual(one(x, *operands[1:])))
    assert_close(results[0].primal, results[1].primal, torch.float64, 16)
    assert_close(results[0].tangent, results[1].tangent, torch.float64, 64)
    assert tuple(calls) == (0, 0)


@filtered
@each_chain
def test_function_transforms(activation, adds, calls):
    module, chain, operands = chains(activation, adds, training=False)
    for one in (module, chain):
        one.requires_grad_(False)
    tangents = tuple(randn(SHAPE) for _ in operands)

    def loss(one):
        return lambda *given: one(*given).square().sum()

    for transform in (
        lambda f: torch.func.grad(f)(*operands),
        lambda f: torch.func.jvp(f, tuple(operands), tangents)[1],
        lambda f: torch.func.vjp(f, *operands)[1](torch.ones(()).double())[0],
        lambda f: torch.func.hessian(f)(*operands),
        lambda f: torch.func.vmap(f)(*(torch.stack([o, o + 1]) for o in operands)),
        lambda f: torch.func.vmap(torch.func.grad(f))(*(torch.stack([o, o + 1]) for o in operands)),
    ):
        got, wanted = transform(loss(module)), transform(loss(chain))
        assert_close(got, wanted, torch.float64, 256)
    assert tuple(calls) == (0, 0)


@filtered
def test_function_transforms_in_training():
    module, chain, (x,) = chains("relu", False)
    results = []
    for one in (module, chain):

        def forward(x, one=one):
            fresh = {key: torch.ones_like(value) for key, value in one.named_buffers()}
            y = torch.func.functional_call(one, fresh, (x,))
            return y, fresh

        y, tangent, fresh = torch.func.jvp(forward, (x,), (torch.ones_like(x) * x,), has_aux=True)
        results.append((y, tangent, *fresh.values()))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_many_gradients_at_once(training):
    """torch.autograd.grad with is_grads_batched is a vmap over backward."""
    module, chain, (x,) = chains("relu", False, training)
    x.requires_grad_()
    grads = torch.randn(5, *SHAPE, dtype=torch.float64)
    results = [
        torch.autograd.grad(one(x), [x, *one.parameters()], grads, is_grads_batched=True)
        for one in (module, chain)
    ]
    for got, wanted in zip(*results, strict=True):
        assert_close(got, wanted, torch.float64, 64)


@each_chain
def test_jacobians_and_hessians(activation, adds):
    module, chain, operands = chains(activation, adds, training=False)

    def means(one):
        return lambda *given: one(*given).mean((2, 3))  # expands its gradient

    results = []
    for one in (module, chain):
        jacobians = [
            torch.autograd.functional.jacobian(means(one), tuple(operands), vectorize=vectorize)
            for vectorize in (True, False)
        ]
        hessian = torch.autograd.functional.hessian(
            lambda *given, one=one: means(one)(*given).square().sum(), tuple(operands)
        )
        results.append([*jacobians[0], *jacobians[1], hessian[0][0]])
    for got, wanted in zip(*results, strict=True):
        assert_close(got, wanted, torch.float64, 64)


def test_tensors_that_left_a_transform():
    escaped = []
    x = randn((4, 3))
    torch.func.grad(lambda t: escaped.append(t) or t.sum())(x)
    module, reference = pair((4, 3))
    with torch.no_grad():
        assert_close(module(escaped[0]), reference(escaped[0]), torch.float64, 16)
    assert_close(module(escaped[0]), reference(escaped[0]), torch.float64, 16)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype, calls):
    module, chain, (x,) = chains("relu", False, dtype=torch.float32)
    weight = torch.randn(3, 3, 1, 1)
    for one in (module, chain):
        with torch.autocast("cpu", dtype):
            y = one(torch.conv2d(x, weight))
        one.result = y
    assert module.result.dtype == chain.result.dtype
    assert_close(module.result, chain.result, module.result.dtype, 2)
    assert tuple(calls) == (0, 0)


@each_mode
@each_chain
def test_meta(activation, adds, training):
    module, _, operands = chains(activation, adds, training)
    y = module.to("meta")(*(operand.to("meta") for operand in operands))
    assert y.shape == SHAPE
    assert y.device.type == "meta"


def test_another_device_for_the_parameters_is_torchs_error():
    module, chain, (x,) = chains("relu", False)
    for one in (module, chain):
        one.to("meta")
        with pytest.raises(Exception, match=r"meta|device"):
            one(x)


class Logged(torch.Tensor):
    """A subclass that notes what is done to it."""

    seen = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(getattr(func, "__name__", str(func)))
        return super().__torch_function__(func, types, args, kwargs or {})


def test_subclasses_see_the_operations(calls):
    module, chain, (x,) = chains("relu", False)
    wanted = chain(x)
    Logged.seen.clear()
    y = module(x.as_subclass(Logged))
    assert type(y) is Logged
    assert {"batch_norm", "relu"} <= set(Logged.seen)
    assert_close(y.as_subclass(torch.Tensor), wanted, torch.float64, 16)
    assert tuple(calls) == (0, 0)


def test_modes_see_the_operations(calls):
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    functions, operations = [], []

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            functions.append(getattr(func, "__name__", str(func)))
            return func(*args, **(kwargs or {}))

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            operations.append(str(func))
            return func(*args, **(kwargs or {}))

    module, _, (x,) = chains("relu", False)
    with Functions():
        module(x)
    with Operations():
        y = module(x)
    assert {"batch_norm", "relu"} <= set(functions)
    assert any("batch_norm" in name for name in operations)
    assert tuple(calls) == (0, 0)
    # A mode that watches backward alone.
    y = module(x.requires_grad_())
    operations.clear()
    with Operations():
        y.sum().backward()
    assert operations
    assert calls.backward == 0


def test_fake_tensors(calls):
    from torch._subclasses.fake_tensor import FakeTensorMode

    module, _, (x,) = chains("relu", False)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = module(mode.from_tensor(x))
    assert y.shape == SHAPE
    assert tuple(calls) == (0, 0)


def test_residuals_of_other_strides_and_types(calls):
    module, chain, (x,) = chains("relu", False)
    last = randn(SHAPE, torch.channels_last)
    gaps = randn((*SHAPE, 2))[..., 1]
    expanded = randn((1, 3, 1, 1)).expand(SHAPE)
    for residual in (last, gaps, expanded, last.float(), last.to(torch.int64), x):
        y, wanted = module(x, residual), chain(x, residual)
        assert y.dtype == wanted.dtype
        torch.testing.assert_close(y, wanted)
        assert_same_buffers(module, chain)
    assert calls.forward == 1  # with itself


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no mkldnn in this torch")
def test_mkldnn_tensors(calls):
    module, chain, _ = chains(None, False, training=False, dtype=torch.float32)
    x = randn(SHAPE, dtype=torch.float32).to_mkldnn()
    with torch.no_grad():
        torch.testing.assert_close(module(x).to_dense(), chain(x).to_dense())
    assert tuple(calls) == (0, 0)


def test_negated_views(calls):
    module, chain, _ = chains("relu", False)
    z = torch.view_as_complex(randn((*SHAPE, 2))).conj().imag
    assert z.is_neg()
    assert_close(module(z), chain(z), torch.float64, 16)
    assert calls.forward == 0


# Programs that hold modules


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@each_mode
@each_chain
def test_compile(activation, adds, training, backend):
    module, chain, operands = chains(activation, adds, training)
    operands = [operand.requires_grad_() for operand in operands]
    torch._dynamo.reset()
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for _ in range(2):
        y, wanted = compiled(*operands), chain(*operands)
        assert_close(y, wanted, torch.float64, 16)
        grad = torch.randn_like(wanted)
        for got, want in zip(
            torch.autograd.grad(y, [*operands, *module.parameters()], grad),
            torch.autograd.grad(wanted, [*operands, *chain.parameters()], grad),
            strict=True,
        ):
            assert_close(got, want, torch.float64, 64)
        assert_same_buffers(module, chain)


def test_compile_of_a_frozen_layer():
    module, chain, (x,) = chains("relu", False)
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    compiled(x)
    chain(x)
    module.freeze()
    chain.eval()
    assert_close(compiled(x), chain(x), torch.float64, 16)
    assert_same_buffers(module, chain)


@each_mode
@each_chain
def test_fx_keeps_the_layer_whole(activation, adds, training):
    class Net(nn.Module):
        def __init__(self, norm):
            super().__init__()
            self.norm = norm

        def forward(self, x):
            return self.norm(x * 1, x) if adds else self.norm(x * 1)

    module, chain, (x, *_) = chains(activation, adds, training)
    traced = torch.fx.symbolic_trace(Net(module))
    assert [node.target for node in traced.graph.nodes if node.op == "call_module"] == ["norm"]
    for _ in range(2):
        assert_close(traced(x), chain(x, x) if adds else chain(x), torch.float64, 16)
    assert_same_buffers(module, chain)
    twin = copy.deepcopy(traced)
    assert repr(twin.norm) == repr(module)


@each_mode
@each_chain
def test_export(activation, adds, training):
    module, chain, operands = chains(activation, adds, training)
    program = torch.export.export(module, tuple(operands)).module()
    for _ in range(2):
        assert_close(program(*operands), chain(*operands), torch.float64, 16)
    for key, value in chain.norm.state_dict().items():
        torch.testing.assert_close(program.state_dict()[key], value)


@filtered
@each_mode
@each_chain
def test_jit_trace(activation, adds, training):
    module, chain, operands = chains(activation, adds, training)
    texts = []
    for one in (module, chain):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", torch.jit.TracerWarning)
            traced = torch.jit.trace(one, tuple(operands), check_trace=False)
        texts.append([str(warning.message) for warning in caught])
        one.traced = traced
    assert texts[0] == texts[1]
    assert_close(module.traced(*operands), chain.traced(*operands), torch.float64, 16)


@filtered
@each_mode
def test_jit_script_of_a_layer_without_activation(training):
    module, chain, (x,) = chains(None, False, training)
    model = nn.Sequential(nn.Identity(), module)
    scripted = torch.jit.script(model)
    for _ in range(2):
        assert_close(scripted(x), chain(x), torch.float64, 16)
    # Parameters and buffers are shared.
    assert_same_buffers(module, chain)
    single = torch.jit.script(module)
    assert_close(single(x), chain(x), torch.float64, 16)


def drops(what):
    return pytest.raises(RuntimeError, match=rf"would drop {what}.*revert_batchnorm")


@filtered
def test_jit_script_of_more_than_torch_has_is_an_error():
    fused, frozen = (
        ironstep.nn.BatchNorm2d(3, activation="relu"),
        ironstep.nn.BatchNorm2d(3).freeze(),
    )
    for module in (fused, nn.Sequential(fused)):
        with drops("activation='relu'"):
            torch.jit.script(module)
    with drops(r"freeze\(\)"):
        torch.jit.script(nn.Sequential(frozen))


def test_conversion_to_sync_batchnorm():
    fused, frozen = (
        ironstep.nn.BatchNorm2d(3, activation="relu"),
        ironstep.nn.BatchNorm2d(3).freeze(),
    )
    with drops("activation='relu'"):
        nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(fused))
    with drops(r"freeze\(\)"):
        nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(frozen))
    plain = ironstep.nn.BatchNorm2d(3)
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(plain)
    assert type(synchronized) is nn.SyncBatchNorm
    assert synchronized.weight is plain.weight


def test_fusion_with_a_convolution():
    conv = nn.Conv2d(2, 3, 3).eval()
    fused = ironstep.nn.BatchNorm2d(3, activation="relu").eval()
    with drops("activation='relu'"):
        nn.utils.fuse_conv_bn_eval(conv, fused)
    with drops("activation='relu'"):
        nn.utils.fusion.fuse_linear_bn_eval(
            nn.Linear(2, 3).eval(), ironstep.nn.BatchNorm1d(3, activation="relu").eval()
        )
    x = torch.randn(2, 2, 5, 5)
    for plain in (ironstep.nn.BatchNorm2d(3).eval(), ironstep.nn.BatchNorm2d(3).freeze().eval()):
        torch.testing.assert_close(nn.utils.fuse_conv_bn_eval(conv, plain)(x), plain(conv(x)))


def test_checkpointing():
    from torch.utils.checkpoint import checkpoint

    for reentrant in (True, False):
        module, chain, (x,) = chains("relu", False)
        x.requires_grad_()
        grads = []
        for one in (module, chain):
            x.grad = None
            checkpoint(one, x, use_reentrant=reentrant).square().sum().backward()
            grads.append(x.grad)
        assert_close(*grads, torch.float64, 64)
        assert_same_buffers(module, chain)


def test_saved_tensors_that_were_stored_elsewhere():
    """Hooks may give back tensors of other strides."""
    module, chain, (x,) = chains("relu", False)
    x.requires_grad_()

    def unpack(tensor):
        return torch.stack([tensor, tensor], -1)[..., 0]

    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, unpack):
        y = module(x)
    grad = torch.randn_like(y)
    got = torch.autograd.grad(y, [x, *module.parameters()], grad)
    wanted = torch.autograd.grad(chain(x), [x, *chain.parameters()], grad)
    for a, b in zip(got, wanted, strict=True):
        assert_close(a, b, torch.float64, 64)
    with torch.autograd.graph.save_on_cpu():
        y = module(x)
    assert_close(
        torch.autograd.grad(y, x, grad)[0],
        torch.autograd.grad(chain(x), x, grad)[0],
        torch.float64,
        64,
    )
