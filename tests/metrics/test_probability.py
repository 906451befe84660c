"""Brier score and log loss against scikit-learn."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ironstep import metrics

sk = pytest.importorskip("sklearn.metrics")


def outcome(function, *args, **kwargs):
    """The value and the warnings, or the error's type and text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = function(*args, **kwargs)
        except ValueError as error:
            return str(error)
    return value, [str(warning.message) for warning in caught]


@st.composite
def cases(draw):
    n, k = draw(st.integers(4, 30)), draw(st.integers(2, 4))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    parts = draw(npst.arrays(np.int64, (n, k), elements=st.integers(0, 3)))
    parts[:, 0] += parts.sum(axis=1) == 0
    weight = draw(st.none() | npst.arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 2.0])))
    y_proba = (parts / parts.sum(axis=1, keepdims=True)).astype(dtype)
    return np.arange(n) % k, y_proba, weight


@given(cases(), st.booleans())
def test_log_loss_is_sklearns(drawn, normalize):
    y_true, y_proba, weight = drawn
    kwargs = {"normalize": normalize, "sample_weight": weight}
    ours = metrics.log_loss(y_true, y_proba, **kwargs)
    assert ours == pytest.approx(sk.log_loss(y_true, y_proba, **kwargs), rel=1e-6)


@given(cases(), st.sampled_from([True, False, "auto"]))
def test_brier_score_is_sklearns(drawn, scale):
    y_true, y_proba, weight = drawn
    kwargs = {"scale_by_half": scale, "sample_weight": weight}
    ours = metrics.brier_score_loss(y_true, y_proba, **kwargs)
    assert ours == pytest.approx(sk.brier_score_loss(y_true, y_proba, **kwargs), rel=1e-6)
    if y_proba.shape[1] == 2:
        one = (y_true, y_proba[:, 1])
        assert metrics.brier_score_loss(*one, **kwargs) == pytest.approx(
            sk.brier_score_loss(*one, **kwargs), rel=1e-6
        )


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_kept_off_zero_by_the_epsilon_of_their_type(dtype):
    y_proba = np.array([0, 1, 0.5], dtype=dtype)
    ours = metrics.log_loss([1, 0, 1], y_proba)
    assert ours == pytest.approx(sk.log_loss([1, 0, 1], y_proba), rel=1e-3)


@pytest.mark.parametrize(
    ("y_true", "y_proba", "kwargs"),
    [
        ([0, 1], [0.2, 1.2], {}),
        ([0, 1], [0.2, -0.1], {}),
        ([1, 1], [0.2, 0.3], {}),
        ([0, 1, 2], [0.2, 0.3, 0.4], {}),
        (["a", "b"], [0.2, 0.3], {}),
        ([0, 1], [[0.2, 0.8]], {}),
        ([0, 1, 2], [[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]], {}),
        ([0, 1], [[0.2, 0.7], [0.5, 0.5]], {}),
        ([0, 2], [[0.2, 0.8], [0.5, 0.5]], {"labels": [0, 1]}),
        ([0, 0], [[0.2, 0.8], [0.5, 0.5]], {"labels": [1, 0]}),
        ([0, 0], [[0.2, 0.8], [0.5, 0.5]], {"labels": [0]}),
        ([0, 1], [[0.2, 0.8], [0.5, 0.5]], {"labels": [0, 1, 2]}),
        ([[0, 1], [1, 0]], [[0.2, 0.8], [0.5, 0.5]], {}),
    ],
)
@pytest.mark.parametrize("name", ["brier_score_loss", "log_loss"])
def test_errors_and_warnings_are_sklearns(name, y_true, y_proba, kwargs):
    args = (np.array(y_true), np.array(y_proba))
    ours, theirs = (outcome(getattr(m, name), *args, **kwargs) for m in (metrics, sk))
    if isinstance(theirs, str):
        assert ours == theirs
    else:
        assert ours[1] == theirs[1]
        assert ours[0] == pytest.approx(theirs[0])


def test_the_old_name_of_y_proba_warns():
    with pytest.warns(FutureWarning, match="renamed"):
        assert metrics.log_loss([0, 1], y_pred=[0.2, 0.8]) == metrics.log_loss([0, 1], [0.2, 0.8])
    with pytest.raises(ValueError, match="both"):
        metrics.log_loss([0, 1], [0.2, 0.8], y_pred=[0.2, 0.8])


def test_log_loss_of_one_class_is_undefined():
    for one_class in (([1, 1], [0.1, 0.2]), (["a"], [[0.1, 0.9]])):
        for policy in ("sklearn", "raise"):
            with pytest.raises(ValueError, match="contains only one label"):
                metrics.log_loss(*one_class, undefined=policy)
        assert math.isnan(metrics.log_loss(*one_class, undefined="nan"))
        assert metrics.log_loss(*one_class, undefined=0.5) == 0.5
        with pytest.warns(UserWarning, match="contains only one label"):
            assert math.isnan(metrics.log_loss(*one_class, undefined="warn"))
    assert metrics.log_loss([1, 1], [0.5, 0.5], labels=[0, 1], undefined="raise") == pytest.approx(
        math.log(2)
    )
    # What is wrong stays an error.
    with pytest.raises(ValueError, match="greater than 1"):
        metrics.log_loss([1, 1], [0.1, 1.2], undefined="nan")
    with pytest.raises(ValueError, match="undefined: got 'zero'"):
        metrics.log_loss([0, 1], [0.1, 0.2], undefined="zero")
