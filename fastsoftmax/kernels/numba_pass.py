"""One worker's share of a pass: the block loop of DESIGN section 4, compiled once for each dtype.

For a block of rows (r of them, n features, k classes):

    pack       X -> P, feature-major panels
    product    H[c, i] = bias[c] + sum_j P[j, i] theta[j, c]         rows i in the lanes
    residual   H becomes D in place; loss, column sums of D
    product    G[c, j] += sum_i X[i, j] D[c, i]                      features j in the lanes;
                                                             where X will not do, panels Q made from P

Slabs are numbered tickets: a worker takes the next one until there are none. A slab is summed
by one worker in the order of its rows into sums of its own, so who takes it changes nothing.

One function, `work`, is entered from Python. It gets addresses and strides, hence it is the
same compilation for every layout and task, with weights and bias or without. It is also the
only one that Numba caches on disk, and Numba looks at its file and its closure alone: a digest
of all files compiled into it goes into the closure.
"""

from collections import namedtuple

import numpy as np

from .numba_lanes import at, inlined, kernel, lanes, pointer, read, take_ticket, write
from .numba_pack import pack, pack_groups
from .numba_product import TILE_VECTORS, backward, forward, mirror, prefetch_stride
from .numba_rows import (
    add_column_sums,
    hessian_rows,
    label_rows,
    log_proba_rows,
    loss_rows,
    not_finite,
    proba_rows,
    weigh_rows,
)
from .numba_tile import TILE_SCALARS, pieces, tile_table

VALUE, GRADIENT, HESSIAN, GRAM, LABEL, LOGITS, PROBA, LOG_PROBA = range(8)

# What a pass works on. Arrays are addresses, 0 for None; steps count elements.
Job = namedtuple(
    "Job",
    "task n k X row_step feature_step rows y w theta bias direction direction_bias "
    "loss grad grad_itemsize bias_grad out scale block run slab_rows slabs ticket",
)
# Where the parts of a worker's scratch begin, in bytes; ld is the step between classes of H.
Layout = namedtuple("Layout", "P Q H U theta direction bias direction_bias labels w G ld itemsize size")
# The same as typed pointers, with the table of tile functions.
Space = namedtuple("Space", "tiles P Q H U theta direction bias direction_bias labels w")


