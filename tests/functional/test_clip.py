"""Clipping inside the step: clip_grad_norm_ and then the step, without writing the gradients."""

import math

import numpy as np
import pytest
import torch

import ironstep
import oracles
from functional.cases import arrays, copies, each_dtype, each_form, noise, operands, step
from ironstep import functional

SHAPES = [(5,), (3, 4), (), (0,), (64, 33)]


def stepped(function, kwargs, lists, **more):
    lists = copies(lists)
    return step(function, lists, kwargs | more, 2), lists


@each_form
@pytest.mark.parametrize("max_norm", [0.1, 1.0, 1e6])
def test_it_is_the_step_with_scaled_gradients(max_norm, function, kwargs):
    lists = operands(function, kwargs, arrays(shapes=SHAPES))
    clipped, norm = oracles.clipped(lists["grads"], max_norm)
    returned, ours = stepped(function, kwargs, lists, clip_grad_norm=max_norm)
    nothing, plain = stepped(function, kwargs, lists | {"grads": clipped})
    assert returned == pytest.approx(norm, rel=1e-14)
    assert nothing is None
    for name in set(ours) - {"grads"}:
        for a, e in zip(ours[name], plain[name], strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("max_norm", [0.1, 1e6])
def test_it_is_torchs_clip_grad_norm(max_norm):
    grads = [torch.from_numpy(a) for a in arrays(shapes=SHAPES)("grads")]
    params = [torch.from_numpy(a) for a in arrays(shapes=SHAPES)("params")]
    theirs = [p.clone() for p in params]
    for param, grad in zip(theirs, grads, strict=True):
        param.grad = grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm)
    functional.sgd(theirs, [p.grad for p in theirs], lr=0.5)
    assert functional.sgd(params, grads, lr=0.5, clip_grad_norm=max_norm) == pytest.approx(
        norm.item(), rel=1e-14
    )
    for a, e in zip(params, theirs, strict=True):
        torch.testing.assert_close(a, e, rtol=1e-13, atol=1e-15)


@each_dtype
def test_the_norm_is_of_the_numbers_as_they_are_stored(dtype):
    grads = arrays(dtype, SHAPES)("grads")
    exact = math.sqrt(math.fsum((g.astype("f8") ** 2).sum() for g in grads))
    params = [np.zeros_like(g) for g in grads]
    norm = functional.sgd(params, grads, lr=0.1, clip_grad_norm=1.0)
    assert norm == pytest.approx(exact, rel=1e-14)
    assert isinstance(norm, float)


def test_squares_do_not_overflow_or_vanish_in_float32():
    for size in (1e30, 1e-30):
        grad = np.full(4, size, np.float32)
        norm = functional.sgd([np.zeros(4, "f4")], [grad], lr=0.1, clip_grad_norm=1.0)
        assert norm == pytest.approx(2 * float(np.float32(size)), rel=1e-14)


def test_a_broadcast_gradient_counts_every_element():
    grad = np.broadcast_to(np.float64(2), (3, 3))
    assert functional.sgd([np.zeros((3, 3))], [grad], lr=0.1, clip_grad_norm=1.0) == 6


def test_without_gradients_the_norm_is_0():
    for lists in ([], [np.zeros(0)]):
        norm = functional.sgd(lists, [a.copy() for a in lists], lr=0.1, clip_grad_norm=1.0)
        assert (norm, math.copysign(1, norm)) == (0, 1)


def test_gradients_of_0_stay_so():
    param = np.ones(3)
    assert functional.sgd([param], [np.zeros(3)], lr=0.1, clip_grad_norm=0.0) == 0
    assert param.tolist() == [1, 1, 1]


def test_a_bound_of_0_lets_nothing_through():
    param = np.ones(3)
    assert functional.sgd([param], [np.ones(3)], lr=0.1, clip_grad_norm=0) == math.sqrt(3)
    assert param.tolist() == [1, 1, 1]


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("max_norm", [1.0, math.inf])
def test_a_norm_that_is_not_finite_acts_as_in_torch(max_norm, bad):
    param, grad = np.ones(3), np.array([1, bad, 2.0])
    tensor = torch.ones(3, dtype=torch.float64)
    tensor.grad = torch.from_numpy(grad.copy())
    norm = torch.nn.utils.clip_grad_norm_([tensor], max_norm)
    tensor -= 0.5 * tensor.grad
    returned = functional.sgd([param], [grad], lr=0.5, clip_grad_norm=max_norm)
    np.testing.assert_equal(returned, norm.item())
    np.testing.assert_equal(param, tensor.numpy())


def test_clipping_and_maximize():
    param = np.zeros(2)
    functional.sgd([param], [np.array([3.0, 4.0])], lr=1.0, maximize=True, clip_grad_norm=1.0)
    np.testing.assert_allclose(param, [0.6, 0.8], rtol=1e-6)


def test_the_norm_does_not_depend_on_the_number_of_threads():
    grads = [noise("grads", 0, (70_001,)), noise("grads", 1, (300, 301)).T, noise("grads", 2, (9,))]
    norms = set()
    try:
        for threads in (1, 2, 3):
            ironstep.set_num_threads(threads)
            params = [np.zeros_like(g) for g in grads]
            norms.add(functional.sgd(params, grads, lr=0.1, clip_grad_norm=1.0))
    finally:
        ironstep.set_num_threads(None)
    assert len(norms) == 1
