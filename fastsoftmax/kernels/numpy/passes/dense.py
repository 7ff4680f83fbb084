"""Passes over the slabs of a chunk: the steps of `fastsoftmax.reference`, one slab after the other.

Each forms the logits of a whole slab, where the other wings go block by block. Sparse rows take the same steps, because
SciPy's arrays multiply as NumPy's do; only how they are cut differs (see `sparse`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .... import reference
from ...contract import Csr, Parameters, PassPlan, RowOutputs, Rows, Sums
from . import sparse

# A kernel raises nothing and warns of nothing: what is not finite shows in the sums.
quiet = np.errstate(over="ignore", invalid="ignore")


@quiet
def value_and_grad(rows: Rows, params: Parameters, plan: PassPlan, sums: Sums, outputs: RowOutputs | None) -> None:
    """Loss and gradient of one model, and values of each row where ``outputs`` asks for them."""
    for p, a, b, X in slabs_of(rows, plan, params.theta.shape[1]):
        w = np.ones(b - a) if rows.w is None else rows.w[a:b]
        H = reference.logits(X, params.theta, params.bias)
        t = targets_of(rows, a, b, H.shape[1])
        sums.loss[p] += reference.mean_loss_to_targets(H.astype(np.float64, copy=False), t, w * sums.scale)
        D = (t.sum(axis=1, keepdims=True) * reference.softmax(H) - t) * w[:, None]
        if sums.grad is not None:
            add_gradient(sums, p, X, D)
        if outputs is None:
            continue
        if outputs.dX is not None:
            outputs.dX[a:b] = (D * sums.scale) @ params.theta.T
        if outputs.loss is not None:
            outputs.loss[a:b] = reference.losses_to_targets(H, t)
        if outputs.label is not None:
            outputs.label[a:b] = np.argmax(H, axis=1)


@quiet
def hess_prod(rows: Rows, params: Parameters, direction: Parameters, plan: PassPlan, sums: Sums) -> None:
    """The Hessian times a direction."""
    for p, a, b, X in slabs_of(rows, plan, params.theta.shape[1]):
        Z = reference.softmax(reference.logits(X, params.theta, params.bias))
        U = reference.logits(X, direction.theta, direction.bias)
        D = Z * (U - np.sum(Z * U, axis=1, keepdims=True))
        add_gradient(sums, p, X, D if rows.w is None else D * rows.w[a:b, None])


@quiet
def gram(rows: Rows, plan: PassPlan, sums: Sums) -> None:
    """The Gram matrix: the gradient's second product with the weighted X for the residual."""
    for p, a, b, X in slabs_of(rows, plan, rows.X.shape[1]):
        add_gradient(sums, p, X, X if rows.w is None else X * rows.w[a:b, None])


@quiet
def predict(rows: Rows, params: Parameters, plan: PassPlan, kind: str, out: np.ndarray, sums: Sums) -> None:
    """One of the `contract.PREDICTIONS` for each row, into ``out``."""
    for p, a, b, X in slabs_of(rows, plan, params.theta.shape[1]):
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


@quiet
def reduce_gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray) -> tuple[bool, bool]:
    """The gradient from the sums of all slabs, into ``out``; whether they are finite once scaled, and ``out`` is."""
    grad, bias = sums.total()
    n = len(grad)
    out[:n], out[n:] = grad, bias
    finite = bool(np.isfinite(out).all())
    if theta is not None:
        out[:n] += l2 * theta[:n]
    return finite, bool(np.isfinite(out).all())


def slabs_of(rows: Rows, plan: PassPlan, k: int) -> Iterator[tuple[int, int, int, Any]]:
    """(slab, first row, end row, X of those rows), of sparse X several times for a slab with many rows."""
    if isinstance(rows.X, Csr):
        yield from sparse.slabs_of(rows.X, plan, k)
    else:
        yield from ((p, a, b, rows.X[a:b]) for p, a, b in plan.slab_ranges(len(rows.X)))


def targets_of(rows: Rows, a: int, b: int, k: int) -> np.ndarray:
    """Targets (b - a, k) of rows a..b-1: soft ones, or one-hot labels; smoothed."""
    if rows.soft is not None:
        t = rows.soft[a:b]
    else:
        assert rows.y is not None
        t = reference.one_hot(rows.y[a:b], k)
    return t if rows.smoothing == 0 else (1 - rows.smoothing) * t + rows.smoothing / k


def add_gradient(sums: Sums, p: int, X: Any, D: np.ndarray) -> None:
    """Add D^T X and the column sums of D to slab p."""
    assert sums.grad is not None and sums.bias is not None
    if sums.by_feature:  # SciPy adds the rows one after the other, and would do so in float32
        sums.grad[p] += X.T @ D.astype(np.float64, copy=False)
    else:
        sums.grad[p] += (X.T @ D).T
    sums.bias[p] += D.sum(axis=0)
