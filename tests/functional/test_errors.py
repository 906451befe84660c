"""Whatever is wrong, and wherever it stands: the exception names it, and not a byte has changed."""

import array
import re
import warnings

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import as_strided
from torch._subclasses import FakeTensorMode

from functional.cases import BFLOAT16, arrays, noise, nothing_changes, operands, step
from ironstep import functional

SHAPES = [(4,), (2, 3), (5,)]
KWARGS = dict(lr=0.1, amsgrad=True)


def lists_of(function="adam", kwargs=KWARGS, dtype=np.float64):
    return operands(function, kwargs, arrays(dtype, SHAPES))


def refused(exception, message, function="adam", lists=None, number=2, **kwargs):
    """The call raises this, and what the lists hold stays as it is."""
    kwargs = KWARGS | kwargs if function == "adam" else dict(lr=0.1) | kwargs
    lists = lists_of(function, kwargs) if lists is None else lists
    held = [a for list_ in lists.values() if isinstance(list_, list) for a in list_ if holds(a)]
    with nothing_changes(*held), pytest.raises(exception, match=message):
        step(function, lists, kwargs, number)


def holds(obj):
    if isinstance(obj, torch.Tensor):
        return (
            type(obj) is torch.Tensor and obj.layout == torch.strided and obj.device.type == "cpu"
        )
    return isinstance(obj, np.ndarray) and obj.dtype != object


def replaced(name, value, index=-1):
    """Good lists, but for one array; by default the last of its list, when others have passed."""
    lists = lists_of()
    lists[name][index] = value(lists[name][index]) if callable(value) else value
    return lists


NAMES = ["params", "grads", "exp_avgs", "exp_avg_sqs", "max_exp_avg_sqs"]
each_name = pytest.mark.parametrize("name", NAMES)
WRITTEN = [name for name in NAMES if name != "grads"]


class Subclass(torch.Tensor):
    pass


def fake():
    with FakeTensorMode():
        return torch.ones(5, dtype=torch.float64)


def freed():
    tensor = torch.ones(5, dtype=torch.float64)
    tensor.untyped_storage().resize_(0)
    return tensor


Void = type("float", (np.void,), {})  # numpy calls the dtype of 8 of its bytes "float64"

WRONG_TYPES = {
    "list": [1.0] * 5,
    "tuple": (1.0,) * 5,
    "float": 1.0,
    "none": None,
    "str": "abcde",
    "bytes": bytes(40),
    "int64": np.ones(5, "i8"),
    "bool": np.ones(5, "?"),
    "complex": np.ones(5, "c16"),
    "longdouble": np.ones(5, "g") if np.dtype("g") != np.dtype("d") else np.ones(5, "i8"),
    "object": np.ones(5, object),
    "text": np.full(5, "a"),
    "datetime": np.zeros(5, "M8[s]"),
    "record": np.zeros(5, [("a", "f8")]),
    "void-named-float64": np.zeros(5, np.dtype((Void, 8))),
    "foreign-order": np.ones(5, np.dtype("f8").newbyteorder()),
    "foreign-order-memory": memoryview(array.array("d", [1] * 5)).cast("B"),
    "masked": np.ma.array(np.ones(5), mask=[0, 1, 0, 0, 0]),
    "torch-int": torch.ones(5, dtype=torch.int64),
    "torch-complex": torch.ones(5, dtype=torch.complex128),
    "torch-meta": torch.ones(5, dtype=torch.float64, device="meta"),
    "torch-sparse": torch.ones(5, dtype=torch.float64).to_sparse(),
    "torch-negated": torch.ones(5, dtype=torch.complex128).conj().imag,
    "torch-subclass": torch.ones(5, dtype=torch.float64).as_subclass(Subclass),
    "torch-fake": fake(),
    "torch-freed": freed(),
    "torch-uninitialized": torch.nn.UninitializedParameter(dtype=torch.float64),
}


