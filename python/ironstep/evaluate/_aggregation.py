"""Results a patient: the cases of one are joined to one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep._input_error import InputError, shown

from ._cases import Cases, counted
from ._options import Aggregate


def aggregated(cases: Cases, how: Aggregate) -> Cases:
    """Return one case a group: its greatest or mean score, positive where one of its cases is."""
    groups, names = cases.groups, cases.group_names
    if groups is None or names is None:
        raise InputError("aggregate: needs groups (on the command line --group)")
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    first = order[starts]

    def highest(values: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(np.maximum.reduceat(values[order], starts))

    def joined(score: NDArray[np.float64]) -> NDArray[np.float64]:
        if how == "max":
            return highest(score)
        sums = np.add.reduceat(score[order], starts)
        return np.asarray(sums / (sizes if score.ndim == 1 else sizes[:, None]))

    def shared(values: NDArray[Any], name: str) -> NDArray[Any]:
        of_first = values[first]
        differs = values[order] != np.repeat(of_first, sizes)
        if differs.any():
            group = names[groups[order[int(differs.argmax())]]]
            raise InputError(
                f"aggregate: {name} differs within the group {shown(group)}; one for all its cases "
                "expected"
            )
        return of_first

    truth = cases.truth
    result = replace(
        cases,
        truth=shared(truth, "the label") if cases.kind == "multiclass" else highest(truth),
        scores={name: joined(score) for name, score in cases.scores.items()},
        readings={name: highest(reading) for name, reading in cases.readings.items()},
        groups=None,
        by={name: shared(values, shown(name)) for name, values in cases.by.items()},
        weights=None if cases.weights is None else shared(cases.weights, "the weight"),
        ids=names[groups[first]],
        flow=replace(cases.flow, n_before_aggregation=len(cases)),
    )
    if cases.kind == "binary" and result.truth.all():
        raise InputError(
            "aggregate: every group has a positive case; cases of both classes expected"
        )
    return counted(result)
