"""Criteria of several classes and of several findings: values, influences, intervals."""

import math

import numpy as np
import pytest

from ironstep import metrics
from ironstep.metrics._named import statistic

pytest.importorskip("scipy")

K, N = 6, 480


@pytest.fixture(scope="module")
def cases():
    random = np.random.default_rng(0)
    y = random.integers(0, K, N)
    z = random.normal(size=(N, K))
    z[np.arange(N), y] += 1.5
    share = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    return {
        "y": y,
        "share": share,
        "called": share.argmax(axis=1),
        "findings": (random.random((N, 4)) < 0.4).astype(int),
        "groups": np.repeat(np.arange(N // 4), 4),
        "weight": random.integers(0, 4, N),
    }


@pytest.fixture(scope="module")
def answers(cases):
    random = np.random.default_rng(1)
    scores = cases["findings"] + random.normal(size=(N, 4))
    return {"scores": scores, "called": (scores > 0.5).astype(int)}


def value(name, y, answer, **params):
    return metrics.confidence_interval(name, y, answer, metric_params=params or None).value


def test_values_of_classes_are_scikit_learns(cases):
    sk = pytest.importorskip("sklearn.metrics")
    y, share, called = cases["y"], cases["share"], cases["called"]
    expected = {
        "macro_sensitivity": sk.recall_score(y, called, average="macro"),
        "macro_ppv": sk.precision_score(y, called, average="macro"),
        "macro_f1": sk.f1_score(y, called, average="macro"),
        "micro_f1": sk.f1_score(y, called, average="micro"),
        "micro_sensitivity": sk.accuracy_score(y, called),
        "kappa": sk.cohen_kappa_score(y, called),
        "mcc": sk.matthews_corrcoef(y, called),
    }
    # Two formulas for the same sums of some hundred terms.
    for name, wanted in expected.items():
        assert value(name, y, called) == pytest.approx(wanted, rel=1e-12), name
    expected = {
        "macro_auc": sk.roc_auc_score(y, share, multi_class="ovr"),
        "macro_average_precision": sk.average_precision_score(np.eye(K)[y], share),
        "brier_score_loss": ((share - np.eye(K)[y]) ** 2).sum(axis=1).mean(),
        "log_loss": sk.log_loss(y, share),
    }
    for name, wanted in expected.items():
        assert value(name, y, share) == pytest.approx(wanted, rel=1e-12), name
    for k in (2, 3):
        wanted = sk.top_k_accuracy_score(y, share, k=k)
        assert value("top_k_accuracy", y, share, k=k) == wanted


def test_values_of_findings_are_scikit_learns(cases, answers):
    sk = pytest.importorskip("sklearn.metrics")
    y, scores, called = cases["findings"], answers["scores"], answers["called"]
    expected = {
        "macro_sensitivity": sk.recall_score(y, called, average="macro"),
        "micro_sensitivity": sk.recall_score(y, called, average="micro"),
        "micro_ppv": sk.precision_score(y, called, average="micro"),
        "micro_f1": sk.f1_score(y, called, average="micro"),
    }
    for name, wanted in expected.items():
        assert value(name, y, called) == pytest.approx(wanted, rel=1e-12), name
    wanted = sk.roc_auc_score(y, scores, average="macro")
    assert value("macro_auc", y, scores) == pytest.approx(wanted, rel=1e-12)


def test_labels_may_be_of_any_kind_and_order(cases):
    names = np.array(["f", "a", "c", "e", "b", "d"])
    y, share = names[cases["y"]], cases["share"]
    found = value("macro_auc", y, share, labels=names)
    assert found == value("macro_auc", cases["y"], share)
    order = np.argsort(names)
    assert value("macro_auc", y, share[:, order]) == found  # without labels: sorted ones
    assert value("kappa", y, names[cases["called"]]) == pytest.approx(
        value("kappa", cases["y"], cases["called"]), rel=1e-14
    )


CRITERIA = ("macro_sensitivity", "macro_ppv", "macro_f1", "macro_mcc", "kappa", "mcc", "micro_f1")


@pytest.mark.parametrize("name", [*CRITERIA, "macro_auc", "macro_average_precision"])
def test_influences_are_what_one_case_more_does(cases, name):
    """The derivative by a case's weight, by repeating all cases often and that one once more."""
    y = cases["y"]
    answer = cases["share" if name.endswith(("auc", "precision")) else "called"]
    influences = statistic(name, y, answer, {}, 1, None).influences()
    assert abs(influences.sum()) < 1e-7  # those of counts are central differences
    times = 200
    for row in (0, 17, 311):
        often = np.full(N, times)
        often[row] += 1
        more = statistic(name, np.repeat(y, often), np.repeat(answer, often, axis=0), {}, 1, None)
        before = statistic(name, y, answer, {}, 1, None).value
        # A difference instead of a derivative: off by one in 200 of a class of some 80 cases.
        assert (more.value - before) * times == pytest.approx(influences[row], rel=2e-3, abs=2e-6)


@pytest.mark.parametrize("name", [*CRITERIA, "macro_auc", "macro_average_precision"])
@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_agree_with_resampling(cases, name, grouped):
    answer = cases["share" if name.endswith(("auc", "precision")) else "called"]
    options = dict(groups=cases["groups"] if grouped else None)
    by_formula = metrics.confidence_interval(name, cases["y"], answer, **options)
    drawn = metrics.confidence_interval(
        name, cases["y"], answer, method="percentile", n_resamples=600, random_state=0, **options
    )
    assert by_formula.value == drawn.value
    width = by_formula.high - by_formula.low
    # A quantile of 600 resamples has a standard error of some 5% of the width.
    assert drawn.low == pytest.approx(by_formula.low, abs=0.2 * width)
    assert drawn.high == pytest.approx(by_formula.high, abs=0.2 * width)


@pytest.mark.parametrize("name", [*CRITERIA, "macro_auc", "accuracy"])
def test_frequencies_are_cases_repeated(cases, name):
    answer = cases["share" if name.endswith("auc") else "called"]
    weighted = metrics.confidence_interval(
        name, cases["y"], answer, sample_weight=cases["weight"], weight_type="frequency"
    )
    repeated = metrics.confidence_interval(
        name, np.repeat(cases["y"], cases["weight"]), np.repeat(answer, cases["weight"], axis=0)
    )
    assert weighted == repeated


@pytest.mark.parametrize("name", [*CRITERIA, "macro_auc", "macro_average_precision"])
def test_sampling_weights_give_the_weighted_value(cases, name):
    answer = cases["share" if name.endswith(("auc", "precision")) else "called"]
    options = dict(sample_weight=cases["weight"], weight_type="sampling")
    found = metrics.confidence_interval(name, cases["y"], answer, **options)
    repeated = statistic(
        name,
        np.repeat(cases["y"], cases["weight"]),
        np.repeat(answer, cases["weight"], axis=0),
        {},
        1,
        None,
    )
    assert found.value == pytest.approx(repeated.value, rel=1e-12)
    assert found.low < found.value < found.high
    alike = metrics.confidence_interval(
        name, cases["y"], answer, sample_weight=np.full(N, 7.0), weight_type="sampling"
    )
    plain = metrics.confidence_interval(name, cases["y"], answer)
    # Weights that say nothing: Student's quantile for the normal one, and n − 1 for n.
    assert (alike.low, alike.high) == pytest.approx((plain.low, plain.high), abs=2e-3)


def test_micro_takes_the_answers_of_a_case_together(cases, answers):
    y, called = cases["findings"], answers["called"]
    doubled = metrics.confidence_interval(
        "micro_sensitivity", np.hstack((y, y)), np.hstack((called, called))
    )
    once = metrics.confidence_interval("micro_sensitivity", y, called)
    assert doubled.value == once.value
    assert (doubled.low, doubled.high) == pytest.approx((once.low, once.high), rel=1e-9)


def test_comparisons_are_of_influences(cases):
    y, called = cases["y"], cases["called"]
    other = np.where(np.arange(N) % 3 == 0, (called + 1) % K, called)
    found = metrics.compare("macro_f1", y, called, other)
    first, second = (statistic("macro_f1", y, of, {}, 1, None) for of in (called, other))
    assert found.difference == first.value - second.value
    influences = first.influences() - second.influences()
    assert found.standard_error == pytest.approx(
        math.sqrt(N / (N - 1) * (influences**2).sum()), rel=1e-12
    )
    same = metrics.compare("macro_auc", y, cases["share"], cases["share"])
    assert (same.difference, same.p_value) == (0, 1)


def test_a_class_without_a_case_leaves_the_mean_undefined(cases):
    with pytest.raises(ValueError, match="undefined"):
        value("macro_sensitivity", cases["y"], cases["called"], labels=list(range(K + 1)))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("macro_auc", lambda c: c["share"][:, :2], r"got shape \(480, 2\)"),
        ("macro_nonsense", lambda c: c["called"], "metric: got 'macro_nonsense'"),
        ("micro_auc", lambda c: c["share"], "micro_auc"),
        ("log_loss", lambda c: c["share"] * 2, "from 0 to 1"),
        ("log_loss", lambda c: c["share"][:, :4], "got 4 columns"),
    ],
)
def test_wrong_input_is_refused(cases, name, change, says):
    with pytest.raises(ValueError, match=says):
        value(name, cases["y"], change(cases))


def test_perfect_answers_have_no_variance(cases):
    found = metrics.confidence_interval("macro_sensitivity", cases["y"], cases["y"])
    assert found.value == 1
    assert math.isnan(found.low)
    assert found.notes == ("no variance: no interval",)
