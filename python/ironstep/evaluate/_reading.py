"""Predictions from a file: the columns that are asked for, checked."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
from pyarrow import compute

from ironstep._input_error import InputError, shown

from ._spelling import Columns, check_present, flat, of_labels, of_models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# What a column with a patient's number tends to be called.
_LIKE_A_PATIENT = re.compile(r"(patient|subject|person|participant|mrn|pid)", re.IGNORECASE)
_SUFFIXES = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """A file's columns; None where a column was not asked for, or a cell is empty."""

    name: str
    sha256: str
    n_rows: int
    label: NDArray[Any] | dict[str, NDArray[Any]]
    """Of several findings one column for each."""
    scores: dict[str, NDArray[np.float64] | dict[str, NDArray[np.float64]]]
    """Of several classes or findings one column for each; NaN where a cell is empty."""
    readers: dict[str, NDArray[Any]]
    group: NDArray[Any] | None
    """Numbers, −1 for an empty cell; names, if these were asked for."""
    by: dict[str, NDArray[Any]]
    weight: NDArray[np.float64] | None
    id: NDArray[Any] | None
    likely_group: str | None
    """A column that looks like patients, with repetitions, where no group was asked for."""


def read_predictions(
    path: str | Path,
    *,
    label: str | Sequence[str],
    scores: Sequence[str],
    classes: Sequence[str] | None = None,
    readers: Sequence[str] = (),
    group: str | None = None,
    by: Sequence[str] = (),
    weight: str | None = None,
    id: str | None = None,  # noqa: A002 - what the column is called
    group_names: bool = False,
) -> Predictions:
    """Read the columns of a CSV, TSV, Parquet or Arrow file.

    Parameters
    ----------
    path : path
        The suffix says which: .csv, .tsv, .tab, .txt, .parquet, .pq, .arrow, .feather, .ipc. Of a .csv
        file whose heading has semicolons and no comma, semicolons are the separators.
    label, scores : str or sequence of str
        Columns as `_spelling` says.
    classes : sequence of str, optional
        Names of the classes, in the order of listed columns.
    group, weight, id : str
        Names of columns.
    readers, by : sequence of str
        Names of columns.
    group_names : bool, default=False
        Whether groups are wanted by their names, which takes longer.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        In one line: what is wrong with the file.
    """
    path = Path(path)
    if not scores:
        raise InputError("score: got none; the name of a column at least expected")
    if not path.is_file():
        raise InputError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}")
    others = [*readers, *by, *(each for each in (group, weight, id) if each)]
    try:
        read = _Text(path) if path.suffix.lower() in _SUFFIXES else _Binary(path)
        labels, models = _spelled(path, read.columns, label, scores, classes, others)
        of_labels, of_scores = flat(labels), [name for of in models.values() for name in flat(of)]
        numbers = [*of_scores, *([weight] if weight else [])]
        names = [*([group] if group else []), *by, *([id] if id else [])]
        wanted = list(dict.fromkeys([*of_labels, *numbers, *readers, *names]))
        likely = None if group else _likely_group(read, wanted)
        table = read.table([*wanted, *([likely] if likely else [])], numbers, names)
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {_one_line(error)}") from None
    if table.num_rows == 0:
        raise InputError(f"{path}: no rows")
    columns = {name: table.column(name) for name in table.column_names}
    for name in (*of_labels, *readers):
        if pyarrow.types.is_binary(columns[name].type):
            raise InputError(f"{path}: cannot be read: column {shown(name)} is not UTF-8")

    def floats(of: Columns) -> Any:
        if isinstance(of, str):
            return _floats(path, of, columns[of])
        return {target: _floats(path, name, columns[name]) for target, name in of.items()}

    groups = None
    if group:
        groups = _strings(columns[group]) if group_names else _codes(columns[group])
    return Predictions(
        name=path.name,
        sha256=_sha256(path),
        n_rows=table.num_rows,
        label=_values(columns[labels])
        if isinstance(labels, str)
        else {finding: _values(columns[name]) for finding, name in labels.items()},
        scores={name: floats(of) for name, of in models.items()},
        readers={name: _values(columns[name]) for name in readers},
        group=groups,
        by={name: _strings(columns[name]) for name in by},
        weight=_floats(path, weight, columns[weight]) if weight else None,
        id=_strings(columns[id]) if id else None,
        likely_group=likely if likely and _repeats(columns[likely]) else None,
    )


def _spelled(
    path: Path,
    columns: list[str],
    label: str | Sequence[str],
    scores: Sequence[str],
    classes: Sequence[str] | None,
    others: Sequence[str],
) -> tuple[Columns, dict[str, Columns]]:
    """Find the columns of labels and models; errors name the file."""
    try:
        labels = of_labels([label] if isinstance(label, str) else label, columns)
        targets = classes if isinstance(labels, str) else list(labels)
        models = of_models(scores, columns, targets, [*flat(labels), *others])
        used = [name for of in (labels, *models.values()) for name in flat(of)]
        check_present([*used, *others], columns)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return labels, models


