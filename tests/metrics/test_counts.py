"""Every criterion over four counts, against fractions."""

import math
import warnings
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironstep.metrics import BinaryCounts, UndefinedMetricWarning
from ironstep.metrics._counts import over_root

# Criterion: numerator and denominator from TP, FP, FN, TN, written as the textbooks do.
FORMULAS = {
    "tpr": lambda tp, fp, fn, tn: (tp, tp + fn),
    "sensitivity": lambda tp, fp, fn, tn: (tp, tp + fn),
    "recall": lambda tp, fp, fn, tn: (tp, tp + fn),
    "fnr": lambda tp, fp, fn, tn: (fn, tp + fn),
    "tnr": lambda tp, fp, fn, tn: (tn, tn + fp),
    "specificity": lambda tp, fp, fn, tn: (tn, tn + fp),
    "fpr": lambda tp, fp, fn, tn: (fp, tn + fp),
    "ppv": lambda tp, fp, fn, tn: (tp, tp + fp),
    "precision": lambda tp, fp, fn, tn: (tp, tp + fp),
    "fdr": lambda tp, fp, fn, tn: (fp, tp + fp),
    "npv": lambda tp, fp, fn, tn: (tn, tn + fn),
    "for_": lambda tp, fp, fn, tn: (fn, tn + fn),
    "accuracy": lambda tp, fp, fn, tn: (tp + tn, tp + fp + fn + tn),
    "error_rate": lambda tp, fp, fn, tn: (fp + fn, tp + fp + fn + tn),
    "prevalence": lambda tp, fp, fn, tn: (tp + fn, tp + fp + fn + tn),
    "f1": lambda tp, fp, fn, tn: (2 * tp, 2 * tp + fp + fn),
    "jaccard": lambda tp, fp, fn, tn: (tp, tp + fp + fn),
    "diagnostic_odds_ratio": lambda tp, fp, fn, tn: (tp * tn, fp * fn),
}
SUMS = {
    "balanced_accuracy": lambda c: (c["tpr"] + c["tnr"]) / 2,
    "youden_j": lambda c: c["tpr"] + c["tnr"] - 1,
    "lr_positive": lambda c: c["tpr"] / c["fpr"],
    "lr_negative": lambda c: c["fnr"] / c["tnr"],
}

counts = st.one_of(st.integers(0, 5), st.integers(0, 10**12))
tables = st.tuples(counts, counts, counts, counts)


def exact(name, table):
    """The criterion as a fraction; None where it is undefined."""
    if name in FORMULAS:
        numerator, denominator = FORMULAS[name](*table)
        return Fraction(numerator, denominator) if denominator else None
    try:
        return SUMS[name]({part: exact(part, table) for part in ("tpr", "tnr", "fpr", "fnr")})
    except (TypeError, ZeroDivisionError):
        return None


def binary(table, **kwargs):
    return BinaryCounts(**dict(zip(("tp", "fp", "fn", "tn"), table, strict=True)), **kwargs)


@pytest.mark.parametrize("name", [*FORMULAS, *SUMS])
@given(table=tables)
def test_integers_are_rounded_once(name, table):
    value = getattr(binary(table, undefined="nan"), name)
    expected = exact(name, table)
    if expected is None:
        assert math.isnan(value)
    else:
        assert value == float(expected)


@given(table=tables)
def test_mcc_is_rounded_once(table):
    tp, fp, fn, tn = table
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    value = binary(table, undefined="nan").mcc
    if product == 0:
        assert math.isnan(value)
    else:
        with mpmath.workdps(60):
            assert value == float((tp * tn - fp * fn) / mpmath.sqrt(product))


@given(table=tables)
def test_kappa_is_observed_beyond_chance(table):
    tp, fp, fn, tn = table
    n = sum(table)
    value = binary(table, undefined="nan").kappa
    observed = Fraction(tp + tn, n or 1)
    chance = Fraction((tp + fp) * (tp + fn) + (fn + tn) * (fp + tn), n**2 or 1)
    if n == 0 or chance == 1:
        assert math.isnan(value)
    else:
        assert value == float((observed - chance) / (1 - chance))


@given(table=tables, beta=st.sampled_from([0, 0.1, 0.5, 1, 2, 3.7, 100]))
def test_fbeta_weighs_recall(table, beta):
    tp, fp, fn, _ = table
    square = Fraction(beta) ** 2
    denominator = (1 + square) * tp + square * fn + fp
    value = binary(table, undefined="nan").fbeta(beta)
    if denominator == 0:
        assert math.isnan(value)
    else:
        assert value == float((1 + square) * tp / denominator)


def test_fbeta_of_infinity_is_recall():
    table = binary((3, 1, 2, 4))
    assert table.fbeta(math.inf) == table.recall
    for beta in (-1, math.nan, "1"):
        with pytest.raises(ValueError, match="beta"):
            table.fbeta(beta)


@pytest.mark.parametrize("numerator", [1, -1, 3, 10**30, -(10**40)])
@pytest.mark.parametrize("square", [1, 2, 3, 10**9, 10**61, 10**90])
def test_over_root_is_rounded_once(numerator, square):
    with mpmath.workdps(120):
        assert over_root(numerator, square) == float(numerator / mpmath.sqrt(square))


@pytest.mark.parametrize("name", [*FORMULAS, *SUMS, "mcc", "kappa"])
@given(tables=st.lists(st.tuples(*[st.integers(0, 10**6)] * 4), min_size=1, max_size=8))
def test_arrays_are_as_their_elements(name, tables):
    columns = binary(np.array(tables).T, undefined="nan")
    each = [getattr(binary(table, undefined="nan"), name) for table in tables]
    np.testing.assert_allclose(getattr(columns, name), each, rtol=1e-15, atol=1e-15)


