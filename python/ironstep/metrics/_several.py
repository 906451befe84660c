"""Criteria of several classes, or of several findings at once, with what an interval needs of them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import _limits, _resampling
from ironstep.metrics._criteria import CRITERIA, FISHER_Z, IDENTITY, LOGIT, Proportion, Scale
from ironstep.metrics._distributions import two_sided_quantile
from ironstep.metrics._inputs import column
from ironstep.metrics._limits import Codes, Flags, Limits
from ironstep.metrics._proportion import degrees_of, kish
from ironstep.metrics._ranking import top_k_hits
from ironstep.metrics._resampling import Floats
from ironstep.metrics._score_index import ScoreIndex
from ironstep.metrics._statistics import (
    OfCounts,
    OfMean,
    OfScores,
    Progress,
    Statistic,
    of_right,
    per_unit,
    variance_of,
)

_OF_ORDER = {
    "auc": "auc",
    "roc_auc": "auc",
    "roc_auc_score": "auc",
    "average_precision": "average_precision",
    "average_precision_score": "average_precision",
}


class _OnScale(Statistic):
    """What has influence values and an interval that is symmetric on a scale."""

    scale: Scale
    groups: Codes | None
    of_classes = False

    def limits(self, method: str, level: float) -> Limits:
        influences = self.influences()
        assert influences is not None
        units = per_unit(influences, self.groups)
        variance = variance_of(units)
        scale = self.scale if method == self.scale.name else IDENTITY
        if not variance > 1e-24 or (scale is not IDENTITY and abs(self.value) in (0, 1)):
            return Limits(math.nan, math.nan, method, None, ("no variance: no interval",))
        error = math.sqrt(variance)
        degrees, suffix = None, ""
        if self.n_effective is not None:
            degrees, suffix = degrees_of(self.n_effective), ", weighted, t"
        elif self.groups is not None:
            degrees, suffix = len(units) - 1.0, ", clusters, t"
        half = two_sided_quantile(level, degrees) * error * scale.slope(self.value)
        at = float(scale.to(self.value))
        return Limits(scale.back(at - half), scale.back(at + half), method + suffix, error)


class MeanOf(_OnScale):
    """The mean of several statistics of the same cases: a macro average."""

    def __init__(
        self, parts: list[Statistic], groups: Codes | None, weight: Floats | None, scale: Scale
    ) -> None:
        self.parts, self.groups, self.scale = parts, groups, scale
        # fsum: the order of the classes changes no bit.
        self.value = math.fsum(part.value for part in parts) / len(parts)
        self.formulas = (scale.name,) if scale is IDENTITY else (scale.name, IDENTITY.name)
        self.n = max(part.n for part in parts)
        self.n_effective = None if weight is None else kish(per_unit(weight, groups))

    def influences(self) -> Floats | None:
        total = self.parts[0].influences()
        assert total is not None
        for part in self.parts[1:]:
            more = part.influences()
            assert more is not None
            total = total + more
        return np.asarray(total / len(self.parts))

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        # Paired: in one resample all classes are judged by the same cases.
        values = [part.resample_paired(n, stratify, seed, progress) for part in self.parts]
        return np.asarray(np.mean(values, axis=0))


class OfPooled(OfCounts):
    """A formula over the 2×2 table of all answers, each case a cluster of them: a micro average."""

    def __init__(
        self,
        name: str,
        truth: Flags,
        called: Flags,
        groups: Codes | None,
        weight: Floats | None,
    ) -> None:
        n, width = truth.shape
        self.n_cases = n
        units = np.repeat(np.arange(n) if groups is None else groups, width)
        weights = None if weight is None else np.repeat(weight, width)
        cell = _limits.cell_of(truth.reshape(-1), called.reshape(-1))
        table = _limits.cell_table(cell, units, weights)
        super().__init__(CRITERIA[name], table, cell, units, weights)
        self.of_classes = False  # whole cases are drawn

    def influences(self) -> Floats:
        return np.asarray(super().influences().reshape(self.n_cases, -1).sum(axis=1))


class OfConfusion(_OnScale):
    """Kappa or Matthews' coefficient over the table of several classes.

    Both are functions of its trace D, its size n and Q = Σ RₖSₖ, R being the sums of rows and S of columns:
    kappa is A / (n² − Q), Matthews' coefficient A / √((n² − ΣS²)(n² − ΣR²)), with A = nD − Q (Cohen 1960,
    Educ Psychol Meas 20:37; Gorodkin 2004, Comput Biol Chem 28:367). Influences are their derivatives by the
    counts.
    """

    def __init__(
        self, name: str, truth: Codes, called: Codes, groups: Codes | None, weight: Floats | None
    ) -> None:
        self.name, self.groups, self.weight = name, groups, weight
        self.scale = FISHER_Z if name == "mcc" else IDENTITY
        self.formulas = (self.scale.name,)
        self.n = len(truth)
        self.n_classes = int(max(truth.max(), called.max())) + 1
        self.cell = truth * self.n_classes + called
        self.n_effective = None if weight is None else kish(per_unit(weight, groups))
        self.table = self._table(self.cell, weight)
        self.value = self._value(self.table)

    def _table(self, cell: Codes, weight: Any) -> Floats:
        size = self.n_classes**2
        flat = np.bincount(cell, weight, minlength=size).astype(np.float64)
        return flat.reshape(self.n_classes, self.n_classes)

    def _value(self, table: Floats) -> float:
        rows, columns = table.sum(axis=1), table.sum(axis=0)
        n = table.sum()
        above = n * np.trace(table) - rows @ columns
        if self.name == "kappa":
            below = n * n - rows @ columns
        else:
            below = math.sqrt((n * n - columns @ columns) * (n * n - rows @ rows))
        return float(above / below) if below > 0 else math.nan

    def influences(self) -> Floats:
        rows, columns = self.table.sum(axis=1), self.table.sum(axis=0)
        n, hits = self.table.sum(), np.trace(self.table)
        product = rows @ columns
        above = n * hits - product
        more_product = columns[:, None] + rows  # of a case more in each cell
        more_above = n * np.eye(self.n_classes) + hits - more_product
        if self.name == "kappa":
            below = n * n - product
            influence = more_above / below - above * (2 * n - more_product) / below**2
        else:
            u, v = n * n - columns @ columns, n * n - rows @ rows
            more = (n - columns) / u + ((n - rows) / v)[:, None]
            influence = more_above / math.sqrt(u * v) - self.value * more
        each: Floats = influence.reshape(-1)[self.cell]
        return each if self.weight is None else each * self.weight

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:  # noqa: ARG002 - of all cases
        units = np.arange(self.n) if self.groups is None else self.groups
        weight = np.ones(self.n) if self.weight is None else self.weight
        draws = _resampling.drawn(int(units.max()) + 1, n, seed)
        values = (self._value(self._table(self.cell, drawn[units] * weight)) for drawn in draws)
        return _resampling.with_progress(values, n, progress)


def of_several(
    metric: str,
    y_true: Any,
    y: Any,
    params: dict[str, Any],
    groups: Codes | None,
    weight: Floats | None,
) -> Statistic | None:
    """Find the criterion of several classes or findings that a name stands for; None if it is none."""
    average, _, name = metric.partition("_")
    if average in ("macro", "micro") and (name in CRITERIA or name in _OF_ORDER):
        return _averaged(average, name, y_true, y, params, groups, weight)
    if metric in ("top_k_accuracy", "top_k_accuracy_score"):
        hits = top_k_hits(y_true, y, **{"k": 2, **params})
        return of_right(hits, groups, weight)
    if metric in CRITERIA and CRITERIA[metric].attribute in ("kappa", "mcc") and np.ndim(y) == 1:
        truth, called = column(y_true, "y_true"), column(y, "y_pred")
        classes = np.unique(np.concatenate((truth, called)))
        if len(classes) < 3:
            return None
        first, second = (np.searchsorted(classes, of) for of in (truth, called))
        return OfConfusion(CRITERIA[metric].attribute, first, second, groups, weight)
    if metric in ("brier_score_loss", "log_loss") and np.ndim(y) == 2:
        return _loss(metric, y_true, np.asarray(y, dtype=np.float64), params, groups, weight)
    return None


def _averaged(
    average: str,
    name: str,
    y_true: Any,
    y: Any,
    params: dict[str, Any],
    groups: Codes | None,
    weight: Floats | None,
) -> Statistic:
    labels = params.pop("labels", None)
    if params:
        raise ValueError(f"metric_params: got {sorted(params)}; labels alone expected")
    columns = _columns(y_true, y, labels, is_score=name in _OF_ORDER)
    if average == "micro":
        if name in _OF_ORDER:
            raise ValueError(f"metric: got 'micro_{name}'; it is for what is called")
        truth, called = (np.stack(list(each), axis=1) for each in zip(*columns, strict=True))
        return OfPooled(name, truth, called, groups, weight)
    parts: list[Statistic] = []
    for truth, answer in columns:
        if name in _OF_ORDER:
            index = ScoreIndex(truth, answer, pos_label=True)
            parts.append(OfScores(_OF_ORDER[name], index, None, groups, weight))
        else:
            cell = _limits.cell_of(truth, answer)
            table = _limits.cell_table(cell, groups, weight)
            parts.append(OfCounts(CRITERIA[name], table, cell, groups, weight))
    is_share = name in _OF_ORDER or isinstance(CRITERIA[name], Proportion)
    return MeanOf(parts, groups, weight, LOGIT if is_share else IDENTITY)


def _columns(
    y_true: Any, y: Any, labels: Any, *, is_score: bool
) -> list[tuple[Flags, NDArray[Any]]]:
    """For each class or finding which cases have it, and what is said of them."""
    truth, answers = np.asarray(y_true), np.asarray(y)
    if truth.ndim == 2:
        if answers.shape != truth.shape:
            raise ValueError(
                f"y_pred: got shape {answers.shape}; {truth.shape} expected, as y_true"
            )
        if not np.isin(truth, (0, 1)).all() or not (is_score or np.isin(answers, (0, 1)).all()):
            raise ValueError("y_true, y_pred: 0 and 1 alone expected in columns of findings")
        said = answers if is_score else answers.astype(np.bool_)
        return list(zip(truth.astype(np.bool_).T, said.T, strict=True))
    truth = column(y_true, "y_true")
    if is_score:
        classes = np.unique(truth) if labels is None else np.asarray(labels)
        if answers.ndim != 2 or answers.shape[1] != len(classes):
            raise ValueError(
                f"y_score: got shape {answers.shape}; one column for each of {len(classes)} classes "
                "expected"
            )
        return [(truth == each, answers[:, at]) for at, each in enumerate(classes)]
    called = column(y, "y_pred")
    classes = np.unique(np.concatenate((truth, called))) if labels is None else np.asarray(labels)
    return [(np.asarray(truth == each), np.asarray(called == each)) for each in classes]


def _loss(
    name: str,
    y_true: Any,
    share: Floats,
    params: dict[str, Any],
    groups: Codes | None,
    weight: Floats | None,
) -> Statistic:
    truth = column(y_true, "y_true")
    labels = params.get("labels")
    classes = np.unique(truth) if labels is None else np.asarray(labels)
    if share.shape[1] != len(classes) or not np.isin(truth, classes).all():
        raise ValueError(f"y_proba: got {share.shape[1]} columns; one for each class expected")
    if not ((share >= 0) & (share <= 1)).all():
        raise ValueError("y_proba: probabilities from 0 to 1 expected")
    is_own = truth[:, None] == classes
    if name == "brier_score_loss":
        return OfMean(((share - is_own) ** 2).sum(axis=1), groups, weight)
    eps = float(np.finfo(np.float64).eps)
    return OfMean(-np.log(np.clip(share[is_own], eps, 1 - eps)), groups, weight)


NAMES = ("macro_… or micro_… of a criterion", "top_k_accuracy")
