"""The options of `ironstep train`: on the command line, in a TOML file, beside a run."""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ironstep._input_error import InputError, shown

OPTIMIZERS = {"adagrad": 1e-2, "adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3, "sgd": 0.03}
"""Names, and the learning rate if none is given."""
SCHEDULES = ("constant", "cosine", "linear", "step")
MONITORED = ("loss", "accuracy", "auc")


def _option(default: Any, help: str, **limits: Any) -> Any:  # noqa: A002 - typer's name for it
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a training is made of; the fields are the command's options."""

    data: str = _option(
        "", "A MedMNIST .npz, a folder of images, digits, breast_cancer, iris, wine or module:name."
    )
    model: str = _option(
        "small-cnn", "small-cnn, mlp, a classifier of torchvision, timm:name or module:name."
    )
    weights: str | None = _option(None, "A file of weights for the model; its classes may differ.")
    unfreeze_top: str | None = _option(
        None, "Train the last layers alone: how many, or the name of the first of them."
    )
    layer_decay: float = _option(
        1.0, "Each layer's learning rate by that of the layer above.", above=0, most=1
    )
    optimizer: str = _option("adamw", "The update rule.", among=tuple(OPTIMIZERS))
    lr: float | None = _option(
        None, "Learning rate; 0.001, for sgd 0.03 and adagrad 0.01, if left out.", above=0
    )
    weight_decay: float | None = _option(
        None, "Weight decay; the optimizer's own if left out.", least=0
    )
    momentum: float = _option(0.9, "Of sgd.", least=0, below=1)
    clip_grad_norm: float | None = _option(None, "Largest norm of all gradients.", above=0)
    lr_schedule: str = _option(
        "cosine", "How the learning rate changes by the epoch.", among=SCHEDULES
    )
    warmup: int = _option(
        0, "Epochs in which the learning rate grows to what it shall be.", least=0
    )
    batch_size: int = _option(64, "Cases a step.", least=2)
    epochs: int = _option(20, "How often all cases are seen.", least=1)
    label_smoothing: float = _option(0.0, "What is taken from the true class.", least=0, most=1)
    smoothing: str = _option(
        "szegedy", "The form of label smoothing.", among=("szegedy", "lecture", "normalized")
    )
    mixup: float = _option(0.0, "Mix examples in shares from Beta(mixup, mixup).", least=0)
    mixup_mode: str = _option(
        "batch", "A share for each batch, pair or element.", among=("batch", "pair", "element")
    )
    augment: str = _option(
        "", "autoaugment, crop, erase, flip, resize, rotate, translate, vflip; with commas between."
    )
    size: int | None = _option(None, "Make all images size × size.", least=1)
    patient: str | None = _option(
        None, "Folders: a regular expression that finds the patient in a file's path."
    )
    positive: str | None = _option(
        None, "Two classes: the positive one, for the report; the second if left out."
    )
    monitor: str = _option(
        "loss", "The validation criterion that says which epoch is best.", among=MONITORED
    )
    patience: int | None = _option(None, "Stop after so many epochs without a better one.", least=1)
    seed: int = _option(0, "Of weights, batches, mixup and augmentation.", least=0, most=2**63 - 1)
    device: str = _option("auto", "cpu or cuda; auto takes cuda where there is one.")
    threads: int | None = _option(None, "Of the CPU; torch's own choice if left out.", least=1)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), field.metadata)
        if not self.data:
            raise InputError("data: missing; --data digits, for one")
        if not self.augmentations:
            return
        if len(set(self.augmentations)) < len(self.augmentations):
            raise InputError(f"augment: got {shown(self.augment)}; each once expected")

    @property
    def augmentations(self) -> tuple[str, ...]:
        """The names in `augment`."""
        return tuple(name for each in self.augment.split(",") if (name := each.strip()))

    @property
    def learning_rate(self) -> float:
        """The one that is given, or the optimizer's."""
        return OPTIMIZERS[self.optimizer] if self.lr is None else self.lr

    def as_dict(self) -> dict[str, Any]:
        """Return all that have a value."""
        given = dataclasses.asdict(self)
        return {name: value for name, value in given.items() if value is not None}

    def as_toml(self) -> str:
        """Return the text of an options file."""
        # A string of JSON is one of TOML, but for a character that TOML wants escaped.
        lines = [
            f"{name} = {json.dumps(value, ensure_ascii=False)}"
            for name, value in self.as_dict().items()
        ]
        return "\n".join(lines).replace("\x7f", "\\u007f") + "\n"


def make_options(*given: Mapping[str, Any]) -> Options:
    """Return the options of several sources, the later before the earlier; None is not given."""
    together: dict[str, Any] = {}
    for each in given:
        together |= {name: value for name, value in each.items() if value is not None}
    return Options(**together)


def read_options(path: Path) -> dict[str, Any]:
    """Read a TOML file of options, with hyphens or underscores in their names."""
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no TOML: {' '.join(str(error).split())}") from None
    hints = typing.get_type_hints(Options)
    options = {}
    for name, value in found.items():
        known = name.replace("-", "_")
        if known not in hints:
            raise InputError(f"{path}: no option {shown(name)}; there are {', '.join(hints)}")
        if isinstance(value, int) and not isinstance(value, bool) and float in _kinds(hints[known]):
            value = float(value)
        if known in ("augment",) and isinstance(value, list):
            value = ",".join(map(str, value))
        if known == "unfreeze_top" and type(value) is int:
            value = str(value)
        if type(value) not in _kinds(hints[known]):
            wanted = {str: "text", int: "a whole number", float: "a number"}
            kinds = " or ".join(wanted[kind] for kind in _kinds(hints[known]) if kind in wanted)
            raise InputError(f"{path}: {name}: got {shown(value)}; {kinds} expected")
        options[known] = value
    return options


def _kinds(hint: Any) -> tuple[type, ...]:
    if isinstance(hint, types.UnionType):
        return tuple(each for each in typing.get_args(hint) if each is not types.NoneType)
    return (hint,)


def _check(name: str, value: Any, limits: Mapping[str, Any]) -> None:
    if value is None:
        return
    if "among" in limits and value not in limits["among"]:
        raise InputError(f"{name}: got {shown(value)}; {', '.join(limits['among'])} expected")
    if not isinstance(value, int | float):
        return
    wrong = [
        f"{words} {limits[limit]:g}"
        for limit, words, holds in (
            ("least", "at least", operator.ge),
            ("above", "above", operator.gt),
            ("most", "at most", operator.le),
            ("below", "below", operator.lt),
        )
        if limit in limits and not holds(value, limits[limit])
    ]
    if not math.isfinite(value):
        wrong = ["a finite one"]
    if wrong:
        raise InputError(f"{name}: got {value!r}; a number {wrong[0]} expected")
