"""Curves and areas against scikit-learn and against counts of all pairs."""

import itertools
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import ironstep
from ironstep import metrics

sk = pytest.importorskip("sklearn.metrics")

# Few distinct values, both zeros, neighbours in the last bit: where ties and their absence matter.
SCORE = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, np.nextafter(0.5, 1), 1e-300, -1e300]),
    st.integers(0, 9).map(lambda tenth: tenth / 10),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)


@st.composite
def binary(draw, both=True):
    n = draw(st.integers(2 if both else 1, 60))
    y_true = draw(npst.arrays(np.int64, n, elements=st.integers(0, 1)))
    if both:
        y_true[:2] = [0, 1]
    y_score = draw(npst.arrays(np.float64, n, elements=SCORE))
    weight = draw(
        st.none() | npst.arrays(np.float64, n, elements=st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    )
    if weight is not None:
        weight[:2] = 1.0
    return y_true, y_score, weight


def pairs(y_true, y_score):
    """The area as a fraction, from all pairs."""
    wins = [
        (2 if p > n else int(p == n))
        for p in y_score[y_true == 1].tolist()
        for n in y_score[y_true == 0].tolist()
    ]
    return Fraction(sum(wins), 2 * len(wins))


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(*args, **kwargs)
    return result, sorted(str(warning.message) for warning in caught)


def same_as_sklearn(name, *args, atol=1e-12, **kwargs):
    ours, our_words = quietly(getattr(metrics, name), *args, **kwargs)
    theirs, their_words = quietly(getattr(sk, name), *args, **kwargs)
    assert our_words == their_words
    if not isinstance(theirs, tuple):
        ours, theirs = (ours,), (theirs,)
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert np.shape(one) == np.shape(other)
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype


@given(binary())
def test_area_is_the_correctly_rounded_share_of_pairs(cases):
    y_true, y_score, _ = cases
    exact = pairs(y_true, y_score)
    assert metrics.roc_auc_score(y_true, y_score) == exact.numerator / exact.denominator
    assert metrics.ScoreIndex(y_true, y_score).auc() == exact.numerator / exact.denominator


@given(binary(), st.sampled_from([None, 1.0, 0.5, 0.1, 1e-3]))
def test_roc_auc_score_is_sklearns(cases, max_fpr):
    y_true, y_score, weight = cases
    same_as_sklearn("roc_auc_score", y_true, y_score, sample_weight=weight, max_fpr=max_fpr)


@given(binary(both=False), st.booleans())
def test_roc_curve_is_sklearns(cases, drop):
    y_true, y_score, weight = cases
    same_as_sklearn("roc_curve", y_true, y_score, sample_weight=weight, drop_intermediate=drop)


@given(binary(both=False), st.booleans())
def test_precision_recall_curve_is_sklearns(cases, drop):
    y_true, y_score, weight = cases
    same_as_sklearn(
        "precision_recall_curve", y_true, y_score, sample_weight=weight, drop_intermediate=drop
    )


@given(binary(both=False))
def test_average_precision_is_sklearns(cases):
    y_true, y_score, weight = cases
    same_as_sklearn("average_precision_score", y_true, y_score, sample_weight=weight)


@given(binary(), st.booleans())
def test_det_curve_is_sklearns(cases, drop):
    y_true, y_score, weight = cases
    same_as_sklearn("det_curve", y_true, y_score, sample_weight=weight, drop_intermediate=drop)


@pytest.mark.skipif(
    not hasattr(sk, "confusion_matrix_at_thresholds"), reason="this scikit-learn has not got it"
)
@given(binary(both=False))
def test_counts_at_thresholds_are_sklearns(cases):
    y_true, y_score, weight = cases
    same_as_sklearn("confusion_matrix_at_thresholds", y_true, y_score, sample_weight=weight)


@st.composite
def multiclass(draw):
    k = draw(st.integers(3, 5))
    n = draw(st.integers(2 * k, 40))
    y_true = np.arange(n) % k
    parts = draw(npst.arrays(np.int64, (n, k), elements=st.integers(0, 5))) + 1
    weight = draw(st.none() | npst.arrays(np.float64, n, elements=st.sampled_from([0.5, 1.0, 3.0])))
    return y_true, parts / parts.sum(axis=1, keepdims=True), weight


@given(multiclass(), st.sampled_from(["macro", "weighted", "micro", None]))
def test_one_against_the_rest_is_sklearns(cases, average):
    y_true, y_score, weight = cases
    same_as_sklearn(
        "roc_auc_score", y_true, y_score, multi_class="ovr", average=average, sample_weight=weight
    )


@given(multiclass(), st.sampled_from(["macro", "weighted"]))
def test_one_against_one_is_sklearns(cases, average):
    y_true, y_score, _ = cases
    same_as_sklearn("roc_auc_score", y_true, y_score, multi_class="ovo", average=average)


@given(multiclass(), st.sampled_from(["macro", "weighted", "micro", "samples", None]))
def test_several_labels_are_sklearns(cases, average):
    _, y_score, weight = cases
    indicator = (y_score > np.median(y_score)).astype(int)
    indicator[:, 0] = 0  # a label that no sample has
    for name in ("roc_auc_score", "average_precision_score"):
        same_as_sklearn(name, indicator, y_score, average=average, sample_weight=weight)


@given(multiclass(), st.integers(1, 6), st.booleans())
def test_top_k_is_sklearns(cases, k, normalize):
    y_true, y_score, weight = cases
    same_as_sklearn(
        "top_k_accuracy_score", y_true, y_score, k=k, normalize=normalize, sample_weight=weight
    )


def places(scores, own, rule):
    """The places that the own class may have among the others, of equal probability."""
    others = [score for place, score in enumerate(scores) if place != own]
    greater = sum(score > scores[own] for score in others)
    equal = sum(score == scores[own] for score in others)
    return [greater + equal] if rule == "strict" else [greater + i for i in range(equal + 1)]


@given(multiclass(), st.integers(1, 6), st.booleans(), st.sampled_from(["strict", "random"]))
def test_top_k_by_other_rules_for_ties(cases, k, normalize, rule):
    y_true, y_score, weight = cases
    y_score = np.round(4 * y_score)  # many ties
    each = []
    for own, row in zip(y_true.tolist(), y_score.tolist(), strict=True):
        allowed = places(row, own, rule)
        each.append(Fraction(sum(place < k for place in allowed), len(allowed)))
    weights = [Fraction(1)] * len(each) if weight is None else list(map(Fraction, weight.tolist()))
    wanted = sum(w * hit for w, hit in zip(weights, each, strict=True))
    options = {"k": k, "normalize": normalize, "sample_weight": weight, "ties": rule}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a k as large as the number of classes
        got = metrics.top_k_accuracy_score(y_true, y_score, **options)
    # Each hit is rounded once, a share once more.
    assert got == pytest.approx(float(wanted / sum(weights) if normalize else wanted), rel=1e-14)


def test_top_k_of_random_ties_is_the_mean_over_the_orders_of_the_classes():
    y_true, y_score = np.array([0, 1, 2, 3]), np.array([[2, 1, 1, 1], [3, 2, 2, 2]] * 2)
    values = []
    for order in itertools.permutations(range(4)):
        place = np.argsort(order)  # of each class among the columns
        values.append(
            sk.top_k_accuracy_score(place[y_true], y_score[:, order], k=2, labels=range(4))
        )
    mean = np.mean(values)
    assert metrics.top_k_accuracy_score(y_true, y_score, k=2, ties="random") == pytest.approx(mean)
    assert metrics.top_k_accuracy_score(y_true, y_score, k=2, ties="strict") == 0.25


@pytest.mark.parametrize("cut", [0.5, 0.0])
def test_top_k_of_two_classes_that_score_the_same(cut):
    y_true = [1, 0, 1, 0, 1]
    y_score = [cut, cut, 0.9, 0.1, cut] if cut else [cut, cut, 9, -4, cut]
    got = [
        metrics.top_k_accuracy_score(y_true, y_score, k=1, ties=ties)
        for ties in ("sklearn", "strict", "random")
    ]
    assert got == [3 / 5, 2 / 5, 3.5 / 5]
    assert metrics.top_k_accuracy_score(y_true, y_score, k=1, ties="random", normalize=False) == 3.5


def test_another_rule_for_ties_is_refused():
    with pytest.raises(ValueError, match="ties: got 'first'; 'sklearn', 'strict' or 'random'"):
        metrics.top_k_accuracy_score([0, 1], [0.1, 0.9], k=1, ties="first")


DTYPES = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool", "longdouble"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "labels", ["bool", "int8", "uint64", "float32", "float16", "str", "object"]
)
def test_every_dtype_gives_what_sklearn_gives(dtype, labels):
    rng = np.random.default_rng(0)
    y_score = rng.integers(0, 100, 400).astype(dtype)
    y_true = rng.integers(0, 2, 400)
    names = np.array(["benign", "malignant"])
    as_labels = names[y_true] if labels == "str" else y_true.astype(labels)
    if labels == "object":
        as_labels = names[y_true].astype(object)
    same_as_sklearn("roc_auc_score", as_labels, y_score)
    pos_label = "malignant" if labels in ("str", "object") else None
    ours = metrics.roc_curve(as_labels, y_score, pos_label=pos_label)
    theirs = sk.roc_curve(y_true, y_score.astype(np.float64))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    thresholds = metrics.precision_recall_curve(as_labels, y_score, pos_label=pos_label)[2]
    assert thresholds.dtype == y_score.dtype


