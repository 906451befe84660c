"""How a time is measured.

All contestants of a case run in one process, one after another in every round, in an order that
is drawn anew each round: whatever else the machine does hits all of them alike. A round repeats
each contestant until the clock can tell (2 ms); the first rounds warm up and are thrown away.
"""

import gc
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

ROUNDS = 15
WARM_UP = 3
AT_LEAST = 2e-3  # seconds of one contestant in one round


@dataclass
class Contestant:
    """One way of doing the work of a case."""

    name: str
    run: Callable[[], object]
    before: Callable[[], object] | None = None  # before every run, not timed
    settle: Callable[[], object] | None = None  # before every block of runs, not timed
    share: float = 1.0  # of the work that is done: less where all of it would take minutes

    def sample(self) -> float:
        """Run once and return the seconds that it took."""
        if self.before is not None:
            self.before()
        start = perf_counter()
        self.run()
        return (perf_counter() - start) / self.share


@dataclass
class Timing:
    """Seconds of every run of one contestant, round by round."""

    rounds: list[list[float]] = field(default_factory=list)
    by_run: bool = False
    """Whether single runs are looked at: a round's mean hides how they spread."""

    @property
    def per_round(self) -> list[float]:
        """Seconds per run in each round."""
        return [(statistics.median if self.by_run else statistics.fmean)(r) for r in self.rounds]

    @property
    def median(self) -> float:
        """Median over the rounds, or over the single runs."""
        return self.percentile(50) if self.by_run else statistics.median(self.per_round)

    def percentile(self, percent: float) -> float:
        """Percentile over the single runs (nearest rank)."""
        runs = sorted(seconds for runs in self.rounds for seconds in runs)
        return runs[max(0, math.ceil(percent / 100 * len(runs)) - 1)]


def measure(
    contestants: Sequence[Contestant],
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    at_least: float = AT_LEAST,
    round_robin: bool = False,
    on_round: Callable[[int], object] = lambda _: None,
) -> dict[str, Timing]:
    """Time the contestants against each other.

    With `round_robin` they alternate run by run, so each finds the caches as the others left them;
    otherwise a round repeats one contestant in a block and its data stay warm.
    """
    timings = {contestant.name: Timing() for contestant in contestants}
    repeats = dict.fromkeys(timings, 1)
    order = list(contestants)
    draw = random.Random(0)
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up + rounds):
            draw.shuffle(order)
            runs: dict[str, list[float]] = {contestant.name: [] for contestant in order}
            if round_robin:
                blocks = [(each, 1) for _ in range(max(repeats.values())) for each in order]
            else:
                blocks = [(each, repeats[each.name]) for each in order]
            for contestant, count in blocks:
                if contestant.settle is not None:
                    contestant.settle()
                runs[contestant.name] += [contestant.sample() for _ in range(count)]
            for name, seconds in runs.items():
                if number < warm_up:
                    repeats[name] = max(1, math.ceil(at_least / max(min(seconds), 1e-7)))
                else:
                    timings[name].rounds.append(seconds)
            on_round(number + 1)
    finally:
        if collecting:
            gc.enable()
    return timings


def quartiles_of_ratio(numerator: Timing, denominator: Timing) -> tuple[float, float]:
    """First and third quartile of the ratio taken round by round."""
    ratios = [a / b for a, b in zip(numerator.per_round, denominator.per_round, strict=True)]
    if len(ratios) == 1:
        return ratios[0], ratios[0]
    first, _, third = statistics.quantiles(ratios, n=4, method="inclusive")
    return first, third
