"""Penalties with l1: the conditions of an optimum, exact zeros, bounds, and the two ends of the elastic net."""

import numpy as np
import pytest
from samples import badly_scaled

from fastsoftmax import Objective, SoftmaxRegression, datasets, minimize
from fastsoftmax.solvers.run import Run


def data(name="wine"):
    X, y, _ = datasets.load_sample(name)
    return (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1), np.unique(y, return_inverse=True)[1]


def objective(name="wine", **options):
    return Objective(*data(name), **{"fit_intercept": True} | options)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("l1", "l2"), [(1e-2, 0.0), (1e-3, 0.0), (1e-2, 1e-2), (0.1, 1e-4)])
def test_the_conditions_of_an_optimum_hold(backend, fit_intercept, l1, l2):
    obj = objective(l2=l2, fit_intercept=fit_intercept, backend=backend)
    res = minimize(obj, l1=l1, tol=1e-8, max_iter=5000)
    assert res.converged and res.solver == "l1", res.message
    value, grad = obj.value_and_grad(res.theta)
    theta, grad, bias = res.theta[:13], grad[:13], grad[13:]
    zero = theta == 0
    assert 0.1 < zero.mean() < 1
    # Columns have unit scale. A gap of 1e-8, which is what a run may end by, allows the gradient its root.
    few = np.sqrt(2e-8 * res.value) * max(np.sqrt(l2), 1e-3)
    np.testing.assert_allclose(grad[~zero], -l1 * np.sign(theta[~zero]), rtol=0, atol=few)
    assert np.abs(grad[zero]).max() <= l1 + few and np.abs(bias).max(initial=0) <= few
    assert res.value == pytest.approx(value + l1 * np.abs(theta).sum(), rel=1e-14)


def test_with_default_settings_the_gap_is_within_the_target_and_the_bound_above_it():
    for name in datasets.SAMPLES:
        best = minimize(objective(name), l1=1e-3, tol=1e-8, max_iter=20_000)
        res = minimize(objective(name), l1=1e-3)
        gap = (res.value - best.value) / best.value
        assert res.converged and gap <= 1e-6
        assert all((step.value - best.value) / step.value <= step.gap_bound for step in res.history)


def test_raw_columns_are_as_good_as_scaled_ones():
    X, y, _ = datasets.load_sample("wine")
    assert minimize(Objective(X, np.unique(y, return_inverse=True)[1], fit_intercept=True), l1=1e-2).n_passes < 200


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(("name", "l1"), [("wine", 1e-3), ("iris", 1e-3), ("breast_cancer", 1e-3), ("scales", 1e-2)])
def test_raw_and_badly_scaled_columns_end_at_the_minimum_in_either_dtype(name, l1, dtype):
    if name == "scales":  # scales from 1e-3 to 1e6, means up to 10^4 deviations from zero
        X, y = badly_scaled(m=2000)
    else:
        X, labels, _ = datasets.load_sample(name)
        y = np.unique(labels, return_inverse=True)[1]
    X = X.astype(dtype)
    exact = Objective(X.astype("f8"), y, fit_intercept=True)
    best = minimize(exact, l1=l1, tol=1e-8, max_iter=5000)
    res = minimize(Objective(X, y, fit_intercept=True), l1=l1)
    assert res.converged, res.message
    value = exact.value(res.theta) + l1 * np.abs(res.theta[:-1]).sum()
    assert value - best.value <= 1e-6 * best.value


def test_the_norm_does_not_depend_on_where_columns_lie():
    """A shift of the columns adds the bias's gradient times their means to the gradient, which must not count where l1
    holds a parameter at 0."""
    X, y = data("iris")
    theta = minimize(Objective(X, y, fit_intercept=True), l1=1e-2, tol=1e-3).theta
    assert (theta[:-1] == 0).any()
    norms = []
    for shift in (0.0, 2.0**12):
        obj = Objective(X + shift, y, fit_intercept=True)
        run = Run(obj, tol=1e-9, max_iter=5, callback=None, l1=1e-2)
        moved = theta.copy()
        moved[-1] -= shift * theta[:-1].sum(axis=0)
        run.accept(moved)
        norms.append(run.grad_norm)
    # Roundings of the logits and gradients of shifted columns, divided by sqrt(2 value).
    few = 64 * 2.0**12 * np.finfo("f8").eps
    assert norms[0] > 1e3 * few and abs(norms[1] - norms[0]) <= few


def test_why_it_ended_is_said():
    res = minimize(objective(), l1=1e-2, tol=1e-300, max_iter=10_000)
    assert not res.converged and "l2 > 0 or a larger tol helps" in res.message


def test_a_penalty_above_the_largest_slope_leaves_the_bias_alone():
    obj = objective()
    bias = np.vstack([np.zeros((13, 3)), np.log(np.bincount(data()[1]))])
    largest = np.abs(obj.value_and_grad(bias)[1][:13]).max()
    assert not minimize(obj, l1=1.001 * largest).theta[:13].any()
    assert minimize(obj, l1=0.99 * largest, tol=1e-8).theta[:13].any()


def test_a_vanishing_l1_gives_the_answer_without():
    one, other = minimize(objective(l2=1e-2), l1=1e-12, tol=1e-8), minimize(objective(l2=1e-2), tol=1e-12)
    np.testing.assert_allclose(one.theta[:13], other.theta[:13], rtol=0, atol=1e-5)


def test_a_start_near_the_answer_is_used_and_constant_columns_stay_zero():
    X, y = data()
    obj = Objective(np.hstack([X, np.full((len(X), 1), 3.0)]), y, fit_intercept=True)
    res = minimize(obj, l1=1e-2)
    assert res.converged and not res.theta[13].any()
    again = minimize(obj, l1=1e-2, theta0=res.theta)
    assert again.converged and again.n_iter == 0


def test_another_solver_is_an_error_and_so_is_a_negative_l1():
    with pytest.raises(ValueError, match="solver must be 'auto' where l1 is above 0"):
        minimize(objective(), l1=0.1, solver="newton")
    with pytest.raises(ValueError, match="l1 must be"):
        minimize(objective(), l1=-1)


def test_the_estimator_has_zeros_too():
    X, y = data()
    clf = SoftmaxRegression(l1=0.02, l2=0).fit(X, y)
    assert 0.3 < np.mean(clf.coef_ == 0) < 1 and clf.score(X, y) > 0.95
