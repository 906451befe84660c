"""Functions over labels, against scikit-learn's and against sums that are written out."""

import inspect
import math
import pickle
import re
import warnings
from collections import Counter
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ironstep
import ironstep.metrics as ours

theirs = pytest.importorskip("sklearn.metrics")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")

ONE_COLUMN = [
    ("accuracy_score", {}),
    ("accuracy_score", {"normalize": False}),
    ("balanced_accuracy_score", {}),
    ("confusion_matrix", {}),
    ("confusion_matrix", {"normalize": "true"}),
    ("confusion_matrix", {"normalize": "pred"}),
    ("confusion_matrix", {"normalize": "all"}),
    ("multilabel_confusion_matrix", {}),
    ("matthews_corrcoef", {}),
    ("cohen_kappa_score", {}),
    ("cohen_kappa_score", {"weights": "linear"}),
    ("cohen_kappa_score", {"weights": "quadratic"}),
    *(
        (name, {"average": average})
        for name in ("precision_score", "recall_score", "f1_score", "jaccard_score")
        for average in (None, "micro", "macro", "weighted")
    ),
    ("fbeta_score", {"average": "macro", "beta": 0.5}),
    ("fbeta_score", {"average": None, "beta": 2}),
    ("precision_recall_fscore_support", {}),
    ("precision_recall_fscore_support", {"average": "weighted", "beta": 3}),
    ("classification_report", {}),
    ("classification_report", {"digits": 4, "output_dict": True}),
]
IDS = [f"{name}-{'-'.join(map(str, kwargs.values()))}" for name, kwargs in ONE_COLUMN]


def flat(result):
    """Numbers of a result, whatever its form."""
    if isinstance(result, dict):
        return [number for value in result.values() for number in flat(value)]
    if isinstance(result, tuple):
        return [number for value in result if value is not None for number in flat(value)]
    return np.ravel(result).tolist()


def assert_same_report(got, expected):
    """The same text, but for the last digits of sums of weights."""
    if got != expected:
        parts = re.split(r"(\d+\.\d{5,})", got), re.split(r"(\d+\.\d{5,})", expected)
        assert parts[0][::2] == parts[1][::2]
        np.testing.assert_allclose(*(np.array(part[1::2], float) for part in parts), rtol=1e-12)


def assert_as_sklearn(name, kwargs, *arguments):
    expected = getattr(theirs, name)(*arguments, **kwargs)
    got = getattr(ours, name)(*arguments, **kwargs)
    if isinstance(expected, str):
        assert_same_report(got, expected)
        return
    assert type(got) is type(expected)
    if isinstance(expected, np.ndarray):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(flat(got), flat(expected), rtol=1e-12, atol=1e-15)


labels = st.one_of(
    st.integers(0, 1), st.integers(-1, 4), st.integers(-(10**12), 10**12), st.sampled_from("abcde")
)


@st.composite
def two_columns(draw):
    kind = draw(
        st.sampled_from(
            [
                st.integers(0, 1),
                st.integers(-1, 4),
                st.integers(0, 40),
                st.integers(-(10**12), 10**12),
                st.sampled_from(["a", "b", "ccc", "ä"]),
                st.booleans(),
                st.sampled_from([0.0, 1.0, 7.0]),
            ]
        )
    )
    pairs = draw(st.lists(st.tuples(kind, kind), min_size=1, max_size=40))
    columns = [np.array(column) for column in zip(*pairs, strict=True)]
    return [column.astype(object) if draw(st.booleans()) and column.dtype.kind == "U" else column
            for column in columns]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs"), ONE_COLUMN, ids=IDS)
