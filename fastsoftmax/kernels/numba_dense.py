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
`numba_bytes`         rows of bytes -> columns
`numba_fetch`         what the tiles prefetch
`numba_classes`       the class-parallel strategy
`numba_product`       the two products, cut into
`numba_tile`          register tiles, the inner loop
`numba_dots`          the other tile, of inner products
`numba_few`           the products of few classes, by rows as they lie
`numba_rows`          softmax, loss and residual on a tile of logits
`numba_predict`       predictions
`numba_targets`       loss by soft or smoothed targets
`numba_math`          exp and log
`numba_lanes`         SIMD vectors as Numba values
`numba_compile`       compilation, the disk cache
`numba_record`        what compiled code is called with
`numba_pool`          the threads
`numba_sparse`        the Python side of sparse X
`numba_sparse_pass`   its block loop and strategies
`numba_entries`       its inner loops, over the entries of rows
`numba_finish`        what becomes of its sums
====================  ==================================================================
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from . import (
    Csr,
    Parameters,
    RowOutputs,
    Rows,
    Sums,
    numba_bytes,
    numba_classes,
    numba_dots,
    numba_few,
    numba_job,
    numba_models,
    numba_narrow,
    numba_pairs,
    numba_pass,
    numba_predict,
    numba_targets,
    numba_tile,
)
from .numba_compile import Entry, compiled, compiled_function, compiled_table
from .numba_fetch import Fetch
from .numba_finish import dense_gradient, sparse_gradient
from .numba_job import Job
from .numba_lanes import host_features, vector_bytes
from .numba_narrow import AS_IS, KINDS
from .numba_pool import MOST, run
from .numba_record import Record, address_of, common_fields, pack
from .numba_sparse import predict_sparse, sparse_gram_diagonal, sparse_hess_prod, sparse_value_and_grad
from .plan import Plan, cache_bytes

READS = "".join(KINDS)
STRATEGIES = ("row-parallel", "class-parallel", "feature-parallel")
# 500k x 50 in F order, k = 3, float32: 6.2 and 5.0 ms with 512 and 2,048 bytes.
COLUMN_BYTES = 2048
# Blocks of bytes become columns, too, and as long; see `numba_bytes`.
BYTE_COLUMNS = 128
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
    left_out = params and params.left_out if rows.fold is not None else None
    frame = _frame(
        task,
        *X.shape,
        X.shape[1] if params is None else params.theta.shape[1],
        X.dtype.char,
        X.strides,
        plan,
        min(n_threads, MOST),
        1 if params is None else params.models,
        0 if sums.grad is None else sums.grad.itemsize,
        rows.soft is not None or rows.smoothing != 0.0,
        left_out is not None,
        outputs is not None and outputs.dX is not None,
    )
    own = (
        address_of(X) if X.flags.c_contiguous else X.ctypes.data,
        address_of(outputs and outputs.dX),
        address_of(rows.fold),
        address_of(left_out),
    )
    common = common_fields(rows, sums, params, direction, out, outputs)
    record = Record(numba_job.OWN, (*common, *own, address_of(sums.held)), frame.rest, frame.scratch)
    if frame.by_classes:
        _share_blocks(frame, record, plan.block, len(X), sums.grad is not None, outputs)
    else:
        run(frame.entry, record.address, frame.workers)


class Frame(NamedTuple):
    """What passes of one shape have in common: the function that threads call, how many may, what follows `OWN` in its
    record, bytes of scratch, and whether threads share each block."""

    entry: Entry
    workers: int
    rest: bytes
    scratch: int
    by_classes: bool


