"""Input that is made to crash, hang or corrupt, and what happens instead.

Each attack runs in a process of its own: one that succeeds must not take the test run with it.
"""

import subprocess
import sys

import pytest

START = """
import numpy as np
from numpy.lib.stride_tricks import as_strided
from ironstep import functional, _native

def raises(error, call, text=""):
    try:
        call()
    except error as caught:
        assert text in str(caught), caught
    else:
        raise AssertionError("nothing was raised")

SGD = dict(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)

def update(rule="sgd", operands=None, options=SGD, steps=(1,), **more):
    if operands is None:
        operands = [("params", [np.ones(3)]), ("grads", [np.ones(3)])]
    return _native.update(rule, operands, options, list(steps), **more)
"""

ATTACKS = {
    # An enormous range of addresses between the first element and the last.
    "sparse-memory": """
import os, tempfile
with tempfile.TemporaryFile() as file:
    memory = np.memmap(file, "f8", "w+", shape=2**36)
    params = [memory[i :: 2**33] for i in range(2)]
    functional.sgd(params, [np.ones(8), np.ones(8)], lr=0.5)
    assert all((param == -0.5).all() for param in params)
""",
    # As many elements as one likes, all of them the same.
    "folded-parameter": """
folded = as_strided(np.ones(1), (2**40,), (0,))
raises(ValueError, lambda: functional.sgd([folded], [folded], lr=0.1), "memory")
import torch
expanded = torch.ones(1).expand(2**20, 2**20)
raises(ValueError, lambda: functional.sgd([expanded], [expanded], lr=0.1), "memory")
""",
    "folded-parameter-with-a-gradient-of-its-own": """
folded = as_strided(np.ones(1), (2**40,), (0,))
grad = as_strided(np.ones(1), (2**40,), (0,))
raises(ValueError, lambda: functional.sgd([folded], [grad], lr=0.1), "memory")
""",
    # Objects that change things while they are asked for something.
    "list-that-shrinks": """
params, grads = [np.ones(3) for _ in range(9)], [np.ones(3) for _ in range(9)]
class Shrinking(float):
    def __ge__(self, other):
        params.clear(), grads.clear()
        return True
functional.sgd(params, grads, lr=Shrinking(0.1))
class Shrinking:
    def __init__(self): self.lists = params, grads
    def __ge__(self, other): return True
    def __float__(self):
        for list_ in self.lists: list_.clear()
        return 0.1
params, grads = [np.ones(3) for _ in range(9)], [np.ones(3) for _ in range(9)]
functional.sgd(params, grads, lr=Shrinking())
""",
    "array-that-is-resized-while-options-are-read": """
params = [np.ones(1000), np.ones(1000)]
class Resizing:
    def __ge__(self, other): return True
    def __float__(self):
        for param in params: param.resize(1, refcheck=False)
        return 0.1
grads = [np.ones(1000), np.ones(1000)]
raises(ValueError, lambda: functional.sgd(params, grads, lr=Resizing()), "shape")
assert [p.tolist() for p in params] == [[1], [1]]
""",
    "array-that-is-resized-while-arrays-are-borrowed": """
param = np.ones(1000)
class Resizing:
    def __dlpack__(self, **options):
        param.resize(1, refcheck=False)
        return np.ones(1000).__dlpack__(**options)
    def __dlpack_device__(self): return (1, 0)
raises(ValueError, lambda: functional.sgd([param], [Resizing()], lr=0.1), "shape")
assert param.tolist() == [1]
""",
    "numbers-that-raise": """
class Raising:
    def __ge__(self, other): return True
    def __float__(self): raise RuntimeError("no number")
    def __index__(self): raise RuntimeError("no index")
    def __bool__(self): raise RuntimeError("no truth")
x = [np.ones(3)]
raises(RuntimeError, lambda: functional.sgd(x, x, lr=Raising()), "no number")
raises(RuntimeError, lambda: functional.sgd(x, x, lr=0.1, maximize=Raising()), "no truth")
raises((RuntimeError, TypeError), lambda: functional.adam(x, x, x, x, lr=0.1, steps=[Raising()]))
assert x[0].tolist() == [1, 1, 1]
""",
    # A dictionary whose look-up raises must not leave its exception for somebody else to find.
    "keys-that-raise": """
class Key:
    def __init__(self, name): self.name = name
    def __hash__(self): return hash(self.name)
    def __eq__(self, other): raise RuntimeError("no key")
for name in [*SGD, "maximize"]:
    options = {key: value for key, value in SGD.items() if key != name} | {Key(name): 1}
    raises((RuntimeError, KeyError), lambda: update(options=options))
""",
    # The extension itself, without the checks that Python makes.
    "native-arguments": """
raises(ValueError, lambda: update("adamax"))
raises(TypeError, lambda: update(None))
for operands in ([], [("a", [])], [("a", [np.ones(3)])] * 3, [("a", [])] * 9):
    raises(ValueError, lambda: update(operands=operands))
for operands in (None, {}, "ab", [1, 2], [("a", 1), ("b", 2)], [(1, []), (2, [])]):
    raises((TypeError, ValueError), lambda: _native.update("sgd", operands, SGD, [1]))
raises(ValueError, lambda: update(operands=[("\\ud800", [np.ones(3)]), ("g", [np.ones(3)])]))
for steps in ([], [1, 2], [-1], [2**64], [0.5], ["1"]):
    raises((ValueError, TypeError, OverflowError), lambda: update(steps=steps))
raises(KeyError, lambda: update(options={}))
raises(TypeError, lambda: update(options=None))
for rule in ("sgd", "adagrad", "rmsprop", "adam"):
    raises(KeyError, lambda: update(rule, options={}))
""",
    "native-numbers": """
for number in (float("nan"), float("inf"), -1.0, 0.0, 1e308, 5e-324):
    everything = dict.fromkeys(
        ["lr", "momentum", "dampening", "weight_decay", "lr_decay", "eps", "alpha"], number
    ) | dict(betas=(number, number), nesterov=1, centered=1, amsgrad=1, eps_inside_sqrt=1)
    for rule in ("sgd", "adagrad", "rmsprop", "adam"):
        for n in range(2, 7):
            operands = [(str(i), [np.ones(3)]) for i in range(n)]
            try:
                update(rule, operands, everything, [0], first=True, max_norm=number)
            except ValueError:
                pass
for betas in (None, 1, (), (1,), (1, 2, 3), "ab", {}, [0.9, 0.99], ("a", "b")):
    operands = [(str(i), [np.ones(3)]) for i in range(4)]
    try:
        update("adam", operands, dict(lr=1, betas=betas, eps=1, weight_decay=0))
    except (TypeError, ValueError):
        pass
""",
    "tensors-in-transforms": """
import torch
x = torch.ones(2, 3)
raises(TypeError, lambda: torch.vmap(lambda a: functional.sgd([a], [a], lr=0.1))(x))
raises(TypeError, lambda: torch.func.grad(lambda a: functional.sgd([a], [a], lr=0.1))(x))
assert x.eq(1).all()
""",
    "tensors-whose-storage-is-gone": """
import torch
x = torch.ones(1000)
x.untyped_storage().resize_(0)
raises(TypeError, lambda: functional.sgd([x], [torch.ones(1000)], lr=0.1))
raises(TypeError, lambda: functional.sgd([torch.ones(1000)], [x], lr=0.1))
""",
    "arrays-without-bytes": """
nothing = np.dtype((type("bfloat16", (np.void,), {}), 0))
raises(TypeError, lambda: functional.sgd([np.zeros(9, nothing)], [np.zeros(9, nothing)], lr=0.1))
""",
    "one-array-and-many-callers": """
import threading
param, grad = np.zeros(300_000), np.ones(300_000)
def work():
    for _ in range(10):
        functional.sgd([param], [grad], lr=1.0)
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
assert np.isfinite(param).all()
""",
    "a-step-inside-of-a-step": """
inner = np.ones(3)
class Stepping:
    def __ge__(self, other): return True
    def __float__(self):
        functional.sgd([inner], [np.ones(3)], lr=0.5)
        return 0.5
functional.sgd([inner], [np.ones(3)], lr=Stepping())
assert inner.tolist() == [0, 0, 0]
""",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_nothing_crashes_hangs_or_is_corrupted(attack):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", START + attack],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr[-2000:]
