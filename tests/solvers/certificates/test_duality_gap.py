"""The gap with default settings on real and on hard data sets, its bounds, and messages where there is no minimum.

The true minimum is that of a float64 run of Newton's method down to rounding.
"""

from functools import cache

import numpy as np
import pytest
import scipy.sparse
from samples import badly_scaled, one_class_of_five_rows
from scipy.optimize import linprog

from fastsoftmax import Objective, datasets, minimize
from fastsoftmax.solvers.certificates.duality_gap import GapBound
from fastsoftmax.solvers.geometry.metric import Metric, moments
from fastsoftmax.solvers.methods import auto

TARGET = 1e-6
METHODS = pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg"])


def standardized(X):
    deviation = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)


def dependent_and_constant():
    """Iris with the sum of two columns, a column twice, a constant, and zeros."""
    X, y, _ = datasets.load_sample("iris")
    extra = np.column_stack([X[:, 0] + X[:, 1], X[:, 2], np.full(len(X), 1e4), np.zeros(len(X))])
    return np.hstack([X, extra]), y


@cache
def data(name):
    made = {
        "badly_scaled": badly_scaled,
        "nearly_separable": lambda: datasets.make_problem(5000, 10, 3, signal=30.0, seed=2)[:2],
        "rare_class": one_class_of_five_rows,
        "dependent": dependent_and_constant,
    }
    X, y = made[name]() if name in made else datasets.load_sample(name.removesuffix(" scaled"))[:2]
    return (standardized(X) if name.endswith(" scaled") else X), np.unique(y, return_inverse=True)[1]


def objective(name, l2=1e-4, **options):
    X, y = data(name)
    return Objective(X, y, **{"fit_intercept": True, "n_threads": 1} | options, l2=l2)


@cache
def truth(name, l2=1e-4):
    res = minimize(objective(name, l2), solver="newton", tol=1e-12, max_iter=100)
    assert res.gap_bound < 1e-7
    return res.value


SAMPLES = [sample + scaled for sample in datasets.SAMPLES for scaled in ("", " scaled")]
SETS = [*SAMPLES, "badly_scaled", "nearly_separable", "rare_class", "dependent"]


@METHODS
@pytest.mark.parametrize("name", SETS)
def test_the_gap_is_within_the_target_with_default_settings(name, solver):
    res = minimize(objective(name), solver=solver)
    gap = (res.value - truth(name)) / truth(name)
    assert res.converged, res.message
    assert gap <= TARGET
    # Its lower and its upper bound.
    assert res.grad_norm**2 <= gap + 1e-12 and gap <= res.gap_bound


def test_lbfgs_needs_at_most_eighty_passes_for_most_sets():
    passes = [minimize(objective(name), solver="lbfgs").n_passes for name in SETS]
    assert np.median(passes) <= 80


@pytest.mark.parametrize("name", ["iris", "wine scaled", "nearly_separable", "badly_scaled"])
def test_a_weak_penalty_is_no_hindrance(name):
    for solver in ("auto", "lbfgs"):
        res = minimize(objective(name, 1e-7), solver=solver)
        assert res.converged and res.value <= truth(name, 1e-7) * (1 + TARGET)


@pytest.mark.parametrize("backend", ["cython", "numba", "numpy"])
def test_float32_comes_as_near_as_its_rounding_allows(backend):
    pytest.importorskip("numba") if backend == "numba" else None
    X, y = data("wine scaled")
    res = minimize(Objective(X.astype("f4"), y, fit_intercept=True, l2=1e-4, backend=backend))
    assert res.converged, res.message
    exact = Objective(X.astype("f4").astype("f8"), y, fit_intercept=True, l2=1e-4)
    best = minimize(exact, tol=1e-12, max_iter=100).value
    assert exact.value(res.theta) <= best * (1 + TARGET)


# ---------------------------------------------------------------------------------------- invariance


@METHODS
def test_the_stop_does_not_depend_on_the_units_of_the_columns(solver):
    X, y = datasets.make_problem(600, 5, 3, signal=1.0)[:2]
    # Powers of two, so that not even rounding differs.
    units = 2.0 ** np.array([-30, -3, 0, 10, 40])
    plain, scaled = (minimize(Objective(A, y, fit_intercept=True), solver=solver, tol=1e-4) for A in (X, X * units))
    assert [s.n_passes for s in plain.history] == [s.n_passes for s in scaled.history]
    for name in ("value", "grad_norm"):
        of = [np.array([getattr(step, name) for step in res.history]) for res in (plain, scaled)]
        np.testing.assert_allclose(of[1], of[0], rtol=1e-6)


