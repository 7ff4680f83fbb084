"""`SoftmaxRegressionCV`: scikit-learn's API for choosing l2 by cross-validation.

For each l2, the largest first, one model is fitted on all rows and then one without each fold, from where they were at
the l2 before. Where passes are long, the folds' models share them and run in lock-step (see `stacked`); the metric of
the model on all rows serves them, for it only sets how fast they get there. Nothing else of that model reaches them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from . import validation
from .objective import Objective
from .sklearn import SoftmaxRegression, _encode, _weights
from .solvers import Result, run_solver, select
from .solvers.auto import predict as predict_cost
from .solvers.result import Run
from .stacked import StackedObjective, minimize_all

# After `.sklearn`, which says how to install it.
from sklearn.exceptions import ConvergenceWarning  # isort: skip
from sklearn.metrics import get_scorer  # isort: skip
from sklearn.model_selection import check_cv  # isort: skip
from sklearn.utils.validation import validate_data  # isort: skip

# Where l2s is a number of values: from the largest to the smallest.
LARGEST, SMALLEST = 1.0, 1e-6
# Operations of a pass from which on folds run in lock-step, about a millisecond's: five folds of digits (6e6) took
# 2.2 s for five l2, one by one 1.9; of 100k x 54, k = 7 (2e8), 2.6 s, in fits of their own 4.4.
TOGETHER = 3e7
SOLVERS = ("auto", "lbfgs", "newton", "gradient_descent")


class SoftmaxRegressionCV(SoftmaxRegression):
    """Softmax regression whose l2 is chosen by cross-validation.

    Parameters
    ----------
    l2s : int or array_like, default=10
        The strengths to choose from, or how many to take from 1 to 1e-6, evenly in the logarithm.
    cv : int, splitter or iterable of (train, test), default=5
        As in scikit-learn: a number of stratified folds, without shuffling. Test sets may not overlap,
        and each training set must be all the other rows.
    scoring : str, callable or None, default=None
        What to maximise: None is "neg_log_loss". That and "accuracy" come out of a pass over X and weigh rows by
        ``sample_weight`` and ``class_weight``; other scorers of scikit-learn are called on each fold, without weights.
    fit_intercept, tol, max_iter, class_weight, backend, n_threads
        As in `SoftmaxRegression`.
    solver : {"auto", "lbfgs", "newton", "gradient_descent"}, default="auto"
        See `fastsoftmax.minimize`.

    Attributes
    ----------
    l2_ : float
        The l2 with the best mean score; the larger of equals.
    l2s_ : ndarray (l2s,)
        The strengths, as given.
    scores_ : ndarray (folds, l2s)
        Score of each model on the fold it leaves out.
    coef_, intercept_, classes_, model_, n_features_in_, feature_names_in_
        Of the model of that l2 on all rows; see `SoftmaxRegression`.
    result_ : Result
        What the solver reported of it.
    n_iter_ : int
        Steps on all rows that led to it, those at larger l2 included.
    n_passes_ : int
        Passes over X for values and gradients of the folds' models; where they are long, one serves all folds.

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
        """Choose l2 and fit theta and the bias; parameters, errors and warnings as in `SoftmaxRegression.fit`.

        Raises
        ------
        ValueError
            Besides: for folds that overlap or leave nothing to train on or to test.
        """
        X, labels = validate_data(self, X, y, dtype="numeric", order=None, ensure_all_finite=False)
        classes, codes = _encode(labels)
        if len(classes) < 2:
            raise ValueError(f"y holds one class only ({classes[0]!r}); at least two classes are wanted")
        self._check_options()
        l2s = _strengths(self.l2s)
        splits = list(check_cv(self.cv, labels, classifier=True).split(X, labels))
        obj = Objective(
            X,
            codes,
            len(classes),
            fit_intercept=self.fit_intercept,
            sample_weight=_weights(sample_weight, self.class_weight, classes, codes),
            backend=self.backend,
            n_threads=self.n_threads,
        )
        stacked = StackedObjective(obj, _folds(splits, len(codes)), np.arange(len(splits)))
        if not stacked.held_sums.min() > 0:
            raise ValueError(f"the test set of fold {int(stacked.held_sums.argmin())} has no row of positive weight")
        self.classes_ = classes
        full, failed = self._fit_path(stacked, l2s, splits, X, labels)
        mean = self.scores_.mean(axis=0)
        best = max(range(len(l2s)), key=lambda i: (mean[i], l2s[i]))
        self.l2s_, self.l2_, self.n_passes_ = l2s, float(l2s[best]), stacked.n_passes
        self._keep(full[best].theta, classes)
        self.n_iter_ = sum(full[i].n_iter for i in range(len(l2s)) if l2s[i] >= l2s[best])
        if failed:
            warnings.warn(
                f"{len(failed)} of {len(l2s) * (len(splits) + 1)} fits ended before they reached tol; the first:"
                f" {failed[0].message}. A larger l2 helps most where classes are (nearly) separable",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _check_options(self) -> None:
        select(self.solver)
        if self.solver not in SOLVERS:
            raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))} here; got {self.solver!r}")
        validation.check_real(self.tol, "tol", positive=True)
        validation.check_count(self.max_iter, "max_iter")

    def _fit_path(
        self, stacked: StackedObjective, l2s: np.ndarray, splits: Sequence[Any], X: Any, labels: np.ndarray
    ) -> tuple[dict[int, Result], list[Result]]:
        """Fill ``scores_``; the fits on all rows by number of l2, and all fits that have not converged."""
        obj = stacked.obj
        options: Any = {"tol": self.tol, "max_iter": self.max_iter}
        self.scores_ = np.empty((len(splits), len(l2s)))
        full: dict[int, Result] = {}
        failed: list[Result] = []
        theta, thetas = np.zeros(obj.shape), [np.zeros(obj.shape)] * len(splits)
        run, runs = None, None
        for i in np.argsort(-l2s, kind="stable"):
            obj.l2 = stacked.l2 = float(l2s[i])
            run = Run(obj, callback=None, before=run, **options)
            full[i] = run_solver(run, theta, self.solver)
            cost = predict_cost(obj)
            newton = self.solver == "newton" or (self.solver == "auto" and cost.newton < cost.lbfgs)
            fits, runs = minimize_all(
                stacked,
                thetas,
                solver=self.solver,
                known=run,
                before=runs,
                together=not newton and cost.one_pass > TOGETHER,
                **options,
            )
            theta, thetas = full[i].theta, [fit.theta for fit in fits]
            failed += [fit for fit in (full[i], *fits) if not fit.converged]
            self.scores_[:, i] = self._scores(stacked, fits, splits, X, labels)
        return full, failed

    def _scores(
        self, stacked: StackedObjective, fits: list[Result], splits: Sequence[Any], X: Any, labels: np.ndarray
    ) -> np.ndarray:
        """Score of each fold's model on the rows it left out."""
        if self.scoring in (None, "neg_log_loss", "accuracy"):
            loss, right = stacked.held_out([fit.theta for fit in fits])
            return right if self.scoring == "accuracy" else -loss
        scorer = get_scorer(self.scoring)
        scores = []
        for fit, (_, test) in zip(fits, splits, strict=True):
            one = SoftmaxRegression(fit_intercept=self.fit_intercept, backend=self.backend, n_threads=self.n_threads)
            one.n_features_in_ = self.n_features_in_
            one._keep(fit.theta, self.classes_)
            scores.append(scorer(one, X[test], labels[test]))
        return np.array(scores)


def _strengths(l2s: Any) -> np.ndarray:
    if np.ndim(l2s) == 0:
        return np.geomspace(LARGEST, SMALLEST, validation.check_count(l2s, "l2s"))
    values = np.array([validation.check_real(l2, "l2s") for l2 in l2s])
    if not len(values):
        raise ValueError("l2s is empty; at least one value is wanted")
    return values


def _folds(splits: Sequence[tuple[np.ndarray, np.ndarray]], m: int) -> np.ndarray:
    """The number of the split that tests each row, -1 for a row that none does."""
    fold = np.full(m, -1, np.int32)
    for number, (train, test) in enumerate(splits):
        trained = np.zeros(m, bool)
        trained[train] = True
        if (fold[test] >= 0).any() or trained[test].any() or trained.sum() + len(test) != m:
            raise ValueError(
                f"cv must give test sets that do not overlap, and all other rows for training; split {number} is not"
                " such. Other splits: sklearn.model_selection.GridSearchCV over SoftmaxRegression"
            )
        fold[test] = number
    return fold
