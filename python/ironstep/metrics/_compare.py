"""Two models on the same cases, and several: differences with intervals and tests."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import _distributions as dist
from ironstep.metrics import _proportion, _resampling
from ironstep.metrics._arguments import check_options, group_codes, note_on_groups, weighed
from ironstep.metrics._confidence_interval import confidence_interval
from ironstep.metrics._criteria import CELLS, Proportion
from ironstep.metrics._inputs import check_consistent_length, column
from ironstep.metrics._limits import Codes, border
from ironstep.metrics._named import statistic
from ironstep.metrics._proportion import Interval, degrees_of
from ironstep.metrics._score_index import ScoreIndex, delong_covariance
from ironstep.metrics._statistics import (
    OfCounts,
    OfFunction,
    OfScores,
    Progress,
    Statistic,
    auc_covariance,
    obuchowski_covariance,
    per_unit,
    variance_of,
)

Alternative = Literal["two-sided", "greater", "less", "noninferior"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The difference of a criterion between two models on the same cases, `a` minus `b`."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    confidence_level: float
    p_value: float
    alternative: str
    margin: float | None
    method: str
    """Of the interval."""
    test: str
    """Of the p-value."""
    standard_error: float | None
    n: int
    n_groups: int | None = None
    n_effective: float | None = None
    n_resamples: int | None = None
    n_undefined: int = 0
    seed: int | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"{self.difference:.3f} {interval}, p = {self.p_value:.3g} ({self.test})"


def compare(
    metric: str | Callable[..., Any],
    y_true: Any,
    a: Any,
    b: Any,
    *,
    alternative: Alternative = "two-sided",
    margin: float | None = None,
    metric_params: dict[str, Any] | None = None,
    pos_label: Any = 1,
    method: str = "auto",
    confidence_level: float = 0.95,
    groups: Any = None,
    sample_weight: Any = None,
    weight_type: str | None = None,
    stratify: bool | str = "auto",
    n_resamples: int = 9999,
    random_state: int | None = None,
    progress: Progress = None,
) -> Comparison:
    """Compare two models on the same cases: metric of `a` minus metric of `b`.

    Parameters
    ----------
    metric, metric_params, pos_label, confidence_level, groups, sample_weight, weight_type, \
