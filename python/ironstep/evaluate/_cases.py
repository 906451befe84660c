"""The cases to judge: labels, scores and what belongs to them, checked and without gaps."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep._input_error import InputError, plain, shown

from ._columns import (
    Codes,
    Flags,
    Floats,
    codes_of,
    missing_in,
    named,
    numbers,
    one_column,
    two_classes,
)
from ._options import Missing
from ._targets import Kind, Truth, read_scores, read_truth


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Which cases came in, and which are judged."""

    n_rows: int
    n_excluded: int
    excluded_for: dict[str, int]
    """Rows by the column in which something is missing; a row may lack several."""
    replaced: dict[str, int]
    """Missing scores and readings by model or reader that count as a positive or a negative test."""
    n_before_aggregation: int | None
    """Cases that were joined to one a group."""
    n_cases: int
    n_positive: int | None
    """None where there are several classes or findings."""
    n_negative: int | None
    n_of_target: dict[str, int]
    """Cases of each class, or with each finding; empty where there are two classes."""
    positive_label: str
    negative_label: str
    n_groups: int | None
    n_groups_positive: int | None
    """Groups with a positive case."""
    most_in_a_group: int | None


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Columns of one length, nothing missing."""

    kind: Kind
    targets: tuple[str, ...]
    """The classes or the findings; none where there are two classes."""
    truth: Truth
    """Whether a case is positive; of several classes the number of its own; a column a finding."""
    scores: dict[str, Floats]
    """For each model one column, or one for each target."""
    readings: dict[str, Flags]
    """What human readers call positive."""
    groups: Codes | None
    group_names: NDArray[Any] | None
    """By the groups' numbers."""
    by: dict[str, NDArray[Any]]
    weights: Floats | None
    ids: NDArray[Any]
    flow: Flow
    called: dict[str, Flags] | None = None
    """What a model calls positive, where no threshold decides: of one class against the rest."""

    def __len__(self) -> int:
        return len(self.truth)

    def part(self, which: Flags | NDArray[np.intp]) -> Cases:
        """Return some of the cases, by flags or by row numbers."""

        def of(columns: dict[str, Any]) -> dict[str, Any]:
            return {name: values[which] for name, values in columns.items()}

        return replace(
            self,
            truth=self.truth[which],
            scores=of(self.scores),
            readings=of(self.readings),
            groups=None if self.groups is None else self.groups[which],
            by=of(self.by),
            weights=None if self.weights is None else self.weights[which],
            ids=self.ids[which],
            called=None if self.called is None else of(self.called),
        )

    def questions(self) -> Iterator[tuple[str | None, Cases]]:
        """Return what is to be answered by yes or no: each finding; each class, against the rest."""
        if self.kind == "binary":
            yield None, self
            return
        called = {name: score.argmax(axis=1) for name, score in self.scores.items()}
        for number, target in enumerate(self.targets):
            one_class = self.kind == "multiclass"
            yield (
                target,
                replace(
                    self,
                    kind="binary",
                    truth=self.truth == number if one_class else self.truth[:, number],
                    scores={name: score[:, number] for name, score in self.scores.items()},
                    called={name: of == number for name, of in called.items()}
                    if one_class
                    else None,
                ),
            )


