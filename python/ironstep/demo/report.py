"""What came of the trainings: tables for the terminal, Markdown and JSON, and the picture."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from rich.table import Table as RichTable

from ironstep.bench.protocol import quartiles_of_ratio

from .race import ALLOWANCE, DEFAULT, OURS, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from ironstep.bench.protocol import Timing

    from .epoch import Epoch

CRITERION = (
    "Loss: on the training part, last epoch. Largest difference: of a parameter between torch "
    "(default) and ironstep, relative to the largest element of its tensor. Off: distance of the "
    "trained parameters from the same training by torch in float64 (RMS over all elements, each "
    "relative to the RMS of its tensor); of torch's two float32 trainings the larger. Same: "
    f"ironstep is at most {ALLOWANCE:.0f} times as far off as torch is by rounding alone. Test: "
    "accuracy on the test part, after the epoch with the least validation loss."
)
TIMING = (
    "Microseconds: the median over the epochs, after up to three of warm-up, of each epoch's "
    "median; the contestants take turns by epochs. Default: torch as people write it; best: the "
    "faster of that and torch's fast path (fused, or foreach where there is no fused one). ×: "
    "torch's time divided by ironstep's; its quartiles are over the epochs."
)

EPOCH = (
    "Seconds: the median over the epochs, after one of warm-up; Adam, batches of 128 images of 28×28, on "
    "all parameters of the network. ironstep: its optimizer, its batch norm with the ReLU in it, its loss; "
    "the convolutions are torch's in all. The parts are their shares of an epoch under torch's profiler, "
    "times the seconds without it."
)

# Okabe and Ito's palette, which colour-blind readers can tell apart; the width tells, too.
TORCH_LINE = {"color": "#E69F00", "linewidth": 5.0, "alpha": 0.75}
OUR_LINE = {"color": "#0072B2", "linewidth": 1.4}


class Table(NamedTuple):
    """A title, what its columns mean, and the cells."""

    title: str
    note: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def tables(outcomes: Sequence[Outcome], epoch: Epoch | None) -> list[Table]:
    """The numbers first, then the times."""
    whole = [] if epoch is None else [epoch_table(epoch)]
    return [
        Table(
            "The same training",
            CRITERION,
            ["", "loss torch", "loss ironstep", "largest diff.", "off torch", "off ironstep",
             "same", "test torch", "test ironstep"],
            [_agreement(outcome) for outcome in outcomes],
        ),
        _times("One optimizer.step()", "", outcomes, "step"),
        _times("One whole iteration", TIMING, outcomes, "iteration"),
        *whole,
    ]  # fmt: skip


def epoch_table(epoch: Epoch) -> Table:
    """Each contestant's time of an epoch, and of its parts."""
    parts = list(epoch.parts[OURS])
    rows = []
    for name, timing in epoch.timings.items():
        low, high = quartiles_of_ratio(timing, epoch.timings[OURS])
        rows.append(
            [
                "ironstep" if name == OURS else f"torch, Adam {name}",
                f"{timing.median:.2f} s",
                f"{timing.median / epoch.timings[OURS].median:.2f} ({low:.2f}–{high:.2f})",
                *(f"{1e3 * epoch.parts[name][part] * timing.median:.0f}" for part in parts),
            ]
        )
    header = ["", "epoch", "× ironstep (quartiles)", *(f"{part} (ms)" for part in parts)]
    return Table("A whole training epoch of a CNN with batch norm", EPOCH, header, rows)


