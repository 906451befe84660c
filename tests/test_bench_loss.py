"""The benchmark of the losses runs, compares before it measures, and writes what it found."""

import json

import pytest

pytest.importorskip("rich")
pytest.importorskip("torch")
from ironstep.bench import loss as bench
from ironstep.bench.report import OURS
from ironstep.bench.work import measure_case


@pytest.mark.parametrize("name", [name for name in bench.CASES if "1000" not in name])
def test_cases_run_and_agree(name):
    row = measure_case(name, bench.CASES[name], 2, rounds=1, quick=True)
    assert row.failure is None
    assert row.timings.keys() > {OURS}
    assert row.figures["best"] > 0


def test_results_are_written(tmp_path):
    assert bench.run(["mixup-10"], rounds=1, out=tmp_path, quick=True) == 0
    report = json.loads((tmp_path / "loss.json").read_text(encoding="utf-8"))
    assert report["rows"][0]["case"] == "mixup-10"


def test_a_case_that_differs_is_a_failure(monkeypatch):
    class Wrong(bench.CrossEntropyLoss):
        def forward(self, *given):
            return super().forward(*given) * 1.01

    monkeypatch.setattr(bench, "CrossEntropyLoss", Wrong)
    row = measure_case("wrong", bench.CASES["plain-10"], 1, rounds=1, quick=True)
    assert row.failure.startswith(f"{OURS} is off by")


def test_a_case_that_is_not_there():
    assert bench.run(["nothing"]) == 2
