"""`LogisticRegressionCV`, scikit-learn's class with its ``fit`` on these kernels."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike

from .logistic_fit import fit_logistic_cv

import sklearn.linear_model  # isort: skip  # after the package's own imports, which say how to install it


class LogisticRegressionCV(sklearn.linear_model.LogisticRegressionCV):  # type: ignore[misc, unused-ignore]
    """scikit-learn's `LogisticRegressionCV`, faster."""

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Fit the model as scikit-learn's method does: same parameters, attributes, warnings and errors."""
        fitted: Self = fit_logistic_cv(self, X, y, sample_weight, **params)
        return fitted
