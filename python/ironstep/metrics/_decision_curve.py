"""What acting on a model is worth, against treating all or none."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics._arguments import check_options, group_codes
from ironstep.metrics._distributions import t_quantile
from ironstep.metrics._inputs import check_consistent_length, column
from ironstep.metrics._limits import Codes, Flags
from ironstep.metrics._statistics import of_loss, positives

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DecisionCurve:
    """Net benefit over threshold probabilities."""

    thresholds: Floats
    net_benefit: Floats
    low: Floats
    """Limits at each threshold, one by one."""
    high: Floats
    treat_all: Floats
    """Of acting on every case; acting on none is worth 0."""
    confidence_level: float


def decision_curve(
    y_true: Any,
    y_proba: Any,
    thresholds: Any = None,
    *,
    pos_label: Any = 1,
    groups: Any = None,
    confidence_level: float = 0.95,
) -> DecisionCurve:
    """Net benefit, TP/n − FP/n · pt / (1 − pt), of acting where the probability is at least pt.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes.
    y_proba : array-like of shape (n_samples,)
        Probabilities of the positive class, in [0, 1].
    thresholds : array-like of shape (n_thresholds,), optional
        Threshold probabilities in (0, 1): 0.01 to 0.99 if left out.
    pos_label : int, float, bool or str, default=1
    groups : array-like of shape (n_samples,), optional
        To which patient each case belongs.
    confidence_level : float in (0, 1), default=0.95

    Returns
    -------
    DecisionCurve

    References
    ----------
    Vickers & Elkin (2006), Medical Decision Making 26:565.

    Examples
    --------
    >>> from ironstep.metrics import decision_curve
    >>> decision_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [0.2, 0.5]).net_benefit
    array([0.4375, 0.25  ])
    """
    check_options(confidence_level)
    check_consistent_length(y_true, y_proba, groups)
    codes = group_codes(groups)
    at = np.linspace(0.01, 0.99, 99) if thresholds is None else np.asarray(thresholds, np.float64)
    truth = positives(y_true, pos_label)
    share = column(y_proba, "y_proba")
    statistic = of_loss("brier_score_loss", truth, share, {}, codes)  # its checks of y_proba
    if not ((at > 0) & (at < 1)).all():
        raise ValueError("thresholds: numbers in (0, 1) expected")
    weight = at / (1 - at)
    value, error = _net_benefits(truth, share.astype(np.float64), at, weight, codes)
    k = statistic.n if codes is None else int(codes.max()) + 1
    half = t_quantile((1 + confidence_level) / 2, k - 1) * error
    prevalence = truth.mean()
    return DecisionCurve(
        thresholds=at,
        net_benefit=value,
        low=value - half,
        high=value + half,
        treat_all=prevalence - (1 - prevalence) * weight,
        confidence_level=confidence_level,
    )


def _net_benefits(
    truth: Flags, share: Floats, at: Floats, weight: Floats, codes: Codes | None
) -> tuple[Floats, Floats]:
    """Net benefits and their standard errors, those of clusters' sums where there are clusters.

    With p and n the numbers of a cluster's positive and negative cases that are called positive, and m
    that of all its cases, a net benefit v is Σ(p − w n) / N, and its variance K / (K − 1) times the sum
    of (p − w n − v m)² / N². Sums of products over clusters are counts of pairs of cases, each of which
    is called at the thresholds at which the lower of both is: so one sort gives them for all.
    """
    n = len(truth)
    groups = np.arange(n) if codes is None else codes
    order_of_thresholds = np.argsort(at, kind="stable")
    # At how many of the thresholds, ascending, a case is called.
    reached = np.searchsorted(at[order_of_thresholds], share, side="right")
    order = np.lexsort((-reached, groups)) if codes is not None else np.arange(n)
    first = np.flatnonzero(np.diff(groups[order], prepend=-1))
    size = np.diff(np.append(first, n))
    is_positive = truth[order].astype(np.int64)
    before = np.stack(
        (np.cumsum(is_positive) - is_positive, np.cumsum(1 - is_positive) - 1 + is_positive)
    )
    before -= np.repeat(before[:, first], size, axis=1)
    positives, negatives = before
    yes, level = is_positive == 1, reached[order]

    def called(each: NDArray[Any], of: Flags) -> Floats:
        """Sums over the cases that are called at each threshold."""
        sums = np.bincount(level[of], each[of], minlength=len(at) + 1)
        ascending = np.cumsum(sums[::-1])[::-1][1:]
        result = np.empty(len(at))
        result[order_of_thresholds] = ascending
        return result

    one, sizes = np.ones(n), np.repeat(size, size).astype(np.float64)
    tp, fp = called(one, yes), called(one, ~yes)
    value = (tp - weight * fp) / n
    squares = (
        called(2 * positives + 1, yes)
        - 2 * weight * (called(negatives, yes) + called(positives, ~yes))
        + weight**2 * called(2 * negatives + 1, ~yes)
    )
    mixed = called(sizes, yes) - weight * called(sizes, ~yes)
    k = len(size)
    variance = (squares - 2 * value * mixed + value**2 * float(size @ size)) * (k / (k - 1)) / n**2
    return value, np.sqrt(variance.clip(min=0))
