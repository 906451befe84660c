"""Numbers of the report beside R's, scikit-learn's, scipy's and dcurves', on pROC's data: `make test-r`."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from proc import asked, numbers

metrics = pytest.importorskip("sklearn.metrics")
stats = pytest.importorskip("scipy.stats")
pytest.importorskip("pyarrow")

# Probabilities by two logistic regressions: what a report judges by all its criteria.
TABLE = """
aSAH$protein <- fitted(glm(outcome ~ s100b, binomial, aSAH))
aSAH$kinase <- fitted(glm(outcome ~ log(ndka) + age, binomial, aSAH))
aSAH$wfns <- as.numeric(aSAH$wfns)
"""
THRESHOLD = 0.3
PEERS = """
poor <- aSAH$outcome == "Poor"
curve <- function(x) roc(aSAH$outcome, x, levels = c("Good", "Poor"), direction = "<", quiet = TRUE)
wilson <- function(k, n) prop.test(k, n, correct = FALSE)$conf.int
for (model in c("protein", "kinase", "wfns")) {
  x <- aSAH[[model]]
  r <- curve(x)
  a <- as.numeric(auc(r))
  bent <- qlogis(a) + c(-1, 1) * qnorm(0.975) * sqrt(var(r)) / (a * (1 - a))
  show(paste0(model, "-auc"), c(a, plogis(bent)))
  show(paste0(model, "-tpr"), rev(r$sensitivities))
  show(paste0(model, "-fpr"), rev(1 - r$specificities))
  show(paste0(model, "-best"), coords(r, "best", ret = c("sensitivity", "specificity"), transpose = TRUE))
  for (sex in c("Male", "Female")) {
    one <- aSAH$gender == sex
    show(paste0(model, "-", sex), auc(aSAH$outcome[one], x[one], levels = c("Good", "Poor"),
                                     direction = "<", quiet = TRUE))
  }
  if (model == "wfns") next
  at <- c("tp", "fp", "fn", "tn", "sensitivity", "specificity", "ppv", "npv", "accuracy",
          "1-sensitivity", "1-specificity", "1-npv", "1-ppv", "youden")
  show(paste0(model, "-at"), coords(r, 0.3, ret = at, transpose = TRUE))
  called <- x >= 0.3
  show(paste0(model, "-sensitivity"), wilson(sum(called & poor), sum(poor)))
  show(paste0(model, "-specificity"), wilson(sum(!called & !poor), sum(!poor)))
  show(paste0(model, "-ppv"), wilson(sum(called & poor), sum(called)))
  show(paste0(model, "-npv"), wilson(sum(!called & !poor), sum(!called)))
  show(paste0(model, "-accuracy"), wilson(sum(called == poor), length(poor)))
  logit <- qlogis(x)
  intercept <- glm(poor ~ offset(logit), family = binomial, epsilon = 1e-14)
  slope <- glm(poor ~ logit, family = binomial, epsilon = 1e-14)
  show(paste0(model, "-intercept"), c(coef(intercept), suppressMessages(confint.default(intercept))))
  show(paste0(model, "-slope"), c(coef(slope)[2], confint.default(slope)[2, ]))
  show(paste0(model, "-brier"), c(mean((x - poor)^2), t.test((x - poor)^2)$conf.int))
}
p <- function(a, b) roc.test(curve(aSAH[[a]]), curve(aSAH[[b]]), method = "delong")
test <- p("kinase", "protein")
show("difference", c(diff(rev(test$estimate)), test$conf.int))
show("p", test$p.value)
show("wfns-p", c(p("kinase", "protein")$p.value, p("wfns", "protein")$p.value, p("wfns", "kinase")$p.value))
"""
DCURVES = """
import json, sys
import pandas
from dcurves import dca
from statsmodels.stats.inter_rater import cohens_kappa

table = pandas.read_csv(sys.argv[1])
table["poor"] = (table["outcome"] == "Poor").astype(int)
models = ["protein", "kinase"]
curves = dca(table, "poor", models, thresholds=[i / 100 for i in range(1, 100)])
said = {name: curves[curves["model"] == name]["net_benefit"].tolist() for name in [*models, "all"]}
for name in models:
    kappa = cohens_kappa(pandas.crosstab(table["poor"], table[name] >= 0.3).to_numpy())
    said[name + "-kappa"] = [kappa.kappa, kappa.kappa_low, kappa.kappa_upp]
