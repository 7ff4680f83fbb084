"""Cross-validation over arrays: for each l2 a model on all rows and one without each fold, and the folds' scores.

The largest l2 comes first, and each model goes on from what its own runs found at the l2 before (see `warm_start`).
Where passes are long, the folds' models share them and run in lock-step (see `lock_step`). The run on all rows lends
them its metric, which only sets how fast they converge; nothing else of it reaches them.

With sparse X each model goes along its whole path alone, on a copy of its rows' entries that is freed before the next
fold. A stacked pass would save the reading of X, which takes little time there beside the rows of theta.

A class may have no rows of positive weight outside a fold. The model of that fold is then one of the other classes (see
`objective.absent`), as a fit on those rows alone would be, and goes along its path alone. Rows of the class are counted
as wrong, and their loss is `ABSENT_LOSS`: the same at every l2, so that they have no say in its choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..data import validation
from ..objective.derived import of_classes
from ..objective.objective import Objective
from ..objective.stacked import StackedObjective
from .geometry.centering import centered, to_original
from .lock_step import minimize_all
from .many import pays_together
from .minimize import blas_for, run_solver, select
from .path import regularization_path
from .result import Result
from .run import Run
from .warm_start import WarmStart

# Methods that a model without a fold can run: those that need no more than values, gradients and rows.
SOLVERS = ("auto", "lbfgs", "newton", "gradient_descent")
# Scores that a pass computes, weighted by the rows' weights: minus the mean loss, and the share of right labels.
# Rows that are counted together.
ROWS_AT_ONCE = 1 << 20
SCORES = ("neg_log_loss", "accuracy")

# Loss of a row whose class the fold's model does not have: that of scikit-learn's log_loss for the probability 0.
ABSENT_LOSS = -math.log(np.finfo(np.float64).eps)

Split = tuple[np.ndarray, np.ndarray]
# The score of a fold's model: of the number of the fold and the model's theta, of the classes that it has.
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
    present : bool ndarray (folds, k)
        Which classes each fold's model has: those with rows of positive weight outside the fold.
    """

    full: list[Result]
    scores: np.ndarray
    unconverged: list[Result]
    n_passes: int
    present: np.ndarray


@dataclass(frozen=True)
class _Options:
    """What every fit is called with."""

    solver: str
    tol: float
    max_iter: int


