"""What a pass works on: its tasks, and what follows for a record (`runtime/record.py`) from its other fields.

Python fills a record in (`launch_dense.py`, `launch_sparse.py`); a worker of compiled code reads it as ``job``, and its
scratch as ``s``.
"""

from __future__ import annotations

from ..microkernels.few_classes import backward_steps, class_lanes, forward_steps
from ..microkernels.memory import jitable
from ..microkernels.prefetch import PREFETCH_NUMBERS, PrefetchPlan, plan_block, plan_rows
from ..microkernels.tile import TILE_SCALARS, TILE_VECTORS, ceil_div
from ..runtime.record import Record, place_parts
from .convert import AS_IS

VALUE, GRADIENT, HESSIAN, GRAM, LABEL, LOGITS, PROBA, LOG_PROBA, PAIRS = range(9)
PREDICTION_TASKS = {"label": LABEL, "logits": LOGITS, "proba": PROBA, "log_proba": LOG_PROBA}
# Classes that a thread of a class-parallel pass takes at a time: their part of theta, 196 kB at n = 512 in float32,
# stays in L2.
GROUP = 16 * TILE_SCALARS


@jitable
def has_gradient(task: int) -> bool:
    """Whether the task sums products into ``grad``."""
    return GRADIENT <= task <= GRAM or task == PAIRS


@jitable
def gradient_rows(task: int, n: int, k: int) -> int:
    """Rows of n numbers in a slab's sums: one for each class, or a matrix for each pair of classes."""
    return k * (k - 1) // 2 * n if task == PAIRS else k


def prefetch_plan(job: Record, width: int) -> PrefetchPlan:
    """How blocks are prefetched while the products of the block before are computed; ``width`` numbers to a register.

    The prefetches are spread over the steps of all tiles of a block, which are counted here.
    """
    task, n, k, r, size = job.task, job.n, job.k, job.block, job.itemsize
    groups, lines = ceil_div(k, TILE_SCALARS), min(TILE_VECTORS, width)
    feature_vectors, row_vectors = ceil_div(n, width), ceil_div(r, width)
    forward = n * ceil_div(row_vectors, TILE_VECTORS)
    if job.forward_by_dots:
        forward = feature_vectors * ceil_div(r, lines)
    backward = r * ceil_div(feature_vectors, TILE_VECTORS)
    if job.backward_by_dots:
        backward = row_vectors * ceil_div(n, lines)
    forwards = 2 if task == HESSIAN else 0 if task == GRAM else 1
    backwards = int(GRADIENT <= task <= GRAM)
    if job.class_lane_forward:
        steps = forwards * forward_steps(n, r, width) + backwards * backward_steps(n, k, r, job.result_itemsize)
        return plan_rows(r, job.row_step * size, steps)
    steps = groups * (forwards * forward + backwards * backward)
    return plan_block(r, n, job.row_step * size, job.feature_step * size, size, steps)


# --------------------------------------------------------------------------------- scratch
# Each function sets the distances within parts and places the parts; it returns the bytes of record and scratch.


def slab_scratch(job: Record, width: int, workers: int) -> int:
    """Scratch where each worker has all that a block of a slab needs, in registers of ``width`` numbers."""
    task, n, k = job.task, job.n, job.k
    ld = job.ld = (ceil_div(job.block, width) | 1) * width  # odd, as in `column_step`
    n_padded = ceil_div(n, width) * width
    flushes = job.grad_itemsize > job.result_itemsize
    own = {
        "P": n_padded * ld,  # transposed squares may write past n
        "Q": TILE_VECTORS * width * ld,
        "S": 0 if job.source_type == AS_IS else n_padded * ld + width,
        "H": 0 if task == GRAM else k * ld,
        "U": k * ld if needs_second(job) else 0,
        "theta": 0 if task == GRAM else n * class_lanes(k),
        "direction": n * class_lanes(k) if task == HESSIAN else 0,
        "W": n_padded * ld if task == PAIRS else 0,
        "G": gradient_rows(task, n, k) * n if flushes and has_gradient(task) else 0,
        "zeros": TILE_SCALARS,
        "prefetch": PREFETCH_NUMBERS,
        "fold_w": ld if job.left_out else 0,
    }
    return place_parts(job, own | rows_and_bias(class_lanes(k), ld), workers=workers)


def group_scratch(job: Record, width: int, workers: int) -> int:
    """Scratch of a class-parallel pass: what all threads share of a block, and what each has for its group."""
    n, k = job.n, job.k
    ld = job.ld = ceil_div(job.block, width) * width
    n_padded, groups, size = ceil_div(n, width) * width, ceil_div(k, GROUP), min(GROUP, k)
    shared = {
        "P": n_padded * ld,
        "S": n_padded * (ld + width),
        "R": n * ld + width,
        "H": k * ld,
        "U": k * ld if job.task == HESSIAN else 0,
    }
    shared |= dict.fromkeys(("w", "labels", "losses", "share", "mean", "top_label"), ld)
    shared |= dict.fromkeys(("tops", "sums", "more", "mass", "best"), groups * ld)
    own = {
        "theta": size * n,
        "bias": size,
        "zeros": TILE_SCALARS,
        "targets": size * ld if job.targets else 0,
        "Q": width,
        "G": size * n if job.grad_itemsize > job.result_itemsize else 0,
        "prefetch": PREFETCH_NUMBERS,
    }
    return place_parts(job, own, shared, workers)


def sparse_scratch(job: Record, width: int, workers: int) -> int:
    """Scratch of a pass over sparse X; where features are shared, what is kept of two phases too."""
    k, rows = job.k, ceil_div(job.block, width) * width
    step = job.step = ceil_div(k, width) * width
    ld = job.ld = rows + width  # not a power of two, or the classes of a row would share few sets of the cache
    own = {
        "R": rows * step,
        "H": step * ld,
        "U": step * ld if needs_second(job) else 0,
        "low": rows,
        "high": rows,
    }
    blocks = 2 * job.phase_rows // job.block if job.ranges else 0
    kept = {"kept_D": blocks * job.block * step, "kept_losses": blocks, "kept_sums": blocks * k}
    return place_parts(job, own | rows_and_bias(step, ld), kept, workers)


def needs_second(job: Record) -> bool:
    """Whether a block has numbers for each row and class besides H: along a direction, targets, or exponentials."""
    return bool(job.targets) or job.task in (HESSIAN, LOG_PROBA)


def rows_and_bias(classes: int, rows: int) -> dict[str, int]:
    """The parts that hold a number for each class, or for each row of a block."""
    parts = dict.fromkeys(("bias", "direction_bias"), classes) | {"loss": 1}
    return parts | dict.fromkeys(("labels", "best", "losses", "w"), rows)
