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
