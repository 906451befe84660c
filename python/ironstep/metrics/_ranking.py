"""Criteria of scores: ROC, precision-recall and DET curves, the areas under them, top-k accuracy."""

import math
from collections.abc import Callable
from itertools import combinations
from typing import Any, Literal, cast

import numpy as np

from ironstep import _native
from ironstep.metrics import _exact_sum, _torch
from ironstep.metrics._inputs import (
    Array,
    array,
    check_consistent_length,
    check_finite,
    check_pos_label,
    check_sample_weight,
    column,
    is_sparse,
    type_of_target,
    unique_labels,
)
from ironstep.metrics._scores import (
    Scores,
    check_lengths,
    distinct,
    kind_of,
    numeric_labels,
    score_column,
    scores,
    two_classes,
)
from ironstep.metrics._undefined import check_undefined, value_where_undefined, warn, warn_undefined

Average = Literal["micro", "macro", "samples", "weighted"]
Backend = Literal["auto", "native", "torch"]
Curve = tuple[Array, Array, Array]
Ties = Literal["sklearn", "strict", "random"]

_AVERAGES = (None, "micro", "macro", "weighted", "samples")


def _check_average(average: Any) -> None:
    if not any(average is known or average == known for known in _AVERAGES):
        raise ValueError(f"average has to be one of {_AVERAGES}")


def _cases(y_true: Any, pos_label: Any) -> tuple[Array, Any]:
    """Return labels for the kernels and which of them is positive."""
    labels = numeric_labels(y_true)
    if labels is not None and len(labels):
        classes = two_classes(labels)
        if classes is not None:
            boolean = getattr(y_true, "dtype", None) == np.bool_
            given = np.array(classes, dtype=np.bool_ if boolean else labels.dtype)
            positive = check_pos_label(pos_label, given)
            if any(positive == label for label in classes):
                return labels, next(label for label in classes if label == positive)
            return np.zeros(len(labels), dtype=np.uint8), 1
    kind = type_of_target(y_true, "y_true")
    if kind != "binary" and not (kind == "multiclass" and pos_label is not None):
        raise ValueError(f"{kind} format is not supported")
    column_ = column(y_true, "y_true")
    check_finite(column_, "y_true")
    positive = check_pos_label(pos_label, unique_labels(column_))
    return np.asarray(column_ == positive).astype(np.uint8), 1


class _Binary:
    """Cases, scores and weights, checked; the kernels' answers for weighted and unweighted cases."""

    def __init__(self, y_true: Any, y_score: Any, pos_label: Any, sample_weight: Any) -> None:
        labels, positive = _cases(y_true, pos_label)
        self.scores = score_column(y_score)
        n = check_lengths(labels, self.scores.values, sample_weight)
        self._arguments = (labels, self.scores.values, positive)
        self._half = self.scores.half
        self._weight: Array | None = None
        if sample_weight is not None:
            weight = check_sample_weight(column(sample_weight, "sample_weight"), n)
            self._weight = np.ascontiguousarray(weight, dtype=np.float64)
            check_finite_scores(self.scores)

    def _index(self) -> _native.ScoreIndex:
        return _native.ScoreIndex(*self._arguments, half=self._half)

    def counts(self) -> Curve:
        """True and false positives and thresholds, by descending threshold."""
        if self._weight is not None:
            return self._index().weighted_counts(self._weight)
        return _native.threshold_counts(*self._arguments, half=self._half)

    def roc(self, drop_intermediate: bool) -> Curve:
        if self._weight is not None:
            return self._index().weighted_roc(self._weight, drop_intermediate)
        return _native.roc_curve(
            *self._arguments, drop_intermediate=drop_intermediate, half=self._half
        )

    def precision_recall(self, drop_intermediate: bool) -> Curve:
        if self._weight is not None:
            return self._index().weighted_precision_recall(self._weight, drop_intermediate)
        return _native.precision_recall_curve(
            *self._arguments, drop_intermediate=drop_intermediate, half=self._half
        )

    def average_precision(self) -> float:
        """NaN without a positive case."""
        if self._weight is not None:
            return self._index().weighted_average_precision(self._weight)
        return _native.average_precision(*self._arguments, half=self._half)[0]

    def auc(self, max_fpr: float | None = None) -> float:
        """NaN without a case of either class; standardised up to `max_fpr`."""
        if max_fpr is not None and max_fpr != 1:
            return self._partial_auc(max_fpr)
        if self._weight is not None:
            return self._index().weighted_auc(self._weight)
        found = _native.roc_auc(*self._arguments, half=self._half)
        return np.nan if found is None else found[0]

    def _partial_auc(self, max_fpr: float) -> float:
        if self._weight is None:
            check_finite_scores(self.scores)
            area = self._index().partial_auc(max_fpr)
        else:
            fpr, tpr, _ = self.roc(drop_intermediate=True)
            stop = int(np.searchsorted(fpr, max_fpr, "right"))
            height = np.interp(max_fpr, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
            fpr, tpr = np.append(fpr[:stop], max_fpr), np.append(tpr[:stop], height)
            area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1])) / 2)
        # McClish (1989): one half for chance, 1 at most.
        chance = max_fpr**2 / 2
        return 0.5 * (1 + (area - chance) / (max_fpr - chance))


