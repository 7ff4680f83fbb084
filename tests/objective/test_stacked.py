"""Stacked objectives: each model is what its own objective says, and lock-step runs find what separate runs do."""

import numpy as np
import pytest
from problems import random_problem
from tolerance import check_value_and_grad

from fastsoftmax import Objective, minimize
from fastsoftmax.objective.stacked import FoldSource, StackedObjective
from fastsoftmax.solvers.lock_step import LockStep, minimize_all
from fastsoftmax.solvers.minimize import run_solver
from fastsoftmax.solvers.run import Run
from fastsoftmax.solvers.warm_start import WarmStart

FOLDS = 3


def stacked_problem(backend="numpy", *, weights=True, dtype="f8", l2=1e-2, intercept=True, m=600, n=7):
    """Models without fold 0, 1, 2, and one with all rows."""
    p = random_problem(m, n, 4, dtype=dtype, weights=weights, intercept=intercept, l2=l2)
    fold = np.random.default_rng(5).integers(FOLDS, size=m).astype(np.int32)
    return p, StackedObjective(p.objective(backend), fold, np.array([0, 1, 2, -1])), fold


def alone(p, fold, model, backend="numpy", **options):
    """The objective of one model's rows alone."""
    kept = fold != model if model < FOLDS else np.ones(len(fold), bool)
    part = p.but(X=p.X[kept], y=p.y[kept], w=None if p.w is None else p.w[kept])
    return part.objective(backend, **options)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_values_gradients_and_held_out_scores_are_those_of_separate_objectives(backend, dtype, weights, intercept):
    p, stacked, fold = stacked_problem(backend, weights=weights, dtype=dtype, intercept=intercept)
    thetas = [p.theta.astype("f8") * factor for factor in (0.5, 1.0, -1.0, 2.0)]
    values, grads = stacked.value_and_grads(thetas)
    losses, right = stacked.held_out(thetas)
    assert stacked.n_passes == 2 and len(stacked) == 4
    for model, theta in enumerate(thetas):
        left = fold == model
        kept, rest = (p.but(X=p.X[i], y=p.y[i], w=None if p.w is None else p.w[i], theta=theta) for i in (~left, left))
        check_value_and_grad(kept, values[model], grads[model])
        if not left.any():
            assert np.isnan(losses[model]) and np.isnan(right[model])
            continue
        check_value_and_grad(rest.but(l2=0.0), losses[model])
        label = rest.objective(backend).evaluate(theta, grad=False, label=True).label
        assert right[model] == pytest.approx(np.average(label == rest.y, weights=rest.w), rel=1e-12)


def test_the_bits_of_a_model_do_not_depend_on_the_others_where_the_same_loops_serve(backend):
    p, stacked, _ = stacked_problem(backend, m=3000)
    thetas = [p.theta.astype("f8") * factor for factor in (0.5, 1.0, -1.0, 2.0)]
    values, grads = stacked.value_and_grads(thetas)
    for chosen in ([2], [0, 3], [1, 2, 3]):
        some, few = stacked.value_and_grads([thetas[i] for i in chosen], chosen)
        np.testing.assert_array_equal(some, values[chosen])
        for i, grad in zip(chosen, few, strict=True):
            np.testing.assert_array_equal(grad, grads[i])


@pytest.mark.parametrize(("solver", "together"), [("lbfgs", True), ("auto", True), ("newton", False)])
def test_lock_step_runs_find_what_separate_runs_do(backend, solver, together):
    p, stacked, fold = stacked_problem(backend)
    known = Run(stacked.obj, tol=1e-8, max_iter=500, callback=None)
    run_solver(known, np.zeros(stacked.shape), solver)
    trails = [WarmStart() for _ in range(4)]
    options = {"solver": solver, "tol": 1e-8, "max_iter": 500, "known": known, "together": together}
    fits = minimize_all(stacked, trails, **options)
    assert all(fit.converged for fit in fits)
    for model, fit in enumerate(fits):
        wanted = minimize(alone(p, fold, model), solver="newton", tol=1e-12)
        assert fit.value == pytest.approx(wanted.value, rel=3e-8)
    if together:
        assert stacked.n_passes < sum(fit.n_passes for fit in fits)
    stacked.l2 = 1e-3
    weaker = minimize_all(stacked, trails, **options)
    for model, fit in enumerate(weaker):
        wanted = minimize(alone(p.but(l2=1e-3), fold, model), solver="newton", tol=1e-12)
        assert fit.converged and fit.value == pytest.approx(wanted.value, rel=3e-8)


def test_models_of_quasi_separable_classes_say_so(backend):
    """One class lies apart, two overlap: without a penalty no model has a minimum."""
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=300).astype(np.int32)
    X = rng.standard_normal((300, 2)) + np.where(y == 2, 100.0, 0.0)[:, None]
    fold = rng.integers(FOLDS, size=300).astype(np.int32)
    stacked = StackedObjective(Objective(X, y, 3, fit_intercept=True, backend=backend), fold, np.array([0, 1, 2, -1]))
    options = {"tol": 1e-6, "max_iter": 500}
    known = Run(stacked.obj, callback=None, **options)
    run_solver(known, np.zeros(stacked.shape), "newton")
    trails = [WarmStart() for _ in range(4)]
    for fit in minimize_all(stacked, trails, solver="newton", known=known, together=False, **options):
        assert not fit.converged and "some classes are separable from the others" in fit.message


def test_runs_in_threads_are_the_same_every_time(backend):
    _, stacked, _ = stacked_problem(backend, m=2000)
    known = Run(stacked.obj, tol=1e-6, max_iter=500, callback=None)
    options = {"solver": "lbfgs", "tol": 1e-6, "max_iter": 500, "known": known}
    first, second = (minimize_all(stacked, [WarmStart() for _ in range(4)], **options) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.theta, other.theta)


def test_an_error_in_one_model_or_in_the_pass_ends_all():
    _, stacked, _ = stacked_problem()

    def fail(member):
        member.value_and_grad(np.zeros(member.shape))
        if member.number == 1:
            raise RuntimeError("disk full")
        member.value_and_grad(np.zeros(member.shape))

    with pytest.raises(RuntimeError, match="disk full"):
        LockStep(stacked).run(fail, range(4))
    stacked.obj.source.X[17, 2] = np.nan
    with pytest.raises(ValueError, match="row 17, column 2"):
        LockStep(stacked).run(lambda member: member.value_and_grad(np.zeros(member.shape)), range(4))


def test_a_fold_source_is_its_source_with_weights_of_zero():
    p, stacked, fold = stacked_problem(weights=False)
    source = FoldSource(stacked.obj.source, fold, 1)
    np.testing.assert_array_equal(source.w, (fold != 1).astype(float))
    parts = list(source.chunks(250))
    np.testing.assert_array_equal(np.concatenate([part.w for part in parts]), source.w)
    np.testing.assert_array_equal(np.vstack([part.X for part in parts]), p.X)


def test_what_cannot_be_stacked_is_an_error():
    p, _, fold = stacked_problem()
    with pytest.raises(ValueError, match="labels, neither soft targets nor smoothed labels"):
        StackedObjective(Objective(p.X, p.y, label_smoothing=0.1), fold, np.array([0, 1]))
    with pytest.raises(ValueError, match="model 1 has no row of positive weight"):
        StackedObjective(Objective(p.X, p.y), np.zeros(600, np.int32), np.array([1, 0]))
