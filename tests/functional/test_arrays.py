"""What counts as an array: numpy's of any layout, torch's on the CPU, all that shares memory."""

import array
import ctypes
import mmap
import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import as_strided
from torch import nn

from functional.cases import (
    BFLOAT16,
    CONFIGS,
    DTYPES,
    arrays,
    assert_same_bits,
    bits,
    copies,
    each_dtype,
    each_form,
    noise,
    operands,
    step,
)
from ironstep import functional

FULL = dict(lr=0.1, amsgrad=True, weight_decay=0.1)


def stretched(values, width=2):
    """Every `width`-th element of each dimension of a buffer."""
    buffer = np.zeros([width * size + 1 for size in values.shape], values.dtype)
    view = buffer[(*(slice(1, 1 + width * size, width) for size in values.shape), ...)]
    view[...] = values
    return view


def flipped(values):
    view = np.array(values)[(*(slice(None, None, -1),) * values.ndim, ...)]
    view[...] = values
    return view


def fortran(values):
    return np.array(values, order="F")


def permuted(values):
    """The last dimension outermost: channels last, for images."""
    return np.moveaxis(np.moveaxis(values, -1, 0).copy(), 0, -1) if values.ndim else values.copy()


def unaligned(values):
    buffer = np.zeros(values.nbytes + 1, np.uint8)
    view = buffer[1:].view(values.dtype)[: values.size].reshape(values.shape)
    view[...] = values
    return view


def record_field(values):
    records = np.zeros(values.shape, [("before", values.dtype), ("value", values.dtype)])
    records["value"] = values
    return records["value"]


def read_only(values):
    values = np.array(values)
    values.flags.writeable = False
    return values


LAYOUTS = {
    "stretched": stretched,
    "flipped": flipped,
    "fortran": fortran,
    "permuted": permuted,
    "unaligned": unaligned,
    "record-field": record_field,
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@each_layout
@each_dtype
@pytest.mark.parametrize("which", ["params", "grads", "exp_avgs", "all"])
def test_a_layout_changes_nothing_but_where_the_numbers_lie(which, dtype, layout):
    plain = operands("adam", FULL, arrays(dtype))
    laid_out = {
        name: [layout(a) if which in (name, "all") else a.copy() for a in list_]
        for name, list_ in plain.items()
    }
    step("adam", plain, FULL, 3)
    step("adam", laid_out, FULL, 3)
    assert_same_bits(laid_out, plain)


@each_form
def test_every_rule_takes_every_list_in_its_own_layout(function, kwargs):
    plain = operands(function, kwargs, arrays(np.float32))
    choices = list(LAYOUTS.values())
    laid_out = {
        name: [choices[(i + j) % len(choices)](a) for j, a in enumerate(list_)]
        for i, (name, list_) in enumerate(plain.items())
    }
    step(function, plain, kwargs, 3)
    step(function, laid_out, kwargs, 3)
    assert_same_bits(laid_out, plain)


@pytest.mark.parametrize("layout", [stretched, unaligned], ids=["stretched", "unaligned"])
@each_dtype
def test_what_lies_between_the_elements_is_not_touched(dtype, layout):
    lists = operands("adam", FULL, arrays(dtype))
    lists = {name: [layout(a) for a in list_] for name, list_ in lists.items()}
    held = {name: [a.base for a in list_] for name, list_ in lists.items()}

    def between():
        for name, buffers in held.items():
            for view, base in zip(lists[name], buffers, strict=True):
                base = base if isinstance(base, np.ndarray) else view
                while isinstance(base.base, np.ndarray):
                    base = base.base
                inside = np.zeros(base.nbytes, bool)
                start = view.ctypes.data - base.ctypes.data
                if view.size:
                    strides = (*view.strides, 1)
                    as_strided(inside[start:], (*view.shape, view.itemsize), strides)[...] = True
                yield base.reshape(-1).view(np.uint8)[~inside].tobytes()

    before = list(between())
    step("adam", lists, FULL, 3)
    assert list(between()) == before


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4)])
def test_a_gradient_may_be_broadcast_or_read_only(shape):
    for grad in (np.broadcast_to(np.float64(0.3), shape), read_only(np.full(shape, 0.3))):
        lists = operands("adam", FULL, arrays(shapes=[shape])) | {"grads": [grad]}
        plain = copies(lists)
        step("adam", lists, FULL)
        step("adam", plain, FULL)
        assert_same_bits(lists, plain)


