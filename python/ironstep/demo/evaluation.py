"""The evaluation report of a network that the demo trained, by the path that `ironstep evaluate` takes."""

from __future__ import annotations

import csv
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .race import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .race import Predictions

LIKED = "cancer · Adam"
"""Patients, and the rule that most people take; else what was trained last."""
FOLDER = "evaluation"


def evaluate(outcomes: Sequence[Outcome], out: Path, seed: int) -> tuple[list[Path], str]:
    """Write what the network says of the test part into a table, and its evaluation beside it.

    Returns
    -------
    paths, str
        What was written, and a remark; the paths are none where something is not installed.
    """
    missing = [name for name in ("jinja2", "pyarrow", "scipy") if find_spec(name) is None]
    if missing:
        named = ", ".join(missing)
        return [], f'No evaluation report without {named}: pip install "ironstep[evaluate]"'
    from ironstep.evaluate._run import run

    outcome = next((each for each in outcomes if str(each.case) == LIKED), outcomes[-1])
    names = outcome.case.task.classes
    test, validation = (out / f"{name}.csv" for name in ("predictions", "validation"))
    for path, predictions in zip((validation, test), outcome.predictions, strict=True):
        _write(path, predictions, names)
    if len(names) == 2:
        what: dict[str, Any] = dict(
            score=[f"network={names[0]}"],
            positive=names[0],
            threshold="sensitivity=0.95",
            threshold_from=validation,
        )
    else:
        what = dict(score=["network=p_*"])
    folder = out / FOLDER
    run(
        test,
        label=["label"],
        id="case",
        random_state=seed,
        out=folder,
        quiet=True,
        **what,
    )
    command = ["ironstep", "evaluate", str(test), "--label", "label", "--id", "case"]
    command += ["--score", what["score"][0], "--seed", str(seed)]
    for name in ("positive", "threshold", "threshold_from"):
        if name in what:
            command += [f"--{name.replace('_', '-')}", str(what[name])]
    command += ["--out", str(folder)]
    return [test, validation, folder / "index.html"], (
        f"The evaluation of {outcome.case} is made by: {shlex.join(command)}"
    )


def _write(path: Path, predictions: Predictions, names: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(_rows(predictions, names))


def _rows(predictions: Predictions, names: Sequence[str]) -> Iterator[list[Any]]:
    columns = [names[0]] if len(names) == 2 else [f"p_{name}" for name in names]
    yield ["case", "label", *columns]
    shares = predictions.shares.double().tolist()
    for number, (label, share) in enumerate(zip(predictions.labels, shares, strict=True), start=1):
        yield [number, names[int(label)], *share[: len(columns)]]
