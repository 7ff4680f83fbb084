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

from ..block.block import clear, load_rows
from ..block.job import GRAM, HESSIAN
from ..block.softmax import add_column_sums
from ..block.sparse_job import SPARSE_JOB_BYTES, SparseJob, SparseLayout
from ..microkernels.memory import at, inlined, kernel, pointer, read, take_ticket, write
from ..microkernels.simd import lanes, load, store, transpose
from ..microkernels.sparse_rows import gather, gather_table, panel, panels_of, scatter, scatter_table
from ..microkernels.tile import ceil_div
from ..runtime.record import LINE, ROW, unpack
from .dense import fill_bias, softmax_of_block, write_losses_and_labels

# Typed pointers to the parts of a worker's scratch (`SparseLayout`), with the tables of micro-kernels.
SparseScratch = namedtuple(
    "SparseScratch", "gathers scatters R H U bias direction_bias labels best losses loss w low high step ld"
)
# Rows that go through the blocks one after the other, and addresses: where D, its column sums and the loss go, and
# the gradient to scatter into (0 if that comes later), and its sums of hot columns.
Share = namedtuple("Share", "first end D sums loss grad hot")


def make_work(digest, zeros):
    """What threads call; ``zeros`` have the dtypes of the computation and of the indices. See
    `runtime/compile.py` for ``digest``."""
    zero, index = zeros

    def work(record, worker):
        """Take tickets until there are none: ranges of columns of the phase before, then shares of rows."""
        digest  # noqa: B018 - only so that it is part of the closure
        row, job = read(pointer(record, np.int64(0)), ROW), unpack(record + LINE, SparseJob)
        layout = unpack(record + LINE + SPARSE_JOB_BYTES, SparseLayout)
        scratch = job.scratch + worker * layout.size
        s = make_scratch(job, layout, scratch, gather_table(zero, index), scatter_table(zero, index), zero)
        while True:
            p = take_ticket(job.ticket)
            if p < job.ranges:
                do_range(job, layout, s, p, row, zero, index)
                continue
            if job.ranges == 0:
                share = share_of_slab(job, scratch + layout.R, p)
            else:
                share = share_of_phase(job, layout, p - job.ranges, row)
            if share.first < 0:
                return
            do_rows(job, s, share, zero, index)

    return work


@kernel
def make_scratch(job, layout, scratch, gathers, scatters, zero):
    """The `SparseScratch` at an address, with the bias in it."""
    s = SparseScratch(
        gathers,
        scatters,
        pointer(scratch + layout.R, zero),
        pointer(scratch + layout.H, zero),
        pointer(scratch + layout.U, zero),
        pointer(scratch + layout.bias, zero),
        pointer(scratch + layout.direction_bias, zero),
        pointer(scratch + layout.labels, zero),
        pointer(scratch + layout.best, zero),
        pointer(scratch + layout.losses, zero),
        pointer(scratch + layout.loss, np.float64(0)),
        pointer(scratch + layout.w, np.float64(0)),
        pointer(scratch + layout.low, np.int64(0)),
        pointer(scratch + layout.high, np.int64(0)),
        layout.step,
        layout.ld,
    )
    fill_bias(job.bias, job.k, s.bias, zero)
    fill_bias(job.direction_bias, job.k, s.direction_bias, zero)
    return s


@inlined
def do_rows(job, s, share, zero, index):
    """The blocks of a share of rows, in order."""
    loss = 0.0
    for row in range(share.first, share.end, job.block):
        r = min(job.block, share.end - row)
        if job.task != GRAM:
            loss += do_block(job, s, share, row, r, zero, index)
        if share.grad:
            low = at(pointer(job.indptr, np.int64(0)), row)
            sparse_backward(job, s, share.grad, low, at(low, 1), row, r, s.R, zero, index)
            blocks = (row - share.first) // job.block + 1 if row + r < share.end else 0
            flush_hot_columns(job, blocks, 0, job.n, share.grad, share.hot, zero)
    losses = pointer(share.loss, np.float64(0))
    write(losses, 0, read(losses, 0) + loss)