def _binary(
    y_true: Any, y_score: Any, pos_label: Any, sample_weight: Any, backend: Any
) -> "_Binary | _torch.Cases":
    """Return the cases in the hands of the one who counts them."""
    if _torch.uses_torch(backend, y_true=y_true, y_score=y_score, sample_weight=sample_weight):
        cases = _torch.cases(y_true, y_score, pos_label) if sample_weight is None else None
        if cases is not None:
            return cases
        y_true, y_score, sample_weight = _torch.to_host(y_true, y_score, sample_weight)
    return _Binary(y_true, y_score, pos_label, sample_weight)


def check_finite_scores(scores: Scores) -> None:
    """Refuse what scikit-learn refuses, where the kernels allow infinity."""
    if scores.half is None:
        check_finite(scores.values, "y_score")
    else:
        exponent = 0x7C00 if scores.half == "float16" else 0x7F80
        bad = (scores.values & exponent) == exponent
        if bad.any():
            index = int(bad.argmax())
            raise ValueError(f"Input y_score contains NaN or infinity, first at index {index}")


def roc_curve(
    y_true: Any,
    y_score: Any,
    *,
    pos_label: Any = None,
    sample_weight: Any = None,
    drop_intermediate: bool = True,
    undefined: Any = "sklearn",
    backend: Backend = "auto",
) -> Curve:
    """Receiver operating characteristic: the true positive rate over the false positive rate.

    Cases are counted in integers, so that which points lie on a line between others is exact.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes; without `pos_label` {0, 1} or {-1, 1}.
    y_score : array-like of shape (n_samples,)
        Scores, larger for the positive class. Finite.
    pos_label : int, float, bool or str, default=None
        The positive class; 1 if None.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights; cases of weight zero leave no threshold.
    drop_intermediate : bool, default=True
        Whether to leave out points on a line between their neighbours.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The rate of a class without a case; "sklearn" is NaN with a warning.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    fpr, tpr : ndarray of shape (n_thresholds,)
        Rates in [0, 1], ascending, of the cases whose score is at least the threshold.
    thresholds : ndarray of shape (n_thresholds,)
        Descending, in float64; the first is infinity, where no case is called positive.

    Raises
    ------
    ValueError
        If lengths differ, there are more than two classes, no class is known to be the positive
        one, or a score is NaN (the error names the first index) or infinite.

    References
    ----------
    Fawcett (2006), Pattern Recognition Letters 27:861-874.

    Examples
    --------
    >>> fpr, tpr, thresholds = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> fpr
    array([0. , 0. , 0.5, 0.5, 1. ])
    >>> tpr
    array([0. , 0.5, 0.5, 1. , 1. ])
    >>> thresholds
    array([ inf, 0.8 , 0.4 , 0.35, 0.1 ])
    """
    check_undefined(undefined)
    cases = _binary(y_true, y_score, pos_label, sample_weight, backend)
    fpr, tpr, thresholds = cases.roc(bool(drop_intermediate))
    for rates, one, other in ((fpr, "negative", "false"), (tpr, "positive", "true")):
        if np.isnan(rates[-1]):
            rates[:] = value_where_undefined(
                undefined,
                f"No {one} samples in y_true, {other} positive value should be meaningless",
            )
    if cases.scores.table is not None:
        thresholds[1:] = cases.scores.thresholds(thresholds[1:])
    return fpr, tpr, thresholds


def precision_recall_curve(
    y_true: Any,
    y_score: Any,
    *,
    pos_label: Any = None,
    sample_weight: Any = None,
    drop_intermediate: bool = False,
    undefined: Any = "sklearn",
    backend: Backend = "auto",
) -> Curve:
    """Precision and recall at every threshold.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes; without `pos_label` {0, 1} or {-1, 1}.
    y_score : array-like of shape (n_samples,)
        Scores, larger for the positive class. Finite.
    pos_label : int, float, bool or str, default=None
        The positive class; 1 if None.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights; cases of weight zero leave no threshold.
    drop_intermediate : bool, default=False
        Whether to leave out points between two others of the same recall.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The recall without a positive case; "sklearn" is 1 with a warning.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    precision, recall : ndarray of shape (n_thresholds + 1,)
        In [0, 1], of the cases whose score is at least the threshold; recall descends. The last
        values are 1 and 0 and have no threshold.
    thresholds : ndarray of shape (n_thresholds,)
        Ascending.

    Raises
    ------
    ValueError
        As `roc_curve`.

    Examples
    --------
    >>> precision, recall, thresholds = precision_recall_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> precision
    array([0.5       , 0.66666667, 0.5       , 1.        , 1.        ])
    >>> recall
    array([1. , 1. , 0.5, 0.5, 0. ])
    >>> thresholds
    array([0.1 , 0.35, 0.4 , 0.8 ])
    """
    check_undefined(undefined)
    cases = _binary(y_true, y_score, pos_label, sample_weight, backend)
    precision, recall, thresholds = cases.precision_recall(bool(drop_intermediate))
    # Without a positive case no threshold has a precision, and recall is all ones.
    if not precision[:-1].any():
        recall[:-1] = undefined_recall(undefined)
    return precision, recall, _as_given(cases.scores, thresholds)


