"""Memory that is written may be nobody else's; memory that only lies in between may be."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from functional.cases import (
    arrays,
    assert_same_bits,
    copies,
    noise,
    nothing_changes,
    operands,
    step,
)
from ironstep import functional

KWARGS = dict(lr=0.1, amsgrad=True)
NAMES = ["params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"]
PAIRS = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i:] if (a, b) != ("grads", "grads")]


def refused(lists, *named):
    held = [a for list_ in lists.values() for a in list_]
    with nothing_changes(*held), pytest.raises(ValueError, match="memory") as caught:
        step("adam", lists, KWARGS)
    assert set(re.findall(r"\w+\[\d+\]", str(caught.value))) == set(named)


def lists_of(n=3, size=6):
    return operands("adam", KWARGS, arrays(shapes=[(size,)] * n))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_one_array_in_two_places(one, other):
    lists = lists_of()
    lists[other][2] = lists[one][0]
    refused(lists, f"{one}[0]", f"{other}[2]")


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_arrays_that_meet_in_one_element(one, other):
    lists, buffer = lists_of(), np.ones(11)
    lists[one][0], lists[other][2] = buffer[:6], buffer[5:]
    refused(lists, f"{one}[0]", f"{other}[2]")


def test_arrays_that_meet_in_one_byte():
    buffer = np.zeros(95, np.uint8)
    lists = lists_of()
    lists["params"][1] = buffer[:48].view("f8")
    lists["exp_avgs"][1] = buffer[47:].view("f8")
    refused(lists, "params[1]", "exp_avgs[1]")


def test_an_array_and_a_tensor_of_it():
    lists = lists_of()
    lists["grads"][0] = torch.from_numpy(lists["params"][0])
    refused(lists, "params[0]", "grads[0]")


def test_an_array_and_a_memoryview_of_it():
    param = np.ones(3)
    with nothing_changes(param), pytest.raises(ValueError, match="memory"):
        functional.sgd([param], [memoryview(param)[::-1]], lr=0.1)


def test_a_parameter_and_its_transpose():
    param = noise("params", 0, (4, 4))
    with nothing_changes(param), pytest.raises(ValueError, match="memory"):
        functional.sgd([param], [param.T], lr=0.1)


def test_different_types_over_the_same_bytes():
    bytes_ = np.zeros(24, np.uint8)
    params = [bytes_.view("f8"), bytes_[:12].view("f4")]
    with nothing_changes(bytes_), pytest.raises(ValueError, match="memory"):
        functional.sgd(params, [np.ones(3), np.ones(3, "f4")], lr=0.1)


def separate(lists):
    plain = copies(lists)
    step("adam", lists, KWARGS, 2)
    step("adam", plain, KWARGS, 2)
    assert_same_bits(lists, plain)


def test_interleaved_slices_of_one_buffer():
    # Element by element: parameter, gradient, states, parameter, …
    buffer = np.abs(noise("params", 0, (6 * 15,)))
    separate({name: [buffer[i * 3 + j :: 15] for j in range(3)] for i, name in enumerate(NAMES)})


def test_columns_of_one_matrix():
    matrix = np.abs(noise("params", 0, (7, 15)))
    separate({name: [*matrix[:, 3 * i : 3 * i + 3].T] for i, name in enumerate(NAMES)})


def test_neighbouring_parts_of_one_buffer():
    # As the flat buffers of sharded training are cut.
    buffer = np.abs(noise("params", 0, (15 * 6,)))
    parts = buffer.reshape(15, 6)
    separate({name: [*parts[3 * i : 3 * i + 3]] for i, name in enumerate(NAMES)})


def test_slices_that_run_towards_each_other():
    buffer = np.abs(noise("params", 0, (20,)))
    views = [buffer[0::4], buffer[-1::-4], buffer[1::4], buffer[2::4]]
    separate({name: [view] for name, view in zip(NAMES, [*views, np.ones(5)], strict=True)})


def test_fields_of_one_record_array():
    records = np.ones(6, [(name, "f8") for name in NAMES])
    separate({name: [records[name]] for name in NAMES})


def test_an_empty_array_inside_of_another():
    lists, param = lists_of(n=1), np.ones(6)
    for name in NAMES:
        lists[name].append(param[3:3])
    lists["params"][0] = param
    separate(lists)


def test_interleaved_parameters_far_apart_in_a_large_buffer():
    # Their ranges meet over 2 GiB, of which nothing but the elements may be touched.
    buffer = torch.empty(2**28, dtype=torch.float64).numpy()
    params = [buffer[i :: 2**25] for i in range(3)]
    for param in params:
        param[:] = 1
    functional.sgd(params, [np.ones(8) for _ in params], lr=0.5)
    assert all((param == 0.5).all() for param in params)


@settings(max_examples=300, database=None)
@given(data=st.data())
def test_what_is_refused_is_what_numpy_finds_shared(data):
    buffer = np.arange(40.0)

    def view(_):
        start, stop = data.draw(st.integers(0, 39)), data.draw(st.integers(0, 40))
        step_ = data.draw(st.sampled_from([1, 1, 2, 3, 5, -1, -2, -7]))
        part = buffer[start:stop:step_]
        cols = data.draw(st.sampled_from([1, 1, 2, 3]))
        return part[: len(part) // cols * cols].reshape(-1, cols)

    def fit(views):
        rows = min(len(v) for v in views)
        cols = min(v.shape[1] for v in views)
        return [v[:rows, :cols] for v in views]

    params, grads = zip(*(fit([view(0), view(1)]) for _ in range(2)), strict=True)
    everything = [*params, *grads]
    shared = any(
        np.shares_memory(a, b)
        for i, a in enumerate(everything)
        for j, b in enumerate(everything)
        if i < j and not (i >= 2 and j >= 2)
    )
    expected = [p - 0.5 * g for p, g in zip(params, grads, strict=True)]
    if shared:
        with nothing_changes(buffer), pytest.raises(ValueError, match="memory"):
            functional.sgd(params, grads, lr=0.5)
    else:
        functional.sgd(params, grads, lr=0.5)
        for param, wanted in zip(params, expected, strict=True):
            np.testing.assert_array_equal(param, wanted)
