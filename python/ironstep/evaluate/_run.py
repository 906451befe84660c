"""What `ironstep evaluate` does: a file in; tables and sentences on the terminal, a folder."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ._errors import InputError, plain
from ._evaluation import Evaluation, parse_threshold
from ._findings import is_noninferior
from ._reading import Predictions, read_predictions
from ._tables import Table, tables

if TYPE_CHECKING:
    from rich.status import Status

DONE, FOUND, WRONG_INPUT = 0, 1, 2
# The rest is in the sentences below them, or too wide for a terminal.
ON_TERMINAL = ("confusion", "criteria", "comparisons", "subgroups")
STYLES = {"result": "", "warning": "yellow", "note": "dim"}
NOT_ON_TERMINAL = ("Method of the interval", "Test")


def run(
    file: Path,
    *,
    label: str,
    score: Sequence[str],
    group: str | None = None,
    by: Sequence[str] = (),
    weight: str | None = None,
    weight_type: str | None = None,
    id: str | None = None,  # noqa: A002 - the option's name
    threshold_from: Path | None = None,
    out: Path | None = None,
    quiet: bool = False,
    as_json: bool = False,
    strict: bool = False,
    **options: Any,
) -> int:
    """Evaluate the columns of a file; the remaining options are those of `Evaluation`.

    Returns
    -------
    int
        0 done; 1, with `strict` alone, for a warning or a model that is not shown to be non-inferior;
        2 for an input or an option that is wrong, after one line that says so.
    """
    console = Console(stderr=as_json, quiet=quiet)
    try:
        with console.status("reading") as status:
            evaluation = _evaluate(
                status,
                file,
                threshold_from,
                columns=dict(label=label, scores=score, group=group, by=by, weight=weight, id=id),
                options=dict(weight_type=weight_type, **options),
            )
            written = None
            if out is not None:
                written = evaluation.report(out)
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
    return FOUND if strict and _is_doubtful(evaluation) else DONE


def _evaluate(
    status: Status,
    file: Path,
    threshold_from: Path | None,
    *,
    columns: dict[str, Any],
    options: dict[str, Any],
) -> Evaluation:
    parse_threshold(options.get("threshold"))  # what is wrong is said before a large file is read
    found = read_predictions(file, **columns)
    elsewhere = None
    if threshold_from is not None:
        other = read_predictions(threshold_from, label=columns["label"], scores=columns["scores"])
        elsewhere = other.label, other.scores
    return Evaluation(
        found.label,
        found.scores,
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


def _is_doubtful(evaluation: Evaluation) -> bool:
    return any(finding.kind == "warning" for finding in evaluation.findings) or any(
        pair.noninferiority is not None and not is_noninferior(pair.noninferiority)
        for pair in evaluation.comparisons
    )


def show(evaluation: Evaluation, console: Console) -> None:
    """Show tables and findings on a terminal; nothing of the input is taken for markup."""
    found = tables(evaluation)
    for name in ON_TERMINAL:
        if name in found:
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
