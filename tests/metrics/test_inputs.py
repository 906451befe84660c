"""What is taken as labels, and what is refused in whose words."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ironstep.metrics import accuracy_score, confusion_matrix
from ironstep.metrics._arguments import group_codes
from ironstep.metrics._inputs import (
    binary_targets,
    check_consistent_length,
    check_finite,
    check_pos_label,
    check_sample_weight,
    column,
    type_of_target,
    unique_labels,
)

KINDS = [
    ([0, 1, 1], "binary"),
    ([0, 0], "binary"),
    ([], "binary"),
    ([-1, 1], "binary"),
    ([True, False], "binary"),
    ([1.0, 0.0], "binary"),
    (["a", "b"], "binary"),
    (np.array(["a", "b", "c"], dtype=object), "multiclass"),
    ([3, 1, 2], "multiclass"),
    ([[1], [2], [3]], "multiclass"),
    ([1.0, 2.0, 3.0], "multiclass"),
    ([0.5, 1.0], "continuous"),
    ([[0.5], [1.0]], "continuous"),
    ([[0, 1], [1, 1]], "multilabel-indicator"),
    ([[0.0, 1.0], [1.0, 1.0]], "multilabel-indicator"),
    (np.array([[True, False]]), "multilabel-indicator"),
    ([[0, 1], [1, 2]], "multiclass-multioutput"),
    ([["a", "b"], ["b", "a"]], "multiclass-multioutput"),
    ([[0.5, 1.0]], "continuous-multioutput"),
    ([[[0, 1]]], "unknown"),
    ([[]], "unknown"),
    (np.array([0, 1], dtype=object), "unknown"),
]


@pytest.mark.parametrize(("values", "kind"), KINDS, ids=[f"{v!r}"[:40] for v, _ in KINDS])
def test_kinds_are_sklearns(values, kind):
    multiclass = pytest.importorskip("sklearn.utils.multiclass")
    assert type_of_target(values) == kind == multiclass.type_of_target(values)


@pytest.mark.parametrize("form", ["csr_array", "csc_matrix", "coo_array"])
def test_kinds_of_sparse_matrices(form):
    sparse = pytest.importorskip("scipy.sparse")
    multiclass = pytest.importorskip("sklearn.utils.multiclass")
    kinds = ["multilabel-indicator", "multilabel-indicator", "multiclass-multioutput"]
    kinds += ["continuous-multioutput", "binary"]
    rows = ([[0, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 2], [3, 1]], [[0.5, 1]], [[1], [0]])
    for of, kind in zip(rows, kinds, strict=True):
        matrix = getattr(sparse, form)(np.array(of))
        assert type_of_target(matrix) == kind
        try:
            assert multiclass.type_of_target(matrix) == kind
        except TypeError:
            assert form == "coo_array"  # which older scikit-learns look into as if it had rows


def test_columns_share_memory():
    values = np.arange(10)
    for view in (values, values[::-2], values.reshape(-1, 1)):
        assert np.shares_memory(column(view, "y"), values)
    read_only = values[:]
    read_only.flags.writeable = False
    assert np.shares_memory(column(read_only, "y"), values)
    with pytest.raises(ValueError, match=r"should be a 1d array, got an array of shape \(2, 5\)"):
        column(values.reshape(2, 5), "y")


def test_tensors_share_memory():
    torch = pytest.importorskip("torch")
    tensor = torch.arange(5)
    assert np.shares_memory(column(tensor, "y"), tensor.numpy())
    assert column(torch.ones(3, requires_grad=True), "y").tolist() == [1, 1, 1]
    half = torch.tensor([0.5, 3.140625], dtype=torch.bfloat16)
    assert column(half, "y").tolist() == [0.5, 3.140625]


def forms_of(values):
    """The same column in everything that people keep columns in."""
    yield "list", values
    yield "tuple", tuple(values)
    yield "column", np.array(values).reshape(-1, 1)
    yield "strided", np.repeat(np.array(values), 2)[::2]
    yield "object", np.array(values, dtype=object) if isinstance(values[0], str) else values
    pandas = pytest.importorskip("pandas")
    yield "pandas", pandas.Series(values, index=range(5, 5 + len(values)))
    yield "pandas category", pandas.Series(values, dtype="category")
    nullable = {str: "string", int: "Int64", bool: "boolean"}[type(values[0])]
    yield "pandas nullable", pandas.Series(values, dtype=nullable)
    polars = pytest.importorskip("polars")
    yield "polars", polars.Series(values)
    pyarrow = pytest.importorskip("pyarrow")
    yield "pyarrow", pyarrow.array(values)
    yield "pyarrow chunks", pyarrow.chunked_array([values[:2], values[2:]])
    if not isinstance(values[0], str):
        torch = pytest.importorskip("torch")
        yield "torch", torch.tensor(values)
        yield "foreign bytes", np.array(values, dtype=">i4")
        yield "float16", np.array(values, dtype=np.float16)
        yield "unaligned", unaligned(values)


def unaligned(values):
    raw = np.zeros(8 * len(values) + 1, dtype=np.uint8)
    view = raw[1:].view(np.int64)
    view[:] = values
    return view


@pytest.mark.parametrize(
    "values", [[3, 1, 2, 1, 3], [True, False, True, True, False], ["b", "a", "c", "a", "b"]]
)
def test_every_form_of_a_column(values):
    other = values[1:] + values[:1]
    expected = confusion_matrix(np.array(values), np.array(other))
    assert expected.sum() == 5
    weights = [1, 2, 3, 4, 5]
    weighted = confusion_matrix(values, other, sample_weight=weights)
    for (name, y_true), (_, y_pred) in zip(forms_of(values), forms_of(other), strict=True):
        assert confusion_matrix(y_true, y_pred).tolist() == expected.tolist(), name
        assert confusion_matrix(y_true, other).tolist() == expected.tolist(), name
        got = confusion_matrix(y_true, y_pred, sample_weight=weights)
        assert got.tolist() == weighted.tolist(), name
        right = [one == two for one, two in zip(values, other, strict=True)]
        assert accuracy_score(y_true, y_pred) == np.mean(right), name


DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i2", ">u8"]


@pytest.mark.parametrize("dtype_true", DTYPES)
@pytest.mark.parametrize("dtype_pred", DTYPES)
def test_every_pair_of_types(dtype_true, dtype_pred):
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.integers(0, 2, (2, 50))
    expected = [[np.sum((y_true == i) & (y_pred == j)) for j in (0, 1)] for i in (0, 1)]
    got = confusion_matrix(y_true.astype(dtype_true), y_pred.astype(dtype_pred))
    assert got.tolist() == expected
    assert accuracy_score(y_true.astype(dtype_true), y_pred.astype(dtype_pred)) == (
        np.mean(y_true == y_pred)
    )


def test_labels_that_int64_cannot_hold():
    big = np.array([2**63, 2**64 - 1, 0], dtype=np.uint64)
    assert confusion_matrix(big, big).tolist() == np.eye(3).tolist()
    # −1 and 2⁶⁴ − 1 have the same bits; 2⁶³ and 2⁶³ + 1 are the same float64.
    assert confusion_matrix(np.array([-1]), big[1:2]).tolist() == [[0, 1], [0, 0]]
    pair = np.array([2**63], dtype=np.uint64), np.array([2**63 + 1], dtype=np.uint64)
    assert confusion_matrix(*pair).tolist() == [[0, 1], [0, 0]]
    extremes = np.array([-(2**63), 2**63 - 1])
    assert confusion_matrix(extremes, extremes[::-1]).tolist() == [[0, 1], [1, 0]]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_unique_labels_are_in_order(values):
    assert unique_labels(np.array(values)).tolist() == sorted(set(values))


REFUSED = [
    ([0, 1], [0, 1, 1], ValueError, r"inconsistent numbers of samples: \[2, 3\]"),
    ([], [], ValueError, "Found empty input array"),
    (np.array([], dtype=int), np.array([], dtype=int), ValueError, "Found empty input array"),
    (3, 3, TypeError, "Expected sequence or array-like"),
    (np.array(3), np.array(3), TypeError, "at least 1 dimension"),
    ("ab", "ab", ValueError, "Expected array-like"),
    ([0.5, 1], [0, 1], ValueError, "a mix of continuous and binary targets"),
    ([0.5, 1], [0.5, 1], ValueError, "continuous is not supported"),
    ([[0, 1], [1, 0]], [0, 1], ValueError, "a mix of multilabel-indicator and binary"),
    ([[0, 1], [1, 2]], [[0, 1], [1, 2]], ValueError, "multiclass-multioutput is not supported"),
    ([0, 1], ["a", "b"], ValueError, r"Mix of label input types \(string and number\)"),
    ([b"a", b"b"], [b"a", b"b"], TypeError, "bytes is not supported"),
    ([1j, 0], [0, 1], ValueError, "Complex data not supported"),
    ([[1], [1, 2]], [[1], [1, 2]], ValueError, "legacy multi-label"),
    ([np.nan, 1], [0, 1], ValueError, "Input y_true contains NaN, first at index 0"),
    ([0, 1], [1, np.inf], ValueError, "Input y_pred contains infinity.*, first at index 1"),
    ([None, 1], [0, 1], ValueError, "unknown"),
    (["a", None], ["a", "b"], ValueError, "all be strings or all numbers"),
    (np.ma.array([0, 1], mask=[0, 1]), [0, 1], TypeError, "y_true: got a masked array"),
]


@pytest.mark.parametrize(("y_true", "y_pred", "error", "words"), REFUSED)
@pytest.mark.parametrize("metric", [confusion_matrix, accuracy_score])
def test_refused(metric, y_true, y_pred, error, words):
    with pytest.raises(error, match=words):
        metric(y_true, y_pred)


def test_missing_values_are_refused():
    pandas = pytest.importorskip("pandas")
    missing = pandas.Series([1, None, 0], dtype="Int64")
    with pytest.raises(ValueError, match="Input y_true contains NaN"):
        confusion_matrix(missing, [1, 0, 0])


WEIGHTS = [
    ([1, 2], "inconsistent numbers of samples"),
    ([1, np.nan, 1], "Input sample_weight contains NaN, first at index 1"),
    ([1, np.inf, 1], "Input sample_weight contains infinity"),
    ([0, 0, 0], "at least one non-zero"),
    ([[1], [1], [1]], "Sample weights must be 1D array or scalar, got 2D"),
    ([1j, 1, 1], "Complex data not supported"),
]


@pytest.mark.parametrize(("weight", "words"), WEIGHTS)
def test_refused_weights(weight, words):
    with pytest.raises(ValueError, match=words):
        confusion_matrix([0, 1, 1], [0, 1, 0], sample_weight=weight)


def test_weights_keep_their_type():
    assert check_sample_weight([1, 2], 2).dtype == np.int64
    assert check_sample_weight(np.array([True, False]), 2).dtype == bool
    assert check_sample_weight(["1", "2.5"], 2).tolist() == [1, 2.5]
    assert confusion_matrix([0, 1], [0, 1], sample_weight=[True, True]).dtype == np.int64
    assert confusion_matrix([0, 1], [0, 1], sample_weight=[1.0, 1.0]).dtype == np.float64


def test_binary_targets():
    assert binary_targets([0, 1, 1]).tolist() == [False, True, True]
    assert binary_targets([-1, 1]).tolist() == [False, True]
    assert binary_targets(["b", "a"], "a").tolist() == [False, True]
    assert binary_targets([1, 2, 3], 2).tolist() == [False, True, False]
    flags = np.array([True, False])
    assert binary_targets(flags) is flags
    with pytest.raises(ValueError, match=r"y_true takes value in \{1, 2\} and pos_label is not"):
        binary_targets([1, 2])
    with pytest.raises(ValueError, match=r"\{'a', 'b'\} and pos_label is not specified"):
        binary_targets(["a", "b"])
    with pytest.raises(ValueError, match="multiclass format is not supported"):
        binary_targets([1, 2, 3])
    with pytest.raises(ValueError, match="continuous format is not supported"):
        binary_targets([0.5, 1])
    assert check_pos_label(7, np.array([1, 2])) == 7


def test_checks_of_lengths_and_values():
    assert check_consistent_length([1, 2], None, np.zeros((2, 3))) == 2
    check_finite(np.array([1, 2]), "x")
    # The sum overflows, and no element is infinite.
    check_finite(np.array([1e308, 1e308]), "x")
    with pytest.raises(ValueError, match=r"Input x contains NaN, first at index \(1, 0\)"):
        check_finite(np.array([[0, 1], [np.nan, np.nan]]), "x")


def test_sklearn_and_scipy_are_not_imported():
    code = (
        "import sys, ironstep.metrics as m\n"
        "m.classification_report([0, 1, 'a' == 'a'], [0, 1, 0])\n"
        "m.confusion_matrix(['a', 'b'], ['b', 'b'], sample_weight=[1, 2])\n"
        "m.f1_score([[0, 1], [1, 1]], [[0, 1], [1, 1]], average='samples')\n"
        "assert not {'sklearn', 'scipy', 'pandas', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("at", ["least", "zero", "most"])
@pytest.mark.parametrize("spread", [1, 40, 100])
def test_groups_are_numbered_in_order_whatever_their_numbers(dtype, at, spread):
    info = np.iinfo(dtype)
    low = {"least": info.min, "zero": 0, "most": info.max - spread}[at]
    random = np.random.default_rng(spread)
    values = np.array([low + int(step) for step in random.integers(0, spread + 1, 30)], dtype=dtype)
    values[:2] = low, low + spread
    _, expected = np.unique(values, return_inverse=True)
    assert group_codes(values).tolist() == expected.tolist()
