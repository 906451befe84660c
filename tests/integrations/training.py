"""The network that most of the frameworks train here, its data, and what to end alike means."""

import torch
from torch import nn

from optim.cases import assert_native, assert_same

N_BATCHES = 8

# Autocast rounds weights to bfloat16: where two differ by the last bit of float32, their copies may
# differ by the last bit of bfloat16, and so do the gradients.
AUTOCAST_ULPS = 4096


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))


def batches(shape=(8,)):
    """Inputs of that shape and classes, the same at each call."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(N_BATCHES, 4, *shape, generator=generator)
    return list(zip(inputs, torch.randint(3, (N_BATCHES, 4), generator=generator), strict=True))


def loss_of(model, batch):
    inputs, classes = batch
    return nn.functional.cross_entropy(model(inputs), classes)


def assert_ends_alike(ours, theirs, optimizer, *, ulps=64):
    """The same parameters, but for rounding that training enlarges, by native steps alone."""
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert_same(p, q, ulps, size=1.0, what=name)
    assert_native(optimizer, len(list(ours.parameters())))
