"""Frequency weights against repeated cases; sampling weights against derivatives, jackknife and sums."""

import functools
import math

import numpy as np
import pytest
import scipy.stats

from ironstep import metrics
from ironstep.metrics import compare, compare_unpaired, confidence_interval
from ironstep.metrics._criteria import CRITERIA

sk = pytest.importorskip("sklearn.metrics")

N = 240
GROUPS = np.arange(N) // 3
SAMPLING = np.random.default_rng(7).choice([0.5, 1.0, 2.5, 7.0], N)
OF_SCORES = {
    "auc": {},
    "average_precision": {},
    "partial_auc": {"max_fpr": 0.2},
    "sensitivity_at_specificity": {"specificity": 0.9},
    "specificity_at_sensitivity": {"sensitivity": 0.9},
    "youden": {},
    "brier_score_loss": {},
    "log_loss": {},
    "net_benefit": {"threshold": 0.3},
}
OF_LABELS = [name for name, criterion in CRITERIA.items() if criterion.attribute == name]


def cases(seed=0, n=N):
    random = np.random.default_rng(seed)
    y_true = random.integers(0, 2, n)
    return y_true, np.round(1 / (1 + np.exp(-random.normal(size=n) - y_true + 0.5)), 2)


def answers(metric, y):
    return y if metric in OF_SCORES else (y > 0.5).astype(int)


def sampled(weight=SAMPLING):
    return {"sample_weight": weight, "weight_type": "sampling"}


each_metric = pytest.mark.parametrize("metric", [*OF_LABELS, *OF_SCORES])


@each_metric
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["cases", "groups"])
@pytest.mark.parametrize("method", ["auto", "percentile", "bca"])
def test_frequencies_are_repeated_cases(metric, groups, method):
    y_true, y = cases()
    y = answers(metric, y)
    often = np.random.default_rng(1).integers(0, 4, N)
    options = {"metric_params": OF_SCORES.get(metric), "n_resamples": 20, "random_state": 0}
    repeated = [None if each is None else np.repeat(each, often) for each in (y_true, y, groups)]
    if method == "bca" and metric not in ("auc", "average_precision", "f1", "brier_score_loss"):
        return  # bca: one of each kind
    wanted = confidence_interval(
        metric, *repeated[:2], groups=repeated[2], method=method, **options
    )
    for weight in (often, often.astype(np.float64), often.tolist()):
        got = confidence_interval(
            metric,
            y_true,
            y,
            groups=groups,
            method=method,
            sample_weight=weight,
            weight_type="frequency",
            **options,
        )
        assert got == wanted
    assert got.n_effective is None


def test_frequencies_of_lists_of_words():
    words = ["ill", "well", "ill", "well", "ill"]
    called = ["ill", "well", "well", "ill", "ill"]
    options = {"pos_label": "ill", "sample_weight": [3, 8, 2, 1, 0], "weight_type": "frequency"}
    estimate = confidence_interval("sensitivity", words, called, **options)
    assert (estimate.value, estimate.n) == (3 / 5, 5)


@pytest.mark.parametrize("metric", ["accuracy", "auc", "f1", "youden"])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["cases", "groups"])
def test_frequencies_are_repeated_cases_in_comparisons(metric, groups):
    y_true, a = cases()
    b = other_model()
    often = np.random.default_rng(1).integers(0, 4, N)
    columns = [y_true, answers(metric, a), answers(metric, b), groups]
    repeated = [None if each is None else np.repeat(each, often) for each in columns]
    options = {"n_resamples": 50, "random_state": 0}
    wanted = compare(metric, *repeated[:3], groups=repeated[3], **options)
    weights = {"sample_weight": often, "weight_type": "frequency"}
    assert compare(metric, *columns[:3], groups=groups, **weights, **options) == wanted


THEIRS = {
    "accuracy": lambda t, y, w: sk.accuracy_score(t, y, sample_weight=w),
    "sensitivity": lambda t, y, w: sk.recall_score(t, y, sample_weight=w),
    "ppv": lambda t, y, w: sk.precision_score(t, y, sample_weight=w),
    "f1": lambda t, y, w: sk.f1_score(t, y, sample_weight=w),
    "jaccard": lambda t, y, w: sk.jaccard_score(t, y, sample_weight=w),
    "mcc": lambda t, y, w: sk.matthews_corrcoef(t, y, sample_weight=w),
    "kappa": lambda t, y, w: sk.cohen_kappa_score(t, y, sample_weight=w),
    "balanced_accuracy": lambda t, y, w: sk.balanced_accuracy_score(t, y, sample_weight=w),
    "auc": lambda t, y, w: sk.roc_auc_score(t, y, sample_weight=w),
    "average_precision": lambda t, y, w: sk.average_precision_score(t, y, sample_weight=w),
    "brier_score_loss": lambda t, y, w: sk.brier_score_loss(t, y, sample_weight=w),
    "log_loss": lambda t, y, w: sk.log_loss(t, y, sample_weight=w),
}


