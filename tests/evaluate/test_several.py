"""Several classes, several findings: what is computed, what is said, what is refused."""

import json

import numpy as np
import pytest

from evaluate.cases import (
    CLASSES,
    FINDINGS,
    block,
    predictions_of_classes,
    predictions_of_findings,
)
from ironstep import metrics
from ironstep.evaluate import Evaluation, InputError

pytest.importorskip("scipy")

MODELS = ("cnn", "vit")


@pytest.fixture(scope="module")
def classes():
    return predictions_of_classes()


@pytest.fixture(scope="module")
def findings():
    return predictions_of_findings()


def of_classes(columns, **options):
    scores = {model: block(columns, model, CLASSES) for model in MODELS}
    return Evaluation(columns["diagnosis"], scores, **{"n_resamples": 30, **options})


def of_findings(columns, **options):
    truth = {name: columns[f"y_{name}"] for name in FINDINGS}
    scores = {model: {name: columns[f"{model}_{name}"] for name in FINDINGS} for model in MODELS}
    return Evaluation(truth, scores, **{"n_resamples": 30, **options})


@pytest.fixture(scope="module")
def evaluated(classes):
    return of_classes(classes, groups=classes["patient"], by={"site": classes["site"]})


@pytest.fixture(scope="module")
def found(findings):
    return of_findings(findings, groups=findings["patient"], threshold="youden")


def codes(columns):
    return np.searchsorted(CLASSES, columns["diagnosis"])


# --- several classes ---


def test_over_all_classes_criteria_are_those_of_confidence_interval(classes, evaluated):
    y = codes(classes)
    for overall in evaluated.overall:
        share = block(classes, overall.name, CLASSES)
        answers = {"macro_auc": share, "brier_score_loss": share, "log_loss": share}
        for key in ("accuracy", "macro_auc", "macro_f1", "kappa", "mcc", "brier_score_loss"):
            expected = metrics.confidence_interval(
                key, y, answers.get(key, share.argmax(axis=1)), groups=classes["patient"]
            )
            assert overall.estimate(key) == expected, key
        for k in (2, 5):
            expected = metrics.confidence_interval(
                "top_k_accuracy", y, share, metric_params={"k": k}, groups=classes["patient"]
            )
            assert overall.estimate(f"top_{k}_accuracy") == expected


def test_the_confusion_matrix_and_the_losses_are_scikit_learns(classes, evaluated):
    sklearn = pytest.importorskip("sklearn.metrics")
    y, share = codes(classes), block(classes, "cnn", CLASSES)
    overall = evaluated.overall[0]
    expected = sklearn.confusion_matrix(y, share.argmax(axis=1))
    np.testing.assert_array_equal(overall.confusion, expected)
    # Two formulas for the same sums of some hundred terms.
    assert overall.estimate("log_loss").value == pytest.approx(
        sklearn.log_loss(y, share), rel=1e-12
    )
    auc = sklearn.roc_auc_score(y, share, multi_class="ovr")
    assert overall.estimate("macro_auc").value == pytest.approx(auc, rel=1e-12)


def test_each_class_is_judged_against_the_rest(classes, evaluated):
    assert len(evaluated.models) == len(CLASSES) * 2
    model = next(m for m in evaluated.models if (m.name, m.target) == ("vit", "invasive"))
    share = block(classes, "vit", CLASSES)
    truth = classes["diagnosis"] == "invasive"
    called = share.argmax(axis=1) == CLASSES.index("invasive")
    for key, answer in (("sensitivity", called), ("ppv", called), ("auc", share[:, 2])):
        expected = metrics.confidence_interval(key, truth, answer, groups=classes["patient"])
        assert model.estimate(key) == expected
    assert (model.tp, model.fp) == ((truth & called).sum(), (~truth & called).sum())
    assert model.threshold.origin == "highest score"
    assert model.calibration is None


def test_the_class_that_is_called_is_calibrated(classes, evaluated):
    share = block(classes, "cnn", CLASSES)
    right = share.argmax(axis=1) == codes(classes)
    expected = metrics.calibration(
        right, share.max(axis=1), groups=classes["patient"], n_resamples=30, random_state=0
    )
    assert evaluated.overall[0].calibration.slope == expected.slope


def test_models_are_compared_over_all_classes(classes, evaluated):
    y = codes(classes)
    cnn, vit = (block(classes, model, CLASSES) for model in MODELS)
    pairs = {pair.key: pair for pair in evaluated.comparisons}
    assert list(pairs) == ["accuracy", "macro_auc", "macro_sensitivity"]
    expected = metrics.compare("macro_auc", y, vit, cnn, groups=classes["patient"])
    assert pairs["macro_auc"].comparison == expected


