"""Arguments that intervals and comparisons have in common, checked."""

import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np

from ironstep.metrics._inputs import (
    array,
    as_integers,
    check_consistent_length,
    check_sample_weight,
    column,
)
from ironstep.metrics._limits import Codes
from ironstep.metrics._resampling import Floats

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
    if values.dtype.kind in "iu" and len(values):
        least, most = int(values.min()), int(values.max())
        # Numbers that lie close together, as those of groups do, need no sort.
        if most - least < 4 * len(values) and least > -(2**62) and most < 2**62:
            offsets = values.astype(np.int64) - least
            places = np.cumsum(np.bincount(offsets) > 0) - 1
            return np.asarray(places[offsets], dtype=np.intp)
    try:
        codes = np.unique(values, return_inverse=True)[1]
    except TypeError as error:
        raise TypeError(f"groups: names of one kind expected ({error})") from None
    return codes.astype(np.intp).reshape(-1)


def weighed(
    sample_weight: Any, weight_type: Any, **columns: Any
) -> tuple[tuple[Any, ...], Floats | None]:
    """Return columns of the cases that count, and weights that are still to be taken into account.

    Frequency weights repeat their cases here, and none are left. Cases of weight 0 are dropped. A
    column that is None stays None.
    """
    if weight_type not in (None, "frequency", "sampling"):
        raise ValueError(
            f"weight_type: got {weight_type!r}; 'frequency', 'sampling' or None expected"
        )
    if (sample_weight is None) != (weight_type is None):
        raise ValueError(
            f"weight_type: got {weight_type!r} with sample_weight "
            f"{'not given' if sample_weight is None else 'given'}; 'frequency' (the case stands for "
            "so many alike) or 'sampling' (for so many that were not sampled) expected with "
            "sample_weight, and neither without"
        )
    n = check_consistent_length(*columns.values(), sample_weight)
    if sample_weight is None:
        return tuple(columns.values()), None
    weight = check_sample_weight(column(sample_weight, "sample_weight"), n)
    if (weight < 0).any():
        at = int((weight < 0).argmax())
        raise ValueError(f"sample_weight: got {weight[at]} at index {at}; at least 0 expected")
    whole = as_integers(weight)
    if weight_type == "sampling":
        weight = weight.astype(np.float64)
        whole = (weight > 0).astype(np.int64)
    elif whole is None:
        at = int((weight % 1 != 0).argmax())
        raise ValueError(
            f"sample_weight: got {weight[at]} at index {at}; a whole number expected of a frequency"
        )
    assert whole is not None
    if not (whole == 1).all():
        columns = {
            name: None if values is None else np.repeat(array(values, name), whole, axis=0)
            for name, values in columns.items()
        }
    if weight_type == "frequency":
        return tuple(columns.values()), None
    weight = weight[weight > 0]
    if len(weight) < 2:
        raise ValueError("sample_weight: got one case with a weight; two at least expected")
    return tuple(columns.values()), weight


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
