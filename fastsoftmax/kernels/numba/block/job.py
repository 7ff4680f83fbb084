"""What a pass over dense X works on (its `Job`), and where: the layout of the scratch memory.

Python fills a `Job` and the layouts in (`launch_dense.py`); a worker of compiled code reads them from its record
(`runtime/record.py`), so that fields are matched by their names.
"""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np

from ..microkernels.few_classes import backward_steps, class_lanes, forward_steps
from ..microkernels.memory import inlined, jitable, kernel, pointer
from ..microkernels.prefetch import PREFETCH_BYTES, PrefetchPlan, plan_block, plan_rows
from ..microkernels.tile import TILE_SCALARS, TILE_VECTORS, ceil_div
from ..runtime.record import COMMON, LINE, record_bytes, unpack
from .convert import AS_IS

VALUE, GRADIENT, HESSIAN, GRAM, LABEL, LOGITS, PROBA, LOG_PROBA, PAIRS = range(9)
PREDICTION_TASKS = {"label": LABEL, "logits": LOGITS, "proba": PROBA, "log_proba": LOG_PROBA}
# Classes that a thread of a class-parallel pass takes at a time: their part of theta, 196 kB at n = 512 in float32,
# stays in L2.
GROUP = 16 * TILE_SCALARS
# The first fields of a Job, which each pass has of its own; passes of one shape share the others.
OWN = (*COMMON, "X", "dX", "fold", "left_out", "held")


class Job(NamedTuple):
    """What a pass works on.

    Arrays are addresses, 0 for None. So are functions that only some passes call, 0 where this one does not: Numba
    compiles every branch of a function, so these are compiled apart (`runtime/compile.py`).
    """

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
    # The others of `OWN`.
    X: int
    dX: int
    fold: int
    left_out: int
    held: int
    # What passes of one shape share.
    task: int
    n: int
    k: int  # of all models together
    source_type: int  # of X, one of `SOURCE_TYPES`
    itemsize: int  # of X
    result_itemsize: int  # of the computation: of theta, the logits, the residuals
    row_step: int  # of X, in elements
    feature_step: int
    rows: int
    grad_itemsize: int
    models: int
    block: int
    flush_rows: int
    slabs: int
    claim: int  # slabs that a worker takes at once
    convert: int  # converts a block of a narrow source type
    predict: int  # turns logits into predictions
    # How the products of a block are made: as `strategy.py` chooses.
    tiles: int = 0  # the table of register tiles, `tile.py`
    forward_by_dots: int = 0  # `dot_tile.py`
    backward_by_dots: int = 0
    forward_by_kc_blocks: int = 0
    kc_blocks: int = 1
    row_group: int = 0  # rows whose panels stay in L2 while theta passes by
    class_lane_forward: int = 0  # `few_classes.py`
    narrow_backward: int = 0
    transpose_bytes: int = 0  # stages rows of bytes as columns, `convert.py`
    residual_of_targets: int = 0  # the softmax step of soft and smoothed targets
    prefetch: PrefetchPlan = PrefetchPlan(*len(PrefetchPlan._fields) * (0,))


JOB_BYTES = record_bytes(Job)


@jitable
def has_gradient(task: int) -> bool:
    """Whether the task sums products into ``grad``."""
    return GRADIENT <= task <= GRAM or task == PAIRS


@jitable
def gradient_rows(task: int, n: int, k: int) -> int:
    """Rows of n numbers in a slab's sums: one for each class, or a matrix for each pair of classes."""
    return k * (k - 1) // 2 * n if task == PAIRS else k


def prefetch_plan(job: Job, width: int) -> PrefetchPlan:
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


# ----------------------------------------------------------------------- scratch of one worker


class Layout(NamedTuple):
    """Where the parts of a worker's scratch begin, in bytes."""

    P: int  # X with rows in the lanes, for the forward product
    Q: int  # a panel of X with features in the lanes, for the backward product
    S: int  # a staged block: X converted
    H: int  # logits, then residuals D: H[c * ld + i]
    U: int  # logits along the direction, or targets, or exponentials
    theta: int  # as the micro-kernels read it
    direction: int
    bias: int
    direction_bias: int
    zeros: int
    labels: int  # of the rows of the block, as numbers of the dtype of the computation
    best: int  # the class of the largest logit
    losses: int
    loss: int
    w: int
    prefetch: int
    W: int  # weighted columns of X, for pairs of classes
    fold_w: int  # weights without the rows that a model leaves out
    G: int  # float32 sums of products, before they are flushed into the float64 slab
    ld: int  # elements from one class of H to the next
    itemsize: int
    size: int


# The same as typed pointers, with the table of tiles.
Scratch = namedtuple(
    "Scratch",
    "tiles P Q S H U theta direction bias direction_bias zeros labels best losses loss w prefetch W fold_w",
)
# A block of X: rows ``X`` for the backward product, columns ``P`` for the forward product, in one panel with ``step``
# between its features or, with step 0, in panels as wide as a tile.
Block = namedtuple("Block", "X row_step feature_step in_place P step")


