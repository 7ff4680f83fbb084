"""`cross_validate` over arrays: the fits and scores of separate objectives, whatever the order of the l2s."""

import numpy as np
import pytest
import scipy.sparse as sp
from samples import text

from fastsoftmax import Objective, minimize
from fastsoftmax.solvers import cross_validation
from fastsoftmax.solvers.cross_validation import cross_validate, fold_of_rows

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
    monkeypatch.setattr(cross_validation, "TOGETHER", together)
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


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
def test_bad_options(container):
    X, y, splits = problem()
    obj = Objective(container(X), y, 3)
    with pytest.raises(ValueError, match="solver must be one of 'auto', 'lbfgs', 'newton', 'gradient_descent' here"):
        cross_validate(obj, splits, L2S, solver="sgd")
    with pytest.raises(ValueError, match="tol must be"):
        cross_validate(obj, splits, L2S, tol=0.0)
