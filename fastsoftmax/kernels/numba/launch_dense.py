"""The Python side of dense passes: turns a chunk of rows into a `Job` and lets threads work on it.

How the products of a block are made is chosen in `kernels/strategy.py`, once for each shape of a pass.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..contract import Parameters, RowOutputs, Rows, Sums
from ..plan import Plan
from ..strategy import Block, Products, choose_products
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
    steps = _steps((m, n), strides, X_dtype)
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
        row_step=steps[0],
        feature_step=steps[1],
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
    chosen = _products_of(task, (m, n), steps, X_dtype, plan, k)
    return _row_parallel_config(_with_products(job, chosen, dtype), dtype, n_threads)


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


def products(shape: tuple[int, int], strides: tuple[int, ...], dtype: np.dtype, plan: Plan, outputs: int) -> Products:
    """See `fastsoftmax.kernels.contract`."""
    return _products_of(jobs.GRADIENT, shape, _steps(shape, strides, dtype), dtype, plan, outputs)


def _steps(shape: tuple[int, int], strides: tuple[int, ...], dtype: np.dtype) -> tuple[int, int]:
    """From one row, and one feature, to the next, in elements. A single row or column may have any stride."""
    m, n = shape
    return strides[0] // dtype.itemsize if m > 1 else n, strides[1] // dtype.itemsize if n > 1 else 1


def _products_of(
    task: int, shape: tuple[int, int], steps: tuple[int, int], dtype: np.dtype, plan: Plan, outputs: int
) -> Products:
    """The products of a pass. X that has neither rows nor columns is packed as columns."""
    row_step, feature_step = steps
    by_row = feature_step == 1 or (SOURCE_TYPES[dtype.char] != AS_IS and row_step != 1)
    block = Block(
        n=shape[1],
        outputs=outputs,
        rows=shape[0],
        row_step=row_step * dtype.itemsize,
        feature_step=feature_step * dtype.itemsize,
        itemsize=dtype.itemsize,
        by_column=not by_row,
        size=8 if dtype.char == "d" else 4,
        vector=vector_bytes(),
        forward=task not in (jobs.GRAM, jobs.PAIRS),
        backward=jobs.GRADIENT <= task <= jobs.HESSIAN,
    )
    # Its backward product takes all classes with a panel, which is packed only if features are not in its lanes.
    return replace(choose_products(plan, block, "numba"), class_chunk=0, copy_panels=False)


def _with_products(job: Job, products: Products, dtype: np.dtype) -> Job:
    """The job with the functions that make its products."""

    def address(make: Any, *arguments: Any) -> int:
        return int(compiled_function(make, dtype, *arguments).address)

    chosen: dict[str, Any] = {"block": products.block, "flush_rows": products.flush_rows}
    chosen["row_group"] = products.row_group
    if products.forward == "dot":
        chosen["forward_by_dots"] = address(dot_tile.make_forward)
    if products.forward == "class_lane":
        chosen["class_lane_forward"] = address(few_classes.make_forward, job.k)
    if products.kc_block:
        # None is without features: each has as many as a tile at least.
        chosen["kc_blocks"] = ceil_div(job.n, max(products.kc_block, tile.TILE_VECTORS))
        chosen["forward_by_kc_blocks"] = address(dot_tile.make_forward_by_kc_blocks)
    if products.transpose_bytes:
        chosen["transpose_bytes"] = address(convert.make_transpose_bytes)
    if products.backward == "dot":
        chosen["backward_by_dots"] = address(dot_tile.make_backward)
    if products.backward == "narrow":
        chosen["narrow_backward"] = address(few_classes.make_backward, job.k)
    return job._replace(**chosen)