class _Text:
    """A file of separated values."""

    def __init__(self, path: Path) -> None:
        from pyarrow import csv as arrow_csv

        self.path, self.csv = path, arrow_csv
        with path.open("rb") as file:
            first = file.readline(1 << 20)
        if not first:
            raise InputError(f"{path}: the file is empty")
        try:
            heading = first.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: the heading is not UTF-8: {error.reason}") from None
        if "\0" in heading:
            raise InputError(f"{path}: no text: the heading has a zero byte")
        separator = _SUFFIXES[path.suffix.lower()]
        if separator not in heading:
            separator = next((other for other in ";\t," if other in heading), separator)
        self.separator = separator
        self.columns: list[str] = next(csv.reader([heading], delimiter=separator), [])

    def table(self, wanted: list[str], numbers: list[str], names: list[str]) -> pyarrow.Table:
        # Names stay text: patient 007 is not patient 7, and a date is as good a name as any.
        kinds: dict[str, Any] = dict.fromkeys(names, pyarrow.string())
        kinds.update(dict.fromkeys(numbers, pyarrow.float64()))
        try:
            return self._read(wanted, kinds)
        except pyarrow.ArrowInvalid as error:
            if "conversion error to double" not in str(error):
                raise
        texts = self._read(wanted, dict.fromkeys(wanted, pyarrow.string()))
        for name in numbers:
            _refuse_texts(self.path, name, texts.column(name))
        raise InputError(f"{self.path}: a score or weight is not a number")

    def _read(self, wanted: list[str], kinds: dict[str, Any]) -> pyarrow.Table:
        return self.csv.read_csv(
            self.path,
            parse_options=self.csv.ParseOptions(delimiter=self.separator, newlines_in_values=True),
            convert_options=self.csv.ConvertOptions(
                include_columns=wanted, column_types=kinds, strings_can_be_null=True
            ),
        )


class _Binary:
    """A Parquet or Arrow file."""

    def __init__(self, path: Path) -> None:
        suffix = path.suffix.lower()
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty")
        self.path = path
        if suffix in (".parquet", ".pq"):
            from pyarrow import parquet

            self.file: Any = parquet.ParquetFile(path)
            self.columns = list(self.file.schema_arrow.names)
        elif suffix in (".arrow", ".feather", ".ipc"):
            from pyarrow import feather

            self.file = feather.read_table(path)
            self.columns = list(self.file.column_names)
        else:
            raise InputError(
                f"{path}: got {suffix or 'no suffix'}; .csv, .tsv, .parquet or .arrow expected"
            )

    def table(self, wanted: list[str], numbers: list[str], names: list[str]) -> pyarrow.Table:  # noqa: ARG002 - types are the file's
        if isinstance(self.file, pyarrow.Table):
            return self.file.select(wanted)
        return self.file.read(columns=wanted)


def _likely_group(read: _Text | _Binary, wanted: list[str]) -> str | None:
    for name in read.columns:
        if _LIKE_A_PATIENT.search(name) and name not in wanted and read.columns.count(name) == 1:
            return name
    return None


def _repeats(column: pyarrow.ChunkedArray) -> bool:
    known = column.drop_null()
    return bool(len(known) > compute.count_distinct(known).as_py())


def _values(column: pyarrow.ChunkedArray) -> NDArray[Any]:
    """Labels: numbers where all are, with None for an empty cell."""
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pyarrow.types.is_string(column.type):
        return _strings(column)
    if column.null_count or pyarrow.types.is_boolean(column.type):
        return np.array(column.to_pylist(), dtype=object if column.null_count else None)
    return _array(column)


def _strings(column: pyarrow.ChunkedArray) -> NDArray[Any]:
    coded = _combined(column.cast(pyarrow.string()).dictionary_encode())
    names = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    return np.asarray(names[_indices(coded)])


def _codes(column: pyarrow.ChunkedArray) -> NDArray[Any]:
    """Numbers in the place of names, in the names' order; −1 for an empty cell."""
    coded = column if pyarrow.types.is_dictionary(column.type) else column.dictionary_encode()
    coded = _combined(coded)
    names = np.array(coded.dictionary.to_pylist())
    if names.dtype.kind == "O":
        names = names.astype(str)
    rank = np.empty(len(names) + 1, dtype=np.int64)
    rank[:-1][np.argsort(names, kind="stable")] = np.arange(len(names))
    rank[-1] = -1
    return np.asarray(rank[_indices(coded)], dtype=np.int64)


def _combined(coded: pyarrow.ChunkedArray) -> pyarrow.DictionaryArray:
    """Return one array with one dictionary."""
    coded = coded.unify_dictionaries().combine_chunks()
    return coded.chunk(0) if isinstance(coded, pyarrow.ChunkedArray) else coded


def _indices(coded: pyarrow.DictionaryArray) -> NDArray[Any]:
    """Return places in the dictionary; of an empty cell one behind its end."""
    indices = coded.indices
    if indices.null_count:
        indices = compute.fill_null(indices, len(coded.dictionary))
    return _array(indices)


def _array(column: pyarrow.Array | pyarrow.ChunkedArray) -> NDArray[Any]:
    """Return numbers without gaps."""
    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pyarrow.ChunkedArray):  # as older ones have it
            column = pyarrow.concat_arrays(column.chunks)
    if pyarrow.types.is_floating(column.type) or pyarrow.types.is_integer(column.type):
        # Not to_numpy, which imports pandas where that is installed: 0.2 s.
        return np.asarray(np.from_dlpack(column))
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _floats(path: Path, name: str, column: pyarrow.ChunkedArray) -> NDArray[np.float64]:
    kind = column.type
    if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)):
        _refuse_texts(path, name, column)
        raise InputError(f"{path}: column {shown(name)}: got {kind}; numbers expected")
    column = column.cast(pyarrow.float64(), safe=False)
    if column.null_count:
        return np.array(column.to_pylist(), dtype=np.float64)  # None is NaN
    return _array(column)


def _refuse_texts(path: Path, name: str, column: pyarrow.ChunkedArray) -> None:
    if not pyarrow.types.is_string(column.type):
        return
    for row, text in enumerate(column.to_pylist(), start=1):
        if text is None:
            continue
        try:
            float(text)
        except ValueError:
            comma = "; numbers with a decimal point expected" if "," in text else ""
            raise InputError(
                f"{path}: column {shown(name)}, row {row}: {shown(text)} is not a number{comma}"
            ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
