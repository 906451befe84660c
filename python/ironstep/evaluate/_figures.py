"""The pictures of a report: which there are, what stands with them, and how they are saved."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from . import _pictures
from ._errors import InputError
from ._numbers import number, percent, with_interval
from ._results import Model, Results
from ._tables import calibrations

DPI = 300  # what journals ask of pictures with lines and text
STYLE: Any = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and edited
    "pdf.fonttype": 42,  # and in PDF, too, as publishers ask
    "svg.hashsalt": "ironstep",  # the same picture is the same file
    "text.parse_math": False,
    "text.usetex": False,
    "axes.unicode_minus": False,
}
WIDEST = 10.5
"""In inches: on a page of paper the text is still to be read."""
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


def save(results: Results, picture: Picture, folder: Path) -> str:
    """Write SVG, PDF and PNG; return the SVG."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a script the font lacks
        return _save(_figure(results, picture), folder / picture.name)


def _figure(results: Results, picture: Picture) -> Figure:
    panels = picture.panels[:MOST_PANELS]
    width, height = picture.size
    columns = min(len(panels), max(1, int(WIDEST / width)))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=picture.share_rows).reshape(-1)
    draw = getattr(_pictures, picture.draw)
    for ax, arguments in zip(axes, panels, strict=False):
        draw(results, ax, *arguments)
    for ax in axes[len(panels) :]:
        ax.remove()
    if picture.share_rows and axes[0].get_legend() is not None:
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper left", ncols=6)
        for ax in axes:
            ax.get_legend().remove()
    return figure


def _save(figure: Figure, path: Path) -> str:
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it is laid out now; each saving would do it again
    # By the canvases, for Figure.savefig draws everything twice: to find what it may then cut off.
    canvases: tuple[Any, ...] = (FigureCanvasSVG, FigureCanvasPdf, FigureCanvasAgg)
    to_svg, to_pdf, to_png = (canvas(figure) for canvas in canvases)
    svg = BytesIO()
    to_svg.print_svg(svg, metadata={"Date": None})
    path.with_suffix(".svg").write_bytes(svg.getvalue())
    to_pdf.print_pdf(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.dpi = DPI
    to_png.print_png(
        path.with_suffix(".png"), metadata={"Software": None}, pil_kwargs={"compress_level": 3}
    )
    return svg.getvalue().decode("utf-8")
