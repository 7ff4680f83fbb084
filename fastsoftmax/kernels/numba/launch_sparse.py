"""The Python side of sparse passes: turns a chunk of rows into a `SparseJob` and lets threads work on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..contract import Csr, Parameters, RowOutputs, Rows, Sums
from ..machine import cache_bytes
from ..plan import ENTRIES_AHEAD, Plan
from .block import job as jobs
from .block.softmax import make_predict, make_residual_of_targets
from .block.sparse_job import SparseJob, SparseLayout, sparse_layout
from .microkernels.simd import vector_bytes
from .microkernels.tile import ceil_div
from .passes.sparse import make_work
from .runtime.compile import Entry, compiled, compiled_function
from .runtime.pool import MAX_THREADS, run
from .runtime.record import COMMON, Record, address_of, common_fields, new_scratch, pack


def run_sparse(
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
    """One pass over a chunk of sparse rows; ``task`` is one of those in `block/job.py`."""
    X, n_threads = rows.X, min(n_threads, MAX_THREADS)
    assert isinstance(X, Csr)
    if task in jobs.PREDICTION_TASKS.values():
        sums = replace(sums, grad=None)  # a prediction may be given sums whose gradient is not its own
    starts = plan.sparse_slabs(X.indptr)
    width = vector_bytes() // X.dtype.itemsize
    common = common_fields(rows, sums, params, direction, out, outputs)
    k = 2 if params is None else params.theta.shape[1]  # a Gram matrix has two sums for each column
    job = _make_job(task, rows, plan, k, width, sums, common, starts)
    entry = compiled(make_work, X.dtype, X.indices.dtype)
    layout = sparse_layout(job, width)
    if plan.strategy == "feature-parallel":
        _run_phases(entry, job, layout, _cuts(X, n_threads), n_threads)
    else:
        workers = min(n_threads, plan.slabs)
        record = Record(SparseJob, job[2:], pack(layout), workers * layout.size)
        run(entry, record.address, workers)


def _make_job(
    task: int, rows: Rows, plan: Plan, k: int, width: int, sums: Sums, common: tuple[Any, ...], starts: np.ndarray
) -> SparseJob:
    """The job of a pass over k classes, for registers of ``width`` numbers."""
    X, hot, grad = rows.X, sums.hot, sums.grad
    assert isinstance(X, Csr)
    predicts = task in jobs.PREDICTION_TASKS.values()
    targets = task <= jobs.GRADIENT and (rows.soft is not None or rows.smoothing != 0.0)
    fields: dict[str, Any] = dict(zip(COMMON, (0, 0, *common), strict=True))
    return SparseJob(
        **fields,
        indptr=address_of(X.indptr),
        indices=address_of(X.indices),
        data=address_of(X.data),
        entries=int(X.indptr[-1]),
        rows=len(X),
        n=X.n,
        k=k,
        task=task,
        result_itemsize=X.dtype.itemsize,
        block=plan.block,
        phase_rows=_phase_rows(plan, k, width),
        theta_distance=_prefetch_distance(X.n * k * X.dtype.itemsize),
        grad_distance=_prefetch_distance(0 if grad is None else grad[0].nbytes),
        grad_itemsize=0 if grad is None else grad.itemsize,
        hot_columns=address_of(None if hot is None else hot.columns),
        hot_starts=address_of(None if hot is None else hot.starts),
        hot_levels=0 if hot is None else len(hot.starts) - 1,
        hot_grad=address_of(None if hot is None else hot.grad),
        hot_size=0 if hot is None else hot.grad[0].nbytes,
        starts=address_of(starts),
        slabs=plan.slabs,
        predict=compiled_function(make_predict, X.dtype).address if predicts else 0,
        residual_of_targets=compiled_function(make_residual_of_targets, X.dtype).address if targets else 0,
    )


def _run_phases(entry: Entry, job: SparseJob, layout: SparseLayout, cuts: np.ndarray, n_threads: int) -> None:
    """Feature-parallel: phase after phase, each shared by the threads."""
    _kept, kept = new_scratch(2 * layout.kept)
    job = job._replace(cuts=address_of(cuts), ranges=len(cuts) - 1, kept=kept)
    record = Record(SparseJob, job[2:], pack(layout), n_threads * layout.size)
    # One call more after the last phase, for its columns. A Gram matrix has no phases.
    last = 0 if job.task == jobs.GRAM else ceil_div(job.rows, job.phase_rows) * job.phase_rows
    for row in range(0, last + 1, job.phase_rows):
        record.begin(row=row)
        run(entry, record.address, n_threads)


def _phase_rows(plan: Plan, k: int, width: int) -> int:
    """Rows of a phase whose residuals, padded to whole registers, take as many bytes as planned."""
    padded = ceil_div(k, width) * width
    return max(1, plan.phase_rows * k // padded // plan.block) * plan.block


def _prefetch_distance(size: int) -> int:
    """How many entries ahead rows of an array of ``size`` bytes are prefetched; 0 where L2 holds the array."""
    return ENTRIES_AHEAD if size > cache_bytes()["L2"] else 0


def _cuts(X: Csr, ranges: int) -> np.ndarray:
    """The first column of each of the ranges, int64 (ranges + 1,), so that all cost about the same."""
    if X.load is None:
        return np.arange(ranges + 1) * X.n // ranges
    cuts: np.ndarray = np.searchsorted(X.load, X.load[-1] * np.arange(ranges + 1) / ranges)
    return cuts
