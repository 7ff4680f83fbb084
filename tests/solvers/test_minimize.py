"""`minimize`: the published example, agreement of the solvers, an honest stop, and bad arguments."""

import csv
from pathlib import Path

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import Objective, minimize, reference
from fastsoftmax.solvers.geometry import hessian
from fastsoftmax.solvers.geometry.metric import Metric, moments
from fastsoftmax.solvers.methods import gradient_descent
from fastsoftmax.solvers.minimize import SOLVERS

HOUSING = Path(__file__).parents[1] / "fixtures" / "mass_housing.csv"
# sgd comes near the minimum but not to it: see methods/test_sgd.py.
solvers = pytest.mark.parametrize("solver", [name for name in SOLVERS if name != "sgd"])


def overlapping_classes(m=200, n=4, k=3, dtype=np.float64, seed=0):
    """A problem with an optimum even without a penalty: labels drawn at random, with a drift."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, n))
    theta = rng.standard_normal((n, k))
    y = np.argmax(X @ theta + rng.gumbel(size=(m, k)), axis=1)
    return X.astype(dtype), y


def objective(*, l2=1e-2, fit_intercept=True, backend="numpy", **problem):
    X, y = overlapping_classes(**problem)
    return Objective(X, y, fit_intercept=fit_intercept, l2=l2, backend=backend)


# ------------------------------------------------------------------------------ the published check


def housing():
    """Design matrix (72, 6) of Sat ~ Infl + Type + Cont with R's treatment contrasts, labels, weights."""
    with HOUSING.open() as file:
        table = list(csv.DictReader(file))
    columns = [("Infl", "Medium"), ("Infl", "High"), ("Type", "Apartment"), ("Type", "Atrium"), ("Type", "Terrace")]
    columns.append(("Cont", "High"))
    X = np.array([[float(row[name] == level) for name, level in columns] for row in table])
    y = np.array([["Low", "Medium", "High"].index(row["Sat"]) for row in table])
    return X, y, np.array([float(row["Freq"]) for row in table])


# R nnet::multinom, reltol = 1e-14; rows: the six columns above, then the intercept.
MULTINOM = {
    "Medium": [0.446395893, 0.664935332, -0.435688704, 0.131370289, -0.666570447, 0.360851888, -0.419228736],
    "High": [0.734863222, 1.612631070, -0.735631725, -0.407978088, -1.412327680, 0.481827011, -0.138742745],
}
MULTINOM_LOSS = 1735.04193317


@solvers
def test_housing_has_the_coefficients_of_r_multinom(backend, solver):
    X, y, w = housing()
    assert w.sum() == 1681
    obj = Objective(X, y, fit_intercept=True, sample_weight=w, backend=backend)
    res = minimize(obj, solver=solver, tol=1e-8, max_iter=20_000)
    assert res.converged, res.message
    theta = res.theta - res.theta[:, :1]
    np.testing.assert_allclose(theta[:, 1], MULTINOM["Medium"], rtol=0, atol=2e-6)
    np.testing.assert_allclose(theta[:, 2], MULTINOM["High"], rtol=0, atol=2e-6)
    assert abs(res.value * w.sum() - MULTINOM_LOSS) < 1e-7


# -------------------------------------------------------------------------------------- the optimum


@solvers
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_the_answer_is_the_minimum_to_within_tol(backend, solver, fit_intercept, dtype):
    """Strong convexity proves it from the reference's gradient alone. The bias has no penalty; its curvature is at most
    1/2, so that the gap is at least the square of its part of the gradient."""
    X, y = overlapping_classes(dtype=dtype)
    obj = Objective(X, y, fit_intercept=fit_intercept, l2=1e-2, backend=backend)
    tol = 1e-6 if dtype == "f4" else 1e-8
    res = minimize(obj, solver=solver, tol=tol, max_iter=5000)
    value, grad = reference.value_and_grad(X.astype("f8"), y, res.theta, fit_intercept=fit_intercept, l2=1e-2)
    assert res.converged and res.theta.shape == obj.shape and res.theta.dtype == np.float64
    assert np.sum(grad[: X.shape[1]] ** 2) / (2 * 1e-2) <= 2 * tol * value
    assert np.sum(grad[X.shape[1] :] ** 2) <= 2 * tol * value
    assert abs(res.value - value) <= 10 * np.finfo(dtype).eps


