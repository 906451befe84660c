"""What an interval and a comparison return."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its confidence interval."""

    value: float
    low: float
    """Lower confidence limit."""
    high: float
    """Upper confidence limit."""
    confidence_level: float
    method: str
    standard_error: float | None = None
    """On the scale of the value; None where the method has none."""
    n: int
    """Cases that enter the value: all positives for a sensitivity."""
    n_groups: int | None = None
    """Clusters among them; None if each case stands for itself."""
    n_effective: float | None = None
    """With sampling weights: Kish's effective number of those cases, or of the clusters."""
    n_resamples: int | None = None
    n_undefined: int = 0
    """Resamples in which the metric had no value, and which are left out."""
    seed: int | None = None
    """Draws the same resamples again."""
    notes: tuple[str, ...] = ()
    """What a reader must know to judge the interval."""

    def __str__(self) -> str:
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f} {interval} ({self.confidence_level:.0%}, {self.method})"
