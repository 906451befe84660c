"""One model judged over all classes, or all findings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep._input_error import plain

from ._ask import row
from ._cases import Cases
from ._columns import Flags, Floats
from ._criteria import Criterion, overall_criteria
from ._judging import Progress, calibrated, most_extreme
from ._options import Options
from ._results import Mistake, Overall, Row


def judge_overall(
    cases: Cases, name: str, called: NDArray[Any], options: Options, progress: Progress
) -> Overall:
    """Judge a model; `called` are numbers of classes, or flags of findings."""
    progress(f"{plain(name)}: criteria over all {len(cases.targets)}")
    score = cases.scores[name]
    one_class = cases.kind == "multiclass"
    is_probability = one_class and _sum_to_one(score)
    notes: list[str] = []
    if one_class and not is_probability:
        notes.append(
            "scores of a case that do not sum to 1, or are not from 0 to 1, are no probabilities: no Brier "
            "score, log loss or calibration"
        )
    rows = [
        overall_row(criterion, cases, score, called, options)
        for criterion in overall_criteria(cases.kind, len(cases.targets))
        if criterion.of != "probability" or is_probability
    ]
    calibration = confusion = None
    mistakes: tuple[Mistake, ...] = ()
    if one_class:
        right = np.asarray(called == cases.truth)
        if is_probability:
            calibration = calibrated(cases, right, score.max(axis=1).clip(0, 1), options, notes)
        confusion = _confusion(cases, called)
        mistakes = tuple(_mistakes(cases, score, called, right))
    return Overall(
        name=plain(name),
        rows=tuple(rows),
        confusion=confusion,
        calibration=calibration,
        mistakes=mistakes,
        notes=tuple(notes),
    )


def overall_row(
    criterion: Criterion, cases: Cases, score: Floats, called: NDArray[Any], options: Options
) -> Row:
    """Return a criterion of scores or of what is called, over all classes of the evaluation."""
    # Also of those that these cases lack: then there is no mean over all.
    needs_labels = cases.kind == "multiclass" and (
        criterion.key.startswith("macro_") or criterion.of != "called"
    )
    if needs_labels:
        labels = {"labels": np.arange(len(cases.targets))}
        criterion = criterion._replace(params={**(criterion.params or {}), **labels})
    answers = called if criterion.of == "called" else score
    return row(criterion, cases, answers, options)


def called_by(cases: Cases, thresholds: dict[str, list[float]]) -> dict[str, NDArray[Any]]:
    """Return what each model calls: a class, or which findings."""
    if cases.kind == "multiclass":
        return {name: score.argmax(axis=1) for name, score in cases.scores.items()}
    return {
        name: score >= (np.array(thresholds[name]) if score.ndim == 2 else thresholds[name][0])
        for name, score in cases.scores.items()
    }


def _sum_to_one(score: Floats) -> bool:
    # A percent: probabilities in files are rounded.
    sums = score.sum(axis=1)
    return bool(score.min() >= 0 and score.max() <= 1 and np.abs(sums - 1).max() <= 0.01)


def _confusion(cases: Cases, called: NDArray[Any]) -> Floats:
    size = len(cases.targets)
    cells = np.bincount(cases.truth * size + called, cases.weights, minlength=size * size)
    return cells.astype(np.float64).reshape(size, size)


def _mistakes(cases: Cases, score: Floats, called: NDArray[Any], right: Flags) -> list[Mistake]:
    wrong = np.flatnonzero(~right)
    top = score[wrong, called[wrong]]
    return [
        Mistake(
            id=plain(cases.ids[at]),
            label=cases.targets[cases.truth[at]],
            called=cases.targets[called[at]],
            score=float(score[at, called[at]]),
        )
        for at in most_extreme(-top, wrong)
    ]
