"""The numbers: torch's own functional, the plain formulas, and the lecture's forms."""

import importlib
import inspect
from fractions import Fraction

import numpy as np
import pytest
import torch

from functional.cases import (
    HALVES,
    KEYS,
    arrays,
    assert_same_bits,
    copies,
    each_config,
    each_dtype,
    each_form,
    operands,
    oracle,
    oracle_kwargs,
    state_names,
    step,
)
from ironstep import functional

THEIR_NAMES = {
    ("sgd", "grads"): "d_p_list",
    ("sgd", "momentum_buffers"): "momentum_buffer_list",
    ("rmsprop", "momentum_buffers"): "momentum_buffer_list",
}


def torchs_step(function, lists, kwargs, number):
    """The same step by torch's functional optimizer for single tensors, on copies."""
    module = function.removesuffix("w")
    call = getattr(importlib.import_module(f"torch.optim.{module}"), module)
    known = inspect.signature(call).parameters
    ours = inspect.signature(getattr(functional, function)).parameters
    if function == "adamw":
        kwargs = dict(weight_decay=1e-2, decoupled_weight_decay=True) | kwargs
        ours = inspect.signature(functional.adam).parameters
    tensors = {key: [torch.from_numpy(a.copy()) for a in list_] for key, list_ in lists.items()}
    n_params = len(tensors["params"])
    given = {THEIR_NAMES.get((function, key), key): list_ for key, list_ in tensors.items()}
    for key in ("grad_avgs", "momentum_buffer_list", "max_exp_avg_sqs"):
        if key in known:
            given.setdefault(key, [None] * n_params if function == "sgd" else [])
    if "state_steps" in known:
        given["state_steps"] = [torch.tensor(number - 1.0) for _ in range(n_params)]
    elif number == 1:
        given["momentum_buffer_list"] = [None] * n_params
    for key, parameter in ours.items():
        if parameter.default is not parameter.empty and key in known:
            given.setdefault(key, parameter.default)
    call(**(given | kwargs), foreach=False)
    return {key: [a.numpy() for a in given[THEIR_NAMES.get((function, key), key)]] for key in lists}


@each_config
def test_four_steps_are_torchs(function, kwargs):
    ours = operands(function, kwargs, arrays())
    theirs = copies(ours)
    for number in (1, 2, 3, 1000):
        step(function, ours, kwargs, number)
        theirs = torchs_step(function, theirs, kwargs, number)
        for name in ours:
            for i, (a, e) in enumerate(zip(ours[name], theirs[name], strict=True)):
                np.testing.assert_allclose(a, e, rtol=1e-13, atol=1e-15, err_msg=f"{name}[{i}]")


@each_form
def test_five_steps_from_nothing_are_the_plain_formulas(function, kwargs):
    ours = operands(function, kwargs, arrays())
    for name in state_names(function, kwargs):
        ours[name] = [np.zeros_like(array) for array in ours[name]]
    params = [np.array(array) for array in ours["params"]]
    states = [{} for _ in params]
    for number in range(1, 6):
        step(function, ours, kwargs, number)
        for i, grad in enumerate(ours["grads"]):
            params[i] = oracle(function)(
                params[i], grad, states[i], number, **oracle_kwargs(kwargs)
            )
            np.testing.assert_allclose(ours["params"][i], params[i], rtol=1e-12, atol=1e-14)
            for name in state_names(function, kwargs):
                expected = states[i][KEYS[name]]
                np.testing.assert_allclose(ours[name][i], expected, rtol=1e-12, atol=1e-14)


@each_form
@each_dtype
def test_gradients_are_not_written(dtype, function, kwargs):
    lists = operands(function, kwargs, arrays(dtype))
    before = copies(lists)
    step(function, lists, kwargs | dict(clip_grad_norm=0.1))
    assert_same_bits({"grads": lists["grads"]}, {"grads": before["grads"]})


@each_form
@pytest.mark.parametrize("wide", [False, True], ids=["own-states", "float32-states"])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_half_precision_is_a_float32_step_rounded_once(dtype, wide, function, kwargs):
    kwargs = {"eps": 1e-3} | kwargs if function != "sgd" else kwargs
    lists = operands(function, kwargs, arrays(dtype))
    if wide:
        for name in state_names(function, kwargs):
            lists[name] = [array.astype(np.float32) for array in lists[name]]
    single = {name: [a.astype(np.float32) for a in list_] for name, list_ in lists.items()}
    step(function, lists, kwargs, 3)
    step(function, single, kwargs, 3)
    expected = {
        name: [s.astype(a.dtype) for s, a in zip(single[name], lists[name], strict=True)]
        for name in lists
    }
    assert_same_bits(lists, expected)


@each_form
def test_float32_is_right_to_its_last_bits(function, kwargs):
    lists = operands(function, kwargs, arrays(np.float32))
    double = {name: [a.astype(np.float64) for a in list_] for name, list_ in lists.items()}
    step(function, lists, kwargs, 3)
    step(function, double, kwargs, 3)
    for name in lists:
        for single, exact in zip(lists[name], double[name], strict=True):
            np.testing.assert_allclose(single, exact, rtol=1e-6, atol=1e-6)


