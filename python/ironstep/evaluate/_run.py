"""What `ironstep evaluate` does: a file in; tables and sentences on the terminal, a folder."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ironstep._input_error import InputError, plain

from ._drawing import Helper, helper
from ._evaluation import Evaluation
from ._failing import parse_condition
from ._options import parse_threshold
from ._reading import Predictions, read_predictions
from ._table import Table
from ._tables import tables

if TYPE_CHECKING:
    from rich.status import Status

DONE, FOUND, WRONG_INPUT = 0, 1, 2
# The rest is in the sentences below them, or too wide for a terminal.
ON_TERMINAL = ("confusion", "criteria", "targets", "comparisons", "subgroups")
MOST_COLUMNS = 10
STYLES = {"result": "", "warning": "yellow", "note": "dim"}
NOT_ON_TERMINAL = ("Method of the interval", "Test")


def run(
    file: Path,
    *,
    label: Sequence[str],
    score: Sequence[str],
    classes: Sequence[str] | None = None,
    reader: Sequence[str] = (),
    group: str | None = None,
    by: Sequence[str] = (),
    weight: str | None = None,
    weight_type: str | None = None,
    id: str | None = None,  # noqa: A002 - the option's name
    threshold_from: Path | None = None,
    out: Path | None = None,
    also: Sequence[str] = (),
    quiet: bool = False,
    as_json: bool = False,
    fail_on: Sequence[str] = (),
    **options: Any,
) -> int:
    """Evaluate the columns of a file; the remaining options are those of `Evaluation`.

    Returns
    -------
    int
        0 done; 1 for what `fail_on` names, after a line for each; 2 for an input or an option that is
        wrong, after one line that says so.
    """
    console = Console(stderr=as_json, quiet=quiet)
    try:
        conditions = [parse_condition(each) for each in fail_on]
        if also and out is None:
            raise InputError("also: needs a folder (on the command line --out)")
        with _helper(out) as beside, console.status("reading") as status:
            columns = dict(label=label, scores=score, classes=classes, readers=reader, group=group,
                           by=by, weight=weight, id=id)  # fmt: skip
            evaluation = _evaluate(
                status, file, threshold_from, columns, dict(weight_type=weight_type, **options)
            )
            failed = [text for each in conditions for text in each(evaluation.results)]
            written = None
            if out is not None:
                written = _written(evaluation, out, also, beside)
    except InputError as error:
        print(f"ironstep evaluate: {plain(error)}", file=sys.stderr)
        return WRONG_INPUT
    if as_json:
        text = json.dumps(evaluation.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
        print(text)
    elif not quiet:
        show(evaluation, console)
        if written is None:
            console.print(
                "Nothing is saved; --out FOLDER writes page, pictures and tables.", style="dim"
            )
        else:
            console.print(f"Saved: {written}", highlight=False, markup=False, soft_wrap=True)
    for text in failed:
        print(f"ironstep evaluate: {plain(text)}", file=sys.stderr)
    return FOUND if failed else DONE


def _helper(out: Path | None) -> AbstractContextManager[Helper | None]:
    """Start what draws the pictures before anything is read: its imports take as long as that."""
    return (helper() if out is not None else None) or nullcontext()


def _written(evaluation: Evaluation, out: Path, also: Sequence[str], beside: Helper | None) -> Path:
    from ._report import write

    found, numbers = evaluation.findings, evaluation.as_json()
    return write(out, evaluation.results, found, numbers, also, evaluation._progress, beside)


def _evaluate(
    status: Status,
    file: Path,
    threshold_from: Path | None,
    columns: dict[str, Any],
    options: dict[str, Any],
) -> Evaluation:
    parse_threshold(options.get("threshold"))  # what is wrong is said before a large file is read
    names = options.get("aggregate") is not None
    found = read_predictions(file, **columns, group_names=names)
    elsewhere = None
    if threshold_from is not None:
        asked = {name: columns[name] for name in ("label", "scores", "classes")}
        other = read_predictions(threshold_from, **asked)
        elsewhere = other.label, other.scores
    return Evaluation(
        found.label,
        found.scores,
        classes=columns["classes"],
        readers=found.readers,
        groups=found.group,
        by=found.by,
        weights=found.weight,
        ids=found.id,
        threshold_from=elsewhere,
        progress=lambda part: status.update(Text(part)),
        source=_source(found, columns),
        **options,
    )


def _source(found: Predictions, columns: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": plain(found.name),
        "sha256": found.sha256,
        "columns": columns,
        "likely_group": None if found.likely_group is None else plain(found.likely_group),
    }


def show(evaluation: Evaluation, console: Console) -> None:
    """Show tables and findings on a terminal; nothing of the input is taken for markup."""
    found = tables(evaluation.results)
    for name in ON_TERMINAL:
        if name in found and len(found[name].header) <= MOST_COLUMNS:
            console.print(_rich(found[name]), end="\n\n")
    for finding in evaluation.findings:
        text = Text("! " if finding.kind == "warning" else "- ", style=STYLES[finding.kind])
        console.print(text.append(finding.text))
    console.print()


def _rich(table: Table) -> RichTable:
    shown = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        caption=Text(table.note, style="dim") if table.note else None,
        caption_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
    )
    kept = [name not in NOT_ON_TERMINAL for name in table.header]
    for name in itertools.compress(table.header, kept):
        shown.add_column(Text(name), min_width=max(map(len, name.split()), default=0))
    for row in table.rows:
        shown.add_row(*map(Text, itertools.compress(row, kept)))
    return shown
