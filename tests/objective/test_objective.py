"""The objective as its users call it: shapes, dtypes, penalty, intercept, passes, errors."""

import numpy as np
import pytest
from problems import random_problem
from tolerance import check_gram, check_hess_prod, check_value_and_grad

from fastsoftmax import Objective, loss_and_grad


@pytest.fixture
def p():
    return random_problem(83, 5, 4, seed=1, weights=True, intercept=True, l2=0.7)


def test_value_and_gradient_of_a_problem_worked_out_by_hand(backend):
    X, y, theta = [[1.0, 0.0], [0.0, 2.0]], [2, 1], np.log([[1, 2, 5], [np.sqrt(2), 1, 1]])
    value, grad = loss_and_grad(X, y, theta, backend=backend)
    few = 8 * np.finfo(float).eps
    assert abs(value - (np.log(8 / 5) + np.log(4)) / 2) <= few
    np.testing.assert_allclose(grad, [[1 / 16, 2 / 16, -3 / 16], [2 / 4, -3 / 4, 1 / 4]], rtol=0, atol=few)


def test_attributes(backend, p):
    obj = p.objective(backend, n_threads=3)
    assert (obj.backend, obj.n_threads, obj.n_passes) == (backend, 3, 0)
    assert (obj.shape, obj.n_features, obj.n_classes, obj.l2) == ((6, 4), 5, 4, 0.7)
    assert Objective(p.X, p.y, backend=backend).shape == (5, 4)
    assert Objective(p.X, p.y, 9, backend=backend).shape == (5, 9)


def test_every_entry_point_gives_the_same_numbers(backend, p):
    obj = p.objective(backend)
    value, grad = obj.value_and_grad(p.theta)
    again, same = loss_and_grad(p.X, p.y, p.theta, fit_intercept=True, sample_weight=p.w, l2=p.l2, backend=backend)
    assert again == value and type(value) is float
    np.testing.assert_array_equal(same, grad)
    assert obj.value(p.theta) == value


def test_flat_theta_gives_a_flat_gradient(backend, p):
    obj = p.objective(backend)
    value, grad = obj.value_and_grad(p.theta)
    flat_value, flat = obj.value_and_grad(p.theta.ravel())
    assert flat_value == value and flat.shape == (24,)
    np.testing.assert_array_equal(flat, grad.ravel())
    v = np.cos(np.arange(24.0))
    np.testing.assert_array_equal(obj.hess_prod(p.theta.ravel(), v), obj.hess_prod(p.theta, v.reshape(6, 4)).ravel())


def test_theta_may_have_any_strides_and_stays_as_it_is(backend, p):
    obj = p.objective(backend)
    wanted = obj.value_and_grad(p.theta)
    for theta in (np.asfortranarray(p.theta), np.repeat(p.theta, 2, axis=1)[:, ::2], p.theta.tolist()):
        before = np.array(theta)
        value, grad = obj.value_and_grad(theta)
        assert value == wanted[0]
        np.testing.assert_array_equal(grad, wanted[1])
        np.testing.assert_array_equal(theta, before)


@pytest.mark.parametrize("given", ["f4", "f8", ">f8"])
def test_gradient_has_the_dtype_of_theta(backend, dtype, given):
    p = random_problem(40, 3, 3, dtype=dtype)
    obj = p.objective(backend)
    assert obj.value_and_grad(p.theta.astype(given))[1].dtype == given
    assert obj.hess_prod(p.theta, p.theta.astype(given)).dtype == given


@pytest.mark.parametrize("given", ["i8", "?", "f2"])
def test_gradient_of_other_dtypes_of_theta_is_float64(backend, given):
    theta = np.eye(3).astype(given)
    value, grad = loss_and_grad(np.eye(3), [0, 1, 2], theta, backend=backend)
    assert grad.dtype == np.float64
    assert value == loss_and_grad(np.eye(3), [0, 1, 2], np.eye(3), backend=backend)[0]


