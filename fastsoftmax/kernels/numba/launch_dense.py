"""The Python side of dense passes: turns a chunk of rows into a `Job` of addresses and lets threads work on it."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from ..contract import Parameters, RowOutputs, Rows, Sums
from ..machine import cache_bytes
from ..plan import Plan
from .block import convert, softmax
from .block import job as jobs
from .block.convert import AS_IS, KINDS
from .block.job import Job
from .microkernels import dot_tile, few_classes, tile
from .microkernels.prefetch import Fetch
from .microkernels.simd import vector_bytes
from .passes import class_parallel, dense, hessian, models
from .runtime.compile import Entry, compiled, compiled_function, compiled_table
from .runtime.pool import MOST, run
from .runtime.record import Record, address_of, common_fields, pack

# 500k x 50 in F order, k = 3, float32: 6.2 and 5.0 ms with 512 and 2,048 bytes.
COLUMN_BYTES = 2048
# Turns a thread takes slabs in: neighbours, because the first block of a turn has not been fetched ahead.
TURNS = 8


def run_dense(
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
    record = Record(jobs.OWN, (*common, *own, address_of(sums.held)), frame.rest, frame.scratch)
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
    n_models: int,
    grad_itemsize: int,
    targets: bool,
    left_out: bool,
    dX: bool,
) -> Frame:
    """Made once: it takes longer than a pass over 1,000 x 50 in float32, k = 3."""
    X_dtype, dtype = np.dtype(char), np.dtype(np.float64 if char == "d" else np.float32)
    kind, slabs = KINDS[char], plan.slabs_of(m)
    predicts = task in jobs.PREDICTION_TASKS.values()
    # Of arrays, only whether they are there.
    job = Job(
        **dict.fromkeys(jobs.OWN, 0) | {"soft": targets, "left_out": left_out},
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
        models=n_models,
        block=plan.block,
        flush_rows=plan.flush_rows,
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
        predict=compiled_function(softmax.make_predict, dtype).address if predicts else 0,
        convert=0 if kind == AS_IS else compiled_function(convert.make_convert, dtype).address,
        soft_loss=0,
        fetch=Fetch(*len(Fetch._fields) * (0,)),
    )
    width = vector_bytes() // dtype.itemsize
    if plan.strategy == "class-parallel" and task <= jobs.HESSIAN:
        workers = min(n_threads, -(-k // class_parallel.GROUP))
        job = job._replace(tiles=compiled_table(tile.make_table, dtype))
        shared, own = class_parallel.shared_layout(job, width), class_parallel.own_layout(job, width)
        scratch = shared.size + workers * own.size
        return Frame(compiled(class_parallel.make_work, dtype), workers, _rest(job, shared, own), scratch, True)
    job = _with_dots(job, dtype, width)
    if targets and task <= jobs.GRADIENT:
        job = job._replace(soft_loss=compiled_function(softmax.make_soft_loss, dtype).address)
    if dX or not job.row_forward:
        job = job._replace(tiles=compiled_table(tile.make_table, dtype))
    job = job._replace(fetch=jobs.job_fetch(job, width))
    layout, workers = jobs.scratch_layout(job, width), min(n_threads, slabs)
    passes = models if n_models > 1 or left_out else hessian if task == jobs.PAIRS else dense
    return Frame(compiled(passes.make_work, dtype), workers, _rest(job, layout), workers * layout.size, False)


def _rest(job: Job, *layouts: tuple) -> bytes:
    return pack(job)[8 * len(jobs.OWN) :] + pack(*layouts)


def _share_blocks(frame: Frame, record: Record, block: int, m: int, grad: bool, outputs: RowOutputs | None) -> None:
    """Class-parallel: block after block, each in phases; some are shared by the threads."""

    def one(phase: int, row: int, workers: int = 1) -> None:
        record.begin(phase, row)
        run(frame.entry, record.address, workers)

    for row in range(0, m, block):
        one(class_parallel.BEGIN, row)
        one(class_parallel.FORWARD, row, frame.workers)
        one(class_parallel.COMBINE, row)
        if grad:
            one(class_parallel.BACKWARD, row, frame.workers)
        if outputs is not None and outputs.dX is not None:
            one(class_parallel.TO_INPUT, row, frame.workers)
            one(class_parallel.STORE, row)


def _with_dots(job: Job, dtype: np.dtype, width: int) -> Job:
    """Which of the products are to be inner products; see `dot_tile`."""
    if job.task in (jobs.GRAM, jobs.PAIRS):
        return job
    if job.feature_step == 1 or (job.kind != AS_IS and job.row_step != 1):
        if job.n >= max(job.k, dot_tile.LONG_ROW) * width:
            return job._replace(row_dots=compiled_function(dot_tile.make_forward, dtype).address)
        rows_of_bytes = job.itemsize == 1 and job.feature_step == 1 and job.row_step >= job.n
        if not (rows_of_bytes and job.k * width <= job.block):
            return _with_rows(job, dtype)
        job = job._replace(across=compiled_function(convert.make_across, dtype).address)
    else:
        job = _with_parts(job, dtype)
    if job.k * width <= job.block and jobs.GRADIENT <= job.task <= jobs.HESSIAN:
        return job._replace(column_dots=compiled_function(dot_tile.make_backward, dtype).address)
    return job


def _with_rows(job: Job, dtype: np.dtype) -> Job:
    """Both products by rows as they lie, where classes are few; see `few_classes`."""
    near = job.feature_step == 1 and 0 < job.row_step <= 2 * job.n
    if not (near and few_classes.has_lanes(job.k, job.n, job.result_itemsize)):
        return job
    job = job._replace(row_forward=compiled_function(few_classes.make_forward, dtype, job.k).address)
    if jobs.GRADIENT <= job.task <= jobs.HESSIAN:
        job = job._replace(row_backward=compiled_function(few_classes.make_backward, dtype, job.k).address)
    return job


def _with_parts(job: Job, dtype: np.dtype) -> Job:
    """Blocks of more rows, a part of the features after the other, where pieces of columns are short and L2 does not
    hold two such blocks, but L3 holds those of several threads."""
    if job.kind != AS_IS:
        return job
    rows, cache = dot_tile.PART_ROWS[job.itemsize], cache_bytes()
    size = rows * job.n * job.itemsize
    short = job.block * job.itemsize <= COLUMN_BYTES and size > cache["L2"] // 2
    plain = job.row_step == 1 and job.feature_step * job.itemsize % 4096 != 0
    few = job.k * vector_bytes() <= rows * job.itemsize and rows * job.slabs <= job.rows
    if not (plain and few and short and size <= cache["L3"] // 4):
        return job
    address = compiled_function(dot_tile.make_forward_of_parts, dtype).address
    return job._replace(block=rows, unit=rows, parts=-(-size // dot_tile.PART_BYTES), forward_parts=address)
