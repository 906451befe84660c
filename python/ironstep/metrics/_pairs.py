"""How often each label was predicted for each label: what every metric over labels is computed from."""

import functools
from typing import Any

import numpy as np

from ironstep import _native
from ironstep.metrics import _torch
from ironstep.metrics._inputs import (
    Array,
    array,
    as_integers,
    check_consistent_length,
    check_sample_weight,
    column,
    is_sparse,
    type_of_target,
)


class LabelPairs:
    """Two columns of labels, as counts (or sums of weights) of the pairs.

    ``labels`` are those of either column, in order; ``table`` has a row for each label of `y_true`
    and a column for each of `y_pred`. Where there are too many labels for it, it is made when asked
    for, and the rest comes from ``codes``: positions in ``labels`` of both columns.
    """

    def __init__(
        self,
        labels: Array,
        table: Array | None,
        codes: tuple[Array, Array] | None = None,
        weight: Array | None = None,
        is_weighted: bool = False,
    ) -> None:
        self.labels = labels
        self.is_weighted = is_weighted
        self._table = table
        self._codes = codes
        self._weight = weight

    @property
    def kind(self) -> str:
        """scikit-learn's name for the kind of target."""
        return "binary" if len(self.labels) <= 2 else "multiclass"

    @property
    def table(self) -> Array:
        """The square table."""
        if self._table is None:
            assert self._codes is not None
            y_true, y_pred = self._codes
            k = len(self.labels)
            cells = y_true * np.int64(k) + y_pred
            self._table = self._counted(cells, k * k).reshape(k, k)
        return self._table

    def _counted(self, cells: Array, n: int) -> Array:
        return sums(cells, self._weight, n)

    @property
    def tp(self) -> Array:
        """For each label, where it was predicted rightly."""
        if self._table is not None or self._codes is None:
            return np.diagonal(self.table)
        y_true, y_pred = self._codes
        right = y_true == y_pred
        weight = None if self._weight is None else self._weight[right]
        return sums(y_true[right], weight, len(self.labels))

    @property
    def true_sum(self) -> Array:
        """For each label, how often it is true."""
        if self._table is not None or self._codes is None:
            return np.asarray(self.table.sum(axis=1))
        return self._counted(self._codes[0], len(self.labels))

    @property
    def pred_sum(self) -> Array:
        """For each label, how often it was predicted."""
        if self._table is not None or self._codes is None:
            return np.asarray(self.table.sum(axis=0))
        return self._counted(self._codes[1], len(self.labels))

    @functools.cached_property
    def positions(self) -> dict[Any, int]:
        """Where each label stands in ``labels``."""
        return {label: index for index, label in enumerate(self.labels.tolist())}

    def find(self, labels: Array) -> Array:
        """Return where given labels stand in ``labels``; one after the last if they do not."""
        absent = len(self.labels)
        return np.array([self.positions.get(label, absent) for label in labels.tolist()], int)


class Indicators:
    """Two indicator matrices, a column for each label: dense arrays of bool, or scipy's CSR."""

    kind = "multilabel-indicator"

    def __init__(self, y_true: Any, y_pred: Any, weight: Array | None) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.weight = weight
        self.is_weighted = weight is not None
        self.labels = np.arange(y_true.shape[1])

    def counts(self, labels: Array | None, axis: int) -> tuple[Array, Array, Array]:
        """Return true positives, predicted and true ones of each label (0) or each sample (1)."""
        y_true, y_pred = self.y_true, self.y_pred
        if labels is not None:
            y_true, y_pred = y_true[:, labels], y_pred[:, labels]
        both = y_true.multiply(y_pred) if is_sparse(y_true) else y_true & y_pred
        return self._sums(both, axis), self._sums(y_pred, axis), self._sums(y_true, axis)

    def _sums(self, ones: Any, axis: int) -> Array:
        if is_sparse(ones):
            ones = ones.tocsr()
            lengths: Array = np.diff(ones.indptr).astype(np.int64)
            if axis == 1:
                return lengths if self.weight is None else np.asarray(lengths * self.weight)
            weight = None if self.weight is None else np.repeat(self.weight, lengths)
            return sums(ones.indices, weight, ones.shape[1])
        if self.weight is None:
            return np.asarray(np.count_nonzero(ones, axis=axis))
        if axis == 1:
            return np.asarray(np.count_nonzero(ones, axis=1) * self.weight)
        return np.asarray((ones * self.weight[:, None]).sum(axis=0))

    def equal_rows(self) -> Array:
        """Return for each sample whether all its labels agree."""
        if is_sparse(self.y_true):
            tp, pred, true = Indicators.counts(self._unweighted(), None, 1)
            return np.asarray((tp == pred) & (tp == true))
        return np.asarray((self.y_true == self.y_pred).all(axis=1))

    def _unweighted(self) -> "Indicators":
        return Indicators(self.y_true, self.y_pred, None)


