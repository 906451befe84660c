"""A bare environment: the wheel, numpy, and nothing else."""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, **kwargs):
    try:
        return subprocess.run(command, check=True, text=True, capture_output=True, **kwargs).stdout
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise


def maturin(*arguments):
    # Found by `python -m` alone, so that no environment needs to be active.
    run(sys.executable, "-m", "maturin", *arguments, cwd=ROOT)


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """The folder with the wheels: IRONSTEP_DIST, or a fresh one with a wheel for this machine."""
    if folder := os.environ.get("IRONSTEP_DIST"):
        return ROOT / folder
    folder = tmp_path_factory.mktemp("dist")
    # With the flags of `make build`, so that cargo has it all; `make wheel` sees to old systems.
    maturin("build", "--release", "--compatibility", "linux", "--out", str(folder))
    return folder


@pytest.fixture(scope="session")
def wheels(dist):
    found = sorted(dist.glob("*.whl"))
    assert found, f"no wheel in {dist}"
    return found


@pytest.fixture(scope="session")
def sdist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdist")
    maturin("sdist", "--out", str(folder))
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def bare_python(dist, tmp_path_factory):
    """The interpreter of an environment with numpy and the wheel in it."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    windows = os.name == "nt"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    site_packages = Path(
        run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    )
    # numpy is copied, not fetched: no network is needed, and it is the one that all others use.
    for file in distribution("numpy").files:
        if ".." not in file.parts:
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)
    # No index: whatever the wheel wants beyond numpy makes this fail.
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python)]
    run(*pip, "install", "--no-index", "--find-links", str(dist), "ironstep")
    return python


@pytest.fixture(scope="session")
def bare(bare_python, tmp_path_factory):
    """Run code in the bare environment; returns what it prints."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "IRONSTEP"))}

    def run_code(code):
        return run(str(bare_python), "-c", code, cwd=folder, env=environ)

    return run_code
