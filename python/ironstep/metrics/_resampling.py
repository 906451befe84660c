"""Limits from resamples."""

import math
import secrets
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ironstep.metrics._distributions import normal_cdf, normal_quantile
from ironstep.metrics._proportion import Interval

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Resampled(NamedTuple):
    """Values in resamples, and what a result says of how they were drawn."""

    values: Floats
    """Those that are defined."""
    kind: str
    reported: dict[str, Any]
    notes: tuple[str, ...]


def resampled(
    draw: Callable[[int, bool, int], Floats],
    n: int,
    *,
    stratify: bool | str,
    of_classes: bool,
    in_groups: bool,
    random_state: int | None,
) -> Resampled:
    """Settle seed and strata, draw, and leave out what is undefined.

    `draw` takes the number of resamples, whether they are stratified, and the seed. Groups are drawn
    whole and never stratified.
    """
    seed = secrets.randbits(63) if random_state is None else int(random_state)
    stratified = (of_classes if stratify == "auto" else bool(stratify)) and not in_groups
    values = draw(n, stratified, seed)
    defined = values[~np.isnan(values)]
    if not len(defined):
        raise ValueError("metric: undefined in every resample")
    notes: tuple[str, ...] = ()
    if len(defined) < len(values):
        share = 1 - len(defined) / len(values)
        notes = (f"{share:.1%} of the resamples are undefined and left out",)
    reported = dict(
        standard_error=float(defined.std(ddof=1)) if len(defined) > 1 else None,
        n_resamples=n,
        n_undefined=len(values) - len(defined),
        seed=seed,
    )
    kind = "groups" if in_groups else "stratified" if stratified else "cases"
    return Resampled(defined, kind, reported, notes)


def percentile(values: Floats, level: float) -> Interval:
    """Return the quantiles of the resampled values (Efron 1981)."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca(values: Floats, value: float, influences: Floats, level: float) -> Interval:
    """Shift the quantiles for bias and for a spread that changes with the value (Efron 1987).

    `influences` has one number for each case or cluster; the acceleration comes from them.
    """
    below = (np.sum(values < value) + np.sum(values == value) / 2) / len(values)
    if not 0 < below < 1:
        return math.nan, math.nan  # the value lies outside of all that was drawn
    bias = normal_quantile(float(below))
    cubes, squares = float((influences**3).sum()), float((influences**2).sum())
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0

    def shifted(probability: float) -> float:
        z = bias + normal_quantile(probability)
        return normal_cdf(bias + z / (1 - acceleration * z))

    low, high = np.quantile(values, [shifted((1 - level) / 2), shifted((1 + level) / 2)])
    return float(low), float(high)


def drawn(n: int, n_resamples: int, seed: int) -> Iterator[Counts]:
    """How often each of `n` units is in each resample."""
    random = np.random.default_rng(seed)
    for _ in range(n_resamples):
        yield np.bincount(random.integers(n, size=n), minlength=n)


def rows(strata: list[NDArray[np.intp]], n_resamples: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Row numbers of each resample: as many of each stratum as there are."""
    random = np.random.default_rng(seed)
    for _ in range(n_resamples):
        yield np.concatenate([of[random.integers(len(of), size=len(of))] for of in strata])


def with_progress(
    values: Iterator[float], n: int, progress: Callable[[int, int], object] | None
) -> Floats:
    """Collect values one by one; tell how far it is."""
    result = np.empty(n)
    for done, value in enumerate(values):
        result[done] = value
        if progress is not None:
            progress(done + 1, n)
    return result
