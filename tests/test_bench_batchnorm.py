"""The benchmark of batch normalization runs, compares with float64 before it measures."""

from functools import partial

import pytest

pytest.importorskip("rich")
pytest.importorskip("torch")
import torch

from ironstep.bench import batchnorm as bench
from ironstep.bench.layers import off_float64
from ironstep.bench.report import LIMIT, OURS
from ironstep.bench.work import measure_case


@pytest.mark.parametrize("last", [False, True], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("kind", bench.KINDS)
def test_a_layer_is_compared_and_timed(kind, last):
    make = partial(bench._layer, (4, 5, 6, 7), kind, [], last=last, of_limit=0.7)
    row = measure_case("layer", make, 2, rounds=1, quick=True)
    assert row.failure is None
    assert row.timings.keys() >= {OURS, bench.TORCH, LIMIT}
    assert (bench.IN_PLACE in row.timings) == (kind != "alone")


def test_a_whole_iteration_is_compared_and_timed():
    make = partial(bench._iteration, partial(bench.small_cnn, 1, 10, 2), (8, 1, 28, 28), [])
    row = measure_case("cnn", make, 1, rounds=1, quick=True)
    assert row.failure is None
    assert row.timings.keys() == {OURS, "default", "fused"}


def test_every_case_has_a_target():
    assert all(case.args[-1] or case.keywords.get("of_limit") for case in bench.CASES.values())


def test_one_element_in_100_000_may_be_on_the_other_side_of_a_relu():
    def wrong(at, inputs):
        output = inputs[0] * 1.0
        output[:at] += 1
        return output

    inputs = [torch.ones(100_000, requires_grad=True)]
    off = off_float64(
        {str(at): partial(wrong, at) for at in (0, 1, 2)}, partial(wrong, 0), inputs, inputs[0]
    )
    assert off == {"0": 0, "1": 0, "2": 1}
