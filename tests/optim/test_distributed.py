"""DDP, ZeroRedundancyOptimizer and DTensor: two processes with gloo end where torch's end."""

import os
import traceback
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing as mp
from torch import nn

from optim.cases import FULL, NAMES, assert_handed_over, assert_same, randn, reference, subject

pytestmark = [
    pytest.mark.skipif(
        not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo"
    ),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch's own, about what it deprecates
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
WORLD = 2


def model_and_data(rank):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double()
    data = torch.randn(WORLD, 8, 6, dtype=torch.float64)
    return model, data[rank]


def train(model, optimizer, x, steps=4):
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).pow(2).mean().backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


def ddp(rank):
    from torch.nn.parallel import DistributedDataParallel

    for name in NAMES:
        results = []
        for cls in (subject(name), reference(name)):
            model, x = model_and_data(rank)
            model = DistributedDataParallel(model)
            results.append(train(model, cls(model.parameters(), **FULL[name]), x))
        assert_same(*results, ulps=1e5)
        others = [torch.empty_like(results[0]) for _ in range(WORLD)]
        dist.all_gather(others, results[0])
        assert torch.equal(*others), "the ranks have different parameters"


def zero(rank):
    from torch.distributed.optim import ZeroRedundancyOptimizer
    from torch.nn.parallel import DistributedDataParallel

    for name in NAMES:
        results = []
        for cls in (subject(name), reference(name)):
            model, x = model_and_data(rank)
            model = DistributedDataParallel(model)
            optimizer = ZeroRedundancyOptimizer(
                model.parameters(), optimizer_class=cls, **FULL[name]
            )
            results.append(train(model, optimizer, x))
            optimizer.consolidate_state_dict(to=0)
            if rank == 0:
                state = optimizer.state_dict()
                whole = cls(model_and_data(rank)[0].parameters(), **FULL[name])
                whole.load_state_dict(state)
        assert_same(*results, ulps=1e5)


def dtensor(rank):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (WORLD,))
    for name in NAMES:
        results = []
        for cls in (subject(name), reference(name)):
            torch.manual_seed(0)
            plain = nn.Parameter(randn(3))
            split = nn.Parameter(distribute_tensor(randn(6, 4), mesh, [Shard(0)]))
            whole = nn.Parameter(distribute_tensor(randn(5), mesh, [Replicate()]))
            params = [plain, split, whole]
            optimizer = cls(params, **FULL[name])
            for _ in range(3):
                plain.grad = randn(3)
                split.grad = distribute_tensor(randn(6, 4), mesh, [Shard(0)])
                whole.grad = distribute_tensor(randn(5), mesh, [Replicate()])
                optimizer.step()
            if cls is subject(name):
                assert_handed_over(optimizer, {(0, 1): "DTensor", (0, 2): "DTensor"}, native=1)
            assert all(isinstance(v, DTensor) for v in optimizer.state[split].values() if v.dim())
            results.append([p.full_tensor() if isinstance(p, DTensor) else p for p in params])
        for mine, theirs in zip(*results, strict=True):
            assert_same(mine, theirs, size=1.0)


def fsdp(rank):
    from torch.distributed.fsdp import fully_shard

    for name in NAMES:
        results = []
        for cls in (subject(name), reference(name)):
            model, x = model_and_data(rank)
            fully_shard(model)
            optimizer = cls(model.parameters(), **FULL[name])
            for _ in range(3):
                optimizer.zero_grad()
                model(x).pow(2).mean().backward()
                optimizer.step()
            results.append(
                torch.cat([p.full_tensor().detach().flatten() for p in model.parameters()])
            )
        assert_same(*results, ulps=1e5)


WORKS = (ddp, zero, dtensor, fsdp)


def worker(rank, rendezvous, answers):
    """Everything in one pair of processes: most of the time goes into starting them."""
    errors = {}
    try:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo",
            init_method=rendezvous,
            rank=rank,
            world_size=WORLD,
            timeout=timedelta(seconds=60),
        )
        for work in WORKS:
            try:
                work(rank)
            except BaseException:
                errors[work.__name__] = f"rank {rank}: {traceback.format_exc()}"
    except BaseException:
        errors = {work.__name__: f"rank {rank}: {traceback.format_exc()}" for work in WORKS}
    finally:
        answers.put(errors)
        if dist.is_initialized():
            dist.destroy_process_group()


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
        environment.setenv("GLOO_SOCKET_IFNAME", "lo")
        context = mp.get_context("spawn")
        answers = context.SimpleQueue()
        rendezvous = f"file://{tmp_path_factory.mktemp('gloo')}/rendezvous"
        processes = [
            context.Process(target=worker, args=(rank, rendezvous, answers))
            for rank in range(WORLD)
        ]
        for process in processes:
            process.start()
        found = [answers.get() for _ in processes]
        for process in processes:
            process.join(60)
    return found


@pytest.mark.parametrize("work", [work.__name__ for work in WORKS])
def test_two_processes_end_where_torchs_end(errors, work):
    assert not (texts := [e[work] for e in errors if work in e]), "\n".join(texts)
