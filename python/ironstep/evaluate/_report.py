"""A folder with the report: page, pictures, tables and numbers; whole, or not there at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from ironstep._input_error import InputError, plain

from ._checklist import CHECKLISTS, checked
from ._drawing import Helper, draw_all
from ._figures import Picture, caption, pictures
from ._findings import Finding
from ._results import Results
from ._table import Table
from ._tables import tables

_ID = re.compile(r'(\bid="|xlink:href="#|url\(#)')


class Shown(NamedTuple):
    """A picture as the page has it."""

    name: str
    caption: str
    svg: Markup


def write(
    folder: Path,
    results: Results,
    findings: Sequence[Finding],
    numbers: dict[str, Any],
    also: Sequence[str],
    progress: Callable[[str], object],
    beside: Helper | None = None,
) -> Path:
    """Write everything beside the folder first, and then put it in its place.

    `beside`: a process that draws some of the pictures.
    """
    chosen = list(pictures(results, also))
    _check_replaceable(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        try:
            _fill(made, results, findings, numbers, chosen, progress, beside)
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


def _fill(
    folder: Path,
    results: Results,
    findings: Sequence[Finding],
    numbers: dict[str, Any],
    chosen: Sequence[Picture],
    progress: Callable[[str], object],
    beside: Helper | None,
) -> None:
    progress("tables")
    text = json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False)
    _write(folder / "report.json", text + "\n")
    found = tables(results)
    (folder / "tables").mkdir()
    for name, table in found.items():
        _write(folder / "tables" / f"{name}.csv", "\ufeff" + table.csv())  # Excel wants the mark
        _write(folder / "tables" / f"{name}.md", table.markdown())
        _write(folder / "tables" / f"{name}.tex", table.latex())
    (folder / "pictures").mkdir()
    drawn = draw_all(results, chosen, folder / "pictures", progress, beside)
    shown = {
        each.name: Shown(each.name, caption(each), _inline(drawn[each.name], each))
        for each in chosen
    }
    progress("page")
    _write(folder / "index.html", _page(results, findings, numbers, found, shown))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _inline(svg: str, picture: Picture) -> Markup:
    """Return a picture as part of a page: ids of its own, and words for those who do not see it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<[^>]+>", lambda tag: _ID.sub(rf"\g<1>{picture.name}-", tag[0]), svg)
    alt = Markup.escape(picture.alt)
    heading = f'<svg role="img" aria-label="{alt}"'
    # matplotlib has escaped every text in it.
    return Markup(svg.replace("<svg", heading, 1))


def _page(
    results: Results,
    findings: Sequence[Finding],
    numbers: dict[str, Any],
    found: dict[str, Table],
    shown: dict[str, Shown],
) -> str:
    """Return the page: all in one file, which asks the network for nothing."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(value),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        results=results,
        findings=findings,
        tables=found,
        pictures=shown,
        checklists=[(each, checked(each, results, found)) for each in CHECKLISTS],
        numbers=numbers,
    )
