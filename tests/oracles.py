"""The update rules once more, written for clearness alone, in whatever precision the caller brings.

Each rule takes a numpy array of parameters, the gradient, a dictionary of states (empty before the
first step) and the number of the step, and returns the new parameters. `number` makes the type that
everything is computed in: `float`, `numpy.longdouble`, or `mpmath.mpf` on arrays of objects.
"""

import numpy as np


def sqrt(x):
    # An object array's sqrt asks its elements for a method that mpmath's numbers lack.
    return x ** type(x.flat[0])(0.5) if x.dtype == object else np.sqrt(x)


def sgd(
    param,
    grad,
    state,
    step,
    number=float,
    *,
    lr=1e-3,
    momentum=0,
    dampening=0,
    weight_decay=0,
    nesterov=False,
    maximize=False,
):
    lr, mu, tau, decay = map(number, (lr, momentum, dampening, weight_decay))
    g = -grad if maximize else grad
    g = g + decay * param
    if mu != 0:
        # The first step copies the gradient: no dampening.
        state["momentum_buffer"] = g if step == 1 else mu * state["momentum_buffer"] + (1 - tau) * g
        g = g + mu * state["momentum_buffer"] if nesterov else state["momentum_buffer"]
    return param - lr * g


def adagrad(
    param,
    grad,
    state,
    step,
    number=float,
    *,
    lr=1e-2,
    lr_decay=0,
    weight_decay=0,
    initial_accumulator_value=0,
    eps=1e-10,
    maximize=False,
):
    lr, fade, decay, eps = map(number, (lr, lr_decay, weight_decay, eps))
    g = -grad if maximize else grad
    g = g + decay * param
    total = state.get("sum", param * 0 + number(initial_accumulator_value))
    state["sum"] = total + g * g
    return param - lr / (1 + (step - 1) * fade) * g / (sqrt(state["sum"]) + eps)


def rmsprop(
    param,
    grad,
    state,
    step,
    number=float,
    *,
    lr=1e-2,
    alpha=0.99,
    eps=1e-8,
    weight_decay=0,
    momentum=0,
    centered=False,
    maximize=False,
    eps_inside_sqrt=False,
):
    lr, alpha, eps, decay, mu = map(number, (lr, alpha, eps, weight_decay, momentum))
    zero = param * 0
    g = -grad if maximize else grad
    g = g + decay * param
    state["square_avg"] = alpha * state.get("square_avg", zero) + (1 - alpha) * g * g
    variance = state["square_avg"]
    if centered:
        state["grad_avg"] = alpha * state.get("grad_avg", zero) + (1 - alpha) * g
        variance = variance - state["grad_avg"] * state["grad_avg"]
    u = g / (sqrt(variance + eps) if eps_inside_sqrt else sqrt(variance) + eps)
    if mu > 0:
        state["momentum_buffer"] = mu * state.get("momentum_buffer", zero) + u
        u = state["momentum_buffer"]
    return param - lr * u


def adam(
    param,
    grad,
    state,
    step,
    number=float,
    *,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0,
    amsgrad=False,
    maximize=False,
    decoupled_weight_decay=False,
    bias_correction="both",
):
    beta1, beta2 = map(number, betas)
    lr, eps, decay = map(number, (lr, eps, weight_decay))
    zero = param * 0
    g = -grad if maximize else grad
    if decoupled_weight_decay:
        param = param * (1 - lr * decay)
    else:
        g = g + decay * param
    state["exp_avg"] = beta1 * state.get("exp_avg", zero) + (1 - beta1) * g
    state["exp_avg_sq"] = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * g * g
    v = state["exp_avg_sq"]
    if amsgrad:
        v = state["max_exp_avg_sq"] = np.maximum(state.get("max_exp_avg_sq", zero), v)
    m = state["exp_avg"] / (1 - beta1**step if bias_correction == "both" else 1)
    return param - lr * m / (sqrt(v / (1 - beta2**step)) + eps)


def adamw(param, grad, state, step, number=float, *, weight_decay=1e-2, **hyperparameters):
    hyperparameters.setdefault("decoupled_weight_decay", True)
    return adam(param, grad, state, step, number, weight_decay=weight_decay, **hyperparameters)


RULES = {"SGD": sgd, "Adagrad": adagrad, "RMSprop": rmsprop, "Adam": adam, "AdamW": adamw}


def clipped(grads, max_norm):
    """The gradients as torch.nn.utils.clip_grad_norm_ leaves them, and their norm before."""
    norm = sum((g * g).sum() for g in grads) ** 0.5
    scale = min(max_norm / (norm + 1e-6), 1)
    return [g * scale for g in grads], norm


def scaled_rms_error(actual, exact, axis=None):
    """Root mean square of the error, divided by the root mean square of what is right."""
    error = np.sqrt(np.mean((actual - exact) ** 2, axis=axis))
    return error / np.sqrt(np.mean(exact**2, axis=axis))


def ulp_error(actual, exact):
    """Error in units in the last place of `actual`'s type at the size of the exact value.

    Both are numpy arrays: `actual` holds numbers of the type that is judged, `exact` is wider.
    """
    return np.abs(actual.astype(exact.dtype) - exact) / np.spacing(
        np.abs(exact.astype(actual.dtype))
    )