@pytest.mark.parametrize("value", WRONG_TYPES.values(), ids=WRONG_TYPES)
@pytest.mark.parametrize("name", ["params", "grads", "exp_avg_sqs"])
def test_an_array_of_a_wrong_type(name, value):
    refused(TypeError, rf"^{name}\[2\]: ", lists=replaced(name, value))


@each_name
def test_a_wrong_shape(name):
    index = 1 if name == "params" else 2
    for shape in [(6,), (5, 1), (1, 5), (), (0,)]:
        refused(
            ValueError, rf"^\w+\[{index}\]: shape ", lists=replaced(name, np.ones(shape), index)
        )


@each_name
def test_a_dtype_other_than_the_parameters(name):
    index = 1 if name == "params" else 2
    wrong = replaced(name, lambda a: a.astype(np.float32), index)
    refused(TypeError, rf"\w+\[{index}\]: dtype float(32|64) does not match", lists=wrong)


@pytest.mark.parametrize("dtype", [np.dtype("f2"), BFLOAT16], ids=str)
def test_a_half_parameter_takes_float32_states_but_no_float32_gradient(dtype):
    lists = lists_of(dtype=dtype)
    lists["grads"][2] = lists["grads"][2].astype(np.float32)
    refused(TypeError, r"^grads\[2\]: dtype float32 does not match", lists=lists)
    lists = lists_of(dtype=dtype)
    lists["exp_avgs"][2] = lists["exp_avgs"][2].astype(np.float64)
    refused(TypeError, r"^exp_avgs\[2\]: dtype float64 does not match", lists=lists)


def test_float16_and_bfloat16_are_not_each_other():
    lists = lists_of(dtype=np.float16)
    lists["grads"][2] = lists["grads"][2].astype(BFLOAT16)
    refused(TypeError, r"^grads\[2\]: dtype bfloat16 does not match", lists=lists)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_read_only_array(name):
    def lock(a):
        a.flags.writeable = False
        return a

    refused(ValueError, rf"^{name}\[2\]: a read-only array", lists=replaced(name, lock))
    frozen = memoryview(noise(name, 2, (5,)).tobytes()).cast("d")
    refused(ValueError, rf"^{name}\[2\]: a read-only array", lists=replaced(name, frozen))
    scalar = {key: [np.array(a[0][0])] for key, a in lists_of().items()}
    scalar[name][0] = scalar[name][0][()]
    refused(ValueError, rf"^{name}\[0\]: a read-only array", lists=scalar)


@pytest.mark.parametrize("name", WRITTEN)
def test_an_array_that_folds(name):
    folded = as_strided(np.ones(1), (5,), (0,))
    refused(ValueError, rf"{name}\[2\]: memory", lists=replaced(name, folded))
    folded = as_strided(np.ones(4), (2, 3), (8, 8))
    refused(ValueError, rf"{name}\[1\]: memory", lists=replaced(name, folded, 1))
    expanded = torch.ones(1, dtype=torch.float64).expand(5)
    refused(ValueError, rf"{name}\[2\]: memory", lists=replaced(name, expanded))


def test_strides_that_are_no_whole_elements():
    records = np.zeros(5, [("value", "f8"), ("odd", "f4")])
    for name in NAMES:
        refused(ValueError, rf"^{name}\[2\]: strides", lists=replaced(name, records["value"]))


@each_name
def test_a_list_of_another_length(name):
    for change in (lambda a: a[:-1], lambda a: [*a, a[0].copy()], lambda a: []):
        lists = lists_of()
        lists[name] = change(lists[name])
        wanted = "grads" if name == "params" else name
        refused(ValueError, rf"^{wanted}: got \d arrays; \d expected", lists=lists)


@each_name
@pytest.mark.parametrize(
    "value",
    [np.ones((3, 4)), torch.ones(3, 4), None, 1.0, "abc", {0: np.ones(4)}, iter([np.ones(4)])],
    ids=lambda value: type(value).__name__,
)
def test_something_that_is_no_list(name, value):
    error = ValueError if value is None and name == "max_exp_avg_sqs" else TypeError
    refused(
        error,
        f"^{name}: got {'None' if value is None else type(value).__name__}",
        lists=lists_of() | {name: value},
    )


