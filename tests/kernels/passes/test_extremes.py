"""Huge logits have right answers; NaN and infinity in X are found wherever they hide."""

import numpy as np
import pytest
from problems import random_problem
from tolerance import true_value_and_grad

from fastsoftmax import Objective, loss_and_grad

# Powers of two and their neighbours are exact, so are all logits below: errors come from D alone.
ROWS = [1, 2, 5, 33, 200]


def largest(dtype):
    """About 1e308 or 3e38: twice that overflows."""
    return float(np.finfo(dtype).max) * 0.9


def column(m, value, dtype):
    return np.full((m, 1), value, dtype)


@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sure_right_answer_costs_nothing(backend, dtype, m, sign):
    theta = np.array([[largest(dtype), -largest(dtype)]], dtype)
    X, y = column(m, sign, dtype), np.full(m, 0 if sign > 0 else 1)
    value, grad = loss_and_grad(X, y, theta, backend=backend)
    assert value == 0
    np.testing.assert_array_equal(grad, [[0, 0]])


@pytest.mark.parametrize("m", ROWS)
def test_a_sure_wrong_answer_costs_the_difference_of_logits(backend, dtype, m):
    half = float(dtype.type(largest(dtype) / 2))
    value, grad = loss_and_grad(column(m, 1, dtype), np.ones(m, int), np.array([[half, -half]], dtype), backend=backend)
    assert abs(value - 2 * half) <= 4 * np.finfo(float).eps * 2 * half
    np.testing.assert_array_equal(grad, [[1, -1]])


def test_a_difference_too_large_for_float32_is_a_loss_in_float64(backend):
    top = np.float32(3e38)
    value, grad = loss_and_grad(column(3, 1, "f4"), [1, 1, 1], np.array([[top, -top]]), backend=backend)
    assert abs(value - 2 * float(top)) <= 4 * np.finfo(np.float64).eps * 2 * float(top)
    np.testing.assert_array_equal(grad, [[1, -1]])


@pytest.mark.parametrize("m", [2, 40])
def test_a_mean_is_right_even_where_one_loss_of_it_overflows(backend, m):
    theta = [[1e308, -1e308]]
    y = np.zeros(m, int)
    y[m // 2] = 1
    value, grad = loss_and_grad(column(m, 1, "f8"), y, theta, backend=backend)
    assert abs(value - 2 * (1e308 / m)) <= 4 * np.finfo(float).eps * value
    np.testing.assert_array_equal(grad, np.array([[1, -1]]) / m)


def test_a_mean_loss_above_the_largest_float64_is_an_error(backend):
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="overflows"):
        loss_and_grad([[1.0], [1.0]], [1, 1], [[1e308, -1e308]], backend=backend)


def test_a_row_whose_loss_or_gradient_overflows_is_an_error_though_the_mean_is_none(backend):
    obj = Objective(column(3, 1, "f8"), [0, 1, 0], 2, backend=backend)
    with pytest.raises(FloatingPointError, match="row_loss overflows float64"):
        obj.evaluate(np.array([[1e308, -1e308]]), row_loss=True)
    top = np.float32(3e38)
    obj = Objective(column(3, 0, "f4"), np.eye(3)[[0, 1, 2]] * [4, 4, 4], 3, backend=backend)
    with pytest.raises(FloatingPointError, match="dX overflows float32"):
        obj.evaluate(np.array([[top, -top, -top]]), dX=True)


@pytest.mark.parametrize("k", [2, 3, 8, 17, 37])
@pytest.mark.parametrize("m", [1, 50])
def test_equal_huge_logits_share_the_probability(backend, dtype, k, m):
    theta = np.full((1, k), largest(dtype), dtype)
    value, grad = loss_and_grad(column(m, 1, dtype), np.zeros(m, int), theta, backend=backend)
    eps = np.finfo(dtype).eps
    assert abs(value - np.log(k)) <= 4 * eps * np.log(k)
    # m equal terms may all round alike, by eps/2 of a partial sum each.
    wanted = np.r_[1 / k - 1, np.full(k - 1, 1 / k)]
    assert (abs(grad[0] - wanted) <= (4 + (m - 1) / 2) * eps * abs(wanted)).all()


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("shape", [(300, 5, 2), (70, 9, 37), (33, 1, 17)], ids=str)
def test_random_huge_logits(backend, dtype, shape, layout):
    m, n, k = shape
    p = random_problem(m, n, k, dtype=dtype)
    rng = np.random.default_rng(8)
    X = np.zeros((m, n), dtype, order=layout)
    X[np.arange(m), rng.integers(n, size=m)] = rng.choice([-1, 1, 0.5, 1e-300 if dtype == "f8" else 1e-36], size=m)
    theta = (rng.choice([-1, -0.75, 0, 0.5, 1], size=(n, k)) * (largest(dtype) / 2)).astype(dtype)
    p = p.but(X=X, theta=theta)
    value, grad = p.objective(backend).value_and_grad(theta)
    truth_value, truth = true_value_and_grad(p)
    eps = np.finfo(dtype).eps
    assert abs(value - truth_value) <= 4 * eps * float(truth_value)
    np.testing.assert_allclose(grad, truth.astype(float), rtol=0, atol=4 * eps * abs(X).sum(axis=0).max() / m)
    assert np.isfinite(p.objective(backend).hess_prod(theta, np.ones_like(theta))).all()


