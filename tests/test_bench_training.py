"""The benchmark of whole trainings runs, compares before it measures, and writes what it found."""

import json
from functools import partial

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("rich")
pytest.importorskip("sklearn")
pytest.importorskip("torch")
from ironstep.bench import training as bench
from ironstep.bench.report import OURS
from ironstep.bench.work import measure_case


@pytest.fixture(autouse=True)
def _few_cases(monkeypatch):
    monkeypatch.setattr(bench, "SIZES", {"train": 130, "validation": 30, "test": 30})
    for name in bench.CASES:
        monkeypatch.setitem(bench.CASES, name, partial(bench._work, name, 1, 1.0))
    bench.data.cache_clear()
    yield
    bench.data.cache_clear()


@pytest.mark.parametrize("name", ["mlp", "small-cnn"])
def test_cases_run_and_agree(name):
    row = measure_case(name, bench.CASES[name], 2, rounds=1, quick=True)
    assert row.failure is None
    assert row.timings.keys() == {OURS, "default", "fused"}


def test_results_are_written(tmp_path):
    assert bench.run(["mlp"], rounds=1, out=tmp_path, quick=True) == 0
    report = json.loads((tmp_path / "training.json").read_text(encoding="utf-8"))
    assert report["rows"][0]["case"] == "mlp"


def test_a_training_that_differs_is_a_failure(monkeypatch):
    epoch = bench.Training.epoch

    def wrong(self, *given):
        row = epoch(self, *given)
        ours = not isinstance(self.loss, bench.nn.CrossEntropyLoss)
        return row | {"train_loss": row["train_loss"] * (1.01 if ours else 1)}

    monkeypatch.setattr(bench.Training, "epoch", wrong)
    row = measure_case("wrong", bench.CASES["mlp"], 1, rounds=1, quick=True)
    assert row.failure.startswith(f"{OURS} is off by")
