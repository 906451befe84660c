"""What an evaluation finds: plain data, every number unrounded."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics import (
    Calibration,
    ChosenPoint,
    Comparison,
    DecisionCurve,
    DelongTest,
    Estimate,
)

from ._cases import Flow
from ._targets import Kind

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Cases with a score of at least `value` are called positive."""

    value: float
    """NaN where no threshold decides, but which class has the highest score."""
    origin: Literal["given", "default", "chosen here", "chosen elsewhere", "highest score"]
    rule: str | None
    """What it was chosen by."""

    def __str__(self) -> str:
        if self.origin == "highest score":
            return self.origin
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
class Histogram:
    """Scores in bins of equal width."""

    edges: Floats
    positive: NDArray[np.int64]
    negative: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A case that the model calls wrong, and how what it is called is scored."""

    id: str
    label: str
    called: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What answers yes or no, a model or a reader, judged by all cases."""

    name: str
    target: str | None
    """The class (against the rest) or the finding; None where there are two classes."""
    tp: float
    fp: float
    fn: float
    tn: float
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Its name, and what it was asked."""
        return self.name if self.target is None else f"{self.name}, {self.target}"

    def estimate(self, key: str) -> Estimate | None:
        """Return the estimate of a criterion; None where there is none."""
        return estimate_of(self.rows, key)


@dataclass(frozen=True, kw_only=True)
class Model(Tested):
    """One model."""

    threshold: Threshold
    n_distinct: int
    """Different scores; fewer than cases, where some are tied."""
    chosen: ChosenPoint | None
    calibration: Calibration | None
    decision_curve: DecisionCurve | None
    roc: Curve
    roc_band: Band | None
    precision_recall: Curve
    histogram: Histogram
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overall:
    """One model of several classes or findings, over all of them."""

    name: str
    rows: tuple[Row, ...]
    confusion: NDArray[np.float64] | None
    """Cases, or weights, by their class (rows) and the one they are called; None of findings."""
    calibration: Calibration | None
    """Of the class with the highest probability: how often it is the right one."""
    mistakes: tuple[Mistake, ...]
    notes: tuple[str, ...]

    def estimate(self, key: str) -> Estimate | None:
        """Return the estimate of a criterion; None where there is none."""
        return estimate_of(self.rows, key)


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A criterion of two models on the same cases; differences are `model` minus `reference`."""

    key: str
    title: str
    target: str | None
    model: str
    reference: str
    """Another model, or a reader."""
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
    n: int
    n_positive: int | None
    """None where there are several classes or findings."""
    n_negative: int | None
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that is found: what tables, pictures, sentences and page are made of."""

    kind: Kind
    targets: tuple[str, ...]
    options: dict[str, Any]
    source: dict[str, Any] | None
    data_sha256: str
    ids_repeat: bool
    flow: Flow
    models: tuple[Model, ...]
    """Each model; of several classes or findings each model for each of them."""
    readers: tuple[Tested, ...]
    overall: tuple[Overall, ...]
    """Each model over all classes or findings; none where there are two classes."""
    comparisons: tuple[Paired, ...]
    delong: DelongTest | None
    subgroups: tuple[Subgroup, ...]

    @property
    def whole(self) -> tuple[Model | Overall, ...]:
        """Each model once, with what holds for all of it."""
        return self.overall or self.models

    @property
    def judged(self) -> tuple[Model | Overall, ...]:
        """All judgements of models: for each class or finding, and over all."""
        return (*self.models, *self.overall)


def estimate_of(rows: tuple[Row, ...], key: str) -> Estimate | None:
    """Return the estimate of a criterion; None where there is none."""
    return next((row.estimate for row in rows if row.key == key), None)


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
