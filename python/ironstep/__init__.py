"""Rust-accelerated training and judging of classifiers on ordinary CPUs.

`ironstep.optim` has torch's optimizers with a native step and `ironstep.nn` torch's layers and losses
with native kernels (both need torch), `ironstep.functional` the same for numpy arrays,
`ironstep.metrics` criteria for classifiers with their intervals, `ironstep.evaluate` reports of them,
`ironstep.train` the parts of a training.
Importing this package imports numpy alone: these are imported when they are first asked for.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from ironstep import _native
from ironstep._config import (
    config,
    get_num_threads,
    keep_freed_memory,
    set_num_threads,
    show_config,
)

if TYPE_CHECKING:
    from ironstep import evaluate, functional, metrics, nn, optim, train

__version__: str = _native.__version__

__all__ = [
    "__version__",
    "config",
    "evaluate",
    "functional",
    "get_num_threads",
    "keep_freed_memory",
    "metrics",
    "nn",
    "optim",
    "set_num_threads",
    "show_config",
    "train",
]


def __getattr__(name: str) -> ModuleType:
    if name in ("evaluate", "functional", "metrics", "nn", "optim", "train"):
        return importlib.import_module(f"ironstep.{name}")
    raise AttributeError(f"module 'ironstep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
