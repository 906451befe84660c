"""`minimize`: the update rules on any function that has a gradient."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ironstep import functional

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

CONVERGED, OUT_OF_STEPS, NOT_FINITE, STOPPED = 0, 1, 2, 3

# What each rule of `ironstep.functional` keeps, and the option without which it does not.
STATES: dict[str, dict[str, str | None]] = {
    "sgd": {"momentum_buffers": "momentum"},
    "adagrad": {"state_sums": None},
    "rmsprop": {"square_avgs": None, "grad_avgs": "centered", "momentum_buffers": "momentum"},
    "adam": {"exp_avgs": None, "exp_avg_sqs": None, "max_exp_avg_sqs": "amsgrad"},
    "adamw": {"exp_avgs": None, "exp_avg_sqs": None, "max_exp_avg_sqs": "amsgrad"},
}


class OptimizeResult(dict[str, Any]):
    """What `minimize` found; items are attributes too, as of scipy's class of this name."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self})

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{name:>{width}}: {value}" for name, value in self.items())


@dataclass(frozen=True)
class History:
    """What `minimize` saw at θ⁰, θ¹, … , one number a point."""

    fun: Floats
    """l(θʳ)."""
    grad_norm: Floats
    """‖∇l(θʳ)‖₂."""
    lr: Floats
    """Learning rate of the step from θʳ; one fewer than points."""

    @property
    def ascents(self) -> npt.NDArray[np.intp]:
        """The steps r after which the function was larger, or no number: l(θʳ⁺¹) > l(θʳ)."""
        return np.flatnonzero(~(self.fun[1:] <= self.fun[:-1]))

    def keeps_descent(self, lipschitz: float) -> npt.NDArray[np.bool_]:
        """Whether each step had the decrease that a Lipschitz constant L of the gradient promises.

        Gradient descent with the rate cʳ has l(θʳ⁺¹) ≤ l(θʳ) − cʳ(1 − cʳL/2)‖∇l(θʳ)‖². The promise
        is a decrease where cʳ < 2/L, and largest at cʳ = 1/L. A step may miss it by what rounding
        explains, 10⁻¹² of the larger value.
        """
        before, after = self.fun[:-1], self.fun[1:]
        promised = self.lr * (1 - self.lr * lipschitz / 2) * self.grad_norm[:-1] ** 2
        rounding = 1e-12 * np.maximum(np.abs(before), np.abs(after))
        kept: npt.NDArray[np.bool_] = after <= before - promised + rounding
        return kept


