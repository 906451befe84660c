"""Criteria of probabilities: Brier score and log loss."""

from typing import Any, Literal

import numpy as np

from ironstep.metrics import _exact_sum
from ironstep.metrics._inputs import (
    Array,
    array,
    as_integers,
    check_consistent_length,
    check_finite,
    check_pos_label,
    check_sample_weight,
    column,
    is_sparse,
    type_of_target,
    unique_labels,
)
from ironstep.metrics._undefined import check_undefined, value_where_undefined, warn


def _probabilities(values: Any) -> Array:
    """Return finite floats of one or two dimensions."""
    result = array(values, "y_proba")
    if result.dtype.kind in "US":
        raise ValueError("dtype='numeric' is not compatible with arrays of bytes/strings.")
    if result.dtype.kind != "f" or result.dtype.itemsize < 2:
        result = result.astype(np.float64)
    if result.ndim not in (1, 2):
        raise ValueError(f"Found array with dim {result.ndim}, while dim <= 2 is required.")
    if len(result) == 0:
        raise ValueError(
            f"Found array with 0 sample(s) (shape={result.shape}) while a minimum of 1 is required."
        )
    check_finite(result, "y_proba")
    return result


def _check_range(y_proba: Array, below: str) -> None:
    if y_proba.max() > 1:
        raise ValueError(f"y_prob contains values greater than 1: {y_proba.max()}")
    if y_proba.min() < 0:
        raise ValueError(f"y_prob contains values {below} than 0: {y_proba.min()}")


class OneClassError(ValueError):
    """There is one class, where a criterion needs two to be defined."""


def _indicator(y_true: Any, labels: Any) -> tuple[Array, Array]:
    """Return a matrix that is 1 at each sample's class, at least two columns, and the classes."""
    if is_sparse(y_true):
        y_true = y_true.toarray()
    as_given = y_true
    y_true = array(y_true, "y_true")
    if y_true.ndim == 2 and y_true.shape[1] > 1:
        if type_of_target(y_true, "y_true") != "multilabel-indicator":
            raise ValueError("Multioutput target data is not supported with label binarization")
        return (y_true != 0).astype(np.int64), np.arange(y_true.shape[1])
    y_true = column(y_true, "y_true")
    kind = type_of_target(y_true, "y_true")
    if kind not in ("binary", "multiclass"):
        raise ValueError(f"Unknown label type: {kind}")
    if labels is None:
        classes = unique_labels(y_true)
    else:
        given = column(labels, "labels")
        classes = unique_labels(given)
        if len(classes) != len(given) or not (classes == given).all():
            warn(
                f"Labels passed were {labels}. But this function assumes labels are ordered "
                f"lexicographically. Pass the ordered labels={classes.tolist()} and ensure that the "
                "columns of y_prob correspond to this ordering."
            )
        if set(y_true.tolist()) - set(classes.tolist()):
            strangers = {label for label in as_given if label not in classes}
            raise ValueError(
                f"y_true contains values {strangers} not belonging to the passed labels {labels}."
            )
    if len(classes) == 1:
        if labels is None:
            raise OneClassError(
                f"y_true contains only one label ({classes[0]}). Please provide the list of all "
                "expected class labels explicitly through the labels argument."
            )
        raise OneClassError(
            f"The labels array needs to contain at least two labels, got {classes}."
        )
    if classes.dtype.kind == "f":
        integers = as_integers(classes)
        classes = classes if integers is None else integers
    return (y_true[:, None] == classes[None, :]).astype(np.int64), classes


def _several(
    y_true: Any, y_proba: Array, sample_weight: Any, labels: Any
) -> tuple[Array, Array, Array | None]:
    """Return indicator, probabilities of every class and weights."""
    _check_range(y_proba, "lower")
    n = check_consistent_length(y_proba, y_true, sample_weight)
    weight = None if sample_weight is None else check_sample_weight(sample_weight, n)
    indicator, classes = _indicator(y_true, labels)
    if y_proba.ndim == 1:
        y_proba = y_proba[:, None]
    if y_proba.shape[1] == 1:
        y_proba = np.concatenate([1 - y_proba, y_proba], axis=1)
    sums = y_proba.sum(axis=1)
    tolerance = np.sqrt(np.finfo(y_proba.dtype).eps)
    if not np.isclose(sums, 1, rtol=tolerance, atol=0).all():
        warn("The y_prob values do not sum to one. Make sure to pass probabilities.")
    if len(classes) != y_proba.shape[1]:
        if labels is None:
            raise ValueError(
                f"y_true and y_prob contain different number of classes: {indicator.shape[1]} vs "
                f"{y_proba.shape[1]}. Please provide the true labels explicitly through the labels "
                f"argument. Classes found in y_true: {classes}"
            )
        raise ValueError(
            "The number of classes in labels is different from that in y_prob. Classes found in "
            f"labels: {classes}"
        )
    return indicator, y_proba, weight


def _one(
    y_true: Any, y_proba: Array, sample_weight: Any, pos_label: Any
) -> tuple[Array, Array, Array | None]:
    """Return indicator, probabilities and weights of two classes."""
    y_true, y_proba = column(y_true, "y_true"), column(y_proba, "y_proba")
    check_finite(y_true, "y_true")
    n = check_consistent_length(y_proba, y_true, sample_weight)
    weight = None if sample_weight is None else check_sample_weight(sample_weight, n)
    kind = type_of_target(y_true, "y_true")
    if kind != "binary":
        raise ValueError(
            f"The type of the target inferred from y_true is {kind} but should be binary according "
            "to the shape of y_prob."
        )
    _check_range(y_proba, "less")
    classes = unique_labels(y_true)
    try:
        pos_label = check_pos_label(pos_label, classes)
    except ValueError:
        # Of two numbers the larger is positive.
        if classes.dtype.kind in "OUS":
            raise
        pos_label = classes[-1]
    positive = np.asarray(y_true == pos_label).astype(np.int64)
    return (
        np.stack((1 - positive, positive), axis=1),
        np.stack((1 - y_proba, y_proba), axis=1),
        weight,
    )


