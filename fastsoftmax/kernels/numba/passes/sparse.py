"""The fused passes over sparse X; the counterpart of `dense.py`.

Of a block of r rows, k classes (the softmax and all else that happens to logits is the code of the dense passes):

    gather      R[i, :] = bias + sum of x theta[j, :] over the entries x of row i      classes in the lanes
    transpose   R -> H                                                                 rows in the lanes
    softmax     H becomes the residual D; loss, column sums of D
    transpose   H -> D, by rows again
    scatter     G[j, :] += x D[i, :]                                                   classes in the lanes

Row-parallel: a worker does all of this for a slab, whose gradient is its own, then takes the next slab.

Feature-parallel: there is one gradient. The rows are worked on in phases of `phase_rows`, whose D is kept. One call
from Python does two things at once:

    columns   of the phase before: ranges of columns; each range scatters the entries that the phase has in its columns
    rows      of this phase: blocks, up to D

Workers take tickets, first for the ranges, then for the blocks. Each row of G is summed by one worker, in the order of
the rows, so the result does not depend on where the ranges are cut. Threads meet once in a phase, and a thread that is
done with its range early takes more of the blocks. Losses and column sums of D are kept by block and added in order by
the worker that has the first range.

The gradient of float32 X is summed in float32: half the memory that a pass lives on. The sums of columns with many
entries (`contract.Hot`) are flushed into float64 after every few blocks, by the worker that has the column, at blocks
of fixed numbers.
"""

from collections import namedtuple

import numpy as np

from ..block.block import load_rows
from ..block.job import GRAM, HESSIAN
from ..block.reduce import clear, flush, flush_hot_columns, lower_bound
from ..block.softmax import add_column_sums
from ..microkernels.memory import at, inlined, kernel, pointer, read, take_ticket, write
from ..microkernels.simd import lanes, load, store, transpose
from ..microkernels.sparse_rows import gather, gather_table, panel, panels_of, scatter, scatter_table
from ..microkernels.tile import ceil_div
from ..runtime.views import open_record
from .dense import fill_bias, softmax_of_block, write_losses_and_labels

# Rows that go through the blocks one after the other; where their D, its column sums and the loss go, and addresses of
# the gradient to scatter into (0 if that comes later) and of its sums of hot columns.
Share = namedtuple("Share", "first end D sums loss grad hot")


def make_work(digest, zeros):
    """What threads call; ``zeros`` have the dtypes of the computation and of the indices. See
    `runtime/compile.py` for ``digest``."""
    zero, index = zeros

    def work(record, worker):
        """Take tickets until there are none: ranges of columns of the phase before, then shares of rows."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, s = open_record(record, worker, zero, index)
        tables = gather_table(zero, index), scatter_table(zero, index)
        fill_bias(job.bias, np.int64(0), job.k, s.bias)
        fill_bias(job.direction_bias, np.int64(0), job.k, s.direction_bias)
        while True:
            p = take_ticket(job.ticket)
            if p < job.ranges:
                do_range(job, s, tables, p)
                continue
            share = share_of_slab(job, s, p) if job.ranges == 0 else share_of_phase(job, s, p - job.ranges)
            if share.first < 0:
                return
            do_rows(job, s, tables, share)

    return work


@inlined
def do_rows(job, s, tables, share):
    """The blocks of a share of rows, in order."""
    loss = 0.0
    for row in range(share.first, share.end, job.block):
        r = min(job.block, share.end - row)
        if job.task != GRAM:
            loss += do_block(job, s, tables, share, row, r)
        if share.grad:
            low = at(job.indptr, row)
            sparse_backward(job, s, tables, share.grad, low, at(low, 1), row, r, s.R)
            blocks = (row - share.first) // job.block + 1 if row + r < share.end else 0
            flush_hot_columns(job, blocks, 0, job.n, share.grad, share.hot)
    write(share.loss, 0, read(share.loss, 0) + loss)


@kernel
def share_of_slab(job, s, p):
    """Slab p, as a share. Its D replaces the logits R."""
    sums, loss = at(job.bias_grad, p * job.k), at(job.loss, p)
    if p >= job.slabs:
        return Share(-1, -1, s.R, sums, loss, 0, 0)
    grad = job.grad + p * job.n * job.k * job.grad_itemsize if job.grad else 0
    return Share(read(job.starts, p), read(job.starts, p + 1), s.R, sums, loss, grad, job.hot_grad + p * job.hot_size)


# --------------------------------------------------------------------------- feature-parallel


@kernel
def share_of_phase(job, s, b):
    """Block b of the phase that begins at the record's row, as a share."""
    first, end = job.row + b * job.block, min(job.row + job.phase_rows, job.rows)
    kept = first_kept(job, job.row) + b
    sums, loss = at(s.kept_sums, kept * job.k), at(s.kept_losses, kept)
    if first >= end or job.task == GRAM:
        return Share(-1, -1, s.kept_D, sums, loss, 0, 0)
    clear(sums, job.k)
    clear(loss, 1)
    return Share(first, min(first + job.block, end), at(s.kept_D, kept * job.block * job.step), sums, loss, 0, 0)


@kernel
def first_kept(job, row):
    """Where the first block of the phase that begins at ``row`` is among those that something is kept of. Two phases
    take turns."""
    return row // job.phase_rows % 2 * (job.phase_rows // job.block)


