"""Intervals for a proportion: x successes among n cases, alone or in clusters."""

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics._distributions import beta_quantile, normal_quantile, t_quantile

Interval = tuple[float, float]
FloatArray = NDArray[np.float64]


def wilson(x: float, n: float, level: float) -> Interval:
    """Invert the score test (Wilson 1927)."""
    return _wilson(x / n, n, normal_quantile((1 + level) / 2))


def _wilson(p: float, n: float, z: float) -> Interval:
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends one limit is the end itself, which rounding misses.
    return (0.0 if p == 0 else centre - half), (1.0 if p == 1 else centre + half)


def agresti_coull(x: float, n: float, level: float) -> Interval:
    """Wald's interval after z²/2 successes and as many failures more (Agresti & Coull 1998)."""
    z = normal_quantile((1 + level) / 2)
    n_more = n + z * z
    p = (x + z * z / 2) / n_more
    half = z * sqrt(p * (1 - p) / n_more)
    return max(0.0, p - half), min(1.0, p + half)


def clopper_pearson(x: float, n: float, level: float) -> Interval:
    """Invert the two one-sided binomial tests (Clopper & Pearson 1934)."""
    tail = (1 - level) / 2
    low = beta_quantile(tail, x, n - x + 1) if x > 0 else 0.0
    high = beta_quantile(1 - tail, x + 1, n - x) if x < n else 1.0
    return low, high


def jeffreys(x: float, n: float, level: float) -> Interval:
    """Take the quantiles of the posterior under Jeffreys' prior; the ends at x = 0 and x = n.

    After Brown, Cai & DasGupta (2001), equation 8.
    """
    tail = (1 - level) / 2
    low = beta_quantile(tail, x + 0.5, n - x + 0.5) if x > 0 else 0.0
    high = beta_quantile(1 - tail, x + 0.5, n - x + 0.5) if x < n else 1.0
    return low, high


METHODS: dict[str, Callable[[float, float, float], Interval]] = {
    "wilson": wilson,
    "clopper-pearson": clopper_pearson,
    "jeffreys": jeffreys,
    "agresti-coull": agresti_coull,
}


def kish(weight: FloatArray) -> float:
    """How many cases of equal weight would say as much: (Σw)² / Σw² (Kish 1965, section 11.7)."""
    return float(weight.sum() ** 2 / (weight @ weight))


def degrees_of(n_effective: float) -> float:
    """Degrees of freedom of so many effective cases; Student's distribution wants one at least."""
    return max(1.0, n_effective - 1)


def weighted_wilson(x: FloatArray, n: FloatArray, level: float) -> Interval:
    """Wilson's interval for cases, or clusters of them, of weight n and with successes of weight x.

    As for clusters the number of cases is the effective one, from the linearised variance; it may be
    more than were sampled, for sampling more of those that matter is what weights are for. Kish's
    number is for Student's degrees of freedom, and for where that variance says nothing.
    """
    p = float(x.sum() / n.sum())
    variance, few = ratio_variance(x, n), kish(n)
    n_effective = p * (1 - p) / variance if variance > 0 else few
    return _wilson(p, n_effective, t_quantile((1 + level) / 2, degrees_of(few)))


def clustered_wilson(x: FloatArray, n: FloatArray, level: float) -> Interval:
    """Wilson's interval for clusters of x successes among n cases each.

    The number of cases is replaced by the effective one, that with which independent cases would
    have the variance of the ratio estimator (Korn & Graubard 1998), and the normal quantile by
    Student's with K - 1 degrees of freedom. Where the variance says nothing, because all cases or
    none are successes, a cluster counts as one case.
    """
    return wilson_of_variance(float(x.sum()), float(n.sum()), len(n), ratio_variance(x, n), level)


def wilson_of_variance(
    successes: float, cases: float, clusters: int, variance: float, level: float
) -> Interval:
    """Return the same, given the variance of the ratio estimator."""
    p = successes / cases
    n_effective = p * (1 - p) / variance if variance > 0 else float(clusters)
    # More cases than there are can only come from chance.
    return _wilson(p, min(n_effective, cases), t_quantile((1 + level) / 2, clusters - 1))


def ratio_variance(x: FloatArray, n: FloatArray) -> float:
    """Return the variance of Σx / Σn over clusters, linearised."""
    clusters, total = len(n), float(n.sum())
    residuals = (x - x.sum() / total * n) / total
    return float(clusters / (clusters - 1) * (residuals @ residuals))
