"""What an import does where nothing but numpy is."""

import json
import subprocess
from time import perf_counter

import pytest

pytestmark = pytest.mark.packaging

# numpy is imported first: what it does by itself is not ours to answer for.
WATCHED_IMPORT = """
import json, os, sys, threading
import numpy

def threads():
    tasks = "/proc/self/task"  # sees native threads too, where there is one
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()

opened, started, modules, before = [], [], set(sys.modules), threads()

def watch(event, args):
    if event == "open":
        opened.append(str(args[0]))
    elif event in ("_thread.start_new_thread", "os.fork", "subprocess.Popen", "socket.connect"):
        started.append(event)

sys.addaudithook(watch)
import ironstep
opened_by_import, new_threads = list(opened), threads() - before

specs = [getattr(sys.modules[name], "__spec__", None) for name in set(sys.modules) - modules]
code = {path for spec in specs if spec for path in (spec.origin, spec.cached)}
print(json.dumps({
    "opened": sorted(set(opened_by_import) - code),
    "started": started,
    "new_threads": new_threads,
    "imported": sorted(set(sys.modules) - modules),
}))
"""


@pytest.fixture(scope="module")
def watched(bare):
    return json.loads(bare(WATCHED_IMPORT))


def test_import_opens_no_file_but_its_modules(watched):
    assert watched["opened"] == []


def test_import_starts_no_thread_and_no_process(watched):
    assert watched["new_threads"] == 0
    assert watched["started"] == []


def test_import_leaves_the_optional_parts_alone(watched):
    parts = {"ironstep.optim", "ironstep.bench", "ironstep.cli", "torch", "typer", "rich"}
    assert not parts & set(watched["imported"])


def test_functional_steps_numpy_arrays_without_torch(bare):
    printed = bare("""
import sys
import numpy as np
import ironstep.functional

param, momentum = np.array([1.0, 2.0]), np.zeros(2)
ironstep.functional.sgd([param], [np.array([1.0, -1.0])], [momentum], lr=0.5, momentum=0.5)
print(param.tolist(), "torch" in sys.modules)
""")
    assert printed.split("\n")[0] == "[0.5, 2.5] False"


def test_config_says_that_there_is_no_torch(bare):
    facts = json.loads(bare("import ironstep, json; print(json.dumps(ironstep.config()))"))
    assert facts["torch"] is None
    assert facts["memory"] == "numpy"


@pytest.mark.parametrize("code", ["import ironstep.optim", "from ironstep.optim import Adam"])
def test_optim_without_torch_says_what_to_install(bare, code):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        bare(code)
    last_line = failure.value.stderr.strip().splitlines()[-1]
    assert last_line.startswith("ImportError: ")
    assert "pip install" in last_line
    assert "torch" in last_line


def test_command_line_without_its_extras_says_what_to_install(bare):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        bare("import ironstep.cli; ironstep.cli.main()")
    assert failure.value.returncode == 2
    assert "ironstep[demo]" in failure.value.stderr


@pytest.mark.timing
def test_import_takes_below_50_ms_beyond_numpys(bare, capsys):
    alone, both = "import numpy", "import numpy, ironstep"
    best = {alone: float("inf"), both: float("inf")}
    for _ in range(15):  # interleaved, so that a busy moment of the machine hits both
        for code in best:
            start = perf_counter()
            bare(code)
            best[code] = min(best[code], perf_counter() - start)
    beyond = best[both] - best[alone]
    with capsys.disabled():
        print(f"\nimport ironstep: {beyond * 1e3:.1f} ms beyond numpy's {best[alone] * 1e3:.1f}")
    assert beyond < 0.050
