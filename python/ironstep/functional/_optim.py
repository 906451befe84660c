"""One function an update rule."""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from ironstep import _native
from ironstep._arrays import borrow

Arrays = Sequence[Any]


def sgd(
    params: Arrays,
    grads: Arrays,
    momentum_buffers: Arrays | None = None,
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
    first_step: bool = False,
    clip_grad_norm: float | None = None,
) -> float | None:
    """Make a step of gradient descent in place, with heavy-ball or Nesterov momentum.

    Parameters
    ----------
    params : sequence of arrays
        Writable numpy arrays or CPU tensors of float64, float32, float16 or bfloat16 (torch's or
        ml_dtypes'), of any shape and strides. Updated.
    grads : sequence of arrays
        For each parameter its gradient: same shape, same dtype. Not changed.
    momentum_buffers : sequence of arrays, optional
        Same shape and dtype as the parameters, or float32 for float16 and bfloat16. Updated.
        Needed if ``momentum`` is not 0.
    lr, momentum, dampening, weight_decay : float
        Learning rate >= 0, momentum >= 0, its dampening, L2 penalty >= 0.
    nesterov : bool
        Nesterov's form; needs momentum > 0 and no dampening.
    maximize : bool
        Climb instead of descend.
    first_step : bool
        Fill the buffers with the gradients, as torch's first step does, whatever they hold.
    clip_grad_norm : float, optional
        Scale the gradients so that their total norm is at most this, without writing them.

    Returns
    -------
    float or None
        The gradients' total norm, if ``clip_grad_norm`` is given.

    Raises
    ------
    TypeError
        For a wrong type or dtype; the message names the array.
    ValueError
        For wrong lengths, shapes or hyperparameters, read-only arrays, and arrays that share memory
        of which some is written. Nothing has been changed then.

    References
    ----------
    Polyak (1964); Sutskever et al. (2013), in the form of `torch.optim.SGD`.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import sgd
    >>> weight = np.array([1.0, 2.0])
    >>> sgd([weight], [2 * weight], lr=0.25)
    >>> weight
    array([0.5, 1. ])
    """
    options = _at_least_0(lr=lr, momentum=momentum, weight_decay=weight_decay)
    options |= {"dampening": _as_float("dampening", dampening)}
    options |= {"nesterov": nesterov, "maximize": maximize}
    if nesterov and (momentum <= 0 or dampening != 0):
        raise ValueError("Nesterov momentum requires a momentum and zero dampening")
    states = {}
    if momentum != 0:
        states["momentum_buffers"] = _needed("momentum_buffers", momentum_buffers, "momentum != 0")
    return _update("sgd", params, grads, states, options, 1, clip_grad_norm, first=first_step)


def adagrad(
    params: Arrays,
    grads: Arrays,
    state_sums: Arrays,
    *,
    steps: int | Sequence[int],
    lr: float,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    eps: float = 1e-10,
    maximize: bool = False,
    clip_grad_norm: float | None = None,
) -> float | None:
    """Make a step of AdaGrad in place.

    Parameters
    ----------
    params, grads : sequences of arrays
        As in `sgd`.
    state_sums : sequence of arrays
        The sums of squared gradients, as ``momentum_buffers`` in `sgd`. Start with zeros, or with
        an initial accumulator value.
    steps : int or sequence of int
        The number of this step, from 1; for all parameters or for each.
    lr, lr_decay, weight_decay, eps : float
        Learning rate, its decay, L2 penalty, and the term added to the denominator; all >= 0.
    maximize, clip_grad_norm
        As in `sgd`.

    Returns
    -------
    float or None
        As in `sgd`, and so are the errors raised.

    References
    ----------
    Duchi, Hazan & Singer (2011), JMLR 12:2121.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import adagrad
    >>> weight, total = np.array([1.0, 2.0]), np.zeros(2)
    >>> adagrad([weight], [2 * weight], [total], steps=1, lr=0.5)
    >>> weight
    array([0.5, 1.5])
    """
    options = _at_least_0(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay, eps=eps)
    options |= {"maximize": maximize}
    states = {"state_sums": state_sums}
    return _update("adagrad", params, grads, states, options, steps, clip_grad_norm)


