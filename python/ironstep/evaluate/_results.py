"""What an evaluation finds: plain data, every number unrounded."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import Calibration, ChosenPoint, Comparison, DecisionCurve, Estimate

Floats = NDArray[np.float64]


class Finding(NamedTuple):
    """One sentence: a result, something to be careful about, or how something was computed."""

    kind: Literal["result", "warning", "note"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Cases with a score of at least `value` are called positive."""

    value: float
    origin: Literal["given", "default", "chosen here", "chosen elsewhere"]
    rule: str | None
    """What it was chosen by."""

    def __str__(self) -> str:
        how = self.origin if self.rule is None else f"{self.origin}: {self.rule}"
        return f"{self.value:.4g} ({how})"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A criterion with its interval, or the reason why there is none."""

    key: str
    title: str
    estimate: Estimate | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Points to draw, thinned out where there are many."""

    x: Floats
    y: Floats


@dataclass(frozen=True, kw_only=True)
class Band:
    """Limits of false positive rate and sensitivity, each by itself, at thresholds along a curve."""

    thresholds: Floats
    fpr_low: Floats
    fpr_high: Floats
    sensitivity_low: Floats
    sensitivity_high: Floats
    method: str


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A case that the model calls wrong, and how it is scored."""

    id: str
    is_positive: bool
    score: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model, judged by all cases."""

    name: str
    threshold: Threshold
    tp: float
    fp: float
    fn: float
    tn: float
    n_distinct: int
    """Different scores; fewer than cases, where some are tied."""
    rows: tuple[Row, ...]
    chosen: ChosenPoint | None
    calibration: Calibration | None
    decision_curve: DecisionCurve | None
    roc: Curve
    roc_band: Band | None
    precision_recall: Curve
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...]

    def estimate(self, key: str) -> Estimate | None:
        """Return the estimate of a criterion; None where there is none."""
        return next((row.estimate for row in self.rows if row.key == key), None)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A criterion of two models on the same cases; differences are `model` minus `reference`."""

    key: str
    title: str
    model: str
    reference: str
    comparison: Comparison | None
    p_adjusted: float | None
    """Holm's, over all comparisons of the evaluation."""
    noninferiority: Comparison | None
    """Whether `model` is worse by less than the margin, one-sided at half of what the level leaves."""
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subgroup:
    """A model judged by the cases that share a value."""

    column: str
    value: str
    model: str
    n_positive: int
    n_negative: int
    rows: tuple[Row, ...]


def plain_data(value: Any) -> Any:
    """Return dataclasses and arrays as what JSON has; what is no finite number becomes null or a text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain_data(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): plain_data(of) for key, of in value.items()}
    if isinstance(value, np.ndarray):
        return plain_data(value.tolist())
    if hasattr(value, "_asdict"):
        return plain_data(value._asdict())
    if isinstance(value, list | tuple):
        return [plain_data(each) for each in value]
    if isinstance(value, np.generic):
        return plain_data(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
