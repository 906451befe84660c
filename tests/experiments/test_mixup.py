"""How images are mixed and attacked."""

import numpy as np
import pytest
import torch
from torch import nn

from ironstep.experiments import mixup
from ironstep.experiments._digits import accuracy, parts


@pytest.mark.parametrize("mode", mixup.MODES)
@pytest.mark.parametrize("n", [6, 7, 1])
def test_images_and_labels_are_mixed_in_the_same_shares(mode, n):
    x, y = torch.randn(n, 4), torch.arange(n)
    mixed, (first, second, lam) = mixup.mixer(0.7, mode, np.random.default_rng(n))(x, y)
    assert torch.equal(first, y)
    assert sorted(second.tolist()) == list(range(n))
    assert ((lam >= 0) & (lam <= 1)).all()
    for i in range(n):
        torch.testing.assert_close(mixed[i], lam[i] * x[i] + (1 - lam[i]) * x[second[i]])
    if mode == "batch":
        assert len(set(lam.tolist())) == 1
    if mode == "pair":
        assert torch.equal(second[second], y)
        assert torch.equal(lam[second], lam)
    if mode == "element" and n > 1:
        assert len(set(lam.tolist())) == n


def test_shares_are_betas():
    mix = mixup.mixer(0.3, "element", np.random.default_rng(0))
    lam = mix(torch.zeros(20_000, 1), torch.zeros(20_000, dtype=torch.long))[1][2]
    # Beta(α, α) has mean ½ and variance 1/(4(2α + 1)); six standard errors.
    assert float(lam.mean()) == pytest.approx(0.5, abs=0.017)
    assert float(lam.var()) == pytest.approx(1 / (4 * 1.6), abs=0.005)


def test_alpha_0_mixes_nothing():
    assert mixup.mixer(0.0, "batch", np.random.default_rng(0)) is None


def test_an_attack_moves_pixels_by_its_size_up_to_the_ends_and_harms():
    (x, y) = parts(0, 400)[0]
    torch.manual_seed(0)
    model = nn.Linear(64, 10)
    mixup.fit(model, x, y, seed=0, epochs=10, lr=0.05)
    moved = mixup.attacked(model, x, y, 0.1)
    assert moved.min() >= -1
    assert moved.max() <= 1
    assert float((moved - x).abs().max()) == pytest.approx(0.1, abs=1e-6)
    loss = nn.CrossEntropyLoss(reduction="none")
    # A linear model's loss is convex: a step along the gradient's sign never lowers it; the cut at
    # the ends only shortens the step.
    assert (loss(model(moved), y) >= loss(model(x), y) - 1e-5).all()
    assert accuracy(model, moved, y) < accuracy(model, x, y)


def test_the_best_alpha_is_chosen_by_the_validation_part(quick_of):
    runs = mixup._runs(quick_of(mixup.EXPERIMENT), 0.0, 0.0)
    assert set(runs) == set(mixup.ALPHAS)
    best = mixup._best(runs)
    assert best["alpha"] > 0
    assert best["validation"] == max(run["validation"] for a, run in runs.items() if a)
