"""Quantiles and tails of the distributions behind intervals and tests: SciPy's, but the normal's."""

from statistics import NormalDist
from types import ModuleType

_NORMAL = NormalDist()


def normal_quantile(probability: float) -> float:
    """Quantile of the standard normal distribution."""
    return _NORMAL.inv_cdf(probability)


def normal_cdf(value: float) -> float:
    """Distribution function of the standard normal distribution."""
    return _NORMAL.cdf(value)


def t_quantile(probability: float, degrees: float) -> float:
    """Quantile of Student's distribution."""
    return float(_special().stdtrit(degrees, probability))


def two_sided_quantile(level: float, degrees: float | None) -> float:
    """By what a standard error is multiplied: Student's quantile, or the normal one without degrees."""
    tail = (1 + level) / 2
    return normal_quantile(tail) if degrees is None else t_quantile(tail, degrees)


def t_cdf(value: float, degrees: float) -> float:
    """Distribution function of Student's distribution."""
    return float(_special().stdtr(degrees, value))


def chi2_above(value: float, degrees: float) -> float:
    """Probability that χ² is above a value."""
    return float(_special().chdtrc(degrees, value))


def binomial_half_cdf(k: int, n: int) -> float:
    """Probability of at most k heads in n throws."""
    return float(_special().bdtr(k, n, 0.5)) if k >= 0 else 0.0


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Quantile of the beta distribution."""
    return float(_special().betaincinv(a, b, probability))


def _special() -> ModuleType:
    try:
        import scipy.special
    except ImportError as error:
        message = "this interval needs SciPy; install it with: pip install 'ironstep[metrics]'"
        raise ImportError(message) from error
    module: ModuleType = scipy.special
    return module
