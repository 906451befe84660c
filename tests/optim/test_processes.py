"""Forked and spawned processes, threads, interrupts: every one of them can go on stepping."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch import nn

from optim.cases import FULL, IS_TORCH, NAMES, assert_same, each_name, randn, reference, subject

can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
# Enough work for several threads.
SHAPES = ((300, 301), (64, 64), (7,))
# The gradients never change here, so a variance would end in rounding alone, which may be negative.
CONFIG = FULL | {"RMSprop": FULL["RMSprop"] | {"centered": False}}


def make(name, cls=None, seed=0, **options):
    torch.manual_seed(seed)
    params = [nn.Parameter(randn(*shape)) for shape in SHAPES]
    grads = [randn(*shape) for shape in SHAPES]
    return params, grads, (cls or subject(name))(params, **CONFIG[name], **options)


def run(params, grads, optimizer, steps=3):
    for _ in range(steps):
        for p, grad in zip(params, grads, strict=True):
            p.grad = grad
        optimizer.step()
    return params


def expected(name, steps):
    return [p.detach() for p in run(*make(name, reference(name), foreach=False), steps=steps)]


def child_answer(work, timeout=60):
    """Run `work` in a forked child; its exit status, or None if it hangs."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            os._exit(2)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


@can_fork
@pytest.mark.filterwarnings("ignore:This process .*is multi-threaded:DeprecationWarning")
@each_name
def test_a_child_forked_after_a_step_steps_on(name):
    """The threads of the parent's pool are not in the child."""
    right = expected(name, 5)
    torch.set_num_threads(1)  # torch's own threads are not in the child either
    params, grads, optimizer = make(name)
    run(params, grads, optimizer)

    def work():
        run(params, grads, optimizer, steps=2)
        for p, q in zip(params, right, strict=True):
            assert_same(p, q, ulps=8)
        return True

    assert child_answer(work) == 0
    # The parent's memory is its own, and its pool still works.
    run(params, grads, optimizer, steps=2)
    for p, q in zip(params, right, strict=True):
        assert_same(p, q, ulps=8)


@can_fork
@pytest.mark.filterwarnings("ignore:This process .*is multi-threaded:DeprecationWarning")
def test_children_of_children_step_on():
    torch.set_num_threads(1)
    params, grads, optimizer = make("Adam")
    run(params, grads, optimizer)

    def grandchild():
        run(params, grads, optimizer)
        return True

    def child():
        run(params, grads, optimizer)
        return child_answer(grandchild, timeout=30) == 0

    assert child_answer(child) == 0


