"""The picture of a computational graph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from ironstep.train._dense_network import Array, Edge

# Okabe and Ito's palette; values stand above the edges and gradients below, for whom colours don't tell.
VALUE, GRADIENT = "#0072B2", "#D55E00"
MOST = 4  # rows and columns of an edge's array that are written out
STEP = 3.0  # from one operation to the next


def draw(edges: Sequence[Edge], ax: Axes | None = None) -> Axes:
    """Draw edges as arrows from left to right, parameters above the operation that takes them."""
    from matplotlib.patches import Circle

    if ax is None:
        import matplotlib.pyplot as plt

        n_operations = sum(edge.source[:1] not in ("θ", "b") for edge in edges)
        ax = plt.subplots(figsize=(1.75 * n_operations, 3.1), layout="constrained")[1]
    if any(
        edge.value.ndim == 2 and edge.source[:1] != "θ" and len(edge.value) != 1 for edge in edges
    ):
        raise ValueError("x: more than one sample; a picture shows one")

    places: dict[str, tuple[float, float]] = {}
    for edge in edges:  # in the order of the forward pass: what is met first stands to the left
        for node in (edge.source, edge.target):
            if node[:1] not in ("θ", "b"):
                places.setdefault(node, (STEP * len(places), 0.0))
    end = max(x for x, _ in places.values())
    for edge in edges:
        if edge.source[:1] in ("θ", "b"):
            places[edge.source] = (places[edge.target][0], 2.6)

    for edge in edges:
        (x0, y0), (x1, y1) = places[edge.source], places[edge.target]
        length = math.hypot(x1 - x0, y1 - y0)
        trim = 0.42 / length
        ax.annotate(
            "",
            (x1 + (x0 - x1) * (trim if edge.target else 0), y1 + (y0 - y1) * trim),
            (x0 + (x1 - x0) * trim, y0 + (y1 - y0) * trim),
            arrowprops=dict(arrowstyle="-|>", color="#404040", shrinkA=0, shrinkB=0, linewidth=1.1),
        )
        middle = (x0 + x1) / 2
        if y0 == y1:
            ax.text(
                middle, 0.1, f"{edge.name} =\n{_text(edge.value)}", color=VALUE, ha="center",
                va="bottom", fontsize=8.5, linespacing=1.1,
            )  # fmt: skip
            ax.text(
                middle, -0.1, _text(edge.gradient), color=GRADIENT, ha="center", va="top",
                fontsize=8.5, linespacing=1.1,
            )  # fmt: skip
        else:
            # Beside the parameter: right of the arrow there is no room.
            ax.text(
                x0, y0 + 0.45, _text(edge.value), color=VALUE, ha="center", va="bottom",
                fontsize=8.5, linespacing=1.1,
            )  # fmt: skip
            ax.text(
                x0 + 0.12, (y0 + y1) / 2 + 0.35, _text(edge.gradient), color=GRADIENT, ha="left",
                va="center", fontsize=8.5, linespacing=1.1,
            )  # fmt: skip
    for name, (x, y) in places.items():
        if name:
            ax.add_patch(Circle((x, y), 0.4, facecolor="white", edgecolor="#404040", linewidth=1.1))
            ax.text(x, y, name, ha="center", va="center", fontsize=10 if len(name) < 4 else 8)

    ax.set_xlim(-0.6, end + 0.2)
    ax.set_ylim(-1.3, 3.9)
    ax.set_aspect("equal")
    ax.axis("off")
    ax.text(-0.5, -1.25, "above an arrow: the value", color=VALUE, fontsize=9, va="bottom")
    ax.text(4.5, -1.25, "below or beside it: ∂loss/∂value", color=GRADIENT, fontsize=9, va="bottom")
    return ax


def _text(array: Array) -> str:
    """Numbers with three significant digits, one row a line."""
    rows = np.atleast_2d(array)
    lines = []
    for row in rows[:MOST]:
        more = " …" if rows.shape[1] > MOST else ""
        lines.append("  ".join(f"{float(number):.3g}" for number in row[:MOST]) + more)
    return "\n".join([*lines, "…"] if len(rows) > MOST else lines)
