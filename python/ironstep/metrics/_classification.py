"""scikit-learn's metrics over labels: the same names, arguments, results and texts of errors."""

import math
from collections.abc import Callable, Collection, Sequence
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from ironstep import _native
from ironstep.metrics import _exact_sum, _torch
from ironstep.metrics._counts import Counts, check_beta, over_root, squared
from ironstep.metrics._inputs import Array, array, check_sample_weight, is_number
from ironstep.metrics._pairs import Indicators, LabelPairs, check_targets, compare, compare_columns
from ironstep.metrics._undefined import check_undefined, value_where_undefined, warn

Undefined = str | float
Backend = Literal["auto", "native", "torch"]
F = TypeVar("F", bound=Callable[..., Any])
Average = Literal["micro", "macro", "samples", "weighted", "binary"] | None


# --- the table ---


def confusion_matrix(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    sample_weight: Any = None,
    normalize: Literal["true", "pred", "all"] | None = None,
    backend: Backend = "auto",
) -> Array:
    """Count how often each label was predicted for each label.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted labels: integers, whole floats, bools or strings.
    labels : array-like of shape (n_classes,), optional
        The labels of the rows and columns, in this order; samples with another label are left out.
        By default all that occur, in order.
    sample_weight : array-like of shape (n_samples,), optional
        Weights. Integers give a matrix of integers.
    normalize : {"true", "pred", "all"}, optional
        Divide by the sum of the row, of the column, or of all; what is 0 / 0 is 0.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    ndarray of shape (n_classes, n_classes)
        Row i, column j: how many samples of label i were predicted to be j. int64, or float64.

    Raises
    ------
    ValueError
        If the lengths differ, the targets are continuous or have several columns, strings meet
        numbers, or none of `labels` is in `y_true`.

    Examples
    --------
    >>> from ironstep.metrics import confusion_matrix
    >>> confusion_matrix([2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2])
    array([[2, 0, 0],
           [0, 0, 1],
           [1, 0, 2]])
    """
    _one_of("normalize", normalize, ("true", "pred", "all", None))
    pairs = _columns(y_true, y_pred, sample_weight, backend)
    table = pairs.table if labels is None else _table_of(pairs, array(labels, "labels"), y_true)
    if normalize is not None:
        axis = {"true": 1, "pred": 0, "all": None}[normalize]
        total = table.sum(axis=axis, keepdims=True)
        table = np.where(total == 0, 0.0, table / np.where(total == 0, 1, total))
    if table.shape == (1, 1):
        warn(
            "A single label was found in 'y_true' and 'y_pred'. For the confusion matrix to have "
            "the correct shape, use the 'labels' parameter to pass all known labels.",
        )
    return table


def _columns(y_true: Any, y_pred: Any, sample_weight: Any, backend: Any) -> LabelPairs:
    """Count two columns of labels; several columns are refused."""
    pairs = compare(y_true, y_pred, sample_weight, backend)
    if not isinstance(pairs, LabelPairs):
        raise ValueError(f"{pairs.kind} is not supported")
    return pairs


def _table_of(pairs: LabelPairs, labels: Array, y_true: Any) -> Array:
    """The table for given labels, in their order."""
    if labels.size == 0:
        raise ValueError("'labels' should contain at least one label.")
    at = pairs.find(labels)
    present = np.append(pairs.true_sum != 0, False)
    if not present[at].any() and not set(labels.tolist()).intersection(
        array(_torch.to_host(y_true)[0], "y_true").ravel().tolist()
    ):
        raise ValueError("At least one label specified must be in y_true")
    # Of a label that is given twice, the last counts.
    last = {label: index for index, label in enumerate(labels.tolist())}
    rows = [index for index in last.values() if at[index] < len(pairs.labels)]
    table = np.zeros((len(labels), len(labels)), dtype=pairs.table.dtype)
    table[np.ix_(rows, rows)] = pairs.table[np.ix_(at[rows], at[rows])]
    return table


