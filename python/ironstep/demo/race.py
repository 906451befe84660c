"""The same network trained by torch and by ironstep, epoch by epoch in turns.

Four copies train on the same batches: torch with default arguments, torch by its fastest path,
ironstep (its optimizer, batch norm and loss), and torch in float64 as the reference (not timed). They
take turns within one process, in an order drawn anew each epoch, so whatever else the machine does
hits all alike. What is timed and what is compared is the same training.
"""

from __future__ import annotations

import copy
import math
import random
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import ironstep.nn
import ironstep.optim
from ironstep.bench.protocol import WARM_UP, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .cases import Case, Part

OURS = "ironstep"
DEFAULT = "default"

# Torch's float32 trainings and ours end equally far from float64: over 40 seeds ours was at most
# 1.7 times as far off. A learning rate that is wrong by 1e-4 makes it 50 to 300 times (AdamW 7 and
# 30: in float32 torch rounds 1 − lr·λ the same way every step, so its own distance is larger).
ALLOWANCE = 10.0

LEAST_EPOCHS = 3  # before a deadline may end a training: enough to tell rules apart


class Contestant:
    """One copy of the network with its optimizer, and what was measured of it."""

    def __init__(
        self,
        network: nn.Module,
        optimizer: type[Any],
        loss: nn.Module | None = None,
        **arguments: Any,
    ) -> None:
        self.network = network
        self.loss = loss or nn.CrossEntropyLoss()
        self.optimizer = optimizer(network.parameters(), **arguments)
        self.losses: list[float] = []
        self.step = Timing()
        self.iteration = Timing()
        self.accuracy = 0.0
        self._least_validation_loss = float("inf")

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Of the network."""
        return [parameter.detach() for parameter in self.network.parameters()]

    def epoch(self, batches: Iterable[Part]) -> None:
        """Train on each batch once."""
        dtype = self.parameters[0].dtype
        steps: list[float] = []
        iterations: list[float] = []
        total = torch.zeros((), dtype=torch.float64)
        count = 0
        self.network.train()
        for inputs, labels in [(batch.inputs.to(dtype), batch.labels) for batch in batches]:
            start = perf_counter()
            self.optimizer.zero_grad()
            loss = self.loss(self.network(inputs), labels)
            loss.backward()
            before_step = perf_counter()
            self.optimizer.step()
            end = perf_counter()
            steps.append(end - before_step)
            iterations.append(end - start)
            total += loss.detach() * len(labels)
            count += len(labels)
        self.losses.append(total.item() / count)
        # The median, not all: one iteration that loses its core would rule the mean of its epoch.
        self.step.rounds.append([median(steps)])
        self.iteration.rounds.append([median(iterations)])

    @torch.no_grad()
    def evaluate(self, validation: Part, test: Part) -> None:
        """Keep the test accuracy of the epoch with the least validation loss."""
        self.network.eval()
        loss = self.loss(self.network(validation.inputs), validation.labels).item()
        if loss < self._least_validation_loss:
            self._least_validation_loss = loss
            hits = self.network(test.inputs).argmax(1) == test.labels
            self.accuracy = hits.double().mean().item()


@dataclass(frozen=True)
class Outcome:
    """What came of one case; times are seconds, the median of each epoch."""

    case: Case
    losses: dict[str, list[float]]  # of each contestant: the mean over each epoch
    accuracy: dict[str, float]
    step: dict[str, Timing]
    iteration: dict[str, Timing]
    off: dict[str, float]  # distance of the parameters from the reference
    largest_difference: float  # of a parameter between torch (default) and ironstep, relative
    handed_over: tuple[str, ...]  # why ironstep let torch step some parameters

    @property
    def epochs(self) -> int:
        """How many were trained."""
        return len(self.losses[OURS])

    @property
    def allowed(self) -> float:
        """How far from the reference ironstep may end."""
        return ALLOWANCE * max(distance for name, distance in self.off.items() if name != OURS)

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference. NaN does not agree."""
        return self.off[OURS] <= self.allowed


def race(
    case: Case,
    seed: int,
    epochs: int,
    on_epoch: Callable[[], object] = lambda: None,
    deadline: float = math.inf,
) -> Outcome:
    """Train all contestants of a case; the deadline is a time of `perf_counter`."""
    train, validation, test = case.task.load()
    torch.manual_seed(seed)
    network = case.task.network()
    theirs, ours = getattr(torch.optim, case.rule.name), getattr(ironstep.optim, case.rule.name)
    arguments, fastest = case.rule.arguments, case.rule.fastest
    converted = ironstep.nn.convert_batchnorm(copy.deepcopy(network))
    reference = Contestant(copy.deepcopy(network).double(), theirs, **arguments)
    timed = {
        DEFAULT: Contestant(copy.deepcopy(network), theirs, **arguments),
        fastest: Contestant(copy.deepcopy(network), theirs, **{**arguments, fastest: True}),
        OURS: Contestant(converted, ours, ironstep.nn.CrossEntropyLoss(), **arguments),
    }
    order = [reference, *timed.values()]
    draw, batching = random.Random(seed), torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        batches = list(_batches(train, case.task.batch_size, batching))
        draw.shuffle(order)
        for contestant in order:
            contestant.epoch(batches)
        for contestant in timed.values():
            contestant.evaluate(validation, test)
        on_epoch()
        if epoch + 1 >= LEAST_EPOCHS and perf_counter() > deadline:
            break
    warm_up = min(WARM_UP, len(reference.losses) - 1)
    dispatch = getattr(timed[OURS].optimizer, "last_dispatch", None)
    return Outcome(
        case=case,
        losses={name: contestant.losses for name, contestant in timed.items()},
        accuracy={name: contestant.accuracy for name, contestant in timed.items()},
        step={name: Timing(each.step.rounds[warm_up:]) for name, each in timed.items()},
        iteration={name: Timing(each.iteration.rounds[warm_up:]) for name, each in timed.items()},
        off={
            name: distance(contestant.parameters, reference.parameters)
            for name, contestant in timed.items()
        },
        largest_difference=largest_difference(timed[OURS].parameters, timed[DEFAULT].parameters),
        handed_over=tuple(sorted({each.reason for each in dispatch.torch})) if dispatch else (),
    )


def distance(parameters: Iterable[torch.Tensor], reference: Iterable[torch.Tensor]) -> float:
    """RMS difference of all elements, each relative to the RMS of its reference tensor."""
    squares = torch.cat(
        [
            ((a.double() - b.double()).square() / b.double().square().mean()).flatten()
            for a, b in zip(parameters, reference, strict=True)
        ]
    )
    return squares.mean().sqrt().item()


def largest_difference(
    parameters: Iterable[torch.Tensor], reference: Iterable[torch.Tensor]
) -> float:
    """Largest difference of an element, relative to the largest element of its tensor."""
    return max(
        ((a - b).abs().max() / b.abs().max()).item()
        for a, b in zip(parameters, reference, strict=True)
    )


def _batches(part: Part, size: int, generator: torch.Generator) -> Iterable[Part]:
    order = torch.randperm(len(part.labels), generator=generator)
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield type(part)(part.inputs[chosen], part.labels[chosen])
