"""Pictures by matplotlib: results and axes in, the axes out.

They tell models apart by line style and marker as well as by colour; `first` is how many models the axes have
already. No text of the input is taken for mathematical markup.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np

from ironstep.metrics import Estimate
from ironstep.metrics._distributions import normal_quantile

from ._numbers import MINUS, count, percent
from ._numbers import with_interval as with_true_interval
from ._results import Model, Overall, Results, Tested, estimate_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart, the strongest first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
MARKERS = "osD^vPX"
GREY = "#595959"
MOST_WRITTEN = 12
"""Classes whose counts are written into a heat map; of more they are in the table."""

P = ParamSpec("P")


def with_interval(estimate: Estimate) -> str:
    """A value and its limits, in ASCII: a PDF embeds a font once for each 256 characters in use."""
    return with_true_interval(estimate).replace(MINUS, "-")


def _drawing(
    draw: Callable[Concatenate[Results, Axes, P], None],
) -> Callable[Concatenate[Results, Axes | None, P], Axes]:
    """Make axes where there are none, and draw without mathematical markup."""

    @functools.wraps(draw)
    def drawn(results: Results, ax: Axes | None = None, *args: P.args, **kwargs: P.kwargs) -> Axes:
        with mpl.rc_context(
            {"text.parse_math": False, "text.usetex": False, "axes.unicode_minus": False}
        ):
            if ax is None:
                # pyplot, for a notebook shows what it has made.
                import matplotlib.pyplot as plt

                ax = plt.subplots(layout="constrained")[1]
            draw(results, ax, *args, **kwargs)
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


def _title(results: Results, ax: Axes, target: str | None, model: str = "") -> None:
    if results.targets:
        what = {"multiclass": "against the rest", "multilabel": ""}[results.kind]
        parts = [_short(model, 30), f"{_short(target or '', 24)} {what}".strip()]
        ax.set_title(", ".join(filter(None, parts)), fontsize="medium")


@_drawing
def roc(results: Results, ax: Axes, target: str | None = None, first: int = 0) -> None:
    """Curves, the limits of both rates along them, the operating points and the readers."""
    models = asked(results, target)
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    for position, model in enumerate(models, start=first):
        style = _style(position)
        if (band := model.roc_band) is not None:
            # Upper edge: the upper limit of sensitivity and the lower one of the false positive rate.
            x = np.concatenate((band.fpr_low, band.fpr_high[::-1]))
            y = np.concatenate((band.sensitivity_high, band.sensitivity_low[::-1]))
            ax.fill(x, y, color=style["color"], alpha=0.15, linewidth=0)
        area = model.estimate("auc")
        text = "" if area is None else f": AUC {with_interval(area)}"
        ax.plot(model.roc.x, model.roc.y, label=_label(model.name) + text, **style)
        _mark(ax, position, *_rates(model), label=_at_threshold(model))
    for position, reader in enumerate(results.readers, start=first + len(models)):
        _cross(ax, position, reader)
    _finish(ax, "False positive rate (1 - specificity)", "Sensitivity (true positive rate)")
    _square(ax)
    _title(results, ax, models[0].target)
    ax.legend(loc="lower right", fontsize="small", framealpha=0.9)


def _at_threshold(model: Model) -> str | None:
    if model.threshold.origin == "highest score":
        return None
    return f"{_label(model.name)} at {model.threshold.value:.4g}"


def _rates(tested: Tested) -> tuple[float, float]:
    rates = [tested.estimate(key) for key in ("fpr", "sensitivity")]
    x, y = (math.nan if each is None else each.value for each in rates)
    return x, y


def _mark(ax: Axes, position: int, x: float, y: float, label: str | None = None) -> None:
    """An operating point: an open marker."""
    if not math.isnan(x + y):
        ax.plot(
            x, y, marker=_marker(position), markersize=8, markerfacecolor="white",
            markeredgewidth=1.8, color=_style(position)["color"], linestyle="none", label=label,
        )  # fmt: skip


def _cross(ax: Axes, position: int, reader: Tested) -> None:
    """A human reader: a filled marker in the middle of the limits of both rates."""
    found = [reader.estimate(key) for key in ("fpr", "sensitivity")]
    x, y = found
    if x is None or y is None:
        return
    color = _style(position)["color"]
    ax.errorbar(
        x.value, y.value, xerr=reach(x), yerr=reach(y), fmt=_marker(position), color=color,
        markersize=6, capsize=2, linewidth=1, label=f"{_label(reader.name)}, a reader",
    )  # fmt: skip


def reach(estimate: Estimate) -> Any:
    """How far the limits are from the value, as error bars take it; None without limits."""
    if math.isnan(estimate.low):
        return None
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return [[max(0.0, below)], [max(0.0, above)]]


@_drawing
def precision_recall(results: Results, ax: Axes, target: str | None = None, first: int = 0) -> None:
    """Precision over recall, the operating points, and the share of positives."""
    models = asked(results, target)
    share = (models[0].tp + models[0].fn) / _total(models[0])
    ax.axhline(share, color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    ax.annotate(
        "share of positives", (0.01, share), textcoords="offset points", xytext=(0, 3),
        fontsize="x-small", color=GREY,
    )  # fmt: skip
    for position, model in enumerate(models, start=first):
        area = model.estimate("average_precision")
        text = "" if area is None else f": AP {with_interval(area)}"
        curve = model.precision_recall
        ax.plot(curve.x, curve.y, label=_label(model.name) + text, **_style(position))
        recall, precision = model.estimate("sensitivity"), model.estimate("ppv")
        if recall is not None and precision is not None:
            _mark(ax, position, recall.value, precision.value)
    _finish(ax, "Recall (sensitivity)", "Precision (positive predictive value)")
    _square(ax)
    _title(results, ax, models[0].target)
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9)


def _total(tested: Tested) -> float:
    return tested.tp + tested.fp + tested.fn + tested.tn


@_drawing
def det(results: Results, ax: Axes, target: str | None = None, first: int = 0) -> None:
    """Both error rates, on the scales of normal deviates (Martin et al. 1997)."""
    models = asked(results, target)
    ticks = (0.001, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95, 0.99)
    least = ticks[0]

    def deviates(rates: Any) -> Any:
        clipped = np.clip(np.atleast_1d(rates), least, 1 - 1e-2)
        return [normal_quantile(rate) for rate in clipped.tolist()]

    for position, model in enumerate(models, start=first):
        # Where nothing is called, or all, a rate is 0 or 1 and has no deviate.
        inside = (model.roc.x > 0) & (model.roc.y < 1) & (model.roc.x < 1) & (model.roc.y > 0)
        x, y = deviates(model.roc.x[inside]), deviates(1 - model.roc.y[inside])
        ax.plot(x, y, label=_label(model.name), **_style(position))
        fpr, tpr = _rates(model)
        if 0 < fpr < 1 and 0 < tpr < 1:
            (x_at,), (y_at,) = deviates(fpr), deviates(1 - tpr)
            _mark(ax, position, x_at, y_at, label=_at_threshold(model))
    _finish(ax, "False positive rate", "False negative rate")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(deviates(ticks), [percent(tick) for tick in ticks])
    low, high = deviates((least, 0.99))
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.set_aspect("equal")
    _title(results, ax, models[0].target)
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9)


@_drawing
def scores(results: Results, ax: Axes, model: str | None = None, target: str | None = None) -> None:
    """Shares of the positive and of the negative cases by their scores, and the threshold."""
    found = find(asked(results, target), model)
    bins = found.histogram
    for position, (name, counts) in enumerate(
        (("negative", bins.negative), ("positive", bins.positive))
    ):
        shares = counts / max(1, counts.sum())
        style = _style(position)
        ax.stairs(shares, bins.edges, label=f"{name} ({counts.sum()})", **style)
        ax.stairs(shares, bins.edges, fill=True, color=style["color"], alpha=0.15)
    if math.isfinite(found.threshold.value):
        ax.axvline(found.threshold.value, color="black", linewidth=1, label="threshold")
    ax.set_ylim(0, 1.4 * ax.get_ylim()[1])  # the legend stands above the bars
    _finish(ax, "Score", "Share of the class")
    _title(results, ax, found.target, found.name)
    if not results.targets:
        ax.set_title(_short(found.name, 30), fontsize="medium")
    ax.legend(loc="upper center", fontsize="small", framealpha=0.9)


@_drawing
def confusion(
    results: Results, ax: Axes, model: str | None = None, target: str | None = None
) -> None:
    """Counts, and rates among the cases of each row."""
    flow = results.flow
    if results.kind == "multiclass" and target is None:
        whole = find(results.overall, model)
        assert whole.confusion is not None
        names = [_short(name) for name in results.targets]
        _matrix(ax, whole.confusion, names, names)
        ax.set_title(_short(whole.name, 30), fontsize="medium")
        return
    found = find(asked(results, target), model)
    cells = np.array([[found.tp, found.fn], [found.fp, found.tn]], dtype=np.float64)
    rows, columns = ["positive", "negative"], ["positive", "negative"]
    if not results.targets:
        rows = [
            f"positive\n({_short(flow.positive_label)})",
            f"negative\n({_short(flow.negative_label)})",
        ]
    _matrix(ax, cells, rows, columns)
    if results.targets:
        _title(results, ax, found.target, found.name)
    else:
        name = _short(found.name, 30)
        ax.set_title(f"{name}, threshold {found.threshold.value:.4g}", fontsize="medium")


def _matrix(ax: Axes, cells: Any, rows: list[str], columns: list[str]) -> None:
    sums = cells.sum(axis=1, keepdims=True)
    shares = cells / np.where(sums > 0, sums, 1)
    n = len(cells)
    # Not imshow: a bitmap has no place in a drawing.
    edges = np.arange(n + 1) - 0.5
    ax.pcolormesh(edges, edges, shares, cmap="Blues", vmin=0, vmax=1)
    ax.invert_yaxis()
    ax.set_aspect("equal")
    if n <= MOST_WRITTEN:
        size = None if n <= 4 else "small" if n <= 7 else "x-small"
        for row, column in np.ndindex(n, n):
            share = shares[row, column]
            ax.text(
                column,
                row,
                f"{count(cells[row, column])}\n{percent(round(share, 3))}",
                ha="center",
                va="center",
                color="white" if share > 0.7 else "black",
                fontsize=size,
            )
    turned: Any = {} if n <= 3 else dict(rotation=45, ha="right", rotation_mode="anchor")
    ax.set_xticks(range(n), columns, **turned)
    ax.set_yticks(range(n), rows)
    ax.set_xlabel("Called")
    ax.set_ylabel("Is")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _short(text: str, most: int = 16) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


@_drawing
def calibration(
    results: Results,
    ax: Axes,
    model: str | None = None,
    target: str | None = None,
    first: int = 0,
) -> None:
    """The CORP reliability curve, and where it lies if every probability is true."""
    whole: tuple[Model | Overall, ...] = asked(results, target)
    if results.kind == "multiclass":
        whole = results.overall
    found = find(whole, model)
    if (curve := found.calibration) is None:
        raise ValueError(f"{found.name}: no calibration: {'; '.join(found.notes)}")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (1, 3)))
    level = percent(results.options["confidence_level"])
    ax.fill_between(
        curve.probability, curve.band_low, curve.band_high, color=GREY, alpha=0.25, linewidth=0,
        label=f"{level} of curves if calibrated",
    )  # fmt: skip
    style = _style(first + [each.name for each in whole].index(found.name))
    ax.plot(curve.probability, curve.recalibrated, label="observed (isotonic)", **style)
    if results.kind == "multiclass":
        _finish(ax, "Probability of the class that is called", "Share of right calls")
    else:
        _finish(ax, "Predicted probability", "Share of positives")
    _square(ax)
    title = _short(found.name, 30)
    if isinstance(found, Model) and found.target is not None:
        title += f", {_short(found.target, 24)}"
    if not math.isnan(curve.slope.value):
        title += f"\nintercept {with_interval(curve.intercept)}\nslope {with_interval(curve.slope)}"
    ax.set_title(title, fontsize="small")
    ax.legend(loc="upper left", fontsize="small", framealpha=0.9)


@_drawing
def decision_curve(results: Results, ax: Axes, target: str | None = None) -> None:
    """Net benefit of each model, of treating all and of treating none."""
    models = asked(results, target)
    curves = [
        (position, model, model.decision_curve)
        for position, model in enumerate(models)
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
    top = max(top, (models[0].tp + models[0].fn) / _total(models[0]))
    ax.set_ylim(-0.15 * top, 1.1 * top)
    ax.set_xlim(0, 1)
    _finish(ax, "Threshold probability", "Net benefit")
    _title(results, ax, models[0].target)
    ax.legend(loc="upper right", fontsize="small", framealpha=0.9)


@_drawing
def subgroups(results: Results, ax: Axes, criterion: str | None = None) -> None:
    """One row for all cases and each subgroup, one marker for each model."""
    if not results.subgroups:
        raise ValueError("by: not given; there are no subgroups")
    known = {row.key: row.title for row in results.subgroups[0].rows}
    criterion = next(iter(known)) if criterion is None else criterion
    if criterion not in known:
        raise ValueError(f"criterion: got {criterion!r}; one of {', '.join(known)} expected")
    groups = dict.fromkeys((group.column, group.value) for group in results.subgroups)
    names = ["all cases", *(f"{_short(column)} = {_short(value, 24)}" for column, value in groups)]
    models = results.whole
    found = {("", "", model.name): model.estimate(criterion) for model in models}
    for group in results.subgroups:
        found[group.column, group.value, group.model] = estimate_of(group.rows, criterion)
    step = 0.6 / len(models)
    for position, model in enumerate(models):
        color = COLOURS[position % len(COLOURS)]
        for at, key in enumerate([("", ""), *groups]):
            estimate = found[*key, model.name]
            if estimate is None or math.isnan(estimate.value):
                continue
            y = at + (position - (len(models) - 1) / 2) * step
            ax.errorbar(
                estimate.value, y, xerr=reach(estimate), fmt=_marker(position), color=color,
                capsize=3, markersize=6, markerfacecolor=color if at else "white",
                label=_label(model.name) if at == 0 else None,
            )  # fmt: skip
            if at == 0:
                ax.axvline(estimate.value, color=color, linewidth=0.7, linestyle=(0, (1, 3)))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    _finish(ax, known[criterion], "")
    if len(models) > 1:
        ax.legend(fontsize="small", framealpha=0.9)


def asked(results: Results, target: str | None) -> tuple[Model, ...]:
    """Return all models, as they answer for one class or finding: the first if None."""
    if not results.targets:
        return results.models
    target = results.targets[0] if target is None else target
    if target not in results.targets:
        known = ", ".join(results.targets)
        raise ValueError(f"target: got {target!r}; one of {known} expected")
    return tuple(model for model in results.models if model.target == target)


T = TypeVar("T", bound=Model | Overall)


def find(models: tuple[T, ...], name: str | None) -> T:
    """Return the model of that name, the first if None."""
    if name is None:
        return models[0]
    for model in models:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in models)
    raise ValueError(f"model: got {name!r}; one of {known} expected")