def test_without_an_intercept_or_with_columns_far_from_zero_the_bound_holds():
    X, y = data("iris scaled")
    for options, shift in (({"fit_intercept": False}, 0.0), ({}, 1e4), ({"label_smoothing": 0.1}, 0.0)):
        obj = Objective(X + shift, y, **{"fit_intercept": True} | options, l2=1e-3)
        best = minimize(obj, solver="newton", tol=1e-11, max_iter=60).value
        for step in minimize(obj, solver="lbfgs").history:
            assert step.grad_norm**2 <= (step.value - best) / step.value + 1e-9 <= step.gap_bound + 2e-9


def test_the_bound_holds_from_any_start_and_there_is_none_without_penalty_and_hessian():
    theta0 = np.random.default_rng(0).standard_normal((5, 3))
    res = minimize(objective("iris"), theta0=theta0, solver="lbfgs")
    best = truth("iris")
    assert res.converged
    assert all((step.value - best) / step.value <= step.gap_bound for step in res.history)
    X, y = datasets.make_problem(300, 3, 2, signal=1.0)[:2]
    free = minimize(Objective(X, y), solver="lbfgs")
    assert free.converged and free.gap_bound <= 1e-6 and free.history[0].gap_bound is None
    unproven = minimize(Objective(scipy.sparse.csr_array(X), y), solver="lbfgs")
    assert unproven.converged and unproven.gap_bound is None


def test_the_bound_on_the_minimum_never_falls():
    """What is proven at one step holds at all later ones."""
    for l1 in (0.0, 1e-3):
        history = minimize(objective("digits scaled"), l1=l1, max_iter=60).history
        proven = np.array([step.value * (1 - step.gap_bound) for step in history])
        # The bound includes four roundings of the value and is relative to it.
        rounding = 8 * np.finfo(np.float64).eps * np.array([step.value * (1 + step.gap_bound) for step in history])
        assert np.all(np.diff(proven) >= -(rounding[1:] + rounding[:-1]))


# ------------------------------------------------------------------------- null spaces, no minimum


@METHODS
def test_a_shift_of_all_classes_is_no_obstacle(solver):
    """Without a penalty the shift of the start changes nothing and stays in theta."""
    X, y = datasets.make_problem(400, 3, 3, signal=1.0)[:2]
    obj = Objective(X, y, fit_intercept=True)
    shift = np.arange(4.0)[:, None] * np.ones(3)
    one, other = (minimize(obj, solver=solver, theta0=start, tol=1e-10) for start in (np.zeros((4, 3)), shift))
    assert one.converged and other.converged
    np.testing.assert_allclose(other.theta - shift, one.theta, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.theta.sum(axis=1), 0, rtol=0, atol=1e-9)


@METHODS
def test_dependent_and_constant_columns_need_no_penalty(solver):
    X, y = datasets.make_problem(400, 3, 3, signal=1.0)[:2]
    more = np.hstack([X, X[:, :1] - X[:, 1:2], X[:, 2:], np.full((400, 1), 7.0), np.zeros((400, 1))])
    few, many = (minimize(Objective(A, y, fit_intercept=True), solver=solver, tol=1e-8) for A in (X, more))
    assert many.converged and abs(many.value - few.value) < 1e-13
    assert np.abs(many.theta).max() < 100


@METHODS
@pytest.mark.parametrize("weighted", [False, True])
def test_separable_classes_without_a_penalty_are_told_and_are_no_convergence(solver, weighted):
    X, y = np.array([[-2.0], [-1.0], [1.0], [2.0], [0.5]]), [0, 0, 1, 1, 0]
    w = [1.0, 3.0, 0.1, 2.0, 0.0] if weighted else [1.0, 1.0, 1.0, 1.0, 0.0]
    res = minimize(Objective(X, y, sample_weight=w), solver=solver)
    assert not res.converged and "the classes are separable" in res.message and "l2 > 0" in res.message
    assert np.isfinite(res.theta).all()
    assert minimize(Objective(X, y, sample_weight=w, l2=1e-6), solver=solver).converged


# ---------------------------------------------------------------------------------------------- auto


def test_auto_says_what_it_took_and_why():
    assert "newton converged" in (message := minimize(objective("iris")).message)
    assert "chosen by auto: 15 parameters, so that the exact Hessian is cheap" in message
    res = minimize(objective("digits"))
    assert res.solver == "lbfgs" and "chosen by auto: a Hessian costs " in res.message


