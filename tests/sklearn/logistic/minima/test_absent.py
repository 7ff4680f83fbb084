"""Classes without weight: the objective ends no higher than scikit-learn's, and their probability is as good as 0."""

import numpy as np
import pytest
from estimators import both, objective, penalty
from sklearn.datasets import make_classification

from fastsoftmax.sklearn import LogisticRegression

# Solver, share of l1 in the penalty.
PENALTIES = [("lbfgs", None), ("lbfgs", 0.0), ("saga", 0.5), ("saga", 1.0)]


def problem(k, dtype=np.float64):
    X, y = make_classification(400, 8, n_informative=5, n_redundant=0, n_classes=k, random_state=0)
    return X.astype(dtype), y


def fitted(X, y, w, solver="lbfgs", l1_ratio=0.0, **more):
    given = {"solver": solver, "max_iter": 2000, "random_state": 0, **penalty(l1_ratio), **more}
    theirs, ours = both(LogisticRegression, X, y, w, **given)
    assert ours.coef_.shape == theirs.coef_.shape and ours.coef_.dtype == theirs.coef_.dtype
    assert ours.intercept_.shape == theirs.intercept_.shape
    return theirs, ours


@pytest.mark.parametrize(("solver", "l1_ratio"), PENALTIES)
@pytest.mark.parametrize(("k", "absent"), [(2, [0]), (2, [1]), (3, [0]), (4, [1, 2]), (5, [3]), (3, [0, 2])])
def test_the_objective_is_theirs_or_lower(solver, l1_ratio, k, absent):
    X, y = problem(k)
    w = np.where(np.isin(y, absent), 0.0, 1.0 + np.arange(len(y)) % 3)
    for dtype, C in [(np.float64, 1.0), (np.float32, 30.0)]:
        more = {"C": C} if l1_ratio is not None else {}
        theirs, ours = fitted(X.astype(dtype), y, w, solver, l1_ratio, **more)
        values = [objective(found, X, y, w, C=C, l1_ratio=l1_ratio) for found in (theirs, ours)]
        assert values[1] <= values[0] * (1 + (1e-6 if dtype == np.float64 else 3e-6)) + 1e-9
        assert ours.predict_proba(X)[:, absent].max() < 1e-6
        assert (ours.coef_[absent] == 0).all() if k > 2 else (ours.coef_ == 0).all()


def test_rows_of_a_class_without_weight_count_for_nothing():
    X, y = problem(4)
    w = (y != 2).astype(float)
    some = fitted(X, y, w)[1]
    others = LogisticRegression(max_iter=2000).fit(X[y != 2], y[y != 2])
    np.testing.assert_allclose(some.coef_[[0, 1, 3]], others.coef_, rtol=0, atol=2e-4)
    np.testing.assert_allclose(some.predict_proba(X)[:, [0, 1, 3]], others.predict_proba(X), rtol=0, atol=1e-4)


def test_a_class_without_weight_and_without_an_intercept_has_a_minimum():
    X, y = problem(3)
    w = (y != 0).astype(float)
    theirs, ours = fitted(X, y, w, fit_intercept=False, tol=1e-8)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-5)
