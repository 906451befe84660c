"""Cases divided into parts: each patient in one of them, the classes in their shares in all."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ironstep._input_error import InputError

Rows = NDArray[np.int64]


def split(
    labels: Any,
    *,
    groups: Any = None,
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    random_state: int = 0,
) -> tuple[Rows, ...]:
    """Divide cases into parts that have the classes in the same shares, and no patient in common.

    Parameters
    ----------
    labels : array-like of shape (n_samples,)
        Class of each case.
    groups : array-like of shape (n_samples,), optional
        Patient of each case. All cases of one come into the same part.
    shares : sequence of float > 0
        Share of each part; they are divided by their sum.
    random_state : int
        Draws the cases.

    Returns
    -------
    tuple of ndarray of int64
        The rows of each part, in ascending order; every row is in one of them.

    Raises
    ------
    InputError
        A ValueError of one line: for lengths that differ, and where a class has too few cases, or too
        few patients, to be in every part.

    Notes
    -----
    Without groups each class is apportioned by Webster's method. With groups, largest first, each
    comes to the part in which it reduces Σ (n - wanted)² / wanted over the classes most, a greedy
    choice that is Webster's where every group is one case.

    Examples
    --------
    >>> from ironstep.train import split
    >>> parts = split([0, 0, 0, 0, 1, 1, 1, 1], shares=(2, 1, 1))
    >>> [len(part) for part in parts]
    [4, 2, 2]
    >>> split([0, 0, 1, 1], groups=["a", "a", "b", "c"], shares=(1,))
    (array([0, 1, 2, 3]),)
    """
    of_labels = np.asarray(labels)
    if of_labels.ndim != 1:
        raise InputError(f"labels: got shape {of_labels.shape}; (n_samples,) expected")
    weights = np.asarray(shares, dtype=np.float64)
    if weights.ndim != 1 or not len(weights) or not (np.isfinite(weights) & (weights > 0)).all():
        raise InputError(f"shares: got {shares!r}; numbers above 0 expected")
    classes, codes = np.unique(of_labels, return_inverse=True)
    if groups is None:
        of_groups = np.arange(len(codes))
    else:
        given = np.asarray(groups)
        if given.shape != of_labels.shape:
            raise InputError(f"groups: got shape {given.shape}; that of labels, {of_labels.shape}")
        _, of_groups = np.unique(given, return_inverse=True)
    part_of_group = _assign(codes, of_groups, len(classes), weights / weights.sum(), random_state)
    part_of_row = part_of_group[of_groups]
    parts = tuple(np.flatnonzero(part_of_row == part) for part in range(len(weights)))
    for place, rows in enumerate(parts):
        missing = np.setdiff1d(np.arange(len(classes)), codes[rows])
        if len(missing):
            of_class = codes == missing[0]
            held = (
                f"{of_class.sum()} cases"
                if groups is None
                else f"cases of {len(np.unique(of_groups[of_class]))} patients"
            )
            raise InputError(
                f"labels: class {classes[missing[0]]} has {held}, too few for {len(weights)} parts "
                f"(none comes to part {place + 1})"
            )
    return parts


def _assign(
    codes: Rows, groups: Rows, n_classes: int, shares: NDArray[np.float64], random_state: int
) -> Rows:
    """Return the part of each group."""
    n_groups = int(groups.max(initial=-1)) + 1
    draw = np.random.default_rng(random_state).permutation(n_groups)
    counts = np.zeros((n_groups, n_classes))
    np.add.at(counts, (groups, codes), 1)
    size = counts.sum(1)
    order = draw[np.argsort(-size[draw], kind="stable")]
    total = counts.sum(0)
    wanted = shares[:, None] * total
    held = np.zeros_like(wanted)
    parts = np.empty(n_groups, dtype=np.int64)
    for group in order:
        own = counts[group]
        # Of (held + own − wanted)² − (held − wanted)², over wanted, what differs between the parts.
        cost = (own * (own + 2 * held) / wanted).sum(1)
        part = int(np.argmin(cost - 1e-9 * (held[:, own > 0] == 0).sum(1)))  # a tie: where none is
        parts[group] = part
        held[part] += own
    return parts
