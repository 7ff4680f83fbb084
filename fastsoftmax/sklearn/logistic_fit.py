"""``fit`` of scikit-learn's `LogisticRegression` on these kernels.

The method is scikit-learn's own, with `logistic.minima` in the place of its numerical work; what that does not serve
goes to scikit-learn's functions, as before, and `fit_log` tells why.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import fit_log
from .logistic import host
from .logistic.array_api import in_numpy, like
from .logistic.call import Call, reason_to_hand_over
from .logistic.folds import Scored, in_order
from .logistic.minima.path import Declined, fit_path


class _Work:
    """Does what one ``fit`` asks for, and keeps why any of it was handed over."""

    def __init__(self, host_fit: Callable[..., Any]) -> None:
        self._host_path = host.function(host_fit, host.PATH)
        self._host_liblinear = host.function(host_fit, host.LIBLINEAR)
        self._host_scoring_path = host.function(host_fit, host.SCORING_PATH)
        self.reason: str | None = None

    def names(self, host_fit: Callable[..., Any]) -> dict[str, Any]:
        """What ``host_fit`` is to find under the names of scikit-learn's functions."""
        parallel = functools.partial(in_order, host.function(host_fit, host.PARALLEL))
        ours = {host.PATH: self.path, host.SCORING_PATH: self.scoring_path, host.LIBLINEAR: self.liblinear}
        return {**ours, host.PARALLEL: parallel}

    def path(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of `host.PATH`."""
        return self._served(Call.of(self._host_path, args, kwargs)) or self._host_path(*args, **kwargs)

    def liblinear(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of `host.LIBLINEAR`."""
        call = Call.of_liblinear(self._host_liblinear, args, kwargs)
        found = self._served(call)
        if found is None:
            return self._host_liblinear(*args, **kwargs)
        coef, n_iter = found[0].astype(np.float64, copy=False), found[2]
        return (coef[:, :-1], coef[:, -1], n_iter) if call.fit_intercept else (coef, 0.0, n_iter)

    def _served(self, given: Call) -> tuple[Any, ...] | None:
        """What `fit_path` returns; None where scikit-learn has to do it, which is noted."""
        call = in_numpy(given)
        reason = reason_to_hand_over(call)
        if reason is None:
            try:
                return like(given.X, fit_path(call))
            except (FloatingPointError, Declined) as error:
                reason = str(error)
        self.reason = reason
        return None

    def scoring_path(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of `host.SCORING_PATH`, whose scores are scikit-learn's."""
        names = {host.PATH: self.path, host.ESTIMATOR: Scored}
        return host.with_names(self._host_scoring_path, names)(*args, **kwargs)


def fit_logistic(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None, host_fit: Callable[..., Any] = host.LOGISTIC_FIT
) -> Any:
    """Fit an estimator of scikit-learn's class `LogisticRegression` or of one derived from it.

    Parameters
    ----------
    estimator : sklearn.linear_model.LogisticRegression
    X, y, sample_weight
        As its ``fit`` takes them.
    host_fit : callable
        ``sklearn.linear_model.LogisticRegression.fit``, as scikit-learn defines it.

    Returns
    -------
    estimator
    """
    return _fit(estimator, host_fit, X, y, sample_weight)


def fit_logistic_cv(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    host_fit: Callable[..., Any] = host.LOGISTIC_CV_FIT,
    **params: Any,
) -> Any:
    """`fit_logistic` for `LogisticRegressionCV`, whose ``fit`` takes ``params`` for its splitter and scorer."""
    return _fit(estimator, host_fit, X, y, sample_weight, **params)


def _fit(estimator: Any, host_fit: Callable[..., Any], X: Any, y: Any, sample_weight: Any, **params: Any) -> Any:
    began = time.perf_counter()
    reason: str | None = "this version of scikit-learn does not fit by the functions that 1.6 to 1.9 have"
    try:
        if host.uses(host_fit, host.PATH):
            work = _Work(host_fit)
            host.fit_with(host_fit, work.names(host_fit))(estimator, X, y, sample_weight, **params)
            reason = work.reason
        else:
            host_fit(estimator, X, y, sample_weight, **params)
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        _tell(estimator, host.shape(X), None, "neither", began, reason)
        raise
    shape, k = (host.rows(X), int(estimator.n_features_in_)), host.rows(estimator.classes_)
    _tell(estimator, shape, k, "fastsoftmax" if reason is None else "scikit-learn", began, reason)
    return estimator


def _tell(estimator: Any, shape: tuple[int, ...], k: int | None, ran_on: Any, began: float, reason: str | None) -> None:
    seconds = time.perf_counter() - began
    fit_log.tell(fit_log.FitRecord(type(estimator).__name__, shape, k, ran_on, seconds, reason))
