"""Cross-entropy on numpy arrays, against scipy's log-softmax in float64."""

import numpy as np
import pytest
from scipy.special import log_softmax

from ironstep.functional import cross_entropy

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("shape", [(7, 3), (40, 100), (4, 3, 5), (2, 3, 4, 5)])
def test_mean_and_gradient(shape, dtype):
    logits = RANDOM.normal(size=shape).astype(dtype)
    target = RANDOM.integers(shape[1], size=(shape[0], *shape[2:]))
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    hits = np.moveaxis(np.eye(shape[1])[target], -1, 1)
    # A few units of float32's rounding; of float16's, one.
    near = {"float64": 1e-14, "float32": 1e-6, "float16": 1e-3}[np.dtype(dtype).name]
    for array in (logits, np.asfortranarray(logits), logits.repeat(2, -1)[..., ::2]):
        loss, gradient = cross_entropy(array, target)
        assert loss == pytest.approx(-(log_p * hits).sum() / target.size, rel=1e-6)
        exact = (np.exp(log_p) - hits) / target.size
        np.testing.assert_allclose(gradient, exact, rtol=near, atol=near / target.size)
        assert gradient.dtype == dtype
    losses, gradient = cross_entropy(logits, target, reduction="none")
    np.testing.assert_allclose(losses, -(log_p * hits).sum(1), rtol=10 * near, atol=10 * near)
    np.testing.assert_allclose(gradient, np.exp(log_p) - hits, rtol=near, atol=near)


def test_one_row_mixup_probabilities_and_weights():
    logits = RANDOM.normal(size=(6, 4))
    a, b = RANDOM.integers(4, size=(2, 6))
    one = [cross_entropy(row, int(label))[0] for row, label in zip(logits, a, strict=True)]
    assert cross_entropy(logits, a)[0] == pytest.approx(np.mean(one), rel=1e-14)
    share = RANDOM.random(6)
    dense = share[:, None] * np.eye(4)[a] + (1 - share[:, None]) * np.eye(4)[b]
    options = {"label_smoothing": 0.1, "sample_weight": RANDOM.random(6), "reduction": "sum"}
    mixed, probable = (cross_entropy(logits, t, **options) for t in ((a, b, share), dense))
    np.testing.assert_allclose(mixed[0], probable[0], rtol=1e-14)
    np.testing.assert_allclose(mixed[1], probable[1], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: cross_entropy([[1.0, 2.0]], [0]), TypeError, "input: got list"),
        (lambda: cross_entropy(np.zeros((2, 3)), [0, 3]), IndexError, "Target 3 .* row 1"),
        (lambda: cross_entropy(np.zeros((2, 3)), [0]), ValueError, "target: got shape"),
        (lambda: cross_entropy(np.zeros((2, 3)), [0.5, 1]), TypeError, "target: got float64"),
        (lambda: cross_entropy(np.zeros((2, 3), int), [0, 1]), TypeError, "dtype int64"),
        (lambda: cross_entropy(np.zeros((2, 0)), [0, 1]), ValueError, "at least one class"),
        (lambda: cross_entropy(np.zeros(()), 0), TypeError, "input"),
        (lambda: cross_entropy(np.zeros((2, 3)), [0, 1], reduction="x"), ValueError, "reduction"),
        (lambda: cross_entropy(np.zeros((2, 3)), [0, 1], weight=[1]), ValueError, "weight: got"),
        (lambda: cross_entropy(np.zeros((2, 3)), [0, 1], smoothing="x"), ValueError, "smoothing"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()
