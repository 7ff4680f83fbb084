"""The end of a run: coefficients right to 1e-6 by default, a gap that is proven, and no more passes than without.

The truth is Newton's method by dense linear algebra in longdouble, which shares no code with the package.
"""

from functools import cache

import numpy as np
import pytest
import scipy.sparse

from fastsoftmax import Objective, datasets, minimize, regularization_path
from fastsoftmax.solvers.methods import subsample
from fastsoftmax.solvers.stages.finish import Finish

SOLVERS = ("auto", "lbfgs", "newton", "newton_cg")


@cache
def survey(k=7, m=944):
    """Columns and classes like those of a survey of voters: a logarithm, two scores, years and steps."""
    rng = np.random.default_rng(0)
    columns = [np.log(rng.lognormal(3, 2.5, m) + 0.1), rng.integers(1, 8, m), rng.integers(19, 92, m)]
    X = np.column_stack([*columns, rng.integers(1, 8, m), rng.integers(1, 25, m)]).astype(float)
    scores = 1.5 * X[:, 1] + 0.02 * X[:, 2] + 0.3 * X[:, 3] + 0.08 * X[:, 4] + 2 * rng.logistic(size=m)
    y = np.digitize(scores, np.quantile(scores, np.arange(1, k) / k))
    return X, y, rng.integers(0, 4, m).astype(float)


@cache
def truth(k, intercept, weighted, l2):
    """Theta with a sum of 0 over the classes, and the standard errors of its entries."""
    X, y, w = survey(k)
    w = (w if weighted else np.ones(len(y))).astype(np.longdouble)
    A = (np.hstack([X, np.ones((len(X), 1))]) if intercept else X).astype(np.longdouble)
    scale = np.sqrt((A**2).mean(axis=0))
    A = A / scale
    n, T = A.shape[1], np.eye(k)[y]
    held = l2 * np.append(np.ones(5), np.zeros(int(intercept))) / scale**2
    theta = np.zeros((n, k), np.longdouble)
    for _ in range(60):
        Z = A @ theta
        Z = np.exp(Z - Z.max(axis=1, keepdims=True))
        Z /= Z.sum(axis=1, keepdims=True)
        grad = A.T @ (w[:, None] * (Z - T)) / w.sum() + held[:, None] * theta
        rows = np.eye(k)[None] * Z[:, :, None] - Z[:, :, None] * Z[:, None, :]
        H = np.einsum("i,ij,icd,il->jcld", w / w.sum(), A, rows, A, optimize=True).reshape(n * k, n * k)
        H += np.kron(np.diag(held), np.eye(k)) + np.kron(np.eye(n), np.full((k, k), 1 / k))
        step = np.linalg.solve(H.astype(float), grad.ravel().astype(float)).reshape(n, k)
        step -= step.mean(axis=1, keepdims=True)
        length = min(1.0, 1.0 / np.abs(A @ step).max())
        theta -= length * step
    errors = np.sqrt(np.diagonal(np.linalg.inv(H.astype(float))) / max(len(y), w.sum())).reshape(n, k)
    return (theta / scale[:, None]).astype(float), (errors / scale[:, None]).astype(float)


def objective(k, intercept, weighted, l2, dtype="f8"):
    X, y, w = survey(k)
    return Objective(X.astype(dtype), y, fit_intercept=intercept, sample_weight=w if weighted else None, l2=l2)


def centered(theta):
    return theta - theta.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("l2", [0.0, 1e-3])
