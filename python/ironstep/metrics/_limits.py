"""Confidence intervals from counts, by formulas; one place for each method."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import _proportion
from ironstep.metrics._criteria import CELLS, Cells, Combination, Criterion, OnScale, Proportion
from ironstep.metrics._distributions import normal_quantile, two_sided_quantile
from ironstep.metrics._proportion import Interval

Flags = NDArray[np.bool_]
Codes = NDArray[np.intp]


@dataclass(frozen=True)
class Table:
    """Cases as counts of the four cells, alone or cluster by cluster."""

    cells: Cells
    """Shape (4,)."""
    clusters: Cells | None = None
    """Shape (n_groups, 4)."""
    n_cases: Cells | None = None
    """Shape (4,): how many cases there are, where `cells` and `clusters` are sums of weights.

    Each case is a cluster then, unless there are others, and the weights are of such a size that
    `cells` sum to Kish's effective number.
    """

    @property
    def degrees(self) -> float | None:
        """Degrees of freedom of the variance; None: the normal distribution is taken."""
        if self.clusters is None:
            return None
        if self.n_cases is None:
            return len(self.clusters) - 1
        return _proportion.degrees_of(_proportion.kish(self.clusters.sum(axis=1)))

    @functools.cached_property
    def products(self) -> Cells:
        """Sums over clusters of the products of their counts, shape (4, 4): all that variances need."""
        assert self.clusters is not None
        return np.asarray(self.clusters.T @ self.clusters)

    @property
    def suffix(self) -> str:
        """What a method's name says of how the cases were counted."""
        if self.clusters is None:
            return ""
        return ", clusters, t" if self.n_cases is None else ", weighted, t"

    def covariance(self, *influences: Cells) -> Cells:
        """Covariances of what has these influences of a case in each cell."""
        stacked = np.stack(influences)
        if self.clusters is None:
            return (stacked * self.cells) @ stacked.T
        k = len(self.clusters)
        covariance: Cells = k / (k - 1) * (stacked @ self.products @ stacked.T)
        # Where it is 0, rounding may go below.
        np.fill_diagonal(covariance, covariance.diagonal().clip(min=0))
        return covariance


@dataclass(frozen=True)
class Limits:
    """What a method gives."""

    low: float
    high: float
    method: str
    standard_error: float | None
    notes: tuple[str, ...] = ()


def methods_of(criterion: Criterion) -> tuple[str, ...]:
    """Names of the formulas for a criterion, the default first."""
    if isinstance(criterion, Proportion):
        return tuple(_proportion.METHODS)
    if isinstance(criterion, Combination):
        return ("mover",)
    assert isinstance(criterion, OnScale)
    return (criterion.scale.name,)


def limits(criterion: Criterion, table: Table, method: str, level: float) -> Limits:
    """Limits for a criterion that is defined; `method` is one of `methods_of`."""
    if isinstance(criterion, Proportion):
        return _of_proportion(criterion, table, method, level)
    if isinstance(criterion, Combination):
        return _of_combination(criterion, table, level)
    assert isinstance(criterion, OnScale)
    return _on_scale(criterion, table, level)


def _of_proportion(criterion: Proportion, table: Table, method: str, level: float) -> Limits:
    low, high, name = _share(criterion, table, method, level)
    influence = criterion.influence(table.cells)
    error = math.sqrt(table.covariance(influence).item())
    return Limits(criterion.to_value(low), criterion.to_value(high), name, error)


def _share(
    criterion: Proportion, table: Table, method: str, level: float
) -> tuple[float, float, str]:
    hits, among = criterion.split(table.cells)
    if table.clusters is None:
        low, high = _proportion.METHODS[method](float(hits), float(among), level)
        return low, high, method
    if method != "wilson":
        raise ValueError(f"method: {method!r} has no form for clusters or weights; 'wilson' has")
    if table.n_cases is None:
        # Σx / Σn over clusters, linearised.
        share = float(hits / among)
        parts = np.array([[name in criterion.hits, name in criterion.among] for name in CELLS])
        residual = (parts[:, 0] - share * parts[:, 1]) / among
        variance = table.covariance(residual).item()
        k = len(table.clusters)
        low, high = _proportion.wilson_of_variance(float(hits), float(among), k, variance, level)
    else:
        low, high = _proportion.weighted_wilson(*criterion.split(table.clusters), level)
    return low, high, "wilson, effective n, t"


def _on_scale(criterion: OnScale, table: Table, level: float) -> Limits:
    more = criterion.more
    if more == "z²/2":
        more = normal_quantile((1 + level) / 2) ** 2 / 2
    cells = table.cells + more
    scale = criterion.scale
    value = criterion.value(cells)
    method = scale.name + table.suffix
    with np.errstate(divide="ignore"):
        at = float(scale.to(value))
    if not math.isfinite(at):
        note = "at the end of its range the criterion has no interval on this scale"
        return Limits(math.nan, math.nan, method, None, (note,))
    grown = replace(table, cells=cells)
    error = math.sqrt(grown.covariance(criterion.influence(cells, scale)).item())
    half = two_sided_quantile(level, table.degrees) * error
    notes: tuple[str, ...] = ()
    if criterion.least and (fewest := _expected(table.cells).min()) < criterion.least:
        notes = (
            f"a cell of the table expects {fewest:.1f} cases: below {criterion.least:g} the "
            "interval is not reliable",
        )
    low, high = scale.back(at - half), scale.back(at + half)
    return Limits(low, high, method, error / scale.slope(value), notes)


