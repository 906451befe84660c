"""The tables of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ironstep.metrics import Calibration

from ._criteria import OF_TARGETS
from ._numbers import (
    bare,
    corrected_with_interval,
    count,
    difference_with_interval,
    number,
    percent,
    with_interval,
)
from ._results import Model, Overall, Results, Row, Tested
from ._table import Table

OF_TARGET = {"multiclass": "Class", "multilabel": "Finding", "binary": ""}
"""What a target is called."""


def tables(results: Results) -> dict[str, Table]:
    """Return those that have rows, by their names."""
    made = (
        _flow(results),
        _several_classes(results) if results.kind == "multiclass" else _two_by_two(results),
        _criteria(results),
        _targets(results),
        _corrected(results),
        _calibration(results),
        _comparisons(results),
        _subgroups(results),
        _mistakes(results),
    )
    return {table.name: table for table in made if table.rows}


def _cell(row: Row | None) -> str:
    return "–" if row is None or row.estimate is None else with_interval(row.estimate)


def _asked(results: Results) -> list[str]:
    """The heading over what a model was asked, where it was asked several things."""
    return [OF_TARGET[results.kind]] if results.targets else []


def _who(tested: Tested | Overall) -> list[str]:
    """A model, and what it was asked."""
    target = getattr(tested, "target", None)
    return [tested.name] if target is None else [tested.name, target]


def _flow(results: Results) -> Table:
    flow = results.flow
    rows = [("Rows", str(flow.n_rows)), ("Left out", str(flow.n_excluded))]
    rows += [(f"  nothing in {name}", str(n)) for name, n in flow.excluded_for.items()]
    how = results.options["missing"]
    rows += [
        (f"  no answer of {name}, counts as {how}", str(n)) for name, n in flow.replaced.items()
    ]
    if flow.n_before_aggregation is not None:
        by = {"max": "greatest", "mean": "mean"}[results.options["aggregate"]]
        rows.append(("Cases before they were joined by group", str(flow.n_before_aggregation)))
        rows.append((f"Groups (patients), by the {by} score of each: cases from here on",
                     str(flow.n_cases)))  # fmt: skip
    else:
        rows.append(("Cases", str(flow.n_cases)))
    if flow.n_positive is not None:
        rows += [
            (f"Positive ({flow.positive_label})", str(flow.n_positive)),
            (f"Negative ({flow.negative_label})", str(flow.n_negative)),
        ]
    kind = "Class" if results.kind == "multiclass" else "With finding"
    rows += [(f"{kind} {name}", str(n)) for name, n in flow.n_of_target.items()]
    if flow.n_groups is not None:
        rows.append(("Groups (patients)", str(flow.n_groups)))
        if flow.n_groups_positive is not None:
            rows.append(("  with a positive case", str(flow.n_groups_positive)))
        rows.append(("  most cases in one", str(flow.most_in_a_group)))
    rows += [
        (f"Different scores of {model.title}", str(model.n_distinct)) for model in results.models
    ]
    return Table(
        "flow",
        "Cases",
        "Fewer different scores than cases: some cases are tied.",
        ["", "Number"],
        rows,
    )


def _two_by_two(results: Results) -> Table:
    note = "Cases with a score of at least the threshold are called positive."
    if results.options["weight_type"] == "sampling":
        note += " Counts are sums of weights."
    tested: tuple[Tested, ...] = (*results.models, *results.readers)
    header = ["Threshold", "True positive", "False positive", "False negative", "True negative"]
    return Table(
        "confusion",
        "The 2×2 table at the threshold",
        note,
        ["Model", *_asked(results), *header],
        [
            [
                *_who(each),
                str(each.threshold) if isinstance(each, Model) else "a reader",
                *map(count, (each.tp, each.fp, each.fn, each.tn)),
            ]
            for each in tested
        ],
    )


def _several_classes(results: Results) -> Table:
    rows = []
    for model in results.overall:
        assert model.confusion is not None
        for label, cells in zip(results.targets, model.confusion.tolist(), strict=True):
            total = sum(cells)
            shares = [f" ({percent(round(cell / total, 3))})" if total else "" for cell in cells]
            called = [count(cell) + share for cell, share in zip(cells, shares, strict=True)]
            rows.append([model.name, label, *called])
    note = "A row: cases of a class, and what they are called; in brackets the share of the row."
    if results.options["weight_type"] == "sampling":
        note += " Counts are sums of weights."
    called_as = [f"Called {name}" for name in results.targets]
    return Table("confusion", "Confusion matrix", note, ["Model", "Is", *called_as], rows)


def _criteria(results: Results) -> Table:
    tested: Sequence[Tested | Overall] = results.overall or (*results.models, *results.readers)
    keys = dict.fromkeys((row.key, row.title) for each in tested for row in each.rows)
    rows = []
    for key, title in keys:
        found = [next((row for row in each.rows if row.key == key), None) for each in tested]
        rows.append([title, *map(_cell, found), _methods(found)])
    level = percent(results.options["confidence_level"])
    note = f"In brackets: the {level} confidence interval. –: undefined for these cases."
    if results.targets:
        among = "classes" if results.kind == "multiclass" else "findings"
        note += f" Macro: the mean over all {among}, each against the rest."
    if results.kind == "multilabel":
        note += " Micro: over all answers, those of one case taken together."
    return Table(
        "criteria",
        "Criteria",
        note,
        ["Criterion", *(each.name for each in tested), "Method of the interval"],
        rows,
    )


def _methods(rows: Sequence[Row | None]) -> str:
    found = [row for row in rows if row is not None]
    return ", or ".join(
        dict.fromkeys("undefined" if row.estimate is None else row.estimate.method for row in found)
    )


def _targets(results: Results) -> Table:
    rows: list[list[str]] = []
    methods: dict[str, set[str]] = {}
    titles = {row.key: row.title for model in results.models for row in model.rows}
    short = {key: titles[key].split(" (")[0] for key in OF_TARGETS} if results.targets else {}
    for model in results.models if results.targets else ():
        assert model.target is not None
        found = {row.key: row for row in model.rows}
        n = str(results.flow.n_of_target[model.target])
        rows.append([model.target, model.name, n, *(_cell(found[key]) for key in OF_TARGETS)])
        for key in OF_TARGETS:
            if (estimate := found[key].estimate) is not None:
                methods.setdefault(estimate.method, set()).add(key)
    level = percent(results.options["confidence_level"])
    by = "; ".join(
        f"{', '.join(short[key] for key in OF_TARGETS if key in keys)}: {method}"
        for method, keys in methods.items()
    )
    asked = OF_TARGET[results.kind]
    title = "Each class against the rest" if results.kind == "multiclass" else "Each finding"
    note = f"In brackets: the {level} confidence interval ({by}). –: undefined for these cases."
    return Table("targets", title, note, [asked, "Model", "Cases", *short.values()], rows)


def _corrected(results: Results) -> Table:
    rows = []
    for model in results.models:
        if (chosen := model.chosen) is None:
            continue
        for title, of in (
            ("Sensitivity", chosen.sensitivity),
            ("Specificity", chosen.specificity),
            ("Youden's J", chosen.youden_j),
        ):
            corrected = corrected_with_interval(of)
            rows.append([*_who(model), chosen.rule, title, number(of.apparent), corrected])
    resamples = {m.chosen.n_resamples for m in results.models if m.chosen is not None}
    return Table(
        "corrected",
        "Rates at a threshold that these cases chose",
        "Corrected: the threshold is chosen anew in each of "
        f"{', '.join(map(str, sorted(resamples)))} resamples and judged by the "
        f"{'cases' if results.flow.n_groups is None else 'groups'} that were not drawn.",
        ["Model", *_asked(results), "Rule", "Criterion", "Apparent", "Corrected"],
        rows,
    )


def calibrations(results: Results) -> Iterator[tuple[Model | Overall, Calibration]]:
    """Return what is calibrated: a model, for each finding, or for the class it calls."""
    for each in results.judged:
        if each.calibration is not None:
            yield each, each.calibration


def _calibration(results: Results) -> Table:
    rows = [
        [
            *_who(each),
            with_interval(found.intercept),
            with_interval(found.slope),
            with_interval(found.brier_score),
            number(found.miscalibration),
            number(found.discrimination),
            f"{number(found.expected_calibration_error)} "
            f"({number(found.expected_calibration_error_if_calibrated)})",
        ]
        for each, found in calibrations(results)
    ]
    note = (
        "Intercept 0 and slope 1 at best. Brier score = miscalibration − discrimination + uncertainty. "
        "Expected calibration error: in brackets what it is on average where every probability is true; "
        "it has no interval, for it is biased."
    )
    if results.kind == "multiclass":
        note = f"Whether the class that is called is the right one, by its probability. {note}"
    asked = _asked(results) if results.kind == "multilabel" else []
    return Table(
        "calibration",
        "Calibration",
        note,
        ["Model", *asked, "Intercept", "Slope", "Brier score", "Miscalibration", "Discrimination",
         "Expected calibration error"],
        rows,
    )  # fmt: skip


def _comparisons(results: Results) -> Table:
    margin = results.options["margin"]
    rows = []
    for pair in results.comparisons:
        title = pair.title if pair.target is None else f"{pair.title}, {pair.target}"
        names = [title, f"{pair.model} minus {pair.reference}"]
        found = pair.comparison
        if found is None:
            cells = [pair.reason or "–", *(["–"] * 4)]
        else:
            adjusted = math.nan if pair.p_adjusted is None else pair.p_adjusted
            cells = [
                difference_with_interval(found),
                bare(found.p_value),
                bare(adjusted),
                found.test,
                found.method,
            ]
        if margin is not None:
            cells.append("–" if pair.noninferiority is None else bare(pair.noninferiority.p_value))
        rows.append([*names, *cells])
    note = "Paired: the same cases. Adjusted: by Holm over all rows of this table."
    header = [
        "Criterion",
        "Models",
        "Difference",
        "p",
        "p adjusted",
        "Test",
        "Method of the interval",
    ]
    if margin is not None:
        header.append(f"p, non-inferior by {margin:g}")
        alpha = (1 - results.options["confidence_level"]) / 2
        note += f" Non-inferiority: one-sided, to be read at {alpha:.4g}; not adjusted."
    return Table("comparisons", "Models compared", note, header, rows)


def _subgroups(results: Results) -> Table:
    groups = results.subgroups
    of_two = results.kind == "binary"
    return Table(
        "subgroups",
        "Subgroups",
        "Each subgroup by its own cases; intervals that overlap are no test.",
        [
            "Subgroup",
            "Model",
            *(("Positive", "Negative") if of_two else ("Cases",)),
            *([row.title for row in groups[0].rows] if groups else []),
        ],
        [
            [
                f"{group.column} = {group.value}",
                group.model,
                *((str(group.n_positive), str(group.n_negative)) if of_two else (str(group.n),)),
                *map(_cell, group.rows),
            ]
            for group in groups
        ],
    )


def _mistakes(results: Results) -> Table:
    asked = _asked(results) if results.kind == "multilabel" else []
    return Table(
        "mistakes",
        "The most confident mistakes",
        "Cases that are called something else, with the highest scores of what they are called."
        if results.kind == "multiclass"
        else "Negative cases with the highest scores, positive ones with the lowest.",
        ["Id", "Model", *asked, "Is", "Is called", "Score"],
        [
            [each.id, *_who(model), each.label, each.called, f"{each.score:.4g}"]
            for model in results.judged
            for each in model.mistakes
        ],
    )
