"""Criteria by their names: which statistic a name or a function stands for."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ironstep.metrics import _limits
from ironstep.metrics._criteria import CRITERIA, Criterion, at_prevalence
from ironstep.metrics._inputs import column, type_of_target
from ironstep.metrics._limits import Codes, Flags
from ironstep.metrics._pairs import LabelPairs, compare
from ironstep.metrics._resampling import Floats
from ironstep.metrics._score_index import ScoreIndex
from ironstep.metrics._several import NAMES as OF_CLASSES_OR_FINDINGS
from ironstep.metrics._several import of_several
from ironstep.metrics._statistics import (
    OfCounts,
    OfFunction,
    OfScores,
    Statistic,
    no_more,
    of_loss,
    of_right,
    positives,
)

_OF_SCORES = {
    "auc": ("auc", None),
    "roc_auc": ("auc", None),
    "roc_auc_score": ("auc", None),
    "average_precision": ("average_precision", None),
    "average_precision_score": ("average_precision", None),
    "partial_auc": ("partial_auc", "max_fpr"),
    "sensitivity_at_specificity": ("sensitivity_at_specificity", "specificity"),
    "specificity_at_sensitivity": ("specificity_at_sensitivity", "sensitivity"),
    "youden": ("youden", None),
}
_LOSSES = ("brier_score_loss", "log_loss", "net_benefit")
NAMES = tuple(sorted({*CRITERIA, *_OF_SCORES, *_LOSSES}))


def statistic(
    metric: str | Callable[..., Any],
    y_true: Any,
    y: Any,
    params: dict[str, Any],
    pos_label: Any,
    groups: Codes | None,
    weight: Floats | None = None,
) -> Statistic:
    """Find what a name or function stands for, on these cases."""
    if not params and _is_ours_for_two_classes(metric, y_true, y):
        metric = metric.__name__  # type: ignore[union-attr]
    if callable(metric):
        labels, answers = np.asarray(y_true), np.asarray(y)
        return OfFunction(functools.partial(metric, **params), labels, answers, groups, weight)
    if (found := of_several(metric, y_true, y, params, groups, weight)) is not None:
        return found
    if metric in ("accuracy", "accuracy_score") and not params:
        # Of any number of classes: right is right.
        right = np.asarray(column(y_true, "y_true") == column(y, "y_score_or_pred"))
        return of_right(right, groups, weight)
    if metric in CRITERIA:
        (found,) = statistics_of_counts([(metric, params)], y_true, y, pos_label, groups, weight)
        return found
    if metric in _OF_SCORES:
        name, needs = _OF_SCORES[metric]
        at = None
        if needs is not None:
            if needs not in params:
                raise ValueError(f"metric_params: {needs!r} is missing, which {metric!r} needs")
            at = float(params[needs])
        no_more({key: value for key, value in params.items() if key != needs})
        return OfScores(name, ScoreIndex(y_true, y, pos_label=pos_label), at, groups, weight)
    if metric in _LOSSES:
        is_positive = positives(y_true, pos_label)
        return of_loss(metric, is_positive, column(y, "y_score"), params, groups, weight)
    names = ", ".join((*NAMES, *OF_CLASSES_OR_FINDINGS))
    raise ValueError(f"metric: got {metric!r}; one of {names} or a function expected")


def statistics_of_counts(
    criteria: Sequence[tuple[str, dict[str, Any]]],
    y_true: Any,
    y: Any,
    pos_label: Any,
    groups: Codes | None,
    weight: Floats | None,
) -> list[OfCounts]:
    """Formulas over one 2×2 table, of which the cases are counted once: names with their parameters."""
    found = [_criterion(name, dict(params)) for name, params in criteria]
    cell = _limits.cell_of(*_two_classes(y_true, y, pos_label))
    table = _limits.cell_table(cell, groups, weight)
    return [OfCounts(criterion, table, cell, groups, weight) for criterion in found]


def _criterion(name: str, params: dict[str, Any]) -> Criterion:
    criterion = CRITERIA[name]
    if criterion.attribute in ("ppv", "npv") and "prevalence" in params:
        prevalence = float(params.pop("prevalence"))
        if not 0 < prevalence < 1:
            raise ValueError(f"metric_params: prevalence: got {prevalence}; in (0, 1) expected")
        criterion = at_prevalence(criterion.attribute, prevalence)
    no_more(params)
    return criterion


def _is_ours_for_two_classes(metric: Any, y_true: Any, y: Any) -> bool:
    """Whether more is known of a function than what it returns: it is the criterion of its name."""
    known = getattr(metric, "__name__", None) in NAMES
    ours = getattr(metric, "__module__", "").startswith("ironstep.metrics.")
    return known and ours and type_of_target(y_true) == "binary" and np.ndim(y) == 1


def _two_classes(y_true: Any, y_pred: Any, pos_label: Any) -> tuple[Flags, Flags]:
    """Which cases are positive, and which are called so."""
    pairs = compare(y_true, y_pred)
    if not isinstance(pairs, LabelPairs) or pairs.kind != "binary":
        raise ValueError(
            f"y_true, y_pred: got {pairs.kind} labels; those of two classes expected, or accuracy or "
            "a function as metric"
        )
    # A single label may be the negative one: a specificity needs no positive case.
    if len(pairs.labels) == 2 and pos_label not in pairs.labels.tolist():
        raise ValueError(
            f"pos_label: got {pos_label!r}; one of the labels, {pairs.labels.tolist()}, expected"
        )
    columns = (column(y_true, "y_true"), column(y_pred, "y_pred"))
    is_true, is_called = (np.asarray(values == pos_label) for values in columns)
    return is_true, is_called
