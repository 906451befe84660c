"""Human readers beside models, and results a patient."""

import numpy as np
import pytest

from evaluate.cases import predictions
from ironstep import metrics
from ironstep.evaluate import Evaluation, InputError

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def columns():
    found = predictions()
    random = np.random.default_rng(3)
    found["reader"] = np.where(random.random(400) < 0.85, found["y"], 1 - found["y"])
    return found


def evaluate(columns, **options):
    scores = {name: columns[name] for name in ("model_a", "model_b")}
    return Evaluation(columns["y"], scores, **{"threshold": 0.5, "n_resamples": 30, **options})


def read(columns, **options):
    return evaluate(columns, readers={"dr": columns["reader"]}, **options)


# --- readers ---


def test_a_reader_is_judged_as_a_model_at_its_threshold(columns):
    made = read(columns, groups=columns["patient"], prevalence=0.02)
    (reader,) = made.readers
    assert reader.name == "dr"
    truth, called = columns["y"] == 1, columns["reader"] == 1
    assert (reader.tp, reader.fp) == ((truth & called).sum(), (~truth & called).sum())
    for key in ("sensitivity", "specificity", "ppv", "mcc"):
        expected = metrics.confidence_interval(key, truth, called, groups=columns["patient"])
        assert reader.estimate(key) == expected
    assert reader.estimate("ppv_at_prevalence") is not None
    assert reader.estimate("auc") is None


def test_each_model_is_compared_with_each_reader(columns):
    made = read(columns, margin=0.1)
    pairs = {(p.key, p.model): p for p in made.comparisons if p.reference == "dr"}
    keys = ("sensitivity", "specificity", "accuracy")
    assert set(pairs) == {(key, model) for key in keys for model in ("model_a", "model_b")}
    arguments = (columns["y"], columns["model_b"] >= 0.5, columns["reader"] == 1)
    pair = pairs["specificity", "model_b"]
    assert pair.comparison == metrics.compare("specificity", *arguments)
    assert pair.noninferiority == metrics.compare(
        "specificity", *arguments, alternative="noninferior", margin=0.1
    )
    holm = metrics.holm([p.comparison.p_value for p in made.comparisons])
    assert [p.p_adjusted for p in made.comparisons] == holm.tolist()


def test_a_single_model_may_be_compared_with_a_reader(columns):
    made = Evaluation(columns["y"], columns["model_a"], readers=columns["reader"], n_resamples=5)
    assert {pair.reference for pair in made.comparisons} == {"reader"}


def test_a_reader_is_a_point_in_the_roc_picture(columns):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    made = read(columns)
    axes = made.plot_roc(Figure().subplots())
    reader = made.readers[0]
    point = [[reader.estimate("fpr").value, reader.estimate("sensitivity").value]]
    assert any(line.get_xydata().tolist() == point for line in axes.lines)
    assert "dr, a reader" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_readings_are_labels_of_any_kind(columns):
    words = np.array(["well", "sick"])
    made = evaluate(
        {**columns, "y": words[columns["y"]]},
        readers={"dr": words[columns["reader"]]},
        positive="sick",
    )
    assert made.readers[0].rows == read(columns).readers[0].rows


@pytest.mark.parametrize("missing", ["exclude", "positive", "negative"])
def test_missing_readings_are_counted(columns, missing):
    holed = {**columns, "reader": columns["reader"].astype(object)}
    holed["reader"][[2, 9]] = None
    with pytest.raises(InputError, match="'dr', row 3: nothing there"):
        read(holed)
    made = read(holed, missing=missing)
    if missing == "exclude":
        assert made.flow.excluded_for == {"dr": 2}
        return
    assert made.flow.replaced == {"dr": 2}
    called = columns["reader"] == 1
    called[[2, 9]] = missing == "positive"
    assert made.readers[0].tp + made.readers[0].fp == called.sum()


def test_wrong_readings_are_refused(columns):
    with pytest.raises(InputError, match="readers: 'dr': got 3 different ones"):
        read({**columns, "reader": np.arange(400) % 3})
    with pytest.raises(InputError, match="one name"):
        evaluate(columns, readers={"model_a": columns["reader"]})


# --- results a patient ---


@pytest.mark.parametrize("how", ["max", "mean"])
def test_a_patient_is_one_case(columns, how):
    pandas = pytest.importorskip("pandas")
    by = {"site": columns["site"]}
    made = read(columns, groups=columns["patient"], by=by, aggregate=how, threshold="youden")
    frame = pandas.DataFrame({name: columns[name] for name in ("patient", "y", "reader", "site")})
    frame["model_a"], frame["model_b"] = columns["model_a"], columns["model_b"]
    rule = {"y": "max", "reader": "max", "site": "first", "model_a": how, "model_b": how}
    joined = frame.groupby("patient").agg(rule)
    expected = read(
        {name: joined[name].to_numpy() for name in joined},
        by={"site": joined["site"].to_numpy()},
        ids=joined.index.to_numpy(),
        threshold="youden",
    )
    assert made.flow.n_before_aggregation == 400
    assert made.flow.n_cases == len(joined)
    assert made.flow.n_groups is None
    for found, wanted in zip(made.models, expected.models, strict=True):
        for row, other in zip(found.rows, wanted.rows, strict=True):
            assert (row.estimate is None) == (other.estimate is None)
            if row.estimate is not None:
                # pandas' mean may add in another order.
                assert row.estimate.value == pytest.approx(other.estimate.value, rel=1e-12)
        assert [each.id for each in found.mistakes] == [each.id for each in wanted.mistakes]
    assert made.readers[0].rows == expected.readers[0].rows
    assert [g.n_positive for g in made.subgroups] == [g.n_positive for g in expected.subgroups]


def test_what_differs_within_a_patient_cannot_be_joined(columns):
    eye = np.array(["left", "right"])[np.arange(400) % 2]
    with pytest.raises(InputError, match=r"'eye' differs within the group 'P\d+'"):
        evaluate(columns, groups=columns["patient"], by={"eye": eye}, aggregate="max")
    with pytest.raises(InputError, match="aggregate: needs groups"):
        evaluate(columns, aggregate="max")
    with pytest.raises(InputError, match="aggregate: got 'median'; max or mean"):
        evaluate(columns, groups=columns["patient"], aggregate="median")
    with pytest.raises(InputError, match="every group has a positive case"):
        evaluate(columns, groups=np.arange(400) % 3, aggregate="max")


def test_a_diagnosis_is_that_of_all_images_of_a_patient():
    random = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 3)
    label = np.array(["a", "b", "c"])[np.repeat(np.arange(60) % 3, 3)]
    share = random.dirichlet([1, 1, 1], 180)
    made = Evaluation(label, share, groups=patient, aggregate="mean")
    assert made.flow.n_of_target == {"a": 20, "b": 20, "c": 20}
    mean = share.reshape(60, 3, 3).mean(axis=1)
    hits = mean.argmax(axis=1) == np.arange(60) % 3
    assert made.overall[0].estimate("accuracy").value == hits.mean()
    label[0] = "b"
    with pytest.raises(InputError, match="the label differs within the group '0'"):
        Evaluation(label, share, groups=patient, aggregate="mean")
