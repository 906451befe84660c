"""What is trained: two data sets, a network for each, five optimizers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

SPLIT_SEED = 0  # the split is part of the task: another --seed trains on the same patients


@dataclass(frozen=True)
class Part:
    """Inputs and labels."""

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class Task:
    """A data set and the network that learns it."""

    name: str
    title: str
    load: Callable[[], tuple[Part, Part, Part]]
    network: Callable[[], nn.Module]
    batch_size: int
    epochs: int


@dataclass(frozen=True)
class Rule:
    """An optimizer by its class's name, how it is used here and torch's fastest way to step it."""

    name: str
    arguments: dict[str, Any]
    fastest: str  # torch's fast path on the CPU; RMSprop has no fused one


@dataclass(frozen=True)
class Case:
    """One rule on one task."""

    task: Task
    rule: Rule

    def __str__(self) -> str:
        return f"{self.task.name} · {self.rule.name}"


def cnn() -> nn.Module:
    """A convolution with batch norm and a linear layer, for 8×8 images of ten digits.

    Smooth all through (SiLU, strides). At a kink, as of ReLU or between two equal pixels under a
    maximum, rounding decides which way a gradient goes: with many seeds float32 and float64 then
    part by 1e-3 to 1e-2, however right the rule is. Without kinks most part by less than 1e-6, so
    that a difference says something.
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),  # batch norm would cancel a bias
        nn.BatchNorm2d(16),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(16 * 4 * 4, 10),
    )


def mlp() -> nn.Module:
    """30-32-2, for the 30 measurements of a tumour; smooth like the other."""
    return nn.Sequential(nn.Linear(30, 32), nn.SiLU(), nn.Linear(32, 2))


def digits() -> tuple[Part, Part, Part]:
    """1,797 handwritten digits, 8×8 pixels; one mean and deviation, for some pixels never vary."""
    return _split(datasets.load_digits(), axis=None, shape=(1, 8, 8))


def breast_cancer() -> tuple[Part, Part, Part]:
    """569 patients: 30 features of a fine-needle aspirate; benign or malignant."""
    return _split(datasets.load_breast_cancer(), axis=0, shape=(30,))


def _split(bunch: Any, axis: int | None, shape: tuple[int, ...]) -> tuple[Part, Part, Part]:
    """Training, validation and test part (60, 20 and 20%), standardised on the first."""
    inputs, rest, labels, rest_labels = train_test_split(
        bunch.data, bunch.target, train_size=0.6, stratify=bunch.target, random_state=SPLIT_SEED
    )
    halves = train_test_split(
        rest, rest_labels, train_size=0.5, stratify=rest_labels, random_state=SPLIT_SEED
    )
    mean, deviation = inputs.mean(axis), inputs.std(axis)

    def part(values: Any, classes: Any) -> Part:
        standard = ((values - mean) / deviation).reshape(-1, *shape)
        return Part(torch.tensor(standard, dtype=torch.float32), torch.tensor(classes))

    return part(inputs, labels), part(halves[0], halves[2]), part(halves[1], halves[3])


TASKS = (
    Task("digits", "digits: 1,797 images", digits, cnn, batch_size=128, epochs=18),
    Task("cancer", "breast cancer: 569 patients", breast_cancer, mlp, batch_size=32, epochs=40),
)
RULES = (
    Rule("SGD", dict(lr=0.03, momentum=0.9), "fused"),
    Rule("Adagrad", dict(lr=0.03), "fused"),
    Rule("RMSprop", dict(lr=0.002), "foreach"),
    Rule("Adam", dict(lr=0.003), "fused"),
    Rule("AdamW", dict(lr=0.003), "fused"),
)
CASES = tuple(Case(task, rule) for task in TASKS for rule in RULES)
