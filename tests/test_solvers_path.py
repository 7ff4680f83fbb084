"""`regularization_path`: what separate fits find, in fewer passes."""

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import Objective, datasets, minimize, regularization_path
from fastsoftmax.solvers.path import start_from

L2S = [1e-3, 1.0, 1e-4, 1e-2, 0.1]


def objective(name="digits", l2=0.5):
    X, y, _ = datasets.load_sample(name)
    return Objective(X / X.std(), np.unique(y, return_inverse=True)[1], fit_intercept=True, l2=l2)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton_cg"])
def test_a_path_is_what_separate_fits_find_in_fewer_passes(solver):
    obj = objective()
    path = regularization_path(obj, iter(L2S), solver=solver)
    alone = [minimize(objective(l2=l2), solver=solver) for l2 in L2S]
    assert all(res.converged for res in path)
    for one, other in zip(path, alone, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-6)
    assert sum(res.n_passes for res in path) < sum(res.n_passes for res in alone)
    assert obj.n_passes == sum(res.n_passes for res in path)


def test_l2_is_put_back_whatever_happens_and_no_strengths_are_no_results():
    obj = objective("iris")
    assert regularization_path(obj, []) == []

    def fail(step):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        regularization_path(obj, [1.0, 0.1], callback=fail)
    assert obj.l2 == 0.5
    with pytest.raises(ValueError, match="l2s must be"):
        regularization_path(obj, [1.0, -0.1])
    assert fastsoftmax.regularization_path is regularization_path


def test_the_start_lies_on_the_line_through_the_last_two_optima_and_no_further_than_they_are_apart():
    one, two = np.full((2, 2), 1.0), np.full((2, 2), 3.0)
    assert not start_from([], 1.0, (2, 2)).any()
    np.testing.assert_array_equal(start_from([(1.0, one)], 0.1, (2, 2)), one)
    np.testing.assert_allclose(start_from([(1.0, one), (0.01, two)], 1e-3, (2, 2)), np.full((2, 2), 4.0))
    np.testing.assert_allclose(start_from([(1.0, one), (0.01, two)], 1e-9, (2, 2)), np.full((2, 2), 5.0))
    for l2 in (0.0, 0.01):
        np.testing.assert_array_equal(start_from([(1.0, one), (0.01, two)], l2, (2, 2)), two)
