"""Gram matrices of rows that weigh by their curvature: sums over the rows of u x x^T, u x and u, or of the diagonals.

u is a row's weight, as a share of all weights, times its mean curvature over k - 1 directions,
sum_c z_c (1 - z_c) / (k - 1); the direction that moves all classes alike has none.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...data.bfloat16 import as_numbers
from ...kernels.contract import Parameters, Rows, Sums
from ..passes import DensePasses, SparsePasses
from ..problem import CurvatureSums
from .facts import Facts

# Bytes of the rows, and their logits in float64, that NumPy works on at a time.
BLOCK_BYTES = 4 << 20
# Bytes of the probabilities of one chunk of sparse rows.
PROBABILITY_BYTES = 16 << 20


def curvatures(Z: np.ndarray) -> np.ndarray:
    """Mean curvature of each row, from its probabilities."""
    out: np.ndarray = np.einsum("ic,ic->i", Z, 1 - Z, dtype=np.float64) / (Z.shape[1] - 1)
    return out


def dense_gram(obj: Facts, params: Parameters) -> CurvatureSums:
    """The matrices, by the kernels. NumPy took 1.0 s for 60k x 784, as long as 35 passes."""
    passes, kernels, dtype = obj._passes, obj._kernels, obj.dtype
    assert isinstance(passes, DensePasses)
    n, k = params.theta.shape
    plan, predicting = passes.plan(n, strategy="row-parallel"), passes.plan(k, gradient=False)
    sums = Sums.zeros(plan.slabs, n, n, 1.0)
    ignored = Sums.zeros(predicting.slabs, k, n, 1.0, grad=False)
    total = 0.0
    for part in obj.source.chunks(plan.chunk):
        Z = np.empty((len(part.X), k), dtype)
        kernels.predict(part, params, predicting, "proba", Z, ignored, min(obj.n_threads, predicting.threads))
        u = curvatures(Z) * (1.0 if part.w is None else part.w) / obj.weight_sum
        kernels.gram(Rows(part.X, w=u, start=part.start), plan, sums, min(obj.n_threads, plan.threads))
        total += float(u.sum())
    second, first = sums.total()
    return second, first, total


def dense_diagonal(obj: Facts, theta: np.ndarray) -> CurvatureSums:
    """The diagonals, by NumPy: X of so many features has few rows."""
    from scipy.special import softmax

    n = obj.n_features
    second, first, total = np.zeros(n), np.zeros(n), 0.0
    for part in obj.source.chunks(max(64, BLOCK_BYTES // (8 * (n + obj.n_classes)))):
        X = as_numbers(part.X)
        H = X @ theta[:n] + (theta[n] if obj.fit_intercept else 0.0)
        w = np.ones(len(H)) if part.w is None else part.w
        u = w / obj.weight_sum * curvatures(softmax(H, axis=1))
        weighted = u[:, None] * X
        second += np.einsum("ij,ij->j", weighted, X)
        first += weighted.sum(axis=0)
        total += float(u.sum())
    return second, first, total


def sparse_diagonal(obj: Facts, params: Parameters) -> CurvatureSums:
    """The diagonals of sparse X, by the kernels: their probabilities weigh the rows of their Gram diagonal."""
    passes, k, total = obj._passes, obj.n_classes, 0.0
    assert isinstance(passes, SparsePasses)
    predicting, plan = passes.plan(k, gradient=False), passes.plan(2)
    threads = min(obj.n_threads, predicting.threads)

    def weighted(rows: Rows) -> Rows:
        nonlocal total
        Z = np.empty((len(rows.X), k), obj.dtype)
        sums = passes.sums(predicting, k, 1.0, grad=False)
        obj._kernels.predict(rows, params, predicting, "proba", Z, sums, threads)
        u: np.ndarray = curvatures(Z) if rows.w is None else rows.w * curvatures(Z)
        total += float(u.sum()) / obj.weight_sum
        return replace(rows, w=u)

    few = max(plan.block, PROBABILITY_BYTES // (k * obj.dtype.itemsize))
    by_few = replace(plan, chunk=min(plan.chunk, few))
    second, first = passes.weighted_diagonal(by_few, 1.0 / obj.weight_sum, obj.n_threads, weighted)
    return second, first, total
