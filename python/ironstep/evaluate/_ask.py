"""What is asked of `ironstep.metrics`: one criterion, on some cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep import metrics
from ironstep.metrics import Estimate
from ironstep.metrics._confidence_interval import intervals_of_counts

from ._cases import Cases
from ._columns import Flags
from ._criteria import Criterion
from ._options import Options
from ._results import Row


def weighting(cases: Cases) -> dict[str, Any]:
    """Return the cases' sampling weights as arguments; frequencies are cases by now."""
    if cases.weights is None:
        return {}
    return dict(sample_weight=cases.weights, weight_type="sampling")


def common_arguments(cases: Cases, options: Options) -> dict[str, Any]:
    """Return what every interval and comparison takes."""
    return dict(
        groups=cases.groups,
        confidence_level=options.confidence_level,
        n_resamples=options.n_resamples,
        random_state=options.random_state,
        **weighting(cases),
    )


def row(criterion: Criterion, cases: Cases, answers: NDArray[Any], options: Options) -> Row:
    """Return the criterion of what is called, or of the scores, with its interval."""
    try:
        found: Estimate | ValueError = metrics.confidence_interval(
            *question(criterion.key, cases, answers),
            metric_params=criterion.params,
            **common_arguments(cases, options),
        )
    except ValueError as error:
        found = error
    return _row(criterion, found)


def rows_of_counts(
    criteria: Sequence[Criterion], cases: Cases, called: Flags, options: Options
) -> tuple[Row, ...]:
    """Return criteria of two classes of what is called: all of one 2×2 table."""
    found = intervals_of_counts(
        [(each.key, each.params or {}) for each in criteria],
        cases.truth,
        called,
        **common_arguments(cases, options),
    )
    return tuple(map(_row, criteria, found))


def _row(criterion: Criterion, found: Estimate | ValueError) -> Row:
    key, title = criterion.key, criterion.title
    params = criterion.params or {}
    if "prevalence" in params:
        key += "_at_prevalence"
        title += f" at prevalence {params['prevalence']:g}"
    if "k" in params:
        key = f"top_{params['k']}_accuracy"
    if isinstance(found, ValueError):
        return Row(key=key, title=title, estimate=None, reason=str(found))
    return Row(key=key, title=title, estimate=found)


def question(key: str, cases: Cases, *answers: NDArray[Any]) -> tuple[Any, ...]:
    """Return a criterion, labels and answers as `ironstep.metrics` takes them."""
    if key == "exact_match":
        right = [np.asarray((of == cases.truth).all(axis=1)) for of in answers]
        return "accuracy", np.ones_like(right[0]), *right
    return key, cases.truth, *answers
