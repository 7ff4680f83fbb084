"""`SoftmaxRegression` and `LogisticRegression`, which take Dask collections in the place of arrays."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from distributed import Client
from numpy.typing import ArrayLike

from ..objective.parts.total import Total
from ..sklearn import LogisticRegression as EagerLogisticRegression
from ..sklearn import SoftmaxRegression as EagerSoftmaxRegression
from ..sklearn.base import warn_of_absent
from ..sklearn.logistic.call import Call
from ..sklearn.logistic.minima.path import fit_objective
from ..sklearn.logistic.objective import Logistic
from .collections import chunks, is_collection
from .labels import Labelled, labelled
from .objective import current
from .predictions import LazyPredictions, checked
from .workers import DaskParts

__all__ = ["LogisticRegression", "SoftmaxRegression"]


def _prepared(estimator: Any, client: Client, X: Any, y: Any, sample_weight: Any) -> Labelled:
    """Features checked and labels numbered."""
    checked(estimator, X, reset=True)
    return labelled(client, chunks(X, y, sample_weight), estimator.class_weight)


def _objective(estimator: Any, client: Client, rows: Labelled, l2: float, **options: Any) -> Total:
    """The objective of the present classes."""
    parts = DaskParts(client, rows.chunks, int(rows.present.sum()), fit_intercept=estimator.fit_intercept, **options)
    estimator.n_features_in_ = parts.whole.facts[0].n_features
    return Total(parts, l2=l2)


class SoftmaxRegression(LazyPredictions, EagerSoftmaxRegression):
    """`fastsoftmax.SoftmaxRegression`, for Dask collections too.

    Parameters, attributes and results are those of the class it is derived from; scikit-learn's callbacks are for
    arrays. ``n_threads`` counts the threads of each worker. ``predict``, ``predict_proba``, ``predict_log_proba``,
    ``decision_function`` and ``score`` of a collection are Dask arrays, which are computed when they are asked for; of
    arrays they are what they are there.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastsoftmax.dask import SoftmaxRegression
    >>> with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:  # doctest: +SKIP
    ...     X = da.random.default_rng(0).normal(size=(10_000, 5), chunks=(2_500, 5))
    ...     clf = SoftmaxRegression().fit(X, X[:, :3].argmax(axis=1))
    ...     clf.predict_proba(X).mean(axis=0).compute()
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to a collection on the current client's cluster, or to arrays.

        Parameters
        ----------
        X : Dask array (m, n), Dask data frame, or list of delayed chunks; or array_like
        y : Dask array or series (m,), or list of delayed chunks; or array_like
            Labels, with the partitions of X.
        sample_weight : like y, optional

        Returns
        -------
        self
        """
        if not is_collection(X):
            super().fit(X, y, sample_weight)
            return self
        client = current()
        rows = _prepared(self, client, X, y, sample_weight)
        warn_of_absent(rows.classes, rows.present)
        obj = _objective(self, client, rows, self.l2, backend=self.backend, n_threads=self.n_threads)
        self._fit_objective(obj, rows.classes, rows.present)
        return self


class LogisticRegression(LazyPredictions, EagerLogisticRegression):
    """scikit-learn's `LogisticRegression`, for Dask collections too.

    The objective, ``tol``, coefficients and intercepts are those of `fastsoftmax.sklearn.LogisticRegression`; all
    solvers but liblinear minimize it. Predictions are lazy as those of `SoftmaxRegression`.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastsoftmax.dask import LogisticRegression
    >>> with Client(n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:  # doctest: +SKIP
    ...     X = da.random.default_rng(0).normal(size=(10_000, 5), chunks=(2_500, 5))
    ...     clf = LogisticRegression(C=10.0).fit(X, X[:, 0] > 0)
    ...     float(clf.score(X, X[:, 0] > 0))
    """

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit to a collection on the current client's cluster, or to arrays; as `SoftmaxRegression.fit`."""
        if not is_collection(X):
            super().fit(X, y, sample_weight)
            return self
        self._validate_params()
        if self.solver == "liblinear":
            raise ValueError("solver='liblinear' penalizes the intercept and is for arrays; another is wanted")
        penalty, share, C = _penalty(self)
        client = current()
        rows = _prepared(self, client, X, y, sample_weight)
        if not rows.present.all():
            absent = rows.classes[~rows.present].tolist()
            raise ValueError(f"y has no row of positive weight of the classes {absent}; at least one of each is wanted")
        obj = _objective(self, client, rows, 0.0)
        call = Call(
            X=None,
            y=None,
            classes=rows.classes,
            Cs=[C],
            fit_intercept=self.fit_intercept,
            max_iter=self.max_iter,
            tol=self.tol,
            verbose=self.verbose,
            solver=self.solver,
            coef=self._start() if self.warm_start and hasattr(self, "coef_") else None,
            class_weight=self.class_weight,
            penalty=penalty,
            intercept_scaling=self.intercept_scaling,
            sample_weight=None,
            l1_ratio=self.l1_ratio,
        )
        coef, n_iter = fit_objective(call, Logistic(obj, rows.weight_sum, share))
        coef = np.atleast_2d(coef).astype(obj.dtype)
        n = obj.n_features
        self.classes_, self.n_iter_ = rows.classes, np.array([n_iter], np.int32)
        self.coef_ = coef[:, :n]
        self.intercept_ = coef[:, n] if self.fit_intercept else np.zeros(len(coef), coef.dtype)
        return self

    def _start(self) -> np.ndarray:
        """The coefficients to go on from."""
        coef: np.ndarray = np.column_stack([self.coef_, self.intercept_]) if self.fit_intercept else self.coef_
        return coef


def _penalty(estimator: Any) -> tuple[str, float, float]:
    """The penalty by name, the share of l1 in it, and C: by ``penalty`` or, where that is left at its default since
    scikit-learn 1.8, by ``l1_ratio``."""
    ratio = float(estimator.l1_ratio or 0.0)
    names = {0.0: "l2", 1.0: "l1"}
    penalty = names.get(ratio, "elasticnet") if estimator.penalty == "deprecated" else estimator.penalty
    if penalty is None:
        return "l2", 0.0, np.inf
    share = {"l2": 0.0, "l1": 1.0}.get(penalty, ratio)
    return penalty, share, float(estimator.C)
