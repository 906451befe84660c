"""Sums of floats without rounding: the same in any order, whatever was added where.

A sum is a row of integers, the limbs of a long number; rows add limb by limb, also over processes.
"""

from typing import Any

import numpy as np

from ironstep import _native
from ironstep.metrics._inputs import Array

LIMBS = 68
"""Integers of a sum, as in exact_sum.rs."""


def zeros(n: int) -> Array:
    """Return `n` sums of nothing."""
    return np.zeros((n, LIMBS), dtype=np.int64)


def add(sums: Array, values: Any, cells: Array | None = None) -> None:
    """Add each value to the sum in its cell, in place; to the first one without cells."""
    flat = sums.reshape(-1)  # shares the memory: sums are contiguous
    _native.exact_add(flat, np.ascontiguousarray(values, dtype=np.float64).reshape(-1), cells)


def values(sums: Array) -> Array:
    """Return each sum, rounded once."""
    return _native.exact_values(np.ascontiguousarray(sums).reshape(-1)).reshape(sums.shape[:-1])


def add_weighted(sums: Array, each: Array, weight: Array | None) -> None:
    """Add Σ w·v to the first of two sums and Σ w to the second."""
    if weight is None:
        add(sums[:1], each)
        add(sums[1:], [len(each)])
    else:
        add(sums[:1], each.astype(np.float64) * weight)
        add(sums[1:], weight)


def weighted_mean(each: Array, weight: Array | None = None, *, normalize: bool = True) -> float:
    """Return Σ w·v / Σ w, or the first sum alone."""
    sums = zeros(2)
    add_weighted(sums, each, weight)
    total, of_weights = values(sums).tolist()
    return float(total / of_weights if normalize else total)
