"""Files: what is read of them, and the one line that says what is wrong."""

import hashlib

import numpy as np
import pytest

from evaluate.cases import csv_text, predictions
from ironstep.evaluate import InputError

pyarrow = pytest.importorskip("pyarrow")
from ironstep.evaluate._reading import read_predictions  # noqa: E402 - needs pyarrow

COLUMNS = dict(label="y", scores=["model_a", "model_b"], group="patient", by=["site"], id="image")


def table_of(columns):
    return pyarrow.table({name: pyarrow.array(values) for name, values in columns.items()})


def write(columns, path):
    import pyarrow.feather
    import pyarrow.parquet

    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table_of(columns), path)
    elif path.suffix == ".arrow":
        pyarrow.feather.write_feather(table_of(columns), path)
    else:
        text = csv_text(columns, "\t" if path.suffix == ".tsv" else ",")
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".arrow", ".CSV"])
def test_every_format_gives_the_same_columns(tmp_path, suffix):
    columns = predictions(60)
    path = write(columns, tmp_path / f"p{suffix}")
    found = read_predictions(path, **COLUMNS)
    assert found.label.tolist() == columns["y"].tolist()
    for name in ("model_a", "model_b"):
        np.testing.assert_array_equal(found.scores[name], columns[name])  # to the last bit
    assert found.by["site"].tolist() == columns["site"].tolist()
    assert found.id.tolist() == columns["image"].tolist()
    _, expected = np.unique(columns["patient"], return_inverse=True)
    pairs = set(zip(found.group.tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(expected.tolist())) == len(set(found.group.tolist()))
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_names_stay_text(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("y,s,p\n1,0.5,007\n0,0.2,7\n0,0.1,7.0\n")
    assert len(set(read_predictions(path, label="y", scores=["s"], group="p").group.tolist())) == 3


@pytest.mark.parametrize("mark", ["\ufeff", ""])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_spreadsheets_separators_and_mark_are_understood(tmp_path, separator, mark):
    path = tmp_path / "p.csv"
    path.write_text(mark + csv_text(predictions(40), separator), encoding="utf-8")
    assert read_predictions(path, **COLUMNS).n_rows == 40


def test_quoted_cells_may_hold_separators_and_line_breaks(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('"y","my, score","note"\n1,0.5,"a\nb"\n0,0.25,"c"\n')
    found = read_predictions(path, label="y", scores=["my, score"])
    assert found.scores["my, score"].tolist() == [0.5, 0.25]


def test_an_empty_cell_is_nan(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("y,s,p\n1,0.5,a\n0,,b\n,0.1,\n0,NaN,a\n")
    found = read_predictions(path, label="y", scores=["s"], group="p")
    assert np.isnan(found.scores["s"]).tolist() == [False, True, False, True]
    assert found.label.tolist() == [1, 0, None, 0]
    assert found.group.tolist()[2] == -1


def test_a_column_that_looks_like_patients_is_found_where_it_repeats(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("y,s,Patient_ID\n1,0.5,a\n0,0.2,b\n0,0.1,a\n")
    assert read_predictions(path, label="y", scores=["s"]).likely_group == "Patient_ID"
    path.write_text("y,s,Patient_ID\n1,0.5,a\n0,0.2,b\n0,0.1,c\n")
    assert read_predictions(path, label="y", scores=["s"]).likely_group is None


GOOD = "y,s\n1,0.5\n0,0.2\n"
WRONG = {
    "empty file": ("p.csv", b"", "the file is empty"),
    "only a heading": ("p.csv", b"y,s\n", "no rows"),
    "missing column": ("p.csv", b"y,score\n1,0.5\n", "no column 's'; it has 'y', 'score'"),
    "missing column with a close name": ("p.csv", b"y,S1\n1,0.5\n", "no column 's'"),
    "column twice": ("p.csv", b"y,s,s\n1,0.5,0.6\n", "2 columns are called 's'"),
    "text as score": (
        "p.csv",
        b"y,s\n1,0.5\n0,high\n",
        "column 's', row 2: 'high' is not a number",
    ),
    "decimal comma": ("p.csv", b"y;s\n1;0,5\n", "decimal point"),
    "bad UTF-8 in a cell": ("p.csv", b"y,s\nj\xe4,0.5\nno,0.2\n", "cannot be read"),
    "bad UTF-8 in the heading": ("p.csv", b"y,s,\xe4\n1,0.5,x\n", "not UTF-8"),
    "UTF-16": ("p.csv", GOOD.encode("utf-16"), "not UTF-8"),
    "ragged row": ("p.csv", b"y,s\n1,0.5\n0\n", "cannot be read"),
    "binary": ("p.csv", b"y,s\0\n1,0.5\n", "zero byte"),
    "unknown suffix": ("p.xlsx", b"PK", "got .xlsx; .csv"),
    "no Parquet": ("p.parquet", b"PAR1 and nothing else", "cannot be read"),
    "empty Parquet": ("p.parquet", b"", "the file is empty"),
    "no Arrow": ("p.arrow", b"nothing", "cannot be read"),
}


@pytest.mark.parametrize(("name", "content", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_one_line(tmp_path, name, content, says):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_predictions(path, label="y", scores=["s"])
    assert says in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("keep", [10, 400, -1, -9])
def test_truncated_parquet_is_one_line(tmp_path, keep):
    path = write(predictions(200), tmp_path / "p.parquet")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="cannot be read") as error:
        read_predictions(path, **COLUMNS)
    assert len(str(error.value).splitlines()) == 1


def test_parquet_with_text_as_score_is_refused(tmp_path):
    path = write({"y": [0, 1], "s": ["0.5", "high"]}, tmp_path / "p.parquet")
    with pytest.raises(InputError, match="'high' is not a number"):
        read_predictions(path, label="y", scores=["s"])


def test_no_such_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_predictions(tmp_path / "p.csv", label="y", scores=["s"])
    with pytest.raises(InputError, match="a folder"):
        read_predictions(tmp_path, label="y", scores=["s"])


def test_names_in_a_message_cannot_break_the_line(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text('"a\tb\x1b[31m",s\n1,0.5\n')
    with pytest.raises(InputError) as error:
        read_predictions(path, label="y", scores=["s"])
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("scores", [[], ["s", "s"], ["y"]])
def test_wrong_choice_of_columns(tmp_path, scores):
    path = tmp_path / "p.csv"
    path.write_text(GOOD)
    with pytest.raises(InputError):
        read_predictions(path, label="y", scores=scores)
