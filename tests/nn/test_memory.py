"""Kept memory is given out again when nobody has it any more, and never before."""

import os
import random
import threading

import pytest
import torch

import ironstep
from ironstep.nn import _memory
from processes import elsewhere

SHAPE = (4, 8, 64, 64)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(_memory, "_kept", [])


def like(shape=SHAPE, **options):
    return _memory.empty_like(torch.empty(shape, **options))


def test_memory_that_nobody_has_is_used_again():
    first = like()
    place = first.data_ptr()
    del first
    assert like().data_ptr() == place


HOLDERS = {
    "tensor": lambda y: y,
    "view": lambda y: y[0, 0],
    "detached": lambda y: y.detach(),
    "numpy": lambda y: y.numpy(),
    "numpy-view": lambda y: y.numpy()[0, 0],
    "dlpack": lambda y: torch.from_dlpack(y),
    "storage": lambda y: y.untyped_storage(),
    "typed-storage": lambda y: torch.storage.TypedStorage(
        wrap_storage=y.untyped_storage(), dtype=y.dtype, _internal=True
    ),
    "graph": lambda y: (torch.ones((), requires_grad=True) * y).sum(),
    "parameter": lambda y: torch.nn.Parameter(y),
    "memoryview": lambda y: memoryview(y.numpy()),
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
def test_memory_that_somebody_has_is_left_alone(hold):
    first = like()
    place = first.data_ptr()
    held = hold(first)
    del first
    second = like()
    assert second.data_ptr() != place
    del held, second
    assert place in {y.data_ptr() for y in [like(), like()]}


@pytest.mark.parametrize("last", [False, True], ids=["row-major", "channels-last"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_shape_strides_and_type_are_those_of_torch(last, dtype):
    x = torch.randn(SHAPE).to(dtype)
    x = x.to(memory_format=torch.channels_last) if last else x
    got, wanted = _memory.empty_like(x), torch.empty_like(x)
    assert (got.shape, got.stride(), got.dtype) == (wanted.shape, wanted.stride(), wanted.dtype)
    assert not got.requires_grad
    assert got.is_leaf
    assert not got._is_view()


@pytest.mark.parametrize(
    "x",
    [torch.randn(8, 8, 64, 128)[:, :, :, ::2], torch.randn(64, 1, 1, 1).expand(64, 64, 32, 32)],
    ids=["with-gaps", "expanded"],
)
def test_where_x_is_not_dense_torch_decides(x):
    got, wanted = _memory.empty_like(x), torch.empty_like(x)
    assert got.stride() == wanted.stride()
    assert not _memory._kept


def test_what_was_resized_or_shared_is_not_given_out():
    for change in (
        lambda y: y.untyped_storage().resize_(0),
        lambda y: y.untyped_storage().resize_(2 * y.nbytes),
        lambda y: y.share_memory_(),
    ):
        y = like()
        change(y)
        del y
        fresh = like()
        assert fresh.untyped_storage().nbytes() == fresh.nbytes
        assert not fresh.is_shared()
        fresh.fill_(1.0)
        _memory._kept.clear()


def test_no_more_is_kept_than_said(monkeypatch):
    size = like().nbytes
    monkeypatch.setattr(_memory, "MOST", 3 * size)
    outputs = [like() for _ in range(10)]
    assert len(_memory._kept) == 3
    assert len({y.data_ptr() for y in outputs}) == 10
    del outputs
    like((2, *SHAPE))
    assert sum(kept.size for kept in _memory._kept) <= 3 * size
    like((4, *SHAPE))  # larger than all that may be kept
    assert sum(kept.size for kept in _memory._kept) <= 3 * size


def test_an_error_in_the_allocation_leaves_nothing_behind(monkeypatch):
    class Failing:
        def __init__(self, size, device):
            raise RuntimeError("no memory")

    monkeypatch.setattr(torch, "UntypedStorage", Failing)
    with pytest.raises(RuntimeError, match="no memory"):
        like()
    monkeypatch.undo()
    assert like().shape == SHAPE


def test_whatever_is_held_keeps_its_values():
    def work(seed, failures):
        choose = random.Random(seed)
        held = []
        for value in range(200):
            y = like(choose.choice([SHAPE, (2, *SHAPE)])).fill_(value + seed)
            held.append((choose.choice(list(HOLDERS.values()))(y), y, value + seed))
            if choose.random() < 0.6:
                held.pop(choose.randrange(len(held)))
            failures += [v for _, y, v in held if not bool((y == v).all())]

    failures = []
    threads = [threading.Thread(target=work, args=(1000 * t, failures)) for t in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize("activation", [None, "relu"])
def test_layers_in_a_row_have_the_gradients_of_fresh_memory(activation, monkeypatch):
    def run():
        torch.manual_seed(0)
        layers = [ironstep.nn.BatchNorm2d(8, activation=activation) for _ in range(5)]
        x = torch.randn(SHAPE)
        results = []
        for _ in range(3):
            x.requires_grad_().grad = None
            y = x
            for layer in layers:
                y = layer(y, residual=y.detach() if activation else None)
            y.square().sum().backward()
            results += [y.detach().clone(), x.grad.clone()]
            x = x.detach().clone()
        return results

    kept = run()
    assert _memory._kept
    monkeypatch.setattr(_memory, "SMALLEST", 1 << 60)
    for got, wanted in zip(kept, run(), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_was_forked_while_the_memory_was_asked_for_goes_on():
    code = """
import os, torch
from ironstep.nn import _memory
x = torch.empty(4, 8, 64, 64)
_memory.empty_like(x)
with _memory._lock:
    child = os.fork()
    if child == 0:
        _memory.empty_like(x).fill_(1.0)
        os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    assert elsewhere(code) == 0
