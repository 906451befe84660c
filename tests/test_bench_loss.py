"""The benchmark of the losses runs, compares before it measures, and writes what it found."""

import json

import pytest

pytest.importorskip("rich")
pytest.importorskip("torch")
from ironstep.bench import loss as bench
from ironstep.bench.report import OURS


@pytest.mark.parametrize("name", [name for name in bench.CASES if "1000" not in name])
def test_cases_run_and_agree(name):
    row = bench.measure_case(name, 2, rounds=1, quick=True)
    assert row.failure is None
    assert row.timings.keys() > {OURS}
    assert row.figures["best"] > 0


def test_results_are_written(tmp_path):
    assert bench.run(["mixup-10"], rounds=1, out=tmp_path, quick=True) == 0
    report = json.loads((tmp_path / "loss.json").read_text(encoding="utf-8"))
    assert report["rows"][0]["case"] == "mixup-10"


def test_a_case_that_differs_is_a_failure(monkeypatch):
    right = bench.CASES["plain-10"]()
    wrong = bench.Work(right.logits, lambda x: right.ours(x * 1.01), right.peers, None)
    monkeypatch.setitem(bench.CASES, "wrong", lambda: wrong)
    assert "differs from float64" in bench.measure_case("wrong", 1, rounds=1, quick=True).failure


def test_a_case_that_is_not_there():
    assert bench.run(["nothing"]) == 2
