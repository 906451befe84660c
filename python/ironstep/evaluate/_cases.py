"""The cases to judge: labels, scores and what belongs to them, checked and without gaps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics._inputs import column

from ._errors import InputError, plain, shown

Missing = Literal["error", "exclude", "positive", "negative"]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Which cases came in, and which are judged."""

    n_rows: int
    n_excluded: int
    excluded_for: dict[str, int]
    """Rows by the column in which something is missing; a row may lack several."""
    replaced: dict[str, int]
    """Missing scores by model that count as a positive or a negative test."""
    n_cases: int
    n_positive: int
    n_negative: int
    positive_label: str
    negative_label: str
    n_groups: int | None
    n_groups_positive: int | None
    """Groups with a positive case."""
    most_in_a_group: int | None


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Columns of one length, nothing missing."""

    truth: Flags
    scores: dict[str, Floats]
    groups: NDArray[np.int64] | None
    by: dict[str, NDArray[Any]]
    weights: Floats | None
    ids: NDArray[Any]
    flow: Flow

    def part(self, which: Flags | NDArray[np.intp]) -> Cases:
        """Return some of the cases, by flags or by row numbers."""
        return replace(
            self,
            truth=self.truth[which],
            scores={name: score[which] for name, score in self.scores.items()},
            groups=None if self.groups is None else self.groups[which],
            by={name: values[which] for name, values in self.by.items()},
            weights=None if self.weights is None else self.weights[which],
            ids=self.ids[which],
        )


def score_columns(scores: Any, name: str = "scores") -> dict[str, Floats]:
    """Return one column of float64 for each model, NaN where a score is missing."""
    if not isinstance(scores, Mapping):
        if hasattr(scores, "columns") and hasattr(scores, "__getitem__"):
            scores = {str(each): scores[each] for each in scores.columns}
        elif hasattr(scores, "column_names"):  # pyarrow
            scores = {str(each): scores[each] for each in scores.column_names}
        else:
            scores = {"model": scores}
    if not scores:
        raise InputError(f"{name}: got none; a column of scores at least expected")
    if len({plain(model) for model in scores}) < len(scores):
        raise InputError(f"{name}: two models have one name")
    result = {}
    for model, values in scores.items():
        try:
            result[str(model)] = np.array(np.asarray(values), dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{name}: {shown(model)}: numbers expected") from None
        if result[str(model)].ndim != 1:
            shape = result[str(model)].shape
            raise InputError(f"{name}: {shown(model)}: got shape {shape}; one column expected")
        if (infinite := np.isinf(result[str(model)])).any():
            row = int(infinite.argmax()) + 1
            raise InputError(f"{name}: {shown(model)}, row {row}: infinite; a number expected")
    return result


def make_cases(
    y_true: Any,
    scores: Any,
    *,
    groups: Any,
    by: Any,
    weights: Any,
    ids: Any,
    positive: Any,
    missing: Missing,
    frequency: bool,
    at_least: float | None,
) -> Cases:
    """Check all columns, deal with what is missing, and repeat what has a frequency.

    `at_least`: a threshold that a missing score which counts as positive has to reach.
    """
    if missing not in ("error", "exclude", "positive", "negative"):
        raise InputError(f"missing: got {missing!r}; error, exclude, positive or negative expected")
    columns = score_columns(scores)
    labels = _one_column(y_true, "y_true")
    n = len(labels)
    by_columns = {str(key): _one_column(of, f"by: {shown(key)}") for key, of in _named(by).items()}
    weight = None if weights is None else _numbers(weights, "weights")
    group = None if groups is None else _one_column(groups, "groups")
    others = {"groups": group, "weights": weight, **by_columns}
    id_column = np.arange(1, n + 1) if ids is None else _one_column(ids, "ids")
    for name, values in {**columns, **others, "ids": id_column}.items():
        if values is not None and len(values) != n:
            raise InputError(f"{shown(name)}: got {len(values)} rows; {n} expected, as of y_true")
    if n == 0:
        raise InputError("y_true: no rows")

    gaps = {"label": missing_in(labels)}
    gaps |= {name: missing_in(of) for name, of in others.items() if of is not None}
    if group is not None and group.dtype.kind in "iu":
        gaps["groups"] = group < 0
    score_gaps = {name: np.isnan(score) for name, score in columns.items()}
    if missing == "error":
        for name, gap in {**gaps, **score_gaps}.items():
            if gap.any():
                raise InputError(
                    f"{shown(name)}, row {int(gap.argmax()) + 1}: nothing there "
                    f"({int(gap.sum())} rows in all); missing='exclude', 'positive' or 'negative' "
                    "(on the command line --missing) says what to do with them"
                )
    replaced = {}
    if missing in ("positive", "negative"):
        for name, gap in score_gaps.items():
            if gap.all():
                raise InputError(f"{shown(name)}: no score at all")
            if gap.any():
                replaced[name] = int(gap.sum())
                known = columns[name][~gap]
                most = max(known.max(), -math.inf if at_least is None else at_least)
                columns[name][gap] = most if missing == "positive" else known.min()
    else:
        gaps |= score_gaps
    excluded = np.logical_or.reduce(list(gaps.values()))
    kept = ~excluded
    if not kept.any():
        raise InputError("no row has all of label, scores, groups and weights")
    truth, names = _truth(labels[kept], positive)
    codes = None if group is None else _codes(group[kept])
    if weight is not None:
        weight = weight[kept]
        if (weight < 0).any() or np.isinf(weight).any() or not weight.any():
            raise InputError("weights: finite numbers of at least 0, not all 0, expected")
        if frequency and (weight % 1 != 0).any():
            wrong = float(weight[weight % 1 != 0][0])
            raise InputError(f"weights: got {wrong:g}; whole numbers expected of frequencies")
    cases = Cases(
        truth=truth,
        scores={name: score[kept] for name, score in columns.items()},
        groups=codes,
        by={name: values[kept] for name, values in by_columns.items()},
        weights=weight,
        ids=id_column[kept],
        flow=Flow(
            n_rows=n,
            n_excluded=int(excluded.sum()),
            excluded_for={plain(name): int(gap.sum()) for name, gap in gaps.items() if gap.any()},
            replaced=replaced,
            n_cases=0,
            n_positive=0,
            n_negative=0,
            positive_label=names[1],
            negative_label=names[0],
            n_groups=None,
            n_groups_positive=None,
            most_in_a_group=None,
        ),
    )
    if weight is not None:
        if frequency:
            rows = np.repeat(np.arange(len(weight)), weight.astype(np.int64))
            cases = replace(cases.part(rows), weights=None)
        else:
            cases = cases.part(weight > 0)  # as ironstep.metrics leaves out what weighs nothing
        if cases.truth.all() or not cases.truth.any():
            raise InputError("y_true: one class weighs nothing; cases of both expected")
    return replace(cases, flow=replace(cases.flow, **_totals(cases)))


def _totals(cases: Cases) -> dict[str, Any]:
    n, n_positive = len(cases.truth), int(cases.truth.sum())
    totals: dict[str, Any] = dict(n_cases=n, n_positive=n_positive, n_negative=n - n_positive)
    if cases.groups is not None:
        per_group = np.bincount(cases.groups)
        totals["n_groups"] = int((per_group > 0).sum())
        totals["n_groups_positive"] = len(np.unique(cases.groups[cases.truth]))
        totals["most_in_a_group"] = int(per_group.max())
    return totals


def fingerprint(cases: Cases) -> str:
    """Return a SHA-256 over labels, scores, groups and weights of the cases that are judged."""
    digest = hashlib.sha256(cases.truth.tobytes())
    for name, score in cases.scores.items():
        digest.update(name.encode("utf-8", "replace") + b"\0" + score.tobytes())
    for numbers in (cases.groups, cases.weights):
        digest.update(b"\0" if numbers is None else numbers.tobytes())
    for name, values in cases.by.items():
        digest.update("\0".join([name, *map(str, values)]).encode("utf-8", "replace"))
    return digest.hexdigest()


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


def _named(by: Any) -> dict[Any, Any]:
    if by is None:
        return {}
    if isinstance(by, Mapping):
        return dict(by)
    if hasattr(by, "columns") and hasattr(by, "__getitem__"):
        return {each: by[each] for each in by.columns}
    return {str(getattr(by, "name", None) or "by"): by}


def _one_column(values: Any, name: str) -> NDArray[Any]:
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


def _numbers(values: Any, name: str) -> Floats:
    try:
        return np.asarray(_one_column(values, name), dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: numbers expected") from None


def _codes(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind == "O":
        values = values.astype(str)
    return np.unique(values, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _truth(labels: NDArray[Any], positive: Any) -> tuple[Flags, tuple[str, str]]:
    """Which cases are positive, and the names of the negative and the positive label."""
    if labels.dtype.kind == "O":
        distinct = sorted(set(labels.tolist()), key=lambda label: (str(type(label)), str(label)))
    else:
        distinct = np.unique(labels).tolist()
    quoted = ", ".join(shown(name_of(label)) for label in distinct[:6])
    folded = {"".join(name_of(label).split()).casefold() for label in distinct}
    if 1 < len(distinct) <= 50 and len(folded) < len(distinct):
        raise InputError(f"label: a label is spelled in two ways: {quoted}")
    if len(distinct) > 2:
        more = ", …" if len(distinct) > 6 else ""
        raise InputError(f"label: got {len(distinct)} different ones, {quoted}{more}; two expected")
    of_positive = [label for label in distinct if _is_same(label, positive)]
    if len(distinct) == 1:
        raise InputError(
            f"label: one class: {'the only row has' if len(labels) == 1 else 'all rows have'} "
            f"{quoted}; cases of both classes expected"
        )
    if len(of_positive) != 1:
        raise InputError(
            f"positive: got {shown(positive)}; one of the labels {quoted} expected "
            "(on the command line --positive)"
        )
    (yes,) = of_positive
    no = next(label for label in distinct if label is not yes)
    return np.asarray(labels == yes, dtype=np.bool_), (plain(name_of(no)), plain(name_of(yes)))


def name_of(label: Any) -> str:
    """Return a label as it is shown: 1.0 is 1."""
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def _is_same(label: Any, positive: Any) -> bool:
    """Whether this is the label that `positive` names; from a command line that is a text."""
    if isinstance(label, str) or not isinstance(positive, str):
        same = label == positive
        return bool(same) or (isinstance(label, str) and label == name_of(positive))
    if isinstance(label, bool):
        return positive.casefold() in (str(label).casefold(), str(int(label)))
    try:
        return float(positive) == float(label)
    except (TypeError, ValueError):
        return str(label) == positive