def other_model():
    return np.round(0.7 * cases()[1] + 0.3 * cases(1)[1], 2)


@functools.cache
def derivatives(metric, is_other=False):
    """Weight times the derivative of the weighted value by it, case by case."""
    function, y_true = THEIRS[metric], cases()[0]
    y = answers(metric, other_model() if is_other else cases()[1])
    found = np.empty(N)
    for case in range(N):
        up, down = SAMPLING.copy(), SAMPLING.copy()
        up[case] *= 1 + 1e-4
        down[case] *= 1 - 1e-4
        found[case] = (function(y_true, y, up) - function(y_true, y, down)) / 2e-4
    return found


def linearised(metric, moved, y_true, groups):
    """Variance by the linearisation (Binder 1983), for the AUC with one factor for each class."""
    units = np.arange(len(moved)) if groups is None else groups
    k = units.max() + 1
    if metric != "auc":
        sums = np.bincount(units, moved)
        return k / (k - 1) * sums @ sums
    positive, negative = (np.bincount(units, moved * (y_true == c), minlength=k) for c in (1, 0))
    factors = [len(np.unique(units[y_true == c])) for c in (1, 0)]
    of_positive, of_negative = (present / (present - 1) for present in factors)
    mixed = 2 * k / (k - 1) * positive @ negative
    return of_positive * positive @ positive + of_negative * negative @ negative + mixed


@pytest.mark.parametrize("metric", THEIRS)
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["cases", "groups"])
def test_sampling_weights_give_the_weighted_value_and_its_linearised_variance(metric, groups):
    y_true, y = cases()
    y = answers(metric, y)
    estimate = confidence_interval(metric, y_true, y, groups=groups, **sampled())
    assert estimate.value == pytest.approx(THEIRS[metric](y_true, y, SAMPLING), rel=1e-12)
    moved = derivatives(metric)
    wanted = math.sqrt(linearised(metric, moved, y_true, groups))
    # The derivatives are central differences, off by 1e-8 of the third derivative.
    assert estimate.standard_error == pytest.approx(wanted, rel=1e-5)
    assert estimate.low < estimate.value < estimate.high
    units = SAMPLING if groups is None else np.bincount(groups, SAMPLING)
    if metric in ("accuracy", "kappa", "auc", "log_loss"):  # over all cases
        assert estimate.n_effective == pytest.approx(units.sum() ** 2 / (units**2).sum())
        assert estimate.n == N


@pytest.mark.parametrize("metric", ["accuracy", "f1", "mcc", "auc", "average_precision"])
def test_the_jackknife_says_the_same(metric):
    y_true, y = cases()
    y = answers(metric, y)
    left_out = []
    for case in range(N):
        weight = SAMPLING.copy()
        weight[case] = 0
        left_out.append(THEIRS[metric](y_true, y, weight))
    jackknife = math.sqrt((N - 1) / N * ((left_out - np.mean(left_out)) ** 2).sum())
    estimate = confidence_interval(metric, y_true, y, **sampled())
    # Both are right to first order, and a case may be a hundredth of all the weight.
    assert estimate.standard_error == pytest.approx(jackknife, rel=0.03)


@each_metric
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["cases", "groups"])
def test_the_size_of_sampling_weights_means_nothing(metric, groups):
    y_true, y = cases()
    y = answers(metric, y)
    options = {"groups": groups, "metric_params": OF_SCORES.get(metric)}
    options |= {"n_resamples": 30, "random_state": 0}
    one, other = (
        confidence_interval(metric, y_true, y, **options, **sampled(SAMPLING * size))
        for size in (1, 1 / 3)
    )
    got, wanted = ((e.value, e.low, e.high, e.standard_error, e.n_effective) for e in (one, other))
    assert got == pytest.approx(wanted, rel=1e-9)


@each_metric
def test_equal_sampling_weights_are_clusters_of_one(metric):
    y_true, y = cases()
    y = answers(metric, y)
    options = {"metric_params": OF_SCORES.get(metric), "n_resamples": 30, "random_state": 0}
    plain = confidence_interval(metric, y_true, y, **options)
    grouped = confidence_interval(metric, y_true, y, groups=np.arange(N), **options)
    weighted = confidence_interval(metric, y_true, y, **sampled(np.full(N, 3.7)), **options)
    assert weighted.value == pytest.approx(plain.value, rel=1e-12)
    assert weighted.n == plain.n
    if "bootstrap" in plain.method:
        return
    assert weighted.standard_error == pytest.approx(grouped.standard_error, rel=1e-9)
    # Student's degrees of freedom are those of the cases that enter, not of all.
    assert (weighted.low, weighted.high) == pytest.approx((grouped.low, grouped.high), rel=0.02)


