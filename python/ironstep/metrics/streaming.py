"""Criteria over cases that come part by part, on one machine or on many.

Each class keeps a state of plain arrays: ``update`` adds cases, ``merge`` another state, ``compute``
answers, ``reset`` forgets. The answer is that of the function over all cases at once, bit for bit, in
whatever order and parts they came. ``state`` gives the arrays and ``from_state`` takes them back;
those of several processes are summed or concatenated, as `reduction` says.
"""

from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np

from ironstep import _native
from ironstep.metrics import _exact_sum
from ironstep.metrics._binary_counts import BinaryCounts
from ironstep.metrics._classification import accuracy_score, right_samples
from ironstep.metrics._inputs import (
    Array,
    array,
    check_consistent_length,
    check_finite,
    check_sample_weight,
    column,
    unique_labels,
)
from ironstep.metrics._pairs import LabelPairs, check_targets, compare, compare_columns
from ironstep.metrics._probability import halves, losses, squares
from ironstep.metrics._ranking import ONE_CLASS, undefined_recall
from ironstep.metrics._scores import numeric_labels, readable, score_column, scores
from ironstep.metrics._undefined import check_undefined, value_where_undefined

__all__ = [
    "ROCAUC",
    "Accuracy",
    "AveragePrecision",
    "BinaryRates",
    "Binned",
    "BrierScore",
    "ConfusionMatrix",
    "LogLoss",
    "TopKAccuracy",
]

State = dict[str, Array]


class Binned(NamedTuple):
    """A value from scores in bins, and how far the exact one may be from it."""

    value: float
    """From the scores rounded to float16."""
    error_bound: float
    """The exact value is within this of it."""

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.6g} ± {self.error_bound:.2g} (scores in bins)"


class _Streaming:
    """What all have: arguments, and a state that starts empty."""

    _arguments: dict[str, Any]

    @property
    def reduction(self) -> Literal["sum", "concatenate"]:
        """How the states of several processes become one, array by array."""
        return "sum"

    def reset(self) -> None:
        """Forget all cases."""
        raise NotImplementedError

    def state(self) -> State:
        """Return the state as arrays by name. They are copies."""
        raise NotImplementedError

    def _add_state(self, state: State) -> None:
        raise NotImplementedError

    @classmethod
    def from_state(cls, state: State, **arguments: Any) -> Self:
        """Return an object with a state, or with several that were summed or concatenated.

        Parameters
        ----------
        state : dict of ndarray
            What `state` gave; each array summed, or concatenated along its first axis, over
            processes, as `reduction` says.
        **arguments
            The arguments that the object was made with.

        Raises
        ------
        ValueError
            If names, types or shapes of the arrays do not fit.
        """
        made = cls(**arguments)
        expected = made.state()
        if set(state) != set(expected):
            raise ValueError(f"state: got {sorted(state)}; {sorted(expected)} expected")
        checked = {}
        for name, like in expected.items():
            value = np.asarray(state[name])
            shape = value.shape if made.reduction == "sum" else value.shape[1:]
            wanted = like.shape if made.reduction == "sum" else like.shape[1:]
            if shape != wanted:
                raise ValueError(f"state: {name}: got shape {value.shape}; {like.shape} expected")
            checked[name] = value
        made._add_state(checked)
        return made

    def merge(self, other: Self) -> Self:
        """Add the cases of another one, which stays as it is.

        Parameters
        ----------
        other : object of the same class, made with the same arguments

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If it is of another class, or was made with other arguments.
        """
        if type(other) is not type(self):
            raise TypeError(f"merge: got {type(other).__name__}; {type(self).__name__} expected")
        if other._arguments != self._arguments:
            raise ValueError(f"merge: {other!r} was made with other arguments than {self!r}")
        self._merge(other)
        return self

    def _merge(self, other: Self) -> None:
        self._add_state(other.state())

    def __reduce__(self) -> Any:
        return _restored, (type(self), self.state(), self._arguments)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items())
        return f"{type(self).__name__}({arguments})"


def _restored(cls: type[_Streaming], state: State, arguments: dict[str, Any]) -> _Streaming:
    return cls.from_state(state, **arguments)


# --- counts ---


