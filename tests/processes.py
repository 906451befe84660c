"""What another process computes, under another environment."""

import json
import os
import subprocess
import sys

import pytest

import ironstep


def elsewhere(code, **environment):
    """What a new process prints as JSON when it runs this code, with the tests to import."""
    path = [os.path.dirname(os.path.abspath(__file__)), *filter(None, sys.path)]
    environment |= {"PYTHONPATH": os.pathsep.join(path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,  # a process that hangs
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def skip_without(isa):
    """Skip the test where the processor has not this instruction set."""
    best = ironstep.config()["instruction_set"]
    order = ["scalar", "avx2", "avx512"]
    if isa != "scalar" and (best not in order or order.index(isa) > order.index(best)):
        pytest.skip(f"no {isa} here, {best} at best")