def show(all_tables: Sequence[Table], console: Console) -> None:
    """Show the tables on a terminal; 80 columns are enough."""
    for table in all_tables:
        shown = RichTable(
            title=table.title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False
        )
        for position, name in enumerate(table.header):
            # One word a line, above the numbers.
            shown.add_column(name.replace(" ", "\n", 1), justify="right" if position else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        console.print(f"{table.note}\n" if table.note else "", style="dim", highlight=False)


def save(
    outcomes: Sequence[Outcome],
    epoch: Epoch | None,
    facts: Mapping[str, Any],
    remarks: Sequence[str],
    folder: Path,
) -> list[Path]:
    """Write everything into the folder; the paths, the picture first."""
    paths = [folder / name for name in ("loss.png", "loss.svg", "results.md", "results.json")]
    figure = picture(outcomes)
    figure.savefig(paths[0], dpi=160)
    figure.savefig(paths[1])
    paths[2].write_text(_markdown(tables(outcomes, epoch), facts, remarks), encoding="utf-8")
    content = {
        "facts": facts,
        "remarks": remarks,
        "criterion": CRITERION,
        "timing": TIMING,
        "cases": [_as_json(outcome) for outcome in outcomes],
        "epoch": None if epoch is None else _epoch_as_json(epoch),
    }
    paths[3].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return paths


def picture(outcomes: Sequence[Outcome]) -> Figure:
    """One panel a case: the training loss of torch as a broad line, ours as a thin one on it."""
    tasks = list(dict.fromkeys(outcome.case.task.name for outcome in outcomes))
    rules = list(dict.fromkeys(outcome.case.rule.name for outcome in outcomes))
    figure = Figure(figsize=(2.5 * len(rules) + 1, 2.4 * len(tasks) + 1), layout="constrained")
    panels = figure.subplots(len(tasks), len(rules), squeeze=False, sharey="row", sharex="row")
    for panel in panels.flat:
        panel.set_visible(False)  # after Ctrl-C some have nothing to show
    for outcome in outcomes:
        row, column = tasks.index(outcome.case.task.name), rules.index(outcome.case.rule.name)
        panel = panels[row, column]
        panel.set_visible(True)
        epochs = range(1, outcome.epochs + 1)
        panel.semilogy(epochs, outcome.losses[DEFAULT], label="torch", **TORCH_LINE)
        panel.semilogy(epochs, outcome.losses[OURS], label="ironstep", **OUR_LINE)
        ratio = outcome.step[_best(outcome.step)].median / outcome.step[OURS].median
        panel.set_title(f"{outcome.case.rule.name}, step {ratio:.1f}×", fontsize=10)
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
        panel.grid(visible=True, which="major", alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        if column == 0:
            panel.set_ylabel(f"{outcome.case.task.title}\ntraining loss")
        if row == len(tasks) - 1:
            panel.set_xlabel("epoch")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False)
    figure.suptitle(
        "×: time of one step, the best of torch / ironstep", x=0.995, ha="right", fontsize=10
    )
    return figure


def _agreement(outcome: Outcome) -> list[str]:
    torch_off = max(distance for name, distance in outcome.off.items() if name != OURS)
    return [
        str(outcome.case),
        f"{outcome.losses[DEFAULT][-1]:.5f}",
        f"{outcome.losses[OURS][-1]:.5f}",
        f"{outcome.largest_difference:.1e}",
        f"{torch_off:.1e}",
        f"{outcome.off[OURS]:.1e}",
        "yes" if outcome.agrees else "NO",
        f"{100 * outcome.accuracy[DEFAULT]:.1f}%",
        f"{100 * outcome.accuracy[OURS]:.1f}%",
    ]


def _times(title: str, note: str, outcomes: Sequence[Outcome], what: str) -> Table:
    rows = []
    for outcome in outcomes:
        timings: dict[str, Timing] = getattr(outcome, what)
        medians = {name: timing.median for name, timing in timings.items()}
        best = _best(timings)
        low, high = quartiles_of_ratio(timings[best], timings[OURS])
        rows.append(
            [
                str(outcome.case),
                f"{1e6 * medians[DEFAULT]:.0f}",
                f"{1e6 * medians[best]:.0f} {best}",
                f"{1e6 * medians[OURS]:.0f}",
                f"{medians[DEFAULT] / medians[OURS]:.2f}",
                f"{medians[best] / medians[OURS]:.2f} ({low:.2f}–{high:.2f})",
            ]
        )
    header = ["", "torch default", "torch best", "ironstep", "× default", "× best (quartiles)"]
    return Table(title, note, header, rows)


def _best(timings: Mapping[str, Timing]) -> str:
    return min((name for name in timings if name != OURS), key=lambda n: timings[n].median)


def _markdown(all_tables: Sequence[Table], facts: Mapping[str, Any], remarks: Sequence[str]) -> str:
    lines = ["# torch and ironstep: the same trainings", ""]
    lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    lines += [f"- **{remark}**" for remark in remarks]
    lines += ["", "![Training loss](loss.png)", ""]
    for table in all_tables:
        lines += [f"## {table.title}", ""]
        for cells in (table.header, ["---"] * len(table.header), *table.rows):
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", table.note, ""] if table.note else [""]
    return "\n".join(lines)


def _epoch_as_json(epoch: Epoch) -> dict[str, Any]:
    return {
        name: {
            "seconds": {"median": timing.median, "epochs": timing.per_round},
            "share": epoch.parts[name],
            "last_mean_loss": epoch.losses[name],
        }
        for name, timing in epoch.timings.items()
    }


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "data": outcome.case.task.title,
        "optimizer": outcome.case.rule.name,
        "arguments": outcome.case.rule.arguments,
        "batch_size": outcome.case.task.batch_size,
        "agrees": outcome.agrees,
        "off_float64": outcome.off,
        "off_float64_allowed": outcome.allowed,
        "largest_difference": outcome.largest_difference,
        "handed_over": outcome.handed_over,
        "test_accuracy": outcome.accuracy,
        "training_loss": outcome.losses,
        **{
            f"{what}_seconds": {
                name: {"median": timing.median, "epochs": timing.per_round}
                for name, timing in timings.items()
            }
            for what, timings in (("step", outcome.step), ("iteration", outcome.iteration))
        },
    }
