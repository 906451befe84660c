"""Batch normalizations under test beside torch's, and what they are compared by."""

import copy

import pytest
import torch
from torch import nn

import ironstep
from ironstep import _native

CLASSES = {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
EPS = {dtype: torch.finfo(dtype).eps for dtype in DTYPES}

each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: str(t).removeprefix("torch."))
each_class = pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])

# Shape, and which order of memory.
LAYOUTS = {
    "NC": ((6, 4), torch.contiguous_format),
    "NC-wide": ((70, 33), torch.contiguous_format),
    "NCL": ((3, 4, 7), torch.contiguous_format),
    "NCHW": ((4, 5, 6, 7), torch.contiguous_format),
    "NCHW-odd": ((3, 17, 9, 13), torch.contiguous_format),
    "NCHW-one": ((1, 3, 4, 4), torch.contiguous_format),
    "NCHW-1x1": ((5, 3, 1, 1), torch.contiguous_format),
    "NHWC": ((4, 5, 6, 7), torch.channels_last),
    "NHWC-odd": ((3, 17, 9, 13), torch.channels_last),
    "NHWC-C1": ((4, 1, 3, 3), torch.channels_last),
    "NCDHW": ((2, 3, 4, 3, 5), torch.contiguous_format),
    "NDHWC": ((2, 3, 4, 3, 5), torch.channels_last_3d),
}
each_layout = pytest.mark.parametrize(("shape", "order"), LAYOUTS.values(), ids=LAYOUTS)

# What the modules are made with, and what is done to them.
CONFIGS = {
    "default": {},
    "eps-momentum": dict(eps=1e-3, momentum=0.7),
    "momentum-1": dict(momentum=1.0),
    "momentum-0": dict(momentum=0.0),
    "cumulative": dict(momentum=None),
    "not-affine": dict(affine=False),
    "not-tracking": dict(track_running_stats=False),
    "neither": dict(affine=False, track_running_stats=False),
    "cumulative-not-tracking": dict(momentum=None, track_running_stats=False),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def ours(shape_or_name):
    name = CLASSES[len(shape_or_name)] if isinstance(shape_or_name, tuple) else shape_or_name
    return getattr(ironstep.nn, name)


def theirs(shape_or_name):
    name = CLASSES[len(shape_or_name)] if isinstance(shape_or_name, tuple) else shape_or_name
    return getattr(nn, name)


def randn(shape, order=torch.contiguous_format, dtype=torch.float64, mean=0.0, sd=1.0):
    x = torch.randn(shape, dtype=torch.float64) * sd + mean
    return x.to(dtype).to(memory_format=order)


def pair(shape, dtype=torch.float64, activation=None, **config):
    """One of ours and one of torch's with the same random parameters and buffers."""
    reference = theirs(shape)(shape[1], **config).to(dtype)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(torch.randn_like(parameter))
        if reference.running_mean is not None:
            reference.running_mean.normal_()
            reference.running_var.uniform_(0.5, 2.0)
    module = ours(shape)(shape[1], activation=activation, **config).to(dtype)
    module.load_state_dict(reference.state_dict())
    return module, reference


def in_float64(module):
    return copy.deepcopy(module).double()


def by_torch(module, x, residual=None, relu=False):
    """What ours computes in one pass, by torch's layers one after another."""
    y = module(x)
    if residual is not None:
        y = y + residual
    return torch.relu(y) if relu else y


def gradients(y, grad, inputs):
    return torch.autograd.grad(y, inputs, grad, allow_unused=True)


def buffers(module):
    return dict(module.named_buffers())


def assert_close(got, wanted, dtype, ulps, size=None):
    """Equal to `wanted` within ulps of the largest element: sums of a channel round as a whole."""
    if wanted is None or got is None:
        assert got is wanted
        return
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    if wanted.numel() == 0:
        return
    wanted = wanted.double()
    size = size if size is not None else max(wanted.abs().max().item(), 1.0)
    error = (got.double() - wanted).abs().max().item()
    assert error <= ulps * EPS[dtype] * size, f"{error / EPS[dtype] / size} ulp of {size}"


class Calls:
    """How often each native function answered, and how often it refused."""

    def __init__(self, monkeypatch):
        self.forward = self.backward = self.refused = 0
        for name in ("forward", "backward"):
            monkeypatch.setattr(_native, f"batch_norm_{name}", self.counted(name))

    def counted(self, name):
        function = getattr(_native, f"batch_norm_{name}")

        def call(*args, **kwargs):
            try:
                answer = function(*args, **kwargs)
            except (TypeError, ValueError):
                self.refused += 1
                raise
            setattr(self, name, getattr(self, name) + 1)
            return answer

        return call

    def __iter__(self):
        return iter((self.forward, self.backward))
