"""The Numba backend: dense kernels compiled for the host at their first call, then cached on disk.

This file is the Python side of the contract in `fastsoftmax.kernels`: it turns a chunk of rows into
a `Job` of addresses and lets threads work on it.

====================  ==================================================================
`numba_pass`          one worker's share of a pass: the block loop (start reading here)
`numba_pack`          X in any layout -> panels
`numba_narrow`        X of narrow types, converted
`numba_fetch`         what the tiles prefetch
`numba_classes`       the class-parallel strategy
`numba_product`       the two products, cut into
`numba_pairs`         the exact Hessian, made of the second
`numba_tile`          register tiles, the inner loop
`numba_rows`          softmax, loss and residual on a tile of logits
`numba_models`        several models in one pass
`numba_math`          exp and log
`numba_lanes`         SIMD vectors as Numba values
====================  ==================================================================

Threads are Python's own: the compiled code holds no GIL and takes slabs by an atomic counter. So
nothing depends on Numba's threading layers (one of them aborts the process when two threads enter
it), and several Python threads may call at once. The calling thread works too; n_threads = 1 starts none.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
from numba import njit

from . import Parameters, RowOutputs, Rows, Sums, numba_classes, numba_pass
from .numba_lanes import host_features, vector_bytes
from .numba_narrow import KINDS
from .numba_pass import Job
from .plan import Plan

READS = "".join(KINDS)
STRATEGIES = ("row-parallel", "class-parallel")

_PREDICTION_TASKS = {
    "label": numba_pass.LABEL,
    "logits": numba_pass.LOGITS,
    "proba": numba_pass.PROBA,
    "log_proba": numba_pass.LOG_PROBA,
}


def isa() -> str:
    names = {64: "AVX-512", 32: "AVX2", 16: "SSE2"}
    return names[vector_bytes()] if "x86_64" in host_features() else f"{8 * vector_bytes()}-bit vectors"


def threading() -> str:
    return "Python threads"


def dense_value_and_grad(
    rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    """Loss and gradient; see `fastsoftmax.kernels`."""
    task = numba_pass.VALUE if sums.grad is None else numba_pass.GRADIENT
    _run(task, rows, plan, sums, n_threads, params, outputs=outputs)


def dense_hess_prod(
    rows: Rows, params: Parameters, direction: Parameters, plan: Plan, sums: Sums, n_threads: int
) -> None:
    """Hessian product; see `fastsoftmax.kernels`."""
    _run(numba_pass.HESSIAN, rows, plan, sums, n_threads, params, direction)


def dense_gram(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Gram matrix; see `fastsoftmax.kernels`."""
    _run(numba_pass.GRAM, rows, plan, sums, n_threads)