def test_auto_turns_to_newton_where_lbfgs_is_slow(monkeypatch):
    monkeypatch.setattr(auto, "PATIENT", 30)
    monkeypatch.setattr(auto, "HARD_HESSIANS", 10**6)
    monkeypatch.setattr(auto, "NEWTON_HESSIANS", 10**6)
    res = minimize(objective("wine"))
    assert res.converged and res.solver == "newton" and "after 30 steps of lbfgs" in res.message
    assert [step.iteration for step in res.history] == list(range(res.n_iter + 1)) and res.n_iter < 45


def test_auto_leaves_newton_alone_where_the_hessian_is_large():
    X, y = datasets.make_problem(40, 2000, 6)[:2]
    assert auto.predict(Objective(X, y)).newton == np.inf
    res = minimize(Objective(X, y, l2=0.1))
    assert res.converged and res.solver == "lbfgs" and "the exact Hessian is out of reach" in res.message
    with pytest.raises(ValueError, match="at most 10000 parameters; theta has 12000"):
        minimize(Objective(X, y, l2=0.1), solver="newton")


def test_very_wide_data_are_scaled_by_a_diagonal(monkeypatch):
    X, y = data("digits")
    monkeypatch.setattr("fastsoftmax.solvers.geometry.metric.CHOLESKY_MAX", 10)
    monkeypatch.setattr("fastsoftmax.solvers.geometry.hessian.CHOLESKY_MAX", 10)
    for solver in ("lbfgs", "newton", "newton_cg"):
        res = minimize(objective("digits", 1e-2), solver=solver)
        assert res.converged and res.value <= truth("digits", 1e-2) * (1 + TARGET)


