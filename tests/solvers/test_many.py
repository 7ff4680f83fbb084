"""`minimize_many`: every model is what a fit alone finds, whatever the models differ in and however they run."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp
from problems import random_problem

from fastsoftmax import Objective, minimize, minimize_many
from fastsoftmax.solvers import many

RNG = np.random.default_rng(7)


def problem(m=500, n=6, k=3, l2=1e-2, **options):
    p = random_problem(m, n, k, intercept=True, l2=l2, **options)
    return p, p.objective("cython")


def check(results, objectives, tol=1e-6):
    """Each result is within ``tol`` of the minimum of its objective."""
    for result, obj in zip(results, objectives, strict=True):
        wanted = minimize(obj, solver="newton" if not obj.sparse else "auto", tol=1e-10)
        assert result.converged and result.value == pytest.approx(obj.value(result.theta), rel=1e-9)
        assert -1e-9 <= result.value - wanted.value <= tol * wanted.value


def test_bootstrap_samples_start_from_the_minimum_of_all_rows(monkeypatch):
    p, obj = problem()
    counts = RNG.multinomial(500, np.full(500, 1 / 500), size=6).astype(np.uint8)
    results = minimize_many(obj, sample_weight=counts, tol=1e-8)
    check(results, [p.but(w=w.astype("f8")).objective("cython") for w in counts])
    assert all("Hessian of a model with other weights" in result.message for result in results)
    assert obj.l2 == 1e-2
    monkeypatch.setattr(many, "NEAR_STEPS", 1)
    monkeypatch.setattr(many.newton, "PACE", 0.0)
    check(
        minimize_many(obj, sample_weight=counts, tol=1e-8),
        [p.but(w=w.astype("f8")).objective("cython") for w in counts],
    )


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton"])
def test_tasks_with_penalties_of_their_own(monkeypatch, together, solver):
    monkeypatch.setattr(many, "TOGETHER", 0.0 if together else np.inf)
    p, obj = problem()
    tasks = RNG.integers(3, size=(3, 500))
    l2s = [0.1, 0.001, 0.01]
    results = minimize_many(obj, y=tasks, l2=l2s, solver=solver)
    check(results, [p.but(y=y, l2=l2).objective("cython") for y, l2 in zip(tasks, l2s, strict=True)])


def test_models_of_the_same_data_go_along_a_path():
    p, obj = problem()
    groups = [(np.arange(500) % 2 == g).astype("f8") for g in (0, 1)]
    weights, l2s = [*groups, *groups, groups[0]], [1e-3, 1e-2, 1e-1, 1e-4, 1e-2]
    results = minimize_many(obj, sample_weight=weights, l2=l2s, solver="lbfgs", tol=1e-7)
    check(results, [p.but(w=w, l2=l2).objective("cython") for w, l2 in zip(weights, l2s, strict=True)])
    alone = minimize(p.but(w=groups[1], l2=1e-4).objective("cython"), solver="lbfgs", tol=1e-7)
    assert results[3].n_passes < alone.n_passes


def test_penalties_alone_and_starts():
    p, obj = problem()
    found = minimize_many(obj, l2=[1e-3, 1e-1])
    check(found, [p.but(l2=1e-3).objective("cython"), p.but(l2=1e-1).objective("cython")])
    again = minimize_many(obj, l2=[1e-3, 1e-1], theta0=[result.theta for result in found])
    assert all(result.n_iter <= 1 for result in again)
    check(minimize_many(obj), [obj])


def test_a_group_unlike_the_others_takes_moments_of_its_own():
    p, _ = problem()
    X = np.where(np.arange(500)[:, None] < 50, 100 * p.X, p.X)
    obj = Objective(X, p.y, 3, fit_intercept=True, l2=1e-2)
    group, rest = ((np.arange(500) < 50) == side for side in (True, False))
    stacked = many.StackedObjective(obj, weights=[group, rest, np.ones(500)])
    assert many.alike_moments(stacked, many.centered(obj)[1]).tolist() == [False, False, True]
    check(
        minimize_many(obj, sample_weight=[group, rest]),
        [p.but(X=X, w=w * 1.0).objective("cython") for w in (group, rest)],
    )


def test_sparse_data():
    p, _ = problem()
    X = sp.csr_array(np.where(p.X > 0.5, p.X, 0.0))
    obj = Objective(X, p.y, 3, fit_intercept=True, l2=1e-2)
    weights = RNG.integers(3, size=(2, 500))
    tasks, options = [p.y, p.y[::-1]], {"fit_intercept": True, "l2": 1e-2}
    results = minimize_many(obj, sample_weight=weights, y=tasks)
    check(results, [Objective(X, y, 3, sample_weight=w, **options) for y, w in zip(tasks, weights, strict=True)])


def test_columns_far_from_zero():
    p, _ = problem(dtype="f4")
    X = (p.X + 1000).astype("f4")
    obj = Objective(X, p.y, 3, fit_intercept=True, l2=1e-2)
    for result, y in zip(minimize_many(obj, y=[p.y, p.y[::-1]]), (p.y, p.y[::-1]), strict=True):
        wanted = minimize(Objective(X.astype("f8"), y, 3, fit_intercept=True, l2=1e-2))
        np.testing.assert_allclose(result.theta[:-1], wanted.theta[:-1], atol=2e-3)


def test_the_same_call_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(many, "TOGETHER", 0.0)
    _, obj = problem(m=2000)
    tasks = RNG.integers(3, size=(4, 2000))
    first, second = (minimize_many(obj, y=tasks, solver="lbfgs") for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.theta, other.theta)


def test_a_callback_ends_the_run_of_its_model_alone(monkeypatch):
    monkeypatch.setattr(many, "TOGETHER", 0.0)
    _, obj = problem()
    seen, guard = [], threading.Lock()

    def callback(model, step):
        with guard:
            seen.append(model)
        if model == 1 and step.iteration == 2:
            raise StopIteration("enough")

    first, second = minimize_many(obj, y=RNG.integers(3, size=(2, 500)), solver="lbfgs", callback=callback)
    assert first.converged and not second.converged and "stopped by the callback (enough)" in second.message
    assert seen.count(1) == 3 and seen.count(0) == first.n_iter + 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"y": [[0, 1]], "l2": [1, 2]}, ValueError, "as many models are wanted in each argument; got 1 in y, 2 in l2"),
        ({"y": []}, ValueError, "y is empty; at least one model"),
        ({"y": [[0, 1, 0, 5]]}, ValueError, r"y\[0\]"),
        ({"sample_weight": [[1, 1, 1]]}, ValueError, r"sample_weight\[0\]"),
        ({"sample_weight": [[1, 1, -1, 1]]}, ValueError, r"sample_weight\[0\]"),
        ({"sample_weight": np.array([[1, 1, 1, 1], [0, 0, 0, 0]], "u1")}, ValueError, "model 1 has no row of positive"),
        ({"l2": [-1.0]}, ValueError, "l2"),
        ({"theta0": [np.zeros(3)]}, ValueError, r"theta0\[0\]"),
        ({"callback": 3}, TypeError, "callback must be callable"),
        ({"solver": "adam"}, ValueError, "solver"),
    ],
)
def test_bad_arguments_get_a_sentence(arguments, error, text):
    obj = Objective([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], fit_intercept=True)
    with pytest.raises(error, match=text):
        minimize_many(obj, **arguments)
    with pytest.raises(TypeError, match="obj must be an Objective; got int"):
        minimize_many(3)