def test_the_bits_do_not_depend_on_the_number_of_threads(backend):
    X, y = overlapping_classes(m=3000)
    first, second = (minimize(Objective(X, y, l2=1e-2, backend=backend, n_threads=t)).theta for t in (1, 3))
    np.testing.assert_array_equal(first, second)


def test_all_zero_data_needs_no_step():
    obj = Objective(np.zeros((6, 2)), [0, 1, 2] * 2, backend="numpy")
    for solver in SOLVERS:
        res = minimize(obj, solver=solver)
        assert res.converged and res.n_iter == 0 and res.n_passes == 2 and len(res.history) == 1


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e3, 1e30])
def test_gradient_descent_lowers_the_value_in_every_step_at_any_scale(scale):
    X, y = overlapping_classes()
    res = minimize(Objective(X * scale, y, backend="numpy"), solver="gradient_descent", tol=1e-60, max_iter=30)
    values = [step.value for step in res.history]
    assert np.all(np.diff(values) <= 0)
    if scale >= 1e-3:
        assert values[-1] < values[0]


@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e10])
def test_lbfgs_finds_the_minimum_at_any_one_scale(scale):
    X, y = overlapping_classes()
    wanted = minimize(Objective(X, y, backend="numpy"), tol=1e-9).value
    res = minimize(Objective(X * scale, y, backend="numpy"), tol=1e-9)
    assert res.converged and abs(res.value - wanted) < 1e-12


# ----------------------------------------------------------------------------------- Lipschitz bound


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_the_bound_is_above_the_hessian_everywhere(monkeypatch, fit_intercept, wide):
    X, y = overlapping_classes(n=6)
    w = np.random.default_rng(1).random(len(y)) * 7
    obj = Objective(X * [1, 1, 5, 1, 1, 0.1], y, sample_weight=w, fit_intercept=fit_intercept, l2=0.3, backend="numpy")
    if wide:
        monkeypatch.setattr(gradient_descent, "GRAM_MAX", 1)
        monkeypatch.setattr("fastsoftmax.solvers.geometry.metric.CHOLESKY_MAX", 1)
    before = obj.n_passes
    L = gradient_descent.lipschitz_bound(moments(obj), obj.l2)
    assert obj.n_passes == before + 1
    eigenvalue = np.linalg.eigvalsh(obj.gram())
    exact = 0.5 * (eigenvalue.sum() if wide else eigenvalue[-1]) + 0.3
    assert L == pytest.approx(exact, rel=1e-12)
    for matrix in hessians(obj):
        assert np.linalg.eigvalsh(matrix)[-1] <= L


def hessians(obj):
    """Hessians at three random theta, symmetrized."""
    size = obj.shape[0] * obj.shape[1]
    for seed in range(3):
        theta = np.random.default_rng(seed).standard_normal(size)
        hessian = np.array([obj.hess_prod(theta, unit) for unit in np.eye(size)])
        yield (hessian + hessian.T) / 2


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_metric_is_the_bound_and_brings_the_hessian_below_one(fit_intercept):
    X, y = overlapping_classes(n=6)
    obj = Objective(X * 10.0 ** np.arange(-3, 3) + 5, y, fit_intercept=fit_intercept, l2=0.3, backend="numpy")
    metric, (rows, k) = Metric(moments(obj), obj.l2), obj.shape
    S = metric.to_theta(np.eye(rows))
    bound = 0.5 * obj.gram() + 0.3 * np.diag([1.0] * 6 + [0.0] * fit_intercept)
    np.testing.assert_allclose(S.T @ bound @ S, np.eye(rows), rtol=0, atol=1e-9)
    np.testing.assert_allclose(metric.to_phi_gradient(np.eye(rows)), S.T, rtol=0, atol=1e-9)
    np.testing.assert_allclose(metric.penalty(), S[:6].T @ S[:6] * 0.3, rtol=0, atol=1e-9)
    big = np.kron(S, np.eye(k))
    for matrix in hessians(obj):
        assert np.linalg.eigvalsh(big.T @ matrix @ big)[-1] <= 1 + 1e-9


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_the_exact_hessian_is_that_of_hessian_products(backend, fit_intercept, weights):
    """In the coordinates of phi, and with a dependent column, which S leaves out though theta is not 0 there."""
    X, y = overlapping_classes(m=900, n=5, k=4)
    X = np.hstack([X * [1e-3, 1, 1e4, 1, 1] + [0, 9, 0, 0, 0], X[:, 3:4] + X[:, 4:]])
    w = np.random.default_rng(0).random(900) if weights else None
    obj = Objective(X, y, sample_weight=w, fit_intercept=fit_intercept, backend=backend)
    metric, (rows, k) = Metric(moments(obj), 0.0), obj.shape
    theta = metric.to_theta(np.random.default_rng(1).standard_normal(obj.shape)) + 0.1
    S = metric.to_theta(np.eye(rows))
    assert np.sum(~S.any(axis=0)) == 1
    columns = np.eye(rows * k).reshape(-1, k, rows).transpose(0, 2, 1)
    products = [metric.to_phi_gradient(obj.hess_prod(theta, S @ one)).T.ravel() for one in columns]
    before = obj.n_passes
    got = hessian.hessian(theta, hessian.Design(obj, metric)) - np.kron(np.full((k, k), 1 / k), np.eye(rows))
    assert obj.n_passes == before + 1
    np.testing.assert_allclose(got, products, rtol=0, atol=1e-9)


