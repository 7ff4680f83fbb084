"""Sweeps over the rows: what they return, and that each counts itself."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_problem

from fastsoftmax import Objective


def problem(sparse=False, *, m=300, weights=True, backend="auto", **options):
    p = random_problem(m, 4, 3, weights=weights, intercept=True, l2=0.1)
    w = None if p.w is None else np.where(np.arange(m) % 5 == 0, 0.0, p.w)
    X = sp.csr_array(p.X) if sparse else p.X
    return p, w, Objective(X, p.y, 3, sample_weight=w, fit_intercept=True, l2=0.1, backend=backend, **options)


@pytest.mark.parametrize("sparse", [False, True])
def test_the_gradients_on_the_rows_of_a_walk_make_the_gradient(backend, sparse):
    p, _, obj = problem(sparse, backend=backend)
    theta = p.theta.astype("f8")
    obj.plan = p.plan(chunk=100) if not sparse else obj.plan
    total, weight = 0.0, 0.0
    for rows in obj.walk():
        share = float(rows.w.sum())
        total, weight = total + share * obj.gradient_on(rows, theta), weight + share
    assert obj.n_passes == 1
    # Sums of 300 rows, in another order.
    np.testing.assert_allclose(total / weight, obj.value_and_grad(theta)[1], rtol=0, atol=300 * np.finfo("f8").eps)


def test_a_row_on_which_the_gradient_is_not_finite_is_named():
    p = random_problem(50, 4, 3)
    p.X[17, 2] = np.nan
    obj = p.objective("numpy")
    with pytest.raises(ValueError, match="row 17, column 2"):
        obj.gradient_on(next(obj.walk()), p.theta)


def test_margins_are_those_of_rows_that_weigh(backend):
    p, w, obj = problem(backend=backend)
    V = np.random.default_rng(0).standard_normal((5, 3))
    H = p.X @ V[:4] + V[4]
    margin = (H[np.arange(300), p.y][:, None] - H)[w > 0]
    gained, lost = obj.margins(V)
    assert obj.n_passes == 1
    assert gained == pytest.approx(margin.max(), rel=1e-13) and lost == pytest.approx(-margin.min(), rel=1e-13)


@pytest.mark.parametrize("sparse", [False, True])
def test_columns_and_picked_rows_are_those_of_x_and_no_pass(sparse):
    p, w, obj = problem(sparse)
    parts = list(obj.columns(np.array([3, 1]), 128))
    assert [X.shape for X, _, _ in parts] == [(128, 2), (128, 2), (44, 2)] and obj.n_passes == 0
    found = np.vstack([X.toarray() if sparse else X for X, _, _ in parts])
    np.testing.assert_array_equal(found, p.X[:, [3, 1]])
    np.testing.assert_array_equal(np.concatenate([w for _, w, _ in parts]), obj.w)
    assert [start for _, _, start in parts] == [0, 128, 256]
    sums = obj.sum_columns(lambda X, w, start: (w @ X, len(w) + 0 * start), np.array([3, 1]), 128)
    np.testing.assert_allclose(sums[0], obj.w @ p.X[:, [3, 1]], rtol=1e-13)
    assert sums[1] == 300
    picked = obj.pick(np.array([7, 2]))
    np.testing.assert_array_equal(picked.toarray() if sparse else picked, p.X[[7, 2]])


def test_passes_over_a_subset_count_as_the_share_that_they_are():
    _, _, obj = problem(m=300)
    _, _, part = problem(m=40)
    part.n_passes = 7
    obj.count_subset(part)
    assert obj.n_passes == 1
    part.n_passes = 8
    obj.count_subset(part)
    assert obj.n_passes == 3