def test_integers_that_no_float_holds_are_no_ties():
    y_score = np.array([2**60, 2**60 + 1, 2**60 + 2, 2**60 + 3])
    assert metrics.roc_auc_score([0, 1, 0, 1], y_score) == 0.75
    thresholds = metrics.precision_recall_curve([0, 1, 0, 1], y_score)[2]
    assert thresholds.tolist() == y_score.tolist()
    assert metrics.ScoreIndex([0, 1, 0, 1], y_score).thresholds.tolist() == y_score[::-1].tolist()


def layouts(values):
    """The same values in other places of memory."""
    other = np.empty((len(values), 3), values.dtype)
    other[:, 1] = values
    yield other[:, 1]
    yield values[::-1].copy()[::-1]
    yield values.astype(values.dtype.newbyteorder())
    packed = np.zeros(len(values), dtype=[("pad", "u1"), ("value", values.dtype)])
    packed["value"] = values
    yield packed["value"]
    read_only = values.copy()
    read_only.flags.writeable = False
    yield read_only
    yield values.tolist()
    yield values.reshape(-1, 1)


def test_any_layout_is_read():
    rng = np.random.default_rng(1)
    y_true, y_score = rng.integers(0, 2, 100), rng.random(100)
    expected = metrics.roc_auc_score(y_true, y_score)
    curve = metrics.roc_curve(y_true, y_score)
    for labels in layouts(y_true):
        for scores in layouts(y_score):
            assert metrics.roc_auc_score(labels, scores) == expected
            for one, other in zip(metrics.roc_curve(labels, scores), curve, strict=True):
                np.testing.assert_array_equal(one, other)