def test_the_most_confident_mistakes_are_called_something_else(classes, evaluated):
    share = block(classes, "cnn", CLASSES)
    called = share.argmax(axis=1)
    wrong = np.flatnonzero(called != codes(classes))
    first = wrong[share[wrong].max(axis=1).argmax()]
    mistake = evaluated.overall[0].mistakes[0]
    assert mistake.id == str(first + 1)
    assert mistake.label == classes["diagnosis"][first]
    assert mistake.called == CLASSES[called[first]]


def test_names_and_order_of_columns_change_nothing(classes, evaluated):
    pandas = pytest.importorskip("pandas")
    order = [3, 1, 5, 0, 2, 4]
    names = [CLASSES[at] for at in order]
    frame = pandas.DataFrame(block(classes, "cnn", names), columns=names)
    found = Evaluation(classes["diagnosis"], {"cnn": frame}, n_resamples=5)
    array = Evaluation(
        classes["diagnosis"], block(classes, "cnn", names), classes=names, n_resamples=5
    )
    assert found.results.targets == array.results.targets == tuple(names)
    alone = of_classes(classes)
    for made in (found, array):
        assert made.overall[0].estimate("macro_auc") == alone.overall[0].estimate("macro_auc")


def test_scores_that_do_not_sum_to_one_have_no_losses(classes):
    made = Evaluation(classes["diagnosis"], {"cnn": block(classes, "cnn", CLASSES) * 3})
    assert made.overall[0].estimate("log_loss") is None
    assert made.overall[0].estimate("macro_auc") is not None
    assert any("no probabilities" in finding.text for finding in made.findings)


def test_a_class_without_a_case_is_said_and_leaves_means_undefined(classes):
    kept = classes["diagnosis"] != "scar"
    scores = {"cnn": block(classes, "cnn", CLASSES)[kept]}
    made = Evaluation(classes["diagnosis"][kept], scores, classes=CLASSES)
    assert made.overall[0].estimate("macro_auc") is None
    assert made.overall[0].estimate("accuracy") is not None
    said = [finding.text for finding in made.findings if finding.kind == "warning"]
    assert any("No case of the class scar" in text for text in said)
    scar = next(model for model in made.models if model.target == "scar")
    assert scar.estimate("sensitivity") is None
    json.dumps(made.as_json(), allow_nan=False)


def test_five_classes_have_no_top_k():
    columns = predictions_of_classes(classes=CLASSES[:5])
    made = Evaluation(columns["diagnosis"], block(columns, "cnn", CLASSES[:5]))
    assert not [row for row in made.overall[0].rows if row.key.startswith("top")]


# --- several findings ---


def test_each_finding_is_an_evaluation_of_two_classes(findings, found):
    alone = Evaluation(
        findings["y_nodule"],
        {model: findings[f"{model}_nodule"] for model in MODELS},
        groups=findings["patient"],
        threshold="youden",
        n_resamples=30,
    )
    ours = [model for model in found.models if model.target == "nodule"]
    for model, expected in zip(ours, alone.models, strict=True):
        assert model.rows == expected.rows
        assert model.threshold == expected.threshold
        assert model.chosen == expected.chosen
        assert model.calibration.slope == expected.calibration.slope


def test_over_all_findings_criteria_are_those_of_confidence_interval(findings, found):
    truth = block(findings, "y", FINDINGS)
    share = block(findings, "vit", FINDINGS)
    thresholds = [model.threshold.value for model in found.models if model.name == "vit"]
    called = (share >= thresholds).astype(int)
    for key in ("macro_auc", "macro_sensitivity", "micro_f1"):
        expected = metrics.confidence_interval(
            key, truth, share if key == "macro_auc" else called, groups=findings["patient"]
        )
        assert found.overall[1].estimate(key) == expected
    right = (called == truth).all(axis=1)
    assert found.overall[1].estimate("exact_match").value == right.mean()


def test_findings_are_compared_one_by_one_and_over_all(findings, found):
    pairs = [(pair.key, pair.target) for pair in found.comparisons]
    assert pairs == [
        *((f"macro_{key}", None) for key in ("auc", "sensitivity", "specificity")),
        *(("auc", name) for name in FINDINGS),
    ]
    holm = metrics.holm([pair.comparison.p_value for pair in found.comparisons])
    assert [pair.p_adjusted for pair in found.comparisons] == holm.tolist()


def test_arrays_of_findings_are_taken(findings, found):
    made = Evaluation(
        block(findings, "y", FINDINGS), {"cnn": block(findings, "cnn", FINDINGS)}, n_resamples=5
    )
    assert made.results.targets == ("finding 1", "finding 2", "finding 3")
    alone = of_findings(findings)
    assert made.overall[0].estimate("macro_auc") == alone.overall[0].estimate("macro_auc")


