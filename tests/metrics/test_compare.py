"""Comparisons against scipy, exact fractions, likelihoods maximised by search, and an oracle in numpy."""

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ironstep.metrics import (
    BinaryCounts,
    compare,
    confidence_interval,
    delong_test,
    holm,
    mcnemar_test,
)
from ironstep.metrics._compare import _tango_z, mcnemar_p, newcombe_paired, tango

few = st.integers(0, 25)


def cases(n=120, seed=0, ties=False):
    random = np.random.default_rng(seed)
    y_true = random.integers(0, 2, n)
    a = random.normal(size=n) + y_true
    b = a + random.normal(size=n) * 0.8
    return (y_true, np.round(a, 1), np.round(b, 1)) if ties else (y_true, a, b)


def labels(score):
    return (score > 0.5).astype(int)


def delong_oracle(y_true, scores):
    """AUCs and covariance by placements, pair by pair."""
    positive, negative = y_true == 1, y_true == 0
    right = [
        np.sign(s[positive][:, None] - s[negative][None, :]) / 2 + 0.5 for s in np.asarray(scores)
    ]
    of_positive = np.cov([r.mean(axis=1) for r in right])
    of_negative = np.cov([r.mean(axis=0) for r in right])
    return (
        np.array([r.mean() for r in right]),
        of_positive / positive.sum() + of_negative / negative.sum(),
    )


@pytest.mark.parametrize("ties", [False, True])
def test_delong_is_the_oracle(ties):
    y_true, a, b = cases(ties=ties)
    c = a + b
    aucs, covariance = delong_oracle(y_true, [a, b, c])
    test = delong_test(y_true, [a, b, c])
    np.testing.assert_allclose(test.aucs, aucs, rtol=1e-14)
    np.testing.assert_allclose(test.covariance, covariance, rtol=1e-11)
    contrasts = np.array([[1, -1, 0], [0, 1, -1]])
    chi2 = (
        (contrasts @ aucs)
        @ np.linalg.inv(contrasts @ covariance @ contrasts.T)
        @ (contrasts @ aucs)
    )
    assert test.statistic == pytest.approx(chi2, rel=1e-8)
    assert test.degrees_of_freedom == 2
    assert test.p_value == pytest.approx(scipy.stats.chi2(2).sf(chi2))

    pair = compare("auc", y_true, a, b)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    z = (aucs[0] - aucs[1]) / math.sqrt(variance)
    assert pair.p_value == pytest.approx(2 * scipy.stats.norm.sf(abs(z)), rel=1e-9)
    assert pair.standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert delong_test(y_true, [a, b]).p_value == pytest.approx(pair.p_value, rel=1e-9)


def test_equal_models_have_no_variance_and_a_p_value_of_one():
    y_true, a, b = cases()
    pair = compare("auc", y_true, a, 2 * a + 1)
    assert (pair.difference, pair.low, pair.high, pair.p_value) == (0, 0, 0, 1)
    assert "no variance" in pair.notes[0]
    test = delong_test(y_true, [a, 2 * a + 1])
    assert (test.p_value, test.degrees_of_freedom) == (1, 0)
    three = delong_test(y_true, [a, 2 * a, b])
    assert three.degrees_of_freedom == 1
    assert three.p_value == pytest.approx(delong_test(y_true, [a, b]).p_value)
    assert "no variance" in three.notes[0]


def test_groups_of_one_case_are_cases_but_for_students_quantile():
    y_true, a, b = cases()
    plain = delong_test(y_true, [a, b])
    grouped = delong_test(y_true, [a, b], groups=np.arange(120))
    np.testing.assert_allclose(grouped.covariance, plain.covariance, rtol=1e-12)


def test_few_groups_have_no_interval_and_no_p_value():
    y_true, a, b = cases()
    with pytest.warns(UserWarning, match="3 groups are too few"):
        pair = compare("auc", y_true, a, b, groups=np.arange(120) % 3)
    assert math.isnan(pair.low)
    assert math.isnan(pair.p_value)
    with (
        pytest.warns(UserWarning, match="too few"),
        pytest.raises(ValueError, match="groups: 3 groups"),
    ):
        delong_test(y_true, [a, b], groups=np.arange(120) % 3)
    with pytest.warns(UserWarning, match="10 groups are few"):
        pair = compare("auc", y_true, a, b, groups=np.arange(120) % 10)
    assert "few" in pair.notes[0]


