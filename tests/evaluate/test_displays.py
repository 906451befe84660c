"""scikit-learn's display verbs."""

import numpy as np
import pytest

from evaluate.cases import predictions
from ironstep import evaluate

for _module in ("matplotlib", "scipy"):
    pytest.importorskip(_module)
from matplotlib.figure import Figure  # noqa: E402 - needs matplotlib

DISPLAYS = ("RocCurveDisplay", "PrecisionRecallDisplay", "DetCurveDisplay", "CalibrationDisplay")


@pytest.fixture(scope="module")
def columns():
    return predictions()


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("name", DISPLAYS)
def test_predictions_are_drawn_on_the_axes_given(columns, name):
    axes = Figure().subplots()
    kind = getattr(evaluate, name)
    display = kind.from_predictions(columns["y"], columns["model_a"], ax=axes, name="net")
    assert isinstance(display, kind)
    assert display.ax_ is axes
    assert display.figure_ is axes.figure
    assert display.evaluation.models[0].name == "net"
    again = Figure().subplots()
    assert display.plot(again).ax_ is again


def test_the_curve_is_scikit_learns_and_has_a_band(columns):
    sklearn = pytest.importorskip("sklearn.metrics")
    axes = Figure().subplots()
    theirs = sklearn.RocCurveDisplay.from_predictions(
        columns["y"], columns["model_a"], ax=Figure().subplots()
    )
    ours = evaluate.RocCurveDisplay.from_predictions(
        columns["y"], columns["model_a"], ax=axes, groups=columns["patient"]
    )
    model = ours.evaluation.models[0]
    np.testing.assert_allclose(model.roc.x, theirs.fpr, rtol=1e-15)
    np.testing.assert_allclose(model.roc.y, theirs.tpr, rtol=1e-15)
    assert model.estimate("auc").value == pytest.approx(theirs.roc_auc, rel=1e-14)
    assert model.estimate("auc").n_groups == len(set(columns["patient"]))
    assert len(axes.patches) == 1


def test_a_second_model_on_the_same_axes_looks_different(columns):
    axes = Figure().subplots()
    for name in ("model_a", "model_b"):
        evaluate.RocCurveDisplay.from_predictions(columns["y"], columns[name], ax=axes, name=name)
    curves = [line for line in axes.lines if "AUC" in str(line.get_label())]
    assert len({line.get_color() for line in curves}) == 2
    assert len({line.get_linestyle() for line in curves}) == 2
    together = Figure().subplots()
    scores = {name: columns[name] for name in ("model_a", "model_b")}
    evaluate.RocCurveDisplay.from_predictions(columns["y"], scores, ax=together)
    assert legend(together) == legend(axes)


@pytest.mark.parametrize("positive", [0, 1])
def test_an_estimator_is_asked_for_its_scores(columns, positive):
    linear = pytest.importorskip("sklearn.linear_model")
    features = np.column_stack((columns["model_a"], columns["model_b"]))
    fitted = linear.LogisticRegression().fit(features, columns["y"])
    share = fitted.predict_proba(features)[:, positive]
    display = evaluate.RocCurveDisplay.from_estimator(
        fitted, features, columns["y"], pos_label=positive, ax=Figure().subplots()
    )
    expected = evaluate.Evaluation(columns["y"], share, positive=positive, n_resamples=5)
    assert display.evaluation.models[0].rows == expected.models[0].rows
    assert display.evaluation.models[0].name == "LogisticRegression"
    ridge = linear.RidgeClassifier().fit(features, columns["y"])
    display = evaluate.RocCurveDisplay.from_estimator(
        ridge, features, columns["y"], pos_label=positive, ax=Figure().subplots()
    )
    assert display.evaluation.models[0].estimate("auc").value > 0.7
    with pytest.raises(ValueError, match="pos_label: got 7"):
        evaluate.RocCurveDisplay.from_estimator(fitted, features, columns["y"], pos_label=7)


def test_a_name_is_of_one_model(columns):
    with pytest.raises(ValueError, match="name: got 'x'"):
        evaluate.RocCurveDisplay.from_predictions(columns["y"], {"a": columns["model_a"]}, name="x")
