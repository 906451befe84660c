"""What holds of gradient descent whatever the seed."""

import numpy as np
import pytest

from ironstep.experiments import descent
from ironstep.experiments.descent import BEYOND, WITHIN


@pytest.mark.parametrize("seed", range(3))
def test_the_constant_bounds_the_curvature_everywhere(seed):
    net, x, y = descent.logistic(seed)
    bound = descent.constant(net, x, y)
    # The Hessian in the logits' difference is Σ p(1−p) u uᵀ / n with u = (x, 1), and the weights of
    # the two classes enter with ±: twice that.
    u = np.column_stack([x, np.ones(len(x))])
    assert bound == pytest.approx(2 * 0.25 * np.linalg.eigvalsh(u.T @ u / len(u)).max(), rel=1e-6)


def test_every_step_keeps_the_promise(quick_of):
    for seed in (0, 1):
        found = quick_of(descent.EXPERIMENT, seed)
        assert all(found["runs"][str(s)]["kept"] == found["steps"] for s in WITHIN)
        assert all(found["runs"][str(s)]["ascents"] == 0 for s in WITHIN)


def test_a_quadratic_diverges_beyond_2_over_l_and_only_there(quick_of):
    found = quick_of(descent.EXPERIMENT)["quadratic"]
    assert all(found["last"][str(s)] < found["start"] for s in WITHIN)
    assert all(found["last"][str(s)] > found["start"] for s in BEYOND)
    # Along the largest curvature a step of c leaves (1 − cL)².
    for share in WITHIN:
        assert found["one_step"][str(share)] == pytest.approx((1 - share) ** 2, abs=1e-12)


def test_batches_of_all_samples_without_replacement_are_the_gradient():
    net, x, y = descent.logistic(0)
    small = descent.batches(0, net, x[:256], y[:256], 3, lambda what: None)
    (whole,) = (b for b in small if b["size"] == 256 and not b["replacement"])
    assert whole["along"] == pytest.approx(1, abs=1e-12)
    assert whole["variance"] < 1e-24


def test_the_mean_gradient_of_batches_is_unbiased(quick_of):
    for seed in (0, 1):
        for batch in quick_of(descent.EXPERIMENT, seed)["batches"]:
            if batch["size"] >= 64:  # 200 batches: the mean's error is a few hundredths
                assert batch["along"] == pytest.approx(1, abs=0.1)