def minimize(
    fun: Callable[..., Any],
    x0: npt.ArrayLike,
    args: tuple[Any, ...] = (),
    *,
    method: str = "sgd",
    lr: float | Callable[[int], float],
    tol: float = 1e-6,
    max_iter: int = 10_000,
    jac: bool | Callable[..., Any] = True,
    callback: Callable[[OptimizeResult], object] | None = None,
    **options: Any,
) -> OptimizeResult:
    """Minimize a function by one of the update rules, until ‖∇l(θ)‖₂ ≤ ε.

    With ``method="sgd"`` and no other options this is gradient descent: θʳ⁺¹ = θʳ − cʳ·∇l(θʳ).

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` returns l(x) and its gradient; with a callable `jac` the value alone.
    x0 : array-like of float64 or float32
        θ⁰, of any shape. Not changed.
    args : tuple
        Passed on to `fun` and `jac`.
    method : {"sgd", "adagrad", "rmsprop", "adam", "adamw"}
        The function of `ironstep.functional`.
    lr : float or callable
        The learning rate cʳ; a callable gets r, the number of steps made before.
    tol : float
        ε ≥ 0 of the stopping rule.
    max_iter : int
        At most so many steps.
    jac : True or callable
        ``jac(x, *args)`` returns the gradient.
    callback : callable, optional
        Called with an `OptimizeResult` (x, fun, jac, nit) at each point, θ⁰ too. It may raise
        StopIteration to end.
    **options
        Of the method: ``momentum=0.9, nesterov=True`` for `sgd`, ``beta1=`` for `adam`, and so on.
        Its states are made here, and start at 0.

    Returns
    -------
    OptimizeResult
        x, fun, jac, nit, nfev, njev, success, status, message as of scipy's, and ``history``, a
        `History`. ``success`` says that the stopping rule was met. Otherwise the status is 1 after
        `max_iter` steps, 2 where value or gradient is not finite (x is that point), 3 where the
        callback stopped.

    Raises
    ------
    TypeError, ValueError
        For an unknown method or option, one out of range, or a gradient of another shape than x.

    References
    ----------
    Nesterov (2004), Introductory lectures on convex optimization, section 1.2.3.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.train import lipschitz_constant, minimize
    >>> curvature = np.array([1.0, 10.0])
    >>> def quadratic(x):
    ...     return 0.5 * float(curvature @ x**2), curvature * x
    >>> L = lipschitz_constant(lambda x: quadratic(x)[1], np.ones(2))
    >>> found = minimize(quadratic, [1.0, 1.0], lr=1 / L, tol=1e-8)
    >>> found.success, bool(np.abs(found.x).max() < 1e-8)
    (True, True)
    >>> bool(found.history.keeps_descent(L).all()), len(found.history.ascents)
    (True, 0)
    """
    x = np.array(x0, order="C")
    x = x.astype(np.float64) if x.dtype.kind in "iub" else x
    if x.dtype not in (np.float64, np.float32):
        raise TypeError(f"x0: got {x.dtype}; float64 or float32 expected")
    if not tol >= 0:
        raise ValueError(f"tol: got {tol}; a number >= 0 expected")
    if max_iter < 0:
        raise ValueError(f"max_iter: got {max_iter}; at least 0 expected")
    if jac is not True and not callable(jac):
        raise TypeError(f"jac: got {jac!r}; True or a callable expected: there are no differences")
    if "maximize" in options:
        raise TypeError("maximize: not an option of minimize; negate the function")
    step = _rule(method, options, x)

    values: list[float] = []
    norms: list[float] = []
    rates: list[float] = []
    status = OUT_OF_STEPS
    message = f"no gradient within tol after max_iter = {max_iter} steps"
    for r in range(max_iter + 1):
        value, gradient = _evaluate(fun, jac, x, args)
        with np.errstate(over="ignore"):  # then it is infinite, which ends it below
            norm = float(np.linalg.norm(gradient))
        values.append(value)
        norms.append(norm)
        if callback is not None:
            try:
                callback(OptimizeResult(x=x.copy(), fun=value, jac=gradient.copy(), nit=r))
            except StopIteration:
                status, message = STOPPED, "the callback stopped it"
                break
        if not (math.isfinite(value) and math.isfinite(norm)):
            status, message = NOT_FINITE, f"value or gradient is not finite after {r} steps"
            break
        if norm <= tol:
            status, message = CONVERGED, f"gradient's norm is at most tol after {r} steps"
            break
        if r < max_iter:
            rates.append(float(lr(r) if callable(lr) else lr))
            step(gradient, rates[-1], r)
    return OptimizeResult(
        x=x,
        fun=value,
        jac=gradient,
        nit=len(rates),
        nfev=len(values),
        njev=len(values),
        success=status == CONVERGED,
        status=status,
        message=message,
        history=History(np.array(values), np.array(norms), np.array(rates, dtype=np.float64)),
    )


