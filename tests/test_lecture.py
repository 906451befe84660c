"""The table from the lecture to the code names nothing that is not there."""

import importlib
import re
from pathlib import Path

import pytest

from ironstep.experiments import NAMES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "lecture.md").read_text(encoding="utf-8")


def rows():
    """The cells of each row of the tables with five columns."""
    found = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 5 and cells[0] not in ("---", "in the lecture"):
            found.append(cells)
    return found


ROWS = rows()


def resolve(name):
    """What a dotted name means: as much of it as is a module, then attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[end:]:
            found = getattr(found, attribute)
        return found
    raise ModuleNotFoundError(name)


def test_there_are_rows_of_all_three_lectures():
    assert len(ROWS) > 40
    assert all(len(re.findall(f"^## Lecture {n}", PAGE, re.M)) == 1 for n in (1, 2, 3))


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0])
def test_no_cell_is_empty_and_all_names_exist(cells):
    what, formula, functions, tests, experiment = cells
    assert what
    assert formula
    names = re.findall(r"`(ironstep\.[\w.]+)`", functions)
    assert names
    for name in names:
        assert callable(resolve(name)), name
    assert experiment in NAMES
    (test,) = re.findall(r"`(tests/[\w/]+\.py::\w+)`", tests)
    path, _, name = test.partition("::")
    assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M), test


def test_every_name_on_the_page_exists():
    for name in re.findall(r"`(ironstep\.[\w.]+)`", PAGE):
        resolve(name)
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text


def test_every_experiment_is_in_the_table_and_on_its_page():
    assert {cells[-1] for cells in ROWS} == set(NAMES)
    page = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)$", page, re.M)) == set(NAMES)
