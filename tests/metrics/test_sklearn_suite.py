"""scikit-learn's own tests of these functions pass with ours in their place."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sklearn = pytest.importorskip("sklearn")


@pytest.mark.skipif(not sklearn.__version__.startswith("1.9."), reason="made for 1.9")
def test_sklearns_own_tests_pass():
    tests = Path(__file__).parents[1]
    path = os.pathsep.join([str(tests), *sys.path])
    options = "-p metrics.sklearn_suite -p no:cacheprovider -p no:randomly -q --tb=short"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, *options.split(), "--disable-warnings"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        cwd=tests,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    found = re.search(r"(\d+) tests: (\d+) passed", run.stdout)
    assert found is not None, run.stdout[-2000:]
    # Fewer would mean that the functions are not put in place.
    assert int(found[1]) > 1000