def _expected(cells: Cells) -> Cells:
    """Cases in each cell if truth and prediction had nothing to do with each other."""
    square = cells.reshape(2, 2)  # tp fp / fn tn
    expected: Cells = np.outer(square.sum(axis=1), square.sum(axis=0)) / cells.sum()
    return expected


_SENSITIVITY = Proportion("tpr", True, ("tp",), ("tp", "fn"))
_SPECIFICITY = Proportion("tnr", True, ("tn",), ("tn", "fp"))


def _of_combination(criterion: Combination, table: Table, level: float) -> Limits:
    """Combine the two Wilson intervals by the method of variance estimates recovery.

    Zou & Donner (2008), Statistics in Medicine 27:1693; with clusters, where the two are correlated,
    by its form for correlated estimates (Zou 2007, Psychological Methods 12:399).
    """
    parts = (_SENSITIVITY, _SPECIFICITY)
    values = [part.value(table.cells) for part in parts]
    ends = [_share(part, table, "wilson", level) for part in parts]
    covariance = table.covariance(*(part.influence(table.cells) for part in parts))
    spread = math.sqrt(covariance[0, 0] * covariance[1, 1])
    correlation = covariance[0, 1] / spread if spread > 0 else 0.0
    value = criterion.weight * sum(values) + criterion.constant

    def half(distance: Callable[[int], float]) -> float:
        a, b = distance(0), distance(1)
        return criterion.weight * math.sqrt(a * a + 2 * correlation * a * b + b * b)

    return Limits(
        max(value - half(lambda i: values[i] - ends[i][0]), criterion.constant),
        min(
            value + half(lambda i: ends[i][1] - values[i]),
            2 * criterion.weight + criterion.constant,
        ),
        "mover" + table.suffix,
        criterion.weight * math.sqrt(covariance.sum()),
    )


def newcombe_auc(auc: float, n_positive: float, n_negative: float, level: float) -> Interval:
    """Limits of an AUC from its value alone (Newcombe 2006, method 5).

    Those areas A from which the observed one is z standard errors away, where the variance is
    A(1−A) (1 + N (1−A)/(2−A) + N A/(1+A)) / (n_pos n_neg) and N = (n_pos + n_neg)/2 − 1. It has an
    answer where DeLong's variance is zero.
    """
    z = normal_quantile((1 + level) / 2)
    n = (n_positive + n_negative) / 2 - 1

    def beyond(area: float) -> bool:
        factor = 1 + n * (1 - area) / (2 - area) + n * area / (1 + area)
        variance = area * (1 - area) * factor / (n_positive * n_negative)
        return abs(area - auc) > z * math.sqrt(variance)

    low = 0.0 if auc == 0 else border(auc, 0.0, beyond)
    return low, (1.0 if auc == 1 else border(auc, 1.0, beyond))


def border(inside: float, outside: float, beyond: Callable[[float], bool]) -> float:
    """Return the last value on the way out that is not beyond, by bisection."""
    for _ in range(100):
        middle = (inside + outside) / 2
        if beyond(middle):
            outside = middle
        else:
            inside = middle
    return inside


def cell_of(is_positive: Flags, is_called: Flags) -> Codes:
    """Which of `CELLS` each case is in."""
    # By bytes, which is ten times as fast as by choosing among numbers.
    positive, called = (
        np.asarray(of, dtype=np.bool_).view(np.uint8) for of in (is_positive, is_called)
    )
    return (3 - 2 * called - positive).astype(np.intp)


def cell_table(cell: Codes, groups: Codes | None, weight: Cells | None = None) -> Table:
    """Count the cases in each cell, or add up their sampling weights."""
    if weight is not None:
        units = np.arange(len(cell)) if groups is None else groups
        n_units = int(units.max()) + 1
        size = _proportion.kish(weight) / weight.sum()
        at = units * len(CELLS) + cell
        sums = np.bincount(at, weight * size, minlength=n_units * len(CELLS)).astype(np.float64)
        clusters: Cells = sums.reshape(n_units, len(CELLS))
        n_cases = np.bincount(cell, minlength=len(CELLS)).astype(np.float64)
        return Table(clusters.sum(axis=0), clusters, n_cases)
    if groups is None:
        return Table(np.bincount(cell, minlength=len(CELLS)).astype(np.float64))
    n_groups = int(groups.max()) + 1
    counts = np.bincount(groups * len(CELLS) + cell, minlength=n_groups * len(CELLS))
    clusters = counts.reshape(n_groups, len(CELLS)).astype(np.float64)
    return Table(clusters.sum(axis=0), clusters)
