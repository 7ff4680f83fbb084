"""`SoftmaxRegressionCV`: scikit-learn's API for choosing l2 by cross-validation.

For each l2, the largest first, one model is fitted on all rows and then one without each fold, each from what it met at
the l2 before (see `solvers.trail`). Where passes are long, the folds' models share them and run in lock-step (see
`stacked`); the metric of the model on all rows serves them, for it only sets how fast they get there. Nothing else of
that model reaches them.

Of sparse X each model goes along its path alone, on a copy of its rows' entries that is gone before the next: what
a stacked pass saves is the reading of X, which is little beside theta's rows there.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..objective.objective import Objective
from ..objective.stacked import StackedObjective
from ..solvers.geometry.centering import centered, to_original
from ..solvers.geometry.metric import Moments
from ..solvers.lock_step import minimize_all
from ..solvers.methods.auto import predict as predict_cost
from ..solvers.minimize import blas_for, run_solver, select
from ..solvers.path import regularization_path
from ..solvers.result import Result
from ..solvers.run import Run
from ..solvers.warm_start import WarmStart
from .base import SoftmaxClassifier, checked_samples, encode_two_or_more
from .estimator import SoftmaxRegression

# After `.sklearn`, which says how to install it.
from sklearn.exceptions import ConvergenceWarning  # isort: skip
from sklearn.metrics import get_scorer  # isort: skip
from sklearn.model_selection import check_cv  # isort: skip

# Where l2s is a number of values: from the largest to the smallest.
LARGEST, SMALLEST = 1.0, 1e-6
# Operations of a pass from which on folds run in lock-step, about a millisecond's: five folds of digits (6e6) took
# 2.2 s for five l2, one by one 1.9; of 100k x 54, k = 7 (2e8), 2.6 s, in fits of their own 4.4.
TOGETHER = 3e7
SOLVERS = ("auto", "lbfgs", "newton", "gradient_descent")
# Scores that come out of a pass.
STACKED = (None, "neg_log_loss", "accuracy")


class SoftmaxRegressionCV(SoftmaxClassifier):
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
        Of sparse X all passes over the rows of each fold's model, added up.

    Notes
    -----
    X may be sparse, and is never made dense: a fold's model then is fitted to a copy of its rows' entries, one fold
    after the other, and ``solver="newton"`` is not to be had.

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
        X, labels = checked_samples(self, X, y)
        classes, codes = encode_two_or_more(labels)
        self._check_options()
        l2s = _strengths(self.l2s)
        splits = list(check_cv(self.cv, labels, classifier=True).split(X, labels))
        obj = self._objective(X, codes, classes, sample_weight, 0.0)
        fold = _folds(splits, len(codes))
        _require_weight(fold, len(splits), obj.source.w)
        self.classes_ = classes
        if obj.sparse:
            full, failed = self._fit_paths(obj, l2s, splits, labels)
        else:
            # Once for all models: thetas up to the end, and scores, are those of its rows.
            obj.l2 = float(l2s.max())
            obj, found = centered(obj)
            stacked = StackedObjective(obj, fold, np.arange(len(splits)))
            full, failed = self._fit_path(stacked, found, l2s, splits, X, labels)
        mean = self.scores_.mean(axis=0)
        best = max(range(len(l2s)), key=lambda i: (mean[i], l2s[i]))
        self.l2s_, self.l2_ = l2s, float(l2s[best])
        self.result_ = replace(full[best], theta=to_original(obj, full[best].theta))
        self._keep(self.result_.theta, classes)
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
        self,
        stacked: StackedObjective,
        found: Moments,
        l2s: np.ndarray,
        splits: Sequence[Any],
        X: Any,
        labels: np.ndarray,
    ) -> tuple[dict[int, Result], list[Result]]:
        """Fill ``scores_``; the fits on all rows by number of l2, and all fits that have not converged."""
        obj = stacked.obj
        options: Any = {"tol": self.tol, "max_iter": self.max_iter}
        self.scores_ = np.empty((len(splits), len(l2s)))
        full: dict[int, Result] = {}
        failed: list[Result] = []
        warm_start, warm_starts = WarmStart(), [WarmStart() for _ in splits]
        for i in np.argsort(-l2s, kind="stable"):
            obj.l2 = stacked.l2 = float(l2s[i])
            with blas_for(obj):
                run = Run(obj, callback=None, warm_start=warm_start, moments=found, **options)
                full[i] = run_solver(run, warm_start.start(run), self.solver)
            warm_start.keep(run)
            cost = predict_cost(obj)
            newton = self.solver == "newton" or (self.solver == "auto" and cost.newton < cost.lbfgs)
            together = not newton and cost.one_pass > TOGETHER
            fits = minimize_all(stacked, warm_starts, solver=self.solver, similar_run=run, together=together, **options)
            failed += [fit for fit in (full[i], *fits) if not fit.converged]
            self.scores_[:, i] = self._scores(stacked, fits, splits, X, labels)
        self.n_passes_ = stacked.n_passes
        return full, failed

    def _fit_paths(
        self, obj: Objective, l2s: np.ndarray, splits: Sequence[Any], labels: np.ndarray
    ) -> tuple[dict[int, Result], list[Result]]:
        """The same of sparse X, one model after the other."""
        options: Any = {"solver": self.solver, "tol": self.tol, "max_iter": self.max_iter}
        source: Any = obj.source
        X = source.X.to_scipy()

        def part(rows: np.ndarray) -> Objective:
            return Objective(
                X[rows],
                source.y[rows],
                obj.n_classes,
                fit_intercept=obj.fit_intercept,
                sample_weight=None if source.w is None else source.w[rows],
                **self._options(),
            )

        full = regularization_path(obj, l2s, **options)
        failed = [fit for fit in full if not fit.converged]
        self.scores_, self.n_passes_ = np.empty((len(splits), len(l2s))), 0
        for number, (train, test) in enumerate(splits):
            trained, left_out = part(train), part(test)
            fits = regularization_path(trained, l2s, **options)
            self.n_passes_ += trained.n_passes
            failed += [fit for fit in fits if not fit.converged]
            if self.scoring in STACKED:
                self.scores_[number] = [_score(left_out, fit.theta, self.scoring) for fit in fits]
            else:
                self.scores_[number] = [self._call_scorer(fit.theta, X[test], labels[test]) for fit in fits]
        return dict(enumerate(full)), failed

    def _scores(
        self, stacked: StackedObjective, fits: list[Result], splits: Sequence[Any], X: Any, labels: np.ndarray
    ) -> np.ndarray:
        """Score of each fold's model on the rows it left out."""
        if self.scoring in STACKED:
            loss, right = stacked.held_out([fit.theta for fit in fits])
            return right if self.scoring == "accuracy" else -loss
        thetas = [to_original(stacked.obj, fit.theta) for fit in fits]
        return np.array(
            [self._call_scorer(theta, X[test], labels[test]) for theta, (_, test) in zip(thetas, splits, strict=True)]
        )

    def _call_scorer(self, theta: np.ndarray, X: Any, labels: np.ndarray) -> float:
        """A scorer of scikit-learn, or the caller's own, for one fold's model and rows."""
        one = SoftmaxRegression(fit_intercept=self.fit_intercept, **self._options())
        one.n_features_in_ = self.n_features_in_
        one._keep(theta, self.classes_)
        return float(get_scorer(self.scoring)(one, X, labels))


def _score(obj: Objective, theta: np.ndarray, scoring: str | None) -> float:
    """Minus the mean loss, or the share of right labels, both by weight."""
    if scoring != "accuracy":
        return -obj.value(theta)
    label = obj.evaluate(theta, grad=False, label=True).label
    return float(np.average(label == obj.source.y, weights=obj.source.w))


def _strengths(l2s: Any) -> np.ndarray:
    if np.ndim(l2s) == 0:
        return np.geomspace(LARGEST, SMALLEST, validation.check_count(l2s, "l2s"))
    values = np.array([validation.check_real(l2, "l2s") for l2 in l2s])
    if not len(values):
        raise ValueError("l2s is empty; at least one value is wanted")
    return values


def _require_weight(fold: np.ndarray, folds: int, w: np.ndarray | None) -> None:
    """Every fold must have something to be scored on, and something outside it to be fitted on."""
    sums = np.bincount(fold + 1, weights=w, minlength=folds + 1)
    if not sums[1:].min() > 0:
        raise ValueError(f"the test set of fold {int(sums[1:].argmin())} has no row of positive weight")
    outside = sums.sum() - sums[1:]
    if not outside.min() > 0:
        raise ValueError(f"the rows outside fold {int(outside.argmin())} have no positive weight")


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
