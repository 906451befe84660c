"""`Evaluation`: numbers of ironstep.metrics, what is said of them, what is refused."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate.cases import predictions
from ironstep import metrics
from ironstep.evaluate import Evaluation, InputError

pytest.importorskip("scipy")


@pytest.fixture(scope="module")
def columns():
    return predictions()


@pytest.fixture(scope="module")
def evaluation(columns):
    return evaluate(
        columns, groups=columns["patient"], by={"site": columns["site"]}, prevalence=0.02
    )


def evaluate(columns, **options):
    scores = {name: columns[name] for name in ("model_a", "model_b")}
    return Evaluation(columns["y"], scores, **{"threshold": 0.5, "n_resamples": 50, **options})


def texts(evaluation, kind):
    return [finding.text for finding in evaluation.findings if finding.kind == kind]


# --- numbers ---


def test_every_criterion_is_that_of_confidence_interval(columns, evaluation):
    for model in evaluation.models:
        score = columns[model.name]
        for row in model.rows:
            params, key = None, row.key
            if key.endswith("_at_prevalence"):
                params, key = {"prevalence": 0.02}, key.removesuffix("_at_prevalence")
            of_scores = key in ("auc", "average_precision", "brier_score_loss", "log_loss")
            expected = metrics.confidence_interval(
                key,
                columns["y"],
                score if of_scores else (score >= 0.5).astype(int),
                metric_params=params,
                groups=columns["patient"],
            )
            if key == "accuracy":
                # There of hits, here of the table: influences by central differences of two tables.
                error = row.estimate.standard_error
                assert error == pytest.approx(expected.standard_error, rel=1e-7)
                expected = replace(expected, standard_error=error)
            assert row.estimate == expected, row.key


def test_values_are_scikit_learns(columns, evaluation):
    sklearn = pytest.importorskip("sklearn.metrics")
    y = columns["y"]
    for model in evaluation.models:
        score, called = columns[model.name], columns[model.name] >= 0.5
        assert [[model.tn, model.fp], [model.fn, model.tp]] == sklearn.confusion_matrix(
            y, called
        ).tolist()
        expected = {
            "sensitivity": sklearn.recall_score(y, called),
            "specificity": sklearn.recall_score(y, called, pos_label=0),
            "ppv": sklearn.precision_score(y, called),
            "accuracy": sklearn.accuracy_score(y, called),
            "balanced_accuracy": sklearn.balanced_accuracy_score(y, called),
            "f1": sklearn.f1_score(y, called),
            "mcc": sklearn.matthews_corrcoef(y, called),
            "kappa": sklearn.cohen_kappa_score(y, called),
            "auc": sklearn.roc_auc_score(y, score),
            "average_precision": sklearn.average_precision_score(y, score),
            "brier_score_loss": sklearn.brier_score_loss(y, score),
            "log_loss": sklearn.log_loss(y, score),
        }
        for key, value in expected.items():
            # Two formulas for the same sums of some hundred terms.
            assert model.estimate(key).value == pytest.approx(value, rel=1e-12), key
        fpr, tpr, _ = sklearn.roc_curve(y, score)
        np.testing.assert_allclose([model.roc.x, model.roc.y], [fpr, tpr], rtol=1e-15)


def test_without_groups_a_sensitivity_has_scipys_wilson_interval(columns):
    scipy_stats = pytest.importorskip("scipy.stats")
    model = evaluate(columns).models[0]
    exact = scipy_stats.binomtest(model.tp, model.tp + model.fn)
    low, high = exact.proportion_ci(0.95, method="wilson")
    found = model.estimate("sensitivity")
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)  # scipy's own quantile


def test_comparisons_are_those_of_compare_with_holm_over_all(columns, evaluation):
    y, a, b = columns["y"], columns["model_a"], columns["model_b"]
    expected = [
        metrics.compare("auc", y, b, a, groups=columns["patient"]),
        *(
            metrics.compare(
                key, y, (b >= 0.5).astype(int), (a >= 0.5).astype(int), groups=columns["patient"]
            )
            for key in ("sensitivity", "specificity", "accuracy")
        ),
    ]
    assert [pair.comparison for pair in evaluation.comparisons] == expected
    holm = metrics.holm([each.p_value for each in expected])
    assert [pair.p_adjusted for pair in evaluation.comparisons] == holm.tolist()


def test_calibration_and_decision_curve_are_those_of_metrics(columns, evaluation):
    model, score = evaluation.models[0], columns["model_a"]
    expected = metrics.calibration(
        columns["y"], score, groups=columns["patient"], n_resamples=50, random_state=0
    )
    assert model.calibration.slope == expected.slope
    assert model.calibration.intercept == expected.intercept
    np.testing.assert_array_equal(model.calibration.band_high, expected.band_high)
    curve = metrics.decision_curve(columns["y"], score, groups=columns["patient"])
    np.testing.assert_array_equal(model.decision_curve.net_benefit, curve.net_benefit)


def test_many_probabilities_are_rounded_for_the_curve_alone():
    columns = predictions(5000)
    model = evaluate(columns, n_resamples=20).models[0]
    expected = metrics.calibration(columns["y"], columns["model_a"], n_resamples=1, random_state=0)
    assert model.calibration.slope == expected.slope
    assert model.calibration.brier_score == expected.brier_score
    assert model.calibration.expected_calibration_error == expected.expected_calibration_error
    assert len(model.calibration.probability) <= 1001
    assert model.calibration.n_resamples == 20
    assert model.calibration.miscalibration == expected.miscalibration
    assert any("rounded" in note for note in model.notes)


def test_subgroups_are_judged_by_their_own_cases(columns, evaluation):
    group = next(g for g in evaluation.subgroups if (g.value, g.model) == ("Oslo", "model_b"))
    oslo = columns["site"] == "Oslo"
    expected = metrics.confidence_interval(
        "auc", columns["y"][oslo], columns["model_b"][oslo], groups=columns["patient"][oslo]
    )
    assert group.rows[0].estimate == expected
    assert group.n_positive == columns["y"][oslo].sum()


def test_three_models_have_delongs_test(columns):
    scores = {
        "a": columns["model_a"],
        "b": columns["model_b"],
        "c": columns["model_a"] + columns["model_b"],
    }
    found = Evaluation(columns["y"], scores, n_resamples=20)
    expected = metrics.delong_test(columns["y"], list(scores.values()))
    assert found.delong.p_value == expected.p_value
    assert len(found.comparisons) == 4 * 3


def test_frequencies_are_cases_repeated(columns):
    times = np.arange(len(columns["y"])) % 3
    weighted = evaluate(columns, weights=times, weight_type="frequency")
    repeated = evaluate({name: np.repeat(values, times) for name, values in columns.items()})
    assert weighted.models[0].rows == repeated.models[0].rows
    assert weighted.flow.n_cases == times.sum()


def test_sampling_weights_are_those_of_confidence_interval(columns):
    weights = np.where(columns["y"] == 1, 1.0, 5.0)
    found = evaluate(columns, weights=weights, weight_type="sampling")
    expected = metrics.confidence_interval(
        "ppv",
        columns["y"],
        (columns["model_a"] >= 0.5).astype(int),
        sample_weight=weights,
        weight_type="sampling",
    )
    assert found.models[0].estimate("ppv") == expected
    assert found.models[0].calibration is None
    assert any("sampling weights" in note for note in found.models[0].notes)


def test_the_seed_decides_and_nothing_else(columns):
    def numbers(seed):
        made = evaluate(columns, threshold="youden", random_state=seed)
        return json.dumps(made.as_json(), allow_nan=False)

    assert numbers(3) == numbers(3)
    assert numbers(3) != numbers(4)


# --- thresholds ---


def test_a_threshold_chosen_here_comes_with_corrected_rates(columns):
    made = evaluate(columns, threshold="youden")
    point = metrics.choose_threshold(columns["y"], columns["model_a"])
    model = made.models[0]
    assert model.threshold.value == point.threshold
    assert model.threshold.origin == "chosen here"
    assert model.estimate("sensitivity").value == point.sensitivity
    expected = metrics.choose_and_judge(
        columns["y"], columns["model_a"], n_resamples=50, random_state=0
    )
    assert model.chosen == expected
    assert any("chosen on the cases that judge it" in text for text in texts(made, "warning"))
    assert made.table("corrected").rows


def test_a_threshold_chosen_elsewhere_needs_no_correction(columns):
    other = predictions(seed=1)
    scores = {name: other[name] for name in ("model_a", "model_b")}
    made = evaluate(columns, threshold="sensitivity=0.9", threshold_from=(other["y"], scores))
    point = metrics.choose_threshold(other["y"], other["model_b"], "sensitivity", 0.9)
    assert made.models[1].threshold.value == point.threshold
    assert made.models[1].threshold.origin == "chosen elsewhere"
    assert made.models[1].chosen is None
    assert not any("chosen on" in text for text in texts(made, "warning"))


@pytest.mark.parametrize(
    ("threshold", "origin", "rule"),
    [
        (0.3, "given", None),
        ("0.3", "given", None),
        (None, "default", None),
        ("cost=5", "chosen here", "cost=5"),
        ("specificity=0.9", "chosen here", "specificity=0.9"),
    ],
)
def test_where_a_threshold_comes_from_is_said(columns, threshold, origin, rule):
    found = evaluate(columns, threshold=threshold).models[0].threshold
    assert (found.origin, found.rule) == (origin, rule)


def test_scores_that_are_no_probabilities_choose_by_youden_and_have_no_calibration(columns):
    made = Evaluation(columns["y"], columns["model_a"] * 10 - 3, n_resamples=20)
    (model,) = made.models
    assert model.name == "model"
    assert model.threshold.rule == "youden"
    assert model.calibration is None
    assert model.decision_curve is None
    assert model.estimate("brier_score_loss") is None


@pytest.mark.parametrize(
    "threshold", ["best", "sensitivity", "youden=3", "cost=x", math.nan, "nan", "inf", "cost=-1"]
)
def test_a_wrong_threshold_is_refused(columns, threshold):
    with pytest.raises(InputError, match="threshold"):
        evaluate(columns, threshold=threshold)


# --- warnings ---


def test_few_cases_and_few_groups_are_said(columns):
    few = {name: values[:30] for name, values in columns.items()}
    made = evaluate(few, groups=np.arange(30) % 12)
    said = " ".join(texts(made, "warning"))
    assert "cases are few" in said
    assert "12 groups are few" in said


def test_below_five_groups_there_are_values_without_intervals(columns):
    made = evaluate(columns, groups=np.arange(len(columns["y"])) % 4)
    assert math.isnan(made.models[0].estimate("auc").low)
    assert made.models[0].estimate("auc").value > 0.5
    assert "too few for an interval" in " ".join(texts(made, "warning"))
    json.dumps(made.as_json(), allow_nan=False)
    str(made.table())


def test_repeated_ids_without_groups_are_said(columns):
    said = texts(evaluate(columns, ids=columns["patient"]), "warning")
    assert any("no group was given" in text for text in said)
    assert not texts(evaluate(columns, ids=columns["image"]), "warning")


def test_a_class_that_a_subgroup_lacks_is_said(columns):
    by = np.where(columns["y"] == 1, "A", "B")
    by[:20] = "A"
    made = evaluate(columns, by={"ward": by})
    assert any("ward = B has no positive case" in text for text in texts(made, "warning"))
    lacks = next(group for group in made.subgroups if group.value == "B")
    assert lacks.rows[0].estimate is None
    assert "undefined" in lacks.rows[0].reason
    assert lacks.rows[2].estimate is not None  # a specificity needs no positive case


def test_a_threshold_above_all_scores_leaves_undefined_what_divides_by_zero(columns):
    model = evaluate(columns, threshold=0.9999999).models[0]
    assert model.tp == model.fp == 0
    assert model.estimate("ppv") is None
    assert model.estimate("sensitivity").value == 0


def test_noninferiority_is_judged_at_the_margin(columns):
    made = evaluate(columns, margin=0.4)
    pair = made.comparisons[0]
    expected = metrics.compare(
        "auc", columns["y"], columns["model_b"], columns["model_a"],
        alternative="noninferior", margin=0.4,
    )  # fmt: skip
    assert pair.noninferiority == expected
    assert any("is non-inferior" in text for text in texts(made, "result"))


# --- what is missing ---


@pytest.fixture
def gaps(columns):
    holed = {name: values.copy() for name, values in columns.items()}
    holed["model_a"][[3, 5]] = np.nan
    return holed


def test_a_gap_is_an_error_that_names_row_and_column(gaps):
    with pytest.raises(InputError, match=r"'model_a', row 4: nothing there \(2 rows"):
        evaluate(gaps)


def test_gaps_are_left_out_and_counted(gaps, columns):
    made = evaluate(gaps, missing="exclude")
    assert made.flow.n_excluded == 2
    assert made.flow.excluded_for == {"model_a": 2}
    kept = np.delete(np.arange(len(columns["y"])), [3, 5])
    expected = evaluate({name: values[kept] for name, values in columns.items()})
    assert made.models[1].rows == expected.models[1].rows
    assert any("2 of 400 rows are left out" in text for text in texts(made, "warning"))


@pytest.mark.parametrize("missing", ["positive", "negative"])
@pytest.mark.parametrize("threshold", [0.5, 0.9999999])
def test_gaps_count_as_tests(gaps, columns, missing, threshold):
    made = evaluate(gaps, missing=missing, threshold=threshold)
    called = gaps["model_a"] >= threshold
    called[[3, 5]] = missing == "positive"
    model = made.models[0]
    assert (model.tp + model.fp) == called.sum()
    assert made.flow.replaced == {"model_a": 2}
    assert made.flow.n_cases == len(columns["y"])


def test_a_missing_label_or_patient_is_left_out_whatever_scores_count_as(columns):
    label = columns["y"].astype(object)
    label[0] = None
    patient = columns["patient"].astype(object)
    patient[1] = None
    made = evaluate({**columns, "y": label}, groups=patient, missing="negative")
    assert made.flow.excluded_for == {"label": 1, "groups": 1}


# --- labels ---


@pytest.mark.parametrize(
    ("labels", "positive"),
    [
        (("no", "yes"), "yes"),
        ((0, 1), "1"),
        ((0.0, 1.0), 1),
        ((False, True), True),
        ((False, True), "true"),
        ((False, True), 1),
        ((-1, 1), 1),
        ((1, 2), "2"),
        (("0", "1"), 1),
    ],
    ids=str,
)
def test_labels_of_any_kind(columns, labels, positive):
    made = evaluate({**columns, "y": np.array(labels)[columns["y"]]}, positive=positive)
    assert made.models[0].rows == evaluate(columns).models[0].rows


WRONG = {
    "one class": (lambda c: {"y": np.zeros(400)}, "one class"),
    "three labels": (lambda c: {"y": np.arange(400) % 3}, "got 3 different ones"),
    "spelled twice": (
        lambda c: {"y": np.where(np.arange(400) % 2, "Yes", "yes")}, "spelled in two ways"),
    "spelled with a space": (
        lambda c: {"y": np.array(["no", "yes", "yes "])[np.arange(400) % 3]}, "spelled in two ways"),
    "continuous": (lambda c: {"y": np.linspace(0, 1, 400)}, "400 different ones"),
    "another positive": (lambda c: {"y": np.where(c["y"], "sick", "well")}, "positive: got '1'"),
    "infinite score": (lambda c: {"model_a": np.where(c["y"], np.inf, 0.5)}, "infinite"),
    "text scores": (lambda c: {"model_a": c["site"]}, "numbers expected"),
    "lengths": (lambda c: {"model_a": c["model_a"][:-1]}, "got 399 rows; 400"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "says"), WRONG.values(), ids=WRONG)
def test_wrong_columns_are_one_line(columns, change, says):
    with pytest.raises(InputError, match=says) as error:
        evaluate({**columns, **change(columns)})
    assert len(str(error.value).splitlines()) == 1


def test_one_row_and_none(columns):
    with pytest.raises(InputError, match="the only row"):
        Evaluation([1], [0.5])
    with pytest.raises(InputError, match="no rows"):
        Evaluation([], [])


@pytest.mark.parametrize(
    "options",
    [
        {"confidence_level": 1.5},
        {"confidence_level": "x"},
        {"n_resamples": 0},
        {"random_state": -1},
        {"prevalence": 0},
        {"margin": -0.1},
        {"missing": "drop"},
        {"weights": np.ones(400)},
        {"weight_type": "sampling"},
        {"weights": np.full(400, 0.5), "weight_type": "frequency"},
        {"weights": np.full(400, -1.0), "weight_type": "sampling"},
        {"threshold_from": ([0, 1], {"model_a": [0, 1], "model_b": [0, 1]})},
        {"by": {"many": np.arange(400)}},
    ],
    ids=lambda options: ",".join(options),
)
def test_wrong_options_are_refused(columns, options):
    with pytest.raises(InputError):
        evaluate(columns, **options)


def test_data_frames_are_taken(columns):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns)
    made = Evaluation(
        frame["y"],
        frame[["model_a", "model_b"]],
        groups=frame["patient"],
        by=frame["site"],
        threshold=0.5,
        n_resamples=20,
    )
    expected = evaluate(columns, groups=columns["patient"])
    assert made.models[1].rows == expected.models[1].rows
    assert {group.column for group in made.subgroups} == {"site"}


def test_the_sentence_that_the_page_quotes_is_what_its_example_says():
    page = (Path(__file__).parents[2] / "docs" / "evaluate.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    given = {}
    exec(code[: code.index("page = ")], given)  # all but the report
    (quoted,) = re.findall(r"^> (.*)$", page, re.MULTILINE)
    assert quoted == given["evaluation"].findings[0].text


def test_how_something_was_computed_is_a_note_and_no_warning(columns):
    made = Evaluation(columns["y"], columns["model_a"] * 10, threshold=5, n_resamples=20)
    assert not texts(made, "warning")
    assert any("no probabilities" in text for text in texts(made, "note"))
