"""`cross_validate` over arrays: the fits and scores of separate objectives, whatever the order of the l2s."""

import numpy as np
import pytest
import scipy.sparse as sp
from samples import text

from fastsoftmax import Objective, minimize
from fastsoftmax.solvers.cross_validation import ABSENT_LOSS, classes_outside, cross_validate, fold_of_rows

L2S = np.array([1e-3, 1.0, 1e-2])


def problem(folds=3, *, sparse=False):
    """X (400, 40), labels of three classes, and splits of all rows but the last ten, which no fold tests."""
    X, y = text(400, 40, 3, words=8)
    rows = np.random.default_rng(0).permutation(400)
    tests = np.array_split(rows[:-10], folds)
    return X if sparse else X.toarray(), y, [(np.setdiff1d(rows, test), np.sort(test)) for test in tests]


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("together", [0.0, 1e99])
def test_fits_and_scores_are_those_of_separate_objectives(monkeypatch, backend, sparse, together):
    monkeypatch.setattr("fastsoftmax.solvers.many.TOGETHER", together)
    X, y, splits = problem(sparse=sparse)
    options = {"fit_intercept": True, "backend": backend}
    obj = Objective(X, y, 3, l2=0.25, **options)
    found = cross_validate(obj, splits, L2S, tol=1e-9)
    assert obj.l2 == 0.25 and not found.unconverged and found.n_passes > 0 and found.scores.shape == (3, 3)
    for j, l2 in enumerate(L2S):
        alone = minimize(Objective(X, y, 3, l2=l2, **options), tol=1e-9)
        assert found.full[j].value == pytest.approx(alone.value, rel=1e-8)
        for i, (train, test) in enumerate(splits):
            theta = minimize(Objective(X[train], y[train], 3, l2=l2, **options), tol=1e-9).theta
            # Two thetas of a relative gap of tol each are about its root apart.
            assert found.scores[i, j] == pytest.approx(
                -Objective(X[test], y[test], 3, **options).value(theta), abs=1e-4
            )


@pytest.mark.parametrize("sparse", [False, True])
def test_a_callable_score_gets_the_fold_and_its_theta_for_x_as_it_was_given(sparse):
    X, y, splits = problem(sparse=sparse)
    if not sparse:
        X[:, 0] += 1e9  # centered within
    calls = []

    def score(number, theta):
        calls.append(number)
        test = splits[number][1]
        return np.mean((X[test] @ theta[:-1] + theta[-1]).argmax(axis=1) == y[test])

    def found(score):
        return cross_validate(Objective(X, y, 3, fit_intercept=True), splits, L2S, score=score).scores

    np.testing.assert_allclose(found(score), found("accuracy"), rtol=1e-12)
    assert sorted(calls) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_what_ends_before_tol_is_listed_and_the_l2_put_back_after_an_error():
    X, y, splits = problem()
    obj = Objective(X, y, 3, fit_intercept=True, l2=0.5)
    found = cross_validate(obj, splits, L2S, solver="lbfgs", max_iter=1)
    assert len(found.unconverged) == len(L2S) * 4

    def score(number, theta):
        raise RuntimeError("no score")

    with pytest.raises(RuntimeError, match="no score"):
        cross_validate(obj, splits, L2S, score=score)
    assert obj.l2 == 0.5


def test_the_fold_of_rows_that_no_split_tests_is_minus_one():
    _, _, splits = problem()
    fold = fold_of_rows(splits, 400)
    assert fold.dtype == np.int32 and (fold == -1).sum() == 10
    for number, (_, test) in enumerate(splits):
        np.testing.assert_array_equal(np.flatnonzero(fold == number), test)
    with pytest.raises(ValueError, match="split 1 is not such"):
        fold_of_rows([splits[0], splits[0]], 400)


# ------------------------------------------------------------- classes that a fold's training rows lack


def gaps(*, sparse=False, weighted=False):
    """Four classes, splits, weights. Class 3 is in fold 0 alone, but for a row of weight 0 if weighted, and class 0 in
    fold 1 alone; the other folds have all classes outside."""
    X, y = text(400, 40, 4, words=8)
    w = np.random.default_rng(0).random(400) + 0.1
    y[:] = np.resize([1, 2], 400)
    tests = [np.arange(60), np.arange(60, 90), np.arange(90, 390), np.arange(390, 400)]
    y[:20], y[60:70] = 3, 0
    if weighted:
        y[395] = 3
        w[395] = 0
    return (
        (X if sparse else X.toarray()),
        y,
        w if weighted else None,
        [(np.setdiff1d(np.arange(400), t), t) for t in tests],
    )


