"""Grids of penalties: their names, and what C is as l2."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fastsoftmax import LinearProbe, Objective, minimize
from fastsoftmax.probe.grid import make_grid


def test_named_grids():
    grid = make_grid("dinov2")
    assert len(grid) == 45 and grid.values[0] == 1e-6 and grid.values[-1] == pytest.approx(1e5)
    assert len(make_grid("clip")) == 96
    np.testing.assert_allclose(grid.l2s(1000.0)[[0, -1]], [1e3, 1e-8])


def test_the_strongest_comes_first_however_they_are_given():
    for grid in (make_grid(5), make_grid("x", l2s=[1e-3, 1.0, 0.1, 1.0]), make_grid("x", Cs=[3.0, 0.1])):
        l2s = grid.l2s(50.0)
        assert (np.diff(l2s) < 0).all()
        np.testing.assert_allclose(grid.Cs(50.0) * l2s * 50.0, 1.0)
    assert make_grid("x", l2s=[1e-3, 1.0]).l2s(7.0).tolist() == [1.0, 1e-3]


def test_C_means_what_it_means_in_scikit_learn():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((80, 4)), rng.integers(3, size=80)
    (l2,) = make_grid("x", Cs=[0.3]).l2s(80.0)
    ours = minimize(Objective(X, y, l2=l2), tol=1e-10).theta
    theirs = LogisticRegression(C=0.3, fit_intercept=False, tol=1e-10, max_iter=1000).fit(X, y).coef_.T
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("k", [2, 3])
def test_a_probe_at_a_C_is_the_model_of_scikit_learn(k):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((80, 4)), rng.integers(k, size=80)
    probe = LinearProbe(Cs=[0.3], tol=1e-10, held_out=0.5).fit(X, y)
    theirs = LogisticRegression(C=0.3, tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(probe.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"grid": "dino"}, "grid must be one of 'dinov2', 'clip', or a number of values; got 'dino'"),
        ({"grid": 0}, "grid"),
        ({"grid": 3, "l2s": [0.1, 0.0]}, "l2s must be finite and above 0; got 0"),
        ({"grid": 3, "Cs": [1.0, -2.0]}, "Cs must be .*-2"),
        ({"grid": 3, "Cs": []}, "Cs is empty"),
        ({"grid": 3, "l2s": [1.0], "Cs": [1.0]}, "give one of them"),
    ],
)
def test_bad_grids_get_a_sentence(arguments, text):
    with pytest.raises(ValueError, match=text):
        make_grid(**arguments)