def test_a_bound_that_overflows_is_an_error(monkeypatch):
    monkeypatch.setattr("fastsoftmax.solvers.geometry.metric.CHOLESKY_MAX", 1)
    obj = Objective(np.full((4, 2), 1e200), [0, 1, 0, 1], backend="numpy")
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="X is too large"):
        minimize(obj)


class Duck:
    """An objective with nothing but what `minimize` needs."""

    def __init__(self, obj):
        self._obj, self.shape, self.l2, self.fit_intercept = obj, obj.shape, obj.l2, obj.fit_intercept
        self.n_passes = 100

    def value_and_grad(self, theta):
        self.n_passes += 1
        return self._obj.value_and_grad(theta)

    def gram(self):
        self.n_passes += 1
        return self._obj.gram()


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "gradient_descent"])
def test_any_object_with_the_interface_can_be_minimized(solver):
    obj = objective()
    got = minimize(Duck(obj), solver=solver, tol=1e-9)
    assert got.converged and got.n_passes == got.history[-1].n_passes
    np.testing.assert_allclose(got.theta, minimize(obj, tol=1e-12).theta, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("solver", "lacks"), [("newton", "sweeps over its rows"), ("newton_cg", "hess_prod")])
def test_a_method_that_needs_more_says_what(solver, lacks):
    with pytest.raises(TypeError, match=f"solver '{solver}' needs an objective with {lacks}"):
        minimize(Duck(objective()), solver=solver)


# ------------------------------------------------------------------------------- what is reported


@solvers
def test_history_and_counts(solver):
    obj = objective()
    seen = []
    res = minimize(obj, solver=solver, callback=seen.append)
    assert res.converged and res.history == seen
    assert [step.iteration for step in seen] == list(range(res.n_iter + 1))
    assert all(np.diff([step.n_passes for step in seen]) >= 0) and all(np.diff([step.seconds for step in seen]) >= 0)
    assert res.n_passes == obj.n_passes >= seen[-1].n_passes
    assert (seen[-1].value, seen[-1].grad_norm) == (res.value, res.grad_norm)
    value, grad = obj.value_and_grad(res.theta)
    metric = Metric(moments(obj), obj.l2)
    norm = np.sqrt(np.sum(metric.to_phi_gradient(grad) ** 2) / (2 * value))
    assert res.value == value and res.grad_norm == pytest.approx(norm, rel=1e-12) and min(norm, res.gap_bound) <= 1e-6
    assert (seen[-1].gap_bound, seen[-1].grad_norm) == (res.gap_bound, res.grad_norm)
    assert res.solver == solver
    assert f"{solver} converged after {res.n_iter} iterations and {res.n_passes} passes" in res.message


def test_lbfgs_wastes_no_pass():
    """One pass for each point: the start and the accepted iterates are not evaluated again."""
    obj = objective()
    res = minimize(obj, solver="lbfgs")
    # Besides one a step: the Gram matrix, the start, the curvature metric, and two more trials of line searches.
    assert res.n_passes <= res.n_iter + 5


