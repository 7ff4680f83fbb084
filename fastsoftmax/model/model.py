"""Fitted parameters: predict with them, save them, load them.

A file holds theta and bias as arrays, and a JSON header with all else: classes, feature names,
versions. A SHA-256 of the three stands beside them, so that damage is found in either format; nothing
is ever unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..kernels.backends import select
from ..kernels.contract import Csr, Parameters, Sums
from ..kernels.machine import default_threads
from ..kernels.plan import Plan
from ..objective.objective import explain_nonfinite
from ..objective.passes import passes_over
from .file import read, write

# Logits that `Model.top_k` holds at a time.
_TOP_BYTES = 64 << 20


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A softmax regression model: H = X theta + bias, one column for each class.

    Every method takes X (m, n) in any layout, float32 or float64 without a copy, or sparse, and the keywords
    ``backend`` and ``n_threads`` of `fastsoftmax.Objective`, which says what becomes of sparse X. Results have the
    dtype X is computed in: float32 for float32 X, float64 for float64.

    Parameters
    ----------
    theta : array_like (n, k)
    bias : array_like (k,), optional
    classes : array_like (k,), optional
        The label of each column; 0..k-1 unless given.
    feature_names : sequence of str (n,), optional
    metadata : dict of str to str, optional
        Anything worth keeping with the model; saved with it.

    Raises
    ------
    TypeError, ValueError
        For parts of a wrong type, of shapes that do not fit together, or not finite.

    Examples
    --------
    >>> model = Model([[1.0, -1.0]], classes=["no", "yes"])
    >>> model.predict([[2.0], [-2.0]])
    array(['no', 'yes'], dtype='<U3')
    """

    theta: np.ndarray
    bias: np.ndarray | None = None
    classes: np.ndarray = None  # type: ignore[assignment]  # never None once made
    feature_names: tuple[str, ...] | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        theta = np.asarray(self.theta)
        if theta.ndim != 2 or 0 in theta.shape:
            raise ValueError(f"theta has shape {theta.shape}; (features, classes) is wanted")
        n, k = theta.shape
        classes = np.arange(k) if self.classes is None else np.asarray(self.classes)
        if classes.shape != (k,):
            raise ValueError(f"classes has shape {classes.shape}; ({k},), one label per column of theta, is wanted")
        if k < 2:
            raise ValueError("theta has one class only; at least two classes are wanted")
        parts = {"theta": validation.check_theta(theta, n, k, False), "classes": classes}
        if self.bias is not None:
            parts["bias"] = validation.check_theta(self.bias, 1, k, False, "bias").reshape(k)
        names = self.feature_names
        if names is not None:
            names = tuple(names)
            if len(names) != n or not all(isinstance(name, str) for name in names):
                raise ValueError(f"feature_names must be {n} strings, one per row of theta; got {len(names)} items")
        metadata = dict(self.metadata)
        if not all(isinstance(text, str) for item in metadata.items() for text in item):
            raise TypeError(f"metadata must be a dict of str to str; got {metadata!r}")
        for name, value in {**parts, "feature_names": names, "metadata": metadata}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Model(n_features={self.n_features}, n_classes={self.n_classes})"

    @property
    def n_features(self) -> int:
        return int(self.theta.shape[0])

    @property
    def n_classes(self) -> int:
        return int(self.theta.shape[1])

    def predict(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """The most probable class of each row (m,); the first of equals."""
        return np.take(self.classes, self._run(X, "label", backend, n_threads))

    def predict_proba(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """Z (m, k) = softmax(H): the probability of each class; rows sum to one."""
        return self._run(X, "proba", backend, n_threads)

    def predict_log_proba(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """log Z (m, k), from the logits: right where the probability itself is too small to hold."""
        return self._run(X, "log_proba", backend, n_threads)

    def decision_function(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """The logits H (m, k)."""
        return self._run(X, "logits", backend, n_threads)

    def top_k(
        self, X: ArrayLike, count: int, *, backend: str = "auto", n_threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``count`` most probable classes of each row and their probabilities, the best first.

        Returns
        -------
        labels : ndarray (m, count)
        probabilities : ndarray (m, count)
            Memory beside the two does not grow with m.
        """
        count = validation.check_count(count, "count")
        if count > self.n_classes:
            raise ValueError(f"count is {count}; the model has {self.n_classes} classes")
        work = _Prediction(validation.check_X(X), self.theta, self.bias, backend, n_threads)
        order = np.empty((work.m, count), np.int64)
        probabilities = np.empty((work.m, count), work.source.dtype)
        for rows, H in work.pieces(max(1, _TOP_BYTES // (self.n_classes * 8))):
            order[rows] = _largest(H, count)
            # Ranked by logits: probabilities that round to the same number, 0 above all, have lost their order.
            probabilities[rows] = np.take_along_axis(_softmax(H), order[rows], axis=1)
        return np.take(self.classes, order), probabilities

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a ``.npz`` or, with the safetensors package, a ``.safetensors`` file.

        Raises
        ------
        ValueError
            For another suffix, or classes that are not int, float, bool or str.
        ImportError
            If safetensors is asked for and not installed.
        """
        arrays = {"theta": self.theta} | ({} if self.bias is None else {"bias": self.bias})
        names = None if self.feature_names is None else list(self.feature_names)
        write(Path(path), arrays, self.classes, names, self.metadata)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Model:
        """Read a model that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, is something else, or was written by a newer format version; the
            path and what is wrong are named.
        """
        path = Path(path)
        arrays, classes, names, metadata = read(path)
        try:
            return cls(arrays["theta"], arrays.get("bias"), classes, None if names is None else tuple(names), metadata)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a sound fastsoftmax model: {error}") from error

    def _run(self, X: ArrayLike, kind: str, backend: str, n_threads: int | None) -> np.ndarray:
        return _Prediction(validation.check_X(X), self.theta, self.bias, backend, n_threads).whole(kind)


class _Prediction:
    """One pass over checked X that predicts: a plan, and the kernels to run."""

    def __init__(
        self, X: np.ndarray | Csr, theta: np.ndarray, bias: np.ndarray | None, backend: str, n_threads: int | None
    ) -> None:
        n, self.k = theta.shape
        self.m = X.shape[0]
        if X.shape[1] != n:
            raise ValueError(f"X has {X.shape[1]} features, but the model was fitted with {n} features")
        self.kernels = select(backend)[1]
        self.passes = passes_over(X, self.kernels)
        self.source = self.passes.source
        self.n_threads = default_threads() if n_threads is None else validation.check_count(n_threads, "n_threads")
        dtype = self.source.dtype
        with np.errstate(over="ignore"):  # an overflow is found in the logits
            self.params = Parameters(
                np.ascontiguousarray(theta, dtype=dtype),
                None if bias is None else np.ascontiguousarray(bias, dtype=dtype),
            )
        self.plan = self.passes.plan(self.k, gradient=False)
        self.n_threads = min(self.n_threads, self.plan.threads)

    def whole(self, kind: str) -> np.ndarray:
        """One of the `kernels.PREDICTIONS` for all rows."""
        out = np.empty(self.m, np.int64) if kind == "label" else np.empty((self.m, self.k), self.source.dtype)
        sums = self._sums()
        for rows in self.passes.chunks(self.plan):
            end = rows.start + len(rows.X)
            self.kernels.predict(rows, self.params, self.plan, kind, out[rows.start : end], sums, self.n_threads)
        self._require_finite(sums, self.plan)
        return out

    def pieces(self, most: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Logits of at most ``most`` rows at a time, with the rows they belong to."""
        plan = replace(self.plan, chunk=min(most, self.plan.chunk))
        sums = self._sums()
        for rows in self.passes.chunks(plan):
            H = np.empty((len(rows.X), self.k), self.source.dtype)
            self.kernels.predict(rows, self.params, plan, "logits", H, sums, self.n_threads)
            self._require_finite(sums, plan)
            yield slice(rows.start, rows.start + len(rows.X)), H

    def _sums(self) -> Sums:
        return Sums.zeros(self.plan.slabs, self.k, 0, 1.0, grad=False)

    def _require_finite(self, sums: Sums, plan: Plan) -> None:
        if not np.isfinite(sums.loss).all():
            explain_nonfinite(self.source, plan.chunk, "prediction")


def softmax(H: ArrayLike) -> np.ndarray:
    """exp(H) scaled so that each row sums to one, for any finite H (m, k) without overflow.

    Parameters
    ----------
    H : array_like (m, k)
        Logits. float32 and float64 keep their dtype, others are computed in the one that holds them.

    Returns
    -------
    ndarray (m, k)

    Raises
    ------
    TypeError, ValueError
        If H is not a 2-D real array, is empty, or holds NaN or infinity; the row is named.

    Examples
    --------
    >>> softmax([[0.0, 0.0], [1e308, -1e308]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    array = validation.check_dense(H, "H")
    array = array.astype(validation.compute_dtype(array.dtype), copy=False)
    place = validation.nonfinite_row(array)
    if place is not None:
        row, column = place
        raise ValueError(f"H must be finite; row {row}, column {column} holds {array[row, column]} (NaN or infinity)")
    return _softmax(array)


def predict_proba(
    X: ArrayLike,
    theta: ArrayLike,
    *,
    fit_intercept: bool = False,
    backend: str = "auto",
    n_threads: int | None = None,
) -> np.ndarray:
    """softmax(X theta) (m, k), the probability of each class, without an m x k array beside the result.

    Parameters
    ----------
    X : array_like (m, n), or sparse
    theta : array_like (n, k), or (n + 1, k) with the bias last if ``fit_intercept``
    backend, n_threads
        As in `fastsoftmax.Objective`.

    Returns
    -------
    ndarray (m, k), float32 for float32 X, else float64

    Raises
    ------
    TypeError, ValueError
        For input of a wrong type or shape, or NaN or infinity in X or theta.
    """
    theta = np.asarray(theta)
    if theta.ndim != 2 or 0 in theta.shape:
        raise ValueError(f"theta has shape {theta.shape}; (features, classes) is wanted")
    array = validation.check_X(X)
    checked = validation.check_theta(theta, array.shape[1], theta.shape[1], fit_intercept)
    weights, bias = (checked[:-1], checked[-1]) if fit_intercept else (checked, None)
    return _Prediction(array, weights, bias, backend, n_threads).whole("proba")


def _softmax(H: np.ndarray) -> np.ndarray:
    """`softmax` of checked input. A difference that overflows is -inf, and its exp 0 as it should be."""
    with np.errstate(over="ignore", under="ignore"):
        Z: np.ndarray = np.exp(H - H.max(axis=1, keepdims=True))
        Z /= Z.sum(axis=1, keepdims=True)
    return Z


def _largest(H: np.ndarray, count: int) -> np.ndarray:
    """Columns of the ``count`` largest of each row, falling; of equals, the first first."""
    k = H.shape[1]
    if count <= math.log2(k):  # then looking for one maximum after the other is less work than sorting
        return _largest_by_turns(H.copy(), count)
    order: np.ndarray = np.argsort(-H, axis=1, kind="stable")
    return order[:, :count]


def _largest_by_turns(H: np.ndarray, count: int) -> np.ndarray:
    """`_largest` by ``count`` searches; overwrites H."""
    order = np.empty((len(H), count), np.int64)
    for turn in range(count):
        order[:, turn] = H.argmax(axis=1)
        np.put_along_axis(H, order[:, [turn]], -np.inf, axis=1)
    return order
