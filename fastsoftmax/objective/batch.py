"""One pass over a batch of rows that a neural network's last layer gets: for callers that keep theta themselves.

An `Objective` holds data and is asked at one theta after another. Here each call brings new rows, and a theta of the
shape that layers have, (classes, features), with the bias beside it. Nothing is checked but what kernels rely on, and
NaN and infinity come out as they do of the formulas: deep learning frameworks test for them themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..data.sources.made import MadeTargets, MakeTargets
from ..data.sources.memory import ArraySource
from ..kernels.backends import select
from ..kernels.contract import Kernels, Layout, Parameters, RowOutputs, Sums
from ..kernels.plan import Plan, kept_plan
from .passes import DensePasses

# Operations of a slab of a small batch. 512 x 784, k = 10 are 16 million: two slabs, so that two threads share them.
SLAB_FLOPS = 8e6
# Logits of a class-parallel block, which are the memory that a pass takes beside its gradients. 512 x 512 with 128,000
# classes, float32: 1,063 ms in blocks of 128 rows, 1,213 of 256.
LOGITS_BYTES = 72 << 20


@dataclass(frozen=True)
class Batch:
    """Rows, targets and parameters of one pass.

    Attributes
    ----------
    X : ndarray (m, n), m and n at least 1
        Of any strides; float32, float64, float16, or the bits of bfloat16 (`data.bfloat16`).
    W : ndarray (k, n) of the dtype of the computation
        theta, transposed. Where classes are many, kernels read it in C order or F order as it is; else it is small, and
        copied once a call.
    bias : ndarray (k,) of the dtype of the computation, or None
    targets : int32 ndarray (m,), or ndarray (m, k) of the dtype of the computation in C order, or `MakeTargets`
        Labels in 0..k-1, or soft targets, which may have any values and any sum.
    w : float64 ndarray (m,)
        The factor of each row in the loss, which is nowhere divided by their sum.
    smoothing : float
        eps: targets t become (1 - eps) t + eps / k.
    """

    X: np.ndarray
    W: np.ndarray
    bias: np.ndarray | None
    targets: np.ndarray | MakeTargets
    w: np.ndarray
    smoothing: float = 0.0


@dataclass(frozen=True)
class BatchResult:
    """What `evaluate` returns; None for what was not asked for.

    Attributes
    ----------
    value : float
        sum_i w_i loss_i.
    row_loss : ndarray (m,)
        loss_i, without its weight.
    dX : ndarray (m, n)
    dW : ndarray (k, n)
    db : ndarray (k,)
        Gradients of the value, in the dtype of the computation.
    """

    value: float
    row_loss: np.ndarray | None = None
    dX: np.ndarray | None = None
    dW: np.ndarray | None = None
    db: np.ndarray | None = None


def evaluate(
    batch: Batch, *, dX: bool | np.ndarray, grad: bool, row_loss: bool, n_threads: int, backend: str = "auto"
) -> BatchResult:
    """The weighted sum of the losses and its gradients, in one pass over X. ``dX`` needs ``grad``.

    ``dX`` may be an array to be filled: (m, n) in C order, of the dtype of the computation.
    """
    _, kernels = select(backend)
    source = _source(batch, kernels)
    passes = DensePasses(source, kernels)  # type: ignore[arg-type]
    m, k = len(batch.X), len(batch.W)
    plan = _plan(passes, k, isinstance(source, MadeTargets))
    sums = passes.sums(plan, k, 1.0, grad=grad)
    if isinstance(dX, bool):
        dX = np.empty(source.shape, source.dtype) if dX else None  # type: ignore[assignment]
    outputs = RowOutputs(
        dX=dX,  # type: ignore[arg-type]
        loss=np.empty(m, source.dtype) if row_loss else None,
    )
    params, threads = Parameters(_theta(batch.W, plan), batch.bias), min(n_threads, plan.threads)
    wanted = None if outputs.dX is outputs.loss is None else outputs
    for rows in source.chunks(plan.chunk):
        part = None if wanted is None else wanted.rows(rows.start, rows.start + len(rows.X))
        passes.value_and_grad(rows, params, plan, sums, threads, part)
    value = float(np.add.reduce(sums.loss))
    dW, db = _gradients(sums, source.dtype) if grad else (None, None)
    return BatchResult(value, outputs.loss, outputs.dX, dW, db)


def _theta(W: np.ndarray, plan: Plan) -> np.ndarray:
    """theta in an order that kernels read. A copy of 128,000 x 512 in float32 takes 780 ms and 262 MB."""
    if plan.strategy != "class-parallel":
        return np.ascontiguousarray(W.T)
    return W.T if W.flags.forc else np.ascontiguousarray(W).T


def _source(batch: Batch, kernels: Kernels) -> ArraySource | MadeTargets:
    made = callable(batch.targets)
    targets = None if callable(batch.targets) else batch.targets
    source = ArraySource(batch.X, targets, batch.w, smoothing=batch.smoothing, reads=kernels.READS)
    return MadeTargets(source, batch.targets) if made else source  # type: ignore[arg-type]


def _plan(passes: DensePasses, k: int, made: bool) -> Plan:
    """The plan of a pass, kept for the next of its shape: a training step repeats its shapes."""
    source = passes.source
    layout: Layout = source.layout
    key = ("batch", source.shape, k, source.dtype.char, layout, made, passes.value_and_grad)
    return kept_plan(key, lambda: _make_plan(passes, k, made))


def _make_plan(passes: DensePasses, k: int, made: bool) -> Plan:
    (m, n), itemsize = passes.source.shape, passes.source.dtype.itemsize
    plan = passes.plan(k)
    plan = replace(plan, slabs=_slabs(m, n * k, plan), block=_block(plan, k * itemsize))
    if not made:
        return plan
    return replace(plan, chunk=min(plan.chunk, MadeTargets.rows_of_chunk(k, itemsize, plan.block)))


def _slabs(m: int, nk: int, plan: Plan) -> int:
    """Slabs of a plan, or more where there is one of `SLAB_FLOPS` for each thread that is worth waking."""
    if plan.strategy == "class-parallel" or m > plan.chunk:
        return plan.slabs
    return max(plan.slabs, min(-(-m // plan.block), int(4.0 * m * nk / SLAB_FLOPS)))


def _block(plan: Plan, row_bytes: int) -> int:
    """Rows of a block of a plan, or fewer where all logits of a class-parallel block would take too much memory."""
    block = plan.block
    while plan.strategy == "class-parallel" and block * row_bytes > LOGITS_BYTES and block % 128 == 0:
        block //= 2
    return block


def _gradients(sums: Sums, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """dW (k, n) and db (k,): the slabs added in the order of their numbers. A single slab becomes the result."""
    assert sums.grad is not None and sums.bias is not None
    grad = sums.grad[0] if len(sums.grad) == 1 else np.add.reduce(sums.grad, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        return grad.astype(dtype, copy=False), np.add.reduce(sums.bias, axis=0).astype(dtype)
