"""What a pass over sparse X works on (its `SparseJob`), and where: the layout of the scratch memory.

As in `job.py`, Python fills both in (`launch_sparse.py`) and compiled code reads them from its record.
"""

from __future__ import annotations

from typing import NamedTuple

from ..microkernels.tile import ceil_div
from ..runtime.record import record_bytes
from .job import GRADIENT, HESSIAN, LOG_PROBA, place_parts


class SparseJob(NamedTuple):
    """What a pass works on. Arrays and functions are addresses, 0 where there is none."""

    # `COMMON`: see `contract.py` for what the arrays are.
    ticket: int  # the address of the counter of tickets
    scratch: int
    y: int
    w: int
    soft: int
    theta: int
    bias: int
    direction: int
    direction_bias: int
    loss: int
    grad: int
    bias_grad: int
    out: int
    row_loss: int
    row_label: int
    smoothing: float
    scale: float
    # X, a `Csr`.
    indptr: int
    indices: int
    data: int
    entries: int
    rows: int
    n: int
    k: int
    task: int
    result_itemsize: int
    block: int
    phase_rows: int
    # How many entries later than the current one the rows of theta and of the gradient are prefetched for.
    theta_distance: int
    grad_distance: int
    grad_itemsize: int
    # `Hot` columns.
    hot_columns: int
    hot_starts: int
    hot_levels: int
    hot_grad: int
    hot_size: int  # bytes of hot_grad of one slab
    # Row-parallel: rows starts[p] .. starts[p + 1] are slab p.
    starts: int
    slabs: int
    predict: int  # turns logits into predictions
    residual_of_targets: int  # the softmax step of soft and smoothed targets
    # Feature-parallel: columns cuts[p] .. cuts[p + 1] are range p, and ``kept`` holds what is kept of two phases: D,
    # losses, and column sums of D. Row-parallel: no ranges.
    cuts: int = 0
    ranges: int = 0
    kept: int = 0


SPARSE_JOB_BYTES = record_bytes(SparseJob)


class SparseLayout(NamedTuple):
    """Where the parts of a worker's scratch begin, in bytes, and those of what is kept of a phase."""

    R: int  # logits, then residuals, by rows: R[i * step + c]
    H: int  # logits, then residuals, by classes: H[c * ld + i]
    U: int  # logits along the direction, or targets, or exponentials
    bias: int
    direction_bias: int
    labels: int
    best: int
    losses: int
    loss: int
    w: int
    low: int  # the first entry of each row in a range of columns
    high: int  # the entry after the last one
    step: int  # elements
    ld: int
    itemsize: int
    kept_losses: int  # of what is kept of a phase, after its D: the losses of the blocks
    kept_sums: int  # the column sums of D, of each block
    kept: int  # bytes of one phase
    size: int


def sparse_layout(job: SparseJob, width: int) -> SparseLayout:
    """The `SparseLayout` for registers of ``width`` numbers."""
    k, size = job.k, job.result_itemsize
    step = ceil_div(k, width) * width
    rows = ceil_div(job.block, width) * width
    ld = rows + width  # not a power of two, or the classes of a row would share few sets of the cache
    second = job.task <= GRADIENT and (job.soft or job.smoothing) or job.task in (HESSIAN, LOG_PROBA)
    elements = {
        "R": rows * step,
        "H": step * ld,
        "U": step * ld if second else 0,
        "bias": step,
        "direction_bias": step,
        "labels": ld,
        "best": ld,
        "losses": ld,
        "loss": 8 // size,
        "w": ld * 8 // size,
        "low": rows * 8 // size,
        "high": rows * 8 // size,
    }
    blocks = ceil_div(job.phase_rows, job.block)
    kept = place_parts({"D": job.phase_rows * step * size, "losses": blocks * 8, "sums": blocks * k * 8}, 1)
    names = {"kept_losses": kept["losses"], "kept_sums": kept["sums"], "kept": kept["size"]}
    return SparseLayout(**place_parts(elements, size), **names, step=step, ld=ld, itemsize=size)
