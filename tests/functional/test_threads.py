"""Any number of threads, any instruction set, any number of callers: the same bits."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import ironstep
from functional.cases import (
    assert_same_bits,
    each_dtype,
    each_form,
    noise,
    operands,
    step,
)


@pytest.fixture(autouse=True)
def default_threads():
    yield
    ironstep.set_num_threads(None)


def large(dtype=np.float32):
    """More than stays on the calling thread, flat and strided, with a last partial block."""

    def make(name):
        flat, rows = noise(name, 0, (40_001,), dtype), noise(name, 1, (150, 301), dtype)
        return [flat, rows.T, rows.copy()[::-1, ::2], noise(name, 2, (3,), dtype)]

    return make


def stepped(function, kwargs, dtype, threads):
    ironstep.set_num_threads(threads)
    lists = operands(function, kwargs, large(dtype))
    for number in (1, 2):
        step(function, lists, kwargs, number)
    return lists


@each_form
def test_rules(function, kwargs):
    alone = stepped(function, kwargs, np.float32, 1)
    for threads in (2, 3):
        assert_same_bits(stepped(function, kwargs, np.float32, threads), alone)


@each_dtype
def test_dtypes(dtype):
    kwargs = dict(lr=0.1, amsgrad=True, eps=1e-3)
    alone = stepped("adam", kwargs, dtype, 1)
    for threads in (2, 7):
        assert_same_bits(stepped("adam", kwargs, dtype, threads), alone)


def test_instruction_sets():
    program = """
import hashlib, numpy as np, ironstep
from ironstep import functional
random = np.random.default_rng(0)
digest = hashlib.sha256()
for dtype in ("f8", "f4", "f2"):
    for shape in [(1037,), (33, 31)]:
        make = lambda: [random.normal(size=shape).astype(dtype)]
        p, g, a, b, c = make(), make(), make(), [np.abs(make()[0])], [np.abs(make()[0])]
        functional.adam(p, g, a, b, c, steps=3, lr=0.1, amsgrad=True, eps=1e-3, weight_decay=0.1)
        h = [g[0].T.copy().T]
        functional.rmsprop(p, h, b, a, c, lr=0.1, momentum=0.9, centered=True, eps=1e-3)
        functional.sgd(p, g, a, lr=0.1, momentum=0.9, nesterov=True, clip_grad_norm=0.3)
        functional.adagrad(p, g, b, lr=0.1, steps=4, lr_decay=0.1)
        for array in (p, a, b, c):
            digest.update(np.nan_to_num(array[0]).tobytes())
print(ironstep.config()["instruction_set"], digest.hexdigest())
"""
    digests = {}
    for name in ("scalar", "avx2", "avx512", ""):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env=os.environ | {"IRONSTEP_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        )
        used, digest = done.stdout.split()
        digests[used] = digest
    assert "scalar" in digests or "neon" in digests
    assert len(set(digests.values())) == 1


def test_eight_callers_each_with_arrays_of_its_own():
    alone = stepped("adam", dict(lr=0.1), np.float32, 2)
    results = [None] * 8

    def work(i):
        lists = operands("adam", dict(lr=0.1), large())
        for number in (1, 2):
            step("adam", lists, dict(lr=0.1), number)
        results[i] = lists

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        assert_same_bits(result, alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_makes_its_steps():
    # In a process of its own: forking this one, with torch's threads in it, is not ours to test.
    program = """
import os, numpy as np, ironstep
from ironstep import functional
ironstep.set_num_threads(2)
def step():
    params = [np.ones(300_000, "f4"), np.ones((300, 301)).T]
    functional.sgd(params, [np.full(p.shape, 0.5, p.dtype) for p in params], lr=1.0)
    assert all((p == 0.5).all() for p in params)
step()
for _ in range(3):
    child = os.fork()
    if child == 0:
        step()
        grandchild = os.fork()
        if grandchild == 0:
            step()
            os._exit(7)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    step()
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_raising_the_number_of_threads_again_and_again_leaves_no_idle_ones_behind():
    program = """
import os, numpy as np, ironstep
from ironstep import functional
params, grads = [np.ones(2_000_000, "f4")], [np.ones(2_000_000, "f4")]
before = len(os.listdir("/proc/self/task"))
for threads in range(2, 17):
    ironstep.set_num_threads(threads)
    functional.sgd(params, grads, lr=0.1)
print(len(os.listdir("/proc/self/task")) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) <= 32


def test_small_work_starts_no_thread():
    program = """
import os, numpy as np, ironstep
from ironstep import functional
before = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else None
ironstep.set_num_threads(4)
functional.sgd([np.ones(1000)], [np.ones(1000)], lr=0.1)
assert before is None or os.listdir("/proc/self/task") == before
"""
    subprocess.run([sys.executable, "-c", program], check=True)
