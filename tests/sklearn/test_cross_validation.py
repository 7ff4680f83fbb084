"""`SoftmaxRegressionCV`: scores of separate fits by brute force, the choice, scikit-learn's rules, bad arguments."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from samples import text
from sklearn import config_context
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
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
    monkeypatch.setattr("fastsoftmax.solvers.many.TOGETHER", shortest)
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


# ------------------------------------------------------------------------------------------- score


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "scoring", ["neg_log_loss", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr", "jaccard_macro", None]
)
def test_score_is_the_one_that_was_asked_for(scoring, weighted):
    X, y = wine()
    w = np.random.default_rng(0).random(len(y)) if weighted else None
    clf = SoftmaxRegressionCV(l2s=[1e-1, 1e-2], scoring=scoring, cv=3).fit(X[::2], y[::2])
    wanted = get_scorer(scoring or "accuracy")
    assert clf.score(X, y, w) == pytest.approx(wanted(clf, X, y, **({} if w is None else {"sample_weight": w})))
    if w is None:
        search = GridSearchCV(SoftmaxRegression(), {"l2": [clf.l2_]}, scoring=scoring, cv=3).fit(X[::2], y[::2])
        assert clf.score(X, y) == pytest.approx(search.score(X, y), abs=1e-4)


def test_score_of_the_callers_own_scorer():
    X, y = wine()
    clf = SoftmaxRegressionCV(l2s=[0.1], scoring=lambda estimator, X, y: 17 + len(y)).fit(X, y)
    assert clf.score(X[:3], y[:3]) == 20 and clf.scores_.mean() > 17


def test_the_log_loss_of_rows_without_one_of_the_classes():
    X, y = wine()
    clf = SoftmaxRegressionCV(l2s=[0.1], scoring="neg_log_loss").fit(X, y)
    part = y != "red"
    codes = np.searchsorted(clf.classes_, y[part])
    loss = -clf.predict_log_proba(X[part])[np.arange(part.sum()), codes].mean()
    assert clf.score(X[part], y[part]) == pytest.approx(-loss)


def test_an_l2_without_a_score_ranks_last():
    X, y = wine()

    def score(where):
        return lambda estimator, X, y: np.nan if where(abs(estimator.coef_).max()) else -abs(estimator.coef_).max()

    size = abs(SoftmaxRegression(l2=1.0).fit(X, y).coef_).max()
    with pytest.warns(UserWarning, match="the score of fold . is NaN at l2 = 1; an l2 of which any score is NaN ranks"):
        assert SoftmaxRegressionCV(l2s=L2S, scoring=score(lambda s: s < 1.5 * size)).fit(X, y).l2_ == 1e-2
    with pytest.warns(UserWarning, match="the score of fold 0 is NaN at l2 = 0.001"):
        assert SoftmaxRegressionCV(l2s=L2S, scoring=score(lambda s: True)).fit(X, y).l2_ == 1.0


# ------------------------------------------------------------------------------------------ groups


def grouped():
    X, y = wine()
    return X, y, np.arange(len(y)) % 7


@pytest.mark.parametrize("splitter", [GroupKFold(3), LeaveOneGroupOut(), StratifiedGroupKFold(3)])
@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_groups_reach_the_splitter(splitter, routing, container):
    X, y, groups = grouped()
    splits = list(splitter.split(X, y, groups))
    wanted = SoftmaxRegressionCV(l2s=[0.1], cv=splits).fit(container(X), y).scores_
    with config_context(enable_metadata_routing=routing):
        clf = SoftmaxRegressionCV(l2s=[0.1], cv=splitter)
        np.testing.assert_array_equal(clf.fit(container(X), y, groups=groups).scores_, wanted)
        if not isinstance(splitter, StratifiedGroupKFold):  # whose error depends on scikit-learn's version
            with pytest.raises(ValueError, match="'groups' parameter should not be None"):
                clf.fit(X, y)


def test_groups_through_a_pipeline():
    X, y, groups = grouped()
    pipe = make_pipeline(StandardScaler(), SoftmaxRegressionCV(l2s=[0.1], cv=GroupKFold(3)))
    wanted = SoftmaxRegressionCV(l2s=[0.1], cv=GroupKFold(3)).fit(StandardScaler().fit_transform(X), y, groups=groups)
    plain = pipe.fit(X, y, softmaxregressioncv__groups=groups)[-1].scores_
    with config_context(enable_metadata_routing=True):
        routed = pipe.fit(X, y, groups=groups)[-1].scores_
    np.testing.assert_array_equal(plain, wanted.scores_)
    np.testing.assert_array_equal(routed, wanted.scores_)


def test_groups_through_nested_cross_validation():
    X, y, groups = grouped()
    clf = SoftmaxRegressionCV(l2s=[0.1, 0.01], cv=GroupKFold(2))
    outer = GroupKFold(3)
    plain = cross_validate(clf, X, y, groups=groups, cv=outer, params={"groups": groups})["test_score"]
    with config_context(enable_metadata_routing=True):
        routed = cross_validate(clf, X, y, cv=outer, params={"groups": groups})["test_score"]
    np.testing.assert_array_equal(plain, routed)
    for (train, test), score in zip(outer.split(X, y, groups), plain, strict=True):
        assert clf.fit(X[train], y[train], groups=groups[train]).score(X[test], y[test]) == score


def test_weights_and_groups_are_routed_to_scorers_that_ask_for_them():
    X, y, groups = grouped()
    w = np.random.default_rng(0).random(len(y)) + 0.5
    with config_context(enable_metadata_routing=True):
        asks = make_scorer(accuracy_score).set_score_request(sample_weight=True)
        clf = SoftmaxRegressionCV(l2s=[1.0], cv=GroupKFold(3), scoring=asks).fit(X, y, sample_weight=w, groups=groups)
        built_in = SoftmaxRegressionCV(l2s=[1.0], cv=GroupKFold(3), scoring="accuracy").fit(X, y, w, groups=groups)
        np.testing.assert_allclose(clf.scores_, built_in.scores_, rtol=1e-12)
        assert clf.score(X, y, sample_weight=w) == pytest.approx(accuracy_score(y, clf.predict(X), sample_weight=w))


def test_other_arguments_are_an_error():
    X, y, groups = grouped()
    with pytest.raises(TypeError, match="fit got 'rows', which needs .*enable_metadata_routing=True"):
        SoftmaxRegressionCV().fit(X, y, rows=groups)
    with pytest.raises(TypeError, match="score got 'groups'"):
        SoftmaxRegressionCV(l2s=[0.1]).fit(X, y).score(X, y, groups=groups)


# ------------------------------------------------------------- classes that a fold's training rows lack

LOST = {
    "one row": lambda X, y: (y != 9) | (np.cumsum(y == 9) == 1),
    "two rows of one fold": lambda X, y: (y != 9) | (np.cumsum(y == 9) <= 2),
}


def rare(kind):
    """Digits with one or two rows of class 9, both in the first fold of four."""
    X, y = load_digits(return_X_y=True)
    kept = LOST[kind](X, y)
    X, y = X[kept][:600] / 16, y[kept][:600]
    fold = np.arange(len(y)) % 4
    fold[y == 9] = 0
    return X, y, [(np.flatnonzero(fold != f), np.flatnonzero(fold == f)) for f in range(4)]


@pytest.mark.parametrize("kind", LOST)
@pytest.mark.parametrize("scoring", [None, "accuracy", "balanced_accuracy"])
def test_the_choice_where_a_fold_lacks_a_class_is_stable(kind, scoring):
    X, y, splits = rare(kind)
    options = {"l2s": [1e-1, 1e-2, 1e-3], "cv": splits, "scoring": scoring}
    found = []
    for container, solver, tol in [
        (np.asarray, "newton", 1e-9),
        (np.asarray, "auto", 1e-6),
        (np.asarray, "lbfgs", 1e-4),
        (sp.csr_array, "auto", 1e-6),
        (sp.csr_array, "lbfgs", 1e-4),
    ]:
        with pytest.warns(UserWarning, match="the training rows of fold 0 lack class 9. Its probability is 0 there"):
            found.append(SoftmaxRegressionCV(solver=solver, tol=tol, **options).fit(container(X), y))
        assert found[-1].l2_ == found[0].l2_
        np.testing.assert_allclose(found[-1].scores_, found[0].scores_, rtol=0, atol=5e-3 if scoring is None else 0.02)
    assert found[0].scores_.min() > -36


@pytest.mark.parametrize("scoring", [None, "accuracy", "f1_macro"])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_scores_of_a_fold_without_a_class_are_those_of_a_fit_without_it(container, scoring):
    X, y, splits = rare("one row")
    y = np.array([f"digit {d}" for d in range(10)])[y]
    with pytest.warns(UserWarning, match="fold 0 lack class 'digit 9'"):
        clf = SoftmaxRegressionCV(l2s=[1e-1], cv=splits, scoring=scoring, tol=1e-9).fit(container(X), y)
    train, test = splits[0]
    alone = SoftmaxRegression(l2=1e-1, tol=1e-9).fit(X[train], y[train])
    if scoring is None:
        Z = np.hstack([alone.predict_proba(X[test]), np.zeros((len(test), 1))])  # "digit 9" is the last label
        wanted = -log_loss(y[test], Z, labels=np.unique(y))
    else:
        wanted = get_scorer(scoring)(alone, X[test], y[test])
    assert clf.scores_[0, 0] == pytest.approx(wanted, abs=1e-5)


def test_the_warning_names_folds_and_classes():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match="fold 0 lack class 0, of fold 1 lack class 1, of fold 2 lack class 2. Its"):
        clf = SoftmaxRegressionCV(l2s=3, cv=KFold(3)).fit(X, y)
    np.testing.assert_allclose(clf.scores_, np.log(np.finfo(float).eps))
    assert clf.l2_ == 1.0
    with pytest.warns(UserWarning, match="fold 0 lack class 0, 1. Its"):
        train = np.arange(100, 150)
        SoftmaxRegressionCV(l2s=[0.1], cv=[(train, np.arange(100))]).fit(X, y)
    blocks = np.arange(150) // 15
    with pytest.warns(UserWarning, match="of fold 4 lack class .*; and those of 5 more folds lack some"):
        SoftmaxRegressionCV(l2s=[0.1], cv=LeaveOneGroupOut()).fit(X, blocks, groups=blocks)


def test_a_class_of_weight_zero_has_no_part_in_the_choice():
    X, y = wine()
    kept = y != "red"
    with pytest.warns(UserWarning, match="no row of positive weight is of class 'red'"):
        clf = SoftmaxRegressionCV(l2s=L2S, tol=1e-9, cv=KFold(3, shuffle=True, random_state=0)).fit(X, y, kept * 1.0)
    splits = list(KFold(3, shuffle=True, random_state=0).split(X))
    number = np.cumsum(kept) - 1
    splits = [tuple(number[rows[kept[rows]]] for rows in split) for split in splits]
    alone = SoftmaxRegressionCV(l2s=L2S, tol=1e-9, cv=splits).fit(X[kept], y[kept])
    np.testing.assert_allclose(clf.scores_, alone.scores_, rtol=0, atol=1e-4)
    assert clf.l2_ == alone.l2_ and list(clf.classes_) == ["red", "rose", "white"]
    np.testing.assert_array_equal(clf.predict_proba(X)[:, 0], 0)
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1:], alone.predict_proba(X), rtol=0, atol=1e-4)


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