@pytest.mark.parametrize(
    ("function", "kwargs", "name"),
    [
        ("sgd", dict(momentum=0.9), "momentum_buffers"),
        ("rmsprop", dict(momentum=0.9), "momentum_buffers"),
        ("rmsprop", dict(centered=True), "grad_avgs"),
        ("adam", dict(amsgrad=True), "max_exp_avg_sqs"),
        ("adamw", dict(amsgrad=True), "max_exp_avg_sqs"),
    ],
)
def test_a_list_that_the_options_need_and_that_is_missing(function, kwargs, name):
    lists = lists_of(function, kwargs)
    del lists[name]
    refused(ValueError, f"^{name}: ", function, lists, **kwargs)


# Numbers

NUMBERS = {
    "sgd": ["lr", "momentum", "dampening", "weight_decay", "clip_grad_norm"],
    "adagrad": ["lr", "lr_decay", "weight_decay", "eps", "clip_grad_norm"],
    "rmsprop": ["lr", "alpha", "eps", "weight_decay", "momentum", "clip_grad_norm"],
    "adam": ["lr", "beta1", "beta2", "eps", "weight_decay", "clip_grad_norm"],
    "adamw": ["lr", "beta1", "beta2", "eps", "weight_decay", "clip_grad_norm"],
}
each_number = pytest.mark.parametrize(
    ("function", "name"), [(function, name) for function in NUMBERS for name in NUMBERS[function]]
)


@each_number
@pytest.mark.parametrize("value", [-1e-9, -1, float("-inf"), float("nan")])
def test_a_number_below_0(function, name, value):
    if name == "dampening":
        pytest.skip("torch takes any dampening")
    refused(ValueError, f"^{name}: ", function, **{name: value})


@each_number
def test_something_that_is_no_number(function, name):
    refused(TypeError, f"^{name}: ", function, **{name: "0.1"})


@pytest.mark.parametrize(
    "value",
    [None, 1j, [0.1], np.array([0.1, 0.2]), object()],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("name", ["lr", "beta1"])
def test_many_things_are_no_number(name, value):
    refused(TypeError, f"^{name}: ", **{name: value})


def test_a_number_too_large_for_a_float():
    refused(ValueError, "^lr: ", lr=10**400)


@pytest.mark.parametrize("function", ["adam", "adamw"])
@pytest.mark.parametrize("name", ["beta1", "beta2"])
@pytest.mark.parametrize("value", [1.0, 1.5, float("inf")])
def test_a_beta_of_1_or_more(name, value, function):
    refused(ValueError, f"^{name}: got {value}", function, **{name: value})


@pytest.mark.parametrize("value", ["first", "", None, True, 2])
def test_an_unknown_bias_correction(value):
    refused(ValueError, "^bias_correction: got", bias_correction=value)


def test_nesterov_without_what_it_needs():
    buffers = lists_of("sgd", dict(momentum=0.9))
    refused(ValueError, "Nesterov", "sgd", nesterov=True)
    refused(ValueError, "Nesterov", "sgd", buffers, nesterov=True, momentum=0.9, dampening=0.1)


@pytest.mark.parametrize("value", [0, -1, -(2**70)])
def test_a_step_before_the_first(value):
    refused(ValueError, r"^steps\[0\]: got ", number=value)
    refused(ValueError, r"^steps\[2\]: got ", number=[1, 1, value])


@pytest.mark.parametrize("value", [2**64, 2**200])
def test_a_step_beyond_counting(value):
    refused(ValueError, r"^steps", number=value)
    refused(ValueError, r"^steps", number=[1, 1, value])


@pytest.mark.parametrize(
    "value",
    [1.0, np.float64(1), "1", None, torch.tensor(1.0), np.array(1.5), object()],
    ids=lambda value: type(value).__name__,
)
def test_a_step_that_is_no_integer(value):
    refused(TypeError, r"^steps", number=value)
    refused(TypeError, r"^steps\[2\]", number=[1, 1, value])


@pytest.mark.parametrize("value", [[], [1], [1, 2], (1, 2, 3, 4), range(1, 6)], ids=repr)
def test_a_wrong_number_of_steps(value):
    refused(ValueError, rf"^steps: got {len(value)} numbers; one or 3 expected", number=value)


def test_arguments_that_are_not_there():
    x = [np.ones(2)]
    for call in (
        lambda: functional.sgd(x, x),
        lambda: functional.sgd(x, lr=1.0),
        lambda: functional.adam(x, x, x, x, lr=1.0),
        lambda: functional.adamw(x, x, x, x, lr=1.0, steps=1, betas=(0.9, 0.99)),
        lambda: functional.adamw(x, x, x, x, lr=1.0, steps=1, decoupled_weight_decay=False),
        lambda: functional.rmsprop(x, x, x, lr=1.0, steps=1),
    ):
        with nothing_changes(*x), pytest.raises(TypeError, match="argument"):
            call()


# Objects that give their memory away, or don't


class Exporter:
    def __init__(self, values, device=(1, 0)):
        self.values, self.device = values, device

    def __dlpack__(self, *, copy=None, **options):
        if copy is False:
            raise BufferError("can only be copied")
        return self.values.copy().__dlpack__(**options)

    def __dlpack_device__(self):
        return self.device


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.1.0",
    reason="this numpy cannot say that it wants no copy",
)
def test_an_object_that_can_only_be_copied():
    refused(TypeError, r"^params\[2\]: ", lists=replaced("params", Exporter(np.ones(5))))


