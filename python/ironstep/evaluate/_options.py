"""What an evaluation is asked for, checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ironstep._input_error import InputError, plain, shown
from ironstep.metrics._arguments import check_options

from ._columns import name_of

Missing = Literal["error", "exclude", "positive", "negative"]
Aggregate = Literal["max", "mean"]
Rule = tuple[str, float | None]

RULES = ("youden", "sensitivity", "specificity", "cost")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Those of `Evaluation` that are no columns."""

    positive: Any
    threshold: float | str | None
    threshold_from: bool
    prevalence: float | None
    missing: Missing
    aggregate: Aggregate | None
    weight_type: str | None
    confidence_level: float
    n_resamples: int
    margin: float | None
    random_state: int

    def __post_init__(self) -> None:
        try:
            check_options(self.confidence_level, "auto", self.n_resamples, self.random_state)
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from None
        for name, allowed in (
            ("missing", ("error", "exclude", "positive", "negative")),
            ("aggregate", (None, "max", "mean")),
        ):
            if (got := getattr(self, name)) not in allowed:
                *most, last = (each for each in allowed if each is not None)
                expected = f"{', '.join(most)} or {last}"
                raise InputError(f"{name}: got {got!r}; {expected} expected")
        if self.weight_type not in (None, "frequency", "sampling"):
            raise InputError(
                f"weight_type: got {self.weight_type!r}; frequency (the case stands for so many "
                "alike) or sampling (for so many that were not sampled) expected"
            )
        for name in ("prevalence", "margin"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(f"{name}: got {value!r}; a number between 0 and 1 expected")
        if self.threshold_from and not isinstance(self.rule, tuple):
            raise InputError(
                "threshold_from: needs a rule as threshold: youden, sensitivity=0.95, …"
            )

    @property
    def rule(self) -> float | Rule | None:
        """The threshold as a number, or by what it is chosen."""
        return parse_threshold(self.threshold)

    def as_dict(self) -> dict[str, Any]:
        """Return them as a report has them."""
        return {**vars(self), "positive": plain(name_of(self.positive))}


def parse_threshold(threshold: float | str | None) -> float | Rule | None:
    """Return a number, or a rule with its value; a text may be either."""
    if threshold is None or isinstance(threshold, int | float | np.number):
        number = None if threshold is None else float(threshold)
        if number is not None and not np.isfinite(number):
            raise InputError(f"threshold: got {threshold!r}; a finite number or a rule expected")
        return number
    try:
        return parse_threshold(float(threshold))
    except ValueError as error:
        if isinstance(error, InputError):
            raise
    rule, _, value = str(threshold).partition("=")
    if rule in RULES and (rule == "youden") == (not value):
        try:
            return rule, float(value) if value else None
        except ValueError:
            pass
    raise InputError(
        f"threshold: got {shown(threshold)}; a number, youden, sensitivity=0.95, specificity=0.9 or "
        "cost=5 expected"
    )
