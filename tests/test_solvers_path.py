"""`regularization_path`: what separate fits find, in fewer passes."""

import numpy as np
import pytest

import fastsoftmax
from fastsoftmax import Objective, datasets, minimize, regularization_path

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
