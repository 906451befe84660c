"""Mixup: clean and corrupted labels, with and without dropout, and under attack."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ironstep
from ironstep.experiments._digits import (
    CLASSES,
    OTHER_WRITERS,
    Mix,
    accuracy,
    digits,
    fit,
    mlp,
    parts,
)
from ironstep.experiments._drawing import MARKERS, finish, panels, style
from ironstep.experiments._protocol import (
    Experiment,
    Findings,
    Interval,
    Measurement,
    Statement,
    Table,
    Tick,
    over_seeds,
)

ALPHAS = (0.0, 0.1, 0.2, 0.4, 1.0)
CORRUPTED = 0.4  # share of the training labels that are drawn anew
DROPOUT = 0.5
MODES = ("batch", "pair", "element")
ATTACKS = (0.05, 0.1, 0.2, 0.4)  # of pixels from −1 to 1; a grey level is 0.125
ATTACK = 0.2


def mixer(alpha: float, mode: str, random: np.random.Generator) -> Mix | None:
    """Return what mixes a batch: x̃ = λx + (1 − λ)x′, λ ~ Beta(α, α); nothing for α = 0.

    λ is one for the batch, for each pair, or for each element.
    """
    if alpha == 0:
        return None

    def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        n = len(x)
        partner = torch.from_numpy(random.permutation(n))
        if mode == "pair":
            # The second half of a random order meets the first, from the ends: whom each is mixed
            # with is mixed with it, in the same share. The middle of an odd number meets itself.
            order, partner = partner, torch.empty(n, dtype=torch.long)
            partner[order] = order.flip(0)
        share = random.beta(alpha, alpha, size=1 if mode == "batch" else n)
        lam = torch.from_numpy(np.broadcast_to(share, n).astype(np.float32))
        if mode == "pair":
            lam = torch.where(torch.arange(n) < partner, lam, lam[partner])
        column = lam.unsqueeze(1)
        return column * x + (1 - column) * x[partner], (y, y[partner], lam)

    return mix


def attacked(model: nn.Module, x: Tensor, y: Tensor, by: float) -> Tensor:
    """Return images moved by the sign of the loss's gradient (Goodfellow et al. 2015)."""
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ironstep.nn.CrossEntropyLoss()(model(inputs), y), inputs)
    return (x + by * gradient.sign()).clamp(-1, 1)


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Train with each α, with clean and corrupted labels, with and without dropout."""
    train, validation = parts(seed, 300 if quick else 1000, 200, of=OTHER_WRITERS)
    x, y = digits()
    test = x[OTHER_WRITERS:], y[OTHER_WRITERS:]
    random = np.random.default_rng(seed)
    wrong = torch.from_numpy(random.random(len(train[1])) < CORRUPTED)
    drawn = torch.from_numpy(random.integers(CLASSES, size=len(train[1])))
    labels = {0.0: train[1], CORRUPTED: torch.where(wrong, drawn, train[1])}
    settings = [
        (alpha, "batch", corrupted, dropout)
        for alpha, corrupted, dropout in itertools.product(ALPHAS, labels, (0.0, DROPOUT))
    ]
    settings += [(1.0, mode, CORRUPTED, 0.0) for mode in MODES[1:]]
    runs = []
    for alpha, mode, corrupted, dropout in settings:
        tick(f"α = {alpha:g}, {mode}, {corrupted:.0%} corrupted")
        torch.manual_seed(seed)
        model = mlp(64, 256, CLASSES, dropout=dropout)
        mix = mixer(alpha, mode, np.random.default_rng(seed))
        fit(
            model, train[0], labels[corrupted], seed=seed, epochs=5 if quick else 40, lr=0.1,
            momentum=0.9, mix=mix,
        )  # fmt: skip
        run: dict[str, Any] = {
            "alpha": alpha,
            "mode": mode,
            "corrupted": corrupted,
            "dropout": dropout,
            "validation": accuracy(model, *validation),
            "test": accuracy(model, *test),
        }
        if not corrupted and not dropout:
            run["attacked"] = {
                str(by): accuracy(model, attacked(model, *test, by), test[1]) for by in ATTACKS
            }
        runs.append(run)
    return {"runs": runs}


def _runs(m: Measurement, corrupted: float, dropout: float) -> dict[float, dict[str, Any]]:
    return {
        r["alpha"]: r
        for r in m["runs"]
        if r["mode"] == "batch" and (r["corrupted"], r["dropout"]) == (corrupted, dropout)
    }


def _best(runs: dict[float, dict[str, Any]]) -> dict[str, Any]:
    """Return the run of the α > 0 that is best on the validation part."""
    return max((run for alpha, run in runs.items() if alpha), key=lambda run: run["validation"])


def _gain(measured: Sequence[Measurement], corrupted: float, dropout: float) -> Interval:
    found = []
    for m in measured:
        runs = _runs(m, corrupted, dropout)
        found.append(_best(runs)["test"] - runs[0.0]["test"])
    return over_seeds(found)


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Compare the best α on the validation part with none, seed by seed."""
    what = "test accuracy, the best α on a validation part minus α = 0"
    some = f"{CORRUPTED:.0%} corrupted labels"
    under_attack = [
        _best(_runs(m, 0.0, 0.0))["attacked"][str(ATTACK)]
        - _runs(m, 0.0, 0.0)[0.0]["attacked"][str(ATTACK)]
        for m in measured
    ]
    modes = {
        mode: [
            next(r["test"] for r in m["runs"] if r["mode"] == mode)
            - _runs(m, CORRUPTED, 0.0)[1.0]["test"]
            for m in measured
        ]
        for mode in MODES[1:]
    }
    statements = [
        Statement(
            "Mixup improves accuracy", f"{what}, clean labels", _gain(measured, 0.0, 0.0), above=0.0
        ),
        Statement(
            "Mixup resists corrupted labels",
            f"{what}, {some}",
            _gain(measured, CORRUPTED, 0.0),
            above=0.0,
        ),
        Statement(
            "Mixup gains on top of dropout where labels are corrupted",
            f"{what}, {some}, dropout {DROPOUT:g}",
            _gain(measured, CORRUPTED, DROPOUT),
            above=0.0,
        ),
        Statement(
            "Mixup makes attacks by the gradient's sign less harmful",
            f"accuracy under an attack of {ATTACK:g}, the best α minus α = 0, clean labels",
            over_seeds(under_attack),
            above=0.0,
        ),
        *(
            Statement(
                f"A share for each {mode} does as well as one for the batch",
                f"test accuracy at α = 1, {some}, minus that of one share for the batch",
                over_seeds(differences),
                above=-0.02,
                below=0.02,
            )
            for mode, differences in modes.items()
        ),
    ]
    return Findings(statements, _tables(measured), _picture(measured))


