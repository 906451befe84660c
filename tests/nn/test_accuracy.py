"""Rounding errors, for means that are up to a million standard deviations."""

import pytest
import torch

import ironstep
from nn.batchnorm_cases import EPS, randn, theirs

SHAPES = {
    "NCHW": ((8, 6, 14, 14), torch.contiguous_format),
    "NHWC": ((8, 6, 14, 14), torch.channels_last),
    "NC": ((1024, 24), torch.contiguous_format),
    "NCDHW": ((4, 3, 6, 7, 8), torch.contiguous_format),
    "one-slab": ((1, 2, 80, 80), torch.contiguous_format),
}
each_shape = pytest.mark.parametrize(("shape", "order"), SHAPES.values(), ids=SHAPES)
each_ratio = pytest.mark.parametrize("ratio", [0, 1, 1e2, 1e4, 1e5, 1e6])
F32 = EPS[torch.float32]


def exactly(x, weight, bias, grad, eps=1e-5):
    """Everything in float64, from the definition, on numbers that float32 holds exactly."""
    dims = [d for d in range(x.dim()) if d != 1]
    shape = [1, -1] + [1] * (x.dim() - 2)
    x, grad = x.double(), grad.double()
    weight, bias = weight.double().view(shape), bias.double().view(shape)
    mean = x.mean(dims, keepdim=True)
    mean = mean + (x - mean).mean(dims, keepdim=True)  # once more, for what the first sum has lost
    centred = x - mean
    var = centred.square().mean(dims, keepdim=True)
    inverse = (var + eps).rsqrt()
    normal = centred * inverse
    along = (grad * normal).mean(dims, keepdim=True)
    n = x.numel() // x.shape[1]
    # A sum of n numbers of either sign is as large as the root of the sum of their squares.
    sizes = {
        "grad_weight": (grad * normal).square().sum(dims).sqrt(),
        "grad_bias": grad.square().sum(dims).sqrt(),
    }
    return sizes, {
        "output": normal * weight + bias,
        "grad_input": weight * inverse * (grad - grad.mean(dims, keepdim=True) - normal * along),
        "grad_weight": (grad * normal).sum(dims),
        "grad_bias": grad.sum(dims),
        "running_mean": mean.flatten(),
        "running_var": (var * n / (n - 1)).flatten(),
    }


def errors(module, x, grad, exact):
    """In ulp of float32: statistics of themselves, all else of what it sums, or of its largest."""
    sizes, exact = exact
    module.momentum = 1.0  # the buffers hold this batch alone
    x = x.detach().requires_grad_()
    y = module(x)
    grads = torch.autograd.grad(y, [x, *module.parameters()], grad)
    got = dict(zip(("output", "grad_input", "grad_weight", "grad_bias"), (y, *grads), strict=True))
    got |= {"running_mean": module.running_mean, "running_var": module.running_var}
    found = {}
    for name, value in got.items():
        difference = (value.detach().double() - exact[name]).abs()
        if name.startswith("running"):
            # A mean near 0 has the error of numbers near 1, the standard deviation.
            size = exact[name].abs().clamp_min(1.0 if name == "running_mean" else 0.0)
            found[name] = (difference / size).max().item() / F32
        else:
            size = sizes.get(name, exact[name].abs().max())
            found[name] = (difference / size).max().item() / F32
    return found


def measured(shape, order, ratio):
    torch.manual_seed(int(ratio) + shape[0])
    x = randn(shape, order, torch.float32, mean=float(ratio))
    grad = randn(shape, order, torch.float32)
    module, reference = ironstep_and_torch(shape)
    exact = exactly(x, module.weight.detach(), module.bias.detach(), grad)
    return errors(module, x, grad, exact), errors(reference, x, grad, exact)


def ironstep_and_torch(shape):
    reference = theirs(shape)(shape[1])
    with torch.no_grad():
        reference.weight.uniform_(0.5, 2)
        reference.bias.normal_()
    module = getattr(ironstep.nn, type(reference).__name__)(shape[1])
    module.load_state_dict(reference.state_dict())
    return module, reference


# About twice the largest errors that were seen, over many seeds: what float32 costs in the formula, and
# pairwise sums of it. torch's sums of gradients are as good where x̂ is.
LIMITS = {
    "output": 4,
    "grad_input": 4,
    "grad_weight": 8,
    "grad_bias": 8,
    "running_mean": 1,
    "running_var": 6,
}


@each_ratio
@each_shape
def test_the_error_does_not_grow_with_the_mean(shape, order, ratio):
    ours, _ = measured(shape, order, ratio)
    for name, limit in LIMITS.items():
        assert ours[name] <= limit, (name, ours)


@each_ratio
def test_no_worse_than_torchs_nchw(ratio):
    """In the order where torch adds in double, and in ours of both orders."""
    shape = SHAPES["NCHW"][0]
    ours, torchs = measured(shape, torch.contiguous_format, ratio)
    last, _ = measured(shape, torch.channels_last, ratio)
    for name in ("output", "grad_input", "running_mean", "running_var"):
        # Below 3 ulp it is by chance whose rounding is less.
        assert ours[name] <= max(torchs[name], 3), (name, ours, torchs)
        assert last[name] <= max(torchs[name], 3), (name, last, torchs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@each_shape
def test_half_precision_is_rounded_once(shape, order, dtype):
    x = randn(shape, order, dtype, mean=3.0)
    grad = randn(shape, order, dtype)
    module, _ = ironstep_and_torch(shape)
    _, exact = exactly(x, module.weight.detach(), module.bias.detach(), grad)
    x.requires_grad_()
    y = module(x)
    (grad_input,) = torch.autograd.grad(y, x, grad)
    for got, name in ((y, "output"), (grad_input, "grad_input")):
        wanted = exact[name]
        # Half an ulp of each element, and what float32 rounded before.
        limit = (
            0.5 * EPS[dtype] * wanted.abs() + 8 * F32 * wanted.abs().max() + torch.finfo(dtype).tiny
        )
        assert ((got.detach().double() - wanted).abs() <= limit).all()


def test_statistics_of_constant_channels():
    """A variance of 0, whatever the mean."""
    for value in (0.0, 1e-3, 1.0, 1e6, -1e30):
        for order in (torch.contiguous_format, torch.channels_last):
            x = torch.full((4, 3, 5, 7), value).to(memory_format=order)
            module = ironstep.nn.BatchNorm2d(3, momentum=1.0)
            y = module(x)
            assert torch.equal(module.running_mean, torch.full((3,), value))
            assert torch.equal(module.running_var, torch.zeros(3))
            assert torch.equal(y, torch.zeros_like(y))


def test_the_largest_and_smallest_numbers():
    tiny, huge = torch.finfo(torch.float32).tiny, torch.finfo(torch.float32).max
    for scale in (tiny, 1e-30, 1e18, huge / 8):
        x = (torch.rand(64, 3, dtype=torch.float64) - 0.5).float() * scale
        module = ironstep.nn.BatchNorm1d(3)
        _, exact = exactly(x, torch.ones(3), torch.zeros(3), torch.ones_like(x))
        y = module(x)
        torch.testing.assert_close(y.double(), exact["output"], rtol=8 * F32, atol=8 * F32 * 4)
