"""The gap that an exact Hessian proves: never less than the true gap, and little more near the minimum."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fastsoftmax import Objective, datasets, minimize
from fastsoftmax.solvers.geometry import hessian_metric
from fastsoftmax.solvers.geometry.hessian import Design, hessian
from fastsoftmax.solvers.geometry.hessian_metric import HessianMetric, largest_gain
from fastsoftmax.solvers.geometry.metric import Metric, moments

EPS = np.finfo(np.float64).eps


def random_objective(seed, *, dtype=np.float64):
    """Any size, signal, scales, penalty, weights and targets; one in four without an intercept or a penalty."""
    rng = np.random.default_rng(seed)
    m, n, k = int(rng.integers(60, 400)), int(rng.integers(1, 7)), int(rng.integers(2, 5))
    X, y = datasets.make_problem(m, n, k, signal=float(rng.choice([0.3, 1.0, 3.0])), seed=seed)[:2]
    X = (X * 10.0 ** rng.integers(-3, 4, n) + rng.choice([0.0, 5.0])).astype(dtype)
    soft = rng.random((m, k)).astype(dtype)
    options = {
        "fit_intercept": bool(rng.integers(4)),
        "sample_weight": rng.random(m) * rng.integers(0, 3, m) if rng.integers(2) else None,
        "l2": float(rng.choice([0.0, 1e-6, 1e-3, 0.1])),
    }
    if rng.integers(3) == 0:
        return Objective(X, soft, **options)
    y[:k] = np.arange(k)
    return Objective(X, y, k, label_smoothing=float(rng.choice([0.0, 0.1])), **options)


def roundings(obj, theta, value):
    """By how much rounding may change the difference of two values near theta: some eps of the logits' terms."""
    n, source = obj.n_features, obj.source
    terms = np.abs(source.X) @ np.abs(theta[:n]) + np.abs(theta[n:]).sum(axis=0)
    w = np.ones(len(terms)) if source.w is None else source.w
    return 4 * EPS * (value + float(w @ terms.max(axis=1)) / obj.weight_sum)


def least_value(obj):
    """A run down to rounding; the test is skipped where there is no minimum."""
    best = minimize(obj, solver="newton", tol=1e-13, max_iter=300)
    if "separable" in best.message:
        pytest.skip("separable classes have no minimum")
    return best


def random_direction(obj, metric, seed):
    """A direction in which all parameters that take part move, in units of the metric."""
    step = np.random.default_rng(seed).standard_normal(obj.shape)
    return metric.to_theta(step / np.linalg.norm(step))


@pytest.mark.parametrize("seed", range(40))
def test_the_proof_is_above_the_gap_wherever_it_is_asked_for(seed):
    """Whatever the distances between minimum, point and the point of the Hessian."""
    obj = random_objective(seed)
    best = least_value(obj)
    metric = Metric(moments(obj), obj.l2)
    design = Design(obj, metric)
    proofs = 0
    for number, far in enumerate(10.0 ** np.arange(-5, 1)):
        at = HessianMetric(obj, best.theta + far * random_direction(obj, metric, number), design)
        for further in (0.0, 0.1, 1.0):
            theta = at.theta + further * far * random_direction(obj, metric, 100 + number)
            value, grad = obj.value_and_grad(theta)
            gap = at.gap(theta, value, grad, np.inf)
            proofs += np.isfinite(gap)
            assert value - best.value <= gap + roundings(obj, theta, value)
    assert proofs


@pytest.mark.parametrize("seed", range(40))
def test_the_bound_of_a_run_is_above_its_gap_at_every_step(seed):
    obj = random_objective(seed)
    best = least_value(obj)
    for tol in (1e-2, 1e-4, 1e-6):
        res = minimize(obj, solver="newton", tol=tol)
        assert res.converged, res.message
        for step in res.history:
            assert step.gap_bound is None or (step.value - best.value) / step.value <= step.gap_bound


@pytest.mark.parametrize("seed", range(6))
def test_in_float32_too(seed):
    obj = random_objective(seed, dtype=np.float32)
    source = obj.source
    targets = source.soft if source.y is None else source.y
    exact = Objective(
        source.X.astype("f8"),
        targets,
        obj.n_classes,
        fit_intercept=obj.fit_intercept,
        sample_weight=source.w,
        l2=obj.l2,
        label_smoothing=source.smoothing,
    )
    best = least_value(exact)
    res = minimize(obj, solver="newton")
    assert res.gap_bound is None or exact.value(res.theta) - best.value <= res.gap_bound * res.value


def test_near_the_minimum_the_proof_is_hardly_more_than_the_gap():
    X, y = datasets.make_problem(2000, 5, 3, signal=1.0)[:2]
    for l2 in (0.0, 1e-3):
        obj = Objective(X, y, fit_intercept=True, l2=l2)
        best = minimize(obj, solver="newton", tol=1e-13)
        metric = Metric(moments(obj), l2)
        theta = best.theta + 1e-3 * random_direction(obj, metric, 0)
        theta -= theta.mean(axis=1, keepdims=True)
        value, grad = obj.value_and_grad(theta)
        gap = HessianMetric(obj, theta, Design(obj, metric)).gap(theta, value, grad, np.inf)
        assert value - best.value <= gap <= 1.1 * (value - best.value)


