"""Cuts by brute force over all thresholds, and the correction for optimism against new cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironstep.metrics import ScoreIndex, choose_and_judge, choose_threshold


def by_brute_force(y_true, y_score, rule, value, prevalence=None):
    best = None
    for threshold in [math.inf, *sorted(set(y_score), reverse=True)]:
        called = y_score >= threshold
        sensitivity = called[y_true == 1].mean()
        specificity = (~called[y_true == 0]).mean()
        share = y_true.mean() if prevalence is None else prevalence
        if rule == "youden":
            worth = sensitivity + specificity
        elif rule == "sensitivity":
            # Of equal ones the more sensitive.
            worth = specificity + 1e-6 * sensitivity if sensitivity >= value else -1
        elif rule == "specificity":
            worth = sensitivity if specificity >= value else -1
        else:
            worth = -((1 - sensitivity) * share * value + (1 - specificity) * (1 - share))
        if best is None or worth > best[0] + 1e-12:
            best = (worth, threshold, sensitivity, specificity)
    return best[1:]


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=40),
    st.sampled_from([("youden", None), ("sensitivity", 0.8), ("specificity", 0.75), ("cost", 3.3)]),
)
def test_cuts_are_those_of_a_search_over_all(drawn, rule):
    y_true = np.array([label for label, _ in drawn], dtype=int)
    y_score = np.array([score for _, score in drawn], dtype=float)
    if y_true.min() == y_true.max():
        return
    point = choose_threshold(y_true, y_score, *rule)
    assert point == pytest.approx(by_brute_force(y_true, y_score, *rule))
    if rule[0] != "cost":
        index = ScoreIndex(y_true, y_score)
        name = {
            "youden": "youden",
            "sensitivity": "specificity_at_sensitivity",
            "specificity": "sensitivity_at_specificity",
        }[rule[0]]
        same = getattr(index, name)(*([] if rule[1] is None else [rule[1]]))
        assert same[1:] == pytest.approx(point[1:])


def test_costs_arise_at_a_prevalence_that_may_be_stated():
    random = np.random.default_rng(0)
    y_true = np.repeat([0, 1], 100)
    y_score = random.normal(size=200) + y_true
    for prevalence in (0.01, 0.3):
        point = choose_threshold(y_true, y_score, "cost", 5, prevalence=prevalence)
        wanted = by_brute_force(y_true, y_score, "cost", 5, prevalence)
        assert point == pytest.approx(wanted)


def test_the_correction_comes_near_what_new_cases_show():
    """Mean over many data sets: apparent, corrected, and the truth of each chosen cut."""
    random = np.random.default_rng(1)
    y_true = np.repeat([0, 1], 20)
    apparent, corrected, true = [], [], []
    for _ in range(150):
        y_score = random.normal(size=40) + y_true
        point = choose_and_judge(y_true, y_score, n_resamples=60, random_state=0)
        apparent.append(point.youden_j.apparent)
        corrected.append(point.youden_j.corrected)
        at = point.threshold
        true.append(0.5 * (math.erf(at / 2**0.5) - math.erf((at - 1) / 2**0.5)))
    optimism = np.mean(apparent) - np.mean(true)
    assert optimism > 0.1  # 20 a class: large
    assert abs(np.mean(corrected) - np.mean(true)) < optimism / 4


def by_resamples(y_true, y_score, rule, value, n_resamples, seed, prevalence=None):
    """The same by the cases that each resample draws, and a search over the scores drawn."""
    index, found = ScoreIndex(y_true, y_score), []
    for resample in range(n_resamples):
        drawn = index.resample_counts(resample, random_state=seed)
        inside = np.repeat(np.arange(len(y_true)), drawn)
        at, *rates = by_brute_force(y_true[inside], y_score[inside], rule, value, prevalence)
        left, called = drawn == 0, y_score >= at
        out = [called[left & (y_true == 1)].mean(), (~called[left & (y_true == 0)]).mean()]
        found.append([*rates, *out])
    return np.array(found)


@pytest.mark.parametrize(
    "rule",
    [
        ("youden", None),
        ("sensitivity", 0.8),
        ("sensitivity", 0.0),
        ("specificity", 0.75),
        ("cost", 3.3),
        ("cost", 3.3, 0.1),
    ],
    ids=str,
)
@pytest.mark.parametrize("ties", [False, True])
def test_the_correction_is_that_of_a_search_in_every_resample(rule, ties):
    random = np.random.default_rng(4)
    y_true = np.repeat([0, 1], [40, 30])
    y_score = random.normal(size=70) + y_true
    y_score = y_score.round(1 if ties else 9)
    rule, value, prevalence = (*rule, None)[:3]
    point = choose_and_judge(
        y_true, y_score, rule, value, prevalence=prevalence, n_resamples=150, random_state=5
    )
    expected = by_resamples(y_true, y_score, rule, value, 150, 5, prevalence)
    # Means of the same numbers in another order.
    assert point.sensitivity.corrected == pytest.approx(expected[:, 2].mean(), rel=1e-12)
    assert point.specificity.corrected == pytest.approx(expected[:, 3].mean(), rel=1e-12)
    low, high = np.quantile(expected[:, 0], [0.025, 0.975])
    shift = point.sensitivity.corrected - point.sensitivity.apparent
    assert (point.sensitivity.low, point.sensitivity.high) == pytest.approx(
        (low + shift, high + shift), rel=1e-12
    )


def test_patients_are_drawn_whole():
    """Cases that are copies of each other say no more than one of them."""
    random = np.random.default_rng(6)
    y_true = np.repeat([0, 1], 60)
    y_score = random.normal(size=120) + y_true
    groups = np.arange(120)
    options = dict(n_resamples=400, random_state=1)
    once = choose_and_judge(y_true, y_score, groups=groups, **options)
    often = choose_and_judge(
        np.tile(y_true, 5), np.tile(y_score, 5), groups=np.tile(groups, 5), **options
    )
    assert once.n_groups == often.n_groups == 120
    for name in ("sensitivity", "specificity", "youden_j"):
        assert getattr(often, name) == getattr(once, name)
    ignored = choose_and_judge(np.tile(y_true, 5), np.tile(y_score, 5), **options)
    width = once.youden_j.high - once.youden_j.low
    assert ignored.youden_j.high - ignored.youden_j.low < 0.7 * width


def test_groups_of_any_names_and_few_of_them():
    random = np.random.default_rng(7)
    y_true = np.repeat([0, 1], 40)
    y_score = random.normal(size=80) + y_true
    groups = np.arange(80) % 30
    options = dict(n_resamples=100, random_state=1)
    named = choose_and_judge(y_true, y_score, groups=[f"P{g:02}" for g in groups], **options)
    assert named == choose_and_judge(y_true, y_score, groups=groups, **options)
    with pytest.warns(UserWarning, match="8 groups are few"):
        few = choose_and_judge(y_true, y_score, groups=groups % 8, **options)
    assert few.notes
    assert not math.isnan(few.youden_j.low)
    with pytest.warns(UserWarning, match="4 groups are too few"):
        too_few = choose_and_judge(y_true, y_score, groups=groups % 4, **options)
    assert math.isnan(too_few.youden_j.low)
    with pytest.raises(ValueError, match="inconsistent"):
        choose_and_judge(y_true, y_score, groups=groups[1:])


def test_resamples_without_a_class_are_counted():
    y_true = np.array([1, 0, 0, 0, 0, 0])
    with pytest.warns(UserWarning, match="6 groups are few"):
        point = choose_and_judge(
            y_true, np.arange(6)[::-1], groups=np.arange(6), n_resamples=50, random_state=0
        )
    # The only positive case is drawn, or it is left out: never both.
    assert point.n_undefined == 50
    assert math.isnan(point.sensitivity.corrected)


def test_seeds_limits_and_progress():
    random = np.random.default_rng(2)
    y_true = np.repeat([0, 1], 50)
    y_score = random.normal(size=100) + y_true
    told = []
    options = dict(rule="specificity", value=0.9, n_resamples=50, random_state=3)
    point = choose_and_judge(y_true, y_score, progress=lambda *a: told.append(a), **options)
    assert point == choose_and_judge(y_true, y_score, **options)
    assert told[-1] == (50, 50)
    assert point.rule == "specificity 0.9"
    assert point.specificity.apparent >= 0.9
    assert point.sensitivity.low < point.sensitivity.corrected < point.sensitivity.high


@pytest.mark.parametrize(
    ("given_", "match"),
    [
        (dict(rule="best"), "rule: got 'best'"),
        (dict(rule="sensitivity"), "value: got None; 'sensitivity' needs a number"),
        (dict(value=0.5), "value: got 0.5; 'youden' needs none"),
        (dict(rule="specificity", value=90), "value: got 90; a number from 0 to 1"),
        (dict(rule="cost", value=-1), "value: got -1; a number > 0"),
        (dict(prevalence=0.1), "prevalence: got 0.1"),
        (dict(y_true=[0, 0, 0]), "one class has no case"),
    ],
)
def test_wrong_arguments_are_named(given_, match):
    arguments = dict(y_true=[0, 1, 1], y_score=[0.1, 0.2, 0.3]) | given_
    with pytest.raises(ValueError, match=match):
        choose_threshold(**arguments)