def dense_hessian(rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Gram matrices of the pairs of classes; see `fastsoftmax.kernels`."""
    _run(numba_pass.PAIRS, rows, plan, sums, n_threads, params)


def predict(rows: Rows, params: Parameters, plan: Plan, kind: str, out: np.ndarray, sums: Sums, n_threads: int) -> None:
    """Predictions; see `fastsoftmax.kernels`."""
    _run(_PREDICTION_TASKS[kind], rows, plan, sums, n_threads, params, out=out)


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
    slab_rows = plan.slab_rows(m)
    ticket = np.zeros(1, np.int64)
    job = Job(
        task=task,
        n=n,
        k=k,
        X=X.ctypes.data,
        kind=KINDS[X.dtype.char],
        itemsize=X.itemsize,
        result_itemsize=dtype.itemsize,
        # A single row or column may carry any stride.
        row_step=X.strides[0] // X.itemsize if m > 1 else n,
        feature_step=X.strides[1] // X.itemsize if n > 1 else 1,
        rows=m,
        y=_address(rows.y),
        w=_address(rows.w),
        soft=_address(rows.soft),
        smoothing=float(rows.smoothing),
        theta=_address(params and params.theta),
        bias=_address(params and params.bias),
        direction=_address(direction and direction.theta),
        direction_bias=_address(direction and direction.bias),
        loss=_address(sums.loss),
        grad=_address(sums.grad),
        grad_itemsize=0 if sums.grad is None else sums.grad.itemsize,
        bias_grad=_address(sums.bias),
        out=_address(out),
        dX=_address(outputs and outputs.dX),
        row_loss=_address(outputs and outputs.loss),
        row_label=_address(outputs and outputs.label),
        scale=float(sums.scale),
        models=1 if params is None else params.models,
        fold=_address(rows.fold),
        left_out=_address(params and params.left_out) if rows.fold is not None else 0,
        held=_address(sums.held),
        block=plan.block,
        run=plan.run,
        slab_rows=slab_rows,
        slabs=-(-m // slab_rows),
        ticket=_address(ticket),
    )
    if plan.strategy == "class-parallel" and task <= numba_pass.HESSIAN:
        _share_blocks(job, ticket, dtype.type(0), n_threads)
    else:
        _share_slabs(job, dtype.type(0), n_threads)


def _share_slabs(job: Job, zero: np.floating, n_threads: int) -> None:
    """Row-parallel: each thread takes slabs until there are none."""
    layout = numba_pass.scratch_layout(job, vector_bytes() // job.result_itemsize)
    work = _work(numba_pass)

    def share() -> None:
        _scratch, address = _new_scratch(layout.size)
        work(job, layout, address, zero)

    _in_threads(share, min(n_threads, job.slabs))


def _share_blocks(job: Job, ticket: np.ndarray, zero: np.floating, n_threads: int) -> None:
    """Class-parallel: block after block, each in phases; some are shared by the threads."""
    width = vector_bytes() // job.result_itemsize
    shared, own = numba_classes.shared_layout(job, width), numba_classes.own_layout(job, width)
    work = _work(numba_classes)
    _shared_scratch, shared_address = _new_scratch(shared.size)
    spare: list[tuple[np.ndarray, int]] = []  # scratch of threads between two phases
    workers = min(n_threads, -(-job.k // numba_classes.GROUP))

    def one(phase: int, row: int) -> None:
        try:
            scratch = spare.pop()
        except IndexError:
            scratch = _new_scratch(own.size)
        work(job, shared, own, shared_address, scratch[1], phase, row, zero)
        spare.append(scratch)

    def all_threads(phase: int, row: int) -> None:
        ticket[0] = 0
        _in_threads(lambda: one(phase, row), workers)

    for row in range(0, job.rows, job.block):
        one(numba_classes.BEGIN, row)
        all_threads(numba_classes.FORWARD, row)
        one(numba_classes.COMBINE, row)
        if job.grad:
            all_threads(numba_classes.BACKWARD, row)
        if job.dX:
            all_threads(numba_classes.TO_INPUT, row)
            one(numba_classes.STORE, row)


def _new_scratch(size: int) -> tuple[np.ndarray, int]:
    """Memory, and the address in it where a cache line begins."""
    scratch = np.empty(size + 64, np.uint8)
    return scratch, -(-scratch.ctypes.data // 64) * 64


def _address(array: np.ndarray | None) -> int:
    """Where a contiguous array begins; 0 for None."""
    if array is None:
        return 0
    assert array.flags.c_contiguous
    return array.ctypes.data


@functools.cache
def _work(module: ModuleType) -> Callable[..., None]:
    """The compiled entry of a strategy, cached on disk where a directory can be written to."""
    files = sorted(Path(__file__).parent.glob("numba_*.py"))
    work = module.make_work(hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest())
    try:
        return njit(nogil=True, cache=True, error_model="numpy")(work)
    except RuntimeError:  # Numba finds no directory to cache in
        return njit(nogil=True, error_model="numpy")(work)


# --------------------------------------------------------------------------------- threads


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Starts a thread only when all it has are busy."""
    return ThreadPoolExecutor(max_workers=1024, thread_name_prefix="fastsoftmax")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def _in_threads(share: Callable[[], None], workers: int) -> None:
    """Call ``share`` in ``workers`` threads, this one among them; an exception in any is raised here."""
    futures = [_pool().submit(share) for _ in range(workers - 1)]
    try:
        share()
    finally:
        # One that has not begun would find nothing left to do. The others still use the caller's arrays.
        errors = [future.exception() for future in futures if not future.cancel()]
    for error in errors:
        if error is not None:
            raise error
