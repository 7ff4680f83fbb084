"""The Python side of sparse X for the Numba backend: turns a chunk of rows into a `SparseJob` of addresses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..contract import Csr, Parameters, RowOutputs, Rows, Sums
from ..machine import cache_bytes
from ..plan import ENTRIES_AHEAD, Plan
from .block import job as jobs
from .block.softmax import make_predict, make_soft_loss
from .microkernels.simd import vector_bytes
from .passes.sparse import SparseJob, SparseLayout, make_work, sparse_layout
from .runtime.compile import Entry, compiled, compiled_function
from .runtime.pool import MOST, run
from .runtime.record import Record, address_of, common_fields, new_scratch, pack


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
    X, n_threads = rows.X, min(n_threads, MOST)
    k = 2 if params is None else params.theta.shape[1]  # a Gram matrix: two sums for each column
    width = vector_bytes() // X.dtype.itemsize
    starts = plan.sparse_slabs(X.indptr)
    predicts = task in jobs.PREDICTION_TASKS.values()
    targets = task <= jobs.GRADIENT and (rows.soft is not None or rows.smoothing != 0.0)
    if predicts:
        sums = replace(sums, grad=None)  # a prediction gets sums whose gradient, if there is one, is not its own
    hot = sums.hot
    common = common_fields(rows, sums, params, direction, out, outputs)
    job = SparseJob(
        0,
        0,
        *common,
        task=task,
        n=X.n,
        k=k,
        indptr=address_of(X.indptr),
        indices=address_of(X.indices),
        data=address_of(X.data),
        entries=int(X.indptr[-1]),
        result_itemsize=X.dtype.itemsize,
        rows=len(X),
        block=plan.block,
        phase_rows=_phase_rows(plan, k, width),
        theta_ahead=_ahead(X.n * k * X.dtype.itemsize),
        grad_ahead=_ahead(0 if sums.grad is None else sums.grad[0].nbytes),
        grad_itemsize=0 if sums.grad is None else sums.grad.itemsize,
        hot_columns=address_of(hot and hot.columns),
        hot_starts=address_of(hot and hot.starts),
        hot_levels=0 if hot is None else len(hot.starts) - 1,
        hot_grad=address_of(hot and hot.grad),
        hot_size=0 if hot is None else hot.grad[0].nbytes,
        starts=address_of(starts),
        slabs=plan.slabs,
        predict=compiled_function(make_predict, X.dtype).address if predicts else 0,
        soft_loss=compiled_function(make_soft_loss, X.dtype).address if targets else 0,
        cuts=0,
        ranges=0,
        kept=0,
    )
    entry = compiled(make_work, X.dtype, X.indices.dtype)
    layout = sparse_layout(job, width)
    if plan.strategy == "feature-parallel":
        _share_features(entry, job, layout, _cuts(X, n_threads), n_threads)
    else:
        # Each thread takes slabs until there are none.
        workers = min(n_threads, plan.slabs)
        record = Record(SparseJob._fields, job[2:], pack(layout), workers * layout.size)
        run(entry, record.address, workers)


def _share_features(entry: Entry, job: SparseJob, layout: SparseLayout, cuts: np.ndarray, n_threads: int) -> None:
    """Feature-parallel: run after run, each shared by the threads."""
    _kept, kept = new_scratch(2 * layout.kept)
    job = job._replace(cuts=address_of(cuts), ranges=len(cuts) - 1, kept=kept)
    record = Record(SparseJob._fields, job[2:], pack(layout), n_threads * layout.size)
    # Once more after the last run, for its columns. A Gram matrix has no runs.
    last = 0 if job.task == jobs.GRAM else -(-job.rows // job.phase_rows) * job.phase_rows
    for row in range(0, last + 1, job.phase_rows):
        record.begin(row=row)
        run(entry, record.address, n_threads)


def _phase_rows(plan: Plan, k: int, width: int) -> int:
    """Rows of a phase whose residuals, padded to whole registers, take as many bytes as planned."""
    padded = -(-k // width) * width
    return max(1, plan.phase_rows * k // padded // plan.block) * plan.block


def _ahead(size: int) -> int:
    """Entries to look ahead by, in walks over an array of ``size`` bytes."""
    return ENTRIES_AHEAD if size > cache_bytes()["L2"] else 0


def _cuts(X: Csr, ranges: int) -> np.ndarray:
    """Columns where each of the ranges begins, int64 (ranges + 1,): all cost about the same."""
    if X.load is None:
        return np.arange(ranges + 1) * X.n // ranges
    return np.searchsorted(X.load, X.load[-1] * np.arange(ranges + 1) / ranges)