@given(few, few)
def test_mcnemar_is_the_binomial_test(only_a, only_b):
    n = only_a + only_b

    def at_most(k, mid):
        chance = [Fraction(math.comb(n, i), 2**n) for i in range(k + 1)]
        return sum(chance) - (chance[-1] / 2 if mid else 0)

    fewer = min(only_a, only_b)
    wanted = min(Fraction(1), 2 * at_most(fewer, mid=True)) if n else 1
    assert mcnemar_p(only_a, only_b) == pytest.approx(float(wanted), rel=1e-12)
    exact = scipy.stats.binomtest(only_a, n).pvalue if n else 1
    assert mcnemar_p(only_a, only_b, mid=False) == pytest.approx(exact, rel=1e-9)
    for side, count in (("greater", only_b), ("less", only_a)):
        wanted = float(at_most(count, mid=True)) if n else 1
        assert mcnemar_p(only_a, only_b, side) == pytest.approx(wanted, rel=1e-12)


def test_mcnemar_counts_who_alone_is_right():
    y_true, a, b = cases()
    test = mcnemar_test(y_true, labels(a), labels(b))
    right_a, right_b = labels(a) == y_true, labels(b) == y_true
    assert test.only_a == (right_a & ~right_b).sum()
    assert test.only_b == (right_b & ~right_a).sum()
    assert test.p_value == compare("accuracy", y_true, labels(a), labels(b)).p_value
    words = np.array(["no", "yes", "perhaps"])
    three = mcnemar_test(words[y_true], words[labels(a)], words[labels(b)], method="exact")
    assert (three.only_a, three.only_b) == (test.only_a, test.only_b)


@pytest.mark.parametrize("difference", [-0.3, -0.05, 0.0, 0.1, 0.4])
@pytest.mark.parametrize(
    ("only_a", "only_b", "n"), [(12, 2, 50), (3, 9, 40), (5, 5, 20), (1, 7, 9)]
)
def test_tangos_statistic_has_the_likeliest_variance(only_a, only_b, n, difference):
    """The share of cases that b alone hits, found by maximising the likelihood."""

    def minus_likelihood(share):
        parts = (share + difference, share, 1 - 2 * share - difference)
        if min(parts) <= 0:
            return math.inf
        numbers = (only_a, only_b, n - only_a - only_b)
        return -sum(k * math.log(p) for k, p in zip(numbers, parts, strict=True))

    low, high = max(0, -difference), (1 - difference) / 2
    best = scipy.optimize.minimize_scalar(
        minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}
    )
    share = best.x
    variance = (2 * share + difference - difference**2) / n
    wanted = ((only_a - only_b) / n - difference) / math.sqrt(variance)
    assert _tango_z(only_a, only_b, n, difference) == pytest.approx(wanted, rel=1e-4)


