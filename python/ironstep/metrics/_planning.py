"""How many cases a study needs."""

import math
from collections.abc import Callable

from ironstep.metrics import _proportion
from ironstep.metrics._distributions import normal_quantile

MOST = 10**9
"""Cases beyond which no answer is sought."""


def sample_size_proportion(
    expected: float,
    *,
    half_width: float | None = None,
    null: float | None = None,
    power: float = 0.8,
    confidence_level: float = 0.95,
) -> int:
    """How many cases a share needs: positives for a sensitivity, negatives for a specificity.

    Parameters
    ----------
    expected : float in (0, 1)
        The share that is expected.
    half_width : float, optional
        Half the width that Wilson's interval around it may have; or
    null : float in (0, 1), optional
        the share that is to be refused, two-sided at 1 − `confidence_level`, with this `power`
        (normal approximation; Fleiss, Levin & Paik 2003, equation 2.7 without correction).
    power : float in (0, 1), default=0.8
    confidence_level : float in (0, 1), default=0.95

    Returns
    -------
    int
        Divide by the prevalence for the number of all cases.

    Examples
    --------
    >>> from ironstep.metrics import sample_size_proportion
    >>> sample_size_proportion(0.9, half_width=0.05)
    141
    >>> sample_size_proportion(0.9, null=0.8)
    108
    """
    _check_shares(expected=expected, power=power, confidence_level=confidence_level)
    _one_of(half_width, null)
    if null is not None:
        _check_shares(null=null)
        if null == expected:
            raise ValueError(f"null: got {null}, the expected share; another expected")
        z, z_power = normal_quantile((1 + confidence_level) / 2), normal_quantile(power)
        spread = z * math.sqrt(null * (1 - null)) + z_power * math.sqrt(expected * (1 - expected))
        return math.ceil((spread / (expected - null)) ** 2)

    def fits(n: int) -> bool:
        low, high = _proportion.wilson(expected * n, n, confidence_level)
        return (high - low) / 2 <= half_width  # type: ignore[operator]

    return _smallest(fits)


def sample_size_auc(
    expected: float,
    *,
    half_width: float | None = None,
    null: float | None = None,
    other: float | None = None,
    correlation: float | None = None,
    ratio: float = 1.0,
    power: float = 0.8,
    confidence_level: float = 0.95,
) -> int:
    """How many positive cases an AUC, or the difference of two on the same cases, needs.

    Variances are those of Hanley & McNeil (1982), Radiology 143:29, which suppose scores of
    exponential form, and so is the formula for two models: both at `other` under the hypothesis.

    Parameters
    ----------
    expected : float in (0, 1)
        The AUC that is expected.
    half_width : float, optional
        Half the width that its interval may have; or
    null : float in (0, 1), optional
        the AUC that is to be refused; or
    other : float in (0, 1), optional
        the AUC of another model on the same cases, which is to be told apart, where
    correlation : float in (-1, 1), optional
        is the correlation of the two estimates.
    ratio : float > 0, default=1.0
        Negative cases for each positive one.
    power : float in (0, 1), default=0.8
    confidence_level : float in (0, 1), default=0.95
        Tests are two-sided at 1 minus this.

    Returns
    -------
    int

    Examples
    --------
    >>> from ironstep.metrics import sample_size_auc
    >>> sample_size_auc(0.85, half_width=0.05)
    117
    >>> sample_size_auc(0.85, other=0.8, correlation=0.5)
    298
    """
    _check_shares(expected=expected, power=power, confidence_level=confidence_level)
    _one_of(half_width, null, other)
    if not ratio > 0:
        raise ValueError(f"ratio: got {ratio!r}; a number > 0 expected")
    if (other is None) != (correlation is None):
        raise ValueError(f"correlation: got {correlation!r}; a number with `other`, None without")
    if correlation is not None and not -1 < correlation < 1:
        raise ValueError(f"correlation: got {correlation!r}; a number between -1 and 1 expected")
    z, z_power = normal_quantile((1 + confidence_level) / 2), normal_quantile(power)

    def error(auc: float, n: int) -> float:
        m = ratio * n
        of_positive, of_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
        parts = auc * (1 - auc)
        parts += (n - 1) * (of_positive - auc**2) + (m - 1) * (of_negative - auc**2)
        return math.sqrt(max(0.0, parts) / (n * m))

    def fits(n: int) -> bool:
        if half_width is not None:
            return z * error(expected, n) <= half_width
        if null is not None:
            return z * error(null, n) + z_power * error(expected, n) <= abs(expected - null)
        assert other is not None
        assert correlation is not None
        a, b = error(expected, n), error(other, n)
        if_equal = b * math.sqrt(2 - 2 * correlation)
        if_not = math.sqrt(a * a + b * b - 2 * correlation * a * b)
        return z * if_equal + z_power * if_not <= abs(expected - other)

    for name, value in (("null", null), ("other", other)):
        if value is not None:
            _check_shares(**{name: value})
            if value == expected:
                raise ValueError(f"{name}: got {value}, the expected AUC; another expected")
    return _smallest(fits)


def _check_shares(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}: got {value!r}; a number between 0 and 1 expected")


def _one_of(half_width: float | None, *others: float | None) -> None:
    given = [value for value in (half_width, *others) if value is not None]
    if len(given) != 1:
        raise ValueError(
            f"half_width or what to tell apart: got {len(given)} of them; one expected"
        )
    if half_width is not None and not half_width > 0:
        raise ValueError(f"half_width: got {half_width!r}; a number > 0 expected")


def _smallest(fits: Callable[[int], bool]) -> int:
    """Return the smallest number that fits, if all larger ones do."""
    high = 1
    while not fits(high):
        high *= 2
        if high > MOST:
            raise ValueError(f"more than {MOST:.0e} cases would be needed")
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle
    return high
