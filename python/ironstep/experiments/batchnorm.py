"""What batch normalization does to the loss's landscape (Santurkar et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ironstep
from ironstep.experiments._digits import accuracy, fit, parts
from ironstep.experiments._drawing import COLOURS, finish, panels, style
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

LAYERS, CHANNELS, BATCH = 5, 16, 128
LR, SLOW = 0.1, 0.02  # at the first the network without batch norm is near its limit
# How far along the gradient to look, as multiples of a step: the paper's range.
AHEAD = (0.5, 1.0, 2.0, 3.0, 4.0)
RATES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SCALES = (0.01, 0.5, 7.0, 1000.0)
NAMES = ("plain", "batch norm")


def network(seed: int, *, normalized: bool) -> nn.Sequential:
    """Return five convolutions and a linear layer; the same weights with and without batch norm."""
    torch.manual_seed(seed)
    convolutions = [
        nn.Conv2d(CHANNELS if at else 1, CHANNELS, 3, padding=1) for at in range(LAYERS)
    ]
    for convolution in convolutions:
        # torch's own start leaves the network without batch norm where nothing trains it.
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    head = nn.Linear(CHANNELS * 4, 10)
    layers: list[nn.Module] = [nn.Unflatten(1, (1, 8, 8))]
    for at, convolution in enumerate(convolutions):
        layers.append(convolution)
        layers.append(
            ironstep.nn.BatchNorm2d(CHANNELS, activation="relu") if normalized else nn.ReLU()
        )
        if at in (1, 3):
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), head)


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Follow a training with and without; try learning rates; scale what is normalized."""
    x, y = parts(seed, 400 if quick else 1200)[0]
    found: Measurement = {
        "along": {},
        "slowly": {},
        "rates": {},
        "invariance": invariance(seed),
    }
    for name in NAMES:
        normalized = name == "batch norm"
        tick(f"landscape, {name}")
        found["along"][name] = landscape(
            network(seed, normalized=normalized), x, y, seed, epochs=1 if quick else 10, every=3
        )
        tick(f"landscape, {name}, slowly")
        found["slowly"][name] = landscape(
            network(seed, normalized=normalized),
            x,
            y,
            seed,
            epochs=1 if quick else 5,
            every=5,
            lr=SLOW,
        )
        found["rates"][name] = {}
        for lr in RATES[::3] if quick else RATES:
            tick(f"learning rate {lr:g}, {name}")
            model = network(seed, normalized=normalized)
            loss = fit(
                model, x, y, seed=seed, epochs=1 if quick else 6, lr=lr, decay="constant",
                batch_size=BATCH,
            )  # fmt: skip
            found["rates"][name][str(lr)] = {"loss": loss, "accuracy": _as_trained(model, x, y)}
    return found


@torch.no_grad()
def _as_trained(model: nn.Module, x: Tensor, y: Tensor) -> float:
    # By the batch's own statistics: the running ones lag behind six epochs of change.
    for layer in model.modules():
        if isinstance(layer, ironstep.nn.BatchNorm2d):
            layer.momentum = None
            layer.reset_running_stats()
    model.train()
    model(x)
    return accuracy(model, x, y)


def landscape(
    model: nn.Module, x: Tensor, y: Tensor, seed: int, *, epochs: int, every: int, lr: float = LR
) -> dict[str, list[float]]:
    """Train by SGD, and look along the gradient at each so-many-th step.

    Returns
    -------
    dict of lists, a number a measured step
        loss; range: largest minus smallest loss at the points ahead; change: the largest
        ‖∇l(θ − s·c∇l) − ∇l(θ)‖ there; smoothness: the largest of that divided by the distance;
        shift: ‖Gᵢ − G′ᵢ‖ / ‖Gᵢ‖, the mean over layers, where G′ᵢ is layer i's gradient after the
        layers below it made their step (internal covariate shift as the paper measures it).
    """
    criterion = ironstep.nn.CrossEntropyLoss()
    parameters: list[Tensor] = list(model.parameters())
    convolutions = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    found: dict[str, list[float]] = {
        key: [] for key in ("loss", "range", "change", "smoothness", "shift")
    }
    model.train()
    for step, batch in enumerate(minibatches(len(x), BATCH, epochs=epochs, random_state=seed)):
        index = torch.from_numpy(batch)
        inputs, labels = x[index], y[index]

        def gradients(
            inputs: Tensor = inputs, labels: Tensor = labels
        ) -> tuple[float, list[Tensor]]:
            loss = criterion(model(inputs), labels)
            return loss.item(), list(torch.autograd.grad(loss, parameters))

        at = [p.detach().clone() for p in parameters]
        loss, grad = gradients()
        if step % every == 0:
            length = _norm(grad)
            losses, changes, ratios = [], [], []
            for ahead in AHEAD:
                _move(parameters, at, grad, ahead * lr)
                there, grad_there = gradients()
                losses.append(there)
                changes.append(_norm([a - b for a, b in zip(grad_there, grad, strict=True)]))
                ratios.append(changes[-1] / (ahead * lr * length))
            found["loss"].append(loss)
            found["range"].append(max(losses) - min(losses))
            found["change"].append(max(changes))
            found["smoothness"].append(max(ratios))
            _move(parameters, at, grad, 0.0)
            found["shift"].append(_shift(parameters, convolutions, at, grad, gradients, lr))
        _move(parameters, at, grad, lr)
    return found


