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


@pytest.mark.parametrize("l2", [0.0, 1e-3])
def test_a_path_of_l1_holds_the_conditions_of_an_optimum_and_takes_fewer_passes(backend, l2):
    X, y, _ = datasets.load_sample("wine")
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    obj = Objective(X, np.unique(y, return_inverse=True)[1], fit_intercept=True, l2=0.5, backend=backend)
    weights, tol = [1e-3, 0.1, 1e-2], 1e-8
    path = regularization_path(obj, l2, l1=weights, tol=tol, max_iter=5000)
    assert obj.l2 == 0.5 and all(res.converged and res.solver == "l1" for res in path)
    assert path[0].n_passes < path[1].n_passes + path[2].n_passes + path[0].n_passes == obj.n_passes
    obj.l2 = l2
    alone = [minimize(obj, l1=l1, tol=tol, max_iter=5000) for l1 in weights]
    assert sum(res.n_passes for res in path) < sum(res.n_passes for res in alone)
    zeros = [int((res.theta[:13] == 0).sum()) for res in path]
    assert zeros[1] > zeros[2] > zeros[0]
    for l1, res, other in zip(weights, path, alone, strict=True):
        theta, (value, grad) = res.theta[:13], obj.value_and_grad(res.theta)
        few = np.sqrt(2 * tol * res.value) * max(np.sqrt(l2), 1e-3)  # as in methods/test_l1.py
        zero = theta == 0
        np.testing.assert_allclose(grad[:13][~zero], -l1 * np.sign(theta[~zero]), rtol=0, atol=few)
        assert np.abs(grad[:13][zero]).max() <= l1 + few and np.abs(grad[13]).max() <= few
        assert res.value == pytest.approx(value + l1 * np.abs(theta).sum(), rel=1e-14)
        assert res.value == pytest.approx(other.value, rel=2 * tol)


def test_an_elastic_net_takes_one_l1_for_each_l2_or_one_for_all():
    obj = objective("iris")
    both = regularization_path(obj, [1e-3, 1e-2], l1=[1e-2, 1e-3])
    for res, l2, l1 in zip(both, [1e-3, 1e-2], [1e-2, 1e-3], strict=True):
        assert res.value == pytest.approx(minimize(objective("iris", l2=l2), l1=l1).value, rel=2e-6)
    one = regularization_path(obj, [1e-3, 1e-2], l1=1e-2)
    assert one[0].value == pytest.approx(both[0].value, rel=2e-6)
    # The run without l1 goes on from that with l1, by a method for smooth objectives.
    mixed = regularization_path(obj, 1e-3, l1=[0.0, 0.1])
    assert mixed[1].solver == "l1" and mixed[0].solver != "l1" and mixed[0].converged
    assert mixed[0].value == pytest.approx(minimize(objective("iris", l2=1e-3)).value, rel=2e-6)
    assert len(regularization_path(obj, 1e-2)) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"l2s": [0.1, 0.2], "l1": [0.1]}, ValueError, "l1 holds 1 strengths and l2s 2"),
        ({"l2s": [0.1], "l1": -1.0}, ValueError, "l1 must be"),
        ({"l2s": 0.1, "l1": "a"}, TypeError, "l1 must be a number; got 'a'"),
        ({"l2s": 0.1, "l1": [0.1], "solver": "lbfgs"}, ValueError, "solver must be 'auto' where l1"),
        ({"l2s": [0.1], "tol": 0.0}, ValueError, "tol must be"),
        ({"l2s": [0.1], "max_iter": 0}, ValueError, "max_iter must be"),
        ({"l2s": [0.1], "callback": 1}, TypeError, "callback must be"),
        ({"l2s": [0.1], "solver": "best"}, ValueError, "solver must be one of"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        regularization_path(objective("iris"), **arguments)
