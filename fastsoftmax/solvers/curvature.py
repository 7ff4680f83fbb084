r"""The curvature at one theta, in NumPy: the rows' weights for a closer metric, and the exact Hessian.

Per row the Hessian is (diag(z) - z z^T) (x) x x^T, so that over all rows it is k (k + 1) / 2 weighted Gram
matrices, the one of classes c and d with the weights w z_c ([c = d] - z_d). That costs (n + 1)(k + 1) / 4
times the arithmetic of a loss and gradient: cheap where n k is at most a few thousand. Where it is
not, one Gram matrix stands for all, each row with the mean of its curvatures over the k - 1 directions
that matter (all classes moving alike do not): sum_c z_c (1 - z_c) / (k - 1). Boehning's bound has
1/2 for each row; rows that are classified without doubt have nearly none.

Both read X once, by blocks that fit the cache, and count as one pass. Sparse X has the second kind only, its diagonal:
the kernels' own probabilities weigh the rows of their own diagonal Gram.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..kernels import Rows
from .metric import CHOLESKY_MAX, Metric, Moments, is_sparse

# Bytes of a block of X and of its logits in float64.
BLOCK_BYTES = 4 << 20


def can_walk(obj: Any) -> bool:
    """Whether an objective has what this file needs beyond the gradient: its rows."""
    return hasattr(obj, "source") and hasattr(obj, "weight_sum")


def has_hessian(obj: Any) -> bool:
    """Whether `hessian` can be had: not of sparse X, whose Gram matrices are dense."""
    return can_walk(obj) and not is_sparse(obj)


def _blocks(obj: Any, theta: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """X, the weights over their sum, and Z of each block of rows."""
    from scipy.special import softmax

    obj.n_passes += 1
    n = obj.source.shape[1]
    rows = max(64, BLOCK_BYTES // (8 * (n + theta.shape[1])))
    for part in obj.source.chunks(rows):
        H = part.X @ theta[:n] + (theta[n] if obj.fit_intercept else 0.0)
        w = np.ones(len(H)) if part.w is None else part.w
        yield part.X, w / obj.weight_sum, softmax(H, axis=1)


def metric_at(obj: Any, theta: np.ndarray) -> Metric:
    """The metric in which each row weighs by its curvature at theta."""
    if is_sparse(obj):
        return _sparse_metric_at(obj, theta)
    n = obj.source.shape[1]
    full = n <= CHOLESKY_MAX
    second, first, total = np.zeros((n, n) if full else n), np.zeros(n), 0.0
    for X, w, Z in _blocks(obj, theta):
        u = w * _curvatures(Z)
        weighted = u[:, None] * X
        second += weighted.T @ X if full else np.einsum("ij,ij->j", weighted, X)
        first += weighted.sum(axis=0)
        total += float(u.sum())
    return _weighted_metric(obj, second, first, total)


def _sparse_metric_at(obj: Any, theta: np.ndarray) -> Metric:
    total = 0.0

    def weigh(rows: Rows, Z: np.ndarray) -> np.ndarray:
        nonlocal total
        u: np.ndarray = _curvatures(Z) if rows.w is None else rows.w * _curvatures(Z)
        total += float(u.sum()) / obj.weight_sum
        return u

    second, first = obj.gram_diagonal_at(theta, weigh)
    return _weighted_metric(obj, second, first, total)


def _curvatures(Z: np.ndarray) -> np.ndarray:
    """Mean curvature of each row over the k - 1 directions that matter."""
    out: np.ndarray = np.einsum("ic,ic->i", Z, 1.0 - Z, dtype=np.float64) / (Z.shape[1] - 1)
    return out


def _weighted_metric(obj: Any, second: np.ndarray, first: np.ndarray, total: float) -> Metric:
    """The metric of rows weighted by curvatures of that sum."""
    total = max(total, np.finfo(np.float64).tiny)
    eps = float(np.finfo(np.float64).eps)
    moments = Moments(second / total, first / total if obj.fit_intercept else None, eps)
    return Metric(moments, obj.l2, curvature=total)


def hessian(obj: Any, theta: np.ndarray, metric: Metric) -> np.ndarray:
    """The Hessian with respect to phi, theta = S phi, class by class: (k rows, k rows).

    The loss does not feel a shift of all classes alike; a unit of curvature is added there, so that the matrix
    can be factored. The penalty of such a shift is left out of it.
    """
    rows, k = obj.shape
    H = np.zeros((k, rows, k, rows))
    for X, w, Z in _blocks(obj, theta):
        A = metric.design(X)
        for c in range(k):
            weighted = (w * Z[:, c])[:, None] * A
            for d in range(c, k):
                share = (1.0 - Z[:, c] if c == d else -Z[:, d])[:, None]
                H[c, :, d] += weighted.T @ (share * A)
    penalty = metric.penalty()
    for c in range(k):
        H[c, :, c] += penalty
        for d in range(c):
            H[c, :, d] = H[d, :, c].T
    diagonal = np.einsum("cjdj->jcd", H)
    diagonal += 1.0 / k
    return H.reshape(k * rows, k * rows)
