"""The Numba backend: dense kernels compiled for the host at their first call, then cached on disk.

This file is the Python side of the contract in `fastsoftmax.kernels`: it turns a chunk of rows into
a `Job` of addresses and lets threads work on it.

====================  ==================================================================
`numba_pass`          one worker's share of a pass: the block loop (start reading here)
`numba_models`        the same for several models in one pass
`numba_pairs`         the same for the exact Hessian
`numba_job`           a pass's job, scratch, blocks
`numba_block`         a block of X, for the products
`numba_pack`          X in any layout -> panels
`numba_narrow`        X of narrow types, converted
`numba_fetch`         what the tiles prefetch
`numba_classes`       the class-parallel strategy
`numba_product`       the two products, cut into
`numba_tile`          register tiles, the inner loop
`numba_dots`          the other tile, of inner products
`numba_rows`          softmax, loss and residual on a tile of logits
`numba_math`          exp and log
`numba_lanes`         SIMD vectors as Numba values
`numba_threads`       threads, scratch, a job's addresses, the disk cache
`numba_sparse`        the Python side of sparse X
`numba_sparse_pass`   its block loop and strategies
`numba_entries`       its inner loops, over the entries of rows
`numba_finish`        what becomes of its sums
====================  ==================================================================
"""

from __future__ import annotations

import numpy as np

from . import (
    Csr,
    Parameters,
    RowOutputs,
    Rows,
    Sums,
    numba_classes,
    numba_dots,
    numba_job,
    numba_models,
    numba_narrow,
    numba_pairs,
    numba_pass,
)
from .numba_finish import sparse_gradient
from .numba_job import Job
from .numba_lanes import host_features, vector_bytes
from .numba_narrow import AS_IS, KINDS
from .numba_sparse import predict_sparse, sparse_gram_diagonal, sparse_hess_prod, sparse_value_and_grad
from .numba_threads import address_of, compiled, compiled_function, in_threads, job_fields, new_scratch
from .numpy_dense import dense_gradient
from .plan import Plan, cache_bytes

READS = "".join(KINDS)
STRATEGIES = ("row-parallel", "class-parallel", "feature-parallel")
# 500k x 50 in F order, k = 3, float32: 6.2 and 5.0 ms with 512 and 2,048 bytes.
COLUMN_BYTES = 2048
BYTE_COLUMNS = 0
FLOAT32_SUMS = True

# Turns a thread takes slabs in: neighbours, because the first block of a turn has not been fetched ahead.
TURNS = 8

__all__ = [
    "FLOAT32_SUMS",
    "READS",
    "STRATEGIES",
    "dense_gradient",
    "dense_gram",
    "dense_hess_prod",
    "dense_value_and_grad",
    "isa",
    "predict",
    "sparse_gradient",
    "sparse_gram_diagonal",
    "sparse_hess_prod",
    "sparse_value_and_grad",
    "threading",
]


def isa() -> str:
    names = {64: "AVX-512", 32: "AVX2", 16: "SSE2"}
    return names[vector_bytes()] if "x86_64" in host_features() else f"{8 * vector_bytes()}-bit vectors"


def threading() -> str:
    return "Python threads"