@functools.lru_cache(maxsize=256)
def _frame(
    task: int,
    m: int,
    n: int,
    k: int,
    char: str,
    strides: tuple[int, int],
    plan: Plan,
    n_threads: int,
    models: int,
    grad_itemsize: int,
    targets: bool,
    left_out: bool,
    dX: bool,
) -> Frame:
    """Made once: it takes longer than a pass over 1,000 x 50 in float32, k = 3."""
    X_dtype, dtype = np.dtype(char), np.dtype(np.float64 if char == "d" else np.float32)
    kind, slabs = KINDS[char], plan.slabs_of(m)
    predicts = task in numba_job.PREDICTION_TASKS.values()
    # Of arrays, only whether they are there.
    job = Job(
        **dict.fromkeys(numba_job.OWN, 0) | {"soft": targets, "left_out": left_out},
        task=task,
        n=n,
        k=k,
        kind=kind,
        itemsize=X_dtype.itemsize,
        result_itemsize=dtype.itemsize,
        # A single row or column may carry any stride.
        row_step=strides[0] // X_dtype.itemsize if m > 1 else n,
        feature_step=strides[1] // X_dtype.itemsize if n > 1 else 1,
        rows=m,
        grad_itemsize=grad_itemsize,
        models=models,
        block=plan.block,
        run=plan.run,
        unit=plan.block,
        slabs=slabs,
        turn=max(1, slabs // (TURNS * n_threads)),
        tiles=0,
        row_dots=0,
        column_dots=0,
        parts=1,
        forward_parts=0,
        row_forward=0,
        row_backward=0,
        across=0,
        predict=compiled_function(numba_predict.make_predict, dtype).address if predicts else 0,
        convert=0 if kind == AS_IS else compiled_function(numba_narrow.make_convert, dtype).address,
        soft_loss=0,
        fetch=Fetch(*len(Fetch._fields) * (0,)),
    )
    width = vector_bytes() // dtype.itemsize
    if plan.strategy == "class-parallel" and task <= numba_job.HESSIAN:
        workers = min(n_threads, -(-k // numba_classes.GROUP))
        job = job._replace(tiles=compiled_table(numba_tile.make_table, dtype))
        shared, own = numba_classes.shared_layout(job, width), numba_classes.own_layout(job, width)
        scratch = shared.size + workers * own.size
        return Frame(compiled(numba_classes, dtype), workers, _rest(job, shared, own), scratch, True)
    job = _with_dots(job, dtype, width)
    if targets and task <= numba_job.GRADIENT:
        job = job._replace(soft_loss=compiled_function(numba_targets.make_soft_loss, dtype).address)
    if dX or not job.row_forward:
        job = job._replace(tiles=compiled_table(numba_tile.make_table, dtype))
    job = job._replace(fetch=numba_job.job_fetch(job, width))
    layout, workers = numba_job.scratch_layout(job, width), min(n_threads, slabs)
    module = numba_models if models > 1 or left_out else numba_pairs if task == numba_job.PAIRS else numba_pass
    return Frame(compiled(module, dtype), workers, _rest(job, layout), workers * layout.size, False)


def _rest(job: Job, *layouts: tuple) -> bytes:
    return pack(job)[8 * len(numba_job.OWN) :] + pack(*layouts)


def _share_blocks(frame: Frame, record: Record, block: int, m: int, grad: bool, outputs: RowOutputs | None) -> None:
    """Class-parallel: block after block, each in phases; some are shared by the threads."""

    def one(phase: int, row: int, workers: int = 1) -> None:
        record.begin(phase, row)
        run(frame.entry, record.address, workers)

    for row in range(0, m, block):
        one(numba_classes.BEGIN, row)
        one(numba_classes.FORWARD, row, frame.workers)
        one(numba_classes.COMBINE, row)
        if grad:
            one(numba_classes.BACKWARD, row, frame.workers)
        if outputs is not None and outputs.dX is not None:
            one(numba_classes.TO_INPUT, row, frame.workers)
            one(numba_classes.STORE, row)


def _with_dots(job: Job, dtype: np.dtype, width: int) -> Job:
    """Which of the products are to be inner products; see `numba_dots`."""
    if job.task in (numba_job.GRAM, numba_job.PAIRS):
        return job
    if job.feature_step == 1 or (job.kind != AS_IS and job.row_step != 1):
        if job.n >= max(job.k, numba_dots.LONG_ROW) * width:
            return job._replace(row_dots=compiled_function(numba_dots.make_forward, dtype).address)
        rows_of_bytes = job.itemsize == 1 and job.feature_step == 1 and job.row_step >= job.n
        if not (rows_of_bytes and job.k * width <= job.block):
            return _with_rows(job, dtype)
        job = job._replace(across=compiled_function(numba_bytes.make_across, dtype).address)
    else:
        job = _with_parts(job, dtype)
    if job.k * width <= job.block and numba_job.GRADIENT <= job.task <= numba_job.HESSIAN:
        return job._replace(column_dots=compiled_function(numba_dots.make_backward, dtype).address)
    return job


def _with_rows(job: Job, dtype: np.dtype) -> Job:
    """Both products by rows as they lie, where classes are few; see `numba_few`."""
    near = job.feature_step == 1 and 0 < job.row_step <= 2 * job.n
    if not (near and numba_few.has_lanes(job.k, job.n, job.result_itemsize)):
        return job
    job = job._replace(row_forward=compiled_function(numba_few.make_forward, dtype, job.k).address)
    if numba_job.GRADIENT <= job.task <= numba_job.HESSIAN:
        job = job._replace(row_backward=compiled_function(numba_few.make_backward, dtype, job.k).address)
    return job


def _with_parts(job: Job, dtype: np.dtype) -> Job:
    """Blocks of more rows, a part of the features after the other, where pieces of columns are short and L2 does not
    hold two such blocks, but L3 holds those of several threads."""
    if job.kind != AS_IS:
        return job
    rows, cache = numba_dots.PART_ROWS[job.itemsize], cache_bytes()
    size = rows * job.n * job.itemsize
    short = job.block * job.itemsize <= COLUMN_BYTES and size > cache["L2"] // 2
    plain = job.row_step == 1 and job.feature_step * job.itemsize % 4096 != 0
    few = job.k * vector_bytes() <= rows * job.itemsize and rows * job.slabs <= job.rows
    if not (plain and few and short and size <= cache["L3"] // 4):
        return job
    address = compiled_function(numba_dots.make_forward_of_parts, dtype).address
    return job._replace(block=rows, unit=rows, parts=-(-size // numba_dots.PART_BYTES), forward_parts=address)
