"""A criterion on the cases at hand: its value, its formulas for an interval, and its resamples."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import _limits, _resampling
from ironstep.metrics._counts import Counts
from ironstep.metrics._criteria import (
    CELLS,
    CRITERIA,
    IDENTITY,
    LOGIT,
    Criterion,
    Proportion,
    Scale,
)
from ironstep.metrics._distributions import t_quantile, two_sided_quantile
from ironstep.metrics._inputs import type_of_target
from ironstep.metrics._limits import Codes, Flags, Limits, Table
from ironstep.metrics._proportion import degrees_of, kish
from ironstep.metrics._ranking import _cases
from ironstep.metrics._resampling import Floats
from ironstep.metrics._score_index import ScoreIndex, delong_covariance

Progress = Callable[[int, int], object] | None
Numbers = NDArray[np.int64] | NDArray[np.float64]


class Curve(Protocol):
    """Counts, or sums of weights, at each threshold."""

    @overload
    def __call__(
        self, counts: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
    @overload
    def __call__(self, counts: Floats) -> tuple[Floats, Floats]: ...


class Statistic:
    """What all kinds have in common."""

    value: float
    n: int
    formulas: tuple[str, ...] = ()
    """Names of methods by formula, the default first; none: the default is to resample."""
    of_classes = True
    """Whether the share of positives plays no part in it."""
    n_effective: float | None = None
    """Kish's number of the units that it is over, where they have sampling weights."""

    def limits(self, method: str, level: float) -> Limits:
        """Limits by a formula."""
        raise NotImplementedError

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        """Values in resamples, NaN where it is undefined."""
        raise NotImplementedError

    def resample_paired(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        """Values in resamples that are the same for every statistic of these cases."""
        return self.resample(n, stratify, seed, progress)

    def influences(self) -> Floats | None:
        """How much each case moves the value, in the cases' order; None if nobody knows.

        With sampling weights: the case with its weight, so that the sum of squares is the linearised
        variance.
        """
        return None


def per_unit(influences: Floats, groups: Codes | None) -> Floats:
    """Sums of influences over what was drawn as one: a case, or a group of them."""
    return influences if groups is None else np.bincount(groups, influences).astype(np.float64)


def variance_of(units: Floats) -> float:
    """Linearised variance of what has these influences of units that were drawn independently."""
    k = len(units)
    return float(k / (k - 1) * (units @ units))


class OfCounts(Statistic):
    """A formula over the 2×2 table."""

    def __init__(
        self,
        criterion: Criterion,
        table: Table,
        cell: Codes | None = None,
        groups: Codes | None = None,
        weight: Floats | None = None,
    ) -> None:
        self.criterion, self.table, self.cell = criterion, table, cell
        self.groups, self.weight = groups, weight
        self.value = float(criterion.value(table.cells))
        self.formulas = _limits.methods_of(criterion)
        self.of_classes = criterion.of_classes
        n_cases = table.cells if table.n_cases is None else table.n_cases
        self.n = int(self._among(n_cases))
        if weight is not None and not math.isnan(self.value):
            assert table.clusters is not None
            self.n_effective = kish(self._among(table.clusters))

    def _among(self, cells: Floats) -> Any:
        if isinstance(self.criterion, Proportion):
            return self.criterion.split(cells)[1]
        return cells.sum(axis=-1)

    def limits(self, method: str, level: float) -> Limits:
        return _limits.limits(self.criterion, self.table, method, level)

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        if self.weight is not None and self.groups is None:
            return self.resample_paired(n, stratify, seed, progress)
        random = np.random.default_rng(seed)
        table = self.table
        if table.clusters is not None:
            k = len(table.clusters)
            parts = [
                random.multinomial(k, np.full(k, 1 / k), size=size) @ table.clusters
                for size in _parts(n, k)
            ]
            cells = np.concatenate(parts)
        elif stratify:
            cells = np.empty((n, 4))
            for a, b in ((0, 2), (1, 3)):  # positives: tp, fn; negatives: fp, tn
                total = int(table.cells[a] + table.cells[b])
                hits = random.binomial(total, table.cells[a] / max(total, 1), size=n)
                cells[:, a], cells[:, b] = hits, total - hits
        else:
            total = int(table.cells.sum())
            cells = random.multinomial(total, table.cells / total, size=n).astype(np.float64)
        values: Floats = self.criterion.value(cells)
        return values

    def resample_paired(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        # `resample` draws counts, in which the cases are no longer to be told apart.
        if self.groups is not None or self.cell is None:
            return self.resample(n, stratify, seed, progress)
        cell = self.cell
        is_positive = np.isin(cell, [CELLS.index("tp"), CELLS.index("fn")])
        strata = [is_positive, ~is_positive] if stratify else [np.ones_like(is_positive)]
        draws = _resampling.rows([np.flatnonzero(each) for each in strata], n, seed)
        cells = np.empty((n, len(CELLS)))
        for done, drawn in enumerate(draws):
            weight = None if self.weight is None else self.weight[drawn]
            cells[done] = np.bincount(cell[drawn], weight, minlength=len(CELLS))
            if progress is not None:
                progress(done + 1, n)
        values: Floats = self.criterion.value(cells)
        return values

    def influences(self) -> Floats:
        per_cell = self.criterion.influence(self.table.cells)
        if self.cell is not None and self.weight is not None:
            size = self.table.cells.sum() / self.weight.sum()
            return np.asarray(per_cell[self.cell] * (self.weight * size))
        if self.cell is not None:
            return np.asarray(per_cell[self.cell])
        return np.repeat(per_cell, self.table.cells.astype(np.intp))


def _parts(n: int, width: int) -> list[int]:
    """Split n rows of a width into parts of some megabytes."""
    size = max(1, 2**20 // width)
    return [min(size, n - start) for start in range(0, n, size)]


class OfScores(Statistic):
    """What the order of the scores decides."""

    def __init__(
        self,
        name: str,
        index: ScoreIndex,
        at: float | None,
        groups: Codes | None,
        weight: Floats | None = None,
    ) -> None:
        self.name, self.index, self.at, self.groups = name, index, at, groups
        self.weight = weight
        self.n = len(index)
        self.degrees = None if groups is None else float(groups.max())
        if weight is not None:
            self.n_effective = kish(per_unit(weight, groups))
            self.degrees = degrees_of(self.n_effective)
        self.value = self._value()
        if name == "auc":
            if weight is not None:
                self.formulas = ("logit", "delta")
            elif groups is None:
                self.formulas = ("delong-logit", "delong")
            else:
                self.formulas = ("obuchowski-logit", "obuchowski")
        elif name == "average_precision":
            self.formulas = ("logit", "delta")
            self.of_classes = False

    def _value(self) -> float:
        index, at = self.index, self.at
        if self.name == "auc":
            return index.auc(sample_weight=self.weight)
        if self.name == "average_precision":
            return index.average_precision(sample_weight=self.weight)
        if self.weight is not None:
            return self.value_of_counts()(np.ones(self.n, dtype=np.int64))
        if self.name == "youden":
            point = index.youden()
            return point.sensitivity + point.specificity - 1
        assert at is not None
        if self.name == "partial_auc":
            return index.partial_auc(at, standardized=False)
        if self.name == "sensitivity_at_specificity":
            return index.sensitivity_at_specificity(at).sensitivity
        return index.specificity_at_sensitivity(at).specificity

    def value_of_counts(self) -> Callable[[NDArray[np.int64]], float]:
        """Return a function: the value where each case counts so often."""
        if self.name == "auc" and self.weight is None:
            return self.index.auc_of_counts
        curve, weight = curves_of_counts(self.index), self.weight

        def value(counts: NDArray[np.int64]) -> float:
            tps, fps = curve(counts if weight is None else counts * weight)
            if not tps[-1] or not fps[-1]:
                return math.nan
            return _of_curve(self.name, tps, fps, self.at)

        return value

    def limits(self, method: str, level: float) -> Limits:
        index, value = self.index, self.value
        variance = self._variance()
        scale: Scale = LOGIT if method.endswith("logit") else IDENTITY
        if scale is LOGIT and (value in (0, 1) or not variance > 0):
            if self.name != "auc" or self.groups is not None:
                return Limits(math.nan, math.nan, method, None, ("no variance: no interval",))
            sizes: tuple[float, float] = index.n_positive, index.n_negative
            if self.weight is not None:
                is_positive = positive_cases(index)
                sizes = kish(self.weight[is_positive]), kish(self.weight[~is_positive])
            low, high = _limits.newcombe_auc(value, *sizes, level)
            return Limits(low, high, "newcombe", None, ("DeLong's variance is zero",))
        error = math.sqrt(variance)
        half = two_sided_quantile(level, self.degrees) * error * scale.slope(value)
        at = float(scale.to(value))
        name = method if self.degrees is None else f"{method}, t"
        if self.weight is not None:
            name = f"{method}, weighted, t"
        return Limits(scale.back(at - half), scale.back(at + half), name, error)

    def _variance(self) -> float:
        if self.name == "average_precision":
            influences = average_precision_influence(self.index, self.weight)
            return variance_of(per_unit(influences, self.groups))
        if self.groups is None and self.weight is None:
            return self.index.delong_variance()
        return float(auc_covariance([self])[0, 0])

    def influences(self) -> Floats | None:
        if self.name == "auc":
            return self.index.influence() if self.weight is None else self._weighted_placements()
        if self.name == "average_precision":
            return average_precision_influence(self.index, self.weight)
        return None

    def _weighted_placements(self) -> Floats:
        """Weight times (placement − AUC) / sum of the class's weights, placements by weights too."""
        assert self.weight is not None
        tps, fps = curves_of_counts(self.index)(self.weight)
        positives, negatives = tps[-1], fps[-1]
        lower = 1 - (fps - np.diff(fps, prepend=0) / 2) / negatives
        higher = (tps - np.diff(tps, prepend=0) / 2) / positives
        per_case: Floats = _of_cases(self.index, lower - self.value, higher - self.value)
        sums: Floats = np.where(positive_cases(self.index), positives, negatives)
        return per_case * self.weight / sums

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        if self.groups is None and self.weight is None:
            parts = []
            for start in range(0, n, 100):
                size = min(100, n - start)
                parts.append(
                    self.index.bootstrap(
                        self.name,  # type: ignore[arg-type]
                        value=self.at,
                        n_resamples=size,
                        stratify=stratify,
                        random_state=seed,
                        first=start,
                    )
                )
                if progress is not None:
                    progress(start + size, n)
            return np.concatenate(parts)
        value = self.value_of_counts()
        if self.groups is None:
            is_positive = positive_cases(self.index)
            strata = [is_positive, ~is_positive] if stratify else [np.ones_like(is_positive)]
            rows = _resampling.rows([np.flatnonzero(each) for each in strata], n, seed)
            values = (value(np.bincount(drawn, minlength=self.n)) for drawn in rows)
        else:
            draws = _resampling.drawn(int(self.groups.max()) + 1, n, seed)
            values = (value(counts[self.groups]) for counts in draws)
        return _resampling.with_progress(values, n, progress)


def curves_of_counts(index: ScoreIndex) -> Curve:
    """Return a function: true and false positives at each threshold, where each case counts so much.

    What it needs of the index is asked for once.
    """
    order, starts = index.order, np.concatenate(([0], np.cumsum(_alternating(index))))

    def curve(counts: Any) -> tuple[Any, Any]:
        sums = np.concatenate(([0], np.cumsum(counts[order])))[starts]
        tps, fps = np.cumsum(np.diff(sums).reshape(-1, 2), axis=0).T
        return tps, fps

    return curve


def _of_curve(name: str, tps: Numbers, fps: Numbers, at: float | None) -> float:
    """What `ScoreIndex` gives for these counts or weights, at thresholds that may have no case."""
    if name == "average_precision":
        called = tps + fps
        precision = tps / np.where(called > 0, called, 1)
        return float((np.diff(tps, prepend=0) * precision).sum() / tps[-1])
    tpr = np.concatenate(([0.0], tps / tps[-1]))
    fpr = np.concatenate(([0.0], fps / fps[-1]))
    if name == "youden":
        return float((tpr - fpr).max())
    if name == "auc":
        return float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())
    assert at is not None
    # Sums of weights are rounded, and may miss by that what they are meant to reach.
    slack = 1e-12 if tps.dtype.kind == "f" else 0.0
    if name == "sensitivity_at_specificity":
        return float(tpr[1 - fpr >= at - slack].max())
    if name == "specificity_at_sensitivity":
        return float((1 - fpr[tpr >= at - slack]).max())
    inside = int(np.searchsorted(fpr, at, side="right"))
    x = np.append(fpr[:inside], at)
    y = np.append(tpr[:inside], np.interp(at, fpr, tpr))
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def auc_covariance(several: Sequence[OfScores]) -> Floats:
    """Covariances of AUCs of the same cases, as they stand: weighted, in clusters, or DeLong's."""
    first = several[0]
    if first.weight is None and first.groups is None:
        return delong_covariance(*(each.index for each in several))
    influences = [each.influences() for each in several]
    groups = np.arange(first.n) if first.groups is None else first.groups
    return _covariance_by_class(influences, positive_cases(first.index), groups)


def obuchowski_covariance(indices: list[ScoreIndex], groups: Codes) -> Floats:
    """Covariances of the AUCs of several scores of the same cases in clusters.

    With S⁺ and S⁻ the sums of a cluster's placements minus the AUC over its positive and its
    negative cases: Σ of products within each class times K/(K−1), K being the number of clusters
    with such cases, and twice the mixed products times I/(I−1), I being the number of all clusters
    (Obuchowski 1997, Biometrics 53:567).
    """
    influences = [index.influence() for index in indices]
    return _covariance_by_class(influences, positive_cases(indices[0]), groups)


def _covariance_by_class(influences: list[Any], is_positive: Flags, groups: Codes) -> Floats:
    n_groups = int(groups.max()) + 1
    sums = {}
    factor = {}
    for sign, cases in ((1, is_positive), (0, ~is_positive)):
        present = np.count_nonzero(np.bincount(groups[cases]))
        factor[sign] = present / (present - 1) if present > 1 else math.nan
        sums[sign] = np.stack(
            [
                np.bincount(groups[cases], influence[cases], minlength=n_groups)
                for influence in influences
            ]
        )
    mixed = sums[1] @ sums[0].T * n_groups / (n_groups - 1)
    covariance: Floats = (
        factor[1] * sums[1] @ sums[1].T + factor[0] * sums[0] @ sums[0].T + mixed + mixed.T
    )
    return covariance


def _alternating(index: ScoreIndex) -> NDArray[np.int64]:
    """Positive and negative cases at each threshold, in turn: those of `ScoreIndex.order`."""
    tps, fps = np.diff(index.tps, prepend=0), np.diff(index.fps, prepend=0)
    return np.stack((tps, fps), axis=1).reshape(-1)


def positive_cases(index: ScoreIndex) -> Flags:
    """Which cases are positive, in the input's order."""
    yes = np.ones(len(index.tps), dtype=np.bool_)
    flags: Flags = _of_cases(index, yes, ~yes)
    return flags


def _of_cases(index: ScoreIndex, of_positive: Any, of_negative: Any) -> Any:
    """What each threshold has for its positive and its negative cases, in the input's order."""
    per_threshold = np.stack((of_positive, of_negative), axis=1).reshape(-1)
    result = np.empty(len(index), dtype=per_threshold.dtype)
    result[index.order] = np.repeat(per_threshold, _alternating(index))
    return result


def average_precision_influence(index: ScoreIndex, weight: Floats | None = None) -> Floats:
    """How much each case moves the average precision: the derivative by its weight, times its weight.

    A positive case at precision p adds (p − AP) / P, and moves the precision at every positive case
    with no higher score: by FP / (TP + FP)² up, a negative case by TP / (TP + FP)² down.
    """
    if weight is None:
        tps, fps = index.tps.astype(np.float64), index.fps.astype(np.float64)
    else:
        tps, fps = curves_of_counts(index)(weight)
    called = tps + fps
    positives = tps[-1]
    precision = tps / called
    new = np.diff(tps, prepend=0)
    up = np.cumsum((new * fps / called**2)[::-1])[::-1] / positives
    down = np.cumsum((new * tps / called**2)[::-1])[::-1] / positives
    own = (precision - index.average_precision(sample_weight=weight)) / positives
    influence: Floats = _of_cases(index, own + up, -down)
    return influence if weight is None else influence * weight


class OfMean(Statistic):
    """The mean of one number a case."""

    formulas = ("t",)
    of_classes = False

    def __init__(self, each: Floats, groups: Codes | None, weight: Floats | None = None) -> None:
        self.each, self.groups, self.weight = each, groups, weight
        self.n = len(each)
        self.value = float(each.mean() if weight is None else (each * weight).sum() / weight.sum())
        if weight is not None:
            self.n_effective = kish(per_unit(weight, groups))

    def limits(self, method: str, level: float) -> Limits:
        units = per_unit(self.influences(), self.groups)
        error = math.sqrt(variance_of(units))
        degrees = len(units) - 1 if self.n_effective is None else degrees_of(self.n_effective)
        half = t_quantile((1 + level) / 2, degrees) * error
        name = method if self.groups is None else "t, clusters"
        if self.weight is not None:
            name = "t, weighted"
        return Limits(self.value - half, self.value + half, name, error)

    def influences(self) -> Floats:
        if self.weight is not None:
            return np.asarray((self.each - self.value) * self.weight / self.weight.sum())
        return (self.each - self.value) / self.n

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:  # noqa: ARG002 - has no classes
        weight = np.ones(self.n) if self.weight is None else self.weight
        sizes, sums = (per_unit(of, self.groups) for of in (weight, self.each * weight))
        draws = _resampling.drawn(len(sums), n, seed)
        values = (float(counts @ sums / (counts @ sizes)) for counts in draws)
        return _resampling.with_progress(values, n, progress)


class OfFunction(Statistic):
    """Any function of labels and answers."""

    of_classes = True

    def __init__(
        self,
        function: Callable[..., Any],
        y_true: NDArray[Any],
        y: NDArray[Any],
        groups: Codes | None,
        weight: Floats | None = None,
    ) -> None:
        self.function, self.y_true, self.y, self.groups = function, y_true, y, groups
        self.weight = weight
        self.n = len(y_true)
        self.value = self._of(slice(None))
        if weight is not None:
            self.n_effective = kish(per_unit(weight, groups))

    def _of(self, rows: NDArray[np.intp] | slice) -> float:
        weights = {} if self.weight is None else {"sample_weight": self.weight[rows]}
        return float(self.function(self.y_true[rows], self.y[rows], **weights))

    def resample(self, n: int, stratify: bool, seed: int, progress: Progress) -> Floats:
        values = map(self._value, self._rows(n, stratify, seed))
        return _resampling.with_progress(values, n, progress)

    def _rows(self, n: int, stratify: bool, seed: int) -> Iterator[NDArray[np.intp]]:
        if self.groups is not None:
            by_group = np.split(
                np.argsort(self.groups, kind="stable"),
                np.cumsum(np.bincount(self.groups))[:-1],
            )
            for counts in _resampling.drawn(len(by_group), n, seed):
                taken = np.repeat(np.arange(len(by_group)), counts)
                yield np.concatenate([by_group[group] for group in taken])
            return
        codes = np.zeros(self.n, dtype=np.intp)
        if stratify:
            codes = np.unique(self.y_true, return_inverse=True)[1]
        strata = [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
        yield from _resampling.rows(strata, n, seed)

    def _value(self, rows: NDArray[np.intp]) -> float:
        try:
            return self._of(rows)
        except ValueError:
            return math.nan  # not defined for what was drawn


def of_right(right: Flags, groups: Codes | None, weight: Floats | None) -> OfCounts:
    """Accuracy, given which answers are right."""
    cell = _limits.cell_of(np.ones_like(right), right)
    table = _limits.cell_table(cell, groups, weight)
    return OfCounts(CRITERIA["accuracy"], table, cell, groups, weight)


def positives(labels: Any, pos_label: Any) -> Flags:
    """Which cases are positive, of two classes."""
    kind = type_of_target(labels)
    if kind != "binary":
        raise ValueError(f"y_true: got {kind} labels; those of two classes expected")
    values, positive = _cases(labels, pos_label)
    return np.asarray(values == positive)


def of_loss(
    name: str,
    is_positive: Flags,
    y: NDArray[Any],
    params: dict[str, Any],
    groups: Codes | None,
    weight: Floats | None = None,
) -> Statistic:
    scores = y.astype(np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise ValueError("y_score: probabilities from 0 to 1 expected")
    if name == "net_benefit":
        threshold = params.get("threshold")
        if threshold is None or not 0 < threshold < 1:
            raise ValueError(f"metric_params: threshold: got {threshold!r}; in (0, 1) expected")
        no_more({key: value for key, value in params.items() if key != "threshold"})
        called = scores >= threshold
        each = np.where(is_positive, 1.0, -threshold / (1 - threshold)) * called
        return OfMean(each, groups, weight)
    no_more(params)
    if name == "brier_score_loss":
        return OfMean((scores - is_positive) ** 2, groups, weight)
    eps = np.finfo(np.float64).eps
    right = np.clip(np.where(is_positive, scores, 1 - scores), eps, 1 - eps)
    return OfMean(-np.log(right), groups, weight)


def no_more(params: dict[str, Any]) -> None:
    if params:
        raise ValueError(f"metric_params: got {sorted(params)}; the metric takes none of these")


def counts_statistic(name: str, counts: Counts) -> OfCounts:
    """A criterion over counts that are known."""
    if name not in CRITERIA:
        names = ", ".join(sorted(CRITERIA))
        raise ValueError(f"criterion: got {name!r}; one of {names} expected")
    cells = np.array([counts.tp, counts.fp, counts.fn, counts.tn], dtype=np.float64)
    if cells.ndim != 1:
        raise ValueError(f"counts: got arrays of shape {cells.shape[1:]}; single numbers expected")
    return OfCounts(CRITERIA[name], Table(cells))