def test_without_a_penalty_a_run_proves_its_gap_and_is_done():
    """With separable classes nothing is proven."""
    X, y = datasets.make_problem(2000, 5, 3, signal=3.0)[:2]
    obj = Objective(X, y, fit_intercept=True)
    res = minimize(obj, solver="newton")
    assert res.converged and res.gap_bound <= 1e-6
    best = minimize(obj, solver="newton", tol=1e-13).value
    assert res.value - best <= res.gap_bound * res.value
    apart = minimize(Objective(X, (X[:, 0] > 0).astype(int), fit_intercept=True), solver="newton")
    assert not apart.converged and apart.gap_bound is None and "separable" in apart.message


def test_a_start_whose_gap_is_proven_needs_no_step():
    """Even where its gradient norm is above tol."""
    obj = Objective(*datasets.make_problem(500, 4, 3)[:2], fit_intercept=True, l2=1e-6)
    theta = minimize(obj, solver="newton", tol=1e-12).theta
    theta[0] += 1e-5 * np.array([1.0, -1.0, 0.0])
    res = minimize(obj, solver="newton", theta0=theta)
    assert res.n_iter == 0 and res.converged and res.gap_bound <= 1e-6 < res.grad_norm
    assert "relative gap at most" in res.message and "<= tol 1e-06" in res.message


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_hessian_is_one_in_this_metric(fit_intercept):
    obj = Objective(*datasets.make_problem(300, 4, 3)[:2], fit_intercept=fit_intercept, l2=0.1)
    metric = Metric(moments(obj), obj.l2)
    theta = np.random.default_rng(0).standard_normal(obj.shape)
    at = HessianMetric(obj, theta - theta.mean(axis=1, keepdims=True), Design(obj, metric))
    psi = np.random.default_rng(1).standard_normal((5, *obj.shape))
    # Without their parts along the shift of all classes alike.
    steps = [at.to_theta(one) for one in psi]
    steps = [step - step.mean(axis=1, keepdims=True) for step in steps]
    for step in steps:
        image = at.to_phi_gradient(obj.hess_prod(at.theta, step)).ravel()
        assert image @ image == pytest.approx(np.vdot(step, obj.hess_prod(at.theta, step)), rel=1e-9)


def test_the_range_of_a_step_is_that_of_the_rows_that_weigh():
    X, y = datasets.make_problem(500, 4, 3)[:2]
    X[7] *= 1e3
    w = np.ones(500)
    w[7] = 0.0
    obj = Objective(X, y, fit_intercept=True, sample_weight=w)
    metric = Metric(moments(obj), 0.0)
    step = np.random.default_rng(0).standard_normal(obj.shape)
    H = np.delete(X @ step[:-1] + step[-1], 7, axis=0)
    before = obj.n_passes
    assert Design(obj, metric).rows.range(metric.coordinates(step)) == pytest.approx(np.ptp(H, axis=1).max(), rel=1e-12)
    assert obj.n_passes == before + 1


@pytest.mark.parametrize("u", [1e-9, 0.9e-3, 1.1e-3, 0.1, 0.9, 0.999])
def test_the_largest_gain_is_that_of_the_function_it_bounds(u):
    kappa = 7.0
    decrement = u / kappa

    def left(s):
        r = kappa * s
        second = (np.expm1(-r) + r) / kappa**2 if r > 1e-4 else s * s * (0.5 - r / 6 + r * r / 24)
        return second - decrement * s

    found = minimize_scalar(left, bounds=(0.0, 2.0 * -np.log1p(-u) / kappa), method="bounded", options={"xatol": 1e-14})
    got = largest_gain(decrement, kappa)
    assert got >= -found.fun * (1 - 1e-7) and got == pytest.approx(-found.fun, rel=1e-6)


def test_nothing_is_proven_where_the_decrement_is_large_or_the_hessian_no_matrix_to_trust(monkeypatch):
    assert largest_gain(0.5, 2.0) == largest_gain(3.0, 2.0) == np.inf
    X, y = datasets.make_problem(300, 4, 3, signal=1.0)[:2]
    obj = Objective(X, y, fit_intercept=True)
    best = minimize(obj, tol=1e-10)
    value, grad = obj.value_and_grad(best.theta)
    design = Design(obj, Metric(moments(obj), 0.0))
    assert HessianMetric(obj, best.theta, design).gap(best.theta, value, grad, np.inf) < 1e-9

    def indefinite(theta, design):
        H = hessian(theta, design)
        return H - 2.0 * np.eye(len(H))

    monkeypatch.setattr(hessian_metric, "hessian", indefinite)
    at = HessianMetric(obj, best.theta, design)
    assert at.gap(best.theta, value, grad, np.inf) == np.inf
    np.testing.assert_array_equal(at.factor, np.eye(15))