def test_results_are_fresh_and_may_be_written(backend, p):
    obj = p.objective(backend)
    for call in (lambda: obj.value_and_grad(p.theta)[1], lambda: obj.hess_prod(p.theta, p.theta), obj.gram):
        first = call()
        kept = first.copy()
        first += 1
        np.testing.assert_array_equal(call(), kept)


def test_l2_leaves_the_bias_out(backend, p):
    (value, grad), (bare_value, bare) = (q.objective(backend).value_and_grad(q.theta) for q in (p, p.but(l2=0.0)))
    np.testing.assert_array_equal(grad[-1], bare[-1])
    # Two roundings of each term, or one fewer with a fused multiply-add.
    eps, penalty = np.finfo(float).eps, p.l2 * p.theta[:-1]
    assert np.all(abs(grad[:-1] - (bare[:-1] + penalty)) <= eps * (2 * abs(bare[:-1]) + 2 * abs(penalty)))
    few = 4 * eps * value
    assert abs(value - bare_value - 0.5 * p.l2 * np.sum(p.theta[:-1] ** 2)) <= few
    v = np.ones((6, 4))
    curved = p.objective(backend).hess_prod(p.theta, v) - p.but(l2=0.0).objective(backend).hess_prod(p.theta, v)
    np.testing.assert_allclose(curved[:-1], p.l2, rtol=0, atol=few)
    np.testing.assert_array_equal(curved[-1], 0)


def test_intercept_is_a_column_of_ones(backend, p):
    ones = np.hstack([p.X, np.ones((83, 1))])
    without = p.but(X=ones, fit_intercept=False, l2=0.0)
    value, grad = p.but(l2=0.0).objective(backend).value_and_grad(p.theta)
    check_value_and_grad(without, value, grad)
    check_gram(without, p.objective(backend).gram())
    v = np.sin(np.arange(24.0)).reshape(6, 4)
    check_hess_prod(without, v, p.but(l2=0.0).objective(backend).hess_prod(p.theta, v))


def test_gradient_and_hessian_match_finite_differences(backend, p):
    obj = p.objective(backend)
    grad = obj.value_and_grad(p.theta)[1]
    step = 1e-5
    for at in np.ndindex(p.theta.shape):
        e = np.zeros(p.theta.shape)
        e[at] = step
        by_value = (obj.value(p.theta + e) - obj.value(p.theta - e)) / (2 * step)
        assert abs(by_value - grad[at]) < 1e-8  # truncation step^2/6 times the third derivative, rounding eps/step
        by_grad = (obj.value_and_grad(p.theta + e)[1] - obj.value_and_grad(p.theta - e)[1]) / (2 * step)
        np.testing.assert_allclose(obj.hess_prod(p.theta, e / step), by_grad, rtol=0, atol=1e-8)


def test_hessian_is_symmetric_and_linear(backend, p):
    obj = p.objective(backend)
    rng = np.random.default_rng(2)
    u, v = rng.standard_normal((2, *obj.shape))
    Hu, Hv = obj.hess_prod(p.theta, u), obj.hess_prod(p.theta, v)
    few = 64 * np.finfo(float).eps
    assert abs(np.sum(u * Hv) - np.sum(v * Hu)) <= few * np.sum(abs(u * Hv))
    np.testing.assert_array_equal(obj.hess_prod(p.theta, 2 * v), 2 * Hv)
    assert np.sum(v * Hv) > 0


def test_gram_is_symmetric_float64(backend, dtype):
    p = random_problem(200, 7, 3, dtype=dtype, weights=True, intercept=True)
    gram = p.objective(backend).gram()
    assert gram.dtype == np.float64 and gram.shape == (8, 8)
    # The transpose is within the same bounds.
    check_gram(p, gram)
    check_gram(p, np.ascontiguousarray(gram.T))


