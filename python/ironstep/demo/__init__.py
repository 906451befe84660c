"""The same networks trained with torch.optim and ironstep.optim: `python -m ironstep demo`."""

from __future__ import annotations

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
from .race import OURS, Outcome, race
from .report import save, show

SAME, DIFFERENT, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
QUICK_EPOCHS = 3


def run(out: Path, *, seed: int = 0, quick: bool = False, threads: int | None = None) -> int:
    """Train all cases, show the tables, save them and the picture into `out`.

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
    if facts.get("load_before", 0) > 0.5:
        console.print("Others are computing on this machine: the times suffer.", style="yellow")
    outcomes: list[Outcome] = []
    interrupted = False
    try:
        _train(outcomes, seed, quick, console)
    except KeyboardInterrupt:
        interrupted = True
    if not outcomes:
        console.print("Stopped before the first training was finished: nothing to save.")
        return INTERRUPTED
    show(outcomes, console)
    if quick:
        console.print("Quick run: too short for its times to mean anything.", style="yellow")
    paths = save(outcomes, facts, out, quick=quick)
    _conclude(outcomes, console)
    console.print(f"Saved: {', '.join(map(str, paths))}", highlight=False, soft_wrap=True)
    if interrupted:
        console.print(f"Stopped after {len(outcomes)} of {len(CASES)} trainings.", style="yellow")
    else:
        console.print(f"{perf_counter() - begin:.0f} s", style="dim")
    if not all(outcome.agrees for outcome in outcomes):
        return DIFFERENT
    return INTERRUPTED if interrupted else SAME


def _train(outcomes: list[Outcome], seed: int, quick: bool, console: Console) -> None:
    """Train case by case; the list is filled in place, for Ctrl-C may end this anywhere."""
    epochs = [QUICK_EPOCHS if quick else case.task.epochs for case in CASES]
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    bar = Progress(
        *columns,
        console=console,
        disable=not console.is_terminal,
        auto_refresh=False,  # a thread of its own would draw in the middle of what is timed
    )
    with bar as progress:
        task = progress.add_task("", total=sum(epochs))
        for case, count in zip(CASES, epochs, strict=True):
            progress.update(task, description=f"{case!s:<16}", refresh=True)
            outcomes.append(
                race(case, seed, count, lambda: progress.update(task, advance=1, refresh=True))
            )
            if not console.is_terminal:  # a log shows no bar
                console.print(f"{case}: {count} epochs done", highlight=False)


def _conclude(outcomes: list[Outcome], console: Console) -> None:
    for outcome in outcomes:
        for reason in outcome.handed_over:
            console.print(f"{outcome.case}: ironstep let torch step: {reason}", style="yellow")
    different = [outcome for outcome in outcomes if not outcome.agrees]
    for outcome in different:
        console.print(
            f"{outcome.case}: ironstep is {outcome.off[OURS]:.1e} off, "
            f"rounding explains {outcome.allowed:.1e}",
            style="bold red",
        )
    if not different:
        console.print("All trainings are the same up to rounding.", style="bold green")


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
