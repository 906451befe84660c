"""The same models on the test set that everybody uses and on a new one (Recht et al. 2019)."""

from __future__ import annotations

import csv
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ironstep.experiments._digits import CLASSES, OTHER_WRITERS, digits, fit, mlp
from ironstep.experiments._drawing import COLOURS, GREY, finish, panels
from ironstep.experiments._protocol import (
    Experiment,
    Findings,
    Interval,
    Measurement,
    Statement,
    Table,
    Tick,
    of_count,
    over_seeds,
)
from ironstep.metrics import compare_unpaired

COLUMNS = ("model", "original_correct", "original_n", "new_correct", "new_n")
TRAIN, ORIGINAL = 900, 300


class Row(NamedTuple):
    """A model's right answers on both test sets."""

    model: str
    original_correct: int
    original_n: int
    new_correct: int
    new_n: int

    @property
    def original(self) -> float:
        """Accuracy on the original test set."""
        return self.original_correct / self.original_n

    @property
    def new(self) -> float:
        """Accuracy on the new one."""
        return self.new_correct / self.new_n

    @property
    def drop(self) -> float:
        """How much is lost on the new one."""
        return self.original - self.new


# As the lecture has them; sizes of the test sets from Recht et al. (CIFAR-10.1: 2,021 images).
LECTURE = (
    Row("best on CIFAR-10", 9840, 10_000, 1930, 2021),  # 98.4% and 95.5%
    Row("best on ImageNet, top 1", 41_500, 50_000, 7200, 10_000),  # 83% and 72%
    Row("best on ImageNet, top 5", 48_000, 50_000, 9000, 10_000),  # 96% and 90%
)


def models(seed: int) -> dict[str, Callable[[Any, Any], Callable[[Any], Any]]]:
    """Return fourteen ways to learn: from images and labels to what predicts."""

    def of_sklearn(estimator: Any) -> Callable[[Any, Any], Callable[[Any], Any]]:
        return lambda x, y: estimator.fit(x.numpy(), y.numpy()).predict

    def of_torch(hidden: int, epochs: int) -> Callable[[Any, Any], Callable[[Any], Any]]:
        def learn(x: Any, y: Any) -> Callable[[Any], Any]:
            torch.manual_seed(seed)
            net = mlp(64, hidden, CLASSES)
            fit(net, x, y, seed=seed, epochs=epochs, lr=0.1, momentum=0.9)

            @torch.no_grad()
            def predict(images: Any) -> Any:
                return net(torch.as_tensor(images)).argmax(1).numpy()

            return predict

        return learn

    forests = dict(n_estimators=60, random_state=seed)
    estimators = {
        "naive Bayes": GaussianNB(var_smoothing=1e-2),
        "tree": DecisionTreeClassifier(random_state=seed),
        "ridge": RidgeClassifier(),
        "LDA": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        "logistic, strong": LogisticRegression(C=0.001, max_iter=2000),
        "logistic": LogisticRegression(C=0.1, max_iter=2000),
        "1 neighbour": KNeighborsClassifier(1),
        "9 neighbours": KNeighborsClassifier(9),
        "100 neighbours": KNeighborsClassifier(100),
        "random forest": RandomForestClassifier(**forests),
        "extra trees": ExtraTreesClassifier(**forests),
        "SVM": SVC(C=5, gamma=0.02),
    }
    return {
        **{name: of_sklearn(estimator) for name, estimator in estimators.items()},
        "MLP 16": of_torch(16, 20),
        "MLP 128": of_torch(128, 30),
    }


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Train on some writers; judge on them and on others, and, to compare, on random thirds."""
    x, y = digits()
    found: Measurement = {}
    for name, of in (("other writers", OTHER_WRITERS), ("random parts", len(y))):
        order = np.random.default_rng(seed).permutation(of)
        train, original = order[:TRAIN], order[TRAIN : TRAIN + ORIGINAL]
        new = np.arange(of, len(y)) if of < len(y) else order[TRAIN + ORIGINAL :]
        rows = []
        for model, learn in list(models(seed).items())[:: 4 if quick else 1]:
            tick(f"{name}, {model}")
            predict = learn(x[train], y[train])
            right = [
                int((predict(x[part].numpy()) == y[part].numpy()).sum()) for part in (original, new)
            ]
            rows.append(Row(model, right[0], len(original), right[1], len(new)))
        found[name] = [row._asdict() for row in rows]
    return found


def rank_correlation(rows: Sequence[Row]) -> float:
    """Spearman's; NaN where all models are alike on one of the sets."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        pairs = [row.original for row in rows], [row.new for row in rows]
        return float(stats.spearmanr(*pairs).statistic)


