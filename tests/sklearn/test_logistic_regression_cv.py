"""`LogisticRegressionCV` beside scikit-learn's own: choices, scores, paths, attributes, routing."""

import numpy as np
import pytest
import sklearn
from estimators import VERSION, alike, both, quietly
from sklearn.datasets import load_iris, make_classification
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax.sklearn import LogisticRegressionCV

# What keeps the installed version from warning of its deprecations.
NEW = {"use_legacy_attributes": False, "l1_ratios": (0.0,)} if VERSION >= (1, 8) else {}


# A check of five rows has a class of two, which three folds have too few rows of.
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:The least populated class")
@parametrize_with_checks([LogisticRegressionCV(Cs=3, cv=3)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def iris(k=3):
    X, y = load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), np.minimum(y, k - 1)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", make_scorer(lambda y, p: np.mean(y == p))])
@pytest.mark.parametrize("new", [{}, NEW], ids=["legacy", "new"])
def test_choices_scores_and_paths_are_theirs(k, refit, scoring, new):
    given = {"Cs": [0.01, 1.0, 0.1], "cv": 3, "tol": 1e-8, "max_iter": 1000, **new}
    theirs, ours = both(LogisticRegressionCV, *iris(k), refit=refit, scoring=scoring, **given)
    alike(theirs, ours)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(ours.C_, theirs.C_)
    for left, right in zip(_arrays(ours.scores_), _arrays(theirs.scores_), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5)
    for left, right in zip(_arrays(ours.coefs_paths_), _arrays(theirs.coefs_paths_), strict=True):
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-5)


def _arrays(found):
    return list(found.values()) if isinstance(found, dict) else [found]


def test_elastic_nets_are_theirs():
    X, y = make_classification(150, 6, flip_y=0.2, random_state=0)
    more = {"use_legacy_attributes": False} if VERSION >= (1, 8) else {"penalty": "elasticnet"}
    given = {"Cs": [0.05, 1.0], "l1_ratios": [0.0, 0.5, 1.0], "solver": "saga", "cv": 3, "scoring": "neg_log_loss"}
    theirs, ours = both(LogisticRegressionCV, X, y, max_iter=10_000, tol=1e-7, random_state=0, **given, **more)
    alike(theirs, ours)
    np.testing.assert_allclose(_arrays(ours.scores_)[0], _arrays(theirs.scores_)[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-4)


def test_weights_reach_the_folds_and_the_scorer():
    X, y = iris()
    w = 1.0 + np.arange(len(y)) % 2
    theirs, ours = both(LogisticRegressionCV, X, y, w, Cs=[0.1, 1.0], cv=3, tol=1e-8, scoring="neg_log_loss", **NEW)
    np.testing.assert_allclose(_arrays(ours.scores_)[0], _arrays(theirs.scores_)[0], rtol=0, atol=1e-6)


def test_metadata_reaches_the_splitter():
    X, y = iris()
    groups = np.arange(len(y)) % 4
    with sklearn.config_context(enable_metadata_routing=True):
        fitted = LogisticRegressionCV(Cs=2, cv=GroupKFold(4), scoring="accuracy", **NEW).fit(X, y, groups=groups)
    assert _arrays(fitted.scores_)[0].shape[0] == 4


def test_a_fold_without_a_class_has_its_coefficients_all_the_same():
    X, y = iris()
    rows = np.r_[0:40, 50:90, 140:143]
    folds = [(np.arange(80), np.arange(80, 83)), (np.arange(83), np.arange(0, 80, 2))]
    given = {"Cs": [1.0], "cv": folds, "scoring": "accuracy", **NEW}
    fitted = quietly(LogisticRegressionCV(**given), X[rows], y[rows])
    assert np.isfinite(np.concatenate([np.ravel(part) for part in _arrays(fitted.coefs_paths_)])).all()