def rmsprop(
    params: Arrays,
    grads: Arrays,
    square_avgs: Arrays,
    grad_avgs: Arrays | None = None,
    momentum_buffers: Arrays | None = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
    maximize: bool = False,
    eps_inside_sqrt: bool = False,
    clip_grad_norm: float | None = None,
) -> float | None:
    """Make a step of RMSprop in place.

    Parameters
    ----------
    params, grads : sequences of arrays
        As in `sgd`.
    square_avgs, grad_avgs, momentum_buffers : sequences of arrays
        Running means of the squared gradient and (needed if ``centered``) of the gradient, and
        (needed if ``momentum`` is not 0) the momentum, as ``momentum_buffers`` in `sgd`. Start with
        zeros.
    lr, alpha, eps, weight_decay, momentum : float
        Learning rate, smoothing constant, the term added to the denominator, L2 penalty, momentum;
        all >= 0.
    centered : bool
        Divide by an estimate of the gradient's standard deviation.
    eps_inside_sqrt : bool
        Divide by √(v + ε) instead of √v + ε.
    maximize, clip_grad_norm
        As in `sgd`.

    Returns
    -------
    float or None
        As in `sgd`, and so are the errors raised.

    References
    ----------
    Tieleman & Hinton (2012), Lecture 6.5: rmsprop; Graves (2013), arXiv 1308.0850 (centered).

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import rmsprop
    >>> weight, square_avg = np.array([1.0, 2.0]), np.zeros(2)
    >>> rmsprop([weight], [2 * weight], [square_avg], lr=0.05)
    >>> weight.round(6)
    array([0.5, 1.5])
    """
    options = _at_least_0(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)
    options |= {"centered": centered, "eps_inside_sqrt": eps_inside_sqrt, "maximize": maximize}
    states = {"square_avgs": square_avgs}
    if momentum != 0:
        states["momentum_buffers"] = _needed("momentum_buffers", momentum_buffers, "momentum != 0")
    if centered:
        states["grad_avgs"] = _needed("grad_avgs", grad_avgs, "centered=True")
    return _update("rmsprop", params, grads, states, options, 1, clip_grad_norm)


def adam(
    params: Arrays,
    grads: Arrays,
    exp_avgs: Arrays,
    exp_avg_sqs: Arrays,
    max_exp_avg_sqs: Arrays | None = None,
    *,
    steps: int | Sequence[int],
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    amsgrad: bool = False,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
    bias_correction: str = "both",
    clip_grad_norm: float | None = None,
) -> float | None:
    """Make a step of Adam in place.

    Parameters
    ----------
    params, grads : sequences of arrays
        As in `sgd`.
    exp_avgs, exp_avg_sqs, max_exp_avg_sqs : sequences of arrays
        Running means of the gradient and of its square, and (needed if ``amsgrad``) the largest of
        the latter so far, as ``momentum_buffers`` in `sgd`. Start with zeros.
    steps : int or sequence of int
        The number of this step, from 1; for all parameters or for each.
    lr, eps, weight_decay : float
        Learning rate, the term added to the denominator, L2 penalty or decay; all >= 0.
    beta1, beta2 : float in [0, 1)
        Smoothing constants of the moments.
    amsgrad : bool
        Divide by the largest second moment so far.
    decoupled_weight_decay : bool
        Shrink the parameter by lr · weight_decay instead of adding to the gradient (AdamW).
    bias_correction : {"both", "second"}
        Which moments' bias to correct.
    maximize, clip_grad_norm
        As in `sgd`.

    Returns
    -------
    float or None
        As in `sgd`, and so are the errors raised.

    References
    ----------
    Kingma & Ba (2015), arXiv 1412.6980; Reddi, Kale & Kumar (2018), arXiv 1904.09237; Loshchilov &
    Hutter (2019), arXiv 1711.05101.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import adam
    >>> weight = np.array([1.0, 2.0])
    >>> exp_avg, exp_avg_sq = np.zeros(2), np.zeros(2)
    >>> adam([weight], [2 * weight], [exp_avg], [exp_avg_sq], steps=1, lr=0.5)
    >>> weight.round(6)
    array([0.5, 1.5])
    """
    options = _at_least_0(lr=lr, eps=eps, weight_decay=weight_decay)
    betas = _at_least_0(beta1=beta1, beta2=beta2)
    for name, beta in betas.items():
        if not beta < 1:
            raise ValueError(f"{name}: got {beta}; a number in [0, 1) expected")
    options |= {
        "betas": tuple(betas.values()),
        "amsgrad": amsgrad,
        "maximize": maximize,
        "decoupled_weight_decay": decoupled_weight_decay,
        "bias_correction": bias_correction,
    }
    if bias_correction not in ("both", "second"):
        raise ValueError(f"bias_correction: got {bias_correction!r}; 'both' or 'second' expected")
    states = {"exp_avgs": exp_avgs, "exp_avg_sqs": exp_avg_sqs}
    if amsgrad:
        states["max_exp_avg_sqs"] = _needed("max_exp_avg_sqs", max_exp_avg_sqs, "amsgrad=True")
    return _update("adam", params, grads, states, options, steps, clip_grad_norm)


