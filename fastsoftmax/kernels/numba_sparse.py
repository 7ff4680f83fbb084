"""The Python side of sparse X for the Numba backend: a `SparseJob` of addresses for `numba_sparse_pass`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import Csr, Parameters, RowOutputs, Rows, Sums, numba_job, numba_sparse_pass
from .numba_compile import Entry, compiled, compiled_function
from .numba_lanes import vector_bytes
from .numba_pool import MOST, run
from .numba_predict import make_predict
from .numba_record import Record, address_of, common_fields, new_scratch, pack
from .numba_sparse_pass import SparseJob, SparseLayout
from .numba_targets import make_soft_loss
from .plan import ENTRIES_AHEAD, Plan, cache_bytes


def sparse_value_and_grad(
    rows: Rows, params: Parameters, plan: Plan, sums: Sums, n_threads: int, outputs: RowOutputs | None = None
) -> None:
    """Loss and gradient; see `fastsoftmax.kernels`."""
    task = numba_job.VALUE if sums.grad is None else numba_job.GRADIENT
    _run(task, rows, plan, sums, n_threads, params, outputs=outputs)


def sparse_hess_prod(
    rows: Rows, params: Parameters, direction: Parameters, plan: Plan, sums: Sums, n_threads: int
) -> None:
    """Hessian product; see `fastsoftmax.kernels`."""
    _run(numba_job.HESSIAN, rows, plan, sums, n_threads, params, direction)


def sparse_gram_diagonal(rows: Rows, plan: Plan, sums: Sums, n_threads: int) -> None:
    """Diagonal of the Gram matrix, and the sums of columns; see `fastsoftmax.kernels`."""
    _run(numba_job.GRAM, rows, plan, sums, n_threads)


def predict_sparse(
    rows: Rows, params: Parameters, plan: Plan, kind: str, out: np.ndarray, sums: Sums, n_threads: int
) -> None:
    """Predictions for a `Csr`; see `fastsoftmax.kernels`."""
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
    X, n_threads = rows.X, min(n_threads, MOST)
    k = 2 if params is None else params.theta.shape[1]  # a Gram matrix: two sums for each column
    width = vector_bytes() // X.dtype.itemsize
    starts = plan.sparse_slabs(X.indptr)
    predicts = task in numba_job.PREDICTION_TASKS.values()
    targets = task <= numba_job.GRADIENT and (rows.soft is not None or rows.smoothing != 0.0)
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
        run=_run_rows(plan, k, width),
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
    entry = compiled(numba_sparse_pass, X.dtype, X.indices.dtype)
    layout = numba_sparse_pass.sparse_layout(job, width)
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
    last = 0 if job.task == numba_job.GRAM else -(-job.rows // job.run) * job.run
    for row in range(0, last + 1, job.run):
        record.begin(row=row)
        run(entry, record.address, n_threads)


def _run_rows(plan: Plan, k: int, width: int) -> int:
    """Rows of a run whose residuals, padded to whole registers, take as many bytes as planned for `Plan.run` rows."""
    padded = -(-k // width) * width
    return max(1, plan.run * k // padded // plan.block) * plan.block


def _ahead(size: int) -> int:
    """Entries to look ahead by, in walks over an array of ``size`` bytes."""
    return ENTRIES_AHEAD if size > cache_bytes()["L2"] else 0


def _cuts(X: Csr, ranges: int) -> np.ndarray:
    """Columns where each of the ranges begins, int64 (ranges + 1,): all cost about the same."""
    if X.load is None:
        return np.arange(ranges + 1) * X.n // ranges
    return np.searchsorted(X.load, X.load[-1] * np.arange(ranges + 1) / ranges)
