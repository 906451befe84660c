"""The optimizers against torch's: `python -m ironstep bench optim`."""

import contextlib
import fnmatch
import gc
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

import ironstep
from ironstep.bench.optim.cases import CASES, EAGER, Case
from ironstep.bench.optim.contestants import (
    ColdStart,
    admit,
    busy_process,
    has_compiler,
    limit,
    moved,
    names,
    set_threads,
)
from ironstep.bench.protocol import (
    AT_LEAST,
    ROUNDS,
    WARM_UP,
    Contestant,
    measure,
    quartiles_of_ratio,
)
from ironstep.bench.report import OURS, Report, Row
from ironstep.bench.run import OnRound, run_jobs

ABSENT = {
    "torch.compile of many tensors": "takes minutes; measured where a case has at most 10 tensors",
    "DeepSpeedCPUAdam": "compiles its C++ on the user's machine at first use; not installed here",
    "bitsandbytes": "keeps 8-bit states, which round differently: not the same work",
}
PROTOCOL = (
    "Every contestant works on its own copy of the same data and is compared with torch before "
    "the timing. Rounds interleave all contestants in random order and repeat each for at least "
    "2 ms; a time is the median over the rounds, a ratio is that of the medians (above 1: ironstep "
    "is faster), its quartiles are those of the ratio taken round by round. Best of torch: the "
    "fastest of for-loop, foreach and fused without compiling. Limit: one bare pass of torch's "
    "in-place operations that reads and writes the same bytes in flat buffers, after reading the "
    "address of every tensor; given where 16 MB or more move, since below that the caches answer."
)


def run(
    cases: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    rounds: int = ROUNDS,
    out: Path | str | None = None,
    quick: bool = False,
) -> int:
    """Measure the cases, show the tables and write optim.md and optim.json into `out`.

    Parameters
    ----------
    cases : sequence of str, optional
        Names or patterns (`adam-*`); all that are not on request if left out. "all" is the grid of
        every rule, too.
    threads : sequence of int, optional
        Numbers of threads, for ironstep and torch alike; 2 and 1 if left out.
    rounds : int
        Rounds after the warm-up.
    out : path, optional
        Folder for the results; written after every case.
    quick : bool
        Cut the sizes and rounds down: shows that all runs, and its figures mean nothing.

    Returns
    -------
    int
        0; 1 if ironstep failed or differed from torch somewhere; 2 if no case has such a name; 130
        after Ctrl-C. A target that is missed is not an error.
    """
    console = Console()
    counts = threads or (2, 1)
    try:
        chosen = _chosen(cases)
    except KeyError as error:
        console.print(f"no case {error}; there are: {', '.join(CASES)}", style="red")
        return 2
    jobs = [
        (case.name, case, count)
        for case in chosen
        for count in counts
        # What another process or a cold start costs is asked for the default only.
        if case.kind not in ("busy", "cold") or count == max(counts)
    ]
    absent = ABSENT if has_compiler() else ABSENT | {"torch.compile": "no C++ compiler here"}
    report = Report("Optimizers: ironstep and torch", PROTOCOL, absent, quick)
    if report.machine.get("load_before", 0) > 0.5:
        console.print("This machine is not quiet: others are computing on it.", style="yellow")
    before = torch.get_num_threads()

    def measure_one(case: Case, count: int, on_round: OnRound) -> Row:
        return measure_case(case, count, rounds, quick=quick, on_round=on_round)

    try:
        return run_jobs(report, jobs, measure_one, console, out, "optim")
    finally:
        torch.set_num_threads(before)
        ironstep.set_num_threads(None)


def measure_case(
    case: Case,
    threads: int,
    rounds: int = ROUNDS,
    *,
    quick: bool = False,
    on_round: OnRound = lambda _: None,
) -> Row:
    """Check and time all contestants of one case."""
    gc.collect()  # the optimizers of the case before lie in cycles, and some hold gigabytes
    case = case.quick() if quick else case
    row = Row(case.name, threads, case.elements, targets=() if quick else case.asked(threads))
    set_threads(threads)
    contestants: list[Contestant] = []
    if case.kind == "cold":
        contestants += [ColdStart(case, name, threads) for name in names(case)]
    else:
        field = admit(case, names(case), threads)
        row.differences, row.left_out = field.differences, field.left_out
        if OURS in row.left_out:
            row.failure = row.left_out.pop(OURS)
            return row
        contestants += field.entrants
        ours = field.entrants[-1]
        row.bytes_moved = moved(case, ours)
        bare = limit(case, ours) if case.kind == "step" else None
        contestants += [bare] if bare is not None else []
    at_least, warm_up = AT_LEAST, WARM_UP
    if case.kind == "busy":
        at_least = 25 * AT_LEAST  # enough single steps for a 99th percentile
    if case.kind == "cold":
        at_least, warm_up, rounds = 0, 1, max(1, rounds // 3)  # each starts a process
    if quick:
        at_least, warm_up, rounds = 0, 1, min(rounds, 2)
    with busy_process() if case.kind == "busy" else contextlib.nullcontext():
        row.timings = measure(
            contestants,
            rounds=rounds,
            warm_up=warm_up,
            at_least=at_least,
            round_robin=case.round_robin,
            on_round=on_round,
        )
    _compare(row, case)
    return row


def _compare(row: Row, case: Case) -> None:
    """Fill in the figures that follow from the timings."""
    for timing in row.timings.values():
        timing.by_run = case.kind == "busy"
    times = {name: timing.median for name, timing in row.timings.items()}
    ours = times[OURS]
    row.figures = {name: time / ours for name, time in times.items() if name != OURS}
    peers = [name for name in times if name in EAGER]
    if peers:
        row.best = min(peers, key=times.__getitem__)
        row.figures["best"] = times[row.best] / ours
        row.quartiles = quartiles_of_ratio(row.timings[row.best], row.timings[OURS])
    if case.kind == "iteration" and "fused" in times:
        row.figures["removed"] = (times["fused"] - ours) / (times["fused"] - times["empty"])
    if case.kind == "cold" and row.best is not None:
        row.figures["beyond_first_step"] = (ours - times[row.best]) * 1e3


def _chosen(cases: Sequence[str] | None) -> list[Case]:
    """Find the cases with these names or patterns; a pattern leaves out what is on request."""
    if not cases:
        return [case for case in CASES.values() if not case.on_request]
    chosen: dict[str, Case] = {}
    for pattern in cases:
        found = {
            name: case
            for name, case in CASES.items()
            if name == pattern
            or pattern == "all"
            or (fnmatch.fnmatch(name, pattern) and not case.on_request)
        }
        if not found:
            raise KeyError(pattern)
        chosen |= found
    return list(chosen.values())
