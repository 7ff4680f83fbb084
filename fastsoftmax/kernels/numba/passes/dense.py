"""The fused passes over dense X: the file to read first, from top to bottom.

A pass reads X once, for loss and gradient, a Hessian product, a Gram matrix or predictions. Its rows are cut up:

    chunk    rows of one call from Python, about a tenth of a second of work
    +--------------------------------------------------------------------------------------------+
    | slab: rows with a loss and a gradient of their own     | slab            | slab            |
    | +-----------------------------+----------------------+ |                 |                 |
    | | block: rows that go through | block                | |                 |                 |
    | | the cache together          |                      | |                 |                 |
    | |   tile: the part of a       |                      | |                 |                 |
    | |   product in registers      |                      | |                 |                 |
    | +-----------------------------+----------------------+ |                 |                 |
    +--------------------------------------------------------------------------------------------+

For each block, of r rows i, n features j and k classes c:

    pack       X -> P, panels with rows in the lanes                           `load_block`
    forward    H[c, i] = bias[c] + sum_j P[j, i] theta[j, c]                   `logits_of_block`
    softmax    H becomes the probabilities Z, then the residual D = w (Z - I),
               where I[c, i] is 1 for the label of row i; the loss             `softmax_of_block`
    backward   G[c, j] += sum_i X[i, j] D[c, i], with features in the lanes    `gradient_of_block`

For each slab, after every `flush_rows` rows:

    flush      the float32 sums G go into the float64 gradient of the slab     `block/reduce.py`

At the end of the last chunk:

    reduce     the gradients of the slabs are added up                         `block/reduce.py`

The other tasks differ in the softmax step: a Hessian product has another D, predictions stop there, and a Gram matrix
has only a backward product. H and D share one buffer, which stays in the L2 cache with the block. While a block is
computed, its micro-kernels prefetch the next one.

Workers (threads) claim slabs by their numbers until there are none. A slab is summed by one worker, in the order of its
rows, into sums of its own. So the result does not depend on which worker claims it, nor on the number of workers.

The functions below follow in the order in which they are called, from the top: `work` is what a thread calls. Compiled
code gets addresses and strides, so that one compilation serves every memory layout and task, with weights and bias or
without; Numba caches it on disk (`runtime/compile.py`).

Numba compiles every branch of a function, whatever the task. So what only some passes need is compiled apart, when
first called for. `models.py` and `hessian.py` share all of this file but for `do_block` (the first pass compiled in
10.2 s, with both in it 11.3). Tiles, inner products, products of few classes, conversion of narrow types, predictions
and soft targets are functions that are called by address. The first pass compiles in 7.5 s besides those it calls: 0.7
for few classes, 0.7 for tiles.
"""

import numpy as np

from ..block.block import backward_takes_dots, kc_blocks_of, load_block
from ..block.job import GRADIENT, GRAM, HESSIAN, gradient_rows, has_gradient
from ..block.pack import pack_parameters, store_rows
from ..block.products import backward, forward, input_gradient, mirror
from ..block.reduce import clear, flush
from ..block.softmax import (
    add_column_sums,
    hessian_residual,
    label_rows,
    not_finite,
    residual_of_labels,
    scale_rows,
    write_labels,
)
from ..microkernels.few_classes import widen_parameters
from ..microkernels.memory import at, call_address, given, inlined, kernel, pointer, read, take_ticket, write
from ..microkernels.simd import lanes
from ..microkernels.tile import TILE_SCALARS, ceil_div
from ..runtime.views import open_record

# ------------------------------------------------------------------------------ chunk and slabs


