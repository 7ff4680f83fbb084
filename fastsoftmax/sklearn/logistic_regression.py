"""`LogisticRegression` and `LogisticRegressionCV`, scikit-learn's classes with their ``fit`` on these kernels."""

from __future__ import annotations

from typing import Any, Self, cast

from numpy.typing import ArrayLike

from .logistic_fit import fit_logistic, fit_logistic_cv

import sklearn.linear_model as theirs  # isort: skip  # after the package's own imports, which say how to install it


class LogisticRegression(theirs.LogisticRegression):  # type: ignore[misc, unused-ignore]
    """scikit-learn's `LogisticRegression`, with `fit` on these kernels.

    Parameters, attributes, defaults, warnings, errors and deprecations are those of the installed version of
    scikit-learn (1.6 and later), whose class this is derived from. All of its solvers minimize the same objective, so
    that ``solver`` only says which penalties are allowed and, for liblinear, that the intercept is penalized too.

    Notes
    -----
    ``tol`` means at least what it means there: in the end no entry of the gradient of the objective, divided by C times
    the sum of the weights, exceeds it, and the objective is within 1e-6 of its minimum. ``max_iter`` allows as much as
    it does there, where one step of Newton's method or of SAG is worth several of ours, and ``n_iter_`` is the number
    of our steps, or ``max_iter`` if they were more. ``random_state`` and ``n_jobs`` have no effect: nothing is drawn at
    random, and each fit uses all threads, or one where passes over X take less than a millisecond.

    What these kernels do not serve goes to scikit-learn's own code: a few steps (``max_iter`` of 4 or less; of lbfgs
    only for large X, or none), liblinear for small X or several classes, weights that are negative or not finite,
    arrays of other libraries than NumPy and SciPy. The logger ``fastsoftmax.sklearn`` warns of it once for each reason.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax.sklearn import LogisticRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = LogisticRegression(C=10.0).fit(X, y)
    >>> clf.coef_.shape, clf.predict(X[:2])
    ((3, 4), array([0, 0]))
    """

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set the callbacks of scikit-learn 1.9 and later: see `sklearn.callback`. All solvers but liblinear call them.

        Parameters
        ----------
        *callbacks : instances of callbacks

        Returns
        -------
        self
        """
        if self.solver == "liblinear":
            return cast(Self, super().set_callbacks(*callbacks))
        return cast(Self, super(theirs.LogisticRegression, self).set_callbacks(*callbacks))

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model as scikit-learn's method does.

        Parameters
        ----------
        X : array_like (m, n), or sparse array or matrix of SciPy
        y : array_like (m,)
        sample_weight : array_like (m,), optional

        Returns
        -------
        self
        """
        fit_logistic(self, X, y, sample_weight)
        return self


class LogisticRegressionCV(theirs.LogisticRegressionCV):  # type: ignore[misc, unused-ignore]
    """scikit-learn's `LogisticRegressionCV`, with `fit` on these kernels: see `LogisticRegression`.

    Splitters, scores and the choice are scikit-learn's. Of each fold the strongest penalty is fitted first, and the
    others go on from what was found; ``n_jobs`` has no effect.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax.sklearn import LogisticRegressionCV
    >>> X, y = load_iris(return_X_y=True)
    >>> given = {"l1_ratios": (0.0,), "use_legacy_attributes": False}  # else scikit-learn 1.8 and 1.9 warn
    >>> clf = LogisticRegressionCV(Cs=[0.01, 1.0], scoring="neg_log_loss", **given).fit(X, y)
    >>> clf.C_
    1.0
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Fit the model as scikit-learn's method does.

        Parameters
        ----------
        X : array_like (m, n), or sparse array or matrix of SciPy
        y : array_like (m,)
        sample_weight : array_like (m,), optional
        **params
            What the splitter and the scorer ask for.

        Returns
        -------
        self
        """
        fit_logistic_cv(self, X, y, sample_weight, **params)
        return self
