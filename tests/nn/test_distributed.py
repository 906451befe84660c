"""DDP: two processes with gloo end where torch's end."""

import copy
import os
import traceback
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing as mp
from torch import nn

from ironstep.nn import convert_batchnorm

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
)
WORLD = 2


def train(rank):
    from torch.nn.parallel import DistributedDataParallel

    torch.manual_seed(0)
    reference = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)
    ).double()
    data = torch.randn(4, WORLD, 6, 3, 8, 8, dtype=torch.float64)[:, rank]
    ends = []
    for model in (reference, convert_batchnorm(copy.deepcopy(reference))):
        model = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for x in data:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        ends.append(model.module.state_dict())
    for key, value in ends[0].items():
        torch.testing.assert_close(ends[1][key], value)
    if rank == 0:
        # What DDP hands out from rank 0 arrives in the modules' own buffers.
        assert ends[1]["1.num_batches_tracked"] == len(data)


def worker(rank, rendezvous, answers):
    error = ""
    try:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo",
            init_method=rendezvous,
            rank=rank,
            world_size=WORLD,
            timeout=timedelta(seconds=60),
        )
        train(rank)
    except BaseException:
        error = f"rank {rank}: {traceback.format_exc()}"
    finally:
        answers.put(error)
        if dist.is_initialized():
            dist.destroy_process_group()


def test_two_processes_end_where_torchs_end(tmp_path, monkeypatch):
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    context = mp.get_context("spawn")
    answers = context.SimpleQueue()
    rendezvous = f"file://{tmp_path}/rendezvous"
    processes = [
        context.Process(target=worker, args=(rank, rendezvous, answers)) for rank in range(WORLD)
    ]
    for process in processes:
        process.start()
    errors = [answers.get() for _ in processes]
    for process in processes:
        process.join(60)
    assert not any(errors), "\n".join(errors)
