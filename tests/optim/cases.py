"""The optimizers under test, their configurations, and two optimizers stepped side by side."""

import importlib
import os

import pytest
import torch
from torch import nn

# The suite can be pointed at torch itself: what it claims of drop-in behaviour must hold there too.
SUBJECT = importlib.import_module(os.environ.get("IRONSTEP_TEST_SUBJECT", "ironstep.optim"))
IS_TORCH = SUBJECT is torch.optim
ours_only = pytest.mark.skipif(IS_TORCH, reason="torch makes no such claim")

NAMES = ("SGD", "Adagrad", "RMSprop", "Adam", "AdamW")
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

# Every branch of every rule is in one of these.
CONFIGS = {
    "sgd": ("SGD", dict(lr=0.05)),
    "sgd-decay-maximize": ("SGD", dict(lr=0.05, weight_decay=0.1, maximize=True)),
    "sgd-momentum-dampening": ("SGD", dict(lr=0.05, momentum=0.9, dampening=0.3)),
    "sgd-nesterov-decay": ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.1)),
    "adagrad": ("Adagrad", dict(lr=0.05)),
    "adagrad-all": (
        "Adagrad",
        dict(lr=0.05, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.2, maximize=True),
    ),
    "rmsprop": ("RMSprop", dict(lr=0.01)),
    "rmsprop-momentum-decay": ("RMSprop", dict(lr=0.01, momentum=0.9, weight_decay=0.1)),
    "rmsprop-centered": ("RMSprop", dict(lr=0.01, centered=True)),
    "rmsprop-all": (
        "RMSprop",
        dict(lr=0.01, alpha=0.9, momentum=0.5, centered=True, weight_decay=0.1, maximize=True),
    ),
    "adam": ("Adam", dict(lr=0.01)),
    "adam-amsgrad-decay": ("Adam", dict(lr=0.01, amsgrad=True, weight_decay=0.1)),
    "adam-decoupled": ("Adam", dict(lr=0.01, weight_decay=0.1, decoupled_weight_decay=True)),
    "adamw": ("AdamW", dict(lr=0.01, weight_decay=0.1)),
    "adamw-amsgrad-maximize": ("AdamW", dict(lr=0.01, amsgrad=True, maximize=True)),
}
# One configuration per class, with as many states as it can have. No decay inside an adaptive rule and
# no tiny eps: where gradient and decay cancel, or a square underflows in float16, what is left is
# rounding, and the division makes a whole step of it.
FULL = {
    "SGD": dict(lr=0.05, momentum=0.9, weight_decay=0.01),
    "Adagrad": dict(lr=0.05, lr_decay=0.01, eps=1e-3),
    "RMSprop": dict(lr=0.01, momentum=0.9, centered=True, eps=1e-3),
    "Adam": dict(lr=0.01, amsgrad=True, eps=1e-3),
    "AdamW": dict(lr=0.01, amsgrad=True, eps=1e-3),
}

each_name = pytest.mark.parametrize("name", NAMES)
each_config = pytest.mark.parametrize(("name", "kwargs"), CONFIGS.values(), ids=CONFIGS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: str(t).removeprefix("torch."))


def where_torch_can(action, reason):
    """A mark: only with a torch whose own class gets through; older ones raise."""
    try:
        action()
    except (KeyError, NotImplementedError, RuntimeError, TypeError):
        return pytest.mark.skipif(True, reason=f"this torch cannot either: {reason}")
    return pytest.mark.skipif(False, reason=reason)


def _step_of_torch(name, change=lambda optimizer: None, **kwargs):
    param = nn.Parameter(torch.ones(2))
    param.grad = torch.ones(2)
    optimizer = getattr(torch.optim, name)([param], foreach=False, **kwargs)
    change(optimizer)
    optimizer.step()


adagrad_makes_states = where_torch_can(
    lambda: _step_of_torch("Adagrad", lambda optimizer: optimizer.state.clear()),
    "Adagrad makes its states in the constructor alone",
)
sparse_norms = where_torch_can(
    lambda: torch.linalg.vector_norm(torch.ones(2).to_sparse()), "no norm of a sparse tensor"
)
shaped_numbers = where_torch_can(
    lambda: (
        _step_of_torch("SGD", lr=torch.ones(1)),
        _step_of_torch("Adam", lr=torch.tensor(0.1), betas=(torch.ones(1, 1) / 2,) * 2),
    ),
    "lr and betas are numbers or tensors of no dimension",
)


each_name_with_late_states = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=adagrad_makes_states) if n == "Adagrad" else n for n in NAMES],
)


def subject(name):
    return getattr(SUBJECT, name)


def reference(name):
    return getattr(torch.optim, name)


def suited(name, kwargs, dtype):
    """The configuration with an eps that float16 can hold, the one of torch's own tests."""
    return kwargs | {"eps": 0.1} if dtype == torch.float16 and name != "SGD" else kwargs


