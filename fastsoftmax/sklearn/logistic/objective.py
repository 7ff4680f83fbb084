r"""scikit-learn's objective as one of ours.

scikit-learn minimizes, with p the share of l1 in the penalty,

.. math:: C \sum_i w_i \, \text{loss}_i + (1 - p) \tfrac12 \|W\|^2 + p \|W\|_1

which, divided by C sum(w), is the objective of `Objective` with l2 = (1 - p) / (C sum(w)) and l1 = p / (C sum(w)). Of
two classes scikit-learn has one row of coefficients, the difference of two: those of a softmax at its optimum are
opposite, +W/2 and -W/2, whose squares add up to half of W's. So l2 is twice as large there. The sum of absolute values
is that of W, whatever the split. A pass for two costs 1.0 to 1.2 times as much as one for a single column (300,000 x 4
to 30, and 100,000 x 100, in both dtypes, AMD Zen 5), so that a loss of its own for two classes would save next to
nothing.

liblinear also penalizes the intercept: there X has a last column of ``intercept_scaling``, and no bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import hstack, issparse

from ...objective.objective import Objective
from ...objective.problem import ProblemWithRows
from ..base import encode
from . import host
from .call import Call

# Sparse X with no more rows x features is fitted as dense X, half a megabyte of float64: as fast, and with the same
# coefficients to the last bit, as scikit-learn's are. Dense and sparse kernels stop at points that differ by 1e-6.
SMALL = 1 << 16
# Passes over dense X of fewer operations, half a millisecond, take one thread. Programs predict between two fits, and
# threads of BLAS spin for 0.1 s after that: on two cores a pass of 0.3 ms on two threads then takes 4 or 8 ms. Fits of
# 20,000 x 50, k = 2, on two threads and on one: 99 and 29 ms after scikit-learn's, 16 and 22 ms with nothing else;
# 50,000 x 30: 60 and 18 ms, 9 and 13 ms.
ONE_THREAD = 2e7
# Softmax costs as much as so many features.
SOFTMAX = 10


@dataclass(frozen=True, eq=False)
class Logistic:
    """What a `Call` asks for, in our terms.

    Attributes
    ----------
    obj : ProblemWithRows
        Its l2 is set by `set_C`.
    weight_sum : float
        Sum of the weights of the rows.
    l1_share : float
        p of this file's head.
    column : float or None
        The constant column of X, which stands for an intercept that is penalized.
    """

    obj: ProblemWithRows
    weight_sum: float
    l1_share: float
    column: float | None = None

    @property
    def two(self) -> bool:
        return self.obj.n_classes == 2

    def set_C(self, C: float) -> float:
        """Set the objective's l2 and return l1."""
        strength = 1.0 / (C * self.weight_sum)
        self.obj.l2 = (1.0 - self.l1_share) * strength * (2.0 if self.two else 1.0)
        return self.l1_share * strength

    def to_coef(self, theta: np.ndarray) -> np.ndarray:
        """Coefficients with the intercept last, as scikit-learn has them: (n [+ 1],) of two classes, else (k, n [+ 1]).

        The sum over the classes of what no penalty holds is arbitrary, and 0 there."""
        if self.two:
            difference: np.ndarray = theta[:, 1] - theta[:, 0]
            if self.column is not None:
                difference[-1] *= self.column
            return difference
        n = self.obj.n_features if self.l1_share else 0
        theta = theta.copy()
        theta[n:] -= theta[n:].mean(axis=1, keepdims=True)
        return theta.T

    def to_theta(self, coef: np.ndarray | None) -> np.ndarray:
        """Our parameters from coefficients to start from; zeros for None.

        Raises
        ------
        ValueError
            For another shape.
        """
        if coef is None:
            return np.zeros(self.obj.shape)
        rows, k = self.obj.shape
        coef = np.asarray(coef, np.float64)
        if self.two and coef.shape in ((rows,), (1, rows)):
            return np.outer(coef.ravel(), [-0.5, 0.5])
        if self.two or coef.shape != (k, rows):
            wanted = f"({rows},) or (1, {rows})" if self.two else f"({k}, {rows})"
            raise ValueError(f"Initialization coef is of shape {coef.shape}, expected shape {wanted}")
        return np.ascontiguousarray(coef.T)

    def to_gradient(self, grad: np.ndarray) -> np.ndarray:
        """The gradient with respect to scikit-learn's coefficients, in their shape, from that of theta."""
        if self.two:
            grad = 0.5 * (grad[:, 1:] - grad[:, :1])
        return grad.T

    def slope(self, theta: np.ndarray, grad: np.ndarray, l1: float) -> float:
        """The largest entry of the gradient with respect to scikit-learn's coefficients, with l1 of the shortest
        subgradient: what its tol is compared to."""
        if self.two:
            theta, grad = theta[:, 1:] - theta[:, :1], 0.5 * (grad[:, 1:] - grad[:, :1])
        if l1:
            n = self.obj.n_features
            held = np.sign(grad) * np.maximum(np.abs(grad) - l1, 0.0)
            shortest = np.where(theta != 0, grad + l1 * np.sign(theta), held)
            grad = np.vstack([shortest[:n], grad[n:]])
        return float(np.abs(grad).max())


