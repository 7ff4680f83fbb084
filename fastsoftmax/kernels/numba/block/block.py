"""A block of X in the two orientations that the products read, with the labels and weights of its rows.

    rows in the lanes      for the forward product     `Block.P`
    features in the lanes  for the backward product    `Block.X`

One of the two is X itself wherever a register can be loaded from it as it lies: features in the lanes in C order, rows
in the lanes in F order. The other is a transposed copy (`pack.py`). X of narrow types is staged first: converted into
the cache, in the orientation that it comes in (`convert.py`).
"""

from collections import namedtuple

import numpy as np

from ..microkernels.memory import address_at, at, call_address, given, inlined, kernel, read, write
from ..microkernels.prefetch import PACKING, idle, start_prefetch
from ..microkernels.simd import lanes
from ..microkernels.tile import TILE_VECTORS, ceil_div
from .convert import AS_IS, SQUARE_BYTES
from .job import GRAM, PAIRS
from .pack import pack
from .reduce import clear

# Rows ``X`` for the backward product, columns ``P`` for the forward product: in one panel with ``step`` between its
# features or, with step 0, in panels as wide as a tile.
Block = namedtuple("Block", "X row_step feature_step in_place P step")


@inlined
def load_block(job, s, row, r, prefetch_end):
    """The `Block` of rows row .. row + r; starts the prefetch of the next one, if it begins before ``prefetch_end``."""
    width = lanes(s.P)
    gram = job.task == GRAM
    packing = prefetch_next_block(job, s, row, r, prefetch_end)
    X, row_step, feature_step, in_place = stage(job, s, row, r, s.S if gram else s.P)
    c_order = feature_step == 1
    # X in another order is packed once: P is a single panel then, and the backward product reads that.
    step = 0 if c_order and not (gram or job.task == PAIRS) else ceil_div(r, width) * width
    P = s.P
    if may_use_columns(job, r, width):
        P, step = X, feature_step
    elif not (job.forward_by_dots or job.class_lane_forward) and (job.source_type == AS_IS or c_order or gram):
        most = step if step else TILE_VECTORS
        pack(X, feature_step, row_step, job.n, r, in_place, most, s.P, r * row_step if packing else np.int64(0))
    elif not c_order:
        step = feature_step
    load_rows(job, s, 0, row, r, width)
    if not (c_order or gram):
        X, row_step, feature_step = P, 1, step
    return Block(X, row_step, feature_step, in_place, P, step)


@kernel
def prefetch_next_block(job, s, row, r, end):
    """Let the tiles prefetch the next block, if it begins before row ``end``; returns whether `pack` should as well."""
    if row + r >= end:
        idle(s.prefetch, address_at(job.X, 0))
        return False
    start_prefetch(s.prefetch, address_at(job.X, 0) + (row + r) * job.row_step * job.itemsize, job.prefetch)
    return read(job.prefetch, PACKING) != 0 and job.source_type == AS_IS


@kernel
def stage(job, s, row, r, columns):
    """The block as (pointer, row step, feature step, whether a whole number of registers may be read from each row): X
    itself or a converted copy, which has its rows in ``s.S`` or its columns in ``columns``."""
    n, width = job.n, lanes(s.S)
    if job.source_type == AS_IS:
        X = at(job.X, row * job.row_step)
        return X, job.row_step, job.feature_step, may_read_past(job, row, r, width)
    size, row_step = job.itemsize, job.row_step
    out, by_row = s.S, row_step != 1 or job.feature_step == 1
    lines, line_step, count, step, out_step = r, row_step, n, job.feature_step, n
    by_row = by_row and not job.transpose_bytes
    if not by_row:
        out_step = column_step(r, width)
        out, lines, line_step, count, step = columns, n, step, r, row_step
        if r % width:
            clear(out, n * out_step)
    elif row_step == n and step == 1:
        lines, count = 1, r * n
    source = address_at(job.X, 0) + row * row_step * size
    if job.transpose_bytes and (job.rows - row - r) * row_step + n >= SQUARE_BYTES:
        call_address(job.transpose_bytes, (job.source_type, source, row_step, r, n, out, out_step, s.S))
        return columns, 1, out_step, False
    call_address(job.convert, (job.source_type, source, lines, line_step * size, count, step * size, out, out_step))
    if not by_row:
        return columns, 1, out_step, False
    clear(at(s.S, r * n), width)
    return s.S, n, 1, True


@kernel
def load_rows(job, s, model, row, r, width):
    """Labels and weights of a block, those of a model where each has its own. Rows past its end, up to a whole
    register, repeat the last one with weight 0."""
    y, w = at(job.y, model * job.y_step + row), at(job.w, model * job.w_step + row)
    labels, weights = s.labels, s.w
    if given(job.y):
        for i in range(r):
            write(labels, i, read(y, i))
    if given(job.w):
        for i in range(r):
            write(weights, i, read(w, i))
    else:
        for i in range(r):
            write(weights, i, 1.0)
    for i in range(r, ceil_div(r, width) * width):
        write(labels, i, read(labels, r - 1))
        write(weights, i, 0.0)


# ------------------------------------------------------------------------ questions about a block


@kernel
def column_step(r, width):
    """Elements from one staged column of r rows to the next: an odd number of registers, since columns a power of two
    apart share few sets of the cache. 500k x 50 of bytes, k = 3: one thread takes 13.5 ns a row, without 17."""
    return (ceil_div(r, width) | 1) * width


@kernel
def may_read_past(job, row, r, width):
    """Whether each row of the block may be read to a whole number of registers. What lies past a row's end is the next
    row, so only the last rows of X in memory have nothing after them."""
    last = max(0, (job.rows - 1) * job.row_step) + job.n
    furthest = max(row * job.row_step, (row + r - 1) * job.row_step) + ceil_div(job.n, width) * width
    return job.feature_step == 1 and furthest <= last


@kernel
def may_use_columns(job, r, width):
    """Whether both products read the columns of X in place, without P. 100k rows of 581k x 54, k = 7: 5.6 ms, was 7.2.

    Not where a block has only short pieces of the columns (784 columns of 256 bytes: 18 ms, packed 16), nor where
    columns are a multiple of a page apart and so share few sets of the cache.
    """
    size, step = job.itemsize, job.feature_step * job.itemsize
    plain = job.source_type == AS_IS and job.row_step == 1 and job.feature_step != 1 and job.task != GRAM
    return plain and r % width == 0 and r * size >= 512 and step % 4096 != 0


@kernel
def kc_blocks_of(job, r, width):
    """The number of KC blocks that the products of a block of r rows walk; 1 for all features at once."""
    return job.kc_blocks if may_use_columns(job, r, width) else 1


@kernel
def backward_takes_dots(job, r, width):
    """Whether the backward product of a block of r rows is made of inner products."""
    return job.backward_by_dots != 0 and r >= width