def test_torch_tensors_are_read():
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    y_true = torch.randint(0, 2, (500,), generator=generator)
    y_score = torch.rand(500, generator=generator)
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        scores = y_score.to(dtype)
        expected = sk.roc_auc_score(y_true.numpy(), scores.double().numpy())
        assert metrics.roc_auc_score(y_true, scores) == pytest.approx(expected, abs=1e-12)
        wanted = sk.roc_curve(y_true.numpy(), scores.double().numpy())
        for one, other in zip(metrics.roc_curve(y_true, scores), wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n", [1000, 300_000])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", ["uniform", "logits", "ties", "outliers"])
def test_any_number_of_threads_gives_the_same_bits(n, dtype, shape, threads):
    rng = np.random.default_rng(2)
    y_true = rng.integers(0, 2, n)
    y_score = {
        "uniform": lambda: rng.random(n),
        "logits": lambda: rng.normal(size=n),
        "ties": lambda: rng.integers(0, 30, n) / 7,
        "outliers": lambda: np.append(1 + rng.random(n - 1) / 1e3, 6e4),
    }[shape]().astype(dtype)

    def everything():
        index = metrics.ScoreIndex(y_true, y_score)
        return [
            metrics.roc_auc_score(y_true, y_score),
            metrics.average_precision_score(y_true, y_score),
            *metrics.roc_curve(y_true, y_score),
            *metrics.precision_recall_curve(y_true, y_score),
            index.order,
            index.influence(),
            index.delong_variance(),
            index.bootstrap(n_resamples=5, random_state=3),
        ]

    expected = threads(1, everything)
    assert expected[0] == pytest.approx(sk.roc_auc_score(y_true, y_score), abs=1e-12)
    for number in (2, 3):
        for one, other in zip(threads(number, everything), expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.fixture
def threads():
    def run(number, function):
        ironstep.set_num_threads(number)
        return function()

    yield run
    ironstep.set_num_threads(None)


FUNCTIONS = [
    "roc_auc_score",
    "roc_curve",
    "precision_recall_curve",
    "average_precision_score",
    "det_curve",
    "confusion_matrix_at_thresholds",
]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_first_nan_is_named(name, dtype):
    y_score = np.linspace(0, 1, 50).astype(dtype)
    y_score[[17, 30]] = np.nan
    with pytest.raises(ValueError, match=r"Input y_score contains NaN.*17"):
        getattr(metrics, name)(np.arange(50) % 2, y_score)
    with pytest.raises(ValueError, match=r"first at index 17"):
        metrics.ScoreIndex(np.arange(50) % 2, y_score)


@pytest.mark.parametrize("weight", [None, np.ones(50)], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_infinity_is_refused_where_sklearn_refuses_it(name, weight):
    y_score = np.linspace(0, 1, 50)
    y_score[8] = np.inf
    with pytest.raises(ValueError, match=r"Input y_score contains infinity.*first at index 8"):
        getattr(metrics, name)(np.arange(50) % 2, y_score, sample_weight=weight)


def test_a_bad_score_of_a_matrix_is_named_by_row_and_column():
    y_score = np.full((9, 3), 1 / 3)
    y_score[5, 2] = np.nan
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        metrics.top_k_accuracy_score(np.arange(9) % 3, y_score)
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        metrics.roc_auc_score(np.arange(9) % 3, y_score, multi_class="ovr")


@pytest.mark.parametrize(
    ("y_true", "y_score", "kwargs", "words"),
    [
        ([0, 1], [0.1, 0.2, 0.3], {}, "inconsistent numbers of samples"),
        ([0, 1, 2], [0.1, 0.2, 0.3], {}, "multiclass format is not supported"),
        ([0.1, 0.2], [0.1, 0.2], {}, "continuous format is not supported"),
        ([1, 2], [0.1, 0.2], {}, "pos_label is not specified"),
        (["a", "b"], [0.1, 0.2], {}, "pos_label is not specified"),
        ([], [], {"pos_label": 1}, "0 sample"),
        ([0, 1], [[0.1, 0.2], [0.3, 0.4]], {}, "1d array"),
        ([0, 1], ["x", "y"], {}, "numeric"),
        ([0, 1], [0.1, 0.2], {"sample_weight": [1, 2, 3]}, "inconsistent"),
        ([0, 1], [0.1, 0.2], {"sample_weight": [0, 0]}, "at least one non-zero"),
        ([0, 1], [0.1, 0.2], {"sample_weight": [1, np.nan]}, "NaN"),
    ],
)
@pytest.mark.parametrize("name", ["roc_curve", "precision_recall_curve", "det_curve"])
def test_bad_input_of_curves_is_refused(name, y_true, y_score, kwargs, words):
    with pytest.raises(ValueError, match=words):
        getattr(metrics, name)(y_true, y_score, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"average": "mean"}, "average has to be one of"),
        ({"multi_class": "all"}, "multi_class"),
        ({"max_fpr": 0}, "max_fpr"),
        ({"max_fpr": 1.5}, "max_fpr"),
        ({"undefined": "zero"}, "undefined"),
    ],
)
def test_bad_arguments_of_the_area_are_refused(kwargs, words):
    with pytest.raises(ValueError, match=words):
        metrics.roc_auc_score([0, 1], [0.1, 0.2], **kwargs)