def lipschitz_constant(
    grad: Callable[[Floats], npt.ArrayLike],
    x: npt.ArrayLike,
    *,
    n_iter: int = 100,
    tol: float = 1e-6,
    random_state: Any = 0,
) -> float:
    """Estimate the Lipschitz constant L of a gradient near a point; 1/L is the rate to take.

    Gradient descent with the rate c lowers l by at least c(1 − cL/2)‖∇l‖² a step, which is most at
    c = 1/L and nothing from c = 2/L on. Near x, L is the largest |eigenvalue| of the Hessian: found
    by power iteration, with differences of two gradients as its products with vectors. The estimate
    comes from below. Where the curvature changes, take the largest over the points on the way.

    Parameters
    ----------
    grad : callable
        Returns the gradient at a float64 array of x's shape.
    x : array-like
        The point.
    n_iter : int
        At most so many products.
    tol : float
        Ends where a product raises the estimate by less than this share of it.
    random_state : None, int or numpy Generator
        Of the vector to begin with.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a gradient is not finite or of another shape than x, or n_iter is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.train import lipschitz_constant
    >>> hessian = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> lipschitz_constant(lambda x: hessian @ x, np.zeros(2))
    3.00000
    """
    if n_iter < 1:
        raise ValueError(f"n_iter: got {n_iter}; at least 1 expected")
    at = np.array(x, dtype=np.float64)
    vector = np.random.default_rng(random_state).normal(size=at.shape)
    # What the error of central differences (∝ h²) and rounding (∝ 1/h) balance at.
    h = float(np.finfo(np.float64).eps) ** (1 / 3) * max(1.0, float(np.linalg.norm(at)))
    found = 0.0
    for _ in range(n_iter):
        length = float(np.linalg.norm(vector))
        if length == 0:
            return found
        unit = vector / length
        vector = (_finite(grad, at + h * unit) - _finite(grad, at - h * unit)) / (2 * h)
        # ‖Hv‖ of a unit vector, not vᵀHv: it never falls, also where ±λ are both the largest.
        before, found = found, max(found, float(np.linalg.norm(vector)))
        if found - before <= tol * found:
            break
    return found


def _finite(grad: Callable[[Floats], npt.ArrayLike], x: Floats) -> Floats:
    gradient = np.asarray(grad(x), dtype=np.float64)
    if gradient.shape != x.shape:
        raise ValueError(f"grad: returned shape {gradient.shape}; x's {x.shape} expected")
    if not np.isfinite(gradient).all():
        raise ValueError("grad: returned numbers that are not finite")
    return gradient.copy()  # a function may return the same memory again


def _evaluate(
    fun: Callable[..., Any], jac: bool | Callable[..., Any], x: Array, args: tuple[Any, ...]
) -> tuple[float, Array]:
    # Copies: what the function keeps or changes is not ours.
    if callable(jac):
        value, gradient = fun(x.copy(), *args), jac(x.copy(), *args)
    else:
        both = fun(x.copy(), *args)
        if not isinstance(both, Sequence) or len(both) != 2:
            got = type(both).__name__
            raise TypeError(f"fun: returned {got}; a value and a gradient expected, for jac=True")
        value, gradient = both
    gradient = np.array(gradient, dtype=x.dtype, order="C")
    if gradient.shape != x.shape:
        raise ValueError(f"fun: returned a gradient of shape {gradient.shape}; {x.shape} expected")
    return float(value), gradient


def _rule(method: str, options: dict[str, Any], x: Array) -> Callable[[Array, float, int], None]:
    """One step on x in place, given gradient, rate and number, with its states."""
    if method not in STATES:
        raise ValueError(f"method: got {method!r}; one of {', '.join(STATES)} expected")
    rule: Callable[..., object] = getattr(functional, method)
    states = {
        name: [np.zeros_like(x)]
        for name, option in STATES[method].items()
        if option is None or options.get(option)
    }

    def step(gradient: Array, lr: float, r: int) -> None:
        number: dict[str, Any] = {"steps": r + 1}
        if method in ("sgd", "rmsprop"):
            number = {"first_step": r == 0} if method == "sgd" else {}
        rule([x], [gradient], lr=lr, **number, **states, **options)

    return step
