"""The functions that torch's operations compute give the native ones' bits; here on CPU tensors."""

import inspect
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ironstep import metrics

torch = pytest.importorskip("torch")

from ironstep.metrics import _torch  # noqa: E402

LABELS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float64", "float32", "float16", "bfloat16")
OF_LABELS = (
    "confusion_matrix",
    "accuracy_score",
    "balanced_accuracy_score",
    "precision_score",
    "recall_score",
    "f1_score",
    "jaccard_score",
    "precision_recall_fscore_support",
    "matthews_corrcoef",
    "cohen_kappa_score",
    "multilabel_confusion_matrix",
    "class_likelihood_ratios",
    "classification_report",
)
OF_SCORES = (
    "roc_auc_score",
    "roc_curve",
    "precision_recall_curve",
    "confusion_matrix_at_thresholds",
    "average_precision_score",
)

SCORE = st.one_of(
    st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 1 / 3, 1e-7]),
    st.integers(0, 9).map(lambda tenth: tenth / 10),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
)


def outcome(name, *args, **kwargs):
    """What a call gives: result or error, and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = getattr(metrics, name)(*args, **kwargs)
        except Exception as error:  # whatever it is, both have to raise it
            result = error
    return result, [(warning.category, str(warning.message)) for warning in caught]


def assert_same(ours, theirs, ulp=0):
    if isinstance(theirs, tuple):
        assert isinstance(ours, tuple)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, Exception):
        assert (type(ours), str(ours)) == (type(theirs), str(theirs))
    elif isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray), ours
        assert ours.dtype == theirs.dtype
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert type(ours) is type(theirs)
        equal = ours == theirs or (ours != ours and theirs != theirs)
        assert equal or (ulp and abs(ours - theirs) <= ulp * np.spacing(theirs))


def check(name, *args, **kwargs):
    """Compare torch's and the native results of a call; return torch's."""
    native, native_words = outcome(name, *args, **kwargs, backend="native")
    ours, words = outcome(name, *args, **kwargs, backend="torch")
    # The native average precision adds floats; torch's is exact until it divides.
    assert_same(ours, native, ulp=4 if name == "average_precision_score" else 0)
    assert words == native_words
    return ours


def refuse(*values):
    assert not any(isinstance(value, torch.Tensor) for value in values), "copied to the host"
    return values


@pytest.fixture
def on_device(monkeypatch):
    """Copies of what is given are errors: torch has to do all."""
    monkeypatch.setattr(_torch, "to_host", refuse)


def as_tensor(values, dtype):
    return torch.tensor(np.asarray(values).tolist()).to(getattr(torch, dtype))


@st.composite
def columns(draw):
    n = draw(st.integers(1, 40))
    dtype = draw(st.sampled_from(LABELS + FLOATS))
    most = 1 if dtype == "bool" else draw(st.sampled_from([0, 1, 4, 100]))
    least = -1 if "uint" not in dtype and dtype != "bool" and draw(st.booleans()) else 0
    labels = st.integers(least, most)
    y_true, y_pred = (draw(npst.arrays(np.int64, n, elements=labels)) for _ in range(2))
    other = draw(st.sampled_from([dtype, "int64", "float32"]))
    return as_tensor(y_true, dtype), as_tensor(y_pred, other)


@given(columns())
def test_labels_of_any_type(columns):
    for name in OF_LABELS:
        check(name, *columns)
    for average in (None, "micro", "macro", "weighted"):
        check("precision_recall_fscore_support", *columns, average=average)
        check("fbeta_score", *columns, average=average, beta=0.5)
    check("confusion_matrix", *columns, labels=[1, 0, 7], normalize="true")


@given(columns(), st.sampled_from(["float64", "int64", "float32"]), st.randoms())
def test_labels_with_weights(columns, dtype, random):
    weight = torch.tensor([random.randint(0, 3) for _ in columns[0]]).to(getattr(torch, dtype))
    for name in OF_LABELS:
        check(name, *columns, sample_weight=weight)
    check("confusion_matrix", *columns, labels=[1, 0], sample_weight=weight)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("dtype", LABELS + FLOATS)
def test_labels_stay_on_the_device(name, dtype, on_device):
    random = np.random.default_rng(0)
    y_true, y_pred = (as_tensor(random.integers(0, 2, 200), dtype) for _ in range(2))
    ours = getattr(metrics, name)(y_true, y_pred, backend="torch")
    assert_same(ours, getattr(metrics, name)(y_true, y_pred, backend="native"))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-(2**63), 0, 2**63 - 1]),
        np.array([2**64 - 1, 0, 5], dtype=np.uint64),
        np.array([0, 2000, 10**6]),
        np.arange(5000),
        np.array([2.0**62, -(2.0**62), 1.0]),
        np.array(["ill", "well", "dead"]),
        np.array([0, 1, 2], dtype=">i4"),
    ],
    ids=["extreme", "uint64", "far apart", "many", "large floats", "strings", "byte order"],
)
def test_unusual_labels(labels):
    random = np.random.default_rng(1)
    y_true, y_pred = random.choice(labels, 300), random.choice(labels, 300)
    y_true.flags.writeable = False
    for name in ("accuracy_score", "matthews_corrcoef", "cohen_kappa_score"):
        check(name, y_true, y_pred)
    check("f1_score", y_true, y_pred[::-1], average="macro", zero_division=0)
    if len(labels) < 10:
        check("confusion_matrix", y_true, y_pred)


def test_many_labels_need_no_table(on_device):
    random = np.random.default_rng(2)
    y_true, y_pred = torch.from_numpy(random.integers(0, 10**6, (2, 30_000)))
    for name in ("accuracy_score", "matthews_corrcoef", "cohen_kappa_score"):
        result = getattr(metrics, name)
        if name == "cohen_kappa_score":
            y_true, y_pred = y_true[:6000], y_pred[:6000]
        assert result(y_true, y_pred, backend="torch") == result(y_true.numpy(), y_pred.numpy())


@st.composite
def cases(draw):
    n = draw(st.integers(1, 50))
    y_true = draw(npst.arrays(np.int64, n, elements=st.integers(0, draw(st.integers(0, 1)))))
    y_score = draw(npst.arrays(np.float64, n, elements=SCORE))
    dtype = draw(st.sampled_from((*FLOATS, "int64", "uint8", "bool")))
    if dtype == "uint8":
        y_score = np.abs(y_score) % 200
    labels = as_tensor(y_true, draw(st.sampled_from(LABELS + FLOATS)))
    return labels, torch.from_numpy(y_score).to(getattr(torch, dtype))


@given(cases())
def test_scores_of_any_type(cases):
    for name in OF_SCORES:
        check(name, *cases)
    check("roc_curve", *cases, drop_intermediate=False)
    check("precision_recall_curve", *cases, drop_intermediate=True)
    check("roc_curve", *cases, pos_label=0)
    check("average_precision_score", *cases, pos_label=7)
    check("roc_auc_score", *cases, max_fpr=0.3)


@given(cases())
def test_scores_with_weights(cases):
    weight = np.arange(len(cases[0])) % 3
    for name in OF_SCORES:
        check(name, *cases, sample_weight=weight)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [2, 3, 1000, 200_000])
def test_scores_stay_on_the_device(dtype, n, on_device):
    random = np.random.default_rng(n)
    y_true = torch.from_numpy(random.integers(0, 2, n))
    y_true[:2] = torch.tensor([0, 1])
    y_score = torch.from_numpy(random.normal(size=n)).to(getattr(torch, dtype))
    for name in OF_SCORES:
        check(name, y_true, y_score)


def test_area_is_exact_above_2_53():
    # 2U and 2PN have more bits than a float: half the cases are tied with half of the others.
    n = 2**17
    y_true = torch.arange(n) % 2
    y_score = torch.cat((torch.zeros(n // 2), torch.rand(n // 2)))
    assert check("roc_auc_score", y_true, y_score) < 1


BAD_SCORES = {
    "nan": [0.1, 0.2, float("nan"), 0.3, float("nan")],
    "infinity": [0.1, float("inf"), 0.2, 0.3, 0.4],
    "shorter": [0.1, 0.2],
    "two columns": [[0.1, 0.9]] * 5,
    "none": [],
}


@pytest.mark.parametrize("name", OF_SCORES)
@pytest.mark.parametrize("bad", BAD_SCORES.values(), ids=BAD_SCORES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_bad_scores_are_the_same_error(name, bad, dtype):
    y_true = torch.tensor([0, 1, 0, 1, 1])
    error = check(name, y_true, torch.tensor(bad, dtype=getattr(torch, dtype)))
    assert isinstance(error, ValueError)


def test_nan_names_the_first_index():
    y_true, y_score = torch.tensor([0, 1, 0, 1]), torch.tensor([0.5, 0.1, torch.nan, torch.nan])
    with pytest.raises(ValueError, match="index 2"):
        metrics.roc_auc_score(y_true, y_score, backend="torch")
    with pytest.raises(ValueError, match="index 2"):
        metrics.accuracy_score(y_true, y_score, backend="torch")


BAD_LABELS = {
    "continuous": ([0.5, 1.0, 0.0], [0, 1, 1]),
    "lengths": ([0, 1, 1], [0, 1]),
    "empty": ([], []),
    "nan": ([0.0, float("nan"), 1.0], [0, 1, 1]),
    "infinite": ([0.0, float("inf"), 1.0], [0, 1, 1]),
    "matrix": ([[0, 1], [1, 1]], [0, 1]),
}


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("columns", BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_are_the_same_error(name, columns):
    error = check(name, *map(torch.tensor, columns))
    assert isinstance(error, ValueError)


@given(st.data())
def test_indicator_matrices(data):
    shape = data.draw(st.tuples(st.integers(1, 12), st.integers(2, 4)))
    y_true, y_pred = (
        torch.from_numpy(data.draw(npst.arrays(np.int64, shape, elements=st.integers(0, 1))))
        for _ in range(2)
    )
    y_score = torch.from_numpy(data.draw(npst.arrays(np.float64, shape, elements=SCORE)))
    for average in (None, "micro", "macro", "weighted", "samples"):
        check("precision_recall_fscore_support", y_true, y_pred, average=average)
        check("roc_auc_score", y_true, y_score, average=average)
        check("average_precision_score", y_true, y_score, average=average)


@given(st.data())
def test_several_classes(data):
    n, width = data.draw(st.tuples(st.integers(1, 30), st.integers(3, 5)))
    y_true = torch.from_numpy(
        data.draw(npst.arrays(np.int64, n, elements=st.integers(0, width - 1)))
    )
    elements = st.integers(0, 4).map(float)
    y_score = torch.from_numpy(data.draw(npst.arrays(np.float64, (n, width), elements=elements)))
    y_score = y_score.to(getattr(torch, data.draw(st.sampled_from(FLOATS))))
    weight = data.draw(st.none() | npst.arrays(np.float64, n, elements=st.floats(0.5, 2)))
    ties = data.draw(st.sampled_from(["sklearn", "strict", "random"]))
    for k in (1, 2, 3, width):
        for labels in (None, list(range(width)), list(range(width))[::-1]):
            for normalize in (True, False):
                check(
                    "top_k_accuracy_score",
                    y_true,
                    y_score,
                    k=k,
                    labels=labels,
                    normalize=normalize,
                    sample_weight=weight,
                    ties=ties,
                )
    shares = torch.softmax(y_score.double(), dim=1)
    for average in (None, "micro", "macro", "weighted"):
        for labels in (None, list(range(width))):
            options = {"average": average, "multi_class": "ovr", "labels": labels}
            check("roc_auc_score", y_true, shares, **options)
            check("roc_auc_score", y_true, y_score, **options)


def test_several_classes_stay_on_the_device(on_device):
    random = np.random.default_rng(3)
    y_true = torch.from_numpy(random.integers(0, 10, 2000))
    y_score = torch.softmax(torch.from_numpy(random.normal(size=(2000, 10))), dim=1)
    for average in (None, "macro", "weighted"):
        check("roc_auc_score", y_true, y_score, multi_class="ovr", average=average)
    indicator = torch.nn.functional.one_hot(y_true)
    check("roc_auc_score", indicator, y_score, average=None)
    ranks = _torch.top_k_ranks(y_true, y_score, 5, None)
    assert (ranks("later") < 5).mean() == metrics.top_k_accuracy_score(y_true, y_score, k=5)


def test_classes_that_are_not_numbered_from_zero():
    random = np.random.default_rng(4)
    y_true = torch.from_numpy(random.choice([-3, 5, 1000], 60))
    y_score = torch.from_numpy(random.integers(0, 4, (60, 3)))
    check("top_k_accuracy_score", y_true, y_score, k=1)
    check("top_k_accuracy_score", y_true, y_score, k=2, labels=[-3, 5, 1000])
    check("top_k_accuracy_score", y_true, y_score, k=2, labels=[-3, 5, 1001])


@pytest.mark.parametrize("name", ["accuracy_score", "confusion_matrix", "roc_auc_score"])
def test_tensors_that_numpy_cannot_read_are_errors(name):
    labels = torch.tensor([0, 1, 1])
    for strange in (labels.to_sparse(), labels.to(torch.complex64)):
        error = check(name, strange, strange)
        assert isinstance(error, TypeError | ValueError)


def test_gradients_are_left_alone():
    y_score = torch.rand(20, requires_grad=True)
    check("roc_auc_score", torch.arange(20) % 2, y_score)
    check("precision_recall_curve", torch.arange(20) % 2, y_score)


def with_backend():
    functions = [(name, getattr(metrics, name)) for name in metrics.__all__]
    functions = [(name, function) for name, function in functions if inspect.isfunction(function)]
    return [
        name for name, function in functions if "backend" in inspect.signature(function).parameters
    ]


def arguments(name):
    """Names of the two columns, and what else a function has to be given."""
    first, second = list(inspect.signature(getattr(metrics, name)).parameters)[:2]
    if name == "cohen_kappa_score":
        first, second = "y_true", "y_pred"  # as the errors call them
    return first, second, {"beta": 1.0} if name == "fbeta_score" else {}


@pytest.mark.parametrize("name", with_backend())
def test_backend_is_the_last_argument_by_name_alone(name):
    *_, last = inspect.signature(getattr(metrics, name)).parameters.values()
    assert (last.name, last.kind, last.default) == ("backend", last.KEYWORD_ONLY, "auto")


@pytest.mark.parametrize("name", with_backend())
@pytest.mark.parametrize("backend", ["cuda", "Torch", None, 1, ["torch"]])
def test_unknown_backend(name, backend):
    more = arguments(name)[2]
    with pytest.raises(ValueError, match=r"backend: got .*'auto', 'native' or 'torch' expected"):
        getattr(metrics, name)([0, 1], [0, 1], backend=backend, **more)


@pytest.mark.parametrize("name", with_backend())
@pytest.mark.parametrize("backend", ["auto", "native", "torch"])
def test_tensors_without_values(name, backend):
    more = arguments(name)[2]
    empty = torch.zeros(4, dtype=torch.int64, device="meta")
    with pytest.raises(ValueError, match="y_true: got a tensor without values, Tensor on meta"):
        getattr(metrics, name)(empty, empty, backend=backend, **more)
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        fake = torch.zeros(4, dtype=torch.int64, device="cuda")
    with pytest.raises(ValueError, match=r"got a tensor without values, FakeTensor on cuda:0"):
        getattr(metrics, name)(fake, fake, backend=backend, **more)


class Elsewhere(torch.Tensor):
    """A tensor that says it is on another device, as do all that come of it, until it is copied."""

    @property
    def device(self):
        return torch.device("cuda:0")

    def cpu(self):
        return self.as_subclass(torch.Tensor)

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    __array__ = tolist = numpy


def elsewhere(values):
    return torch.as_tensor(values).as_subclass(Elsewhere)


@pytest.mark.parametrize("name", with_backend())
def test_one_device(name):
    first, second, more = arguments(name)
    function = getattr(metrics, name)
    here, there = torch.tensor([0, 1, 1, 0]), elsewhere([0, 1, 1, 0])
    for backend in ("auto", "native", "torch"):
        with pytest.raises(ValueError, match=f"{first} on cuda:0, {second} on cpu"):
            function(there, here, backend=backend, **more)
        with pytest.raises(ValueError, match=f"{first} on cpu, {second} on cuda:0"):
            function([0, 1, 1, 0], there, backend=backend, **more)
    with pytest.raises(ValueError, match=f"'native' reads the CPU's memory; got {first} on cuda:0"):
        function(there, there, backend="native", **more)


@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("dtype", ["int64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", with_backend())
def test_auto_goes_where_the_tensors_are(name, dtype, weighted, monkeypatch):
    random = np.random.default_rng(5)
    width = 3 if name == "top_k_accuracy_score" else 2
    y_true = torch.from_numpy(random.integers(0, width, 99))
    shape = (99, width) if width == 3 else 99
    y_score = torch.from_numpy(random.integers(0, width, shape)).to(getattr(torch, dtype))
    more = arguments(name)[2]
    weight = torch.from_numpy(random.integers(0, 3, 99)) if weighted else None
    weights = (
        ({"sample_weight": weight}, {"sample_weight": elsewhere(weight)}) if weighted else ({}, {})
    )
    expected = getattr(metrics, name)(y_true, y_score, **more, **weights[0])
    if not weighted:
        monkeypatch.setattr(_torch, "to_host", refuse)
    given = elsewhere(y_true), elsewhere(y_score)
    assert_same(getattr(metrics, name)(*given, **more, **weights[1]), expected, ulp=4)


def test_other_shapes_and_labels_elsewhere(on_device):
    random = np.random.default_rng(6)
    y_true = torch.from_numpy(random.integers(0, 5, 200))
    shares = torch.softmax(torch.from_numpy(random.normal(size=(200, 5))), dim=1)
    indicator = torch.nn.functional.one_hot(y_true)
    far, other = torch.from_numpy(random.choice([-(10**9), 3, 10**15], (2, 200)))
    many, more = torch.from_numpy(random.integers(0, 10**5, (2, 10_000)))
    for name, (one, two), options in (
        ("roc_auc_score", (y_true, shares), {"multi_class": "ovr"}),
        ("roc_auc_score", (indicator, shares), {"average": "weighted"}),
        ("roc_auc_score", (indicator[:, :1], shares[:, :1]), {}),
        ("top_k_accuracy_score", (y_true, shares), {"labels": [0, 1, 2, 3, 4]}),
        ("confusion_matrix", (far, other), {"labels": [3, -(10**9)]}),
        ("f1_score", (far, other.float().long()), {"average": "macro", "zero_division": 0}),
        ("matthews_corrcoef", (many, more), {}),
        ("accuracy_score", (many[:, None], more), {}),
    ):
        function = getattr(metrics, name)
        assert_same(
            function(elsewhere(one), elsewhere(two), **options), function(one, two, **options)
        )


@pytest.mark.parametrize(
    "name", ["brier_score_loss", "log_loss", "det_curve", "sensitivity_score", "ScoreIndex"]
)
def test_functions_of_the_cpu_alone(name):
    there = elsewhere([0.0, 1.0])
    if name == "sensitivity_score":
        assert metrics.sensitivity_score(there, there) == 1
        return
    with pytest.raises(TypeError, match=r"got a tensor on cuda:0; one on the CPU expected"):
        getattr(metrics, name)(there, there)
