"""Every criterion as the threshold moves: a page with a slider, and what must hold of them."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_breast_cancer

from ironstep.experiments._criteria_page import PAGE
from ironstep.experiments._digits import CLASSES, fit, mlp, parts
from ironstep.experiments._drawing import GREY, finish, panels, style
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
from ironstep.metrics import (
    BinaryCounts,
    ScoreIndex,
    average_precision_score,
    confidence_interval,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
    top_k_accuracy_score,
)
from ironstep.train import DenseNetwork, minimize

# Two of the thirty measurements, which leave something to decide.
FEATURES = ("mean texture", "mean smoothness")
N_TRAIN = 285
RARE = 0.05  # a prevalence as of screening
# By the names of `BinaryCounts`: what the page shows, in words.
CRITERIA = {
    "sensitivity": "Sensitivity, recall, TPR",
    "specificity": "Specificity, TNR",
    "fpr": "False positive rate",
    "fnr": "False negative rate",
    "ppv": "Precision, PPV",
    "npv": "Negative predictive value",
    "fdr": "False discovery rate",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "mcc": "MCC",
    "youden_j": "Youden's J",
    "kappa": "Cohen's kappa",
    "lr_positive": "Positive likelihood ratio",
    "lr_negative": "Negative likelihood ratio",
}

Floats = npt.NDArray[np.float64]


def scores(seed: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return test labels (1 for malignant) and scores of a logistic regression on two features."""
    bunch = load_breast_cancer()
    columns = [list(bunch.feature_names).index(name) for name in FEATURES]
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    x, y = bunch.data[order][:, columns], 1 - bunch.target[order]
    x = (x - x[:N_TRAIN].mean(axis=0)) / x[:N_TRAIN].std(axis=0)
    net = DenseNetwork([len(columns), 2], random_state=0)
    minimize(net.objective(x[:N_TRAIN], y[:N_TRAIN]), net.theta, lr=1.0, max_iter=500)
    # Four decimals, as people report them: some patients are tied.
    return y[N_TRAIN:], net.predict(x[N_TRAIN:])[:, 1].round(4)


def at_threshold(y: Any, score: Floats, threshold: float) -> BinaryCounts:
    """Count the 2×2 table where a score of at least the threshold is called positive."""
    return BinaryCounts.from_labels(y, (score >= threshold).astype(int), undefined="nan")


def thresholds(score: Floats) -> list[float]:
    """From calling nobody positive to calling all: above the largest score, then each of them."""
    return [1.0001, *sorted({float(s) for s in score}, reverse=True)]


def page_data(seed: int, y: Any, score: Floats) -> dict[str, Any]:
    """What the page shows: everything is computed here, and nothing by the page."""
    rows: list[dict[str, Any]] = []
    for threshold in thresholds(score):
        counts = at_threshold(y, score, threshold)
        cells: dict[str, list[float | str | None]] = {}
        for name in CRITERIA:
            value = getattr(counts, name)
            if math.isnan(value) or math.isinf(value):
                cells[name] = [None if math.isnan(value) else "∞", None, None]
                continue
            found = counts.interval(name)
            cells[name] = [_rounded(v) for v in (found.value, found.low, found.high)]
        table = [int(v) for v in (counts.tp, counts.fp, counts.fn, counts.tn)]
        rows.append({"threshold": threshold, "table": table, "criteria": cells})
    auc = confidence_interval("auc", y, score)
    fpr, tpr, _ = roc_curve(y, score)
    precision, recall, _ = precision_recall_curve(y, score)
    return {
        "names": CRITERIA,
        "rows": rows,
        "start": int(np.argmin([abs(row["threshold"] - 0.5) for row in rows])),
        "auc": str(auc),
        "average_precision": _rounded(float(average_precision_score(y, score))),
        "roc": [[_rounded(a), _rounded(b)] for a, b in zip(fpr, tpr, strict=True)],
        "pr": [[_rounded(a), _rounded(b)] for a, b in zip(recall, precision, strict=True)],
        "histogram": [
            np.histogram(score[y == label], bins=20, range=(0, 1))[0].tolist() for label in (0, 1)
        ],
        "top_k": top_k(seed),
    }


def top_k(seed: int) -> list[float]:
    """Return the top-k accuracy of a small network on digits for k = 1 … 10."""
    train, test = parts(seed, 300, 1000)
    torch.manual_seed(seed)
    model = mlp(64, 16, CLASSES)
    fit(model, *train, seed=seed, epochs=6, lr=0.05, momentum=0.9)
    with torch.no_grad():
        logits = model(test[0]).numpy()
    labels = test[1].numpy()
    return [float(top_k_accuracy_score(labels, logits, k=k)) for k in range(1, CLASSES)] + [
        1.0
    ]  # all ten


