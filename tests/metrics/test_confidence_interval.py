"""Intervals against scipy, published formulas, derivatives and other ways to the same number."""

import inspect
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from ironstep import metrics
from ironstep.metrics import BinaryCounts, ScoreIndex, confidence_interval
from ironstep.metrics._confidence_interval import interval_of_counts
from ironstep.metrics._criteria import CRITERIA, OnScale, Proportion
from ironstep.metrics._limits import Table, newcombe_auc
from ironstep.metrics._named import statistic
from ironstep.metrics._proportion import METHODS, clustered_wilson, ratio_variance, wilson
from ironstep.metrics._resampling import bca
from ironstep.metrics._statistics import average_precision_influence, obuchowski_covariance

counts = st.integers(0, 200)


def cases(n=120, seed=0, ties=False):
    random = np.random.default_rng(seed)
    y_true = random.integers(0, 2, n)
    score = random.normal(size=n) + y_true
    if ties:
        score = np.round(score, 1)
    return y_true, score


@given(counts, counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_proportions_are_scipys(x, more, level):
    n = x + more
    if n == 0:
        return
    test = scipy.stats.binomtest(x, n)
    for ours, theirs, rtol in (("wilson", "wilson", 1e-12), ("clopper-pearson", "exact", 1e-7)):
        wanted = test.proportion_ci(level, method=theirs)  # "exact" by a search for a root
        got = METHODS[ours](x, n, level)
        np.testing.assert_allclose(got, (wanted.low, wanted.high), rtol=rtol, atol=1e-13)
    posterior = scipy.stats.beta(x + 0.5, more + 0.5)
    low, high = METHODS["jeffreys"](x, n, level)
    np.testing.assert_allclose(low, 0 if x == 0 else posterior.ppf((1 - level) / 2), rtol=1e-9)
    np.testing.assert_allclose(high, 1 if more == 0 else posterior.ppf((1 + level) / 2), rtol=1e-9)


def test_agresti_coull_is_what_the_paper_says():
    """Agresti & Coull (1998): for 95% about two successes and two failures more, then Wald."""
    low, high = METHODS["agresti-coull"](5, 20, 0.95)
    z = scipy.stats.norm.ppf(0.975)
    p = (5 + z**2 / 2) / (20 + z**2)
    half = z * math.sqrt(p * (1 - p) / (20 + z**2))
    np.testing.assert_allclose((low, high), (p - half, p + half), rtol=1e-14)


@pytest.mark.parametrize("method", METHODS)
def test_proportions_hold_their_value_and_stay_in_range(method):
    for n in (1, 2, 10, 1000):
        for x in {0, 1, n // 2, n}:
            low, high = METHODS[method](x, n, 0.95)
            assert 0 <= low <= x / n <= high <= 1
    assert METHODS[method](0, 9, 0.95)[0] == 0
    assert METHODS[method](9, 9, 0.95)[1] == 1


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 99), st.integers(1, 99))
def test_variances_are_the_published_formulas(tp, fp, fn, tn):
    p, n = tp + fn, fp + tn
    table = Table(np.array([tp, fp, fn, tn], dtype=np.float64))

    def variance(name, more=0.0):
        criterion = CRITERIA[name]
        scale = criterion.scale if isinstance(criterion, OnScale) else None
        grown = Table(table.cells + more)
        influence = (
            criterion.influence(grown.cells, scale) if scale else criterion.influence(grown.cells)
        )
        return grown.covariance(influence).item()

    close = dict(rel=1e-6, abs=1e-15)
    # Simel, Samsa & Matchar (1991)
    assert variance("lr_positive") == pytest.approx(1 / tp - 1 / p + 1 / fp - 1 / n, **close)
    assert variance("lr_negative") == pytest.approx(1 / fn - 1 / p + 1 / tn - 1 / n, **close)
    # Woolf (1955), Haldane (1956)
    wanted = sum(1 / (x + 0.5) for x in (tp, fp, fn, tn))
    assert variance("diagnostic_odds_ratio", 0.5) == pytest.approx(wanted, **close)
    assert variance("sensitivity") == pytest.approx(tp * fn / p**3, **close)
    assert variance("accuracy") == pytest.approx((tp + tn) * (fp + fn) / (p + n) ** 3, **close)


