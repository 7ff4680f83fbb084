"""The reference behind the kernel contract: plain NumPy, one slab after the other.

For checking, and for machines where nothing else loads. It forms the logits of a whole slab. Sparse rows
(see `numpy_sparse`) take the same steps: SciPy's arrays multiply as NumPy's do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ... import reference
from ..contract import Csr, Parameters, RowOutputs, Rows, Sums
from ..plan import Plan
from . import sparse

# A kernel raises nothing, warnings included: what is not finite shows in the sums.
_quiet = np.errstate(over="ignore", invalid="ignore")

READS = "fd"
STRATEGIES = ("row-parallel", "feature-parallel")
COLUMN_BYTES = 2048
BYTE_COLUMNS = 0
FLOAT32_SUMS = False


def isa() -> str:
    return "NumPy's own"


def threading() -> str:
    return "BLAS"


@_quiet
def dense_value_and_grad(
    rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    if params.models > 1 or params.left_out is not None:
        return _several(rows, params, plan, sums)
    for p, a, b, X in _pieces(rows, plan, params.theta.shape[1]):
        w = np.ones(b - a) if rows.w is None else rows.w[a:b]
        H = reference.logits(X, params.theta, params.bias)
        t = _targets(rows, a, b, H.shape[1])
        sums.loss[p] += reference.mean_loss_to_targets(H.astype(np.float64, copy=False), t, w * sums.scale)
        D = (t.sum(axis=1, keepdims=True) * reference.softmax(H) - t) * w[:, None]
        if sums.grad is not None:
            _add(sums, p, X, D)
        if outputs is None:
            continue
        if outputs.dX is not None:
            outputs.dX[a:b] = (D * sums.scale) @ params.theta.T
        if outputs.loss is not None:
            outputs.loss[a:b] = reference.losses_to_targets(H, t)
        if outputs.label is not None:
            outputs.label[a:b] = np.argmax(H, axis=1)


def _several(rows: Rows, params: Parameters, plan: Plan, sums: Sums) -> None:
    """Loss and gradient of models side by side."""
    k = params.theta.shape[1] // params.models
    assert rows.y is not None
    for p, a, b, X in _pieces(rows, plan, params.theta.shape[1]):
        t = _targets(rows, a, b, k)
        weights = np.ones(b - a) if rows.w is None else rows.w[a:b]
        H = reference.logits(X, params.theta, params.bias).reshape(b - a, params.models, k)
        D = np.empty_like(H)
        for model in range(params.models):
            H1 = H[:, model]
            w, exact = weights, H1.astype(np.float64, copy=False)
            if params.left_out is not None and rows.fold is not None and params.left_out[model] >= 0:
                left = rows.fold[a:b] == params.left_out[model]
                w = np.where(left, 0.0, weights)
                if sums.held is not None:
                    held = (weights - w) * sums.scale
                    right = np.argmax(H1, axis=1) == rows.y[a:b]
                    sums.held[p, model] += reference.mean_loss_to_targets(exact, t, held), held @ right
            sums.loss[p, model] += reference.mean_loss_to_targets(exact, t, w * sums.scale)
            D[:, model] = (reference.softmax(H1) - t) * w[:, None]
        if sums.grad is not None:
            _add(sums, p, X, D.reshape(b - a, -1))


def _targets(rows: Rows, a: int, b: int, k: int) -> np.ndarray:
    if rows.soft is not None:
        t = rows.soft[a:b]
    else:
        assert rows.y is not None
        t = reference.one_hot(rows.y[a:b], k)
    return t if rows.smoothing == 0 else (1 - rows.smoothing) * t + rows.smoothing / k


@_quiet
def dense_hess_prod(
    rows: Rows, params: Parameters, direction: Parameters, plan: Plan, sums: Sums, n_threads: int
) -> None:
    for p, a, b, X in _pieces(rows, plan, params.theta.shape[1]):
        Z = reference.softmax(reference.logits(X, params.theta, params.bias))
        U = reference.logits(X, direction.theta, direction.bias)
        R = Z * (U - np.sum(Z * U, axis=1, keepdims=True))
        _add(sums, p, X, R if rows.w is None else R * rows.w[a:b, None])


@_quiet
def dense_gram(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    for p, a, b, X in _pieces(rows, plan, rows.X.shape[1]):
        _add(sums, p, X, X if rows.w is None else X * rows.w[a:b, None])


@_quiet
def dense_gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray) -> bool:
    """See `fastsoftmax.kernels.contract`."""
    grad, bias = sums.total()
    n = len(grad)
    out[:n], out[n:] = grad, bias
    finite = bool(np.isfinite(out).all())
    if theta is not None:
        out[:n] += l2 * theta[:n]
    return finite


@_quiet
def dense_hessian(rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int) -> None:
    assert sums.grad is not None
    n, k = params.theta.shape
    for p, a, b, X in _pieces(rows, plan, k):
        Z = reference.softmax(reference.logits(X, params.theta, params.bias))
        weighted = Z if rows.w is None else Z * rows.w[a:b, None]
        pairs = sums.grad[p].reshape(-1, n, n)
        for q, (c, d) in enumerate(zip(*np.triu_indices(k, 1), strict=True)):
            pairs[q] += (X * (weighted[:, c] * Z[:, d])[:, None]).T @ X


@_quiet
def predict(rows: Rows, params: Parameters, plan: Plan, kind: str, out: np.ndarray, sums: Sums, n_threads: int) -> None:
    for p, a, b, X in _pieces(rows, plan, params.theta.shape[1]):
        H = reference.logits(X, params.theta, params.bias)
        sums.loss[p] += 0.0 if np.isfinite(H).all() else np.nan
        if kind == "label":
            out[a:b] = np.argmax(H, axis=1)
        elif kind == "logits":
            out[a:b] = H
        elif kind == "proba":
            out[a:b] = reference.softmax(H)
        else:
            with np.errstate(over="ignore", under="ignore"):
                H = H - H.max(axis=1, keepdims=True)
                out[a:b] = H - np.log(np.exp(H).sum(axis=1, keepdims=True))


sparse_value_and_grad, sparse_hess_prod = dense_value_and_grad, dense_hess_prod
sparse_gram_diagonal, sparse_gradient = sparse.sparse_gram_diagonal, sparse.sparse_gradient


def _pieces(rows: Rows, plan: Plan, k: int) -> Iterator[tuple[int, int, int, Any]]:
    """(slab, first row, end row, X of those rows)."""
    if isinstance(rows.X, Csr):
        yield from sparse.pieces(rows.X, plan, k)
    else:
        yield from ((p, a, b, rows.X[a:b]) for p, a, b in plan.slab_ranges(len(rows.X)))


def _add(sums: Sums, p: int, X: Any, D: np.ndarray) -> None:
    assert sums.grad is not None and sums.bias is not None
    if sums.by_feature:  # SciPy adds row after row: not in float32
        sums.grad[p] += X.T @ D.astype(np.float64, copy=False)
    else:
        sums.grad[p] += (X.T @ D).T
    sums.bias[p] += D.sum(axis=0)