def _correlation(found: Sequence[float]) -> Interval:
    """Mean over seeds on Fisher's scale, which keeps the limits within ±1."""
    z = over_seeds([math.atanh(min(max(r, -0.9999), 0.9999)) for r in found])
    value, low, high = map(math.tanh, z[:3])
    return Interval(value, low, high, f"{z.method}, Fisher's z")


def probit(correct: int, n: int) -> float:
    """Φ⁻¹ of an accuracy; of half a case inside where all are right, or none."""
    return float(stats.norm.ppf(min(max(correct, 0.5), n - 0.5) / n))


def probit_line(rows: Sequence[Row]) -> tuple[float, float]:
    """Slope and intercept of new over original accuracy, both as Φ⁻¹, by least squares.

    The original accuracies are of so many images: their sampling variance is taken off that of the
    models, or else the line would be too flat. (Errors that all models share make it no flatter, so
    that this is rather too much than too little.)
    """
    x = np.array([probit(row.original_correct, row.original_n) for row in rows])
    y = np.array([probit(row.new_correct, row.new_n) for row in rows])
    share = stats.norm.cdf(x)
    n = np.array([row.original_n for row in rows])
    sampling = float(np.mean(share * (1 - share) / n / stats.norm.pdf(x) ** 2))
    spread = float(x.var(ddof=1)) - sampling
    if not spread > 0:
        return math.nan, math.nan
    slope = float(np.cov(x, y)[0, 1]) / spread
    return slope, float(y.mean()) - slope * float(x.mean())


def difference(row: Row) -> Interval:
    """A model's drop with Newcombe's interval."""
    found = compare_unpaired(
        "accuracy",
        *([1, 1], [1, 0]),
        *([1, 1], [1, 0]),
        sample_weight_a=[row.original_correct, row.original_n - row.original_correct],
        sample_weight_b=[row.new_correct, row.new_n - row.new_correct],
        weight_type="frequency",
    )
    return Interval(found.difference, found.low, found.high, "Newcombe, two samples")


def _of_lecture() -> list[Statement]:
    return [
        Statement(
            f"The {row.model} is worse on a new test set",
            f"drop, from {100 * row.original:.1f}% of {row.original_n:,} to {100 * row.new:.1f}% of "
            f"{row.new_n:,}",
            difference(row),
            above=0.0,
        )
        for row in LECTURE
    ]


def _rows(m: Measurement, name: str) -> list[Row]:
    return [Row(**row) for row in m[name]]


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Judge drops and ranks, seed by seed; the lecture's own figures beside them."""

    def each(name: str, of: Callable[[list[Row]], float]) -> Interval:
        return over_seeds([of(_rows(m, name)) for m in measured])

    def mean_drop(rows: list[Row]) -> float:
        return float(np.mean([row.drop for row in rows]))

    others, random = "other writers", "random parts"
    statements = [
        *_of_lecture(),
        Statement(
            "Models are worse on a new test set",
            "drop of accuracy, mean over the models, digits of other writers",
            each(others, mean_drop),
            above=0.0,
        ),
        Statement(
            "All models are",
            "share of the models that drop",
            each(others, lambda rows: float(np.mean([row.drop > 0 for row in rows]))),
            above=0.9,
        ),
        Statement(
            "Which model is better stays the same",
            "Spearman's rank correlation of the models' accuracies",
            _correlation([rank_correlation(_rows(m, others)) for m in measured]),
            above=0.5,
        ),
        Statement(
            "A model that is better on the original set gains more on the new one",
            "slope of new over original accuracy on the probit scale",
            each(others, lambda rows: probit_line(rows)[0]),
            above=1.0,
        ),
        Statement(
            "It is the new set, not its being new: random parts show no drop",
            "drop of accuracy, mean over the models, random parts of all digits",
            each(random, mean_drop),
            above=-0.01,
            below=0.01,
        ),
    ]
    names = [row["model"] for row in measured[0][others]]
    rows = []
    for name in names:
        cells = [name]
        for part in (others, random):
            found = [row for m in measured for row in _rows(m, part) if row.model == name]
            cells += [
                over_seeds([100 * getattr(row, what) for row in found]).short
                for what in ("original", "new", "drop")
            ]
        rows.append(cells)
    header = ["", "original", "new", "drop", "random: original", "new", "drop"]
    tables = [
        model_table("The lecture's figures", LECTURE),
        Table(
            "Models on digits, accuracy (%)",
            "Mean over seeds ± half of its 95% interval. Original: images of the writers that were "
            "trained on; new: of others.",
            header,
            rows,
        ),
        model_table("Models on digits, first seed", _rows(measured[0], others)),
    ]
    return Findings(statements, tables, _picture(measured))