def quasi_separable(kind):
    """Two classes that overlap and a third apart from them; or a column that is nonzero in one class alone."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((300, 3))
    y = (X[:, 0] + rng.logistic(size=300) > 0).astype(int)
    if kind == "class":
        far = rng.standard_normal((60, 3)) + [0.0, 12.0, 0.0]
        return np.vstack([X, far]), np.append(y, np.full(60, 2))
    X[:, 2] = (y == 1) & (rng.random(300) < 0.2)
    return X, y


@pytest.mark.parametrize("kind", ["class", "column"])
@pytest.mark.parametrize("solver", ["auto", "newton"])
def test_quasi_separation_is_told_and_is_no_convergence(solver, kind):
    X, y = quasi_separable(kind)
    res = minimize(Objective(X, y, fit_intercept=True), solver=solver)
    assert not res.converged and "some classes are separable from the others" in res.message, res.message
    assert "l2 > 0" in res.message and res.gap_bound is None
    assert minimize(Objective(X, y, fit_intercept=True, l2=1e-6), solver=solver).converged
    soft = np.eye(y.max() + 1)[y]
    assert minimize(Objective(X, 0.9 * soft + 0.1 / soft.shape[1], fit_intercept=True), solver=solver).converged


def has_direction(X, y):
    """Whether a linear program finds a direction along which no row loses and some row gains."""
    m, n = X.shape
    k = y.max() + 1
    against = [np.eye(k)[label] - np.eye(k)[c] for label in range(k) for c in range(k) if c != label]
    labels = [label for label in range(k) for c in range(k) if c != label]
    Xb = np.hstack([X, np.ones((m, 1))])
    margins = np.vstack([np.kron(d, Xb[y == label]) for d, label in zip(against, labels, strict=True)])
    found = linprog(-margins.sum(axis=0), A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=(-1, 1))
    return -found.fun > 1e-6


@pytest.mark.parametrize("seed", range(30))
def test_separable_is_said_where_a_linear_program_says_so(seed):
    """Three classes side by side. One wrong label in 50 or in 25 makes all of them overlap, or only two."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((200, 3))
    y = np.digitize(X @ rng.standard_normal(3), [-0.5, 0.5])
    y = np.where(rng.random(200) < 0.02 * (seed % 2 + 1), (y + 1) % 3, y)
    message = minimize(Objective(X, y, fit_intercept=True), solver="newton").message
    assert ("separable" in message) == has_direction(X, y), message


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton"])
@pytest.mark.parametrize("mass", [0.1, 3.0])
def test_soft_targets_of_another_mass_are_no_false_proof(solver, mass):
    """The true minimum follows from objective(mass T, l2) = mass objective(T, l2 / mass)."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((3000, 5))
    T = np.eye(3)[np.argmax(X[:, :3] + rng.gumbel(size=(3000, 3)), axis=1)]
    best = mass * minimize(Objective(X, T, fit_intercept=True, l2=1e-3 / mass), solver="newton", tol=1e-12).value
    res = minimize(Objective(X, mass * T, fit_intercept=True, l2=1e-3), solver=solver)
    gap = (res.value - best) / res.value
    assert res.gap_bound is None or gap <= res.gap_bound
    assert res.converged and gap <= 2e-6


# ---------------------------------------------------------------------------------------- the dual itself


def entropy(p):
    return -np.sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0), axis=-1)


def dual_value(X, y, w, theta, l1, l2, fit_intercept):
    """The lower bound on the minimum as the file's head writes it, from alpha itself: row by row, nothing cancelled."""
    w = w / w.sum()
    k, n = theta.shape[1], X.shape[1]
    H = X @ theta[:n] + (theta[n] if fit_intercept else 0.0)
    Z = np.exp(H - H.max(axis=1, keepdims=True))
    Z /= Z.sum(axis=1, keepdims=True)
    own, t, r = np.eye(k)[y], 0.0, np.full(k, 1.0 / k)
    if fit_intercept:
        # The least t for which r = (p - (1 - t) q) / t has no negative entry: p >= (1 - t) q.
        p, q = w @ own, w @ Z
        t = max(0.0, 1.0 - float(np.min(p / q)))
        r = (p - (1.0 - t) * q) / t if t else r
    alpha = (1.0 - t) * Z + t * r
    A = X.T @ (w[:, None] * (alpha - own))
    gained = (1.0 - t) * float(w @ entropy(Z)) + t * float(entropy(np.maximum(r, 0.0)))
    if l2 > 0:
        return gained - float(np.sum(np.maximum(abs(A) - l1, 0.0) ** 2)) / (2.0 * l2)
    return min(1.0, l1 / float(abs(A).max())) * gained


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.3), (0.05, 0.3), (0.02, 0.0), (0.05, 2.0), (9.0, 0.0), (9.0, 0.5)])
@pytest.mark.parametrize("size", [0.0, 0.3, 3.0])
def test_the_lower_bound_is_the_value_of_the_dual(size, l1, l2, fit_intercept):
    rng = np.random.default_rng(5)
    m, n, k = 200, 4, 3
    X, y, w = rng.standard_normal((m, n)) + [0.0, 0.0, 1.0, -2.0], rng.integers(k, size=m) // 2, rng.random(m) + 0.5
    y[:5] = 2
    theta = size * rng.standard_normal((n + fit_intercept, k))
    obj = Objective(X, y, fit_intercept=fit_intercept, sample_weight=w, l2=l2, backend="numpy")
    found = moments(obj)
    bound = GapBound(obj, Metric(found, l2, diagonal=l1 > 0), found.eps, l1)
    value, grad = obj.value_and_grad(theta)
    value += l1 * float(abs(theta[:n]).sum())
    gap = bound(theta, value, grad)
    wanted = dual_value(X, y, w, theta, l1, l2, fit_intercept)
    # Sums of 200 terms of the size of a loss and of the penalty's dual: a few hundred roundings of these at most.
    rounding = 400 * np.finfo(float).eps * (value + abs(wanted))
    assert abs(bound.dual - wanted) <= rounding
    assert gap == pytest.approx((value - wanted) / value + bound.floor, abs=rounding / value)
    # It is a lower bound, and one that stays: at a worse point the bound does not fall.
    best = minimize(obj, l1=l1, tol=1e-8, max_iter=2000).value
    assert wanted <= best * (1 + 1e-7)
    far = theta + 5.0
    value, grad = obj.value_and_grad(far)
    bound(far, value + l1 * float(abs(far[:n]).sum()), grad)
    assert bound.dual >= wanted - rounding


def test_without_a_penalty_there_is_no_dual_and_a_bound_from_elsewhere_is_taken():
    obj = objective("iris", 0.0)
    found = moments(obj)
    bound = GapBound(obj, Metric(found, 0.0), found.eps)
    theta = np.zeros(obj.shape)
    value, grad = obj.value_and_grad(theta)
    assert bound(theta, value, grad) is None and bound.dual == -np.inf
    assert bound(theta, value, grad, 0.5 * value) == 0.5 + bound.floor
    assert bound.dual == 0.5 * value
    assert bound(theta, 0.0, grad) is None  # a share of 0 means nothing