def scratch_layout(task, n, k, block, itemsize, width):
    """The `Layout` for blocks of ``block`` rows and registers of ``width`` numbers."""
    ld = -(-block // width) * width
    n_padded = -(-n // width) * width
    elements = {
        "P": n_padded * ld,  # transposed squares may write past n
        "Q": TILE_VECTORS * width * ld,
        "H": 0 if task == GRAM else k * ld,
        "U": k * ld if task in (HESSIAN, LOG_PROBA) else 0,
        "theta": 0 if task == GRAM else n * k,
        "direction": n * k if task == HESSIAN else 0,
        "bias": k,
        "direction_bias": k,
        "labels": ld,
        "w": ld * 8 // itemsize,
        "G": k * n if itemsize == 4 and GRADIENT <= task <= GRAM else 0,
    }
    offsets, size = {}, 0
    for name, count in elements.items():
        offsets[name] = size
        size += -(-count * itemsize // 64) * 64
    return Layout(**offsets, ld=ld, itemsize=itemsize, size=size)


def make_work(digest):
    """The entry; see the module's docstring for ``digest``."""

    def work(job, layout, scratch, zero):
        """Take slabs until there are none. ``scratch`` is an address, ``zero`` has the dtype of X."""
        digest  # noqa: B018 - only so that it is part of the closure
        s = make_space(layout, scratch, tile_table(zero), zero)
        prepare(job, s, zero)
        while True:
            p = take_ticket(job.ticket)
            if p >= job.slabs:
                return
            do_slab(job, layout, s, p, scratch + layout.G, zero)

    return work


@kernel
def make_space(layout, scratch, tiles, zero):
    return Space(
        tiles,
        pointer(scratch + layout.P, zero),
        pointer(scratch + layout.Q, zero),
        pointer(scratch + layout.H, zero),
        pointer(scratch + layout.U, zero),
        pointer(scratch + layout.theta, zero),
        pointer(scratch + layout.direction, zero),
        pointer(scratch + layout.bias, zero),
        pointer(scratch + layout.direction_bias, zero),
        pointer(scratch + layout.labels, zero),
        pointer(scratch + layout.w, np.float64(0)),
    )


@kernel
def prepare(job, s, zero):
    """Lay the parameters out as the tiles read them."""
    if job.task == GRAM:
        return
    pack_groups(pointer(job.theta, zero), job.n, job.k, TILE_SCALARS, s.theta)
    fill_bias(job.bias, job.k, s.bias, zero)
    if job.task == HESSIAN:
        pack_groups(pointer(job.direction, zero), job.n, job.k, TILE_SCALARS, s.direction)
        fill_bias(job.direction_bias, job.k, s.direction_bias, zero)


@kernel
def fill_bias(address, k, out, zero):
    for c in range(k):
        write(out, c, read(pointer(address, zero), c) if address else zero)


@inlined
def do_slab(job, layout, s, p, run_sums, zero):
    """The blocks of slab p, in order. float32 sums its products over a run of rows, in ``run_sums``."""
    first = p * job.slab_rows
    end = min(first + job.slab_rows, job.rows)
    want_grad = GRADIENT <= job.task <= GRAM
    grad = job.grad + p * job.k * job.n * job.grad_itemsize
    in_runs = want_grad and layout.itemsize < job.grad_itemsize
    G = pointer(run_sums if in_runs else grad, zero)
    bias_grad = pointer(job.bias_grad + p * job.k * 8, np.float64(0))
    loss = 0.0
    for start in range(first, end, job.run):
        stop = min(start + job.run, end)
        if in_runs:
            clear(G, job.k * job.n)
        for row in range(start, stop, job.block):
            loss += do_block(job, layout, s, G, bias_grad, row, min(job.block, stop - row), end, zero)
        if in_runs:
            add_run(G, job.k * job.n, pointer(grad, np.float64(0)))
    if job.task == GRAM:
        mirror(pointer(grad, np.float64(0)), job.n)
    losses = pointer(job.loss, np.float64(0))
    write(losses, p, read(losses, p) + loss)


@kernel
def clear(G, count):
    for i in range(count):
        write(G, i, 0.0)


@kernel
def add_run(G, count, grad):
    for i in range(count):
        write(grad, i, read(grad, i) + read(G, i))


@inlined
def do_block(job, layout, s, G, bias_grad, row, r, end, zero):
    """Rows row .. row + r: what they add to G and bias_grad, or to the prediction; their loss."""
    n, k, ld, loss = job.n, job.k, layout.ld, 0.0
    X = at(pointer(job.X, zero), row * job.row_step)
    width = lanes(X)
    ahead, stride, in_pack = next_block(job, layout, row, r, end, width)
    c_order, gram = job.feature_step == 1, job.task == GRAM
    in_place = may_read_past(job, row, r, width)
    # X in another order is read once: P is one panel then, and the backward product reads that. A Gram
    # matrix has P, weighted, for its D.
    step = 0 if c_order and not gram else pieces(r, width) * width
    pack(X, job.feature_step, job.row_step, n, r, in_place, step if step else TILE_VECTORS, s.P, in_pack)
    copy_rows(job, s, row, r, width)
    D = s.P if gram else s.H
    if gram:
        ld = step
        weigh_rows(D, ld, n, r, s.w)
    else:
        loss, ahead = logits_block(job, s, step, ld, row, r, ahead, stride, zero)
    if GRADIENT <= job.task <= GRAM:
        add_column_sums(D, ld, k, r, bias_grad)
        A, row_step, feature_step = X, job.row_step, job.feature_step
        if not (c_order or gram):
            A, row_step, feature_step = s.P, 1, step
        backward(s.tiles, A, row_step, feature_step, in_place, s.Q, D, ld, n, k, r, G, gram, ahead, stride)
    return loss


@inlined
def logits_block(job, s, step, ld, row, r, ahead, stride, zero):
    """The logits of a block, and what the task makes of them: (loss, where prefetching has got to)."""
    n, k, loss = job.n, job.k, 0.0
    ahead = forward(s.tiles, s.P, step, s.theta, s.bias, n, k, r, s.H, ld, ahead, stride)
    if job.task == HESSIAN:
        ahead = forward(s.tiles, s.P, step, s.direction, s.direction_bias, n, k, r, s.U, ld, ahead, stride)
        hessian_rows(s.H, s.U, ld, k, r, s.w)
    elif job.task <= GRADIENT:
        loss = loss_rows(s.H, ld, k, r, s.labels, s.w, job.scale, job.task == GRADIENT)
    else:
        loss = not_finite(s.H, ld, k, r)
        predict_block(job, s, ld, row, r, zero)
    return loss, ahead


@kernel
def predict_block(job, s, ld, row, r, zero):
    if job.task == LABEL:
        label_rows(s.H, ld, job.k, r, s.labels)
        labels = pointer(job.out, np.int64(0))
        for i in range(r):
            write(labels, row + i, np.int64(read(s.labels, i)))
        return
    if job.task == PROBA:
        proba_rows(s.H, ld, job.k, r)
    elif job.task == LOG_PROBA:
        log_proba_rows(s.H, s.U, ld, job.k, r)
    out = at(pointer(job.out, zero), row * job.k)
    for i in range(r):
        for c in range(job.k):
            write(out, i * job.k + c, read(s.H, c * ld + i))


@kernel
def copy_rows(job, s, row, r, width):
    """Labels and weights of a block; rows past its end repeat the last one, with weight 0."""
    for i in range(pieces(r, width) * width):
        source = row + min(i, r - 1)
        if job.y:
            write(s.labels, i, read(pointer(job.y, np.int32(0)), source))
        weight = read(pointer(job.w, np.float64(0)), source) if job.w else 1.0
        write(s.w, i, weight if i < r else 0.0)


@kernel
def may_read_past(job, row, r, width):
    """Whether every row of the block may be read to a whole number of registers: what lies past the
    row's end is the next row's, and only the last rows of X (in memory) have none after them."""
    last = max(0, (job.rows - 1) * job.row_step) + job.n
    furthest = max(row * job.row_step, (row + r - 1) * job.row_step) + pieces(job.n, width) * width
    return job.feature_step == 1 and furthest <= last


@kernel
def next_block(job, layout, row, r, end, width):
    """How the next block of the slab is prefetched: address, bytes for each step of a tile, and the
    number of elements ahead at which `pack` asks, or 0.

    The tiles are the better place: they are most of the time, and the bus is used best when
    requests are spread. `pack` helps where they cannot (columns are short runs far apart) or where
    they are too short for it: with both, 500k x 50 in float64, k = 3, takes 8.7 ms in place of 10.4.
    """
    size = min(r, end - row - r) * job.row_step * layout.itemsize
    if size == 0:
        return 0, 0, 0
    if job.feature_step != 1 or not 0 < job.row_step <= 2 * job.n:
        return 0, 0, r * job.row_step
    forwards = 2 if job.task == HESSIAN else 0 if job.task == GRAM else 1
    backwards = 1 if GRADIENT <= job.task <= GRAM else 0
    stride = prefetch_stride(job.n, job.k, r, width, forwards, backwards, size)
    ahead = job.X + (row + r) * job.row_step * layout.itemsize
    return ahead, stride, r * job.row_step if stride >= 64 else 0
