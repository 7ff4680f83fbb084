"""What is done for the folds of a cross-validation."""

import numpy as np
import pytest
import sklearn.linear_model
from scipy import sparse

from fastsoftmax.sklearn.logistic.folds import Scored, in_order


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("classes", [[-1.0, 1.0], ["a", "b"], ["a", "b", "c"], [3, 7, 11, 12]])
def test_the_score_is_scikit_learns(classes, convert, weighted):
    rng = np.random.default_rng(0)
    k, n = len(classes), 4
    X, y = convert(rng.normal(size=(60, n))), np.array(classes)[rng.integers(k, size=60)]
    w = rng.uniform(size=60) if weighted else None
    shape = (n,) if k == 2 else (k, n)  # scikit-learn's path scores two classes by one row of coefficients
    coef, intercept = rng.normal(size=shape), rng.normal(size=() if k == 2 else k)
    scores = []
    for cls in (sklearn.linear_model.LogisticRegression, Scored):
        model = cls()
        model.classes_, model.coef_, model.intercept_ = np.array(classes), coef, intercept
        scores.append(model.score(X, y, sample_weight=w))
    assert scores[0] == scores[1] and type(scores[1]) is float


def test_tasks_are_done_in_order_by_this_process():
    def parallel(**options):
        return options

    assert in_order(parallel, n_jobs=7, verbose=1) == {"n_jobs": 1, "verbose": 1}
