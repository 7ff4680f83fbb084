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
from ..data.sources.first_pass import hashed_folds
from ..data.sources.scan import Scan, require_scan_alone
from ..objective.objective import Objective
from ..solvers.cross_validation import (
    ABSENT_LOSS,
    SCORES,
    Scorer,
    check_options,
    classes_outside,
    cross_validate,
    fold_of_rows,
)
from .base import SoftmaxClassifier, checked_rows, checked_samples, encode_two_or_more, warn_of_absent
from .estimator import SoftmaxRegression

# After `.base`, which says how to install scikit-learn.
from sklearn import get_config  # isort: skip
from sklearn.exceptions import ConvergenceWarning  # isort: skip
from sklearn.metrics import get_scorer, log_loss  # isort: skip
from sklearn.model_selection import check_cv  # isort: skip
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping, process_routing  # isort: skip

# The range of l2 where ``l2s`` is a number of values.
LARGEST, SMALLEST = 1.0, 1e-6
# So many folds that lack classes are listed in the warning.
LISTED = 5


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
        What to maximize, and what `score` returns. None chooses l2 by "neg_log_loss", while `score` is the accuracy, as
        that of any classifier. "neg_log_loss" and "accuracy" are computed by a pass over X and weigh rows by
        ``sample_weight`` and ``class_weight``. Other scorers of scikit-learn, or of the caller's own, are called on
        each fold with what metadata routing brings them, and without weights if it is not enabled.
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
        The score that ``scoring`` names, or minus the mean loss for None: in row i and column j that of the model with
        ``l2s_[j]`` that is fitted without the test rows of fold i, on these rows. Larger is better.
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

    A class may be missing from the training rows of a fold, or have weight 0 in all of them. The fold's model then is
    that of the other classes, and the class has the probability 0. A test row of it counts as wrong, and with the loss
    36.04, minus the logarithm of float64's eps, as in scikit-learn's ``log_loss``: the same at every l2, so that such
    rows do not bear on the choice. A UserWarning names the folds and classes.

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

    # `groups` is for the splitter, which asks for it itself.
    __metadata_request__fit = {"groups": UNUSED}

    def fit(
        self,
        X: ArrayLike | Scan,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        groups: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Choose l2 and fit theta and the bias. Errors and warnings as in `SoftmaxRegression.fit`.

        Parameters
        ----------
        X, y, sample_weight
            As in `SoftmaxRegression.fit`. Of a scan the folds, of which ``cv`` is the number, are decided by a hash of
            the rows' numbers, and ``scoring`` is one that passes compute.
        groups : array_like (m,), optional
            The group of each row, for splitters such as GroupKFold.
        **params
            With metadata routing enabled, what the splitter and the scorer ask for.

        Raises
        ------
        ValueError
            Also for folds that overlap, or leave nothing to train on or to test.

        Warns
        -----
        UserWarning
            Where a class has no training rows in a fold, or no row of positive weight at all: see the notes.
        """
        check_options(self.solver, self.tol, self.max_iter)
        l2s = _strengths(self.l2s)
        if isinstance(X, Scan):
            require_scan_alone(y, sample_weight)
            classes, score, count = checked_rows(self, X, reset=True).classes, self.scoring, self.cv
            splits: Any = self._folds_of_scan(X)
            obj, present = self._objective_of_scan(X, 0.0)
        else:
            X, labels = checked_samples(self, X, y)
            classes, codes = encode_two_or_more(labels)
            to_splitter, to_scorer = self._routed("fit", params, groups=groups, sample_weight=sample_weight)
            splits = list(check_cv(self.cv, labels, classifier=True).split(X, labels, **to_splitter))
            obj, present = self._objective_of_present(X, codes, classes, sample_weight, 0.0)
            score = self._score_of_fold(obj, X, labels, classes, present, splits, to_scorer)
            count = len(splits)
        warn_of_absent(classes, present)
        found = cross_validate(
            obj,
            splits,
            l2s,
            solver=self.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            score=score or "neg_log_loss",
        )
        _warn_of_folds(classes[present], found.present)
        self.scores_, self.n_passes_ = found.scores, found.n_passes
        best = _best(self.scores_, l2s)
        self.l2s_, self.l2_ = l2s, float(l2s[best])
        self.result_ = found.full[best]
        self._keep(self.result_.theta, classes, present)
        self.n_iter_ = sum(found.full[i].n_iter for i in range(len(l2s)) if l2s[i] >= l2s[best])
        if found.unconverged:
            warnings.warn(
                f"{len(found.unconverged)} of {len(l2s) * (count + 1)} fits ended before they reached tol; the"
                f" first: {found.unconverged[0].message}. A larger l2 helps most where classes are (nearly) separable",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _folds_of_scan(self, data: Scan) -> np.ndarray:
        """The fold of each row, which a hash of its number decides."""
        if isinstance(self.cv, bool) or not isinstance(self.cv, int) or self.cv < 2:
            raise ValueError(f"cv must be the number of folds, 2 or more, for a scan; got {self.cv!r}")
        if self._own_scorer() is not None:
            raise ValueError(f"scoring must be None or one of {', '.join(SCORES)} for a scan; got {self.scoring!r}")
        return hashed_folds(data.shape[0], self.cv)

    def score(
        self, X: ArrayLike, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None, **params: Any
    ) -> float:
        """The score that ``scoring`` names, on these rows; the accuracy if it is None.

        Parameters
        ----------
        X : array_like (m, n), or sparse array or matrix of SciPy
        y : array_like (m,)
        sample_weight : array_like (m,), optional
        **params
            With metadata routing enabled, what the scorer asks for.
        """
        if self._own_scorer() is not None:
            _, to_scorer = self._routed("score", params, sample_weight=sample_weight)
            if not get_config()["enable_metadata_routing"] and sample_weight is not None:
                to_scorer = {"sample_weight": sample_weight}
            return float(get_scorer(self.scoring)(self, X, y, **to_scorer))
        _refuse(params, "score")
        if self.scoring == "neg_log_loss":
            return -float(log_loss(y, self.predict_proba(X), sample_weight=sample_weight, labels=self.classes_))
        return float(super().score(X, y, sample_weight))

    def get_metadata_routing(self) -> MetadataRouter:
        """What this estimator, its splitter and its scorer ask for: see scikit-learn's guide to metadata routing."""
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        if self._own_scorer() is not None:
            both = MethodMapping().add(caller="fit", callee="score").add(caller="score", callee="score")
            router.add(scorer=self._own_scorer(), method_mapping=both)
        return router

    def _own_scorer(self) -> Any:
        """scikit-learn's scorer, or the caller's own; None for a score that a pass computes."""
        return None if self.scoring is None or self.scoring in SCORES else get_scorer(self.scoring)

    def _routed(self, method: str, params: dict[str, Any], **given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the splitter and the scorer get of the arguments of a method."""
        if not get_config()["enable_metadata_routing"]:
            _refuse(params, method)
            return {"groups": given.get("groups")}, {}
        given = {name: value for name, value in given.items() if value is not None}
        routed = process_routing(self, method, **given, **params)
        return routed["splitter"].get("split", {}), routed.get("scorer", {}).get("score", {})

    def _score_of_fold(
        self,
        obj: Objective,
        X: Any,
        labels: np.ndarray,
        classes: np.ndarray,
        present: np.ndarray,
        splits: Sequence[Any],
        params: dict[str, Any],
    ) -> str | Scorer:
        """The score for `cross_validate`: its name, or a function that calls the scorer on the rows of a fold."""
        scorer = self._own_scorer()
        if scorer is None:
            return self.scoring or "neg_log_loss"
        source: Any = obj.source
        rows = source.X.to_scipy() if obj.sparse else X  # CSR: other sparse formats may not have rows to take
        inside = classes_outside(fold_of_rows(splits, len(labels)), len(splits), source.y, source.w, obj.n_classes)

        def score(number: int, theta: np.ndarray) -> float:
            test = splits[number][1]
            fitted = SoftmaxRegression(fit_intercept=self.fit_intercept, **self._options())
            fitted.n_features_in_ = self.n_features_in_
            there = present.copy()
            there[present] = inside[number]
            fitted._keep(theta, classes, there)
            of_rows = {name: _of_rows(value, test, len(labels)) for name, value in params.items()}
            return float(scorer(fitted, rows[test], labels[test], **of_rows))

        return score


def _best(scores: np.ndarray, l2s: np.ndarray) -> int:
    """The number of the l2 with the largest mean score; the largest l2 of equals. A mean of NaN ranks last."""
    undefined = np.argwhere(np.isnan(scores))
    if len(undefined):
        fold, i = undefined[0].tolist()
        warnings.warn(
            f"the score of fold {fold} is NaN at l2 = {l2s[i]:g}; an l2 of which any score is NaN ranks last",
            stacklevel=3,
        )
    mean = np.where(np.isnan(scores).any(axis=0), -np.inf, scores.mean(axis=0))
    return max(range(len(l2s)), key=lambda i: (mean[i], l2s[i]))


def _refuse(params: dict[str, Any], method: str) -> None:
    """Raise TypeError for arguments that only metadata routing could pass on."""
    if params:
        raise TypeError(
            f"{method} got {next(iter(params))!r}, which needs sklearn.set_config(enable_metadata_routing=True) and a"
            " scorer or splitter that asks for it"
        )


def _of_rows(value: Any, rows: np.ndarray, m: int) -> Any:
    """The items of some rows, of an argument that has one for each of the m rows."""
    return np.asarray(value)[rows] if np.ndim(value) and len(value) == m else value


def _warn_of_folds(classes: np.ndarray, present: np.ndarray) -> None:
    """Warn of the folds (rows of ``present``) whose training rows lack classes (its columns)."""
    lacking = np.flatnonzero(~present.all(axis=1))
    if not len(lacking):
        return
    parts = [f"fold {fold} lack class {', '.join(map(repr, classes[~present[fold]].tolist()))}" for fold in lacking]
    more = f"; and those of {len(parts) - LISTED} more folds lack some" if len(parts) > LISTED else ""
    warnings.warn(
        f"the training rows of {', of '.join(parts[:LISTED])}{more}. Its probability is 0 there, and a test row of it"
        f" counts as wrong, with the loss {ABSENT_LOSS:.4g}",
        stacklevel=3,
    )


def _strengths(l2s: Any) -> np.ndarray:
    """The values of ``l2s``, checked."""
    if np.ndim(l2s) == 0:
        return np.geomspace(LARGEST, SMALLEST, validation.check_count(l2s, "l2s"))
    values = np.array([validation.check_real(l2, "l2s") for l2 in l2s])
    if not len(values):
        raise ValueError("l2s is empty; at least one value is wanted")
    return values
