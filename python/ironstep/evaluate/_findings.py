"""What an evaluation says, one sentence a finding, and what its reader has to be careful about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

from ironstep.metrics import Comparison, Corrected

from ._numbers import (
    corrected_with_interval,
    difference_with_interval,
    number,
    p_value,
    percent,
    with_interval,
)
from ._results import Model, Overall, Results, Tested
from ._tables import calibrations


class Finding(NamedTuple):
    """One sentence: a result, something to be careful about, or how something was computed."""

    kind: Literal["result", "warning", "note"]
    text: str


FEW_OF_A_CLASS = 20
"""Below it the coverage study finds an AUC's interval too narrow."""


def findings(results: Results) -> Iterator[Finding]:
    """Results first, then warnings, then notes."""
    for text in _results(results):
        yield Finding("result", text)
    for text in dict.fromkeys(_warnings(results)):
        yield Finding("warning", text)
    for text in dict.fromkeys(_notes(results)):
        yield Finding("note", text)


def _results(results: Results) -> Iterator[str]:
    level = percent(results.options["confidence_level"])
    if results.kind == "binary":
        for model in results.models:
            yield from _of_two_classes(model, level)
    for whole in results.overall:
        yield from _of_several(whole, level)
    for reader in results.readers:
        parts = [
            f"{key} {with_interval(estimate)}"
            for key in ("sensitivity", "specificity")
            if (estimate := reader.estimate(key)) is not None
        ]
        yield f"{reader.name}, a reader: {', '.join(parts)}."
    if results.kind != "multilabel":  # there are too many
        for each, found in calibrations(results):
            if not math.isnan(found.slope.value):
                of = " of the class that is called" if results.kind == "multiclass" else ""
                yield (
                    f"{each.name}: calibration{of}: intercept {with_interval(found.intercept)} (0 at "
                    f"best), slope {with_interval(found.slope)} (1 at best)."
                )
    yield from _of_pairs(results)
    if (delong := results.delong) is not None:
        yield (
            f"That all {len(delong.aucs)} models have the same AUC: {p_value(delong.p_value)} "
            f"(DeLong, χ² = {delong.statistic:.2f}, {delong.degrees_of_freedom} degrees of freedom)."
        )


def _of_two_classes(model: Model, level: str) -> Iterator[str]:
    area = model.estimate("auc")
    if area is not None:
        yield f"{model.name}: AUC {with_interval(area)} ({level} confidence interval, {area.method})."
    parts = [
        f"{key} {with_interval(estimate)}"
        for key in ("sensitivity", "specificity")
        if (estimate := model.estimate(key)) is not None
    ]
    if parts:
        yield f"{model.name} at the threshold {model.threshold}: {', '.join(parts)}."
    if model.chosen is not None:
        yield (
            f"{model.name}, corrected for choosing the threshold on these cases: "
            f"{_corrected('sensitivity', model.chosen.sensitivity)}, "
            f"{_corrected('specificity', model.chosen.specificity)}, "
            f"{_corrected('Youden’s J', model.chosen.youden_j)}."
        )


def _of_several(whole: Overall, level: str) -> Iterator[str]:
    said = ("accuracy", "top_5_accuracy", "macro_auc", "macro_sensitivity", "macro_specificity")
    parts = []
    for row in whole.rows:
        if row.key in said and row.estimate is not None:
            name = row.title.split(" (")[0].split(",")[0]
            name = name if name.startswith("Top") else name[0].lower() + name[1:]
            parts.append(f"{name} {with_interval(row.estimate)}")
    if parts:
        yield f"{whole.name}: {', '.join(parts)} ({level} confidence intervals)."


def _of_pairs(results: Results) -> Iterator[str]:
    readers = {reader.name for reader in results.readers}
    # The others are in the table.
    said = [
        pair
        for pair in results.comparisons
        if (pair.key in ("auc", "macro_auc") and pair.target is None)
        or (pair.key in ("sensitivity", "specificity") and pair.reference in readers)
    ]
    for pair in said:
        if pair.comparison is None:
            continue
        adjusted = "" if pair.p_adjusted is None else f", {p_value(pair.p_adjusted)} after Holm"
        yield (
            f"{pair.title} of {pair.model} minus {pair.reference}: "
            f"{difference_with_interval(pair.comparison)}, "
            f"{p_value(pair.comparison.p_value)} ({pair.comparison.test}){adjusted}."
        )
    margin = results.options["margin"]
    for pair in said:
        if pair.noninferiority is not None:
            shown = is_noninferior(pair.noninferiority)
            yield (
                f"{pair.title}: {pair.model} is {'' if shown else 'not shown to be '}non-inferior to "
                f"{pair.reference} by the margin {margin:g} "
                f"({p_value(pair.noninferiority.p_value)}, one-sided, {pair.noninferiority.test})."
            )


