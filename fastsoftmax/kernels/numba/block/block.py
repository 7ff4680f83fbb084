"""A block of X in the two orientations that the products read."""

import numpy as np

from ..microkernels.prefetch import start_fetch, stay_idle
from ..microkernels.simd import at, call_address, inlined, kernel, lanes, pointer, read, write
from ..microkernels.tile import TILE_VECTORS, pieces
from .convert import AS_IS, WIDE_BYTES
from .job import GRAM, PAIRS, Block
from .pack import pack


@inlined
def load_block(job, s, row, r, last, zero):
    """The `Block`, with the labels and weights of its rows; the next one is asked for."""
    width = lanes(s.P)
    gram = job.task == GRAM
    packing = fetch_next(job, s, row, r, last)
    X, row_step, feature_step, in_place = block_of_X(job, s, row, r, s.S if gram else s.P, zero)
    c_order = feature_step == 1
    # X in another order is packed once: P is one panel then, and the backward product reads that.
    step = 0 if c_order and not (gram or job.task == PAIRS) else pieces(r, width) * width
    P = s.P
    if may_use_columns(job, r, width):
        P, step = X, feature_step
    elif not (job.row_dots or job.row_forward) and (job.kind == AS_IS or c_order or gram):
        most = step if step else TILE_VECTORS
        pack(X, feature_step, row_step, job.n, r, in_place, most, s.P, r * row_step if packing else np.int64(0))
    elif not c_order:
        step = feature_step
    copy_rows(job, s, row, r, width)
    if not (c_order or gram):
        X, row_step, feature_step = P, 1, step
    return Block(X, row_step, feature_step, in_place, P, step)


@kernel
def column_step(r, width):
    """Between columns of r rows, an odd number of registers: powers of two share few sets of the cache. 500k x 50, k =
    3, of bytes takes one thread 13.5 ns a row, 17 without."""
    return (pieces(r, width) | 1) * width


@kernel
def clear(G, count):
    for i in range(count):
        write(G, i, 0.0)


@kernel
def copy_rows(job, s, row, r, width):
    """Labels and weights of a block; rows past its end repeat the last one, with weight 0."""
    y, w = at(pointer(job.y, np.int32(0)), row), at(pointer(job.w, np.float64(0)), row)
    if job.y:
        for i in range(r):
            write(s.labels, i, read(y, i))
    if job.w:
        for i in range(r):
            write(s.w, i, read(w, i))
    else:
        for i in range(r):
            write(s.w, i, 1.0)
    for i in range(r, pieces(r, width) * width):
        write(s.labels, i, read(s.labels, r - 1))
        write(s.w, i, 0.0)


@kernel
def block_of_X(job, s, row, r, columns, zero):
    """The block as (pointer, row step, feature step, whether a whole number of registers may be read from every
    row): X itself, or a converted copy, rows of it in ``s.S`` or columns in ``columns``."""
    n, width = job.n, lanes(s.S)
    if job.kind == AS_IS:
        X = at(pointer(job.X, zero), row * job.row_step)
        return X, job.row_step, job.feature_step, may_read_past(job, row, r, width)
    size, row_step = job.itemsize, job.row_step
    out, by_row = s.S, row_step != 1 or job.feature_step == 1
    lines, line_step, count, step, out_step = r, row_step, n, job.feature_step, n
    by_row = by_row and not job.across
    if not by_row:
        out_step = column_step(r, width)
        out, lines, line_step, count, step = columns, n, step, r, row_step
        if r % width:
            clear(out, n * out_step)
    elif row_step == n and step == 1:
        lines, count = 1, r * n
    source = job.X + row * row_step * size
    if job.across and (job.rows - row - r) * row_step + n >= WIDE_BYTES:
        call_address(job.across, (job.kind, source, row_step, r, n, out, out_step, s.S))
        return columns, 1, out_step, False
    call_address(job.convert, (job.kind, source, lines, line_step * size, count, step * size, out, out_step))
    if not by_row:
        return columns, 1, out_step, False
    clear(at(s.S, r * n), width)
    return s.S, n, 1, True


@kernel
def may_read_past(job, row, r, width):
    """Whether every row of the block may be read to a whole number of registers: what lies past the
    row's end is the next row's, and only the last rows of X (in memory) have none after them."""
    last = max(0, (job.rows - 1) * job.row_step) + job.n
    furthest = max(row * job.row_step, (row + r - 1) * job.row_step) + pieces(job.n, width) * width
    return job.feature_step == 1 and furthest <= last


@kernel
def may_use_columns(job, r, width):
    """Whether both products read the columns of X where they are, without P: 581k x 54, k = 7, takes 5.6 ms
    for 100k rows in place of 7.2. Not where a block has but short pieces of them (784 columns of 256 bytes
    took 18 ms in place of 16), nor where they are a multiple of a page apart and share a few sets of the cache."""
    size, step = job.itemsize, job.feature_step * job.itemsize
    plain = job.kind == AS_IS and job.row_step == 1 and job.feature_step != 1 and job.task != GRAM
    return plain and r % width == 0 and r * size >= 512 and step % 4096 != 0


@kernel
def fetch_next(job, s, row, r, end):
    """Let the tiles fetch the next block, if it begins before row ``end``; whether `pack` should, too."""
    if row + r >= end:
        stay_idle(s.fetch, job.X)
        return False
    start_fetch(s.fetch, job.X + (row + r) * job.row_step * job.itemsize + job.fetch.offset, job.fetch)
    return job.fetch.packing and job.kind == AS_IS


@kernel
def parts_of(job, r, width):
    """Parts of the features that the products of a block walk one after the other."""
    return job.parts if may_use_columns(job, r, width) else 1


@kernel
def by_columns(job, r, width):
    """Whether the backward product of a block is one of inner products."""
    return job.column_dots != 0 and job.k * width <= r