def test_one_gradient_may_serve_several_parameters():
    params, grad = [np.ones(3), np.ones(3)], np.arange(3.0)
    functional.sgd(params, [grad, grad], lr=1.0)
    for param in params:
        assert param.tolist() == [1, 0, -1]


def test_a_dimension_of_size_1_may_have_any_stride():
    records = np.zeros(1, [("value", "f8"), ("odd", "f4")])
    assert records["value"].strides == (12,)
    functional.sgd([records["value"]], [np.ones(1)], lr=1.0)
    assert records["value"][0] == -1


def test_there_may_be_nothing_to_do():
    functional.sgd([], [], lr=0.1)
    functional.adam([], [], [], [], steps=1, lr=0.1)
    functional.adam([], [], [], [], steps=[], lr=0.1)
    functional.adam((), (), (), (), steps=(), lr=0.1)
    empty = [np.zeros((0, 3)), np.zeros((2, 0))[:, ::-1], np.zeros((3, 0, 2)).T]
    functional.sgd(empty, [a.copy() for a in empty], lr=0.1)


def test_more_dimensions_than_anybody_has():
    # 32 is what numpy before 2.0 can.
    for shape in [(1,) * 32, (1, 2) * 10 + (1,) * 12]:
        param = np.ones(shape).transpose(np.random.default_rng(0).permutation(32))
        functional.sgd([param], [np.full(param.shape, 0.5)], lr=1.0)
        assert (param == 0.5).all()


def test_many_small_arrays_are_one_call():
    params = [np.full(2, float(i)) for i in range(3000)]
    functional.sgd(params, [np.ones(2) for _ in params], lr=1.0)
    assert [p[0] for p in params] == [i - 1.0 for i in range(3000)]


@pytest.mark.parametrize("rows", [1, 3, 1023, 1024, 1025, 2049])
@pytest.mark.parametrize("cols", [1, 2, 31, 33])
def test_a_transposed_gradient_at_the_edges_of_blocks(rows, cols):
    param, grad = noise("params", 0, (rows, cols)), noise("grads", 0, (cols, rows)).T
    expected = param - 0.5 * grad
    functional.sgd([param], [grad], lr=0.5)
    np.testing.assert_array_equal(param, expected)


@each_dtype
@pytest.mark.parametrize("shape", [(4, 130, 70), (30, 90, 70), (9, 65, 513), (3, 2, 130, 70)])
def test_stacked_matrices_with_transposed_gradients(shape, dtype):
    param, grad = np.ones(shape, dtype), np.full((*shape[:-2], *shape[:-3:-1]), 0.5, dtype)
    sliced = np.ones((*shape[:-2], shape[-2] + 1, shape[-1] + 1), dtype)[..., :-1, :-1]
    for p in (param, sliced):
        functional.sgd([p], [grad.swapaxes(-1, -2)], lr=1.0)
        assert (p == 0.5).all()


def test_lists_may_mix_dtypes():
    shapes = [(5,)] * 4
    lists = operands("adam", FULL, arrays(shapes=shapes))
    mixed = {
        name: [a.astype(dtype) for a, dtype in zip(list_, DTYPES, strict=True)]
        for name, list_ in lists.items()
    }
    alone = {name: [a.copy() for a in list_] for name, list_ in mixed.items()}
    step("adam", mixed, FULL, 2)
    for i in range(4):
        step("adam", {name: [list_[i]] for name, list_ in alone.items()}, FULL, 2)
    assert_same_bits(mixed, alone)


class Exporter:
    """An object that offers its memory through the DLPack protocol alone."""

    def __init__(self, values, device=(1, 0)):
        self.values, self.device = values, device

    def __dlpack__(self, **options):
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


