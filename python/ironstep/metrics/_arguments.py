"""Arguments that intervals and comparisons have in common, checked."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np

from ironstep.metrics._inputs import column
from ironstep.metrics._limits import Codes

FEWEST_GROUPS = 5
FEW_GROUPS = 20


def check_options(
    confidence_level: Any, stratify: Any = "auto", n_resamples: Any = 1, random_state: Any = None
) -> None:
    """Raise a ValueError or TypeError that names the first option that is wrong."""
    if not isinstance(confidence_level, Real):
        raise TypeError(f"confidence_level: got {confidence_level!r}; a number expected")
    if not 0 < float(confidence_level) < 1:
        raise ValueError(
            f"confidence_level: got {confidence_level!r}; a number between 0 and 1 expected"
        )
    if not (isinstance(stratify, bool | np.bool_) or stratify == "auto"):
        raise ValueError(f"stratify: got {stratify!r}; True, False or 'auto' expected")
    for name, value, least in (("n_resamples", n_resamples, 1), ("random_state", random_state, 0)):
        if value is None and name == "random_state":
            continue
        if not isinstance(value, Integral):
            expected = "a whole number" + (" or None" if name == "random_state" else "")
            raise TypeError(f"{name}: got {value!r}; {expected} expected")
        if value < least:
            raise ValueError(f"{name}: got {value!r}; at least {least} expected")


def group_codes(groups: Any) -> Codes | None:
    """Numbers of the groups, in order of their names; None for None."""
    if groups is None:
        return None
    values = column(groups, "groups")
    if values.dtype.kind == "f":
        missing = np.isnan(values)
    elif values.dtype.kind == "O":
        missing = np.array([value is None or value != value for value in values], dtype=np.bool_)
    else:
        missing = np.zeros(1, dtype=np.bool_)
    if missing.any():
        at = int(missing.argmax())
        raise ValueError(f"groups: got {values[at]} at index {at}; a group for every case expected")
    try:
        codes = np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        raise TypeError(f"groups: names of one kind expected ({error})") from None
    return codes.astype(np.intp).reshape(-1)


def note_on_groups(codes: Codes | None) -> tuple[tuple[str, ...], bool]:
    """What must be said of few groups, after a warning, and whether there are enough for limits."""
    if codes is None:
        return (), True
    n_groups = int(codes.max()) + 1
    if n_groups >= FEW_GROUPS:
        return (), True
    enough = n_groups >= FEWEST_GROUPS
    note = (
        f"{n_groups} groups are few: the interval may cover less than it says"
        if enough
        else f"{n_groups} groups are too few for an interval: at least {FEWEST_GROUPS}"
    )
    warnings.warn(note, stacklevel=4)
    return (note,), enough
