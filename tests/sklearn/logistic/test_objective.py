"""scikit-learn's parameters and ours: the same objective, the same gradient."""

import inspect

import numpy as np
import pytest

from fastsoftmax.kernels.machine import default_threads
from fastsoftmax.sklearn.logistic import host
from fastsoftmax.sklearn.logistic.call import Call
from fastsoftmax.sklearn.logistic.objective import logistic

PATH = host.function(host.LOGISTIC_FIT, host.PATH)


def model(k, **given):
    rng = np.random.default_rng(k)
    X, y = rng.normal(size=(30, 4)), np.arange(30) % k
    classes = {"classes": np.arange(k)} if "classes" in inspect.signature(PATH).parameters else {}
    return logistic(Call.of(PATH, (X, y), {**classes, **given})), X, y


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("k", [2, 3])
def test_coefficients_and_back(k, fit_intercept):
    found, _, _ = model(k, fit_intercept=fit_intercept)
    coef = np.random.default_rng(0).normal(size=(1 if k == 2 else k, 4 + fit_intercept))
    coef -= coef.mean(axis=0) if k > 2 else 0.0
    np.testing.assert_allclose(np.atleast_2d(found.to_coef(found.to_theta(coef))), coef, rtol=0, atol=1e-15)


@pytest.mark.parametrize("coef", [np.zeros((2, 5)), np.zeros(4), np.zeros((3, 4))])
def test_a_start_of_another_shape_is_an_error(coef):
    with pytest.raises(ValueError, match="expected shape"):
        model(2)[0].to_theta(coef)


@pytest.mark.parametrize("l1_ratio", [None, 0.0, 0.4, 1.0])
@pytest.mark.parametrize("k", [2, 3])
def test_the_slope_is_that_of_scikit_learns_objective(k, l1_ratio):
    penalty = {"penalty": "l2"} if l1_ratio is None else {"penalty": "elasticnet", "l1_ratio": l1_ratio}
    found, X, y = model(k, **penalty)
    C = np.inf if l1_ratio is None else 0.5
    l1 = found.set_C(C)
    coef = np.random.default_rng(1).normal(size=(1 if k == 2 else k, 5))

    def value(coef):
        H = X @ coef[:, :-1].T + coef[:, -1]
        H = np.hstack([np.zeros_like(H), H]) if k == 2 else H
        w, p = coef[:, :-1], l1_ratio or 0.0
        penalty = ((1 - p) / 2 * np.sum(w**2) + p * np.sum(np.abs(w))) / C
        return (np.sum(np.logaddexp.reduce(H, axis=1) - H[np.arange(len(y)), y]) + penalty) / len(y)

    steps = 1e-6 * np.eye(coef.size).reshape(-1, *coef.shape)
    differences = [(value(coef + step) - value(coef - step)) / 2e-6 for step in steps]
    theta = found.to_theta(coef)
    slope = found.slope(theta, found.obj.value_and_grad(theta)[1], l1)
    assert slope == pytest.approx(np.abs(differences).max(), rel=1e-6)


@pytest.mark.parametrize(("rows", "limited"), [(30, True), (200_000, False)])
def test_short_passes_take_one_thread(rows, limited):
    X, y = np.ones((rows, 20)), np.arange(rows) % 2
    classes = {"classes": np.arange(2)} if "classes" in inspect.signature(PATH).parameters else {}
    n_threads = logistic(Call.of(PATH, (X, y), classes)).obj.n_threads
    assert n_threads == (1 if limited else default_threads())
