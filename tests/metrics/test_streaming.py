"""Streamed criteria: merged in any order they are the functions over all cases, bit for bit."""

import functools
import math
import multiprocessing
import os
import pickle
import sys
import traceback
import warnings
from datetime import timedelta
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

import ironstep
from ironstep import metrics
from ironstep.metrics import streaming

LABELS = np.array(["cat", "dog", "emu"])


def cases(seed, n, dtype=np.float64, decimals=2):
    """Labels, predictions, scores, probabilities and weights of `n` cases, with ties."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    scores = (rng.normal(size=n) + y).round(decimals).astype(dtype)
    classes = rng.integers(0, 3, n)
    proba = rng.dirichlet([1, 1, 1], n).astype(dtype)
    return {
        "y": y,
        "predicted": np.where(rng.random(n) < 0.3, 1 - y, y),
        "scores": scores,
        "p": rng.random(n).astype(dtype),
        "classes": classes,
        "guesses": rng.integers(0, 3, n),
        "proba": proba,
        "weight": rng.random(n) * 10.0 ** rng.integers(-12, 12, n),
        "repeats": rng.integers(0, 5, n),
    }


def fsum_mean(each, weight):
    return math.fsum(each * weight) / math.fsum(weight)


# Name → (object, columns that update takes, the function over all cases).
STREAMS = {
    "confusion": (
        lambda: streaming.ConfusionMatrix(),
        ("classes", "guesses"),
        metrics.confusion_matrix,
    ),
    "confusion, labels": (
        lambda: streaming.ConfusionMatrix(labels=[2, 0]),
        ("classes", "guesses"),
        functools.partial(metrics.confusion_matrix, labels=[2, 0]),
    ),
    "confusion, weights": (
        lambda: streaming.ConfusionMatrix(),
        ("classes", "guesses", "repeats"),
        lambda y, p, w: metrics.confusion_matrix(y, p, sample_weight=w),
    ),
    "rates": (
        lambda: streaming.BinaryRates(),
        ("y", "predicted"),
        lambda y, p: repr(metrics.BinaryCounts.from_labels(y, p)),
    ),
    "accuracy": (lambda: streaming.Accuracy(), ("classes", "guesses"), metrics.accuracy_score),
    "accuracy, weights": (
        lambda: streaming.Accuracy(weighted=True),
        ("classes", "guesses", "weight"),
        lambda y, p, w: metrics.accuracy_score(y, p, sample_weight=w),
    ),
    "top-k": (
        lambda: streaming.TopKAccuracy(k=2),
        ("classes", "proba"),
        functools.partial(metrics.top_k_accuracy_score, k=2, labels=[0, 1, 2]),
    ),
    "top-k, weights": (
        lambda: streaming.TopKAccuracy(k=1, weighted=True),
        ("classes", "proba", "weight"),
        lambda y, p, w: metrics.top_k_accuracy_score(y, p, k=1, sample_weight=w, labels=[0, 1, 2]),
    ),
    "auc": (lambda: streaming.ROCAUC(), ("y", "scores"), metrics.roc_auc_score),
    "auc, bins": (
        lambda: streaming.ROCAUC(bins="f16"),
        ("y", "scores"),
        lambda y, s: metrics.roc_auc_score(y, s.astype(np.float16)),
    ),
    "average precision": (
        lambda: streaming.AveragePrecision(),
        ("y", "scores"),
        metrics.average_precision_score,
    ),
    "brier": (lambda: streaming.BrierScore(), ("y", "p"), metrics.brier_score_loss),
    "brier, weights": (
        lambda: streaming.BrierScore(),
        ("y", "p", "weight"),
        lambda y, p, w: metrics.brier_score_loss(y, p, sample_weight=w),
    ),
    "brier, three": (
        lambda: streaming.BrierScore(labels=[0, 1, 2]),
        ("classes", "proba"),
        functools.partial(metrics.brier_score_loss, labels=[0, 1, 2]),
    ),
    "log loss": (lambda: streaming.LogLoss(), ("y", "p"), metrics.log_loss),
    "log loss, three": (
        lambda: streaming.LogLoss(labels=[0, 1, 2]),
        ("classes", "proba", "weight"),
        lambda y, p, w: metrics.log_loss(y, p, sample_weight=w, labels=[0, 1, 2]),
    ),
}
NAMES = list(STREAMS)


def update(stream, columns, rows):
    y, other, *weight = (column[rows] for column in columns)
    stream.update(y, other, **({"sample_weight": weight[0]} if weight else {}))


def answer(stream):
    found = stream.compute()
    if isinstance(found, streaming.Binned):
        return found.value
    return repr(found) if isinstance(found, metrics.BinaryCounts) else found


def assert_same(found, expected):
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@settings(max_examples=15)
@given(data=st.data())
def test_any_parts_merged_in_any_order_are_the_whole(name, dtype, data):
    make, names, function = STREAMS[name]
    n = data.draw(st.integers(12, 400))
    table = cases(data.draw(st.integers(0, 99)), n, dtype, data.draw(st.sampled_from([1, 9])))
    table["y"][:2] = 0, 1
    table["classes"][:3] = table["guesses"][:3] = 0, 1, 2
    columns = [table[column] for column in names]
    # Every case goes to one of a few streams, in batches of any size.
    rows = np.array(data.draw(st.permutations(range(n))))
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=8)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming._OfScores, "_gathered", data.draw(st.sampled_from([1, 7, 2**24])))
        streams = [make() for _ in range(data.draw(st.integers(1, 4)))]
        for part in np.split(rows, cuts):
            update(data.draw(st.sampled_from(streams)), columns, part)
        while len(streams) > 1:
            data.draw(st.randoms(use_true_random=False)).shuffle(streams)
            other = streams.pop()
            how = data.draw(st.sampled_from(["merge", "pickle", "state"]))
            if how == "pickle":
                other = pickle.loads(pickle.dumps(other))
            elif how == "state":
                other = type(other).from_state(other.state(), **other._arguments)
            assert streams[0].merge(other) is streams[0]
        with warnings.catch_warnings():
            # Probabilities of 16 bits do not sum to one.
            warnings.filterwarnings("ignore", message="The y_prob values do not sum")
            assert_same(answer(streams[0]), function(*columns))


@pytest.mark.parametrize("name", NAMES)
def test_states_are_summed_or_concatenated_as_said(name):
    make, names, function = STREAMS[name]
    table = cases(5, 600)
    columns = [table[column] for column in names]
    streams = [make() for _ in range(3)]
    for stream, rows in zip(streams, np.array_split(np.arange(600), 3), strict=True):
        update(stream, columns, rows)
    states = [stream.state() for stream in streams]
    reduce = {"sum": sum, "concatenate": np.concatenate}[streams[0].reduction]
    joint = {key: reduce([state[key] for state in states]) for key in states[0]}
    whole = type(streams[0]).from_state(joint, **streams[0]._arguments)
    assert_same(answer(whole), function(*columns))
    assert answer(streams[0]) is not None, "a state is a copy"
    whole.reset()
    empty = make().state()
    assert all(np.array_equal(value, empty[key]) for key, value in whole.state().items())


def test_float_weights_of_a_matrix_are_rounded_once_in_any_order():
    table = cases(1, 500)
    one, other = (streaming.ConfusionMatrix(labels=[0, 1, 2], weighted=True) for _ in range(2))
    names = ("classes", "guesses", "weight")
    columns = [table[name] for name in names]
    update(one, columns, np.arange(100, 500))
    update(other, columns, np.arange(100))
    found = one.merge(other).compute()
    expected = [
        [
            math.fsum(table["weight"][(table["classes"] == i) & (table["guesses"] == j)])
            for j in range(3)
        ]
        for i in range(3)
    ]
    np.testing.assert_array_equal(found, expected)
    one_shot = metrics.confusion_matrix(*columns[:2], sample_weight=columns[2])
    np.testing.assert_allclose(found, one_shot, rtol=2**-52)


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e300, 1e300)),
    st.integers(0, 30),
)
def test_exact_sums_are_those_of_fractions(values, cut):
    from ironstep.metrics import _exact_sum

    one, other = _exact_sum.zeros(1), _exact_sum.zeros(1)
    _exact_sum.add(one, values[:cut])
    _exact_sum.add(other, values[cut:])
    exact = sum(map(Fraction, values.tolist()))
    assert _exact_sum.values(one + other).tolist() == [float(exact)]


def test_means_are_those_of_fsum():
    table = cases(2, 1000)
    brier = streaming.BrierScore()
    brier.update(table["y"], table["p"], sample_weight=table["weight"])
    each = (table["y"] - table["p"]) ** 2 + ((1 - table["y"]) - (1 - table["p"])) ** 2
    assert brier.compute() == pytest.approx(fsum_mean(each, table["weight"]) / 2, rel=1e-14)


@given(seed=st.integers(0, 99), decimals=st.sampled_from([1, 3, 9]), scale=st.integers(-9, 5))
@settings(max_examples=50)
def test_binned_answers_are_within_their_bounds(seed, decimals, scale):
    table = cases(seed, 300, decimals=decimals)
    y, scores = table["y"], table["scores"] * 10.0**scale
    y[:2] = 0, 1
    for cls, function in (
        (streaming.ROCAUC, metrics.roc_auc_score),
        (streaming.AveragePrecision, metrics.average_precision_score),
    ):
        stream = cls(bins="f16")
        stream.update(y, scores)
        value, bound = stream.compute()
        assert abs(value - function(y, scores)) <= bound + 1e-14
        with np.errstate(over="ignore"):
            rounded = scores.astype(np.float16)
        if np.isfinite(rounded).all():
            assert value == pytest.approx(function(y, rounded), rel=1e-14)
        assert float(stream.compute()) == value
        assert "±" in str(stream.compute())


def test_scores_of_two_types_are_those_of_the_joint_array():
    table = cases(3, 400, decimals=9)
    y, scores = table["y"], table["scores"]
    narrow = scores.astype(np.float32)
    for order in (1, -1):
        parts = [(y[:200], narrow[:200]), (y[200:], scores[200:])][::order]
        stream, other = streaming.ROCAUC(), streaming.ROCAUC()
        stream.update(*parts[0])
        other.update(*parts[1])
        joint = np.concatenate((narrow[:200], scores[200:]))
        assert stream.merge(other).compute() == metrics.roc_auc_score(y, joint)
        assert stream.state()["scores"].dtype == np.float64


def test_more_than_65535_cases_of_a_score_are_counted():
    y = np.repeat([0, 1, 0, 1], [200_000, 150_000, 70_000, 65_535])
    scores = np.repeat(np.float32([0, 0, 1, 1]), [200_000, 150_000, 70_000, 65_535])
    streams = [streaming.ROCAUC() for _ in range(3)]
    for stream in streams:
        stream.update(y, scores)
        stream.state()
    whole = streams[0].merge(streams[1]).merge(streams[2])
    expected = metrics.roc_auc_score(np.tile(y, 3), np.tile(scores, 3))
    assert whole.compute() == expected
    state = whole.state()
    assert state["positives"].sum(dtype=np.int64) == 3 * np.count_nonzero(y)
    assert len(state["scores"]) < 60
    precision = streaming.AveragePrecision.from_state(state)
    assert precision.compute() == metrics.average_precision_score(np.tile(y, 3), np.tile(scores, 3))


def test_many_runs_are_the_whole(monkeypatch):
    monkeypatch.setattr(streaming._OfScores, "_gathered", 5000)
    table = cases(4, 300_000, np.float32, decimals=4)
    auc, precision = streaming.ROCAUC(), streaming.AveragePrecision()
    for rows in np.array_split(np.arange(300_000), 101):
        auc.update(table["y"][rows], table["scores"][rows])
        precision.update(table["y"][rows], table["scores"][rows])
    assert auc.compute() == metrics.roc_auc_score(table["y"], table["scores"])
    assert precision.compute() == metrics.average_precision_score(table["y"], table["scores"])
    auc.update(table["y"], -table["scores"])
    assert auc.compute() == metrics.roc_auc_score(
        np.tile(table["y"], 2), np.concatenate((table["scores"], -table["scores"]))
    )


def test_labels_may_be_anything():
    table = cases(6, 200)
    named = np.array(["healthy", "ill"])[table["y"]]
    for labels in (("healthy", "ill"), (-1, 1), (2.0, 5.0), (False, True), (300, 7)):
        y = np.asarray(labels)[table["y"]]
        auc = streaming.ROCAUC(labels=labels)
        auc.update(y, table["scores"])
        assert auc.compute() == metrics.roc_auc_score(table["y"], table["scores"])
        brier = streaming.BrierScore(labels=sorted(labels))
        brier.update(np.asarray(sorted(labels))[table["y"]], table["p"])
        assert brier.compute() == metrics.brier_score_loss(table["y"], table["p"])
    auc = streaming.ROCAUC(labels=("healthy", "ill"))
    auc.update(named.astype(object), table["scores"])
    auc.update(list(named), list(table["scores"]))
    assert auc.compute() == metrics.roc_auc_score(table["y"], table["scores"])
    matrix = streaming.ConfusionMatrix()
    matrix.update(["b"], ["a"])
    matrix.update(np.array(["ccc", "a"], dtype=object), ["b", "a"])
    assert matrix.labels.tolist() == ["a", "b", "ccc"]
    assert matrix.compute().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="Mix of label"):
        matrix.update([1], [1])


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (metrics.f1_score, {"average": "macro"}),
        (metrics.matthews_corrcoef, {}),
        (metrics.cohen_kappa_score, {"weights": "linear"}),
        (metrics.balanced_accuracy_score, {}),
        (metrics.classification_report, {}),
    ],
)
def test_a_matrix_answers_functions_of_labels(function, arguments):
    table = cases(7, 500)
    matrix = streaming.ConfusionMatrix()
    for rows in np.array_split(np.arange(500), 7):
        matrix.update(table["classes"][rows], table["guesses"][rows])
    expected = function(table["classes"], table["guesses"], **arguments)
    found = matrix.score(function, **arguments)
    if isinstance(expected, str):
        # Sums of weights are floats, also in the column of supports.
        found, expected = found.replace(".0", ""), expected.replace(".0", "")
        assert found.split() == expected.split()
    else:
        assert found == pytest.approx(expected, rel=1e-14)


def test_a_part_without_cases_or_weight_changes_nothing():
    for name in NAMES:
        make, names, _ = STREAMS[name]
        stream, table = make(), cases(0, 50)
        columns = [table[column] for column in names]
        update(stream, columns, np.arange(50))
        before = answer(stream)
        update(stream, columns, np.arange(0))
        stream.merge(make())
        assert_same(answer(stream), before)
    brier = streaming.BrierScore()
    brier.update([0, 1], [0.5, 0.25], sample_weight=[0.0, 1.0])
    brier.update([0], [0.5], sample_weight=[0.0])
    assert brier.compute() == 0.5625


def test_what_is_refused_leaves_the_state_as_it_was():
    auc = streaming.ROCAUC()
    auc.update([0, 1], [0.1, 0.2])
    for bins in (None, "f16"):
        auc = streaming.ROCAUC(bins=bins)
        auc.update([0, 1], [0.1, 0.2])
        before = auc.compute()
        with pytest.raises(ValueError, match=r"NaN, first at index 1"):
            auc.update([0, 1], [0.1, np.nan])
        with pytest.raises(ValueError, match=r"infinity.*first at index 0"):
            auc.update([0, 1], [np.inf, 0.5])
        with pytest.raises(ValueError, match="neither of the two classes"):
            auc.update([0, 1, 2], [0.1, 0.2, 0.3])
        with pytest.raises(ValueError, match="inconsistent numbers"):
            auc.update([0, 1], [0.1])
        assert auc.compute() == before
    with pytest.raises(ValueError, match="got the label 3"):
        streaming.BinaryRates().update([0, 3], [0, 1])
    with pytest.raises(ValueError, match="weighted=True"):
        streaming.Accuracy().update([0], [0], sample_weight=[0.5])
    with pytest.raises(ValueError, match="greater than 1"):
        streaming.BrierScore().update([0], [1.5])
    with pytest.raises(TypeError, match="merge: got ROCAUC"):
        streaming.AveragePrecision().merge(streaming.ROCAUC())
    with pytest.raises(ValueError, match="other arguments"):
        streaming.ROCAUC().merge(streaming.ROCAUC(bins="f16"))
    with pytest.raises(ValueError, match="state: got"):
        streaming.ROCAUC.from_state({"counts": np.zeros(3)})
    counts = {"positives": np.ones(1, np.uint16), "negatives": np.ones(2, np.uint16)}
    with pytest.raises(ValueError, match="as many counts"):
        streaming.ROCAUC.from_state({"scores": np.ones(2), **counts})
    with pytest.warns(UserWarning, match="Only one class"):
        streaming.ROCAUC().compute()
    with pytest.raises(ValueError, match="no case yet"):
        streaming.LogLoss().compute()
    for make in (
        lambda: streaming.ROCAUC(labels=[1]),
        lambda: streaming.ROCAUC(labels=[1, 1]),
        lambda: streaming.ROCAUC(bins="f8"),
        lambda: streaming.BrierScore(labels=[1, 0]),
        lambda: streaming.TopKAccuracy(k=0),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


def test_threads_give_the_same_state(monkeypatch):
    monkeypatch.setattr(streaming._OfScores, "_gathered", 30_000)
    table = cases(8, 200_000, np.float32, decimals=9)
    states = []
    for threads in (1, 2, 5):
        ironstep.set_num_threads(threads)
        try:
            auc = streaming.ROCAUC()
            for rows in np.array_split(np.arange(200_000), 3):
                auc.update(table["y"][rows], table["scores"][rows])
            states.append(auc.state())
        finally:
            ironstep.set_num_threads(None)
    for state in states[1:]:
        for name, values in state.items():
            np.testing.assert_array_equal(values, states[0][name])


# --- many processes ---

DISTRIBUTED = ("confusion, labels", "rates", "accuracy", "top-k", "auc, bins", "brier", "log loss")


def worker(rank, rendezvous, answers):
    import torch
    import torch.distributed as dist

    try:
        torch.set_num_threads(1)
        dist.init_process_group(
            "gloo", init_method=rendezvous, rank=rank, world_size=2, timeout=timedelta(seconds=60)
        )
        found = {}
        for name in NAMES:
            make, names, _ = STREAMS[name]
            table = cases(9, 300)
            stream = make()
            update(stream, [table[column] for column in names], np.arange(rank, 300, 2))
            if stream.reduction == "sum":
                state = stream.state()
                for array in state.values():
                    dist.all_reduce(torch.from_numpy(array))
                whole = type(stream).from_state(state, **stream._arguments)
            else:
                parts = [None, None]
                dist.all_gather_object(parts, stream)
                whole = functools.reduce(lambda one, other: one.merge(other), parts)
            found[name] = answer(whole)
        answers.put((rank, found))
    except BaseException:
        answers.put((rank, traceback.format_exc()))
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def test_two_processes_of_torch_have_the_answer_of_one(tmp_path):
    dist = pytest.importorskip("torch.distributed")
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this torch has no gloo")
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    context = multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    with pytest.MonkeyPatch.context() as environment:
        paths = [
            tests,
            os.path.dirname(os.path.abspath(__file__)),
            os.environ.get("PYTHONPATH", ""),
        ]
        environment.setenv("PYTHONPATH", os.pathsep.join(paths))
        environment.setenv("GLOO_SOCKET_IFNAME", "lo")
        processes = [
            context.Process(target=worker, args=(rank, f"file://{tmp_path}/rendezvous", answers))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        found = dict(answers.get() for _ in processes)
        for process in processes:
            process.join(60)
    table = cases(9, 300)
    for rank in range(2):
        assert isinstance(found[rank], dict), found[rank]
        for name, (_, names, function) in STREAMS.items():
            assert_same(found[rank][name], function(*(table[column] for column in names)))


def one_part(rows):
    table = cases(10, 5000, np.float32)
    stream = streaming.ROCAUC()
    stream.update(table["y"][rows], table["scores"][rows])
    return stream


def test_a_pool_of_processes_has_the_answer_of_one():
    table = cases(10, 5000, np.float32)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.imap_unordered(one_part, np.array_split(np.arange(5000), 5))
        whole = functools.reduce(lambda one, other: one.merge(other), parts)
    assert whole.compute() == metrics.roc_auc_score(table["y"], table["scores"])


def test_dask_arrays_have_the_answer_of_numpys():
    da = pytest.importorskip("dask.array")
    dask = pytest.importorskip("dask")
    table = cases(11, 5000)
    y = da.from_array(table["y"], chunks=900)
    scores = da.from_array(table["scores"], chunks=900)

    def part(y, scores):
        stream = streaming.ROCAUC()
        stream.update(y, scores)
        return stream

    blocks = zip(y.to_delayed(), scores.to_delayed(), strict=True)
    parts = dask.compute(*(dask.delayed(part)(*block) for block in blocks), scheduler="threads")
    whole = functools.reduce(lambda one, other: one.merge(other), parts)
    assert whole.compute() == metrics.roc_auc_score(table["y"], table["scores"])


@pytest.mark.filterwarnings("ignore")  # its own, about new pandas
def test_spark_frames_have_the_answer_of_numpys(monkeypatch):
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)  # its workers need what we have
    sql = pytest.importorskip("pyspark.sql")
    pa = pytest.importorskip("pyarrow")
    table = cases(12, 2000)
    try:
        session = sql.SparkSession.builder.master("local[2]").getOrCreate()
    except Exception as error:  # no Java
        pytest.skip(f"Spark does not start: {error}")

    def part(batches):
        stream = streaming.ROCAUC()
        for batch in batches:
            stream.update(batch["y"], batch["score"])
        state = stream.state()
        state = {
            name: values.astype(np.int64) if values.dtype == np.uint16 else values
            for name, values in state.items()
        }
        yield pa.RecordBatch.from_pydict(state)

    rows = list(zip(table["y"].tolist(), table["scores"].tolist(), strict=True))
    frame = session.createDataFrame(rows, "y long, score double").repartition(3)
    schema = "scores double, positives long, negatives long"
    parts = frame.mapInArrow(part, schema).toPandas()
    counts = {name: parts[name].to_numpy(np.uint16) for name in ("positives", "negatives")}
    whole = streaming.ROCAUC.from_state({"scores": parts["scores"].to_numpy(), **counts})
    assert whole.compute() == metrics.roc_auc_score(table["y"], table["scores"])


def test_the_module_is_there_without_an_import_of_its_own():
    import subprocess

    code = (
        "import sys, ironstep\n"
        "ironstep.metrics\n"
        "assert 'ironstep.metrics.streaming' not in sys.modules\n"
        "ironstep.metrics.streaming.ROCAUC\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
