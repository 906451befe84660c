"""What an evaluation says, one sentence a finding, and what its reader has to be careful about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ._results import Finding
from ._tables import number, p_value, percent, with_interval

if TYPE_CHECKING:
    from ironstep.metrics import Comparison, Corrected

    from ._evaluation import Evaluation
    from ._results import Model

FEW_OF_A_CLASS = 20
"""Below it the coverage study finds an AUC's interval too narrow."""


def findings(evaluation: Evaluation) -> Iterator[Finding]:
    """Results first, then warnings, then notes."""
    for text in _results(evaluation):
        yield Finding("result", text)
    for text in dict.fromkeys(_warnings(evaluation)):
        yield Finding("warning", text)
    for model in evaluation.models:
        for note in model.notes:
            yield Finding("note", f"{model.name}: {note}.")


def _results(evaluation: Evaluation) -> Iterator[str]:
    level = percent(evaluation.options["confidence_level"])
    for model in evaluation.models:
        parts = []
        for key, name in (("sensitivity", "sensitivity"), ("specificity", "specificity")):
            if (estimate := model.estimate(key)) is not None:
                parts.append(f"{name} {with_interval(estimate)}")
        area = model.estimate("auc")
        assert area is not None
        yield f"{model.name}: AUC {with_interval(area)} ({level} confidence interval, {area.method})."
        if parts:
            yield f"{model.name} at the threshold {model.threshold}: {', '.join(parts)}."
        if model.chosen is not None:
            yield (
                f"{model.name}, corrected for choosing the threshold on these cases: "
                f"{_corrected('sensitivity', model.chosen.sensitivity)}, "
                f"{_corrected('specificity', model.chosen.specificity)}, "
                f"{_corrected('Youden’s J', model.chosen.youden_j)}."
            )
        if model.calibration is not None and not math.isnan(model.calibration.slope.value):
            yield (
                f"{model.name}: calibration intercept {with_interval(model.calibration.intercept)} "
                f"(0 at best), slope {with_interval(model.calibration.slope)} (1 at best)."
            )
    for pair in evaluation.comparisons:
        if pair.key != "auc" or pair.comparison is None:
            continue
        adjusted = "" if pair.p_adjusted is None else f", {p_value(pair.p_adjusted)} after Holm"
        yield (
            f"{pair.title} of {pair.model} minus {pair.reference}: {_difference(pair.comparison)}, "
            f"{p_value(pair.comparison.p_value)} ({pair.comparison.test}){adjusted}."
        )
    margin = evaluation.options["margin"]
    for pair in evaluation.comparisons:
        if pair.noninferiority is not None:
            shown = is_noninferior(pair.noninferiority)
            yield (
                f"{pair.title}: {pair.model} is {'' if shown else 'not shown to be '}non-inferior to "
                f"{pair.reference} by the margin {margin:g} "
                f"({p_value(pair.noninferiority.p_value)}, one-sided, {pair.noninferiority.test})."
            )
    if evaluation.delong is not None:
        delong = evaluation.delong
        yield (
            f"That all {len(delong.aucs)} models have the same AUC: {p_value(delong.p_value)} "
            f"(DeLong, χ² = {delong.statistic:.2f}, {delong.degrees_of_freedom} degrees of freedom)."
        )


def is_noninferior(comparison: Comparison) -> bool:
    """Whether the test refuses, at its one-sided level, that the model is worse by the margin."""
    return comparison.p_value <= (1 - comparison.confidence_level) / 2


def _corrected(name: str, of: Corrected) -> str:
    limits = f"{number(of.low)} to {number(of.high)}"
    return f"{name} {number(of.corrected)} ({limits}; apparent {number(of.apparent)})"


def _difference(comparison: Comparison) -> str:
    return (
        f"{number(comparison.difference)} ({number(comparison.low)} to {number(comparison.high)})"
    )


def _warnings(evaluation: Evaluation) -> Iterator[str]:
    flow = evaluation.flow
    source = evaluation.source or {}
    if likely := source.get("likely_group"):
        yield (
            f"The column {likely} looks like patients, and some come more than once, but no group was "
            "given: cases of one patient are not independent, and the intervals may be too narrow."
        )
    if flow.n_groups is None and _ids_repeat(evaluation):
        yield (
            "Some ids come more than once, but no group was given: cases of one patient are not "
            "independent, and the intervals may be too narrow."
        )
    if flow.n_excluded:
        yield f"{flow.n_excluded} of {flow.n_rows} rows are left out, for something is missing in them."
    for name, count in flow.replaced.items():
        yield (
            f"{name}: {count} missing scores count as {evaluation.options['missing']} tests; AUC, "
            "calibration and all else take them so, too."
        )
    for name, count in (("positive", flow.n_positive), ("negative", flow.n_negative)):
        if count < FEW_OF_A_CLASS:
            yield f"{count} {name} cases are few: below {FEW_OF_A_CLASS} intervals may be too narrow."
    for model in evaluation.models:
        yield from _of_model(model)
        if model.chosen is not None and flow.n_groups is not None:
            yield f"{model.name}: limits of the corrected rates are of resampled cases, not groups."
    for subgroup in evaluation.subgroups:
        for count, name in ((subgroup.n_positive, "positive"), (subgroup.n_negative, "negative")):
            if count == 0:
                yield (
                    f"Subgroup {subgroup.column} = {subgroup.value} has no {name} case: what needs "
                    "both classes is undefined there."
                )


def _of_model(model: Model) -> Iterator[str]:
    threshold = model.threshold
    if threshold.origin == "chosen here":
        yield (
            f"{model.name}: the threshold {threshold.value:.4g} was chosen on the cases that judge it: "
            "rates at it are too good"
            + ("; see the corrected ones." if model.chosen is not None else ".")
        )
    if math.isinf(threshold.value):
        yield f"{model.name}: the threshold is infinite: no case is called positive."
    for row in model.rows:
        if row.estimate is not None:
            for note in row.estimate.notes:
                # What is said of groups holds for all criteria, and of cells for one.
                about = "" if "groups are" in note else f"{model.name}, {row.title}: "
                yield f"{about}{note}."


def _ids_repeat(evaluation: Evaluation) -> bool:
    ids = evaluation._cases.ids
    if ids.dtype.kind in "iu" or evaluation.options["weight_type"] == "frequency":
        return False
    return len(set(map(str, ids.tolist()))) < len(ids)
