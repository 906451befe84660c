"""A picture as a figure of panels, and as files."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.text import Text

from . import _pictures
from ._figures import MOST_PANELS, Picture
from ._results import Results

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


def save(results: Results, picture: Picture, folder: Path, dpi: int) -> str:
    """Write SVG, PDF and PNG; return the SVG."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a script the font lacks
        return _save(_figure(results, picture), folder / picture.name, dpi)


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


def _save(figure: Figure, path: Path, dpi: int) -> str:
    for text in figure.findobj(Text):
        if hasattr(text, "set_fontfeatures"):
            # A PDF embeds a ligature, as in "specificity", as a font of its own, which takes 0.1 s.
            text.set_fontfeatures(["-liga"])
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it is laid out now; each saving would do it again
    # By the canvases, for Figure.savefig draws everything twice: to find what it may then cut off.
    canvases: tuple[Any, ...] = (FigureCanvasSVG, FigureCanvasPdf, FigureCanvasAgg)
    to_svg, to_pdf, to_png = (canvas(figure) for canvas in canvases)
    svg = BytesIO()
    to_svg.print_svg(svg, metadata={"Date": None})
    path.with_suffix(".svg").write_bytes(svg.getvalue())
    to_pdf.print_pdf(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.dpi = dpi
    to_png.print_png(
        path.with_suffix(".png"), metadata={"Software": None}, pil_kwargs={"compress_level": 3}
    )
    return svg.getvalue().decode("utf-8")
