"""Objectives made from another one."""

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_problem

from fastsoftmax import Objective, reference
from fastsoftmax.data.sources.memory import ArraySource
from fastsoftmax.objective.derived import OverSource, Scaled, Shifted, Subset, Transformed, of_classes, unit_rows
from fastsoftmax.objective.stacked import Member, StackedObjective


@pytest.mark.parametrize("kind", ["copied", "in chunks", "sparse"])
def test_a_shifted_objective_is_that_of_shifted_columns_and_shares_l2_and_passes(backend, kind):
    p = random_problem(300, 4, 3, weights=True, intercept=True, l2=0.1)
    shift = np.array([0.0, 2.0, -1.0, 0.5])
    outer = Objective(
        sp.csr_array(p.X) if kind == "sparse" else p.X,
        p.y,
        3,
        sample_weight=p.w,
        fit_intercept=True,
        l2=0.1,
        backend=backend,
    )
    inner, there = Shifted(outer, shift, copied=kind == "copied"), p.but(X=p.X - shift).objective("numpy")
    theta = p.theta.astype("f8")
    # Shifted numbers are rounded once, and either value by a few eps.
    np.testing.assert_allclose(inner.value(theta), there.value(theta), rtol=300 * np.finfo("f8").eps)
    assert inner.n_passes == outer.n_passes == 1
    inner.l2 = 0.5
    assert outer.l2 == 0.5
    np.testing.assert_array_equal(inner.shift, shift)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_some_rows_of_some_classes(sparse, weights):
    p = random_problem(300, 4, 5, weights=weights, intercept=True, l2=0.1)
    present, rows = np.array([True, False, True, True, False]), np.arange(0, 300, 2)
    obj = Objective(sp.csr_array(p.X) if sparse else p.X, p.y, 5, sample_weight=p.w, fit_intercept=True, l2=0.1)
    part = of_classes(obj, rows, present)
    assert part.shape == (5, 3) and part.l2 == 0.0
    kept = rows[present[p.y[rows]]]
    theta = np.random.default_rng(0).standard_normal((5, 3))
    w = None if p.w is None else p.w[kept]
    labels = np.searchsorted(np.flatnonzero(present), p.y[kept])
    wanted, _ = reference.value_and_grad(p.X[kept], labels, theta, fit_intercept=True, sample_weight=w)
    assert part.value(theta) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_scaled_objective_is_that_of_a_scaled_copy(backend, sparse):
    p = random_problem(300, 4, 3, weights=True, intercept=True, l2=0.1)
    factors = np.array([0.5, 2.0, 1.0, 3.0])
    options = {"sample_weight": p.w, "fit_intercept": True, "backend": backend, "l2": 0.1}
    X = np.where(np.abs(p.X) > 0.2, p.X, 0.0) if sparse else p.X
    scaled = Scaled(Objective(sp.csr_array(X) if sparse else X, p.y, 3, **options), factors)
    copy = Objective(X * factors, p.y, 3, **options)
    value, grad = scaled.value_and_grad(p.theta)
    wanted, slope = copy.value_and_grad(p.theta)
    assert value == pytest.approx(wanted, rel=1e-12) and scaled.n_passes == 1
    np.testing.assert_allclose(grad, slope, atol=1e-13)
    np.testing.assert_allclose(scaled.hess_prod(p.theta, p.theta), copy.hess_prod(p.theta, p.theta), atol=1e-12)
    np.testing.assert_allclose(scaled.gram_diagonal(), copy.gram_diagonal(), atol=1e-12)
    np.testing.assert_array_equal(scaled.to_outer(p.theta)[:-1], p.theta[:-1] * factors[:, None])
    if not sparse:
        np.testing.assert_allclose(scaled.gram(), copy.gram(), atol=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_some_rows_and_rows_of_unit_norm(backend, sparse):
    p = random_problem(300, 4, 3, intercept=True)
    X = np.where(np.abs(p.X) > 0.2, p.X, 0.0)
    X[5] = 0.0
    outer = Objective(sp.csr_array(X) if sparse else X, p.y, 3, fit_intercept=True, backend=backend)
    unit = Transformed(outer, lambda chunk: unit_rows(chunk, outer.dtype))
    copy = X / np.where(np.arange(300) == 5, 1.0, np.linalg.norm(X, axis=1))[:, None]
    rows = np.array([0, 5, 17, 250, 299])
    found = Subset(unit, rows, p.y[rows]).evaluate(p.theta, row_loss=True)
    alone = Objective(copy[rows], p.y[rows], 3, fit_intercept=True).evaluate(p.theta, row_loss=True)
    assert found.value == pytest.approx(alone.value, rel=1e-12)
    np.testing.assert_allclose(found.row_loss, alone.row_loss, rtol=1e-11)
    np.testing.assert_allclose(found.grad, alone.grad, atol=1e-13)


def test_an_objective_over_a_source_is_that_of_its_rows(backend):
    p = random_problem(300, 4, 3, weights=True, intercept=True, l2=0.1)
    obj = OverSource(ArraySource(p.X, p.y, p.w), 3, fit_intercept=True, l2=0.1, backend=backend)
    value, grad = obj.value_and_grad(p.theta)
    wanted, slope = p.objective(backend).value_and_grad(p.theta)
    assert value == wanted and obj.n_threads >= 1
    np.testing.assert_array_equal(grad, slope)


@pytest.mark.parametrize("sparse", [False, True])
def test_picked_rows_are_those_of_the_view(sparse):
    p = random_problem(60, 4, 3)
    X = sp.csr_array(p.X) if sparse else p.X
    obj = Objective(X, p.y, p.k, backend="numpy")
    rows = np.array([1, 5, 40, 59])
    part = Subset(obj, rows, p.y[rows]).pick(np.array([0, 3]))
    unit = Transformed(obj, lambda chunk: unit_rows(chunk, obj.dtype)).pick(rows)
    for got, want in ((part, p.X[[1, 59]]), (unit, p.X[rows] / np.linalg.norm(p.X[rows], axis=1, keepdims=True))):
        np.testing.assert_allclose(got.toarray() if sparse else got, want, rtol=1e-6)


def test_the_gradient_by_scaled_columns():
    p = random_problem(60, 4, 3)
    factors = np.array([0.5, 2.0, 4.0, 1.0])
    found = Scaled(Objective(p.X, p.y, 3, backend="numpy"), factors).evaluate(p.theta, dX=True)
    wanted = Objective(p.X * factors, p.y, 3, backend="numpy").evaluate(p.theta, dX=True)
    np.testing.assert_allclose(found.dX, wanted.dX, rtol=1e-12)


def test_a_model_that_leaves_no_fold_out_has_all_rows():
    p = random_problem(60, 4, 3)
    fold = np.where(np.arange(60) < 20, 0, -1).astype(np.int32)
    whole = Objective(sp.csr_array(p.X), p.y, 3, backend="numpy")
    stacked = StackedObjective(whole, fold, np.array([-1, 0], np.int32))
    assert Member(stacked, 0).value_and_grad(p.theta)[0] == pytest.approx(whole.value(p.theta), rel=1e-12)
