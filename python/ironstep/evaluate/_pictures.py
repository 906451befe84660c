"""Pictures by matplotlib: an evaluation and axes in, the axes out.

They tell models apart by line style and marker as well as by colour. No text of the input is taken for
mathematical markup.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import matplotlib as mpl
import numpy as np

from ._results import Model
from ._tables import MINUS, count, percent
from ._tables import with_interval as with_true_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ironstep.metrics import Estimate

    from ._evaluation import Evaluation

# Okabe and Ito's palette, which colour-blind readers can tell apart, the strongest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
MARKERS = "osD^vPX"
GREY = "#595959"

P = ParamSpec("P")


def with_interval(estimate: Estimate) -> str:
    """A value and its limits, in ASCII: a PDF embeds a font once for each 256 characters in use."""
    return with_true_interval(estimate).replace(MINUS, "-")


def _drawing(
    draw: Callable[Concatenate[Evaluation, Axes, P], None],
) -> Callable[Concatenate[Evaluation, Axes | None, P], Axes]:
    """Make axes where there are none, and draw without mathematical markup."""

    @functools.wraps(draw)
    def drawn(
        evaluation: Evaluation, ax: Axes | None = None, *args: P.args, **kwargs: P.kwargs
    ) -> Axes:
        with mpl.rc_context(
            {"text.parse_math": False, "text.usetex": False, "axes.unicode_minus": False}
        ):
            if ax is None:
                # pyplot, for a notebook shows what it has made.
                import matplotlib.pyplot as plt

                ax = plt.subplots(layout="constrained")[1]
            draw(evaluation, ax, *args, **kwargs)
        return ax

    return drawn  # type: ignore[return-value]  # wraps keeps the first signature


def _style(position: int) -> dict[str, Any]:
    return dict(
        color=COLOURS[position % len(COLOURS)],
        linestyle=DASHES[position % len(DASHES)],
        linewidth=1.6,
    )


def _marker(position: int) -> str:
    return MARKERS[position % len(MARKERS)]


def _label(name: str) -> str:
    # A legend leaves out what begins with an underscore.
    return f"model {name}" if name.startswith("_") else name


def _finish(ax: Axes, x: str, y: str) -> None:
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(visible=True, alpha=0.25)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)


def _square(ax: Axes) -> None:
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
    ax.set_aspect("equal")


@_drawing
def roc(evaluation: Evaluation, ax: Axes) -> None:
    """Curves, the limits of both rates along them, and the operating points."""
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    for position, model in enumerate(evaluation.models):
        style = _style(position)
        if (band := model.roc_band) is not None:
            # Upper edge: the upper limit of sensitivity and the lower one of the false positive rate.
            x = np.concatenate((band.fpr_low, band.fpr_high[::-1]))
            y = np.concatenate((band.sensitivity_high, band.sensitivity_low[::-1]))
            ax.fill(x, y, color=style["color"], alpha=0.15, linewidth=0)
        area = model.estimate("auc")
        text = "" if area is None else f": AUC {with_interval(area)}"
        ax.plot(model.roc.x, model.roc.y, label=_label(model.name) + text, **style)
        point = _operating_point(model)
        if not any(map(math.isnan, point)):
            ax.plot(
                *point,
                marker=_marker(position),
                markersize=8,
                markerfacecolor="white",
                markeredgewidth=1.8,
                color=style["color"],
                linestyle="none",
                label=f"{_label(model.name)} at {model.threshold.value:.4g}",
            )
    _finish(ax, "False positive rate (1 - specificity)", "Sensitivity (true positive rate)")
    _square(ax)
    ax.legend(loc="lower right", fontsize="small", framealpha=0.9)


def _operating_point(model: Model) -> tuple[float, float]:
    rates = [model.estimate(key) for key in ("fpr", "sensitivity")]
    x, y = (math.nan if each is None else each.value for each in rates)
    return x, y


@_drawing
def precision_recall(evaluation: Evaluation, ax: Axes) -> None:
    """Precision over recall, the operating points, and the share of positives."""
    flow = evaluation.flow
    share = flow.n_positive / flow.n_cases
    ax.axhline(share, color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    ax.annotate(
        "share of positives", (0.01, share), textcoords="offset points", xytext=(0, 3),
        fontsize="x-small", color=GREY,
    )  # fmt: skip
    for position, model in enumerate(evaluation.models):
        style = _style(position)
        area = model.estimate("average_precision")
        text = "" if area is None else f": AP {with_interval(area)}"
        ax.plot(
            model.precision_recall.x,
            model.precision_recall.y,
            label=_label(model.name) + text,
            **style,
        )
        recall, precision = model.estimate("sensitivity"), model.estimate("ppv")
        if recall is not None and precision is not None:
            ax.plot(
                recall.value, precision.value, marker=_marker(position), markersize=8,
                markerfacecolor="white", markeredgewidth=1.8, color=style["color"], linestyle="none",
            )  # fmt: skip
    _finish(ax, "Recall (sensitivity)", "Precision (positive predictive value)")
    _square(ax)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)


@_drawing
def confusion(evaluation: Evaluation, ax: Axes, model: str | None = None) -> None:
    """Counts, and rates among the positive and among the negative cases."""
    found = _find(evaluation, model)
    cells = np.array([[found.tp, found.fn], [found.fp, found.tn]], dtype=np.float64)
    shares = cells / cells.sum(axis=1, keepdims=True)
    # Not imshow: a bitmap has no place in a drawing.
    edges = [-0.5, 0.5, 1.5]
    ax.pcolormesh(edges, edges, shares, cmap="Blues", vmin=0, vmax=1)
    ax.invert_yaxis()
    ax.set_aspect("equal")
    flow = evaluation.flow
    names = (
        f"positive\n({_short(flow.positive_label)})",
        f"negative\n({_short(flow.negative_label)})",
    )
    for row in range(2):
        for column in range(2):
            share = shares[row, column]
            ax.text(
                column,
                row,
                f"{count(cells[row, column])}\n{percent(round(share, 3))}",
                ha="center",
                va="center",
                color="white" if share > 0.55 else "black",
            )
    ax.set_xticks([0, 1], ["positive", "negative"])
    ax.set_yticks([0, 1], names)
    ax.set_xlabel("Called")
    ax.set_ylabel("Is")
    ax.set_title(
        f"{_short(found.name, 30)}, threshold {found.threshold.value:.4g}", fontsize="medium"
    )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


@_drawing
def calibration(evaluation: Evaluation, ax: Axes, model: str | None = None) -> None:
    """The CORP reliability curve, and where it lies if every probability is true."""
    found = _find(evaluation, model)
    if (curve := found.calibration) is None:
        raise ValueError(f"{found.name}: no calibration: {'; '.join(found.notes)}")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    level = percent(evaluation.options["confidence_level"])
    ax.fill_between(
        curve.probability, curve.band_low, curve.band_high, color=GREY, alpha=0.25, linewidth=0,
        label=f"{level} of curves if calibrated",
    )  # fmt: skip
    style = _style(evaluation.models.index(found))
    ax.plot(curve.probability, curve.recalibrated, label="observed (isotonic)", **style)
    _finish(ax, "Predicted probability", "Share of positives")
    _square(ax)
    title = f"{_short(found.name, 30)}"
    if not math.isnan(curve.slope.value):
        title += f"\nintercept {with_interval(curve.intercept)}\nslope {with_interval(curve.slope)}"
    ax.set_title(title, fontsize="small")
    ax.legend(loc="upper left", fontsize="small", framealpha=0.9)


@_drawing
def decision_curve(evaluation: Evaluation, ax: Axes) -> None:
    """Net benefit of each model, of treating all and of treating none."""
    curves = [
        (position, model, model.decision_curve)
        for position, model in enumerate(evaluation.models)
        if model.decision_curve is not None
    ]
    if not curves:
        raise ValueError("no decision curve: the scores are no probabilities, or have weights")
    for position, model, curve in curves:
        style = _style(position)
        ax.fill_between(
            curve.thresholds, curve.low, curve.high, color=style["color"], alpha=0.12, linewidth=0
        )
        ax.plot(curve.thresholds, curve.net_benefit, label=_label(model.name), **style)
    first = curves[0][2]
    ax.plot(first.thresholds, first.treat_all, color="black", linewidth=0.9, label="treat all")
    ax.axhline(0, color=GREY, linewidth=0.9, linestyle=(0, (1, 2)), label="treat none")
    top = max(float(np.nanmax(curve.net_benefit)) for _, _, curve in curves)
    top = max(top, evaluation.flow.n_positive / evaluation.flow.n_cases)
    ax.set_ylim(-0.15 * top, 1.1 * top)
    ax.set_xlim(0, 1)
    _finish(ax, "Threshold probability", "Net benefit")
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9)


@_drawing
def subgroups(evaluation: Evaluation, ax: Axes, criterion: str = "auc") -> None:
    """One row for all cases and each subgroup, one marker for each model."""
    if not evaluation.subgroups:
        raise ValueError("by: not given; there are no subgroups")
    groups = dict.fromkeys((group.column, group.value) for group in evaluation.subgroups)
    names = ["all cases", *(f"{_short(column)} = {_short(value, 24)}" for column, value in groups)]
    found = {("", "", model.name): model.estimate(criterion) for model in evaluation.models}
    title = ""
    for group in evaluation.subgroups:
        row = next((row for row in group.rows if row.key == criterion), None)
        if row is None:
            known = ", ".join(each.key for each in group.rows)
            raise ValueError(f"criterion: got {criterion!r}; one of {known} expected")
        found[group.column, group.value, group.model] = row.estimate
        title = row.title
    step = 0.6 / len(evaluation.models)
    for position, model in enumerate(evaluation.models):
        color = COLOURS[position % len(COLOURS)]
        for at, key in enumerate([("", ""), *groups]):
            estimate = found[*key, model.name]
            if estimate is None or math.isnan(estimate.value):
                continue
            y = at + (position - (len(evaluation.models) - 1) / 2) * step
            has_limits = not math.isnan(estimate.low)
            reach = (
                [
                    [max(0.0, estimate.value - estimate.low)],
                    [max(0.0, estimate.high - estimate.value)],
                ]
                if has_limits
                else None
            )
            ax.errorbar(
                estimate.value, y, xerr=reach, fmt=_marker(position), color=color, capsize=3,
                markersize=6, markerfacecolor=color if at else "white",
                label=_label(model.name) if at == 0 else None,
            )  # fmt: skip
            if at == 0:
                ax.axvline(estimate.value, color=color, linewidth=0.7, linestyle=(0, (1, 3)))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    _finish(ax, title, "")
    if len(evaluation.models) > 1:
        ax.legend(fontsize="small", framealpha=0.9)


def _find(evaluation: Evaluation, name: str | None) -> Model:
    if name is None:
        return evaluation.models[0]
    for model in evaluation.models:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in evaluation.models)
    raise ValueError(f"model: got {name!r}; one of {known} expected")
