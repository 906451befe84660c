"""Back-propagation: against autograd, finite differences and a published example."""

import itertools

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from ironstep import functional
from ironstep.train import DenseNetwork, lipschitz_constant, minibatches, minimize

ACTIVATIONS = ("sigmoid", "tanh", "relu", "identity")


def case(sizes, activation, output, seed=0, n=7):
    random = np.random.default_rng(seed)
    net = DenseNetwork(sizes, activation=activation, output=output, random_state=seed)
    for bias in net.biases:
        bias[...] = random.normal(size=bias.shape)
    x = random.normal(size=(n, sizes[0]))
    if output == "softmax":
        return net, x, random.integers(sizes[-1], size=n)
    return net, x, random.normal(size=(n, sizes[-1]))


def in_torch(net, x, y, **options):
    """The same network by torch's layers, in float64: loss and gradients by autograd."""
    torch = pytest.importorskip("torch")
    apply = {
        "sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu, "identity": lambda z: z,
        "softmax": lambda z: z,
    }  # fmt: skip
    layers = [
        (torch.tensor(w, requires_grad=True), torch.tensor(b, requires_grad=True))
        for w, b in zip(net.weights, net.biases, strict=True)
    ]
    a = torch.tensor(x)
    for at, (w, b) in enumerate(layers):
        name = net.output if at == len(layers) - 1 else net.activation
        a = apply[name](torch.nn.functional.linear(a, w, b))
    y = torch.tensor(y)
    if net.output == "softmax":
        loss = torch.nn.functional.cross_entropy(a, y, **options)
    else:
        loss = 0.5 * (a - y).square().sum(1).mean()
    loss.backward()
    return loss.item(), [(w.grad.numpy(), b.grad.numpy()) for w, b in layers]


def relative(found, wanted):
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-300)


@pytest.mark.parametrize("output", ["softmax", *ACTIVATIONS])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(3, 2), (4, 6, 3), (5, 8, 7, 6, 4)], ids=str)
def test_gradients_are_autograds(sizes, activation, output):
    net, x, y = case(sizes, activation, output)
    loss, layers = in_torch(net, x, y)
    found = net.backward(x, y)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    for w, b, (grad_w, grad_b) in zip(found.weights, found.biases, layers, strict=True):
        assert relative(w, grad_w) < 1e-12
        assert relative(b, grad_b) < 1e-12


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    activation=st.sampled_from(ACTIVATIONS),
    output=st.sampled_from(("softmax", *ACTIVATIONS)),
    n=st.integers(1, 5),
    seed=st.integers(0, 10**6),
)
def test_gradients_of_any_network_are_autograds(sizes, activation, output, n, seed):
    net, x, y = case(sizes, activation, output, seed, n)
    loss, layers = in_torch(net, x, y)
    found = net.backward(x, y)
    # Of the largest element of all, for a layer's may cancel to nothing.
    largest = max(np.abs(each).max() for layer in layers for each in layer)
    assert abs(found.loss - loss) <= 1e-12 * max(1, abs(loss))
    for w, b, (grad_w, grad_b) in zip(found.weights, found.biases, layers, strict=True):
        assert np.abs(w - grad_w).max() <= 1e-12 * max(largest, 1e-3)
        assert np.abs(b - grad_b).max() <= 1e-12 * max(largest, 1e-3)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_gradients_are_finite_differences(activation, output):
    net, x, y = case((4, 5, 3), activation, output)
    objective = net.objective(x, y)
    at = net.theta.copy()
    wanted = objective(at)[1]
    for index in range(len(at)):
        h = np.zeros_like(at)
        h[index] = 1e-5
        slope = (objective(at + h)[0] - objective(at - h)[0]) / 2e-5
        # h² times third derivatives of order 1, and rounding: 1e-16/1e-5.
        assert slope == pytest.approx(wanted[index], abs=1e-9)


def test_label_smoothing_and_mixup_reach_the_loss():
    net, x, y = case((4, 5, 3), "tanh", "softmax")
    loss, layers = in_torch(net, x, y, label_smoothing=0.1)
    found = net.backward(x, y, label_smoothing=0.1)
    assert found.loss == pytest.approx(loss, rel=1e-12)
    assert relative(found.weights[0], layers[0][0]) < 1e-12
    mixed = net.backward(x, (y, y[::-1], 0.3))
    parts = net.backward(x, y), net.backward(x, y[::-1])
    np.testing.assert_allclose(mixed.theta, 0.3 * parts[0].theta + 0.7 * parts[1].theta, atol=1e-15)


