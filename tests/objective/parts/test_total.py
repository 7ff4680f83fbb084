"""A sum of parts is the objective of all their rows, for every sweep and every solver."""

import inspect
import pickle

import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax import Objective, datasets, minimize, regularization_path
from fastsoftmax.objective.parts.local import total_of
from fastsoftmax.objective.parts.part import Part, Whole, describe
from fastsoftmax.objective.problem import DesignMatrix, ProblemWithRows

CUTS = [0, 700, 701, 1900, 3000]


def chunks(*arrays, cuts=CUTS):
    return [tuple(array[a:b] for array in arrays) for a, b in zip(cuts, cuts[1:], strict=False)]


def both(X, y, w=None, k=None, **options):
    """The total of parts, and the objective of all rows."""
    arrays = (X, y) if w is None else (X, y, w)
    return total_of(chunks(*arrays), k, **options), Objective(X, y, k, sample_weight=w, **options)


@pytest.fixture(scope="module")
def data():
    X, y, _ = datasets.make_problem(3000, 5, 3, signal=1.0, seed=2)
    return X, y, np.random.default_rng(0).integers(0, 4, 3000).astype(float)


def test_it_provides_what_solvers_ask_for(data):
    total, whole = both(*data)
    asked = {n for cls in ProblemWithRows.__mro__ for n in (*vars(cls), *vars(cls).get("__annotations__", {}))}
    for name in {name for name in asked if not name.startswith("_") and hasattr(whole, name)}:
        function = getattr(ProblemWithRows, name, None)
        if inspect.isfunction(function):
            own = list(inspect.signature(getattr(total, name)).parameters)
            assert own == list(inspect.signature(function).parameters)[1:], name
        else:
            assert getattr(total, name) == getattr(whole, name), name
    design = total.design_matrix(lambda X: X, np.zeros(0, int))
    assert all(hasattr(design, name) for name in vars(DesignMatrix) if not name.startswith("_"))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_sweep_is_that_of_all_rows(data, sparse, dtype):
    X, y, w = data
    X = (sp.csr_array if sparse else np.asarray)(X.astype(dtype))
    total, whole = both(X, y, w, fit_intercept=True, l2=0.1)
    rng, near = np.random.default_rng(1), {"rtol": 2e-5 if dtype == "f4" else 1e-11, "atol": 1e-6}
    theta, v = rng.standard_normal((2, *whole.shape))
    asked = [
        lambda obj: obj.value_and_grad(theta),
        lambda obj: (obj.value(theta), obj.hess_prod(theta, v), *obj.gram_diagonal()),
        lambda obj: obj.curvature_gram(theta, diagonal=True),
        lambda obj: (obj.least_weight(), obj.present_classes(), obj.has_distributions()),
        lambda obj: obj.sum_columns(lambda X, w, start: (w @ X, w.sum()), np.array([2, 0])),
    ]
    if not sparse:
        asked.append(lambda obj: (*obj.margins(v), obj.gram(), *obj.curvature_gram(theta, diagonal=False)))
        asked.append(lambda obj: design_sweeps(obj, theta))
    for ask in asked:
        for found, wanted in zip(ask(total), ask(whole), strict=True):
            np.testing.assert_allclose(found, wanted, **near)
    assert total.n_passes == whole.n_passes


def design_sweeps(obj, theta):
    rows = obj.design_matrix(lambda X: np.hstack([X, np.ones((len(X), 1))]), np.array([1]))
    grams = np.triu(rows.pair_grams(theta))
    return grams, rows.longest, rows.range(theta), rows.gram(2.0)


def test_parameters_keep_shape_and_dtype(data):
    total, whole = both(*data, l2=0.5)
    theta = np.random.default_rng(0).standard_normal(whole.shape).astype("f4")
    for given in (theta, theta.ravel()):
        value, grad = total.value_and_grad(given)
        assert grad.shape == given.shape and grad.dtype == np.float32
        np.testing.assert_allclose(grad, whole.value_and_grad(given)[1], rtol=1e-5)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "gradient_descent"])
