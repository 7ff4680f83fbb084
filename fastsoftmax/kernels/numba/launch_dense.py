"""The Python side of dense passes: turns a chunk of rows into a `Job` and lets threads work on it.

Here it is chosen, once for each shape of a pass, how the products of a block are made:

    short rows, few classes      class_lane_forward, narrow_backward     rows in place     `few_classes.py`
    long rows                    forward_by_dots                         rows in place     `dot_tile.py`
    columns (F order), bytes     backward_by_dots                        columns in place  `dot_tile.py`
    columns beyond L2            forward_by_kc_blocks, backward_by_dots  columns in place  `dot_tile.py`
    all else                     tiles                                   packed copies     `products.py`
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from ..contract import Parameters, RowOutputs, Rows, Sums
from ..machine import cache_bytes
from ..plan import Plan
from .block import convert, softmax
from .block import job as jobs
from .block.convert import AS_IS, SOURCE_TYPES
from .block.job import Job
from .microkernels import dot_tile, few_classes, tile
from .microkernels.simd import vector_bytes
from .microkernels.tile import ceil_div
from .passes import class_parallel, dense, hessian, models
from .runtime.compile import Entry, compiled, compiled_function, compiled_table
from .runtime.pool import MAX_THREADS, run
from .runtime.record import Record, address_of, common_fields, pack

# 500k x 50 in F order, k = 3, float32: 6.2 ms with 512 bytes, 5.0 with 2,048.
COLUMN_BYTES = 2048
# How many times a thread claims slabs. It claims neighbours, because the first block of a claim is not prefetched.
CLAIMS = 8


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
    """One pass over a chunk of dense rows; ``task`` is one of those in `block/job.py`."""
    X = rows.X
    assert isinstance(X, np.ndarray)
    left_out = None if params is None or rows.fold is None else params.left_out
    dX = None if outputs is None else outputs.dX
    m, n = X.shape
    config = launch_config(
        task,
        m,
        n,
        n if params is None else params.theta.shape[1],
        X.dtype.char,
        X.strides,
        plan,
        min(n_threads, MAX_THREADS),
        1 if params is None else params.models,
        0 if sums.grad is None else sums.grad.itemsize,
        rows.soft is not None or rows.smoothing != 0.0,
        left_out is not None,
        dX is not None,
    )
    own = (
        address_of(X) if X.flags.c_contiguous else X.ctypes.data,
        address_of(dX),
        address_of(rows.fold),
        address_of(left_out),
        address_of(sums.held),
    )
    common = common_fields(rows, sums, params, direction, out, outputs)
    record = Record(Job, (*common, *own), config.shared_fields, config.scratch)
    if config.class_parallel:
        _run_phases(config, record, plan.block, m, sums.grad is not None, dX is not None)
    else:
        run(config.entry, record.address, config.workers)


def _run_phases(config: LaunchConfig, record: Record, block: int, m: int, grad: bool, dX: bool) -> None:
    """Class-parallel: block after block, phase after phase. The threads share some of the phases."""

    def phase(number: int, row: int, workers: int = 1) -> None:
        record.begin(number, row)
        run(config.entry, record.address, workers)

    for row in range(0, m, block):
        phase(class_parallel.LOAD, row)
        phase(class_parallel.FORWARD, row, config.workers)
        phase(class_parallel.COMBINE, row)
        if grad:
            phase(class_parallel.BACKWARD, row, config.workers)
        if dX:
            phase(class_parallel.INPUT_GRADIENT, row, config.workers)
            phase(class_parallel.STORE, row)


# ------------------------------------------------------------------- what passes of one shape share


class LaunchConfig(NamedTuple):
    """What passes of one shape share."""

    entry: Entry  # the function that threads call
    workers: int  # how many may
    shared_fields: bytes  # what follows `OWN` in the record
    scratch: int  # bytes
    class_parallel: bool


@functools.lru_cache(maxsize=256)
def launch_config(
    task: int,
    m: int,
    n: int,
    k: int,
    char: str,
    strides: tuple[int, ...],
    plan: Plan,
    n_threads: int,
    n_models: int,
    grad_itemsize: int,
    targets: bool,
    left_out: bool,
    dX: bool,
) -> LaunchConfig:
    """Cached, because making it takes longer than a pass over 1,000 x 50 in float32, k = 3."""
    X_dtype, dtype = np.dtype(char), np.dtype(np.float64 if char == "d" else np.float32)
    source_type, slabs = SOURCE_TYPES[char], plan.slabs_of(m)
    predicts = task in jobs.PREDICTION_TASKS.values()
    # Of some arrays it matters here whether they are there; their addresses are not among the shared fields.
    own: dict[str, Any] = dict.fromkeys(jobs.OWN, 0) | {"soft": targets, "left_out": left_out, "dX": dX}
    job = Job(
        **own,
        task=task,
        n=n,
        k=k,
        source_type=source_type,
        itemsize=X_dtype.itemsize,
        result_itemsize=dtype.itemsize,
        # A single row or column may have any stride.
        row_step=strides[0] // X_dtype.itemsize if m > 1 else n,
        feature_step=strides[1] // X_dtype.itemsize if n > 1 else 1,
        rows=m,
        grad_itemsize=grad_itemsize,
        models=n_models,
        block=plan.block,
        flush_rows=plan.flush_rows,
        slabs=slabs,
        claim=max(1, slabs // (CLAIMS * n_threads)),
        convert=0 if source_type == AS_IS else compiled_function(convert.make_convert, dtype).address,
        predict=compiled_function(softmax.make_predict, dtype).address if predicts else 0,
    )
    if plan.strategy == "class-parallel" and task <= jobs.HESSIAN:
        return _class_parallel_config(job, dtype, n_threads)
    return _row_parallel_config(job, dtype, n_threads)


def _class_parallel_config(job: Job, dtype: np.dtype, n_threads: int) -> LaunchConfig:
    width, workers = vector_bytes() // dtype.itemsize, min(n_threads, ceil_div(job.k, jobs.GROUP))
    job = job._replace(tiles=compiled_table(tile.make_table, dtype))
    shared, own = jobs.shared_layout(job, width), jobs.own_layout(job, width)
    scratch = shared.size + workers * own.size
    return LaunchConfig(
        compiled(class_parallel.make_work, dtype), workers, _shared_fields(job, shared, own), scratch, True
    )


def _row_parallel_config(job: Job, dtype: np.dtype, n_threads: int) -> LaunchConfig:
    width, workers = vector_bytes() // dtype.itemsize, min(n_threads, job.slabs)
    job = _choose_products(job, dtype, width)
    if job.soft and job.task <= jobs.GRADIENT:
        address = compiled_function(softmax.make_residual_of_targets, dtype).address
        job = job._replace(residual_of_targets=address)
    if job.dX or not job.class_lane_forward:
        job = job._replace(tiles=compiled_table(tile.make_table, dtype))
    job = job._replace(prefetch=jobs.prefetch_plan(job, width))
    layout = jobs.scratch_layout(job, width)
    passes = models if job.models > 1 or job.left_out else hessian if job.task == jobs.PAIRS else dense
    entry = compiled(passes.make_work, dtype)
    return LaunchConfig(entry, workers, _shared_fields(job, layout), workers * layout.size, False)


def _shared_fields(job: Job, *layouts: NamedTuple) -> bytes:
    return pack(job)[8 * len(jobs.OWN) :] + pack(*layouts)


# --------------------------------------------------------------- how the products of a block are made


def _choose_products(job: Job, dtype: np.dtype, width: int) -> Job:
    """The job with the functions that make its products, for registers of ``width`` numbers."""
    if job.task in (jobs.GRAM, jobs.PAIRS):
        return job
    if job.feature_step == 1 or (job.source_type != AS_IS and job.row_step != 1):
        if job.n >= dot_tile.LONG_ROW * width and dot_tile.dots_pay(job.n, job.k, width):
            return job._replace(forward_by_dots=compiled_function(dot_tile.make_forward, dtype).address)
        rows_of_bytes = job.itemsize == 1 and job.feature_step == 1 and job.row_step >= job.n
        if not (rows_of_bytes and dot_tile.dots_pay(job.block, job.k, width)):
            return _choose_few_classes(job, dtype)
        job = job._replace(transpose_bytes=compiled_function(convert.make_transpose_bytes, dtype).address)
    else:
        job = _choose_kc_blocks(job, dtype, width)
    if dot_tile.dots_pay(job.block, job.k, width) and jobs.GRADIENT <= job.task <= jobs.HESSIAN:
        return job._replace(backward_by_dots=compiled_function(dot_tile.make_backward, dtype).address)
    return job


def _choose_few_classes(job: Job, dtype: np.dtype) -> Job:
    """Few classes: both products read rows in place."""
    adjacent = job.feature_step == 1 and 0 < job.row_step <= 2 * job.n
    if not (adjacent and few_classes.classes_in_lanes(job.k, job.n, job.result_itemsize)):
        return job
    job = job._replace(class_lane_forward=compiled_function(few_classes.make_forward, dtype, job.k).address)
    if jobs.GRADIENT <= job.task <= jobs.HESSIAN:
        job = job._replace(narrow_backward=compiled_function(few_classes.make_backward, dtype, job.k).address)
    return job


def _choose_kc_blocks(job: Job, dtype: np.dtype, width: int) -> Job:
    """F-order X whose pieces of columns are short: blocks of more rows than planned, walked in KC blocks of the
    features, where L2 does not hold two such blocks but L3 holds those of several threads."""
    if job.source_type != AS_IS:
        return job
    rows, cache = dot_tile.KC_BLOCK_ROWS[job.itemsize], cache_bytes()
    size = rows * job.n * job.itemsize
    short = job.block * job.itemsize <= COLUMN_BYTES and size > cache["L2"] // 2
    plain = job.row_step == 1 and job.feature_step * job.itemsize % 4096 != 0
    enough = dot_tile.dots_pay(rows, job.k, width) and rows * job.slabs <= job.rows
    if not (plain and enough and short and size <= cache["L3"] // 4):
        return job
    address = compiled_function(dot_tile.make_forward_by_kc_blocks, dtype).address
    kc_blocks = ceil_div(size, dot_tile.KC_BLOCK_BYTES)
    return job._replace(block=rows, kc_blocks=kc_blocks, forward_by_kc_blocks=address)
