"""kill -9 at random moments: nothing unreadable, and in the end the same history, bit for bit.

IRONSTEP_KILLS=10 kills ten times.
"""

import os
import random
import subprocess
import sys
import time

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytest.importorskip("typer")

import torch

KILLS = int(os.environ.get("IRONSTEP_KILLS", "3"))
EPOCHS = 10 * KILLS
OPTIONS = [
    *("--data", "digits", "--model", "small-cnn", "--epochs", str(EPOCHS), "--batch-size", "256"),
    *("--mixup", "0.2", "--label-smoothing", "0.1", "--augment", "flip", "--warmup", "2"),
    *("--seed", "3", "--threads", "1", "--monitor", "accuracy"),
]


def start(*arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        [sys.executable, "-m", "ironstep", "train", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*arguments):
    process = start(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output


def epochs(out):
    try:
        return len((out / "history.csv").read_text(encoding="utf-8").splitlines()) - 1
    except FileNotFoundError:
        return 0


def is_over(process, out, wanted, moment):
    """Wait for the epoch, and then for the moment; whether the process has ended before."""
    while epochs(out) < wanted and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moment)
    return process.poll() is not None


def test_a_killed_run_ends_as_if_nothing_had_been(tmp_path):
    finish(*OPTIONS, "--out", tmp_path / "whole")
    draw, out = random.Random(0), tmp_path / "killed"
    moments = sorted(draw.sample(range(1, EPOCHS - 2), KILLS))
    moments[0] = 0  # before the first epoch is over, too
    for number, wanted in enumerate(moments):
        first = not (out / "options.toml").exists()
        process = start(*(OPTIONS if first else ["--resume"]), "--out", out)
        if is_over(process, out, wanted, draw.uniform(0, 0.1)):
            pytest.fail(f"it ended before kill {number}: {process.communicate()[0]}")
        process.kill()
        process.communicate()
        for name in ("last.pt", "best.pt"):
            if (out / name).exists():
                torch.load(out / name, weights_only=True)
    assert "goes on after epoch" in finish("--resume", "--out", out)
    for name in ("history.csv", "predictions.csv", "best.pt", "options.toml"):
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert epochs(out) == EPOCHS
    assert not list(out.glob(".*"))
