"""The compact form is the two-loop recursion, the line search meets the Wolfe conditions, auto sees rare classes."""

import numpy as np
import pytest

from fastsoftmax import Objective, minimize
from fastsoftmax.solvers.methods import auto, lbfgs
from fastsoftmax.solvers.run import Run


def two_loop(pairs, grad):
    """Nocedal and Wright, "Numerical optimization", algorithm 7.4."""
    q, kept = grad.copy(), []
    for s, y in reversed(pairs):
        kept.append((s @ q) / (s @ y))
        q -= kept[-1] * y
    s, y = pairs[-1]
    q *= (s @ y) / (y @ y)
    for (s, y), alpha in zip(pairs, reversed(kept), strict=True):
        q += (alpha - (y @ q) / (s @ y)) * s
    return -q


@pytest.mark.parametrize("count", [1, 7, lbfgs.MEMORY, 2 * lbfgs.MEMORY + 3])
def test_the_compact_form_is_the_two_loop_recursion(count):
    rng = np.random.default_rng(count)
    root = rng.standard_normal((60, 60)) / np.sqrt(60)
    hessian = root @ root.T + 0.1 * np.eye(60)
    compact, pairs = lbfgs.Pairs(60), []
    for _ in range(count):
        s, grad = rng.standard_normal(60), rng.standard_normal(60)
        pairs.append((s, hessian @ s))
        compact.add(*pairs[-1], grad)
    wanted = two_loop(pairs[-lbfgs.MEMORY :], grad)
    # Rounding grows with the condition number of the matrix s_i . y_j, some hundreds here.
    np.testing.assert_allclose(compact.direction(grad), wanted, rtol=0, atol=1e-10 * np.abs(wanted).max())


def test_a_pair_without_curvature_is_left_out():
    compact = lbfgs.Pairs(3)
    grad = np.array([1.0, 2.0, 3.0])
    compact.add(np.ones(3), -np.ones(3), grad)
    np.testing.assert_array_equal(compact.direction(grad), -grad)


@pytest.mark.parametrize("stretch", [1e-3, 1.0, 1e3])
def test_the_length_found_gains_and_flattens(stretch):
    """With directions that are much too short, right, and much too long."""
    rng = np.random.default_rng(0)
    obj = Objective(rng.standard_normal((200, 4)), rng.integers(3, size=200), l2=1e-2, backend="numpy")
    run = Run(obj, tol=1e-6, max_iter=10, callback=None)
    run.accept(np.zeros(obj.shape))
    grad = run.metric.to_phi_gradient(run.grad).ravel()
    along = -stretch * grad
    slope = float(along @ grad)
    length, theta, value, gradient, new = lbfgs.step_along(run, run.metric, along, grad, slope)
    assert value <= run.value + lbfgs.GAIN * length * slope
    assert along @ new >= lbfgs.FLAT * slope
    assert obj.value(theta) == value and np.array_equal(run.metric.to_phi_gradient(gradient).ravel(), new)


def test_auto_takes_newton_where_a_class_is_rare():
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((20_000, 10)), rng.integers(2, size=20_000)
    y[:5] = 2
    obj = Objective(X, y, fit_intercept=True, l2=1e-4)
    run = Run(obj, tol=1e-6, max_iter=10, callback=None)
    run.accept(np.zeros(obj.shape))
    assert auto.has_rare_class(run)
    assert auto.predict(obj, rare=True).lbfgs > 2 * auto.predict(obj).lbfgs
    assert minimize(obj).solver == "newton"
    y[:2000] = 2
    even = Run(Objective(X, y, fit_intercept=True), tol=1e-6, max_iter=10, callback=None)
    even.accept(np.zeros(obj.shape))
    assert not auto.has_rare_class(even)
