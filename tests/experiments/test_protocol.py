"""Verdicts and intervals."""

import math

import numpy as np
import pytest
import scipy.stats

from ironstep.experiments._protocol import Interval, Statement, Table, of_count, over_seeds


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "verdict"),
    [
        (0.1, 0.3, 0.0, math.inf, "supported"),
        (-0.1, 0.3, 0.0, math.inf, "not shown"),
        (-0.3, -0.1, 0.0, math.inf, "contrary here"),
        (0.0, 0.3, 0.0, math.inf, "not shown"),  # 0 itself is not above 0
        (0.0, 0.0, 0.0, math.inf, "not shown"),
        (-0.3, -0.1, -math.inf, 0.0, "supported"),
        (0.1, 0.3, -math.inf, 0.0, "contrary here"),
        (0.0, 0.0, -0.02, 0.02, "supported"),
        (-0.03, 0.01, -0.02, 0.02, "not shown"),
        (-0.03, 0.03, -0.02, 0.02, "not shown"),
        (0.03, 0.04, -0.02, 0.02, "contrary here"),
        (-0.04, -0.03, -0.02, 0.02, "contrary here"),
        (math.nan, math.nan, 0.0, math.inf, "not shown"),
        (-math.inf, math.inf, 0.0, math.inf, "not shown"),
    ],
)
def test_a_verdict_needs_the_whole_interval_on_one_side(low, high, above, below, verdict):
    statement = Statement("", "", Interval((low + high) / 2, low, high, ""), above, below)
    assert statement.verdict == verdict


def test_over_seeds_is_students_interval():
    values = [0.3, 0.1, 0.5, 0.2]
    found = over_seeds(values)
    wanted = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx(wanted)
    assert found.method == "t, 4 seeds"


def test_equal_values_have_an_interval_of_no_width():
    # The rounded mean of three times 0.1 is not 0.1, and a deviation from it would not be 0.
    found = over_seeds([0.1] * 3)
    assert found.low == found.high == found.value


@pytest.mark.parametrize("values", [[0.5], [0.5, math.nan], [1.0, math.inf]])
def test_one_seed_or_no_number_has_no_limits(values):
    assert math.isnan(over_seeds(values).low)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10)])
def test_of_count_is_clopper_and_pearsons(hits, n):
    wanted = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    found = of_count(hits, n)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert found.value == hits / n


def test_what_is_wanted_is_said():
    interval = Interval(0, 0, 0, "")
    assert Statement("", "", interval, above=0.5).wanted == "> 0.5"
    assert Statement("", "", interval, below=-12).wanted == "< -12"
    assert Statement("", "", interval, above=-1, below=1).wanted == "-1 to 1"


def test_markdown_escapes_what_would_end_a_cell():
    text = Table("T", "N", ["a", "b"], [["p(y|x)", "1"]]).markdown()
    assert r"| p(y\|x) | 1 |" in text
    assert text.startswith("**T**")
