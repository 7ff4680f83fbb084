"""Columns far from zero: the minimum of the data as they are, in either dtype, and no convergence that is none.

The truth is Newton's method in float64 on the very numbers of X, less a whole number near each mean: no rounding, since
all of them are multiples of the last bit of the largest.
"""

import numpy as np
import pytest
import scipy.sparse

from fastsoftmax import Objective, SoftmaxRegression, minimize, regularization_path
from fastsoftmax.sklearn.cross_validation import SoftmaxRegressionCV
from fastsoftmax.solvers.geometry import centering
from fastsoftmax.solvers.geometry.metric import Metric, moments

TARGET = 1e-6
SOLVERS = ("auto", "lbfgs", "newton", "newton_cg")


def far_from_zero(ratio, dtype, m=2000, n=5, k=3, seed=0):
    """X with two columns of deviation 1 and mean +-ratio, the classes, and the whole numbers near the means."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((m, n))
    y = np.argmax(Z @ rng.standard_normal((n, k)) + rng.gumbel(size=(m, k)), axis=1)
    Z[:, 0] += ratio
    Z[:, 1] -= ratio
    X = Z.astype(dtype)
    return X, y, np.round(X.mean(axis=0, dtype=np.float64))


class Truth:
    """The least value, and the gap at any theta."""

    def __init__(self, X, y, shift, l2, **options):
        self.shift = shift
        self.obj = Objective(X.astype(np.float64) - shift, y, fit_intercept=True, l2=l2, **options)
        self.best = minimize(self.obj, solver="newton", tol=1e-11).value

    def gap(self, theta):
        theta = theta.copy()
        theta[-1] += self.shift @ theta[:-1]
        return (self.obj.value(theta) - self.best) / self.best


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("l2", [0.0, 1e-6])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_solver_finds_the_minimum(backend, dtype, l2, order):
    for ratio in (1e3, 1e6) if dtype == "f4" else (1e6, 1e9):
        X, y, shift = far_from_zero(ratio, dtype)
        truth = Truth(X, y, shift, l2)
        obj = Objective(np.asarray(X, order=order), y, fit_intercept=True, l2=l2, backend=backend)
        for solver in SOLVERS:
            res = minimize(obj, solver=solver)
            assert res.converged, res.message
            assert abs(truth.gap(res.theta)) <= TARGET
        assert obj.l2 == l2


@pytest.mark.parametrize("solver", [*SOLVERS, "sgd", "gradient_descent", "l1"])
@pytest.mark.parametrize("ratio", [1e1, 1e2, 1e3, 1e4, 1e5, 1e6])
def test_what_has_converged_is_at_the_minimum(solver, ratio):
    X, y, shift = far_from_zero(ratio, "f4", seed=1)
    obj = Objective(X, y, fit_intercept=True, l2=1e-4)
    l1 = 1e-8 if solver == "l1" else 0.0
    res = minimize(obj, solver="auto" if l1 else solver, l1=l1, max_iter=200)
    gap = Truth(X, y, shift, 1e-4).gap(res.theta)
    assert not res.converged or gap <= TARGET
    if solver != "gradient_descent":  # whose steps are short
        assert gap <= (1e-2 if solver == "sgd" else 2 * TARGET)


def test_a_copy_and_chunks_and_a_memory_map_are_the_same_rows(monkeypatch, tmp_path):
    X, y, shift = far_from_zero(1e4, "f4")
    on_disk = np.memmap(tmp_path / "X", "f4", mode="w+", shape=X.shape)
    on_disk[:] = X
    copied = minimize(Objective(X, y, fit_intercept=True, l2=1e-4))
    monkeypatch.setattr(centering, "COPY_BYTES", 0)
    obj = Objective(on_disk, y, fit_intercept=True, l2=1e-4)
    inner, _ = centering.centered(obj)
    rows = np.vstack([part.X for part in inner.source.chunks(300)])
    np.testing.assert_array_equal(rows, X - inner.shift.astype("f4"))
    np.testing.assert_array_equal(inner.source.pick(np.array([3, 7])), rows[[3, 7]])
    # X - shift is exact: see the head of `centering`.
    np.testing.assert_array_equal(rows[:, :2], X[:, :2].astype("f8") - inner.shift[:2])
    pieces = minimize(obj)
    assert pieces.converged and abs(Truth(X, y, shift, 1e-4).gap(pieces.theta)) <= TARGET
    assert pieces.n_passes == copied.n_passes == obj.n_passes - 2


@pytest.mark.parametrize("given", ["u1", "i2", "f2", "i8", ">f4"])
def test_other_dtypes_too(given):
    rng = np.random.default_rng(0)
    Z = (rng.random((3000, 3)) < [0.5, 0.5, 0.01]).astype("f8")
    y = np.argmax(Z @ [[2.0, 0, 0], [0, 2, 0], [0, 0, 2]] + rng.gumbel(size=(3000, 3)), axis=1)
    X = (Z + [200, 0, 250]).astype(given)
    res = minimize(Objective(X, y, fit_intercept=True))
    assert res.converged and abs(Truth(X, y, np.array([200.0, 0, 250]), 0.0).gap(res.theta)) <= TARGET


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_column_is_constant_where_all_its_numbers_are_the_same_and_not_before(dtype):
    X, y, _ = far_from_zero(0.0, dtype)
    X[:, 0] = 1234.5
    obj = Objective(X, y, fit_intercept=True)
    assert centering.centered(obj)[0] is obj
    # One row of 2000 differs in the last bit.
    X[77, 0] = np.nextafter(X[77, 0], X.dtype.type(2000))
    inner, found = centering.centered(obj)
    assert inner is not obj and (Metric(found, 0.0).scale > 0).all()
    np.testing.assert_allclose(found.variance[0], np.spacing(X[0, 0].astype(dtype)) ** 2 / 2000, rtol=1e-3)


def test_rows_without_weight_make_no_column_vary():
    X, y, _ = far_from_zero(0.0, "f4")
    X[:, 0] = 1234.5
    X[:10, 0] = 1000.0
    w = np.ones(len(X))
    w[:10] = 0.0
    res = minimize(Objective(X, y, fit_intercept=True, sample_weight=w))
    assert res.converged and not res.theta[0].any()


def test_columns_near_zero_and_data_without_an_intercept_stay_as_they_are():
    for ratio, intercept in ((10.0, True), (1e6, False)):
        X, y, _ = far_from_zero(ratio, "f4")
        obj = Objective(X, y, fit_intercept=intercept)
        before = obj.n_passes
        assert centering.centered(obj)[0] is obj and obj.n_passes == before + 1


def test_parameters_come_back_as_they_went():
    X, y, _ = far_from_zero(1e5, "f4")
    inner, _ = centering.centered(Objective(X, y, fit_intercept=True, l2=0.5))
    theta = np.random.default_rng(0).standard_normal(inner.shape)
    there = centering.to_centered(inner, theta)
    np.testing.assert_array_equal(there[:-1], theta[:-1])
    # The roundings of two sums with terms as large as |shift theta|.
    few = 8 * np.finfo("f8").eps * (np.abs(inner.shift) @ np.abs(theta[:-1]) + np.abs(theta[-1]))
    assert (np.abs(centering.to_original(inner, there) - theta)[-1] <= few).all()
    value = Objective(X.astype("f8"), y, fit_intercept=True, l2=0.5).value(theta)
    logit = np.abs(X - inner.shift).max(axis=0) @ np.abs(theta[:-1]) + np.abs(there[-1])
    assert abs(inner.value(there) - value) <= 8 * np.finfo("f4").eps * (value + logit.max())
    inner.l2 = 0.25
    assert inner.outer.l2 == 0.25


def test_a_start_is_used():
    X, y, _ = far_from_zero(1e4, "f4")
    obj = Objective(X, y, fit_intercept=True, l2=1e-4)
    res = minimize(obj, tol=1e-7)
    again = minimize(obj, theta0=res.theta)
    assert again.converged and again.n_iter == 0


def test_a_path_and_cross_validation_are_those_of_centered_columns():
    X, y, shift = far_from_zero(1e4, "f4")
    l2s = [1e-1, 1e-3, 1e-5]
    for l2, res in zip(l2s, regularization_path(Objective(X, y, fit_intercept=True), l2s), strict=True):
        assert res.converged and abs(Truth(X, y, shift, l2).gap(res.theta)) <= TARGET
    for scoring in (None, "neg_brier_score"):
        far, near = (SoftmaxRegressionCV(l2s=l2s, cv=3, scoring=scoring).fit(A, y) for A in (X, X.astype("f8") - shift))
        # scikit-learn's scorer gets float32 logits: sums of a few terms as large as 1e4 theta.
        few = TARGET if scoring is None else 8 * 1e4 * np.finfo("f4").eps * np.abs(far.model_.theta).max()
        np.testing.assert_allclose(far.scores_, near.scores_, rtol=0, atol=few)
        assert far.l2_ == near.l2_
        assert abs(Truth(X, y, shift, far.l2_).gap(far.result_.theta)) <= TARGET
        np.testing.assert_array_equal(far.model_.bias, far.result_.theta[-1])


def test_mini_batches_see_that_such_a_column_varies():
    X, y, shift = far_from_zero(1e3, "f4", m=20_000)
    clf = SoftmaxRegression(l2=1e-6)
    for _ in range(3):
        clf.partial_fit(X, y, classes=[0, 1, 2])
    # A few walks leave such a gap for columns near zero as well: see `solvers.methods.sgd`.
    assert Truth(X, y, shift, 1e-6).gap(np.vstack([clf.model_.theta, clf.model_.bias])) < 1e-2


@pytest.mark.parametrize("ratio", [1e3, 1e5])
def test_sparse_rows_are_shifted_as_well(backend, ratio):
    X, y, shift = far_from_zero(ratio, "f4")
    sparse = scipy.sparse.csr_array(X)
    obj = Objective(sparse, y, fit_intercept=True, backend=backend)
    exact = X.astype("f8").var(axis=0)
    # The roundings of second moment - mean^2 in float64, for 2000 rows.
    np.testing.assert_allclose(moments(obj).variance, exact, rtol=0, atol=1e-14 * 2000 * ratio**2)
    res = minimize(obj)
    assert res.converged and abs(Truth(X, y, shift, 0.0).gap(res.theta)) <= TARGET


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ratio", [1.0, 10.0, 25.0])
def test_rounding_is_no_direction_for_conjugate_gradients(seed, ratio):
    """Rounding gives float32 gradients a part along the shift of all classes alike, which has no curvature."""
    X, y, _ = far_from_zero(ratio, "f4", m=5000, seed=seed)
    single, double = (
        minimize(Objective(A, y, fit_intercept=True), solver="newton_cg") for A in (X, X.astype(np.float64))
    )
    assert single.converged and single.n_passes <= double.n_passes + 5


@pytest.mark.parametrize("copy_bytes", [centering.COPY_BYTES, 0], ids=["copy", "chunks"])
def test_rows_of_weight_zero_have_no_say_in_the_shift(monkeypatch, copy_bytes):
    """Nine rows in ten have no weight, and lie elsewhere."""
    monkeypatch.setattr(centering, "COPY_BYTES", copy_bytes)
    X, y, shift = far_from_zero(1e3, "f4", m=8000, k=3)
    w = np.zeros(len(X))
    w[np.random.default_rng(3).choice(len(X), 800, replace=False)] = 1.0
    X[w == 0, :2] = 0.0, 500.0
    used = w > 0
    res = minimize(Objective(X, y, 3, fit_intercept=True, sample_weight=w, l2=1e-4))
    truth = Truth(X[used], y[used], shift=np.round(X[used].mean(axis=0, dtype=np.float64)), l2=1e-4)
    assert res.converged and abs(truth.gap(res.theta)) <= TARGET
    best = SoftmaxRegressionCV(l2s=[1e-4], cv=3).fit(X, y, sample_weight=w).result_
    assert best.converged and abs(truth.gap(best.theta)) <= TARGET


def test_a_shifted_objective_is_not_shifted_again():
    X, y, _ = far_from_zero(1e3, "f4")
    inner, _ = centering.centered(Objective(X, y, fit_intercept=True))
    assert isinstance(inner, centering.Shifted)
    inner.source.X[:, 2] += 1e3
    assert centering.centered(inner)[0] is inner


def test_passes_of_ones_own_are_what_is_minimized():
    """A subclass, or an objective whose pass is wrapped, may compute something else: its own passes are used."""
    X, y, _ = far_from_zero(1e3, "f4")

    class Pulled(Objective):
        def value_and_grad(self, theta):
            value, grad = super().value_and_grad(theta)
            away = theta[:-1] - 1.0
            grad[:-1] += away
            return value + 0.5 * float(np.vdot(away, away)), grad

    obj = Pulled(X, y, fit_intercept=True)
    res = minimize(obj, solver="lbfgs", max_iter=5)
    assert res.value == obj.value_and_grad(res.theta)[0]
    plain, calls = Objective(X, y, fit_intercept=True), []
    wrapped = plain.value_and_grad
    plain.value_and_grad = lambda theta: calls.append(1) or wrapped(theta)
    res = minimize(plain, solver="lbfgs", max_iter=5)
    assert calls and res.value == wrapped(res.theta)[0]


@pytest.mark.parametrize("constant", [30.0, 1e3, 1e5])
def test_a_large_constant_beside_a_penalty_costs_nothing(constant):
    X, y, _ = far_from_zero(0.0, "f4", m=4000)
    X = np.hstack([X, np.full((len(X), 1), constant, np.float32)])
    plain = minimize(Objective(X[:, :-1], y, fit_intercept=True, l2=1e-6), solver="lbfgs")
    res = minimize(Objective(X, y, fit_intercept=True, l2=1e-6), solver="lbfgs")
    assert res.converged and res.n_passes <= plain.n_passes + 5
    assert abs(res.value - plain.value) <= TARGET * plain.value


def test_a_constant_that_rounds_the_same_way_in_every_sum_is_constant(monkeypatch):
    monkeypatch.setattr("fastsoftmax.solvers.geometry.metric.CHOLESKY_MAX", 2)  # as if features were many
    X = np.full((200_000, 4), np.float32(0.1))
    X[:, :3] = np.random.default_rng(0).standard_normal((len(X), 3))
    for w in (None, np.full(len(X), 0.1)):
        obj = Objective(X, np.arange(len(X)) % 3, fit_intercept=True, sample_weight=w)
        found = moments(obj)
        assert list(found.variance > found.noise) == [True, True, True, False]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_what_a_start_gives_a_constant_column_is_the_biases_with_l1(dtype):
    X, y, _ = far_from_zero(0.0, dtype)
    X = np.hstack([X, np.full((len(X), 1), 5, dtype)])
    plain = minimize(Objective(X, y, fit_intercept=True), l1=1e-2)
    start = np.random.default_rng(1).standard_normal((X.shape[1] + 1, 3))
    res = minimize(Objective(X, y, fit_intercept=True), l1=1e-2, theta0=start)
    assert res.converged and not res.theta[-2].any()
    assert abs(res.value - plain.value) <= TARGET * plain.value