stratify, n_resamples, random_state, progress
        As in `confidence_interval`.
    y_true : array-like of shape (n_samples,)
        True labels.
    a, b : array-like of shape (n_samples,)
        What the two models say of the same cases, in the same order.
    alternative : {"two-sided", "greater", "less", "noninferior"}, default="two-sided"
        What the p-value is evidence for: that the difference is not 0, above 0, below 0, or above
        −`margin`. The last is one-sided; at level α = (1 − confidence_level) / 2 it agrees with the
        lower limit of the interval.
    margin : float > 0
        For ``"noninferior"``: how much worse `a` may be. There is no default.
    method : str, default="auto"
        ``"auto"`` takes: for sensitivity, specificity, accuracy and other proportions over the same
        cases ``"newcombe"`` (interval: Newcombe 1998, method 10; test: McNemar, mid-p), for
        non-inferiority ``"tango"`` (score test and interval, Tango 1998); for the AUC ``"delong"``;
        for all else that has influence values ``"delta"``; otherwise ``"percentile"``, which
        resamples the cases, the same for both. With groups or sampling weights ``"delta"`` (AUC with
        groups alone: Obuchowski) or ``"percentile"``.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If an argument is not among those above, lengths differ, or the metric is undefined.

    Examples
    --------
    >>> from ironstep.metrics import compare
    >>> y_true = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> good, poor = [1, 2, 3, 5, 4, 6, 7, 8], [1, 6, 3, 4, 2, 5, 7, 8]
    >>> print(compare("auc", y_true, good, poor))
    0.188 [-0.144, 0.519], p = 0.268 (DeLong)
    """
    check_options(confidence_level, stratify, n_resamples, random_state)
    if alternative not in ("two-sided", "greater", "less", "noninferior"):
        raise ValueError(
            f"alternative: got {alternative!r}; two-sided, greater, less or noninferior expected"
        )
    if (alternative == "noninferior") != (margin is not None) or (
        margin is not None and not margin > 0
    ):
        raise ValueError(
            f"margin: got {margin!r}; a number > 0 for alternative='noninferior', else None"
        )
    (y_true, a, b, groups), weight = weighed(
        sample_weight, weight_type, y_true=y_true, a=a, b=b, groups=groups
    )
    codes = group_codes(groups)
    params = dict(metric_params or {})
    pair = tuple(statistic(metric, y_true, y, params, pos_label, codes, weight) for y in (a, b))
    if any(math.isnan(each.value) for each in pair):
        raise ValueError("metric: undefined for these cases: a class or a prediction is missing")
    n_effective = None
    if weight is not None:
        n_effective = min(each.n_effective or math.nan for each in pair)
    allowed = _methods(pair[0], codes, weight is not None, alternative)
    if method == "auto":
        method = allowed[0]
    elif method not in allowed:
        raise ValueError(f"method: got {method!r}; auto, {', '.join(allowed)} expected")

    common: dict[str, Any] = dict(
        a=pair[0].value,
        b=pair[1].value,
        difference=pair[0].value - pair[1].value,
        confidence_level=confidence_level,
        alternative=alternative,
        margin=margin,
        n=pair[0].n,
        n_groups=None if codes is None else int(codes.max()) + 1,
        n_effective=n_effective,
    )
    notes, enough = note_on_groups(codes)
    if not enough:
        nothing = dict(low=math.nan, high=math.nan, p_value=math.nan, method="none", test="none")
        found: dict[str, Any] = nothing | dict(standard_error=None)
    elif method == "percentile":
        found = _by_resampling(
            pair,
            codes,
            alternative,
            margin,
            confidence_level,
            stratify,
            n_resamples,
            random_state,
            progress,
        )
    elif method in ("newcombe", "tango"):
        found = _paired_proportions(pair, method, alternative, margin, confidence_level)
    else:
        found = _by_influences(pair, codes, n_effective, alternative, margin, confidence_level)
    return Comparison(**(common | found | dict(notes=(*notes, *found.get("notes", ())))))


def _methods(
    chosen: Statistic, codes: Codes | None, is_weighted: bool, alternative: str
) -> tuple[str, ...]:
    """Names of methods, the default first."""
    if is_weighted and not isinstance(chosen, OfFunction) and chosen.influences() is not None:
        return ("delta", "percentile")
    if isinstance(chosen, OfCounts) and codes is None and _of_same_cases(chosen):
        pair = ("newcombe", "tango")
        return (*(pair[::-1] if alternative == "noninferior" else pair), "delta", "percentile")
    if isinstance(chosen, OfScores) and chosen.name == "auc":
        return ("delong" if codes is None else "obuchowski", "percentile")
    if isinstance(chosen, OfFunction) or chosen.influences() is None:
        return ("percentile",)
    return ("delta", "percentile")


def _of_same_cases(chosen: OfCounts) -> bool:
    """Whether a proportion's denominator is the truth's alone, and so that of both models."""
    criterion = chosen.criterion
    if not isinstance(criterion, Proportion) or criterion.attribute == "f1":
        return False
    return set(criterion.among) in ({"tp", "fn"}, {"tn", "fp"}, {"tp", "fp", "fn", "tn"})


def _p_value(z: float, alternative: str, degrees: float | None) -> float:
    def above(x: float) -> float:
        return dist.normal_cdf(-x) if degrees is None else dist.t_cdf(-x, degrees)

    if alternative == "two-sided":
        return min(1.0, 2 * above(abs(z)))
    return above(-z if alternative == "less" else z)


def _by_influences(
    pair: tuple[Statistic, ...],
    codes: Codes | None,
    n_effective: float | None,
    alternative: str,
    margin: float | None,
    level: float,
) -> dict[str, Any]:
    first, second = pair
    if isinstance(first, OfScores) and first.name == "auc":
        assert isinstance(second, OfScores)
        covariance = auc_covariance([first, second])
        variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
        names = ("delong", "DeLong") if codes is None else ("obuchowski, t", "Obuchowski, t")
    else:
        influences = [each.influences() for each in pair]
        assert influences[0] is not None
        assert influences[1] is not None
        variance = variance_of(per_unit(influences[0] - influences[1], codes))
        names = ("delta", "Wald") if codes is None else ("delta, clusters, t", "Wald, t")
    degrees = None if codes is None else float(codes.max())
    if n_effective is not None:
        names, degrees = ("delta, weighted, t", "Wald, t"), degrees_of(n_effective)
    quantile = dist.two_sided_quantile(level, degrees)
    difference = first.value - second.value
    # What rounding leaves of a variance of zero.
    error = math.sqrt(variance) if variance > 1e-24 else 0.0
    shifted = difference + (margin or 0.0)
    notes: tuple[str, ...] = ()
    if error > 0:
        p = _p_value(shifted / error, alternative, degrees)
    else:
        p = 1.0 if shifted == 0 else _p_value(math.copysign(math.inf, shifted), alternative, None)
        notes = ("the difference has no variance: the models order all cases alike",)
    return dict(
        low=difference - quantile * error,
        high=difference + quantile * error,
        p_value=p,
        method=names[0],
        test=names[1],
        standard_error=error,
        notes=notes,
    )


def _paired_proportions(
    pair: tuple[Statistic, ...],
    method: str,
    alternative: str,
    margin: float | None,
    level: float,
) -> dict[str, Any]:
    first, second = pair
    assert isinstance(first, OfCounts)
    assert isinstance(second, OfCounts)
    hit_a, hit_b = (_hits(each) for each in (first, second))
    both, only_a, only_b = (
        int(which.sum()) for which in (hit_a & hit_b, hit_a & ~hit_b, ~hit_a & hit_b)
    )
    n = first.n
    if method == "tango":
        low, high = tango(only_a, only_b, n, level)
    else:
        low, high = newcombe_paired(both, only_a, only_b, n, level)
    if alternative == "noninferior":
        assert margin is not None
        p, test = dist.normal_cdf(-_tango_z(only_a, only_b, n, -margin)), "Tango's score"
    else:
        p, test = mcnemar_p(only_a, only_b, alternative), "McNemar, mid-p"
    difference = (only_a - only_b) / n
    error = math.sqrt(max(0.0, (only_a + only_b) / n - difference**2) / n)
    name = {"newcombe": "newcombe, method 10", "tango": "tango"}[method]
    return dict(low=low, high=high, p_value=p, method=name, test=test, standard_error=error)


def _hits(chosen: OfCounts) -> NDArray[np.bool_]:
    """Which of the cases that count are hits."""
    criterion = chosen.criterion
    assert isinstance(criterion, Proportion)
    assert chosen.cell is not None
    among = np.isin(chosen.cell, [CELLS.index(name) for name in criterion.among])
    return np.isin(chosen.cell[among], [CELLS.index(name) for name in criterion.hits])


def newcombe_paired(both: int, only_a: int, only_b: int, n: int, level: float) -> Interval:
    """Limits of a difference of paired proportions (Newcombe 1998, SIM 17:2635, method 10)."""
    neither = n - both - only_a - only_b
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = (
        _proportion.wilson(hits, n, level) for hits in (both + only_a, both + only_b)
    )
    product = float(both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    excess = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)  # type: ignore[assignment]
    phi = excess / math.sqrt(product) if product > 0 else 0.0

    def half(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    difference = p_a - p_b
    return (
        difference - half(p_a - low_a, high_b - p_b),
        difference + half(high_a - p_a, p_b - low_b),
    )


def _tango_z(only_a: int, only_b: int, n: int, difference: float) -> float:
    """Score statistic for a true difference (Tango 1998, SIM 17:891)."""
    d = difference
    # The share of cases that only b hits, by maximum likelihood under that difference.
    b = -only_a - only_b + (2 * n - only_a + only_b) * d
    c = -only_b * d * (1 - d)
    root = math.sqrt(max(0.0, b * b - 8 * n * c))
    share = (root - b) / (4 * n)
    variance = n * (2 * share + d * (1 - d))
    excess = only_a - only_b - n * d
    if variance <= 0:
        return 0.0 if excess == 0 else math.copysign(math.inf, excess)
    return excess / math.sqrt(variance)


def tango(only_a: int, only_b: int, n: int, level: float) -> Interval:
    """Return the differences that Tango's score test does not refuse."""
    z = dist.normal_quantile((1 + level) / 2)
    at = (only_a - only_b) / n

    def beyond(difference: float) -> bool:
        return abs(_tango_z(only_a, only_b, n, difference)) > z

    return border(at, -1.0, beyond), border(at, 1.0, beyond)