@kernel
def do_range(job, s, tables, p):
    """Range p of the columns, for the phase before that of the record. A Gram matrix needs no D: all rows are one
    phase."""
    first, end = job.row - job.phase_rows, min(job.row, job.rows)
    if job.task == GRAM:
        first, end = 0, job.rows
    elif first < 0:
        return
    kept = first_kept(job, first)
    if job.grad:
        D = at(s.kept_D, kept * job.block * job.step)
        for start in range(first, end, job.block):
            r = min(job.block, end - start)
            low, high = pieces_of_rows(job, s, p, start, r)
            sparse_backward(job, s, tables, job.grad, low, high, start, r, at(D, (start - first) * job.step))
            blocks = start // job.block + 1 if start + r < job.rows else 0
            flush_hot_columns(job, blocks, read(job.cuts, p), read(job.cuts, p + 1), job.grad, job.hot_grad)
    if p == 0 and job.task != GRAM:
        add_kept(job, s, kept, ceil_div(end - first, job.block))


@kernel
def add_kept(job, s, kept, blocks):
    """Add the losses and column sums of the blocks of a phase, in order."""
    for b in range(kept, kept + blocks):
        write(job.loss, 0, read(job.loss, 0) + read(s.kept_losses, b))
        if job.grad:
            flush(at(s.kept_sums, b * job.k), job.k, job.bias_grad)


@kernel
def pieces_of_rows(job, s, p, row, r):
    """Where the entries in the columns of range p begin and end, in each of r rows."""
    low = at(job.indptr, row)
    if job.ranges == 1:
        return low, at(low, 1)
    first, last = read(job.cuts, p), read(job.cuts, p + 1)
    for i in range(r):
        start, stop = read(low, i), read(low, i + 1)
        from_start = start if p == 0 else lower_bound(job.indices, start, stop, first)
        write(s.low, i, from_start)
        write(s.high, i, stop if p == job.ranges - 1 else lower_bound(job.indices, from_start, stop, last))
    return s.low, s.high


# ------------------------------------------------------------------------------------ a block


@inlined
def do_block(job, s, tables, share, row, r):
    """Rows row .. row + r: D, by rows, its column sums, and what is wanted of each row; returns their loss."""
    width = lanes(s.R)
    load_rows(job, s, 0, row, r, width)
    sparse_logits(job, s, tables, job.theta, s.bias, s.H, row, r)
    if job.task == HESSIAN:
        sparse_logits(job, s, tables, job.direction, s.direction_bias, s.U, row, r)
    loss = softmax_of_block(job, s, job.ld, row, r)
    if job.grad:
        add_column_sums(s.H, job.ld, job.k, r, share.sums)
        transpose_all(s.H, job.ld, job.step, ceil_div(r, width) * width, share.D, job.step)
    write_losses_and_labels(job, s.losses, s.best, row, r)
    return loss


@kernel
def sparse_logits(job, s, tables, theta, bias, H, row, r):
    """H = X theta + bias, by way of R; rows past the end repeat the last one."""
    k, step, width, R = job.k, job.step, lanes(s.R), s.R
    low = at(job.indptr, row)
    for p in range(panels_of(k, width)):
        number, c, last = panel(k, width, p)
        gather(
            tables[0], number,
            at(theta, c), k,
            low, r, job.indices, job.data, job.entries - 1,
            job.theta_distance, last, at(bias, c), at(R, c), step,
        )  # fmt: skip
    whole = ceil_div(r, width) * width
    for i in range(r, whole):
        for c in range(0, step, width):
            store(R, i * step + c, load(R, (r - 1) * step + c))
    transpose_all(R, step, whole, step, H, job.ld)


@kernel
def transpose_all(A, a_step, count, length, out, out_step):
    """out[j, i] = A[i, j] for i < count, j < length, both whole numbers of registers."""
    for i in range(0, count, lanes(A)):
        for j in range(0, length, lanes(A)):
            transpose(at(A, i * a_step + j), a_step, at(out, j * out_step + i), out_step)


@kernel
def sparse_backward(job, s, tables, grad, low, high, row, r, D):
    """G[j, :] += x D[i, :] for the entries low[i] .. high[i] of r rows; for a Gram matrix, += w x^2 and w x."""
    k, G = job.k, pointer(grad, D)
    if job.task == GRAM:
        load_rows(job, s, 0, row, r, lanes(D))
        add_squares(pointer(grad, np.float64(0)), low, high, r, job.indices, job.data, s.w)
        return
    for p in range(panels_of(k, lanes(G))):
        number, c, last = panel(k, lanes(G), p)
        scatter(
            tables[1], number,
            at(G, c), k,
            low, high, r, job.indices, job.data,
            job.grad_distance, last, at(D, c), job.step,
        )  # fmt: skip


@kernel
def add_squares(G, low, high, r, indices, data, w):
    """G[j] += (w x^2, w x) for the entries low[i] .. high[i] of r rows: the diagonal of a Gram matrix."""
    for i in range(r):
        weight = read(w, i)
        for e in range(read(low, i), read(high, i)):
            j, x = 2 * np.int64(read(indices, e)), np.float64(read(data, e))
            write(G, j, read(G, j) + weight * x * x)
            write(G, j + 1, read(G, j + 1) + weight * x)
