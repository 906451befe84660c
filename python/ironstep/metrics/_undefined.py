"""What a metric is where its formula divides by zero: one policy for all of them.

=============  ==========================================================================
``undefined``  the metric's value where it is undefined
=============  ==========================================================================
``"sklearn"``  what scikit-learn's function gives, with its warning (the default)
``"raise"``    ValueError
``"warn"``     NaN, with an `UndefinedMetricWarning`
``"nan"``      NaN
a number       that number
=============  ==========================================================================
"""

import math
import os
import sys
import warnings
from numbers import Real
from typing import Any


class UndefinedMetricWarning(UserWarning):
    """A metric is undefined for these labels.

    Where scikit-learn is imported already, its class of the same name is used in the place of this
    one, so that filters for it work.
    """


def check_undefined(undefined: Any, **own: tuple[Any, Any]) -> None:
    """Refuse an unknown policy, and one beside scikit-learn's own argument.

    `own` has for that argument's name what was given and what its default is.
    """
    is_number = isinstance(undefined, Real) and not isinstance(undefined, bool)
    if not is_number and not (
        isinstance(undefined, str) and undefined in ("sklearn", "raise", "warn", "nan")
    ):
        raise ValueError(
            f"undefined: got {undefined!r}; 'sklearn', 'raise', 'warn', 'nan' or a number expected"
        )
    if undefined == "sklearn":
        return
    for name, (given, default) in own.items():
        if given is not default and given != default:
            raise ValueError(
                f"undefined and {name} are both given; they answer the same question, give one"
            )


def value_where_undefined(
    undefined: Any,
    what: str,
    *,
    sklearn: float = math.nan,
    message: str | None = None,
    warns: bool = True,
) -> float:
    """Return the value of what is undefined, after the warning or error that the policy asks for.

    `what` tells it in a sentence; `sklearn` is scikit-learn's value, `message` its words, and `warns`
    whether it speaks at all.
    """
    if undefined == "sklearn":
        if warns:
            warn_undefined(message or what)
        return sklearn
    if undefined == "raise":
        raise ValueError(what)
    if undefined == "warn":
        warn_undefined(what)
        return math.nan
    return math.nan if undefined == "nan" else float(undefined)


def warn_undefined(message: str) -> None:
    """Warn that a metric is undefined."""
    exceptions = sys.modules.get("sklearn.exceptions")
    warn(message, getattr(exceptions, "UndefinedMetricWarning", UndefinedMetricWarning))


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn the caller of the package, from however deep in it."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
