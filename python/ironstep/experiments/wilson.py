"""Adaptive and non-adaptive methods on the construction of Wilson et al. (2017), and on digits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ironstep.experiments._digits import accuracy, fit, mlp, parts
from ironstep.experiments._drawing import COLOURS, GREY, finish, panels
from ironstep.experiments._protocol import (
    Experiment,
    Findings,
    Measurement,
    Statement,
    Table,
    Tick,
    of_count,
    over_seeds,
)
from ironstep.train import lipschitz_constant, minimize

Array = npt.NDArray[np.float64]

P = 0.6  # share of the positive examples
N_TEST = 1000
ADAPTIVE = {
    "AdaGrad": dict(method="adagrad", lr=0.03),
    # A constant rate goes on stepping around the solution.
    "RMSProp": dict(method="rmsprop", lr=lambda r: 0.003 / (1 + r / 30)),
    "Adam": dict(method="adam", lr=lambda r: 0.003 / (1 + r / 100)),
}
PLAIN = {
    "SGD": {},
    "heavy ball": dict(momentum=0.9),
    "Nesterov": dict(momentum=0.9, nesterov=True),
}
DECAYS = ("constant", "steps", "cosine")
RATES = {"SGD": (0.01, 0.03, 0.1, 0.3, 1.0), "Adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}
DEFAULT = ("Adam", 1e-3, "constant")


def construction(n: int, random: np.random.Generator) -> tuple[Array, Array]:
    """Return examples and labels ±1, with P(+1) = 0.6: section 3.3 of Wilson et al.

    x₁ = y and x₂ = x₃ = 1; then each example has five coordinates of its own, of which the first is 1
    if y = +1 and all are 1 if y = −1.
    """
    y = np.where(random.random(n) < P, 1.0, -1.0)
    x = np.zeros((n, 3 + 5 * n))
    x[:, 0], x[:, 1:3] = y, 1
    for i in range(n):
        x[i, 3 + 5 * i : 3 + 5 * i + (1 if y[i] > 0 else 5)] = 1
    return x, y


def least_squares(x: Array, y: Array, steps: int, options: dict[str, Any]) -> Array:
    """Return the solution that a method comes to from 0."""

    def loss(w: Array) -> tuple[float, Array]:
        off = x @ w - y
        return 0.5 * float(off @ off) / len(y), x.T @ off / len(y)

    if "lr" not in options:
        bound = lipschitz_constant(lambda w: loss(w)[1], np.zeros(x.shape[1]))
        options = {**options, "lr": 1 / bound}
    found: Array = minimize(loss, np.zeros(x.shape[1]), max_iter=steps, tol=1e-9, **options).x
    return found


def errors_on_unseen(w: Array, y: Array) -> int:
    """Count the errors on unseen examples: their own coordinates were never seen, and weigh 0."""
    score = w[0] * y + w[1] + w[2]
    return int((np.where(score > 0, 1.0, -1.0) != y).sum())


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Solve the least squares by each method; tune two on digits."""
    random = np.random.default_rng(seed)
    x, y = construction(60 if quick else 200, random)
    unseen = np.where(random.random(N_TEST) < P, 1.0, -1.0)
    found: Measurement = {"negatives": int((unseen < 0).sum()), "methods": {}}
    for name, options in (ADAPTIVE | PLAIN).items():
        tick(name)
        w = least_squares(x, y, 300 if quick else 1500, options)
        found["methods"][name] = {
            "train_errors": int((np.sign(x @ w) != y).sum()),
            "residual": float(np.abs(x @ w - y).max()),
            "test_errors": errors_on_unseen(w, unseen),
            "weights": w[:3],
        }
    found["digits"] = tuned(seed, 2 if quick else 20, tick)
    return found


def tuned(seed: int, epochs: int, tick: Tick) -> dict[str, Any]:
    """Train an MLP with each learning rate and decay; the best on the validation part is judged."""
    train, validation, test = parts(seed, 1000, 397, 400)
    runs = []
    for method, rates in RATES.items():
        for lr, decay in itertools.product(rates, DECAYS):
            tick(f"digits, {method}, {lr:g}, {decay}")
            torch.manual_seed(seed)
            model = mlp(64, 64, 10)
            options: dict[str, Any] = dict(momentum=0.9) if method == "SGD" else {}
            loss = fit(
                model,
                *train,
                seed=seed,
                epochs=epochs,
                lr=lr,
                method=method,
                decay=decay,
                **options,
            )
            runs.append(
                {
                    "method": method,
                    "lr": lr,
                    "decay": decay,
                    "loss": loss,
                    "validation": accuracy(model, *validation),
                    "test": accuracy(model, *test),
                }
            )
    best = {m: max((r for r in runs if r["method"] == m), key=_validation) for m in RATES}
    default = next(r for r in runs if (r["method"], r["lr"], r["decay"]) == DEFAULT)
    return {"runs": runs, "best": best, "default": default}