print(json.dumps(said))
"""


def evaluate(table, *options):
    command = [sys.executable, "-m", "ironstep", "evaluate", table, "--label", "outcome", "--json"]
    command += ["--positive", "Poor", "--by", "gender", "--resamples", "50", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


class Study:
    """The table, two reports of it, and what R says."""

    def __init__(self, folder):
        script = TABLE + PEERS + 'cat("---\\n")\nwrite.csv(aSAH, row.names = FALSE)'
        said, _, table = asked(script).partition("---\n")
        self.table = folder / "aSAH.csv"
        self.table.write_text(table, encoding="utf-8")
        self.said = numbers(said)
        rows = list(csv.DictReader(table.splitlines()))
        self.poor = np.array([row["outcome"] == "Poor" for row in rows])
        self.scores = {
            name: np.array([float(row[name]) for row in rows]) for name in ("protein", "kinase")
        }
        two = ("--score", "protein", "--score", "kinase")
        self.at_threshold = evaluate(self.table, *two, "--threshold", str(THRESHOLD))
        self.at_best = evaluate(self.table, *two, "--score", "wfns", "--threshold", "youden")

    def model(self, name):
        """The report's part on a model, and the estimate of each criterion."""
        part = next(model for model in self.at_threshold["models"] if model["name"] == name)
        return part, {row["key"]: row["estimate"] for row in part["rows"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("peers"))


def limits(estimate):
    return [estimate["low"], estimate["high"]]


def close(got, expected, tolerance=1e-12):
    # Both sides print or compute 15 to 17 digits; sums over 113 cases differ in the last of them.
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=1e-14)


MODELS = pytest.mark.parametrize("name", ["protein", "kinase"])


@MODELS
def test_counts_and_rates_are_those_of_r(study, name):
    part, criteria = study.model(name)
    said = study.said[f"{name}-at"]
    assert [part[cell] for cell in ("tp", "fp", "fn", "tn")] == said[:4]
    keys = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "fnr", "fpr", "for_", "fdr")
    close([criteria[key]["value"] for key in keys], said[4:13])
    close(criteria["youden_j"]["value"] + 1, said[13])  # pROC's is sensitivity + specificity


@MODELS
def test_intervals_of_shares_are_those_of_r_and_scipy(study, name):
    part, criteria = study.model(name)
    tp, fp, fn, tn = (part[cell] for cell in ("tp", "fp", "fn", "tn"))
    shares = {
        "sensitivity": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "ppv": (tp, tp + fp),
        "npv": (tn, tn + fn),
        "accuracy": (tp + tn, tp + fp + fn + tn),
    }
    for key, (count, n) in shares.items():
        close(limits(criteria[key]), study.said[f"{name}-{key}"], 1e-9)  # R's: by a root search
        close(limits(criteria[key]), stats.binomtest(count, n).proportion_ci(method="wilson"))


@MODELS
def test_the_auc_and_the_curve_are_those_of_r(study, name):
    part, criteria = study.model(name)
    auc = criteria["auc"]
    close([auc["value"], *limits(auc)], study.said[f"{name}-auc"])
    curve = set(zip(part["roc"]["x"], part["roc"]["y"], strict=True))
    whole = set(zip(study.said[f"{name}-fpr"], study.said[f"{name}-tpr"], strict=True))
    assert {(round(x, 12), round(y, 12)) for x, y in curve} <= {
        (round(x, 12), round(y, 12)) for x, y in whole
    }
    # The report leaves out points on a straight line: the area is the same.
    close(metrics.auc(part["roc"]["x"], part["roc"]["y"]), auc["value"])


@MODELS
def test_criteria_are_those_of_scikit_learn(study, name):
    _, criteria = study.model(name)
    poor, score = study.poor, study.scores[name]
    called = score >= THRESHOLD
    positive, negative = metrics.class_likelihood_ratios(poor, called)
    expected = {
        "balanced_accuracy": metrics.balanced_accuracy_score(poor, called),
        "f1": metrics.f1_score(poor, called),
        "mcc": metrics.matthews_corrcoef(poor, called),
        "kappa": metrics.cohen_kappa_score(poor, called),
        "lr_positive": positive,
        "lr_negative": negative,
        "diagnostic_odds_ratio": positive / negative,
        "auc": metrics.roc_auc_score(poor, score),
        "average_precision": metrics.average_precision_score(poor, score),
        "brier_score_loss": metrics.brier_score_loss(poor, score),
        "log_loss": metrics.log_loss(poor, score),
    }
    for key, value in expected.items():
        close(criteria[key]["value"], value)