SHARING = {
    "array.array": lambda: array.array("d", [1, 2, 3]),
    "array.array-float": lambda: array.array("f", [1, 2, 3]),
    "memoryview": lambda: memoryview(array.array("d", [1, 2, 3])),
    "ctypes": lambda: (ctypes.c_double * 3)(1, 2, 3),
    "recarray": lambda: np.rec.fromarrays([[1.0, 2.0, 3.0]], names="a").a,
    "subclass": lambda: np.array([1.0, 2, 3]).view(type("Mine", (np.ndarray,), {})),
}


# Before, what numpy takes from others by DLPack is read-only.
if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
    SHARING["dlpack"] = lambda: Exporter(np.array([1.0, 2, 3]))
    SHARING["dlpack-of-torch"] = lambda: Exporter(torch.tensor([1.0, 2, 3]))


@pytest.mark.parametrize("make", SHARING.values(), ids=SHARING)
def test_memory_is_shared_with(make):
    param, grad = make(), make()

    def values(obj):
        return np.array(obj.values.tolist() if isinstance(obj, Exporter) else obj)

    before, step_ = values(param), values(grad)
    functional.sgd([param], [grad], lr=0.5)
    assert (values(param) == before - 0.5 * step_).all()
    assert (values(grad) == step_).all()


def test_memory_of_a_file_is_shared():
    with tempfile.TemporaryFile() as file:
        file.write(np.ones(4).tobytes())
        file.flush()
        with mmap.mmap(file.fileno(), 32) as mapped:
            param = np.frombuffer(mapped)
            functional.sgd([param], [np.ones(4)], lr=0.5)
            del param
        file.seek(0)
        assert np.frombuffer(file.read()).tolist() == [0.5] * 4


def test_a_memoryview_of_several_dimensions():
    param = np.ones((3, 4))
    functional.sgd([memoryview(param)[::-2]], [np.ones((2, 4))], lr=0.5)
    assert param[:, 0].tolist() == [0.5, 1, 0.5]


# torch


def tensors(dtype=torch.float64):
    def make(name):
        return [torch.from_numpy(a).to(dtype) for a in arrays()(name)]

    return make


TORCH_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def as_bits(tensor):
    """A numpy array of the same bits: numpy has no bfloat16 of its own."""
    same_size = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.detach().contiguous().view(same_size).numpy()


@each_form
@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_tensors_and_arrays_get_the_same_bits(dtype, function, kwargs):
    of_torch = operands(function, kwargs, tensors(dtype))
    numpys = BFLOAT16 if dtype == torch.bfloat16 else of_torch["params"][0].numpy().dtype
    of_numpy = {
        name: [as_bits(t).copy().view(numpys) for t in list_] for name, list_ in of_torch.items()
    }
    step(function, of_torch, kwargs, 2)
    step(function, of_numpy, kwargs, 2)
    of_torch = {name: [as_bits(t) for t in list_] for name, list_ in of_torch.items()}
    assert_same_bits(of_torch, of_numpy)


def test_tensors_and_arrays_may_stand_in_one_list():
    mixed = operands("adam", FULL, arrays())
    plain = copies(mixed)
    for i, list_ in enumerate(mixed.values()):
        for j, a in enumerate(list_):
            if (i + j) % 2:
                list_[j] = torch.from_numpy(a)
    step("adam", mixed, FULL, 2)
    step("adam", plain, FULL, 2)
    assert_same_bits(mixed, plain)


TORCH_LAYOUTS = {
    "transposed": lambda t: t.t().contiguous().t(),
    "sliced": lambda t: torch.zeros(9, 11, dtype=t.dtype)[1::2, 1::2].copy_(t),
    "offset": lambda t: torch.zeros(100, dtype=t.dtype)[7:27].view(4, 5).copy_(t),
    "parameter": lambda t: nn.Parameter(t.clone()),
    "buffer": lambda t: nn.Buffer(t.clone()) if hasattr(nn, "Buffer") else t.clone(),
    "real-part": lambda t: t.to(torch.complex128).real,
}