def multilabel_confusion_matrix(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    labels: Any = None,
    samplewise: bool = False,
    backend: Backend = "auto",
) -> Array:
    """Count for each label, or each sample, true and false positives and negatives.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        Labels, or indicators of 0 and 1 (dense, or a scipy sparse matrix).
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    labels : array-like of shape (n_classes,), optional
        The labels, or numbers of columns, in the order of the result; by default all.
    samplewise : bool, default=False
        Count for each sample; for indicators alone.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    ndarray of shape (n_classes, 2, 2) or (n_samples, 2, 2)
        ``[[tn, fp], [fn, tp]]`` for each.

    Raises
    ------
    ValueError
        As `confusion_matrix`; for numbers of columns that there are not; for `samplewise` without
        indicators.

    Examples
    --------
    >>> from ironstep.metrics import multilabel_confusion_matrix
    >>> multilabel_confusion_matrix([0, 1, 2, 2], [0, 2, 2, 2], labels=[2])
    array([[[1, 1],
            [0, 2]]])
    """
    pairs = compare(y_true, y_pred, sample_weight, backend)
    tp, pred, true = _sums(pairs, None if labels is None else array(labels, "labels"), samplewise)
    fp, fn = pred - tp, true - tp
    n = _total(pairs) if not samplewise else _row_totals(pairs, labels)
    return np.stack([n - tp - fp - fn, fp, fn, tp], axis=-1).reshape(-1, 2, 2)


def _total(pairs: LabelPairs | Indicators) -> Any:
    if isinstance(pairs, LabelPairs):
        return pairs.true_sum.sum()
    return pairs.y_true.shape[0] if pairs.weight is None else pairs.weight.sum()


def _row_totals(pairs: LabelPairs | Indicators, labels: Any) -> Any:
    assert isinstance(pairs, Indicators)
    width = len(pairs.labels) if labels is None else len(labels)
    return width if pairs.weight is None else pairs.weight * width


def _sums(
    pairs: LabelPairs | Indicators, labels: Array | None, samplewise: bool = False
) -> tuple[Array, Array, Array]:
    """True positives, predicted and true samples of each of the labels, or of each sample."""
    if isinstance(pairs, Indicators):
        if labels is not None and labels.size:
            most = len(pairs.labels) - 1
            problem = "All labels must be in [0, n labels) for multilabel targets. Got "
            if labels.max() > most:
                raise ValueError(f"{problem}{labels.max()} > {most}")
            if labels.min() < 0:
                raise ValueError(f"{problem}{labels.min()} < 0")
        sums = pairs.counts(labels, axis=1 if samplewise else 0)
        return sums if samplewise else _as_sklearn_counts(sums, pairs)
    if samplewise:
        raise ValueError(
            "Samplewise metrics are not available outside of multilabel classification."
        )
    sums = _as_sklearn_counts((pairs.tp, pairs.pred_sum, pairs.true_sum), pairs)
    if labels is None:
        return sums
    at = pairs.find(labels)
    tp, pred, true = (np.append(counts, counts.dtype.type(0))[at] for counts in sums)
    return tp, pred, true


def _as_sklearn_counts(
    sums: tuple[Array, Array, Array], pairs: LabelPairs | Indicators
) -> tuple[Array, Array, Array]:
    """Sums of weights are float64 here, also of integers."""
    if not pairs.is_weighted:
        return sums
    tp, pred, true = (counts.astype(np.float64) for counts in sums)
    return tp, pred, true


# --- accuracy ---


def accuracy_score(
    y_true: Any,
    y_pred: Any,
    *,
    normalize: bool = True,
    sample_weight: Any = None,
    backend: Backend = "auto",
) -> float:
    """Return the share of samples that are predicted rightly.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        Labels, or indicators (dense or sparse), of which all of a row must agree.
    normalize : bool, default=True
        False: the number of samples, or their sum of weights, instead of the share.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float
        In [0, 1] if normalized.

    Raises
    ------
    ValueError
        If the lengths differ, the targets are continuous, or strings meet numbers.

    Examples
    --------
    >>> from ironstep.metrics import accuracy_score
    >>> accuracy_score([0, 1, 2, 3], [0, 2, 1, 3])
    0.5
    """
    if _torch.uses_torch(backend, y_true=y_true, y_pred=y_pred, sample_weight=sample_weight):
        counted = _torch.count_equal(y_true, y_pred) if sample_weight is None else None
        if counted is not None:
            return counted[0] / counted[1] if normalize else float(counted[0])
        y_true, y_pred, sample_weight = _torch.to_host(y_true, y_pred, sample_weight)
    if sample_weight is None:
        equal = _native.count_equal(y_true, y_pred)
        if equal is not None:
            return equal / len(y_true) if normalize else float(equal)
    right = right_samples(y_true, y_pred, sample_weight)
    if sample_weight is None:
        equal = int(np.count_nonzero(right))
        return equal / len(right) if normalize else float(equal)
    weight = check_sample_weight(sample_weight, len(right))
    if weight.dtype.kind == "f":
        each = _exact_sum.zeros(2)
        _exact_sum.add_weighted(each, right, weight)
        total, of_weights = _exact_sum.values(each).tolist()
        return float(total / of_weights) if normalize else float(total)
    # As two labels, right and wrong: integers are added exactly.
    sums = compare_columns(right, right, weight)
    score = sum(sums.tp[sums.find(np.array([True]))].tolist()) if right.any() else 0
    return float(score / sum(sums.tp.tolist())) if normalize else float(score)


