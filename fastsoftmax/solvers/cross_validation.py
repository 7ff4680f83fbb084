"""Cross-validation over arrays: for each l2 a model on all rows and one without each fold, and the folds' scores.

The largest l2 comes first, and each model goes on from what its own runs found at the l2 before (see `warm_start`).
Where passes are long, the folds' models share them and run in lock-step (see `lock_step`). The run on all rows lends
them its metric, which only sets how fast they converge; nothing else of it reaches them.

With sparse X each model goes along its whole path alone, on a copy of its rows' entries that is freed before the next
fold. A stacked pass would save the reading of X, which takes little time there beside the rows of theta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data import validation
from ..objective.objective import Objective
from ..objective.stacked import StackedObjective
from .geometry.centering import centered, to_original
from .lock_step import minimize_all
from .methods.auto import predict
from .minimize import blas_for, run_solver, select
from .path import regularization_path
from .result import Result
from .run import Run
from .warm_start import WarmStart

# Operations of a pass, about a millisecond's, from which on the folds' models run in lock-step. Five folds and five l2:
# digits (6e6) took 2.2 s in lock-step and 1.9 s one by one; 100k x 54, k = 7 (2e8), 2.6 s, and 4.4 s in separate fits.
TOGETHER = 3e7
# Methods that a model without a fold can run: those that need no more than values, gradients and rows.
SOLVERS = ("auto", "lbfgs", "newton", "gradient_descent")
# Scores that a pass computes, weighted by the rows' weights: minus the mean loss, and the share of right labels.
SCORES = ("neg_log_loss", "accuracy")

Split = tuple[np.ndarray, np.ndarray]
# The score of a fold's model: of the number of the fold and the model's theta.
Scorer = Callable[[int, np.ndarray], float]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """The outcome of `cross_validate`.

    Attributes
    ----------
    full : list of Result
        The fits on all rows, in the order of the l2s.
    scores : ndarray (folds, l2s)
        Score of each fold's model on the rows that it leaves out.
    unconverged : list of Result
        Those of all fits, on all rows and on folds, that ended before they reached ``tol``.
    n_passes : int
        Passes for values and gradients of the folds' models. With dense X one pass may serve all of them; with sparse X
        the passes over the rows of each model, added up.
    """

    full: list[Result]
    scores: np.ndarray
    unconverged: list[Result]
    n_passes: int


@dataclass(frozen=True)
class _Options:
    """What every fit is called with."""

    solver: str
    tol: float
    max_iter: int


def cross_validate(
    obj: Objective,
    splits: Sequence[Split],
    l2s: np.ndarray,
    *,
    solver: str = "auto",
    tol: float = 1e-6,
    max_iter: int = 1000,
    score: str | Scorer = "neg_log_loss",
) -> CrossValidation:
    """Fit and score a model for each l2 and fold, and fit one on all rows for each l2.

    Parameters
    ----------
    obj : Objective
        All rows, with labels that are not smoothed. Its own ``l2`` is put back at the end.
    splits : sequence of (train, test)
        Int arrays of row numbers, one pair for each fold. Test sets may not overlap, and each training set must be all
        the other rows.
    l2s : float64 ndarray
        Strengths of the penalty, in any order.
    solver : {"auto", "lbfgs", "newton", "gradient_descent"}
    tol, max_iter
        As in `minimize`.
    score : {"neg_log_loss", "accuracy"} or callable
        A name is a score that a pass computes. A callable gets the number of a fold and the theta of its model.

    Returns
    -------
    CrossValidation

    Raises
    ------
    TypeError, ValueError
        For options that `check_options` refuses, and for splits that overlap, or leave nothing to train on or to test.
    """
    check_options(solver, tol, max_iter)
    fold = fold_of_rows(splits, obj.source.shape[0])
    require_weight(fold, len(splits), obj.source.w)
    options, own = _Options(solver, tol, max_iter), obj.l2
    try:
        if obj.sparse:
            return _one_by_one(obj, splits, l2s, options, score)
        return _side_by_side(obj, fold, len(splits), l2s, options, score)
    finally:
        obj.l2 = own


def check_options(solver: str, tol: float, max_iter: int) -> None:
    """Raise TypeError or ValueError for options that `cross_validate` does not take."""
    select(solver)
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))} here; got {solver!r}")
    validation.check_real(tol, "tol", positive=True)
    validation.check_count(max_iter, "max_iter")


def _side_by_side(
    given: Objective, fold: np.ndarray, folds: int, l2s: np.ndarray, options: _Options, score: str | Scorer
) -> CrossValidation:
    """Dense X: for each l2 all models, by a stacked objective. Columns are centered once for all of them."""
    given.l2 = float(l2s.max())
    obj, moments = centered(given)
    stacked = StackedObjective(obj, fold, np.arange(folds))
    scores = np.empty((folds, len(l2s)))
    full: dict[int, Result] = {}
    unconverged: list[Result] = []
    warm_start, warm_starts = WarmStart(), [WarmStart() for _ in range(folds)]
    for i in np.argsort(-l2s, kind="stable"):
        obj.l2 = stacked.l2 = float(l2s[i])
        with blas_for(obj):
            run = Run(
                obj, callback=None, warm_start=warm_start, moments=moments, tol=options.tol, max_iter=options.max_iter
            )
            full[i] = run_solver(run, warm_start.start(run), options.solver)
        warm_start.keep(run)
        together = _pays_together(obj, options.solver)
        fits = minimize_all(stacked, warm_starts, similar_run=run, together=together, **vars(options))
        unconverged += [fit for fit in (full[i], *fits) if not fit.converged]
        scores[:, i] = _stacked_scores(stacked, fits, score)
    on_all_rows = [replace(full[i], theta=to_original(obj, full[i].theta)) for i in range(len(l2s))]
    return CrossValidation(on_all_rows, scores, unconverged, stacked.n_passes)


def _pays_together(obj: Objective, solver: str) -> bool:
    """Whether the folds' models should run in lock-step: not by Newton's method, and not where passes are short."""
    cost = predict(obj)
    newton = solver == "newton" or (solver == "auto" and cost.newton < cost.lbfgs)
    return not newton and cost.one_pass > TOGETHER


def _stacked_scores(stacked: StackedObjective, fits: Sequence[Result], score: str | Scorer) -> np.ndarray:
    """Score of each fold's model on the rows that it leaves out."""
    if callable(score):
        return np.array([score(number, to_original(stacked.obj, fit.theta)) for number, fit in enumerate(fits)])
    loss, right = stacked.held_out([fit.theta for fit in fits])
    return right if score == "accuracy" else -loss


