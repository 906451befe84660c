"""Label smoothing: accuracy, calibration, and what a student learns from a smoothed teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ironstep
from ironstep.experiments._digits import CLASSES, OTHER_WRITERS, accuracy, digits, fit, mlp, parts
from ironstep.experiments._drawing import COLOURS, GREY, MARKERS, finish, panels, style
from ironstep.experiments._protocol import (
    Experiment,
    Findings,
    Measurement,
    Statement,
    Table,
    Tick,
    over_seeds,
)
from ironstep.metrics import calibration

ALPHAS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2)
LECTURE = 0.005  # the lecture's own number, in the lecture's own form
USUAL = 0.1  # what most people take
FORMS = ("szegedy", "lecture", "normalized")
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
BINS = 10


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Train with each α on some writers, judge on others; let students learn from two teachers."""
    train, validation = parts(seed, 300 if quick else 1000, 200, of=OTHER_WRITERS)
    x, y = digits()
    test = x[OTHER_WRITERS:], y[OTHER_WRITERS:]
    epochs = 5 if quick else 50
    found: Measurement = {"runs": [], "students": {}}
    settings = [(alpha, "szegedy") for alpha in ALPHAS]
    settings += [(alpha, form) for alpha in (LECTURE, USUAL) for form in FORMS[1:]]
    teachers = {}
    for alpha, form in settings:
        tick(f"α = {alpha:g}, {form}")
        torch.manual_seed(seed)
        model = mlp(64, 128, CLASSES)
        criterion = ironstep.nn.CrossEntropyLoss(label_smoothing=alpha, smoothing=form)
        fit(model, *train, seed=seed, epochs=epochs, lr=0.1, momentum=0.9, criterion=criterion)
        found["runs"].append({"alpha": alpha, "form": form, **judged(model, *test)})
        if form == "szegedy" and alpha in (0.0, USUAL):
            teachers[alpha] = model
    for alpha, teacher in teachers.items():
        tick(f"students of the teacher of α = {alpha:g}")
        found["students"][str(alpha)] = students(
            teacher, train, validation, test, seed, 2 if quick else 30
        )
    return found