@pytest.mark.parametrize("layout", TORCH_LAYOUTS.values(), ids=TORCH_LAYOUTS)
def test_tensors_of_any_layout(layout):
    plain = operands("adam", FULL, arrays(shapes=[(4, 5)]))
    laid_out = {
        name: [layout(torch.from_numpy(a.copy())) for a in list_] for name, list_ in plain.items()
    }
    step("adam", plain, FULL, 2)
    step("adam", laid_out, FULL, 2)
    laid_out = {name: [as_bits(t) for t in list_] for name, list_ in laid_out.items()}
    assert_same_bits(laid_out, plain)


def test_an_expanded_gradient():
    param = torch.ones(3, 4)
    functional.sgd([param], [torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 4)], lr=0.5)
    assert (param == torch.tensor([[0.5], [0.0], [-0.5]])).all()


def test_every_written_tensor_tells_autograd():
    lists = operands("adam", FULL, tensors())
    step("adam", lists, FULL)
    for name, list_ in lists.items():
        for tensor in list_:
            assert tensor._version == (name != "grads"), name


def test_a_step_between_two_backwards_raises_as_torchs_does():
    weight = torch.ones(3, requires_grad=True)
    loss = (weight * weight).sum()
    loss.backward(retain_graph=True)
    functional.sgd([weight], [weight.grad], lr=0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_tensors_made_in_inference_mode():
    with torch.inference_mode():
        param, grad = torch.ones(3), torch.ones(3)
        functional.sgd([param], [grad], lr=0.5)
    assert param.tolist() == [0.5] * 3


@pytest.mark.skipif(not hasattr(torch, "_lazy_clone"), reason="this torch has no such tensors")
def test_a_copy_on_write_tensor_is_copied_on_write():
    original = torch.ones(3)
    clone = torch._lazy_clone(original)
    functional.sgd([clone], [torch.ones(3)], lr=0.5)
    assert (original.tolist(), clone.tolist()) == ([1] * 3, [0.5] * 3)


def test_the_way_that_older_torch_is_read_gives_the_same():
    program = """
import hashlib, torch, ironstep
from ironstep import functional
torch.manual_seed(0)
make = lambda: [
    torch.randn(5, 7), torch.randn(7, 5).t(), torch.randn(10, 7)[::2], torch.randn(()),
    torch.randn(0, 3), torch.randn(2, 3).bfloat16(), torch.randn(4, 4).double(),
    torch.randn(3).half(),
]
lists = [make() for _ in range(4)]
lists[3] = [t.abs() for t in lists[3]]
functional.adam(*lists, steps=3, lr=0.1)
digest = hashlib.sha256()
for list_ in lists:
    for tensor in list_:
        digest.update(tensor.double().numpy().tobytes())
for bad in (torch.ones(3, device="meta"), torch.ones(3).to_sparse(), torch.ones(3).int(),
            torch.ones(3, dtype=torch.complex64).conj().imag):
    try:
        functional.sgd([torch.ones(3)], [bad], lr=0.1)
    except TypeError as error:
        print(error)
print(ironstep.config()["memory"], digest.hexdigest())
"""
    outputs = {}
    for path in ("data_ptr", ""):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"IRONSTEP_MEMORY": path},
            capture_output=True,
            text=True,
            check=True,
        )
        *errors, last = done.stdout.splitlines()
        memory, digest = last.split()
        outputs[path] = (errors, digest)
        if path:
            assert memory == path
    assert outputs["data_ptr"] == outputs[""]
    assert len(outputs[""][0]) == 4


@pytest.mark.parametrize("function", sorted({name for name, _ in CONFIGS.values()}))
def test_keywords_are_torchs_names(function):
    lists = operands(function, {}, arrays())
    positional = copies(lists)
    steps = {} if function in ("sgd", "rmsprop") else {"steps": 2}
    getattr(functional, function)(**lists, **steps, lr=0.1)
    getattr(functional, function)(*positional.values(), **steps, lr=0.1)
    assert_same_bits(lists, positional)
    assert bits(lists["params"][2]) != bits(arrays()("params")[2])