@MODELS
def test_precision_over_recall_is_scikit_learns(study, name):
    part, _ = study.model(name)
    precision, recall, _ = metrics.precision_recall_curve(study.poor, study.scores[name])
    whole = {(round(x, 12), round(y, 12)) for x, y in zip(recall, precision, strict=True)}
    curve = part["precision_recall"]
    shown = {(round(x, 12), round(y, 12)) for x, y in zip(curve["x"], curve["y"], strict=True)}
    assert len(shown) > 20
    assert shown <= whole


@MODELS
def test_calibration_is_that_of_r_and_means_have_students_intervals(study, name):
    part, criteria = study.model(name)
    for key in ("intercept", "slope"):
        estimate = part["calibration"][key]
        # Both end an iteration: R's by its deviance, which is flat there.
        got, said = [estimate["value"], *limits(estimate)], study.said[f"{name}-{key}"]
        np.testing.assert_allclose(got, said, rtol=1e-6, atol=1e-6)
    brier = criteria["brier_score_loss"]
    close([brier["value"], *limits(brier)], study.said[f"{name}-brier"], 1e-11)
    score, poor = study.scores[name], study.poor
    losses = -np.log(np.where(poor, score, 1 - score))
    close(limits(criteria["log_loss"]), stats.ttest_1samp(losses, 0).confidence_interval(), 1e-11)


def test_the_comparison_is_that_of_r_and_its_p_values_are_holms(study):
    rows = {row["key"]: row for row in study.at_threshold["comparisons"]}
    auc = rows["auc"]["comparison"]
    close([auc["difference"], *limits(auc)], study.said["difference"], 1e-10)
    close(auc["p_value"], study.said["p"][0], 1e-10)
    assert (rows["auc"]["model"], rows["auc"]["reference"]) == ("kinase", "protein")
    raw = ",".join(repr(row["comparison"]["p_value"]) for row in rows.values())
    holms = asked(f"show('p', p.adjust(c({raw}), 'holm'))")
    close([row["p_adjusted"] for row in rows.values()], numbers(holms)["p"], 1e-10)
    # McNemar's mid-p by the binomial distribution.
    a, b = (study.scores[name] >= THRESHOLD for name in ("protein", "kinase"))
    for key, which in (("sensitivity", study.poor), ("specificity", ~study.poor)):
        only_a, only_b = int(np.sum(a & ~b & which)), int(np.sum(b & ~a & which))
        n, k = only_a + only_b, min(only_a, only_b)
        mid = 2 * stats.binom.cdf(k, n, 0.5) - stats.binom.pmf(k, n, 0.5)
        close(rows[key]["comparison"]["p_value"], min(mid, 1), 1e-10)


def test_three_models_subgroups_and_the_best_point_are_those_of_r(study):
    report = study.at_best
    pairs = {
        (row["model"], row["reference"]): row
        for row in report["comparisons"]
        if row["key"] == "auc"
    }
    expected = dict(
        zip(
            (("kinase", "protein"), ("wfns", "protein"), ("wfns", "kinase")),
            study.said["wfns-p"],
            strict=True,
        )
    )
    assert pairs
    for pair, row in pairs.items():
        close(row["comparison"]["p_value"], expected[pair], 1e-9)
    for part in report["models"]:
        criteria = {row["key"]: row["estimate"] for row in part["rows"]}
        close(criteria["auc"]["value"], study.said[f"{part['name']}-auc"][0])
        best = [criteria["sensitivity"]["value"], criteria["specificity"]["value"]]
        close(best, study.said[f"{part['name']}-best"])
    assert len(report["subgroups"]) == 6
    for part in report["subgroups"]:
        auc = next(row["estimate"] for row in part["rows"] if row["key"] == "auc")
        close(auc["value"], study.said[f"{part['model']}-{part['value']}"][0])


def test_decision_curves_are_those_of_dcurves_and_kappa_of_statsmodels(study):
    python = os.environ.get("IRONSTEP_DCURVES_PYTHON")
    if python is None:
        pytest.skip("dcurves has an environment of its own: make test-r makes it")
    command = [python, "-W", "ignore", "-c", DCURVES, study.table]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    said = json.loads(done.stdout.splitlines()[-1])
    for name in ("protein", "kinase"):
        part, criteria = study.model(name)
        curve = part["decision_curve"]
        close(curve["thresholds"], np.arange(1, 100) / 100)
        close(curve["net_benefit"], said[name], 1e-9)
        close(curve["treat_all"], said["all"], 1e-9)
        kappa = criteria["kappa"]
        # statsmodels has the normal quantile to nine digits.
        close([kappa["value"], *limits(kappa)], said[f"{name}-kappa"], 1e-8)
