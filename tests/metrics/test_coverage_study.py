"""A small part of the coverage study, seeded: `make coverage-study` runs all of it."""

import importlib.util
import math
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")
PATH = Path(__file__).parents[2] / "benches" / "coverage_study.py"
SPEC = importlib.util.spec_from_file_location("coverage_study", PATH)
study = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(study)


def test_shares_are_covered_as_asked():
    for method, _, least, mean, accepted in study.proportions():
        assert accepted, (method, least, mean)


@pytest.mark.parametrize(
    ("metric", "model"),
    [
        ("auc", study.Model(0.95, 40)),
        ("auc", study.Model(n=100, icc=0.7, per_cluster=5)),
        ("accuracy", study.Model(n=100, icc=0.7, per_cluster=5)),
        ("f1", study.Model(n=100)),
        ("mcc", study.Model(n=200)),
        ("average_precision", study.Model(n=200)),
        ("calibration slope", study.Model(n=200)),
        ("brier_score_loss", study.Model(n=200)),
        ("accuracy", study.Model(n=200, sampled=0.25)),
        ("auc", study.Model(n=400, prevalence=0.3, sampled=0.25)),
    ],
)
def test_intervals_hold_the_truth(metric, model):
    n = 400
    below, above, missing, _ = study.coverage(study.Row(metric, model, 92), n, seed=1)
    # 92% of 400, less three standard errors; and not much more than 95%.
    error = 3 * math.sqrt(0.92 * 0.08 / n)
    assert missing == 0
    assert 0.92 - error <= 1 - (below + above) / n <= 0.99


def test_weights_that_are_not_told_of_are_seen_by_the_study():
    """Cases below the cut are wanting; taken for all there are, they give a wrong sensitivity."""
    row = study.Row("sensitivity", study.Model(n=400, prevalence=0.3, sampled=0.25), 92)
    wrong = 0
    for seed in range(50):
        y_true, y, _, _ = row.model.draw(study.np.random.default_rng(seed), row.fixed)
        called = (y >= row.model.cut).astype(int)
        estimate = study.interval(row, y_true, called, None, None, seed)
        wrong += not estimate.low <= study.truth(row.model, row.metric, {}) <= estimate.high
    assert wrong > 40


def test_plain_delong_fails_where_the_study_says_so():
    """That a wrong interval would be seen."""
    row = study.Row("auc", study.Model(0.95, 40), 92, method="delong", fixed=True)
    below, above, _, _ = study.coverage(row, 400, seed=1)
    assert 1 - (below + above) / 400 < 0.89
