"""Semi-supervised GAN training: few labels and many images against the labels alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ironstep
from ironstep.experiments._digits import CLASSES, digits
from ironstep.experiments._drawing import COLOURS, GREY, MARKERS, finish, style
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

PER_CLASS = (1, 3)
GENERATORS = ("feature matching", "-log D")
CODES, BATCH, N_TEST = 32, 64, 500
# The mean of the parameters, every so many steps: a GAN's classifier goes up and down.
EVERY, KEPT = 5, 0.9


class Classifier(nn.Module):
    """K logits, and the features before them; noise keeps it from learning the few by heart."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Dropout(0.2), nn.Linear(64, 256), nn.LeakyReLU(0.2), nn.Dropout(0.5),
            nn.Linear(256, 128), nn.LeakyReLU(0.2),
        )  # fmt: skip
        self.head = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.body(x))
        return logits


def generator() -> nn.Sequential:
    """From a code to an image."""
    return nn.Sequential(
        nn.Linear(CODES, 128), ironstep.nn.BatchNorm1d(128, activation="relu"),
        nn.Linear(128, 128), ironstep.nn.BatchNorm1d(128, activation="relu"),
        nn.Linear(128, 64), nn.Tanh(),
    )  # fmt: skip


def few_labels(seed: int, per_class: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return indices: so many images of each class, all others to train on, and those of the test."""
    _, y = digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(y)))
    test, rest = order[:N_TEST], order[N_TEST:]
    labelled = torch.cat([rest[y[rest] == c][:per_class] for c in range(CLASSES)])
    return labelled, rest[~torch.isin(rest, labelled)], test


def train(
    labelled: Tensor, unlabelled: Tensor, *, seed: int, steps: int, how: str
) -> tuple[nn.Module, nn.Module | None]:
    """Train a classifier by a GAN of semi-supervision, or ("labels alone") without one.

    Returns
    -------
    classifier, generator
        The classifier with the running mean of its last steps' parameters, in both cases.
    """
    x, y = digits()
    torch.manual_seed(seed)
    classifier, made = Classifier(), generator()
    mean = Classifier()
    loss = ironstep.nn.SemiSupervisedGANLoss()
    beta: dict[str, Any] = dict(lr=1e-3, betas=(0.5, 0.999))
    of_classifier = ironstep.optim.Adam(classifier.parameters(), **beta)
    of_generator = ironstep.optim.Adam(made.parameters(), **beta)
    random = np.random.default_rng(seed)
    batches = minibatches(len(unlabelled), BATCH, random_state=random)
    for step in range(steps):
        real = x[unlabelled[torch.from_numpy(next(batches))]]
        with_labels = labelled[torch.from_numpy(random.integers(len(labelled), size=BATCH))]
        of_classifier.zero_grad()
        if how == "labels alone":
            lost = loss.supervised(classifier(x[with_labels]), y[with_labels])
        else:
            fake = made(torch.randn(len(real), CODES)).detach()
            three = [x[with_labels], real, fake]
            parts = classifier(torch.cat(three)).split([len(each) for each in three])
            lost = loss(parts[0], y[with_labels], *parts[1:])
        lost.backward()  # type: ignore[no-untyped-call]
        of_classifier.step()
        if how != "labels alone":
            of_generator.zero_grad()
            fake = made(torch.randn(len(real), CODES))
            if how == "feature matching":
                features = classifier.body(torch.cat([real, fake]))
                wrong = loss.feature_matching(features[: len(real)], features[len(real) :])
            else:
                wrong = loss.generator(classifier(fake))
            wrong.backward()  # type: ignore[no-untyped-call]
            of_generator.step()
        if step % EVERY == 0:
            with torch.no_grad():
                for average, now in zip(mean.parameters(), classifier.parameters(), strict=True):
                    average.lerp_(now, 1.0 if step == 0 else 1 - KEPT)
    return mean.eval(), None if how == "labels alone" else made.eval()


@torch.no_grad()
def _accuracy(model: nn.Module, index: Tensor) -> float:
    x, y = digits()
    return float((model(x[index]).argmax(1) == y[index]).double().mean())


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Train with so many labels a class, with the unlabelled images and without them."""
    found: Measurement = {"accuracy": {}}
    steps = 30 if quick else 600
    for per_class in PER_CLASS:
        labelled, unlabelled, test = few_labels(seed, per_class)
        found["accuracy"][str(per_class)] = {}
        for how in ("labels alone", *GENERATORS):
            if how == GENERATORS[1] and per_class != PER_CLASS[1]:
                continue
            tick(f"{per_class} a class, {how}")
            model, made = train(labelled, unlabelled, seed=seed, steps=steps, how=how)
            found["accuracy"][str(per_class)][how] = _accuracy(model, test)
            if made is not None and per_class == PER_CLASS[1]:
                torch.manual_seed(seed)
                with torch.no_grad():
                    found[how] = made(torch.randn(16, CODES)).numpy().round(2)
    tick("all labels")
    everything = torch.cat([labelled, unlabelled])
    model, _ = train(everything, unlabelled, seed=seed, steps=steps, how="labels alone")
    found["all labels"] = _accuracy(model, test)
    return found


def _gain(measured: Sequence[Measurement], per_class: int, how: str) -> list[float]:
    found = [m["accuracy"][str(per_class)] for m in measured]
    return [each[how] - each["labels alone"] for each in found]


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Compare with the labels alone, seed by seed."""
    matching, other = GENERATORS
    middle = PER_CLASS[1]
    between = [
        m["accuracy"][str(middle)][matching] - m["accuracy"][str(middle)][other] for m in measured
    ]
    statements = [
        *(
            Statement(
                f"Unlabelled images and a generator help with {n} label{'s' * (n > 1)} a class",
                "test accuracy, semi-supervised (feature matching) minus labels alone",
                over_seeds(_gain(measured, n, matching)),
                above=0.0,
            )
            for n in PER_CLASS
        ),
        Statement(
            "The classifier is better with a generator that matches features than with −log D",
            f"test accuracy, {middle} labels a class",
            over_seeds(between),
            above=0.0,
        ),
    ]
    rows = [
        [
            str(n),
            *(
                over_seeds([100 * m["accuracy"][str(n)][how] for m in measured]).short
                if how in measured[0]["accuracy"][str(n)]
                else ""
                for how in ("labels alone", *GENERATORS)
            ),
        ]
        for n in PER_CLASS
    ]
    rows.append(["all", over_seeds([100 * m["all labels"] for m in measured]).short, "", ""])
    table = Table(
        "Accuracy (%)",
        f"On {N_TEST} images. The same classifier, steps and running mean of the parameters in each.",
        ["labels a class", "labels alone", *GENERATORS],
        rows,
    )
    return Findings(statements, [table], _picture(measured))


def _picture(measured: Sequence[Measurement]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplot_mosaic("ABC", width_ratios=[1.5, 1, 1])
    for position, how in enumerate(("labels alone", GENERATORS[0])):
        found = [
            over_seeds([100 * m["accuracy"][str(n)][how] for m in measured]) for n in PER_CLASS
        ]
        values = np.array([each.value for each in found])
        reach = [values - [e.low for e in found], np.array([e.high for e in found]) - values]
        axes["A"].errorbar(PER_CLASS, values, reach, marker=MARKERS[position], capsize=3, label=how,
                           **style(position))  # fmt: skip
    every = over_seeds([100 * m["all labels"] for m in measured])
    axes["A"].axhline(every.value, color=GREY, linewidth=0.9, linestyle=":", label="all labels")
    axes["A"].set_xscale("log")
    axes["A"].set_xticks(PER_CLASS, [str(n) for n in PER_CLASS])
    axes["A"].minorticks_off()
    axes["A"].legend(fontsize="small", loc="lower right")
    finish(axes["A"], "Test accuracy (%), mean and 95%", "labels a class", "")
    for name, how in zip("BC", GENERATORS, strict=True):
        images = np.array(measured[0][how]).reshape(4, 4, 8, 8)
        sheet = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1.0)
        axes[name].imshow(
            sheet.transpose(0, 2, 1, 3).reshape(40, 40), cmap="gray_r", vmin=-1, vmax=1
        )
        axes[name].set_title(f"Generated, {how.replace('-', '−')}", fontsize="medium")
        axes[name].set_xticks([])
        axes[name].set_yticks([])
        axes[name].spines[:].set_color(COLOURS[-1])
    return figure


EXPERIMENT = Experiment(
    title="Semi-supervised GAN (Salimans et al. 2016)",
    setting=(
        f"A classifier of ten digits that also tells real from generated images: few labels a class and "
        f"the other images of 1,297 without theirs, judged on {N_TEST}; against the labels alone."
    ),
    seeds=7,
    measure=measure,
    conclude=conclude,
)