class _Cells(_Streaming):
    """Counts of cells in int64; or, of a weighted one, sums of weights without rounding."""

    def __init__(self, shape: tuple[int, ...], weighted: bool, **arguments: Any) -> None:
        if not isinstance(weighted, bool | np.bool_):
            raise TypeError(f"weighted: got {weighted!r}; True or False expected")
        self._shape = shape
        self._weighted = bool(weighted)
        self._arguments = {**arguments, "weighted": self._weighted}
        self.reset()

    @property
    def _name(self) -> str:
        return "sums" if self._weighted else "counts"

    def reset(self) -> None:
        """Forget all cases."""
        self._cells = self._empty(self._shape)

    def _empty(self, shape: tuple[int, ...]) -> Array:
        tail = (_exact_sum.LIMBS,) if self._weighted else ()
        return np.zeros(shape + tail, dtype=np.int64)

    def state(self) -> State:
        """Return the state as arrays by name, to be summed over processes.

        ``counts``; of a weighted one ``sums``, with the limbs of each sum in the last axis. Sums of
        up to 2³⁰ states are right.
        """
        return {self._name: self._cells.copy()}

    def _add_state(self, state: State) -> None:
        given = state[self._name]
        if given.dtype.kind not in "iu":
            raise ValueError(f"state: {self._name}: got {given.dtype}; integers expected")
        self._cells += given
        self._carry()

    def _carry(self) -> None:
        if self._weighted:
            _exact_sum.add(self._cells, [])

    def _add(self, cells: Array, weight: Any) -> None:
        """Add to cells, given as flat places, numbers of cases or weights."""
        if self._weighted:
            _exact_sum.add(self._cells, weight, np.ascontiguousarray(cells, dtype=np.int64))
        else:
            np.add.at(self._cells.reshape(-1), cells, np.asarray(weight, dtype=np.int64))

    def _values(self) -> Array:
        return _exact_sum.values(self._cells) if self._weighted else self._cells.copy()

    def _weight(self, sample_weight: Any, n: int) -> Array | None:
        """Return checked weights; zeros alone may be the weights of a part."""
        if sample_weight is None:
            return None
        weight = column(sample_weight, "sample_weight")
        if len(weight) != n or weight.dtype.kind not in "biuf" or weight.any():
            weight = check_sample_weight(weight, n)
        if weight.dtype.kind == "f" and not self._weighted:
            raise ValueError(
                "sample_weight: got floats; make the object with weighted=True to sum such weights"
            )
        return weight