@pytest.mark.parametrize("missing", ["positive", "negative"])
def test_a_missing_score_of_one_finding_counts_as_asked(findings, missing):
    holed = {name: values.copy() for name, values in findings.items()}
    holed["cnn_nodule"][7] = np.nan
    with pytest.raises(InputError, match="row 8: nothing there"):
        of_findings(holed)
    made = of_findings(holed, missing=missing)
    assert made.flow.replaced == {"cnn": 1}
    model = next(m for m in made.models if (m.name, m.target) == ("cnn", "nodule"))
    called = np.where(
        np.isnan(holed["cnn_nodule"]), missing == "positive", holed["cnn_nodule"] >= 0.5
    )
    assert model.tp + model.fp == called.sum()


# --- tables, pictures, page ---


@pytest.mark.parametrize("kind", ["evaluated", "found"])
def test_tables_have_a_row_for_each(request, kind):
    made = request.getfixturevalue(kind)
    table = made.table("targets")
    assert len(table.rows) == len(made.models)
    assert len(made.table("criteria").header) == 2 + len(MODELS)
    n = len(CLASSES) * 2 if kind == "evaluated" else len(made.models)
    assert len(made.table("confusion").rows) == n


@pytest.mark.parametrize("kind", ["evaluated", "found"])
def test_the_folder_has_page_pictures_and_tables(request, kind, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from ironstep.evaluate import _figures

    monkeypatch.setattr(_figures, "DPI", 40)
    made = request.getfixturevalue(kind)
    folder = made.report(tmp_path / "out", also=["det", "scores"]).parent
    pictures = {path.stem for path in (folder / "pictures").iterdir()}
    wanted = {"roc", "precision-recall", "confusion", "calibration", "det", "scores"}
    wanted |= {"subgroups"} if kind == "evaluated" else {"decision-curve"}
    assert pictures == wanted
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert all(finding.text.split(":")[0] in page for finding in made.findings[:2])
    numbers = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert numbers == json.loads(json.dumps(made.as_json()))


def test_a_picture_of_one_class(evaluated):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    axes = evaluated.plot_roc(Figure().subplots(), target="invasive")
    assert axes.get_title() == "invasive against the rest"
    axes = evaluated.plot_confusion(Figure().subplots(), model="vit")
    numbers = [int(text.get_text().split("\n")[0]) for text in axes.texts]
    assert numbers == evaluated.overall[1].confusion.reshape(-1).tolist()
    with pytest.raises(ValueError, match="target: got 'nonsense'"):
        evaluated.plot_roc(Figure().subplots(), target="nonsense")


# --- what is wrong ---


WRONG = {
    "classes and columns": (
        lambda c: dict(scores=block(c, "cnn", CLASSES[:5])), "got 5 columns; one for each of the 6"),
    "a label without a column": (
        lambda c: dict(scores={"cnn": {n: c[f"cnn_{n}"] for n in CLASSES[:5]}}), "got 'scar'"),
    "models of two kinds": (
        lambda c: dict(scores={"a": block(c, "cnn", CLASSES), "b": c["cnn_scar"]}), "as many of each"),
    "a threshold": (lambda c: dict(threshold=0.5), "threshold: of several classes"),
    "a prevalence": (lambda c: dict(prevalence=0.5), "prevalence: of two classes"),
    "missing as positive": (lambda c: dict(missing="positive"), "error or exclude"),
    "a reader": (lambda c: dict(readers=c["diagnosis"]), "readers: of two classes"),
    "one class": (lambda c: dict(y_true=np.repeat("scar", 400)), "one class"),
    "classes of two classes": (lambda c: dict(scores=c["cnn_scar"], classes=CLASSES), "classes: need"),
    "too many": (lambda c: dict(scores=np.ones((400, 101))), "100 at most"),
    "infinite": (
        lambda c: dict(scores=np.where(block(c, "cnn", CLASSES) > 0.9, np.inf, 0.5)), "infinite"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_wrong_input_is_one_line(classes, change, says):
    arguments = dict(y_true=classes["diagnosis"], scores=block(classes, "cnn", CLASSES))
    arguments |= change(classes)
    with pytest.raises(InputError, match=says) as error:
        Evaluation(arguments.pop("y_true"), arguments.pop("scores"), **arguments)
    assert len(str(error.value).splitlines()) == 1


def test_findings_and_scores_have_to_have_the_same_names(findings):
    truth = {name: findings[f"y_{name}"] for name in FINDINGS}
    scores = {"cnn": {name: findings[f"cnn_{name}"] for name in FINDINGS[:2]}}
    with pytest.raises(InputError, match="those of y_true"):
        Evaluation(truth, scores)
    with pytest.raises(InputError, match="one for each finding"):
        Evaluation(truth, findings["cnn_edema"])
    truth["edema"] = np.zeros(400)
    with pytest.raises(InputError, match="'edema': one class"):
        of_findings({**findings, "y_edema": truth["edema"]})
