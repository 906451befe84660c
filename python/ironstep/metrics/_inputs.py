"""What a user gives, as numpy arrays: columns, kinds of target, labels, weights.

Kinds and error texts are scikit-learn's, so that code which looks at them goes on working.
"""

import sys
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from ironstep import _native

Array = npt.NDArray[Any]


def is_number(value: Any) -> bool:
    """Whether this is a real number of any class."""
    return isinstance(value, Real)


def is_sparse(values: Any) -> bool:
    """Whether this is one of scipy's sparse matrices or arrays, without importing scipy."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(values))


def array(values: Any, name: str) -> Array:
    """Return anything array-like as a numpy array of its shape, of the same memory where possible."""
    if type(values) is np.ndarray:
        return values
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name}: got a masked array; a plain array expected")
    if is_sparse(values):
        raise TypeError("Sparse input is only supported when targets are of multilabel type")
    if isinstance(values, str | bytes) or not (
        isinstance(values, Sequence) or hasattr(values, "__array__")
    ):
        raise ValueError(f"Expected array-like (array or non-string sequence), got {values!r}")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach()
        if values.device.type != "cpu":
            raise TypeError(
                f"{name}: got a tensor on {values.device}; one on the CPU expected, as .cpu() gives"
            )
        # numpy has no bfloat16; float32 holds each of its values.
        return np.asarray(values.float() if values.dtype is torch.bfloat16 else values)
    result: Array
    try:
        result = _asarray(values)
    except _RAGGED:
        # Rows of different lengths.
        result = np.empty(len(values), dtype=object)
        for index, value in enumerate(values):
            result[index] = value
    if result.dtype.kind == "T":
        return result.astype(object)
    if result.dtype.kind == "O":
        # pandas' and pyarrow's columns of numbers that may be missing.
        kind = getattr(getattr(values, "dtype", None), "kind", "O")
        if kind in _NUMPY_TYPES:
            if any(value is not value or value is None or _is_na(value) for value in result.flat):
                raise ValueError(f"Input {name} contains NaN")
            return result.astype(_NUMPY_TYPES[kind])
    return result


# What numpy before 1.24 warns of where later ones raise ValueError; numpy 2 has no such name.
_WARNING: type[Warning] | None = getattr(np, "VisibleDeprecationWarning", None)
_RAGGED: tuple[type[Exception], ...] = (ValueError,) if _WARNING is None else (ValueError, _WARNING)


def _asarray(values: Any) -> Array:
    if _WARNING is None or hasattr(values, "__array__"):
        return np.asarray(values)
    with warnings.catch_warnings():
        warnings.simplefilter("error", _WARNING)
        return np.asarray(values)


_NUMPY_TYPES = {"b": np.bool_, "i": np.int64, "u": np.uint64, "f": np.float64}


def _is_na(value: Any) -> bool:
    return type(value).__name__ == "NAType"


def column(values: Any, name: str) -> Array:
    """Return one value for each sample, of the same memory where possible.

    A single column of two dimensions is taken too. The result may have any strides and dtype.
    """
    result = array(values, name)
    if result.ndim == 1:
        return result
    if result.ndim == 2 and result.shape[1] == 1:
        return result[:, 0]
    raise ValueError(f"y should be a 1d array, got an array of shape {result.shape} instead.")


def n_samples(values: Any) -> int:
    """How many samples there are in something array-like."""
    shape = getattr(values, "shape", None)
    if shape is not None:
        if len(shape) == 0:
            raise TypeError(
                "Input should have at least 1 dimension i.e. satisfy `len(x.shape) > 0`, "
                f"got scalar `{values!r}` instead."
            )
        return int(shape[0])
    try:
        return len(values)
    except TypeError:
        raise TypeError(f"Expected sequence or array-like, got {type(values)}") from None


def check_consistent_length(*arrays: Any) -> int:
    """Return the number of samples, which all arguments but None agree about."""
    lengths = [n_samples(values) for values in arrays if values is not None]
    if len(set(lengths)) > 1:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {lengths}")
    return lengths[0]


def check_finite(values: Array, name: str) -> None:
    """Refuse NaN and infinity in an array of floats; the error names the first one's index."""
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    for is_bad, what in (
        (np.isnan, "NaN"),
        (np.isinf, f"infinity or a value too large for {values.dtype!r}"),
    ):
        bad = is_bad(values)
        if bad.any():
            index = np.unravel_index(int(bad.argmax()), values.shape)
            where = index[0] if len(index) == 1 else tuple(map(int, index))
            raise ValueError(f"Input {name} contains {what}, first at index {where}")