def judged(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Return accuracy, log loss, and how far the probabilities are from what happens."""
    with torch.no_grad():
        log_p = torch.log_softmax(model(x).double(), dim=1).numpy()
    labels = y.numpy()
    probability = np.exp(log_p)
    confidence, right = probability.max(axis=1), probability.argmax(axis=1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    # All classes of all images as two-class cases: the slope of the one that was predicted alone
    # would be of 30 errors. What is 1 to rounding has no logit.
    one_hot = np.eye(CLASSES)[labels].ravel()
    all_classes = np.clip(probability.ravel(), 1e-15, 1 - 1e-15)
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(-log_p[np.arange(len(labels)), labels].mean()),
        "ece": _ece(right, confidence),
        "slope": calibration(one_hot, all_classes, n_resamples=1, random_state=0).slope.value,
        "bins": counts,
        "bin_right": np.bincount(bins, right, minlength=BINS),
        "bin_confidence": np.bincount(bins, confidence, minlength=BINS),
    }


def _ece(right: Any, confidence: Any) -> float:
    if right.all() or not right.any():
        # `calibration` wants cases of both kinds; its formula does not.
        bins = np.minimum((confidence * 15).astype(int), 14)
        off = np.bincount(bins, right - confidence, minlength=15)
        return float(np.abs(off).sum() / len(right))
    found = calibration(right, confidence, n_resamples=1, random_state=0)
    return found.expected_calibration_error


def students(
    teacher: nn.Module,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    seed: int,
    epochs: int,
) -> dict[str, float]:
    """Distil small networks at each temperature; the best on the validation part is judged."""
    with torch.no_grad():
        logits = teacher(train[0])
    found = []
    for temperature in TEMPERATURES:
        torch.manual_seed(seed + 1)
        student = mlp(64, 16, CLASSES)
        loss = ironstep.nn.CrossEntropyLoss()

        def distil(
            out: Tensor, target: Tensor, at: float = temperature, loss: Any = loss
        ) -> Tensor:
            # T²: the gradient is of the same size at every temperature (Hinton et al. 2015).
            lost: Tensor = at * at * loss(out / at, target)
            return lost

        soft = torch.softmax(logits / temperature, dim=1)
        fit(
            student,
            train[0],
            soft,
            seed=seed,
            epochs=epochs,
            lr=0.05,
            momentum=0.9,
            criterion=distil,
        )
        found.append((accuracy(student, *validation), temperature, accuracy(student, *test)))
    best, temperature, judged_ = max(found, key=lambda each: each[0])
    return {
        "temperature": temperature,
        "validation": best,
        "test": judged_,
        "teacher": accuracy(teacher, *test),
    }


def _run(m: Measurement, alpha: float, form: str = "szegedy") -> dict[str, Any]:
    found: dict[str, Any] = next(
        r for r in m["runs"] if r["alpha"] == alpha and (r["form"] == form or alpha == 0)
    )
    return found


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Compare each α with none, seed by seed."""

    def gain(key: str, alpha: float, form: str = "szegedy") -> list[float]:
        return [_run(m, alpha, form)[key] - _run(m, 0.0)[key] for m in measured]

    def slope_gain(alpha: float, form: str) -> list[float]:
        return [
            abs(_run(m, alpha, form)["slope"] - 1) - abs(_run(m, 0.0)["slope"] - 1)
            for m in measured
        ]

    forms = [
        _run(m, USUAL, "lecture")["ece"] - _run(m, USUAL, "normalized")["ece"] for m in measured
    ]
    learned = [m["students"][str(USUAL)]["test"] - m["students"]["0.0"]["test"] for m in measured]
    statements = []
    for alpha, form in ((LECTURE, "lecture"), (USUAL, "szegedy")):
        name = f"α = {alpha:g} ({form})"
        statements += [
            Statement(
                f"Label smoothing of {name} improves calibration",
                "expected calibration error minus that of α = 0",
                over_seeds(gain("ece", alpha, form)),
                below=0.0,
            ),
            Statement(
                f"Label smoothing of {name} brings the calibration slope nearer to 1",
                "|slope − 1| minus that of α = 0",
                over_seeds(slope_gain(alpha, form)),
                below=0.0,
            ),
            Statement(
                f"Label smoothing of {name} improves accuracy",
                "test accuracy minus that of α = 0",
                over_seeds(gain("accuracy", alpha, form)),
                above=0.0,
            ),
        ]
    statements += [
        Statement(
            "That the lecture's target sums to 1 − α/K does not matter",
            f"calibration error at α = {USUAL:g}, lecture's form minus the normalized one",
            over_seeds(forms),
            above=-0.02,
            below=0.02,
        ),
        Statement(
            "A student learns less from a teacher that was smoothed",
            f"students' test accuracy, teacher of α = {USUAL:g} minus teacher of α = 0",
            over_seeds(learned),
            below=0.0,
        ),
    ]
    return Findings(statements, _tables(measured), _picture(measured))


def _tables(measured: Sequence[Measurement]) -> list[Table]:
    rows = [
        [
            f"{run['alpha']:g} {run['form']}",
            *(
                over_seeds([_run(m, run["alpha"], run["form"])[key] for m in measured]).short
                for key in ("accuracy", "log_loss", "ece", "slope")
            ),
        ]
        for run in measured[0]["runs"]
    ]
    students_ = []
    for alpha in measured[0]["students"]:
        found = [m["students"][alpha] for m in measured]
        students_.append(
            [
                alpha,
                *(str(over_seeds([each[key] for each in found])) for key in ("teacher", "test")),
                " ".join(f"{each['temperature']:g}" for each in found),
            ]
        )
    return [
        Table(
            "Digits of other writers",
            "ECE: expected calibration error of the predicted class, 15 bins. Slope: of a logistic "
            "regression on the logits, all classes; below 1 where predictions are too extreme.",
            ["α", "accuracy", "log loss", "ECE", "slope"],
            rows,
        ),
        Table(
            "Students of 16 units",
            "Temperature: the best on a validation part, seed by seed.",
            ["teacher's α", "teacher's accuracy", "student's accuracy", "temperatures"],
            students_,
        ),
    ]


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, (left, middle, right) = panels(3)
    # α = 0 has no place on a logarithmic axis: it stands at the left.
    at = [0.002, *ALPHAS[1:]]
    for ax, key, title, scale in (
        (left, "ece", "Expected calibration error", 1),
        (middle, "accuracy", "Accuracy (%)", 100),
    ):
        found = [over_seeds([_run(m, a)[key] for m in measured]) for a in ALPHAS]
        values = np.array([each.value for each in found])
        reach = [values - [e.low for e in found], np.array([e.high for e in found]) - values]
        ax.errorbar(at, scale * values, scale * np.array(reach), marker="o", capsize=3, **style(0))
        ax.set_xscale("log")
        ax.set_xticks(at, ["0", *(f"{a:g}" for a in ALPHAS[1:])])
        ax.minorticks_off()
        finish(ax, f"{title}, mean and 95%", "α", "")
    right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    for position, alpha in enumerate((0.0, LECTURE, USUAL, 0.2)):
        runs = [_run(m, alpha) for m in measured]
        counts = np.sum([run["bins"] for run in runs], axis=0)
        kept = counts >= 20
        shares = np.sum([run["bin_right"] for run in runs], axis=0)[kept] / counts[kept]
        means = np.sum([run["bin_confidence"] for run in runs], axis=0)[kept] / counts[kept]
        right.plot(means, shares, marker=MARKERS[position], markersize=4, label=f"α = {alpha:g}",
                   **style(position))  # fmt: skip
    right.legend(fontsize="small")
    finish(right, "Reliability, all seeds together", "confidence", "share that is right")
    right.set_aspect("equal")
    left.axhline(0, color=COLOURS[-1], linewidth=0.5)
    return figure


EXPERIMENT = Experiment(
    title="Label smoothing: accuracy, calibration, distillation",
    setting=(
        f"An MLP of 128 units on 1,000 of the first {OTHER_WRITERS:,} digits, judged on the 597 of other "
        "writers. Students of 16 units learn from the network's answers on the same 1,000."
    ),
    seeds=10,
    measure=measure,
    conclude=conclude,
)