def test_undefined_is_one_policy():
    one_class = ([1, 1], [0.1, 0.2])
    with pytest.warns(UserWarning, match="Only one class is present"):
        assert np.isnan(metrics.roc_auc_score(*one_class))
    assert np.isnan(metrics.roc_auc_score(*one_class, undefined="nan"))
    assert metrics.roc_auc_score(*one_class, undefined=0.5) == 0.5
    with pytest.raises(ValueError, match="Only one class"):
        metrics.roc_auc_score(*one_class, undefined="raise")
    none_positive = ([0, 0], [0.1, 0.2])
    with pytest.warns(UserWarning, match="No positive class"):
        assert metrics.average_precision_score(*none_positive) == 0.0
    assert np.isnan(metrics.average_precision_score(*none_positive, undefined="nan"))
    with pytest.raises(ValueError, match="No positive"):
        metrics.average_precision_score(*none_positive, undefined="raise")
    fpr, _, _ = metrics.roc_curve(*one_class, undefined=0.0)
    assert not fpr.any()
    _, recall, _ = metrics.precision_recall_curve(*none_positive, undefined="nan")
    assert np.isnan(recall[:-1]).all()
    with pytest.raises(ValueError, match="undefined: got 'zero'"):
        metrics.det_curve([0, 1], [0.1, 0.2], undefined="zero")


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("weight", [None, [1, 1, 1, 0]], ids=["missing", "without weight"])
def test_undefined_rates_of_the_detection_error_tradeoff(label, weight):
    y_true, y_score = [label] * 3, [0.1, 0.4, 0.4]
    if weight is not None:
        y_true, y_score = [*y_true, 1 - label], [*y_score, 0.2]
    undefined, defined = (0, 1) if label else (1, 0)
    options = {"pos_label": 1, "sample_weight": weight}
    for policy in ("nan", "warn", 0.25):
        if policy == "warn":
            with pytest.warns(UserWarning, match="Only one class is present"):
                curve = metrics.det_curve(y_true, y_score, **options, undefined=policy)
        else:
            curve = metrics.det_curve(y_true, y_score, **options, undefined=policy)
        expected = np.nan if policy in ("nan", "warn") else policy
        np.testing.assert_array_equal(curve[undefined], np.full(len(curve[2]), expected))
        # From all called positive to none; of positive cases those not called, and the reverse.
        rates = [0, 1 / 3, 1] if label else [1, 2 / 3, 0]
        np.testing.assert_array_equal(curve[2], [0.1, 0.4, np.inf])
        np.testing.assert_allclose(curve[defined], rates, atol=1e-16)
    with pytest.raises(ValueError, match="Only one class is present"):
        metrics.det_curve(y_true, y_score, **options, undefined="raise")
    if weight is None:
        with pytest.raises(ValueError, match="Only one class is present"):
            metrics.det_curve(y_true, y_score, **options)


