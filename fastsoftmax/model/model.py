"""`Model`, fitted parameters that predict, and the functions `softmax` and `predict_proba`.

`file` writes a model to a file and reads it, `export` hands it to other libraries, and `prediction` is the pass over X.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..data.arrays import as_array
from ..data.bfloat16 import as_numbers
from ..data.files import kind_to_write, write_chunks
from ..data.frames import column_names, columns_in_order, is_frame, opened
from ..data.sources.scan import Scan
from ..data.validation_labels import check_labels
from ..kernels.contract import PREDICTIONS
from . import export
from .file import read, write
from .pieces import columns_of, rows_at_once, softmax_of_rows, top_pieces
from .prediction import Prediction


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A softmax regression model: logits H = X theta + bias, one column for each class, and probabilities softmax(H).

    Every method takes X (m, n) as `fastsoftmax.Objective` does: dense in any memory layout, float32 and float64 without
    a copy, sparse, or what `fastsoftmax.scan` returns; and its keywords ``backend`` and ``n_threads``. Results have the
    dtype of the computation: float32 for float32, float16, bfloat16, bool and 8- and 16-bit integer X, else float64.
    The methods raise ValueError for X of another shape and for NaN or infinity in X, and FloatingPointError if the
    logits of finite X overflow.

    X may also be a data frame: of pandas, polars, pyarrow or any library that hands over Arrow data, with columns of
    numbers and booleans. If the model has ``feature_names``, columns are found by their names, whatever their order; a
    name that is missing, unknown or given twice is a ValueError. Columns are taken by position where the model has no
    names, and where the frame has none but only numbers 0, 1, 2, ...

    Parameters
    ----------
    theta : array_like (n, k)
    bias : array_like (k,), optional
    classes : array_like (k,), optional
        The label of each column of theta; 0..k-1 unless given.
    feature_names : sequence of str (n,), optional
    metadata : dict of str to str, optional
        Anything worth keeping with the model; saved with it.

    Raises
    ------
    TypeError, ValueError
        For parts of a wrong type, of shapes that do not fit together, or not finite.

    Examples
    --------
    >>> from fastsoftmax import Model
    >>> model = Model([[1.0, -1.0]], classes=["no", "yes"])
    >>> model.predict([[2.0], [-2.0]])
    array(['no', 'yes'], dtype='<U3')
    >>> model.predict_proba([[0.0]])
    array([[0.5, 0.5]])
    """

    theta: np.ndarray
    bias: np.ndarray | None = None
    classes: np.ndarray = None  # type: ignore[assignment]  # an array once made
    feature_names: tuple[str, ...] | None = None
    metadata: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        theta = as_array(self.theta, "theta")
        if theta.ndim != 2 or 0 in theta.shape:
            raise ValueError(f"theta has shape {theta.shape}; (features, classes) is wanted")
        n, k = theta.shape
        classes = np.arange(k) if self.classes is None else _labels(self.classes)
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
        """Label of the most probable class of each row, (m,); of equally probable ones the first."""
        return np.take(self.classes, self._run(X, "label", backend, n_threads))

    def predict_proba(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """Probability of each class, Z = softmax(H), (m, k): rows sum to one."""
        return self._run(X, "proba", backend, n_threads)

    def predict_log_proba(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """Logarithm of each probability, (m, k), computed from the logits: right where the probability rounds to 0."""
        return self._run(X, "log_proba", backend, n_threads)

    def decision_function(self, X: ArrayLike, *, backend: str = "auto", n_threads: int | None = None) -> np.ndarray:
        """Logits H = X theta + bias, (m, k)."""
        return self._run(X, "logits", backend, n_threads)

    def top_k(
        self, X: ArrayLike, count: int, *, backend: str = "auto", n_threads: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``count`` most probable classes of each row and their probabilities, the most probable first.

        Of equally probable classes the first comes first. Memory beside what is returned does not grow with m.

        Returns
        -------
        labels : ndarray (m, count)
        probabilities : ndarray (m, count)

        Raises
        ------
        TypeError, ValueError
            If ``count`` is no whole number, below 1, or above the number of classes.
        """
        self._check_top(count)
        work = self._prediction(X, backend, n_threads)
        order = np.empty((work.m, count), np.int64)
        probabilities = np.empty((work.m, count), work.source.dtype)
        for rows, best, proba in top_pieces(work, count):
            order[rows], probabilities[rows] = best, proba
        return np.take(self.classes, order), probabilities

    def write_predictions(
        self,
        path: str | PathLike[str],
        X: ArrayLike | Scan,
        *,
        proba: bool = False,
        top: int | None = None,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> int:
        """Predict some rows at a time, and write the predictions to a file, which gets its name when it is complete.

        Parameters
        ----------
        path : path
            .csv or .parquet for a table, .npy for one array.
        X : array_like (m, n), or what `fastsoftmax.scan` returns
        proba : bool
            Whether to write the probability of each class, columns "p(label)", beside the column "prediction".
        top : int, optional
            So many most probable classes instead, "top_1", "p_1", "top_2" and so on.

        Returns
        -------
        int
            Number of rows.
        """
        if top is not None:
            self._check_top(top)
        one_array = kind_to_write(Path(path)) == "npy"
        work = self._prediction(X, backend, n_threads)
        write_chunks(Path(path), columns_of(work, self.classes, proba, top, one_array), work.m)
        return int(work.m)

    def _check_top(self, count: int) -> None:
        if validation.check_count(count, "count") > self.n_classes:
            raise ValueError(f"count is {count}; the model has {self.n_classes} classes")

    def predict_chunks(
        self, X: ArrayLike | Scan, kind: str = "label", *, backend: str = "auto", n_threads: int | None = None
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Predictions of some rows at a time, each with the slice of rows that it belongs to.

        Parameters
        ----------
        X : array_like (m, n), or what `fastsoftmax.scan` returns
        kind : {"label", "proba", "log_proba", "logits"}
            What `predict`, `predict_proba`, `predict_log_proba` and `decision_function` return.
        """
        if kind not in PREDICTIONS:
            raise ValueError(f"kind must be one of {', '.join(map(repr, PREDICTIONS))}; got {kind!r}")
        work = self._prediction(X, backend, n_threads)
        for rows, out in work.pieces(rows_at_once(work.k), kind):
            yield rows, np.take(self.classes, out) if kind == "label" else out

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to a ``.npz`` or, with the safetensors package, a ``.safetensors`` file.

        A file has theta and bias as arrays and a JSON header with all else: classes, feature names, metadata, versions.
        A SHA-256 checksum of these shows damage. Nothing is pickled, so that loading a file runs no code of it.

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
            If the file is damaged, is something else, or has a newer format version. The message has the path and what
            is wrong.
        """
        path = Path(path)
        arrays, classes, names, metadata = read(path)
        try:
            return cls(arrays["theta"], arrays.get("bias"), classes, None if names is None else tuple(names), metadata)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a sound fastsoftmax model: {error}") from error

    def to_sklearn(self) -> Any:
        """A fitted LogisticRegression of scikit-learn that predicts the same; for two classes it has one row."""
        return export.to_sklearn(self)

    @classmethod
    def from_sklearn(cls, estimator: Any) -> Model:
        """The model of a fitted LogisticRegression or LogisticRegressionCV of scikit-learn.

        Raises
        ------
        TypeError, ValueError
            For another estimator, one that is not fitted, or one of a model for each of several classes.
        """
        return cls(**export.parts_of_estimator(estimator))

    def to_torch(self) -> Any:
        """An ``nn.Linear`` of PyTorch from X (.., n) to the logits (.., k), of theta's dtype, its parameters copies."""
        return export.to_torch(self)

    def to_onnx(self, path: str | PathLike[str]) -> None:
        """Write an ONNX file that any runtime for it predicts with, from "X" (rows, n) of theta's dtype.

        Its outputs are "label" (rows,), int64 or text, and "probabilities" (rows, k). Feature names, as a JSON list,
        and metadata are in the file's metadata. Needs the onnx package.

        Raises
        ------
        ValueError
            For another suffix than ``.onnx``, or classes that ONNX does not have.
        OSError
            Where nothing can be written; a file that was there before stays as it was.
        """
        export.to_onnx(self, path)

    def _run(self, X: ArrayLike, kind: str, backend: str, n_threads: int | None) -> np.ndarray:
        return self._prediction(X, backend, n_threads).whole(kind)

    def _prediction(self, X: ArrayLike | Scan, backend: str, n_threads: int | None) -> Prediction:
        """The pass over X. Where the columns of a frame have another order, the rows of theta are brought into it:
        there are fewer of them than of the frame."""
        order = None
        if isinstance(X, Scan):
            if self.feature_names is not None and X.is_named:
                order = columns_in_order(X.feature_names, self.feature_names)
        elif self.feature_names is not None and is_frame(X):
            X = opened(X)
            order = columns_in_order(column_names(X), self.feature_names)
        theta = self.theta if order is None else self.theta[order]
        return Prediction(X if isinstance(X, Scan) else validation.check_X(X), theta, self.bias, backend, n_threads)


def softmax(H: ArrayLike) -> np.ndarray:
    """Probabilities of logits: Z_ic = exp(H_ic) / sum_d exp(H_id), for any finite H without overflow.

    Parameters
    ----------
    H : array_like (m, k)
        Logits.

    Returns
    -------
    ndarray (m, k)
        Rows sum to one. float32 for float32, float16, bfloat16, bool and 8- and 16-bit integer H, else float64.

    Raises
    ------
    TypeError, ValueError
        If H is not a 2-D real array, is empty, or holds NaN or infinity; the message has the row and column.

    Examples
    --------
    >>> from fastsoftmax import softmax
    >>> softmax([[0.0, 0.0], [1e308, -1e308]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    array = as_numbers(validation.check_dense(H, "H"))
    array = array.astype(validation.compute_dtype(array.dtype), copy=False)
    place = validation.nonfinite_row(array)
    if place is not None:
        row, column = place
        raise ValueError(f"H must be finite; row {row}, column {column} holds {array[row, column]} (NaN or infinity)")
    return softmax_of_rows(array)


def predict_proba(
    X: ArrayLike,
    theta: ArrayLike,
    *,
    fit_intercept: bool = False,
    backend: str = "auto",
    n_threads: int | None = None,
) -> np.ndarray:
    """Probability of each class for each row, softmax(X theta), in one pass over X.

    The result is the only array of m x k numbers.

    Parameters
    ----------
    X : array_like (m, n), or sparse array or matrix of SciPy
    theta : array_like (n, k), or (n + 1, k) with the bias last if ``fit_intercept``
    backend, n_threads
        As in `fastsoftmax.Objective`.

    Returns
    -------
    ndarray (m, k)
        float32 for float32, float16, bfloat16, bool and 8- and 16-bit integer X, else float64.

    Raises
    ------
    TypeError, ValueError
        For input of a wrong type or shape, or NaN or infinity in X or theta.
    FloatingPointError
        If the logits of finite X and theta overflow.
    ImportError
        If the backend asked for cannot be loaded.

    Examples
    --------
    >>> import fastsoftmax
    >>> fastsoftmax.predict_proba([[0.0], [1000.0]], [[1.0, -1.0]])
    array([[0.5, 0.5],
           [1. , 0. ]])
    """
    theta = as_array(theta, "theta")
    if theta.ndim != 2 or 0 in theta.shape:
        raise ValueError(f"theta has shape {theta.shape}; (features, classes) is wanted")
    array = validation.check_X(X)
    checked = validation.check_theta(theta, array.shape[1], theta.shape[1], fit_intercept)
    weights, bias = (checked[:-1], checked[-1]) if fit_intercept else (checked, None)
    return Prediction(array, weights, bias, backend, n_threads).whole("proba")


def _labels(classes: ArrayLike) -> np.ndarray:
    """Classes as an array: of objects, which files take, where NumPy has text of variable width."""
    array = classes if isinstance(classes, np.ndarray) else np.asarray(check_labels(classes, "classes"))
    return array.astype(object) if array.dtype.kind == "T" else array
