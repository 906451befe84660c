"""Any shape, layout, type and number: the step that torch's for-loop makes, and no other byte touched."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import nn

from optim.cases import CONFIGS, assert_native, ours_only, reference, subject

GUARD = 7.0
INF = float("inf")
# Squares either stay finite or overflow at once: at the border between, one ulp decides.
numbers = st.one_of(
    st.floats(-(2.0**60), 2.0**60, width=32),
    st.floats(2.0**100, 2.0**126, width=32),
    st.floats(-(2.0**126), -(2.0**100), width=32),
    st.sampled_from(
        [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-40, 1.2e-38, 3e-23, 1e-3, INF, -INF, float("nan")]
    ),
)
moderate = st.floats(-100, 100, width=16) | st.sampled_from(
    [0.0, -0.0, 1e-4, INF, -INF, float("nan")]
)


@st.composite
def layouts(draw, dims):
    """In which order the dimensions lie in memory, the step in each, and what surrounds them."""
    return (
        draw(st.permutations(range(dims))),
        draw(st.lists(st.sampled_from([1, 1, 1, 2, 3]), min_size=dims, max_size=dims)),
        draw(st.integers(0, 3)),
    )


def laid_out(values, layout):
    order, steps, padding = layout
    sizes = [values.shape[d] * steps[d] + padding for d in order]
    buffer = torch.full(sizes, GUARD, dtype=values.dtype)
    inside = buffer[tuple(slice(padding, None, steps[d]) for d in order)]
    view = inside.permute(*np.argsort(order).tolist()) if order else inside
    return view.copy_(values), buffer


def surroundings(view, buffer):
    outside = torch.ones(buffer.shape, dtype=torch.bool)
    outside.as_strided(view.shape, view.stride(), view.storage_offset()).fill_(False)
    return buffer[outside]


def draw_values(data, shape, elements, dtype):
    array = data.draw(npst.arrays(np.float64, shape, elements=elements, fill=elements))
    return torch.from_numpy(array.astype(np.float32)).to(dtype)


def draw_grad(data, shape, elements, dtype):
    """In a layout of its own, or expanded along one of the dimensions."""
    values = draw_values(data, shape, elements, dtype)
    expanded = data.draw(st.sampled_from([None, None, *range(len(shape))]))
    if expanded is not None and shape[expanded] > 0:
        return values.narrow(expanded, 0, 1).expand(shape)
    return laid_out(values, data.draw(layouts(len(shape))))[0]


def adds_decay_to_the_gradient(name, kwargs):
    return kwargs.get("weight_decay") and name != "AdamW" and "decoupled_weight_decay" not in kwargs


def without_cancellation(grad, param, maximize):
    """With the sign that the decay has: what is left when the two cancel is rounding alone."""
    return torch.copysign(grad, -param if maximize else param)


shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


@settings(deadline=None, max_examples=250, database=None)
@given(data=st.data(), config=st.sampled_from(sorted(CONFIGS)), shape=shapes)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_steps_are_torchs_for_any_layout_and_number(dtype, data, config, shape):
    name, kwargs = CONFIGS[config]
    eps = torch.finfo(dtype).eps
    start, buffer = laid_out(
        draw_values(data, shape, numbers, dtype), data.draw(layouts(len(shape)))
    )
    p, q = nn.Parameter(start), nn.Parameter(start.clone(memory_format=torch.contiguous_format))
    edge = surroundings(start, buffer)
    ours, theirs = subject(name)([p], **kwargs), reference(name)([q], foreach=False, **kwargs)
    magnitude = torch.zeros(shape, dtype=dtype)
    for step in range(3):
        grad = draw_grad(data, shape, numbers, dtype)
        if adds_decay_to_the_gradient(name, kwargs):
            grad = without_cancellation(grad, q.detach(), kwargs.get("maximize"))
        p.grad, q.grad = grad, grad.clone(memory_format=torch.contiguous_format)
        magnitude = torch.maximum(magnitude, grad.abs().nan_to_num(posinf=0))
        before = q.detach().abs()
        ours.step()
        theirs.step()
        if step == 0:
            for key, value in ours.state[p].items():
                if key != "step":
                    ours.state[p][key] = laid_out(value, data.draw(layouts(len(shape))))[0]
    assert_native(ours, 1)
    # Of the terms that were added up to make the number. An adaptive step is a quotient of such sums,
    # at most 64 × lr; a denormal divided by eps has lost its digits long before.
    tiny = 1e-35 if dtype == torch.float32 else 1e-312
    moved = 64 if name != "SGD" else 20 * magnitude.clamp(min=1)
    tolerance = 16 * eps * (before + q.detach().abs() + kwargs["lr"] * moved) + tiny
    compare(p.detach(), q.detach(), tolerance)
    for key, value in theirs.state[q].items():
        mine = ours.state[p][key]
        if key == "step":
            assert torch.equal(mine, value)
        else:
            size = {"momentum_buffer": 20, "exp_avg": 1, "grad_avg": 1}.get(key, 0) * magnitude
            if name == "RMSprop" and key == "momentum_buffer":
                size = torch.full(shape, 64.0)
            if adds_decay_to_the_gradient(name, kwargs):
                size = size + before
            compare(mine, value, 16 * eps * (value.abs() + size) + tiny)
    assert torch.equal(surroundings(start, buffer), edge)


def compare(actual, expected, tolerance):
    assert torch.equal(actual.isnan(), expected.isnan())
    assert torch.equal(actual.isinf(), expected.isinf())
    finite = expected.isfinite()
    assert torch.equal(actual[expected.isinf()], expected[expected.isinf()])
    difference = (actual - expected).abs()
    allowed = torch.as_tensor(tolerance).expand_as(expected).nan_to_num(nan=INF)
    wrong = (difference > allowed)[finite]
    assert not wrong.any(), (actual[finite][wrong], expected[finite][wrong])


@pytest.mark.parametrize("size", [3e18, 1.8e19, 5e19, 1e20, 3e20, 1e21, 1e30, 3e38])
@pytest.mark.parametrize("config", CONFIGS)
def test_squares_overflow_where_torchs_do(config, size):
    """(1 − β₂)·g·g stays finite up to 5e20, where g·g alone is infinite from 1.9e19 on."""
    name, kwargs = CONFIGS[config]
    kwargs = kwargs | {"weight_decay": 0.0}
    grads = torch.tensor([size, -size, 0.7 * size, 1.0])
    results = []
    for optimizer_class in (subject(name), reference(name)):
        p = nn.Parameter(torch.ones(4))
        optimizer = optimizer_class([p], **kwargs)
        for sign in (1, 1, -1):
            p.grad = sign * grads
            optimizer.step()
        results.append((p.detach(), optimizer.state[p]))
    (mine, my_state), (theirs, their_state) = results
    for key, value in their_state.items():
        compare(
            my_state[key],
            value,
            1e-5 * value.abs() + (1e-6 * size if "exp_avg_sq" not in key else 0),
        )
    compare(mine, theirs, 1e-5 * (1 + theirs.abs() + (size if name == "SGD" else 0)))


TINY = [1e-45, 1.4e-42, 1e-40, 1.17e-38, 1.2e-38, 3e-38]


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad"])
def test_denormals_are_not_flushed(name):
    """In float32 the numbers below 1.2e-38; whoever sets the CPU to flush them loses them."""
    p = nn.Parameter(torch.tensor(TINY * 8))
    q = nn.Parameter(p.detach().clone())
    grads = torch.tensor(TINY * 8)
    kwargs = {"SGD": dict(lr=0.5, momentum=0.5)}.get(name, dict(lr=1e-8))
    for param, cls in ((p, subject(name)), (q, reference(name))):
        param.grad = grads.clone()
        optimizer = cls([param], **kwargs)
        for _ in range(2):
            optimizer.step()
    # lr / eps = 1: the update is as small as the parameter. The last denormals are roundings of each
    # operation, and torch's fused multiply-add has one less.
    torch.testing.assert_close(p, q, rtol=1e-5, atol=6e-45)


@ours_only
@settings(deadline=None, max_examples=150, database=None)
@given(
    data=st.data(), config=st.sampled_from(sorted(CONFIGS)), shape=shapes, wide_states=st.booleans()
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_low_precision_is_a_float32_step_rounded_once(dtype, data, config, shape, wide_states):
    name, kwargs = CONFIGS[config]
    start, buffer = laid_out(
        draw_values(data, shape, moderate, dtype), data.draw(layouts(len(shape)))
    )
    p = nn.Parameter(start)
    edge = surroundings(start, buffer)
    ours = subject(name)([p], **kwargs)
    for _ in range(2):
        q = nn.Parameter(p.detach().float())
        grad = draw_grad(data, shape, moderate, dtype)
        if adds_decay_to_the_gradient(name, kwargs):
            grad = without_cancellation(grad, p.detach(), kwargs.get("maximize"))
        p.grad, q.grad = grad, grad.float()
        theirs = reference(name)([q], foreach=False, **kwargs)
        for key, value in ours.state[p].items():
            if key != "step":
                theirs.state[q][key] = value.float().clone()
                if wide_states:
                    ours.state[p][key] = value.float()
            else:
                theirs.state[q]["step"] = value.clone()
        ours.step()
        theirs.step()
        assert_native(ours, 1)
        one_ulp(p.detach(), q.detach())
        for key, value in theirs.state[q].items():
            mine = ours.state[p][key]
            if key == "step":
                assert torch.equal(mine, value)
            elif mine.dtype == torch.float32:
                compare(mine, value, 1e-5 * (value.abs() + 100))
            else:
                one_ulp(mine, value)
    assert torch.equal(surroundings(start, buffer), edge)


def one_ulp(actual, expected):
    """`actual` is `expected` (in float32) rounded to its type, one way or the other."""
    rounded = expected.to(actual.dtype)
    info = torch.finfo(actual.dtype)
    ulp = (rounded.float().abs() * info.eps).clamp(min=info.smallest_normal * info.eps)
    compare(actual.float(), rounded.float(), ulp + 1e-5 * expected.abs())