@settings(max_examples=30)
@given(st.integers(0, 10))
def test_auc_of_points_is_sklearns(shift):
    x, y = np.arange(10.0) - shift, np.arange(10.0) ** 2
    assert metrics.auc(x, y) == pytest.approx(sk.auc(x, y))
    assert metrics.auc(x[::-1], y[::-1]) == pytest.approx(sk.auc(x, y))


def test_auc_of_bad_points_is_refused():
    with pytest.raises(ValueError, match="At least 2 points"):
        metrics.auc([1], [1])
    with pytest.raises(ValueError, match="neither increasing nor decreasing"):
        metrics.auc([0, 2, 1], [0, 1, 2])


def test_top_k_of_two_classes_cuts_at_one_half_or_zero():
    y_true = [0, 1, 1, 0]
    for y_score in ([0.5, 0.51, 0.5, 0.2], [0.5, 2.0, -0.1, 0.0]):
        assert metrics.top_k_accuracy_score(y_true, y_score, k=1) == sk.top_k_accuracy_score(
            y_true, y_score, k=1
        )


@pytest.mark.parametrize(
    "y_score",
    [
        np.array([0.6, 0.8, 0.2, 0.3], dtype=np.longdouble),
        np.array([2**60, 2**60 + 1, 5, -3]),
        np.array([0.6, 0.8, 0.2, 0.3], dtype=np.float16),
    ],
    ids=["longdouble", "int64", "float16"],
)
def test_top_k_of_two_classes_cuts_scores_of_any_type(y_score):
    y_true = [1, 1, 0, 1]
    got = metrics.top_k_accuracy_score(y_true, y_score, k=1)
    assert got == sk.top_k_accuracy_score(y_true, y_score, k=1) == (0.75 if y_score[2] < 1 else 0.5)


def test_functions_are_scorers():
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_validate

    x, y = make_classification(n_samples=120, random_state=0)
    ours = {
        name: sk.make_scorer(getattr(metrics, name), response_method="predict_proba")
        for name in ("roc_auc_score", "average_precision_score", "brier_score_loss")
    }
    theirs = {
        name: sk.make_scorer(getattr(sk, name), response_method="predict_proba") for name in ours
    }
    results = [cross_validate(LogisticRegression(), x, y, scoring=s, cv=3) for s in (ours, theirs)]
    for name in ours:
        np.testing.assert_allclose(results[0][f"test_{name}"], results[1][f"test_{name}"])
