"""One worker's share of a pass: the block loop of DESIGN section 4, compiled once for each dtype.

For a block of rows (r of them, n features, k classes):

    pack       X -> P, feature-major panels
    product    H[c, i] = bias[c] + sum_j P[j, i] theta[j, c]         rows i in the lanes
    residual   H becomes D in place; loss, column sums of D
    product    G[c, j] += sum_i X[i, j] D[c, i]                      features j in the lanes;
                                                             where X will not do, panels Q made from P

Slabs are numbered tickets: a worker takes the next few until there are none. A slab is summed
by one worker in the order of its rows into sums of its own, so who takes it changes nothing.

One function, `work`, is what threads call. It gets addresses and strides, hence it is the same compilation for every
layout and task, with weights and bias or without. Numba caches it on disk; see `numba_compile` for the digest.

What few need is compiled when first called for, since Numba compiles every branch of an entry, whatever the task:
`numba_models` and `numba_pairs` share all but `do_block` and have entries of their own (11.3 s for the first pass with
them, 10.2 without); inner products (`numba_dots`), narrow types (`numba_narrow`, `numba_bytes`), the products of few
classes (`numba_few`), the tiles, predictions and soft targets are functions of their own, called by address. The first
pass takes 7.5 s beside those it calls: 0.7 for few classes, 0.7 for tiles.
"""

import numpy as np

from ..block.block import by_columns, clear, load_block, parts_of
from ..block.job import GRADIENT, GRAM, HESSIAN, gradient_rows, has_gradient, make_space, open_record
from ..block.pack import pack_groups, store_rows
from ..block.products import backward, forward, mirror, residual_to_input
from ..block.softmax import add_column_sums, hessian_rows, label_rows, loss_rows, not_finite, weigh_rows, write_labels
from ..microkernels.few_classes import widen
from ..microkernels.simd import at, call_address, inlined, kernel, lanes, pointer, read, take_ticket, write
from ..microkernels.tile import TILE_SCALARS, pieces


@kernel
def prepare(job, s, zero):
    """Lay the parameters out as the tiles read them."""
    if job.task == GRAM:
        return
    clear(s.zeros, TILE_SCALARS)
    lay_out(job, pointer(job.theta, zero), job.bias, s.theta, s.bias, zero)
    if job.task == HESSIAN:
        lay_out(job, pointer(job.direction, zero), job.direction_bias, s.direction, s.direction_bias, zero)


@kernel
def lay_out(job, theta, bias, out, out_bias, zero):
    if job.row_dots:
        store_rows(theta, job.k, job.n, job.k, 1.0, out, job.n)
    elif job.row_forward:
        widen(theta, job.n, job.k, out)
    else:
        pack_groups(theta, job.n, job.k, job.k, TILE_SCALARS, out)
    fill_bias(bias, job.k, out_bias, zero)


@kernel
def fill_bias(address, k, out, zero):
    for c in range(k):
        write(out, c, read(pointer(address, zero), c) if address else zero)


