"""A start from a subsample of the rows: what is in it, that it saves passes, and where it is not used."""

import numpy as np
import pytest

from fastsoftmax import Objective, minimize, regularization_path
from fastsoftmax.datasets import make_problem
from fastsoftmax.solvers.geometry.hessian import Design
from fastsoftmax.solvers.methods import auto, subsample
from fastsoftmax.solvers.run import Run


@pytest.fixture(autouse=True)
def small_subsamples(monkeypatch):
    """Use a subsample of 8,000 rows too, though it would not pay."""
    monkeypatch.setattr(subsample, "ROWS_MIN", 1000)
    monkeypatch.setattr(subsample, "ROWS_EACH", 10)
    monkeypatch.setattr(subsample, "FEW", 50)
    monkeypatch.setattr(auto, "SUBSAMPLE_COST", np.inf)
    monkeypatch.setattr(auto, "SUBSAMPLE_SURE", np.inf)


def problem(m=8000, n=6, k=3, *, seed=0, **options):
    X, y, _ = make_problem(m, n, k, signal=20.0, seed=seed)
    return Objective(X, y, **{"fit_intercept": True, "l2": 1e-5} | options)


def without(monkeypatch, obj, **options):
    """The same run without a subsample."""
    with monkeypatch.context() as patch:
        patch.setattr(subsample, "size", lambda obj: None)
        return minimize(obj, **options)


# ------------------------------------------------------------------------------------------- the subsample


def test_classes_weigh_what_they_weigh_and_rare_ones_are_there_with_all_rows():
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((9000, 2)), rng.integers(3, size=9000), rng.random(9000)
    y[[7, 4000, 8999]] = 3
    part = subsample.take(Objective(X, y, 5, sample_weight=w, l2=0.5, fit_intercept=True, label_smoothing=0.1), 600)
    own = part.source
    assert own.shape[0] < 700 and np.sum(own.y == 3) == 3 and part.shape == (3, 5)
    assert part.l2 == 0.5 and own.smoothing == 0.1
    whole, taken = np.bincount(y, weights=w, minlength=5), np.bincount(own.y, weights=own.w, minlength=5)
    # Sums of thousands of weights, each term off by half an eps of the sum at most.
    np.testing.assert_allclose(taken / part.weight_sum, whole / w.sum(), rtol=9000 * np.finfo(np.float64).eps)
    # Rows are those of X, each once.
    assert len(np.unique(own.X, axis=0)) == own.shape[0] and np.isin(own.X[:, 0], X[:, 0]).all()


def test_rows_of_a_rare_class_are_bounded_too(monkeypatch):
    monkeypatch.setattr(subsample, "FEW", 20)
    y = np.zeros(9000, np.int64)
    y[::100] = 1
    part = subsample.take(Objective(np.arange(9000.0)[:, None], y), 500)
    assert np.sum(part.source.y == 1) == 20


def test_a_class_whose_rows_in_it_all_weigh_nothing_makes_no_sample():
    rng = np.random.default_rng(0)
    X, y, w = rng.standard_normal((9000, 2)), np.arange(9000) % 3, np.ones(9000)
    w[y == 2] = 0.0
    assert subsample.take(Objective(X, y, sample_weight=w), 600) is not None
    w[np.flatnonzero(y == 2)[-1]] = 1.0
    assert subsample.take(Objective(X, y, sample_weight=w), 600) is None


def test_who_has_no_rows_to_pick_has_no_sample():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8000, 2)), rng.integers(2, size=8000)
    assert subsample.size(Objective(X, y)) == 1000
    assert subsample.size(Objective(X[:7999], y[:7999])) is None
    assert subsample.size(Objective(X, np.eye(2)[y])) is None
    assert subsample.size(Duck()) is None


class Duck:
    shape = (3, 2)


def test_a_subsample_takes_bounded_memory(monkeypatch):
    monkeypatch.setattr(subsample, "ONE_OF", 8)
    monkeypatch.setattr(subsample, "LEAST_OF", 4)
    obj = problem(m=12_000)
    assert subsample.size(obj) == 1500
    monkeypatch.setattr(subsample, "BYTES", 1200 * 7 * 8)
    assert subsample.size(obj) == 1200
    monkeypatch.setattr(subsample, "BYTES", 1000 * 7 * 8 - 1)
    assert subsample.size(obj) is None


@pytest.mark.parametrize("l2", [0.0, 1e-6])
def test_it_is_like_all_rows_unless_few_of_them_make_a_column(l2):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((8000, 4)), rng.integers(3, size=8000)
    for column, like in ((X[:, 0], True), (np.full(8000, 7.0), True), (np.arange(8000) < 3, False)):
        X[:, 3] = column  # equal to another column; constant; 1 in three rows alone
        obj = Objective(X, y, fit_intercept=True, l2=l2)
        run = Run(obj, tol=1e-6, max_iter=10, callback=None)
        part = subsample.take(obj, 600)
        assert subsample.is_like(Design(part, run.metric)) == like


# ---------------------------------------------------------------------------------------------- the run