@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_solvers_take_the_same_steps(data, solver, l2):
    X, y, w = data
    for make in (np.asarray, sp.csr_array):
        if make is sp.csr_array and solver in ("newton", "gradient_descent"):
            continue
        total, whole = both(make(X), y, w, fit_intercept=True, l2=l2)
        found, wanted = (minimize(obj, solver=solver, max_iter=60) for obj in (total, whole))
        assert found.solver == wanted.solver and found.converged == wanted.converged
        assert found.value == pytest.approx(wanted.value, rel=1e-6)
        assert found.n_passes == total.n_passes == wanted.n_passes


def test_penalties_take_the_same_steps(data):
    total, whole = both(*data, fit_intercept=True)
    for found, wanted in zip(*(regularization_path(obj, 0.0, l1=[0.1, 0.01]) for obj in (total, whole)), strict=True):
        assert found.converged and found.value == pytest.approx(wanted.value, rel=1e-6)
        np.testing.assert_array_equal(found.theta == 0, wanted.theta == 0)


@pytest.mark.parametrize("solver", ["auto", "newton"])
def test_it_is_seen_where_there_is_no_minimum(solver):
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=3000)
    X = rng.standard_normal((3000, 2)) + np.where(y == 2, 100.0, 0.0)[:, None]
    result = minimize(both(X, y, fit_intercept=True)[0], solver=solver)
    assert not result.converged and "some classes are separable from the others" in result.message
    result = minimize(both(X, np.where(y == 2, 3, y), k=4, fit_intercept=True, l2=1e-3)[0], solver=solver)
    assert not result.converged and "class 2 has no row of positive weight" in result.message


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_columns_far_from_zero_lose_no_digits(data, sparse, l2):
    X, y, w = data
    far = np.hstack([X + [0, 1e5, 0, -3e4, 0], np.full((3000, 1), 2023.0)]).astype("f4")
    far = sp.csr_array(far) if sparse else far
    total, whole = both(far, y, w, fit_intercept=True, l2=l2)
    found, wanted = minimize(total), minimize(whole)
    assert found.converged and wanted.converged and found.n_passes == total.n_passes
    assert found.value == pytest.approx(wanted.value, rel=1e-6)
    np.testing.assert_allclose(found.theta[:5], wanted.theta[:5], atol=1e-4)


def test_a_shift_is_a_number_of_the_column(data):
    X, y, w = data
    total, _ = both(X, y, w)
    found = total.nearest(np.array([3, 0]), np.array([0.2, 50.0]))
    counted = X[w > 0]
    nearest = np.abs(counted[:, 3] - 0.2).argmin()
    np.testing.assert_array_equal(found, [counted[nearest, 3], counted[:, 0].max()])


def test_nearly_parallel_columns_are_seen():
    rng = np.random.default_rng(4)
    x = 1e8 + rng.standard_normal((3000, 2))
    total, whole = both(np.hstack([x, rng.standard_normal((3000, 1))]), rng.integers(3, size=3000))
    found, wanted = minimize(total), minimize(whole)
    assert "multiples of each other" in wanted.message and "multiples of each other" in found.message


@pytest.mark.parametrize("sparse", [False, True])
def test_sgd_walks_the_parts_in_order(data, sparse):
    X, y, w = data
    far = X + [0.0, 1e5, 0.0, 0.0, 0.0]
    for rows in (X, far.astype("f4")):
        total, whole = both(sp.csr_array(rows) if sparse else rows, y, w, fit_intercept=True, l2=1e-2)
        found, wanted = (minimize(obj, solver="sgd", max_iter=8) for obj in (total, whole))
        assert found.value == pytest.approx(wanted.value, rel=1e-2)
        assert found.n_passes == total.n_passes


