"""What acting on a model is worth, against treating all or none."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics._arguments import check_options, group_codes
from ironstep.metrics._inputs import check_consistent_length, column
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
    found = []
    for threshold in at:
        statistic = of_loss("net_benefit", truth, share, {"threshold": threshold}, codes)
        limits = statistic.limits("t", confidence_level)
        found.append((statistic.value, limits.low, limits.high))
    value, low, high = np.array(found).reshape(-1, 3).T
    prevalence = truth.mean()
    return DecisionCurve(
        thresholds=at,
        net_benefit=value,
        low=low,
        high=high,
        treat_all=prevalence - (1 - prevalence) * at / (1 - at),
        confidence_level=confidence_level,
    )
