"""Calibration against scikit-learn, statsmodels' formulas, identities and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironstep import _native
from ironstep.metrics import brier_score_loss, calibration, confidence_interval, decision_curve

sklearn = pytest.importorskip("sklearn")
from sklearn.isotonic import isotonic_regression  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402


def cases(n=400, seed=0, slope=1.0, shift=0.0):
    random = np.random.default_rng(seed)
    logit = random.normal(size=n) * 1.5
    truth = random.random(n) < 1 / (1 + np.exp(-logit))
    return truth.astype(int), 1 / (1 + np.exp(-(slope * logit + shift)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), max_size=30))
def test_isotonic_regression_is_sklearns(drawn):
    totals = np.array([max(a, b) for a, b in drawn], dtype=np.uint64)
    positives = np.array([a for a, _ in drawn], dtype=np.uint64)
    fitted = _native.isotonic_shares(positives, totals)
    if not drawn:
        assert fitted.shape == (0,)
        return
    wanted = isotonic_regression(positives / totals, sample_weight=totals.astype(float))
    np.testing.assert_allclose(fitted, wanted, atol=1e-12)


def test_intercept_and_slope_are_those_of_logistic_regression():
    y_true, probability = cases(slope=1.4, shift=0.3)
    found = calibration(y_true, probability, n_resamples=10)
    logit = np.log(probability / (1 - probability))[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit, y_true)
    assert found.slope.value == pytest.approx(model.coef_[0, 0], rel=1e-5)
    mean = model.predict_proba(logit)[:, 1]
    design = np.column_stack((np.ones(400), logit))
    covariance = np.linalg.inv(design.T @ (design * (mean * (1 - mean))[:, None]))
    assert found.slope.standard_error == pytest.approx(math.sqrt(covariance[1, 1]), rel=1e-4)
    # Predictions are too extreme and too high.
    assert found.slope.high < 1
    assert found.intercept.value < 0
    # With the intercept alone the mean prediction is the share of positives.
    moved = 1 / (1 + np.exp(-(logit[:, 0] + found.intercept.value)))
    assert moved.mean() == pytest.approx(y_true.mean(), abs=1e-9)


def test_clusters_of_one_case_are_whites_sandwich_and_copies_say_nothing_new():
    y_true, probability = cases(120)
    once = calibration(y_true, probability, groups=np.arange(120), n_resamples=5)
    plain = calibration(y_true, probability, n_resamples=5)
    assert once.slope.standard_error == pytest.approx(plain.slope.standard_error, rel=0.3)
    often = calibration(
        np.repeat(y_true, 3),
        np.repeat(probability, 3),
        groups=np.repeat(np.arange(120), 3),
        n_resamples=5,
    )
    for name in ("slope", "intercept", "brier_score"):
        a, b = getattr(once, name), getattr(often, name)
        assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), rel=1e-9)


def test_the_briers_parts_add_up():
    y_true, probability = cases()
    probability = np.round(probability, 2) * 0.98 + 0.01
    found = calibration(y_true, probability, n_resamples=5)
    assert found.brier_score.value == pytest.approx(brier_score_loss(y_true, probability))
    total = found.miscalibration - found.discrimination + found.uncertainty
    assert total == pytest.approx(found.brier_score.value)
    assert found.miscalibration >= 0
    assert found.discrimination >= 0
    assert len(found.probability) == len(found.recalibrated) == len(set(probability))
    assert (np.diff(found.recalibrated) >= 0).all()


def test_the_band_holds_the_curve_of_calibrated_probabilities_and_not_of_others():
    y_true, probability = cases(2000)
    good = calibration(y_true, probability, n_resamples=200, random_state=1)
    inside = (good.band_low <= good.recalibrated) & (good.recalibrated <= good.band_high)
    assert inside.mean() > 0.85
    y_true, probability = cases(2000, slope=2)
    bad = calibration(y_true, probability, n_resamples=200, random_state=1)
    inside = (bad.band_low <= bad.recalibrated) & (bad.recalibrated <= bad.band_high)
    assert inside.mean() < 0.6
    assert bad.expected_calibration_error > 2 * bad.expected_calibration_error_if_calibrated
    assert good.expected_calibration_error < 2 * good.expected_calibration_error_if_calibrated


def test_the_calibration_error_is_its_formula():
    y_true, probability = cases(300)
    found = calibration(y_true, probability, n_bins=7, n_resamples=3)
    wanted = 0.0
    for low in range(7):
        inside = np.floor(probability * 7) == low
        if inside.any():
            gap = abs(y_true[inside].mean() - probability[inside].mean())
            wanted += inside.mean() * gap
    assert found.expected_calibration_error == pytest.approx(wanted)


def test_slope_and_intercept_are_missing_where_a_logit_is():
    y_true, probability = cases(50)
    probability[3] = 1.0
    found = calibration(y_true, probability, n_resamples=3)
    assert math.isnan(found.slope.value)
    assert "no logit" in found.slope.notes[0]


def test_seeds_and_progress():
    y_true, probability = cases(60)
    told = []
    first = calibration(
        y_true, probability, n_resamples=4, random_state=3, progress=lambda *a: told.append(a)
    )
    again = calibration(y_true, probability, n_resamples=4, random_state=first.seed)
    np.testing.assert_array_equal(first.band_low, again.band_low)
    assert told[-1] == (4, 4)
    assert "slope" in str(first)


def test_the_decision_curve_is_vickers_formula():
    y_true, probability = cases(200)
    curve = decision_curve(y_true, probability)
    for i in (4, 29, 70):
        pt = curve.thresholds[i]
        called = probability >= pt
        tp, fp = (called & (y_true == 1)).sum(), (called & (y_true == 0)).sum()
        wanted = tp / 200 - fp / 200 * pt / (1 - pt)
        assert curve.net_benefit[i] == pytest.approx(wanted)
        assert curve.low[i] <= wanted <= curve.high[i]
    everyone = decision_curve(y_true, np.ones(200))
    np.testing.assert_allclose(everyone.net_benefit, curve.treat_all, atol=1e-15)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(y_proba=[0.1, 1.2, 0.3]), "y_proba: got 1.2 at index 1"),
        (dict(y_proba=[0.1, math.nan, 0.3]), "y_proba: got nan at index 1"),
        (dict(y_true=[1, 1, 1]), "one class has no case"),
        (dict(n_bins=0), "n_bins: got 0"),
        (dict(y_true=[0, 0, 1], y_proba=[0.1, 0.2, 0.3]), "separates the classes"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    given_ = dict(y_true=[0, 1, 0], y_proba=[0.1, 0.2, 0.3], n_resamples=2) | change
    with pytest.raises(ValueError, match=match):
        calibration(**given_)


def test_rounding_is_of_the_curve_alone():
    y_true, probability = cases(600)
    plain = calibration(y_true, probability, n_resamples=3, random_state=0)
    rounded = calibration(y_true, probability, decimals=1, n_resamples=300, random_state=0)
    for name in ("slope", "brier_score", "miscalibration", "expected_calibration_error"):
        assert getattr(rounded, name) == getattr(plain, name)
    assert len(rounded.probability) <= 11
    assert rounded.probability[0] > 0
    assert rounded.probability[-1] < 1
    # The mean of a binomial's band is its probability, pooled by the isotonic regression at the ends.
    middle = (rounded.band_low + rounded.band_high)[3:8] / 2
    np.testing.assert_allclose(middle, rounded.probability[3:8], atol=0.05)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_net_benefits_limits_are_those_of_its_mean(grouped):
    random = np.random.default_rng(0)
    y_true, probability = cases(300)
    groups = random.integers(0, 60, 300) if grouped else None
    at = [0.3, 0.05, 0.5, 0.95]
    curve = decision_curve(y_true, probability.round(2), at, groups=groups)
    for number, threshold in enumerate(at):
        expected = confidence_interval(
            "net_benefit",
            y_true,
            probability.round(2),
            metric_params={"threshold": threshold},
            groups=groups,
        )
        found = (curve.net_benefit[number], curve.low[number], curve.high[number])
        # Sums of squares here, squares of sums there.
        assert found == pytest.approx((expected.value, expected.low, expected.high), abs=1e-12)
    for wrong in ([0.0], [1.0], [0.5, np.nan]):
        with pytest.raises(ValueError, match="thresholds"):
            decision_curve(y_true, probability, wrong)
