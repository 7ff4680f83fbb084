"""`LogisticRegression`, scikit-learn's class with its ``fit`` on these kernels."""

from __future__ import annotations

from typing import Any, Self, cast

from numpy.typing import ArrayLike

from .logistic_fit import fit_logistic

import sklearn.linear_model  # isort: skip  # after the package's own imports, which say how to install it


class LogisticRegression(sklearn.linear_model.LogisticRegression):  # type: ignore[misc, unused-ignore]
    """scikit-learn's `LogisticRegression`, faster."""

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set the callbacks of scikit-learn 1.9 and later: see `sklearn.callback`. All solvers but liblinear call them.

        Parameters
        ----------
        *callbacks : instances of callbacks

        Returns
        -------
        self
        """
        theirs = sklearn.linear_model.LogisticRegression
        if self.solver == "liblinear":
            return cast(Self, super().set_callbacks(*callbacks))
        return cast(Self, super(theirs, self).set_callbacks(*callbacks))

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model as scikit-learn's method does: same parameters, attributes, warnings and errors."""
        fitted: Self = fit_logistic(self, X, y, sample_weight)
        return fitted