@pytest.mark.parametrize(("k", "intercept", "weighted"), [(7, True, False), (2, True, True), (3, False, False)])
@pytest.mark.parametrize("solver", SOLVERS)
def test_small_problems_have_their_coefficients_by_default(solver, k, intercept, weighted, l2):
    res = minimize(objective(k, intercept, weighted, l2), solver=solver)
    best, _ = truth(k, intercept, weighted, l2)
    assert res.converged and res.gap_bound <= 1e-6
    np.testing.assert_allclose(centered(res.theta), best, rtol=0, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_coefficients_are_right_to_a_hundredth_of_their_standard_errors(solver):
    res = minimize(objective(7, True, False, 0.0, "f4"), solver=solver)
    best, errors = truth(7, True, False, 0.0)
    assert res.converged
    assert (np.abs(centered(res.theta) - best) / errors).max() <= 1e-2


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
def test_larger_problems_without_a_penalty_are_right_to_a_thousandth_of_a_standard_error(solver):
    for shape, signal in (((20_000, 12, 4), 2.0), ((40_000, 8, 3), 8.0), ((30_000, 40, 5), 1.0)):
        X, y, _ = datasets.make_problem(*shape, signal=signal, seed=1)
        obj = Objective(X, y, fit_intercept=True)
        res = minimize(obj, solver=solver)
        best = minimize(obj, solver="newton", theta0=res.theta, tol=1e-14, max_iter=30)
        away = centered(res.theta - best.theta)
        assert res.converged
        # The square of the largest distance, in standard errors, over all combinations of parameters.
        assert len(X) * np.vdot(away, obj.hess_prod(best.theta, away)) <= 1e-6


@pytest.mark.parametrize("name", ["digits", "iris", "wine"])
@pytest.mark.parametrize("l2", [1e-3, 1e-4])
@pytest.mark.parametrize("solver", SOLVERS)
def test_with_a_penalty_the_gap_is_proven_or_the_message_says_not(name, l2, solver):
    X, y, _ = datasets.load_sample(name)
    obj = Objective(X, np.unique(y, return_inverse=True)[1], fit_intercept=True, l2=l2)
    res = minimize(obj, solver=solver)
    assert res.converged
    proven = res.gap_bound <= 1e-6
    assert proven != ("which does not prove it (relative gap at most" in res.message)
    assert proven
    # And the proof is true.
    best = minimize(obj, solver="newton", theta0=res.theta, tol=1e-13, max_iter=30)
    assert (res.value - best.value) / res.value <= res.gap_bound


def test_what_is_not_proven_is_said_to_be_so():
    rng = np.random.default_rng(0)
    X = scipy.sparse.random_array((2000, 30), density=0.5, format="csr", rng=rng)
    y = np.argmax(X @ rng.standard_normal((30, 4)) + rng.gumbel(size=(2000, 4)), axis=1)
    res = minimize(Objective(X, y, fit_intercept=True), solver="lbfgs")
    assert res.converged and res.gap_bound is None and res.message.endswith(", which does not prove it")
    res = minimize(Objective(X, y, fit_intercept=True), l1=1e-3)
    assert res.converged and ("which does not prove it" in res.message) == (res.gap_bound > 1e-6)


def without(monkeypatch):
    monkeypatch.setattr(Finish, "__init__", lambda self, obj: setattr(self, "active", False))


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton_cg"])
def test_digits_are_proven_in_fewer_passes_than_without_a_proof(solver, monkeypatch):
    X, y, _ = datasets.load_sample("digits")
    for scale in (1.0, 1 / 16):
        obj = Objective(X * scale, y, fit_intercept=True, l2=1e-4)
        res = minimize(obj, solver=solver)
        with monkeypatch.context() as patch:
            without(patch)
            before = minimize(obj, solver=solver)
        assert res.gap_bound <= 1e-6 < before.gap_bound and res.value <= before.value * (1 + 1e-9)
        assert res.n_passes < before.n_passes


def test_a_run_that_starts_at_the_end_takes_no_step():
    for l2 in (0.0, 1e-4):
        obj = objective(7, True, False, l2)
        first = minimize(obj)
        again = minimize(obj, theta0=first.theta)
        assert again.converged and again.n_iter == 0


def test_a_callback_may_stop_the_last_steps_and_max_iter_holds():
    obj = objective(7, True, False, 0.0)
    full = minimize(obj, solver="lbfgs")
    for last in range(1, full.n_iter + 1):
        assert minimize(obj, solver="lbfgs", max_iter=last).n_iter == last

        def stop(step, last=last):
            if step.iteration == last:
                raise StopIteration("enough")

        assert minimize(obj, solver="lbfgs", callback=stop).n_iter == last


def test_paths_take_no_more_passes(monkeypatch):
    obj = objective(7, True, False, 0.0)
    l2s = np.logspace(-1, -6, 6)
    finished = regularization_path(obj, l2s, solver="lbfgs")
    without(monkeypatch)
    before = regularization_path(obj, l2s, solver="lbfgs")
    assert all(res.converged for res in finished)
    assert sum(res.n_passes for res in finished) <= sum(res.n_passes for res in before)


def test_the_hessian_of_a_subsample_proves_the_gap_of_all_rows():
    """Badly scaled columns, for which duality proves nothing; weights, and a class that few rows have."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((60_000, 10)) * 10.0 ** np.linspace(-3, 4, 10)
    y = np.argmax((X / 10.0 ** np.linspace(-3, 4, 10)) @ rng.standard_normal((10, 3)) + rng.gumbel(size=(60_000, 3)), 1)
    y[rng.choice(60_000, 60, replace=False)] = 3
    for w in (None, rng.integers(0, 4, 60_000).astype(float)):
        obj = Objective(X, y, fit_intercept=True, sample_weight=w, l2=1e-6)
        part = subsample.take(obj, 6000)
        theta = rng.standard_normal(obj.shape) / 10.0 ** np.append(np.linspace(-3, 4, 10), 0)[:, None]
        for _ in range(5):
            v = rng.standard_normal(obj.shape) / 10.0 ** np.append(np.linspace(-3, 4, 10), 0)[:, None]
            of_all, of_part = (np.vdot(v, each.hess_prod(theta, v)) for each in (obj, part))
            assert part.share * of_part <= of_all
        res = minimize(obj)
        best = minimize(obj, solver="newton", theta0=res.theta, tol=1e-12, max_iter=20)
        assert "sample of" in res.message
        assert (res.value - best.value) / res.value <= res.gap_bound <= 1e-6
