"""Calibration as it is defined, and targets as they are."""

import numpy as np
import pytest
import torch
from torch import nn

from ironstep.experiments import smoothing


def brute_ece(right, confidence, n_bins=15):
    total = 0.0
    for b in range(n_bins):
        inside = [
            i
            for i, c in enumerate(confidence)
            if b <= c * n_bins < b + 1 or (b == n_bins - 1 and c == 1)
        ]
        if inside:
            share = sum(right[i] for i in inside) / len(inside)
            total += len(inside) * abs(share - sum(confidence[i] for i in inside) / len(inside))
    return total / len(right)


@pytest.mark.parametrize("kind", ["mixed", "all right", "all wrong"])
def test_the_calibration_error_is_its_definition(kind):
    random = np.random.default_rng(0)
    confidence = np.append(random.random(200), 1.0)
    right = {"mixed": random.random(201) < 0.6, "all right": np.ones(201, bool)}.get(
        kind, np.zeros(201, bool)
    )
    assert smoothing._ece(right, confidence) == pytest.approx(
        brute_ece(right, confidence), abs=1e-12
    )


def test_true_probabilities_are_judged_calibrated():
    torch.manual_seed(0)
    logits = 2 * torch.randn(20_000, 10)
    labels = torch.distributions.Categorical(logits=logits).sample()
    found = smoothing.judged(nn.Identity(), logits, labels)
    # 15 bins of 1,300 cases: each is off by about 0.01; the slope by 1/√(20,000·information).
    assert found["ece"] < 0.02
    assert found["slope"] == pytest.approx(1, abs=0.03)
    extreme = smoothing.judged(nn.Identity(), 3 * logits, labels)
    assert extreme["slope"] == pytest.approx(1 / 3, abs=0.02)
    assert extreme["ece"] > 0.1
    assert extreme["accuracy"] == found["accuracy"]


def test_each_alpha_and_form_was_trained(quick_of):
    found = quick_of(smoothing.EXPERIMENT)
    seen = [(run["alpha"], run["form"]) for run in found["runs"]]
    assert len(set(seen)) == len(seen) == len(smoothing.ALPHAS) + 4
    assert set(found["students"]) == {"0.0", "0.1"}
    for run in found["runs"]:
        assert sum(run["bins"]) == 597
        assert sum(run["bin_right"]) == pytest.approx(597 * run["accuracy"])
