"""The benchmark of the metrics runs, compares before it measures, and writes what it found."""

import json

import numpy as np
import pytest

pytest.importorskip("rich")
from ironstep.bench import metrics as bench
from ironstep.bench.report import OURS


@pytest.mark.parametrize("name", [name for name in bench.CASES if name.endswith("1e4")])
def test_small_cases_run_and_agree(name):
    row = bench.measure_case(name, 2, rounds=1, quick=True)
    assert row.failure is None
    assert row.timings.keys() > {OURS}
    assert row.figures["best"] > 0
    assert [target.figure for target in row.targets]


@pytest.mark.parametrize("bins", [None, "f16"])
def test_a_stream_is_compared_with_all_cases_at_once(monkeypatch, bins):
    monkeypatch.setitem(bench.CASES, "stream", lambda: bench._stream(10**4, 3000, bins))
    row = bench.measure_case("stream", 2, rounds=1, quick=True)
    assert row.failure is None
    # Bins of float16 are near; the exact stream is the same number.
    assert (row.differences[bench.AT_ONCE] == 0) == (bins is None)


def test_results_are_written(tmp_path):
    assert bench.run(["mcc-1e4"], rounds=1, out=tmp_path, quick=True) == 0
    report = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert report["rows"][0]["case"] == "mcc-1e4"
    assert "of the others" in (tmp_path / "metrics.md").read_text(encoding="utf-8")


def test_a_case_that_differs_is_a_failure(monkeypatch):
    def wrong():
        return bench.Work(lambda: 1.0, {bench.SKLEARN: lambda: 2.0}, 1)

    monkeypatch.setitem(bench.CASES, "wrong", wrong)
    row = bench.measure_case("wrong", 1, rounds=1, quick=True)
    assert row.failure == "differs from scikit-learn by 5.0e-01"
    assert bench.run(["wrong"], rounds=1, quick=True) == 1


def test_a_case_that_is_not_there():
    assert bench.run(["nothing"]) == 2


def test_differences_are_relative_and_shapes_matter():
    assert bench.difference((1.0, np.array([1.0, np.nan])), (1.0, np.array([2.0, np.nan]))) == 0.5
    assert bench.difference(np.ones(2), np.ones(3)) == np.inf