GAPS = [0.0, 1e-30, 1e-3, 1.0, 30.0, 80.0, 87.5, 88.0, 100.0, 104.0, 700.0, 708.5, 740.0, 745.5, 1e4]


@pytest.mark.parametrize("gap", GAPS)
def test_loss_and_gradient_over_the_whole_range_of_exp(backend, dtype, gap):
    gap = dtype.type(gap)
    theta = np.array([[0, gap]], dtype)
    (right, grad), (wrong, _) = (loss_and_grad(column(9, 1, dtype), [y] * 9, theta, backend=backend) for y in (1, 0))
    q = np.exp(-np.longdouble(gap))
    eps, tiny = np.finfo(dtype).eps, float(np.finfo(dtype).tiny)
    assert abs(right - np.log1p(q)) <= 4 * eps
    assert abs(wrong - (gap + np.log1p(q))) <= 4 * eps * max(1.0, float(gap))
    assert abs(grad[0, 0] - q / (1 + q)) <= 8 * eps * float(q) * (1 + float(gap)) + tiny


# ------------------------------------------------------------------------------- NaN, infinity

M, N = 777, 37
PLACES = [(0, 0), (0, N - 1), (M - 1, 0), (M - 1, N - 1), (63, 5), (64, 16), (127, 36), (128, 0), (511, 35), (512, 1)]


def assert_named(row, col, obj, theta):
    """Every pass over X raises, and says where the number is."""
    for call in (obj.value, obj.value_and_grad, lambda t: obj.hess_prod(t, 0 * t), lambda t: obj.gram()):
        with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=f"row {row}, column {col} holds"):
            call(theta)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("k", [2, 3, 19])
def test_a_number_that_is_not_finite_is_found_and_named(backend, dtype, order, bad, k):
    p = random_problem(M, N, k, dtype=dtype, layout=order)
    mixed, zeros = p.theta.copy(), np.zeros_like(p.theta)
    mixed[:, 0] = 0
    for row, col in PLACES:
        X = p.X.copy(order=order)
        X[row, col] = bad
        obj = Objective(X, p.y, k, backend=backend)
        for theta in (p.theta, -abs(p.theta), mixed, zeros):
            assert_named(row, col, obj, theta)


def test_the_last_row_of_every_slab_is_looked_at(backend, dtype):
    p = random_problem(400, 5, 3, dtype=dtype)
    plan = p.plan(tiles=1, slabs=7, chunk=150)
    for _, _, end in plan.slab_ranges(150):
        for row in (end - 1, min(150 + end, 400) - 1):
            X = p.X.copy()
            X[row, 4] = np.nan
            obj = p.but(X=X).objective(backend)
            obj.plan = plan
            assert_named(row, 4, obj, p.theta)


def test_large_finite_numbers_are_not_taken_for_infinite_ones(backend, dtype):
    X = np.array([[largest(dtype)], [-largest(dtype)]] * 20, dtype)
    value, grad = loss_and_grad(X, [0, 1] * 20, np.array([[1, -1]], dtype) / 4, backend=backend)
    assert value == 0
    np.testing.assert_array_equal(grad, [[0, 0]])
    value, grad = loss_and_grad(X / 64, [0, 1] * 20, np.zeros((1, 2), dtype), backend=backend)
    np.testing.assert_allclose(grad, [[-X[0, 0] / 128, X[0, 0] / 128]], rtol=4 * np.finfo(dtype).eps)


def test_a_gradient_of_large_finite_numbers_is_returned(backend):
    X = np.full((1, 40), 1e308)
    value, grad = loss_and_grad(X, [0], np.zeros((40, 2)), backend=backend)
    assert abs(value - np.log(2)) <= 2 * np.finfo(float).eps
    np.testing.assert_allclose(grad, np.tile([-5e307, 5e307], (40, 1)), rtol=4 * np.finfo(float).eps)


def test_a_gradient_too_large_for_the_dtype_of_theta_is_an_error(backend):
    with pytest.raises(FloatingPointError, match="overflows float32"):
        loss_and_grad([[1e300]], [0], np.zeros((1, 2), np.float32), backend=backend)
