"""`ironstep experiment`: what it shows, saves and refuses; every experiment, in its quick version."""

import json
import signal
import sys

import pytest

from ironstep import cli, experiments
from ironstep.experiments import _run

FILES = {"picture.png", "picture.svg", "results.json", "results.md"}


def results(folder):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "results.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", experiments.NAMES)
def test_every_experiment_gives_verdicts_tables_a_picture_and_json(name, tmp_path, capsys):
    out = tmp_path / "made" / "by it"
    assert _run.run(name, out, quick=True) == 0
    experiment = experiments.load(name)
    found = results(out)
    assert {path.name for path in out.iterdir()} >= FILES
    assert (out / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert found["experiment"] == experiment.title
    assert found["facts"]["quick"] is True
    assert len(found["seeds"]) == 2
    shown = capsys.readouterr().out
    text = (out / "results.md").read_text(encoding="utf-8")
    assert found["statements"]
    for each in found["statements"]:
        assert each["verdict"] in ("supported", "not shown", "contrary here")
        assert each["verdict"] in shown
        assert each["method"]
        assert f"| {each['verdict']} |" in text
    assert found["tables"]
    assert all(len(row) == len(t["header"]) for t in found["tables"] for row in t["rows"])
    assert "Quick run" in shown
    assert experiment.seeds >= 2


@pytest.mark.parametrize("name", experiments.NAMES)
def test_the_same_seed_gives_the_same_numbers(name, quick_of):
    experiment = experiments.load(name)
    again = experiment.measure(0, True, lambda what: None)
    assert _run.plain(again) == _run.plain(quick_of(experiment))


def test_seeds_are_counted_from_the_first(tmp_path, monkeypatch):
    seen = []
    right = experiments.load("backprop")

    def measure(seed, quick, tick):
        seen.append((seed, quick))
        return right.measure(seed, True, tick)

    changed = type(right)(right.title, right.setting, 3, measure, right.conclude)
    monkeypatch.setattr(_run, "load", lambda name: changed)
    assert _run.run("backprop", tmp_path, first=5) == 0
    assert seen == [(5, False), (6, False), (7, False)]
    assert results(tmp_path)["facts"]["first_seed"] == 5
    assert _run.run("backprop", tmp_path, seeds=2) == 0
    assert len(seen) == 5


def test_ctrl_c_saves_nothing_and_is_130(tmp_path, monkeypatch, capsys):
    right = experiments.load("backprop")

    def measure(seed, quick, tick):
        if seed == 1:
            signal.raise_signal(signal.SIGINT)
        return right.measure(seed, True, tick)

    changed = type(right)(right.title, right.setting, 3, measure, right.conclude)
    monkeypatch.setattr(_run, "load", lambda name: changed)
    assert _run.run("backprop", tmp_path) == 130
    assert not list(tmp_path.iterdir())
    assert "nothing is saved" in capsys.readouterr().out


def test_a_name_that_is_none_is_wrong_use(tmp_path, capsys):
    assert _run.run("nonsense", tmp_path / "out") == 2
    shown = capsys.readouterr().out
    assert "'nonsense'" in shown
    assert "descent" in shown
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_folder_is_wrong_use(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert _run.run("backprop", tmp_path / "file") == 2
    assert "Cannot write into" in capsys.readouterr().out


def test_numbers_that_json_lacks_become_null():
    np = pytest.importorskip("numpy")
    given = {"a": float("nan"), 2: [np.float64("inf"), np.int64(3)], "c": np.array([1.5, np.nan])}
    assert _run.plain(given) == {"a": None, "2": [None, 3], "c": [1.5, None]}


# --- the command line ---


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["ironstep", "experiment", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code


def test_the_command_passes_its_options_on(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(_run, "run", lambda *args, **kwargs: calls.append((args, kwargs)) or 0)
    options = ["descent", "--seeds", "4", "--seed", "3", "--out", str(tmp_path), "--quick"]
    assert command(monkeypatch, *options) == 0
    assert calls == [(("descent", tmp_path), dict(seeds=4, first=3, quick=True, table=None))]


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["descent", "--seeds", "1"], ["descent", "--seed", "-1"]],
    ids=" ".join,
)
def test_wrong_use_is_2(monkeypatch, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *arguments) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["torch", "sklearn", "matplotlib"])
def test_one_line_says_what_to_install(monkeypatch, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert command(monkeypatch, "descent") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'pip install "ironstep[demo]"' in line