@given(few, few, st.integers(1, 60))
def test_limits_of_paired_differences_hold_the_difference(only_a, only_b, rest):
    n = only_a + only_b + rest
    difference = (only_a - only_b) / n
    for low, high in (
        tango(only_a, only_b, n, 0.95),
        newcombe_paired(rest // 2, only_a, only_b, n, 0.95),
    ):
        assert -1 <= low <= difference <= high <= 1
    low, high = tango(only_a, only_b, n, 0.95)
    for end in (low, high):
        if -1 < end < 1 and end != difference:
            assert abs(_tango_z(only_a, only_b, n, end)) == pytest.approx(1.959964, rel=1e-5)
    swapped = tango(only_b, only_a, n, 0.95)
    assert swapped == pytest.approx((-high, -low), abs=1e-9)


def test_newcombes_interval_without_correlation_is_that_of_independent_samples():
    """With φ = 0 method 10 for pairs is method 10 for independent proportions, of equal sizes."""
    low, high = newcombe_paired(25, 25, 25, 100, 0.95)
    half = np.subtract(*scipy.stats.binomtest(50, 100).proportion_ci(method="wilson")[::-1]) / 2
    assert (low, high) == pytest.approx((-half * math.sqrt(2), half * math.sqrt(2)))


@pytest.mark.parametrize(
    "metric",
    ["sensitivity", "specificity", "accuracy", "ppv", "f1", "mcc", "kappa", "balanced_accuracy"],
)
def test_every_way_to_compare_labels_agrees(metric):
    y_true, a, b = cases(400)
    a, b = labels(a), labels(b)
    groups = np.arange(400) // 2
    auto = compare(metric, y_true, a, b)
    assert auto.a == getattr(BinaryCounts.from_labels(y_true, a), metric)
    assert auto.b == getattr(BinaryCounts.from_labels(y_true, b), metric)
    assert auto.difference == auto.a - auto.b
    assert auto.low < auto.difference < auto.high
    for other in (
        compare(metric, y_true, a, b, method="delta"),
        compare(metric, y_true, a, b, method="percentile", n_resamples=1500, random_state=0),
        compare(metric, y_true, a, b, groups=groups),
        compare(
            metric,
            y_true,
            a,
            b,
            groups=groups,
            method="percentile",
            n_resamples=1500,
            random_state=0,
        ),
    ):
        assert other.difference == auto.difference
        assert other.standard_error == pytest.approx(auto.standard_error, rel=0.25)
        assert (other.low, other.high) == pytest.approx((auto.low, auto.high), abs=0.03)
    back = compare(metric, y_true, b, a)
    assert (back.low, back.high) == pytest.approx((-auto.high, -auto.low), abs=1e-9)
    assert back.p_value == pytest.approx(auto.p_value)


@pytest.mark.parametrize("metric", ["auc", "average_precision", "brier_score_loss", "log_loss"])
def test_every_way_to_compare_scores_agrees(metric):
    y_true, a, b = cases(300)
    a, b = 1 / (1 + np.exp(-a)), 1 / (1 + np.exp(-b))
    auto = compare(metric, y_true, a, b)
    resampled = compare(metric, y_true, a, b, method="percentile", n_resamples=1500, random_state=0)
    grouped = compare(metric, y_true, a, b, groups=np.arange(300))
    for other in (resampled, grouped):
        assert other.standard_error == pytest.approx(auto.standard_error, rel=0.1)


def test_both_models_are_judged_at_the_prevalence():
    y_true, a, b = cases(400)
    params = {"prevalence": 0.05}
    pair = compare("ppv", y_true, labels(a), labels(b), metric_params=params)
    for got, score in ((pair.a, a), (pair.b, b)):
        estimate = confidence_interval("ppv", y_true, labels(score), metric_params=params)
        assert got == estimate.value
    assert params == {"prevalence": 0.05}


def test_resamples_are_the_same_for_both_models():
    y_true, a, _ = cases()
    for metric, one, two in (
        ("auc", a, a + 0.0),
        ("youden", a, a * 2),
        ("mcc", labels(a), labels(a)),
        (lambda t, s: np.corrcoef(t, s)[0, 1], a, a * 2),
    ):
        pair = compare(
            metric, y_true, one, two, method="percentile", n_resamples=50, random_state=0
        )
        assert abs(pair.low) < 1e-12
        assert abs(pair.high) < 1e-12


def test_undefined_resamples_are_noted():
    y_true = [1, 1, 0, 0, 0, 0, 0, 0]
    a, b = [1, 0, 0, 0, 0, 0, 1, 1], [1, 0, 0, 1, 0, 0, 0, 0]
    pair = compare("ppv", y_true, a, b, method="percentile", n_resamples=200, random_state=0)
    # No positive call among the cases drawn: of a in (5/8)^8 of the resamples, of b in (6/8)^8.
    assert 5 < pair.n_undefined < 50
    assert pair.notes == (
        f"{pair.n_undefined / 200:.1%} of the resamples are undefined and left out",
    )


def test_one_sided_alternatives_share_out_the_two_sided_one():
    y_true, a, b = cases()
    two, greater, less = (
        compare("auc", y_true, a, b, alternative=each).p_value
        for each in ("two-sided", "greater", "less")
    )
    assert greater + less == pytest.approx(1)
    assert two == pytest.approx(2 * min(greater, less))


@pytest.mark.parametrize("metric", ["accuracy", "sensitivity", "auc"])
def test_noninferiority_agrees_with_the_interval(metric):
    y_true, a, b = cases(200)
    if metric != "auc":
        a, b = labels(a), labels(b)
    plain = compare(metric, y_true, a, b, method="auto" if metric == "auc" else "tango")
    for margin in (0.01, 0.05, 0.1, 0.2, -plain.low if plain.low < 0 else 0.3):
        test = compare(metric, y_true, a, b, alternative="noninferior", margin=margin)
        assert test.low == plain.low
        assert (test.p_value <= 0.025 + 1e-9) == (test.low >= -margin - 1e-9)


def test_holm_is_the_step_down_procedure():
    p = [0.01, 0.04, 0.03, 0.005, 0.5]
    np.testing.assert_allclose(holm(p), [0.04, 0.09, 0.09, 0.025, 0.5])
    assert holm([]).shape == (0,)
    with pytest.raises(ValueError, match="p_values: got"):
        holm([0.1, 1.2])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(alternative="better"), "alternative: got 'better'"),
        (dict(alternative="noninferior"), "margin: got None"),
        (dict(alternative="noninferior", margin=-0.1), "margin: got -0.1"),
        (dict(margin=0.1), "margin: got 0.1"),
        (dict(method="t-test"), "method: got 't-test'; auto, newcombe"),
        (dict(b=[0, 1]), "inconsistent numbers of samples"),
        (dict(metric="auc", method="newcombe"), "method: got 'newcombe'; auto, delong"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    given_ = dict(metric="accuracy", y_true=[0, 1, 1, 0], a=[0, 1, 0, 0], b=[0, 0, 1, 0]) | change
    positional = [given_.pop(key) for key in ("metric", "y_true", "a", "b")]
    with pytest.raises(ValueError, match=match):
        compare(*positional, **given_)
    with pytest.raises(ValueError, match="scores: got 1 models"):
        delong_test([0, 1], [[1, 2]])
