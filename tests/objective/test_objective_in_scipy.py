"""An objective in SciPy's hands: its minimizers, and the Hessian as a linear operator."""

import numpy as np
import pytest
import scipy.optimize
from problems import random_problem
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from fastsoftmax import minimize


@pytest.fixture
def p():
    return random_problem(83, 5, 4, seed=1, weights=True, intercept=True, l2=0.7)


def dense(obj, theta):
    """The Hessian, column by column."""
    size = theta.size
    return np.column_stack([obj.hess_prod(theta, np.eye(size)[i]) for i in range(size)])


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "trust-ncg", "trust-krylov", "Newton-CG"])
def test_scipy_finds_the_minimum(backend, p, method):
    obj = p.objective(backend)
    options = {} if method in ("L-BFGS-B", "BFGS", "CG") else {"hessp": obj.hess_prod}
    x0 = np.zeros(obj.shape).ravel()
    found = scipy.optimize.minimize(
        obj.value_and_grad, x0, jac=True, method=method, tol=1e-12 if method == "L-BFGS-B" else 1e-7, **options
    )
    best = minimize(obj, tol=1e-9)
    assert found.success and found.x.shape == x0.shape
    # L-BFGS-B measures steps, the others the gradient, of whose size the square is what may be left.
    assert abs(found.fun - best.value) < 1e-9
    assert np.abs(found.x[: 5 * 4].reshape(5, 4) - best.theta[:5]).max() < 1e-4


def test_scipy_takes_the_operator_for_the_hessian(backend, p):
    obj = p.objective(backend)
    x0 = np.zeros(obj.shape).ravel()
    found = scipy.optimize.minimize(
        obj.value_and_grad, x0, jac=True, hess=obj.hess_operator, method="trust-constr", options={"gtol": 1e-7}
    )
    assert abs(found.fun - minimize(obj, tol=1e-9).value) < 1e-9


@pytest.mark.parametrize("shaped", [False, True])
def test_the_operator_is_the_hessian(backend, p, shaped):
    obj = p.objective(backend)
    theta = p.theta if shaped else p.theta.ravel()
    H = obj.hess_operator(theta)
    assert isinstance(H, LinearOperator) and H.shape == (theta.size, theta.size) and H.dtype == theta.dtype
    wanted = dense(obj, p.theta.ravel())
    before = obj.n_passes
    np.testing.assert_array_equal(H @ np.eye(theta.size), wanted)
    assert obj.n_passes == before + theta.size
    v = np.arange(theta.size) / theta.size
    np.testing.assert_array_equal(H.rmatvec(v), H.matvec(v))
    np.testing.assert_array_equal(H @ v[:, None], (H @ v)[:, None])


def test_the_operator_serves_solvers_of_equations_and_eigenvalues(p):
    obj = p.objective("numpy")
    H, wanted = obj.hess_operator(p.theta), dense(obj, p.theta.ravel())
    largest = eigsh(H, k=1, return_eigenvectors=False)[0]
    assert abs(largest - np.linalg.eigvalsh(wanted)[-1]) < 1e-8
    grad = obj.value_and_grad(p.theta.ravel())[1]
    step, left = cg(H, grad, rtol=1e-10)
    assert left == 0 and np.abs(wanted @ step - grad).max() < 1e-8


def test_the_operator_stays_at_its_point(p):
    obj, theta = p.objective("numpy"), p.theta.astype(float)
    H, v = obj.hess_operator(theta), np.ones(theta.size)
    before = H @ v
    theta += 1
    np.testing.assert_array_equal(H @ v, before)


def test_a_theta_of_another_shape_is_refused_at_once(p):
    with pytest.raises(ValueError, match=r"theta has shape \(3,\); \(6, 4\) .* is wanted"):
        p.objective("numpy").hess_operator(np.zeros(3))