def undefined_recall(undefined: Any) -> float:
    what = "No positive class found in y_true, recall is set to one for all thresholds."
    if undefined == "sklearn":
        warn(what)
        return 1.0
    return value_where_undefined(undefined, "No positive class found in y_true")


def _as_given(scores: Scores, thresholds: Array) -> Array:
    return scores.thresholds(thresholds).astype(scores.dtype, copy=False)


def det_curve(
    y_true: Any,
    y_score: Any,
    pos_label: Any = None,
    sample_weight: Any = None,
    drop_intermediate: bool = False,
    *,
    undefined: Any = "sklearn",
) -> Curve:
    """Detection error tradeoff: the false negative rate over the false positive rate.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes; without `pos_label` {0, 1} or {-1, 1}.
    y_score : array-like of shape (n_samples,)
        Scores, larger for the positive class. Finite.
    pos_label : int, float, bool or str, default=None
        The positive class; 1 if None.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights; cases of weight zero leave no threshold.
    drop_intermediate : bool, default=False
        Whether to leave out points between two others of the same false negative rate.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The rate of a class without a case: ValueError, as from scikit-learn; with a warning NaN; NaN;
        or this number. Of a class whose cases have no weight scikit-learn's rate is NaN.

    Returns
    -------
    fpr, fnr : ndarray of shape (n_thresholds,)
        Rates in [0, 1] by ascending threshold.
    thresholds : ndarray of shape (n_thresholds,)
        Ascending, in float64; the last is infinity unless a finite one has no false positive.

    Raises
    ------
    ValueError
        As `roc_curve`, and if a class has no case, unless `undefined` says otherwise.

    References
    ----------
    Martin et al. (1997), Eurospeech, 1895-1898.

    Examples
    --------
    >>> fpr, fnr, thresholds = det_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> fpr
    array([0.5, 0.5, 0. ])
    >>> fnr
    array([0. , 0.5, 0.5])
    >>> thresholds
    array([0.35, 0.4 , 0.8 ])
    """
    check_undefined(undefined)
    cases = _Binary(y_true, y_score, pos_label, sample_weight)
    tps, fps, thresholds = cases.counts()
    labels = numeric_labels(y_true)
    classes = None if labels is None else two_classes(labels)
    if classes is None:
        classes = unique_labels(column(y_true, "y_true")).tolist()
    is_undefined = len(classes) != 2 or (undefined != "sklearn" and not (tps[-1] and fps[-1]))
    rate_of_none = math.nan
    if is_undefined:
        rate_of_none = value_where_undefined(
            "raise" if undefined == "sklearn" else undefined,
            "Only one class is present in y_true. Detection error tradeoff curve is not defined in "
            "that case.",
        )
    tps = np.concatenate(([0.0], tps))
    fps = np.concatenate(([0.0], fps))
    thresholds = np.concatenate(([np.inf], cases.scores.thresholds(thresholds).astype(float)))
    if drop_intermediate and len(fps) > 2:
        steps = np.diff(tps) != 0
        kept = np.concatenate(([True], steps[:-1] | steps[1:], [True]))
        tps, fps, thresholds = tps[kept], fps[kept], thresholds[kept]
    # From the last threshold without a false positive to the first without a false negative.
    first = int(np.searchsorted(fps, fps[0], side="right")) - 1
    last = int(np.searchsorted(tps, tps[-1])) + 1
    if is_undefined:  # of a class that is missing no threshold is the first or the last
        first, last = first if fps[-1] else 0, last if tps[-1] else len(tps)
    part = slice(max(first, 0), last)
    fns = tps[-1] - tps
    with np.errstate(invalid="ignore", divide="ignore"):
        fpr, fnr = fps[part][::-1] / fps[-1], fns[part][::-1] / tps[-1]
    if is_undefined:
        for rates in (fpr, fnr):
            rates[np.isnan(rates)] = rate_of_none
    return fpr, fnr, thresholds[part][::-1].copy()


