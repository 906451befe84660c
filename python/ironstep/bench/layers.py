"""What benchmarks of torch's layers have in common: forward and backward with autograd."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Sequence[Tensor]], Tensor]
"""From the inputs to the output that goes back."""


def forward_backward(step: Step, inputs: Sequence[Tensor], grad_output: Tensor | None) -> None:
    """Run both; the gradients of before are dropped, as `zero_grad` does."""
    for each in inputs:
        each.grad = None
    output = step(inputs)
    output.backward(grad_output)  # type: ignore[no-untyped-call]


def off_float64(
    steps: Mapping[str, Step],
    exact: Step,
    inputs: Sequence[Tensor],
    grad_output: Tensor | None,
) -> dict[str, float]:
    """How far outputs and gradients are from those of `exact` in float64, relative to the largest."""
    wanted = _results(exact, [each.double() for each in inputs], grad_output)
    return {
        name: max(
            _off(got, right)
            for got, right in zip(_results(step, inputs, grad_output), wanted, strict=True)
        )
        for name, step in steps.items()
    }


def _results(step: Step, inputs: Sequence[Tensor], grad_output: Tensor | None) -> list[Tensor]:
    copies = [each.detach().clone().requires_grad_(each.requires_grad) for each in inputs]
    output = step(copies)
    grad = None if grad_output is None else grad_output.to(output.dtype)
    wanted = [each for each in copies if each.requires_grad]
    return [output.detach(), *torch.autograd.grad(output, wanted, grad)]


def _off(got: Tensor, wanted: Tensor) -> float:
    # Of 100,000 elements one may be further off: rounding decides on which side of a ReLU it is.
    differences = (got.double() - wanted).abs().flatten()
    rank = differences.numel() - differences.numel() // 100_000
    return float(differences.kthvalue(rank).values / wanted.abs().max())


def timed(
    steps: Mapping[str, Step], inputs: Sequence[Tensor], grad_output: Tensor | None
) -> dict[str, Callable[[], Any]]:
    """Each step with its own copy of the inputs."""
    return {
        name: partial(
            forward_backward,
            step,
            [each.detach().clone().requires_grad_(each.requires_grad) for each in inputs],
            grad_output,
        )
        for name, step in steps.items()
    }