def published():
    """Mazur's "step by step backpropagation example": 2-2-2, sigmoid, squared error."""
    net = DenseNetwork([2, 2, 2], activation="sigmoid", output="sigmoid")
    net.weights[0][...] = [[0.15, 0.20], [0.25, 0.30]]
    net.weights[1][...] = [[0.40, 0.45], [0.50, 0.55]]
    net.biases[0][...] = 0.35
    net.biases[1][...] = 0.60
    return net, [[0.05, 0.10]], [[0.01, 0.99]]


def test_a_published_example():
    net, x, y = published()
    found = net.backward(x, y)
    # As printed there, with nine digits.
    assert found.loss == pytest.approx(0.298371109, abs=1e-9)
    assert found.weights[1][0, 0] == pytest.approx(0.082167041, abs=1e-9)
    assert found.weights[0][0, 0] == pytest.approx(0.000438568, abs=1e-9)
    np.testing.assert_allclose(net.predict(x), [[0.75136507, 0.772928465]], atol=1e-8)


def test_forward_is_the_equations():
    net, x, _ = case((4, 5, 3), "tanh", "sigmoid")
    z, a = net.forward(x)
    assert len(z) == 2
    assert len(a) == 3
    for layer in range(2):
        for sample in range(len(x)):
            np.testing.assert_allclose(
                z[layer][sample],
                net.weights[layer] @ a[layer][sample] + net.biases[layer],
                rtol=1e-13,
            )
    np.testing.assert_allclose(a[2], 1 / (1 + np.exp(-z[1])), rtol=1e-14)


def test_extreme_values_neither_warn_nor_overflow():
    net = DenseNetwork([1, 2], activation="sigmoid", output="softmax", random_state=0)
    net.weights[0][...] = [[1000.0], [-1000.0]]
    found = net.backward([[1.0]], [1])
    assert found.loss == 2000
    np.testing.assert_array_equal(net.predict([[1.0]]), [[1, 0]])
    net = DenseNetwork([1, 1], output="sigmoid", random_state=0)
    net.weights[0][...] = 1e300
    assert net.predict([[1.0], [-1.0]]).tolist() == [[1.0], [0.0]]


def test_parameters_are_views_of_one_vector():
    net, x, y = case((4, 5, 3), "relu", "softmax")
    assert net.theta.size == 4 * 5 + 5 + 5 * 3 + 3
    functional.sgd([net.theta], [np.ones_like(net.theta)], lr=1.0)
    net.theta[:] = 7
    assert all((each == 7).all() for each in (*net.weights, *net.biases))
    found = net.backward(x, y)
    joined = itertools.chain.from_iterable(
        (w.ravel(), b) for w, b in zip(found.weights, found.biases, strict=True)
    )
    np.testing.assert_array_equal(found.theta, np.concatenate(list(joined)))


def test_float32():
    net = DenseNetwork([4, 5, 3], dtype=np.float32, random_state=0)
    wide = DenseNetwork([4, 5, 3], random_state=0)
    wide.theta[...] = net.theta
    x = np.random.default_rng(0).normal(size=(6, 4))
    found, wanted = net.backward(x, [0, 1, 2] * 2), wide.backward(x, [0, 1, 2] * 2)
    assert found.theta.dtype == np.float32
    np.testing.assert_allclose(found.theta, wanted.theta, atol=1e-6)


def test_minimize_and_lipschitz_constant_take_its_objective():
    net, x, y = case((4, 6, 3), "tanh", "softmax", n=30)
    objective = net.objective(x, y)
    start = net.theta.copy()
    constant = lipschitz_constant(lambda theta: objective(theta)[1], start)
    found = minimize(objective, start, lr=1 / constant, max_iter=200)
    assert found.history.fun[-1] < 0.5 * found.history.fun[0]
    np.testing.assert_array_equal(net.theta, found.x)
    # The largest curvature by torch's second derivatives would be an oracle; scipy's check is of
    # the gradient that the constant was made of.
    assert scipy.optimize.check_grad(
        lambda t: objective(t)[0], lambda t: objective(t)[1], found.x
    ) < 1e-5  # fmt: skip