def randn(*shape, dtype=torch.float32):
    """Normal numbers that do not depend on the type: drawn in double, then rounded."""
    return torch.randn(shape, dtype=torch.float64).to(dtype)


SHAPES = ((), (1,), (7,), (3, 5), (2, 3, 4), (64, 33))


def random_params(shapes=SHAPES, dtype=torch.float32):
    return [nn.Parameter(randn(*shape, dtype=dtype)) for shape in shapes]


def assert_same(actual, expected, ulps=4, *, size=0.0, what="", equal_nan=True):
    """Equal up to `ulps` units in the last place of the largest finite element, or of `size`.

    One measure for the whole tensor: an element near zero is the small difference of large ones.
    """
    assert actual.dtype == expected.dtype, what
    assert actual.shape == expected.shape, what
    eps = torch.finfo(expected.dtype).eps if expected.is_floating_point() else 0
    finite = expected.detach().nan_to_num(0, 0, 0).abs()
    size = max(size, finite.max().item() if finite.numel() else 0.0)
    torch.testing.assert_close(
        actual.detach(),
        expected.detach(),
        rtol=ulps * eps,
        atol=ulps * eps * size,
        equal_nan=equal_nan,
        msg=lambda text: f"{what}: {text}",
    )


# The size of what is added up, for gradients and parameters of size 1: the sum may be smaller.
SUMMANDS = {"momentum_buffer": 10.0, "exp_avg": 0.1, "grad_avg": 0.01}


def assert_same_state(actual, expected, params, expected_params, ulps=4):
    """The same states under the same names, in the same types and layouts, with the same numbers."""
    for i, (p, q) in enumerate(zip(params, expected_params, strict=True)):
        mine, theirs = actual.state.get(p, {}), expected.state.get(q, {})
        assert list(mine) == list(theirs), f"states of parameter {i}"
        for key, value in theirs.items():
            if not isinstance(value, torch.Tensor):
                assert mine[key] == value, f"{key} of parameter {i}"
                continue
            if not isinstance(
                actual, torch.optim.SGD
            ):  # torch's buffer is laid out as the first gradient
                assert mine[key].stride() == value.stride(), f"strides of {key} of parameter {i}"
            assert mine[key].device == value.device
            assert_same(
                mine[key],
                value,
                0 if key == "step" else ulps,
                size=SUMMANDS.get(key, 0.0),
                what=f"{key} of parameter {i}",
            )


class Pair:
    """The class under test and torch's for-loop on equal parameters, stepped with equal gradients.

    `make` returns a list of parameters (or of groups of them) and is called once for each side.
    """

    def __init__(self, name, make=random_params, *, extra=None, seed=0, **kwargs):
        torch.manual_seed(seed)
        mine = make()
        torch.manual_seed(seed)
        theirs = make()
        self.ours = subject(name)(mine, **kwargs, **({} if IS_TORCH or not extra else extra))
        # Whatever is asked of ours, it is torch's for-loop that says what is right.
        kwargs = {k: v for k, v in kwargs.items() if k not in ("foreach", "fused")}
        self.torch = reference(name)(theirs, foreach=False, **kwargs)

    @staticmethod
    def _params(optimizer):
        return [p for group in optimizer.param_groups for p in group["params"]]

    @property
    def params(self):
        return self._params(self.ours)

    @property
    def torch_params(self):
        return self._params(self.torch)

    def set_grads(self, grads=None):
        """Give both sides the same gradients: random ones, or one per parameter (None is allowed)."""
        if grads is None:
            grads = [randn(*q.shape, dtype=q.dtype) for q in self.torch_params]
        for p, q, grad in zip(self.params, self.torch_params, grads, strict=True):
            p.grad = None if grad is None else grad.clone()
            q.grad = None if grad is None else grad.clone()

    def step(self, grads=None):
        self.set_grads(grads)
        self.ours.step()
        self.torch.step()

    def check(self, ulps=4):
        pairs = zip(self.params, self.torch_params, strict=True)
        for i, (p, q) in enumerate(pairs):
            assert_same(p, q, ulps, size=1.0, what=f"parameter {i}")
        assert_same_state(self.ours, self.torch, self.params, self.torch_params, ulps)


def assert_native(optimizer, count=None):
    """Every parameter of the last step went through the native kernel."""
    if IS_TORCH:
        return
    assert optimizer.last_dispatch.torch == ()
    if count is not None:
        assert optimizer.last_dispatch.native == count


def assert_handed_over(optimizer, reasons, *, native=None):
    """Exactly these parameters went to torch: `reasons` maps (group, index) to a word of the reason."""
    if IS_TORCH:
        return
    dispatch = optimizer.last_dispatch
    assert {(h.group, h.index) for h in dispatch.torch} == set(reasons), dispatch
    for h in dispatch.torch:
        assert reasons[h.group, h.index].lower() in h.reason.lower(), dispatch
    if native is not None:
        assert dispatch.native == native, dispatch
