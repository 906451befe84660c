"""R with its package pROC, for what is compared with it: `make test-r` installs both."""

import shutil
import subprocess

import pytest

# The data, aneurysmal subarachnoid haemorrhages, comes with the package.
BEGIN = """
suppressMessages(library(pROC))
data(aSAH)
options(digits = 17)
show <- function(name, values) cat(name, as.numeric(values), "\\n")
"""


def asked(script):
    """What R prints; the test is skipped where it is not installed."""
    rscript = shutil.which("Rscript")
    found = rscript and subprocess.run([rscript, "-e", "library(pROC)"], capture_output=True)
    if not found or found.returncode != 0:
        pytest.skip("R with pROC is not here: make test-r installs it")
    done = subprocess.run(
        [rscript, "-e", BEGIN + script], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def numbers(text):
    """What `show` has printed: numbers by their name."""
    lines = [line.split() for line in text.splitlines()]
    return {name: [float(number) for number in rest] for name, *rest in lines}
