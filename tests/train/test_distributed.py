"""Two processes have the losses of one with the whole batch."""

import csv
import os
import subprocess
import sys

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("torch")
pytest.importorskip("typer")

import torch
import torch.distributed as dist
from torch import nn

from ironstep.train._distributed import World, synchronize_batchnorm
from ironstep.train._run import DONE, run

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)
# 1,080 cases: the last batch has 5, of which one process gets three and the other two.
GIVEN = {
    "data": "digits",
    "model": "small-cnn",
    "epochs": 3,
    "batch_size": 215,
    "mixup": 0.3,
    "mixup_mode": "element",
    "augment": "rotate",
    "optimizer": "sgd",
    "seed": 1,
    "threads": 1,  # with more torch rotates in another order, and a rounded pixel is another one
}


pytestmark = pytest.mark.usefixtures("threads_as_before")


def torchrun(*arguments, processes=2):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *command, "-m", "ironstep", "train", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def options(**changes):
    return [
        text
        for name, value in (GIVEN | changes).items()
        for text in (f"--{name.replace('_', '-')}", str(value))
    ]


def history(out):
    with (out / "history.csv").open(encoding="utf-8", newline="") as file:
        return [{n: float(v) for n, v in row.items()} for row in csv.DictReader(file)]


def test_two_processes_have_the_losses_of_one(tmp_path):
    done = torchrun(*options(), "--out", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch 1/3") == 1
    assert "2 processes" in done.stdout
    assert run(GIVEN, tmp_path / "one", quiet=True) == DONE
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    for a, b in zip(one, two, strict=True):
        # Sums of float32 in other orders; 1e-8 is seen. Adam would divide by what is small at first, and make
        # 3e-4 of it.
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-6)
        assert b["validation_loss"] == pytest.approx(a["validation_loss"], rel=1e-6)
    assert two[2]["train_loss"] < 0.8 * two[0]["train_loss"]
    lines = [
        (tmp_path / each / "predictions.csv").read_text(encoding="utf-8") for each in ("one", "two")
    ]
    first, second = ([row.split(",")[:2] for row in text.splitlines()] for text in lines)
    assert first == second


def test_what_is_wrong_is_said_once(tmp_path):
    done = torchrun(*options(model="nothing"), "--out", tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("ironstep train: model: no 'nothing'") == 1
    assert not (tmp_path / "run").exists()


def test_rows_of_all_processes_come_into_their_order(monkeypatch):
    rows = torch.arange(14.0).reshape(7, 2)
    of_rank = [rows[rank::3] for rank in range(3)]

    def all_gather(outputs, own):
        for rank, output in enumerate(outputs):
            output[: len(of_rank[rank])] = of_rank[rank]

    monkeypatch.setattr(dist, "all_gather", all_gather)
    for rank in range(3):
        world = World(rank, 3, torch.device("cpu"))
        assert torch.equal(world.gather(of_rank[rank], 7), rows)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 5)])
def test_one_process_normalizes_as_torch_does(monkeypatch, shape, momentum):
    monkeypatch.setattr(dist, "all_reduce", lambda _: None)
    cls = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}[len(shape)]
    theirs, ours = cls(3, momentum=momentum).double(), cls(3, momentum=momentum).double()
    synchronize_batchnorm(ours, torch.device("cpu"))
    for layer in (theirs, ours):
        nn.init.constant_(layer.weight, 1.5)
        nn.init.constant_(layer.bias, 0.5)
    for _ in range(2):
        x = torch.randn(shape, dtype=torch.float64)
        gradient = torch.randn_like(x)
        found = []
        for layer in (theirs, ours):
            own = x.clone().requires_grad_()
            y = layer(own)
            y.backward(gradient)
            found.append((y, own.grad, layer.weight.grad, layer.bias.grad, layer.running_var))
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(b, a)
    assert type(ours).__name__ == "SyncBatchNorm"
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
