"""The Python side of sparse passes: describes a chunk of rows in a `Record` and lets threads work on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..contract import Csr, Parameters, RowOutputs, Rows, Sums
from ..machine import cache_bytes
from ..plan import ENTRIES_AHEAD, Plan
from .block import job as jobs
from .block.softmax import make_predict, make_residual_of_targets
from .microkernels.simd import vector_bytes
from .microkernels.tile import ceil_div
from .passes.sparse import make_work
from .runtime.compile import Entry, compiled, compiled_function
from .runtime.pool import MAX_THREADS, run
from .runtime.record import Launch, Record, address_of, set_arrays


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
    k = 2 if params is None else params.theta.shape[1]  # a Gram matrix has two sums for each column
    record = _sizes_and_functions(task, rows, plan, k, sums)
    set_arrays(record, rows, sums, params, direction, out, outputs)
    _set_csr(record, X, sums)
    starts, cuts, shared = plan.sparse_slabs(X.indptr), None, plan.strategy == "feature-parallel"
    if shared:
        cuts = _cuts(X, n_threads)
        record.ranges = len(cuts) - 1
    record.starts, record.cuts = address_of(starts), address_of(cuts)
    workers = n_threads if shared else min(n_threads, plan.slabs)
    width = vector_bytes() // X.dtype.itemsize
    launch = Launch(record, jobs.sparse_scratch(record, width, workers))
    entry = compiled(make_work, X.dtype, X.indices.dtype)
    if shared:
        _run_phases(entry, launch, workers)
    else:
        run(entry, launch.address, workers)


def _sizes_and_functions(task: int, rows: Rows, plan: Plan, k: int, sums: Sums) -> Record:
    """What does not depend on where the arrays of a call are."""
    X, grad, size = rows.X, sums.grad, rows.X.dtype.itemsize
    assert isinstance(X, Csr)
    record = Record(task=task, n=X.n, k=k, rows=len(X), models=1, result_itemsize=size)
    record.block, record.slabs = plan.block, plan.slabs
    record.phase_rows = _phase_rows(plan, k, vector_bytes() // size)
    record.theta_distance = _prefetch_distance(X.n * k * size)
    if grad is not None:
        record.grad_itemsize, record.grad_distance = grad.itemsize, _prefetch_distance(grad[0].nbytes)
    if task in jobs.PREDICTION_TASKS.values():
        record.predict = compiled_function(make_predict, X.dtype).address
    if task <= jobs.GRADIENT and (rows.soft is not None or rows.smoothing != 0.0):
        record.targets = True
        record.residual_of_targets = compiled_function(make_residual_of_targets, X.dtype).address
    return record


def _set_csr(record: Record, X: Csr, sums: Sums) -> None:
    """The arrays of X, and those of its hot columns."""
    record.indptr, record.indices, record.data = address_of(X.indptr), address_of(X.indices), address_of(X.data)
    record.entries, hot = int(X.indptr[-1]), sums.hot
    if hot is not None:
        record.hot_columns, record.hot_starts = address_of(hot.columns), address_of(hot.starts)
        record.hot_levels = len(hot.starts) - 1
        record.hot_grad, record.hot_size = address_of(hot.grad), hot.grad[0].nbytes


def _run_phases(entry: Entry, launch: Launch, workers: int) -> None:
    """Feature-parallel: phase after phase, each shared by the threads."""
    record = launch.record
    # One call more after the last phase, for its columns. A Gram matrix has no phases.
    last = 0 if record.task == jobs.GRAM else ceil_div(record.rows, record.phase_rows) * record.phase_rows
    for row in range(0, last + 1, record.phase_rows):
        launch.begin(0, row)
        run(entry, launch.address, workers)


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