def test_each_call_costs_one_pass(backend, p):
    obj = p.objective(backend)
    calls = [lambda: obj.value_and_grad(p.theta), lambda: obj.value(p.theta)]
    calls += [lambda: obj.hess_prod(p.theta, p.theta), obj.gram]
    for number, call in enumerate(calls, start=1):
        call()
        assert obj.n_passes == number


# ---------------------------------------------------------------------------------- dtypes of X

INTEGERS = ["?", "i1", "u1", "i2", "u2", "i4", "i8", "u8", "f2", ">f8", ">i2", ">f4"]


@pytest.mark.parametrize("given", INTEGERS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_x_of_any_real_dtype_counts_as_its_values(backend, given, order):
    rng = np.random.default_rng(3)
    X = rng.integers(2 if given == "?" else 120, size=(90, 6)).astype(given, order=order)
    p = random_problem(90, 6, 3, weights=True)
    value, grad = p.but(X=X, theta=p.theta / 64).objective(backend).value_and_grad(p.theta / 64)
    exact_type = Objective(X, p.y, backend=backend).source.dtype
    check_value_and_grad(p.but(X=X.astype(exact_type), theta=p.theta / 64), value, grad)


def test_lists_are_data_too(backend):
    value, grad = loss_and_grad([[1, 2], [3, 4]], [0, 1], [[0, 0], [0, 0]], sample_weight=[1, 1], backend=backend)
    np.testing.assert_array_equal(grad, [[0.5, -0.5], [0.5, -0.5]])
    assert abs(value - np.log(2)) <= 2 * np.finfo(float).eps


# --------------------------------------------------------------------------------------- errors


def passes_of(obj):
    theta = np.ones(obj.shape)
    return {
        "value": lambda: obj.value(theta),
        "value_and_grad": lambda: obj.value_and_grad(theta),
        "hess_prod": lambda: obj.hess_prod(theta, theta),
        "gram": obj.gram,
    }


PASSES = ["value", "value_and_grad", "hess_prod", "gram"]


@pytest.mark.parametrize("call", PASSES)
def test_overflow_of_finite_numbers_is_a_floating_point_error(backend, call):
    X = np.full((3, 2), 1e308)
    X[1] = -1e308
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(FloatingPointError, match="overflows float64"):
        passes_of(Objective(X, [0, 1, 1], backend=backend))[call]()


def test_theta_too_large_for_float32_data_is_a_floating_point_error(backend):
    with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError, match="overflows float32"):
        loss_and_grad(np.ones((2, 1), np.float32), [0, 1], [[1e300, -1e300]], backend=backend)


def test_a_penalty_of_zero_costs_nothing_however_large_theta(backend):
    value, grad = loss_and_grad([[1.0], [1.0]], [0, 1], [[1e200, 1e200]], backend=backend)
    assert abs(value - np.log(2)) <= 2 * np.finfo(float).eps
    np.testing.assert_array_equal(grad, [[0, 0]])


@pytest.mark.parametrize("call", ["value", "value_and_grad"])
def test_a_penalty_that_overflows_is_a_floating_point_error(backend, call):
    obj = Objective([[1e-200], [1e-200]], [0, 1], l2=1.0, backend=backend)
    with pytest.raises(FloatingPointError, match="overflows"):
        getattr(obj, call)([[1e200, 1e200]])


@pytest.mark.parametrize("call", PASSES)
def test_nan_in_x_is_named_by_its_row_in_the_whole_data(backend, call):
    X = np.ones((5000, 3))
    X[4321, 1] = np.nan
    obj = Objective(X, np.arange(5000) % 2, backend=backend)
    message = "X must be finite; row 4321, column 1 holds nan"
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        passes_of(obj)[call]()


@pytest.mark.parametrize("k", [3, 200])
def test_a_penalty_that_overflows_in_a_hessian_product_is_told(backend, k):
    p = random_problem(300, 200, k, l2=1e10)
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="overflows"):
        p.objective(backend).hess_prod(np.zeros_like(p.theta), np.full_like(p.theta, 1e300))
