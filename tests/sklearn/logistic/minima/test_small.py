"""Newton's method for small problems against scikit-learn's own minimum, and when it declines."""

import numpy as np
import pytest
import sklearn.linear_model as theirs
from sklearn.datasets import make_classification

from fastsoftmax.objective.objective import Objective
from fastsoftmax.sklearn import LogisticRegression
from fastsoftmax.sklearn.logistic.minima.small import ENTRIES, small
from fastsoftmax.sklearn.logistic.objective import Logistic

SHAPES = [(200, 8), (30, 80)]


def problem(m, n, k, dtype=np.float64):
    X, y = make_classification(m, n, n_informative=6, n_classes=k, flip_y=0.1, random_state=k)
    return X.astype(dtype), y.astype(np.int32), np.random.default_rng(m).uniform(0.1, 2.0, m)


def slope_of(X, y, k, w, coef, C, fit_intercept):
    """Scikit-learn's gradient by the kernels."""
    obj = Objective(X, y, k, fit_intercept=fit_intercept, sample_weight=w)
    model = Logistic(obj, len(y) if w is None else w.sum(), 0.0)
    model.set_C(C)
    theta = model.to_theta(coef)
    return model.slope(theta, obj.value_and_grad(theta)[1], 0.0)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_minimum_is_scikit_learns(shape, k, fit_intercept, weighted):
    X, y, w = problem(*shape, k)
    w = w if weighted else None
    C, total = 3.0, shape[0] if w is None else w.sum()
    found = small(X, y, k, w, fit_intercept).minimum(1 / (C * total), None, 1e-4, 100)
    best = theirs.LogisticRegression(C=C, fit_intercept=fit_intercept, solver="newton-cg", tol=1e-12, max_iter=10_000)
    best.fit(X, y, w)
    assert found.coef.shape == (1 if k == 2 else k, shape[1] + fit_intercept)
    np.testing.assert_allclose(found.coef[:, : shape[1]], best.coef_, rtol=0, atol=3e-5)
    if fit_intercept:
        np.testing.assert_allclose(found.coef[:, -1], best.intercept_, rtol=0, atol=3e-5)
    assert found.slope <= 1e-4
    assert found.slope == pytest.approx(slope_of(X, y, k, w, found.coef, C, fit_intercept), rel=1e-3, abs=1e-12)
    assert found.n_iter < 15


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_next_minimum_begins_at_the_last(shape, k):
    X, y, _ = problem(*shape, k)
    solver = small(X, y, k, None, True)
    first = solver.minimum(1 / shape[0], None, 1e-8, 100)
    again = solver.minimum(1 / shape[0], first.c, 1e-8, 100)
    assert again.n_iter <= 1 < first.n_iter
    np.testing.assert_allclose(again.coef, first.coef, rtol=0, atol=1e-6)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_step_is_told_and_is_what_max_iter_leads_to(shape, k):
    X, y, _ = problem(*shape, k)
    solver, told = small(X, y, k, None, True), []
    whole = solver.minimum(1e-3, None, 1e-4, 100, lambda step, value, coef: told.append((step, value, coef)))
    assert [step for step, _, _ in told] == list(range(whole.n_iter + 1))
    assert (np.diff([value for _, value, _ in told]) < 0).all()
    for step, value, coef in told:
        part = solver.minimum(1e-3, None, 1e-4, step)
        assert (part.n_iter, part.value) == (step, value)
        np.testing.assert_array_equal(part.coef, coef)


def test_whoever_is_told_may_end_the_steps():
    X, y, _ = problem(200, 8, 2)

    def told(step, value, coef):
        if step == 2:
            raise StopIteration

    assert small(X, y, 2, None, True).minimum(1e-3, None, 1e-4, 100, told).n_iter == 2


@pytest.mark.parametrize("distance", [1e3, 1e8])
def test_columns_far_from_zero(distance):
    X, y, _ = problem(200, 8, 3)
    near = small(X, y, 3, None, True).minimum(1e-2, None, 1e-4, 100)
    far = small(X + distance, y, 3, None, True).minimum(1e-2, None, np.inf, 100)
    np.testing.assert_allclose(far.coef[:, :8], near.coef[:, :8], rtol=0, atol=1e-13 * distance + 1e-6)


@pytest.mark.parametrize("C", [1e-2, 1e4])
@pytest.mark.parametrize("distance", [0.0, 50.0, 1e4])
@pytest.mark.parametrize("apart", [1.0, 1e-3])
def test_hessians_in_float32_and_where_they_have_too_few_digits(apart, distance, C):
    X, y, w = problem(600, 50, 2)
    X[:, 1] = X[:, 0] + apart * X[:, 1]  # nearly parallel, or not
    far = X + distance
    solver, l2 = small(far, y, 2, w, True), 1 / (C * w.sum())
    found = solver.minimum(l2, None, 1e-4 * (1 + distance), 100)
    best = theirs.LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y, w)
    losses = np.logaddexp(0.0, -(2 * y - 1) * best.decision_function(X))
    assert solver.rough.dtype == np.float32
    assert (solver.A is far) == (distance == 0.0)  # columns are copied only where they lie far from zero
    assert found.value <= (w @ losses / w.sum() + 0.5 * l2 * (best.coef_**2).sum()) * (1 + 2e-8)


def test_what_is_not_for_it():
    X, y, w = problem(200, 8, 3)
    assert small(X, y, 4, None, True) is None  # a class without rows
    assert small(X, y, 3, np.where(y == 1, 0.0, w), True) is None
    assert small(X, y, 3, None, True).minimum(0.0, None, 1e-4, 100) is None  # without a penalty
    assert small(np.zeros((ENTRIES // 8 + 1, 8)), np.arange(ENTRIES // 8 + 1) % 2, 2, None, True) is None
    assert small(np.full_like(X, np.nan), y, 3, None, True).minimum(1e-2, None, 1e-4, 100) is None
    wide, y, _ = problem(30, 80, 2)
    assert small(np.vstack([wide, wide]), np.tile(y, 2), 2, None, True) is None  # X X^T is singular
    no_bias = np.column_stack([1e8 + X[:, 0], 1e8 + X[:, 0] + 1e-3 * X[:, 1]])  # parallel, and nothing to center by
    assert small(no_bias, (X[:, 1] > 0).astype(np.int32), 2, None, False).minimum(1e-9, None, 1e-4, 100) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_it_declines_is_fitted_all_the_same(dtype):
    X, y, _ = problem(30, 80, 2, dtype)
    X, y = np.vstack([X, X]), np.tile(y, 2)
    fitted = LogisticRegression().fit(X, y)
    best = theirs.LogisticRegression(tol=1e-10, max_iter=1000).fit(X.astype(np.float64), y)
    np.testing.assert_allclose(fitted.coef_, best.coef_, rtol=0, atol=2e-4)
