"""`DenseNetwork`: forward and backward by their equations."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ironstep.functional import cross_entropy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]


def _sigmoid(z: Array) -> Array:
    return 0.5 * (1 + np.tanh(0.5 * z))  # unlike 1 / (1 + exp(−z)) it cannot overflow


# σ, and σ′ as a function of z and a = σ(z).
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "sigmoid": (_sigmoid, lambda _, a: a * (1 - a)),
    "tanh": (np.tanh, lambda _, a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda z, _: (z > 0).astype(z.dtype)),
    "identity": (lambda z: z, lambda z, _: np.ones_like(z)),
}


class Edge(NamedTuple):
    """An edge of a computational graph: what passes forward, and the loss's gradient with it."""

    source: str
    target: str
    name: str
    value: Array
    gradient: Array


@dataclass(frozen=True)
class Gradients:
    """A loss and its derivatives; lists go by layers, from the first."""

    loss: float
    theta: Array
    """With respect to all parameters, in one vector as `DenseNetwork.theta`."""
    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    pre_activations: tuple[Array, ...]
    """∇zˡ of every sample."""
    inputs: tuple[Array, ...]
    """∇aˡ⁻¹ of every sample: of what each layer takes, the network's input first."""


class DenseNetwork:
    """A network of L dense layers, with back-propagation by its equations.

    For one sample x::

        a⁰ = x          zˡ = θˡ aˡ⁻¹ + bˡ          aˡ = σ(zˡ)

        ∇zˡ = σ′(zˡ) ∘ (θˡ⁺¹)ᵀ ∇zˡ⁺¹   (∇zᴸ comes from the loss)
        ∇θˡ = ∇zˡ (aˡ⁻¹)ᵀ              ∇bˡ = ∇zˡ

    The samples of a batch are rows, and the loss is their mean. All parameters are views of one
    vector, `theta`, which the rules of `ironstep.functional` update in place.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of units, the input's first: L + 1 numbers.
    activation : {"sigmoid", "tanh", "relu", "identity"}
        σ of all layers but the last.
    output : {"softmax", "identity", "sigmoid", "tanh", "relu"}
        σ of the last. The loss of "softmax" is cross-entropy, of the others ½‖aᴸ − y‖².
    dtype : float64 or float32
    random_state : None, int or numpy Generator
        Of the weights: normal, of variance 1/inputs, or 2/inputs before a ReLU. Biases are 0.

    Attributes
    ----------
    theta : array of shape (n_parameters,)
    weights : tuple of arrays of shape (outputs, inputs)
        θˡ; views of `theta`.
    biases : tuple of arrays of shape (outputs,)
        bˡ; views of `theta`.

    Raises
    ------
    TypeError, ValueError
        For what is not among the above; methods for inputs and targets that do not fit.

    References
    ----------
    Rumelhart, Hinton & Williams (1986), Nature 323:533.

    Examples
    --------
    >>> import numpy as np
    >>> from ironstep.functional import adam
    >>> from ironstep.train import DenseNetwork
    >>> x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> net = DenseNetwork([2, 8, 2], activation="tanh", random_state=0)
    >>> exp_avg, exp_avg_sq = np.zeros_like(net.theta), np.zeros_like(net.theta)
    >>> for step in range(1, 201):
    ...     gradient = net.backward(x, y).theta
    ...     adam([net.theta], [gradient], [exp_avg], [exp_avg_sq], steps=step, lr=0.05)
    >>> net.predict(x).argmax(axis=1)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str = "sigmoid",
        output: str = "softmax",
        dtype: npt.DTypeLike = np.float64,
        random_state: Any = None,
    ) -> None:
        self.sizes = tuple(int(size) for size in sizes)
        if len(self.sizes) < 2 or min(self.sizes) < 1:
            raise ValueError(f"sizes: got {sizes}; two numbers of units or more expected")
        _one_of("activation", activation, tuple(ACTIVATIONS))
        _one_of("output", output, ("softmax", *ACTIVATIONS))
        if np.dtype(dtype) not in (np.float64, np.float32):
            raise TypeError(f"dtype: got {np.dtype(dtype)}; float64 or float32 expected")
        self.activation, self.output = activation, output
        shapes = list(itertools.pairwise(self.sizes))
        self.theta: Array = np.zeros(sum(n * (m + 1) for m, n in shapes), dtype)
        self.weights, self.biases = self._views(self.theta)
        random = np.random.default_rng(random_state)
        for layer, weight in enumerate(self.weights):
            gain = 2 if self._activation_of(layer) == "relu" else 1
            weight[...] = random.normal(scale=(gain / weight.shape[1]) ** 0.5, size=weight.shape)

    def __repr__(self) -> str:
        sizes = list(self.sizes)
        return f"DenseNetwork({sizes}, activation={self.activation!r}, output={self.output!r})"

    def forward(self, x: npt.ArrayLike) -> tuple[list[Array], list[Array]]:
        """Return z¹ … zᴸ and a⁰ … aᴸ for x of shape (n_samples, inputs)."""
        a = np.asarray(x, self.theta.dtype)
        if a.ndim != 2 or a.shape[1] != self.sizes[0]:
            raise ValueError(f"x: got shape {a.shape}; (n_samples, {self.sizes[0]}) expected")
        before: list[Array] = []
        after = [a]
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            before.append(after[-1] @ weight.T + bias)
            name = self._activation_of(layer)
            apply = _softmax if name == "softmax" else ACTIVATIONS[name][0]
            after.append(apply(before[-1]))
        return before, after

    def predict(self, x: npt.ArrayLike) -> Array:
        """Return aᴸ, of shape (n_samples, outputs)."""
        return self.forward(x)[1][-1]

    def backward(self, x: npt.ArrayLike, y: Any, **options: Any) -> Gradients:
        """Return the mean loss over a batch, and its gradients.

        Parameters
        ----------
        x : array-like of shape (n_samples, inputs)
        y : array-like
            With "softmax" a target of `ironstep.functional.cross_entropy`: classes, probabilities, or
            ``(labels, labels, lam)`` for mixup; otherwise of shape (n_samples, outputs).
        **options
            Of `cross_entropy`: ``label_smoothing=0.1``, say.
        """
        z, a = self.forward(x)
        if len(a[0]) == 0:
            raise ValueError(f"x: got shape {a[0].shape}; at least one sample expected")
        loss, grad_z = self._loss(z[-1], a[-1], y, options)
        theta = np.empty_like(self.theta)
        weights, biases = self._views(theta)
        grads_z: list[Array] = []
        inputs: list[Array] = []
        for layer in reversed(range(len(self.weights))):
            if grads_z:
                name = self._activation_of(layer)
                grad_z = inputs[-1] * ACTIVATIONS[name][1](z[layer], a[layer + 1])
            grads_z.append(grad_z)
            weights[layer][...] = grad_z.T @ a[layer]
            biases[layer][...] = grad_z.sum(axis=0)
            inputs.append(grad_z @ self.weights[layer])
        return Gradients(
            loss, theta, weights, biases, tuple(reversed(grads_z)), tuple(reversed(inputs))
        )

    def objective(
        self, x: npt.ArrayLike, y: Any, **options: Any
    ) -> Callable[[Array], tuple[float, Array]]:
        """Return l(θ) and ∇l(θ) as one function, for `ironstep.train.minimize`.

        It sets `theta`. x, y and options are those of `backward`.
        """

        def loss_and_gradient(theta: Array) -> tuple[float, Array]:
            self.theta[...] = theta
            found = self.backward(x, y, **options)
            return found.loss, found.theta

        return loss_and_gradient

    def graph(self, x: npt.ArrayLike, y: Any, **options: Any) -> list[Edge]:
        """Return the computational graph of the loss, edge by edge in the order of the forward pass.

        Nodes are "x", the parameters "θ1", "b1", …, the operations "×1", "+1", "σ1", …, and "loss";
        an edge has what passes forward and ∂loss/∂ of it. Arguments as of `backward`.
        """
        z, a = self.forward(x)
        found = self.backward(x, y, **options)
        edges: list[Edge] = []
        source = "x"
        last = len(self.weights)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            at = layer - 1
            grad_z, product = found.pre_activations[at], a[at] @ weight.T
            edges += [
                Edge(source, f"×{layer}", f"a{at}", a[at], found.inputs[at]),
                Edge(f"θ{layer}", f"×{layer}", f"θ{layer}", weight, found.weights[at]),
                Edge(f"×{layer}", f"+{layer}", f"θ{layer}a{at}", product, grad_z),
                Edge(f"b{layer}", f"+{layer}", f"b{layer}", bias, found.biases[at]),
            ]
            source = f"+{layer}"
            if layer < last or self.output != "softmax":
                edges.append(Edge(source, f"σ{layer}", f"z{layer}", z[at], grad_z))
                source = f"σ{layer}"
        if self.output == "softmax":
            edges.append(Edge(source, "loss", f"z{last}", z[-1], found.pre_activations[-1]))
        else:
            target = np.asarray(y, self.theta.dtype)
            edges.append(Edge(source, "loss", f"a{last}", a[-1], (a[-1] - target) / len(target)))
        edges.append(Edge("loss", "", "l", np.array(found.loss), np.array(1.0)))
        return edges

    def plot_graph(
        self, x: npt.ArrayLike, y: Any, ax: "Axes | None" = None, **options: Any
    ) -> "Axes":
        """Draw `graph` for one sample, values and gradients beside its edges. Needs matplotlib."""
        from ironstep.train._graph_picture import draw

        return draw(self.graph(x, y, **options), ax)

    def _activation_of(self, layer: int) -> str:
        return self.output if layer == len(self.sizes) - 2 else self.activation

    def _loss(self, z: Array, a: Array, y: Any, options: dict[str, Any]) -> tuple[float, Array]:
        """Return the mean loss and ∇zᴸ."""
        if self.output == "softmax":
            return cross_entropy(z, y, **options)
        if options:
            raise TypeError(f"{next(iter(options))}: of cross-entropy alone, for output='softmax'")
        target = np.asarray(y, a.dtype)
        if target.shape != a.shape:
            raise ValueError(f"y: got shape {target.shape}; {a.shape} expected")
        off = a - target
        loss = 0.5 * float((off * off).sum()) / len(a)
        return loss, off / len(a) * ACTIVATIONS[self.output][1](z, a)

    def _views(self, theta: Array) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Cut a vector of all parameters into θˡ and bˡ, layer by layer."""
        weights, biases, at = [], [], 0
        for inputs, outputs in itertools.pairwise(self.sizes):
            middle, end = at + inputs * outputs, at + (inputs + 1) * outputs
            weights.append(theta[at:middle].reshape(outputs, inputs))
            biases.append(theta[middle:end])
            at = end
        return tuple(weights), tuple(biases)


def _softmax(z: Array) -> Array:
    shifted = np.exp(z - z.max(axis=1, keepdims=True))
    softmax: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return softmax


def _one_of(name: str, got: str, known: tuple[str, ...]) -> None:
    if got not in known:
        raise ValueError(f"{name}: got {got!r}; one of {', '.join(known)} expected")
