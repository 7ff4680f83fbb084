r"""The Hessian at one theta: exact (`hessian`), or in the form of a metric with curvature weights (`metric_at`).

*Exact.* Per row the Hessian is (diag(z) - z z^T) (x) x x^T. Over all rows it consists of k (k - 1) / 2 weighted Gram
matrices, one for each pair of classes c and d, with the weights w z_c z_d: block (c, d) is minus that matrix, and block
(c, c) the sum of the matrices of all pairs with c. The kernels compute them in one fused pass (200k x 54, k = 7: 0.32
s, NumPy 3.0 s) over rows in the coordinates of a metric, since badly scaled or correlated columns of X itself would
cost half of the digits. That is (n + 1)(k - 1) / 8 times the arithmetic of a loss and gradient: cheap where n k is at
most a few thousand.

*As a metric.* Where the exact Hessian is too costly, one Gram matrix stands for all classes. Each row weighs by its
mean curvature over k - 1 directions, sum_c z_c (1 - z_c) / (k - 1); the direction that moves all classes alike has
none. Böhning's bound takes 1/2 for every row, whereas rows that are classified without doubt have nearly no curvature.

Either reads X once and counts as one pass. For sparse X there is only the second, as a diagonal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from ...kernels.backends import select
from ...kernels.contract import Parameters, Rows, Sums
from ...kernels.plan import THREAD_FLOPS, make_hessian_plan
from ...objective.objective import Objective, weighted_by_mass
from .metric import CHOLESKY_MAX, Metric, Moments, is_sparse

# Bytes of the rows, and their logits in float64, that NumPy works on at a time.
BLOCK_BYTES = 4 << 20
# Largest design matrix, in bytes, that is kept from one Hessian to the next. 50,000 x 10, k = 3: computing it takes 7
# of the 10 ms of a Hessian.
DESIGN_BYTES = 64 << 20


def can_walk(obj: Any) -> bool:
    """Whether an objective gives access to its rows, which this file needs."""
    return hasattr(obj, "source") and hasattr(obj, "weight_sum")


def has_hessian(obj: Any) -> bool:
    """Whether `hessian` can be computed: not for sparse X, since its Gram matrices are dense."""
    return can_walk(obj) and not is_sparse(obj)


def has_own_passes(obj: Any) -> bool:
    """Whether passes are those of `Objective`. A subclass, or an objective whose passes are wrapped, may compute
    something that has another Hessian."""
    return getattr(type(obj), "value_and_grad", None) is Objective.value_and_grad and "value_and_grad" not in vars(obj)


def _blocks(obj: Any, theta: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For each block of rows: X, the weights divided by their total, and the probabilities Z."""
    from scipy.special import softmax

    obj.n_passes += 1
    n = obj.source.shape[1]
    rows = max(64, BLOCK_BYTES // (8 * (n + theta.shape[1])))
    for part in obj.source.chunks(rows):
        H = part.X @ theta[:n] + (theta[n] if obj.fit_intercept else 0.0)
        w = np.ones(len(H)) if part.w is None else part.w
        yield part.X, w / obj.weight_sum, softmax(H, axis=1)


def metric_at(obj: Any, theta: np.ndarray) -> Metric:
    """The curvature metric: each row weighs by its mean curvature at theta."""
    add_up = _sparse_squares if is_sparse(obj) else _row_gram if obj.source.shape[1] <= CHOLESKY_MAX else _row_squares
    second, first, total, eps = add_up(obj, theta)
    total = max(total, np.finfo(np.float64).tiny)
    moments = Moments(second / total, first / total if obj.fit_intercept else None, eps)
    return Metric(moments, obj.l2, curvature=total)


def _curvatures(Z: np.ndarray) -> np.ndarray:
    """Mean curvature of each row, as this file's head defines it."""
    out: np.ndarray = np.einsum("ic,ic->i", Z, 1 - Z, dtype=np.float64) / (Z.shape[1] - 1)
    return out


def _sparse_squares(obj: Any, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """`_row_squares` for sparse X, by the kernels: their probabilities weigh the rows of their Gram diagonal."""
    total = 0.0

    def weigh(rows: Rows, Z: np.ndarray) -> np.ndarray:
        nonlocal total
        u: np.ndarray = _curvatures(Z) if rows.w is None else rows.w * _curvatures(Z)
        total += float(u.sum()) / obj.weight_sum
        return u

    second, first = obj.gram_diagonal_at(theta, weigh)
    return second, first, total, float(np.finfo(np.float64).eps)


def _row_squares(obj: Any, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Sums over the rows of u x_j^2, u x_j and u, where u is a row's curvature times its weight; and the rounding of
    one number."""
    n = obj.source.shape[1]
    second, first, total = np.zeros(n), np.zeros(n), 0.0
    for X, w, Z in _blocks(obj, theta):
        u = w * _curvatures(Z)
        weighted = u[:, None] * X
        second += np.einsum("ij,ij->j", weighted, X)
        first += weighted.sum(axis=0)
        total += float(u.sum())
    return second, first, total, float(np.finfo(np.float64).eps)


def _row_gram(obj: Any, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The same with sums of u x x^T, by the kernels. NumPy took 1.0 s for 60k x 784, as long as 35 passes."""
    n, k, dtype = obj.source.shape[1], theta.shape[1], obj.source.dtype
    module = select(obj.backend)[1]
    plan, predicting = obj.plan_of(n, strategy="row-parallel"), obj.plan_of(k, gradient=False)
    sums = Sums.zeros(plan.slabs, n, n, 1.0)
    ignored = Sums.zeros(predicting.slabs, k, n, 1.0, grad=False)
    typed = np.ascontiguousarray(theta, dtype=dtype)
    params = Parameters(typed[:n], typed[n] if obj.fit_intercept else None)
    obj.n_passes += 1
    total = 0.0
    for part in obj.source.chunks(plan.chunk):
        Z = np.empty((len(part.X), k), dtype)
        module.predict(part, params, predicting, "proba", Z, ignored, min(obj.n_threads, predicting.threads))
        u = _curvatures(Z) * (1.0 if part.w is None else part.w) / obj.weight_sum
        module.gram(Rows(part.X, w=u, start=part.start), plan, sums, min(obj.n_threads, plan.threads))
        total += float(u.sum())
    second, first = sums.total()
    return second, first, total, float(np.finfo(dtype).eps)


@lru_cache(4)
def _pairs(k: int) -> tuple[np.ndarray, np.ndarray]:
    """The lower and the higher class of each pair, in the kernels' order."""
    low, high = np.triu_indices(k, 1)
    return low, high


class Design:
    """The design matrix: the rows of X in the coordinates of a metric, for all Hessians of a run.

    It is kept if it takes at most `DESIGN_BYTES`, else computed a chunk at a time whenever it is read.

    Attributes
    ----------
    longest : float
        The largest norm of a row of positive weight; complete once `chunks` has been read to the end.
    """

    def __init__(self, obj: Any, metric: Metric) -> None:
        self.obj, self.metric = obj, metric
        rows, k = obj.shape
        m = obj.source.shape[0]
        plan = make_hessian_plan(m, rows, k)
        # The plan does not know that the work goes with the pairs of classes: threads for that much arithmetic.
        flops = min(m, plan.chunk) * rows * rows * k * (k - 1) / 2
        self.plan = replace(plan, threads=max(plan.threads, int(flops / THREAD_FLOPS)))
        self.penalty = metric.penalty()
        self.pairs = _pairs(k)
        # Masks of a matrix: the upper triangle with the diagonal, which is what the kernels compute, and the rest.
        self.above = np.tri(rows).T
        self.below = 1.0 - self.above
        # Columns that S leaves out.
        self.left_out = np.flatnonzero(metric.scale == 0)
        self.longest = 0.0
        self._keeps = 8 * m * rows <= DESIGN_BYTES
        self._kept: list[Rows] = []

    def chunks(self) -> Iterator[Rows]:
        if self._kept:
            yield from self._kept
            return
        kept = []
        for part in self.obj.source.chunks(self.plan.chunk):
            rows = Rows(self.metric.design(part.X), w=weighted_by_mass(part).w, start=part.start)
            self._measure(rows)
            if self._keeps:
                kept.append(rows)
            yield rows
        self._kept = kept

    def range(self, phi: np.ndarray) -> float:
        """The largest range over the classes, maximum minus minimum, of the logits that phi gives a row of positive
        weight. A pass over X."""
        self.obj.n_passes += 1
        largest = 0.0
        for rows in self.chunks():
            H = phi.T @ np.asarray(rows.X).T
            ranges = H.max(axis=0) - H.min(axis=0)
            largest = max(largest, float(np.max(ranges, where=True if rows.w is None else rows.w > 0, initial=0.0)))
        return largest

    def _measure(self, rows: Rows) -> None:
        X = np.asarray(rows.X)
        if len(self.left_out):
            X = X.copy()
            X[:, self.left_out] = 0.0
        squares = np.einsum("ij,ij->i", X, X)
        if rows.w is not None:
            squares = squares[rows.w > 0]
        self.longest = max(self.longest, float(np.sqrt(squares.max(initial=0.0))))


def _pair_grams(obj: Any, theta: np.ndarray, design: Design) -> np.ndarray:
    """The weighted Gram matrices of all pairs of classes: (pairs, rows, rows), upper triangles. One pass."""
    rows, k = obj.shape
    plan, metric = design.plan, design.metric
    pairs = k * (k - 1) // 2
    sums = Sums(np.zeros(plan.slabs), np.zeros((plan.slabs, pairs * rows, rows)), None, 1.0 / obj.weight_sum)
    params = Parameters(np.ascontiguousarray(metric.coordinates(theta)))
    pair_grams = select(obj.backend)[1].hessian
    obj.n_passes += 1
    for part in design.chunks():
        pair_grams(part, params, plan, sums, min(obj.n_threads, plan.threads))
    assert sums.grad is not None
    sums.scratch = None
    grams: np.ndarray = np.add.reduce(sums.grad, axis=0).reshape(pairs, rows, rows)
    grams *= sums.scale
    if len(design.left_out):
        grams[:, design.left_out] = 0.0
        grams[:, :, design.left_out] = 0.0
    return grams


def hessian(obj: Any, theta: np.ndarray, design: Design) -> np.ndarray:
    """The Hessian with respect to phi, theta = S phi, class by class: (k rows, k rows).

    The loss has no curvature along a shift of all classes alike. A curvature of 1 stands there instead, in place of
    the penalty's too, so that the matrix can be factored.
    """
    rows, k = obj.shape
    grams = _pair_grams(obj, theta, design)
    grams *= design.above
    grams += grams.transpose(0, 2, 1) * design.below
    np.negative(grams, out=grams)
    H = np.zeros((k, rows, k, rows))
    blocks, (c, d) = H.transpose(0, 2, 1, 3), design.pairs
    blocks[c, d] = blocks[d, c] = grams
    np.subtract(design.penalty, np.add.reduce(blocks, axis=1), out=np.einsum("ccij->cij", blocks))
    diagonal = np.einsum("cjdj->jcd", H)
    diagonal += 1.0 / k
    return H.reshape(k * rows, k * rows)
