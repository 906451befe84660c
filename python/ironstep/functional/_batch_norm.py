"""Batch normalization of numpy arrays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ironstep import _native

Array = npt.NDArray[Any]


def batch_norm_forward(
    x: npt.ArrayLike,
    gamma: npt.ArrayLike | None = None,
    beta: npt.ArrayLike | None = None,
    *,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    training: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: Literal["relu"] | None = None,
) -> tuple[Array, npt.NDArray[np.float64]]:
    """Normalize each channel of a batch.

    ::

        μ  = (1/n) Σ x             σ² = (1/n) Σ (x − μ)²
        x̂  = (x − μ) / √(σ² + ε)   y  = γ·x̂ + β

    with sums over the n values of a channel: all axes but the second.

    Parameters
    ----------
    x : array of shape (N, C) or (N, C, ...), up to 5 dimensions
        float64, float32, float16 or bfloat16 (ml_dtypes').
    gamma, beta : array of shape (C,), optional
        Of x's dtype, or float32 where that is float16 or bfloat16. 1 and 0 by default.
    running_mean, running_var : array of shape (C,), optional
        As gamma; both or neither. In training they are updated in place:
        ``running += momentum · (batch − running)``, with the unbiased variance, n/(n−1)·σ².
        Otherwise they take the place of μ and σ², and are needed.
    training : bool
        Normalize by the batch's own statistics.
    momentum : float
        Share of the new batch in the running statistics.
    eps : float
        ε > 0; 0 is possible with running statistics.
    activation : {None, "relu"}
        "relu": y is max(0, γ·x̂ + β).

    Returns
    -------
    y : array
        Of x's shape and dtype.
    saved : array of float64 of shape (2, C)
        μ and 1/√(σ² + ε), for `batch_norm_backward`.

    Raises
    ------
    TypeError
        For a wrong dtype; the message names the array.
    ValueError
        For a wrong shape, for one value per channel in training, and for eps out of range. Nothing
        has been changed then.

    References
    ----------
    Ioffe & Szegedy (2015), Batch Normalization, algorithm 1.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import batch_norm_forward
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, saved = batch_norm_forward(x, eps=1e-12)
    >>> y.round(6)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> saved[0]
    array([ 2., 20.])
    """
    relu = _is_relu(activation)
    x = _dense(x)
    gamma, beta = _dense_or_none(gamma), _dense_or_none(beta)
    if not (eps > 0 or (eps == 0 and not training)):
        raise ValueError(f"eps: got {eps}; a number > 0 expected")
    if training and x.ndim > 1 and x.size == x.shape[1]:
        raise ValueError(f"x: got shape {x.shape}; more than 1 value per channel expected")
    y = np.empty_like(x)
    saved = np.empty((2, *x.shape[1:2]))
    with _our_names():
        _native.batch_norm_forward(
            x, gamma, beta, running_mean, running_var, None, y, saved,
            training=training, momentum=momentum, eps=eps, relu=relu,
        )  # fmt: skip
    return y, saved


def batch_norm_backward(
    grad_y: npt.ArrayLike,
    x: npt.ArrayLike,
    saved: npt.NDArray[np.float64],
    gamma: npt.ArrayLike | None = None,
    beta: npt.ArrayLike | None = None,
    *,
    training: bool = True,
    activation: Literal["relu"] | None = None,
) -> tuple[Array, Array, Array]:
    """Return the gradients of a loss with respect to x, γ and β.

    With the gradient g = ∂L/∂y, in training::

        ∂L/∂β = Σ g
        ∂L/∂γ = Σ g·x̂
        ∂L/∂x = γ / √(σ² + ε) · (g − (1/n) Σ g − x̂ · (1/n) Σ g·x̂)

    and ∂L/∂x = γ / √(σ² + ε) · g where the running statistics normalized, which do not depend on
    x. With ``activation="relu"``, g is 0 where γ·x̂ + β ≤ 0.

    The same layer is often taught with formulas that have slips: a factor 1/n in ∂L/∂γ and ∂L/∂β,
    which are sums and not means, and the terms of μ and σ² exchanged in ∂L/∂x. What is computed
    here is the derivative of `batch_norm_forward`, as finite differences show.

    Parameters
    ----------
    grad_y : array of x's shape and dtype
        ∂L/∂y.
    x : array
        What `batch_norm_forward` took.
    saved : array of float64 of shape (2, C)
        What it returned.
    gamma, beta : array of shape (C,), optional
        As there. β matters with an activation alone.
    training, activation
        As there.

    Returns
    -------
    grad_x : array
        Of x's shape and dtype.
    grad_gamma, grad_beta : array of shape (C,)
        Of gamma's dtype; of x's if there is none.

    Raises
    ------
    TypeError, ValueError
        As in `batch_norm_forward`.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import batch_norm_backward, batch_norm_forward
    >>> x = np.array([[0.0], [1.0], [5.0]])
    >>> y, saved = batch_norm_forward(x)
    >>> grad_x, grad_gamma, grad_beta = batch_norm_backward(np.array([[1.0], [0.0], [0.0]]), x, saved)
    >>> grad_x.round(4)
    array([[ 0.1763],
           [-0.2204],
           [ 0.0441]])
    >>> grad_gamma.round(4), grad_beta
    (array([-0.9258]), array([1.]))
    """
    relu = _is_relu(activation)
    x = _dense(x)
    gamma, beta = _dense_or_none(gamma), _dense_or_none(beta)
    grad_y = np.asarray(grad_y)
    if grad_y.shape == x.shape and grad_y.strides != x.strides:
        grad_y = _like(x, grad_y)
    grad_x = np.empty_like(x)
    of = gamma if gamma is not None else beta
    grad_gamma = np.empty(x.shape[1:2], x.dtype if of is None else of.dtype)
    grad_beta = np.empty_like(grad_gamma)
    with _our_names():
        _native.batch_norm_backward(
            grad_y, x, gamma, beta, None, saved, grad_x, None, grad_gamma, grad_beta,
            training=training, relu=relu,
        )  # fmt: skip
    return grad_x, grad_gamma, grad_beta


_NAMES = {"input": "x", "weight": "gamma", "bias": "beta", "grad_output": "grad_y"}


@contextmanager
def _our_names() -> Iterator[None]:
    """Give the kernels' errors the lecture's names of the arguments, which are ours."""
    try:
        yield
    except (TypeError, ValueError) as error:
        name, colon, text = str(error).partition(": ")
        text = text.replace("the input's", "x's")
        error.args = (_NAMES.get(name, name) + colon + text,)
        raise  # the same, for its notes: they name an argument that is no array


def _is_relu(activation: object) -> bool:
    if activation not in (None, "relu"):
        raise ValueError(f"activation: got {activation!r}; None or 'relu' expected")
    return activation == "relu"


def _dense(x: npt.ArrayLike) -> Array:
    """The array, in the order of its memory if that is one the kernels know."""
    x = np.asarray(x)
    channels_last = x.ndim > 2 and np.moveaxis(x, 1, -1).flags.c_contiguous
    return x if channels_last else np.ascontiguousarray(x)


def _dense_or_none(x: npt.ArrayLike | None) -> Array | None:
    return None if x is None else np.ascontiguousarray(x)


def _like(x: Array, values: Array) -> Array:
    """The values in the order of x's memory."""
    copy = np.empty_like(x, dtype=values.dtype)
    copy[...] = values
    return copy
