"""Columns that are nearly multiples of each other: convergence is never said of what the metric cannot see.

The truth is the minimum over the same columns made orthogonal in longdouble, where nothing is lost, and values are
those of longdouble logits.
"""

from functools import cache

import numpy as np
import pytest
import scipy.sparse

from fastsoftmax import Objective, minimize, regularization_path
from fastsoftmax.solvers.geometry.metric import moments
from fastsoftmax.solvers.geometry.parallel import parallel

SOLVERS = ("auto", "lbfgs", "newton", "newton_cg", "gradient_descent", "sgd", "l1", "path")
KINDS = ("far", "group", "scales", "few", "missing")


@cache
def problem(kind, ratio, dtype):
    """X with numbers of size ``ratio`` beside deviations of 1, classes and weights."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    y = np.argmax(2 * X @ rng.standard_normal((4, 3)) + rng.gumbel(size=(400, 3)), axis=1)
    w = np.ones(400)
    if kind == "far":
        X[:, :2] += [ratio, -3 * ratio]
    elif kind == "group":  # in the same rows, and zero in the others
        X[:, :2] = (rng.random((400, 1)) < 0.4) * (X[:, :2] + ratio)
    elif kind == "scales":
        X *= [ratio, 1 / ratio, 1, ratio**0.5]
    elif kind == "few":
        X[:, 0] += ratio
        X[:, 1] = 0
        X[:3, 1] = [ratio, -ratio, 2 * ratio]
    else:  # a column far from zero but for a row without weight
        X[:, 0] += ratio
        X[5, 0] = w[5] = 0
    return X.astype(dtype), y, w


def orthogonal(X):
    out = []
    for column in X.T.astype(np.longdouble):
        rest = column.copy()
        for _ in range(3):
            for q in out:
                rest = rest - (q @ rest) * q
        if rest @ rest > 1e-34 * (column @ column):
            out.append(rest / np.sqrt(rest @ rest))
    return np.array(out).T


@cache
def minimum(kind, ratio, dtype, intercept):
    X, y, w = problem(kind, ratio, dtype)
    X = np.hstack([np.ones((400, int(intercept)), dtype), X])
    Q = orthogonal(X[w > 0]).astype(float) * 20
    return minimize(Objective(Q, y[w > 0]), solver="newton", tol=1e-12).value


def gap(res, kind, ratio, dtype, intercept):
    X, y, w = problem(kind, ratio, dtype)
    theta = res.theta.astype(np.longdouble)
    H = X.astype(np.longdouble) @ theta[:4] + (theta[4] if intercept else 0)
    H -= H.max(axis=1, keepdims=True)
    value = np.average(np.log(np.exp(H).sum(axis=1)) - H[np.arange(400), y], weights=w)
    best = minimum(kind, ratio, dtype, intercept)
    return float((value - best) / best)


def fit(obj, solver, tol):
    if solver == "path":
        return regularization_path(obj, [1e-2, 0.0], tol=tol)[1]
    l1 = 1e-13 if solver == "l1" else 0.0
    return minimize(obj, solver="auto" if l1 else solver, l1=l1, tol=tol, max_iter=60)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_has_converged_is_at_the_minimum(dtype, kind, intercept, sparse):
    for ratio in (1e3, 1e6) if dtype == "f4" else (1e3, 1e8):
        X, y, w = problem(kind, ratio, dtype)
        obj = Objective(scipy.sparse.csr_array(X) if sparse else X, y, fit_intercept=intercept, sample_weight=w)
        for solver in SOLVERS:
            if sparse and solver == "newton":
                continue
            for tol in (1e-6, 1e-3) if solver in ("lbfgs", "newton_cg") else (1e-6,):
                res = fit(obj, solver, tol)
                l1 = 1e-13 * float(np.abs(res.theta).sum()) if solver == "l1" else 0.0
                assert not res.converged or gap(res, kind, ratio, dtype, intercept) <= 2 * tol + l1, (ratio, solver)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton_cg", "l1"])
@pytest.mark.parametrize("kind", ["far", "missing"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_sparse_columns_far_from_zero_are_centered_where_there_is_an_intercept(dtype, kind, solver):
    for ratio in (1e3, 1e6) if dtype == "f4" else (1e6, 1e8):
        X, y, w = problem(kind, ratio, dtype)
        given = scipy.sparse.csr_array(X)
        kept = given.copy()
        res = fit(Objective(given, y, fit_intercept=True, sample_weight=w), solver, 1e-6)
        assert res.converged, res.message
        assert abs(gap(res, kind, ratio, dtype, True)) <= 1e-6
        assert (given != kept).nnz == 0


def test_the_message_says_which_columns():
    X, y, _ = problem("far", 1e8, "f8")
    for A in (X, scipy.sparse.csr_array(X)):
        res = minimize(Objective(A, y), solver="lbfgs")
        assert not res.converged and res.grad_norm <= 1e-6
        assert "are multiples of each other but for so small a part" in res.message
        assert {"0", "1"} < set(res.message.split("columns ")[1].split())


@pytest.mark.parametrize("sparse", [False, True])
def test_the_share_is_that_of_the_rows_and_multiples_have_none(sparse):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((9000, 5))
    X[:, 3] = 3 * X[:, 1] + 1e-7 * X[:, 0]
    X[:, 4] = X[:, 2] / 3
    make = scipy.sparse.csr_array if sparse else np.asarray
    for intercept in (False, True):
        obj = Objective(make(X), rng.integers(0, 3, 9000), fit_intercept=intercept)
        found = parallel(obj, moments(obj), 0.0, 1e-6)
        assert found is not None and set(found.columns) == {1, 3}
        assert found.share == pytest.approx(1e-14 / 9, rel=0.1)
        # A penalty that holds the direction.
        assert parallel(obj, moments(obj), 1e-4, 1e-6) is None
        none = Objective(make(X[:, [0, 1, 2, 4]]), rng.integers(0, 3, 9000), fit_intercept=intercept)
        assert parallel(none, moments(none), 0.0, 1e-6) is None


@pytest.mark.parametrize("sparse", [False, True])
def test_columns_that_are_there_twice_are_no_hindrance(sparse):
    X, y, _ = problem("far", 0.0, "f8")
    X = np.hstack([X, X[:, :2], -2.5 * X[:, 2:3]])
    for intercept in (False, True):
        res = minimize(Objective(scipy.sparse.csr_array(X) if sparse else X, y, fit_intercept=intercept))
        assert res.converged, res.message