def kappa_variance(square):
    """Of Fleiss, Cohen & Everitt (1969), equation 13."""
    share = square / square.sum()
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    observed, chance = np.trace(share), rows @ columns
    kappa = (observed - chance) / (1 - chance)
    k = len(share)
    a = sum(share[i, i] * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in range(k))
    b = (1 - kappa) ** 2 * sum(
        share[i, j] * (columns[i] + rows[j]) ** 2 for i in range(k) for j in range(k) if i != j
    )
    c = (kappa - chance * (1 - kappa)) ** 2
    return (a + b - c) / ((1 - chance) ** 2 * square.sum())


def test_kappas_standard_error_is_the_published_one():
    for tp, fp, fn, tn in ((40, 10, 5, 45), (3, 9, 2, 80)):
        estimate = interval_of_counts(BinaryCounts(tp=tp, fp=fp, fn=fn, tn=tn), "kappa")
        wanted = kappa_variance(np.array([[tp, fp], [fn, tn]], dtype=float))
        assert estimate.standard_error == pytest.approx(math.sqrt(wanted), rel=1e-6)


@pytest.mark.parametrize("name", [n for n, c in CRITERIA.items() if c.attribute == n])
def test_influences_are_what_one_case_less_takes_away(name):
    """The jackknife, to first order."""
    cells = np.array([400, 150, 90, 700], dtype=np.float64)
    criterion = CRITERIA[name]
    influence = criterion.influence(cells)
    for cell in range(4):
        less = cells.copy()
        less[cell] -= 1
        change = criterion.value(cells) - criterion.value(less)
        assert influence[cell] == pytest.approx(change, rel=0.03, abs=1e-5 * criterion.value(cells))
    assert influence @ cells == pytest.approx(0, abs=1e-6)  # twice the cases, the same value