@kernel
def share_of_slab(job, R, p):
    """Slab p, as a share. Its D replaces the logits at the address R."""
    if p >= job.slabs:
        return Share(-1, -1, 0, 0, 0, 0, 0)
    starts = pointer(job.starts, np.int64(0))
    grad = job.grad + p * job.n * job.k * job.grad_itemsize if job.grad else 0
    sums, hot = job.bias_grad + p * job.k * 8, job.hot_grad + p * job.hot_size
    return Share(read(starts, p), read(starts, p + 1), R, sums, job.loss + p * 8, grad, hot)


# --------------------------------------------------------------------------- feature-parallel


@kernel
def share_of_phase(job, layout, b, row):
    """Block b of the phase that begins at ``row``, as a share."""
    first, end = row + b * job.block, min(row + job.phase_rows, job.rows)
    if first >= end or job.task == GRAM:
        return Share(-1, -1, 0, 0, 0, 0, 0)
    kept = job.kept + row // job.phase_rows % 2 * layout.kept
    sums, loss = kept + layout.kept_sums + b * job.k * 8, kept + layout.kept_losses + b * 8
    clear(pointer(sums, np.float64(0)), job.k)
    clear(pointer(loss, np.float64(0)), 1)
    D = kept + b * job.block * layout.step * layout.itemsize
    return Share(first, min(first + job.block, end), D, sums, loss, 0, 0)


@kernel
def do_range(job, layout, s, p, row, zero, index):
    """Range p of the columns, for the phase before ``row``. A Gram matrix needs no D: all rows are one phase."""
    first, end = row - job.phase_rows, min(row, job.rows)
    if job.task == GRAM:
        first, end = 0, job.rows
    elif first < 0:
        return
    kept = job.kept + first // job.phase_rows % 2 * layout.kept
    if job.grad:
        for start in range(first, end, job.block):
            r = min(job.block, end - start)
            D = at(pointer(kept, zero), (start - first) * s.step)
            low, high = pieces_of_rows(job, s, p, start, r, index)
            sparse_backward(job, s, job.grad, low, high, start, r, D, zero, index)
            cuts = pointer(job.cuts, np.int64(0))
            blocks = start // job.block + 1 if start + r < job.rows else 0
            flush_hot_columns(job, blocks, read(cuts, p), read(cuts, p + 1), job.grad, job.hot_grad, zero)
    if p == 0 and job.task != GRAM:
        add_kept(job, layout, kept, first, end)


@kernel
def add_kept(job, layout, kept, first, end):
    """Add the losses and column sums of the blocks of a phase, in order."""
    losses, loss = pointer(kept + layout.kept_losses, np.float64(0)), pointer(job.loss, np.float64(0))
    bias_grad = pointer(job.bias_grad, np.float64(0))
    for b in range(ceil_div(end - first, job.block)):
        write(loss, 0, read(loss, 0) + read(losses, b))
        if job.grad:
            sums = pointer(kept + layout.kept_sums + b * job.k * 8, np.float64(0))
            for c in range(job.k):
                write(bias_grad, c, read(bias_grad, c) + read(sums, c))


@kernel
def pieces_of_rows(job, s, p, row, r, index):
    """Where the entries in the columns of range p begin and end, in each of r rows."""
    low = at(pointer(job.indptr, np.int64(0)), row)
    if job.ranges == 1:
        return low, at(low, 1)
    cuts, indices = pointer(job.cuts, np.int64(0)), pointer(job.indices, index)
    for i in range(r):
        start, stop = read(low, i), read(low, i + 1)
        from_start = start if p == 0 else lower_bound(indices, start, stop, read(cuts, p))
        write(s.low, i, from_start)
        write(s.high, i, stop if p == job.ranges - 1 else lower_bound(indices, from_start, stop, read(cuts, p + 1)))
    return s.low, s.high


@kernel
def lower_bound(indices, start, stop, column):
    """The first entry of start .. stop whose column is at least ``column``: by bisection, at the end by counting."""
    while stop - start > 64:
        middle = (start + stop) // 2
        if read(indices, middle) < column:
            start = middle + 1
        else:
            stop = middle
    count = 0
    for e in range(start, stop):
        count += read(indices, e) < column
    return start + count


# ------------------------------------------------------------------------------------ a block