def adamw(
    params: Arrays,
    grads: Arrays,
    exp_avgs: Arrays,
    exp_avg_sqs: Arrays,
    max_exp_avg_sqs: Arrays | None = None,
    *,
    steps: int | Sequence[int],
    lr: float,
    weight_decay: float = 1e-2,
    **options: Any,
) -> float | None:
    """Make a step of AdamW in place: `adam` with decoupled weight decay.

    Parameters
    ----------
    params, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, steps, lr, weight_decay, **options
        As in `adam`.

    Returns
    -------
    float or None
        As in `sgd`, and so are the errors raised.

    References
    ----------
    Loshchilov & Hutter (2019), arXiv 1711.05101.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import adamw
    >>> weight = np.array([1.0, 2.0])
    >>> state = [np.zeros(2)], [np.zeros(2)]
    >>> adamw([weight], [2 * weight], *state, steps=1, lr=0.5, weight_decay=0.1)
    >>> weight.round(6)
    array([0.45, 1.4 ])
    """
    return adam(
        params,
        grads,
        exp_avgs,
        exp_avg_sqs,
        max_exp_avg_sqs,
        steps=steps,
        lr=lr,
        weight_decay=weight_decay,
        decoupled_weight_decay=True,
        **options,
    )


def _update(
    rule: str,
    params: Arrays,
    grads: Arrays,
    states: Mapping[str, Arrays],
    options: dict[str, Any],
    steps: int | Sequence[int],
    clip_grad_norm: float | None,
    *,
    first: bool = False,
) -> float | None:
    if clip_grad_norm is not None:
        clip_grad_norm = _at_least_0(clip_grad_norm=clip_grad_norm)["clip_grad_norm"]
    # The arrays that are made here must live until the update has been made.
    operands = [
        (name, [borrow(array, f"{name}[{i}]") for i, array in enumerate(_sequence(name, arrays))])
        for name, arrays in {"params": params, "grads": grads, **states}.items()
    ]
    numbers = _step_numbers(steps, len(operands[0][1]))
    return _native.update(rule, operands, options, numbers, first=first, max_norm=clip_grad_norm)


def _step_numbers(steps: Any, n_params: int) -> list[int]:
    try:
        each = [operator.index(steps)] * n_params
    except TypeError:
        try:
            each = list(steps)
        except TypeError:
            raise TypeError(f"steps: got {type(steps).__name__}; int expected") from None
    for index, step in enumerate(each):
        try:
            each[index] = operator.index(step)
        except TypeError:
            got = type(step).__name__
            raise TypeError(f"steps[{index}]: got {got}; int expected") from None
        if not 1 <= each[index] < 2**63:
            raise ValueError(f"steps[{index}]: got {step}; the number of a step from 1 expected")
    return each


def _sequence(name: str, arrays: Arrays) -> Arrays:
    # A single array is a sequence too: of its rows, which are copies or views that nobody meant.
    if not isinstance(arrays, (list, tuple)):
        raise TypeError(f"{name}: got {type(arrays).__name__}; a list or tuple of arrays expected")
    return arrays


def _needed(name: str, arrays: Arrays | None, reason: str) -> Arrays:
    if arrays is None:
        raise ValueError(f"{name}: got None; arrays expected, for {reason}")
    return arrays


def _at_least_0(**numbers: float) -> dict[str, Any]:
    floats: dict[str, Any] = {name: _as_float(name, number) for name, number in numbers.items()}
    for name, number in floats.items():
        if not number >= 0:
            raise ValueError(f"{name}: got {number}; a number >= 0 expected")
    return floats


def _as_float(name: str, number: float) -> float:
    try:
        return math.ldexp(number, 0)  # what has a value as a float; unlike float(), no text
    except OverflowError:
        raise ValueError(f"{name}: got {number}; a number in the range of float expected") from None
    except (TypeError, ValueError):
        got = type(number).__name__
        raise TypeError(f"{name}: got {got}; a number expected") from None
