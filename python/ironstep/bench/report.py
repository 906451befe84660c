"""Rows of a benchmark, as tables for the terminal, Markdown and JSON."""

import datetime as dt
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import ironstep
from ironstep.bench.protocol import Timing

OURS = "ironstep"
LIMIT = "limit"

# What a figure says when a target names it; any other name X is the ratio X / ironstep.
WORDS = {
    "best": "× the best of torch",
    "default": "× torch as written by default",
    "fused": "× torch fused",
    "limit": "of the limit",
    "wrapper": "× torch's wrapper around an empty step",
    "serial": "× our own serial run",
    "removed": "of what the fused step adds is removed",
    "beyond_first_step": "ms beyond torch's first step",
}


@dataclass(frozen=True)
class Target:
    """A figure that a case has to reach: `least` on AVX2, `least_avx512` on AVX-512."""

    figure: str
    least: float
    least_avx512: float | None = None
    at_most: bool = False  # the figure must stay below instead

    def wanted(self, instruction_set: str) -> float:
        """The bound on this machine."""
        if instruction_set == "avx512" and self.least_avx512 is not None:
            return self.least_avx512
        return self.least


@dataclass
class Row:
    """One case at one number of threads."""

    case: str
    threads: int
    elements: int
    timings: dict[str, Timing] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    best: str | None = None
    quartiles: tuple[float, float] | None = None
    bytes_moved: int | None = None
    differences: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    targets: Sequence[Target] = ()
    failure: str | None = None

    def verdicts(self, instruction_set: str) -> list[dict[str, Any]]:
        """Each target beside what was measured."""
        return [
            {
                "figure": target.figure,
                "wanted": target.wanted(instruction_set),
                "at_most": target.at_most,
                "measured": measured,
                "met": measured is not None
                and (measured <= wanted if target.at_most else measured >= wanted),
            }
            for target in self.targets
            for wanted in [target.wanted(instruction_set)]
            for measured in [self.figures.get(target.figure)]
        ]


