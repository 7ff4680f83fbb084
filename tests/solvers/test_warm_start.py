"""`WarmStart`, what the runs along a path hand on: starts, and pairs of steps and gradient changes."""

import numpy as np
import pytest

from fastsoftmax import Objective, datasets, minimize, regularization_path
from fastsoftmax.solvers import warm_start
from fastsoftmax.solvers.geometry.metric import Metric
from fastsoftmax.solvers.methods import lbfgs
from fastsoftmax.solvers.minimize import run_solver
from fastsoftmax.solvers.run import Run
from fastsoftmax.solvers.warm_start import WarmStart


class Quadratic:
    """An objective of six parameters whose loss is quadratic, in place of softmax."""

    shape, fit_intercept = (3, 2), False

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(6, 6))
        self.H, self.b, self.l2, self.n_passes = root @ root.T / 6, rng.normal(size=6), 0.0, 0
        self.shift = 1 + 0.5 * self.b @ np.linalg.solve(self.H, self.b)  # so that no value is below 1

    def loss_gradient(self, theta):
        return (self.H @ theta.ravel() - self.b).reshape(self.shape)

    def value_and_grad(self, theta):
        self.n_passes += 1
        value = self.shift + 0.5 * theta.ravel() @ self.H @ theta.ravel() - self.b @ theta.ravel()
        return value + 0.5 * self.l2 * np.vdot(theta, theta), self.loss_gradient(theta) + self.l2 * theta

    def gram(self):
        self.n_passes += 1
        return 2 * np.linalg.eigvalsh(self.H)[-1] * np.eye(3)

    def optimum(self, l2):
        return np.linalg.solve(self.H + l2 * np.eye(6), self.b).reshape(self.shape)


def go(obj, state, l2, tol=1e-6, l1=0.0):
    """One run along a path: its result, and where it started."""
    obj.l2 = l2
    run = Run(obj, tol=tol, max_iter=200, callback=None, l1=l1, warm_start=state)
    start = state.start(run)
    result = run_solver(run, start, "auto" if l1 else "lbfgs")
    state.keep(run)
    return result, start


def test_after_as_many_optima_as_unknowns_a_quadratic_starts_at_its_optimum():
    obj, state = Quadratic(), WarmStart()
    norms = []
    for l2 in np.geomspace(4.0, 0.01, 9):
        result, start = go(obj, state, l2, tol=1e-12)
        assert result.converged
        norms.append(result.history[0].grad_norm)
    # Optima are right to 1e-12; their differences are less precise where optima nearly depend on each other.
    assert norms[1] > 1e-3 and max(norms[6:]) < 1e-6
    np.testing.assert_allclose(start, obj.optimum(obj.l2), atol=1e-5)


def test_the_first_start_is_zero_and_the_second_takes_what_the_step_from_zero_tells():
    obj, state = Quadratic(), WarmStart()
    assert not go(obj, state, 1.0)[1].any()
    assert [bool(point[0].any()) for point in state.points] == [False, True]
    # With one direction to go along, the start is a multiple of the first optimum.
    first, second = state.points[1][0], go(obj, state, 0.5)[1]
    cosine = np.vdot(first, second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine == pytest.approx(1, abs=1e-12) and np.linalg.norm(second) > np.linalg.norm(first)


def test_a_start_that_is_worse_than_the_last_optimum_is_not_taken(monkeypatch):
    obj, state = Quadratic(), WarmStart()
    go(obj, state, 1.0)
    go(obj, state, 0.5)
    monkeypatch.setattr(WarmStart, "_extrapolate", lambda self, run, theta, gradient: -theta)
    before, last = obj.n_passes, state.points[-1][0]
    result, start = go(obj, state, 0.25)
    np.testing.assert_array_equal(start, last)
    # The value at the last optimum is known, so that only the pass at the rejected start is wasted.
    assert result.history[0].n_passes == 1 and result.converged
    assert obj.n_passes == before + result.n_passes


def test_pairs_are_those_of_the_hessian_with_the_new_penalty_in_any_metric():
    obj, state = Quadratic(), WarmStart()
    go(obj, state, 1.0)
    obj.l2 = 0.01
    run = Run(obj, tol=1e-6, max_iter=1, callback=None, warm_start=state)
    metric = Metric(run.moments, obj.l2)
    S, Y = state.pairs_in(metric, run)
    assert len(S) == len(state.pairs) > 3
    for s, y in zip(S, Y, strict=True):
        step = metric.to_theta(s.reshape(obj.shape))
        wanted = metric.to_phi_gradient((obj.H @ step.ravel()).reshape(obj.shape) + obj.l2 * step).ravel()
        # A change is the difference of two gradients, whose entries are below 10.
        np.testing.assert_allclose(y, wanted, rtol=0, atol=64 * np.finfo(float).eps * 10 * abs(metric.root).max())


def test_pairs_given_at_once_are_those_given_one_by_one():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(12, 12))
    S, grad = rng.normal(size=(6, 12)), rng.normal(size=12)
    Y = S @ (root @ root.T)
    Y[2] = -Y[2]  # no curvature: left out
    once, each = lbfgs.Pairs(12, 4), lbfgs.Pairs(12, 4)
    once.fill(S, Y, grad)
    for s, y in zip(S, Y, strict=True):
        each.add(s, y, grad)
    one, other = once.direction(grad), each.direction(grad)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e4 * np.finfo(float).eps * abs(other).max())
    once.add(S[0], Y[0], grad)
    each.add(S[0], Y[0], grad)
    one, other = once.direction(grad), each.direction(grad)
    np.testing.assert_allclose(one, other, rtol=0, atol=1e4 * np.finfo(float).eps * abs(other).max())


def test_pairs_are_fewer_where_theta_is_large():
    assert warm_start.pairs_kept(100) == 80 and warm_start.pairs_kept(10**4) == 40
    assert warm_start.pairs_kept(10**6) == 16 and warm_start.pairs_kept(10**9) == 1
    state, obj = WarmStart(), Quadratic()
    for l2 in np.geomspace(4.0, 1e-3, 30):
        go(obj, state, l2)
    assert len(state.points) == warm_start.POINTS and len(state.pairs) <= 80


@pytest.mark.parametrize("solver", ["lbfgs", "newton"])
def test_a_path_takes_half_of_the_passes_of_separate_fits(backend, solver):
    X, y, _ = datasets.make_problem(3000, 20, 4, seed=1)
    l2s = np.geomspace(0.1, 1e-6, 10)
    obj = Objective(X, y, fit_intercept=True, backend=backend)
    path = regularization_path(obj, l2s, solver=solver)
    alone = [minimize(Objective(X, y, fit_intercept=True, l2=l2, backend=backend), solver=solver) for l2 in l2s]
    assert all(res.converged for res in path + alone)
    for one, other in zip(path, alone, strict=True):
        assert one.value == pytest.approx(other.value, rel=2e-6)
    share = 0.5 if solver == "lbfgs" else 1.0
    assert sum(res.n_passes for res in path) <= share * sum(res.n_passes for res in alone)


def test_the_pairs_of_a_run_that_got_stuck_are_forgotten(monkeypatch):
    obj, state = Quadratic(), WarmStart()
    go(obj, state, 1.0)
    seen = []
    monkeypatch.setattr(lbfgs, "search", lambda run, metric, steps: seen.append(len(run.warm_start.pairs)))
    go(obj, state, 0.1)
    assert seen[0] > 0 and not state.pairs