def make_work(digest, zeros):
    """What threads call; ``zeros`` holds a number of the dtype of the computation. See `runtime/compile.py` for
    ``digest``."""
    (zero,) = zeros

    def work(record, worker):
        """The share of one worker in the pass that the record describes."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, s = open_record(record, worker, zero, zero)
        for_slabs(job, s)

    return work


def make_for_slabs(do_block):
    """The loops over slabs and their blocks, around a ``do_block``."""

    @inlined
    def for_slabs(job, s):
        """Claim slabs until there are none."""
        prepare_scratch(job, s)
        while True:
            first = take_ticket(job.ticket) * job.claim
            if first >= job.slabs:
                return
            end = min(first + job.claim, job.slabs)
            for slab in range(first, end):
                do_slab(job, s, slab, slab_start(job, end))

    @inlined
    def do_slab(job, s, slab, prefetch_end):
        """The blocks of a slab, in order. In float32, products are summed over `flush_rows` rows before they go into
        the slab. Blocks are prefetched up to row ``prefetch_end``, which is in a later slab if this worker does that
        next."""
        first, end = slab_start(job, slab), slab_start(job, slab + 1)
        want_grad, size = has_gradient(job.task), gradient_rows(job.task, job.n, job.k) * job.n
        grad = job.grad + slab * size * job.grad_itemsize
        flushes = want_grad and job.result_itemsize < job.grad_itemsize
        G = s.G if flushes else pointer(grad, s.G)
        bias_grad, losses, loss = at(job.bias_grad, slab * job.k), at(job.loss, slab * job.models), 0.0
        for start in range(first, end, job.flush_rows):
            stop = min(start + job.flush_rows, end)
            if flushes:
                clear(G, size)
            for row in range(start, stop, job.block):
                r = min(job.block, stop - row)
                loss += do_block(job, s, G, bias_grad, slab, row, r, prefetch_end)
            if flushes:
                flush(G, size, pointer(grad, np.float64(0)))
        if job.task == GRAM:
            mirror(pointer(grad, np.float64(0)), job.n)
        write(losses, 0, read(losses, 0) + loss)

    return for_slabs


@kernel
def prepare_scratch(job, s):
    """What all blocks of a worker read: theta and the direction as the micro-kernels read them."""
    if job.task == GRAM:
        return
    clear(s.zeros, TILE_SCALARS)
    prepare_parameters(job, job.theta, job.bias, s.theta, s.bias)
    if job.task == HESSIAN:
        prepare_parameters(job, job.direction, job.direction_bias, s.direction, s.direction_bias)


@kernel
def prepare_parameters(job, theta, bias, out, out_bias):
    """theta (n, k) as the forward product reads it: transposed, by features with a lane for each class, or by groups of
    classes."""
    if job.forward_by_dots:
        store_rows(theta, job.k, job.n, job.k, 1.0, out, job.n)
    elif job.class_lane_forward:
        widen_parameters(theta, job.n, job.k, out)
    else:
        pack_parameters(theta, job.n, job.k, job.k, TILE_SCALARS, out)
    fill_bias(bias, np.int64(0), job.k, out_bias)


@kernel
def fill_bias(bias, first, k, out):
    """The bias of classes first .. first + k, or zeros where there is none."""
    for c in range(k):
        write(out, c, read(bias, first + c) if given(bias) else 0.0)


@kernel
def slab_start(job, slab):
    """First row of a slab, as in `Plan.slab_ranges`."""
    return min(slab * ceil_div(job.rows, job.block) // job.slabs * job.block, job.rows)


# ------------------------------------------------------------------------------------ one block


@inlined
def do_block(job, s, G, bias_grad, slab, row, r, prefetch_end):
    """Rows row .. row + r: adds to G and bias_grad what they contribute, or writes predictions; returns their loss."""
    n, ld, D, loss = job.n, job.ld, s.H, 0.0
    b = load_block(job, s, row, r, prefetch_end)
    if job.task == GRAM:  # the Gram matrix X^T diag(w) X is a backward product whose D is the weighted X
        D, ld = s.P, b.step
        scale_rows(D, ld, n, r, s.w)
    else:
        logits_of_block(job, s, b, s.theta, s.bias, r, s.H, ld)
        if job.task == HESSIAN:
            logits_of_block(job, s, b, s.direction, s.direction_bias, r, s.U, ld)
        loss = softmax_of_block(job, s, ld, row, r)
    if GRADIENT <= job.task <= GRAM:
        gradient_of_block(job, s, b, D, ld, r, G, bias_grad)
    write_row_outputs(job, s, ld, row, r)
    return loss


for_slabs = make_for_slabs(do_block)


@kernel
def logits_of_block(job, s, b, theta, bias, r, H, ld):
    """H = X theta + bias, by the micro-kernel that `strategy.py` has chosen."""
    if job.forward_by_dots:
        call_address(job.forward_by_dots, (b.X, b.row_step, theta, bias, job.n, job.k, r, H, ld, s.prefetch))
    elif job.class_lane_forward:
        call_address(job.class_lane_forward, (b.X, b.row_step, theta, bias, job.n, r, H, ld, s.P, s.prefetch))
    elif kc_blocks_of(job, r, lanes(H)) > 1:
        columns, parameters = (job.tiles, b.P, b.step), (theta, bias, job.n, job.k)
        call_address(job.forward_by_kc_blocks, (*columns, *parameters, r, H, ld, job.kc_blocks, s.prefetch))
    else:
        forward(job.tiles, b.P, b.step, theta, bias, job.n, job.k, r, H, ld, job.row_group, 0, job.n, s.prefetch)


@inlined
def softmax_of_block(job, s, ld, row, r):
    """What the task makes of the logits H of one model (and of U, the logits along the direction): residuals D, which
    replace them, or predictions. Returns the loss."""
    if job.task == HESSIAN:
        hessian_residual(s.H, s.U, ld, job.k, r, s.w)
        return 0.0
    if job.task <= GRADIENT:
        return residual(job, s, ld, row, r)
    loss = not_finite(s.H, ld, job.k, r)
    call_address(job.predict, (job.task, s.H, s.U, ld, job.k, row, r, s.best, job.out))
    return loss


@kernel
def residual(job, s, ld, row, r):
    """H becomes D = w (Z - I), or w (S Z - t) for targets t of total S; returns the loss."""
    want_grad = job.task == GRADIENT
    if given(job.row_label):
        label_rows(s.H, ld, job.k, r, s.best)
    if job.targets:
        targets = (job.soft, job.smoothing, row, r, s.labels, job.k, s.U)
        call_address(job.residual_of_targets, (*targets, s.H, ld, s.w, job.scale, want_grad, s.losses, s.loss))
        return read(s.loss, 0)
    return residual_of_labels(s.H, ld, job.k, r, s.labels, s.w, job.scale, want_grad, s.losses)


@inlined
def gradient_of_block(job, s, b, D, ld, r, G, bias_grad):
    """G += D^T X and bias_grad += the column sums of D, by the micro-kernel that `strategy.py` has chosen."""
    n, k, width = job.n, job.k, lanes(D)
    add_column_sums(D, ld, k, r, bias_grad)
    if job.narrow_backward:
        call_address(job.narrow_backward, (b.X, b.row_step, D, ld, n, r, G, s.prefetch))
    elif backward_takes_dots(job, r, width):
        rows = ceil_div(r, width) * width
        kc_blocks = kc_blocks_of(job, r, width)
        call_address(job.backward_by_dots, (b.X, b.feature_step, D, ld, n, k, rows, kc_blocks, G, s.prefetch))
    else:
        gram = job.task == GRAM
        backward(job.tiles, b.X, b.row_step, b.feature_step, b.in_place, s.Q, D, ld, n, k, r, G, gram, s.prefetch)


# -------------------------------------------------------------------- what is wanted of each row


@kernel
def write_row_outputs(job, s, ld, row, r):
    """What is wanted of each row besides the sums."""
    write_losses_and_labels(job, s.losses, s.best, row, r)
    if given(job.dX):
        zero = np.int64(0)
        input_gradient(job.tiles, s.H, ld, job.theta, job.k, zero, job.n, r, s.zeros, s.P, s.prefetch)
        store_dX(job, s.P, ld, row, r)


@kernel
def write_losses_and_labels(job, losses, best, row, r):
    """The loss and the most probable class of each row, where they are wanted."""
    if given(job.row_loss):
        for i in range(r):
            write(job.row_loss, row + i, read(losses, i))
    if given(job.row_label):
        write_labels(best, row, r, job.row_label)


@kernel
def store_dX(job, P, ld, row, r):
    """dX = scale * P^T for the rows of a block, P being what `input_gradient` wrote."""
    store_rows(P, ld, job.n, r, job.scale, at(job.dX, row * job.n), job.n)
