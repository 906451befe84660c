"""The descent property, the best constant rate, and the mean of mini-batch gradients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_breast_cancer

from ironstep.experiments._drawing import finish, panels, style
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
from ironstep.train import DenseNetwork, lipschitz_constant, minibatches, minimize

# Rates as multiples of 1/L, within the promise and beyond it.
WITHIN = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 1.9)
BEYOND = (2.1, 2.5, 3.0, 4.0)
BATCH_SIZES = (1, 4, 16, 64, 256)

Array = npt.NDArray[np.float64]


def logistic(seed: int) -> tuple[DenseNetwork, Array, npt.NDArray[np.int64]]:
    """Logistic regression of 569 patients drawn anew from the 569, from a random start.

    With two classes the largest curvature p(1 − p) of the loss is that at θ = 0, where p = ½: the
    constant found there holds everywhere.
    """
    random = np.random.default_rng(seed)
    x, y = load_breast_cancer(return_X_y=True)
    drawn = random.integers(len(y), size=len(y))
    x, y = x[drawn], y[drawn]
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return DenseNetwork([x.shape[1], 2], random_state=random), x, y


def constant(net: DenseNetwork, x: Array, y: npt.NDArray[np.int64]) -> float:
    """L of the logistic regression's gradient, over all θ."""
    objective = net.objective(x, y)
    return lipschitz_constant(
        lambda theta: objective(theta)[1], np.zeros_like(net.theta), n_iter=1000, tol=1e-10
    )


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Run each rate on the patients and on a quadratic; draw batches."""
    steps = 50 if quick else 400
    net, x, y = logistic(seed)
    start = net.theta.copy()
    bound = constant(net, x, y)
    objective = net.objective(x, y)
    runs = {}
    for share in (*WITHIN, *BEYOND):
        tick(f"rate {share} / L")
        found = minimize(objective, start, lr=share / bound, max_iter=steps, tol=0)
        runs[str(share)] = {
            "loss": found.history.fun,
            "kept": int(found.history.keeps_descent(bound).sum()),
            "ascents": len(found.history.ascents),
        }
    return {
        "lipschitz": bound,
        "steps": steps,
        "runs": runs,
        # Of fewer steps: at the rate 4/L each multiplies the value by nine.
        "quadratic": quadratic(seed, 200),
        "batches": batches(seed, net, x, y, 200 if quick else 4000, tick),
    }


def quadratic(seed: int, steps: int) -> dict[str, Any]:
    """A quadratic of 20 random curvatures up to L = 1, from a random start."""
    random = np.random.default_rng(seed)
    curvature = random.uniform(0.05, 1, size=20)
    curvature[0] = 1.0
    start = random.normal(size=20)

    def value(x: Array) -> tuple[float, Array]:
        return 0.5 * float(curvature @ x**2), curvature * x

    last = {
        str(share): float(minimize(value, start, lr=share, max_iter=steps, tol=0).fun)
        for share in (*WITHIN, *BEYOND)
    }
    # In the direction of the largest curvature the promise is all there is.
    steepest = np.zeros(20)
    steepest[0] = start[0]
    one_step = {
        str(share): float(minimize(value, steepest, lr=share, max_iter=1, tol=0).fun)
        / value(steepest)[0]
        for share in WITHIN
    }
    return {"start": value(start)[0], "last": last, "one_step": one_step}


def batches(
    seed: int, net: DenseNetwork, x: Array, y: npt.NDArray[np.int64], n_batches: int, tick: Tick
) -> list[dict[str, Any]]:
    """The mean and the variance of mini-batch gradients against the whole one's."""
    net.theta[...] = np.random.default_rng(seed).normal(scale=0.1, size=net.theta.shape)
    whole = net.backward(x, y).theta
    # The gradient of each sample, of which any batch's is the mean.
    each = np.stack([net.backward(x[i : i + 1], y[i : i + 1]).theta for i in range(len(y))])
    variance = float(each.var(axis=0).sum())
    found = []
    for size, replacement in itertools.product(BATCH_SIZES, (True, False)):
        tick(f"batches of {size}")
        drawn = minibatches(len(y), size, replacement=replacement, random_state=seed)
        # Of an epoch without replacement only the first batch: those after it depend on it.
        per_epoch = 1 if replacement else -(-len(y) // size)
        firsts = itertools.islice(drawn, 0, n_batches * per_epoch, per_epoch)
        means = np.stack([each[batch].mean(axis=0) for batch in firsts])
        found.append(
            {
                "size": size,
                "replacement": replacement,
                "n_samples": len(y),
                "along": float((means @ whole).mean() / (whole @ whole)),
                "variance": float(((means - whole) ** 2).sum(axis=1).mean()) / variance,
            }
        )
    return found


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Judge what the rates and the batches did."""
    steps = measured[0]["steps"]
    # A seed is one case: what its rates do depends on one another.
    kept = sum(all(m["runs"][str(share)]["kept"] == steps for share in WITHIN) for m in measured)
    beyond = [str(share) for share in BEYOND]
    grew = sum(
        all(m["quadratic"]["last"][s] > m["quadratic"]["start"] for s in beyond) for m in measured
    )
    grew_real = sum(
        all(m["runs"][s]["loss"][-1] > m["runs"][s]["loss"][0] for s in beyond) for m in measured
    )
    others = [str(share) for share in WITHIN if share != 1.0]
    one_step = [
        m["quadratic"]["one_step"]["1.0"] - min(m["quadratic"]["one_step"][s] for s in others)
        for m in measured
    ]
    ratio = [
        np.log10(m["runs"]["1.0"]["loss"][-1] / min(m["runs"][s]["loss"][-1] for s in others))
        for m in measured
    ]
    statements = [
        Statement(
            "While c ≤ 2/L every step lowers the loss by at least c(1 − cL/2)‖∇l‖²",
            f"share of the seeds in which every step does, logistic regression, {len(WITHIN)} rates",
            of_count(kept, len(measured)),
            above=0.5,
        ),
        Statement(
            "c = 1/L is the rate with the largest sure decrease",
            "value after a step in the steepest direction, as a share: at 1/L minus the best other",
            over_seeds(one_step),
            below=0.0,
        ),
        Statement(
            "c = 1/L is the best constant rate",
            f"log₁₀ of the loss after {steps} steps of logistic regression, 1/L against the best other",
            over_seeds(ratio),
            below=0.0,
        ),
        Statement(
            "Beyond c = 2/L descent is lost, on a quadratic",
            f"share of the seeds in which all {len(BEYOND)} rates end above their start",
            of_count(grew, len(measured)),
            above=0.5,
        ),
        Statement(
            "Beyond c = 2/L descent is lost, on logistic regression",
            f"share of the seeds in which all {len(BEYOND)} rates end above their start",
            of_count(grew_real, len(measured)),
            above=0.5,
        ),
        *(
            Statement(
                f"A mini-batch's mean gradient is unbiased ({_drawing(replacement)})",
                "its mean along the whole gradient, as a share of that, batches of 16",
                over_seeds([_batch(m, 16, replacement)["along"] for m in measured]),
                above=0.97,
                below=1.03,
            )
            for replacement in (True, False)
        ),
        Statement(
            "Without replacement the variance is smaller, by (n − B)/(n − 1)",
            "measured variance divided by that, times B/σ², batches of 256 of 569",
            over_seeds([_of_theory(_batch(m, 256, False)) for m in measured]),
            above=0.95,
            below=1.05,
        ),
    ]
    return Findings(statements, _tables(measured), _picture(measured))


def _drawing(replacement: bool) -> str:
    return "with replacement" if replacement else "without replacement"


def _batch(m: Measurement, size: int, replacement: bool) -> dict[str, Any]:
    return next(b for b in m["batches"] if b["size"] == size and b["replacement"] == replacement)


def _theory(batch: dict[str, Any]) -> float:
    n, size = int(batch["n_samples"]), int(batch["size"])
    return (1.0 if batch["replacement"] else (n - size) / (n - 1)) / size


def _of_theory(batch: dict[str, Any]) -> float:
    return float(batch["variance"] / _theory(batch))


def _tables(measured: Sequence[Measurement]) -> list[Table]:
    rates = []
    for share in (*WITHIN, *BEYOND):
        runs = [m["runs"][str(share)] for m in measured]
        rates.append(
            [
                f"{share:g} / L",
                over_seeds([run["loss"][-1] for run in runs]).short,
                f"{sum(run['ascents'] for run in runs)} of {len(runs) * measured[0]['steps']}",
                f"{np.mean([m['quadratic']['last'][str(share)] for m in measured]):.3g}",
            ]
        )
    drawn = [
        [
            f"{size}",
            *(
                over_seeds([_of_theory(_batch(m, size, replacement)) for m in measured]).short
                for replacement in (True, False)
            ),
        ]
        for size in BATCH_SIZES
    ]
    return [
        Table(
            f"Rates, {measured[0]['steps']} steps",
            "Ascents: steps after which the loss was larger. Quadratic: its value at the end, L = 1.",
            ["rate", "loss at the end", "ascents", "quadratic"],
            rates,
        ),
        Table(
            "Variance of a mini-batch's mean gradient",
            "As a multiple of σ²/B with replacement, and of σ²/B · (n − B)/(n − 1) without: 1 at best.",
            ["B", "with replacement", "without"],
            drawn,
        ),
    ]


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, (losses, end, variance) = panels(3)
    first = measured[0]["runs"]
    for position, share in enumerate((0.25, 1.0, 1.9, 2.5, 4.0)):
        losses.loglog(
            np.arange(1, measured[0]["steps"] + 2), first[str(share)]["loss"],
            label=f"{share:g} / L", **style(position),
        )  # fmt: skip
    losses.legend(title="rate", fontsize="small", title_fontsize="small")
    finish(losses, "Logistic regression, one seed", "step + 1", "loss")

    shares = (*WITHIN, *BEYOND)
    for position, (name, last) in enumerate(
        {
            "logistic regression": [
                [m["runs"][str(s)]["loss"][-1] / m["runs"][str(s)]["loss"][0] for s in shares]
                for m in measured
            ],
            "quadratic": [
                [m["quadratic"]["last"][str(s)] / m["quadratic"]["start"] for s in shares]
                for m in measured
            ],
        }.items()
    ):
        # As far as it can be drawn: a quadratic's end is 10⁻⁴⁰ or 10⁺³⁰⁰.
        drawn = np.clip(np.array(last), 1e-6, 1e4)
        end.semilogy(shares, np.exp(np.log(drawn).mean(axis=0)), marker="os"[position],
                     markersize=4, label=name, **style(position))  # fmt: skip
    end.axvline(1, color="#595959", linewidth=0.8, linestyle=":")
    end.axvline(2, color="#595959", linewidth=0.8, linestyle=":")
    end.axhline(1, color="#595959", linewidth=0.8)
    end.legend(fontsize="small")
    finish(end, "Loss at the end / at the start", "rate · L", "ratio, cut at 10⁻⁶ and 10⁴")

    for position, replacement in enumerate((True, False)):
        seen = [
            np.mean([_batch(m, size, replacement)["variance"] for m in measured])
            for size in BATCH_SIZES
        ]
        theory = [_theory(_batch(measured[0], size, replacement)) for size in BATCH_SIZES]
        chosen = style(position)
        variance.loglog(BATCH_SIZES, theory, **chosen, label=f"{_drawing(replacement)}: formula")
        variance.loglog(
            BATCH_SIZES, seen, linestyle="none", marker="os"[position], markersize=5,
            markerfacecolor="white", color=chosen["color"], label="measured",
        )  # fmt: skip
    variance.legend(fontsize="small")
    finish(variance, "Variance of the mean gradient / σ²", "batch size B", "")
    return figure


EXPERIMENT = Experiment(
    title="Gradient descent: the descent property, the best rate, mini-batches",
    setting=(
        "Logistic regression on resampled breast cancer patients (569, 30 features), whose Lipschitz "
        "constant L is found by power iteration at θ = 0, where the curvature of two classes is "
        "largest; and a quadratic with 20 random curvatures."
    ),
    seeds=10,
    measure=measure,
    conclude=conclude,
)
