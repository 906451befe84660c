"""Experiments that show whether what the lecture says happens: `ironstep experiment NAME`.

Each is a module with an `EXPERIMENT`; `_protocol` says what that is. Needs the extra ``demo``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ironstep.experiments._protocol import Experiment

# What each shows; the modules are imported when they are asked for.
NAMES = {
    "descent": "the descent property, the best constant rate, unbiased mini-batches",
    "backprop": "a network's computational graph with values and gradients",
    "wilson": "adaptive against non-adaptive methods",
    "batchnorm": "the loss along the gradient with and without batch normalization",
    "smoothing": "label smoothing: accuracy, calibration, distillation",
    "mixup": "corrupted labels, dropout, attacks",
    "retest": "models on the original test set and on a new one",
    "ssgan": "few labels and unlabelled images against labels alone",
    "transfer": "features of other classes, frozen and fine-tuned",
    "criteria": "every criterion of Lecture 3 as the threshold moves: a page with a slider",
}


def load(name: str) -> "Experiment":
    """Return the experiment of a name of `NAMES`; a KeyError for any other."""
    if name not in NAMES:
        raise KeyError(name)
    experiment: Experiment = importlib.import_module(f"ironstep.experiments.{name}").EXPERIMENT
    return experiment
