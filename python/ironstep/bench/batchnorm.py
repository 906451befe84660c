"""Batch normalization and whole trainings against torch's: `python -m ironstep bench batchnorm`."""

import copy
import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import ironstep.nn
import ironstep.optim
from ironstep import _native
from ironstep.bench.layers import Step, off_float64, timed
from ironstep.bench.report import LIMIT, OURS, Target
from ironstep.bench.work import ROUNDS_AND_RATIOS, Benchmark, Work
from ironstep.train import small_cnn

TORCH = "torch"
IN_PLACE = "torch, in place"
KERNELS = "kernels alone"
PROTOCOL = (
    "Forward and backward through the module with autograd, float32 unless the case says otherwise. torch "
    "runs its batch normalization, addition and ReLU, also in place; the best of them is the peer. Outputs "
    "and gradients are compared with float64 before the timing. The limit is a bare pass that reads and "
    "writes what has to come from memory, into buffers that are there: x read twice where channels are "
    "last, for no cache holds all of it until its mean is known. A whole iteration is forward, loss, "
    "backward and Adam's step of one batch. Kernels alone: our forward and backward without module and "
    f"autograd, into buffers that are there. {ROUNDS_AND_RATIOS}"
)

# Shape: targets for batch norm alone, with ReLU, with addition and ReLU; of the limit.
Targets = Sequence[Sequence[Target]]


def _least(figure: str, *least: float | tuple[float, float]) -> list[list[Target]]:
    return [[Target(figure, *(each if isinstance(each, tuple) else (each,)))] for each in least]


LARGE = _least("best", (2.0, 3.0), (2.8, 4.0), (3.0, 4.0))
LARGE_LAST = _least("best", 1.0, 1.4, 1.6)
SHAPES: dict[tuple[int, ...], tuple[Targets, Targets]] = {
    (32, 64, 56, 56): (LARGE, LARGE_LAST),
    (8, 64, 112, 112): (LARGE, LARGE_LAST),
    (32, 256, 14, 14): (_least("best", 2.2, 2.5, 2.5), _least("best", 1.2, 2.0, 2.0)),
}
KINDS = ("alone", "relu", "add-relu")


