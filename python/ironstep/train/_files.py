"""Files of a run: each is whole, or as it was."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ironstep._input_error import InputError
from ironstep.evaluate._table import Table

from ._data import Data, Part
from ._models import read_torch

FORMAT = "ironstep train 1"
LAST, BEST, OPTIONS, HISTORY = "last.pt", "best.pt", "options.toml", "history.csv"
PICTURE, PREDICTIONS, REPORT = "history.png", "predictions.csv", "report"


def write(path: Path, content: bytes, *, to_disk: bool = False) -> None:
    """Write beside the file first, and then put it in its place; `to_disk` waits for the disk."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        try:
            with beside.open("wb") as file:
                file.write(content)
                if to_disk:  # after a power failure it is whole, too
                    file.flush()
                    os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; what was there is as it was"
        ) from None


def save_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write what `read_checkpoint` reads again."""
    save(path, {"format": FORMAT, **checkpoint})


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write what torch.load(path, weights_only=True) reads again."""
    saved = io.BytesIO()  # torch.save itself would not say that the disk is full
    torch.save(dict(content), saved)
    write(path, saved.getvalue(), to_disk=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; nothing in it is executed."""
    found = read_torch(path)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{path}: is no checkpoint of ironstep train")
    return found


def clean(folder: Path) -> None:
    """Remove what a killed run has not put in its place."""
    for each in folder.glob(".*.tmp"):
        each.unlink(missing_ok=True)
    for each in folder.glob(f".{REPORT}-*"):
        shutil.rmtree(each, ignore_errors=True)


def write_history(path: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write the rows with all their digits."""
    write_csv(path, list(history[0]), [[repr(each) for each in row.values()] for row in history])


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write cells; what a spreadsheet would take for a formula gets a ' before it."""
    text = Table("", "", "", header, rows).csv()
    write(path, text.encode("utf-8", "replace"))


def write_predictions(path: Path, data: Data, part: Part, predicted: NDArray[Any]) -> None:
    """Write id, patient, label and the probability of each class, a row a case."""
    several = part.labels.dim() == 2
    header = ["id", *(["patient"] if part.groups is not None else [])]
    header += [f"label_{name}" for name in data.classes] if several else ["label", "predicted"]
    header += [f"probability_{name}" for name in data.classes]
    rows = []
    for row, (label, chances) in enumerate(
        zip(part.labels.tolist(), predicted.tolist(), strict=True)
    ):
        cells = [part.ids[row], *([part.groups[row]] if part.groups is not None else [])]
        if several:
            cells += [str(int(each)) for each in label]
        else:
            cells += [
                data.classes[label],
                data.classes[max(range(len(chances)), key=chances.__getitem__)],
            ]
        rows.append([*cells, *map(repr, chances)])
    write_csv(path, header, rows)


def draw_history(path: Path, history: Sequence[Mapping[str, float]], best: int, title: str) -> None:
    """Draw loss, criteria and learning rate by the epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Okabe and Ito's colours; dashes tell, too.
    blue, orange, green, grey = "#0072B2", "#E69F00", "#009E73", "#666666"
    figure = Figure(figsize=(11, 3.4))
    # Measured for the three; a layout that finds them out draws everything once more.
    figure.subplots_adjust(left=0.045, right=0.99, bottom=0.145, top=0.84, wspace=0.2)
    panels = figure.subplots(1, 3)
    epochs = [row["epoch"] for row in history]
    lines = (
        (0, "train_loss", "training", blue, "-"),
        (0, "validation_loss", "validation", orange, "--"),
        (1, "validation_accuracy", "accuracy", blue, "-"),
        (1, "validation_auc", "AUC", green, "--"),
        (2, "learning_rate", "learning rate", grey, "-"),
    )
    for panel, name, label, color, style in lines:
        values = [row[name] for row in history]
        mark = "o" if len(history) == 1 else ""
        panels[panel].plot(epochs, values, style, color=color, label=label, marker=mark)
    for panel, name in zip(panels, ("loss", "validation", "learning rate"), strict=True):
        panel.axvline(best, color=grey, linewidth=0.8, linestyle=":", label=f"best epoch, {best}")
        panel.set_title(name, loc="left", fontsize=10)
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(visible=True, alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    figure.suptitle(title, x=0.005, ha="left", fontsize=10)
    figure.dpi = 160
    content = io.BytesIO()
    canvas: Any = FigureCanvasAgg(figure)
    canvas.print_png(content)
    write(path, content.getvalue())