def _rounded(value: float) -> float | None:
    return None if not math.isfinite(value) else round(float(value), 4)


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Compute on a split what the statements are about."""
    y, score = scores(seed)
    tick("every threshold")
    tables = [at_threshold(y, score, t) for t in thresholds(score)[:: 10 if quick else 1]]
    tpr = [table.sensitivity for table in tables]
    tnr = [table.specificity for table in tables]
    pairs = score[y == 1][:, None] - score[y == 0][None, :]
    share = float(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    auc = float(roc_auc_score(y, score))
    best = ScoreIndex(y, score).youden()
    table = at_threshold(y, score, best.threshold)
    other = BinaryCounts(tp=table.tn, fp=table.fn, fn=table.fp, tn=table.tp, undefined="nan")
    sensitivity, specificity = float(table.sensitivity), float(table.specificity)
    true, false = RARE * sensitivity, (1 - RARE) * (1 - specificity)
    return {
        "monotone": tpr == sorted(tpr) and tnr == sorted(tnr, reverse=True),
        "auc": auc,
        "auc_minus_pairs": auc - share,
        "auc_of_logits": float(roc_auc_score(y, np.log(score / (1 - score)))) - auc,
        "none_minus_model": (1 - RARE) - (RARE * sensitivity + (1 - RARE) * specificity),
        "ppv": float(table.ppv),
        "ppv_rare": true / (true + false),
        "f1_swapped": float(abs(other.f1 - table.f1)),
        "mcc_swapped": float(abs(other.mcc - table.mcc)),
        "youden": {"threshold": best.threshold, "tpr": sensitivity, "tnr": specificity},
        **({"page": page_data(seed, y, score)} if seed % 10 == 0 else {}),
    }


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Judge what must hold, and make the page of one split."""

    def each(name: str) -> list[float]:
        return [float(m[name]) for m in measured]

    statements = [
        Statement(
            "A lower threshold never loses sensitivity and never gains specificity",
            "share of the splits in which that holds from each threshold to the next",
            of_count(sum(m["monotone"] for m in measured), len(measured)),
            above=0.5,
        ),
        Statement(
            "The AUC is the probability that a positive scores higher than a negative",
            "AUC minus the share of such pairs, ties counted half",
            over_seeds(each("auc_minus_pairs")),
            above=-1e-12,
            below=1e-12,
        ),
        Statement(
            "The AUC is about ranks alone",
            "AUC of the scores' logits minus that of the scores",
            over_seeds(each("auc_of_logits")),
            above=-1e-12,
            below=1e-12,
        ),
        Statement(
            "Accuracy flatters where one class is rare",
            f"accuracy of calling nobody positive minus the model's, at a prevalence of {RARE:.0%}",
            over_seeds(each("none_minus_model")),
            above=0.0,
        ),
        Statement(
            "Precision falls with the prevalence",
            f"precision at a prevalence of {RARE:.0%} minus that among the patients",
            over_seeds([m["ppv_rare"] - m["ppv"] for m in measured]),
            below=0.0,
        ),
        Statement(
            "F1 depends on which class is called positive",
            "|F1 of malignant − F1 of benign|",
            over_seeds(each("f1_swapped")),
            above=0.01,
        ),
        Statement(
            "MCC does not",
            "|MCC of malignant − MCC of benign|",
            over_seeds(each("mcc_swapped")),
            above=-1e-12,
            below=1e-12,
        ),
    ]
    data = next((m["page"] for m in measured if "page" in m), None)
    if data is None:
        data = page_data(0, *scores(0))
    row = data["rows"][data["start"]]
    rows = [
        [CRITERIA[name], *("–" if v is None else str(v) for v in row["criteria"][name])]
        for name in CRITERIA
    ]
    tables = [
        Table(
            f"At the threshold {row['threshold']:g}, first split",
            "The page criteria.html has all thresholds. Intervals: those of ironstep.metrics, 95%.",
            ["", "value", "from", "to"],
            rows,
        ),
        Table(
            "Without a threshold",
            "AUC over seeds; top-k accuracy of a small network on digits.",
            ["", "value"],
            [
                ["AUC", over_seeds(each("auc")).short],
                *([f"top-{k} accuracy", f"{v:.3f}"] for k, v in enumerate(data["top_k"][:5], 1)),
            ],
        ),
    ]
    return Findings(statements, tables, _picture(data), {"criteria.html": page(data)})


def page(data: dict[str, Any]) -> str:
    """Return the page, which asks the network for nothing."""
    # Inside a script element only "<" could end it.
    embedded = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    flow = data["rows"][0]["table"]
    n_positive, n_negative = flow[2], flow[3]
    what = f"{n_positive} malignant and {n_negative} benign, by {' and '.join(FEATURES)}"
    return Template(PAGE).substitute(data=embedded, what=html.escape(what))


def _picture(data: dict[str, Any]) -> Any:
    figure, (left, middle, right) = panels(3)
    at = [row["threshold"] for row in data["rows"]]
    for position, name in enumerate(
        ("sensitivity", "specificity", "ppv", "accuracy", "f1", "mcc", "youden_j")
    ):
        values = [row["criteria"][name][0] for row in data["rows"]]
        left.plot(at, [math.nan if v is None else v for v in values], label=CRITERIA[name],
                  **style(position))  # fmt: skip
    left.legend(fontsize="xx-small", loc="lower center")
    finish(left, "Criteria", "threshold", "")
    for ax, key, title, x, y in (
        (middle, "roc", f"ROC, AUC {data['auc']}", "false positive rate", "sensitivity"),
        (right, "pr", "Precision and recall", "recall", "precision"),
    ):
        curve = np.array(data[key], dtype=float)
        ax.plot(curve[:, 0], curve[:, 1], **style(0))
        finish(ax, title, x, y)
        ax.title.set_fontsize("small")
        ax.set_xlim(-0.01, 1.01)
        ax.set_ylim(-0.01, 1.01)
        ax.set_aspect("equal")
    middle.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    return figure


EXPERIMENT = Experiment(
    title="Every criterion as the threshold moves",
    setting=(
        "Logistic regression of malignancy on two of the breast cancer measurements, judged on half of the "
        "patients; criteria.html shows one split with a slider."
    ),
    seeds=10,
    measure=measure,
    conclude=conclude,
)