def model_table(title: str, rows: Sequence[Row]) -> Table:
    """One row a model: accuracies with Clopper and Pearson's intervals, drop with Newcombe's."""

    def share(correct: int, n: int) -> str:
        found = of_count(correct, n)
        return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"

    def drop(row: Row) -> str:
        found = difference(row)
        return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"

    return Table(
        title,
        "Accuracies (%) with Clopper and Pearson's 95% intervals, drops with Newcombe's.",
        ["", "original", "new", "drop"],
        [
            [
                row.model,
                share(row.original_correct, row.original_n),
                share(row.new_correct, row.new_n),
                drop(row),
            ]
            for row in rows
        ],
    )


def _draw_models(ax: Any, rows: Sequence[Row], title: str) -> None:
    """New over original accuracy on the probit scale, with intervals and the fitted line."""
    for row in rows:
        x, y = probit(row.original_correct, row.original_n), probit(row.new_correct, row.new_n)
        reach = []
        for correct, n, at in (
            (row.original_correct, row.original_n, x),
            (row.new_correct, row.new_n, y),
        ):
            found = of_count(correct, n)
            low, high = (float(stats.norm.ppf(min(max(p, 1e-4), 1 - 1e-4))) for p in found[1:3])
            reach.append([[max(0.0, at - low)], [max(0.0, high - at)]])
        ax.errorbar(x, y, xerr=reach[0], yerr=reach[1], fmt="o", color=COLOURS[0], markersize=4,
                    linewidth=0.7, alpha=0.8)  # fmt: skip
    slope, intercept = probit_line(rows)
    points = [probit(row.original_correct, row.original_n) for row in rows]
    both = points + [probit(row.new_correct, row.new_n) for row in rows]
    ends = np.array([min(both) - 0.2, max(both) + 0.2])
    ax.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=(0, (1, 3)), label="no drop")
    spread = np.array([min(points), max(points)])
    ax.plot(spread, intercept + slope * spread, color=COLOURS[1], label=f"line, slope {slope:.2f}")
    shares = [
        p
        for p in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.998)
        if ends[0] < stats.norm.ppf(p) < ends[1]
    ]
    for set_ticks in (ax.set_xticks, ax.set_yticks):
        set_ticks([float(stats.norm.ppf(p)) for p in shares], [f"{100 * p:g}" for p in shares])
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.legend(fontsize="small", loc="upper left")
    finish(ax, title, "original accuracy (%)", "new accuracy (%)")


def _picture(measured: Sequence[Measurement]) -> Any:
    figure, (left, middle, right) = panels(3, width=4.6, height=4.4)
    for position, row in enumerate(LECTURE):
        for (correct, n), color, marker in (
            ((row.original_correct, row.original_n), COLOURS[0], "o"),
            ((row.new_correct, row.new_n), COLOURS[1], "s"),
        ):
            found = of_count(correct, n)
            left.errorbar(100 * found.value, position, xerr=[[100 * (found.value - found.low)],
                          [100 * (found.high - found.value)]], fmt=marker, color=color, capsize=3,
                          label=None if position else ("original" if marker == "o" else "new"))  # fmt: skip
    left.set_yticks(range(len(LECTURE)), [row.model.replace(", ", ",\n") for row in LECTURE])
    left.set_ylim(len(LECTURE) - 0.5, -0.5)
    left.legend(fontsize="small", loc="lower left")
    finish(left, "The lecture's figures", "accuracy (%)", "")
    _draw_models(middle, _rows(measured[0], "other writers"), "Digits, other writers, one seed")
    names = [row["model"] for row in measured[0]["other writers"]]
    for position, part in enumerate(("other writers", "random parts")):
        for at, name in enumerate(names):
            found = over_seeds(
                [100 * row.drop for m in measured for row in _rows(m, part) if row.model == name]
            )
            right.errorbar(found.value, at + 0.2 * position - 0.1, xerr=[[found.value - found.low],
                           [found.high - found.value]], fmt="os"[position], markersize=4,
                           color=COLOURS[position], capsize=2,
                           label=None if at else part)  # fmt: skip
    right.axvline(0, color=GREY, linewidth=0.8)
    right.set_yticks(range(len(names)), names, fontsize="small")
    right.set_ylim(len(names) - 0.5, -0.5)
    right.legend(fontsize="small")
    finish(right, "Drop of accuracy, mean over seeds", "points", "")
    return figure


