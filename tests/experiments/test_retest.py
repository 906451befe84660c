"""Accuracies on two test sets: intervals, ranks and lines against other implementations."""

import json

import numpy as np
import pytest
import scipy.stats

from ironstep.experiments import _run, retest
from ironstep.experiments.retest import Row


def rows(*pairs, n=(1000, 2000)):
    return [Row(f"m{i}", a, n[0], b, n[1]) for i, (a, b) in enumerate(pairs)]


SOME = rows((900, 1700), (950, 1850), (980, 1930), (700, 1320))


def newcombe(row):
    """Method 10 of Newcombe (1998), from Wilson's limits by scipy."""
    sides = []
    for k, n in ((row.original_correct, row.original_n), (row.new_correct, row.new_n)):
        found = scipy.stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        sides.append((k / n, found.low, found.high))
    (p, l1, u1), (q, l2, u2) = sides
    low = p - q - np.hypot(p - l1, u2 - q)
    return p - q, low, p - q + np.hypot(u1 - p, q - l2)


@pytest.mark.parametrize("row", [*SOME, *retest.LECTURE, Row("all", 10, 10, 10, 20)])
def test_a_drop_has_newcombes_interval(row):
    assert retest.difference(row)[:3] == pytest.approx(newcombe(row), abs=1e-12)


def test_the_lectures_figures_are_as_it_has_them():
    found = [(round(100 * r.original, 1), round(100 * r.new, 1)) for r in retest.LECTURE]
    assert found == [(98.4, 95.5), (83.0, 72.0), (96.0, 90.0)]


def test_ranks_are_spearmans():
    assert retest.rank_correlation(SOME) == 1
    assert retest.rank_correlation(rows((900, 1000), (950, 900), (980, 800))) == -1
    assert np.isnan(retest.rank_correlation(rows((900, 1000), (900, 900), (900, 800))))


def test_the_line_is_found_where_there_is_no_sampling_error():
    share = np.array([0.6, 0.7, 0.8, 0.9, 0.97])
    n = 10**9
    new = scipy.stats.norm.cdf(1.3 * scipy.stats.norm.ppf(share) - 0.4)
    made = rows(*zip((share * n).astype(int), (new * n).astype(int), strict=True), n=(n, n))
    assert retest.probit_line(made) == pytest.approx((1.3, -0.4), abs=1e-4)


def test_sampling_error_of_the_original_set_does_not_flatten_the_line():
    random = np.random.default_rng(0)
    true = random.uniform(0.7, 0.97, size=4000)
    made = rows(
        *zip(random.binomial(200, true), random.binomial(20_000, true), strict=True),
        n=(200, 20_000),
    )
    points = np.array([(retest.probit(r[1], r[2]), retest.probit(r[3], r[4])) for r in made])
    assert scipy.stats.linregress(*points.T).slope < 0.95  # what least squares alone would say
    assert retest.probit_line(made)[0] == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (5, 10)])
def test_probits_are_finite(correct, n):
    assert np.isfinite(retest.probit(correct, n))


def test_models_are_judged_on_disjoint_images(quick_of):
    found = quick_of(retest.EXPERIMENT)
    for part, new_n in (("other writers", 597), ("random parts", 597)):
        for row in found[part]:
            assert (row["original_n"], row["new_n"]) == (300, new_n)
    assert len(retest.models(0)) == 14


# --- a table of one's own ---

HEADER = "model,original_correct,original_n,new_correct,new_n\n"
GOOD = (
    HEADER
    + "a,900,1000,1700,2000\nb,950,1000,1850,2000\nc,980,1000,1930,2000\nd,700,1000,1320,2000\n"
)


def test_a_table_of_ones_own(tmp_path, capsys):
    path = tmp_path / "models.csv"
    path.write_text(GOOD, encoding="utf-8")
    assert _run.run("retest", tmp_path / "out", table=path) == 0
    found = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    by_text = {s["statement"]: s for s in found["statements"]}
    assert by_text["Models are worse on the new test set"]["value"] == pytest.approx(
        np.mean([0.9 - 0.85, 0.95 - 0.925, 0.98 - 0.965, 0.7 - 0.66])
    )
    assert by_text["Which model is better stays the same"]["value"] == 1
    assert "models.csv" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 models"),
        (HEADER + "a,1,2,1,2\nb,1,2,1,2\n", "2 models"),
        ("model,original_correct\na,1\n", "line 2: no original_n"),
        (GOOD + "e,x,10,5,10\n", "line 6, original_correct: got 'x'"),
        (GOOD + "e,0.9,10,5,10\n", "line 6, original_correct: got '0.9'"),
        (GOOD + "e,11,10,5,10\n", "line 6: 11 right answers of 10"),
        (GOOD + "e,0,0,5,10\n", "line 6: 0 right answers of 0"),
        (GOOD + "e,-1,10,5,10\n", "line 6: -1 right answers of 10"),
        (GOOD + "a,9,10,5,10\n", "line 6: model 'a' stands there twice"),
    ],
)
def test_a_wrong_table_is_one_line_and_2(tmp_path, capsys, text, said):
    path = tmp_path / "models.csv"
    path.write_text(text, encoding="utf-8")
    assert _run.run("retest", tmp_path / "out", table=path) == 2
    shown = capsys.readouterr().out
    assert said in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_what_is_no_text_and_what_is_not_there(tmp_path, capsys):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.csv", "absent.csv"):
        assert _run.run("retest", tmp_path / "out", table=tmp_path / name) == 2
        assert name in capsys.readouterr().out


def test_other_experiments_take_no_table(tmp_path):
    assert _run.run("descent", tmp_path / "out", table=tmp_path / "x.csv") == 2
