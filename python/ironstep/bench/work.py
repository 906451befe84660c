"""A case in which everybody does the same work: checked equal, then timed."""

import contextlib
import fnmatch
import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import ironstep
from ironstep.bench.protocol import (
    AT_LEAST,
    ROUNDS,
    WARM_UP,
    Contestant,
    measure,
    quartiles_of_ratio,
)
from ironstep.bench.report import LIMIT, OURS, Report, Row, Target
from ironstep.bench.run import OnRound, run_jobs

ROUNDS_AND_RATIOS = (
    "Rounds interleave all contestants in random order and repeat each for at least 2 ms; a time is the "
    "median over the rounds, a ratio is that of the medians (above 1: ironstep is faster), its quartiles "
    "are those of the ratio taken round by round."
)


@dataclass
class Work:
    """What is done in a case, by everybody."""

    ours: Callable[[], Any]
    peers: dict[str, Callable[[], Any]]
    elements: int
    targets: Sequence[Target] = ()
    limit: Callable[[], Any] | None = None
    """A bare pass over the memory that has to be read and written."""
    others: dict[str, Callable[[], Any]] = field(default_factory=dict)
    """Timed beside them, and no peers: parts of our own work, say."""
    share: dict[str, float] = field(default_factory=dict)
    """The part of the work that a peer does."""
    differences: Callable[[], Mapping[str, float]] | None = None
    """How far each result is from the right one, relatively; if left out, each peer's from ours."""
    tolerance: float = 1e-6
    """The largest difference that is explained."""


@dataclass(frozen=True)
class Benchmark:
    """Cases that are measured together."""

    title: str
    stem: str
    """What its files are called."""
    protocol: str
    cases: Mapping[str, Callable[[], Work]]
    absent: Mapping[str, str] = field(default_factory=dict)
    peers: str = "torch"
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of peers, for the line on the machine."""

    def run(
        self,
        cases: Sequence[str] | None = None,
        threads: Sequence[int] | None = None,
        rounds: int = ROUNDS,
        out: Path | str | None = None,
        quick: bool = False,
    ) -> int:
        """Measure the chosen cases, show the tables and write `stem`.md and `stem`.json into `out`.

        Patterns choose cases by name, all if there is none; threads are 2 if left out. Returns the exit
        code: 0; 1 if a case failed; 2 if there is no such case; 130 after Ctrl-C.
        """
        console = Console()
        names = [
            name for name in self.cases if not cases or any(fnmatch.fnmatch(name, c) for c in cases)
        ]
        if not names:
            console.print(f"no such case; there are: {', '.join(self.cases)}", style="red")
            return 2
        report = Report(self.title, self.protocol, self.absent, quick, self.peers)
        report.machine |= self.versions
        jobs = [(name, name, count) for name in names for count in threads or (2,)]

        def measure_one(name: str, count: int, on_round: OnRound) -> Row:
            return measure_case(
                name, self.cases[name], count, rounds, quick=quick, on_round=on_round
            )

        with _threads():
            return run_jobs(report, jobs, measure_one, console, out, self.stem)


def measure_case(
    name: str,
    make: Callable[[], Work],
    threads: int,
    rounds: int = ROUNDS,
    *,
    quick: bool = False,
    on_round: OnRound = lambda _: None,
) -> Row:
    """Check and time all contestants of one case."""
    gc.collect()
    _set_threads(threads)
    work = make()
    row = Row(name, threads, work.elements, targets=() if threads != 2 else work.targets)
    row.differences = dict((work.differences or partial(_from_ours, work))())
    for contestant, off in row.differences.items():
        if not off <= work.tolerance:
            row.failure = f"{contestant} is off by {off:.1e}"
            return row
    contestants = [
        Contestant(peer, function, share=work.share.get(peer, 1.0))
        for peer, function in work.peers.items()
    ]
    contestants.append(Contestant(OURS, work.ours))
    contestants += [Contestant(name, function) for name, function in work.others.items()]
    if work.limit is not None:
        contestants.append(Contestant(LIMIT, work.limit))
    row.timings = measure(
        contestants,
        rounds=min(rounds, 2) if quick else rounds,
        warm_up=1 if quick else WARM_UP,
        at_least=0 if quick else AT_LEAST,
        on_round=on_round,
    )
    times = {contestant: timing.median for contestant, timing in row.timings.items()}
    row.figures = {peer: time / times[OURS] for peer, time in times.items() if peer != OURS}
    row.best = min(work.peers, key=times.__getitem__)
    row.figures["best"] = times[row.best] / times[OURS]
    row.quartiles = quartiles_of_ratio(row.timings[row.best], row.timings[OURS])
    return row


def _from_ours(work: Work) -> dict[str, float]:
    ours = work.ours()
    return {peer: difference(ours, function()) for peer, function in work.peers.items()}


def difference(ours: Any, theirs: Any) -> float:
    """Return the largest relative difference of numbers, arrays or tuples of them."""
    if isinstance(ours, tuple):
        return max(difference(a, b) for a, b in zip(ours, theirs, strict=True))
    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if ours.shape != theirs.shape:
        return math.inf
    equal = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    scale = np.maximum(np.abs(theirs), 1e-300)
    with np.errstate(invalid="ignore"):
        return float(np.where(equal, 0.0, np.abs(ours - theirs) / scale).max(initial=0.0))


def _set_threads(count: int | None) -> None:
    ironstep.set_num_threads(count)
    if count is not None:
        with contextlib.suppress(ImportError):
            import torch

            torch.set_num_threads(count)


@contextlib.contextmanager
def _threads() -> Iterator[None]:
    """Leave the numbers of threads as they are."""
    try:
        import torch
    except ImportError:
        before = None
    else:
        before = torch.get_num_threads()
    try:
        yield
    finally:
        _set_threads(before)
        ironstep.set_num_threads(None)
