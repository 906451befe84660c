"""What the pictures share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, which colour-blind readers can tell apart; dashes and markers tell, too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 2)))
MARKERS = "osD^vPX"
GREY = "#595959"


def panels(n: int, *, width: float = 4.2, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Return a figure with n panels side by side."""
    figure = Figure(figsize=(width * n, height), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def style(position: int) -> dict[str, Any]:
    """Return colour and dashes of the curve at a position."""
    return dict(
        color=COLOURS[position % len(COLOURS)],
        linestyle=DASHES[position % len(DASHES)],
        linewidth=1.6,
    )


def finish(ax: Axes, title: str, x: str, y: str) -> None:
    """Name the axes."""
    ax.set_title(title, fontsize="medium")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(visible=True, alpha=0.25)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
