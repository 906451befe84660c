"""A whole training epoch of a CNN with batch norm: torch alone, and with ironstep; where the time goes.

ironstep's part is all of it together: the optimizer, the batch norm with the ReLU that follows it, the
loss. The images are the digits again, enlarged to 28×28.
"""

from __future__ import annotations

import copy
import math
import os
import random
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.functional import interpolate
from torch.profiler import ProfilerActivity, profile

import ironstep.nn
import ironstep.optim
from ironstep.bench.protocol import Timing
from ironstep.train import small_cnn

from .cases import digits
from .race import DEFAULT, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FUSED = "fused"
BATCH_SIZE = 128
WIDTH = 16  # of the first convolution; the last has eight times as many channels
EPOCHS = 6  # after one of warm-up

# Operations by what their names have in common, and what is left. The optimizer's are within its step.
PARTS = {
    "convolution": ("conv",),
    "batch norm and ReLU": ("batch_norm", "BatchNorm", "_Normalize", "relu", "Relu", "threshold"),
    "loss": ("cross_entropy", "CrossEntropy", "log_softmax", "LogSoftmax", "nll_loss", "NllLoss"),
    "optimizer": ("Optimizer.step",),
}
REST = "the rest"


@dataclass(frozen=True)
class Epoch:
    """Seconds of an epoch, and the seconds of its parts in one that was profiled."""

    timings: dict[str, Timing]
    parts: dict[str, dict[str, float]]
    losses: dict[str, float]  # the mean of the last epoch


class _Trainer:
    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., torch.Tensor],
        optimizer: type[torch.optim.Optimizer],
        **options: Any,
    ) -> None:
        self.model, self.loss = model, loss
        self.optimizer = optimizer(model.parameters(), **options)
        self.mean_loss = 0.0

    def epoch(self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
        total = torch.zeros(())
        for images, labels in batches:
            self.optimizer.zero_grad()
            loss = self.loss(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += loss.detach()
        self.mean_loss = total.item() / len(batches)


def train(seed: int, epochs: int = EPOCHS, deadline: float = math.inf) -> Epoch:
    """Train three copies of a network in turns, and profile an epoch of each.

    The deadline, a time of `perf_counter`, may end it when two epochs are done.
    """
    torch.manual_seed(seed)
    part, _, _ = digits()
    images = interpolate(part.inputs, size=(28, 28), mode="bilinear")
    batches = list(
        zip(torch.split(images, BATCH_SIZE), torch.split(part.labels, BATCH_SIZE), strict=True)
    )
    model = small_cnn(1, 10, WIDTH)
    converted = ironstep.nn.convert_batchnorm(copy.deepcopy(model))
    theirs = nn.CrossEntropyLoss()
    trainers = {
        DEFAULT: _Trainer(copy.deepcopy(model), theirs, torch.optim.Adam),
        FUSED: _Trainer(copy.deepcopy(model), theirs, torch.optim.Adam, fused=True),
        OURS: _Trainer(converted, ironstep.nn.CrossEntropyLoss(), ironstep.optim.Adam),
    }
    timings = {name: Timing() for name in trainers}
    draw, order = random.Random(seed), list(trainers)
    for number in range(1 + epochs):
        draw.shuffle(order)
        for name in order:
            start = perf_counter()
            trainers[name].epoch(batches)
            if number:
                timings[name].rounds.append([perf_counter() - start])
        if number and perf_counter() > deadline:
            break
    losses = {name: trainer.mean_loss for name, trainer in trainers.items()}
    parts = {name: _parts(trainer, batches) for name, trainer in trainers.items()}
    return Epoch(timings, parts, losses)


def _parts(
    trainer: _Trainer, batches: Sequence[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, float]:
    """The share of each part in an epoch's time."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it talks of devices that are not there
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        trainer.epoch(batches)
    seconds = dict.fromkeys([*PARTS, REST], 0.0)
    for event in profiler.key_averages():
        of_step = event.key.startswith("Optimizer.step")
        part = next((p for p, names in PARTS.items() if any(n in event.key for n in names)), REST)
        seconds[part] += (event.cpu_time_total if of_step else event.self_cpu_time_total) / 1e6
        if of_step:  # what runs within it is not the rest's
            seconds[REST] -= (event.cpu_time_total - event.self_cpu_time_total) / 1e6
    total = sum(seconds.values())
    return {part: each / total for part, each in seconds.items()}