def test_counts_beyond_int64_products():
    table = [2**40, 2**33, 2**35, 2**41]
    arrays = binary([np.array([count]) for count in table])
    for name in [*FORMULAS, *SUMS, "mcc", "kappa"]:
        assert getattr(arrays, name)[0] == pytest.approx(getattr(binary(table), name), rel=1e-15)


def test_weights_are_floats():
    half = binary([np.float32(1.5), 0.5, 0.25, 2.25])
    assert (half.tp, half.sensitivity) == (1.5, 1.5 / 1.75)
    assert half.mcc == pytest.approx(binary([6, 2, 1, 9]).mcc, rel=1e-15)
    assert half.f1 == pytest.approx(binary([6, 2, 1, 9]).f1, rel=1e-15)


SKLEARN = {
    "precision": (0.0, True),
    "recall": (0.0, True),
    "f1": (0.0, True),
    "jaccard": (0.0, True),
    "mcc": (0.0, False),
    "specificity": (math.nan, True),
    "lr_positive": (math.nan, True),
    "kappa": (math.nan, True),
    "accuracy": (math.nan, True),
}


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("count", [0, 0.0, np.array([0, 0])], ids=["int", "float", "array"])
class TestUndefined:
    def value(self, name, count, undefined):
        return getattr(binary([count] * 4, undefined=undefined), name)

    def test_sklearn(self, name, count):
        expected, warns = SKLEARN[name]
        if warns:
            with pytest.warns(UserWarning, match="is undefined") as caught:
                value = self.value(name, count, "sklearn")
            assert caught[0].filename == __file__
        else:
            value = self.value(name, count, "sklearn")
        np.testing.assert_array_equal(value, np.full(np.shape(count), expected))

    def test_raise(self, name, count):
        with pytest.raises(ValueError, match="is undefined"):
            self.value(name, count, "raise")

    def test_warn(self, name, count):
        with pytest.warns(UserWarning, match="is undefined"):
            assert np.isnan(self.value(name, count, "warn")).all()

    @pytest.mark.parametrize("undefined", ["nan", 0.25, 1])
    def test_value(self, name, count, undefined):
        np.testing.assert_array_equal(
            self.value(name, count, undefined), np.full(np.shape(count), float(undefined))
        )


def test_only_undefined_places_are_filled():
    table = BinaryCounts(tp=[0, 1], fp=[0, 1], fn=[1, 0], tn=[1, 1], undefined=-1)
    np.testing.assert_array_equal(table.precision, [-1, 0.5])


@pytest.mark.parametrize("count", ["1", None, [None], ["1"]])
def test_no_numbers(count):
    with pytest.raises(TypeError, match="fp: got"):
        binary([1, count, 1, 1])


@pytest.mark.parametrize("count", [-1, -0.5, [1, -1], math.nan])
def test_no_counts(count):
    with pytest.raises(ValueError, match="fn: got"):
        binary([1, 1, count, 1])


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shapes"):
        binary([[1, 2], [1, 2, 3], 1, 1])
    with pytest.raises(TypeError):
        BinaryCounts(1, 2, 3, 4)


def test_undefined_is_checked():
    for undefined in ("no", True, None, [1]):
        with pytest.raises(ValueError, match="undefined: got"):
            binary([1, 1, 1, 1], undefined=undefined)


def test_the_warning_is_sklearns_where_it_is_imported():
    exceptions = pytest.importorskip("sklearn.exceptions")
    with pytest.warns(exceptions.UndefinedMetricWarning):
        _ = binary([0, 0, 1, 1]).precision
    assert issubclass(UndefinedMetricWarning, UserWarning)


def test_from_labels():
    assert repr(BinaryCounts.from_labels([0, 0, 1, 1], [0, 1, 1, 1])) == (
        "BinaryCounts(tp=2, fp=1, fn=0, tn=1)"
    )
    swapped = BinaryCounts.from_labels([0, 0, 1, 1], [0, 1, 1, 1], pos_label=0)
    assert (swapped.tp, swapped.fp, swapped.fn, swapped.tn) == (1, 0, 1, 2)
    words = BinaryCounts.from_labels(["ill", "well"], ["ill", "ill"], pos_label="ill")
    assert (words.tp, words.fp) == (1, 1)
    weighted = BinaryCounts.from_labels([0, 1, 1], [1, 1, 0], sample_weight=[0.5, 2, 4])
    assert (weighted.tp, weighted.fp, weighted.fn, weighted.tn) == (2, 0.5, 4, 0)
    assert repr(BinaryCounts.from_labels([0, 0], [0, 0])) == "BinaryCounts(tp=0, fp=0, fn=0, tn=2)"
    assert repr(BinaryCounts.from_labels([1, 1], [1, 1])) == "BinaryCounts(tp=2, fp=0, fn=0, tn=0)"
    with pytest.raises(ValueError, match="pos_label=1 is not a valid label"):
        BinaryCounts.from_labels(["a", "b"], ["a", "b"])
    for labels in ([0, 1, 2], [[0, 1], [1, 1]]):
        with pytest.raises(ValueError, match="Target is multi"):
            BinaryCounts.from_labels(labels, labels)


def test_nothing_is_said_of_what_is_defined():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = binary([1, 2, 3, 4])
        for name in [*FORMULAS, *SUMS, "mcc", "kappa"]:
            assert math.isfinite(getattr(table, name))
