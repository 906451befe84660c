"""Models against each other and against readers, on the same cases; and subgroups of the cases."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep import metrics
from ironstep._input_error import InputError, plain, shown

from ._ask import common_arguments, question, row
from ._cases import Cases
from ._columns import name_of
from ._criteria import COMPARED, COMPARED_BY_FINDING, IN_SUBGROUPS, OF_READERS, Criterion
from ._judging import Progress
from ._options import Options
from ._overall import overall_row
from ._results import Paired, Subgroup

Called = dict[str, NDArray[Any]]

MOST_SUBGROUPS = 50


def compare_all(cases: Cases, called: Called, options: Options) -> tuple[Paired, ...]:
    """Compare each two models, and each model with each reader; p-values adjusted over all."""
    found = [
        *_models(cases, called, COMPARED[cases.kind], None, options),
        *_readers(cases, called, options),
    ]
    if cases.kind == "multilabel":
        for target, part in cases.questions():
            found += _models(part, {}, COMPARED_BY_FINDING, target, options)
    tested = [
        at
        for at, each in enumerate(found)
        if each.comparison is not None and not np.isnan(each.comparison.p_value)
    ]
    if tested:
        p_values = [each.comparison.p_value for each in found if each.comparison is not None]
        adjusted = metrics.holm([p for p in p_values if not np.isnan(p)]).tolist()
        for at, p in zip(tested, adjusted, strict=True):
            found[at] = replace(found[at], p_adjusted=p)
    return tuple(found)


def _models(
    cases: Cases,
    called: Called,
    criteria: tuple[Criterion, ...],
    target: str | None,
    options: Options,
) -> Iterator[Paired]:
    for criterion in criteria:
        answers = called if criterion.of == "called" else cases.scores
        for reference, model in itertools.combinations(cases.scores, 2):
            pair = {model: answers[model], reference: answers[reference]}
            yield _pair(criterion, cases, pair, target, options)


def _readers(cases: Cases, called: Called, options: Options) -> Iterator[Paired]:
    for criterion in OF_READERS if cases.readings else ():
        for reader, reading in cases.readings.items():
            for model, answers in called.items():
                yield _pair(criterion, cases, {model: answers, reader: reading}, None, options)


def _pair(
    criterion: Criterion, cases: Cases, pair: Called, target: str | None, options: Options
) -> Paired:
    model, reference = pair
    comparison = noninferiority = reason = None
    labels = None
    if cases.kind == "multiclass" and criterion.key.startswith("macro_"):
        labels = {"labels": np.arange(len(cases.targets))}
    arguments: dict[str, Any] = dict(metric_params=labels, **common_arguments(cases, options))
    asked = question(criterion.key, cases, *pair.values())
    try:
        comparison = metrics.compare(*asked, **arguments)
        if options.margin is not None:
            noninferiority = metrics.compare(
                *asked, alternative="noninferior", margin=options.margin, **arguments
            )
    except ValueError as error:
        reason = str(error)
    return Paired(
        key=criterion.key,
        title=criterion.title,
        target=target,
        model=plain(model),
        reference=plain(reference),
        comparison=comparison,
        p_adjusted=None,
        noninferiority=noninferiority,
        reason=reason,
    )


def same_auc(cases: Cases) -> metrics.DelongTest | None:
    """Test whether three or more models have the same AUC."""
    if cases.kind != "binary" or len(cases.scores) < 3 or cases.weights is not None:
        return None
    # Too few groups is an error, which the notes of each estimate say.
    with contextlib.suppress(ValueError):
        return metrics.delong_test(
            cases.truth, list(cases.scores.values()), pos_label=1, groups=cases.groups
        )
    return None


def subgroups(
    cases: Cases, called: Called, options: Options, progress: Progress
) -> Iterator[Subgroup]:
    """Judge each model by the cases that share a value, column by column."""
    for name, values in cases.by.items():
        shown_as = {value: plain(name_of(value)) for value in set(values.tolist())}
        texts = np.array([shown_as[value] for value in values.tolist()], dtype=object)
        distinct = sorted(set(shown_as.values()))
        if len(distinct) > MOST_SUBGROUPS:
            raise InputError(
                f"by: {shown(name)} has {len(distinct)} different values; "
                f"{MOST_SUBGROUPS} at most expected"
            )
        progress(f"subgroups: {plain(name)}")
        for value in distinct:
            which = np.asarray(texts == value)
            part = cases.part(which)
            n_positive = int(part.truth.sum()) if cases.kind == "binary" else None
            for model, score in part.scores.items():
                answers = called[model][which]
                yield Subgroup(
                    column=plain(name),
                    value=value,
                    model=plain(model),
                    n=len(part),
                    n_positive=n_positive,
                    n_negative=None if n_positive is None else len(part) - n_positive,
                    rows=tuple(
                        row(each, part, score if each.of == "score" else answers, options)
                        if cases.kind == "binary"
                        else overall_row(each, part, score, answers, options)
                        for each in IN_SUBGROUPS[cases.kind]
                    ),
                )