def test_it_learns_iris_by_mini_batches():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    net = DenseNetwork([4, 10, 3], activation="relu", random_state=0)
    states = np.zeros_like(net.theta), np.zeros_like(net.theta)
    batches = minibatches(len(y), 32, epochs=60, random_state=0)
    for step, batch in enumerate(batches, 1):
        gradient = net.backward(x[batch], y[batch]).theta
        functional.adam([net.theta], [gradient], *([s] for s in states), steps=step, lr=0.02)
    assert (net.predict(x).argmax(axis=1) == y).mean() > 0.95


# --- the computational graph ---


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_graph_has_the_values_and_gradients_of_every_edge(output):
    net, x, y = case((3, 4, 2), "tanh", output, n=1)
    edges = {edge.name: edge for edge in net.graph(x, y)}
    z, a = net.forward(x)
    found = net.backward(x, y)
    np.testing.assert_array_equal(edges["a0"].value, x)
    np.testing.assert_array_equal(edges["θ2"].gradient, found.weights[1])
    np.testing.assert_array_equal(edges["b1"].gradient, found.biases[0])
    np.testing.assert_array_equal(edges["z1"].value, z[0])
    np.testing.assert_array_equal(edges["a1"].value, a[1])
    # A gradient travels against the edges by the chain rule.
    np.testing.assert_allclose(
        edges["a1"].gradient, edges["z2"].gradient @ net.weights[1], rtol=1e-14
    )
    np.testing.assert_allclose(
        edges["z1"].gradient, edges["a1"].gradient * (1 - a[1] ** 2), rtol=1e-14
    )
    if output == "sigmoid":
        np.testing.assert_allclose(
            edges["z2"].gradient, edges["a2"].gradient * a[2] * (1 - a[2]), rtol=1e-13
        )
    assert edges["l"].value == found.loss
    # Every node but inputs and parameters is reached, and the loss from everywhere.
    targets = {edge.target for edge in edges.values()}
    assert {edge.source for edge in edges.values()} - targets == {"x", "θ1", "b1", "θ2", "b2"}


def test_the_picture_shows_every_value_and_gradient():
    mpl = pytest.importorskip("matplotlib.figure")
    net, x, y = published()
    ax = mpl.Figure().subplots()
    assert net.plot_graph(x, y, ax) is ax
    shown = "\n".join(text.get_text() for text in ax.texts)
    for number in ("0.298", "0.0822", "-0.0226", "0.000439", "0.751", "0.55"):
        assert number in shown
    for node in ("x", "θ1", "b2", "σ2", "loss"):
        assert any(text.get_text() == node for text in ax.texts)


def test_a_picture_of_a_batch_is_refused():
    mpl = pytest.importorskip("matplotlib.figure")
    net, x, y = case((3, 4, 2), "tanh", "softmax")
    with pytest.raises(ValueError, match="one sample"):
        net.plot_graph(x, y, mpl.Figure().subplots())


# --- what is refused ---


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (dict(sizes=[3]), ValueError, "sizes"),
        (dict(sizes=[3, 0]), ValueError, "sizes"),
        (dict(sizes=[3, 2], activation="softmax"), ValueError, "activation"),
        (dict(sizes=[3, 2], output="swish"), ValueError, "output"),
        (dict(sizes=[3, 2], dtype=np.int64), TypeError, "dtype"),
    ],
)
def test_networks_that_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        DenseNetwork(**arguments)


@pytest.mark.parametrize(
    ("output", "x", "y", "options", "error", "text"),
    [
        ("softmax", np.ones(3), [0], {}, ValueError, r"x: got shape \(3,\)"),
        ("softmax", np.ones((2, 4)), [0, 0], {}, ValueError, "x: got shape"),
        ("softmax", np.ones((0, 3)), [], {}, ValueError, "at least one sample"),
        ("softmax", np.ones((1, 3)), [2], {}, IndexError, "2"),
        ("identity", np.ones((1, 3)), [[0.0]], {}, ValueError, "y: got shape"),
        (
            "identity",
            np.ones((1, 3)),
            [[0.0, 1]],
            dict(label_smoothing=0.1),
            TypeError,
            "label_smoo",
        ),
    ],
)
def test_inputs_that_are_refused(output, x, y, options, error, text):
    with pytest.raises(error, match=text):
        DenseNetwork([3, 2], output=output, random_state=0).backward(x, y, **options)
