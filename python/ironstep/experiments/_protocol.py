"""What an experiment is: measurements of one seed after the other, and what follows from all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ironstep.metrics._distributions import t_quantile
from ironstep.metrics._proportion import clopper_pearson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUPPORTED, NOT_SHOWN, CONTRARY = "supported", "not shown", "contrary here"
LEVEL = 0.95

Measurement = dict[str, Any]
"""What one seed gave: numbers, text, lists and dicts of them, which is what JSON can hold."""

Tick = Callable[[str], None]
"""Called with what is done now; Ctrl-C may come out of it."""


class Interval(NamedTuple):
    """A measured number with its limits."""

    value: float
    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"

    @property
    def short(self) -> str:
        """For a table: as many decimals as the first digit of the interval's half-width has."""
        half = (self.high - self.low) / 2
        if not half > 0 or not math.isfinite(half):
            return f"{self.value:.4g}"
        decimals = max(0, -math.floor(math.log10(half)))
        # Plus 0.0: a rounded −0 is 0.
        return f"{round(self.value, decimals) + 0.0:.{decimals}f} ± {half:.{decimals}f}"


def over_seeds(values: Sequence[float]) -> Interval:
    """Mean over seeds with Student's interval; without limits for a single one or no number."""
    mean = statistics.fmean(values)
    if len(values) < 2 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan, "none")
    # Of numbers that are all the same the deviation is 0, which the rounded mean would miss.
    deviation = 0.0 if min(values) == max(values) else statistics.stdev(values)
    half = t_quantile((1 + LEVEL) / 2, len(values) - 1) * deviation / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half, f"t, {len(values)} seeds")


def of_count(hits: int, n: int) -> Interval:
    """Share of n independent cases with Clopper and Pearson's interval."""
    return Interval(hits / n, *clopper_pearson(hits, n, LEVEL), f"Clopper-Pearson, {hits} of {n}")


@dataclass(frozen=True)
class Statement:
    """Something that the lecture says, what was measured to test it, and where that should lie."""

    text: str
    measured: str
    interval: Interval
    above: float = -math.inf
    below: float = math.inf

    @property
    def verdict(self) -> str:
        """Supported only if the whole interval lies where it should; contrary if none of it does."""
        low, high = self.interval.low, self.interval.high
        if self.above < low and high < self.below:
            return SUPPORTED
        if high < self.above or low > self.below:
            return CONTRARY
        return NOT_SHOWN

    @property
    def wanted(self) -> str:
        """Where the interval should lie, in words."""
        if math.isinf(self.above):
            return f"< {self.below:g}"
        if math.isinf(self.below):
            return f"> {self.above:g}"
        return f"{self.above:g} to {self.below:g}"


class Table(NamedTuple):
    """A title, what a reader must know, and cells of text."""

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return a Markdown table with title and note."""
        lines = [f"**{self.title}**", ""]
        lines += [
            "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
            for cells in (self.header, ["---"] * len(self.header), *self.rows)
        ]
        return "\n".join([*lines, *(["", self.note] if self.note else []), ""])


@dataclass(frozen=True)
class Findings:
    """What follows from the measurements of all seeds."""

    statements: Sequence[Statement]
    tables: Sequence[Table]
    picture: Figure
    pages: Mapping[str, str] = field(default_factory=dict)
    """Further files by their names."""


@dataclass(frozen=True)
class Experiment:
    """Measurements that depend on their seed alone, and a conclusion."""

    title: str
    setting: str
    """On what, and how: a sentence or two."""
    seeds: int
    """How many there are if nobody says."""
    measure: Callable[[int, bool, Tick], Measurement]
    """Of a seed; the second argument asks for a version of a second or two."""
    conclude: Callable[[Sequence[Measurement]], Findings]
