"""The Python side of dense passes: describes a chunk of rows in a `Record` and lets threads work on it.

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
from .block.products import (
    make_backward_by_dots,
    make_backward_by_narrow_tiles,
    make_forward_by_class_lanes,
    make_forward_by_dots,
    make_forward_by_kc_blocks,
)
from .microkernels import tile
from .microkernels.simd import vector_bytes
from .microkernels.tile import ceil_div
from .passes import class_parallel, dense, hessian, models
from .runtime.compile import Entry, compiled, compiled_function, compiled_table
from .runtime.pool import MAX_THREADS, run
from .runtime.record import Launch, Record, address_of, set_arrays

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
    X, dX = rows.X, None if outputs is None else outputs.dX
    assert isinstance(X, np.ndarray)
    config = launch_config(
        Shape(
            task,
            X.shape,
            X.strides,
            X.dtype.char,
            X.shape[1] if params is None else params.theta.shape[1],
            1 if params is None else params.models,
            plan,
            min(n_threads, MAX_THREADS),
            0 if sums.grad is None else sums.grad.itemsize,
            rows.soft is not None or rows.smoothing != 0.0,
            rows.fold is not None and params is not None and params.left_out is not None,
            dX is not None,
        )
    )
    launch = Launch(config.template, config.size)
    set_arrays(launch.record, rows, sums, params, direction, out, outputs)
    launch.record.X = address_of(X) if X.flags.c_contiguous else X.ctypes.data
    if config.class_parallel:
        _run_phases(config, launch, sums.grad is not None, dX is not None)
    else:
        run(config.entry, launch.address, config.workers)


def _run_phases(config: LaunchConfig, launch: Launch, grad: bool, dX: bool) -> None:
    """Class-parallel: block after block, phase after phase. The threads share some of the phases."""

    def phase(number: int, row: int, workers: int = 1) -> None:
        launch.begin(number, row)
        run(config.entry, launch.address, workers)

    for row in range(0, config.template.rows, config.template.block):
        phase(class_parallel.LOAD, row)
        phase(class_parallel.FORWARD, row, config.workers)
        phase(class_parallel.COMBINE, row)
        if grad:
            phase(class_parallel.BACKWARD, row, config.workers)
        if dX:
            phase(class_parallel.INPUT_GRADIENT, row, config.workers)
            phase(class_parallel.STORE, row)


# ------------------------------------------------------------------- what passes of one shape share


class Shape(NamedTuple):
    """What the record of a pass depends on, but for its arrays."""

    task: int
    shape: tuple[int, int]
    strides: tuple[int, ...]
    char: str  # of the dtype of X
    k: int
    models: int
    plan: Plan
    n_threads: int
    grad_itemsize: int
    targets: bool
    left_out: bool
    dX: bool


class LaunchConfig(NamedTuple):
    """What passes of one shape share."""

    entry: Entry  # the function that threads call
    workers: int  # how many may
    template: Record  # without arrays
    size: int  # bytes of record and scratch
    class_parallel: bool


@functools.lru_cache(maxsize=256)
def launch_config(shape: Shape) -> LaunchConfig:
    """Cached, because making it takes longer than a pass over 1,000 x 50 in float32, k = 3."""
    (m, n), plan = shape.shape, shape.plan
    X_dtype = np.dtype("V2" if shape.char == "V" else shape.char)  # "V" alone has no size
    dtype = np.dtype(np.float64 if shape.char == "d" else np.float32)
    steps, slabs = _steps(shape.shape, shape.strides, X_dtype), plan.slabs_of(m)
    record = Record(task=shape.task, n=n, k=shape.k, rows=m, models=shape.models)
    record.source_type, record.itemsize = SOURCE_TYPES[shape.char], X_dtype.itemsize
    record.row_step, record.feature_step = steps
    record.result_itemsize, record.grad_itemsize = dtype.itemsize, shape.grad_itemsize
    record.block, record.flush_rows, record.slabs = plan.block, plan.flush_rows, slabs
    record.claim = max(1, slabs // (CLAIMS * shape.n_threads))
    record.targets = shape.targets and shape.task <= jobs.GRADIENT
    # Of these arrays it matters here whether they are there. Each call brings their addresses.
    record.dX, record.left_out = shape.dX, shape.left_out
    if record.source_type != AS_IS:
        record.convert = compiled_function(convert.make_convert, dtype).address
    if shape.task in jobs.PREDICTION_TASKS.values():
        record.predict = compiled_function(softmax.make_predict, dtype).address
    if plan.strategy == "class-parallel" and shape.task <= jobs.HESSIAN:
        return _class_parallel_config(record, dtype, shape.n_threads)
    _set_products(record, _products_of(shape.task, shape.shape, steps, X_dtype, plan, shape.k), dtype)
    return _row_parallel_config(record, dtype, shape.n_threads)


def _class_parallel_config(record: Record, dtype: np.dtype, n_threads: int) -> LaunchConfig:
    workers = min(n_threads, ceil_div(record.k, jobs.GROUP))
    record.tiles = compiled_table(tile.make_table, dtype)
    size = jobs.group_scratch(record, vector_bytes() // dtype.itemsize, workers)
    return LaunchConfig(compiled(class_parallel.make_work, dtype), workers, record, size, True)


def _row_parallel_config(record: Record, dtype: np.dtype, n_threads: int) -> LaunchConfig:
    width, workers = vector_bytes() // dtype.itemsize, min(n_threads, record.slabs)
    if record.targets:
        record.residual_of_targets = compiled_function(softmax.make_residual_of_targets, dtype).address
    if record.dX or not record.class_lane_forward:
        record.tiles = compiled_table(tile.make_table, dtype)
    record.prefetch[:] = jobs.prefetch_plan(record, width)
    several = record.models > 1 or record.left_out
    passes = models if several else hessian if record.task == jobs.PAIRS else dense
    size = jobs.slab_scratch(record, width, workers)
    return LaunchConfig(compiled(passes.make_work, dtype), workers, record, size, False)


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


def _set_products(record: Record, products: Products, dtype: np.dtype) -> None:
    """The functions that make the products of a pass."""

    def address(make: Any, *arguments: Any) -> int:
        return int(compiled_function(make, dtype, *arguments).address)

    record.block, record.flush_rows, record.row_group = products.block, products.flush_rows, products.row_group
    record.kc_blocks = 1
    if products.forward == "dot":
        record.forward_by_dots = address(make_forward_by_dots)
    if products.forward == "class_lane":
        record.class_lane_forward = address(make_forward_by_class_lanes, record.k)
    if products.kc_block:
        # None is without features: each has as many as a tile at least.
        record.kc_blocks = ceil_div(record.n, max(products.kc_block, tile.TILE_VECTORS))
        record.forward_by_kc_blocks = address(make_forward_by_kc_blocks)
    if products.transpose_bytes:
        record.transpose_bytes = address(convert.make_transpose_bytes)
    if products.backward == "dot":
        record.backward_by_dots = address(make_backward_by_dots)
    if products.backward == "narrow":
        record.narrow_backward = address(make_backward_by_narrow_tiles, record.k)
