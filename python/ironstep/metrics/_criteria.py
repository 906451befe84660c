"""What is known of each criterion: over which cells of the 2×2 table, and on which scale.

One row here is all that an interval, a test or a resampling needs to know of a criterion that is a
formula over the four counts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics._counts import Counts

CELLS = ("tp", "fp", "fn", "tn")
Cells = NDArray[np.float64]
"""Counts in the order of `CELLS`, along the last axis."""


@dataclass(frozen=True)
class Scale:
    """A monotone function on which an estimate is nearer to normal, its inverse and derivative."""

    name: str
    to: Callable[[Any], Any]
    back: Callable[[Any], Any]
    slope: Callable[[float], float]


IDENTITY = Scale("delta", lambda x: x, lambda x: x, lambda _: 1.0)
LOG = Scale("log", np.log, math.exp, lambda x: 1 / x)
LOGIT = Scale(
    "logit",
    lambda x: np.log(x / (1 - x)),
    lambda x: 1 / (1 + math.exp(-x)),
    lambda x: 1 / (x * (1 - x)),
)
FISHER_Z = Scale("fisher-z", np.arctanh, math.tanh, lambda x: 1 / (1 - x * x))


@dataclass(frozen=True)
class Criterion:
    """A criterion over `BinaryCounts`."""

    attribute: str
    """Its name there."""
    of_classes: bool
    """Whether the share of positives plays no part in it."""

    def value(self, cells: Cells) -> Any:
        """Value for counts along the last axis; NaN where it is undefined."""
        counts = dict(zip(CELLS, np.moveaxis(cells, -1, 0), strict=True))
        if cells.ndim == 1:
            whole = all(count.is_integer() for count in cells.tolist())  # then it is exact
            counts = {name: (int if whole else float)(count) for name, count in counts.items()}
        return getattr(Counts(**counts, undefined="nan"), self.attribute)

    def influence(self, cells: Cells, scale: Scale = IDENTITY) -> Cells:
        """How much one case more of each cell moves the value on a scale.

        The derivative by the count, by central differences; 0 for cells without a case.
        """
        step = 1e-4 * cells
        shifted = cells + np.stack((np.diag(step), -np.diag(step)))
        with np.errstate(divide="ignore", invalid="ignore"):
            above, below = scale.to(self.value(shifted))
            return np.where(cells > 0, (above - below) / (2 * np.where(cells > 0, step, 1)), 0.0)


@dataclass(frozen=True)
class Proportion(Criterion):
    """A share: cases in some cells among those in some more cells."""

    hits: tuple[str, ...]
    among: tuple[str, ...]
    to_value: Callable[[float], float] = float
    """What the criterion is of the share; increasing."""

    def split(self, cells: Cells) -> tuple[Cells, Cells]:
        """Hits and cases among which they are counted."""
        hits, among = (
            cells[..., [CELLS.index(name) for name in names]].sum(axis=-1)
            for names in (self.hits, self.among)
        )
        return hits, among


@dataclass(frozen=True)
class OnScale(Criterion):
    """A criterion whose interval is symmetric on a scale."""

    scale: Scale
    more: float | Literal["z²/2"] = 0.0
    """Added to every cell for the interval; z is the normal quantile of its level."""
    least: float = 0.0
    """Cells that expect fewer cases are too small for the interval: a note says so."""


@dataclass(frozen=True)
class AtPrevalence(OnScale):
    """A predictive value where the share of positives is another than among the cases.

    On the logit scale, after z²/2 cases more in each cell (Mercaldo, Lau & Zhou 2007, Statistics in
    Medicine 26:2170, "adjusted").
    """

    prevalence: float = 0.5

    def value(self, cells: Cells) -> Any:
        """By Bayes' theorem from sensitivity and specificity."""
        tp, fp, fn, tn = np.moveaxis(np.asarray(cells, dtype=np.float64), -1, 0)
        p = self.prevalence
        with np.errstate(divide="ignore", invalid="ignore"):
            tpr, tnr = tp / (tp + fn), tn / (fp + tn)
            if self.attribute == "ppv":
                right, wrong = tpr * p, (1 - tnr) * (1 - p)
            else:
                right, wrong = tnr * (1 - p), (1 - tpr) * p
            return right / (right + wrong)


def at_prevalence(attribute: str, prevalence: float) -> AtPrevalence:
    """Positive or negative predictive value at a prevalence."""
    return AtPrevalence(attribute, True, LOGIT, "z²/2", prevalence=prevalence)


@dataclass(frozen=True)
class Combination(Criterion):
    """A weighted sum of sensitivity and specificity, both with `weight`, and a constant."""

    weight: float
    constant: float


def _f1_of_jaccard(share: float) -> float:
    return 2 * share / (1 + share)


_ROWS: tuple[tuple[tuple[str, ...], Criterion], ...] = (
    (
        ("sensitivity", "tpr", "recall", "recall_score", "sensitivity_score"),
        Proportion("tpr", True, ("tp",), ("tp", "fn")),
    ),
    (("specificity", "tnr", "specificity_score"), Proportion("tnr", True, ("tn",), ("tn", "fp"))),
    (("fpr", "false_positive_rate"), Proportion("fpr", True, ("fp",), ("tn", "fp"))),
    (("fnr", "false_negative_rate"), Proportion("fnr", True, ("fn",), ("tp", "fn"))),
    (
        ("ppv", "precision", "precision_score", "positive_predictive_value"),
        Proportion("ppv", False, ("tp",), ("tp", "fp")),
    ),
    (("npv", "negative_predictive_value"), Proportion("npv", False, ("tn",), ("tn", "fn"))),
    (("fdr", "false_discovery_rate"), Proportion("fdr", False, ("fp",), ("tp", "fp"))),
    (("for_", "false_omission_rate"), Proportion("for_", False, ("fn",), ("tn", "fn"))),
    (("accuracy", "accuracy_score"), Proportion("accuracy", False, ("tp", "tn"), CELLS)),
    (("error_rate", "zero_one_loss"), Proportion("error_rate", False, ("fp", "fn"), CELLS)),
    (("prevalence",), Proportion("prevalence", False, ("tp", "fn"), CELLS)),
    (("jaccard", "jaccard_score"), Proportion("jaccard", False, ("tp",), ("tp", "fp", "fn"))),
    (
        ("f1", "f1_score"),
        Proportion("f1", False, ("tp",), ("tp", "fp", "fn"), _f1_of_jaccard),
    ),
    (("mcc", "matthews_corrcoef"), OnScale("mcc", False, FISHER_Z, least=5)),
    (("kappa", "cohen_kappa_score"), OnScale("kappa", False, IDENTITY)),
    (("lr_positive", "positive_likelihood_ratio"), OnScale("lr_positive", True, LOG)),
    (("lr_negative", "negative_likelihood_ratio"), OnScale("lr_negative", True, LOG)),
    (("diagnostic_odds_ratio",), OnScale("diagnostic_odds_ratio", True, LOG, more=0.5)),
    (
        ("balanced_accuracy", "balanced_accuracy_score"),
        Combination("balanced_accuracy", True, 0.5, 0.0),
    ),
    (("youden_j", "youden_j_score"), Combination("youden_j", True, 1.0, -1.0)),
)
CRITERIA: dict[str, Criterion] = {name: row for names, row in _ROWS for name in names}
