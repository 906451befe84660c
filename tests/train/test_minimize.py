"""Gradient descent and its rules on functions of which all is known."""

import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from ironstep.train import lipschitz_constant, minimize

CURVATURE = np.array([1.0, 4.0, 10.0])


def quadratic(x):
    return 0.5 * float(CURVATURE @ x**2), CURVATURE * x


def rosenbrock(x):
    return scipy.optimize.rosen(x), scipy.optimize.rosen_der(x)


def test_gradient_descent_is_its_formula():
    found = minimize(quadratic, [1.0, -2.0, 3.0], lr=0.05, tol=0.0, max_iter=7)
    # Each coordinate shrinks by 1 − c·λ a step; rounding of seven products.
    np.testing.assert_allclose(found.x, [1.0, -2.0, 3.0] * (1 - 0.05 * CURVATURE) ** 7, rtol=1e-14)
    assert (found.nit, found.nfev, found.status, found.success) == (7, 8, 1, False)


def test_it_stops_where_the_norm_is_at_most_tol_and_not_before():
    found = minimize(quadratic, np.ones(3), lr=0.1, tol=1e-3)
    assert found.success
    assert found.history.grad_norm[-1] <= 1e-3 < found.history.grad_norm[-2]
    assert found.history.grad_norm[-1] == np.linalg.norm(found.jac)
    assert found.fun == quadratic(found.x)[0] == found.history.fun[-1]
    assert len(found.history.lr) == found.nit == len(found.history.fun) - 1


@pytest.mark.parametrize("norm", [0.5, np.nextafter(0.5, 1)])
def test_a_norm_of_exactly_tol_stops(norm):
    found = minimize(lambda x: (0.0, np.array([norm])), [0.0], lr=1.0, tol=0.5, max_iter=1)
    assert found.nit == (0 if norm == 0.5 else 1)


METHODS = [
    ("sgd", dict(lr=5e-4, momentum=0.9)),
    ("sgd", dict(lr=5e-4, momentum=0.9, nesterov=True)),
    ("adagrad", dict(lr=0.5)),
    ("rmsprop", dict(lr=lambda r: 1e-2 / (1 + r / 100), centered=True, momentum=0.5)),
    ("adam", dict(lr=0.01, amsgrad=True)),
    ("adamw", dict(lr=lambda r: 0.1 / (1 + r / 100), weight_decay=0.0)),
]


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_every_rule_finds_the_minimum_of_rosenbrock(method, options):
    found = minimize(rosenbrock, [-1.2, 1.0], method=method, tol=1e-3, max_iter=50_000, **options)
    assert found.success, found.message
    # ‖∇l‖ ≤ 1e-3 and the least curvature 0.4 there: at most 2.5e-3 away.
    np.testing.assert_allclose(found.x, [1, 1], atol=3e-3)


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_every_rule_steps_as_torchs(method, options):
    torch = pytest.importorskip("torch")
    name = {
        "sgd": "SGD",
        "adagrad": "Adagrad",
        "rmsprop": "RMSprop",
        "adam": "Adam",
        "adamw": "AdamW",
    }
    rest = {key: value for key, value in options.items() if key != "lr"}
    weight = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = getattr(torch.optim, name[method])([weight], lr=0.01, **rest)
    for _ in range(20):
        weight.grad = torch.from_numpy(CURVATURE) * weight.detach()
        optimizer.step()
    found = minimize(
        quadratic, [1.0, -2.0, 3.0], method=method, tol=0, max_iter=20, **{**options, "lr": 0.01}
    )
    # Twenty steps of a few roundings each.
    np.testing.assert_allclose(found.x, weight.detach().numpy(), rtol=1e-12)


def test_the_result_is_scipys_in_shape():
    ours = minimize(rosenbrock, [-1.2, 1.0], lr=1e-3)
    theirs = scipy.optimize.minimize(*(scipy.optimize.rosen, [-1.2, 1.0]), method="BFGS")
    for name in ("x", "fun", "jac", "nit", "nfev", "njev", "success", "status", "message"):
        assert type(getattr(ours, name)) is type(ours[name])
        assert name in theirs
    assert ours.x.shape == theirs.x.shape
    with pytest.raises(AttributeError):
        _ = ours.nothing
    assert "success: " in repr(ours)
    assert "history" in dir(ours)


def test_value_and_gradient_may_be_two_functions_with_arguments():
    found = minimize(
        lambda x, a: float((x - a) @ (x - a)),
        np.zeros(2),
        (3.0,),
        jac=lambda x, a: 2 * (x - a),
        lr=0.25,
        tol=1e-9,
    )
    np.testing.assert_allclose(found.x, 3, atol=1e-9)


def test_the_start_and_what_the_function_keeps_or_changes_are_not_touched():
    start, kept = np.ones(3), []

    def greedy(x):
        value = quadratic(x)
        kept.append(x)
        x[:] = np.nan
        return value

    found = minimize(greedy, start, lr=0.1, max_iter=3, tol=0)
    assert (start == 1).all()
    assert np.isfinite(found.x).all()
    assert len({id(x) for x in kept}) == 4