def sums(cells: Array, weight: Array | None, n: int) -> Array:
    """Return how often each of `n` cells occurs, or its sum of weights; integers stay integers."""
    if weight is None:
        return np.bincount(cells, minlength=n)
    if weight.dtype.kind == "f":
        return np.bincount(cells, weights=weight, minlength=n)
    total = np.zeros(n, dtype=np.int64)
    np.add.at(total, cells, weight.astype(np.int64))
    return total


def compare(
    y_true: Any, y_pred: Any, sample_weight: Any = None, backend: Any = "auto"
) -> LabelPairs | Indicators:
    """Check two targets as scikit-learn does, and count them."""
    if _torch.uses_torch(backend, y_true=y_true, y_pred=y_pred, sample_weight=sample_weight):
        counted = _torch.count_pairs(y_true, y_pred) if sample_weight is None else None
        if counted is not None:
            return LabelPairs(*counted)
        y_true, y_pred, sample_weight = _torch.to_host(y_true, y_pred, sample_weight)
    if sample_weight is None:
        # The usual case: two arrays of integers need no further check.
        found = _native.count_pairs(y_true, y_pred)
        if found is not None:
            return LabelPairs(_as_type(found[0], y_true, y_pred), found[1])
    y_true, y_pred, weight, kind = check_targets(y_true, y_pred, sample_weight)
    if kind == "multilabel-indicator":
        return Indicators(*_same_format(y_true, y_pred), weight)
    return compare_columns(y_true, y_pred, weight)


def check_targets(
    y_true: Any, y_pred: Any, sample_weight: Any = None
) -> tuple[Any, Any, Array | None, str]:
    """Refuse what scikit-learn refuses; return arrays, and the kind that both targets are."""
    n = check_consistent_length(y_true, y_pred, sample_weight)
    y_true, y_pred = (
        values if is_sparse(values) else array(values, name)
        for values, name in ((y_true, "y_true"), (y_pred, "y_pred"))
    )
    columns = _labels(y_true), _labels(y_pred)
    if n > 0 and columns[0] is not None and columns[1] is not None:
        # The usual case, where the number of different labels need not be known yet.
        kind_true = kind_pred = "multiclass"
    else:
        kind_true, kind_pred = type_of_target(y_true, "y_true"), type_of_target(y_pred, "y_pred")
    if n == 0:
        raise ValueError(
            "Found empty input array (e.g., `y_true` or `y_pred`) while a minimum of 1 sample is "
            "required."
        )
    weight = None if sample_weight is None else check_sample_weight(sample_weight, n)
    kinds = {kind_true, kind_pred}
    if kinds == {"binary", "multiclass"}:
        kinds = {"multiclass"}
    if len(kinds) > 1:
        raise ValueError(
            f"Classification metrics can't handle a mix of {kind_true} and {kind_pred} targets"
        )
    (kind,) = kinds
    if kind not in ("binary", "multiclass", "multilabel-indicator"):
        raise ValueError(f"{kind} is not supported")
    if kind != "multilabel-indicator":
        y_true, y_pred = column(y_true, "y_true"), column(y_pred, "y_pred")
        if _is_text(y_true) != _is_text(y_pred):
            shown = " and ".join(str(np.unique(values)) for values in (y_true, y_pred))
            raise ValueError(f"Mix of label input types (string and number); Got {shown}.")
    elif y_true.shape[1] != y_pred.shape[1]:
        raise ValueError("Multi-label binary indicator input with different numbers of labels")
    return y_true, y_pred, weight, kind