def check_sample_weight(sample_weight: Any, n_samples: int) -> Array:
    """Return weights as a 1-D array of finite numbers, not all zero; integers stay integers."""
    weight = array(sample_weight, "sample_weight")
    if weight.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{weight}\n")
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weight.ndim}D array. Expected either "
            f"a scalar value or a 1D array of length {n_samples}."
        )
    if weight.dtype.kind not in "biuf":
        weight = weight.astype(np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}!")
    check_finite(weight, "sample_weight")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def unique_labels(values: Array) -> Array:
    """Return the labels in a 1-D array, in order."""
    if values.dtype.kind in "biu":
        found = _native.count_pairs(values, values)
        if found is not None:
            return found[0].astype(values.dtype)
    if values.dtype.kind == "O":
        # Sorting an array of objects is slow.
        return np.array(sorted(_strings(values)), dtype=object)
    return np.unique(values)


def _strings(values: Array) -> set[str]:
    """The different strings in an array of objects, which has to have nothing else."""
    strings = values.ravel().tolist()
    for kind in set(map(type, strings)):
        if not issubclass(kind, str):
            other = next(value for value in strings if type(value) is kind)
            raise ValueError(f"Labels must all be strings or all numbers; got {other!r} in strings")
    return set(strings)


def type_of_target(values: Any, name: str = "y") -> str:
    """Return scikit-learn's name for the kind of target.

    ``"binary"``, ``"multiclass"``, ``"multilabel-indicator"``, ``"continuous"``,
    ``"multiclass-multioutput"``, ``"continuous-multioutput"`` or ``"unknown"``.
    """
    if is_sparse(values):
        return _type_of_sparse(values)
    values = array(values, name)
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{values}\n")
    if values.size and values.dtype.kind in "OS":
        first = values.flat[0] if values.ndim != 1 else values[0]
        if isinstance(first, bytes):
            raise TypeError(
                "Support for labels represented as bytes is not supported. Convert the labels to a "
                "string or integer format."
            )
        if isinstance(first, Sequence) and not isinstance(first, str):
            raise ValueError(
                "You appear to be using a legacy multi-label data representation. Sequence of "
                "sequences are no longer supported; use a binary array or sparse matrix instead - "
                "the MultiLabelBinarizer transformer can convert to this format."
            )
    if values.ndim not in (1, 2):
        return "unknown"
    if values.size == 0:
        return "binary" if values.ndim == 1 else "unknown"
    if values.dtype.kind == "O" and not isinstance(values.flat[0], str):
        return "unknown"
    suffix = "-multioutput" if values.ndim == 2 and values.shape[1] > 1 else ""
    if values.dtype.kind == "f":
        integers = as_integers(values)
        if integers is None:
            check_finite(values, name)
            return "continuous" + suffix
        values = integers
    several = len(unique_labels(values.reshape(-1))) > 2
    if suffix:
        numbers = values.dtype.kind in "biu"
        return "multilabel-indicator" if numbers and not several else "multiclass-multioutput"
    return "multiclass" if several else "binary"


def _type_of_sparse(values: Any) -> str:
    data = values.tocsr().data
    several = len(np.unique(data)) > 2
    continuous = data.dtype.kind == "f" and as_integers(data) is None
    if values.shape[1] < 2:
        return "continuous" if continuous else ("multiclass" if several else "binary")
    if continuous:
        return "continuous-multioutput"
    labels = set(data.tolist())
    is_indicator = len(labels - {0}) <= 1
    return "multilabel-indicator" if is_indicator else "multiclass-multioutput"


def as_integers(values: Array) -> Array | None:
    """Return floats that are whole numbers as int64, and None if one of them is not."""
    with np.errstate(invalid="ignore"):
        integers = values.astype(np.int64)
    return integers if bool((integers == values).all()) else None


def check_pos_label(pos_label: Any, labels: Array) -> Any:
    """Return the positive label: 1 if none is given and `labels` leave no doubt."""
    if pos_label is not None:
        return pos_label
    usual = ([0, 1], [-1, 1], [0], [-1], [1])
    if labels.dtype.kind in "OUS" or labels.tolist() not in usual:
        shown = ", ".join(map(repr, labels.tolist()))
        raise ValueError(
            f"y_true takes value in {{{shown}}} and pos_label is not specified: either make y_true "
            "take value in {0, 1} or {-1, 1} or pass pos_label explicitly."
        )
    return 1


def binary_targets(y_true: Any, pos_label: Any = None) -> Array:
    """Return for each sample whether it is positive, for functions of labels and scores.

    Two labels, or any with `pos_label`. Arrays of bool come back as they are.
    """
    kind = type_of_target(y_true, "y_true")
    if kind != "binary" and not (kind == "multiclass" and pos_label is not None):
        raise ValueError(f"{kind} format is not supported")
    labels = column(y_true, "y_true")
    check_finite(labels, "y_true")
    if pos_label is None:
        pos_label = check_pos_label(None, unique_labels(labels))
    if labels.dtype == np.bool_ and pos_label == 1:
        return labels
    return np.asarray(labels == pos_label)