@kernel
def slab_start(job, slab):
    """First row of a slab, as in `Plan.slab_ranges`."""
    return min(slab * -(-job.rows // job.unit) // job.slabs * job.unit, job.rows)


def make_take_slabs(do_block):
    """What a worker does, around ``do_block``: a function for an entry to call."""

    @inlined
    def do_slab(job, layout, s, p, last, run_sums, zero):
        """The blocks of slab p, in order. float32 sums its products over a run of rows, in ``run_sums``. Blocks are
        fetched ahead up to row ``last``, which lies in a later slab if the same worker does that next."""
        first, end = slab_start(job, p), slab_start(job, p + 1)
        want_grad, size = has_gradient(job.task), gradient_rows(job.task, job.n, job.k) * job.n
        grad = job.grad + p * size * job.grad_itemsize
        in_runs = want_grad and layout.itemsize < job.grad_itemsize
        G = pointer(run_sums if in_runs else grad, zero)
        bias_grad = pointer(job.bias_grad + p * job.k * 8, np.float64(0))
        loss = 0.0
        for start in range(first, end, job.flush_rows):
            stop = min(start + job.flush_rows, end)
            if in_runs:
                clear(G, size)
            for row in range(start, stop, job.block):
                loss += do_block(job, layout, s, G, bias_grad, p, row, min(job.block, stop - row), last, zero)
            if in_runs:
                add_run(G, size, pointer(grad, np.float64(0)))
        if job.task == GRAM:
            mirror(pointer(grad, np.float64(0)), job.n)
        losses = pointer(job.loss + p * job.models * 8, np.float64(0))
        write(losses, 0, read(losses, 0) + loss)

    @inlined
    def take_slabs(job, layout, scratch, zero):
        """Take slabs until there are none. ``scratch`` is an address, ``zero`` has the dtype of the computation."""
        s = make_space(layout, scratch, job.tiles, zero)
        prepare(job, s, zero)
        while True:
            first = take_ticket(job.ticket) * job.turn
            if first >= job.slabs:
                return
            end = min(first + job.turn, job.slabs)
            for p in range(first, end):
                do_slab(job, layout, s, p, slab_start(job, end), scratch + layout.G, zero)

    return take_slabs


@kernel
def add_run(G, count, grad):
    for i in range(count):
        write(grad, i, read(grad, i) + read(G, i))


@inlined
def do_block(job, layout, s, G, bias_grad, slab, row, r, last, zero):
    """Rows row .. row + r: what they add to G and bias_grad, or to the prediction; their loss."""
    n, ld, D, loss = job.n, layout.ld, s.H, 0.0
    b = load_block(job, s, row, r, last, zero)
    if job.task == GRAM:  # a Gram matrix has P, weighted, for its D
        D, ld = s.P, b.step
        weigh_rows(D, ld, n, r, s.w)
    else:
        logits(job, s, b, s.theta, s.bias, r, s.H, ld)
        if job.task == HESSIAN:
            logits(job, s, b, s.direction, s.direction_bias, r, s.U, ld)
        loss = use_logits(job, s, ld, row, r, zero)
    if GRADIENT <= job.task <= GRAM:
        add_gradient(job, s, b, D, ld, r, G, bias_grad)
    write_rows(job, s, ld, row, r, zero)
    return loss


@inlined
def load_logits(job, layout, s, row, r, last, zero):
    """The `Block`, with its logits in H."""
    b = load_block(job, s, row, r, last, zero)
    logits(job, s, b, s.theta, s.bias, r, s.H, layout.ld)
    return b


@kernel
def logits(job, s, b, theta, bias, r, H, ld):
    if job.row_dots:
        call_address(job.row_dots, (b.X, b.row_step, theta, bias, job.n, job.k, r, H, ld, s.fetch))
    elif job.row_forward:
        call_address(job.row_forward, (b.X, b.row_step, theta, bias, job.n, r, H, ld, s.P, s.fetch))
    elif parts_of(job, r, lanes(H)) > 1:
        call_address(job.forward_parts, (s.tiles, b.P, b.step, theta, bias, job.n, job.k, r, H, ld, job.parts, s.fetch))
    else:
        forward(s.tiles, b.P, b.step, theta, bias, job.n, job.k, r, H, ld, s.fetch)


@inlined
def add_gradient(job, s, b, D, ld, r, G, bias_grad):
    n, k, width = job.n, job.k, lanes(D)
    add_column_sums(D, ld, k, r, bias_grad)
    if job.row_backward:
        call_address(job.row_backward, (b.X, b.row_step, D, ld, n, r, G, s.fetch))
    elif by_columns(job, r, width):
        rows = pieces(r, width) * width
        parts = parts_of(job, r, width)
        call_address(job.column_dots, (b.X, b.feature_step, D, ld, n, k, rows, parts, G, s.fetch))
    else:
        gram = job.task == GRAM
        backward(s.tiles, b.X, b.row_step, b.feature_step, b.in_place, s.Q, D, ld, n, k, r, G, gram, s.fetch)


take_slabs = make_take_slabs(do_block)


def make_work(digest, zeros):
    """What threads call with a `numba_record` and their number; see `numba_compile` for ``digest``."""
    (zero,) = zeros

    def work(record, worker):
        digest  # noqa: B018 - only so that it is part of the closure
        job, layout, scratch = open_record(record, worker)
        take_slabs(job, layout, scratch, zero)

    return work


@inlined
def use_logits(job, s, ld, row, r, zero):
    """What the task makes of the logits H of one model, and of U, those along the direction; their loss."""
    if job.task == HESSIAN:
        hessian_rows(s.H, s.U, ld, job.k, r, s.w)
        return 0.0
    if job.task <= GRADIENT:
        return loss_block(job, s, ld, row, r)
    loss = not_finite(s.H, ld, job.k, r)
    call_address(job.predict, (job.task, s.H, s.U, ld, job.k, row, r, s.best, job.out))
    return loss


@kernel
def loss_block(job, s, ld, row, r):
    want_grad = job.task == GRADIENT
    if job.row_label:
        label_rows(s.H, ld, job.k, r, s.best)
    if job.soft or job.smoothing:
        targets = (job.soft, job.smoothing, row, r, s.labels, job.k, s.U)
        call_address(job.soft_loss, (*targets, s.H, ld, s.w, job.scale, want_grad, s.losses, s.loss))
        return read(s.loss, 0)
    return loss_rows(s.H, ld, job.k, r, s.labels, s.w, job.scale, want_grad, s.losses)


@kernel
def write_rows(job, s, ld, row, r, zero):
    """What is wanted of each row beside the sums."""
    write_row_losses(job, s, row, r, zero)
    if job.dX:
        residual_to_input(
            s.tiles, s.H, ld, pointer(job.theta, zero), job.k, np.int64(0), job.n, r, s.zeros, s.P, s.fetch
        )
        store_rows(s.P, ld, job.n, r, job.scale, at(pointer(job.dX, zero), row * job.n), job.n)


@kernel
def write_row_losses(job, s, row, r, zero):
    """Loss and label of each row."""
    if job.row_loss:
        losses = pointer(job.row_loss, zero)
        for i in range(r):
            write(losses, row + i, read(s.losses, i))
    if job.row_label:
        write_labels(s.best, row, r, pointer(job.row_label, np.int64(0)))