def _labels(values: Any) -> Any:
    """Return a column that clearly has labels: whole numbers, bools or strings. Otherwise None."""
    if is_sparse(values) or values.ndim != 1:
        return None
    match values.dtype.kind:
        case "b" | "i" | "u" | "U":
            return values
        case "f":
            return None if as_integers(values) is None else values
        case "O":
            types = set(map(type, values.tolist()))
            return values if all(issubclass(kind, str) for kind in types) else None
    return None


def _is_text(values: Array) -> bool:
    return values.dtype.kind in "UO"


def _same_format(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    """Both indicator matrices as bool: both sparse if one is."""
    if not is_sparse(y_true) and not is_sparse(y_pred):
        return y_true.astype(bool), y_pred.astype(bool)
    from scipy import sparse  # the caller has it, for one of these is from there

    def ones(values: Any) -> Any:
        values = sparse.csr_array(values).astype(bool)
        values.sum_duplicates()
        values.eliminate_zeros()
        return values

    return ones(y_true), ones(y_pred)


def _as_type(labels: Array, y_true: Array, y_pred: Array) -> Array:
    """Labels that were counted as int64, in the type that they were given in."""
    dtype = np.result_type(y_true.dtype, y_pred.dtype)
    return labels.astype(dtype) if dtype.kind in "bf" else labels


def compare_columns(y_true: Array, y_pred: Array, weight: Array | None) -> LabelPairs:
    """Count two columns of labels, which have been checked."""
    if y_true.dtype.kind in "biuf" and y_pred.dtype.kind in "biuf":
        given = y_true, y_pred
        codes = _integers(y_true), _integers(y_pred)
        found = _count(*codes, weight)
        if found is not None:
            return LabelPairs(_as_type(found[0], *given), found[1], is_weighted=weight is not None)
        labels, codes = _encode(*codes)
        labels = _as_type(labels, *given)
    else:
        labels, codes = _encode(y_true, y_pred)
    found = _count(*codes, weight)
    table = None if found is None else found[1]
    return LabelPairs(labels, table, codes, weight, is_weighted=weight is not None)


def _integers(values: Array) -> Array:
    """Labels that are whole numbers as integers in the machine's byte order."""
    if values.dtype.kind == "f":
        integers = as_integers(values)
        assert integers is not None  # type_of_target has looked
        return integers
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _count(y_true: Array, y_pred: Array, weight: Array | None) -> tuple[Array, Array] | None:
    """Labels and table of two columns of integers; None if the table would be too large."""
    if weight is None:
        return _native.count_pairs(y_true, y_pred)
    if weight.dtype.kind == "f":
        return _native.weigh_pairs(y_true, y_pred, np.ascontiguousarray(weight, np.float64))
    exact = weight.astype(np.float64)
    if np.abs(exact).sum() >= 2.0**53:
        return None
    found = _native.weigh_pairs(y_true, y_pred, exact)
    return None if found is None else (found[0], found[1].astype(np.int64))


def _encode(y_true: Array, y_pred: Array) -> tuple[Array, tuple[Array, Array]]:
    """Labels in order, and both columns as positions in them."""
    kinds = {y_true.dtype.kind, y_pred.dtype.kind}
    if "O" in kinds or ("u" in kinds and len(kinds) > 1):
        # As Python's own values: sorting an array of objects is slow, and numpy would make float64
        # of uint64 beside int64.
        values = [*y_true.tolist(), *y_pred.tolist()]
        ordered = sorted(set(values))
        code = {label: index for index, label in enumerate(ordered)}
        codes: Array = np.fromiter(map(code.__getitem__, values), np.int64, len(values))
        return np.array(ordered), (codes[: len(y_true)], codes[len(y_true) :])
    dtype = np.result_type(y_true, y_pred)
    columns = y_true.astype(dtype, copy=False), y_pred.astype(dtype, copy=False)
    found = _native.number_labels(*columns)
    if found is None:
        labels, codes = np.unique(np.concatenate(columns), return_inverse=True)
    else:
        codes, first = found
        in_true = first < len(y_true)
        labels = np.empty(len(first), dtype)
        labels[in_true] = columns[0][first[in_true]]
        labels[~in_true] = columns[1][first[~in_true] - len(y_true)]
        order = np.argsort(labels)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        labels, codes = labels[order], rank[codes]
    return labels, (codes[: len(y_true)], codes[len(y_true) :])
