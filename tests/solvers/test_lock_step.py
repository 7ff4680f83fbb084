"""`minimize_all`: models find what separate runs find, the same in every run, and an error in one model ends all."""

import threading

import numpy as np
import pytest
from problems import random_problem

from fastsoftmax import Objective, minimize
from fastsoftmax.kernels.machine import refused
from fastsoftmax.objective.stacked import StackedObjective
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


@pytest.mark.parametrize(("solver", "together"), [("lbfgs", True), ("auto", True), ("newton", False)])
def test_lock_step_runs_find_what_separate_runs_do(backend, solver, together):
    p, stacked, fold = stacked_problem(backend)
    full = Run(stacked.obj, tol=1e-8, max_iter=500, callback=None)
    run_solver(full, np.zeros(stacked.shape), solver)
    warm_starts = [WarmStart() for _ in range(4)]
    options = {"solver": solver, "tol": 1e-8, "max_iter": 500, "similar_run": full, "together": together}
    fits = minimize_all(stacked, warm_starts, **options)
    assert all(fit.converged for fit in fits)
    for model, fit in enumerate(fits):
        wanted = minimize(alone(p, fold, model), solver="newton", tol=1e-12)
        assert fit.value == pytest.approx(wanted.value, rel=3e-8)
    if together:
        assert stacked.n_passes < sum(fit.n_passes for fit in fits)
    stacked.l2 = 1e-3
    weaker = minimize_all(stacked, warm_starts, **options)
    for model, fit in enumerate(weaker):
        wanted = minimize(alone(p.but(l2=1e-3), fold, model), solver="newton", tol=1e-12)
        assert fit.converged and fit.value == pytest.approx(wanted.value, rel=3e-8)


def test_models_of_quasi_separable_classes_say_so(backend):
    """One class is apart from two that overlap: without a penalty no model has a minimum."""
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=300).astype(np.int32)
    X = rng.standard_normal((300, 2)) + np.where(y == 2, 100.0, 0.0)[:, None]
    fold = rng.integers(FOLDS, size=300).astype(np.int32)
    stacked = StackedObjective(Objective(X, y, 3, fit_intercept=True, backend=backend), fold, np.array([0, 1, 2, -1]))
    options = {"tol": 1e-6, "max_iter": 500}
    full = Run(stacked.obj, callback=None, **options)
    run_solver(full, np.zeros(stacked.shape), "newton")
    warm_starts = [WarmStart() for _ in range(4)]
    for fit in minimize_all(stacked, warm_starts, solver="newton", similar_run=full, together=False, **options):
        assert not fit.converged and "some classes are separable from the others" in fit.message


def test_runs_in_threads_are_the_same_every_time(backend):
    _, stacked, _ = stacked_problem(backend, m=2000)
    full = Run(stacked.obj, tol=1e-6, max_iter=500, callback=None)
    options = {"solver": "lbfgs", "tol": 1e-6, "max_iter": 500, "similar_run": full}
    first, second = (minimize_all(stacked, [WarmStart() for _ in range(4)], **options) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.theta, other.theta)


@pytest.mark.parametrize("most", [0, 1, 3])
def test_where_the_system_refuses_threads_the_models_take_turns(monkeypatch, most):
    """``most`` threads at a time."""
    _, stacked, _ = stacked_problem()
    full = Run(stacked.obj, tol=1e-6, max_iter=500, callback=None)
    options = {"solver": "lbfgs", "tol": 1e-6, "max_iter": 500, "similar_run": full}
    wanted = minimize_all(stacked, [WarmStart() for _ in range(4)], **options)
    before, start = threading.active_count(), threading.Thread.start

    def refuse(thread):
        if threading.active_count() - before >= most:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(refused, "_said", False)
    with pytest.warns(RuntimeWarning, match=f"with {most} of the 4 threads") as caught:
        found = minimize_all(stacked, [WarmStart() for _ in range(4)], **options)
    assert len(caught) == 1
    for one, other in zip(found, wanted, strict=True):
        assert one.converged and one.value == pytest.approx(other.value, rel=1e-6)
    assert threading.active_count() == before


def test_an_error_while_threads_start_ends_those_that_run(monkeypatch):
    _, stacked, _ = stacked_problem()
    before, start = threading.active_count(), threading.Thread.start

    def interrupt(thread):
        if threading.active_count() - before == 2:
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        LockStep(stacked).run(lambda member: member.value_and_grad(np.zeros(member.shape)), range(4))
    assert threading.active_count() == before


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
