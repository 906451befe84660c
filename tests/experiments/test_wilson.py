"""What Wilson et al. prove of their construction, to rounding."""

import numpy as np
import pytest

from ironstep.experiments import wilson


@pytest.fixture(scope="module", params=range(3))
def examples(request):
    return wilson.construction(60, np.random.default_rng(request.param))


def test_the_construction_is_that_of_the_lemma(examples):
    x, y = examples
    assert x.shape == (60, 303)
    assert y.sum() > 0  # more positives: what the lemma asks for
    # Lemma 3.1 asks for a c with X·sign(Xᵀy) = c·y and for no zero in Xᵀy of a seen coordinate.
    seen = x.any(axis=0)
    assert (x.T @ y)[seen].all()
    np.testing.assert_array_equal(x @ np.sign(x.T @ y), 4 * y)


@pytest.mark.parametrize("name", wilson.ADAPTIVE)
def test_adaptive_methods_find_the_sign_solution_and_call_all_positive(examples, name):
    x, y = examples
    w = wilson.least_squares(x, y, 1500, wilson.ADAPTIVE[name])
    # ε in the denominator, 1e-8 or 1e-10 against gradients of 1/n at first and less at the end.
    np.testing.assert_allclose(w, np.sign(x.T @ y) / 4, atol=2e-3)
    unseen = np.where(np.random.default_rng(9).random(500) < 0.6, 1.0, -1.0)
    assert wilson.errors_on_unseen(w, unseen) == (unseen < 0).sum()


@pytest.mark.parametrize("name", wilson.PLAIN)
def test_the_others_find_the_least_norm_solution_and_make_no_error(examples, name):
    x, y = examples
    w = wilson.least_squares(x, y, 3000, wilson.PLAIN[name])
    np.testing.assert_allclose(w, np.linalg.pinv(x) @ y, atol=1e-6)
    unseen = np.where(np.random.default_rng(9).random(500) < 0.6, 1.0, -1.0)
    assert wilson.errors_on_unseen(w, unseen) == 0


def test_unseen_examples_are_scored_by_their_shared_coordinates(examples):
    x, y = examples
    w = np.linalg.pinv(x) @ y
    fresh, labels = wilson.construction(40, np.random.default_rng(5))
    # The same examples with room for the 60 private blocks that were trained, which they have not.
    shared = np.where(fresh[:, :3] @ w[:3] > 0, 1, -1)
    assert wilson.errors_on_unseen(w, labels) == (shared != labels).sum()


def test_exact_errors_are_supported(quick_of):
    statements = wilson.EXPERIMENT.conclude(
        [quick_of(wilson.EXPERIMENT, s) for s in (0, 1)]
    ).statements
    exact = [s for s in statements if "unseen" in s.text]
    assert len(exact) == 6
    assert {s.verdict for s in exact} == {"supported"}


def test_the_best_run_is_chosen_by_the_validation_part(quick_of):
    digits = quick_of(wilson.EXPERIMENT)["digits"]
    for method, best in digits["best"].items():
        runs = [r for r in digits["runs"] if r["method"] == method]
        assert len(runs) == 15
        assert best["validation"] == max(r["validation"] for r in runs)
    assert (digits["default"]["method"], digits["default"]["lr"]) == ("Adam", 1e-3)