@pytest.mark.parametrize("name", CRITERIA)
def test_every_name_gives_the_value_of_the_counts_and_an_interval_around_it(name):
    y_true, score = cases()
    y_pred = (score > 0.5).astype(int)
    counts = BinaryCounts.from_labels(y_true, y_pred)
    attribute = CRITERIA[name].attribute
    for groups in (None, np.arange(120) // 2):
        estimate = confidence_interval(name, y_true, y_pred, groups=groups)
        assert estimate.value == getattr(counts, attribute)
        assert estimate.low < estimate.value < estimate.high
        assert estimate.standard_error > 0
        assert estimate.n_groups == (None if groups is None else 60)
        narrow = confidence_interval(name, y_true, y_pred, groups=groups, confidence_level=0.5)
        assert estimate.low < narrow.low < narrow.high < estimate.high
        resampled = confidence_interval(
            name, y_true, y_pred, groups=groups, method="percentile", random_state=0
        )
        # A ratio's resamples are skew; its standard error is that of the logarithm, stretched.
        wide = 0.6 if attribute == "diagnostic_odds_ratio" else 0.3
        assert resampled.standard_error == pytest.approx(estimate.standard_error, rel=wide)
    assert interval_of_counts(counts, name).low == confidence_interval(name, y_true, y_pred).low


def test_f1_is_wilsons_interval_of_the_jaccard_index():
    counts = BinaryCounts(tp=30, fp=12, fn=9, tn=50)
    low, high = wilson(30, 51, 0.95)
    estimate = interval_of_counts(counts, "f1")
    assert (estimate.low, estimate.high) == (2 * low / (1 + low), 2 * high / (1 + high))


def test_predictive_values_at_a_prevalence_are_mercaldos():
    y_true = [1] * 60 + [0] * 140
    y_pred = [1] * 50 + [0] * 10 + [1] * 20 + [0] * 120
    z = scipy.stats.norm.ppf(0.975)
    p = 0.05
    tpr, tnr = (50 + z**2 / 2) / (60 + z**2), (120 + z**2 / 2) / (140 + z**2)
    for name, odds, variance in (
        (
            "ppv",
            tpr * p / ((1 - tnr) * (1 - p)),
            (1 - tpr) / tpr / (60 + z**2) + tnr / (1 - tnr) / (140 + z**2),
        ),
        (
            "npv",
            tnr * (1 - p) / ((1 - tpr) * p),
            tpr / (1 - tpr) / (60 + z**2) + (1 - tnr) / tnr / (140 + z**2),
        ),
    ):
        estimate = confidence_interval(name, y_true, y_pred, metric_params={"prevalence": p})
        logits = [math.log(odds) + sign * z * math.sqrt(variance) for sign in (-1, 1)]
        wanted = [1 / (1 + math.exp(-logit)) for logit in logits]
        np.testing.assert_allclose((estimate.low, estimate.high), wanted, rtol=1e-7)
    # At the prevalence of the cases themselves it is the plain value.
    same = confidence_interval("ppv", y_true, y_pred, metric_params={"prevalence": 0.3})
    assert same.value == pytest.approx(50 / 70)
    for wrong in (0, 1, 5):
        with pytest.raises(ValueError, match="prevalence: got"):
            confidence_interval("ppv", y_true, y_pred, metric_params={"prevalence": wrong})


def test_a_small_table_is_noted_with_mcc():
    estimate = interval_of_counts(BinaryCounts(tp=3, fp=1, fn=1, tn=4), "mcc")
    assert "not reliable" in estimate.notes[0]
    assert not interval_of_counts(BinaryCounts(tp=40, fp=20, fn=20, tn=40), "mcc").notes
    perfect = interval_of_counts(BinaryCounts(tp=4, fp=0, fn=0, tn=4), "mcc")
    assert perfect.value == 1
    assert math.isnan(perfect.low)


# Clusters


def test_clusters_of_one_case_are_cases():
    x = np.array([1.0] * 30 + [0.0] * 50)
    n = np.ones(80)
    assert ratio_variance(x, n) == pytest.approx(30 / 80 * 50 / 80 / 79)
    low, high = clustered_wilson(x, n, 0.95)
    plain = wilson(30, 80, 0.95)
    np.testing.assert_allclose((low, high), plain, atol=0.004)
    assert low < plain[0] < plain[1] < high  # Student's quantile, one case less


def test_copies_of_a_case_in_its_cluster_say_nothing_new():
    y_true, score = cases(60)
    y_pred = (score > 0.5).astype(int)
    groups = np.arange(60)
    three = [np.repeat(column, 3) for column in (y_true, y_pred, groups, score)]
    for name in ("sensitivity", "ppv", "f1", "mcc", "kappa", "youden_j", "lr_positive"):
        once = confidence_interval(name, y_true, y_pred, groups=groups)
        often = confidence_interval(name, three[0], three[1], groups=three[2])
        assert (once.low, once.high) == pytest.approx((often.low, often.high), rel=1e-7)
    for name in ("auc", "average_precision"):
        once = confidence_interval(name, y_true, score, groups=groups)
        often = confidence_interval(name, three[0], three[3], groups=three[2])
        assert (once.low, once.high) == pytest.approx((often.low, often.high), rel=1e-9)


def test_all_or_none_in_clusters_counts_clusters():
    low, high = clustered_wilson(np.full(20, 5.0), np.full(20, 5.0), 0.95)
    t = scipy.stats.t.ppf(0.975, 19)
    assert high == 1
    assert low == pytest.approx(20 / (20 + t**2))


@pytest.mark.parametrize("ties", [False, True])
def test_obuchowski_with_one_case_a_cluster_is_delong(ties):
    y_true, score = cases(90, ties=ties)
    index = ScoreIndex(y_true, score)
    covariance = obuchowski_covariance([index], np.random.default_rng(1).permutation(90))
    assert covariance.item() == pytest.approx(index.delong_variance(), rel=1e-12)


def test_few_groups_warn_and_fewer_have_no_interval():
    y_true, score = cases(40)
    y_pred = (score > 0.5).astype(int)
    with pytest.warns(UserWarning, match="10 groups are few"):
        few = confidence_interval("accuracy", y_true, y_pred, groups=np.arange(40) % 10)
    assert few.low < few.high
    assert "few" in few.notes[0]
    with pytest.warns(UserWarning, match="4 groups are too few"):
        fewer = confidence_interval("accuracy", y_true, y_pred, groups=np.arange(40) % 4)
    assert math.isnan(fewer.low)
    assert math.isnan(fewer.high)


# Scores


def test_auc_is_delong_on_the_logit_scale():
    y_true, score = cases(100, ties=True)
    index = ScoreIndex(y_true, score)
    auc, error = index.auc(), math.sqrt(index.delong_variance())
    estimate = confidence_interval("auc", y_true, score)
    logit = math.log(auc / (1 - auc))
    half = scipy.stats.norm.ppf(0.975) * error / (auc * (1 - auc))
    wanted = [1 / (1 + math.exp(-x)) for x in (logit - half, logit + half)]
    np.testing.assert_allclose((estimate.low, estimate.high), wanted, rtol=1e-12)
    assert estimate.standard_error == pytest.approx(error)
    plain = confidence_interval("auc", y_true, score, method="delong")
    half = scipy.stats.norm.ppf(0.975) * error
    np.testing.assert_allclose((plain.low, plain.high), (auc - half, auc + half), rtol=1e-12)


def test_an_auc_of_one_takes_newcombes_interval():
    estimate = confidence_interval("auc", [0] * 20 + [1] * 10, range(30))
    assert estimate.value == estimate.high == 1
    assert estimate.method == "newcombe"
    low = estimate.low
    n, z = 30 / 2 - 1, scipy.stats.norm.ppf(0.975)
    variance = low * (1 - low) * (1 + n * (1 - low) / (2 - low) + n * low / (1 + low)) / 200
    assert 1 - low == pytest.approx(z * math.sqrt(variance), rel=1e-9)
    flipped = confidence_interval("auc", [1] * 10 + [0] * 20, range(30))
    assert (flipped.low, flipped.high) == pytest.approx((0, 1 - low))


def test_newcombes_limits_hold_the_value():
    for auc in (0.5, 0.8, 0.99):
        low, high = newcombe_auc(auc, 15, 25, 0.95)
        assert 0 < low < auc < high < 1


@pytest.mark.parametrize("ties", [False, True])
def test_average_precisions_influence_is_its_derivative(ties):
    y_true, score = cases(50, ties=ties)
    index = ScoreIndex(y_true, score)
    influence = average_precision_influence(index)
    for case in range(50):
        weight = np.ones(50)
        weight[case] = 1 + 1e-5
        up = index.average_precision(sample_weight=weight)
        weight[case] = 1 - 1e-5
        down = index.average_precision(sample_weight=weight)
        assert influence[case] == pytest.approx((up - down) / 2e-5, abs=1e-8)
    assert influence.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "params"),
    [
        ("partial_auc", {"max_fpr": 0.2}),
        ("sensitivity_at_specificity", {"specificity": 0.9}),
        ("specificity_at_sensitivity", {"sensitivity": 0.9}),
        ("youden", {}),
    ],
)
def test_a_cut_chosen_on_the_cases_is_chosen_again_in_every_resample(metric, params):
    y_true, score = cases(150)
    first, again, other = (
        confidence_interval(
            metric, y_true, score, metric_params=params, random_state=seed, n_resamples=500
        )
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert first.low < first.value < first.high
    assert (first.n_resamples, first.seed) == (500, 1)
    assert "stratified" in first.method


@pytest.mark.parametrize("name", ["brier_score_loss", "log_loss"])
def test_losses_are_means_with_students_interval(name):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    y_true, score = cases(80)
    probability = 1 / (1 + np.exp(-score))
    estimate = confidence_interval(name, y_true, probability)
    assert estimate.value == pytest.approx(getattr(sklearn_metrics, name)(y_true, probability))
    right = np.where(y_true == 1, probability, 1 - probability)
    each = (1 - right) ** 2 if name == "brier_score_loss" else -np.log(right)
    wanted = scipy.stats.ttest_1samp(each, 0).confidence_interval()
    np.testing.assert_allclose((estimate.low, estimate.high), wanted, rtol=1e-12)


def test_net_benefit_is_vickers_formula():
    """TP/n − FP/n · pt/(1 − pt) (Vickers & Elkin 2006)."""
    y_true, score = cases(100)
    probability = 1 / (1 + np.exp(-score))
    counts = BinaryCounts.from_labels(y_true, (probability >= 0.3).astype(int))
    estimate = confidence_interval(
        "net_benefit", y_true, probability, metric_params={"threshold": 0.3}
    )
    assert estimate.value == pytest.approx(counts.tp / 100 - counts.fp / 100 * 0.3 / 0.7)


CURVES = [
    ("average_precision", {}),
    ("partial_auc", {"max_fpr": 0.37}),
    ("sensitivity_at_specificity", {"specificity": 0.8}),
    ("specificity_at_sensitivity", {"sensitivity": 0.7}),
    ("youden", {}),
]


@pytest.mark.parametrize(("metric", "params"), CURVES)
@pytest.mark.parametrize("ties", [False, True])
def test_cases_that_count_several_times_are_copies(metric, params, ties):
    """What resampling of groups computes is what the metric gives of the cases drawn."""
    y_true, score = cases(60, ties=ties)
    chosen = statistic(metric, y_true, score, params, 1, None)
    random = np.random.default_rng(0)
    for _ in range(50):
        counts = np.bincount(random.integers(60, size=60), minlength=60)
        rows = np.repeat(np.arange(60), counts)
        drawn = statistic(metric, y_true[rows], score[rows], params, 1, None)
        assert chosen.value_of_counts()(counts) == pytest.approx(drawn.value, rel=1e-12)


@pytest.mark.parametrize(("metric", "params"), CURVES)
def test_groups_are_resampled_for_every_criterion(metric, params):
    y_true, score = cases(120)
    estimate = confidence_interval(
        metric,
        y_true,
        score,
        metric_params=params,
        groups=np.arange(120) // 3,
        method="percentile",
        n_resamples=200,
        random_state=0,
    )
    assert estimate.low < estimate.value < estimate.high
    assert estimate.method.endswith("groups")


# Resampling


def test_bca_is_scipys():
    each = np.random.default_rng(0).exponential(size=40)
    # `rng` is the name since SciPy 1.15.
    names = inspect.signature(scipy.stats.bootstrap).parameters
    drawn_by = {"rng" if "rng" in names else "random_state": np.random.default_rng(1)}
    theirs = scipy.stats.bootstrap((each,), np.mean, n_resamples=999, method="BCa", **drawn_by)
    ours = bca(theirs.bootstrap_distribution, each.mean(), (each - each.mean()) / 40, 0.95)
    wanted = theirs.confidence_interval
    np.testing.assert_allclose(ours, (wanted.low, wanted.high), rtol=1e-3)


def test_any_function_of_labels_and_answers():
    y_true, score = cases(60)

    def correlation(a, b):
        return np.corrcoef(a, b)[0, 1]

    options = dict(n_resamples=300, random_state=5)
    estimate = confidence_interval(correlation, y_true, score, **options)
    assert estimate.value == correlation(y_true, score)
    assert estimate.low < estimate.value < estimate.high
    assert estimate == confidence_interval(correlation, y_true, score, **options)
    groups = np.arange(60) // 2
    of_groups = confidence_interval(correlation, y_true, score, groups=groups, **options)
    assert "groups" in of_groups.method
    with pytest.raises(ValueError, match="influence"):
        confidence_interval(correlation, y_true, score, method="bca")


def test_a_function_of_ours_is_its_name():
    y_true, score = cases(60)
    for function, name, y in (
        (metrics.roc_auc_score, "auc", score),
        (metrics.f1_score, "f1", (score > 0.5).astype(int)),
    ):
        assert confidence_interval(function, y_true, y) == confidence_interval(name, y_true, y)


def test_undefined_resamples_are_counted_and_left_out():
    y_true, y_pred = [1, 0, 0, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0, 0]
    estimate = confidence_interval(
        "sensitivity", y_true, y_pred, method="percentile", stratify=False, random_state=0
    )
    assert estimate.n_undefined == pytest.approx(9999 * (7 / 8) ** 8, rel=0.1)
    assert "undefined" in estimate.notes[0]


def test_progress_is_told():
    y_true, score = cases(40)
    told = []
    confidence_interval(
        "auc",
        y_true,
        score,
        method="percentile",
        n_resamples=250,
        progress=lambda *a: told.append(a),
    )
    assert told == [(100, 250), (200, 250), (250, 250)]


def test_the_seed_that_was_drawn_draws_the_same_again():
    y_true, score = cases(40)
    first = confidence_interval("auc", y_true, score, method="percentile", n_resamples=99)
    again = confidence_interval(
        "auc", y_true, score, method="percentile", n_resamples=99, random_state=first.seed
    )
    assert first == again


# What is refused


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (dict(metric="sensitvity"), "metric: got 'sensitvity'; one of"),
        (dict(method="wald"), "method: got 'wald'; auto, wilson"),
        (dict(confidence_level=95), "confidence_level: got 95"),
        (dict(stratify="yes"), "stratify: got 'yes'"),
        (dict(n_resamples=0), "n_resamples: got 0"),
        (dict(random_state=-1), "random_state: got -1"),
        (dict(groups=[1, 2]), "inconsistent numbers of samples"),
        (dict(groups=[1.0, 2.0, math.nan, 3.0]), "groups: got nan at index 2"),
        (dict(metric_params={"k": 1}), "metric_params: got"),
        (dict(y_true=[0, 0, 0, 0], y_pred=[0, 0, 0, 0]), "undefined"),
        (dict(pos_label=7), r"pos_label: got 7; one of the labels, \[0, 1\]"),
        (dict(y_pred=[0, 1, 2, 0]), "got multiclass labels"),
        (dict(groups=["a", None, "b", "a"]), "groups: got None at index 1"),
    ],
)
def test_wrong_arguments_are_named(change, match):
    given_ = dict(metric="sensitivity", y_true=[0, 1, 1, 0], y_pred=[0, 1, 0, 0]) | change
    metric, y_true, y_pred = (given_.pop(key) for key in ("metric", "y_true", "y_pred"))
    with pytest.raises(ValueError, match=match):
        confidence_interval(metric, y_true, y_pred, **given_)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(confidence_level="95"), "confidence_level: got '95'; a number"),
        (dict(n_resamples=99.5), "n_resamples: got 99.5; a whole number"),
        (dict(random_state="seed"), "random_state: got 'seed'; a whole number or None"),
    ],
)
def test_arguments_of_a_wrong_type_are_named(options, match):
    with pytest.raises(TypeError, match=match):
        confidence_interval("sensitivity", [0, 1], [0, 1], **options)
    with pytest.raises(ValueError, match="counts: got arrays"):
        BinaryCounts(tp=[1, 2], fp=[1, 2], fn=[1, 2], tn=[1, 2]).interval("mcc")


def test_a_function_of_ours_of_several_classes_is_resampled():
    y_true, y_pred = np.arange(60) % 3, np.arange(60) // 2 % 3
    kappa = confidence_interval(
        metrics.cohen_kappa_score, y_true, y_pred, n_resamples=50, random_state=0
    )
    assert kappa.value == metrics.cohen_kappa_score(y_true, y_pred)
    assert "percentile" in kappa.method


def test_a_parameter_that_the_metric_needs():
    with pytest.raises(ValueError, match="metric_params: 'max_fpr' is missing"):
        confidence_interval("partial_auc", [0, 1], [0.1, 0.9])


def test_kinds_of_criteria_know_their_names():
    for name, criterion in CRITERIA.items():
        assert hasattr(BinaryCounts, criterion.attribute), name
        if isinstance(criterion, Proportion):
            assert set(criterion.hits) < set(criterion.among)


def test_statistics_are_found_without_their_interval():
    y_true, score = cases(30)
    assert statistic("auc", y_true, score, {}, 1, None).value == ScoreIndex(y_true, score).auc()
