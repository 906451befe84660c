"""One column at a time: lists, arrays and columns of tables as arrays; gaps, numbers, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep._input_error import InputError, plain, shown
from ironstep.metrics._inputs import column

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int64]


def named(columns: Any, otherwise: str) -> dict[str, Any]:
    """Return columns by their names: of a mapping or a data frame, or one column alone."""
    if columns is None:
        return {}
    if isinstance(columns, Mapping):
        return {str(name): of for name, of in columns.items()}
    if is_table(columns):
        return frame(columns)
    return {str(getattr(columns, "name", None) or otherwise): columns}


def is_table(values: Any) -> bool:
    """Whether it is a data frame: pandas', polars', pyarrow's."""
    return hasattr(values, "__getitem__") and (
        hasattr(values, "columns") or hasattr(values, "column_names")
    )


def frame(table: Any) -> dict[str, Any]:
    """Return a data frame's columns."""
    # A pyarrow table's `columns` have no names.
    names = table.column_names if hasattr(table, "column_names") else table.columns
    return {str(name): table[name] for name in names}


def one_column(values: Any, name: str) -> NDArray[Any]:
    """Return an array of one dimension; numbers with gaps may be objects."""
    if type(values) is np.ndarray and values.ndim == 1:
        return values
    if hasattr(values, "dtype") and values.dtype is not None and hasattr(values, "to_numpy"):
        result: NDArray[Any] = np.asarray(values)
        if result.ndim == 1:
            return result
    try:
        return column(values, name)
    except ValueError as error:
        if "contains NaN" in str(error):  # pandas' columns of numbers with gaps
            return np.asarray(values, dtype=object)
        raise InputError(f"{name}: one column expected ({error})") from None


def numbers(values: Any, name: str) -> Floats:
    """Return a column of float64, NaN where there is nothing."""
    try:
        return np.asarray(one_column(values, name), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: numbers expected") from None


def missing_in(values: NDArray[Any]) -> Flags:
    """Where there is nothing: NaN, None, pandas' NA."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype.kind == "O":
        return np.fromiter(map(_is_nothing, values.tolist()), np.bool_, len(values))
    return np.zeros(len(values), dtype=np.bool_)


def _is_nothing(value: Any) -> bool:
    missing = value is None or type(value).__name__ in ("NAType", "NaTType")
    return missing or bool(value != value)  # NaN


def codes_of(values: NDArray[Any]) -> tuple[Codes, NDArray[Any]]:
    """Return a number for each different value, in their order; and the values."""
    if values.dtype.kind == "O":
        values = values.astype(str)
    names, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64).reshape(-1), names


def distinct_labels(labels: NDArray[Any], name: str = "label") -> list[Any]:
    """Return the different labels in their order, none spelled in two ways."""
    if labels.dtype.kind == "O":
        distinct = sorted(set(labels.tolist()), key=lambda label: (str(type(label)), str(label)))
    else:
        distinct = np.unique(labels).tolist()
    folded = {"".join(name_of(label).split()).casefold() for label in distinct}
    if 1 < len(distinct) <= 50 and len(folded) < len(distinct):
        raise InputError(f"{name}: a label is spelled in two ways: {quoted(distinct)}")
    return distinct


def quoted(labels: Sequence[Any], most: int = 6) -> str:
    """Return labels as a message lists them."""
    return ", ".join(shown(name_of(label)) for label in labels[:most]) + (
        ", …" if len(labels) > most else ""
    )


def two_classes(
    labels: NDArray[Any], positive: Any, name: str = "label"
) -> tuple[Flags, tuple[str, str]]:
    """Which cases are positive, and the names of the negative and the positive label."""
    distinct = distinct_labels(labels, name)
    if len(distinct) > 2:
        raise InputError(
            f"{name}: got {len(distinct)} different ones, {quoted(distinct)}; two expected, or one "
            "column of scores for each"
        )
    of_positive = [label for label in distinct if is_same(label, positive)]
    if len(distinct) == 1:
        raise InputError(
            f"{name}: one class: {'the only row has' if len(labels) == 1 else 'all rows have'} "
            f"{quoted(distinct)}; cases of both classes expected"
        )
    if len(of_positive) != 1:
        raise InputError(
            f"positive: got {shown(positive)}; one of the labels {quoted(distinct)} expected "
            "(on the command line --positive)"
        )
    (yes,) = of_positive
    no = next(label for label in distinct if label is not yes)
    return np.asarray(labels == yes, dtype=np.bool_), (plain(name_of(no)), plain(name_of(yes)))


def numbers_of_classes(labels: NDArray[Any], classes: Sequence[Any]) -> Codes:
    """Return for each label the number of its class."""
    result = np.empty(len(labels), dtype=np.int64)
    for label in distinct_labels(labels):
        places = [number for number, each in enumerate(classes) if is_same(label, each)]
        if len(places) != 1:
            raise InputError(
                f"label: got {shown(name_of(label))}; one of the classes that have scores, "
                f"{quoted(classes)}, expected"
            )
        result[labels == label] = places[0]
    return result


def name_of(label: Any) -> str:
    """Return a label as it is shown: 1.0 is 1."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def is_same(label: Any, wanted: Any) -> bool:
    """Whether this is the label that is wanted; from a command line that is a text."""
    if isinstance(label, str) or not isinstance(wanted, str):
        same = label == wanted
        return bool(same) or (isinstance(label, str) and label == name_of(wanted))
    if isinstance(label, bool):
        return wanted.casefold() in (str(label).casefold(), str(int(label)))
    try:
        return float(wanted) == float(label)
    except (TypeError, ValueError):
        return str(label) == wanted