@solvers
def test_a_second_run_counts_its_own_passes_and_starts_where_it_is_told(solver):
    obj = objective()
    first = minimize(obj, solver=solver)
    second = minimize(obj, solver=solver, theta0=first.theta)
    assert second.converged and second.n_iter == 0 and second.n_passes == 3
    np.testing.assert_array_equal(second.theta, first.theta)
    assert "after 0 iterations and 3 passes:" in second.message


def test_theta0_may_be_flat_and_is_not_changed():
    obj = objective()
    theta0 = np.random.default_rng(0).standard_normal(obj.shape[0] * obj.shape[1])
    kept = theta0.copy()
    flat, shaped = minimize(obj, theta0=theta0), minimize(obj, theta0=theta0.reshape(obj.shape).tolist())
    np.testing.assert_array_equal(theta0, kept)
    np.testing.assert_array_equal(flat.theta, shaped.theta)


@solvers
def test_max_iter_is_said_and_is_no_convergence(solver):
    res = minimize(objective(), solver=solver, max_iter=2)
    assert not res.converged and res.n_iter == 2 and res.grad_norm > 1e-6
    assert f"stopped at max_iter = 2, with gradient norm {res.grad_norm:.3g} > tol 1e-06" in res.message


@solvers
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_tol_below_rounding_ends_with_the_reason(solver, dtype):
    res = minimize(objective(dtype=dtype, l2=0.1), solver=solver, tol=1e-300, max_iter=100_000)
    assert not res.converged and res.n_iter < 10_000
    assert "because rounding hides any lower value" in res.message
    assert res.grad_norm < (1e-4 if dtype == "f4" else 1e-7)


@solvers
def test_a_callback_may_end_the_run(solver):
    def three_steps(step):
        if step.iteration == 3:
            raise StopIteration("lunch")

    res = minimize(objective(), solver=solver, callback=three_steps)
    assert not res.converged and res.n_iter == 3
    assert f"{solver} stopped by the callback (lunch) after 3 iterations, with gradient norm" in res.message


def test_a_callback_that_stops_at_the_optimum_takes_nothing_from_it():
    def stop_at_the_end(step):
        if step.grad_norm <= 1e-6:
            raise StopIteration

    res = minimize(objective(), callback=stop_at_the_end)
    assert res.converged and "converged" in res.message


@solvers
def test_an_error_of_the_callback_comes_through(solver):
    def fail(step):
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        minimize(objective(), solver=solver, callback=fail)


@solvers
def test_an_error_in_the_data_comes_through(solver):
    X, y = overlapping_classes()
    X[17, 2] = np.nan
    with pytest.raises(ValueError, match="row 17, column 2"):
        minimize(Objective(X, y, backend="numpy"), solver=solver)


# ----------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize("name", ["newton-raphson", "", None, 3])
def test_an_unknown_solver_is_an_error_that_lists_the_known_ones(name):
    with pytest.raises(
        ValueError, match="'auto', 'lbfgs', 'newton', 'newton_cg', 'sgd', 'gradient_descent'; got"
    ) as error:
        minimize(objective(), solver=name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tol": 0}, ValueError, "tol must be finite and above 0"),
        ({"tol": np.nan}, ValueError, "tol must be finite"),
        ({"tol": "small"}, TypeError, "tol must be a number"),
        ({"max_iter": 0}, ValueError, "max_iter must be at least 1"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be a whole number"),
        ({"callback": "print"}, TypeError, "callback must be callable"),
        ({"theta0": np.zeros((4, 3))}, ValueError, r"theta0 has shape \(4, 3\); \(5, 3\) \(the last row is the bias\)"),
        ({"theta0": np.full((5, 3), np.inf)}, ValueError, "theta0 must be finite; row 0"),
        ({"theta0": "zeros"}, TypeError, "theta0 has dtype"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        minimize(objective(), **arguments)


def test_result_and_minimize_are_the_public_names():
    assert fastsoftmax.minimize is minimize and isinstance(minimize(objective()), fastsoftmax.Result)


@pytest.mark.parametrize("solver", ["auto", *SOLVERS])
def test_a_gradient_whose_square_overflows_is_no_warning(solver):
    obj = objective(l2=1e308, m=20, fit_intercept=False)
    theta0 = np.random.default_rng(0).standard_normal(obj.shape)
    result = minimize(obj, solver=solver, theta0=theta0 * np.sqrt(3.4 / np.sum(theta0**2)), max_iter=5)
    assert np.isfinite(result.theta).all() and np.isfinite(result.value)
