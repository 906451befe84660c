"""The losses against torch's: `python -m ironstep bench loss`."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own abbreviation)

from ironstep.bench.layers import Step, off_float64, timed
from ironstep.bench.report import OURS, Target
from ironstep.bench.work import ROUNDS_AND_RATIOS, Benchmark, Work
from ironstep.nn import CrossEntropyLoss

N = 4096
PROTOCOL = (
    "Forward and backward through the module with autograd, logits of 4,096 rows in float32 unless the "
    "case says otherwise. torch gets what it takes: labels with label_smoothing, a matrix of probabilities "
    "(made before the timing), or for mixup two losses mixed; the best of them is the peer. Losses and "
    f"gradients are compared with float64 before the timing. {ROUNDS_AND_RATIOS}"
)


def _of(loss: Callable[..., Tensor], target: Any) -> Step:
    return lambda inputs: loss(inputs[0], target)


def _work(
    kind: str,
    n_classes: int,
    least: float | None,
    dtype: torch.dtype = torch.float32,
    pixels: tuple[int, ...] = (),
) -> Work:
    generator = torch.Generator().manual_seed(0)
    rows = (16, *pixels) if pixels else (N,)
    logits = torch.randn(rows[0], n_classes, *pixels, generator=generator).to(dtype)
    a, b = (torch.randint(n_classes, rows, generator=generator) for _ in range(2))
    one_hot = [F.one_hot(each, n_classes).movedim(-1, 1).to(dtype) for each in (a, b)]
    alpha, share = 0.1 if kind == "smoothed" else 0.0, 0.3
    theirs, ours = (
        torch.nn.CrossEntropyLoss(label_smoothing=alpha),
        CrossEntropyLoss(label_smoothing=alpha),
    )
    steps = {"labels": _of(theirs, a), OURS: _of(ours, a)}
    if kind == "smoothed":
        smoothed = ((1 - alpha) * one_hot[0] + alpha / n_classes).contiguous()
        steps["probabilities"] = _of(torch.nn.CrossEntropyLoss(), smoothed)
    elif kind == "mixup":
        mixed = (share * one_hot[0] + (1 - share) * one_hot[1]).contiguous()
        steps = {
            "two losses": lambda inputs: (
                share * theirs(inputs[0], a) + (1 - share) * theirs(inputs[0], b)
            ),
            "probabilities": _of(theirs, mixed),
            OURS: _of(ours, (a, b, share)),
        }
    inputs = [logits.requires_grad_()]
    runs = timed(steps, inputs, None)
    return Work(
        runs.pop(OURS),
        runs,
        logits.numel(),
        [] if least is None else [Target("best", least)],
        differences=partial(off_float64, steps, next(iter(steps.values())), inputs, None),
        # A few units of rounding, of the largest gradient and of the loss.
        tolerance=16 * torch.finfo(dtype).eps,
    )


CASES: dict[str, Callable[[], Work]] = {
    **{
        f"{kind}-{n_classes}": partial(_work, kind, n_classes, None if kind == "plain" else least)
        for n_classes, least in ((10, 3.0), (100, 2.0), (1000, 1.2))
        for kind in ("plain", "smoothed", "mixup")
    },
    "plain-10-bfloat16": partial(_work, "plain", 10, None, torch.bfloat16),
    "plain-1000-bfloat16": partial(_work, "plain", 1000, None, torch.bfloat16),
    "pixels-21": partial(_work, "plain", 21, None, torch.float32, (64, 64)),
}

run = Benchmark("Losses: ironstep and torch", "loss", PROTOCOL, CASES).run