# --- a table of one's own ---


def of_table(path: Path) -> Experiment:
    """Return the experiment on a CSV file of models, with the columns of `COLUMNS`.

    Raises
    ------
    ValueError
        For a file that is not such a table; one line that says where.
    """
    rows = read(path)
    return Experiment(
        title=f"Models on an original and a new test set: {path.name}",
        setting=f"{len(rows)} models of {path.name}; intervals are over models.",
        seeds=1,
        measure=lambda *_: {"models": [row._asdict() for row in rows]},
        conclude=lambda measured: _of_models(_rows(measured[0], "models")),
    )


def read(path: Path) -> list[Row]:
    """Read the models of a CSV file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    rows: list[Row] = []
    for number, line in enumerate(lines, 2):
        if missing := [name for name in COLUMNS if line.get(name) is None]:
            raise ValueError(f"{path}, line {number}: no {', '.join(missing)}; columns {COLUMNS}")
        counts = []
        for name in COLUMNS[1:]:
            try:
                counts.append(int(line[name]))
            except ValueError:
                text = f"{name}: got {line[name]!r}; a whole number expected"
                raise ValueError(f"{path}, line {number}, {text}") from None
        row = Row(line["model"], *counts)
        for correct, n in (counts[:2], counts[2:]):
            if not 0 <= correct <= n or n == 0:
                raise ValueError(f"{path}, line {number}: {correct} right answers of {n}")
        if any(row.model == other.model for other in rows):
            raise ValueError(f"{path}, line {number}: model {row.model!r} stands there twice")
        rows.append(row)
    if len(rows) < 3:
        raise ValueError(f"{path}: {len(rows)} models; at least 3 expected, for ranks and a line")
    return rows


def _of_models(rows: Sequence[Row]) -> Findings:
    n = len(rows)
    drops = over_seeds([row.drop for row in rows])._replace(method=f"t, {n} models")
    ranks = rank_correlation(rows)
    slope = probit_line(rows)[0]
    # The jackknife's pseudo-values: what each model adds.
    without = [probit_line([*rows[:i], *rows[i + 1 :]])[0] for i in range(n)]
    pseudo = over_seeds([n * slope - (n - 1) * each for each in without])
    # Fisher's z with the variance for ranks of Fieller, Hartley & Pearson (1957).
    z, half = math.nan, math.nan
    if n > 3 and abs(ranks) <= 1:
        z = math.atanh(min(max(ranks, -1 + 1e-12), 1 - 1e-12))
        half = 1.959963984540054 * math.sqrt(1.06 / (n - 3))
    statements = [
        Statement(
            "Models are worse on the new test set",
            "drop of accuracy, mean over models",
            drops,
            above=0.0,
        ),
        Statement(
            "All models are",
            "share of the models that drop",
            of_count(sum(row.drop > 0 for row in rows), n),
            above=0.5,
        ),
        Statement(
            "Which model is better stays the same",
            "Spearman's rank correlation",
            Interval(ranks, math.tanh(z - half), math.tanh(z + half), "Fisher's z, ranks"),
            above=0.5,
        ),
        Statement(
            "A model that is better on the original set gains more on the new one",
            "slope of new over original accuracy on the probit scale",
            Interval(slope, pseudo.low, pseudo.high, f"jackknife, t, {n} models"),
            above=1.0,
        ),
    ]
    figure, (ax,) = panels(1, width=5, height=4.6)
    _draw_models(ax, rows, f"{n} models")
    return Findings(statements, [model_table("Models", rows)], figure)


EXPERIMENT = Experiment(
    title="Do classifiers generalize to a new test set? (Recht et al. 2019)",
    setting=(
        f"The lecture's figures; and fourteen models trained on {TRAIN} of the first {OTHER_WRITERS:,} "
        f"digits, judged on {ORIGINAL} of the same writers and on the 597 of other writers, or on random "
        "parts of all."
    ),
    seeds=16,
    measure=measure,
    conclude=conclude,
)