class ConfusionMatrix(_Cells):
    """How often each label was predicted for each label.

    Parameters
    ----------
    labels : array-like of shape (n_classes,), optional
        The labels of the rows and columns, in this order; cases with another label are left out, as
        by `confusion_matrix`. By default all that occur, in order.
    weighted : bool, default=False
        Whether weights are floats: their sums are then kept without rounding, in 544 bytes a cell.

    See Also
    --------
    ironstep.metrics.confusion_matrix : The same over cases that are all there.

    Examples
    --------
    >>> from ironstep.metrics import f1_score
    >>> from ironstep.metrics.streaming import ConfusionMatrix
    >>> matrix = ConfusionMatrix()
    >>> matrix.update([2, 0, 2], [0, 0, 2])
    >>> matrix.update([2, 0, 1], [2, 0, 2])
    >>> matrix.compute()
    array([[2, 0, 0],
           [0, 0, 1],
           [1, 0, 2]])
    >>> matrix.score(f1_score, average="micro")
    0.6666666666666666
    """

    def __init__(self, labels: Any = None, *, weighted: bool = False) -> None:
        self._fixed = None if labels is None else _known(labels)
        k = 0 if self._fixed is None else len(self._fixed)
        given = None if self._fixed is None else tuple(self._fixed.tolist())
        super().__init__((k, k), weighted, labels=given)

    @property
    def reduction(self) -> Literal["sum", "concatenate"]:
        """How states of several processes become one: "sum" if the labels are given."""
        return "concatenate" if self._fixed is None else "sum"

    def reset(self) -> None:
        """Forget all cases, and labels that were found."""
        super().reset()
        self._labels = np.empty(0, np.int64) if self._fixed is None else self._fixed

    @property
    def labels(self) -> Array:
        """The labels of the rows and columns."""
        return self._labels.copy()

    def update(self, y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> None:
        """Count two columns of labels, as `confusion_matrix` takes them. Empty ones change nothing.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,)
            True and predicted labels.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; integers unless the object is a weighted one.

        Raises
        ------
        ValueError
            As `confusion_matrix`.
        """
        n = check_consistent_length(y_true, y_pred, sample_weight)
        if n == 0:
            return
        weight = self._weight(sample_weight, n)
        if weight is None:
            pairs = compare(y_true, y_pred)
        else:
            y_true, y_pred, _, kind = check_targets(y_true, y_pred)
            if kind == "multilabel-indicator":
                raise ValueError(f"{kind} is not supported")
            pairs = compare_columns(y_true, y_pred, None if self._weighted else weight)
        if not isinstance(pairs, LabelPairs):
            raise ValueError(f"{pairs.kind} is not supported")
        at, k = self._places(pairs.labels)
        if self._weighted and weight is not None:
            rows, columns = (at[_positions(values, pairs.labels)] for values in (y_true, y_pred))
            added = weight.astype(np.float64)
        else:
            rows, columns, added = at[:, None], at[None, :], pairs.table
        kept = (rows < k) & (columns < k)
        self._add((rows * k + columns)[kept], added[kept])

    def _places(self, labels: Array) -> tuple[Array, int]:
        """Where labels stand in those of the matrix, which grows if it may; their number otherwise."""
        if self._fixed is None:
            self._grow(labels)
        k = len(self._labels)
        places = {label: place for place, label in enumerate(self._labels.tolist())}
        return np.array([places.get(label, k) for label in labels.tolist()], dtype=np.int64), k

    def _grow(self, labels: Array) -> None:
        old = self._labels
        if len(labels) == 0:
            return
        if len(old) and (old.dtype.kind in "OUS") != (labels.dtype.kind in "OUS"):
            raise ValueError(
                "Mix of label input types (string and number); "
                f"got {labels.tolist()} after {old.tolist()}."
            )
        joint = labels if len(old) == 0 else _union(old, labels)
        if len(joint) == len(old) and joint.dtype == old.dtype:
            return
        cells = self._empty((len(joint), len(joint)))
        places = {label: place for place, label in enumerate(joint.tolist())}
        at = [places[label] for label in old.tolist()]
        cells[np.ix_(at, at)] = self._cells
        self._labels, self._cells = joint, cells

    def compute(self) -> Array:
        """Return the table: row i, column j: how many cases of label i were predicted to be j.

        Returns
        -------
        ndarray of shape (n_classes, n_classes)
            int64; float64 of a weighted one, each sum rounded once.
        """
        return self._values()

    def score(self, function: Any, /, **arguments: Any) -> Any:
        """Return what a function of two columns of labels gives for all cases.

        Parameters
        ----------
        function : callable
            Of `ironstep.metrics` or scikit-learn: f1_score, matthews_corrcoef, cohen_kappa_score,
            classification_report and so on; it is called with a row for each cell of the table that
            is not 0, and with these as `sample_weight`.
        **arguments
            Its other arguments.
        """
        values = self._values()
        rows, columns = np.nonzero(values)
        if len(rows) == 0:
            raise ValueError("no case yet")
        weight = values[rows, columns]
        return function(
            self._labels[rows], self._labels[columns], sample_weight=weight, **arguments
        )

    def state(self) -> State:
        """Return the state as arrays by name.

        With given labels ``counts``, to be summed over processes. With labels that are found
        ``y_true``, ``y_pred`` and ``counts`` of the cells that are not 0 or on the diagonal, to be
        concatenated. Of a weighted one ``sums`` instead of ``counts``, the limbs of each sum in the
        last axis.
        """
        if self._fixed is not None:
            return super().state()
        cells = self._cells if self._weighted else self._cells[:, :, None]
        taken = np.asarray(cells.any(axis=-1))
        taken |= np.eye(len(taken), dtype=np.bool_)  # labels whose weights are all 0
        rows, columns = np.nonzero(taken)
        return {
            "y_true": self._labels[rows],
            "y_pred": self._labels[columns],
            self._name: self._cells[rows, columns],
        }

    def _add_state(self, state: State) -> None:
        if self._fixed is not None:
            super()._add_state(state)
            return
        y_true, y_pred, cells = state["y_true"], state["y_pred"], state[self._name]
        if not len(y_true) == len(y_pred) == len(cells) or cells.dtype.kind not in "iu":
            raise ValueError("state: columns of one length, and integers, expected")
        if len(cells) == 0:
            return
        self._grow(_union(unique_labels(y_true), unique_labels(y_pred)))
        rows, columns = (_positions(values, self._labels) for values in (y_true, y_pred))
        np.add.at(self._cells, (rows, columns), cells)
        self._carry()


class BinaryRates(ConfusionMatrix):
    """Every criterion of a binary decision: sensitivity, specificity, predictive values, F1, MCC and so on.

    Parameters
    ----------
    labels : pair of labels, default=(0, 1)
        The negative and the positive label; another one is an error.
    weighted : bool, default=False
        Whether weights are floats.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        As for `BinaryCounts`.

    Examples
    --------
    >>> from ironstep.metrics.streaming import BinaryRates
    >>> rates = BinaryRates()
    >>> rates.update([0, 0, 1], [0, 1, 1])
    >>> rates.update([1, 1, 0], [1, 0, 0])
    >>> rates.compute()
    BinaryCounts(tp=2, fp=1, fn=1, tn=2)
    >>> rates.compute().sensitivity
    0.6666666666666666
    """

    def __init__(
        self, labels: Any = (0, 1), *, weighted: bool = False, undefined: str | float = "sklearn"
    ) -> None:
        check_undefined(undefined)
        super().__init__(_two(labels), weighted=weighted)
        self._arguments["undefined"] = undefined

    def _places(self, labels: Array) -> tuple[Array, int]:
        at, k = super()._places(labels)
        if (at == k).any():
            stranger = labels[at == k].tolist()[0]
            raise ValueError(f"got the label {stranger!r}; one of {self._labels.tolist()} expected")
        return at, k

    def compute(self) -> Any:
        """Return the counts, whose properties are the criteria.

        Returns
        -------
        BinaryCounts
        """
        (tn, fp), (fn, tp) = self._values().tolist()
        return BinaryCounts(tp=tp, fp=fp, fn=fn, tn=tn, undefined=self._arguments["undefined"])


class _Share(_Cells):
    """The share of the cases that are right: those in the first cell of two, the others wrong."""

    def __init__(self, weighted: bool, **arguments: Any) -> None:
        super().__init__((2,), weighted, **arguments)

    def compute(self) -> float:
        """Return the share.

        Returns
        -------
        float
            In [0, 1].

        Raises
        ------
        ValueError
            If there is no case yet.
        """
        right, total = self._values().tolist()
        if total == 0:
            raise ValueError("no case yet")
        return float(right / total)

    def _add_right(self, right: Array, weight: Array | None) -> None:
        if weight is None:
            self._add_counts(int(np.count_nonzero(right)), len(right))
        elif self._weighted:
            _exact_sum.add_weighted(self._cells, right, weight)
        else:
            self._add_counts(int(weight[right].sum()), int(weight.sum()))

    def _add_counts(self, right: int, total: int) -> None:
        self._add(np.arange(2), [right, total])


class Accuracy(_Share):
    """The share of the cases that are predicted rightly.

    Parameters
    ----------
    weighted : bool, default=False
        Whether weights are floats.

    See Also
    --------
    ironstep.metrics.accuracy_score : The same over cases that are all there.

    Examples
    --------
    >>> from ironstep.metrics.streaming import Accuracy
    >>> accuracy = Accuracy()
    >>> accuracy.update([0, 1], [0, 2])
    >>> accuracy.update(["a", "b"], ["a", "b"])
    >>> accuracy.compute()
    0.75
    """

    def __init__(self, *, weighted: bool = False) -> None:
        super().__init__(weighted)

    def update(self, y_true: Any, y_pred: Any, *, sample_weight: Any = None) -> None:
        """Compare two columns of labels, or two indicator matrices, as `accuracy_score` does.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), optional
            Weights; integers unless the object is a weighted one.

        Raises
        ------
        ValueError
            As `accuracy_score`.
        """
        n = check_consistent_length(y_true, y_pred, sample_weight)
        if n == 0:
            return
        weight = self._weight(sample_weight, n)
        if weight is None:
            self._add_counts(int(accuracy_score(y_true, y_pred, normalize=False)), n)
        else:
            self._add_right(right_samples(y_true, y_pred), weight)


class TopKAccuracy(_Share):
    """The share of the cases whose class is among the `k` with the highest scores.

    Parameters
    ----------
    k : int, default=2
        How many.
    labels : array-like of shape (n_classes,), optional
        The classes of the columns, in order; 0, 1, … if None.
    weighted : bool, default=False
        Whether weights are floats.

    See Also
    --------
    ironstep.metrics.top_k_accuracy_score : The same over cases that are all there.

    Examples
    --------
    >>> from ironstep.metrics.streaming import TopKAccuracy
    >>> accuracy = TopKAccuracy(k=2)
    >>> accuracy.update([0, 1], [[0.5, 0.2, 0.2], [0.3, 0.4, 0.2]])
    >>> accuracy.update([2, 2], [[0.2, 0.4, 0.3], [0.7, 0.2, 0.1]])
    >>> accuracy.compute()
    0.75
    """

    def __init__(self, k: int = 2, *, labels: Any = None, weighted: bool = False) -> None:
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k: got {k!r}; an integer of at least 1 expected")
        self._classes = None if labels is None else _ordered(labels)
        given = None if self._classes is None else tuple(self._classes.tolist())
        super().__init__(weighted, k=int(k), labels=given)

    def update(self, y_true: Any, y_score: Any, *, sample_weight: Any = None) -> None:
        """Look for each label's rank.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Labels.
        y_score : array-like of shape (n_samples, n_classes)
            Scores of every class.
        sample_weight : array-like of shape (n_samples,), optional
            Weights; integers unless the object is a weighted one.

        Raises
        ------
        ValueError
            If lengths differ, there is another label, or a score is NaN or infinite.
        """
        n = check_consistent_length(y_true, y_score, sample_weight)
        if n == 0:
            return
        weight = self._weight(sample_weight, n)
        given = scores(y_score)
        if given.values.ndim != 2:
            raise ValueError(
                f"y_score: got shape {given.values.shape}; (n_samples, n_classes) expected"
            )
        n_classes = given.values.shape[1]
        classes = np.arange(n_classes) if self._classes is None else self._classes
        if len(classes) != n_classes:
            raise ValueError(f"y_score: got {n_classes} columns; {len(classes)} expected")
        numbers = _positions(column(y_true, "y_true"), classes)
        flat = given.values.reshape(-1)
        ranks = _native.class_ranks(numbers, flat, n_classes, half=given.half)
        self._add_right(np.asarray(ranks < self._arguments["k"]), weight)


# --- means ---


class _Mean(_Cells):
    """The mean of one number a case, from two sums without rounding."""

    def __init__(self, labels: Any, **arguments: Any) -> None:
        self._classes = _ordered(labels)
        if len(self._classes) < 2:
            raise ValueError(f"labels: got {labels!r}; at least two expected")
        super().__init__((2,), True, labels=tuple(self._classes.tolist()), **arguments)
        del self._arguments["weighted"]

    def _each(self, y_true: Array, y_proba: Any, labels: Array) -> Array:
        raise NotImplementedError

    def update(self, y_true: Any, y_proba: Any, *, sample_weight: Any = None) -> None:
        """Add cases.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Labels.
        y_proba : array-like of shape (n_samples,) or (n_samples, n_classes)
            Probabilities in [0, 1]: of the second of two labels, or of every one.
        sample_weight : array-like of shape (n_samples,), optional
            Weights.

        Raises
        ------
        ValueError
            If lengths differ, there is another label, or a probability is outside [0, 1].
        """
        n = check_consistent_length(y_true, y_proba, sample_weight)
        if n == 0:
            return
        weight = self._weight(sample_weight, n)
        numbers = _positions(column(y_true, "y_true"), self._classes)
        each = self._each(numbers, y_proba, np.arange(len(self._classes)))
        added = _exact_sum.zeros(2)
        _exact_sum.add_weighted(added, each, weight)
        self._cells += added
        self._carry()

    def compute(self) -> float:
        """Return the mean.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If there is no case yet.
        """
        total, of_weights = self._values().tolist()
        if of_weights == 0:
            raise ValueError("no case yet")
        return float(total / of_weights)


class BrierScore(_Mean):
    """Mean squared difference of the probabilities and what came true; smaller is better.

    Parameters
    ----------
    labels : array-like of shape (n_classes,), default=(0, 1)
        The classes, in order.
    scale_by_half : bool or "auto", default="auto"
        Whether to halve the sum over the classes; "auto" halves it for two classes alone.

    See Also
    --------
    ironstep.metrics.brier_score_loss : The same over cases that are all there.

    Examples
    --------
    >>> from ironstep.metrics.streaming import BrierScore
    >>> brier = BrierScore()
    >>> brier.update([0, 1], [0.1, 0.9])
    >>> brier.update([1, 0], [0.8, 0.3])
    >>> brier.compute()
    0.0375
    """

    def __init__(
        self, labels: Any = (0, 1), *, scale_by_half: bool | Literal["auto"] = "auto"
    ) -> None:
        halves(scale_by_half, 2)
        super().__init__(labels, scale_by_half=scale_by_half)

    def _each(self, y_true: Array, y_proba: Any, labels: Array) -> Array:
        return squares(y_true, y_proba, None, len(labels) - 1, labels)[0]

    def compute(self) -> float:  # noqa: D102 - as above
        mean = super().compute()
        return mean / 2 if halves(self._arguments["scale_by_half"], len(self._classes)) else mean


class LogLoss(_Mean):
    """Mean negative logarithm of the probability of the class that came true; smaller is better.

    Parameters
    ----------
    labels : array-like of shape (n_classes,), default=(0, 1)
        The classes, in order.

    See Also
    --------
    ironstep.metrics.log_loss : The same over cases that are all there.

    Examples
    --------
    >>> from ironstep.metrics.streaming import LogLoss
    >>> loss = LogLoss()
    >>> loss.update([1, 0], [0.9, 0.1])
    >>> loss.update([0, 1], [0.2, 0.65])
    >>> loss.compute()
    0.2161618746805792
    """

    def __init__(self, labels: Any = (0, 1)) -> None:
        super().__init__(labels)

    def _each(self, y_true: Array, y_proba: Any, labels: Array) -> Array:
        return losses(y_true, y_proba, None, labels)[0]


# --- scores ---

_HALVES = 2**16


class _OfScores(_Streaming):
    """The scores of two classes: all of them, or how many round to each float16."""

    # Cases that are sorted at a time.
    # measured: of 1e9 float32, runs of 2^24 are merged at twice the cost of runs of 2^26; unsorted
    # cases take 5 bytes each, sorted ones 8 or less
    _gathered: ClassVar[int] = 1 << 26

    def __init__(
        self,
        labels: Any = (0, 1),
        *,
        bins: Literal["f16"] | None = None,
        undefined: str | float = "sklearn",
    ) -> None:
        check_undefined(undefined)
        if bins not in (None, "f16"):
            raise ValueError(f"bins: got {bins!r}; None or 'f16' expected")
        self._labels = _two(labels)
        self._undefined = undefined
        given = tuple(self._labels.tolist())
        self._arguments = {"labels": given, "bins": bins, "undefined": undefined}
        self.reset()

    @property
    def reduction(self) -> Literal["sum", "concatenate"]:
        """How states of several processes become one: "sum" with bins."""
        return "concatenate" if self._bins is None else "sum"

    def reset(self) -> None:
        """Forget all cases."""
        binned = self._arguments["bins"] is not None
        self._bins = np.zeros((2, _HALVES), dtype=np.int64) if binned else None
        self._stream = _native.Stream(self._gathered)

    def update(self, y_true: Any, y_score: Any) -> None:
        """Add cases; none of them if there is an error.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            Labels: one of the two.
        y_score : array-like of shape (n_samples,)
            Scores, larger for the positive class. Finite.

        Raises
        ------
        ValueError
            If lengths differ, there is another label, or a score is NaN (the error names the first
            index) or infinite.
        """
        n = check_consistent_length(y_true, y_score)
        if n == 0:
            return
        truth, labels = self._truth(y_true)
        if self._bins is not None:
            values = column(array(y_score, "y_score"), "y_score")
            if values.dtype.kind != "f":
                values = score_column(values).values
            check_finite(values, "y_score")
            with np.errstate(over="ignore", under="ignore"):
                halves_ = readable(values.astype(np.float16)).view(np.uint16)
            _native.count_halves(self._bins.reshape(-1), truth, halves_, labels)
            return
        given = score_column(y_score)
        if given.table is not None:
            raise ValueError(
                f"y_score: got {given.dtype} that float64 does not hold; float64 or less expected"
            )
        self._stream.add(truth, given.values, labels, half=given.half)

    def _truth(self, y_true: Any) -> tuple[Array, tuple[Any, Any]]:
        """Labels as the kernels read them, with those that are negative and positive."""
        found = numeric_labels(y_true)
        negative, positive = self._labels.tolist()
        if found is not None and self._labels.dtype.kind in "biuf":
            if found.dtype.kind == "f":
                return found, (float(negative), float(positive))
            limits = np.iinfo(found.dtype)
            if all(
                limits.min <= label <= limits.max and label == int(label)
                for label in (negative, positive)
            ):
                return found, (int(negative), int(positive))
        return _positions(column(y_true, "y_true"), self._labels), (0, 1)

    def state(self) -> State:
        """Return the state as arrays by name.

        Without bins ``scores``, descending, and ``positives`` and ``negatives``, how many cases of
        each class have them (uint16; a score of more than 65,535 cases comes several times): to be
        concatenated over processes. Scores are float32 unless some were float64.

        With bins ``counts`` of shape (2, 65536): positive cases and then negative ones, by the bits
        of the float16 that their scores round to; to be summed.
        """
        if self._bins is not None:
            return {"counts": self._bins.copy()}
        scores_, positives, negatives = self._stream.entries()
        return {"scores": scores_, "positives": positives, "negatives": negatives}

    def _add_state(self, state: State) -> None:
        if self._bins is not None:
            self._bins += state["counts"]
            return
        columns = (readable(state[name]) for name in ("scores", "positives", "negatives"))
        self._stream.add_entries(*columns)

    def _merge(self, other: Self) -> None:
        if self is other or other._bins is not None:
            self._add_state(other.state())
        else:
            self._stream.merge(other._stream)

    def _groups(self) -> tuple[Array, Array]:
        """Positive and negative cases of each bin that has some, by descending score."""
        assert self._bins is not None
        counts = self._bins.copy()
        counts[:, 0] += counts[:, 0x8000]  # −0.0 is 0
        order = np.concatenate((np.arange(0x7FFF, -1, -1), np.arange(0x8001, _HALVES)))
        counts = counts[:, order]
        p, n = counts[:, counts.any(axis=0)].astype(np.float64)
        return p, n


class ROCAUC(_OfScores):
    """The area under the ROC curve.

    Parameters
    ----------
    labels : pair of labels, default=(0, 1)
        The negative and the positive label.
    bins : {"f16"}, optional
        None keeps every distinct score, with 8 bytes each of float32 and 12 of float64, and is
        exact. "f16" counts the scores by the float16 that they round to, in a megabyte whatever
        comes, and bounds the error.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The area where a class has no case; "sklearn" is NaN with a warning.

    See Also
    --------
    ironstep.metrics.roc_auc_score : The same over cases that are all there.

    Notes
    -----
    Pairs of a positive and a negative case in one bin count one half, and in truth between 0 and 1:
    with p and n cases in each bin the error is at most ½·Σ p·n / (P·N).

    Examples
    --------
    >>> from ironstep.metrics.streaming import ROCAUC
    >>> auc = ROCAUC()
    >>> auc.update([0, 0], [0.1, 0.4])
    >>> auc.update([1, 1], [0.35, 0.8])
    >>> auc.compute()
    0.75
    """

    def compute(self) -> float | Binned:
        """Return the area.

        Returns
        -------
        float, or Binned with bins
        """
        if self._bins is None:
            area, positives, negatives = self._stream.auc()
        else:
            area, positives, negatives = _native.auc_of_halves(self._bins.reshape(-1))
        if positives == 0 or negatives == 0:
            return value_where_undefined(self._undefined, ONE_CLASS)
        if self._bins is None:
            return area
        p, n = self._groups()
        return Binned(area, float((p * n).sum()) / 2 / positives / negatives)


class AveragePrecision(_OfScores):
    """The average precision: Σ (R_n − R_{n−1})·P_n over all thresholds.

    Parameters
    ----------
    labels : pair of labels, default=(0, 1)
        The negative and the positive label.
    bins : {"f16"}, optional
        As for `ROCAUC`.
    undefined : {"sklearn", "raise", "warn", "nan"} or float, default="sklearn"
        The value without a positive case; "sklearn" is 0 with a warning.

    See Also
    --------
    ironstep.metrics.average_precision_score : The same over cases that are all there.

    Notes
    -----
    The state is that of `ROCAUC`. With bins the error bound comes from the best and the worst order
    that the cases of each bin may have.

    Examples
    --------
    >>> from ironstep.metrics.streaming import AveragePrecision
    >>> precision = AveragePrecision()
    >>> precision.update([0, 0], [0.1, 0.4])
    >>> precision.update([1, 1], [0.35, 0.8])
    >>> precision.compute()
    0.8333333333333333
    """

    def compute(self) -> float | Binned:
        """Return the average precision.

        Returns
        -------
        float, or Binned with bins
        """
        if self._bins is None:
            value = self._stream.average_precision()
            return self._without_positives() if np.isnan(value) else value
        p, n = self._groups()
        positives = p.sum()
        if positives == 0:
            return self._without_positives()
        tp, fp = np.cumsum(p), np.cumsum(n)
        value = float((p * (tp / (tp + fp))).sum() / positives)
        # At best the positives of a bin share one score above its negatives.
        best = (p * (tp / np.maximum(tp + fp - n, 1))).sum() / positives
        # At worst all differ, the negatives first: Σ (t + i) / (t + i + f), i from 1 to p, is at least
        # p − f·log((t + p + f) / (t + f)).
        with np.errstate(divide="ignore"):
            steps = np.where(fp > 0, np.log((tp + fp) / np.maximum(tp - p + fp, 1)), 0)
        worst = (p - fp * steps).sum() / positives
        return Binned(value, float(max(best - value, value - worst)))

    def _without_positives(self) -> float:
        recall = undefined_recall(self._undefined)
        return 0.0 if self._undefined == "sklearn" else recall


# --- labels ---


def _known(labels: Any) -> Array:
    """Return given labels: numbers or strings, all different."""
    known = column(labels, "labels")
    if known.dtype.kind == "O":
        known = np.array(known.tolist())
    if len(known) == 0 or known.dtype.kind not in "biufU" or len(np.unique(known)) < len(known):
        raise ValueError(f"labels: got {labels!r}; different numbers or strings expected")
    return known


def _ordered(labels: Any) -> Array:
    known = _known(labels)
    if (known[1:] < known[:-1]).any():
        raise ValueError(f"labels: got {labels!r}; ascending ones expected")
    return known


def _two(labels: Any) -> Array:
    known = _known(labels)
    if len(known) != 2:
        raise ValueError(f"labels: got {labels!r}; the negative and the positive one expected")
    return known


def _positions(values: Array, labels: Array) -> Array:
    """Return where each label stands among those that are known; another one is an error."""
    check_finite(values, "y_true")
    if values.dtype.kind == "O":
        unique_labels(values)  # refuses what is no string
        values = values.astype(str)
    if (values.dtype.kind == "U") != (labels.dtype.kind in "OU"):
        raise ValueError("Mix of label input types (string and number) in y_true and labels")
    known = labels.astype(str) if labels.dtype.kind == "O" else labels
    order = np.argsort(known)
    places = np.searchsorted(known, values, sorter=order)
    places = order[np.minimum(places, len(known) - 1)]
    strange = np.asarray(known[places] != values)
    if strange.any():
        index = int(strange.argmax())
        stranger = values[index : index + 1].tolist()[0]
        raise ValueError(
            f"y_true: got the label {stranger!r}, first at index {index}; "
            f"one of {known.tolist()} expected"
        )
    return np.asarray(places, dtype=np.int64)


def _union(one: Array, other: Array) -> Array:
    """Return the labels of both, in order."""
    joint = np.concatenate((one, other))
    return np.unique(joint.astype(str) if joint.dtype.kind == "O" else joint)