def cross_validate(
    obj: Objective,
    splits: Sequence[Split] | np.ndarray,
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
        the other rows. Or an int32 array (m,), the number of the fold that tests each row.
    l2s : float64 ndarray
        Strengths of the penalty, in any order.
    solver : {"auto", "lbfgs", "newton", "gradient_descent"}
    tol, max_iter
        As in `minimize`.
    score : {"neg_log_loss", "accuracy"} or callable
        A name is a score that a pass computes. A callable gets the number of a fold and the theta of its model, whose
        columns are the classes that `classes_outside` says.

    Returns
    -------
    CrossValidation

    Raises
    ------
    TypeError, ValueError
        For options that `check_options` refuses, and for splits that overlap, or leave nothing to train on or to test.
    """
    check_options(solver, tol, max_iter)
    assert obj.y is not None
    fold = splits if isinstance(splits, np.ndarray) else fold_of_rows(splits, obj.n_rows)
    count = int(fold.max()) + 1 if isinstance(splits, np.ndarray) else len(splits)
    require_weight(fold, count, obj.w)
    present = classes_outside(fold, count, obj.y, obj.w, obj.n_classes)
    pairs = FoldSplits(fold, count) if isinstance(splits, np.ndarray) else splits
    folds = _Folds(obj, pairs, present, l2s, _Options(solver, tol, max_iter), score)
    side_by_side = np.flatnonzero(present.all(axis=1)) if not obj.sparse else np.empty(0, int)
    own = obj.l2
    try:
        if len(side_by_side):
            full = folds.fit_side_by_side(fold, side_by_side)
        else:
            full = regularization_path(obj, l2s, **vars(folds.options))
        for number in np.setdiff1d(np.arange(count), side_by_side):
            folds.fit_alone(int(number))
    finally:
        obj.l2 = own
    unconverged = [fit for fit in (*full, *folds.fits) if not fit.converged]
    return CrossValidation(full, folds.scores, unconverged, folds.n_passes, present)


def check_options(solver: str, tol: float, max_iter: int) -> None:
    """Raise TypeError or ValueError for options that `cross_validate` does not take."""
    select(solver)
    if solver not in SOLVERS:
        raise ValueError(f"solver must be one of {', '.join(map(repr, SOLVERS))} here; got {solver!r}")
    validation.check_real(tol, "tol", positive=True)
    validation.check_count(max_iter, "max_iter")


class _Folds:
    """The models without a fold: what they are fitted to, their fits and scores so far."""

    def __init__(
        self,
        obj: Objective,
        splits: Sequence[Split],
        present: np.ndarray,
        l2s: np.ndarray,
        options: _Options,
        score: str | Scorer,
    ) -> None:
        self.obj, self.splits, self.present, self.l2s = obj, splits, present, l2s
        self.options, self.score = options, score
        self.scores = np.empty((len(splits), len(l2s)))
        self.fits: list[Result] = []
        self.n_passes = 0

    def fit_side_by_side(self, fold: np.ndarray, numbers: np.ndarray) -> list[Result]:
        """Dense X: for each l2 a model on all rows, which is returned, and those of some folds by a stacked objective.
        Columns are centered once for all of them."""
        l2s, options = self.l2s, self.options
        self.obj.l2 = float(l2s.max())
        obj, moments = centered(self.obj)
        assert isinstance(obj, Objective)
        stacked = StackedObjective(obj, fold, numbers)
        full: dict[int, Result] = {}
        warm_start, warm_starts = WarmStart(), [WarmStart() for _ in numbers]
        for i in np.argsort(-l2s, kind="stable"):
            obj.l2 = stacked.l2 = float(l2s[i])
            with blas_for(obj):
                limits: Any = {"tol": options.tol, "max_iter": options.max_iter, "callback": None}
                run = Run(obj, warm_start=warm_start, moments=moments, **limits)
                full[i] = run_solver(run, warm_start.start(run), options.solver)
            warm_start.keep(run)
            together = pays_together(obj, options.solver)
            fits = minimize_all(stacked, warm_starts, similar_run=run, together=together, **vars(options))
            self.fits += fits
            self.scores[numbers, i] = self._stacked_scores(stacked, fits)
        self.n_passes += stacked.n_passes
        return [replace(full[i], theta=to_original(obj, full[i].theta)) for i in range(len(l2s))]

    def _stacked_scores(self, stacked: StackedObjective, fits: Sequence[Result]) -> np.ndarray:
        if callable(self.score):
            thetas = [to_original(stacked.obj, fit.theta) for fit in fits]
            return np.array([self.score(int(f), theta) for f, theta in zip(stacked.left_out, thetas, strict=True)])
        loss, right = stacked.held_out([fit.theta for fit in fits])
        return right if self.score == "accuracy" else -loss

    def fit_alone(self, number: int) -> None:
        """The path of one model, of the classes that there are outside its fold."""
        train, test = self.splits[number]
        present = self.present[number]
        if present.sum() > 1:
            trained = of_classes(self.obj, train, present)
            fits = regularization_path(trained, self.l2s, **vars(self.options))
            self.n_passes += trained.n_passes
            self.fits += fits
            thetas = [fit.theta for fit in fits]
        else:  # it has the probability 1
            thetas = [np.zeros((self.obj.shape[0], 1))] * len(self.l2s)
        if callable(self.score):
            self.scores[number] = [self.score(number, theta) for theta in thetas]
        else:
            self.scores[number] = _scores(self.obj, test, present, thetas, self.score)


def _scores(
    obj: Objective, rows: np.ndarray, present: np.ndarray, thetas: Sequence[np.ndarray], score: str
) -> list[float]:
    """One of `SCORES`, on some rows, of models of the ``present`` classes."""
    y, w = obj.y, obj.w
    assert y is not None
    share = float(np.average(present[y[rows]], weights=None if w is None else w[rows]))
    known = of_classes(obj, rows, present) if share > 0 and present.sum() > 1 else None
    if score == "accuracy":
        return [share if known is None else share * _accuracy(known, theta) for theta in thetas]
    losses = [0.0 if known is None else known.value(theta) for theta in thetas]
    return [-(share * loss + (1 - share) * ABSENT_LOSS) for loss in losses]


def _accuracy(obj: Objective, theta: np.ndarray) -> float:
    label = obj.evaluate(theta, grad=False, label=True).label
    return float(np.average(label == obj.y, weights=obj.w))


class FoldSplits(Sequence[Split]):
    """The pairs (train, test) of row numbers of folds, made when asked for: they take 8 bytes a row each."""

    def __init__(self, fold: np.ndarray, count: int) -> None:
        self._fold, self._count = fold, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: Any) -> Any:
        return np.flatnonzero(self._fold != number), np.flatnonzero(self._fold == number)


def classes_outside(fold: np.ndarray, folds: int, y: np.ndarray, w: np.ndarray | None, k: int) -> np.ndarray:
    """Which classes have rows of positive weight outside each fold: bool (folds, k)."""
    counts = np.zeros((folds + 1) * k, np.int64)
    for rows in _ranges(len(fold)):
        cells = (fold[rows] + 1).astype(np.int64) * k + y[rows]
        counts += np.bincount(cells if w is None else cells[w[rows] > 0], minlength=len(counts))
    table = counts.reshape(folds + 1, k)
    outside: np.ndarray = table.sum(axis=0) > table[1:]
    return outside


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
    sums = np.zeros(folds + 1)
    for rows in _ranges(len(fold)):
        sums += np.bincount(fold[rows] + 1, weights=None if w is None else w[rows], minlength=folds + 1)
    if not sums[1:].min() > 0:
        raise ValueError(f"the test set of fold {int(sums[1:].argmin())} has no row of positive weight")
    outside = sums.sum() - sums[1:]
    if not outside.min() > 0:
        raise ValueError(f"the rows outside fold {int(outside.argmin())} have no positive weight")


def _ranges(m: int) -> Iterator[slice]:
    """Some rows at a time: counting them takes 8 bytes each."""
    return (slice(a, a + ROWS_AT_ONCE) for a in range(0, m, ROWS_AT_ONCE))
