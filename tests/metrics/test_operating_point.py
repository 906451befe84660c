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