def mcnemar_p(
    only_a: int, only_b: int, alternative: str = "two-sided", *, mid: bool = True
) -> float:
    """P-value of McNemar's test from the two counts in which the models disagree."""
    n = only_a + only_b
    if n == 0:
        return 1.0

    def at_most(k: int) -> float:
        below = dist.binomial_half_cdf(k - 1, n)
        exactly = dist.binomial_half_cdf(k, n) - below
        return below + exactly / 2 if mid else below + exactly

    if alternative == "greater":
        return at_most(only_b)
    if alternative == "less":
        return at_most(only_a)
    return min(1.0, 2 * at_most(min(only_a, only_b)))


def _by_resampling(
    pair: tuple[Statistic, ...],
    codes: Codes | None,
    alternative: str,
    margin: float | None,
    level: float,
    stratify: bool | str,
    n_resamples: int,
    random_state: int | None,
    progress: Progress,
) -> dict[str, Any]:
    def differences(n: int, stratified: bool, seed: int) -> Floats:
        a, b = (each.resample_paired(n, stratified, seed, progress) for each in pair)
        return np.subtract(a, b)

    found = _resampling.resampled(
        differences,
        n_resamples,
        stratify=stratify,
        of_classes=pair[0].of_classes,
        in_groups=codes is not None,
        random_state=random_state,
    )
    defined = found.values
    low, high = _resampling.percentile(defined, level)
    at = -(margin or 0.0)
    # The share of resamples on the other side, as a p-value by inverting the percentile interval.
    below = (np.sum(defined <= at) + 1) / (len(defined) + 1)
    above = (np.sum(defined >= at) + 1) / (len(defined) + 1)
    p = {
        "two-sided": min(1.0, 2 * min(below, above)),
        "less": above,
    }.get(alternative, below)
    return dict(
        low=low,
        high=high,
        p_value=float(p),
        method=f"percentile bootstrap, {found.kind}",
        test="bootstrap",
        notes=found.notes,
        **found.reported,
    )


