"""Batch normalization of numpy arrays, against the formulas and finite differences."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from ironstep.functional import batch_norm_backward, batch_norm_forward

DTYPES = (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)
SHAPES = ((7, 3), (4, 3, 5), (4, 3, 2, 6), (2, 3, 2, 3, 4))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def axes(x):
    return tuple(axis for axis in range(x.ndim) if axis != 1)


def along(x, values):
    return np.reshape(values, [1, -1] + [1] * (x.ndim - 2))


def lecture(x, gamma, beta, eps=1e-5):
    mean, var = x.mean(axes(x)), x.var(axes(x))
    normal = (x - along(x, mean)) / np.sqrt(along(x, var) + eps)
    return along(x, gamma) * normal + along(x, beta), normal, mean, var


def made(shape, dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    x, grad = random.normal(2, 3, shape), random.normal(size=shape)
    gamma, beta = random.normal(size=shape[1]), random.normal(size=shape[1])
    return [array.astype(dtype) for array in (x, gamma, beta, grad)]


def eps_of(dtype):
    return float(ml_dtypes.finfo(dtype).eps)


@each_dtype
@each_shape
def test_the_lectures_forward(shape, dtype):
    x, gamma, beta, _ = made(shape, dtype)
    y, saved = batch_norm_forward(x, gamma, beta)
    wanted, _, mean, var = lecture(*(a.astype(np.float64) for a in (x, gamma, beta)))
    assert (y.dtype, y.shape) == (dtype, shape)
    np.testing.assert_allclose(y.astype(float), wanted, atol=8 * eps_of(dtype), rtol=eps_of(dtype))
    assert (saved.dtype, saved.shape) == (np.float64, (2, shape[1]))
    # float32's own rounding in the sums, where x is float32 or less
    np.testing.assert_allclose(saved[0], mean, rtol=1e-6)
    np.testing.assert_allclose(saved[1], 1 / np.sqrt(var + 1e-5), rtol=1e-6)


@each_shape
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_finite_differences(shape, activation, training):
    x, gamma, beta, grad = made(shape)
    running = {} if training else {"running_mean": beta + 1, "running_var": gamma**2 + 1}

    def loss(x, gamma, beta):
        y, saved = batch_norm_forward(
            x, gamma, beta, training=training, activation=activation, **running
        )
        return (y * grad).sum(), saved

    _, saved = loss(x, gamma, beta)
    got = batch_norm_backward(grad, x, saved, gamma, beta, training=training, activation=activation)
    h = 1e-6
    for i, (operand, gradient) in enumerate(zip((x, gamma, beta), got, strict=True)):
        wanted = np.empty_like(operand)
        for place in np.ndindex(operand.shape):
            sides = []
            for step in (h, -h):
                moved = [x.copy(), gamma.copy(), beta.copy()]
                moved[i][place] += step
                sides.append(loss(*moved)[0])
            wanted[place] = (sides[0] - sides[1]) / (2 * h)
        np.testing.assert_allclose(gradient, wanted, atol=1e-6, rtol=1e-6)


def test_the_slips_would_be_seen():
    """∂L/∂γ and ∂L/∂β are sums: the taught factor 1/n is wrong by n."""
    x, gamma, beta, grad = made((8, 3))
    _, saved = batch_norm_forward(x, gamma, beta)
    _, grad_gamma, grad_beta = batch_norm_backward(grad, x, saved, gamma, beta)
    _, normal, _, _ = lecture(x, gamma, beta)
    np.testing.assert_allclose(grad_beta, grad.sum(0), rtol=1e-12)
    np.testing.assert_allclose(grad_gamma, (grad * normal).sum(0), rtol=1e-12)


@each_dtype
@each_shape
def test_running_statistics(shape, dtype):
    x, *_ = made(shape, dtype)
    mean, var = np.zeros(3, dtype), np.ones(3, dtype)
    batch_norm_forward(x, running_mean=mean, running_var=var, momentum=0.25)
    wide = x.astype(float)
    eps = eps_of(dtype)
    np.testing.assert_allclose(mean.astype(float), 0.25 * wide.mean(axes(x)), rtol=eps, atol=eps)
    wanted = 0.75 + 0.25 * wide.var(axes(x), ddof=1)
    np.testing.assert_allclose(var.astype(float), wanted, rtol=4 * eps)
    before = mean.copy(), var.copy()
    y, _ = batch_norm_forward(x, running_mean=mean, running_var=var, training=False)
    assert (mean == before[0]).all()
    assert (var == before[1]).all()
    wanted = (wide - along(x, mean.astype(float))) / np.sqrt(along(x, var.astype(float)) + 1e-5)
    np.testing.assert_allclose(y.astype(float), wanted, rtol=8 * eps, atol=8 * eps)


@each_shape
def test_any_order_of_memory(shape):
    x, gamma, beta, grad = made(shape)
    y, saved = batch_norm_forward(x, gamma, beta)
    grads = batch_norm_backward(grad, x, saved, gamma, beta)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    backwards = np.ascontiguousarray(x[::-1])[::-1]
    for other in (last, np.asfortranarray(x), backwards, np.repeat(x, 2, 0)[::2]):
        y_other, saved_other = batch_norm_forward(other, gamma, beta)
        np.testing.assert_allclose(y_other, y, rtol=1e-13, atol=1e-13)
        for g in (grad, np.asfortranarray(grad), np.repeat(grad, 2, 1)[:, ::2]):
            got = batch_norm_backward(g, other, saved_other, gamma, beta)
            for a, b in zip(got, grads, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert not last.flags.c_contiguous or x.ndim == 2


def test_lists_and_missing_parameters():
    y, saved = batch_norm_forward([[1.0], [3.0]], eps=1e-12)
    np.testing.assert_allclose(y, [[-1.0], [1.0]])
    grads = batch_norm_backward([[1.0], [1.0]], [[1.0], [3.0]], saved)
    np.testing.assert_allclose(grads[0], [[0.0], [0.0]], atol=1e-12)
    assert grads[2] == [2.0]


def test_half_with_float32_parameters():
    x, gamma, beta, grad = made((6, 3), np.float16)
    gamma, beta = gamma.astype(np.float32), beta.astype(np.float32)
    y, saved = batch_norm_forward(x, gamma, beta)
    grads = batch_norm_backward(grad, x, saved, gamma, beta)
    assert [a.dtype for a in (y, *grads)] == [np.float16, np.float16, np.float32, np.float32]


BAD = {
    "one-axis": (lambda x: (x[0],), {}, ValueError, "^x: "),
    "integers": (lambda x: (x.astype(int),), {}, TypeError, "^x: "),
    "one-value": (lambda x: (x[:1],), {}, ValueError, "more than 1 value per channel"),
    "gamma-shape": (lambda x: (x, np.ones(4)), {}, ValueError, "^gamma: "),
    "gamma-type": (lambda x: (x, np.ones(3, np.float32)), {}, TypeError, "^gamma: "),
    "eps": (lambda x: (x,), {"eps": 0.0}, ValueError, "^eps: got 0.0"),
    "eps-nan": (lambda x: (x,), {"eps": float("nan")}, ValueError, "^eps: got nan"),
    "eval": (lambda x: (x,), {"training": False}, ValueError, "running_mean and running_var"),
    "activation": (lambda x: (x,), {"activation": "tanh"}, ValueError, "^activation: got 'tanh'"),
}


@pytest.mark.parametrize(("make", "kwargs", "error", "match"), BAD.values(), ids=BAD)
def test_bad_input(make, kwargs, error, match):
    with pytest.raises(error, match=match):
        batch_norm_forward(*make(made((6, 3))[0]), **kwargs)


def test_bad_input_of_backward():
    x, gamma, beta, grad = made((6, 3))
    _, saved = batch_norm_forward(x, gamma, beta)
    for args, error, match in (
        ((grad[:5], x, saved, gamma), ValueError, r"^grad_y: shape \(5, 3\)"),
        ((grad.astype(np.float32), x, saved, gamma), TypeError, "^grad_y: dtype float32"),
        ((grad, x, saved[:, :2], gamma), ValueError, "^saved: got shape"),
        ((grad, x, saved, gamma, beta[:2]), ValueError, r"^beta: got shape \(2,\)"),
    ):
        with pytest.raises(error, match=match):
            batch_norm_backward(*args)


def test_numbers_of_a_wrong_type():
    x = made((6, 3))[0]
    for name in ("momentum", "training"):
        with pytest.raises(TypeError) as raised:
            batch_norm_forward(x, **{name: None})
        assert f"'{name}'" in "".join(raised.value.__notes__)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4), (5, 3, 0), (0, 3, 2, 2), (5, 0), (5, 0, 2)])
def test_empty_batches(shape):
    # Their strides are what numpy's version makes of them.
    x = np.zeros(shape)
    n_channels = shape[1]
    statistics = {"running_mean": np.zeros(n_channels), "running_var": np.ones(n_channels)}
    y, saved = batch_norm_forward(x, training=False, **statistics)
    assert y.shape == shape
    for activation in (None, "relu"):
        grads = batch_norm_backward(
            y, x, saved, np.ones(n_channels), training=False, activation=activation
        )
        assert [grad.shape for grad in grads] == [shape, (n_channels,), (n_channels,)]
        assert not any(grad.any() for grad in grads)
    if n_channels > 0:
        with pytest.raises(ValueError, match=r"^x: got shape .* at least one value"):
            batch_norm_forward(x)


def test_nothing_is_written_when_something_is_wrong():
    x, *_ = made((6, 3))
    mean, var = np.zeros(3), np.ones(3)
    var.flags.writeable = False
    with pytest.raises(ValueError, match=r"running_var.*read-only"):
        batch_norm_forward(x, running_mean=mean, running_var=var)
    with pytest.raises(ValueError, match="running_mean and running_var"):
        batch_norm_forward(x, running_mean=mean)
    assert not mean.any()


def test_torch_is_not_needed():
    code = (
        "import sys, numpy as np\n"
        "from ironstep.functional import batch_norm_backward, batch_norm_forward\n"
        "x = np.eye(3); y, saved = batch_norm_forward(x); batch_norm_backward(y, x, saved)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