def is_noninferior(comparison: Comparison) -> bool:
    """Whether the test refuses, at its one-sided level, that the model is worse by the margin."""
    return comparison.p_value <= (1 - comparison.confidence_level) / 2


def _corrected(name: str, of: Corrected) -> str:
    return f"{name} {corrected_with_interval(of)[:-1]}; apparent {number(of.apparent)})"


def _warnings(results: Results) -> Iterator[str]:
    flow = results.flow
    source = results.source or {}
    if (likely := source.get("likely_group")) and flow.n_groups is None:
        yield (
            f"The column {likely} looks like patients, and some come more than once, but no group was "
            "given: cases of one patient are not independent, and the intervals may be too narrow."
        )
    if results.ids_repeat:
        yield (
            "Some ids come more than once, but no group was given: cases of one patient are not "
            "independent, and the intervals may be too narrow."
        )
    if flow.n_excluded:
        yield f"{flow.n_excluded} of {flow.n_rows} rows are left out, for something is missing in them."
    for name, count in flow.replaced.items():
        yield (
            f"{name}: {count} missing answers count as {results.options['missing']} tests; AUC, "
            "calibration and all else take them so, too."
        )
    yield from _of_few_cases(results)
    for tested in results.judged:
        yield from _of_model(tested)
    for reader in results.readers:
        yield from _of_rows(reader.name, reader)
    for subgroup in results.subgroups:
        for n, name in ((subgroup.n_positive, "positive"), (subgroup.n_negative, "negative")):
            if n == 0:
                yield (
                    f"Subgroup {subgroup.column} = {subgroup.value} has no {name} case: what needs "
                    "both classes is undefined there."
                )
        if results.kind != "binary" and any(row.estimate is None for row in subgroup.rows):
            yield (
                f"Subgroup {subgroup.column} = {subgroup.value} lacks a class, or a finding's positive or "
                "negative cases: means over all are undefined there."
            )


def _of_few_cases(results: Results) -> Iterator[str]:
    flow = results.flow
    for name, count in (("positive", flow.n_positive), ("negative", flow.n_negative)):
        if count is not None and count < FEW_OF_A_CLASS:
            yield f"{count} {name} cases are few: below {FEW_OF_A_CLASS} intervals may be too narrow."
    of_class = results.kind == "multiclass"
    for name, count in flow.n_of_target.items():
        of = f"of the class {name}" if of_class else f"with the finding {name}"
        if count == 0:
            yield f"No case {of}: what needs one is undefined, and so are means over all classes."
        elif count < FEW_OF_A_CLASS:
            yield f"{count} cases {of} are few: below {FEW_OF_A_CLASS} intervals may be too narrow."
        elif not of_class and flow.n_cases - count < FEW_OF_A_CLASS:
            yield (
                f"{flow.n_cases - count} cases without the finding {name} are few: below "
                f"{FEW_OF_A_CLASS} intervals may be too narrow."
            )


def _of_model(model: Model | Overall) -> Iterator[str]:
    if isinstance(model, Model):
        threshold = model.threshold
        if threshold.origin == "chosen here":
            yield (
                f"{model.title}: the threshold {threshold.value:.4g} was chosen on the cases that judge "
                "it: rates at it are too good"
                + ("; see the corrected ones." if model.chosen is not None else ".")
            )
        if math.isinf(threshold.value):
            yield f"{model.title}: the threshold is infinite: no case is called positive."
        yield from _of_rows(model.title, model)
    else:
        yield from _of_rows(model.name, model)


def _of_rows(title: str, tested: Tested | Overall) -> Iterator[str]:
    for row in tested.rows:
        if row.estimate is not None:
            for note in row.estimate.notes:
                # What is said of groups holds for all criteria, and of cells for one.
                about = "" if "groups are" in note else f"{title}, {row.title}: "
                yield f"{about}{note}."


def _notes(results: Results) -> Iterator[str]:
    if results.kind == "multiclass" and len(results.targets) == 2:
        yield "Two classes: with the positive one's column of scores alone there is more to be had."
    for model in results.models:
        for note in model.notes:
            # Of all classes the same is to be said.
            yield f"{model.name if results.kind == 'multiclass' else model.title}: {note}."
    for whole in results.overall:
        for note in whole.notes:
            yield f"{whole.name}: {note}."
