"""Figures in the README have a command that measures them, and are those of docs/performance.md."""

import fnmatch
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from ironstep.cli import BENCHMARKS

ROOT = Path(__file__).parent.parent
SPEC = importlib.util.spec_from_file_location("picture", ROOT / "benches" / "picture.py")
picture = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(picture)

# A number with a unit; 64×64 is a shape.
MEASURED = re.compile(
    r"(?<![\d.×])(\d[\d.,]*) ?(?:(µs|ms|s|GB|MB|%)(?!\w)|times\b|×(?!\d))|\w+ digits\b"
)
COMMAND = re.compile(r"`((?:make|ironstep bench|python) [^`]+|tests/[\w/]+\.py)`")


def blocks(text):
    """Paragraphs, list items and rows of tables, without what is shown as code."""
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.S | re.M)
    return [block for block in re.split(r"\n\s*\n|\n(?=- |\| )", text) if block.strip()]


def without_a_command(text):
    return [b for b in blocks(text) if MEASURED.search(b) and not COMMAND.search(b)]


def exists(command):
    """Whether the repository has what a command names."""
    match command.split():
        case ["make", target, *_]:
            return bool(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M))
        case ["python", path, *_] | [path]:
            return (ROOT / path).is_file()
        case ["ironstep", "bench", name, *options]:
            if name not in BENCHMARKS:
                return False
            cases = importlib.import_module(f"ironstep.bench.{name}").CASES
            return bool(fnmatch.filter(cases, options[1])) if options else True
    return False


def test_every_figure_of_the_readme_has_a_command_beside_it():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert without_a_command(text) == []
    assert sum(bool(MEASURED.search(block)) for block in blocks(text)) > 8


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("An Adam step takes 7 µs.", 1),
        ("An Adam step takes 7 µs (`ironstep bench optim`).", 0),
        ("It is 3.5 times as fast.\n\n`make bench`", 1),
        ("- 4× as fast\n- other: `make bench`", 1),
        ("equal to twelve digits", 1),
        ("a batch of 32×64×56×56 and 1,000 tensors of 64×64", 0),
        ("| Adam | 7.27 µs | 52 µs |", 1),
        ("```sh\nsleep 3 s\n```", 0),
    ],
)
def test_a_figure_without_a_command_is_found(text, found):
    assert len(without_a_command(text)) == found


def test_commands_beside_figures_are_there():
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = COMMAND.findall(text)
    assert [command for command in commands if not exists(command)] == []
    assert len(commands) > 10
    for wrong in (
        "make nothing",
        "ironstep bench nothing",
        "ironstep bench optim --case nothing",
        "python benches/nothing.py",
        "tests/nothing.py",
    ):
        assert not exists(wrong)


def test_rows_of_the_readme_are_those_of_the_tables():
    tables = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = {
        line.split(" | ")[0].strip("| "): line for line in tables.splitlines() if line[:2] == "| "
    }
    shown = re.findall(
        r"^\| .* \| ([\d.]+ \w+) \| ([\d.]+ \w+), .* \| `ironstep bench \w+ --case (\S+)` \|$",
        (ROOT / "README.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert len(shown) >= 8
    for ours, theirs, case in shown:
        cells = rows[case].split(" | ")
        assert cells[1] == ours, case
        assert any(re.match(rf"{re.escape(theirs)}( \(|$)", cell) for cell in cells[2:]), case


def test_the_picture_is_that_of_the_tables():
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    drawn = (ROOT / "docs" / "pictures" / "speed.svg").read_text(encoding="utf-8")
    assert drawn == picture.picture(page), "python benches/picture.py draws it again"
    assert "adam-tiny: 7.23" in drawn
