"""What a pass over dense X works on, and where: the job, a worker's scratch, a block of rows."""

from collections import namedtuple

import numpy as np

from ..microkernels.few_classes import backward_steps, class_lanes, forward_steps
from ..microkernels.prefetch import FETCH_BYTES, fetch_lines, fetch_of
from ..microkernels.simd import inlined, kernel, pointer
from ..microkernels.tile import TILE_SCALARS, TILE_VECTORS
from ..runtime.record import COMMON, LINE, record_bytes, unpack
from .convert import AS_IS

VALUE, GRADIENT, HESSIAN, GRAM, LABEL, LOGITS, PROBA, LOG_PROBA, PAIRS = range(9)
PREDICTION_TASKS = {"label": LABEL, "logits": LOGITS, "proba": PROBA, "log_proba": LOG_PROBA}

# What a pass works on. Arrays are addresses, 0 for None; steps count elements of X, which are of a `kind` of
# `numba_narrow`. What each pass has of its own (`OWN`) comes first. ``tiles`` is the table of `numba_tile`; other
# functions are addresses, 0 where a pass has no use for them: ``row_dots``, ``column_dots`` and ``forward_parts`` of
# `numba_dots`, ``row_forward`` and ``row_backward`` of `numba_few`, ``convert`` of `numba_narrow`, ``across`` of
# `numba_bytes`, ``predict`` of `numba_predict`, ``soft_loss`` of `numba_targets`. ``fetch`` is a `Fetch`. Slabs begin
# at multiples of ``unit`` rows, a plan's block, which a ``block`` may exceed.
OWN = (*COMMON.split(), "X", "dX", "fold", "left_out", "held")
Job = namedtuple(
    "Job",
    (*OWN, *"task n k kind itemsize result_itemsize row_step feature_step rows grad_itemsize models block flush_rows "
     "unit slabs turn tiles row_dots column_dots forward_parts parts row_forward row_backward convert across predict "
     "soft_loss fetch".split()),
)  # fmt: skip
JOB_BYTES = record_bytes(Job)
# Where the parts of a worker's scratch begin, in bytes; ld is the step between classes of H.
Layout = namedtuple(
    "Layout",
    "P Q S H U theta direction bias direction_bias zeros labels best losses loss w fetch W fold_w G ld itemsize size",
)
# A block of X: rows ``X`` for the backward product, columns ``P`` for the forward one, in one panel with ``step``
# between its features or, with step 0, in panels of a tile's width.
Block = namedtuple("Block", "X row_step feature_step in_place P step")
# The same as typed pointers, with the table of tile functions.
Space = namedtuple(
    "Space", "tiles P Q S H U theta direction bias direction_bias zeros labels best losses loss w fetch W fold_w"
)


@inlined
def open_record(record, worker):
    """Its job, layout, and where this worker's scratch begins."""
    job = unpack(record + LINE, Job)
    layout = unpack(record + LINE + JOB_BYTES, Layout)
    return job, layout, job.scratch + worker * layout.size


@kernel
def has_gradient(task):
    return GRADIENT <= task <= GRAM or task == PAIRS


@kernel
def gradient_rows(task, n, k):
    """Rows of n numbers in a slab's sums: one for each class, or a matrix for each pair of classes."""
    return k * (k - 1) // 2 * n if task == PAIRS else k


def job_fetch(job, width):
    """How to ask for a block, for registers of ``width`` numbers; see `numba_fetch`."""
    task, n, k, r, size = job.task, job.n, job.k, job.block, job.itemsize
    groups, lines = -(-k // TILE_SCALARS), min(TILE_VECTORS, width)
    row_registers, registers = -(-n // width), -(-r // width)
    forward = n * -(-registers // TILE_VECTORS)
    if job.row_dots:
        forward = row_registers * -(-r // lines)
    backward = r * -(-row_registers // TILE_VECTORS)
    if job.column_dots:
        backward = registers * -(-n // lines)
    forwards = 2 if task == HESSIAN else 0 if task == GRAM else 1
    backwards = int(GRADIENT <= task <= GRAM)
    if job.row_forward:
        steps = forwards * forward_steps(n, r, width) + backwards * backward_steps(n, k, r, job.result_itemsize)
        return fetch_lines(r, job.row_step * size, steps)
    steps = groups * (forwards * forward + backwards * backward)
    return fetch_of(r, n, job.row_step * size, job.feature_step * size, size, steps)


def scratch_layout(job, width):
    """The `Layout` for registers of ``width`` numbers."""
    task, n, k, itemsize = job.task, job.n, job.k, job.result_itemsize
    ld = (-(-job.block // width) | 1) * width  # as `numba_block.column_step` has it
    n_padded = -(-n // width) * width
    targets = task <= GRADIENT and (job.soft or job.smoothing)
    elements = {
        "P": n_padded * ld,  # transposed squares may write past n
        "Q": TILE_VECTORS * width * ld,
        "S": 0 if job.kind == AS_IS else n_padded * ld + width,
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
        "fetch": FETCH_BYTES // itemsize,
        "W": n_padded * ld if task == PAIRS else 0,
        "fold_w": ld * 8 // itemsize if job.left_out else 0,
        "G": gradient_rows.py_func(task, n, k) * n if itemsize == 4 and has_gradient.py_func(task) else 0,
    }
    return Layout(**place_parts(elements, itemsize), ld=ld, itemsize=itemsize)


def place_parts(elements, itemsize):
    """Where parts of so many elements begin, on cache lines, and the ``size`` of them all, in bytes."""
    offsets, size = {}, 0
    for name, count in elements.items():
        offsets[name] = size
        size += -(-count * itemsize // 64) * 64
    return offsets | {"size": size}


@kernel
def make_space(layout, scratch, tiles, zero):
    return Space(
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
        pointer(scratch + layout.fetch, np.int64(0)),
        pointer(scratch + layout.W, zero),
        pointer(scratch + layout.fold_w, np.float64(0)),
    )
