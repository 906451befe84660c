"""What `ironstep train` does: options and data in; a folder with checkpoints, history and report."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

import ironstep
from ironstep._input_error import InputError, plain, shown

from . import _files
from ._data import Data, load_data
from ._distributed import World, joined
from ._options import Options, make_options, read_options
from ._training import Training, TrainingError, criteria, probabilities

DONE, WRONG_INPUT, INTERRUPTED = 0, 2, 130


def run(
    given: Mapping[str, Any],
    out: Path,
    *,
    options_file: Path | None = None,
    resume: bool = False,
    quiet: bool = False,
) -> int:
    """Train by the options, and judge what came of it on the test part.

    Parameters
    ----------
    given : dict
        Fields of `Options`; None is not given. They come before those of the file.
    out : path
        Folder of the run, new or empty; with `resume` that of a run that was stopped.
    options_file : path, optional
        TOML.
    resume : bool
        Go on after the last epoch that was finished, with the options that are there.
    quiet : bool
        Print errors alone.

    Returns
    -------
    int
        0 done; 2 for wrong input, a loss that is not finite, or a full disk, after one line that says so;
        130 after Ctrl-C. What was finished by then is kept.
    """
    console = Console(quiet=quiet, highlight=False)
    is_first = True
    try:
        options = _options(given, out, options_file, resume)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
            ironstep.set_num_threads(options.threads)
        with joined(options.device) as world:
            is_first = world.is_first
            if not is_first:
                console.quiet = True
            return _Run(options, out, resume, world, console).go()
    except (InputError, TrainingError) as error:
        if is_first:
            print(f"ironstep train: {plain(error)}", file=sys.stderr)
        return WRONG_INPUT


def _options(
    given: Mapping[str, Any], out: Path, options_file: Path | None, resume: bool
) -> Options:
    from_file = {} if options_file is None else read_options(options_file)
    there = out / _files.OPTIONS
    if not resume:
        if out.exists() and not out.is_dir():
            raise InputError(f"{out}: is no folder")
        if there.exists():
            raise InputError(
                f"{out}: has a run; --resume goes on with it, another --out starts anew"
            )
        if out.exists() and any(out.iterdir()):
            raise InputError(f"{out}: has files that are no run; a new or an empty folder expected")
        made = make_options(from_file, given)
        # To be found again from wherever it is resumed.
        where = {
            name: str(Path(value).absolute())
            for name in ("data", "weights")
            if (value := getattr(made, name)) is not None and Path(value).exists()
        }
        return make_options(made.as_dict(), where)
    if not there.exists():
        raise InputError(f"{out}: no run to resume; it has no {_files.OPTIONS}")
    kept = make_options(read_options(there))
    for source in (from_file, given):
        for name, value in source.items():
            own = getattr(kept, name)
            same = value is None or value == own
            if not same and name in ("data", "weights"):
                same = own is not None and Path(value).absolute() == Path(own)
            if not same:
                raise InputError(
                    f"{name}: got {shown(value)}, and the run in {out} has {shown(own)}; a run is "
                    "resumed with the options that it has"
                )
    return kept


class _Run:
    def __init__(
        self, options: Options, out: Path, resume: bool, world: World, console: Console
    ) -> None:
        self.options, self.out, self.resume = options, out, resume
        self.world, self.console = world, console
        self.history: list[dict[str, float]] = []
        self.kept = 0  # epochs
        self.best_epoch = 0

    def go(self) -> int:
        """Train what is left, and judge."""
        options = self.options
        try:
            data = load_data(options.data, size=options.size, patient=options.patient)
            if options.positive is not None and (
                len(data.classes) != 2 or options.positive not in data.classes
            ):
                raise InputError(
                    f"positive: got {shown(options.positive)}; one of two classes expected, and there are "
                    f"{', '.join(map(shown, data.classes[:12]))}"
                )
            training = Training(data, options, self.world)
            self._begin(training)
            self._train(training)
            self._end(training)
        except KeyboardInterrupt:
            self._stopped()
            return INTERRUPTED
        return DONE

    def _begin(self, training: Training) -> None:
        data, out = training.data, self.out
        fingerprint = data.fingerprint()
        self.common = {
            "options": self.options.as_dict(),
            "classes": list(data.classes),
            "input_shape": list(data.train.inputs.shape[1:]),
            "prepare": training.prepare.state_dict(),
            "data_sha256": fingerprint,
        }
        last = out / _files.LAST
        if self.resume and last.exists():
            checkpoint = _files.read_checkpoint(last)
            if checkpoint["data_sha256"] != fingerprint:
                raise InputError(f"data: {self.options.data} is not what it was when the run began")
            training.load_state_dict(checkpoint["training"])
            self.history, self.best_epoch = checkpoint["history"], checkpoint["best_epoch"]
            self.kept = len(self.history)
        shape = "×".join(map(str, data.train.inputs.shape[1:]))
        sizes = ", ".join(f"{len(part)} {name}" for name, part in data.parts().items())
        self.console.print(
            f"{plain(data.name)}: {sizes}; inputs {shape}, {len(data.classes)} classes",
            markup=False,
        )
        parameters = sum(each.numel() for each in training.network.parameters())
        where = f", {self.world.size} processes" if self.world.size > 1 else ""
        self.console.print(
            f"{self.options.model}: {parameters:,} parameters on {self.world.device}{where}",
            markup=False,
        )
        if self.history:
            self.console.print(f"goes on after epoch {len(self.history)}")
        if self.world.is_first:
            try:
                out.mkdir(parents=True, exist_ok=True)
                _files.clean(out)
            except OSError as error:
                raise InputError(f"{out}: cannot be written: {error.strerror}") from None
            if not self.resume:
                _files.write(
                    out / _files.OPTIONS, self.options.as_toml().encode("utf-8", "replace")
                )
            if self.history:  # a kill may have come between the checkpoint and this
                _files.write_history(out / _files.HISTORY, self.history)

    def _train(self, training: Training) -> None:
        options = self.options
        with self._progress(training.n_batches) as (start, advance):
            while training.epochs_done < options.epochs and not self._has_enough():
                start(training.epochs_done + 1)
                row = training.epoch(advance)
                self.history.append(row)
                if self._is_best(row):
                    self.best_epoch = training.epochs_done
                if self.world.is_first:
                    self._save(training)
                self.kept = training.epochs_done
                self._tell(row)
        if training.epochs_done < options.epochs:
            self.console.print(
                f"no better {options.monitor} for {options.patience} epochs: stopped early"
            )

    def _is_best(self, row: Mapping[str, float]) -> bool:
        name = f"validation_{self.options.monitor}"
        if not self.best_epoch:
            return True
        now, before = row[name], self.history[self.best_epoch - 1][name]
        # NaN, an AUC of a single class, is never better.
        return math.isnan(before) or (
            now < before if self.options.monitor == "loss" else now > before
        )

    def _has_enough(self) -> bool:
        patience = self.options.patience
        return patience is not None and len(self.history) - self.best_epoch >= patience

    def _save(self, training: Training) -> None:
        # The best one first: after a kill between the two this epoch is trained, and saved, again.
        state = training.state_dict()
        if self.best_epoch == training.epochs_done:
            best = {**self.common, "network": state["network"], "epoch": self.best_epoch}
            _files.save_checkpoint(self.out / _files.BEST, best)
        last = {
            **self.common,
            "training": state,
            "history": self.history,
            "best_epoch": self.best_epoch,
        }
        _files.save_checkpoint(self.out / _files.LAST, last)
        _files.write_history(self.out / _files.HISTORY, self.history)

    def _tell(self, row: Mapping[str, float]) -> None:
        best = " *" if row["epoch"] == self.best_epoch else ""
        self.console.print(
            f"epoch {row['epoch']}/{self.options.epochs}  lr {row['learning_rate']:.1e}  "
            f"loss {row['train_loss']:.4f}  validation {row['validation_loss']:.4f}  "
            f"accuracy {row['validation_accuracy']:.3f}  AUC {row['validation_auc']:.3f}{best}",
            soft_wrap=True,
        )

    @contextmanager
    def _progress(self, n_batches: int) -> Iterator[tuple[Any, Any]]:
        """Show the batches of an epoch on a terminal, redrawn a few times a second."""
        if not self.console.is_terminal or self.console.quiet:
            yield (lambda _: None), (lambda: None)
            return
        columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
        # A thread of its own would take the core of one that computes.
        with Progress(
            *columns,
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
            transient=True,
        ) as progress:
            task = progress.add_task("", total=n_batches)
            drawn = 0.0

            def start(epoch: int) -> None:
                progress.reset(task, description=f"epoch {epoch}/{self.options.epochs}")

            def advance() -> None:
                nonlocal drawn
                progress.advance(task)
                if (now := monotonic()) - drawn > 0.2:
                    drawn = now
                    progress.refresh()

            yield start, advance

    def _end(self, training: Training) -> None:
        """Judge the best epoch on the test part."""
        best = _files.read_checkpoint(self.out / _files.BEST)
        training.network.load_state_dict(best["network"])
        data = training.data
        logits = training.predict(data.test)
        if not self.world.is_first:
            return
        found = probabilities(logits, data.test.labels)
        _files.write_predictions(self.out / _files.PREDICTIONS, data, data.test, found)
        self._draw()
        judged = criteria(logits, data.test.labels)
        self.console.print(
            f"best epoch {self.best_epoch}; test: loss {judged['loss']:.4f}, accuracy "
            f"{judged['accuracy']:.3f}, AUC {judged['auc']:.3f}"
        )
        try:
            last = f"Report: {self._report(data, found)}"
        except (
            InputError
        ) as error:  # no patient of some class, a hundred classes: all else is there
            last = f"No report: {error}"
        self.console.print(f"Saved: {self.out}", markup=False, soft_wrap=True)
        self.console.print(last, markup=False, soft_wrap=True)

    def _report(self, data: Data, found: Any) -> Path:
        from ironstep.evaluate import Evaluation

        classes, labels = np.array(data.classes), data.test.labels.numpy()
        cases: dict[str, Any] = {"groups": data.test.groups, "ids": data.test.ids}
        if labels.ndim == 2:
            columns = dict(zip(data.classes, found.T, strict=True))
            truth: Any = dict(zip(data.classes, labels.astype(int).T, strict=True))
        elif len(classes) > 2:
            columns, truth = found, classes[labels]
            cases["classes"] = data.classes
        else:
            positive = self.options.positive or data.classes[1]
            columns, truth = found[:, data.classes.index(positive)], classes[labels]
            cases["positive"] = positive
        evaluation = Evaluation(truth, {self.options.model: columns}, **cases)
        return evaluation.report(self.out / _files.REPORT)

    def _draw(self) -> None:
        title = (
            f"{plain(Path(self.options.data).stem)}, {self.options.model}, {self.options.optimizer}"
        )
        _files.draw_history(
            self.out / _files.PICTURE,
            self.history[: self.kept],
            self.best_epoch,
            title.replace("$", r"\$"),
        )

    def _stopped(self) -> None:
        if not self.world.is_first:
            return
        if not (self.out / _files.OPTIONS).exists():
            self.console.print("Stopped before the training began: nothing is written.")
            return
        if self.kept:
            self._draw()
        self.console.print(
            f"Stopped; {self.kept} of {self.options.epochs} epochs are kept. Go on with:\n"
            f"ironstep train --resume --out {shlex.quote(str(self.out))}",
            markup=False,
            soft_wrap=True,
        )
