"""How far the numbers are from the same rule computed more precisely, judged beside torch's for-loop.

`pytest -rP tests/optim/test_accuracy.py` shows the figures.
"""

import mpmath
import numpy as np
import pytest
import torch
from torch import nn

import oracles
from optim.cases import (
    CONFIGS,
    FULL,
    NAMES,
    Pair,
    assert_native,
    each_config,
    each_dtype,
    ours_only,
    randn,
    random_params,
    reference,
    subject,
    suited,
)

LONG_RUNS = {
    "sgd": ("SGD", dict(lr=1e-3)),
    "sgd-nesterov": ("SGD", dict(lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-2)),
    "adagrad": ("Adagrad", dict(lr=1e-2)),
    "rmsprop": ("RMSprop", dict(lr=1e-3)),
    "rmsprop-centered": ("RMSprop", dict(lr=1e-3, centered=True, momentum=0.9)),
    "adam": ("Adam", dict(lr=1e-3)),
    "adamw-amsgrad": ("AdamW", dict(lr=1e-3, amsgrad=True, weight_decay=1e-2)),
}
SEEDS = 5
HAS_WIDE_LONG_DOUBLE = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant


def wide(tensor):
    """What is judged is compared in a wider type: float64, and long double for float64 itself."""
    array = tensor.detach().double().numpy()
    return array.astype(np.longdouble) if tensor.dtype == torch.float64 else array


@ours_only
@each_dtype
@pytest.mark.parametrize(("name", "kwargs"), LONG_RUNS.values(), ids=LONG_RUNS)
def test_error_after_1000_steps_is_no_larger_than_torchs(name, kwargs, dtype):
    if dtype == torch.float64 and not HAS_WIDE_LONG_DOUBLE:
        pytest.skip("long double is no wider than double here")
    torch.set_num_threads(1)
    number = np.longdouble if dtype == torch.float64 else float
    rule, state = oracles.RULES[name], {}
    # An element never looks at its neighbours, so the rows are independent runs from five seeds.
    start = 0.1 * randn(SEEDS, 2048)
    ours, theirs = (nn.Parameter(start.to(dtype, copy=True)) for _ in range(2))
    exact = wide(ours.detach().clone())
    kwargs = suited(name, kwargs, dtype)
    optimizer = subject(name)([ours], **kwargs)
    torch_optimizer = reference(name)([theirs], foreach=False, **kwargs)
    for step in range(1, 1001):
        # Not mean zero: what an optimizer follows is a direction in noise.
        grad = (torch.randn(SEEDS, 2048, dtype=torch.float64) + 0.3).to(dtype)
        ours.grad = theirs.grad = grad
        optimizer.step()
        torch_optimizer.step()
        exact = rule(exact, wide(grad), state, step, number, **kwargs)
    assert_native(optimizer, 1)
    ours_error = np.median(oracles.scaled_rms_error(wide(ours), exact, axis=1))
    torch_error = np.median(oracles.scaled_rms_error(wide(theirs), exact, axis=1))
    print(f"scaled RMS error {ours_error:.3g}, {ours_error / torch_error:.3f} of torch's")
    # Roundings of a thousand steps, and nothing else: in bfloat16 most steps are lost altogether.
    assert torch_error < {torch.float64: 1e-12, torch.float32: 1e-4}.get(dtype, 0.5)
    assert ours_error <= 1.02 * torch_error


@each_config
def test_float64_steps_are_right_to_the_last_digits(name, kwargs):
    p = nn.Parameter(randn(24, dtype=torch.float64))
    optimizer = subject(name)([p], **kwargs)
    with mpmath.workdps(60):
        to_mpf = np.vectorize(mpmath.mpf, otypes=[object])
        exact, state = to_mpf(p.detach().numpy()), {}
        for step in range(1, 6):
            p.grad = randn(24, dtype=torch.float64)
            optimizer.step()
            exact = oracles.RULES[name](
                exact, to_mpf(p.grad.numpy()), state, step, mpmath.mpf, **kwargs
            )
        error = np.abs(to_mpf(p.detach().numpy()) - exact).max()
    # 1 − β₂² keeps 14 digits in double, so an update (0.01) has 12 of them and the parameter 14.
    assert error < 1e-14


@each_config
def test_float32_follows_torch_within_a_few_ulp(name, kwargs):
    pair = Pair(name, **kwargs)
    for _ in range(10):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@each_config
def test_float64_follows_torch_within_a_few_ulp(name, kwargs):
    pair = Pair(name, lambda: random_params(dtype=torch.float64), **kwargs)
    for _ in range(10):
        pair.step()
    assert_native(pair.ours, len(pair.params))
    pair.check(ulps=8)


@ours_only
@each_dtype
@each_config
def test_one_step_is_the_exact_step_rounded_once(name, kwargs, dtype):
    """From stored states too: nothing in between is rounded to the parameter's type."""
    kwargs = suited(name, kwargs, dtype)
    start = 1 + torch.rand(4096, dtype=torch.float64)
    p = nn.Parameter(start.to(dtype))
    optimizer = subject(name)([p], **kwargs)
    number = np.longdouble if dtype == torch.float64 else float
    for step in range(1, 4):
        p.grad = randn(4096, dtype=dtype)
        before = wide(p)
        state = {k: wide(v) for k, v in optimizer.state[p].items() if k != "step"}
        optimizer.step()
        exact = oracles.RULES[name](before, wide(p.grad), state, step, number, **kwargs)
    if dtype == torch.bfloat16:  # numpy has no bfloat16: 8 bits of mantissa at this size
        errors = np.abs(wide(p) - exact) / 2.0 ** (np.floor(np.log2(np.abs(exact))) - 7)
    else:
        errors = oracles.ulp_error(p.detach().numpy(), exact)
    worst = float(errors.max())
    print(f"largest error of a step {worst:.3f} ulp")
    # Half a unit is the rounding itself; f32 and f64 also round each operation of the update.
    assert worst <= (0.51 if dtype in (torch.bfloat16, torch.float16) else 1.5)


def test_every_config_is_among_the_rules():
    assert {name for name, _ in CONFIGS.values()} == set(NAMES) == set(FULL) == set(oracles.RULES)
