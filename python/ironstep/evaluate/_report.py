"""A folder with the report: page, pictures, tables and numbers; whole, or not there at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from . import _pictures
from ._checklist import checklist
from ._errors import InputError, plain
from ._tables import number, percent, tables, with_interval

if TYPE_CHECKING:
    from ._evaluation import Evaluation

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


_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')


class Picture(NamedTuple):
    """A figure and what stands with it."""

    name: str
    caption: str
    alt: str
    figure: Figure


class Shown(NamedTuple):
    """A picture as the page has it."""

    name: str
    caption: str
    svg: Markup


def write(evaluation: Evaluation, folder: Path, progress: Callable[[str], object]) -> Path:
    """Write everything beside the folder first, and then put it in its place."""
    _check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        try:
            _fill(evaluation, made, progress)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
        made.chmod(0o777 & ~_umask())
        _put(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return folder / "index.html"


def _umask() -> int:
    # There is no other way to ask for it. mkdtemp's folders are the owner's alone.
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _check_replaceable(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is no folder")
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        earlier = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        ours = isinstance(earlier, dict) and str(earlier.get("format")).startswith("ironstep ")
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(
            f"{folder}: has files that are no earlier report; a new or an empty folder expected"
        )


def _put(made: Path, folder: Path) -> None:
    if not folder.exists():
        made.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    try:
        folder.rename(old / "report")
        try:
            made.rename(folder)
        except BaseException:
            (old / "report").rename(folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _fill(evaluation: Evaluation, folder: Path, progress: Callable[[str], object]) -> None:
    progress("tables")
    numbers = evaluation.as_json()
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    _save(folder / "report.json", text + "\n")
    found = tables(evaluation)
    (folder / "tables").mkdir()
    for name, table in found.items():
        _save(folder / "tables" / f"{name}.csv", "\ufeff" + table.csv())  # Excel wants the mark
        _save(folder / "tables" / f"{name}.md", table.markdown())
        _save(folder / "tables" / f"{name}.tex", table.latex())
    (folder / "pictures").mkdir()
    shown = {}
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # of a script the font lacks
        for picture in pictures(evaluation):
            progress(f"picture: {picture.name}")
            svg = _save_picture(picture, folder / "pictures")
            shown[picture.name] = Shown(picture.name, picture.caption, _inline(svg, picture))
    progress("page")
    _save(folder / "index.html", page(evaluation, shown))


def _save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _save_picture(picture: Picture, folder: Path) -> str:
    figure = picture.figure
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # it is laid out now; each saving would do it again
    # By the canvases, for Figure.savefig draws everything twice: to find what it may then cut off.
    canvases: tuple[Any, ...] = (FigureCanvasSVG, FigureCanvasPdf, FigureCanvasAgg)
    to_svg, to_pdf, to_png = (canvas(figure) for canvas in canvases)
    svg, path = BytesIO(), folder / picture.name
    to_svg.print_svg(svg, metadata={"Date": None})
    path.with_suffix(".svg").write_bytes(svg.getvalue())
    to_pdf.print_pdf(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    figure.dpi = DPI
    to_png.print_png(
        path.with_suffix(".png"), metadata={"Software": None}, pil_kwargs={"compress_level": 3}
    )
    return svg.getvalue().decode("utf-8")


def _inline(svg: str, picture: Picture) -> Markup:
    """Return a picture as part of a page: ids of its own, and words for those who do not see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: _ID.sub(rf"\g<1>{picture.name}-", tag[0]), svg)
    alt = Markup.escape(picture.alt)
    heading = f'<svg role="img" aria-label="{alt}"'
    # matplotlib has escaped every text in it.
    return Markup(svg.replace("<svg", heading, 1))


def pictures(evaluation: Evaluation) -> Iterator[Picture]:
    """Make those that this evaluation has."""
    models = evaluation.models
    level = percent(evaluation.options["confidence_level"])
    names = "; ".join(
        f"{model.name}, AUC {with_interval(area)}"
        for model in models
        if (area := model.estimate("auc")) is not None
    )
    figure = Figure(figsize=(5, 5), layout="constrained")
    _pictures.roc(evaluation, figure.subplots())
    yield Picture(
        "roc",
        "ROC curves. Open markers: operating points. Bands: at thresholds along the curve the "
        f"{level} limits of sensitivity and of specificity, each by itself, joined to one outline.",
        f"ROC curves of {names}.",
        figure,
    )
    areas = "; ".join(
        f"{model.name}, average precision {with_interval(area)}"
        for model in models
        if (area := model.estimate("average_precision")) is not None
    )
    figure = Figure(figsize=(5, 5), layout="constrained")
    _pictures.precision_recall(evaluation, figure.subplots())
    yield Picture(
        "precision-recall",
        "Precision over recall. Open markers: operating points.",
        f"Precision-recall curves of {areas}.",
        figure,
    )
    figure = Figure(figsize=(3.2 * len(models), 3.2), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        _pictures.confusion(evaluation, axes, model.name)
    yield Picture(
        "confusion",
        "The 2×2 table: cases, and their share of the positive and of the negative ones.",
        "Confusion matrices. "
        + " ".join(
            f"{m.name}: {m.tp:g} true positive, {m.fn:g} false negative, {m.fp:g} false positive, "
            f"{m.tn:g} true negative."
            for m in models
        ),
        figure,
    )
    calibrated = [model for model in models if model.calibration is not None]
    if calibrated:
        width = len(calibrated)
        figure = Figure(figsize=(4.2 * width, 4.8), layout="constrained")
        panels = figure.subplots(1, width, squeeze=False)[0]
        for axes, model in zip(panels, calibrated, strict=True):
            _pictures.calibration(evaluation, axes, model.name)
        yield Picture(
            "calibration",
            "Reliability curves by isotonic regression (CORP). Grey: where "
            f"{level} of such curves lie if every probability is true.",
            "Calibration curves. "
            + " ".join(
                f"{model.name}: slope {number(model.calibration.slope.value)}."
                for model in calibrated
                if model.calibration is not None
            ),
            figure,
        )
    if any(model.decision_curve is not None for model in models):
        figure = Figure(figsize=(6, 4), layout="constrained")
        _pictures.decision_curve(evaluation, figure.subplots())
        yield Picture(
            "decision-curve",
            "Decision curves: net benefit of acting on each model, on all cases and on none, with "
            f"{level} limits at each threshold probability.",
            f"Decision curves of {', '.join(model.name for model in models)}.",
            figure,
        )
    if evaluation.subgroups:
        rows = 1 + len({(group.column, group.value) for group in evaluation.subgroups})
        height = 1.2 + rows * (0.25 + 0.12 * len(models))
        figure = Figure(figsize=(10, height), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for axes, criterion in zip(panels, ("auc", "sensitivity", "specificity"), strict=True):
            _pictures.subgroups(evaluation, axes, criterion)
        if len(models) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=6)
        for axes in panels:
            if (legend := axes.get_legend()) is not None:
                legend.remove()
        yield Picture(
            "subgroups",
            f"Subgroups with {level} intervals; open markers and dotted lines: all cases.",
            "Forest plot of AUC, sensitivity and specificity in subgroups; the numbers are in the table.",
            figure,
        )


def page(evaluation: Evaluation, shown: dict[str, Shown]) -> str:
    """Return the page: all in one file, which asks the network for nothing."""
    found = tables(evaluation)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        evaluation=evaluation,
        tables=found,
        pictures=shown,
        checklist=checklist(evaluation, found),
        numbers=evaluation.as_json(),
    )