def by_hand(X, y, w, train, test, l2, score, fit_intercept):
    """Score of a fit on the training rows alone, which does not know the other classes."""
    w = np.ones(len(y)) if w is None else w
    train = train[w[train] > 0]
    there, codes = np.unique(y[train], return_inverse=True)
    known = test[np.isin(y[test], there)]
    share = w[known].sum() / w[test].sum()
    if len(there) == 1:
        return share if score == "accuracy" else -(1 - share) * ABSENT_LOSS
    options = {"fit_intercept": fit_intercept}
    theta = minimize(Objective(X[train], codes, sample_weight=w[train], l2=l2, **options), tol=1e-10).theta
    held = Objective(X[known], np.searchsorted(there, y[known]), len(there), sample_weight=w[known], **options)
    if score == "accuracy":
        label = held.evaluate(theta, grad=False, label=True).label
        return share * np.average(label == held.source.y, weights=w[known])
    return -share * held.value(theta) - (1 - share) * ABSENT_LOSS


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("score", ["neg_log_loss", "accuracy"])
def test_a_fold_without_a_class_is_fitted_to_the_others(score, sparse, weighted, fit_intercept):
    X, y, w, splits = gaps(sparse=sparse, weighted=weighted)
    obj = Objective(X, y, 4, fit_intercept=fit_intercept, sample_weight=w)
    found = cross_validate(obj, splits, L2S, tol=1e-10, score=score)
    assert found.present.tolist() == [[True, True, True, False], [False, True, True, True], [True] * 4, [True] * 4]
    assert not found.unconverged
    for i, (train, test) in enumerate(splits):
        for j, l2 in enumerate(L2S):
            wanted = by_hand(X, y, w, train, test, l2, score, fit_intercept)
            assert found.scores[i, j] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("score", ["neg_log_loss", "accuracy"])
def test_outside_a_fold_there_may_be_one_class_alone(score, sparse):
    X, y, w, splits = gaps(sparse=sparse, weighted=True)
    train, test = splits[2]
    w[train[y[train] != 1]] = 0
    obj = Objective(X, y, 4, fit_intercept=True, sample_weight=w)
    found = cross_validate(obj, splits[2:3], L2S, score=score)
    assert found.present.tolist() == [[False, True, False, False]]
    np.testing.assert_allclose(found.scores, by_hand(X, y, w, train, test, 1.0, score, True), rtol=1e-12)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "gradient_descent"])
def test_scores_of_such_folds_do_not_depend_on_the_solver_or_tol(solver):
    X, y, _, splits = gaps()
    l2s = np.array([1.0, 0.3])
    best = cross_validate(Objective(X, y, 4, fit_intercept=True), splits, l2s, tol=1e-10)
    for tol in (1e-4, 1e-7):
        found = cross_validate(
            Objective(X, y, 4, fit_intercept=True), splits, l2s, tol=tol, solver=solver, max_iter=5000
        )
        np.testing.assert_allclose(found.scores[:2], best.scores[:2], rtol=0, atol=100 * tol + 1e-9)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_callable_gets_the_theta_of_the_classes_there_are(sparse):
    X, y, _, splits = gaps(sparse=sparse)
    columns = {}

    def score(number, theta):
        columns[number] = theta.shape[1]
        return 0.0

    found = cross_validate(Objective(X, y, 4, fit_intercept=True), splits, L2S, score=score)
    assert columns == dict(enumerate(found.present.sum(axis=1)))


def test_which_classes_are_outside_a_fold():
    fold = np.array([0, 0, 1, 1, -1], np.int32)
    y = np.array([0, 1, 1, 2, 1], np.int32)
    wanted = [[False, True, True, False], [True, True, False, False]]
    np.testing.assert_array_equal(classes_outside(fold, 2, y, None, 4), wanted)
    w = np.array([1.0, 1.0, 0.0, 1.0, 0.0])
    wanted = [[False, False, True, False], [True, True, False, False]]
    np.testing.assert_array_equal(classes_outside(fold, 2, y, w, 4), wanted)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_bad_options(container):
    X, y, splits = problem()
    obj = Objective(container(X), y, 3)
    with pytest.raises(ValueError, match="solver must be one of 'auto', 'lbfgs', 'newton', 'gradient_descent' here"):
        cross_validate(obj, splits, L2S, solver="sgd")
    with pytest.raises(ValueError, match="tol must be"):
        cross_validate(obj, splits, L2S, tol=0.0)