def dense_value_and_grad(
    rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    """Loss and gradient; see `fastsoftmax.kernels`."""
    task = numba_job.VALUE if sums.grad is None else numba_job.GRADIENT
    _run(task, rows, plan, sums, n_threads, params, outputs=outputs)


def dense_hess_prod(
    rows: Rows, params: Parameters, direction: Parameters, plan: Plan, sums: Sums, n_threads: int
) -> None:
    """Hessian product; see `fastsoftmax.kernels`."""
    _run(numba_job.HESSIAN, rows, plan, sums, n_threads, params, direction)


def dense_gram(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Gram matrix; see `fastsoftmax.kernels`."""
    _run(numba_job.GRAM, rows, plan, sums, n_threads)


def dense_hessian(rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Gram matrices of the pairs of classes; see `fastsoftmax.kernels`."""
    _run(numba_job.PAIRS, rows, plan, sums, n_threads, params)


def predict(rows: Rows, params: Parameters, plan: Plan, kind: str, out: np.ndarray, sums: Sums, n_threads: int) -> None:
    """Predictions; see `fastsoftmax.kernels`."""
    if isinstance(rows.X, Csr):
        predict_sparse(rows, params, plan, kind, out, sums, n_threads)
    else:
        _run(numba_job.PREDICTION_TASKS[kind], rows, plan, sums, n_threads, params, out=out)


def _run(
    task: int,
    rows: Rows,
    plan: Plan,
    sums: Sums,
    n_threads: int,
    params: Parameters | None = None,
    direction: Parameters | None = None,
    out: np.ndarray | None = None,
    outputs: RowOutputs | None = None,
) -> None:
    X = rows.X
    m, n = X.shape
    k = n if params is None else params.theta.shape[1]
    dtype = np.dtype(np.float64 if X.dtype.char == "d" else np.float32)
    kind = KINDS[X.dtype.char]
    slabs = plan.slabs_of(m)
    ticket = np.zeros(1, np.int64)
    job = Job(
        **job_fields(rows, sums, params, direction, out, outputs),
        task=task,
        n=n,
        k=k,
        X=X.ctypes.data,
        kind=kind,
        itemsize=X.itemsize,
        result_itemsize=dtype.itemsize,
        # A single row or column may carry any stride.
        row_step=X.strides[0] // X.itemsize if m > 1 else n,
        feature_step=X.strides[1] // X.itemsize if n > 1 else 1,
        grad_itemsize=0 if sums.grad is None else sums.grad.itemsize,
        dX=address_of(outputs and outputs.dX),
        models=1 if params is None else params.models,
        fold=address_of(rows.fold),
        left_out=address_of(params and params.left_out) if rows.fold is not None else 0,
        held=address_of(sums.held),
        block=plan.block,
        run=plan.run,
        unit=plan.block,
        slabs=slabs,
        turn=max(1, slabs // (TURNS * n_threads)),
        ticket=address_of(ticket),
        row_dots=0,
        column_dots=0,
        parts=1,
        forward_parts=0,
        convert=0 if kind == AS_IS else compiled_function(numba_narrow.make_convert, dtype).address,
        fetch=None,
    )
    if plan.strategy == "class-parallel" and task <= numba_job.HESSIAN:
        _share_blocks(job, ticket, dtype.type(0), n_threads)
    else:
        _share_slabs(job, dtype.type(0), n_threads)


def _share_slabs(job: Job, zero: np.floating, n_threads: int) -> None:
    """Row-parallel: each thread takes slabs until there are none."""
    width = vector_bytes() // job.result_itemsize
    job = _with_dots(job, zero.dtype, width)
    job = job._replace(fetch=numba_job.job_fetch(job, width))
    layout = numba_job.scratch_layout(job, width)
    several = job.models > 1 or job.left_out
    work = compiled(numba_models if several else numba_pairs if job.task == numba_job.PAIRS else numba_pass)

    def share() -> None:
        _scratch, address = new_scratch(layout.size)
        work(job, layout, address, zero)

    in_threads(share, min(n_threads, job.slabs))


def _with_dots(job: Job, dtype: np.dtype, width: int) -> Job:
    """Which of the products are to be inner products; see `numba_dots`."""
    if job.task in (numba_job.GRAM, numba_job.PAIRS):
        return job
    if job.feature_step == 1 or (job.kind != AS_IS and job.row_step != 1):
        if job.n >= max(job.k, numba_dots.LONG_ROW) * width:
            return job._replace(row_dots=compiled_function(numba_dots.make_forward, dtype).address)
        return job
    job = _with_parts(job, dtype)
    if job.k * width <= job.block and numba_job.GRADIENT <= job.task <= numba_job.HESSIAN:
        return job._replace(column_dots=compiled_function(numba_dots.make_backward, dtype).address)
    return job


def _with_parts(job: Job, dtype: np.dtype) -> Job:
    """Blocks of more rows, a part of the features after the other, where L2 does not hold one with pieces of columns of
    `COLUMN_BYTES`, but L3 holds those of several threads."""
    rows, cache = numba_dots.PART_ROWS, cache_bytes()
    size = rows * job.n * job.itemsize
    short = job.block * job.itemsize < COLUMN_BYTES and size > cache["L2"]
    plain = job.kind == AS_IS and job.row_step == 1 and job.feature_step * job.itemsize % 4096 != 0
    few = job.k * vector_bytes() <= rows * job.itemsize and rows * job.slabs <= job.rows
    if not (plain and few and short and size <= cache["L3"] // 4):
        return job
    address = compiled_function(numba_dots.make_forward_of_parts, dtype).address
    return job._replace(block=rows, parts=-(-size // numba_dots.PART_BYTES), forward_parts=address)


def _share_blocks(job: Job, ticket: np.ndarray, zero: np.floating, n_threads: int) -> None:
    """Class-parallel: block after block, each in phases; some are shared by the threads."""
    width = vector_bytes() // job.result_itemsize
    shared, own = numba_classes.shared_layout(job, width), numba_classes.own_layout(job, width)
    work = compiled(numba_classes)
    _shared_scratch, shared_address = new_scratch(shared.size)
    spare: list[tuple[np.ndarray, int]] = []  # scratch of threads between two phases
    workers = min(n_threads, -(-job.k // numba_classes.GROUP))

    def one(phase: int, row: int) -> None:
        try:
            scratch = spare.pop()
        except IndexError:
            scratch = new_scratch(own.size)
        work(job, shared, own, shared_address, scratch[1], phase, row, zero)
        spare.append(scratch)

    def all_threads(phase: int, row: int) -> None:
        ticket[0] = 0
        in_threads(lambda: one(phase, row), workers)

    for row in range(0, job.rows, job.block):
        one(numba_classes.BEGIN, row)
        all_threads(numba_classes.FORWARD, row)
        one(numba_classes.COMBINE, row)
        if job.grad:
            all_threads(numba_classes.BACKWARD, row)
        if job.dX:
            all_threads(numba_classes.TO_INPUT, row)
            one(numba_classes.STORE, row)