def _layer(
    shape: tuple[int, ...],
    kind: str,
    targets: Sequence[Target],
    *,
    last: bool = False,
    dtype: torch.dtype = torch.float32,
    training: bool = True,
    of_limit: float | None = None,
) -> Work:
    generator = torch.Generator().manual_seed(0)
    memory = torch.channels_last if last else torch.contiguous_format

    def draw() -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype).to(memory_format=memory)

    inputs = [draw().requires_grad_() for _ in range(2 if kind == "add-relu" else 1)]
    grad_output = draw()
    name = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    theirs = getattr(nn, name)(shape[1], dtype=dtype)
    relu = kind != "alone"
    ours = getattr(ironstep.nn, name)(shape[1], dtype=dtype, activation="relu" if relu else None)
    for module in (theirs, ours):
        module.train(training)

    def by_torch(module: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
        output = module(inputs[0])
        if len(inputs) == 2:
            output = output + inputs[1]
        return torch.relu(output) if relu else output

    def in_place(inputs: Sequence[Tensor]) -> Tensor:
        output = theirs(inputs[0])
        if len(inputs) == 2:
            output += inputs[1]
        return torch.relu_(output)

    steps: dict[str, Step] = {TORCH: partial(by_torch, theirs), OURS: lambda inputs: ours(*inputs)}
    if relu:
        steps[IN_PLACE] = in_place
    runs = timed(steps, inputs, grad_output)
    limit = None
    if of_limit is not None:
        targets = [*targets, Target(LIMIT, of_limit)]
        limit = _limit([each.detach() for each in inputs], grad_output, last)
    return Work(
        runs.pop(OURS),
        runs,
        inputs[0].numel(),
        targets,
        limit,
        others={KERNELS: _kernels(ours, [each.detach() for each in inputs], grad_output)},
        differences=partial(
            off_float64,
            steps,
            partial(by_torch, copy.deepcopy(theirs).double()),
            inputs,
            grad_output,
        ),
        # Some roundings of the largest element; torch's statistics of channels_last are the worst.
        tolerance=256 * torch.finfo(dtype).eps,
    )


def _kernels(module: Any, inputs: Sequence[Tensor], grad: Tensor) -> Callable[[], object]:
    """Forward and backward without module and autograd, into memory that is there."""
    x, residual = inputs[0], inputs[1] if len(inputs) == 2 else None
    relu, masked = (
        module.activation is not None,
        module.activation is not None and residual is not None,
    )
    y, dx, saved = torch.empty_like(x), torch.empty_like(x), torch.empty(2, x.shape[1]).double()
    dr = torch.empty_like(x) if masked else None
    weight, bias = module.weight.detach(), module.bias.detach()
    of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
    statistics = module.running_mean.clone(), module.running_var.clone()
    training, eps = module.training, module.eps

    def passes() -> None:
        _native.batch_norm_forward(
            x, weight, bias, *statistics, residual, y, saved,
            training=training, momentum=0.1, eps=eps, relu=relu,
        )  # fmt: skip
        _native.batch_norm_backward(
            grad, x, weight, bias, y if masked else None, saved,
            dx, dr, of_weight, of_bias, training=training, relu=relu,
        )  # fmt: skip

    return passes


def _limit(inputs: Sequence[Tensor], grad: Tensor, last: bool) -> Callable[[], object]:
    x = inputs[0]
    y, dx, dr = torch.empty_like(x), torch.empty_like(x), torch.empty_like(x)

    def passes() -> None:
        if last:
            x.amax()
        if len(inputs) == 2:
            torch.add(x, inputs[1], out=y)
        else:
            y.copy_(x)
        if last:
            x.amax()
            grad.amax()
        torch.add(x, grad, out=dx)
        if len(inputs) == 2:
            dr.copy_(y)

    return passes


def _resnet18() -> nn.Module:
    # By name: torchvision has no types.
    model: nn.Module = importlib.import_module("torchvision.models").resnet18(num_classes=10)
    return model


def _iteration(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    targets: Sequence[Target],
    *,
    last: bool = False,
) -> Work:
    torch.manual_seed(0)
    memory = torch.channels_last if last else torch.contiguous_format
    model = make().to(memory_format=memory)
    images = torch.randn(shape).to(memory_format=memory)
    labels = torch.randint(10, shape[:1])

    def trainer(
        model: nn.Module, optimizer: type[torch.optim.Optimizer], loss: nn.Module, **options: Any
    ) -> Callable[[], float]:
        of_model = optimizer(model.parameters(), **options)
        of_images = images.to(next(model.parameters()).dtype)

        def iteration() -> float:
            of_model.zero_grad()
            value = loss(model(of_images), labels)
            value.backward()
            of_model.step()
            return float(value.detach())

        return iteration

    def by_torch(dtype: torch.dtype = torch.float32, **options: Any) -> Callable[[], float]:
        copied = copy.deepcopy(model).to(dtype)
        return trainer(copied, torch.optim.Adam, nn.CrossEntropyLoss(), **options)

    def ours() -> Callable[[], float]:
        converted = ironstep.nn.convert_batchnorm(copy.deepcopy(model))
        return trainer(converted, ironstep.optim.Adam, ironstep.nn.CrossEntropyLoss())

    def differences() -> dict[str, float]:
        # The loss after a step, which depends on all that went back.
        runs = {"default": by_torch(), "fused": by_torch(fused=True), OURS: ours()}
        exact = by_torch(torch.float64)
        wanted = [exact() for _ in range(2)][-1]
        return {name: abs([run() for _ in range(2)][-1] / wanted - 1) for name, run in runs.items()}

    return Work(
        ours(),
        {"default": by_torch(), "fused": by_torch(fused=True)},
        images.numel(),
        targets,
        differences=differences,
        tolerance=1e-3,  # Adam's first step has the size of the learning rate, whatever the gradient's
    )


def _cases() -> dict[str, Callable[[], Work]]:
    cases: dict[str, Callable[[], Work]] = {}
    for shape, of_layout in SHAPES.items():
        for last, of_kind in enumerate(of_layout):
            for kind, targets in zip(KINDS, of_kind, strict=True):
                name = f"{'x'.join(map(str, shape))}-{'nhwc' if last else 'nchw'}-{kind}"
                of_limit = 0.7 if last or shape[-1] > 14 else None
                cases[name] = partial(
                    _layer, shape, kind, targets, last=bool(last), of_limit=of_limit
                )
    for kind, targets in zip(KINDS, _least("best", 2.0, 2.5), strict=False):
        cases[f"4096x1024-{kind}"] = partial(_layer, (4096, 1024), kind, targets)
    no_slower = [Target("best", 1.0)]
    for last in (False, True):
        name, layer = "nhwc" if last else "nchw", partial(_layer, (32, 64, 56, 56), last=last)
        cases[f"eval-{name}"] = partial(layer, "alone", no_slower, training=False)
        cases[f"bfloat16-{name}"] = partial(layer, "alone", no_slower, dtype=torch.bfloat16)
    cases["tiny"] = partial(_layer, (2, 8, 2, 2), "alone", no_slower)
    small = partial(_iteration, partial(small_cnn, 1, 10, 32), (128, 1, 28, 28))
    cases["cnn-nchw"] = partial(small, [Target("default", 1.3), Target("fused", 1.2)])
    cases["cnn-nhwc"] = partial(small, [Target("default", 1.15), Target("fused", 1.1)], last=True)
    cases["resnet18-nchw"] = partial(_iteration, _resnet18, (32, 3, 64, 64), no_slower)
    return cases


CASES = _cases()


run = Benchmark("Batch normalization: ironstep and torch", "batchnorm", PROTOCOL, CASES).run