def test_an_object_on_another_device():
    elsewhere = Exporter(np.ones(5), device=(2, 0))
    # Old numpy does not ask for the device; then it is refused because it is read-only.
    refused((TypeError, ValueError), r"^params\[2\]: ", lists=replaced("params", elsewhere))


def test_an_object_that_raises_something_of_its_own():
    class Broken:
        def __dlpack__(self, **options):
            raise RuntimeError("broken")

        def __dlpack_device__(self):
            return (1, 0)

    refused((TypeError, RuntimeError), "broken|params", lists=replaced("params", Broken()))


def test_a_tensor_of_an_unknown_dtype_behind_dlpack():
    class Wrapped:
        def __init__(self, tensor):
            self.__dlpack__ = None
            self.tensor = tensor

        def __dlpack__(self, **options):
            return self.tensor.__dlpack__(**options)

        def __dlpack_device__(self):
            return (1, 0)

    wrapped = Wrapped.__new__(Wrapped)
    wrapped.tensor = torch.ones(5, dtype=torch.bfloat16)
    refused(TypeError, r"^params\[2\]: ", lists=replaced("params", wrapped))


def test_a_released_memoryview():
    view = memoryview(bytearray(40)).cast("d")
    view.release()
    refused((TypeError, ValueError), r"params\[2\]|released", lists=replaced("params", view))


# Tensors that are read or refused without a trace


def test_no_version_counter_moves_when_the_call_is_refused():
    lists = {name: [torch.from_numpy(a) for a in list_] for name, list_ in lists_of().items()}
    lists["max_exp_avg_sqs"][2] = torch.ones(6, dtype=torch.float64)
    refused(ValueError, "shape", lists=lists)
    lists["max_exp_avg_sqs"][2] = lists["params"][0].view(4)[:4].new_ones(5)
    lists["exp_avgs"][0] = lists["params"][0]
    refused(ValueError, "memory", lists=lists)


def test_an_error_names_at_most_what_fits_a_line():
    same = np.ones(4)
    with pytest.raises(ValueError, match="memory") as caught:
        functional.sgd([same] * 1000, [np.ones(4)] * 1000, lr=0.1)
    assert len(str(caught.value)) < 200
    assert re.findall(r"params\[\d+\]", str(caught.value))


def test_nothing_is_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in (1, 2):
            step("adam", lists_of(), KWARGS | dict(lr=np.float32(0.1)), number)
