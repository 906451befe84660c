"""Any shape, layout, type and number: what a step of plain copies gives, and no other byte."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from functional.cases import (
    BFLOAT16,
    CONFIGS,
    LECTURE,
    bits,
    oracle,
    oracle_kwargs,
    state_names,
    step,
)

FORMS = CONFIGS | LECTURE
GUARD = 0xA5
numbers = st.floats(-100, 100, width=32) | st.sampled_from(
    # Powers of two, which float32 holds: a denormal in it and in bfloat16, one in float16.
    [0.0, -0.0, 2.0**-149, -(2.0**-130), 2.0**-24, 2.0**15, -(2.0**100), np.inf, -np.inf, np.nan]
)


@st.composite
def layouts(draw, dims, width):
    """An order of the dimensions in memory, a step for each, and where the first byte lies."""
    return (
        draw(st.permutations(range(dims))),
        draw(st.lists(st.sampled_from([1, 1, 1, 2, 3, -1, -2]), min_size=dims, max_size=dims)),
        draw(st.integers(0, 2)),
        draw(st.sampled_from([0, 0, width, 1, 3])),
    )


def laid_out(values, layout):
    """A view with these values, and the bytes that it lies in."""
    order, steps, padding, first = layout
    sizes = [values.shape[d] * abs(steps[d]) + padding for d in order]
    buffer = np.full(first + int(np.prod(sizes)) * values.itemsize, GUARD, np.uint8)
    grid = buffer[first:].view(values.dtype).reshape(sizes)
    inside = grid[(*(slice(0, values.shape[d] * abs(steps[d]), abs(steps[d])) for d in order), ...)]
    inside = inside[(*(slice(None, None, np.sign(steps[d])) for d in order), ...)]
    view = inside.transpose(np.argsort(order)) if order else inside
    assert view.shape == values.shape
    view[...] = values
    return view, buffer


def around(view, buffer):
    """The bytes of the buffer that are not the view's."""
    buffer = buffer.copy()
    first = view.ctypes.data - view.base.ctypes.data if view.size else 0
    for index in np.ndindex(view.shape):
        start = first + sum(i * s for i, s in zip(index, view.strides, strict=True))
        buffer[start : start + view.itemsize] = GUARD
    return buffer


@settings(max_examples=250, database=None)
@given(data=st.data(), form=st.sampled_from(sorted(FORMS)))
def test_a_layout_changes_nothing_but_where_the_numbers_lie(data, form):
    function, kwargs = FORMS[form]
    dtype = data.draw(st.sampled_from([np.dtype("f8"), np.dtype("f4"), np.dtype("f2"), BFLOAT16]))
    wide = dtype.itemsize == 2 and data.draw(st.booleans())
    # A bound that changes no gradient, so that the norm's last bit does not reach the parameters.
    kwargs = kwargs | data.draw(st.sampled_from([{}, {}, dict(clip_grad_norm=np.inf)]))
    n_params = data.draw(st.integers(0, 3))
    names = ["params", "grads", *state_names(function, kwargs)]
    plain, lists, edges = ({name: [] for name in names} for _ in range(3))
    for _ in range(n_params):
        shape = tuple(data.draw(st.lists(st.integers(0, 6), max_size=4)))
        for name in names:
            kind = np.dtype("f4") if wide and name not in names[:2] else dtype
            with np.errstate(over="ignore"):
                values = data.draw(npst.arrays("f4", shape, elements=numbers)).astype(kind)
            view, buffer = laid_out(values, data.draw(layouts(len(shape), kind.itemsize)))
            plain[name].append(values.copy())
            lists[name].append(view)
            edges[name].append((buffer, around(view, buffer)))
    number = data.draw(st.sampled_from([1, 2, 1000]))
    norm = step(function, plain, kwargs, number)
    again = step(function, lists, kwargs, number)
    if norm is not None:  # another layout adds the squares up in another order
        np.testing.assert_allclose(again, norm, rtol=1e-13)
    for name in names:
        for view, expected, (buffer, edge) in zip(
            lists[name], plain[name], edges[name], strict=True
        ):
            nan = np.isnan(expected)
            assert around(view, buffer).tobytes() == edge.tobytes()
            assert np.isnan(view[nan]).all()
            view[nan] = expected[nan] = 0  # whatever bits a NaN has
            assert bits(view) == bits(expected)


@settings(max_examples=200, database=None)
@given(data=st.data(), form=st.sampled_from(sorted(FORMS)))
def test_any_numbers_go_the_way_of_the_formula(data, form):
    function, kwargs = FORMS[form]
    shape = data.draw(st.integers(1, 20))
    # Second moments well above the rounding of the squares that are added to them.
    draw = lambda low: data.draw(npst.arrays("f8", shape, elements=st.floats(low, 50)))  # noqa: E731
    lists = {name: [draw(-50)] for name in ("params", "grads")}
    names = state_names(function, kwargs)
    for name in names:
        lists[name] = [np.zeros(shape)]
    param, states = lists["params"][0].copy(), {}
    for number in range(1, 4):
        grad = draw(-50)
        # With the sign of the decay: where the two cancel, what is left is rounding.
        if kwargs.get("weight_decay") and function != "adamw":
            grad = np.copysign(grad, -param if kwargs.get("maximize") else param)
        lists["grads"] = [grad]
        step(function, lists, kwargs, number)
        param = oracle(function)(param, grad, states, number, **oracle_kwargs(kwargs))
    size = np.abs(param).max() + 50 * kwargs["lr"] * 10
    np.testing.assert_allclose(lists["params"][0], param, rtol=1e-9, atol=1e-9 * size)