@dataclass(frozen=True, eq=False)
class Data:
    """The rows of a call.

    Attributes
    ----------
    X : ndarray or sparse array (m, n)
        With the constant column of an intercept that is penalized.
    codes : int32 ndarray (m,)
        Class numbers.
    k : int
    w : ndarray (m,) or None
        Weights.
    bias : bool
        Whether there is an intercept that is not penalized.
    column : float or None
        As in `Logistic`.
    """

    X: Any
    codes: np.ndarray
    k: int
    w: np.ndarray | None
    bias: bool
    column: float | None

    @property
    def weight_sum(self) -> float:
        return float(len(self.codes)) if self.w is None else float(self.w.sum(dtype=np.float64))


def data(call: Call) -> Data:
    """The rows of a call."""
    y, classes = call.y, np.asarray(call.classes)
    k = 2 if call.pos_class is not None else len(classes)
    if k == 2:
        codes = (y == (classes[1] if call.pos_class is None else call.pos_class)).astype(np.int32)
    else:
        codes = _codes(y, classes)
    X: Any = call.X
    as_dense = issparse(X) and call.X.shape[0] * call.X.shape[1] <= SMALL
    if as_dense:
        X = X.toarray()
    column = None
    if call.solver == "liblinear" and call.fit_intercept:
        X, column = _with_column(X, float(call.intercept_scaling)), float(call.intercept_scaling)
    w = _weights(call, classes, codes)
    return Data(X, codes, k, w, bool(call.fit_intercept) and column is None, column)


def logistic(call: Call, rows: Data | None = None) -> Logistic:
    """The objective of a call; ``rows`` is what `data` returned, if at hand."""
    rows = data(call) if rows is None else rows
    m, n = rows.X.shape
    n_threads = 1 if not issparse(rows.X) and 4.0 * m * (n + SOFTMAX) * rows.k < ONE_THREAD else None
    obj = Objective(rows.X, rows.codes, rows.k, fit_intercept=rows.bias, sample_weight=rows.w, n_threads=n_threads)
    return Logistic(obj, rows.weight_sum, call.l1_share, rows.column)


def _with_column(X: Any, value: float) -> Any:
    """A copy of X with a last column of one value."""
    columns: Any = [X, np.full((X.shape[0], 1), value, X.dtype)]
    return hstack(columns, format="csr") if issparse(X) else np.hstack(columns)


def _codes(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The number of each row's label, of sorted classes that may have more than occur in y."""
    found, codes = encode(y)
    if len(found) == len(classes):
        return codes
    numbers: np.ndarray = np.searchsorted(classes, found).astype(np.int32)
    of_rows: np.ndarray = numbers[codes]
    return of_rows


def _weights(call: Call, classes: np.ndarray, codes: np.ndarray) -> np.ndarray | None:
    """Sample weights times class weights; None for none of them.

    Raises
    ------
    FloatingPointError
        Where they are not finite: a balanced class whose rows have no weight.
    """
    if call.sample_weight is None and call.class_weight is None:
        return None
    w: np.ndarray = host.sample_weights(call.sample_weight, call.X)
    if call.class_weight is None:
        return w
    if call.pos_class is not None and not isinstance(call.class_weight, dict):
        by_class = host.class_weights(call.class_weight, np.arange(2), codes, call.sample_weight)
    else:
        by_class = host.class_weights(call.class_weight, classes, call.y, call.sample_weight)
        codes = _codes(call.y, classes)
    with np.errstate(invalid="ignore"):
        weights: np.ndarray = w * np.asarray(by_class)[codes].astype(w.dtype, copy=False)
    if not np.isfinite(weights).all():
        raise FloatingPointError(f"class_weight={call.class_weight!r} leads to weights that are not finite")
    return weights
