"""`SoftmaxRegressionCV`: scikit-learn's API for choosing l2 by cross-validation.

The fits and their scores are `solvers.cross_validation`; here are the parameters, scikit-learn's splitters and scorers,
and the fitted attributes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..objective.objective import Objective
from ..solvers.cross_validation import SCORES, Scorer, check_options, cross_validate
from .base import SoftmaxClassifier, checked_samples, encode_two_or_more
from .estimator import SoftmaxRegression

# After `.base`, which says how to install scikit-learn.
from sklearn.exceptions import ConvergenceWarning  # isort: skip
from sklearn.metrics import get_scorer  # isort: skip
from sklearn.model_selection import check_cv  # isort: skip

# The range of l2 where ``l2s`` is a number of values.
LARGEST, SMALLEST = 1.0, 1e-6


class SoftmaxRegressionCV(SoftmaxClassifier):
    """Softmax regression whose l2 is chosen by cross-validation.

    Parameters
    ----------
    l2s : int or array_like, default=10
        The strengths to choose from; or their number, evenly spaced from 1 to 1e-6 on a logarithmic scale.
    cv : int, splitter or iterable of (train, test), default=5
        As in scikit-learn: a number of stratified folds, without shuffling. Test sets may not overlap,
        and each training set must be all the other rows.
    scoring : str, callable or None, default=None
        What to maximize; None means "neg_log_loss". That score and "accuracy" are computed by a pass over X and weigh
        rows by ``sample_weight`` and ``class_weight``. Other scorers of scikit-learn, or of the caller's own, are
        called on each fold, without weights.
    fit_intercept, tol, max_iter, class_weight, backend, n_threads
        As in `SoftmaxRegression`.
    solver : {"auto", "lbfgs", "newton", "gradient_descent"}, default="auto"
        See `fastsoftmax.minimize`.

    Attributes
    ----------
    l2_ : float
        The l2 with the best mean score over the folds; the largest of equals.
    l2s_ : ndarray (l2s,)
        The strengths, as given.
    scores_ : ndarray (folds, l2s)
        Score of each model on the fold it leaves out.
    coef_, intercept_, classes_, model_, n_features_in_, feature_names_in_
        Those of the model on all rows with ``l2_``; see `SoftmaxRegression`.
    result_ : Result
        The solver's result for that model.
    n_iter_ : int
        Steps of the solver on all rows to that model, including those at larger l2, from which it started.
    n_passes_ : int
        Passes over X for values and gradients of the folds' models; where passes are long, one serves all folds.
        With sparse X the passes over the rows of each fold's model, added up.

    Notes
    -----
    X may be sparse, and is never made dense: then one fold after the other is fitted on a copy of its rows' entries,
    and ``solver="newton"`` is not available.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxRegressionCV
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxRegressionCV(l2s=[1e-4, 1e-2, 1.0]).fit(X, y)
    >>> clf.l2_, clf.scores_.shape
    (0.0001, (5, 3))
    """

    def __init__(
        self,
        *,
        l2s: int | ArrayLike = 10,
        cv: Any = 5,
        scoring: Any = None,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.l2s = l2s
        self.cv = cv
        self.scoring = scoring
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.backend = backend
        self.n_threads = n_threads

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose l2 and fit theta and the bias. Parameters, errors and warnings as in `SoftmaxRegression.fit`.

        Raises
        ------
        ValueError
            Also for folds that overlap, or leave nothing to train on or to test.
        """
        X, labels = checked_samples(self, X, y)
        classes, codes = encode_two_or_more(labels)
        check_options(self.solver, self.tol, self.max_iter)
        l2s = _strengths(self.l2s)
        splits = list(check_cv(self.cv, labels, classifier=True).split(X, labels))
        obj = self._objective(X, codes, classes, sample_weight, 0.0)
        found = cross_validate(
            obj,
            splits,
            l2s,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            score=self._score(obj, X, labels, classes, splits),
        )
        self.scores_, self.n_passes_ = found.scores, found.n_passes
        mean = self.scores_.mean(axis=0)
        best = max(range(len(l2s)), key=lambda i: (mean[i], l2s[i]))
        self.l2s_, self.l2_ = l2s, float(l2s[best])
        self.result_ = found.full[best]
        self._keep(self.result_.theta, classes)
        self.n_iter_ = sum(found.full[i].n_iter for i in range(len(l2s)) if l2s[i] >= l2s[best])
        if found.unconverged:
            warnings.warn(
                f"{len(found.unconverged)} of {len(l2s) * (len(splits) + 1)} fits ended before they reached tol; the"
                f" first: {found.unconverged[0].message}. A larger l2 helps most where classes are (nearly) separable",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _score(
        self, obj: Objective, X: Any, labels: np.ndarray, classes: np.ndarray, splits: Sequence[Any]
    ) -> str | Scorer:
        """The score for `cross_validate`: its name, or a function that calls the scorer on the rows of a fold."""
        if self.scoring is None or self.scoring in SCORES:
            return self.scoring or "neg_log_loss"
        source: Any = obj.source
        rows = source.X.to_scipy() if obj.sparse else X  # CSR: other sparse formats may not have rows to take

        def score(number: int, theta: np.ndarray) -> float:
            test = splits[number][1]
            fitted = SoftmaxRegression(fit_intercept=self.fit_intercept, **self._options())
            fitted.n_features_in_ = self.n_features_in_
            fitted._keep(theta, classes)
            return float(get_scorer(self.scoring)(fitted, rows[test], labels[test]))

        return score


def _strengths(l2s: Any) -> np.ndarray:
    """The values of ``l2s``, checked."""
    if np.ndim(l2s) == 0:
        return np.geomspace(LARGEST, SMALLEST, validation.check_count(l2s, "l2s"))
    values = np.array([validation.check_real(l2, "l2s") for l2 in l2s])
    if not len(values):
        raise ValueError("l2s is empty; at least one value is wanted")
    return values