def test_shape_and_dtype_are_the_starts():
    found = minimize(lambda x: (float((x * x).sum()), 2 * x), np.ones((2, 3), np.float32), lr=0.4)
    assert found.x.shape == found.jac.shape == (2, 3)
    assert found.x.dtype == np.float32
    assert found.success
    assert minimize(lambda x: (x * x, 2 * x), 3, lr=0.5).x == 0


def test_callback_sees_every_point_and_may_stop():
    seen = []

    def watch(intermediate_result):
        seen.append(intermediate_result)
        if intermediate_result.nit == 2:
            raise StopIteration

    found = minimize(quadratic, np.ones(3), lr=0.1, callback=watch)
    assert [each.nit for each in seen] == [0, 1, 2]
    assert (seen[0].x == 1).all()
    assert (found.status, found.success, found.nit) == (3, False, 2)
    np.testing.assert_array_equal(found.x, seen[-1].x)


def test_where_nothing_is_finite_it_ends_and_says_so():
    with np.errstate(over="ignore"):
        found = minimize(lambda x: (x[0] ** 4, 4 * x**3), [10.0], lr=1.0)
    assert (found.status, found.success) == (2, False)
    assert "not finite" in found.message
    assert not math.isfinite(found.fun)


# --- the descent property ---


@given(st.floats(0.01, 1.99))
def test_below_2_over_l_every_step_descends_as_promised(share):
    found = minimize(quadratic, np.ones(3), lr=share / 10, max_iter=30, tol=0)
    assert found.history.keeps_descent(10.0).all()
    assert len(found.history.ascents) == 0


def test_beyond_2_over_l_it_ascends():
    found = minimize(quadratic, np.ones(3), lr=2.01 / 10, max_iter=400, tol=0)
    assert len(found.history.ascents)
    assert found.history.fun[-1] > found.history.fun[0]


def test_a_constant_that_is_too_small_is_noticed():
    found = minimize(quadratic, np.ones(3), lr=0.1, max_iter=5, tol=0)
    assert not found.history.keeps_descent(5.0).all()


def test_the_promise_is_kept_exactly_by_the_steepest_direction():
    # With one curvature the bound is an equality: any slack beyond rounding would be seen.
    found = minimize(lambda x: (2.0 * float(x @ x), 4 * x), [1.0, 1.0], lr=0.2, max_iter=5, tol=0)
    assert found.history.keeps_descent(4.0).all()
    assert not found.history.keeps_descent(3.999).any()


# --- the Lipschitz constant ---


@pytest.mark.parametrize("seed", range(5))
def test_lipschitz_constant_is_the_largest_absolute_eigenvalue(seed):
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(20, 20))
    hessian = matrix + matrix.T
    at = random.normal(size=20)
    found = lipschitz_constant(lambda x: hessian @ x, at, n_iter=2000, tol=1e-13, random_state=seed)
    wanted = np.abs(np.linalg.eigvalsh(hessian)).max()
    # From below, for it is ‖Hv‖ of a unit vector; the differences of a linear gradient round.
    assert wanted * (1 - 1e-6) < found < wanted * (1 + 1e-9)


def test_lipschitz_constant_with_plus_and_minus_the_same():
    # A Rayleigh quotient would wander between −3 and 3 here.
    assert lipschitz_constant(lambda x: np.array([3, -3]) * x, np.zeros(2)) == pytest.approx(3)


def test_lipschitz_constant_of_a_function_that_is_not_quadratic():
    at = np.array([-1.2, 1.0])
    found = lipschitz_constant(scipy.optimize.rosen_der, at)
    wanted = np.abs(np.linalg.eigvalsh(scipy.optimize.rosen_hess(at))).max()
    assert found == pytest.approx(wanted, rel=1e-6)


def test_lipschitz_constant_of_a_linear_function_is_0():
    assert lipschitz_constant(lambda x: np.ones(3), np.zeros(3)) == 0


# --- what is refused ---


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (dict(method="newton"), ValueError, "method: got 'newton'"),
        (dict(lr=-1.0), ValueError, "lr"),
        (dict(tol=-1.0), ValueError, "tol"),
        (dict(tol=math.nan), ValueError, "tol"),
        (dict(max_iter=-1), ValueError, "max_iter"),
        (dict(jac=None), TypeError, "jac"),
        (dict(maximize=True), TypeError, "maximize"),
        (dict(beta1=0.5), TypeError, "beta1"),
        (dict(x0=["a"]), TypeError, "x0"),
        (dict(x0=[1j]), TypeError, "x0"),
        (dict(fun=lambda x: 1.0), TypeError, "fun"),
        (dict(fun=lambda x: (1.0, np.ones(2))), ValueError, r"shape \(2,\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named(change, error, text):
    arguments = dict(fun=quadratic, x0=np.ones(3), lr=0.1) | change
    with pytest.raises(error, match=text):
        minimize(**arguments)


@pytest.mark.parametrize(
    ("grad", "n_iter"),
    [(lambda x: np.ones(2), 5), (lambda x: x * np.inf, 5), (lambda x: x, 0)],
)
def test_lipschitz_constant_refuses(grad, n_iter):
    with pytest.raises(ValueError, match=r"grad|n_iter"):
        lipschitz_constant(grad, np.ones(3), n_iter=n_iter)
