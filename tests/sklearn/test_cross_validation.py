"""`SoftmaxRegressionCV`: scores of separate fits by brute force, the choice, scikit-learn's rules, bad arguments."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from samples import text
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastsoftmax
from fastsoftmax import SoftmaxRegression, SoftmaxRegressionCV

L2S = [1e-3, 1.0, 1e-2]


@parametrize_with_checks([SoftmaxRegressionCV(l2s=[1e-3, 1e-1], cv=3)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def wine():
    X, y = load_wine(return_X_y=True)
    return StandardScaler().fit_transform(X), np.array(["red", "white", "rose"])[y]


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scoring", [None, "accuracy"])
@pytest.mark.parametrize("shortest", [0.0, 1e99])
def test_scores_are_those_of_separate_fits(monkeypatch, backend, solver, weighted, scoring, shortest):
    monkeypatch.setattr("fastsoftmax.solvers.cross_validation.TOGETHER", shortest)
    X, y = wine()
    w = np.random.default_rng(0).random(len(y)) + 0.5 if weighted else None
    clf = SoftmaxRegressionCV(l2s=L2S, scoring=scoring, solver=solver, backend=backend, tol=1e-9).fit(X, y, w)
    for i, (train, test) in enumerate(StratifiedKFold(5).split(X, y)):
        part = (None, None) if w is None else (w[train], w[test])
        for j, l2 in enumerate(L2S):
            alone = SoftmaxRegression(l2=l2, backend=backend, tol=1e-9).fit(X[train], y[train], part[0])
            if scoring == "accuracy":
                wanted = accuracy_score(y[test], alone.predict(X[test]), sample_weight=part[1])
                assert clf.scores_[i, j] == pytest.approx(wanted, rel=1e-12)
            else:
                wanted = -log_loss(y[test], alone.predict_proba(X[test]), sample_weight=part[1])
                assert clf.scores_[i, j] == pytest.approx(wanted, abs=1e-4)


def test_the_choice_and_the_model_on_all_rows():
    X, y = wine()
    clf = SoftmaxRegressionCV(l2s=L2S).fit(X, y)
    means = clf.scores_.mean(axis=0)
    assert clf.l2_ == L2S[means.argmax()] and clf.scores_.shape == (5, 3) and clf.l2s_.tolist() == L2S
    alone = SoftmaxRegression(l2=clf.l2_).fit(X, y)
    assert clf.result_.value == pytest.approx(alone.result_.value, rel=1e-6)
    assert clf.coef_.shape == alone.coef_.shape and clf.intercept_.shape == alone.intercept_.shape
    np.testing.assert_array_equal(clf.predict(X), alone.predict(X))
    assert clf.n_iter_ >= clf.result_.n_iter and clf.n_passes_ > 0
    assert fastsoftmax.SoftmaxRegressionCV is SoftmaxRegressionCV


def test_of_equal_scores_the_larger_l2_is_taken():
    X, y = wine()
    assert SoftmaxRegressionCV(l2s=[1e-2, 1e-1], scoring="accuracy", cv=2).fit(X[::2] * 0, y[::2]).l2_ == 0.1


def test_a_scorer_of_scikit_learn():
    X, y = wine()
    built_in = SoftmaxRegressionCV(l2s=L2S, scoring="accuracy").fit(X, y)
    clf = SoftmaxRegressionCV(l2s=L2S, scoring="balanced_accuracy").fit(X, y)
    assert clf.scores_.shape == (5, 3) and (abs(clf.scores_ - built_in.scores_) < 0.1).all()

    def accuracy(estimator, X, y):
        return np.mean(estimator.predict(X) == y)

    np.testing.assert_allclose(SoftmaxRegressionCV(l2s=L2S, scoring=accuracy).fit(X, y).scores_, built_in.scores_)


def test_a_number_of_l2s_and_a_splitter():
    X, y = load_iris(return_X_y=True)
    clf = SoftmaxRegressionCV(l2s=3, cv=KFold(4, shuffle=True, random_state=0)).fit(X, y)
    np.testing.assert_allclose(clf.l2s_, [1, 1e-3, 1e-6])
    assert clf.scores_.shape == (4, 3)
    train, test = np.arange(0, 150, 2), np.arange(1, 150, 2)
    assert SoftmaxRegressionCV(l2s=[0.1], cv=[(train, test)]).fit(X, y).scores_.shape == (1, 1)


def test_an_end_before_tol_is_a_warning():
    X, y = wine()
    with pytest.warns(ConvergenceWarning, match="4 of 4 fits ended before they reached tol; the first: lbfgs stopped"):
        SoftmaxRegressionCV(l2s=[1e-4], cv=3, solver="lbfgs", max_iter=2).fit(X, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cv": ShuffleSplit(3, random_state=0)}, "test sets that do not overlap, and all other rows for training"),
        ({"l2s": []}, "l2s is empty"),
        ({"l2s": [-1.0]}, "l2s must be"),
        ({"l2s": 0}, "l2s must be at least 1"),
        ({"solver": "newton_cg"}, "solver must be one of 'auto', 'lbfgs', 'newton', 'gradient_descent' here"),
        ({"solver": "sag"}, "solver must be one of"),
        ({"cv": [(np.arange(150), [])]}, "the test set of fold 0 has no row of positive weight"),
    ],
)
def test_bad_arguments(options, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        SoftmaxRegressionCV(**options).fit(X, y)


# ---------------------------------------------------------------------------------------- sparse X


@pytest.mark.parametrize("scoring", [None, "accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("container", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_sparse_x_gives_the_scores_of_the_dense_array(backend, container, scoring):
    X, y = text(400, 40, 3, words=8)
    w = np.random.default_rng(0).random(len(y))
    options = {"l2s": [1e-1, 1e-2], "cv": 3, "scoring": scoring, "class_weight": "balanced", "tol": 1e-9}
    thin = SoftmaxRegressionCV(backend=backend, **options).fit(container(X), y, w)
    dense = SoftmaxRegressionCV(backend=backend, **options).fit(X.toarray(), y, w)
    # Two thetas of a relative gap of tol each are about its root apart.
    np.testing.assert_allclose(thin.scores_, dense.scores_, rtol=0, atol=1e-4)
    assert thin.l2_ == dense.l2_ and thin.result_.converged and thin.n_iter_ > 0 and thin.n_passes_ > 0
    np.testing.assert_allclose(thin.coef_, dense.coef_, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(thin.predict(container(X)), dense.predict(X.toarray()))


def test_wide_sparse_x_is_never_made_dense():
    X, y = text(3000, 30_000, 3)
    tracemalloc.start()
    clf = SoftmaxRegressionCV(l2s=[1e-2, 1e-4], cv=2, tol=1e-4).fit(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert clf.scores_.shape == (2, 2) and peak < X.shape[0] * X.shape[1] * 8 / 4


def test_sparse_x_keeps_to_the_folds_and_solvers_it_can_have():
    X, y = text(300, 30, 3, words=8)
    with pytest.raises(ValueError, match="test sets that do not overlap"):
        SoftmaxRegressionCV(cv=ShuffleSplit(3, random_state=0)).fit(X, y)
    with pytest.raises(ValueError, match="solver 'newton' needs dense X"):
        SoftmaxRegressionCV(solver="newton").fit(X, y)
    with pytest.raises(ValueError, match="the rows outside fold 0 have no positive weight"):
        SoftmaxRegressionCV(cv=[(np.arange(150), np.arange(150, 300))]).fit(X, y, np.repeat([0.0, 1.0], 150))


def test_there_is_no_partial_fit():
    """Rows that come in parts have no folds."""
    assert not hasattr(SoftmaxRegressionCV(), "partial_fit")