@each_metric
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["cases", "groups"])
def test_resampling_weighted_cases_says_the_same(metric, groups):
    y_true, y = cases()
    y = answers(metric, y)
    options = {"groups": groups, "metric_params": OF_SCORES.get(metric)}
    estimate = confidence_interval(metric, y_true, y, n_resamples=400, **options, **sampled())
    resampled = confidence_interval(
        metric,
        y_true,
        y,
        method="percentile",
        n_resamples=400,
        random_state=0,
        **options,
        **sampled(),
    )
    assert resampled.value == estimate.value
    assert resampled.low < estimate.value < resampled.high
    # 400 resamples give a standard error to 4%; ratios are skew.
    wide = 0.5 if metric.startswith(("lr_", "diagnostic")) else 0.2
    assert resampled.standard_error == pytest.approx(estimate.standard_error, rel=wide)


@pytest.mark.parametrize("metric", OF_SCORES)
def test_values_with_sampling_weights_are_those_of_repeated_cases(metric):
    y_true, y = cases()
    weight = np.random.default_rng(3).integers(1, 5, N)
    options = {"metric_params": OF_SCORES[metric], "n_resamples": 2, "random_state": 0}
    wanted = confidence_interval(metric, np.repeat(y_true, weight), np.repeat(y, weight), **options)
    for size in (1, 0.1):
        got = confidence_interval(metric, y_true, y, **sampled(weight * size), **options)
        assert got.value == pytest.approx(wanted.value, rel=1e-11)


def test_a_share_takes_wilsons_limits_on_the_effective_number():
    y_true, y = cases()
    right = (y > 0.5).astype(int) == y_true
    p = (SAMPLING * right).sum() / SAMPLING.sum()
    variance = N / (N - 1) * ((SAMPLING * (right - p)) ** 2).sum() / SAMPLING.sum() ** 2
    effective = p * (1 - p) / variance
    kish = SAMPLING.sum() ** 2 / (SAMPLING**2).sum()
    t = scipy.stats.t.ppf(0.975, kish - 1)
    estimate = confidence_interval("accuracy", y_true, (y > 0.5).astype(int), **sampled())
    for limit in (estimate.low, estimate.high):
        assert abs(limit - p) == pytest.approx(t * math.sqrt(limit * (1 - limit) / effective))
    # What those weights cost: by Kish's rule, for they have nothing to do with the cases.
    assert effective == pytest.approx(kish, rel=0.15)
    assert kish < 0.6 * N

    all_right = confidence_interval("accuracy", y_true, y_true, **sampled())
    assert (all_right.value, all_right.high) == (1, 1)
    assert all_right.low == pytest.approx(kish / (kish + t**2))


def test_a_perfect_order_has_newcombes_interval_on_kishs_numbers():
    y_true = np.arange(N) % 2
    estimate = confidence_interval("auc", y_true, y_true, **sampled())
    equal = confidence_interval("auc", y_true, y_true)
    assert (estimate.method, estimate.high) == ("newcombe", 1)
    assert estimate.low < equal.low


def test_cases_without_weight_are_left_out():
    y_true, y = cases()
    weight = SAMPLING.copy()
    weight[::4] = 0
    kept = weight > 0
    got = confidence_interval("auc", y_true, y, groups=GROUPS, **sampled(weight))
    wanted = confidence_interval(
        "auc", y_true[kept], y[kept], groups=GROUPS[kept], **sampled(weight[kept])
    )
    assert got == wanted
    assert got.n == kept.sum()


def test_a_function_gets_the_weights():
    y_true, y = cases()

    def mean_of_positives(t, s, sample_weight):
        return np.average(s[t == 1], weights=sample_weight[t == 1])

    options = {"n_resamples": 200, "random_state": 0} | sampled()
    for groups in (None, GROUPS):
        estimate = confidence_interval(mean_of_positives, y_true, y, groups=groups, **options)
        assert estimate.value == mean_of_positives(y_true, y, SAMPLING)
        assert estimate.low < estimate.value < estimate.high
    three = np.arange(N) % 3
    options |= {"metric_params": {"average": "macro"}}
    estimate = confidence_interval(metrics.f1_score, three, np.roll(three, 1) * y_true, **options)
    wanted = sk.f1_score(three, np.roll(three, 1) * y_true, average="macro", sample_weight=SAMPLING)
    assert estimate.value == pytest.approx(wanted)


