"""The functions under test, their configurations, and arrays for them."""

import contextlib

import ml_dtypes
import numpy as np
import pytest
import torch

import oracles
from ironstep import functional

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = (np.dtype("f8"), np.dtype("f4"), np.dtype("f2"), BFLOAT16)

# Every branch of every rule is in one of these.
CONFIGS = {
    "sgd": ("sgd", dict(lr=0.05)),
    "sgd-decay-maximize": ("sgd", dict(lr=0.05, weight_decay=0.1, maximize=True)),
    "sgd-momentum-dampening": ("sgd", dict(lr=0.05, momentum=0.9, dampening=0.3)),
    "sgd-nesterov-decay": ("sgd", dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1)),
    "adagrad": ("adagrad", dict(lr=0.05)),
    "adagrad-all": (
        "adagrad",
        dict(lr=0.05, lr_decay=0.1, weight_decay=0.1, eps=1e-3, maximize=True),
    ),
    "rmsprop": ("rmsprop", dict(lr=0.01)),
    "rmsprop-momentum-decay": ("rmsprop", dict(lr=0.01, momentum=0.9, weight_decay=0.1)),
    "rmsprop-centered": ("rmsprop", dict(lr=0.01, centered=True)),
    "rmsprop-all": (
        "rmsprop",
        dict(
            lr=0.01,
            alpha=0.9,
            eps=1e-3,
            momentum=0.5,
            centered=True,
            weight_decay=0.1,
            maximize=True,
        ),
    ),
    "adam": ("adam", dict(lr=0.01)),
    "adam-betas": ("adam", dict(lr=0.01, beta1=0.4, beta2=0.7, eps=1e-3)),
    "adam-amsgrad-decay": ("adam", dict(lr=0.01, amsgrad=True, weight_decay=0.1)),
    "adam-decoupled": ("adam", dict(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)),
    "adamw": ("adamw", dict(lr=0.01)),
    "adamw-amsgrad-maximize": (
        "adamw",
        dict(lr=0.01, amsgrad=True, maximize=True, weight_decay=0.2),
    ),
}
# What torch does not have.
LECTURE = {
    "rmsprop-eps-inside": ("rmsprop", dict(lr=0.01, eps=1e-3, eps_inside_sqrt=True)),
    "rmsprop-eps-inside-all": (
        "rmsprop",
        dict(lr=0.01, eps=1e-3, eps_inside_sqrt=True, momentum=0.5, centered=True),
    ),
    "adam-second": ("adam", dict(lr=0.01, bias_correction="second")),
    "adam-second-amsgrad": ("adam", dict(lr=0.01, bias_correction="second", amsgrad=True)),
    "adamw-second": ("adamw", dict(lr=0.01, bias_correction="second")),
}

each_config = pytest.mark.parametrize(("function", "kwargs"), CONFIGS.values(), ids=CONFIGS)
each_form = pytest.mark.parametrize(
    ("function", "kwargs"), [*CONFIGS.values(), *LECTURE.values()], ids=[*CONFIGS, *LECTURE]
)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
HALVES = (np.dtype("f2"), BFLOAT16)

# The names that torch's optimizers, and the oracles, give to a list's elements.
KEYS = {
    "momentum_buffers": "momentum_buffer",
    "state_sums": "sum",
    "square_avgs": "square_avg",
    "grad_avgs": "grad_avg",
    "exp_avgs": "exp_avg",
    "exp_avg_sqs": "exp_avg_sq",
    "max_exp_avg_sqs": "max_exp_avg_sq",
}


def state_names(function, kwargs):
    needed = {
        "sgd": {"momentum_buffers": kwargs.get("momentum")},
        "adagrad": {"state_sums": True},
        "rmsprop": {
            "square_avgs": True,
            "grad_avgs": kwargs.get("centered"),
            "momentum_buffers": kwargs.get("momentum"),
        },
        "adam": {
            "exp_avgs": True,
            "exp_avg_sqs": True,
            "max_exp_avg_sqs": kwargs.get("amsgrad"),
        },
    }
    return [name for name, need in needed[function.removesuffix("w")].items() if need]


def operands(function, kwargs, make):
    """Lists of what `make(name)` returns a list of, under the names of the function's arguments."""
    return {name: make(name) for name in ["params", "grads", *state_names(function, kwargs)]}


def step(function, lists, kwargs, number=1):
    """Make step `number`; returns what the function returns."""
    own = {}
    if function == "sgd":
        own["first_step"] = number == 1
    elif function != "rmsprop":
        own["steps"] = number
    return getattr(functional, function)(**lists, **own, **kwargs)


SHAPES = ((), (1,), (7,), (3, 5), (2, 3, 4), (0,), (2, 0, 3), (64, 33))


def noise(name, index, shape, dtype=np.float64):
    """Normal numbers that depend on the names alone; what is a mean of squares is 1 to 2."""
    random = np.random.default_rng([index, *name.encode()])
    if name in ("state_sums", "square_avgs", "exp_avg_sqs", "max_exp_avg_sqs"):
        values = random.uniform(1, 2, shape)
    else:
        values = random.normal(size=shape) * (0.1 if name.endswith("avgs") else 1)
    return np.array(values).astype(dtype)


def arrays(dtype=np.float64, shapes=SHAPES):
    """Make arrays with something in every state, in contiguous memory."""
    return lambda name: [noise(name, i, shape, dtype) for i, shape in enumerate(shapes)]


def copies(lists):
    return {name: [np.array(array, order="C") for array in list_] for name, list_ in lists.items()}


def bits(array):
    return np.ascontiguousarray(array).tobytes()


def assert_same_bits(actual, expected):
    assert actual.keys() == expected.keys()
    for name in expected:
        for i, (a, e) in enumerate(zip(actual[name], expected[name], strict=True)):
            assert bits(a) == bits(e), f"{name}[{i}]"


@contextlib.contextmanager
def nothing_changes(*held):
    """Not a byte of these, nor of what they are views of, nor a tensor's version counter."""

    def everything():
        for array in held:
            if isinstance(array, torch.Tensor):
                yield array._version
                yield bytes(array.untyped_storage().tolist())
            else:
                base = array
                while isinstance(base.base, np.ndarray):
                    base = base.base
                yield base.tobytes()

    before = list(everything())
    yield
    assert list(everything()) == before


def oracle(function):
    return getattr(oracles, function)


def oracle_kwargs(kwargs):
    kwargs = dict(kwargs)
    if "beta1" in kwargs:
        kwargs["betas"] = (kwargs.pop("beta1"), kwargs.pop("beta2"))
    return kwargs
