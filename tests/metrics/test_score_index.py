"""One sort, many answers: against numpy and against resampling by hand."""

import math
import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ironstep import metrics
from ironstep.metrics._score_index import delong, delong_covariance


def midranks(values):
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def placements(y_true, y_score):
    """Sun & Xu (2014): from the ranks among all and among the own class."""
    positive, negative = y_score[y_true == 1], y_score[y_true == 0]
    among_all = midranks(np.concatenate((positive, negative)))
    of_positive = (among_all[: len(positive)] - midranks(positive)) / len(negative)
    of_negative = 1 - (among_all[len(positive) :] - midranks(negative)) / len(positive)
    return of_positive, of_negative


def covariance(y_true, one, other):
    pairs = zip(placements(y_true, one), placements(y_true, other), strict=True)
    return sum(np.cov(a, b)[0, 1] / len(a) for a, b in pairs)


@st.composite
def cases(draw):
    n = draw(st.integers(4, 50))
    y_true = draw(npst.arrays(np.int64, n, elements=st.integers(0, 1)))
    y_true[:4] = [0, 1, 0, 1]
    scores = npst.arrays(np.float64, n, elements=st.integers(0, 12).map(float))
    return y_true, draw(scores), draw(scores)


@given(cases())
def test_placements_and_variances_are_those_of_midranks(drawn):
    y_true, one, other = drawn
    a, b = metrics.ScoreIndex(y_true, one), metrics.ScoreIndex(y_true, other)
    of_positive, of_negative = placements(y_true, one)
    np.testing.assert_allclose(a.placements()[y_true == 1], of_positive, atol=1e-14)
    np.testing.assert_allclose(a.placements()[y_true == 0], of_negative, atol=1e-14)
    matrix = delong_covariance(a, b)
    expected = [[covariance(y_true, p, q) for q in (one, other)] for p in (one, other)]
    np.testing.assert_allclose(matrix, expected, rtol=1e-12, atol=1e-16)
    assert a.delong_variance() == matrix[0, 0]
    assert delong(y_true, one) == (a.auc(), a.delong_variance())
    # The scaling that the docstring gives.
    total = 0.0
    for label in (0, 1):
        influence = a.influence()[y_true == label]
        n = len(influence)
        assert influence.sum() == pytest.approx(0, abs=1e-14)
        total += n / (n - 1) * (influence**2).sum()
    assert total == pytest.approx(a.delong_variance(), rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_delong_at_a_million_is_that_of_midranks(dtype):
    rng = np.random.default_rng(0)
    n = 10**6
    y_true = rng.integers(0, 2, n)
    y_score = (rng.normal(size=n) + y_true).astype(dtype)
    _, variance = delong(y_true, y_score)
    assert variance == pytest.approx(covariance(y_true, y_score, y_score), rel=1e-12)


def test_scores_in_the_same_order_have_the_covariances_of_one():
    rng = np.random.default_rng(1)
    y_true, y_score = rng.integers(0, 2, 500), rng.random(500)
    matrix = delong_covariance(
        metrics.ScoreIndex(y_true, y_score), metrics.ScoreIndex(y_true, np.exp(y_score))
    )
    assert np.unique(matrix).size == 1


def test_indices_of_other_cases_are_refused():
    one = metrics.ScoreIndex([0, 1, 0, 1], [1, 2, 3, 4])
    other = metrics.ScoreIndex([1, 0, 0, 1], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="labels differ"):
        delong_covariance(one, other)
    with pytest.raises(ValueError, match="labels differ"):
        delong_covariance(one, metrics.ScoreIndex([0, 1, 0, 1, 1], [1, 2, 3, 4, 5]))
    with pytest.raises(ValueError, match="two cases"):
        delong_covariance(metrics.ScoreIndex([0, 1], [1, 2]))
    assert np.isnan(metrics.ScoreIndex([0, 1], [1, 2]).delong_variance())


@given(cases(), st.floats(0, 1))
def test_points_and_counts_are_those_of_the_curve(drawn, share):
    y_true, y_score, _ = drawn
    index = metrics.ScoreIndex(y_true, y_score)
    thresholds = np.append(np.unique(y_score), [np.inf, -np.inf, 3.5])
    tps, fps = index.counts_at(thresholds)
    for threshold, tp, fp in zip(thresholds, tps, fps, strict=True):
        called = y_score >= threshold
        assert (tp, fp) == (called[y_true == 1].sum(), called[y_true == 0].sum())
    sensitivity, specificity = tps / index.n_positive, 1 - fps / index.n_negative
    point = index.sensitivity_at_specificity(share)
    allowed = (index.n_negative - fps) / index.n_negative >= share
    assert point.specificity >= share
    assert point.sensitivity == sensitivity[allowed].max()
    point = index.specificity_at_sensitivity(share)
    assert point.sensitivity >= share
    assert point.specificity == pytest.approx(specificity[sensitivity >= share].max())
    tp, fp = index.counts_at(point.threshold)
    assert (tp / index.n_positive, 1 - fp / index.n_negative) == pytest.approx(point[1:])
    point = index.youden()
    assert point.sensitivity + point.specificity == pytest.approx((sensitivity + specificity).max())


def test_infinite_scores_only_count_by_their_order():
    index = metrics.ScoreIndex([0, 1, 0, 1], [-np.inf, np.inf, 0.0, np.inf])
    assert index.auc() == 1.0
    assert index.thresholds.tolist() == [np.inf, 0.0, -np.inf]
    assert index.counts_at(np.inf) == (2, 0)


@pytest.mark.parametrize("stratify", [True, False])
def test_resamples_are_repeated_cases(stratify):
    rng = np.random.default_rng(2)
    y_true, y_score = rng.integers(0, 2, 300), rng.integers(0, 40, 300)
    index = metrics.ScoreIndex(y_true, y_score)
    values = index.bootstrap(n_resamples=20, stratify=stratify, random_state=7)
    for resample, value in enumerate(values):
        counts = index.resample_counts(resample, stratify=stratify, random_state=7)
        again = np.repeat(np.arange(300), counts)
        assert value == metrics.roc_auc_score(y_true[again], y_score[again])
        assert value == index.auc_of_counts(counts)
        if stratify:
            assert counts[y_true == 1].sum() == index.n_positive
    part = index.bootstrap(n_resamples=5, stratify=stratify, random_state=7, first=11)
    np.testing.assert_array_equal(part, values[11:16])
    # The same cases are drawn for another model.
    other = metrics.ScoreIndex(y_true, rng.random(300))
    np.testing.assert_array_equal(
        other.resample_counts(3, stratify=stratify, random_state=7),
        index.resample_counts(3, stratify=stratify, random_state=7),
    )


@pytest.mark.parametrize(
    ("metric", "value", "by_hand"),
    [
        ("partial_auc", 0.2, lambda i: i.partial_auc(0.2, standardized=False)),
        ("average_precision", None, lambda i: i.average_precision()),
        ("youden", None, lambda i: i.youden().sensitivity + i.youden().specificity - 1),
        (
            "sensitivity_at_specificity",
            0.9,
            lambda i: i.sensitivity_at_specificity(0.9).sensitivity,
        ),
        (
            "specificity_at_sensitivity",
            0.9,
            lambda i: i.specificity_at_sensitivity(0.9).specificity,
        ),
    ],
)
def test_every_statistic_is_computed_anew_in_each_resample(metric, value, by_hand):
    rng = np.random.default_rng(3)
    y_true, y_score = rng.integers(0, 2, 200), rng.integers(0, 60, 200)
    index = metrics.ScoreIndex(y_true, y_score)
    values = index.bootstrap(metric, value=value, n_resamples=10, random_state=1)
    for resample, got in enumerate(values):
        again = np.repeat(np.arange(200), index.resample_counts(resample, random_state=1))
        expected = by_hand(metrics.ScoreIndex(y_true[again], y_score[again]))
        assert got == pytest.approx(expected, abs=1e-14)


def test_the_bootstrap_variance_is_delongs():
    rng = np.random.default_rng(4)
    y_true = rng.integers(0, 2, 2000)
    y_score = rng.normal(size=2000) + y_true
    index = metrics.ScoreIndex(y_true, y_score)
    values = index.bootstrap(n_resamples=4000, random_state=5)
    # A variance of 4,000 values has a relative standard error of 2.2%; six of them.
    assert values.var() == pytest.approx(index.delong_variance(), rel=0.14)
    assert values.mean() == pytest.approx(index.auc(), abs=6 * values.std() / 4000**0.5)


def test_unstratified_resamples_without_a_class_are_nan():
    index = metrics.ScoreIndex([0, 1], [0.0, 1.0])
    values = index.bootstrap(n_resamples=200, stratify=False, random_state=0)
    assert set(values[~np.isnan(values)]) == {1.0}
    assert 60 < np.isnan(values).sum() < 140


def test_control_c_stops_a_bootstrap_at_once():
    rng = np.random.default_rng(5)
    index = metrics.ScoreIndex(rng.integers(0, 2, 10**5), rng.random(10**5))
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        index.bootstrap(n_resamples=10**7, random_state=0)
    # All of them would take half an hour.
    assert time.perf_counter() - start < 20
    timer.join()


def test_weights_are_repetitions():
    rng = np.random.default_rng(6)
    y_true, y_score = rng.integers(0, 2, 200), rng.integers(0, 30, 200)
    weight = rng.integers(0, 4, 200)
    index = metrics.ScoreIndex(y_true, y_score)
    again = metrics.ScoreIndex(np.repeat(y_true, weight), np.repeat(y_score, weight))
    assert index.auc(sample_weight=weight) == pytest.approx(again.auc(), abs=1e-14)
    assert index.average_precision(sample_weight=weight) == pytest.approx(
        again.average_precision(), abs=1e-14
    )
    assert index.auc_of_counts(weight) == again.auc()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: i.partial_auc(0), "max_fpr"),
        (lambda i: i.counts_at(np.nan), "NaN"),
        (lambda i: i.influence("f1"), "'auc' expected"),
        (lambda i: i.auc_of_counts([1, 2]), "counts"),
        (lambda i: i.auc_of_counts([0.5, 1, 1, 1]), "integers"),
        (lambda i: i.auc_of_counts([-1, 1, 1, 1]), "counts"),
        (lambda i: i.bootstrap("f1"), "f1"),
        (lambda i: i.bootstrap("auc", value=0.5), "value"),
        (lambda i: i.bootstrap("partial_auc"), "value"),
        (lambda i: i.bootstrap(n_resamples=-1), "n_resamples"),
        (lambda i: i.bootstrap(random_state=-1), "random_state"),
        (lambda i: i.bootstrap(first=-1), "first"),
        (lambda i: i.resample_counts(-1), "resample"),
        (lambda i: i.resample_counts(0, random_state=2**64), "random_state"),
        (lambda i: i.sensitivity_at_specificity(1.5), "specificity"),
        (lambda i: i.auc(sample_weight=[1, 2]), "sample_weight"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    index = metrics.ScoreIndex([0, 1, 0, 1], [1, 2, 3, 4])
    with pytest.raises(ValueError, match=words):
        call(index)


def test_more_resamples_than_memory_are_refused():
    index = metrics.ScoreIndex([0, 1, 0, 1], [1, 2, 3, 4])
    with pytest.raises(MemoryError, match="n_resamples"):
        index.bootstrap(n_resamples=2**61)


def test_poisson_draws_are_poissons():
    """Each case by itself, with mean 1: frequencies, means and what is not correlated."""
    n = 200_000
    index = metrics.ScoreIndex(np.arange(n) % 2, np.arange(n))
    counts = index.resample_counts(0, scheme="poisson", random_state=5)
    for k in range(8):
        wanted = np.exp(-1) / math.factorial(k)
        error = np.sqrt(wanted * (1 - wanted) / n)
        assert abs((counts == k).mean() - wanted) < 5 * error + 1e-9
    other = index.resample_counts(1, scheme="poisson", random_state=5)
    assert abs(np.corrcoef(counts, other)[0, 1]) < 5 / np.sqrt(n)
    assert abs(np.corrcoef(counts[1:], counts[:-1])[0, 1]) < 5 / np.sqrt(n)
    np.testing.assert_array_equal(
        counts, index.resample_counts(0, scheme="poisson", random_state=5, stratify=False)
    )


def test_poisson_resamples_spread_as_multinomial_ones():
    random = np.random.default_rng(0)
    y_true = random.integers(0, 2, 3000)
    index = metrics.ScoreIndex(y_true, random.normal(size=3000) + y_true)
    values = [
        index.bootstrap(scheme=scheme, n_resamples=4000, random_state=1)
        for scheme in ("multinomial", "poisson")
    ]
    assert values[1].std() == pytest.approx(values[0].std(), rel=0.06)
    assert values[1].mean() == pytest.approx(values[0].mean(), abs=1e-3)
    for scheme in ("multinomial", "poisson"):
        counts = index.resample_counts(7, scheme=scheme, random_state=1)
        drawn = index.bootstrap(scheme=scheme, n_resamples=8, random_state=1)[7]
        assert drawn == index.auc_of_counts(counts)
    with pytest.raises(ValueError, match="scheme: got 'bayesian'"):
        index.bootstrap(scheme="bayesian")
