"""Memory does not grow with the number of steps."""

import gc
import os
import weakref

import pytest
import torch
from torch import nn

from optim.cases import FULL, each_name, random_params, subject

STEPS = int(
    os.environ.get("IRONSTEP_TEST_STEPS", "20000")
)  # make it 100,000 when you have the time
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0

needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/statm"), reason="the memory in use is read from /proc"
)


def memory_in_use():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


class Labelled(nn.Parameter):
    pass


def steps(optimizer, count):
    for _ in range(count):
        optimizer.step()


@needs_proc
@each_name
def test_memory_does_not_grow_over_many_steps(name):
    params = random_params(((3, 2), (4,), (2, 2)))
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer = subject(name)(params, **FULL[name])
    steps(optimizer, STEPS // 10)
    before = memory_in_use()
    steps(optimizer, STEPS)
    # The smallest Python object that could be kept is larger than 52 bytes.
    assert memory_in_use() - before < 1 << 20


@needs_proc
def test_memory_does_not_grow_with_hooks_clipping_and_handed_over_parameters():
    params = [*random_params(((3, 2), (4,))), Labelled(torch.ones(3))]
    options = {"clip_grad_norm": 1.0} if subject("Adam") is not torch.optim.Adam else {}
    optimizer = subject("Adam")(params, **options)
    optimizer.register_step_post_hook(lambda *args: None)

    def run(count):
        for _ in range(count):
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
            optimizer.zero_grad()

    run(STEPS // 40)
    before = memory_in_use()
    run(STEPS // 10)
    assert memory_in_use() - before < 1 << 20


@needs_proc
def test_memory_does_not_grow_with_the_number_of_optimizers():
    def one():
        params = random_params(((30, 20), (4,)))
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer = subject("Adam")(params)
        optimizer.step()

    for _ in range(200):
        one()
    before = memory_in_use()
    for _ in range(STEPS // 10):
        one()
    assert memory_in_use() - before < 2 << 20


def test_a_failed_step_keeps_nothing_alive():
    p = Labelled(torch.ones(3))
    p.grad = torch.ones(3)
    options = {"backend": "native"} if subject("Adam") is not torch.optim.Adam else {}
    optimizer = subject("Adam")([p], **options)
    if options:
        with pytest.raises(RuntimeError):
            optimizer.step()
    watched = weakref.ref(p)
    del p, optimizer
    gc.collect()
    assert watched() is None
