"""Predictions of Dask collections: lazy arrays, a task for each partition."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
from dask.delayed import delayed
from sklearn.utils.validation import check_is_fitted, validate_data

from ..data.validation import compute_dtype
from ..data.validation_labels import check_labels
from .collections import blocks, chunks, is_collection


def checked(estimator: Any, X: Any, *, reset: bool) -> None:
    """Let scikit-learn store (``reset``) or compare number and names of a collection's features."""
    if not isinstance(X, list | tuple):
        known = X if isinstance(X, da.Array) else X._meta  # a frame without rows
        validate_data(estimator, known, reset=reset, skip_check_array=True)


class LazyPredictions:
    """The part of an estimator that predicts collections; other X is for the class that it is derived from."""

    classes_: np.ndarray

    def predict(self, X: Any) -> Any:
        """Label of the most probable class of each row, (m,)."""
        return self._lazy("predict", X, labels=True) if is_collection(X) else super().predict(X)  # type: ignore[misc]

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (m, k), columns in the order of ``classes_``."""
        return self._lazy("predict_proba", X) if is_collection(X) else super().predict_proba(X)  # type: ignore[misc]

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities (m, k)."""
        lazy = is_collection(X)
        return self._lazy("predict_log_proba", X) if lazy else super().predict_log_proba(X)  # type: ignore[misc]

    def decision_function(self, X: Any) -> Any:
        """Logits (m, k); for two classes one for each row, above 0 where the second is predicted."""
        lazy = is_collection(X)
        return self._lazy("decision_function", X) if lazy else super().decision_function(X)  # type: ignore[misc]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Share of the rows, or of their weight, whose label is predicted: of a collection a Dask array without axes,
        which ``float`` computes."""
        if not is_collection(X):
            return super().score(X, y, sample_weight)  # type: ignore[misc]
        checked(self, X, reset=False)
        eager = delayed(self._eager())
        hits = [delayed(_hits)(eager, *rows) for rows in chunks(X, y, sample_weight)]
        return da.from_delayed(delayed(_share)(hits), shape=(), dtype=np.dtype(np.float64))

    def _lazy(self, method: str, X: Any, *, labels: bool = False) -> Any:
        check_is_fitted(self)
        checked(self, X, reset=False)
        k, dtype = len(self.classes_), self.classes_.dtype if labels else _dtype(X)
        tail = () if labels or (method == "decision_function" and k == 2) else (k,)
        if isinstance(X, da.Array):
            whole = X.rechunk({1: -1})
            shape: Any = {"chunks": (X.chunks[0], tail)} if tail else {"drop_axis": 1}
            return whole.map_blocks(_predicted, self._eager(), method, tail, dtype, dtype=dtype, **shape)
        if not isinstance(X, list | tuple):
            return X.map_partitions(_predicted, self._eager(), method, tail, dtype, meta=np.empty((0, *tail), dtype))
        eager = delayed(self._eager())
        parts = [
            da.from_delayed(delayed(_predicted)(part, eager, method, tail, dtype), (np.nan, *tail), dtype=dtype)
            for part in blocks(X)
        ]
        return da.concatenate(parts, allow_unknown_chunksizes=True)

    def _eager(self) -> Any:
        """The estimator that tasks predict with: of the class for arrays, on one thread, since each thread of a worker
        has a task."""
        kind = next(kind for kind in type(self).__mro__ if "dask" not in kind.__module__.split("."))
        eager: Any = object.__new__(kind)
        eager.__dict__.update(self.__dict__)
        for name in ("result_", "callback", "stream_"):
            eager.__dict__.pop(name, None)
        if hasattr(eager, "n_threads"):
            eager.n_threads = 1
        return eager


def _dtype(X: Any) -> np.dtype:
    """The dtype of the probabilities of a collection; float64 where nothing is known of it."""
    if isinstance(X, list | tuple):
        return np.dtype(np.float64)
    return compute_dtype(X.dtype if isinstance(X, da.Array) else np.result_type(*X.dtypes))


def _predicted(rows: Any, eager: Any, method: str, tail: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A prediction of one partition, which may be empty."""
    if not rows.shape[0]:
        return np.empty((0, *tail), dtype)
    out: np.ndarray = getattr(eager, method)(rows).astype(dtype, copy=False)
    return out


def _hits(eager: Any, rows: Any, y: Any, w: Any) -> tuple[float, float]:
    """The weight of the rows of a partition whose label is predicted, and of all of them."""
    if not rows.shape[0]:
        return 0.0, 0.0
    right = eager.predict(rows) == np.asarray(check_labels(y)).reshape(-1)
    weights = np.ones(len(right)) if w is None else np.asarray(w, np.float64)
    return float(weights[right].sum()), float(weights.sum())


def _share(hits: list[tuple[float, float]]) -> np.ndarray:
    right, total = np.sum(hits, axis=0)
    return np.asarray(right / total)
