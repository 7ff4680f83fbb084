"""The last digits of l1."""

import numpy as np
import pytest
from estimators import penalty
from sklearn.datasets import make_classification

from fastsoftmax.sklearn import LogisticRegression


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("k", [2, 3])
def test_tol_holds_beyond_what_values_tell(k, l1_ratio):
    X, y = make_classification(100, 20, n_informative=5, n_classes=k, random_state=0)
    fitted = LogisticRegression(solver="saga", tol=1e-13, max_iter=10_000, **penalty(l1_ratio)).fit(X, y)
    D = fitted.predict_proba(X) - np.eye(k)[y]
    grad = (D.T @ X)[1 if k == 2 else 0 :] + (1 - l1_ratio) * fitted.coef_
    free = fitted.coef_ != 0
    assert 0 < free.sum() < free.size
    assert np.abs(grad + l1_ratio * np.sign(fitted.coef_))[free].max() <= 1e-11 * len(y)
    assert np.abs(grad)[~free].max() <= l1_ratio
