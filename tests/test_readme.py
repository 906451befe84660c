"""What the README and the pages show, runs: each page in a process of its own."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What the prose around the examples takes for granted; README's first one imports all else.
GIVEN = "import torch\nmodel = torch.nn.Linear(3, 2)\nloss = model(torch.ones(1, 3)).sum()\n"


def examples(page, *, prompts=False):
    """A page's examples, one after another: those without prompts, or those with."""
    blocks = re.findall(
        r"^( *)```python\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.S | re.M
    )
    lines = [
        line.removeprefix(indent)
        for indent, code in blocks
        if code.lstrip().startswith(">>> ") is prompts
        for line in code.splitlines()
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run_as_they_stand(page):
    code = examples(page)
    given = GIVEN if "model" in code or "loss" in code else ""
    given += "" if "import ironstep" in code else "import ironstep\n"
    command = [sys.executable, "-W", "error", "-c", given + code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page, prompts=True)], ids=lambda page: page.name
)
def test_answers_are_those_that_are_shown(page, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.chdir(tmp_path)
    code = examples(page, prompts=True)
    test = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), 0)
    report = []
    results = doctest.DocTestRunner().run(test, out=report.append)
    assert results.attempted > 0
    assert results.failed == 0, "".join(report)


def test_parts_are_there_without_an_import_of_their_own():
    code = (
        "import sys, ironstep\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'optim' in dir(ironstep)\n"
        "ironstep.functional.adam, ironstep.optim.Adam\n"
        "try: ironstep.nothing\n"
        "except AttributeError as error: assert 'nothing' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