@dataclass
class Report:
    """All rows of a run and the machine they were measured on."""

    title: str
    protocol: str
    absent: Mapping[str, str]
    quick: bool = False
    peers: str = "torch"
    rows: list[Row] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    @property
    def instruction_set(self) -> str:
        """What our kernels used."""
        return str(self.machine["instruction_set"])

    def write(self, folder: Path, stem: str) -> None:
        """Write `stem`.md and `stem`.json into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.md").write_text(self.markdown(), encoding="utf-8")
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False)
        (folder / f"{stem}.json").write_text(text + "\n", encoding="utf-8")

    def as_json(self) -> dict[str, Any]:
        """Everything, numbers in seconds and bytes."""
        return {
            "title": self.title,
            "quick": self.quick,
            "protocol": self.protocol,
            "machine": self.machine,
            "absent": dict(self.absent),
            "rows": [_row_as_json(row, self.instruction_set) for row in self.rows],
        }

    def markdown(self) -> str:
        """The tables, with the machine above them."""
        facts = ", ".join(
            f"{key.replace('_', ' ')}: {value}" for key, value in self.machine.items()
        )
        lines = [f"# {self.title}", "", self.protocol, "", f"{facts}.", ""]
        if self.quick:
            lines += ["**Quick run: the sizes are cut down, so the figures mean nothing.**", ""]
        for title, header, rows in self.tables():
            lines += [f"## {title}", "", _line(header), _line(["---"] * len(header))]
            lines += [*map(_line, rows), ""]
        return "\n".join(lines)

    def show(self, console: Console) -> None:
        """Show the summary on a terminal, which is narrower than a page."""
        table = Table("case", "threads", OURS, "best / ours (quartiles)", "of limit", "met")
        for row in self.rows:
            cells = self._summary(row)
            table.add_row(*(cells[column] for column in (0, 1, 2, 4, 9, 11)))
        console.print(table)

    def tables(self) -> list[tuple[str, list[str], list[list[str]]]]:
        """Title, header and cells of each table that has a row."""
        summary = [
            "case", "threads", OURS, f"best of {self.peers}", "best / ours (quartiles)",
            f"{self.peers} default", "default / ours", "moved", "GB/s", "of limit", "asked", "met",
        ]  # fmt: skip
        names = list(dict.fromkeys([OURS, *(name for row in self.rows for name in row.timings)]))
        medians = ["case", "threads", *names, f"{OURS}, ns per element", "largest difference"]
        busy = [row for row in self.rows if "serial" in row.timings]
        percentiles = [
            [row.case, str(row.threads), name, *(_time(timing.percentile(p)) for p in (50, 90, 99))]
            for row in busy
            for name, timing in row.timings.items()
        ]
        left_out = [
            *([row.case, str(row.threads), name, why]
              for row in self.rows for name, why in row.left_out.items()),
            *(["all", "", name, why] for name, why in self.absent.items()),
        ]  # fmt: skip
        tables = [
            ("Summary", summary, [self._summary(row) for row in self.rows]),
            ("Medians", medians, [_medians(row, names) for row in self.rows]),
            (
                "Beside one busy process: percentiles of the single steps",
                ["case", "threads", "contestant", "p50", "p90", "p99"],
                percentiles,
            ),
            ("Left out", ["case", "threads", "contestant", "why"], left_out),
        ]
        return [_without_empty_columns(*table) for table in tables if table[2]]

    def _summary(self, row: Row) -> list[str]:
        if row.failure is not None:
            return [row.case, str(row.threads), f"failed: {row.failure}", *[""] * 9]
        figures, timings = row.figures, row.timings
        ours = timings[OURS].median
        verdicts = row.verdicts(self.instruction_set)
        cells = [row.case, str(row.threads), _time(ours)]
        if row.best is not None and row.quartiles is not None:
            low, high = row.quartiles
            cells += [f"{_time(timings[row.best].median)} ({row.best})"]
            cells += [f"{_number(figures['best'])} ({_number(low)}–{_number(high)})"]
        else:
            cells += ["–", "–"]
        if "default" in timings:
            cells += [_time(timings["default"].median), _number(figures["default"])]
        else:
            cells += ["–", "–"]
        if row.bytes_moved is not None:
            cells += [_bytes(row.bytes_moved), _number(row.bytes_moved / ours / 1e9)]
        else:
            cells += ["–", "–"]
        cells += [_number(figures[LIMIT]) if LIMIT in figures else "–"]
        cells += ["; ".join(map(_asked, verdicts)) or "–"]
        cells += ["; ".join(_met(verdict) for verdict in verdicts) or "–"]
        return cells


def _without_empty_columns(
    title: str, header: list[str], rows: list[list[str]]
) -> tuple[str, list[str], list[list[str]]]:
    kept = [i for i in range(len(header)) if any(row[i] != "–" for row in rows)]
    return title, [header[i] for i in kept], [[row[i] for i in kept] for row in rows]


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    config = ironstep.config()
    facts: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "instruction_set": config["instruction_set"],
        "ironstep": config["version"],
        "torch": config["torch"],
        "python": platform.python_version(),
    }
    if hasattr(os, "getloadavg"):
        # A load above zero before the run means that somebody else was computing.
        facts["load_before"] = round(os.getloadavg()[0], 2)
    return facts


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _row_as_json(row: Row, instruction_set: str) -> dict[str, Any]:
    return {
        "case": row.case,
        "threads": row.threads,
        "elements": row.elements,
        "bytes_moved": row.bytes_moved,
        "best": row.best,
        "figures": row.figures,
        "quartiles_best": row.quartiles,
        "targets": row.verdicts(instruction_set),
        "differences": row.differences,
        "left_out": row.left_out,
        "failure": row.failure,
        "timings": {
            name: {
                "median": timing.median,
                "p50": timing.percentile(50),
                "p90": timing.percentile(90),
                "p99": timing.percentile(99),
                "runs": sum(map(len, timing.rounds)),
                "rounds": timing.per_round,
            }
            for name, timing in row.timings.items()
        },
    }


def _medians(row: Row, names: Iterable[str]) -> list[str]:
    times = [_time(row.timings[n].median) if n in row.timings else "–" for n in names]
    ours = row.timings.get(OURS)
    per_element = f"{ours.median / row.elements * 1e9:.3g}" if ours and row.elements else "–"
    difference = f"{max(row.differences.values()):.1e}" if row.differences else "–"
    return [row.case, str(row.threads), *times, per_element, difference]


def _asked(verdict: Mapping[str, Any]) -> str:
    sign = "≤" if verdict["at_most"] else "≥"
    figure = verdict["figure"]
    return f"{sign} {verdict['wanted']:.3g} {WORDS.get(figure, f'× {figure}')}"


def _met(verdict: Mapping[str, Any]) -> str:
    if verdict["measured"] is None:
        return "not measured"
    return f"{'yes' if verdict['met'] else 'no'} ({_number(verdict['measured'])})"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _time(seconds: float) -> str:
    for unit, scale in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _bytes(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"


def summary_line(row: Row) -> str:
    """One row in one line, for the terminal while the run goes on."""
    head = f"{row.case}, {row.threads} thread{'s' if row.threads != 1 else ''}:"
    if row.failure is not None:
        return f"{head} failed: {row.failure}"
    text = f"{head} {_time(row.timings[OURS].median)}"
    if row.best is not None:
        text += f", {_number(row.figures['best'])} × {row.best}"
    return text
