"""The page's numbers are those of the metrics, and it stands alone."""

import json
import math
import re
import shutil
import subprocess

import numpy as np
import pytest
import sklearn.metrics

from ironstep.experiments import criteria


@pytest.fixture(scope="module")
def case():
    return criteria.scores(0)


@pytest.fixture(scope="module")
def text(case):
    return criteria.page(criteria.page_data(0, *case))


@pytest.fixture(scope="module")
def data(text):
    (embedded,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, re.S
    )
    return json.loads(embedded)


def test_the_criteria_at_each_threshold_are_scikit_learns(case, data):
    y, score = case
    of = {
        "sensitivity": lambda p: sklearn.metrics.recall_score(y, p),
        "specificity": lambda p: sklearn.metrics.recall_score(y, p, pos_label=0),
        "ppv": lambda p: sklearn.metrics.precision_score(y, p),
        "accuracy": lambda p: sklearn.metrics.accuracy_score(y, p),
        "f1": lambda p: sklearn.metrics.f1_score(y, p),
        "mcc": lambda p: sklearn.metrics.matthews_corrcoef(y, p),
        "kappa": lambda p: sklearn.metrics.cohen_kappa_score(y, p),
    }
    for row in data["rows"][1:-1:20]:
        called = (score >= row["threshold"]).astype(int)
        tn, fp, fn, tp = sklearn.metrics.confusion_matrix(y, called).ravel()
        assert row["table"] == [tp, fp, fn, tn]
        for name, function in of.items():
            assert row["criteria"][name][0] == pytest.approx(function(called), abs=6e-5), name


def test_it_goes_from_nobody_to_everybody(case, data):
    y, _ = case
    first, last = data["rows"][0]["table"], data["rows"][-1]["table"]
    assert first == [0, 0, y.sum(), (y == 0).sum()]
    assert last == [y.sum(), (y == 0).sum(), 0, 0]
    # What divides by zero is no number, and the page says so.
    assert data["rows"][0]["criteria"]["ppv"] == [None, None, None]
    assert math.isclose(data["rows"][0]["criteria"]["sensitivity"][0], 0)


def test_curves_and_areas_are_scikit_learns(case, data):
    y, score = case
    assert data["auc"].startswith(f"{sklearn.metrics.roc_auc_score(y, score):.3f}")
    assert data["average_precision"] == pytest.approx(
        sklearn.metrics.average_precision_score(y, score), abs=6e-5
    )
    fpr, tpr, _ = sklearn.metrics.roc_curve(y, score)
    np.testing.assert_allclose(np.array(data["roc"]).T, [fpr, tpr], atol=6e-5)
    assert data["top_k"] == sorted(data["top_k"])
    assert data["top_k"][-1] == 1


def test_the_page_stands_alone_and_is_for_the_keyboard(text):
    # The name of a drawing's namespace is no address that is fetched.
    assert set(re.findall(r"\w+://[^\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text
    assert not re.search(r"\b(src|href)=", text)
    assert "fetch(" not in text
    for control in ("threshold", "k"):
        assert f'<label for="{control}">' in text
        assert re.search(rf'<input type="range" id="{control}"', text)
    assert "Arrow keys" in text
    assert "$" not in re.sub(r"<script.*?</script>", "", text, flags=re.S)


def test_text_cannot_end_the_script():
    data = criteria.page_data(0, *criteria.scores(0))
    data["auc"] = "</script><b>"
    assert "</script><b>" not in criteria.page(data)


def test_the_script_parses(text, tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    script = re.findall(r"<script>(.*?)</script>", text, re.S)[-1]
    (tmp_path / "page.js").write_text(script, encoding="utf-8")
    done = subprocess.run(
        [node, "--check", str(tmp_path / "page.js")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_what_must_hold_holds(quick_of):
    found = [quick_of(criteria.EXPERIMENT, seed) for seed in (0, 1)]
    for each in found:
        assert each["monotone"]
        assert abs(each["auc_minus_pairs"]) < 1e-12
        assert each["auc_of_logits"] == 0
        assert each["mcc_swapped"] < 1e-12
        # Youden's point of the whole set, by hand.
        assert each["youden"]["tpr"] + each["youden"]["tnr"] > 1


def test_a_later_seed_alone_still_makes_the_page(quick_of):
    found = criteria.EXPERIMENT.conclude([quick_of(criteria.EXPERIMENT, seed) for seed in (1, 2)])
    assert "criteria.html" in found.pages
