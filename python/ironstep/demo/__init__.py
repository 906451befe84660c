"""`python -m ironstep demo`: `ironstep train` on real data, and then torch and ironstep side by side."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
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
from .race import LEAST_EPOCHS, OURS, Outcome, race
from .report import save, show, tables

SAME, DIFFERENT, WRONG_USE, INTERRUPTED = 0, 1, 2, 130

# Seconds for the trainings, so that imports, tables and picture are done within a minute as well.
# One thread of a 2020s server needs about 10.
BUDGET = 32.0
EPOCH_BUDGET = 9.0
# What `ironstep train` is called with. With it, about three seconds less are left for the rest.
TRAINING = {
    "data": "breast_cancer",
    "model": "mlp",
    "positive": "malignant",
    "lr_schedule": "cosine",
}


def run(out: Path, *, seed: int = 0, quick: bool = False, threads: int | None = None) -> int:
    """Train as `ironstep train` does, then all cases of the comparison; all results come into `out`.

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
        `out`, 130 after Ctrl-C; what was finished by then is saved. The last line says where the report
        of the training is, or what has kept it from being made.
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
    report = _report(out, seed, quick, console)
    if report is None:
        return INTERRUPTED
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
        console.print("Stopped before the first comparison was finished: nothing of it to save.")
        console.print(report, style="bold", highlight=False, soft_wrap=True, markup=False)
        return INTERRUPTED
    show(tables(outcomes, epoch), console)
    remarks = list(_remarks(outcomes, facts, quick))
    paths = save(outcomes, epoch, facts, remarks, out)
    for remark in remarks:
        console.print(remark, style="yellow", highlight=False)
    agree = all(outcome.agrees for outcome in outcomes)
    if agree:
        console.print("All trainings are the same up to rounding.", style="bold green")
    console.print(f"Saved: {', '.join(map(str, paths))}", highlight=False, soft_wrap=True)
    console.print(f"{perf_counter() - begin:.0f} s", style="dim")
    console.print(report, style="bold", highlight=False, soft_wrap=True, markup=False)
    if not agree:
        return DIFFERENT
    return INTERRUPTED if interrupted else SAME


def _report(out: Path, seed: int, quick: bool, console: Console) -> str | None:
    """Train by the command's own path; a line that says where its report is, None after Ctrl-C."""
    missing = [name for name in ("jinja2", "scipy") if find_spec(name) is None]
    if missing:
        return f'No report: it needs {", ".join(missing)}: pip install "ironstep[train]"'
    from ironstep.train import _files
    from ironstep.train import _run as of_train

    folder = out / "training"
    if (folder / _files.OPTIONS).exists():  # the demo's own, of an earlier time
        shutil.rmtree(folder)
    given = TRAINING | {"seed": seed, "epochs": 2 if quick else 20}
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in given.items())
    console.print(f"ironstep train {options} --out {folder}", style="bold", highlight=False)
    code = of_train.run(given, folder)
    console.print()
    if code == of_train.INTERRUPTED:
        return None
    if code != of_train.DONE:
        return f"No report: ironstep train ended with {code}"
    return f"Report: {folder / _files.REPORT / 'index.html'}"


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