def scratch_layout(job: Job, width: int) -> Layout:
    """The `Layout` for registers of ``width`` numbers."""
    task, n, k, itemsize = job.task, job.n, job.k, job.result_itemsize
    ld = (ceil_div(job.block, width) | 1) * width  # odd, as in `column_step`
    n_padded = ceil_div(n, width) * width
    targets = task <= GRADIENT and (job.soft or job.smoothing)
    elements = {
        "P": n_padded * ld,  # transposed squares may write past n
        "Q": TILE_VECTORS * width * ld,
        "S": 0 if job.source_type == AS_IS else n_padded * ld + width,
        "H": 0 if task == GRAM else k * ld,
        "U": k * ld if targets or task in (HESSIAN, LOG_PROBA) else 0,
        "theta": 0 if task == GRAM else n * class_lanes(k),
        "direction": n * class_lanes(k) if task == HESSIAN else 0,
        "bias": class_lanes(k),
        "direction_bias": class_lanes(k),
        "zeros": TILE_SCALARS,
        "labels": ld,
        "best": ld,
        "losses": ld,
        "loss": 8 // itemsize,
        "w": ld * 8 // itemsize,
        "prefetch": PREFETCH_BYTES // itemsize,
        "W": n_padded * ld if task == PAIRS else 0,
        "fold_w": ld * 8 // itemsize if job.left_out else 0,
        "G": gradient_rows(task, n, k) * n if itemsize == 4 and has_gradient(task) else 0,
    }
    return Layout(**place_parts(elements, itemsize), ld=ld, itemsize=itemsize)


def place_parts(elements: dict[str, int], itemsize: int) -> dict[str, int]:
    """Where parts of so many elements begin, each at a cache line, and their ``size`` together, in bytes."""
    offsets, size = {}, 0
    for name, count in elements.items():
        offsets[name] = size
        size += ceil_div(count * itemsize, LINE) * LINE
    return offsets | {"size": size}


@inlined
def open_record(record: int, worker: int) -> Any:
    """The job and the layout in a record, and where this worker's scratch begins."""
    job = unpack(record + LINE, Job)
    layout = unpack(record + LINE + JOB_BYTES, Layout)
    return job, layout, job.scratch + worker * layout.size


@kernel
def make_scratch(layout: Layout, scratch: int, tiles: int, zero: Any) -> Any:
    """The `Scratch` at an address; ``zero`` has the dtype of the computation."""
    return Scratch(
        tiles,
        pointer(scratch + layout.P, zero),
        pointer(scratch + layout.Q, zero),
        pointer(scratch + layout.S, zero),
        pointer(scratch + layout.H, zero),
        pointer(scratch + layout.U, zero),
        pointer(scratch + layout.theta, zero),
        pointer(scratch + layout.direction, zero),
        pointer(scratch + layout.bias, zero),
        pointer(scratch + layout.direction_bias, zero),
        pointer(scratch + layout.zeros, zero),
        pointer(scratch + layout.labels, zero),
        pointer(scratch + layout.best, zero),
        pointer(scratch + layout.losses, zero),
        pointer(scratch + layout.loss, np.float64(0)),
        pointer(scratch + layout.w, np.float64(0)),
        pointer(scratch + layout.prefetch, np.int64(0)),
        pointer(scratch + layout.W, zero),
        pointer(scratch + layout.fold_w, np.float64(0)),
    )


# --------------------------------------------------------------- scratch of a class-parallel pass


class SharedLayout(NamedTuple):
    """Where the parts of the scratch that all threads share begin, in bytes. ``tops``, ``sums``, ``more``, ``mass`` and
    ``best`` are (groups, ld); where they are not (n, ld) or (k, ld), the others are (ld,)."""

    P: int  # X with rows in the lanes
    S: int  # a staged block
    R: int  # rows of X that may be read to a whole number of registers, where those of X may not
    H: int  # logits, then exponentials, then residuals D
    U: int  # logits along the direction
    labels: int
    w: int
    losses: int
    share: int  # what a row's exponentials are multiplied by, but for the factors of the groups
    mean: int  # the mean of the logits along the direction, under the softmax
    tops: int  # the largest logit of each group, then the group's factor
    sums: int  # of the exponentials of each group
    more: int  # of each group, the logit of the label, or half of sum_c t_c (top - H_c), or sum_c exp(H_c - top) U_c
    mass: int  # of each group, the sum of the targets
    best: int  # of each group, the class of the largest logit
    top_label: int
    ld: int
    size: int


class OwnLayout(NamedTuple):
    """Where the parts of a thread's own scratch begin, in bytes; ``size`` last."""

    theta: int  # of one group of classes
    bias: int
    zeros: int
    targets: int
    Q: int
    G: int
    prefetch: int
    size: int


def shared_layout(job: Job, width: int) -> SharedLayout:
    """The `SharedLayout` for registers of ``width`` numbers."""
    n, itemsize = job.n, job.result_itemsize
    ld, groups = ceil_div(job.block, width) * width, ceil_div(job.k, GROUP)
    n_padded = ceil_div(n, width) * width
    elements = {
        "P": n_padded * ld,
        "S": n_padded * (ld + width),
        "R": n * ld + width,
        "H": job.k * ld,
        "U": job.k * ld if job.task == HESSIAN else 0,
        "w": ld * 8 // itemsize,
    }
    elements |= dict.fromkeys(("labels", "losses", "share", "mean", "top_label"), ld)
    elements |= dict.fromkeys(("tops", "sums", "more", "mass", "best"), groups * ld)
    return SharedLayout(**place_parts(elements, itemsize), ld=ld)


def own_layout(job: Job, width: int) -> OwnLayout:
    """The `OwnLayout` for registers of ``width`` numbers."""
    size, itemsize, ld = min(GROUP, job.k), job.result_itemsize, ceil_div(job.block, width) * width
    elements = {
        "theta": size * job.n,
        "bias": size,
        "zeros": TILE_SCALARS,
        "targets": size * ld if job.soft or job.smoothing else 0,
        "Q": width,
        "G": size * job.n if itemsize < job.grad_itemsize else 0,
        "prefetch": PREFETCH_BYTES // itemsize,
    }
    return OwnLayout(**place_parts(elements, itemsize))
