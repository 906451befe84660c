"""`python -m ironstep bench optim`: the tables are whole and honest. No time is asserted."""

import json
import math

import pytest

pytest.importorskip("torch")
pytest.importorskip("rich")

from ironstep.bench import optim, protocol
from ironstep.bench.optim import cases, contestants
from ironstep.bench.protocol import Contestant, Timing

ASKED = [
    "adam-25m",
    "rmsprop-25m",
    "sgd-1000-small-bf16",
    "adam-4096x4096-transposed",
    "adam-mlp-round-robin",
    "adam-tiny",
    "adam-tiny-iteration",
    "adam-1000-small-clip",
    "adam-mlp-busy",
    "adam-size-above-2e31-bf16",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    assert optim.run(ASKED, threads=[1], rounds=2, out=folder, quick=True) == 0
    return json.loads((folder / "optim.json").read_text()), (folder / "optim.md").read_text()


def test_every_case_has_its_contestants_and_they_agree(report):
    rows = {row["case"]: row for row in report[0]["rows"]}
    assert list(rows) == ASKED
    for row in rows.values():
        case = cases.CASES[row["case"]].quick()
        assert row["failure"] is None
        assert {*row["timings"], *row["left_out"]} == {*contestants.names(case)}
        assert all(value <= contestants.tolerance(case) for value in row["differences"].values())
        assert "ironstep" in row["differences"]
        assert all(timing["median"] > 0 for timing in row["timings"].values())


def test_fused_step_that_is_wrong_is_left_out_and_said(report):
    data, text = report
    row = next(row for row in data["rows"] if row["case"] == "adam-4096x4096-transposed")
    if "fused" in row["timings"]:
        pytest.skip("this torch reads the strides")
    assert "wrong" in row["left_out"]["fused"]
    assert row["left_out"]["fused"] in text


def test_absent_peers_and_quick_runs_are_named(report):
    data, text = report
    assert data["quick"]
    assert "figures mean nothing" in text
    assert all(name in text and reason in text for name, reason in data["absent"].items())


def test_peer_that_raises_is_left_out_with_its_error(monkeypatch):
    real = contestants.enter

    def enter(case, name, threads):
        if name == "foreach":
            raise RuntimeError("no foreach here\nbut a second line")
        return real(case, name, threads)

    monkeypatch.setattr(contestants, "enter", enter)
    row = optim.measure_case(cases.CASES["adam-25m"], 1, quick=True)
    assert row.left_out["foreach"] == "RuntimeError: no foreach here"
    assert row.failure is None


def test_our_wrong_result_fails_the_run(monkeypatch, tmp_path):
    real = contestants.enter

    def enter(case, name, threads):
        entrant = real(case, name, threads)
        if name == "ironstep":
            entrant.params[0].data.mul_(1.01)
        return entrant

    monkeypatch.setattr(contestants, "enter", enter)
    assert optim.run(["adam-25m"], threads=[1], out=tmp_path, quick=True) == 1
    assert "failed: wrong: differs from for-loop" in (tmp_path / "optim.md").read_text()


def test_interrupt_keeps_the_rows_that_are_done(monkeypatch, tmp_path):
    real = optim.measure_case

    def measure_case(case, *args, **kwargs):
        if case.name == "adam-mlp":
            raise KeyboardInterrupt
        return real(case, *args, **kwargs)

    monkeypatch.setattr(optim, "measure_case", measure_case)
    assert optim.run(["adam-25m", "adam-mlp"], threads=[1], out=tmp_path, quick=True) == 130
    rows = json.loads((tmp_path / "optim.json").read_text())["rows"]
    assert [row["case"] for row in rows] == ["adam-25m"]


def test_unknown_case_is_refused(capsys):
    assert optim.run(["adam-25n"]) == 2
    assert "adam-25n" in capsys.readouterr().out


def test_pattern_leaves_out_what_is_on_request():
    chosen = [case.name for case in optim._chosen(["adam-size-*"])]
    assert "adam-size-1e8" in chosen
    assert "adam-size-1e9-bf16" not in chosen
    assert [case.name for case in optim._chosen(["adam-size-1e9-bf16"])] == ["adam-size-1e9-bf16"]


def test_resnet50_has_161_parameters():
    assert len(cases.resnet50()) == 161
    assert sum(map(math.prod, cases.resnet50())) == 25_557_032


def test_targets_follow_the_instruction_set():
    adam = cases.CASES["adam-1000-small"].asked(2)[0]
    assert (adam.wanted("avx2"), adam.wanted("avx512")) == (2.8, 4)
    assert [target.least for target in cases.CASES["adam-1000-small"].asked(1)] == [0.97]


@pytest.mark.parametrize("round_robin", [False, True])
def test_rounds_are_equal_and_long_enough(round_robin):
    calls = []
    timings = protocol.measure(
        [Contestant(name, lambda name=name: calls.append(name)) for name in "ab"],
        rounds=4,
        at_least=1e-4,
        round_robin=round_robin,
    )
    assert all(len(timing.rounds) == 4 for timing in timings.values())
    assert all(len(runs) > 1 for timing in timings.values() for runs in timing.rounds)
    assert set(calls) == {"a", "b"}


def test_median_percentiles_and_quartiles():
    ours = Timing([[1.0, 3.0], [2.0, 2.0], [1.0, 5.0]])
    peer = Timing([[4.0], [6.0], [12.0]])
    assert ours.median == 2
    assert ours.percentile(50) == 2
    assert ours.percentile(99) == 5
    assert protocol.quartiles_of_ratio(peer, ours) == (2.5, 3.5)
