"""What is asked: one question of two classes, one class of several, or several findings at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ironstep._input_error import InputError, plain, shown

from ._columns import (
    Flags,
    Floats,
    distinct_labels,
    frame,
    is_table,
    missing_in,
    name_of,
    numbers_of_classes,
    one_column,
    quoted,
    two_classes,
)

Kind = Literal["binary", "multiclass", "multilabel"]
Truth = NDArray[Any]

MOST_TARGETS = 100


@dataclass(frozen=True)
class Target:
    """Labels as they came in, and what they answer."""

    kind: Kind
    names: tuple[str, ...]
    labels: dict[str, NDArray[Any]]
    classes: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.labels.values())))

    def gaps(self) -> dict[str, Flags]:
        """Where a label is missing."""
        return {name: missing_in(labels) for name, labels in self.labels.items()}

    def truth(self, kept: Flags, positive: Any) -> tuple[Truth, tuple[str, str]]:
        """Labels of the cases that are kept as flags or numbers; names of negative and positive."""
        labels = {name: of[kept] for name, of in self.labels.items()}
        if self.kind == "binary":
            return two_classes(labels["label"], positive)
        if self.kind == "multiclass":
            numbers = numbers_of_classes(labels["label"], self.classes)
            if len(present := np.unique(numbers)) < 2:
                only = quoted([self.classes[number] for number in present])
                raise InputError(f"label: one class: all rows have {only}; two at least expected")
            return numbers, ("", "")
        found = [two_classes(of, positive, shown(name)) for name, of in labels.items()]
        return np.stack([flags for flags, _ in found], axis=1), found[0][1]


def read_scores(
    scores: Any, classes: Sequence[Any] | None
) -> tuple[dict[str, Floats], tuple[str, ...] | None]:
    """Return for each model one column, or one a target; and what the columns are called, if they are.

    Missing scores are NaN.
    """
    if not isinstance(scores, Mapping):
        scores = frame(scores) if is_table(scores) else {"model": scores}
    if not scores:
        raise InputError("scores: got none; a column of scores at least expected")
    result: dict[str, Floats] = {}
    names: tuple[str, ...] | None = None
    for model, values in scores.items():
        if is_table(values) or isinstance(values, Mapping):
            columns = dict(values) if isinstance(values, Mapping) else frame(values)
            its_names = tuple(map(name_of, columns))
            names = names or (its_names if classes is None else tuple(map(name_of, classes)))
            if sorted(its_names) != sorted(names):
                raise InputError(
                    f"scores: {shown(model)}: got columns {quoted(its_names)}; {quoted(names)} expected"
                )
            by_name = dict(zip(its_names, columns.values(), strict=True))
            parts = [_floats(by_name[name], f"{shown(model)}, {shown(name)}") for name in names]
            result[str(model)] = np.stack(parts, axis=1)
        else:
            result[str(model)] = _floats(values, shown(model))
    for model, score in result.items():
        _check(score, model)
    widths = {score.shape[1:] for score in result.values()}
    if len(widths) > 1:
        raise InputError(
            "scores: models have different numbers of columns; as many of each expected"
        )
    return result, names


def _floats(values: Any, name: str) -> Floats:
    try:
        return np.array(np.asarray(values), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"scores: {name}: numbers expected") from None


def _check(score: Floats, model: str) -> None:
    if score.ndim not in (1, 2) or (score.ndim == 2 and score.shape[1] < 2):
        raise InputError(
            f"scores: {shown(model)}: got shape {score.shape}; one column expected, or one for each "
            "class or finding"
        )
    if score.ndim == 2 and score.shape[1] > MOST_TARGETS:
        raise InputError(
            f"scores: {shown(model)}: got {score.shape[1]} columns; {MOST_TARGETS} at most expected"
        )
    infinite = np.isinf(score)
    if infinite.any():
        rows = infinite if infinite.ndim == 1 else infinite.any(axis=1)
        row = int(rows.argmax()) + 1
        raise InputError(f"scores: {shown(model)}, row {row}: infinite; a number expected")


def read_truth(
    y_true: Any,
    scores: dict[str, Floats],
    names: tuple[str, ...] | None,
    classes: Sequence[Any] | None,
) -> Target:
    """Find out what the labels and the shape of the scores ask for."""
    width = next(iter(scores.values())).shape[1:]
    findings = _findings(y_true, names)
    if findings is None:
        labels = {"label": one_column(y_true, "y_true")}
        if not width:
            if classes is not None:
                raise InputError("classes: need one column of scores for each class")
            return Target("binary", (), labels)
        if names is not None:
            order: tuple[Any, ...] = names
        elif classes is not None:
            order = tuple(classes)
        else:
            known = labels["label"][~missing_in(labels["label"])]
            order = tuple(distinct_labels(known))
            if len(order) == 1:
                raise InputError(f"label: one class: all rows have {quoted(order)}")
        _check_width(order, width[0], "classes")
        return Target("multiclass", _plain_names(order), labels, order)
    if not width:
        raise InputError("scores: got one column; one for each finding expected")
    if names is not None and sorted(findings) != sorted(names):
        raise InputError(
            f"scores: got columns {quoted(names)}; those of y_true, {quoted(list(findings))}, expected"
        )
    if names is not None:
        findings = {name: findings[name] for name in names}
    _check_width(list(findings), width[0], "findings")
    lengths = {len(of) for of in findings.values()}
    if len(lengths) > 1:
        raise InputError("y_true: columns of different lengths")
    return Target("multilabel", _plain_names(findings), findings)


def _findings(y_true: Any, names: tuple[str, ...] | None) -> dict[str, NDArray[Any]] | None:
    """Columns of labels; None where there is one alone."""
    if isinstance(y_true, Mapping):
        columns = {str(name): of for name, of in y_true.items()}
    elif is_table(y_true):
        columns = frame(y_true)
    elif getattr(y_true, "ndim", 1) == 2:
        called = names or tuple(f"finding {number + 1}" for number in range(y_true.shape[1]))
        if len(called) != y_true.shape[1]:
            raise InputError(f"y_true: got {y_true.shape[1]} columns; {len(called)} expected")
        columns = dict(zip(called, np.asarray(y_true).T, strict=True))
    else:
        return None
    return {name: one_column(of, f"y_true: {shown(name)}") for name, of in columns.items()}


def _check_width(order: Sequence[Any], width: int, what: str) -> None:
    if len(order) != width:
        raise InputError(
            f"scores: got {width} columns; one for each of the {len(order)} {what}, "
            f"{quoted(order)}, expected"
        )


def _plain_names(names: Any) -> tuple[str, ...]:
    result = tuple(plain(name_of(name)) for name in names)
    if len(set(result)) < len(result):
        raise InputError(f"classes: two have one name: {quoted(result)}")
    return result