@inlined
def do_block(job, s, share, row, r, zero, index):
    """Rows row .. row + r: D, by rows, its column sums, and what is wanted of each row; returns their loss."""
    width = lanes(s.R)
    load_rows(job, s, row, r, width)
    sparse_logits(job, s, job.theta, s.bias, s.H, row, r, zero, index)
    if job.task == HESSIAN:
        sparse_logits(job, s, job.direction, s.direction_bias, s.U, row, r, zero, index)
    loss = softmax_of_block(job, s, s.ld, row, r, zero)
    if job.grad:
        add_column_sums(s.H, s.ld, job.k, r, pointer(share.sums, np.float64(0)))
        transpose_all(s.H, s.ld, s.step, ceil_div(r, width) * width, pointer(share.D, zero), s.step)
    write_losses_and_labels(job, s, row, r, zero)
    return loss


@kernel
def sparse_logits(job, s, theta, bias, H, row, r, zero, index):
    """H = X theta + bias, by way of R; rows past the end repeat the last one."""
    k, step, width = job.k, s.step, lanes(s.R)
    low = at(pointer(job.indptr, np.int64(0)), row)
    indices, data = pointer(job.indices, index), pointer(job.data, zero)
    for p in range(panels_of(k, width)):
        number, c, last = panel(k, width, p)
        gather(
            s.gathers, number,
            at(pointer(theta, zero), c), k,
            low, r, indices, data, job.entries - 1,
            job.theta_distance, last, at(bias, c), at(s.R, c), step,
        )  # fmt: skip
    whole = ceil_div(r, width) * width
    for i in range(r, whole):
        for c in range(0, step, width):
            store(s.R, i * step + c, load(s.R, (r - 1) * step + c))
    transpose_all(s.R, step, whole, step, H, s.ld)


@kernel
def transpose_all(A, a_step, count, length, out, out_step):
    """out[j, i] = A[i, j] for i < count, j < length, both whole numbers of registers."""
    for i in range(0, count, lanes(A)):
        for j in range(0, length, lanes(A)):
            transpose(at(A, i * a_step + j), a_step, at(out, j * out_step + i), out_step)


@kernel
def sparse_backward(job, s, grad, low, high, row, r, D, zero, index):
    """G[j, :] += x D[i, :] for the entries low[i] .. high[i] of r rows; for a Gram matrix, += w x^2 and w x."""
    k, G = job.k, pointer(grad, zero)
    indices, data = pointer(job.indices, index), pointer(job.data, zero)
    if job.task == GRAM:
        load_rows(job, s, row, r, lanes(D))
        add_squares(pointer(grad, np.float64(0)), low, high, r, indices, data, s.w)
        return
    for p in range(panels_of(k, lanes(G))):
        number, c, last = panel(k, lanes(G), p)
        scatter(s.scatters, number, at(G, c), k, low, high, r, indices, data, job.grad_distance, last, at(D, c), s.step)


@kernel
def flush_hot_columns(job, blocks, first, end, grad, hot_grad, zero):
    """Move the sums of those hot columns in first .. end that are due after so many blocks into float64."""
    columns, starts = pointer(job.hot_columns, np.int64(0)), pointer(job.hot_starts, np.int64(0))
    G, out, k = pointer(grad, zero), pointer(hot_grad, np.float64(0)), job.k
    for level in range(job.hot_levels):
        if blocks % (1 << level) != 0:
            return
        stop = read(starts, level + 1)
        for h in range(lower_bound(columns, read(starts, level), stop, first), stop):
            j = read(columns, h)
            if j >= end:
                break
            for c in range(k):
                write(out, h * k + c, read(out, h * k + c) + read(G, j * k + c))
                write(G, j * k + c, 0.0)


@kernel
def add_squares(G, low, high, r, indices, data, w):
    """G[j] += (w x^2, w x) for the entries low[i] .. high[i] of r rows: the diagonal of a Gram matrix."""
    for i in range(r):
        weight = read(w, i)
        for e in range(read(low, i), read(high, i)):
            j, x = 2 * np.int64(read(indices, e)), np.float64(read(data, e))
            write(G, j, read(G, j) + weight * x * x)
            write(G, j + 1, read(G, j + 1) + weight * x)
