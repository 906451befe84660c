"""What holds of the landscape whatever the seed."""

import numpy as np
import pytest
import torch
from torch import nn

from ironstep.experiments import batchnorm
from ironstep.experiments._digits import parts
from ironstep.train import minibatches


@pytest.mark.parametrize("seed", range(3))
def test_a_scale_of_the_weights_changes_what_it_should_alone(seed):
    # 64 samples in float64: some tens of roundings of 1e-16.
    assert max(batchnorm.invariance(seed).values()) < 1e-13


def test_looking_ahead_does_not_disturb_the_training():
    (x, y) = parts(0, 300)[0]
    looked = batchnorm.network(0, normalized=False)
    batchnorm.landscape(looked, x, y, 0, epochs=1, every=2)
    plain = batchnorm.network(0, normalized=False)
    optimizer = torch.optim.SGD(plain.parameters(), lr=batchnorm.LR)
    for batch in minibatches(len(x), batchnorm.BATCH, epochs=1, random_state=0):
        optimizer.zero_grad()
        nn.functional.cross_entropy(plain(x[batch]), y[batch]).backward()
        optimizer.step()
    for a, b in zip(looked.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_smoothness_of_logistic_regression_is_below_its_bound():
    (x, y) = parts(1, 256)[0]
    torch.manual_seed(0)
    found = batchnorm.landscape(nn.Sequential(nn.Linear(64, 10)), x, y, 0, epochs=4, every=1)
    # The Hessian of softmax cross-entropy is at most ½ λ_max of the inputs' second moments; a batch's
    # largest eigenvalue is at most what all of its rows' squared lengths allow.
    bound = 0.5 * max(float((row @ row) + 1) for row in x)
    assert 0 < max(found["smoothness"]) < bound
    assert np.all(np.array(found["range"]) >= 0)


def test_with_and_without_start_from_the_same_convolutions():
    plain, normalized = (batchnorm.network(3, normalized=n) for n in (False, True))
    kernels = [
        [m.weight for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (plain, normalized)
    ]
    assert len(kernels[0]) == batchnorm.LAYERS
    assert all(torch.equal(a, b) for a, b in zip(*kernels, strict=True))


def test_the_largest_rate_counts_what_trained():
    rates = {"0.1": {"accuracy": 0.95}, "1.0": {"accuracy": 0.92}, "3.0": {"accuracy": 0.5}}
    assert batchnorm._largest(rates) == 1.0
    assert batchnorm._largest({"0.1": {"accuracy": 0.5}}) == 0.05
