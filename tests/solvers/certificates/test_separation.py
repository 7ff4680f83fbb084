"""Whether there is a minimum: a class without rows has none where there is an intercept."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax import Objective, minimize, regularization_path
from fastsoftmax.data.sources.source import HEAD_ROWS
from fastsoftmax.solvers.certificates.separation import absent_class

M = 400


def data(kind):
    """X, targets of classes 0, 1 and 3 of four, and weights."""
    rng = np.random.default_rng(3)
    X, y, w = rng.standard_normal((M, 4)), np.array([0, 1, 3])[np.arange(M) % 3], None
    if kind == "sparse":
        X = sp.csr_array(np.where(rng.random((M, 4)) < 0.5, X, 0.0))
    if kind == "weight 0":
        y, w = np.arange(M) % 4, np.where(np.arange(M) % 4 == 2, 0.0, 1.5)
    if kind == "soft":
        y = np.eye(4)[y] * 0.8 + np.eye(4)[(y + 1) // 2] * 0.2
        y[:, 2] = 0.0
    return X, y, w


@pytest.mark.parametrize("kind", ["dense", "sparse", "weight 0", "soft"])
@pytest.mark.parametrize("l2", [1e-2, 0.0])
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg"])
def test_a_class_without_rows_has_no_minimum(kind, l2, solver):
    if kind == "sparse" and solver == "newton":
        pytest.skip("newton takes dense X")
    X, y, w = data(kind)
    result = minimize(Objective(X, y, 4, fit_intercept=True, sample_weight=w, l2=l2), solver=solver)
    assert not result.converged
    assert "class 2 has no row of positive weight" in result.message or "separable" in result.message


def test_with_l1_and_on_a_path_neither():
    X, y, w = data("dense")
    obj = Objective(X, y, 4, fit_intercept=True)
    assert not minimize(obj, l1=1e-2).converged
    assert not any(result.converged for result in regularization_path(obj, l2s=[1e-1, 1e-2]))


def test_without_an_intercept_there_is_a_minimum():
    X, y, w = data("dense")
    assert minimize(Objective(X, y, 4, l2=1e-2)).converged
    assert minimize(Objective(X, y, 4, l2=1e-2, fit_intercept=True, label_smoothing=0.1)).converged


def test_all_rows_are_looked_at_before_a_class_is_called_absent():
    y = np.zeros(HEAD_ROWS + 2, int)
    y[-1], y[-2] = 2, 1
    X = np.ones((len(y), 1))
    assert absent_class(Objective(X, y, 3, fit_intercept=True)) is None
    assert absent_class(Objective(X, y, 4, fit_intercept=True)) == 3
    w = np.ones(len(y))
    w[-1] = 0.0
    assert absent_class(Objective(X, y, 3, fit_intercept=True, sample_weight=w)) == 2
