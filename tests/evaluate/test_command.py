"""`ironstep evaluate`: from a file to a report, exit codes, and how it stops."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from evaluate.cases import (
    CLASSES,
    FINDINGS,
    block,
    csv_text,
    predictions,
    predictions_of_classes,
    predictions_of_findings,
)
from ironstep import cli
from ironstep.evaluate import Evaluation, _figures

for _module in ("typer", "rich", "pyarrow", "matplotlib", "jinja2", "scipy"):
    pytest.importorskip(_module)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "in" / "predictions.csv"
    path.parent.mkdir()
    path.write_text(csv_text(predictions(200)), encoding="utf-8")
    return path


@pytest.fixture
def ironstep(monkeypatch, capsys):
    """Run the command in this process: its exit code, and what it said."""
    monkeypatch.setattr(_figures, "DPI", 40)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ironstep", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        said = capsys.readouterr()
        return exit_.value.code, said.out, said.err

    return run


WHAT = ("--label", "y", "--score", "model_a", "--score", "model_b", "--group", "patient")


def test_the_numbers_are_those_of_evaluation(ironstep, file):
    options = ("--by", "site", "--id", "image", "--threshold", "youden", "--prevalence", "0.02",
               "--margin", "0.1", "--resamples", "30", "--seed", "5", "--confidence", "0.9")  # fmt: skip
    code, out, err = ironstep(file, *WHAT, *options, "--json")
    assert (code, err) == (0, "")
    columns = predictions(200)
    expected = Evaluation(
        columns["y"],
        {name: columns[name] for name in ("model_a", "model_b")},
        groups=columns["patient"],
        by={"site": columns["site"]},
        ids=columns["image"],
        threshold="youden",
        prevalence=0.02,
        margin=0.1,
        n_resamples=30,
        random_state=5,
        confidence_level=0.9,
    ).as_json()
    found = json.loads(out)
    for part in ("flow", "models", "comparisons", "subgroups", "findings"):
        assert found[part] == expected[part], part
    assert found["options"] == {**expected["options"], "positive": "1"}
    assert found["source"]["name"] == "predictions.csv"


def test_the_folder_and_the_terminal(ironstep, file, tmp_path):
    code, out, err = ironstep(file, *WHAT, "--out", tmp_path / "out", "--resamples", 20)
    assert (code, err) == (0, "")
    assert (tmp_path / "out" / "index.html").is_file()
    assert "AUC" in out
    assert "model_b minus model_a" in " ".join(out.split())
    assert "index.html" in out.replace("\n", "")


def test_nothing_is_written_without_out(ironstep, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ironstep(file, *WHAT, "--resamples", 20)[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_quiet_says_nothing(ironstep, file, tmp_path):
    code, out, err = ironstep(file, *WHAT, "--quiet", "--resamples", 20, "--out", tmp_path / "out")
    assert (code, out, err) == (0, "", "")


def test_several_classes_from_a_file_are_those_of_arrays(ironstep, tmp_path):
    columns, path = predictions_of_classes(200), tmp_path / "p.csv"
    path.write_text(csv_text(columns), encoding="utf-8")
    spelled = (
        "--score",
        "cnn_*",
        "--score",
        "other=vit_*",
        "--group",
        "patient",
        "--resamples",
        20,
    )
    code, out, err = ironstep(path, "--label", "diagnosis", *spelled, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["kind"], found["targets"]) == ("multiclass", list(CLASSES))
    scores = {"cnn": block(columns, "cnn", CLASSES), "other": block(columns, "vit", CLASSES)}
    expected = Evaluation(columns["diagnosis"], scores, groups=columns["patient"], n_resamples=20)
    for part in ("models", "overall", "comparisons"):
        assert found[part] == expected.as_json()[part], part
    listed = ",".join(f"cnn_{name}" for name in CLASSES[::-1])
    same = ("--score", f"cnn={listed}", "--classes", ",".join(CLASSES[::-1]), "--json")
    code, out, _ = ironstep(path, "--label", "diagnosis", *same, "--resamples", 20)
    assert code == 0
    assert json.loads(out)["overall"][0]["rows"][0]["estimate"]["value"] == (
        expected.overall[0].rows[0].estimate.value
    )


def test_several_findings_readers_and_patients_from_a_file(ironstep, tmp_path):
    columns, path = predictions_of_findings(200), tmp_path / "p.csv"
    path.write_text(csv_text(columns), encoding="utf-8")
    code, out, _ = ironstep(path, "--label", "y_*", "--score", "cnn_*", "--json", "--resamples", 5)
    assert code == 0
    assert json.loads(out)["targets"] == list(FINDINGS)
    one = ("--label", "y_edema", "--score", "cnn_edema", "--reader", "y_nodule", "--resamples", 5)
    patients = ("--group", "patient", "--aggregate", "mean", "--id", "patient")
    code, out, _ = ironstep(path, *one, *patients, "--json")
    assert code == 0
    found = json.loads(out)
    assert [reader["name"] for reader in found["readers"]] == ["y_nodule"]
    assert found["flow"]["n_cases"] == len(set(columns["patient"]))
    assert found["models"][0]["mistakes"][0]["id"] in columns["patient"]


def test_fail_on_is_1_and_says_for_what(ironstep, file):
    common = (file, *WHAT, "--quiet", "--resamples", 20)
    assert ironstep(*common, "--fail-on", "warning")[0] == 0
    chosen = ("--threshold", "youden")
    assert ironstep(*common, *chosen)[0] == 0
    code, out, err = ironstep(*common, *chosen, "--fail-on", "warning")
    assert (code, out) == (1, "")
    assert "2 warnings" in err
    margin = ("--margin", "0.0001")
    assert ironstep(*common, *margin)[0] == 0
    code, _, err = ironstep(*common, *margin, "--fail-on", "inferior")
    assert code == 1
    assert "not shown to be non-inferior" in err


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ("auc<0.5", 0),
        ("auc<0.999", 1),
        ("auc.low<0.4", 0),
        ("sensitivity.low<0.99", 1),
        ("brier_score_loss>0.1", 1),
        ("brier_score_loss > 1", 0),
        ("auk<0.5", 2),
        ("auc", 2),
        ("auc<high", 2),
        ("inferior", 2),
    ],
)
def test_a_bound_to_fail_on(ironstep, file, condition, code):
    found = ironstep(file, *WHAT, "--quiet", "--resamples", 20, "--fail-on", condition)
    assert found[0] == code
    assert bool(found[2]) == bool(code)


def test_a_column_of_patients_that_was_not_named_is_said(ironstep, file):
    _, out, _ = ironstep(file, *WHAT[:6], "--resamples", 20)
    assert "The column patient looks like patients" in " ".join(out.split())


def test_thresholds_from_another_file(ironstep, file, tmp_path):
    other = tmp_path / "validation.csv"
    other.write_text(csv_text(predictions(300, seed=1)), encoding="utf-8")
    rule = ("--threshold", "sensitivity=0.9", "--threshold-from", other)
    code, out, _ = ironstep(file, *WHAT, *rule, "--json", "--resamples", 20)
    assert code == 0
    assert json.loads(out)["models"][0]["threshold"]["origin"] == "chosen elsewhere"


def test_names_are_not_markup_on_the_terminal(ironstep, file):
    text = file.read_text().replace("model_a", "[bold red]a[/x]").replace("Oslo", "[link=x]")
    file.write_text(text)
    columns = ("--label", "y", "--score", "[bold red]a[/x]", "--by", "site", "--resamples", 20)
    code, out, _ = ironstep(file, *columns)
    assert code == 0
    assert "[bold red]a[/x]" in out
    assert "[link=x]" in out


WRONG = {
    "no such file": (None, WHAT, "no such file"),
    "no such column": ("y,model_a\n1,0.5\n0,0.1\n", WHAT, "no column 'model_b'"),
    "empty": ("", WHAT, "the file is empty"),
    "one class": ("y,model_a,model_b,patient\n1,0.5,0.2,a\n1,0.1,0.2,b\n", WHAT, "one class"),
    "one row": ("y,model_a,model_b,patient\n1,0.5,0.2,a\n", WHAT, "the only row"),
    "gap": ("y,model_a,model_b,patient\n1,,0.2,a\n0,0.1,0.2,b\n", WHAT, "--missing"),
    "spelled twice": (
        "y,model_a,model_b,patient\nYes,0.5,0.2,a\nyes,0.1,0.2,b\n", WHAT, "spelled in two ways"),
    "positive": (
        "y,model_a,model_b,patient\nsick,0.5,0.2,a\nwell,0.1,0.2,b\n", WHAT, "--positive"),
    "threshold": ("y,model_a\n1,0.5\n0,0.1\n",
                  ("--label", "y", "--score", "model_a", "--threshold", "best"), "threshold"),
    "missing": ("y,model_a\n1,0.5\n0,0.1\n",
                ("--label", "y", "--score", "model_a", "--missing", "drop"), "missing"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "options", "says"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line_and_2_and_nothing_is_written(
    ironstep, tmp_path, text, options, says
):
    path = tmp_path / "p.csv"
    if text is not None:
        path.write_text(text)
    code, out, err = ironstep(path, *options, "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert says in line
    assert not (tmp_path / "out").exists()
    assert {each.name for each in tmp_path.iterdir()} <= {"p.csv"}


def test_a_folder_that_has_other_files_is_2(ironstep, file, tmp_path):
    code, _, err = ironstep(file, *WHAT, "--out", file.parent, "--resamples", 20)
    assert code == 2
    assert "no earlier report" in err
    assert [each.name for each in file.parent.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["p.csv"], ["p.csv", "--label", "y"], ["p.csv", *WHAT, "--seed", "-1"]],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_wrong_use_is_2(ironstep, arguments):
    assert ironstep(*arguments)[0] == 2


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal to send to one process")
@pytest.mark.parametrize("when", ["computing", "writing"])
def test_ctrl_c_leaves_nothing(tmp_path, when):
    path = tmp_path / "p.csv"
    path.write_text(csv_text(predictions(2000)), encoding="utf-8")
    resamples = "1000000" if when == "computing" else "20"
    command = [sys.executable, "-m", "ironstep", "evaluate", str(path), *WHAT, "--out"]
    command += [str(tmp_path / "out"), "--threshold", "youden", "--resamples", resamples, "--quiet"]
    # Each part is told through a file, which is the sign to stop it.
    watched = (
        "import runpy, sys; from pathlib import Path; from ironstep.evaluate import Evaluation\n"
        "begin = Evaluation.__init__\n"
        "def told(self, *args, progress=None, **options):\n"
        f"    begin(self, *args, progress=lambda part: Path({str(tmp_path / 'part')!r})"
        ".write_text(part), **options)\n"
        "Evaluation.__init__ = told\n"
        f"sys.argv = {command[2:]!r}\n"
        "runpy.run_module('ironstep', run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", watched], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    sign = "threshold, judged" if when == "computing" else "picture"
    part = tmp_path / "part"
    while process.poll() is None and not (part.exists() and sign in part.read_text()):
        time.sleep(0.01)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    part.unlink()
    assert [each.name for each in tmp_path.iterdir()] == ["p.csv"]
