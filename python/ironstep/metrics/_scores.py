"""Labels and scores as the kernels read them: contiguous, aligned, of a type that they sort."""

import sys
from typing import Any, NamedTuple

import numpy as np

from ironstep import _native
from ironstep.metrics._inputs import (
    Array,
    array,
    check_consistent_length,
    column,
    is_sparse,
    type_of_target,
    unique_labels,
)


class Scores(NamedTuple):
    """Scores in a form that the kernels sort."""

    values: Array
    """float64 or float32, or the bits of 16-bit floats."""
    half: str | None
    """The type of the 16 bits, if `values` are such."""
    dtype: Any
    """What the user gave."""
    table: Array | None
    """The distinct scores, where `values` are places in it: integers that no float holds, say."""

    def thresholds(self, values: Array) -> Array:
        """Return thresholds in the terms of the user's scores."""
        return values if self.table is None else self.table[values.astype(np.int64)]


def readable(values: Array) -> Array:
    """Return `values` as they are, or a copy if the kernels cannot read their layout."""
    flags = values.flags
    if flags.c_contiguous and flags.aligned and values.dtype.isnative:
        return values
    return np.array(values, dtype=values.dtype.newbyteorder("="), order="C")


def scores(y_score: Any) -> Scores:
    """Return scores of any shape."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(y_score, torch.Tensor) and y_score.dtype == torch.bfloat16:
        bits = y_score.detach().contiguous().view(torch.int16).numpy().view(np.uint16)
        return Scores(bits, "bfloat16", np.dtype(np.float32), None)
    values = array(y_score, "y_score")
    dtype = values.dtype
    if dtype == np.float64 or dtype == np.float32:
        return Scores(readable(values), None, dtype, None)
    if dtype == np.float16:
        return Scores(readable(values).view(np.uint16), "float16", dtype, None)
    if dtype.name == "bfloat16":
        return Scores(readable(values).view(np.uint16), "bfloat16", dtype, None)
    if dtype.kind in "iu" and values.size and dtype.itemsize == 8:
        if max(abs(int(values.max())), abs(int(values.min()))) > 2**53:
            return _places(values)
    elif dtype.kind == "f":
        if not np.isfinite(values).all():
            return Scores(readable(values.astype(np.float64)), None, dtype, None)
        return _places(values)
    elif dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{values}\n")
    elif dtype.kind in "US":
        raise ValueError(
            "dtype='numeric' is not compatible with arrays of bytes/strings. Convert your data to "
            "numeric values explicitly instead."
        )
    as_float = values.astype(np.float64)
    return Scores(readable(as_float), None, as_float.dtype if dtype.kind == "O" else dtype, None)


def _places(values: Array) -> Scores:
    table, inverse = np.unique(values, return_inverse=True)
    places = inverse.reshape(values.shape).astype(np.float64)
    return Scores(readable(places), None, values.dtype, table)


def score_column(y_score: Any) -> Scores:
    """Return one score for each sample."""
    if not hasattr(y_score, "ndim"):
        y_score = array(y_score, "y_score")
    if y_score.ndim != 1:
        y_score = column(y_score, "y_score")
    return scores(y_score)


def numeric_labels(y_true: Any) -> Array | None:
    """Return labels that the kernels read (bools as bytes); None if they are of another kind."""
    if is_sparse(y_true):
        return None
    labels = y_true if type(y_true) is np.ndarray else array(y_true, "y_true")
    kind, itemsize = labels.dtype.kind, labels.dtype.itemsize
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or kind not in "biuf" or itemsize > 8:
        return None
    if kind == "f" and itemsize < 4:
        labels = labels.astype(np.float32)
    labels = readable(labels)
    return labels.view(np.uint8) if kind == "b" else labels


def two_classes(labels: Array) -> list[Any] | None:
    """Return the labels that `numeric_labels` gave, in order, if they are at most two whole numbers."""
    classes = _native.two_classes(labels)
    if classes is None or any(label != label // 1 for label in classes):
        return None
    return classes


def check_lengths(*columns: Any) -> int:
    """Return the number of samples, at least one, which all agree about."""
    n = check_consistent_length(*columns)
    if n == 0:
        raise ValueError(
            "Found array with 0 sample(s) (shape=(0,)) while a minimum of 1 is required."
        )
    return n


def distinct(labels: Array) -> Array:
    """Return the labels of a column in order; fast for integers that lie close together."""
    if labels.dtype.kind in "iu" and len(labels):
        low, high = int(labels.min()), int(labels.max())
        if high - low < max(4 * len(labels), 2**16) and abs(low) < 2**53:
            offsets = labels if low == 0 and labels.dtype.itemsize <= 4 else labels - low
            present = np.bincount(offsets.astype(np.intp, copy=False))
            return (np.flatnonzero(present) + low).astype(labels.dtype)
    return unique_labels(labels)


def kind_of(labels: Array, classes: Array) -> str:
    """Return the kind of target of a column whose distinct labels are known."""
    if labels.dtype.kind in "iub":
        return "binary" if len(classes) <= 2 else "multiclass"
    return type_of_target(labels, "y_true")