def confusion_matrix_at_thresholds(
    y_true: Any,
    y_score: Any,
    *,
    pos_label: Any = None,
    sample_weight: Any = None,
    backend: Backend = "auto",
) -> tuple[Array, Array, Array, Array, Array]:
    """True negatives, false positives, false negatives and true positives at every threshold.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels of two classes; without `pos_label` {0, 1} or {-1, 1}.
    y_score : array-like of shape (n_samples,)
        Scores, larger for the positive class. Finite.
    pos_label : int, float, bool or str, default=None
        The positive class; 1 if None.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights; cases of weight zero leave no threshold.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    tns, fps, fns, tps : ndarray of shape (n_thresholds,)
        Counts or sums of weights, in float64, where cases with a score of at least the threshold
        are called positive.
    thresholds : ndarray of shape (n_thresholds,)
        The distinct scores, descending.

    Raises
    ------
    ValueError
        As `roc_curve`.

    Examples
    --------
    >>> tns, fps, fns, tps, thresholds = confusion_matrix_at_thresholds(
    ...     [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]
    ... )
    >>> tns
    array([2., 1., 1., 0.])
    >>> tps
    array([1., 1., 2., 2.])
    >>> thresholds
    array([0.8 , 0.4 , 0.35, 0.1 ])
    """
    cases = _binary(y_true, y_score, pos_label, sample_weight, backend)
    tps, fps, thresholds = cases.counts()
    return fps[-1] - fps, fps, tps[-1] - tps, tps, _as_given(cases.scores, thresholds)


def auc(x: Any, y: Any) -> float:
    """Area under a curve through points, by the trapezoidal rule.

    Parameters
    ----------
    x : array-like of shape (n,)
        Ascending or descending.
    y : array-like of shape (n,)
        As many values.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If there are less than two points, lengths differ or `x` goes up and down.

    Examples
    --------
    >>> auc([0, 0.5, 1], [0, 1, 1])
    0.75
    """
    check_consistent_length(x, y)
    x, y = column(x, "x"), column(y, "y")
    if x.shape[0] < 2:
        raise ValueError(
            f"At least 2 points are needed to compute area under curve, but x.shape = {x.shape}"
        )
    steps = np.diff(x)
    direction = 1
    if (steps < 0).any():
        if not (steps <= 0).all():
            raise ValueError(f"x is neither increasing nor decreasing : {x}.")
        direction = -1
    return float(direction * np.sum(steps * (y[1:] + y[:-1]) / 2.0))