def _validation(run: dict[str, Any]) -> float:
    return float(run["validation"])


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Judge errors on unseen examples, and what tuning gains."""
    n_test = N_TEST * len(measured)
    statements = [
        Statement(
            f"{name} calls every unseen example positive: its error is the share of negatives",
            "test error minus the share of negatives",
            over_seeds([(_errors(m, name) - m["negatives"]) / N_TEST for m in measured]),
            above=-0.001,
            below=0.001,
        )
        for name in ADAPTIVE
    ]
    statements += [
        Statement(
            f"{name} makes no error on unseen examples",
            "test error",
            of_count(sum(_errors(m, name) for m in measured), n_test),
            below=0.01,
        )
        for name in PLAIN
    ]
    tuning = [
        m["digits"]["best"]["Adam"]["test"] - m["digits"]["default"]["test"] for m in measured
    ]
    methods = [
        m["digits"]["best"]["SGD"]["test"] - m["digits"]["best"]["Adam"]["test"] for m in measured
    ]
    statements += [
        Statement(
            "Tuning learning rate and decay makes Adam better than its default",
            "test accuracy on digits, tuned minus 0.001 constant",
            over_seeds(tuning),
            above=0.0,
        ),
        Statement(
            "SGD with momentum generalizes better than Adam, both tuned",
            "test accuracy on digits, SGD minus Adam",
            over_seeds(methods),
            above=0.0,
        ),
    ]
    return Findings(statements, _tables(measured), _picture(measured))


def _errors(m: Measurement, name: str) -> int:
    return int(m["methods"][name]["test_errors"])


def _tables(measured: Sequence[Measurement]) -> list[Table]:
    rows = []
    for name in (*ADAPTIVE, *PLAIN):
        found = [m["methods"][name] for m in measured]
        weights = np.mean([each["weights"] for each in found], axis=0)
        rows.append(
            [
                name,
                f"{np.mean([each['train_errors'] for each in found]):g}",
                f"{max(each['residual'] for each in found):.1e}",
                over_seeds([each["test_errors"] / N_TEST for each in found]).short,
                " ".join(f"{w:.3f}" for w in weights),
            ]
        )
    rows.append(
        [
            "share of negatives",
            "",
            "",
            over_seeds([m["negatives"] / N_TEST for m in measured]).short,
            "",
        ]
    )
    digits = []
    for method, decay in itertools.product(RATES, DECAYS):
        row = [f"{method}, {decay}"]
        for lr in RATES[method]:
            runs = [
                run
                for m in measured
                for run in m["digits"]["runs"]
                if (run["method"], run["lr"], run["decay"]) == (method, lr, decay)
            ]
            row.append(f"{lr:g}: {100 * np.mean([run['test'] for run in runs]):.2f}")
        digits.append(row)
    return [
        Table(
            "Least squares on the construction",
            "Largest residual: of |xᵀw − y| on the training examples, over all seeds. Weights: of x₁ = y, "
            "x₂ = x₃ = 1.",
            ["method", "training errors", "largest residual", "test error", "weights"],
            rows,
        ),
        Table(
            "Digits: learning rate, and test accuracy (%)",
            "An MLP of 64 units. The statements take what is best on the validation part.",
            ["", "1", "2", "3", "4", "5"],
            digits,
        ),
    ]


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, (left, middle, right) = panels(3)
    names = [*ADAPTIVE, *PLAIN]
    for position, name in enumerate(names):
        errors = over_seeds([_errors(m, name) / N_TEST for m in measured])
        left.bar(position, errors.value, color=COLOURS[0 if name in PLAIN else 1])
        left.errorbar(position, errors.value, [[errors.value - errors.low], [errors.high - errors.value]],
                      color="black", capsize=3)  # fmt: skip
    share = np.mean([m["negatives"] for m in measured]) / N_TEST
    left.axhline(share, color=GREY, linestyle=":", label="share of negatives")
    left.set_xticks(range(len(names)), names, rotation=35, ha="right")
    left.legend(fontsize="small", loc="center right")
    finish(left, "Wilson et al.'s construction", "", "error on unseen examples")

    for position, method in enumerate(RATES):
        best = np.array(
            [
                [
                    max(
                        r["test"]
                        for r in m["digits"]["runs"]
                        if (r["method"], r["lr"]) == (method, lr)
                    )
                    for lr in RATES[method]
                ]
                for m in measured
            ]
        )
        middle.semilogx(RATES[method], 100 * best.mean(axis=0), marker="os"[position],
                        color=COLOURS[position], label=method)  # fmt: skip
    middle.legend(fontsize="small")
    finish(middle, "Digits, the best of the decays", "learning rate", "test accuracy (%)")

    pairs = {
        "Adam:\ntuned − default": [
            m["digits"]["best"]["Adam"]["test"] - m["digits"]["default"]["test"] for m in measured
        ],
        "tuned:\nSGD − Adam": [
            m["digits"]["best"]["SGD"]["test"] - m["digits"]["best"]["Adam"]["test"]
            for m in measured
        ],
    }
    for position, differences in enumerate(pairs.values()):
        found = over_seeds(differences)
        spread = np.linspace(-0.12, 0.12, len(differences))
        right.plot(position + spread, 100 * np.array(differences), "o", color=COLOURS[0], alpha=0.4)
        right.errorbar(position + 0.25, 100 * found.value,
                       [[100 * (found.value - found.low)], [100 * (found.high - found.value)]],
                       fmt="s", color="black", capsize=4)  # fmt: skip
    right.axhline(0, color=GREY, linewidth=0.8)
    right.set_xticks(range(len(pairs)), list(pairs))
    right.set_xlim(-0.5, len(pairs) - 0.5)
    finish(right, "Difference of test accuracy, seeds and mean", "", "points")
    return figure


EXPERIMENT = Experiment(
    title="Adaptive and non-adaptive methods (Wilson et al. 2017)",
    setting=(
        "Least squares from 0 on 200 examples of the construction of section 3.3, with 60% positives, "
        f"judged on {N_TEST:,} unseen ones; and an MLP on digits, 1,000 images, with learning rate and "
        "decay tuned on 397 and judged on 400."
    ),
    seeds=8,
    measure=measure,
    conclude=conclude,
)