@settings(max_examples=50)
@given(columns=two_columns(), data=st.data())
def test_columns_as_sklearn(name, kwargs, columns, data):
    weighted = data.draw(st.sampled_from([None, int, float]))
    if weighted is not None:
        n = len(columns[0])
        weight = data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n).filter(any))
        kwargs = kwargs | {"sample_weight": np.array(weight, dtype=weighted) / weighted(1)}
        if weighted is int:
            kwargs["sample_weight"] = kwargs["sample_weight"].astype(int)
    elif name in ("multilabel_confusion_matrix", "classification_report"):
        # Where nothing is right scikit-learn makes its counts floats; ours stay integers.
        assume(np.any(columns[0] == columns[1]))
    assert_as_sklearn(name, kwargs, *columns)


SETS = [
    (name, kwargs)
    for name, kwargs in ONE_COLUMN
    if "average" in kwargs or name in ("accuracy_score", "multilabel_confusion_matrix")
]
SETS += [
    (name, {"average": "samples"})
    for name in ("precision_score", "recall_score", "f1_score", "jaccard_score")
]
SETS += [("multilabel_confusion_matrix", {"samplewise": True}), ("classification_report", {})]


@pytest.mark.parametrize(("name", "kwargs"), SETS)
@pytest.mark.parametrize("form", ["dense", "bool", "float", "csr_array", "coo_matrix", "mixed"])
@pytest.mark.parametrize("weighted", [False, True])
def test_indicators_as_sklearn(name, kwargs, form, weighted):
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(5)
    y_true, y_pred = rng.integers(0, 2, (2, 30, 4))
    y_pred[:, 2] = 0
    y_true[3] = y_pred[3] = 0
    convert = {
        "dense": np.asarray,
        "bool": lambda rows: rows.astype(bool),
        "float": lambda rows: rows.astype(float),
        "mixed": np.asarray,
    }.get(form) or getattr(sparse, form)
    if weighted:
        kwargs = kwargs | {"sample_weight": rng.random(30)}
    got = getattr(ours, name)(
        convert(y_true), sparse.csr_array(y_pred) if form == "mixed" else convert(y_pred), **kwargs
    )
    expected = getattr(theirs, name)(y_true, y_pred, **kwargs)
    if isinstance(expected, str):
        assert_same_report(got, expected)
    else:
        np.testing.assert_allclose(flat(got), flat(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("wanted", [[0, 1], [2, 0], [1, 1, 0], [0, 7], [5], ["a"], [1.0, 2]])
@pytest.mark.parametrize("weighted", [False, True])
def test_chosen_labels_as_sklearn(wanted, weighted):
    rng = np.random.default_rng(1)
    y_true, y_pred = rng.integers(0, 6, (2, 60))
    kwargs = {"labels": wanted, "sample_weight": rng.random(60) if weighted else None}
    if wanted == ["a"]:
        with pytest.raises(ValueError, match="At least one label specified must be in y_true"):
            ours.confusion_matrix(y_true, y_pred, **kwargs)
        return
    assert_as_sklearn("confusion_matrix", kwargs, y_true, y_pred)
    assert_as_sklearn("multilabel_confusion_matrix", kwargs, y_true, y_pred)
    for average in (None, "micro", "macro", "weighted"):
        more = kwargs | {"average": average}
        assert_as_sklearn("precision_recall_fscore_support", more, y_true, y_pred)
    assert_as_sklearn("cohen_kappa_score", kwargs, y_true, y_pred)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_correlation_is_rounded_once(pairs):
    n = len(pairs)
    truth, pred = (Counter(column) for column in zip(*pairs, strict=True))
    right = sum(a == b for a, b in pairs)
    covariance = right * n - sum(truth[k] * pred[k] for k in range(4))
    variances = (n**2 - sum(v**2 for v in truth.values())) * (
        n**2 - sum(v**2 for v in pred.values())
    )
    got = ours.matthews_corrcoef(*np.array(pairs).T)
    with mpmath.workdps(60):
        assert got == (float(covariance / mpmath.sqrt(variances)) if variances else 0)
    chance = Fraction(sum(truth[k] * pred[k] for k in range(4)), n**2)
    kappa = ours.cohen_kappa_score(*np.array(pairs).T)
    if chance == 1:
        assert math.isnan(kappa)
    else:
        assert kappa == float((Fraction(right, n) - chance) / (1 - chance))


def test_counts_of_more_than_2_24_are_exact():
    n = 2**24 + 3
    y_true, y_pred = np.zeros(n, np.int8), np.zeros(n, np.int8)
    y_true[:5] = y_pred[3:9] = 1
    assert ours.confusion_matrix(y_true, y_pred).tolist() == [[n - 9, 4], [3, 2]]
    assert ours.accuracy_score(y_true, y_pred, normalize=False) == n - 7
    weighted = ours.confusion_matrix(y_true, y_pred, sample_weight=np.ones(n, np.float32))
    assert weighted.tolist() == [[n - 9, 4], [3, 2]]


def test_any_number_of_threads():
    rng = np.random.default_rng(3)
    y_true, y_pred = rng.integers(0, 40, (2, 300_000))
    weight = rng.random(300_000)
    results = []
    for threads in (1, 2, 5):
        ironstep.set_num_threads(threads)
        try:
            results.append(
                [
                    ours.confusion_matrix(y_true, y_pred).tobytes(),
                    ours.confusion_matrix(y_true, y_pred, sample_weight=weight).tobytes(),
                    ours.accuracy_score(y_true, y_pred),
                    ours.f1_score(y_true, y_pred, average="macro"),
                ]
            )
        finally:
            ironstep.set_num_threads(None)
    assert results[0] == results[1] == results[2]


def test_more_labels_than_a_table_has():
    rng = np.random.default_rng(4)
    y_true = rng.integers(0, 5000, 20_000)
    y_pred = np.where(rng.random(20_000) < 0.5, y_true, rng.integers(0, 5000, 20_000))
    for weight in (None, rng.random(20_000), rng.integers(0, 5, 20_000)):
        kwargs = {"sample_weight": weight, "average": "macro"}
        assert_as_sklearn("f1_score", kwargs, y_true, y_pred)
        assert_as_sklearn("accuracy_score", {"sample_weight": weight}, y_true, y_pred)
        assert_as_sklearn("matthews_corrcoef", {"sample_weight": weight}, y_true, y_pred)
    assert_as_sklearn("confusion_matrix", {}, y_true % 3000, y_pred % 3000)


def test_integer_weights_beyond_2_53_are_exact():
    weight = [2**60, 1, 1]
    table = ours.confusion_matrix([0, 0, 1], [0, 0, 1], sample_weight=weight)
    assert table.tolist() == [[2**60 + 1, 0], [0, 1]]
    assert ours.accuracy_score([0, 0, 1], [0, 1, 1], sample_weight=weight) == (
        (2**60 + 1) / (2**60 + 2)
    )


def test_weights_equal_repetition():
    rng = np.random.default_rng(6)
    y_true, y_pred = rng.integers(0, 3, (2, 50))
    weight = rng.integers(0, 4, 50)
    repeated = np.repeat(y_true, weight), np.repeat(y_pred, weight)
    for name, kwargs in ONE_COLUMN:
        function = getattr(ours, name)
        got = function(y_true, y_pred, sample_weight=weight, **kwargs)
        expected = function(*repeated, **kwargs)
        if not isinstance(got, str):  # a report shows sums of weights as floats
            assert flat(got) == flat(expected)


@pytest.mark.filterwarnings("error")
class TestUndefined:
    CASES = [
        ("precision_score", {}, [0, 1], [0, 0], 0.0),
        ("recall_score", {}, [0, 0], [0, 1], 0.0),
        ("f1_score", {}, [0, 0], [0, 0], 0.0),
        ("fbeta_score", {"beta": 2}, [0, 0], [0, 0], 0.0),
        ("jaccard_score", {}, [0, 0], [0, 0], 0.0),
        ("precision_score", {"average": None}, [0, 2, 1], [0, 0, 1], [0.5, 1, 0]),
        ("matthews_corrcoef", {}, [0, 0], [0, 1], 0.0),
        ("cohen_kappa_score", {}, [0, 0], [0, 0], math.nan),
        ("class_likelihood_ratios", {}, [0, 1], [0, 1], [math.nan, 0]),
        ("specificity_score", {}, [1, 1], [0, 1], math.nan),
    ]
    each = pytest.mark.parametrize(
        ("name", "kwargs", "y_true", "y_pred", "sklearn"), CASES, ids=[c[0] for c in CASES]
    )

    @each
    def test_sklearn(self, name, kwargs, y_true, y_pred, sklearn):
        call = getattr(ours, name)
        if name == "matthews_corrcoef":
            value = call(y_true, y_pred, **kwargs)
        else:
            with pytest.warns(UserWarning, match="defined") as caught:
                value = call(y_true, y_pred, **kwargs)
            assert [warning.filename for warning in caught] == [__file__]
        np.testing.assert_array_equal(value, sklearn)

    @each
    def test_raise(self, name, kwargs, y_true, y_pred, sklearn):
        with pytest.raises(ValueError, match="is undefined"):
            getattr(ours, name)(y_true, y_pred, undefined="raise", **kwargs)

    @each
    @pytest.mark.parametrize("undefined", ["warn", "nan", -0.5])
    def test_value(self, name, kwargs, y_true, y_pred, sklearn, undefined):
        value = math.nan if isinstance(undefined, str) else undefined
        expected = {
            "class_likelihood_ratios": [value, 0],
            "precision_score": [0.5, 1, value] if kwargs else value,
        }.get(name, value)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = getattr(ours, name)(y_true, y_pred, undefined=undefined, **kwargs)
        np.testing.assert_array_equal(got, expected)
        assert len(caught) == (undefined == "warn")

    def test_what_is_defined_does_not_ask(self):
        for undefined in ("raise", "warn", "nan", 0.5):
            assert ours.f1_score([0, 1], [0, 1], undefined=undefined) == 1
            assert ours.precision_score([0, 1], [0, 1], undefined=undefined) == 1

    @pytest.mark.parametrize(
        ("name", "own"),
        [
            ("f1_score", {"zero_division": 1}),
            ("jaccard_score", {"zero_division": math.nan}),
            ("classification_report", {"zero_division": 0}),
            ("cohen_kappa_score", {"replace_undefined_by": 0.0}),
            ("class_likelihood_ratios", {"replace_undefined_by": 1.0}),
        ],
    )
    def test_both_policies_are_an_error(self, name, own):
        with pytest.raises(ValueError, match=r"undefined and .* are both given"):
            getattr(ours, name)([0, 1], [0, 1], undefined="nan", **own)
        assert getattr(ours, name)([0, 1, 1, 0], [0, 1, 0, 1], **own) is not None

    def test_balanced_accuracy_of_a_label_that_is_never_true(self):
        arguments = [0, 0, 1], [0, 2, 1]
        with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
            assert ours.balanced_accuracy_score(*arguments) == 0.75
        assert math.isnan(ours.balanced_accuracy_score(*arguments, undefined="nan"))
        with pytest.raises(ValueError, match="balanced accuracy is undefined"):
            ours.balanced_accuracy_score(*arguments, undefined="raise")


@pytest.mark.parametrize(
    ("name", "kwargs", "words"),
    [
        ("confusion_matrix", {"normalize": "rows"}, "normalize"),
        ("f1_score", {"average": "mean"}, "average has to be one of"),
        ("f1_score", {"zero_division": 2}, "zero_division: got 2"),
        ("f1_score", {"zero_division": "nan"}, "zero_division: got 'nan'"),
        ("f1_score", {"undefined": "zero"}, "undefined: got 'zero'"),
        ("fbeta_score", {"beta": -1}, "beta: got -1"),
        ("cohen_kappa_score", {"weights": "cubic"}, "weights has to be"),
        ("cohen_kappa_score", {"replace_undefined_by": 2}, "replace_undefined_by: got 2"),
        ("class_likelihood_ratios", {"replace_undefined_by": 0.5}, "replace_undefined_by"),
        ("class_likelihood_ratios", {"labels": [1]}, "got 1 labels"),
        ("classification_report", {"digits": -1}, "digits: got -1"),
        ("f1_score", {"average": "samples"}, "Samplewise metrics are not available"),
        ("f1_score", {"pos_label": 2}, "pos_label=2 is not a valid label"),
    ],
)
def test_bad_options(name, kwargs, words):
    with pytest.raises(ValueError, match=words):
        getattr(ours, name)([0, 1, 1], [0, 1, 0], **kwargs)


@pytest.mark.skipif(
    "y_proba" not in inspect.signature(theirs.log_loss).parameters,
    reason="this scikit-learn has the arguments from before they were renamed",
)
def test_arguments_are_sklearns():
    for name in ours.__all__:
        function, known = getattr(ours, name), getattr(theirs, name, None)
        if not inspect.isfunction(function) or known is None:
            continue
        got = inspect.signature(function).parameters
        expected = inspect.signature(known).parameters
        assert [p for p in got if p not in ("undefined", "backend", "ties")] == list(expected), name
        for parameter in expected.values():
            mine = got[parameter.name]
            assert mine.kind == parameter.kind
            same = mine.default is parameter.default or mine.default == parameter.default
            both_nan = mine.default != mine.default and parameter.default != parameter.default
            assert same or both_nan, (name, parameter)


def test_functions_are_pickled_by_name():
    for name in ours.__all__:
        assert pickle.loads(pickle.dumps(getattr(ours, name))) is getattr(ours, name)


def test_scorers_and_searches():
    model_selection = pytest.importorskip("sklearn.model_selection")
    linear_model = pytest.importorskip("sklearn.linear_model")
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.make_classification(300, weights=[0.7], random_state=0)
    model = linear_model.LogisticRegression()
    mine = {
        "f1": theirs.make_scorer(ours.f1_score),
        "mcc": theirs.make_scorer(ours.matthews_corrcoef),
        "specificity": theirs.make_scorer(ours.specificity_score),
    }
    known = {
        "f1": "f1",
        "mcc": "matthews_corrcoef",
        "specificity": theirs.make_scorer(theirs.recall_score, pos_label=0),
    }
    got = model_selection.cross_validate(model, x, y, scoring=mine, n_jobs=2)
    expected = model_selection.cross_validate(model, x, y, scoring=known)
    for name in mine:
        np.testing.assert_allclose(got[f"test_{name}"], expected[f"test_{name}"], rtol=1e-12)
    search = model_selection.GridSearchCV(model, {"C": [0.01, 1]}, scoring=mine, refit="mcc")
    assert 0 < search.fit(x, y).best_score_ <= 1


RATES = {
    "sensitivity_score": 0.75,
    "specificity_score": 2 / 3,
    "false_positive_rate": 1 / 3,
    "false_negative_rate": 0.25,
    "false_discovery_rate": 0.4,
    "negative_predictive_value": 0.8,
    "positive_likelihood_ratio": 2.25,
    "negative_likelihood_ratio": 0.375,
    "diagnostic_odds_ratio": 6.0,
    "youden_j": 5 / 12,
}


@pytest.mark.parametrize(("name", "expected"), RATES.items())
def test_rates(name, expected):
    # TP 3, FN 1, FP 2, TN 4
    y_true = ["ill"] * 4 + ["well"] * 6
    y_pred = ["ill"] * 3 + ["well"] + ["ill"] * 2 + ["well"] * 4
    function = getattr(ours, name)
    assert function(y_true, y_pred, pos_label="ill") == expected
    weights = np.full(10, 0.5)
    assert function(y_true, y_pred, pos_label="ill", sample_weight=weights) == (
        pytest.approx(expected, rel=1e-15)
    )
    with pytest.raises(ValueError, match="pos_label=1 is not a valid label"):
        function(y_true, y_pred)
