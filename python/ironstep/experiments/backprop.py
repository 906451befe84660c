"""Back-propagation by its equations, and the computational graph of a small network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ironstep.experiments._drawing import COLOURS, finish
from ironstep.experiments._protocol import (
    Experiment,
    Findings,
    Measurement,
    Statement,
    Table,
    Tick,
    over_seeds,
)
from ironstep.train import DenseNetwork
from ironstep.train._graph_picture import draw

SHAPES = ((3, 2), (8, 16, 4), (10, 12, 12, 12, 5), (6, 5, 5, 5, 5, 5, 5, 3))
ACTIVATIONS = {"sigmoid": torch.sigmoid, "tanh": torch.tanh}
# Of central differences: their error is of order h², and rounding's of order 10⁻¹⁶/h.
H = 1e-5


def small() -> tuple[DenseNetwork, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return two inputs, two hidden units and two outputs, with a published sample's numbers."""
    net = DenseNetwork([2, 2, 2], activation="sigmoid", output="sigmoid")
    net.weights[0][...] = [[0.15, 0.20], [0.25, 0.30]]
    net.weights[1][...] = [[0.40, 0.45], [0.50, 0.55]]
    net.biases[0][...] = 0.35
    net.biases[1][...] = 0.60
    return net, np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])


def measure(seed: int, quick: bool, tick: Tick) -> Measurement:
    """Compare the gradients of random networks with autograd's and with differences."""
    random = np.random.default_rng(seed)
    autograd: list[float] = []
    differences: list[float] = []
    by_layer: list[float] = []
    for shape in SHAPES[:2] if quick else SHAPES:
        for activation in ACTIVATIONS:
            tick(f"{len(shape) - 1} layers, {activation}")
            net = DenseNetwork(shape, activation=activation, random_state=random)
            x, y = random.normal(size=(16, shape[0])), random.integers(shape[-1], size=16)
            found = net.backward(x, y)
            largest = float(np.abs(found.theta).max())
            autograd.append(float(np.abs(found.theta - _autograd(net, x, y)).max()) / largest)
            differences.append(float(np.abs(found.theta - _differences(net, x, y)).max()) / largest)
            if len(shape) == len(SHAPES[-1]) and activation == "sigmoid":
                by_layer = [float(np.linalg.norm(w) / w.size**0.5) for w in found.weights]
    return {"autograd": max(autograd), "differences": max(differences), "by_layer": by_layer}


def _autograd(net: DenseNetwork, x: Any, y: Any) -> Any:
    layers = [
        (torch.tensor(w, requires_grad=True), torch.tensor(b, requires_grad=True))
        for w, b in zip(net.weights, net.biases, strict=True)
    ]
    a = torch.tensor(x)
    for at, (w, b) in enumerate(layers):
        z = torch.nn.functional.linear(a, w, b)
        a = z if at == len(layers) - 1 else ACTIVATIONS[net.activation](z)
    torch.nn.functional.cross_entropy(a, torch.tensor(y)).backward()  # type: ignore[no-untyped-call]
    return torch.cat([p.grad.flatten() for layer in layers for p in layer]).numpy()  # type: ignore[union-attr]


def _differences(net: DenseNetwork, x: Any, y: Any) -> Any:
    objective, at = net.objective(x, y), net.theta.copy()
    found = np.empty_like(at)
    for index in range(len(at)):
        step = np.zeros_like(at)
        step[index] = H
        found[index] = (objective(at + step)[0] - objective(at - step)[0]) / (2 * H)
    net.theta[...] = at
    return found


def conclude(measured: Sequence[Measurement]) -> Findings:
    """Judge the gradients, and draw the small network's graph."""

    def digits(name: str) -> list[float]:
        # 10⁻¹⁷ stands for no difference at all.
        return [math.log10(max(m[name], 1e-17)) for m in measured]

    statements = [
        Statement(
            "The equations of back-propagation give the gradient: autograd's",
            "log₁₀ of the largest difference over networks, relative to the largest element, float64",
            over_seeds(digits("autograd")),
            below=-12.0,
        ),
        Statement(
            "The equations of back-propagation give the gradient: that of finite differences",
            f"log₁₀ of the largest difference over networks, relative, central differences, h = {H:g}",
            over_seeds(digits("differences")),
            below=-6.0,
        ),
    ]
    net, x, y = small()
    edges = net.graph(x, y)
    rows = [[e.source, e.target or "–", e.name, _row(e.value), _row(e.gradient)] for e in edges]
    tables = [
        Table(
            "The edges of the small network's computational graph",
            "2-2-2, sigmoid, squared error; the numbers of Mazur's example.",
            ["from", "to", "", "value", "∂loss/∂value"],
            rows,
        )
    ]
    figure = Figure(figsize=(14, 6.2), layout="constrained")
    axes = figure.subplot_mosaic("AAA;.B.", height_ratios=[3.1, 2.6])
    draw(edges, axes["A"])
    axes["A"].set_title("Computational graph of a 2-2-2 network, one sample", fontsize="medium")
    if all(m["by_layer"] for m in measured):
        sizes = np.array([m["by_layer"] for m in measured])
        for each in sizes:
            axes["B"].semilogy(range(1, sizes.shape[1] + 1), each, color=COLOURS[0], alpha=0.35)
        axes["B"].set_xticks(range(1, sizes.shape[1] + 1))
        finish(axes["B"], "Gradient of the weights, seven sigmoid layers", "layer", "RMS of ∇θˡ")
    else:
        axes["B"].set_visible(False)
    return Findings(statements, tables, figure)


def _row(array: Any) -> str:
    return "; ".join(" ".join(f"{v:.6g}" for v in row) for row in np.atleast_2d(array))


EXPERIMENT = Experiment(
    title="Back-propagation and the computational graph",
    setting=(
        "Random dense networks of one to seven layers with sigmoid and tanh, cross-entropy of 16 random "
        "samples, float64; and a network small enough to be drawn."
    ),
    seeds=10,
    measure=measure,
    conclude=conclude,
)