_SETTINGS = list(itertools.product((0.0, CORRUPTED), (0.0, DROPOUT)))


def _name(corrupted: float, dropout: float) -> str:
    labels = f"{corrupted:.0%} corrupted" if corrupted else "clean"
    return labels + (", dropout" if dropout else "")


def _tables(measured: Sequence[Measurement]) -> list[Table]:
    def cell(values: Sequence[float]) -> str:
        return over_seeds([100 * value for value in values]).short

    rows = [
        [
            f"{alpha:g}",
            *(cell([_runs(m, *setting)[alpha]["test"] for m in measured]) for setting in _SETTINGS),
        ]
        for alpha in ALPHAS
    ]
    attacks = [
        [
            f"{alpha:g}",
            *(
                cell([_runs(m, 0.0, 0.0)[alpha]["attacked"][str(by)] for m in measured])
                for by in ATTACKS
            ),
        ]
        for alpha in ALPHAS
    ]
    modes = [[mode, cell([_of_mode(m, mode) for m in measured])] for mode in MODES]
    return [
        Table(
            "Accuracy on the digits of other writers (%)",
            "One share λ for each batch.",
            ["α", *(_name(*setting) for setting in _SETTINGS)],
            rows,
        ),
        Table(
            "Accuracy under attack (%), clean labels, no dropout",
            "Pixels from −1 to 1 are moved by so much, in the direction of the gradient's sign.",
            ["α", *(f"{by:g}" for by in ATTACKS)],
            attacks,
        ),
        Table(
            f"Whose share: α = 1, {CORRUPTED:.0%} corrupted labels",
            "",
            ["one λ for each", "accuracy (%)"],
            modes,
        ),
    ]


def _of_mode(m: Measurement, mode: str) -> float:
    if mode == "batch":
        return float(_runs(m, CORRUPTED, 0.0)[1.0]["test"])
    return float(next(r["test"] for r in m["runs"] if r["mode"] == mode))


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, (left, right) = panels(2, width=5)
    for position, setting in enumerate(_SETTINGS):
        found = [
            over_seeds([100 * _runs(m, *setting)[alpha]["test"] for m in measured])
            for alpha in ALPHAS
        ]
        values = np.array([each.value for each in found])
        reach = [values - [e.low for e in found], np.array([e.high for e in found]) - values]
        # Beside one another, so that the limits can be told apart.
        at = np.array(ALPHAS) + 0.008 * (position - 1.5)
        left.errorbar(at, values, reach, marker=MARKERS[position], capsize=3,
                      label=_name(*setting), **style(position))  # fmt: skip
    left.set_xticks(ALPHAS)
    left.legend(fontsize="small", loc="lower right")
    finish(left, "Accuracy (%), mean and 95%", "α", "")
    for position, alpha in enumerate(ALPHAS):
        by = [0.0, *ATTACKS]
        shares = [
            np.mean([_runs(m, 0.0, 0.0)[alpha]["test"] for m in measured]),
            *(
                np.mean([_runs(m, 0.0, 0.0)[alpha]["attacked"][str(b)] for m in measured])
                for b in ATTACKS
            ),
        ]
        right.plot(by, 100 * np.array(shares), marker=MARKERS[position], label=f"α = {alpha:g}",
                   **style(position))  # fmt: skip
    right.legend(fontsize="small")
    finish(right, "Accuracy under attack (%), clean labels", "size of the attack", "")
    return figure


EXPERIMENT = Experiment(
    title="Mixup: corrupted labels, dropout, attacks",
    setting=(
        f"An MLP of 256 units on 1,000 of the first {OTHER_WRITERS:,} digits, α chosen on 200 more with "
        f"true labels, judged on the 597 of other writers; with {CORRUPTED:.0%} of the training labels drawn "
        "anew, and without."
    ),
    seeds=7,
    measure=measure,
    conclude=conclude,
)
