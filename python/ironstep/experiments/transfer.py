"""Transfer: features learnt on one half of the digits, for the other half with few labels."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ironstep
from ironstep.experiments._digits import accuracy, digits, fit
from ironstep.experiments._drawing import GREY, MARKERS, finish, panels, style
from ironstep.experiments._protocol import (
    Experiment,
    Findings,
    Measurement,
    Statement,
    Table,
    Tick,
    over_seeds,
)
from ironstep.train import minibatches

PER_CLASS = (2, 5, 20)
# How many blocks come from the other network, what becomes of them, and what of the rest.
HOWS = {
    "from nothing": 0,
    "frozen features": 3,
    "fine-tuned": 3,
}
DEPTHS = (1, 2, 3)
# Learning rates, and those of what is fine-tuned as a share of them: as many ways to be best for each.
RATES = {
    "from nothing": ((0.01, 1.0), (0.03, 1.0), (0.1, 1.0), (0.2, 1.0)),
    "frozen features": ((0.01, 0.0), (0.03, 0.0), (0.1, 0.0), (0.2, 0.0)),
    "fine-tuned": ((0.02, 0.1), (0.1, 0.1), (0.02, 1.0), (0.1, 1.0)),
}
DEPTH_RATES = ((0.02, 0.0), (0.1, 0.0))
N_VALIDATION, N_TEST = 150, 300
CHANNELS = (16, 32, 32)

Set = tuple[Tensor, Tensor]


def network() -> nn.Sequential:
    """Three blocks of convolution, batch norm, ReLU, and a linear head of five classes."""
    blocks: list[nn.Module] = []
    inputs = 1
    for at, channels in enumerate(CHANNELS):
        layers = [
            nn.Conv2d(inputs, channels, 3, padding=1, bias=False),
            ironstep.nn.BatchNorm2d(channels, activation="relu"),
        ]
        blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2)) if at else nn.Sequential(*layers))
        inputs = channels
    return nn.Sequential(*blocks, nn.Sequential(nn.Flatten(), nn.Linear(4 * inputs, 5)))


def halves(seed: int) -> tuple[Set, Set, Set, Set]:
    """Return images of five random classes; of the other five to train, choose, and test.

    Classes are numbered from 0 to 4 in each half.
    """
    x, y = digits()
    random = np.random.default_rng(seed)
    classes = random.permutation(10)
    number = torch.empty(10, dtype=torch.long)
    number[torch.from_numpy(classes)] = torch.arange(10)
    order = torch.from_numpy(random.permutation(len(y)))
    x, y = x[order].reshape(-1, 1, 8, 8), number[y[order]]
    source, target = (x[y < 5], y[y < 5]), (x[y >= 5], y[y >= 5] - 5)
    ends = N_TEST, N_TEST + N_VALIDATION
    parts = [(target[0][a:b], target[1][a:b]) for a, b in ((ends[1], None), ends, (0, ends[0]))]
    return source, parts[0], parts[1], parts[2]


def first_of_each(data: Set, per_class: int) -> Set:
    """Return the first images of each class."""
    index = torch.cat([(data[1] == c).nonzero().flatten()[:per_class] for c in range(5)])
    return data[0][index], data[1][index]


def freeze(blocks: Sequence[nn.Module]) -> None:
    """Keep parameters and batch statistics as they are."""
    for module in blocks:
        module.requires_grad_(False)
        for layer in module.modules():
            if isinstance(layer, ironstep.nn.BatchNorm2d):
                layer.freeze()


def adapt(
    source: nn.Sequential, data: Set, *, seed: int, lr: float, blocks: int, body: float, steps: int
) -> nn.Sequential:
    """Train for new classes, with so many of the lower blocks from a network for others.

    They are fine-tuned at the share `body` of the rate, or frozen if that is 0; the rest is new.
    """
    torch.manual_seed(seed)
    model = network()
    for at in range(blocks):
        model[at] = copy.deepcopy(source[at])
    kept, new = list(model[:blocks]), list(model[blocks:])
    groups = [{"params": [p for block in new for p in block.parameters()], "lr": lr}]
    if body and kept:
        groups.append({"params": [p for b in kept for p in b.parameters()], "lr": body * lr})
    else:
        freeze(kept)
    optimizer = ironstep.optim.SGD(groups, lr=lr, momentum=0.9)
    criterion = ironstep.nn.CrossEntropyLoss()
    x, y = data
    # What is frozen is the same in every step: it is computed once.
    first = 0 if body else blocks
    model.train()
    with torch.no_grad():
        x = model[:first](x)
    batches = minibatches(len(y), min(32, len(y)), random_state=seed)
    for _ in range(steps):
        index = torch.from_numpy(next(batches))
        optimizer.zero_grad()
        criterion(model[first:](x[index]), y[index]).backward()
        optimizer.step()
    return model.eval()


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Train on five classes; adapt to the other five, each way with the best of its rates."""
    source_data, rest, validation, test = halves(seed)
    torch.manual_seed(seed)
    source = network()
    tick("source network")
    fit(source, *source_data, seed=seed, epochs=1 if quick else 12, lr=0.1, momentum=0.9)
    steps = 5 if quick else 100

    def best(data: Set, blocks: int, rates: Sequence[tuple[float, float]]) -> float:
        found = []
        for lr, body in rates:
            model = adapt(source, data, seed=seed, lr=lr, blocks=blocks, body=body, steps=steps)
            found.append((accuracy(model, *validation), -lr, accuracy(model, *test)))
        return max(found)[2]

    few: dict[str, dict[str, float]] = {}
    for per_class in PER_CLASS:
        data = first_of_each(rest, per_class)
        few[str(per_class)] = {}
        for how, blocks in HOWS.items():
            tick(f"{per_class} a class, {how}")
            few[str(per_class)][how] = best(data, blocks, RATES[how])
    depths: dict[str, dict[str, float]] = {}
    for blocks in DEPTHS:
        tick(f"lower {blocks} of 3 blocks")
        depths[str(blocks)] = {
            "few": best(first_of_each(rest, PER_CLASS[1]), blocks, DEPTH_RATES),
            "all": best(rest, blocks, DEPTH_RATES),
        }
    tick("all labels, from nothing")
    return {
        "few": few,
        "depths": depths,
        "all": best(rest, 0, DEPTH_RATES),
        "n_all": len(rest[1]),
    }


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Compare with a network from nothing, and lower with upper layers."""

    def gain(per_class: int, how: str, against: str = "from nothing") -> list[float]:
        found = [m["few"][str(per_class)] for m in measured]
        return [each[how] - each[against] for each in found]

    least, middle, most = PER_CLASS
    n_all = measured[0]["n_all"]
    lower = [m["depths"]["1"]["all"] - m["depths"]["3"]["all"] for m in measured]
    cost = [m["depths"]["1"]["all"] - m["all"] for m in measured]
    statements = [
        *(
            Statement(
                f"Features of other classes help with {n} labels a class",
                "test accuracy, frozen features and a new head minus a network from nothing",
                over_seeds(gain(n, "frozen features")),
                above=0.0,
            )
            for n in PER_CLASS
        ),
        Statement(
            f"Fine-tuning helps with {middle} labels a class",
            "test accuracy, fine-tuned minus a network from nothing",
            over_seeds(gain(middle, "fine-tuned")),
            above=0.0,
        ),
        Statement(
            f"With {most} labels a class fine-tuning is better than frozen features",
            "test accuracy, fine-tuned minus frozen features",
            over_seeds(gain(most, "fine-tuned", "frozen features")),
            above=0.0,
        ),
        Statement(
            f"With {least} labels a class frozen features are as good as fine-tuned ones",
            "test accuracy, fine-tuned minus frozen features",
            over_seeds(gain(least, "fine-tuned", "frozen features")),
            above=-0.03,
            below=0.03,
        ),
        Statement(
            "Lower layers are more general than upper ones",
            f"test accuracy, one frozen block of three minus three, all {n_all} labels",
            over_seeds(lower),
            above=0.0,
        ),
        Statement(
            "The lowest layer serves new classes as well as one that was trained for them",
            f"test accuracy, lowest block frozen minus all from nothing, all {n_all} labels",
            over_seeds(cost),
            above=-0.01,
            below=0.01,
        ),
    ]
    few = [
        [
            how,
            *(over_seeds([100 * m["few"][str(n)][how] for m in measured]).short for n in PER_CLASS),
        ]
        for how in HOWS
    ]
    depths = [["none", "", over_seeds([100 * m["all"] for m in measured]).short]] + [
        [
            str(blocks),
            *(
                over_seeds([100 * m["depths"][str(blocks)][key] for m in measured]).short
                for key in ("few", "all")
            ),
        ]
        for blocks in DEPTHS
    ]
    tables = [
        Table(
            "Accuracy on the five new classes (%)",
            "The best of four settings of the learning rates on a validation part, each way.",
            ["labels a class", *map(str, PER_CLASS)],
            few,
        ),
        Table(
            "Lower blocks frozen, the others new: accuracy (%)",
            "",
            ["frozen blocks", f"{middle} labels a class", f"all {n_all} labels"],
            depths,
        ),
    ]
    return Findings(statements, tables, _picture(measured))


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, (left, right) = panels(2, width=4.8)

    def draw(ax: Any, at: Any, values: list[list[float]], position: int, label: str) -> None:
        found = [over_seeds([100 * v for v in each]) for each in values]
        means = np.array([each.value for each in found])
        reach = [means - [e.low for e in found], np.array([e.high for e in found]) - means]
        ax.errorbar(at, means, reach, marker=MARKERS[position], capsize=3, label=label,
                    **style(position))  # fmt: skip

    for position, how in enumerate(HOWS):
        draw(
            left,
            PER_CLASS,
            [[m["few"][str(n)][how] for m in measured] for n in PER_CLASS],
            position,
            how,
        )
    left.set_xscale("log")
    left.set_xticks(PER_CLASS, [str(n) for n in PER_CLASS])
    left.minorticks_off()
    left.legend(fontsize="small")
    finish(left, "Five new classes, accuracy (%)", "labels a class", "")
    for position, (key, label) in enumerate(
        {"all": "all labels", "few": f"{PER_CLASS[1]} labels a class"}.items()
    ):
        draw(
            right,
            DEPTHS,
            [[m["depths"][str(n)][key] for m in measured] for n in DEPTHS],
            position,
            label,
        )
    nothing = over_seeds([100 * m["all"] for m in measured])
    right.axhline(
        nothing.value, color=GREY, linewidth=0.9, linestyle=":", label="all labels, from nothing"
    )
    right.set_xticks(DEPTHS, ["lowest", "lower two", "all three"])
    right.legend(fontsize="small")
    finish(right, "Frozen blocks, the others new: accuracy (%)", "", "")
    return figure


EXPERIMENT = Experiment(
    title="Transfer: features of other classes, frozen and fine-tuned",
    setting=(
        "Three blocks of convolution and batch norm, trained on five random classes of the digits; then the "
        f"other five classes with few labels, judged on {N_TEST} images. What is fine-tuned has the "
        "head's learning rate or a tenth of it, whichever is better on a validation part."
    ),
    seeds=7,
    measure=measure,
    conclude=conclude,
)
