"""The same networks trained with torch and with ironstep: `python -m ironstep demo`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import ironstep
from ironstep.bench.report import machine

from .cases import CASES
from .epoch import EPOCHS, Epoch, train
from .evaluation import evaluate
from .race import LEAST_EPOCHS, OURS, Outcome, race
from .report import save, show, tables

SAME, DIFFERENT, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

# Seconds for the trainings, so that imports, tables and picture are done within a minute as well.
# One thread of a 2020s server needs about 10.
BUDGET = 35.0
EPOCH_BUDGET = 10.0


def run(out: Path, *, seed: int = 0, quick: bool = False, threads: int | None = None) -> int:
    """Train all cases, show the tables, save them, the picture and a network's evaluation into `out`.

    Parameters
    ----------
    out : path
        Folder, made if it is not there.
    seed : int
        Starts the networks and orders the batches.
    quick : bool
        Train a few epochs only.
    threads : int, optional
        For torch and ironstep alike.

    Returns
    -------
    int
        0 if all trainings are the same up to rounding, 1 if not, 2 if nothing can be written into
        `out`, 130 after Ctrl-C; what was finished by then is saved.
    """
    console = Console()
    begin = perf_counter()
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):  # what cannot be saved is said before the trainings
            pass
    except OSError as error:
        console.print(f"Cannot write into {out}: {error.strerror}", style="red")
        return WRONG_USE
    if threads is not None:
        torch.set_num_threads(threads)
        ironstep.set_num_threads(threads)
    facts = _facts(seed)
    outcomes: list[Outcome] = []
    epoch: Epoch | None = None
    interrupted = False
    try:
        _train(outcomes, seed, quick, console)
        epoch = train(seed, 1 if quick else EPOCHS, deadline=perf_counter() + EPOCH_BUDGET)
    except KeyboardInterrupt:
        interrupted = True
    if not outcomes:
        console.print("Stopped before the first training was finished: nothing to save.")
        return INTERRUPTED
    show(tables(outcomes, epoch), console)
    remarks = list(_remarks(outcomes, facts, quick))
    paths = save(outcomes, epoch, facts, remarks, out)
    if not interrupted:
        try:
            written, remark = evaluate(outcomes, out, seed)
            paths += written
            console.print(remark, highlight=False, markup=False, soft_wrap=True)
        except KeyboardInterrupt:
            interrupted = True
    for remark in remarks:
        console.print(remark, style="yellow", highlight=False)
    agree = all(outcome.agrees for outcome in outcomes)
    if agree:
        console.print("All trainings are the same up to rounding.", style="bold green")
    console.print(f"Saved: {', '.join(map(str, paths))}", highlight=False, soft_wrap=True)
    console.print(f"{perf_counter() - begin:.0f} s", style="dim")
    if not agree:
        return DIFFERENT
    return INTERRUPTED if interrupted else SAME


def _train(outcomes: list[Outcome], seed: int, quick: bool, console: Console) -> None:
    """Train case by case; the list is filled in place, for Ctrl-C may end this anywhere."""
    begin = perf_counter()
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    bar = Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        auto_refresh=False,  # a thread of its own would draw in the middle of what is timed
    )
    with bar as progress:
        task = progress.add_task("", total=len(CASES))
        for number, case in enumerate(CASES):
            progress.update(task, description=f"{case!s:<16}", completed=number, refresh=True)
            epochs = LEAST_EPOCHS if quick else case.task.epochs
            outcome = race(
                case,
                seed,
                epochs,
                partial(progress.update, task, advance=1 / epochs, refresh=True),
                deadline=begin + BUDGET * (number + 1) / len(CASES),
            )
            outcomes.append(outcome)
            if not console.is_terminal:  # a log shows no bar
                console.print(f"{case}: {outcome.epochs} epochs done", highlight=False)


def _remarks(outcomes: list[Outcome], facts: dict[str, Any], quick: bool) -> Iterator[str]:
    """What a reader of the figures has to know."""
    if quick:
        yield "Quick run: too short for its times to mean anything."
    elif short := sum(outcome.epochs < outcome.case.task.epochs for outcome in outcomes):
        yield f"{short} trainings were cut short to end within a minute: the machine is busy or slow."
    if facts.get("load_before", 0) > 0.5:
        yield "Others were computing on this machine before the start: the times may suffer."
    if len(outcomes) < len(CASES):
        yield f"Stopped after {len(outcomes)} of {len(CASES)} trainings."
    for outcome in outcomes:
        for reason in outcome.handed_over:
            yield f"{outcome.case}: ironstep let torch step: {reason}"
        if not outcome.agrees:
            yield (
                f"{outcome.case}: ironstep is {outcome.off[OURS]:.1e} off, "
                f"rounding explains {outcome.allowed:.1e}."
            )


def _facts(seed: int) -> dict[str, Any]:
    """What the figures depend on."""
    config = ironstep.config()
    return {
        **machine(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "ironstep_threads": config["num_threads"],
        "memory": config["memory"],
        "seed": seed,
        **{name: version(name) for name in ("numpy", "scikit-learn", "matplotlib")},
    }