def _shift(
    parameters: list[Tensor],
    layers: Sequence[nn.Module],
    at: list[Tensor],
    grad: list[Tensor],
    gradients: Any,
    lr: float,
) -> float:
    """Move the layers one after the other, from below, and see what the next one's gradient does."""
    weights = [layer.weight for layer in layers]
    positions = [next(i for i, p in enumerate(parameters) if p is w) for w in weights]
    shifts = []
    for below, above in zip([0, *positions[1:]], positions[1:], strict=False):
        with torch.no_grad():
            for i in range(below, above):
                parameters[i].copy_(at[i] - lr * grad[i])
        after = gradients()[1][above]
        shifts.append(float((after - grad[above]).norm() / grad[above].norm()))
    return float(np.mean(shifts)) if shifts else 0.0


@torch.no_grad()
def _move(parameters: list[Tensor], at: list[Tensor], grad: list[Tensor], by: float) -> None:
    for p, origin, g in zip(parameters, at, grad, strict=True):
        p.copy_(origin - by * g)


def _norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float((t.double() ** 2).sum()) for t in tensors))


def invariance(seed: int) -> dict[str, float]:
    """Largest relative differences that a scale a makes: BN(aWu), its gradients in u and in aW."""
    torch.manual_seed(seed)
    u = torch.randn(64, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(8, 12, dtype=torch.float64)
    toward = torch.randn(64, 8, dtype=torch.float64)
    # ε would not scale: so small that it plays no part.
    layer = ironstep.nn.BatchNorm1d(8, eps=1e-18).double()

    def of(a: float) -> tuple[Tensor, Tensor, Tensor]:
        scaled = (a * weight).requires_grad_()
        out = layer(u @ scaled.T)
        grad_u, grad_w = torch.autograd.grad((out * toward).sum(), [u, scaled])
        return out.detach(), grad_u, grad_w

    one = of(1.0)
    found = {"output": 0.0, "grad_u": 0.0, "grad_w": 0.0}
    for a in SCALES:
        out, grad_u, grad_w = of(a)
        pairs = ((out, one[0]), (grad_u, one[1]), (a * grad_w, one[2]))
        for key, (scaled, plain) in zip(found, pairs, strict=True):
            off = float((scaled - plain).abs().max() / plain.abs().max())
            found[key] = max(found[key], off)
    return found


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Compare with and without, seed by seed."""

    def ratios(key: str, run: str = "along") -> list[float]:
        # Of medians over the steps; of a training's numbers some are very large.
        medians = {n: [np.median(m[run][n][key]) for m in measured] for n in NAMES}
        return [
            math.log10(with_ / without)
            for with_, without in zip(medians["batch norm"], medians["plain"], strict=True)
        ]

    statements = [
        Statement(
            text,
            f"log₁₀ of {what}, median over the steps, batch norm / plain",
            over_seeds(ratios(key)),
            below=0.0,
        )
        for text, what, key in (
            (
                "With batch norm the loss varies less along the gradient",
                "the loss's range",
                "range",
            ),
            (
                "With batch norm the gradient predicts more: it changes less along itself",
                "the gradient's change",
                "change",
            ),
            (
                "With batch norm the loss is smoother (effective β)",
                "the change by distance",
                "smoothness",
            ),
            (
                "Batch norm reduces internal covariate shift",
                "‖G − G′‖ / ‖G‖ of a layer, before and after those below it step",
                "shift",
            ),
        )
    ]
    largest = [
        math.log10(_largest(m["rates"]["batch norm"]) / _largest(m["rates"]["plain"]))
        for m in measured
    ]
    statements += [
        Statement(
            f"Batch norm reduces internal covariate shift, at a rate of {SLOW:g}",
            "the same, where both trainings are far from their limits",
            over_seeds(ratios("shift", "slowly")),
            below=0.0,
        ),
        Statement(
            "Batch norm admits larger learning rates",
            "log₁₀ of the largest rate that trains to 90%, batch norm / plain",
            over_seeds(largest),
            above=0.0,
        ),
        Statement(
            "With batch norm training is faster",
            "log₁₀ of the loss after six epochs at each one's best rate, batch norm / plain",
            over_seeds([_best(m, "batch norm") - _best(m, "plain") for m in measured]),
            below=0.0,
        ),
        *(
            Statement(
                text,
                f"log₁₀ of the largest relative difference, a = {', '.join(map('{:g}'.format, SCALES))}",
                over_seeds([math.log10(max(m["invariance"][key], 1e-17)) for m in measured]),
                below=-9.0,
            )
            for text, key in (
                ("BN(aWu) = BN(Wu)", "output"),
                ("∂BN(aWu)/∂u = ∂BN(Wu)/∂u", "grad_u"),
                ("∂BN(aWu)/∂(aW) = (1/a)·∂BN(Wu)/∂W", "grad_w"),
            )
        ),
    ]
    return Findings(statements, _tables(measured), _picture(measured))


def _largest(rates: dict[str, dict[str, float]]) -> float:
    # Half the least where none of them trains.
    least = min(float(lr) for lr in rates)
    return max(
        [float(lr) for lr, run in rates.items() if run["accuracy"] >= 0.9], default=least / 2
    )


def _best(m: Measurement, name: str) -> float:
    losses = [run["loss"] for run in m["rates"][name].values() if math.isfinite(run["loss"])]
    return math.log10(max(min(losses), 1e-12))


def _tables(measured: Sequence[Measurement]) -> list[Table]:
    rows = []
    for key, what in (
        ("loss", "loss"),
        ("range", "range of the loss ahead"),
        ("change", "largest change of the gradient"),
        ("smoothness", "change / distance (effective β)"),
        ("shift", "‖G − G′‖ / ‖G‖ (covariate shift)"),
    ):
        cells = [
            over_seeds([float(np.median(m["along"][name][key])) for m in measured]).short
            for name in NAMES
        ]
        rows.append([what, *cells])
    rates = [
        [
            f"{float(lr):g}",
            *(
                cell
                for name in NAMES
                for cell in (
                    f"{np.median([m['rates'][name][lr]['loss'] for m in measured]):.3g}",
                    f"{100 * np.mean([m['rates'][name][lr]['accuracy'] for m in measured]):.1f}%",
                )
            ),
        ]
        for lr in measured[0]["rates"]["plain"]
    ]
    return [
        Table(
            "Along the gradient",
            f"Medians over the steps of a training at c = {LR:g}, points from {AHEAD[0]} to {AHEAD[-1]:g} "
            "steps ahead; means over seeds.",
            ["", *NAMES],
            rows,
        ),
        Table(
            "Learning rates",
            "After six epochs: loss, the median over seeds, and accuracy, both on the training images.",
            ["rate", "loss, plain", "accuracy", "loss, batch norm", "accuracy"],
            rates,
        ),
    ]


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, axes = panels(5, width=3.4)
    titles = {
        "range": "Range of the loss ahead",
        "change": "Change of the gradient",
        "smoothness": "Effective β-smoothness",
        "shift": "Covariate shift, ‖G − G′‖ / ‖G‖",
    }
    for ax, (key, title) in zip(axes, titles.items(), strict=False):
        for position, name in enumerate(NAMES):
            curves = np.array([m["along"][name][key] for m in measured])
            steps = 3 * np.arange(curves.shape[1])
            low, middle, high = np.quantile(curves, [0.1, 0.5, 0.9], axis=0)
            ax.fill_between(steps, low, high, color=COLOURS[position], alpha=0.2, linewidth=0)
            ax.semilogy(steps, middle, label=name, **style(position))
        finish(ax, title, "step", "")
    axes[0].legend(fontsize="small", title="median, 80% of seeds", title_fontsize="small")
    for position, name in enumerate(NAMES):
        rates = list(measured[0]["rates"][name])
        shares = [np.mean([m["rates"][name][lr]["accuracy"] for m in measured]) for lr in rates]
        axes[4].semilogx([float(lr) for lr in rates], 100 * np.array(shares), marker="os"[position],
                         label=name, **style(position))  # fmt: skip
    axes[4].legend(fontsize="small")
    finish(axes[4], "Accuracy after six epochs (%)", "learning rate", "")
    return figure


EXPERIMENT = Experiment(
    title="Batch normalization and the loss's landscape (Santurkar et al. 2018)",
    setting=(
        f"Five convolutions of {CHANNELS} channels and a linear layer on 1,200 digits, SGD, batches of "
        f"{BATCH}, the same initial weights with and without batch normalization."
    ),
    seeds=6,
    measure=measure,
    conclude=conclude,
)
