"""The pictures of a report: which there are, and what stands with them. They are drawn elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ironstep._input_error import InputError

from ._numbers import number, percent, with_interval
from ._results import Model, Results
from ._tables import calibrations

DPI = 300  # what journals ask of pictures with lines and text
MOST_PANELS = 12
"""Of a picture: the rest is in the tables."""
ON_REQUEST = ("det", "scores")


class Picture(NamedTuple):
    """What is drawn into each panel, and what stands with it."""

    name: str
    caption: str
    alt: str
    draw: str
    """A function of `_pictures`."""
    panels: Sequence[tuple[Any, ...]]
    """Its arguments, panel by panel."""
    size: tuple[float, float]
    """Of a panel, in inches."""
    share_rows: bool = False


def pictures(results: Results, also: Sequence[str] = ()) -> Iterator[Picture]:
    """Return those that these results have."""
    for each in also:
        if each not in ON_REQUEST:
            raise InputError(f"also: got {each!r}; {' or '.join(ON_REQUEST)} expected")
    level = percent(results.options["confidence_level"])
    targets: list[tuple[Any, ...]] = [(target,) for target in results.targets] or [()]
    models = [(model.name, *([model.target] if model.target else [])) for model in results.models]
    whole = [(model.name,) for model in results.whole]
    readers = " Filled markers with the limits of both rates: readers." if results.readers else ""
    of_targets = {
        "binary": "",
        "multiclass": " Each class against the rest.",
        "multilabel": " Each finding.",
    }[results.kind]
    points = (
        " Open markers: operating points (the class with the highest score is called)."
        if results.kind == "multiclass"
        else " Open markers: operating points."
    )
    yield Picture(
        "roc",
        f"ROC curves.{of_targets}{points}{readers} Bands: at thresholds along the curve the {level} "
        "limits of sensitivity and of specificity, each by itself, joined to one outline.",
        f"ROC curves of {_areas(results, 'auc', 'AUC')}.",
        "roc",
        targets,
        (5, 5),
    )
    yield Picture(
        "precision-recall",
        f"Precision over recall.{of_targets}{points}",
        f"Precision-recall curves of {_areas(results, 'average_precision', 'average precision')}.",
        "precision_recall",
        targets,
        (5, 5),
    )
    yield _confusion(results, whole if results.kind == "multiclass" else models)
    if calibrated := list(calibrations(results)):
        yield Picture(
            "calibration",
            "Reliability curves by isotonic regression (CORP). Grey: where "
            f"{level} of such curves lie if every probability is true.",
            "Calibration curves. "
            + " ".join(
                f"{_name(each)}: slope {number(found.slope.value)}." for each, found in calibrated
            ),
            "calibration",
            [
                (each.name, *([each.target] if isinstance(each, Model) and each.target else []))
                for each, _ in calibrated
            ],
            (4.2, 4.8),
        )
    if beneficial := [model for model in results.models if model.decision_curve is not None]:
        of = dict.fromkeys(model.target for model in beneficial)
        yield Picture(
            "decision-curve",
            "Decision curves: net benefit of acting on each model, on all cases and on none, with "
            f"{level} limits at each threshold probability.",
            f"Decision curves of {', '.join(model.title for model in beneficial)}.",
            "decision_curve",
            [(target,) if target else () for target in of],
            (6, 4),
        )
    if results.subgroups:
        n_rows = 1 + len({(group.column, group.value) for group in results.subgroups})
        rows = results.subgroups[0].rows
        titles = ", ".join(row.title for row in rows)
        yield Picture(
            "subgroups",
            f"Subgroups with {level} intervals; open markers and dotted lines: all cases.",
            f"Forest plot of {titles} in subgroups; the numbers are in the table.",
            "subgroups",
            [(row.key,) for row in rows],
            (10 / len(rows), 1.2 + n_rows * (0.25 + 0.12 * len(results.whole))),
            share_rows=True,
        )
    if "det" in also:
        yield Picture(
            "det",
            f"Detection error tradeoff: both error rates on normal deviate scales.{of_targets}{points}",
            f"Detection error tradeoff of {', '.join(model.title for model in results.models)}.",
            "det",
            targets,
            (5, 5),
        )
    if "scores" in also:
        yield Picture(
            "scores",
            "How scores are distributed among the negative and among the positive cases, and the threshold.",
            f"Histograms of the scores of {', '.join(model.title for model in results.models)}.",
            "scores",
            models,
            (4.2, 3.4),
        )


def _name(each: Any) -> str:
    return str(getattr(each, "title", each.name))


def _areas(results: Results, key: str, called: str) -> str:
    found = ((model.title, model.estimate(key)) for model in results.models)
    return "; ".join(
        f"{title}, {called} {with_interval(area)}" for title, area in found if area is not None
    )


def _confusion(results: Results, panels: Sequence[tuple[Any, ...]]) -> Picture:
    if results.kind == "multiclass":
        width = min(10.0, 2.2 + 0.62 * len(results.targets))
        right = "; ".join(
            f"{model.name}: {with_interval(accuracy)} called right"
            for model in results.overall
            if (accuracy := model.estimate("accuracy")) is not None
        )
        return Picture(
            "confusion",
            "Confusion matrix: cases of a class (row) that are called each class (column), and their share "
            "of the row.",
            f"Confusion matrices. {right}. The numbers are in the table.",
            "confusion",
            panels,
            (width, width),
        )
    return Picture(
        "confusion",
        "The 2×2 table: cases, and their share of the positive and of the negative ones.",
        "Confusion matrices. "
        + " ".join(
            f"{m.title}: {m.tp:g} true positive, {m.fn:g} false negative, {m.fp:g} false positive, "
            f"{m.tn:g} true negative."
            for m in results.models
        ),
        "confusion",
        panels,
        (3.2, 3.2),
    )


def caption(picture: Picture) -> str:
    """Return the caption, with a word on panels that are left out."""
    left_out = len(picture.panels) - MOST_PANELS
    if left_out <= 0:
        return picture.caption
    n = len(picture.panels)
    return f"{picture.caption} The first {MOST_PANELS} of {n} panels; the rest is in the tables."