@can_fork
@pytest.mark.filterwarnings("ignore:This process .*is multi-threaded:DeprecationWarning")
def test_forking_while_another_thread_steps():
    torch.set_num_threads(1)
    stop, errors = threading.Event(), []

    def stepping():
        try:
            own = make("Adam", seed=1)
            while not stop.is_set():
                run(*own, steps=1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=stepping)
    thread.start()
    try:
        params, grads, optimizer = make("Adam")

        def work():
            run(params, grads, optimizer)
            return True

        answers = [child_answer(work) for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    assert answers == [0] * 5
    assert not errors


def in_a_process(name, queue):
    queue.put([p.detach().numpy().copy() for p in run(*make(name))])


@pytest.mark.parametrize(
    "method", [pytest.param("fork", marks=can_fork), "spawn"], ids=["fork", "spawn"]
)
@pytest.mark.filterwarnings("ignore:This process .*is multi-threaded:DeprecationWarning")
def test_multiprocessing_steps_as_the_parent(method):
    right = expected("Adam", 3)
    torch.set_num_threads(1)
    run(*make("Adam"))
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(target=in_a_process, args=("Adam", queue))
    process.start()
    answer = queue.get()
    process.join(60)
    assert process.exitcode == 0
    for mine, q in zip(answer, right, strict=True):
        assert_same(torch.from_numpy(mine), q, ulps=8)


@pytest.mark.skipif(IS_TORCH, reason="ours only")
@pytest.mark.skipif(
    not os.path.exists("/proc/self/task"), reason="the threads are counted in /proc"
)
def test_no_thread_before_the_first_step_and_few_after():
    code = (
        "import os, torch; torch.set_num_threads(2);"
        "count = lambda: len(os.listdir('/proc/self/task'));"
        "before = count(); import ironstep.optim; after_import = count();"
        "p = torch.nn.Parameter(torch.ones(1000, 1000)); o = ironstep.optim.SGD([p], lr=0.1);"
        "p.grad = torch.ones(1000, 1000); made = count(); o.step(); stepped = count();"
        "print(after_import - before, made - after_import, stepped - made)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    at_import, at_construction, at_step = map(int, done.stdout.split())
    assert at_import == 0
    # torch may start a thread of its own team while it fills the tensors.
    assert at_construction <= 2
    assert at_step <= 2


def test_eight_threads_step_eight_optimizers():
    jobs = [(name, seed) for seed, name in enumerate(NAMES * 2)][:8]
    alone = [
        [p.detach().clone() for p in run(*make(name, seed=seed), steps=20)] for name, seed in jobs
    ]
    made = [make(name, seed=seed) for name, seed in jobs]
    errors = []

    def work(index):
        try:
            run(*made[index], steps=20)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    assert not any(thread.is_alive() for thread in threads)
    for (params, _, _), right in zip(made, alone, strict=True):
        assert all(map(torch.equal, params, right))


@pytest.mark.skipif(IS_TORCH, reason="ours only")
def test_the_number_of_threads_may_change_while_others_step():
    import ironstep

    before = ironstep.get_num_threads()
    stop = threading.Event()
    right = [p.detach().clone() for p in run(*make("Adam", seed=3), steps=50)]
    made = make("Adam", seed=3)

    def change():
        count = 0
        while not stop.is_set():
            count += 1
            ironstep.set_num_threads(1 + count % 4)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        run(*made, steps=50)
    finally:
        stop.set()
        thread.join()
        ironstep.set_num_threads(before)
    assert all(map(torch.equal, made[0], right))


def test_other_threads_run_while_a_step_is_at_work():
    """The interpreter's lock is not held in the kernel: nobody waits for a long step."""
    p = nn.Parameter(torch.zeros(4_000_000))
    p.grad = torch.ones(4_000_000)
    optimizer = subject("Adam")([p])
    stop, ticks = threading.Event(), []

    def tick():
        while not stop.is_set():
            ticks.append(1)
            time.sleep(0)

    thread = threading.Thread(target=tick)
    thread.start()
    for _ in range(5):
        optimizer.step()
    stop.set()
    thread.join()
    assert ticks


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no interval timer")
@each_name
def test_an_interrupt_leaves_a_usable_optimizer(name):
    """Ctrl-C at any moment of a step: what can be done afterwards can still be done."""
    params, grads, optimizer = make(name)
    run(params, grads, optimizer, steps=1)

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # an interrupt that falls into one of its callbacks is lost by Python itself
    try:
        for attempt in range(20):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes at any moment
                # And again: one that is lost must fail the test, not hang it.
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + 0.0003 * attempt, 0.5)
                run(params, grads, optimizer, steps=10**6)
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.enable()
    steps = {int(state["step"]) for state in optimizer.state.values() if "step" in state}
    # torch's loop stops between two parameters; ours makes a step whole or not at all.
    assert IS_TORCH or len(steps) <= 1
    # From here on it is as any other.
    twin_params = [nn.Parameter(p.detach().clone()) for p in params]
    twin = reference(name)(twin_params, foreach=False, **CONFIG[name])
    for p, q in zip(params, twin_params, strict=True):
        for key, value in optimizer.state[p].items():
            twin.state[q][key] = value.clone()
    run(params, grads, optimizer)
    run(twin_params, grads, twin)
    for p, q in zip(params, twin_params, strict=True):
        assert_same(p, q, ulps=16)