def make_cases(
    y_true: Any,
    scores: Any,
    *,
    classes: Sequence[Any] | None = None,
    readings: Any = None,
    groups: Any = None,
    by: Any = None,
    weights: Any = None,
    ids: Any = None,
    positive: Any,
    missing: Missing,
    frequency: bool = False,
    at_least: float | None = None,
) -> Cases:
    """Check all columns, deal with what is missing, and repeat what has a frequency.

    `at_least`: a threshold that a missing score which counts as positive has to reach.
    """
    columns, classes_of_columns = read_scores(scores, classes)
    target = read_truth(y_true, columns, classes_of_columns, classes)
    n = len(target)
    if n == 0:
        raise InputError("y_true: no rows")
    weight = None if weights is None else numbers(weights, "weights")
    group = None if groups is None else one_column(groups, "groups")
    subgroups = {name: one_column(of, f"by: {shown(name)}") for name, of in named(by, "by").items()}
    reading = {
        name: one_column(of, f"readers: {shown(name)}")
        for name, of in named(readings, "reader").items()
    }
    _check_names(columns, reading)
    if reading and target.kind != "binary":
        raise InputError("readers: of two classes alone")
    id_column = np.arange(1, n + 1) if ids is None else one_column(ids, "ids")
    others = {"groups": group, "weights": weight, **subgroups}
    for name, values in {**columns, **reading, **others, "ids": id_column}.items():
        if values is not None and len(values) != n:
            raise InputError(f"{shown(name)}: got {len(values)} rows; {n} expected, as of y_true")

    gaps = target.gaps()
    gaps |= {name: missing_in(of) for name, of in others.items() if of is not None}
    if group is not None and group.dtype.kind in "iu":
        gaps["groups"] = group < 0
    score_gaps = {name: np.isnan(score) for name, score in columns.items()}
    reading_gaps = {name: missing_in(of) for name, of in reading.items()}
    answers = {name: _any(gap) for name, gap in {**score_gaps, **reading_gaps}.items()}
    if missing == "error":
        _refuse_gaps({**gaps, **answers})
    replaced: dict[str, int] = {}
    if missing in ("positive", "negative"):
        if target.kind == "multiclass":
            raise InputError(
                f"missing: got {missing}; error or exclude expected of several classes"
            )
        for name, gap in score_gaps.items():
            _fill(columns[name], gap, missing, at_least, name)
        replaced = {name: int(gap.sum()) for name, gap in answers.items() if gap.any()}
    else:
        gaps |= answers
    excluded = np.logical_or.reduce(list(gaps.values()))
    kept = ~excluded
    if not kept.any():
        raise InputError("no row has all of label, scores, groups and weights")
    truth, labels = target.truth(kept, positive)
    if weight is not None:
        weight = weight[kept]
        _check_weights(weight, frequency)
    codes = group_names = None
    if group is not None:
        codes, group_names = codes_of(group[kept])
    cases = Cases(
        kind=target.kind,
        targets=target.names,
        truth=truth,
        scores={name: score[kept] for name, score in columns.items()},
        readings={
            name: _reading(of[kept], reading_gaps[name][kept], positive, missing, name)
            for name, of in reading.items()
        },
        groups=codes,
        group_names=group_names,
        by={name: values[kept] for name, values in subgroups.items()},
        weights=weight,
        ids=id_column[kept],
        flow=Flow(
            n_rows=n,
            n_excluded=int(excluded.sum()),
            excluded_for={plain(name): int(gap.sum()) for name, gap in gaps.items() if gap.any()},
            replaced={plain(name): of for name, of in replaced.items()},
            n_before_aggregation=None,
            n_cases=0,
            n_positive=None,
            n_negative=None,
            n_of_target={},
            positive_label=labels[1],
            negative_label=labels[0],
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
        if cases.kind == "binary" and (cases.truth.all() or not cases.truth.any()):
            raise InputError("y_true: one class weighs nothing; cases of both expected")
    return counted(cases)


def counted(cases: Cases) -> Cases:
    """Return the cases with the numbers of what they have."""
    n, truth = len(cases), cases.truth
    totals: dict[str, Any] = dict.fromkeys(("n_groups", "n_groups_positive", "most_in_a_group"))
    totals["n_cases"] = n
    if cases.kind == "binary":
        n_positive = int(truth.sum())
        totals |= dict(n_positive=n_positive, n_negative=n - n_positive)
    else:
        of_targets = (
            np.bincount(truth, minlength=len(cases.targets))
            if cases.kind == "multiclass"
            else truth.sum(axis=0)
        )
        totals["n_of_target"] = dict(zip(cases.targets, of_targets.tolist(), strict=True))
    if cases.groups is not None:
        per_group = np.bincount(cases.groups)
        totals["n_groups"] = int((per_group > 0).sum())
        totals["most_in_a_group"] = int(per_group.max())
        if cases.kind == "binary":
            totals["n_groups_positive"] = len(np.unique(cases.groups[truth]))
    return replace(cases, flow=replace(cases.flow, **totals))


def fingerprint(cases: Cases) -> str:
    """Return a SHA-256 over labels, scores, groups and weights of the cases that are judged."""
    digest = hashlib.sha256(cases.truth.tobytes())
    for name, values in {**cases.scores, **cases.readings}.items():
        digest.update(name.encode("utf-8", "replace") + b"\0")
        digest.update(values.tobytes())
    for column in (cases.groups, cases.weights):
        digest.update(b"\0" if column is None else column.tobytes())
    for name, of in cases.by.items():
        digest.update("\0".join([name, *map(str, of)]).encode("utf-8", "replace"))
    return digest.hexdigest()


def _check_names(models: dict[str, Any], readers: dict[str, Any]) -> None:
    if len({plain(name) for name in (*models, *readers)}) < len(models) + len(readers):
        raise InputError("scores: two models or readers have one name")


def _any(gap: Flags) -> Flags:
    return gap if gap.ndim == 1 else np.asarray(gap.any(axis=1))


def _refuse_gaps(gaps: dict[str, Flags]) -> None:
    for name, gap in gaps.items():
        if gap.any():
            raise InputError(
                f"{shown(name)}, row {int(gap.argmax()) + 1}: nothing there "
                f"({int(gap.sum())} rows in all); missing='exclude', 'positive' or 'negative' "
                "(on the command line --missing) says what to do with them"
            )


def _fill(score: Floats, gap: Flags, missing: Missing, at_least: float | None, name: str) -> None:
    """Give each missing score the highest or the lowest that the model gave, in place."""
    for of, holes in ((score, gap),) if score.ndim == 1 else zip(score.T, gap.T, strict=True):
        if holes.all():
            raise InputError(f"{shown(name)}: no score at all")
        if holes.any():
            known = of[~holes]
            most = max(known.max(), -math.inf if at_least is None else at_least)
            of[holes] = most if missing == "positive" else known.min()


def _reading(values: NDArray[Any], gap: Flags, positive: Any, missing: Missing, name: str) -> Flags:
    """What a reader calls positive; a missing reading is what `missing` says."""
    result = np.full(len(values), missing == "positive")
    result[~gap] = two_classes(values[~gap], positive, f"readers: {shown(name)}")[0]
    return result


def _check_weights(weight: Floats, frequency: bool) -> None:
    if (weight < 0).any() or np.isinf(weight).any() or not weight.any():
        raise InputError("weights: finite numbers of at least 0, not all 0, expected")
    if frequency and (weight % 1 != 0).any():
        wrong = float(weight[weight % 1 != 0][0])
        raise InputError(f"weights: got {wrong:g}; whole numbers expected of frequencies")
