"""The command line: what it needs, what it passes on, how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from ironstep import cli


def ironstep(monkeypatch, *arguments):
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["ironstep", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code


@pytest.fixture
def calls(monkeypatch):
    """Replace what the commands run by something that notes its arguments; set .answer."""

    class Calls(list):
        answer = 0

        def __call__(self, *args, **kwargs):
            self.append((args, kwargs))
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer

    noted = Calls()
    monkeypatch.setattr("ironstep.demo.run", noted)
    monkeypatch.setattr("ironstep.bench.optim.run", noted)
    return noted


def test_python_m_ironstep_shows_the_commands():
    done = subprocess.run(
        [sys.executable, "-m", "ironstep", "--help"], capture_output=True, text=True, check=True
    )
    assert all(
        command in done.stdout for command in ("demo", "evaluate", "train", "bench", "config")
    )


def test_importing_the_command_line_needs_nothing_optional():
    code = "import sys, ironstep.cli; print({'torch', 'typer', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_config_names_the_loaded_torch(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    assert ironstep(monkeypatch, "config") == 0
    assert torch.__version__ in capsys.readouterr().out


def test_config_works_without_torch(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert ironstep(monkeypatch, "config") == 0
    assert "instruction_set" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "module", "named", "extra"),
    [
        (["demo"], "torch", "torch", "demo"),
        (["demo"], "sklearn", "scikit-learn", "demo"),
        (["demo"], "matplotlib", "matplotlib", "demo"),
        (["config"], "typer", "typer", "demo"),
        (["evaluate"], "typer", "typer", "evaluate"),
        (["evaluate", "p.csv", "--label", "y", "--score", "s"], "pyarrow", "pyarrow", "evaluate"),
        (["evaluate", "p.csv", "--label", "y", "--score", "s"], "scipy", "scipy", "evaluate"),
        (["config"], "rich", "rich", "demo"),
        (["train"], "typer", "typer", "train"),
        (["train", "--out", "nowhere"], "torch", "torch", "train"),
        (["train", "--out", "nowhere"], "jinja2", "jinja2", "train"),
        (["bench", "optim"], "torch", "torch", "bench"),
        (["bench", "metrics"], "sklearn", "scikit-learn", "bench"),
        (["bench", "metrics"], "scipy", "scipy", "bench"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_one_line_says_what_to_install(monkeypatch, capsys, arguments, module, named, extra):
    pytest.importorskip("sklearn.metrics")  # scipy trips over an absent torch as it is imported
    monkeypatch.setitem(sys.modules, module, None)
    assert ironstep(monkeypatch, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f" needs {named}: " in line
    assert f'pip install "ironstep[{extra}]"' in line


def test_all_that_is_missing_is_named_at_once(monkeypatch, capsys):
    for module in ("sklearn", "matplotlib"):
        monkeypatch.setitem(sys.modules, module, None)
    assert ironstep(monkeypatch, "demo") == 2
    assert "scikit-learn, matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["demo", "--threads", "0"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", "x"],
        ["bench"],
        ["bench", "optim", "--rounds", "0"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_2(monkeypatch, calls, arguments):
    assert ironstep(monkeypatch, *arguments) == 2
    assert not calls


def test_demo_passes_its_options_on(monkeypatch, calls, tmp_path):
    options = ["--out", str(tmp_path), "--seed", "3", "--quick", "--threads", "2"]
    assert ironstep(monkeypatch, "demo", *options) == 0
    assert calls == [((tmp_path,), dict(seed=3, quick=True, threads=2))]


def test_bench_passes_its_options_on(monkeypatch, calls, tmp_path):
    options = ["--case", "adam-*", "--case", "sgd-25m", "--threads", "1", "--rounds", "4"]
    assert ironstep(monkeypatch, "bench", "optim", *options, "--out", str(tmp_path)) == 0
    assert calls == [((["adam-*", "sgd-25m"], [1], 4, tmp_path, False), {})]


def test_bench_without_options_leaves_the_choice_to_the_benchmark(monkeypatch, calls):
    assert ironstep(monkeypatch, "bench", "optim") == 0
    ((cases, threads, _, out, quick), _) = calls[0]
    assert (cases, threads, out, quick) == (None, None, None, False)


@pytest.mark.parametrize("code", [0, 1, 2, 130])
@pytest.mark.parametrize("command", [["demo"], ["bench", "optim"]], ids=" ".join)
def test_the_exit_code_is_what_the_command_returned(monkeypatch, calls, command, code):
    calls.answer = code
    assert ironstep(monkeypatch, *command) == code


def test_ctrl_c_anywhere_is_130(monkeypatch, calls):
    calls.answer = KeyboardInterrupt()
    assert ironstep(monkeypatch, "demo") == 130


def test_train_passes_its_options_on(monkeypatch, tmp_path):
    pytest.importorskip("torch")
    calls = []
    monkeypatch.setattr("ironstep.train._run.run", lambda *a, **k: calls.append((a, k)) or 0)
    given = ["--data", "digits", "--lr", "0.5", "--epochs", "3", "--label-smoothing", "0.1"]
    options = ["--options", "o.toml", "--resume", "--quiet", "--out", str(tmp_path)]
    assert ironstep(monkeypatch, "train", *given, *options) == 0
    (((passed, out), rest),) = calls
    assert {name: value for name, value in passed.items() if value is not None} == dict(
        data="digits", lr=0.5, epochs=3, label_smoothing=0.1
    )
    assert out == tmp_path
    assert rest == dict(options_file=Path("o.toml"), resume=True, quiet=True)