def roc_auc_score(
    y_true: Any,
    y_score: Any,
    *,
    average: Average | None = "macro",
    sample_weight: Any = None,
    max_fpr: float | None = None,
    multi_class: Literal["raise", "ovr", "ovo"] = "raise",
    labels: Any = None,
    undefined: Any = "sklearn",
    backend: Backend = "auto",
) -> Any:
    """Area under the receiver operating characteristic curve.

    The share of pairs of a positive and a negative case in which the positive one has the higher
    score, ties counted one half. All pairs are counted in integers and divided once.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_classes)
        Labels of two classes, of which the larger is positive, or of several; or an indicator
        matrix of several labels.
    y_score : array-like of shape (n_samples,) or (n_samples, n_classes)
        Scores, larger for the positive class. With several classes probabilities, one column each
        in the order of the labels, whose rows sum to 1.
    average : {"micro", "macro", "samples", "weighted"} or None, default="macro"
        How the areas of several columns become one: over all entries, their mean, the mean over
        samples, the mean weighted by the positive cases; None returns all. Two classes need none.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights.
    max_fpr : float in (0, 1], default=None
        Up to which false positive rate; the area is then standardised (McClish 1989) to one half
        for chance and 1 at best. Not for several classes.
    multi_class : {"raise", "ovr", "ovo"}, default="raise"
        With several classes each against the rest, or each against each (Hand & Till 2001).
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns: sorted. Those in `y_true` if None.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The area where a class has no case; "sklearn" is NaN with a warning.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float, or ndarray of shape (n_classes,) if `average` is None

    Raises
    ------
    ValueError
        If lengths or shapes differ, a score is NaN (the error names the first index) or infinite,
        or an argument does not fit the kind of target.

    References
    ----------
    Hanley & McNeil (1982), Radiology 143:29-36; Hand & Till (2001), Machine Learning 45:171-186;
    McClish (1989), Medical Decision Making 9:190-195.

    Examples
    --------
    >>> roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    _check_average(average)
    check_undefined(undefined)
    if max_fpr is not None and not 0 < max_fpr <= 1:
        raise ValueError(f"Expected max_fpr in range (0, 1], got: {max_fpr!r}")
    if multi_class not in ("raise", "ovr", "ovo"):
        raise ValueError(f"multi_class: got {multi_class!r}; 'raise', 'ovr' or 'ovo' expected")
    if _torch.uses_torch(backend, y_true=y_true, y_score=y_score, sample_weight=sample_weight):
        if sample_weight is None and max_fpr in (None, 1):
            area = _torch.roc_auc(y_true, y_score)
            if area is not None:
                return area
            if average in ("macro", "weighted", None):
                one_vs_rest = multi_class == "ovr" and labels is None
                areas = _torch.column_aucs(y_true, y_score, one_vs_rest)
                if areas is not None:
                    return _mean(areas[0], average, areas[1] if average == "weighted" else None)
        y_true, y_score, sample_weight = _torch.to_host(y_true, y_score, sample_weight)
    y_numbers = numeric_labels(y_true)
    if y_numbers is not None and y_numbers.dtype.kind != "f" and len(y_numbers):
        given = scores(y_score)
        if given.values.ndim == 1 and sample_weight is None and max_fpr in (None, 1):
            check_consistent_length(y_numbers, given.values)
            found = _native.roc_auc(y_numbers, given.values, half=given.half)
            if found is not None and found[1] and found[2]:
                return found[0]
    return _roc_auc_score(
        y_true, y_score, average, sample_weight, max_fpr, multi_class, labels, undefined
    )


ONE_CLASS = "Only one class is present in y_true. ROC AUC score is not defined in that case."


def _roc_auc_score(
    y_true: Any,
    y_score: Any,
    average: Average | None,
    sample_weight: Any,
    max_fpr: float | None,
    multi_class: str,
    labels: Any,
    undefined: Any,
) -> Any:
    kind = type_of_target(y_true, "y_true")
    y_true = array(y_true, "y_true")
    check_finite(y_true, "y_true")
    if len(y_true) == 0:
        check_lengths(y_true)
    y_score = y_score if _is_bfloat16(y_score) else array(y_score, "y_score")
    if sample_weight is not None:
        sample_weight = column(sample_weight, "sample_weight")

    def binary(y_true: Array, y_score: Any, weight: Any) -> float:
        if y_true.all() or not y_true.any():
            check_finite_scores(score_column(y_score))
            check_consistent_length(y_true, y_score, weight)
            return value_where_undefined(undefined, ONE_CLASS)
        value = _Binary(y_true, y_score, 1, weight).auc(max_fpr)
        if np.isnan(value):
            return value_where_undefined(undefined, ONE_CLASS)
        return value

    if kind == "multiclass" or (kind == "binary" and y_score.ndim == 2 and y_score.shape[1] > 2):
        if max_fpr is not None and max_fpr != 1:
            raise ValueError(
                "Partial AUC computation not available in multiclass setting, 'max_fpr' must be set "
                f"to `None`, received `max_fpr={max_fpr}` instead"
            )
        if multi_class == "raise":
            raise ValueError("multi_class must be in ('ovo', 'ovr')")
        return _multiclass_roc_auc(
            column(y_true, "y_true"), y_score, labels, multi_class, average, sample_weight, binary
        )
    if kind == "binary":
        y_true = column(y_true, "y_true")
        classes = unique_labels(y_true)
        positive = y_true == classes[1] if len(classes) == 2 else np.zeros(len(y_true), np.bool_)
        return binary(positive, y_score, sample_weight)
    if kind != "multilabel-indicator":
        raise ValueError(f"{kind} format is not supported")
    return _averaged(binary, y_true, y_score, average, sample_weight, fast=max_fpr in (None, 1))


def _is_bfloat16(values: Any) -> bool:
    return str(getattr(values, "dtype", "")) in ("torch.bfloat16", "bfloat16")


def _averaged(
    binary: Any,
    y_true: Any,
    y_score: Any,
    average: Average | None,
    sample_weight: Array | None,
    *,
    fast: bool,
) -> Any:
    """Average a criterion over the columns of an indicator matrix.

    `fast` says that the criterion is the whole area under the ROC curve.
    """
    if is_sparse(y_true):
        y_true = y_true.toarray()
    y_true = array(y_true, "y_true")
    check_consistent_length(y_true, y_score, sample_weight)
    # An indicator is 1 for a positive case; 0 or -1 for the others.
    check_pos_label(None, unique_labels(y_true.reshape(-1)))
    positive = y_true == 1
    if y_score.ndim == 1:
        y_score = y_score.reshape(-1, 1)
    if y_score.shape != positive.shape:
        raise ValueError(
            f"y_true and y_score have different shapes: {positive.shape} and {y_score.shape}"
        )
    average_weight: Array | None = None
    if average == "micro":
        if sample_weight is not None:
            sample_weight = np.repeat(sample_weight, positive.shape[1])
        return binary(positive.reshape(-1), y_score.reshape(-1), sample_weight)
    if average == "weighted":
        average_weight = _support(y_true, sample_weight)
        if np.isclose(average_weight.sum(), 0):
            return 0
    elif average == "samples":
        average_weight, sample_weight = sample_weight, None
        positive, y_score = positive.T, y_score.T
    n_columns = positive.shape[1]
    values = np.full(n_columns, np.nan)
    if fast and sample_weight is None:
        given = scores(y_score)
        indicator = np.ascontiguousarray(positive).view(np.uint8).reshape(-1)
        found = _native.column_aucs(indicator, given.values.reshape(-1), n_columns, half=given.half)
        values[:] = [value for value, _, _ in found]
    for index in np.flatnonzero(np.isnan(values)):
        values[index] = binary(positive[:, index], y_score[:, index], sample_weight)
    return _mean(values, average, average_weight)


def _support(y_true: Array, sample_weight: Array | None) -> Array:
    if sample_weight is None:
        return cast(Array, y_true.sum(axis=0))
    return cast(Array, (y_true * sample_weight[:, None]).sum(axis=0))


def _mean(values: Array, average: Average | None, weights: Array | None) -> Any:
    if average is None:
        return values
    if weights is not None:
        # What has no weight does not make the mean NaN.
        values[weights == 0] = 0
    return float(np.average(values, weights=weights))


def _multiclass_roc_auc(
    y_true: Array,
    y_score: Any,
    labels: Any,
    multi_class: str,
    average: Average | None,
    sample_weight: Array | None,
    binary: Any,
) -> Any:
    if y_score.ndim != 2:
        raise ValueError(
            "`y_score` needs to be of shape `(n_samples, n_classes)`, since `y_true` contains "
            f"multiple classes. Got `y_score.shape={y_score.shape}`."
        )
    given = scores(y_score)
    if not _native.rows_sum_to_one(
        given.values.reshape(-1), given.values.shape[1], half=given.half
    ):
        check_finite_scores(given)
        raise ValueError(
            "Target scores need to be probabilities for multiclass roc_auc, i.e. they should sum up "
            "to 1.0 over classes"
        )
    averages: tuple[str | None, ...] = ("macro", "weighted", None)
    if multi_class == "ovr":
        averages = ("micro", *averages)
    if average not in averages:
        raise ValueError(f"average must be one of {averages} for multiclass problems")
    if average is None and multi_class == "ovo":
        raise NotImplementedError("average=None is not implemented for multi_class='ovo'.")
    y_score = array(y_score, "y_score")
    classes = _columns_classes(distinct(y_true), y_score, labels)
    if labels is None and len(classes) != y_score.shape[1]:
        raise ValueError(
            "Number of classes in y_true not equal to the number of columns in 'y_score'"
        )
    numbers = _encoded(y_true, classes)
    if multi_class == "ovo":
        if sample_weight is not None:
            raise ValueError(
                "sample_weight is not supported for multiclass one-vs-one ROC AUC, 'sample_weight' "
                "must be None in this case."
            )
        check_consistent_length(y_true, y_score)
        return _one_against_one(numbers, y_score, average, binary)
    check_consistent_length(y_true, y_score, sample_weight)
    if average == "micro" or sample_weight is not None or len(classes) <= 2:
        indicator = (numbers[:, None] == np.arange(len(classes))).astype(np.int64)
        return _averaged(binary, indicator, y_score, average, sample_weight, fast=True)
    given = scores(y_score)
    found = _native.column_aucs(numbers, given.values.reshape(-1), len(classes), half=given.half)
    values = np.array([value for value, _, _ in found])
    for index in np.flatnonzero(np.isnan(values)):
        values[index] = binary(numbers == index, y_score[:, index], None)
    support = np.array([positives for _, positives, _ in found])
    return _mean(values, average, support if average == "weighted" else None)


def _columns_classes(present: Array, y_score: Array, labels: Any, end: str = "") -> Array:
    """Return the classes of the columns, of which `present` are there. `end` ends the errors."""
    if labels is None:
        return present
    labels = column(labels, "labels")
    classes = unique_labels(labels)
    if len(classes) != len(labels):
        raise ValueError(f"Parameter 'labels' must be unique{end}")
    if not np.array_equal(classes, labels):
        raise ValueError(f"Parameter 'labels' must be ordered{end}")
    n_columns = y_score.shape[1] if y_score.ndim == 2 else 2
    if len(classes) != n_columns:
        if end:
            raise ValueError(
                f"Number of given labels ({len(classes)}) not equal to the number of classes in "
                f"'y_score' ({n_columns})."
            )
        raise ValueError(
            f"Number of given labels, {len(classes)}, not equal to the number of columns in "
            f"'y_score', {n_columns}"
        )
    if not set(present.tolist()) <= set(classes.tolist()):
        raise ValueError(f"'y_true' contains labels not in parameter 'labels'{end}")
    return classes


def _encoded(y_true: Array, classes: Array) -> Array:
    """Return for each label its place among the classes, all of which are known."""
    if (
        y_true.dtype.kind in "iu"
        and len(classes)
        and classes.dtype.kind in "iu"
        and classes[0] == 0
        and classes[-1] == len(classes) - 1
    ):
        return np.ascontiguousarray(y_true, dtype=np.int64)
    return np.searchsorted(classes, y_true).astype(np.int64)


def _one_against_one(numbers: Array, y_score: Array, average: Any, binary: Any) -> float:
    present = unique_labels(numbers).tolist()
    rows = {label: np.flatnonzero(numbers == label) for label in present}
    values, shares = [], []
    for a, b in combinations(present, 2):
        pair = np.concatenate((rows[a], rows[b]))
        is_a = np.arange(len(pair)) < len(rows[a])
        of_a, of_b = binary(is_a, y_score[pair, a], None), binary(~is_a, y_score[pair, b], None)
        values.append((of_a + of_b) / 2)
        shares.append(len(pair) / len(numbers))
    return float(np.average(values, weights=shares if average == "weighted" else None))


def average_precision_score(
    y_true: Any,
    y_score: Any,
    *,
    average: Average | None = "macro",
    pos_label: Any = 1,
    sample_weight: Any = None,
    undefined: Any = "sklearn",
    backend: Backend = "auto",
) -> Any:
    """Average precision: the mean of the precisions at each threshold, weighted by the gain in recall.

    AP = Σ (Rₙ − Rₙ₋₁) Pₙ, without interpolation.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_classes)
        Labels of two or several classes, or an indicator matrix of several labels.
    y_score : array-like of shape (n_samples,) or (n_samples, n_classes)
        Scores, larger for the positive class; one column for each class if there are several.
    average : {"micro", "macro", "samples", "weighted"} or None, default="macro"
        How the values of several columns become one, as in `roc_auc_score`.
    pos_label : int, float, bool or str, default=1
        The positive one of two classes.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The value without a positive case; "sklearn" is 0 with a warning.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float in [0, 1], or ndarray of shape (n_classes,) if `average` is None

    Raises
    ------
    ValueError
        As `roc_auc_score`, or if `pos_label` is no label.

    Examples
    --------
    >>> average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.8333333333333333
    """
    _check_average(average)
    check_undefined(undefined)
    if _torch.uses_torch(backend, y_true=y_true, y_score=y_score, sample_weight=sample_weight):
        cases = _torch.cases(y_true, y_score, pos_label) if sample_weight is None else None
        area = np.nan if cases is None else cases.average_precision()
        if not np.isnan(area):
            return area
        y_true, y_score, sample_weight = _torch.to_host(y_true, y_score, sample_weight)
    if sample_weight is not None:
        sample_weight = column(sample_weight, "sample_weight")

    def binary(y_true: Any, y_score: Any, weight: Any, pos_label: Any = 1) -> float:
        value = _Binary(y_true, y_score, pos_label, weight).average_precision()
        if not np.isnan(value):
            return max(0.0, value)
        recall = undefined_recall(undefined)
        return 0.0 if undefined == "sklearn" else recall

    labels = numeric_labels(y_true)
    classes = two_classes(labels) if labels is not None and len(labels) else None
    if classes is None:
        kind = type_of_target(y_true, "y_true")
        if kind == "binary":
            classes = unique_labels(column(y_true, "y_true")).tolist()
    if classes is not None:
        if len(classes) == 2 and pos_label not in classes:
            shown = np.array(classes)
            raise ValueError(
                f"pos_label={pos_label} is not a valid label. It should be one of {shown}"
            )
        return binary(y_true, y_score, sample_weight, pos_label)
    if kind not in ("multilabel-indicator", "multiclass"):
        raise ValueError(f"{kind} format is not supported")
    if pos_label != 1:
        raise ValueError(
            f"Parameter pos_label is fixed to 1 for {kind} y_true. Do not set pos_label or set "
            "pos_label to 1."
        )
    y_score = array(y_score, "y_score")
    if kind == "multiclass":
        labels = column(y_true, "y_true")
        found = unique_labels(labels)
        y_true = (_encoded(labels, found)[:, None] == np.arange(len(found))).astype(np.int64)
        if y_score.shape != y_true.shape:
            raise ValueError(
                "`y_score` needs to be of shape `(n_samples, n_classes)`, since `y_true` contains "
                f"multiple classes. Got `y_score.shape={y_score.shape}`."
            )
    return _averaged(binary, y_true, y_score, average, sample_weight, fast=False)


def top_k_accuracy_score(
    y_true: Any,
    y_score: Any,
    *,
    k: int = 2,
    normalize: bool = True,
    sample_weight: Any = None,
    labels: Any = None,
    ties: Ties = "sklearn",
    backend: Backend = "auto",
) -> float:
    """Share of the samples whose class is among the `k` with the highest scores.

    A class is among them iff fewer than `k` others score higher, or equal with a later place among
    the classes: ties go to the later classes, unless `ties` says otherwise.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels.
    y_score : array-like of shape (n_samples,) or (n_samples, n_classes)
        Scores, one column for each class in the labels' order. Of two classes those of the larger
        label: positive if above 0.5 where all are in [0, 1], else if above 0.
    k : int, default=2
        How many of the highest scores.
    normalize : bool, default=True
        Whether to return the share; otherwise the number, or sum of weights.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights.
    labels : array-like of shape (n_classes,), default=None
        The classes in the order of the columns: sorted. Those in `y_true` if None.
    ties : {"sklearn", "strict", "random"}, default="sklearn"
        Where other classes score the same. ``"strict"``: they all come first, so that a model gains
        nothing by equal scores. ``"random"``: the mean over all orders of those that are equal, without
        drawing any: a sample counts by its probability of being among the `k`. Of two classes those at
        the cut itself are no hit, and half a hit.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If lengths, shapes or classes do not fit, `ties` is another word, or a score is NaN (the error
        names the first index) or infinite.

    Examples
    --------
    >>> y_score = [[0.5, 0.2, 0.2], [0.3, 0.4, 0.2], [0.2, 0.4, 0.3], [0.7, 0.2, 0.1]]
    >>> top_k_accuracy_score([0, 1, 2, 2], y_score, k=2)
    0.75
    >>> same = [[0.25, 0.25, 0.25, 0.25]]
    >>> [top_k_accuracy_score([3], same, labels=range(4), ties=t) for t in ("strict", "random")]
    [0.0, 0.5]
    """
    if ties not in ("sklearn", "strict", "random"):
        raise ValueError(f"ties: got {ties!r}; 'sklearn', 'strict' or 'random' expected")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise ValueError(
            "The 'k' parameter of top_k_accuracy_score must be an int in the range [1, inf). "
            f"Got {k!r} instead."
        )
    hits = None
    if _torch.uses_torch(backend, y_true=y_true, y_score=y_score, sample_weight=sample_weight):
        ranks = _torch.top_k_ranks(y_true, y_score, int(k), labels)
        hits = None if ranks is None else hits_of_ranks(ranks, int(k), ties)
        (sample_weight,) = _torch.to_host(sample_weight)
        if hits is None:
            y_true, y_score = _torch.to_host(y_true, y_score)
    if hits is None:
        hits = top_k_hits(y_true, y_score, k, labels, sample_weight, ties)
    elif sample_weight is not None:
        check_consistent_length(y_true, y_score, sample_weight)
    if ties == "random":
        weight = None if sample_weight is None else column(sample_weight, "sample_weight")
        return _exact_sum.weighted_mean(hits, weight, normalize=normalize)
    if normalize:
        if sample_weight is None:
            return int(np.count_nonzero(hits)) / len(hits)
        return _exact_sum.weighted_mean(hits, column(sample_weight, "sample_weight"))
    if sample_weight is None:
        return float(np.count_nonzero(hits))
    return float(np.dot(hits, column(sample_weight, "sample_weight")))


def hits_of_ranks(rank: Callable[[str], Any], k: int, ties: Ties) -> Any:
    """Return for each sample whether its class is among the `k` highest, or how probably.

    `rank` counts the greater scores and of the equal ones the ``"later"``, ``"all"`` or ``"none"``.
    """
    if ties != "random":
        return rank("later" if ties == "sklearn" else "all") < k
    greater, at_least = (rank(equal).astype(np.int64) for equal in ("none", "all"))
    # Its place among those that are equal is any one of them with the same probability.
    return np.clip((k - greater) / (at_least - greater + 1), 0, 1)


def top_k_hits(
    y_true: Any,
    y_score: Any,
    k: int,
    labels: Any = None,
    sample_weight: Any = None,
    ties: Ties = "sklearn",
) -> Array:
    """Return for each sample whether its class is among the `k` highest, or how probably."""
    y_true = column(y_true, "y_true")
    check_finite(y_true, "y_true")
    present = distinct(y_true)
    kind = kind_of(y_true, present)
    if kind == "binary" and labels is not None and len(labels) > 2:
        kind = "multiclass"
    if kind not in ("binary", "multiclass"):
        raise ValueError(f"y type must be 'binary' or 'multiclass', got '{kind}' instead.")
    given = scores(y_score)
    values = given.values
    if kind == "binary":
        if values.ndim == 2 and values.shape[1] != 1:
            raise ValueError(
                f"`y_true` is binary while y_score is 2d with {values.shape[1]} classes. If `y_true` "
                "does not contain all the labels, `labels` must be provided."
            )
        values = column(values, "y_score")
        check_finite_scores(given)
    elif values.ndim != 2:
        raise ValueError(
            "`y_score` needs to be of shape `(n_samples, n_classes)`, since `y_true` contains "
            f"multiple classes. Got `y_score.shape={values.shape}`."
        )
    check_lengths(y_true, values, sample_weight)
    n_columns = values.shape[1] if values.ndim == 2 else 2
    classes = _columns_classes(present, values, labels, end=".")
    if labels is None and len(classes) != n_columns:
        raise ValueError(
            f"Number of classes in 'y_true' ({len(classes)}) not equal to the number of classes in "
            f"'y_score' ({n_columns}).You can provide a list of all known classes by assigning it to "
            "the `labels` parameter."
        )
    if k >= len(classes):
        warn_undefined(
            f"'k' ({k}) greater than or equal to 'n_classes' ({len(classes)}) will result in a "
            "perfect score and is therefore meaningless."
        )
    numbers = _encoded(y_true, classes)
    if kind == "multiclass":
        flat = values.reshape(-1)

        def rank(equal: str) -> Array:
            return _native.class_ranks(numbers, flat, n_columns, equal=equal, half=given.half)

        return np.asarray(hits_of_ranks(rank, k, ties))
    if k == 1:
        if given.half is not None or given.table is not None:
            values = column(array(y_score, "y_score"), "y_score")
        threshold = 0.5 if values.min() >= 0 and values.max() <= 1 else 0
        hits = np.asarray((values > threshold) == numbers)
        if ties == "sklearn":
            return hits
        return np.where(values == threshold, 0.0 if ties == "strict" else 0.5, hits)
    return np.ones(len(values), dtype=np.bool_)