def test_units_of_weights_differ_from_part_to_part(data):
    X, y, w = data
    w = np.where(np.arange(3000) < 700, 0.0, w) * np.where(np.arange(3000) < 1900, 1e-3, 1.0)
    total, whole = both(X, y, w, fit_intercept=True)
    theta = np.ones(whole.shape) * np.arange(3)
    assert total.value(theta) == pytest.approx(whole.value(theta), rel=1e-14)
    assert total.least_weight() == whole.least_weight() and total.weight_sum == pytest.approx(whole.weight_sum)
    assert minimize(total).value == pytest.approx(minimize(whole).value, rel=1e-6)


def test_weights_that_are_a_million_binary_orders_apart_leave_the_smaller_out(data):
    X, y, w = data
    total, whole = both(X, y, np.where(np.arange(3000) < 700, 1e-300, 1e300), l2=0.1)
    assert total.value(np.ones((5, 3))) == pytest.approx(whole.value(np.ones((5, 3))))
    assert np.isfinite(minimize(total).value)


def test_soft_targets_and_smoothing(data):
    X, y, w = data
    soft = np.random.default_rng(5).dirichlet(np.ones(3), 3000)
    for targets, smoothing in ((soft, 0.0), (y, 0.1)):
        total, whole = both(X, targets, w, label_smoothing=smoothing, fit_intercept=True, l2=1e-3)
        assert not total.has_labels and total.has_distributions()
        assert minimize(total).value == pytest.approx(minimize(whole).value, rel=1e-6)


def test_many_columns_of_sparse_rows_send_the_few_that_have_entries():
    X = sp.random_array((3000, 50_000), density=1e-4, format="csr", rng=np.random.default_rng(6))
    y = np.arange(3000) % 4
    total, whole = both(X, y, fit_intercept=True, l2=1e-2)
    theta = np.random.default_rng(7).standard_normal(whole.shape)
    value, grad = total.value_and_grad(theta)
    assert value == pytest.approx(whole.value(theta))
    np.testing.assert_allclose(grad, whole.value_and_grad(theta)[1], rtol=1e-10, atol=1e-15)


def test_a_part_is_rebuilt_from_what_is_sent_of_it(data):
    X, y, w = data
    for make in (np.asarray, sp.csr_array):
        rows = (make(X), y, w)
        part = Part(*rows, Whole.of([describe(*rows)], fit_intercept=True).share(0))
        again = pickle.loads(pickle.dumps(part))
        theta = np.ones(part.shape)
        assert again.value(theta) == part.value(theta) and again.share == part.share
        assert part.__sizeof__() >= 3000 * 5 * 8


def test_errors_name_the_part_and_the_row(data):
    X, y, w = data
    bad = X.copy()
    bad[1904, 3] = np.nan
    total, _ = both(bad, y)
    wanted = r"partition 3 \(rows 1900 to 2999 of all\): X must be finite; row 4, column 3 holds nan"
    with pytest.raises(ValueError, match=wanted):
        minimize(total)
    with pytest.raises(ValueError, match="partition 1: sample_weight must not be negative"):
        both(X, y, np.where(np.arange(3000) == 700, -1.0, 1.0))
    with pytest.raises(FloatingPointError, match="overflows float32"):
        both(X.astype("f4"), y)[0].value(np.full((5, 3), 1e200))


def test_parts_that_do_not_fit_together_are_refused(data):
    X, y, _ = data
    cases = [
        ([(X, y), (X[:, :4], y)], None, "partition 0 has 5 columns, partition 1 has 4 columns; the same"),
        ([(X, y), (X.astype("f4"), y)], None, "computed in float64, partition 1 .* computed in float32"),
        ([(X, 0 * y)] * 2, None, "y holds one class only"),
        ([(X, y)], 2, "partition 0: y has 3 classes; n_classes is 2"),
        ([(X, y, 0 * y)], None, "sample_weight is zero in every row"),
    ]
    for rows, k, wanted in cases:
        with pytest.raises(ValueError, match=wanted):
            total_of(rows, k)