def test_the_lectures_rmsprop_has_eps_inside_the_root():
    param, grad, square_avg = np.array([1.0]), np.array([0.5]), np.array([0.2])
    functional.rmsprop(
        [param], [grad], [square_avg], lr=0.1, alpha=0.9, eps=0.01, eps_inside_sqrt=True
    )
    v = 0.9 * 0.2 + 0.1 * 0.5**2
    assert square_avg[0] == pytest.approx(v, rel=1e-15)
    assert param[0] == pytest.approx(1 - 0.1 * 0.5 / (v + 0.01) ** 0.5, rel=1e-15)


def test_the_lectures_adam_corrects_the_second_moment_alone():
    param, grad, m, v = (np.array([x]) for x in (1.0, 0.5, 0.0, 0.0))
    functional.adam([param], [grad], [m], [v], steps=1, lr=0.1, eps=0.01, bias_correction="second")
    # The second moment, corrected, is g²; the first is (1 − β₁)·g as it stands.
    assert param[0] == pytest.approx(1 - 0.1 * (0.1 * 0.5) / (0.5 + 0.01), rel=1e-14)


def test_each_parameter_may_be_at_a_step_of_its_own():
    numbers = [1, 2, 2, 1000, 1, 7, 7, 7]
    together = operands("adam", {}, arrays())
    apart = copies(together)
    functional.adam(**together, steps=numbers, lr=0.1)
    for i, number in enumerate(numbers):
        functional.adam(**{name: [a[i]] for name, a in apart.items()}, steps=number, lr=0.1)
    assert_same_bits(together, apart)


@pytest.mark.parametrize(
    "steps",
    [
        2,
        (2, 2, 2),
        range(2, 5),
        2**53,
        np.int64(2),
        np.uint8(2),
        [np.int32(2), 2, np.int64(2)],
        np.array([2, 3, 4]),
        np.array(2),
    ],
    ids=repr,
)
def test_the_number_of_a_step_may_be_any_integer(steps):
    lists = operands("adam", {}, arrays(shapes=[(3,)] * 3))
    same = copies(lists)
    plain = np.broadcast_to(steps, 3)
    functional.adam(**lists, steps=steps, lr=0.1)
    functional.adam(**same, steps=[int(n) for n in plain], lr=0.1)
    assert_same_bits(lists, same)


@pytest.mark.parametrize(
    "number",
    [np.float32(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2), torch.tensor(0.5)],
    ids=lambda number: type(number).__name__,
)
def test_a_hyperparameter_may_be_any_real_number(number):
    lists = operands("adam", {}, arrays(shapes=[(3,)]))
    same = copies(lists)
    functional.adam(**lists, steps=2, lr=number, beta1=number, clip_grad_norm=number)
    functional.adam(**same, steps=2, lr=0.5, beta1=0.5, clip_grad_norm=0.5)
    assert_same_bits(lists, same)


def test_adamw_is_adam_with_decoupled_decay():
    ours = operands("adamw", {}, arrays())
    same = copies(ours)
    functional.adamw(**ours, steps=3, lr=0.1)
    functional.adam(**same, steps=3, lr=0.1, weight_decay=1e-2, decoupled_weight_decay=True)
    assert_same_bits(ours, same)


def test_a_first_step_does_not_read_the_buffers():
    kwargs = dict(lr=0.1, momentum=0.9, dampening=0.5)
    lists = operands("sgd", kwargs, arrays())
    lists["momentum_buffers"] = [np.full_like(a, np.nan) for a in lists["momentum_buffers"]]
    functional.sgd(**lists, **kwargs, first_step=True)
    assert_same_bits({"b": lists["momentum_buffers"]}, {"b": lists["grads"]})


@pytest.mark.parametrize(
    ("function", "kwargs", "unused"),
    [
        ("sgd", dict(lr=0.1), "momentum_buffers"),
        ("rmsprop", dict(lr=0.1), "grad_avgs"),
        ("rmsprop", dict(lr=0.1), "momentum_buffers"),
        ("adam", dict(lr=0.1), "max_exp_avg_sqs"),
        ("adamw", dict(lr=0.1), "max_exp_avg_sqs"),
    ],
)
def test_lists_that_the_options_do_not_need_are_left_alone(function, kwargs, unused):
    lists = operands(function, kwargs, arrays())
    plain = copies(lists)
    extra = arrays()(unused)
    step(function, lists | {unused: extra}, kwargs, 2)
    step(function, plain, kwargs, 2)
    assert_same_bits(lists, plain)
    assert_same_bits({unused: extra}, {unused: arrays()(unused)})


@each_config
def test_infinities_nans_and_denormals_travel_as_in_torch(function, kwargs):
    numbers = [0.0, -0.0, 1.5, -2.5, np.inf, -np.inf, np.nan, 5e-324, -1e-310, 1e150]
    grid = np.array(np.meshgrid(numbers, numbers, numbers)).reshape(3, -1)

    def make(name):
        values = {"params": grid[0], "grads": grid[1]}.get(name, grid[2])
        squares = name in ("state_sums", "square_avgs", "exp_avg_sqs", "max_exp_avg_sqs")
        return [np.abs(values) if squares else values.copy()]

    ours = operands(function, kwargs, make)
    theirs = torchs_step(function, ours, kwargs, 2)
    step(function, ours, kwargs, 2)
    for name in ours:
        # Where terms of 1e150 cancel, rounding is all that is left.
        np.testing.assert_allclose(ours[name][0], theirs[name][0], rtol=1e-13, atol=1e-300)
