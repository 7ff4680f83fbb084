"""`LinearProbe`: scikit-learn's API for a sweep over the penalty, with held-out rows to choose by."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from .. import datasets
from ..data import validation
from ..data.sources.scan import Scan, require_scan_alone
from ..objective.derived import Subset, unit_rows
from ..objective.objective import Objective
from ..sklearn.base import SoftmaxClassifier, checked_rows, checked_samples, encode_two_or_more, require_two_present
from ..solvers.cross_validation import fold_of_rows
from ..solvers.minimize import blas_for, run_solver, select
from ..solvers.run import Run
from .checkpoint import SAMPLED, Checkpoint, digest_of
from .features import Coordinates, Parts, n_rows, objective_of, open_features, open_labels
from .grid import make_grid
from .report import ProbeReport
from .sweep import Sweep, SweepOptions, Value, choose
from .validation import METRICS

from sklearn.exceptions import ConvergenceWarning  # isort: skip  # after `.base`, whose error says how to install it
from sklearn.model_selection import check_cv  # isort: skip

RULES = ("best", "one_se")


class LinearProbe(SoftmaxClassifier):
    r"""Softmax regression on frozen features, its penalty chosen by a sweep with held-out rows.

    At each strength of a grid, the strongest first,

    .. math:: \min_{\theta, b} \frac1m \sum_i \Big(\log \sum_c e^{H_{ic}} - H_{i y_i}\Big) + \frac{l_2}{2} \|\theta\|^2,
              \qquad H = X \theta + b, \quad l_2 = \frac{1}{C m}

    (with two classes 2 / (C m), as scikit-learn means C) is solved on the rows that are not held out, from where the
    fits before it point to. Log loss, top-1 and top-5 accuracy and the mean accuracy of the classes are measured on the
    rows held out.

    Parameters
    ----------
    grid : {"dinov2", "clip"} or int, default="dinov2"
        "dinov2": 45 values of C from 1e-6 to 1e5. "clip": 96 from 1e-6 to 1e6. A number: so many values of l2 from 1 to
        1e-8. All evenly spaced on a logarithmic scale.
    l2s, Cs : array_like or None, default=None
        The strengths themselves, as l2 or as scikit-learn's C; one of them at most, in place of ``grid``.
    held_out : float, default=0.2
        Share of the rows of each class that is held out, where `fit` gets no ``validation`` and ``cv`` is None.
    cv : int, splitter or None, default=None
        Folds in place of one held-out part: every row is held out once.
    scoring : {"log_loss", "top1", "top5", "mean_per_class"}, default="log_loss"
        The metric to choose by.
    rule : {"best", "one_se"}, default="best"
        "one_se" takes the strongest penalty whose metric is within one standard error of the best.
    standardize : bool, default=False
        Whether the penalty is that for columns of standard deviation 1. Needs an intercept. X is not copied.
    normalize : bool, default=False
        Whether rows are divided by their Euclidean norms; a chunk at a time, in every pass.
    early : bool, default=True
        Whether a fit is ended once a bound proves that its loss on the held-out rows cannot become the best. Only with
        ``scoring="log_loss"`` and without ``cv``. The values so ended have no metrics.
    refit : bool, default=True
        Whether the model is fitted anew to all rows, held-out ones included, at the chosen C, or l2 if the grid is one
        of l2. Not where `fit` gets ``validation``, whose rows are never fitted.
    checkpoint : path or None, default=None
        A folder that keeps the values that are done. A sweep over the same data and options that finds it there goes on
        from it.
    callback : callable or None, default=None
        Called with the number of values in the grid and each `Value` as soon as it is done.
    random_state : int, default=0
        Seed of the rows that are held out.
    tol : float, default=1e-5
        Of each fit, as in `SoftmaxRegression`. The loss at the chosen value so is right to some 1e-5.
    max_iter : int, default=300
        Largest number of steps of a fit. Near the weak end of a grid rounding may hide the last digits of a float32 fit
        long before it has taken more.
    fit_intercept, solver, backend, n_threads
        As in `SoftmaxRegression`.

    Attributes
    ----------
    values_ : list of Value
        The outcome at each strength, the strongest first.
    best_index_ : int
        The number of the chosen value.
    l2_, C_ : float
        The chosen strength, as a number for the rows that the sweep fitted.
    report_ : ProbeReport
        All of it as a table, JSON or a picture.
    n_iter_ : int
        Steps of the solver up to the chosen value, from the strongest on.
    n_passes_ : int
        Passes over X for values and gradients in the whole sweep, without the refit.
    coef_, intercept_, classes_, model_, n_features_in_, feature_names_in_
        Those of the chosen model; see `SoftmaxRegression`. With ``normalize`` the model is one of rows of unit norm.

    Notes
    -----
    X may be an array or memory map of float16, bfloat16, float32, float64 or small integers, sparse, a data frame, the
    path of a .npy file or of a folder of .npy parts, or a list of parts. It is never copied.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from fastsoftmax import LinearProbe
    >>> X, y = load_digits(return_X_y=True)
    >>> probe = LinearProbe(grid=9).fit(X, y)
    >>> round(probe.values_[probe.best_index_].metrics["top1"].value, 2)
    0.96
    """

    def __init__(
        self,
        *,
        grid: str | int = "dinov2",
        l2s: ArrayLike | None = None,
        Cs: ArrayLike | None = None,
        held_out: float = 0.2,
        cv: Any = None,
        scoring: str = "log_loss",
        rule: str = "best",
        standardize: bool = False,
        normalize: bool = False,
        early: bool = True,
        refit: bool = True,
        checkpoint: str | PathLike[str] | None = None,
        callback: Callable[[int, Value], Any] | None = None,
        random_state: int = 0,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-5,
        max_iter: int = 300,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.grid = grid
        self.l2s = l2s
        self.Cs = Cs
        self.held_out = held_out
        self.cv = cv
        self.scoring = scoring
        self.rule = rule
        self.standardize = standardize
        self.normalize = normalize
        self.early = early
        self.refit = refit
        self.checkpoint = checkpoint
        self.callback = callback
        self.random_state = random_state
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.backend = backend
        self.n_threads = n_threads

    def fit(self, X: Any, y: Any = None, *, validation: tuple[Any, Any] | None = None) -> Self:
        """Sweep, choose and fit.

        Parameters
        ----------
        X : array_like (m, n), sparse array, path, list of arrays, or what `fastsoftmax.scan` returned
        y : array_like (m,) or path
            Labels; of a path those of a .npy file, or of the .npy files of a folder. A scan has its own.
        validation : (X, y), optional
            The rows to measure on, in place of some of X's.

        Raises
        ------
        TypeError, ValueError
            For parameters out of range, labels that do not match the features, a class that only the validation set
            has, a validation set of one class, NaN or infinity, and a checkpoint of another sweep.

        Warns
        -----
        ConvergenceWarning
            Where fits ended before they reached ``tol``.
        """
        options = self._checked_options()
        grid = make_grid(self.grid, self.l2s, self.Cs)
        X, classes, codes = self._samples(X, y)
        grid = replace(grid, factor=2.0 if len(classes) == 2 else 1.0)
        whole = self._rows(X, codes, len(classes))
        rows = Coordinates(whole, standardize=self.standardize)
        fold, held = self._held(whole, codes, classes, validation)
        held = [rows.of(obj) for obj in held]
        checkpoint = self._checkpoint(rows, whole, codes, held, fold, grid, options)
        sweep = Sweep(rows, held, fold, grid, options, checkpoint)
        self.values_ = []
        for value in sweep.run():
            self.values_.append(value)
            if self.callback is not None:
                self.callback(len(grid), value)
        self.best_index_ = choose(self.values_, options)
        best = self.values_[self.best_index_]
        self.l2_, self.C_, self.n_passes_ = best.l2, best.C, sum(value.passes for value in self.values_)
        self.n_iter_ = max(1, sum(value.iterations for value in self.values_[: self.best_index_ + 1]))
        theta = best.thetas.mean(axis=0)
        if fold is not None and self.refit:
            theta = self._refitted(rows, theta, float(grid.l2s(whole.weight_sum)[self.best_index_]))
        self.report_ = ProbeReport(self.values_, self.best_index_, options, self._about(whole, classes, held, fold))
        self._keep(rows.to_features(theta), classes)
        self._warn_of_unconverged()
        return self

    def _checked_options(self) -> SweepOptions:
        for name, value, known in (("scoring", self.scoring, tuple(METRICS)), ("rule", self.rule, RULES)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}")
        select(self.solver)
        share = validation.check_share(self.held_out, "held_out")
        if self.cv is None and not 0 < share < 1:
            raise ValueError(f"held_out must be above 0 and below 1; got {self.held_out!r}")
        if self.standardize and not self.fit_intercept:
            raise ValueError("standardize=True needs fit_intercept=True: the bias takes up the means of the columns")
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable or None; got {self.callback!r}")
        return SweepOptions(
            solver=self.solver,
            tol=validation.check_real(self.tol, "tol", positive=True),
            max_iter=validation.check_count(self.max_iter, "max_iter"),
            scoring=self.scoring,
            one_se=self.rule == "one_se",
            early=bool(self.early),
        )

    def _samples(self, X: Any, y: Any) -> tuple[Any, np.ndarray, np.ndarray]:
        """Features, opened and checked, the classes, and the number of each row's class."""
        if isinstance(X, Scan):
            require_scan_alone(y, None)
            targets = checked_rows(self, X, reset=True).targets
            if targets.w is not None:
                raise ValueError(f"{X.name} was scanned with weights, which a probe does not take; leave weight= out")
            require_two_present(targets.classes, targets.counts > 0)
            return X, targets.classes, targets.y
        X, y = open_features(X), open_labels(y)
        require_labels(X, y, "X", "y")
        if isinstance(X, Parts):
            self.n_features_in_ = X.shape[1]
        else:
            X, y = checked_samples(self, X, y)
        return X, *encode_two_or_more(np.asarray(y))

    def _rows(self, X: Any, codes: np.ndarray, k: int) -> Objective:
        options = self._options() | {"normalize": self.normalize, "fit_intercept": self.fit_intercept}
        return objective_of(X, codes, k, w=None, **options)

    def _held(
        self, whole: Objective, codes: np.ndarray, classes: np.ndarray, given: tuple[Any, Any] | None
    ) -> tuple[np.ndarray | None, list[Objective]]:
        """The fold of each row, if any is held out, and the rows to measure on."""
        if given is not None:
            return None, [self._validation(given, classes, whole.n_features)]
        if self.cv is None:
            fold = np.full(len(codes), -1, np.int32)
            fold[datasets.split_rows(codes, self.held_out, self.random_state)[1]] = 0
            count = 1
        else:
            splits = list(check_cv(self.cv, codes, classifier=True).split(np.zeros((len(codes), 1)), codes))
            fold, count = fold_of_rows(splits, len(codes)), len(splits)
        parts = [np.flatnonzero(fold == f) for f in range(count)]
        for rows in parts:
            require_classes(codes[rows], "the part held out")
        return fold, [Subset(whole, rows, codes[rows]) for rows in parts]

    def _validation(self, given: tuple[Any, Any], classes: np.ndarray, n: int) -> Objective:
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise TypeError(f"validation must be (X, y); got {type(given).__name__}")
        if isinstance(given[0], Scan):
            raise TypeError("validation holds a scan; arrays or paths of features and labels are wanted")
        X, y = open_features(given[0]), open_labels(given[1])
        require_labels(X, y, "the X of validation", "its y")
        labels = np.asarray(y)
        unknown = labels[~np.isin(labels, classes)]
        if len(unknown):
            raise ValueError(f"validation holds the label {unknown[0].item()!r}, which y does not have")
        codes = np.searchsorted(classes, labels).astype(np.int32)
        require_classes(codes, "validation")
        obj = self._rows(X, codes, len(classes))
        if obj.n_features != n:
            raise ValueError(f"the X of validation has {obj.n_features} columns; {n} are wanted, as X has")
        return obj

    def _checkpoint(
        self,
        rows: Coordinates,
        whole: Objective,
        codes: np.ndarray,
        held: Sequence[Objective],
        fold: np.ndarray | None,
        grid: Any,
        options: SweepOptions,
    ) -> Checkpoint | None:
        if self.checkpoint is None:
            return None
        settings = vars(options) | {"grid": grid.values.tolist(), "is_C": grid.is_C, "shape": whole.shape}
        settings |= {name: getattr(self, name) for name in ("standardize", "normalize", "fit_intercept")}
        labels = [codes, *([] if fold is None else [fold]), *(obj.y for obj in held if obj.y is not None)]
        settings["moments"] = [f"{moment:.4e}" for moment in rows.moments.diagonal]  # of all rows, up to rounding
        return Checkpoint(self.checkpoint, digest_of(settings, labels, [some_rows(obj) for obj in (whole, *held)]))

    def _refitted(self, rows: Coordinates, theta: np.ndarray, l2: float) -> np.ndarray:
        """Theta of the fit to all rows, from that of the sweep."""
        obj = rows.obj
        obj.l2 = l2
        with blas_for(obj):
            run = Run(obj, tol=self.tol, max_iter=self.max_iter, callback=None, moments=rows.moments)
            self.refit_result_ = run_solver(run, theta, self.solver)
        return self.refit_result_.theta

    def _about(
        self, whole: Objective, classes: np.ndarray, held: Sequence[Objective], fold: np.ndarray | None
    ) -> dict[str, Any]:
        fitted = whole.n_rows if fold is None else int(np.sum(fold != 0))
        return {
            "rows": whole.n_rows,
            "fitted": fitted,
            "held_out": sum(obj.n_rows for obj in held),
            "folds": len(held) if fold is not None and len(held) > 1 else None,
            "features": whole.n_features,
            "classes": len(classes),
            "standardize": bool(self.standardize),
            "normalize": bool(self.normalize),
            "backend": whole.backend,
            "threads": whole.n_threads,
        }

    def _check(self, X: Any) -> Any:
        opened = open_features(X)
        checked = super()._check(opened.joined() if isinstance(opened, Parts) else opened)
        if not self.normalize:
            return checked
        if isinstance(checked, Scan):
            raise TypeError("a probe with normalize=True predicts arrays and paths, not a scan")
        dtype = validation.compute_dtype(checked.dtype)
        if hasattr(checked, "tocsr"):
            csr = validation.check_X(checked)
            return unit_rows(csr, dtype).to_scipy()
        return unit_rows(checked, dtype)

    def _warn_of_unconverged(self) -> None:
        wrong = [value for value in self.values_ if not value.converged and value.lower_bound is None]
        if wrong:
            warnings.warn(
                f"{len(wrong)} of {len(self.values_)} values have fits that ended before they reached tol; the first,"
                f" at l2 = {wrong[0].l2:.3g}: {wrong[0].message}",
                ConvergenceWarning,
                stacklevel=3,
            )


def require_labels(X: Any, y: Any, of_X: str, of_y: str) -> None:
    """Raise ValueError unless there is a label for each row."""
    m, labels = n_rows(X), np.asarray(y)
    if labels.ndim == 1 and len(labels) != m:
        raise ValueError(f"{of_X} has {m} rows, and {of_y} {len(labels)} labels; one label for each row is wanted")


def require_classes(codes: np.ndarray, name: str) -> None:
    """Raise ValueError where all labels are the same."""
    found = len(np.unique(codes[:1])) + bool((codes != codes[:1]).any())
    if found < 2:
        what = "one class only" if found else "no row"
        raise ValueError(f"{name} holds {what}; rows of at least two classes are wanted to measure on")


def some_rows(obj: Objective) -> np.ndarray:
    """The first rows of an objective's X, for a digest."""
    rows = replace(next(iter(obj.source.chunks(obj.plan.chunk))))
    X: Any = rows.X
    head = X.to_scipy()[:SAMPLED].toarray() if obj.sparse else np.asarray(X[:SAMPLED])
    return np.asarray(head)
