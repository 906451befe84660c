"""Which samples a step sees."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt


def minibatches(
    n_samples: int,
    batch_size: int,
    *,
    replacement: bool = False,
    epochs: int | None = None,
    random_state: Any = None,
) -> Iterator[npt.NDArray[np.intp]]:
    """Draw batches of indices, for which the mean gradient is unbiased.

    The expectation of (1/B) Σ ∇h_i over a batch is (1/n) Σ ∇h_i over all samples, for both ways of
    drawing and also for the last, smaller batch of an epoch. With the variance σ² of a single
    sample's gradient, that of the batch's mean is σ²/B with replacement, and σ²/B · (n − B)/(n − 1)
    without.

    Parameters
    ----------
    n_samples, batch_size : int
        n and B, at least 1; without replacement B is at most n.
    replacement : bool
        Draw each index from all of them. Otherwise an epoch is a random order cut into batches, of
        which the last may be smaller, and sees each sample once.
    epochs : int, optional
        How many times ⌈n/B⌉ batches to draw; without end if None.
    random_state : None, int or numpy Generator
        A generator is drawn from when a batch is asked for.

    Yields
    ------
    array of int of shape (batch_size,)

    Raises
    ------
    ValueError
        For sizes out of range; at the call, not at the first batch.

    Examples
    --------
    >>> from ironstep.train import minibatches
    >>> sorted(int(i) for batch in minibatches(5, 2, epochs=1) for i in batch)
    [0, 1, 2, 3, 4]
    >>> [len(batch) for batch in minibatches(5, 2, epochs=1, replacement=True)]
    [2, 2, 2]
    """
    if n_samples < 1:
        raise ValueError(f"n_samples: got {n_samples}; at least 1 expected")
    most = None if replacement else n_samples
    if batch_size < 1 or (most is not None and batch_size > most):
        wanted = "at least 1" if most is None else f"1 to {most}, the samples without replacement,"
        raise ValueError(f"batch_size: got {batch_size}; {wanted} expected")
    if epochs is not None and epochs < 0:
        raise ValueError(f"epochs: got {epochs}; at least 0, or None, expected")
    return _drawn(n_samples, batch_size, replacement, epochs, np.random.default_rng(random_state))


def _drawn(
    n: int, size: int, replacement: bool, epochs: int | None, random: np.random.Generator
) -> Iterator[npt.NDArray[np.intp]]:
    epoch = 0
    while epochs is None or epoch < epochs:
        epoch += 1
        order = None if replacement else random.permutation(n)
        for begin in range(0, n, size):
            drawn = random.integers(n, size=size) if order is None else order[begin : begin + size]
            yield drawn.astype(np.intp, copy=False)
