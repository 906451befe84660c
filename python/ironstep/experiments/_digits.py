"""Networks on scikit-learn's handwritten digits, trained with ironstep's parts."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import ironstep
from ironstep.train import minibatches

# The rows from here on are of other writers: the set is two sets of the original study one after the
# other, of 30 and of 13 people.
OTHER_WRITERS = 1200
CLASSES = 10

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Any]]


@functools.cache
def digits() -> tuple[Tensor, Tensor]:
    """Return 1,797 images of 8×8 pixels, as rows of 64 numbers from −1 to 1, and their digits."""
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy(x / 8 - 1).float(), torch.from_numpy(y).long()


def parts(seed: int, *sizes: int, of: int | None = None) -> list[tuple[Tensor, Tensor]]:
    """Cut the images (the first so many of them) at random into parts of these sizes."""
    x, y = digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(of or len(y)))
    return [(x[index], y[index]) for index in torch.split(order[: sum(sizes)], list(sizes))]


def mlp(*sizes: int, dropout: float = 0.0) -> nn.Sequential:
    """Return dense layers with ReLUs between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    while not isinstance(layers[-1], nn.Linear):
        del layers[-1]
    return nn.Sequential(*layers)


def fit(
    model: nn.Module,
    x: Tensor,
    y: Any,
    *,
    seed: int,
    epochs: int,
    lr: float,
    method: str = "SGD",
    decay: str = "cosine",
    batch_size: int = 64,
    criterion: Callable[[Tensor, Any], Tensor] | None = None,
    mix: Mix | None = None,
    **options: Any,
) -> float:
    """Train a model; the mean loss of the last epoch.

    `decay` is what the learning rate does over the epochs: "constant", "cosine" down to 0, or
    "steps": to a tenth after half of them, and again after three quarters.
    """
    criterion = criterion or ironstep.nn.CrossEntropyLoss()
    optimizer = getattr(ironstep.optim, method)(model.parameters(), lr=lr, **options)
    random = np.random.default_rng(seed)
    model.train()
    total = math.nan
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = lr * _decayed(decay, epoch / epochs)
        total = 0.0
        for batch in minibatches(len(x), batch_size, epochs=1, random_state=random):
            index = torch.from_numpy(batch)
            inputs, target = x[index], y[index]
            if mix is not None:
                inputs, target = mix(inputs, target)
            optimizer.zero_grad()
            loss = criterion(model(inputs), target)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(index) / len(x)
    model.eval()
    return total


def _decayed(decay: str, done: float) -> float:
    if decay == "cosine":
        return 0.5 * (1 + math.cos(math.pi * done))
    if decay == "steps":
        return 1.0 if done < 0.5 else 0.1 if done < 0.75 else 0.01
    return 1.0


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of images that the model names rightly."""
    model.eval()
    return float((model(x).argmax(1) == y).double().mean())
