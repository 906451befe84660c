"""Side by side with R's pROC, on its own data: `make test-r`."""

import csv
import io
import math

import numpy as np
import pytest

from ironstep.metrics import ScoreIndex, compare, confidence_interval, delong_test
from proc import asked, numbers

SCRIPT = """
write.csv(aSAH, row.names = FALSE)
cat("---\\n")
scores <- list(ndka = aSAH$ndka, s100b = aSAH$s100b, wfns = as.numeric(aSAH$wfns))
curve <- function(x) roc(aSAH$outcome, x, levels = c("Good", "Poor"), direction = "<", quiet = TRUE)
curves <- lapply(scores, curve)
for (name in names(scores)) {
  show(paste0("ci-", name), ci.auc(curves[[name]], method = "delong"))
  show(paste0("var-", name), var(curves[[name]]))
}
show("cov", cov(curves$ndka, curves$s100b))
show("p", roc.test(curves$ndka, curves$s100b, method = "delong")$p.value)
show("pauc", auc(curves$s100b, partial.auc = c(1, 0.9)))
show("pauc-corrected", auc(curves$s100b, partial.auc = c(1, 0.9), partial.auc.correct = TRUE))
show("youden", coords(curves$s100b, "best", ret = c("sensitivity", "specificity"), transpose = TRUE))
show("curve", c(length(curves$s100b$thresholds), sum(curves$s100b$sensitivities)))
"""


@pytest.fixture(scope="module")
def proc():
    """The data, and what R says of them."""
    table, _, answers = asked(SCRIPT).partition("---\n")
    rows = list(csv.DictReader(io.StringIO(table)))
    y_true = np.array([row["outcome"] for row in rows])
    scores = {
        name: np.array([float(row[name]) for row in rows]) for name in ("ndka", "s100b", "wfns")
    }
    return y_true, scores, numbers(answers)


@pytest.mark.parametrize("name", ["ndka", "s100b", "wfns"])
def test_auc_and_its_interval(proc, name):
    y_true, scores, said = proc
    estimate = confidence_interval("auc", y_true, scores[name], pos_label="Poor", method="delong")
    got = [estimate.low, estimate.value, estimate.high]
    np.testing.assert_allclose(got, said[f"ci-{name}"], rtol=1e-12)
    index = ScoreIndex(y_true, scores[name], pos_label="Poor")
    assert index.delong_variance() == pytest.approx(said[f"var-{name}"][0], rel=1e-12)


def test_a_paired_comparison(proc):
    y_true, scores, said = proc
    pair = compare("auc", y_true, scores["ndka"], scores["s100b"], pos_label="Poor")
    assert pair.p_value == pytest.approx(said["p"][0], rel=1e-10)
    test = delong_test(y_true, [scores["ndka"], scores["s100b"]], pos_label="Poor")
    assert test.covariance[0, 1] == pytest.approx(said["cov"][0], rel=1e-12)


def test_partial_areas(proc):
    y_true, scores, said = proc
    index = ScoreIndex(y_true, scores["s100b"], pos_label="Poor")
    plain = index.partial_auc(0.1, standardized=False)
    assert plain == pytest.approx(said["pauc"][0], rel=1e-12)
    assert index.partial_auc(0.1) == pytest.approx(said["pauc-corrected"][0], rel=1e-12)


def test_youdens_point_and_the_whole_curve(proc):
    y_true, scores, said = proc
    index = ScoreIndex(y_true, scores["s100b"], pos_label="Poor")
    assert index.youden()[1:] == pytest.approx(said["youden"][:2], rel=1e-12)
    fpr, tpr, _ = index.roc_curve(drop_intermediate=False)
    assert len(fpr) == said["curve"][0]
    assert math.fsum(tpr) == pytest.approx(said["curve"][1], rel=1e-12)


def test_known_digits(proc):
    """What pROC 1.18.0 prints: a change of R's side would be seen here."""
    _, _, said = proc
    assert said["ci-ndka"] == pytest.approx([0.50124, 0.61196, 0.72267], abs=1e-5)
    digits = [0.6301182118, 0.7313685637, 0.8326189156]
    assert said["ci-s100b"] == pytest.approx(digits, abs=1e-10)
    digits = [0.7485348878, 0.8236788618, 0.8988228358]
    assert said["ci-wfns"] == pytest.approx(digits, abs=1e-10)
    assert said["p"][0] == pytest.approx(0.1642951752, abs=1e-10)
    assert said["pauc"][0] == pytest.approx(0.03275745257, abs=1e-11)
    assert said["pauc-corrected"][0] == pytest.approx(0.6460918557, abs=1e-10)