def right_samples(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Array:
    """Return for each sample whether it is predicted rightly."""
    y_true, y_pred, _, kind = check_targets(y_true, y_pred, sample_weight)
    if kind == "multilabel-indicator":
        pairs = compare(y_true, y_pred)
        assert isinstance(pairs, Indicators)
        return pairs.equal_rows()
    return np.asarray(y_true == y_pred)


def balanced_accuracy_score(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    adjusted: bool = False,
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> float:
    """Return the mean of the recall of each class.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted labels.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    adjusted : bool, default=False
        Scale so that chance is 0 and perfect is 1.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What to return if a label is predicted that is never true. ``"sklearn"``: leave it out and
        warn. See `BinaryCounts` for the others.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        As `confusion_matrix`.

    References
    ----------
    Brodersen et al. (2010), The balanced accuracy and its posterior distribution.

    Examples
    --------
    >>> from ironstep.metrics import balanced_accuracy_score
    >>> balanced_accuracy_score([0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1])
    0.625
    """
    check_undefined(undefined)
    pairs = _columns(y_true, y_pred, sample_weight, backend)
    right, all_ = pairs.tp.tolist(), pairs.true_sum.tolist()
    recalls = [tp / n for tp, n in zip(right, all_, strict=True) if n != 0]
    if len(recalls) < len(all_):
        if undefined != "sklearn":
            what = "balanced accuracy is undefined: y_pred contains classes not in y_true"
            return value_where_undefined(undefined, what)
        warn("y_pred contains classes not in y_true")
    score = math.fsum(recalls) / len(recalls) if recalls else math.nan
    if adjusted and recalls:
        chance = 1 / len(recalls)
        if chance == 1:
            # As numpy divides: a single class leaves nothing between chance and perfect.
            return math.nan if score == 1 else -math.inf
        score = (score - chance) / (1 - chance)
    return score


# --- precision, recall, F, Jaccard ---


class _Sums(NamedTuple):
    """What precision, recall and the others divide: Python's numbers if there is one label only."""

    tp: Any
    pred: Any
    true: Any
    average: Average
    sample_weight: Array | None


def _set_wise_sums(
    y_true: Any,
    y_pred: Any,
    labels: Any,
    pos_label: Any,
    average: Average,
    sample_weight: Any,
    backend: Any,
) -> _Sums:
    _one_of("average", average, (None, "micro", "macro", "weighted", "samples", "binary"))
    pairs = compare(y_true, y_pred, sample_weight, backend)
    if average == "binary":
        if not isinstance(pairs, LabelPairs) or pairs.kind != "binary":
            options = [None, "micro", "macro", "weighted", "samples"]
            if pairs.kind == "multiclass":
                options.remove("samples")
            raise ValueError(
                f"Target is {pairs.kind} but average='binary'. Please choose another average "
                f"setting, one of {options!r}."
            )
        counts = Counts.of_pairs(pairs, pos_label, "sklearn")
        return _Sums(counts.tp, counts.tp + counts.fp, counts.positives, average, None)
    return _sums_of(pairs, None if labels is None else array(labels, "labels"), average, pos_label)


def _sums_of(
    pairs: LabelPairs | Indicators, labels: Array | None, average: Average, pos_label: Any = 1
) -> _Sums:
    if pos_label not in (None, 1):
        warn(
            f"Note that pos_label (set to {pos_label!r}) is ignored when average != 'binary' (got "
            f"{average!r}). You may use labels=[pos_label] to specify a single positive class.",
        )
    tp, pred, true = _sums(pairs, labels, samplewise=average == "samples")
    if average == "micro":
        tp, pred, true = (counts.sum().item() for counts in (tp, pred, true))
    weight = pairs.weight if isinstance(pairs, Indicators) and average == "samples" else None
    return _Sums(tp, pred, true, average, weight)


def _policy(undefined: Undefined, zero_division: Any) -> Undefined:
    check_undefined(undefined, zero_division=(zero_division, "warn"))
    if isinstance(zero_division, str) and zero_division == "warn":
        return undefined
    if is_number(zero_division) and (zero_division in (0, 1) or math.isnan(zero_division)):
        return float(zero_division)
    raise ValueError(f"zero_division: got {zero_division!r}; 'warn', 0.0, 1.0 or nan expected")


def _divide(
    sums: _Sums,
    numerator: Any,
    denominator: Any,
    name: str,
    cause: str,
    undefined: Undefined,
    silent: bool = False,
) -> Any:
    """Divide, with scikit-learn's words where the divisor is 0. `cause` says what is missing."""
    scalar = not isinstance(denominator, np.ndarray)
    zero = denominator == 0
    if not (zero if scalar else zero.any()):
        return numerator / denominator
    if undefined in ("sklearn", "warn") and silent:
        value = 0.0 if undefined == "sklearn" else math.nan
    else:
        item, other = ("label", "sample") if sums.average == "samples" else ("sample", "label")
        places = f"in {other}s with" if not scalar and len(denominator) != 1 else "due to"
        missing = f"{places} no {cause} {item}s"
        value = value_where_undefined(
            undefined,
            f"{name} is undefined {missing}.",
            sklearn=0.0,
            message=f"{name} is ill-defined and being set to 0.0 {missing}. Use `zero_division` "
            "parameter to control this behavior.",
        )
    if scalar:
        return value
    return np.where(zero, value, numerator / np.where(zero, 1, denominator))


def _precision(sums: _Sums, undefined: Undefined, silent: bool = False) -> Any:
    return _divide(sums, sums.tp, sums.pred, "Precision", "predicted", undefined, silent)


def _recall(sums: _Sums, undefined: Undefined, silent: bool = False) -> Any:
    return _divide(sums, sums.tp, sums.true, "Recall", "true", undefined, silent)


def _fbeta(sums: _Sums, beta: float, undefined: Undefined, silent: bool = False) -> Any:
    if beta == math.inf:
        return _recall(sums, undefined, silent=True)
    if beta == 0:
        return _precision(sums, undefined, silent=True)
    over, under = squared(beta, exact=isinstance(sums.tp, int))
    denominator = over * sums.true + under * sums.pred
    return _divide(
        sums,
        (over + under) * sums.tp,
        denominator,
        "F-score",
        "true nor predicted",
        undefined,
        silent,
    )


def _averaged(values: Any, sums: _Sums) -> Any:
    """The average over labels or samples that was asked for."""
    if not isinstance(values, np.ndarray):
        return float(values)
    if sums.average is None:
        return values
    weight = {"weighted": sums.true, "samples": sums.sample_weight}.get(sums.average)
    known = ~np.isnan(values)
    if not known.all():
        values, weight = values[known], None if weight is None else weight[known]
    if len(values) == 0:
        return math.nan
    if weight is None or weight.sum() == 0:
        return float(values.mean())
    return float((values * weight).sum() / weight.sum())


def precision_recall_fscore_support(
    y_true: Any,
    y_pred: Any,
    *,
    beta: float = 1.0,
    labels: Any = None,
    pos_label: Any = 1,
    average: Average = None,
    warn_for: Collection[str] = ("precision", "recall", "f-score"),
    sample_weight: Any = None,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> tuple[Any, Any, Any, Array | None]:
    """Return precision, recall, F-score and the number of samples of each label.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        Labels, or indicators (dense or sparse).
    beta : float >= 0, default=1.0
        How many times as much recall weighs in the F-score.
    labels : array-like of shape (n_classes,), optional
        The labels, or numbers of columns, and their order; by default all.
    pos_label : int, float, bool or str, default=1
        The positive label if ``average="binary"``.
    average : {"binary", "micro", "macro", "weighted", "samples"} or None, default=None
        None: a value for each label. ``"binary"``: that of `pos_label`. ``"micro"``: of the sums
        over labels. ``"macro"``: the mean over labels; ``"weighted"``: weighted by their number of
        samples. ``"samples"``: the mean over samples, for indicators.
    warn_for : collection of str
        Which of the three warn where they are undefined.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    zero_division : {"warn", 0.0, 1.0, nan}, default="warn"
        scikit-learn's way to say `undefined`; ``"warn"`` is 0.0 with a warning.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What a value is where it is undefined; see `BinaryCounts`.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    precision, recall, f_score : float, or ndarray of shape (n_classes,)
        Each in [0, 1].
    support : None, or ndarray of shape (n_classes,)
        The number of samples of each label, if `average` is None.

    Raises
    ------
    ValueError
        As `confusion_matrix`; if `pos_label` is no label of binary targets, or the targets are not
        binary for ``average="binary"``; if `undefined` and `zero_division` are both given.

    Examples
    --------
    >>> from ironstep.metrics import precision_recall_fscore_support
    >>> precision_recall_fscore_support([0, 1, 2, 0], [0, 2, 2, 0], average="macro", zero_division=0)
    (0.5, 0.6666666666666666, 0.5555555555555555, None)
    """
    undefined = _policy(undefined, zero_division)
    check_beta(beta)
    sums = _set_wise_sums(y_true, y_pred, labels, pos_label, average, sample_weight, backend)
    return _three_and_support(sums, beta, undefined, warn_for)


def _three_and_support(
    sums: _Sums, beta: float, undefined: Undefined, warn_for: Collection[str]
) -> tuple[Any, Any, Any, Any]:
    precision = _precision(sums, undefined, "precision" not in warn_for)
    recall = _recall(sums, undefined, "recall" not in warn_for)
    fscore = _fbeta(sums, beta, undefined, "f-score" not in warn_for)
    support = sums.true if sums.average is None else None
    return (
        _averaged(precision, sums),
        _averaged(recall, sums),
        _averaged(fscore, sums),
        support,
    )


_SCORE = """Return {what}.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        Labels, or indicators (dense or sparse).
{beta}    labels, pos_label, average, sample_weight, zero_division, undefined, backend
        As for `precision_recall_fscore_support`, but `average` is ``"binary"`` by default.

    Returns
    -------
    float in [0, 1], or ndarray of shape (n_classes,)
        An array if `average` is None.

    Raises
    ------
    ValueError
        As for `precision_recall_fscore_support`.
{references}
    Examples
    --------
    >>> from ironstep.metrics import {name}
    >>> {name}([0, 1, 1, 0, 1], [0, 1, 0, 0, 1]{argument})
    {value}
    """


def _documented(
    what: str, value: str, argument: str = "", beta: str = "", references: str = ""
) -> Callable[[F], F]:
    """Give one of the scores below their common docstring."""

    def decorate(function: F) -> F:
        function.__doc__ = _SCORE.format(
            name=function.__name__,
            what=what,
            value=value,
            argument=argument,
            beta=beta,
            references=references,
        )
        return function

    return decorate


@_documented("the share of predicted positives that are positive: TP / (TP + FP)", "1.0")
def precision_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: Average = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> Any:
    undefined = _policy(undefined, zero_division)
    sums = _set_wise_sums(y_true, y_pred, labels, pos_label, average, sample_weight, backend)
    return _averaged(_precision(sums, undefined), sums)


@_documented("the share of positives that are predicted: TP / (TP + FN)", "0.6666666666666666")
def recall_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: Average = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> Any:
    undefined = _policy(undefined, zero_division)
    sums = _set_wise_sums(y_true, y_pred, labels, pos_label, average, sample_weight, backend)
    return _averaged(_recall(sums, undefined), sums)


@_documented(
    "the harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN)",
    "0.8",
    references="""
    References
    ----------
    van Rijsbergen (1979), Information Retrieval.
""",
)
def f1_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: Average = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> Any:
    undefined = _policy(undefined, zero_division)
    sums = _set_wise_sums(y_true, y_pred, labels, pos_label, average, sample_weight, backend)
    return _averaged(_fbeta(sums, 1, undefined), sums)


@_documented(
    "the F-score in which recall weighs β times as much as precision",
    "0.7142857142857143",
    ", beta=2",
    beta="""    beta : float >= 0
        How many times as much recall weighs; infinity: recall alone.
""",
)
def fbeta_score(
    y_true: Any,
    y_pred: Any,
    *,
    beta: float,
    labels: Any = None,
    pos_label: Any = 1,
    average: Average = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> Any:
    undefined = _policy(undefined, zero_division)
    check_beta(beta)
    sums = _set_wise_sums(y_true, y_pred, labels, pos_label, average, sample_weight, backend)
    return _averaged(_fbeta(sums, beta, undefined), sums)


@_documented("the Jaccard index: TP / (TP + FP + FN)", "0.6666666666666666")
def jaccard_score(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    pos_label: Any = 1,
    average: Average = "binary",
    sample_weight: Any = None,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> Any:
    undefined = _policy(undefined, zero_division)
    sums = _set_wise_sums(y_true, y_pred, labels, pos_label, average, sample_weight, backend)
    union = sums.true + sums.pred - sums.tp
    index = _divide(sums, sums.tp, union, "Jaccard", "true or predicted", undefined)
    return _averaged(index, sums)


def _one_of(name: str, value: Any, options: Sequence[Any]) -> None:
    if not (value is None or isinstance(value, str)) or value not in options:
        raise ValueError(f"{name} has to be one of {tuple(options)}, got {value!r}")


# --- correlation and agreement ---


def matthews_corrcoef(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> float:
    """Return Matthews' correlation coefficient, for any number of labels.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted labels.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What to return if all true or all predicted labels are the same. ``"sklearn"``: 0.0, without
        a warning. See `BinaryCounts` for the others.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float in [-1, 1]
        1: all right; 0: no better than chance. Without weights rounded once.

    Raises
    ------
    ValueError
        As `confusion_matrix`.

    References
    ----------
    Matthews (1975); for more than two labels Gorodkin (2004).

    Examples
    --------
    >>> from ironstep.metrics import matthews_corrcoef
    >>> matthews_corrcoef([1, 1, 1, 0], [1, 0, 1, 1])
    -0.3333333333333333
    """
    check_undefined(undefined)
    pairs = _columns(y_true, y_pred, sample_weight, backend)
    # Python's numbers: these products overflow int64, and their differences cancel in floats.
    true, pred = pairs.true_sum.tolist(), pairs.pred_sum.tolist()
    right, n = sum(pairs.tp.tolist()), sum(true)
    covariance = right * n - _dot(true, pred)
    variances = (n * n - _dot(pred, pred)) * (n * n - _dot(true, true))
    if variances == 0:
        what = "MCC is undefined: all true or all predicted labels are the same"
        return value_where_undefined(undefined, what, sklearn=0.0, warns=False)
    if isinstance(variances, int):
        return over_root(covariance, variances)
    return float(covariance / math.sqrt(variances)) if variances > 0 else 0.0


def _dot(left: list[Any], right: list[Any]) -> Any:
    return sum(a * b for a, b in zip(left, right, strict=True))


def cohen_kappa_score(
    y1: Any,
    y2: Any,
    *,
    labels: Any = None,
    weights: Literal["linear", "quadratic"] | None = None,
    sample_weight: Any = None,
    replace_undefined_by: float = math.nan,
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> float:
    """Return Cohen's κ: how much two raters agree beyond what chance gives.

    Parameters
    ----------
    y1, y2 : array-like of shape (n_samples,)
        The labels that the raters gave.
    labels : array-like of shape (n_classes,), optional
        The labels that count, in their order; one must be in `y1`. By default all.
    weights : {"linear", "quadratic"}, optional
        How much worse labels are that are further apart in their order.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    replace_undefined_by : float in [-1, 1] or nan, default=nan
        scikit-learn's way to say `undefined`: a value, always with a warning.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What to return if chance alone agrees; see `BinaryCounts`.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    float in [-1, 1]

    Raises
    ------
    ValueError
        As `confusion_matrix`; if `undefined` and `replace_undefined_by` are both given.

    References
    ----------
    Cohen (1960); weighted, Cohen (1968).

    Examples
    --------
    >>> from ironstep.metrics import cohen_kappa_score
    >>> cohen_kappa_score(["no", "yes", "no", "maybe", "yes"], ["no", "yes", "no", "maybe", "no"])
    0.6875
    """
    check_undefined(undefined, replace_undefined_by=(replace_undefined_by, math.nan))
    _one_of("weights", weights, ("linear", "quadratic", None))
    if not is_number(replace_undefined_by) or not (
        math.isnan(replace_undefined_by) or -1 <= replace_undefined_by <= 1
    ):
        raise ValueError(
            f"replace_undefined_by: got {replace_undefined_by!r}; nan or a number from -1 to 1 "
            "expected"
        )
    pairs = _columns(y1, y2, sample_weight, backend)
    table = pairs.table
    if labels is not None:
        try:
            table = _table_of(pairs, array(labels, "labels"), y1)
        except ValueError as error:
            if "At least one label" not in str(error):
                raise
            raise ValueError(
                "At least one label in `labels` must be present in `y1` (even though "
                "`cohen_kappa_score` is otherwise agnostic to the order of `y1` and `y2`)."
            ) from error
    first, second = table.sum(axis=1).tolist(), table.sum(axis=0).tolist()
    n = sum(first)
    replaced = (
        "`cohen_kappa_score` is undefined and set to the value defined by the "
        f"`replace_undefined_by` param, which is set to {replace_undefined_by}."
    )
    if n == 0:
        why = "`y2` contains no labels that are present in both `y1` and `labels`."
        return value_where_undefined(
            undefined,
            f"kappa is undefined: {why}",
            message=f"{why} {replaced}",
            sklearn=float(replace_undefined_by),
        )
    # 1 − (disagreement) / (what chance gives), with both times n².
    if weights is None:
        observed, expected = (n - sum(np.diagonal(table).tolist())) * n, n * n - _dot(first, second)
    else:
        distance = abs(np.subtract.outer(np.arange(len(table)), np.arange(len(table))))
        if weights == "quadratic":
            distance = distance**2
        # Python's integers where products could overflow.
        numbers = table.dtype if n * len(table) < 2**31 or table.dtype.kind == "f" else object
        distance = distance.astype(numbers)
        observed = (distance * table.astype(numbers)).sum() * n
        expected = (np.array(first, numbers) @ distance * np.array(second, numbers)).sum()
    if expected == 0:
        why = "`y1`, `y2` and `labels` have only one label in common."
        return value_where_undefined(
            undefined,
            f"kappa is undefined: {why}",
            message=f"{why} {replaced}",
            sklearn=float(replace_undefined_by),
        )
    if table.dtype.kind == "f":
        return float(1 - observed / expected)
    return (int(expected) - int(observed)) / int(expected)


def class_likelihood_ratios(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    sample_weight: Any = None,
    replace_undefined_by: Any = math.nan,
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> tuple[float, float]:
    """Return the positive and the negative likelihood ratio.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,)
        True and predicted labels, two different ones.
    labels : array-like of shape (2,), optional
        The negative and the positive label; by default those that occur, in order.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    replace_undefined_by : nan, 1.0 or dict, default=nan
        scikit-learn's way to say `undefined`: 1.0 for both, or
        ``{"LR+": value >= 1, "LR-": value from 0 to 1}``; always with a warning.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        What a ratio is where it is undefined; see `BinaryCounts`.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    positive, negative : float
        Sensitivity / (1 − specificity), from 0 on, more than 1 for a useful test; and
        (1 − sensitivity) / specificity, less than 1 for a useful test.

    Raises
    ------
    ValueError
        As `confusion_matrix`; if the targets are not binary.

    References
    ----------
    Deeks & Altman (2004), BMJ 329:168.

    Examples
    --------
    >>> from ironstep.metrics import class_likelihood_ratios
    >>> class_likelihood_ratios([0, 1, 0, 1, 0], [1, 1, 0, 0, 0])
    (1.5, 0.75)
    """
    check_undefined(undefined, replace_undefined_by=(replace_undefined_by, math.nan))
    pairs = compare(y_true, y_pred, sample_weight, backend)
    if not isinstance(pairs, LabelPairs) or pairs.kind != "binary":
        raise ValueError(
            "class_likelihood_ratios only supports binary classification problems, got targets of "
            f"type: {pairs.kind}"
        )
    instead = _instead_of_ratios(replace_undefined_by)
    table = pairs.table if labels is None else _table_of(pairs, array(labels, "labels"), y_true)
    if table.shape != (2, 2):
        raise ValueError(
            f"class_likelihood_ratios: got {len(table)} labels; a negative and a positive one "
            "expected. Use `labels` to name both."
        )
    (tn, fp), (fn, tp) = table.tolist()
    positives, negatives = tp + fn, fp + tn
    advice = "set to `np.nan`. Use the `replace_undefined_by` param to control this behavior."

    def undefined_ratio(message: str, sklearn: float) -> float:
        what = "likelihood ratio is undefined: a margin of the table is 0"
        return value_where_undefined(undefined, what, message=message, sklearn=sklearn)

    if positives == 0:
        value = undefined_ratio(
            "No samples of the positive class are present in `y_true`. `positive_likelihood_ratio` "
            f"and `negative_likelihood_ratio` are both {advice}",
            math.nan,
        )
        return value, value
    if fp == 0:
        start = (
            "`positive_likelihood_ratio` is ill-defined and"
            if tp
            else "No samples were predicted for the positive class and `positive_likelihood_ratio` is"
        )
        positive = undefined_ratio(f"{start} {advice}", instead[0])
    else:
        positive = float(tp * negatives / (fp * positives))
    if tn == 0:
        message = f"`negative_likelihood_ratio` is ill-defined and {advice}"
        negative = undefined_ratio(message, instead[1])
    else:
        negative = float(fn * negatives / (tn * positives))
    return positive, negative


def _instead_of_ratios(given: Any) -> tuple[float, float]:
    """The values that `replace_undefined_by` names."""
    if is_number(given) and (math.isnan(given) or given == 1):
        return float(given), float(given)
    if isinstance(given, dict):
        values: list[Any] = [given.get("LR+"), given.get("LR-")]
        if all(is_number(value) for value in values):
            positive, negative = (float(value) for value in values)
            if not (positive < 1 or negative < 0 or negative > 1):
                return positive, negative
    raise ValueError(
        "The dictionary passed as `replace_undefined_by` needs to be in the form `{'LR+': "
        "`value_1`, 'LR-': `value_2`}` where the value for `LR+` ranges from `1.0` to `np.inf` or "
        "is `np.nan` and the value for `LR-` ranges from `0.0` to `1.0` or is `np.nan`; got "
        f"`{given}`."
    )


# --- the report ---


def classification_report(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Any = None,
    target_names: Any = None,
    sample_weight: Any = None,
    digits: Any = 2,
    output_dict: bool = False,
    zero_division: Any = "warn",
    undefined: Undefined = "sklearn",
    backend: Backend = "auto",
) -> Any:
    """Return precision, recall, F1 and number of samples of each label, and averages, as a text.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        Labels, or indicators (dense or sparse).
    labels : array-like of shape (n_classes,), optional
        The labels to show, in this order; by default all that occur.
    target_names : array-like of shape (n_classes,), optional
        The labels' names.
    sample_weight : array-like of shape (n_samples,), optional
        Weights.
    digits : int >= 0, default=2
        Digits after the point.
    output_dict : bool, default=False
        Return a dictionary instead.
    zero_division, undefined
        As for `precision_recall_fscore_support`.
    backend : {"auto", "native", "torch"}, default="auto"
        Who counts: torch where the tensors lie, the default for those that are not on the CPU, or
        the native kernels.

    Returns
    -------
    str or dict
        Averages are ``micro`` (``accuracy`` where all labels are shown and each sample has one),
        ``macro``, ``weighted`` and, for indicators, ``samples``.

    Raises
    ------
    ValueError
        As for `precision_recall_fscore_support`; if there are not as many `target_names` as labels.

    Examples
    --------
    >>> from ironstep.metrics import classification_report
    >>> print(classification_report([0, 1, 1, 0], [0, 1, 0, 0], target_names=["well", "ill"]))
                  precision    recall  f1-score   support
    <BLANKLINE>
            well       0.67      1.00      0.80         2
             ill       1.00      0.50      0.67         2
    <BLANKLINE>
        accuracy                           0.75         4
       macro avg       0.83      0.75      0.73         4
    weighted avg       0.83      0.75      0.73         4
    <BLANKLINE>
    """
    undefined = _policy(undefined, zero_division)
    if not isinstance(digits, Integral) or digits < 0:
        raise ValueError(f"digits: got {digits!r}; an integer >= 0 expected")
    pairs = compare(y_true, y_pred, sample_weight, backend)
    shown = pairs.labels if labels is None else array(labels, "labels")
    if target_names is None:
        names = [str(label) for label in shown]
    else:
        names = list(target_names)
        if len(names) != len(shown):
            if labels is None:
                raise ValueError(
                    f"Number of classes, {len(shown)}, does not match size of target_names, "
                    f"{len(names)}. Try specifying the labels parameter"
                )
            warn(
                f"labels size, {len(shown)}, does not match size of target_names, {len(names)}",
            )
    is_accuracy = isinstance(pairs, LabelPairs) and set(shown.tolist()) >= set(
        pairs.labels.tolist()
    )
    warn_for = ("precision", "recall", "f-score")
    each = _sums_of(pairs, shown, None)
    *scores, support = _three_and_support(each, 1, undefined, warn_for)
    rows = list(zip(names, zip(*scores, support, strict=True), strict=False))
    averages: list[tuple[str, tuple[Any, ...]]] = []
    kinds: tuple[Average, ...] = ("micro", "macro", "weighted")
    for average in (*kinds, "samples") if isinstance(pairs, Indicators) else kinds:
        sums = _sums_of(pairs, shown, average)
        *values, _ = _three_and_support(sums, 1, undefined, warn_for)
        name = "accuracy" if average == "micro" and is_accuracy else f"{average} avg"
        averages.append((name, (*values, support.sum())))
    if not output_dict:
        return _report_as_text(rows, averages, int(digits))
    report: dict[Any, Any] = {
        name: dict(zip(_HEADERS, map(float, values), strict=True))
        for name, values in rows + averages
    }
    if is_accuracy:
        report["accuracy"] = report["accuracy"]["precision"]
    return report


_HEADERS = ("precision", "recall", "f1-score", "support")


def _report_as_text(
    rows: Sequence[tuple[Any, Any]], averages: Sequence[tuple[Any, Any]], digits: int
) -> str:
    width = max(len("weighted avg"), digits, *(len(name) for name, _ in rows))

    def line(name: str, cells: Sequence[str]) -> str:
        return f"{name:>{width}} " + "".join(f" {cell:>9}" for cell in cells)

    def numbers(scores: Sequence[float]) -> list[str]:
        return [f"{score:.{digits}f}" for score in scores]

    lines = [line("", _HEADERS), ""]
    lines += [line(name, [*numbers(scores), f"{n}"]) for name, (*scores, n) in rows]
    lines.append("")
    for name, (*scores, n) in averages:
        # Accuracy is none of the three, and stands under the last of them.
        cells = ["", "", *numbers(scores[2:])] if name == "accuracy" else numbers(scores)
        lines.append(line(name, [*cells, f"{n}"]))
    return "\n".join(lines) + "\n"