@pytest.mark.parametrize(("dtype", "fit_intercept"), [(np.float64, True), (np.float64, False), (np.float32, True)])
def test_it_saves_passes_and_ends_at_the_same_minimum(backend, monkeypatch, dtype, fit_intercept):
    X, y, _ = make_problem(8000, 6, 3, signal=20.0, seed=0)
    obj = Objective(X.astype(dtype), y, fit_intercept=fit_intercept, l2=1e-5, backend=backend)
    plain = without(monkeypatch, obj)
    res = minimize(obj)
    assert res.converged and "by a sample of" in res.message
    # Both within tol of the minimum.
    assert "sample" not in plain.message and abs(res.value - plain.value) <= 1e-6 * plain.value
    goal = (1 + 1e-4) * min(res.value, plain.value)
    passes, without_it = (next(s.n_passes for s in run.history if s.value <= goal) for run in (res, plain))
    assert passes <= 0.7 * without_it
    assert res.n_passes == res.history[-1].n_passes


def test_the_answer_does_not_depend_on_the_threads_and_is_the_same_again():
    first, second, third = (minimize(problem(n_threads=threads)) for threads in (1, 2, 2))
    assert "by a sample of" in first.message
    assert np.array_equal(first.theta, second.theta) and np.array_equal(second.theta, third.theta)


def test_its_passes_are_counted_as_the_share_of_rows_that_they_read():
    obj = problem()
    run = Run(obj, tol=1e-6, max_iter=10, callback=None)
    run.accept(np.zeros(obj.shape))
    part, before = subsample.take(obj, 1000), obj.n_passes
    assert subsample.start(run, part) is not None
    # One pass over all rows evaluates the subsample's minimum.
    assert obj.n_passes == before + 1 + np.ceil(part.n_passes * part.n_rows / 8000) > before + 1


def test_a_subsample_that_is_not_like_all_rows_is_left_alone(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8000, 6))
    y = np.argmax(X[:, :3] + rng.gumbel(size=(8000, 3)), axis=1)
    X[:5] *= 1e4
    obj = Objective(X, y, fit_intercept=True, l2=1e-5)
    res, plain = minimize(obj), without(monkeypatch, obj)
    assert "sample" not in res.message and np.array_equal(res.theta, plain.theta)


def test_separable_rows_are_told_as_without_it(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((8000, 6))
    obj = Objective(X, np.argmax(X[:, :3], axis=1), fit_intercept=True)
    res, plain = minimize(obj), without(monkeypatch, obj)
    assert not res.converged and res.message == plain.message and "separable" in res.message


def test_without_a_penalty_the_exact_hessian_has_the_last_word():
    easy = Objective(*make_problem(8000, 6, 3, signal=1.0, seed=0)[:2], fit_intercept=True)
    # The second one reaches its tol by steps in the subsample's metric.
    for obj, tol in ((problem(l2=0.0), 1e-6), (easy, 1e-4)):
        res = minimize(obj, tol=tol)
        assert res.converged and "by a sample of" in res.message
        assert res.gap_bound is not None and res.gap_bound <= tol


def test_other_methods_take_none():
    assert "sample" not in minimize(problem(), solver="lbfgs").message


def test_a_run_that_starts_elsewhere_takes_none_but_on_a_path(monkeypatch):
    obj = problem()
    near = minimize(obj, tol=1e-3).theta
    res, plain = minimize(obj, theta0=near), without(monkeypatch, obj, theta0=near)
    assert res.converged and "sample" not in res.message and np.array_equal(res.theta, plain.theta)
    assert "by a sample of" in regularization_path(obj, [1e-3, 1e-4])[-1].message


def test_a_path_takes_fewer_passes_with_it_and_ends_where_fits_do(monkeypatch):
    obj, l2s = problem(m=60_000, n=20, k=6), np.logspace(-1, -5, 5)
    results = regularization_path(obj, l2s)
    with monkeypatch.context() as patch:
        patch.setattr(subsample, "size", lambda obj: None)
        before = regularization_path(obj, l2s)
    assert sum(res.n_passes for res in results) < sum(res.n_passes for res in before)
    for res, other in zip(results, before, strict=True):
        assert res.converged and abs(res.value - other.value) <= 1e-6 * other.value


@pytest.mark.parametrize(("n", "k", "method", "saved"), [(20, 6, "newton", 0.4), (20, 10, "lbfgs", 1.0)])
def test_where_it_costs_more_the_first_steps_without_it_tell(monkeypatch, n, k, method, saved):
    """With little signal no subsample is used, and the run is the same as without; with much signal one is used."""
    monkeypatch.setattr(auto, "SUBSAMPLE_SURE", 0.0)
    monkeypatch.setattr(auto, "SAVED", saved)
    for signal, samples in ((1.0, False), (20.0, True)):
        X, y, _ = make_problem(8000, n, k, signal=signal, seed=0)
        obj = Objective(X, y, fit_intercept=True, l2=1e-5)
        res, plain = minimize(obj), without(monkeypatch, obj)
        assert res.solver == plain.solver == method
        assert res.converged and ("by a sample of" in res.message) == samples
        if not samples:
            norms, others = ([step.grad_norm for step in run.history] for run in (res, plain))
            assert norms == others and res.n_passes == plain.n_passes
        # Both within tol of the minimum.
        assert abs(res.value - plain.value) <= 1e-6 * plain.value


def test_it_must_not_cost_too_much(monkeypatch):
    monkeypatch.setattr(auto, "SUBSAMPLE_SURE", 0.0)
    monkeypatch.setattr(auto, "SAVED", 0.0)
    assert "sample" not in minimize(problem()).message
    # On a path there is no probe.
    monkeypatch.setattr(auto, "SUBSAMPLE_COST", 0.0)
    assert "sample" not in regularization_path(problem(), [1e-3, 1e-4])[-1].message