def brier_score_loss(
    y_true: Any,
    y_proba: Any,
    *,
    sample_weight: Any = None,
    pos_label: Any = None,
    labels: Any = None,
    scale_by_half: bool | Literal["auto"] = "auto",
) -> float:
    """Mean squared difference of the probabilities and what came true; smaller is better.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels.
    y_proba : array-like of shape (n_samples,) or (n_samples, n_classes)
        Probabilities in [0, 1]: of the positive class, or of every class in the labels' order.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights.
    pos_label : int, float, bool or str, default=None
        The positive class where `y_proba` has one column; the larger label if None.
    labels : array-like of shape (n_classes,), default=None
        The classes where `y_proba` has several columns; those in `y_true` if None.
    scale_by_half : bool or "auto", default="auto"
        Whether to halve the sum over the classes; "auto" halves it for two classes alone.

    Returns
    -------
    float
        In [0, 1], or up to 2 if it is not halved.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], lengths differ, or classes and columns do not fit.

    References
    ----------
    Brier (1950), Monthly Weather Review 78:1-3.

    Examples
    --------
    >>> brier_score_loss([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3])
    0.0375
    """
    halves(scale_by_half, 2)
    each, weight, n_classes = squares(y_true, y_proba, sample_weight, pos_label, labels)
    score = _exact_sum.weighted_mean(each, weight)
    return score / 2 if halves(scale_by_half, n_classes) else score


def halves(scale_by_half: bool | Literal["auto"], n_classes: int) -> bool:
    """Whether the Brier score is halved."""
    if not (isinstance(scale_by_half, bool | np.bool_) or scale_by_half == "auto"):
        raise ValueError(f"scale_by_half: got {scale_by_half!r}; True, False or 'auto' expected")
    return n_classes < 3 if scale_by_half == "auto" else bool(scale_by_half)


def squares(
    y_true: Any, y_proba: Any, sample_weight: Any, pos_label: Any, labels: Any
) -> tuple[Array, Array | None, int]:
    """Return each sample's sum of squares, the weights and the number of classes."""
    y_proba = _probabilities(y_proba)
    if y_proba.ndim == 1 or y_proba.shape[1] == 1:
        indicator, y_proba, weight = _one(y_true, y_proba, sample_weight, pos_label)
    else:
        indicator, y_proba, weight = _several(y_true, y_proba, sample_weight, labels)
    each = ((indicator.astype(y_proba.dtype) - y_proba) ** 2).sum(axis=1)
    return each, weight, y_proba.shape[1]


def log_loss(
    y_true: Any,
    y_proba: Any = None,
    *,
    normalize: bool = True,
    sample_weight: Any = None,
    labels: Any = None,
    y_pred: Any = "deprecated",
    undefined: Any = "sklearn",
) -> float:
    """Mean negative logarithm of the probability of the class that came true; smaller is better.

    Probabilities are kept off 0 and 1 by the epsilon of their type.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Labels.
    y_proba : array-like of shape (n_samples,) or (n_samples, n_classes)
        Probabilities in [0, 1]: of the larger of two labels, or of every class in the labels' order.
    normalize : bool, default=True
        Whether to return the mean; otherwise the sum.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights.
    labels : array-like of shape (n_classes,), default=None
        The classes; those in `y_true` if None.
    y_pred : array-like
        The old name of `y_proba`.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What to return if there is only one class: ValueError, as from scikit-learn; with a warning NaN;
        NaN; or this number.

    Returns
    -------
    float, at least 0

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], lengths differ, classes and columns do not fit, or there
        is only one class and `undefined` does not say otherwise.

    Examples
    --------
    >>> log_loss(["spam", "ham", "ham", "spam"], [[0.1, 0.9], [0.9, 0.1], [0.8, 0.2], [0.35, 0.65]])
    0.21616187468057912
    """
    if not (isinstance(y_pred, str) and y_pred == "deprecated"):
        if y_proba is not None:
            raise ValueError(
                "Cannot use both `y_pred` and `y_proba`. `y_pred` is deprecated, use `y_proba` "
                "instead."
            )
        warn(
            "`y_pred` was renamed to `y_proba` in version 1.9 and will be removed in 1.11. Use "
            "`y_proba` instead.",
            FutureWarning,
        )
        y_proba = y_pred
    check_undefined(undefined)
    try:
        each, weight = losses(y_true, y_proba, sample_weight, labels)
    except OneClassError as error:
        if undefined == "sklearn":
            raise
        return value_where_undefined(undefined, str(error))
    return _exact_sum.weighted_mean(each, weight, normalize=normalize)


def losses(
    y_true: Any, y_proba: Any, sample_weight: Any, labels: Any
) -> tuple[Array, Array | None]:
    """Return each sample's loss, and the weights."""
    indicator, y_proba, weight = _several(y_true, _probabilities(y_proba), sample_weight, labels)
    epsilon = np.finfo(y_proba.dtype).eps
    logs = np.log(np.clip(y_proba, epsilon, 1 - epsilon))
    return -np.where(indicator == 1, logs, 0).sum(axis=1), weight
