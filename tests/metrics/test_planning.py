"""Sample sizes against the intervals and tests that they are for."""

import math

import numpy as np
import pytest
import scipy.stats

from ironstep.metrics import (
    compare_unpaired,
    confidence_interval,
    sample_size_auc,
    sample_size_proportion,
)
from ironstep.metrics._proportion import wilson


def test_a_share_is_as_narrow_as_asked_and_not_with_one_case_less():
    for expected, half in ((0.9, 0.05), (0.5, 0.1), (0.99, 0.02)):
        n = sample_size_proportion(expected, half_width=half)
        width = [np.diff(wilson(expected * k, k, 0.95)).item() / 2 for k in (n, n - 1)]
        assert width[0] <= half < width[1]


def test_a_share_is_told_apart_with_the_power_asked():
    """Fleiss, Levin & Paik (2003): the exact power of the score test is near it."""
    n = sample_size_proportion(0.9, null=0.8, power=0.9)
    x = np.arange(n + 1)
    refused = (x / n - 0.8) / math.sqrt(0.16 / n) > scipy.stats.norm.ppf(0.975)
    power = scipy.stats.binom(n, 0.9).pmf(x)[refused].sum()
    assert power == pytest.approx(0.9, abs=0.03)


def test_hanley_and_mcneils_table():
    """Their table III (1982): cases a group to tell 0.70 and 0.75 apart, one-sided at 5%, unpaired."""
    for power, wanted in ((0.8, 652), (0.9, 897), (0.95, 1131)):
        n = sample_size_auc(0.75, other=0.7, correlation=0.0, power=power, confidence_level=0.9)
        assert n == pytest.approx(wanted, abs=3)


def test_an_auc_is_as_narrow_as_asked():
    n = sample_size_auc(0.85, half_width=0.05)
    random = np.random.default_rng(0)
    shift = math.sqrt(2) * scipy.stats.norm.ppf(0.85)
    y_true = np.repeat([1, 0], [n, n])
    halves = []
    for _ in range(50):
        score = random.normal(size=2 * n) + shift * y_true
        estimate = confidence_interval("auc", y_true, score, method="delong")
        halves.append((estimate.high - estimate.low) / 2)
    assert np.mean(halves) == pytest.approx(0.05, rel=0.1)


def test_models_that_agree_need_fewer_cases():
    sizes = [sample_size_auc(0.85, other=0.8, correlation=r) for r in (0, 0.3, 0.6, 0.9)]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("function", "options", "match"),
    [
        (sample_size_proportion, dict(), "got 0 of them; one expected"),
        (sample_size_proportion, dict(half_width=0.1, null=0.5), "got 2 of them"),
        (sample_size_proportion, dict(half_width=0), "half_width: got 0"),
        (sample_size_proportion, dict(null=0.9), "null: got 0.9, the expected share"),
        (sample_size_proportion, dict(null=0.5, power=1), "power: got 1"),
        (sample_size_proportion, dict(half_width=1e-9), "more than"),
        (sample_size_auc, dict(other=0.8), "correlation: got None"),
        (sample_size_auc, dict(null=0.8, correlation=0.1), "correlation: got 0.1"),
        (sample_size_auc, dict(other=0.8, correlation=1), "correlation: got 1"),
        (sample_size_auc, dict(null=0.9), "null: got 0.9, the expected AUC"),
        (sample_size_auc, dict(null=0.8, ratio=0), "ratio: got 0"),
    ],
)
def test_wrong_arguments_are_named(function, options, match):
    with pytest.raises(ValueError, match=match):
        function(0.9, **options)


def test_independent_shares_take_newcombes_interval():
    """Newcombe (1998), SIM 17:873, table II, method 10: 56/70 − 48/80 is 0.2 [0.0524, 0.3339]."""
    found = compare_unpaired(
        "sensitivity", [1] * 70, [1] * 56 + [0] * 14, [1] * 80, [1] * 48 + [0] * 32
    )
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    error = math.sqrt(0.8 * 0.2 / 70 + 0.6 * 0.4 / 80)
    assert found.p_value == pytest.approx(2 * scipy.stats.norm.sf(0.2 / error), rel=1e-6)


def test_independent_aucs():
    random = np.random.default_rng(0)
    y_true = np.repeat([0, 1], 60)
    a, b = random.normal(size=120) + 2 * y_true, random.normal(size=120) + y_true
    found = compare_unpaired("auc", y_true, a, y_true, b, alternative="greater")
    assert found.low > 0
    assert found.p_value < 0.01
    with pytest.raises(ValueError, match=r"margin: got 0\.1"):
        compare_unpaired("auc", y_true, a, y_true, b, margin=0.1)
