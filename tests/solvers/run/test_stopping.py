"""The stopping rule, asked without a run: what it says of an iterate, and when it has lost its patience."""

import numpy as np
import pytest

from fastsoftmax import Objective, datasets, minimize
from fastsoftmax.solvers.geometry.hessian import Design
from fastsoftmax.solvers.geometry.hessian_metric import HessianMetric
from fastsoftmax.solvers.geometry.metric import Metric, moments
from fastsoftmax.solvers.result import Step
from fastsoftmax.solvers.run.stopping import PATIENCE, PATIENCE_L1, StoppingRule


def objective(l2=1e-3, k=None, **options):
    X, y, _ = datasets.make_problem(600, 4, 3, signal=1.0)
    return Objective(X, y, k, fit_intercept=True, l2=l2, backend="numpy", **options)


def rule_of(obj, *, tol=1e-6, max_iter=100, l1=0.0):
    found = moments(obj)
    return StoppingRule(obj, Metric(found, obj.l2, diagonal=l1 > 0), found, tol=tol, max_iter=max_iter, l1=l1)


def iterate(rule, theta):
    return rule.iterate(theta, *rule.obj.value_and_grad(theta))


def step(iteration, n_passes):
    return Step(iteration, 0.0, 0.0, n_passes, 0.0)


def test_an_iterate_has_converged_by_its_gradient_norm_or_by_its_gap():
    obj = objective()
    best = minimize(obj, solver="newton", tol=1e-12).theta
    rule = rule_of(obj)
    far, near = iterate(rule, np.zeros(obj.shape)), iterate(rule, best)
    for at in (far, near):
        rule.bound_gap(at, None)
    assert not rule.has_converged(far) and not rule.is_proven(far)
    assert far.grad_norm**2 <= (far.value - obj.value(best)) / far.value <= far.gap_bound
    assert rule.evidence(far) == f"gradient norm {far.grad_norm:.3g} > tol 1e-06"
    assert rule.has_converged(near) and rule.is_proven(near)
    assert rule.evidence(near) == f"relative gap at most {near.gap_bound:.3g} <= tol 1e-06"
    near.gap_bound = 0.5
    assert rule.has_converged(near) and not rule.is_proven(near)
    assert rule.evidence(near).endswith("<= tol 1e-06, which does not prove it (relative gap at most 0.5)")


def test_with_l1_the_norm_is_that_of_the_shortest_subgradient():
    obj = objective(l2=0.0)
    theta = minimize(obj, l1=0.05, tol=1e-9).theta
    held = theta == 0
    assert held.any()
    value, grad = obj.value_and_grad(theta)
    at = rule_of(obj, l1=0.05).iterate(theta, value + 0.05 * float(np.abs(theta[:-1]).sum()), grad)
    assert at.grad_norm <= 1e-9
    # A gradient of l1 and more where the parameter is 0 counts by what is above l1.
    grad[:-1][held[:-1]] = 0.06
    assert rule_of(obj, l1=0.05).iterate(theta, value, grad).grad_norm > 1e-3


@pytest.mark.parametrize(("l1", "patience"), [(0.0, PATIENCE), (1e-3, PATIENCE_L1)])
def test_it_waits_for_a_lower_value_or_norm_and_no_longer_than_its_patience(l1, patience):
    obj = objective()
    rule = rule_of(obj, l1=l1, max_iter=10_000)
    at = iterate(rule, np.zeros(obj.shape))
    assert rule.no_progress(at, step(0, 2)) is None
    assert rule.no_progress(at, step(1, 1 + patience)) is None
    lower = rule.iterate(at.theta, at.value, 0.5 * at.grad)
    assert rule.no_progress(lower, step(2, 1 + patience)) is None
    assert rule.no_progress(at, step(3, 2 * patience)) is None
    why = rule.no_progress(at, step(4, 1 + 2 * patience))
    assert why.startswith("can make no more progress after 4 iterations because") and ("l2 > 0" in why) == (l1 > 0)


def test_a_step_that_takes_no_pass_counts_as_one():
    obj = objective()
    rule = rule_of(obj, max_iter=10_000)
    at = iterate(rule, np.zeros(obj.shape))
    reasons = [rule.no_progress(at, step(number, 2)) for number in range(PATIENCE + 1)]
    assert reasons[:-1] == [None] * PATIENCE
    assert reasons[-1].startswith(f"can make no more progress after {PATIENCE} iterations because")


def test_most_steps():
    rule = rule_of(objective(), max_iter=3)
    at = iterate(rule, np.zeros((5, 3)))
    assert rule.no_progress(at, step(2, 2)) is None
    assert rule.no_progress(at, step(3, 3)) == "stopped at max_iter = 3"


def test_where_there_is_no_minimum_nothing_has_converged():
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), [0, 0, 1, 1]
    obj = Objective(X, y, fit_intercept=True, backend="numpy")
    rule, theta = rule_of(obj, tol=10.0), np.array([[-50.0, 50.0], [0.0, 0.0]])
    start, end = iterate(rule, np.zeros((2, 2))), iterate(rule, theta)
    assert rule.no_minimum(start) is None and rule.has_converged(start)
    assert "classes are separable" in rule.no_minimum(end) and not rule.has_converged(end)
    rule = rule_of(objective(k=4), tol=10.0)
    at = iterate(rule, np.zeros((5, 4)))
    assert "class 3 has no row of positive weight" in rule.no_minimum(at) and not rule.has_converged(at)


def test_a_proof_without_a_penalty_takes_the_hessian_at_the_iterate():
    obj = objective(l2=0.0)
    rule, best = rule_of(obj), minimize(obj, solver="newton", tol=1e-10).theta
    design = Design(obj, rule.metric)
    exact, at = HessianMetric(obj, best + 0.3, design), iterate(rule, best)
    rule.bound_gap(at, None)
    assert at.gap_bound is None and rule.prove(at, None, None) is None
    # One far away proves nothing, so that a new one is made.
    far = HessianMetric(obj, 30.0 * best, design)
    latest = rule.prove(at, far, None)
    assert latest is not far and latest.theta is at.theta and rule.is_proven(at)
    # That of a subsample is asked first.
    again = iterate(rule_of(obj), best)
    assert rule_of(obj).prove(again, far, exact) is far and again.gap_bound <= 1e-6


def test_classes_that_the_proof_finds_separable_have_no_minimum():
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=300)
    X = rng.standard_normal((300, 2)) + np.where(y == 2, 100.0, 0.0)[:, None]
    obj = Objective(X, y, fit_intercept=True, backend="numpy")
    theta = minimize(obj, solver="newton").theta
    rule = rule_of(obj)
    at = iterate(rule, theta)
    rule.prove(at, HessianMetric(obj, at.theta, Design(obj, rule.metric)), None)
    assert rule.some_separable and not rule.has_converged(at)