def _one_by_one(
    obj: Objective, splits: Sequence[Split], l2s: np.ndarray, options: _Options, score: str | Scorer
) -> CrossValidation:
    """Sparse X: the path of one model after the other."""
    source: Any = obj.source
    X = source.X.to_scipy()

    def part(rows: np.ndarray) -> Objective:
        return Objective(
            X[rows],
            source.y[rows],
            obj.n_classes,
            fit_intercept=obj.fit_intercept,
            sample_weight=None if source.w is None else source.w[rows],
            backend=obj.backend,
            n_threads=obj.n_threads,
        )

    full = regularization_path(obj, l2s, **vars(options))
    unconverged = [fit for fit in full if not fit.converged]
    scores, n_passes = np.empty((len(splits), len(l2s))), 0
    for number, (train, test) in enumerate(splits):
        trained = part(train)
        fits = regularization_path(trained, l2s, **vars(options))
        n_passes += trained.n_passes
        unconverged += [fit for fit in fits if not fit.converged]
        if callable(score):
            scores[number] = [score(number, fit.theta) for fit in fits]
        else:
            left_out = part(test)
            scores[number] = [_score(left_out, fit.theta, score) for fit in fits]
    return CrossValidation(full, scores, unconverged, n_passes)


def _score(obj: Objective, theta: np.ndarray, score: str) -> float:
    """One of `SCORES` on the rows of an objective with l2 = 0."""
    if score != "accuracy":
        return -obj.value(theta)
    label = obj.evaluate(theta, grad=False, label=True).label
    return float(np.average(label == obj.source.y, weights=obj.source.w))


def fold_of_rows(splits: Sequence[Split], m: int) -> np.ndarray:
    """The number of the split that tests each row, -1 for a row that none does: int32 (m,)."""
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


def require_weight(fold: np.ndarray, folds: int, w: np.ndarray | None) -> None:
    """Raise ValueError unless each fold has a row of positive weight to be scored on, and one outside to train on."""
    sums = np.bincount(fold + 1, weights=w, minlength=folds + 1)
    if not sums[1:].min() > 0:
        raise ValueError(f"the test set of fold {int(sums[1:].argmin())} has no row of positive weight")
    outside = sums.sum() - sums[1:]
    if not outside.min() > 0:
        raise ValueError(f"the rows outside fold {int(outside.argmin())} have no positive weight")
