"""`ironstep experiment`: one seed after the other, then tables, picture and JSON."""

from __future__ import annotations

import json
import math
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

from ironstep.bench.report import machine
from ironstep.experiments import NAMES, load
from ironstep.experiments._protocol import CONTRARY, SUPPORTED, Measurement, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ironstep.experiments._protocol import Experiment, Findings, Statement

DONE, WRONG_USE, INTERRUPTED = 0, 2, 130
STYLES = {SUPPORTED: "bold green", CONTRARY: "bold red"}
MEANING = (
    "supported: the whole interval lies where the statement says; contrary here: none of it does; "
    "not shown: all else. Each interval has 95%."
)


def run(
    name: str,
    out: Path | None = None,
    *,
    seeds: int | None = None,
    first: int = 0,
    quick: bool = False,
    table: Path | None = None,
) -> int:
    """Run an experiment, show what it found, and save it.

    Parameters
    ----------
    name : str
        One of `ironstep.experiments.NAMES`.
    out : path, optional
        Folder, made if it is not there; ``ironstep-experiments/NAME`` if None.
    seeds : int, optional
        How many, two at least; the experiment's own number if None.
    first : int
        The first seed.
    quick : bool
        A version of seconds, which shows that all runs and little else.
    table : path, optional
        For ``retest`` alone: models of one's own, a CSV file.

    Returns
    -------
    int
        0 done; 2 for a name that is none, a table that cannot be read, or a folder that cannot be
        written; 130 after Ctrl-C: nothing is saved then.
    """
    console = Console()
    try:
        experiment = load(name)
    except KeyError:
        known = ", ".join(NAMES)
        console.print(f"NAME: got {name!r}; one of {known} expected", style="red", markup=False)
        return WRONG_USE
    if table is not None:
        if name != "retest":
            console.print(f"--table: for retest alone, not {name}", style="red")
            return WRONG_USE
        from ironstep.experiments.retest import of_table

        try:
            experiment = of_table(table)
        except ValueError as error:
            console.print(str(error), style="red", markup=False, soft_wrap=True)
            return WRONG_USE
    folder = Path("ironstep-experiments", name) if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # what cannot be saved is said before the work
            pass
    except OSError as error:
        console.print(f"Cannot write into {folder}: {error.strerror}", style="red", markup=False)
        return WRONG_USE
    n_seeds = min(2, experiment.seeds) if quick else experiment.seeds
    n_seeds = n_seeds if seeds is None or table is not None else seeds
    begin = perf_counter()
    threads = torch.get_num_threads()
    # Small networks gain nothing by a second thread, and sums would depend on how many there are.
    torch.set_num_threads(1)
    try:
        measured = measurements(experiment, range(first, first + n_seeds), quick, console)
        findings = experiment.conclude(measured)
    except KeyboardInterrupt:
        console.print("Stopped: nothing is saved.")
        return INTERRUPTED
    finally:
        torch.set_num_threads(threads)
    remarks = ["Quick run: too small to say much."] if quick else []
    show(experiment, findings, remarks, console)
    facts = _facts(name, first, n_seeds, quick)
    paths = save(experiment, findings, measured, facts, remarks, folder)
    console.print(
        f"Saved: {', '.join(map(str, paths))}", highlight=False, soft_wrap=True, markup=False
    )
    console.print(f"{perf_counter() - begin:.0f} s", style="dim")
    return DONE


def measurements(
    experiment: Experiment, seeds: Sequence[int], quick: bool, console: Console
) -> list[Measurement]:
    """Measure seed by seed, with a bar that says what is done now."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    measured: list[Measurement] = []
    with bar as progress:
        task = progress.add_task("", total=len(seeds))
        for seed in seeds:

            def tick(what: str, seed: int = seed) -> None:
                progress.update(task, description=f"seed {seed}: {what:<28.28}")

            tick("")
            measured.append(experiment.measure(seed, quick, tick))
            progress.advance(task)
            if not console.is_terminal:  # a log shows no bar
                console.print(f"seed {seed} done", highlight=False)
    return measured


def statements_table(statements: Sequence[Statement]) -> Table:
    """One row a statement."""
    header = ["statement", "verdict", "measured", "value [95% interval]", "wanted", "interval"]
    rows = [
        [s.text, s.verdict, s.measured, str(s.interval), s.wanted, s.interval.method]
        for s in statements
    ]
    return Table("What the lecture says", MEANING, header, rows)


def show(
    experiment: Experiment, findings: Findings, remarks: Sequence[str], console: Console
) -> None:
    """Print statements and tables."""
    console.print(Text(experiment.title, style="bold"))
    console.print(Text(experiment.setting), end="\n\n")
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for statement in findings.statements:
        verdict = statement.verdict
        grid.add_row(Text(verdict, STYLES.get(verdict, "bold yellow")), Text(statement.text))
        detail = f"{statement.measured}: {statement.interval}; wanted {statement.wanted}"
        grid.add_row("", Text(f"{detail} ({statement.interval.method})", style="dim"))
    console.print(grid)
    console.print(Text(MEANING, style="dim"), end="\n\n")
    for table in findings.tables:
        shown = RichTable(
            title=Text(table.title, style="bold"), title_justify="left", box=None,
            padding=(0, 2, 0, 0), pad_edge=False,
            caption=Text(table.note, style="dim") if table.note else None, caption_justify="left",
        )  # fmt: skip
        for position, column in enumerate(table.header):
            shown.add_column(Text(column), justify="right" if position else "left")
        for row in table.rows:
            shown.add_row(*map(Text, row))
        console.print(shown, end="\n\n")
    for remark in remarks:
        console.print(Text(remark, style="yellow"))


def save(
    experiment: Experiment,
    findings: Findings,
    measured: Sequence[Measurement],
    facts: dict[str, Any],
    remarks: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Write everything into the folder; the paths."""
    tables = [statements_table(findings.statements), *findings.tables]
    content = {
        "experiment": experiment.title,
        "setting": experiment.setting,
        "facts": facts,
        "remarks": remarks,
        "statements": [
            {
                "statement": s.text,
                "verdict": s.verdict,
                "measured": s.measured,
                **s.interval._asdict(),
                "wanted_above": s.above,
                "wanted_below": s.below,
            }
            for s in findings.statements
        ],
        "tables": [table._asdict() for table in findings.tables],
        "seeds": list(measured),
    }
    lines = [f"# {experiment.title}", "", experiment.setting, ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += [f"- **{remark}**" for remark in remarks]
    lines += ["", "![picture](picture.png)", "", *(table.markdown() for table in tables)]
    text = json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False)
    files = {"results.json": f"{text}\n", "results.md": "\n".join(lines), **findings.pages}
    paths = [folder / name for name in ("picture.png", "picture.svg", *files)]
    findings.picture.savefig(paths[0], dpi=150)
    findings.picture.savefig(paths[1])
    for name, written in files.items():
        (folder / name).write_text(written, encoding="utf-8")
    return paths


def plain(value: Any) -> Any:
    """Return what JSON can hold: numbers that it lacks become None, numpy's become Python's."""
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _facts(name: str, first: int, n_seeds: int, quick: bool) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "name": name,
        "first_seed": first,
        "n_seeds": n_seeds,
        "quick": quick,
        **machine(),
        **{package: version(package) for package in ("numpy", "scikit-learn")},
    }