@pytest.mark.parametrize("metric", ["accuracy", "sensitivity", "f1", "auc", "brier_score_loss"])
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["cases", "groups"])
def test_differences_have_the_linearised_variance(metric, groups):
    y_true, a = cases()
    b = other_model()
    a, b = answers(metric, a), answers(metric, b)
    pair = compare(metric, y_true, a, b, groups=groups, **sampled())
    assert pair.difference == pytest.approx(
        THEIRS[metric](y_true, a, SAMPLING) - THEIRS[metric](y_true, b, SAMPLING)
    )
    moved = derivatives(metric) - derivatives(metric, is_other=True)
    wanted = math.sqrt(linearised(metric, moved, y_true, groups))
    assert pair.standard_error == pytest.approx(wanted, rel=1e-5)
    t = scipy.stats.t.ppf(0.975, pair.n_effective - 1)
    assert pair.high - pair.low == pytest.approx(2 * t * wanted, rel=1e-5)
    p = 2 * scipy.stats.t(pair.n_effective - 1).sf(abs(pair.difference) / wanted)
    assert pair.p_value == pytest.approx(p, rel=1e-4)
    resampled = compare(
        metric,
        *(y_true, a, b),
        groups=groups,
        method="percentile",
        n_resamples=400,
        random_state=0,
        **sampled(),
    )
    assert resampled.standard_error == pytest.approx(wanted, rel=0.2)
    margin = compare(
        metric, y_true, a, b, groups=groups, alternative="noninferior", margin=0.1, **sampled()
    )
    assert (margin.p_value <= 0.025) == (margin.low >= -0.1)


def test_each_side_of_an_unpaired_comparison_has_its_weights():
    (y_true, a), (other, b) = cases(), cases(1, 90)
    weight = SAMPLING[:90]
    both = compare_unpaired(
        *("auc", y_true, a, other, b),
        sample_weight_a=SAMPLING,
        sample_weight_b=weight,
        weight_type="sampling",
    )
    assert both.a == confidence_interval("auc", y_true, a, **sampled()).value
    assert both.b == confidence_interval("auc", other, b, **sampled(weight)).value
    one = compare_unpaired(
        *("auc", y_true, a, other, b), sample_weight_b=weight, weight_type="sampling"
    )
    assert one.a == confidence_interval("auc", y_true, a).value
    assert one.b == both.b
    for wrong in (dict(sample_weight_a=SAMPLING), dict(weight_type="sampling")):
        with pytest.raises(ValueError, match="weight_type: got"):
            compare_unpaired("auc", y_true, a, other, b, **wrong)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"sample_weight": [1, 2, 1, 1]}, "weight_type: got None with sample_weight given"),
        ({"weight_type": "sampling"}, "weight_type: got 'sampling' with sample_weight not given"),
        ({"sample_weight": [1, 2, 1, 1], "weight_type": "inverse"}, "weight_type: got 'inverse'"),
        (
            {"sample_weight": [1, 2, 1], "weight_type": "sampling"},
            "inconsistent numbers of samples",
        ),
        (sampled([1, 2, -0.5, 1]), "sample_weight: got -0.5 at index 2; at least 0"),
        (sampled([1, 2, np.nan, 1]), "sample_weight contains NaN, first at index 2"),
        (sampled([0, 0, 0, 0]), "at least one non-zero"),
        (sampled([0, 0, 2, 0]), "sample_weight: got one case with a weight"),
        (
            {"sample_weight": [1, 2.5, 1, 1], "weight_type": "frequency"},
            "sample_weight: got 2.5 at index 1; a whole number",
        ),
    ],
)
def test_wrong_weights_are_named(weights, words):
    for metric in ("accuracy", lambda *_, **__: 1.0):
        with pytest.raises(ValueError, match=words):
            confidence_interval(metric, [0, 1, 1, 0], [0, 1, 0, 0], **weights)
        with pytest.raises(ValueError, match=words):
            compare(metric, [0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1], **weights)


@pytest.mark.parametrize("metric", ["sensitivity", "mcc", "auc", "youden", "average_precision"])
def test_what_is_undefined_for_weighted_cases_is_refused(metric):
    y_true, y_pred = [0] * 10, [0, 1] * 5
    for weights in ({}, sampled(np.arange(1, 11))):
        with pytest.raises(ValueError, match="metric: undefined for these cases"):
            confidence_interval(metric, y_true, y_pred, **weights)


def test_methods_of_counts_are_refused_for_weights():
    y_true, y = cases()
    with pytest.raises(ValueError, match="'jeffreys' has no form for clusters or weights"):
        confidence_interval("accuracy", y_true, y > 0.5, method="jeffreys", **sampled())
    with pytest.raises(ValueError, match="method: got 'delong'; auto, logit"):
        confidence_interval("auc", y_true, y, method="delong", **sampled())
    with pytest.raises(ValueError, match="method: got 'newcombe'; auto, delta"):
        compare("accuracy", y_true, y > 0.5, y > 0.6, method="newcombe", **sampled())
