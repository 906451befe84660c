"""Pictures: axes in, axes out, and what they show."""

import numpy as np
import pytest

from evaluate.cases import predictions
from ironstep.evaluate import Evaluation

matplotlib = pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
from matplotlib.figure import Figure  # noqa: E402 - needs matplotlib

PLOTS = ("roc", "precision_recall", "confusion", "calibration", "decision_curve", "subgroups")


@pytest.fixture(scope="module")
def evaluation():
    columns = predictions()
    scores = {name: columns[name] for name in ("model_a", "model_b")}
    return Evaluation(columns["y"], scores, by={"site": columns["site"]}, n_resamples=20)


def texts(axes):
    legend = axes.get_legend()
    found = [text.get_text() for text in axes.texts]
    return found + ([text.get_text() for text in legend.get_texts()] if legend else [])


@pytest.mark.parametrize("name", PLOTS)
def test_axes_in_are_the_axes_out(evaluation, name):
    axes = Figure().subplots()
    assert getattr(evaluation, f"plot_{name}")(axes) is axes
    assert axes.get_xlabel()


@pytest.mark.parametrize("name", PLOTS)
def test_without_axes_new_ones_are_made(evaluation, name, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    axes = getattr(evaluation, f"plot_{name}")()
    assert axes.figure in map(plt.figure, plt.get_fignums())
    plt.close("all")


def test_roc_shows_the_curve_its_band_and_the_operating_point(evaluation):
    axes = evaluation.plot_roc(Figure().subplots())
    model = evaluation.models[0]
    lines = [line.get_xydata() for line in axes.lines]
    curve = np.column_stack((model.roc.x, model.roc.y))
    assert any(line.shape == curve.shape and (line == curve).all() for line in lines)
    point = [[model.estimate("fpr").value, model.estimate("sensitivity").value]]
    assert any(line.tolist() == point for line in lines)
    assert len(axes.patches) == 2  # one band for each model
    assert any(f"{model.estimate('auc').value:.3f}" in text for text in texts(axes))


def test_the_band_holds_the_curve(evaluation):
    for model in evaluation.models:
        band = model.roc_band
        assert (band.sensitivity_low <= band.sensitivity_high).all()
        assert (band.fpr_low <= band.fpr_high).all()
        for cut, low, high in zip(
            band.thresholds, band.sensitivity_low, band.sensitivity_high, strict=True
        ):
            columns = predictions()
            found = np.mean(columns[model.name][columns["y"] == 1] >= cut)
            # Of 0 or all positives Wilson's limit is the value itself, up to rounding.
            assert low - 1e-12 <= found <= high + 1e-12


def test_models_differ_by_more_than_colour(evaluation):
    axes = evaluation.plot_decision_curve(Figure().subplots())
    styles = {line.get_linestyle() for line in axes.lines[:2]}
    assert len(styles) == 2


def test_confusion_shows_counts_and_rates(evaluation):
    model = evaluation.models[1]
    axes = evaluation.plot_confusion(Figure().subplots(), model="model_b")
    shown = " ".join(texts(axes))
    assert all(str(count) in shown for count in (model.tp, model.fp, model.fn, model.tn))
    assert f"{100 * round(model.tp / (model.tp + model.fn), 3):.4g}%" in shown


def test_what_cannot_be_drawn_says_why():
    columns = predictions()
    made = Evaluation(columns["y"], columns["model_a"] * 10, n_resamples=20)
    with pytest.raises(ValueError, match="no calibration"):
        made.plot_calibration(Figure().subplots())
    with pytest.raises(ValueError, match="no decision curve"):
        made.plot_decision_curve(Figure().subplots())
    with pytest.raises(ValueError, match="no subgroups"):
        made.plot_subgroups(Figure().subplots())
    with pytest.raises(ValueError, match="model: got 'other'"):
        made.plot_confusion(Figure().subplots(), model="other")