def _auc_covariance(indices: list[ScoreIndex], codes: Codes | None) -> Floats:
    if codes is not None:
        return obuchowski_covariance(indices, codes)
    return delong_covariance(*indices)


@dataclass(frozen=True, kw_only=True)
class DelongTest:
    """The AUCs of several models on the same cases, and whether they are equal."""

    aucs: Floats
    covariance: Floats
    """Shape (n_models, n_models)."""
    statistic: float
    """χ² of the hypothesis that all are equal."""
    degrees_of_freedom: int
    p_value: float
    notes: tuple[str, ...] = ()


def delong_test(
    y_true: Any, scores: Sequence[Any], *, pos_label: Any = 1, groups: Any = None
) -> DelongTest:
    """Test whether several models have the same AUC on the same cases.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        True labels.
    scores : sequence of array-like of shape (n_samples,)
        One column for each model, two at least.
    pos_label : int, float, bool or str, default=1
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs: then with Obuchowski's covariances.

    Returns
    -------
    DelongTest
        Its covariance matrix is what software for studies with several readers asks for.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson (1988), Biometrics 44:837; Obuchowski (1997), Biometrics 53:567.

    Examples
    --------
    >>> from ironstep.metrics import delong_test
    >>> y_true = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> test = delong_test(y_true, [[1, 2, 3, 5, 4, 6, 7, 8], [1, 6, 3, 4, 2, 5, 7, 8]])
    >>> test.aucs, round(test.p_value, 3)
    (array([0.9375, 0.75  ]), 0.268)
    """
    if len(scores) < 2:
        raise ValueError(f"scores: got {len(scores)} models; two at least expected")
    indices = [ScoreIndex(y_true, score, pos_label=pos_label) for score in scores]
    codes = group_codes(groups)
    aucs = np.array([index.auc() for index in indices])
    few, enough = note_on_groups(codes)
    if not enough:
        raise ValueError(f"groups: {few[0]}")
    covariance = _auc_covariance(indices, codes)
    contrasts = np.eye(len(scores))[:-1] - np.eye(len(scores))[1:]
    differences = contrasts @ aucs
    spread = contrasts @ covariance @ contrasts.T
    values, vectors = np.linalg.eigh(spread)
    kept = values > 1e-12 * max(1e-12, float(np.abs(covariance).max()))
    rank = int(kept.sum())
    notes = few
    if rank < len(differences):
        notes += ("some models order all cases alike: their difference has no variance",)
    along = vectors[:, kept].T @ differences
    chi2 = float((along**2 / values[kept]).sum())
    p = dist.chi2_above(chi2, rank) if rank else 1.0
    return DelongTest(
        aucs=aucs,
        covariance=covariance,
        statistic=chi2,
        degrees_of_freedom=rank,
        p_value=p,
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class McnemarTest:
    """Whether two models are right about equally many of the same cases."""

    only_a: int
    """Cases about which `a` alone is right."""
    only_b: int
    p_value: float
    method: str


def mcnemar_test(
    y_true: Any, a: Any, b: Any, *, alternative: str = "two-sided", method: str = "mid-p"
) -> McnemarTest:
    """Test whether two classifiers are right equally often, on the same cases.

    Parameters
    ----------
    y_true, a, b : array-like of shape (n_samples,)
        True labels and those of the two models.
    alternative : {"two-sided", "greater", "less"}, default="two-sided"
        "greater": `a` is right more often.
    method : {"mid-p", "exact"}, default="mid-p"
        Half or all of the probability of the observed table counts. The exact test is conservative
        (Fagerland, Lydersen & Laake 2013, BMC Med Res Methodol 13:91).

    Returns
    -------
    McnemarTest

    Examples
    --------
    >>> from ironstep.metrics import mcnemar_test
    >>> test = mcnemar_test([1] * 10, [1] * 9 + [0], [1] * 4 + [0] * 6)
    >>> test.only_a, test.only_b, test.p_value
    (5, 0, 0.03125)
    """
    if method not in ("mid-p", "exact"):
        raise ValueError(f"method: got {method!r}; 'mid-p' or 'exact' expected")
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative: got {alternative!r}; two-sided, greater or less expected")
    check_consistent_length(y_true, a, b)
    truth = column(y_true, "y_true")
    right_a, right_b = (np.asarray(column(y, name) == truth) for y, name in ((a, "a"), (b, "b")))
    only_a, only_b = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    p = mcnemar_p(only_a, only_b, alternative, mid=method == "mid-p")
    return McnemarTest(only_a=only_a, only_b=only_b, p_value=p, method=method)


def holm(p_values: Any) -> Floats:
    """Adjust p-values for being several (Holm 1979).

    Parameters
    ----------
    p_values : array-like of shape (n_tests,)

    Returns
    -------
    ndarray of shape (n_tests,)
        In the order given. A hypothesis is refused at level α if its number is at most α, and the
        probability that any true one is refused is at most α.

    Examples
    --------
    >>> from ironstep.metrics import holm
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p_values: got {p_values!r}; numbers from 0 to 1 expected")
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted


def compare_unpaired(
    metric: str | Callable[..., Any],
    y_true_a: Any,
    a: Any,
    y_true_b: Any,
    b: Any,
    *,
    alternative: Alternative = "two-sided",
    margin: float | None = None,
    confidence_level: float = 0.95,
    groups_a: Any = None,
    groups_b: Any = None,
    sample_weight_a: Any = None,
    sample_weight_b: Any = None,
    weight_type: str | None = None,
    **options: Any,
) -> Comparison:
    """Compare a metric between different cases, two subgroups say: that of `a` minus that of `b`.

    Parameters
    ----------
    metric, alternative, margin, confidence_level
        As in `compare`.
    y_true_a, a, y_true_b, b : array-like of shape (n_samples_a,) and (n_samples_b,)
        Labels and answers of the first cases and of the second.
    groups_a, groups_b : array-like, optional
        To which patient each case belongs; no patient may be on both sides.
    sample_weight_a, sample_weight_b : array-like, optional
        What each case weighs; `weight_type` says what that means, as in `confidence_interval`.
    weight_type : {"frequency", "sampling"}, optional
    **options
        What else `confidence_interval` takes: ``metric_params``, ``pos_label``, ``method``, …

    Returns
    -------
    Comparison
        The interval recovers variances from those of both sides (Zou & Donner 2008); of shares it is
        Newcombe's method 10 for independent samples (1998, SIM 17:873). The test is Wald's.

    Examples
    --------
    >>> from ironstep.metrics import compare_unpaired
    >>> women, men = [[1] * 50, [1] * 45 + [0] * 5], [[1] * 50, [1] * 35 + [0] * 15]
    >>> print(compare_unpaired("sensitivity", *women, *men))
    0.200 [0.043, 0.349], p = 0.00982 (Wald)
    """
    if (alternative == "noninferior") != (margin is not None):
        raise ValueError(
            f"margin: got {margin!r}; a number > 0 for alternative='noninferior', else None"
        )
    is_weighted = sample_weight_a is not None or sample_weight_b is not None
    sides = [
        confidence_interval(
            metric,
            y_true,
            y,
            confidence_level=confidence_level,
            groups=groups,
            sample_weight=weight,
            # Where one side has weights, the other may have none; with none at all it is an error.
            weight_type=weight_type if weight is not None or not is_weighted else None,
            **options,
        )
        for y_true, y, groups, weight in (
            (y_true_a, a, groups_a, sample_weight_a),
            (y_true_b, b, groups_b, sample_weight_b),
        )
    ]
    first, second = sides
    difference = first.value - second.value
    errors = [side.standard_error or 0.0 for side in sides]
    error = math.hypot(*errors)
    shifted = difference + (margin or 0.0)
    z = shifted / error if error > 0 else math.copysign(math.inf, shifted) if shifted else 0.0
    return Comparison(
        a=first.value,
        b=second.value,
        difference=difference,
        low=difference - math.hypot(first.value - first.low, second.high - second.value),
        high=difference + math.hypot(first.high - first.value, second.value - second.low),
        confidence_level=confidence_level,
        p_value=_p_value(z, alternative, None),
        alternative=alternative,
        margin=margin,
        method=f"mover ({first.method})",
        test="Wald",
        standard_error=error,
        n=first.n + second.n,
        notes=(*first.notes, *second.notes),
    )
