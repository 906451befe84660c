"""Runs the cases of a benchmark one after another, shows how far it is, and keeps what is done."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, TaskID

from ironstep.bench.report import Report, Row, summary_line

CaseT = TypeVar("CaseT")
OnRound = Callable[[int], object]
"""Called with the number of each round that is over."""


def run_jobs(
    report: Report,
    jobs: Sequence[tuple[str, CaseT, int]],
    measure: Callable[[CaseT, int, OnRound], Row],
    console: Console,
    out: Path | str | None,
    stem: str,
) -> int:
    """Measure each job, a case's name, the case and a number of threads, and report.

    `stem`.md and `stem`.json are written into `out` after every case. Returns the exit code: 0; 1 if
    a case failed; 130 after Ctrl-C.
    """
    interrupted = False
    try:
        with Progress(console=console) as progress:
            task = progress.add_task("", total=len(jobs))
            for name, case, threads in jobs:
                label = f"{name}, threads: {threads}"
                progress.update(task, description=label)
                row = measure(case, threads, partial(_show_round, progress, task, label))
                report.rows.append(row)
                progress.console.print(summary_line(row), highlight=False)
                progress.advance(task)
                if out is not None:
                    report.write(Path(out), stem)
    except KeyboardInterrupt:
        interrupted = True
    report.show(console)
    if out is not None:
        console.print(f"Written: {Path(out) / stem}.md, {Path(out) / stem}.json")
    if interrupted:
        console.print(f"Stopped after {len(report.rows)} of {len(jobs)}.", style="yellow")
        return 130
    return int(any(row.failure is not None for row in report.rows))


def _show_round(progress: Progress, task: TaskID, label: str, number: int) -> None:
    progress.update(task, description=f"{label}, round {number}")
