"""Cross-validation on data that is read anew in each pass."""

import numpy as np
import pytest
import scipy.sparse
from problems import chunks_of, lettered_problem, write_parquet
from sklearn.model_selection import PredefinedSplit

import fastsoftmax
from fastsoftmax import SoftmaxRegressionCV
from fastsoftmax.data.sources.first_pass import hashed_folds
from fastsoftmax.solvers import cross_validation

X, LABELS = lettered_problem()
L2S = [1e-3, 1e-1]
FOLDS = hashed_folds(len(X), 3)


@pytest.fixture
def data(tmp_path):
    return fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", X, LABELS), "y")


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_scores_are_those_of_memory_with_the_same_folds(data, scoring, monkeypatch):
    here = SoftmaxRegressionCV(l2s=L2S, cv=PredefinedSplit(FOLDS), scoring=scoring).fit(np.asfortranarray(X), LABELS)
    monkeypatch.setattr(cross_validation, "ROWS_AT_ONCE", 700)
    there = SoftmaxRegressionCV(l2s=L2S, cv=3, scoring=scoring).fit(data)
    np.testing.assert_array_equal(here.scores_, there.scores_)
    np.testing.assert_array_equal(here.coef_, there.coef_)
    assert here.l2_ == there.l2_ and here.n_passes_ == there.n_passes_


def test_sparse_rows_and_classes_that_a_fold_lacks():
    thin = scipy.sparse.random_array((3000, 20), density=0.2, format="csr", rng=0)
    rare = np.where(FOLDS == 1, LABELS, np.where(LABELS == "c", "a", LABELS))
    for rows, labels, match in [(thin, LABELS, None), (X, rare, "no training rows")]:
        scan = fastsoftmax.scan(chunks_of(rows, labels))
        here, there = SoftmaxRegressionCV(l2s=L2S, cv=PredefinedSplit(FOLDS)), SoftmaxRegressionCV(l2s=L2S, cv=3)
        if match is None:
            here.fit(rows, labels), there.fit(scan)
        else:
            with pytest.warns(UserWarning):
                here.fit(rows, labels)
            with pytest.warns(UserWarning):
                there.fit(scan)
        np.testing.assert_allclose(here.scores_, there.scores_, rtol=1e-4)


def test_folds_are_even_and_depend_on_numbers_alone():
    counts = np.bincount(hashed_folds(30_000, 5))
    assert len(counts) == 5 and abs(counts - 6000).max() < 300
    np.testing.assert_array_equal(hashed_folds(30_000, 5)[:3000], hashed_folds(3000, 5))


@pytest.mark.parametrize(
    "options, match",
    [
        ({"cv": 1}, "cv must be the number of folds, 2 or more, for a scan; got 1"),
        ({"cv": PredefinedSplit(FOLDS)}, "cv must be the number of folds"),
        ({"scoring": "roc_auc_ovr"}, "scoring must be None or one of neg_log_loss, accuracy for a scan"),
    ],
)
def test_what_needs_all_rows_is_refused(data, options, match):
    with pytest.raises(ValueError, match=match):
        SoftmaxRegressionCV(**{"l2s": L2S, "cv": 3} | options).fit(data)
