"""One worker's share of a pass: the block loop of DESIGN section 4, compiled once for each dtype.

For a block of rows (r of them, n features, k classes):

    pack       X -> P, feature-major panels
    product    H[c, i] = bias[c] + sum_j P[j, i] theta[j, c]         rows i in the lanes
    residual   H becomes D in place; loss, column sums of D
    product    G[c, j] += sum_i X[i, j] D[c, i]                      features j in the lanes;
                                                             where X will not do, panels Q made from P

Slabs are numbered tickets: a worker takes the next few until there are none. A slab is summed
by one worker in the order of its rows into sums of its own, so who takes it changes nothing.

One function, `work`, is entered from Python. It gets addresses and strides, hence it is the
same compilation for every layout and task, with weights and bias or without. It is also the
only one that Numba caches on disk, and Numba looks at its file and its closure alone: a digest
of all files compiled into it goes into the closure.

What few need, `numba_models` and `numba_pairs`, shares all but `do_block` and has an entry of its own, compiled when
first called for: Numba compiles every branch of an entry, whatever the task (11.3 s for the first pass, 10.2 without).
"""

from collections import namedtuple

import numpy as np

from .numba_fetch import FETCH_BYTES, fetch_block, tile_steps
from .numba_lanes import at, inlined, kernel, lanes, pointer, read, take_ticket, write
from .numba_narrow import AS_IS, convert_lines
from .numba_pack import gather_strip, pack, pack_groups, store_rows, transpose_strip
from .numba_product import backward, forward, mirror, residual_to_input
from .numba_rows import (
    add_column_sums,
    hessian_rows,
    label_rows,
    label_targets,
    log_proba_rows,
    loss_rows,
    not_finite,
    proba_rows,
    smooth,
    soft_loss_rows,
    weigh_rows,
)
from .numba_tile import TILE_SCALARS, TILE_VECTORS, pieces, tile_table

VALUE, GRADIENT, HESSIAN, GRAM, LABEL, LOGITS, PROBA, LOG_PROBA, PAIRS = range(9)
PREDICTION_TASKS = {"label": LABEL, "logits": LOGITS, "proba": PROBA, "log_proba": LOG_PROBA}

# What a pass works on. Arrays are addresses, 0 for None; steps count elements of X, which are of a `kind` of
# `numba_narrow`.
Job = namedtuple(
    "Job",
    "task n k X kind itemsize result_itemsize row_step feature_step rows y w soft smoothing theta bias "
    "direction direction_bias loss grad grad_itemsize bias_grad out dX row_loss row_label scale "
    "models fold left_out held block run slab_rows slabs turn ticket",
)
# Where the parts of a worker's scratch begin, in bytes; ld is the step between classes of H.
Layout = namedtuple(
    "Layout",
    "P Q S H U theta direction bias direction_bias zeros labels best losses w fetch W fold_w G ld itemsize size",
)
# A block of X: rows ``X`` for the backward product, columns ``P`` for the forward one, in one panel with ``step``
# between its features or, with step 0, in panels of a tile's width.
Block = namedtuple("Block", "X row_step feature_step in_place P step")
# The same as typed pointers, with the table of tile functions.
Space = namedtuple(
    "Space", "tiles P Q S H U theta direction bias direction_bias zeros labels best losses w fetch W fold_w"
)


@kernel
def has_gradient(task):
    return GRADIENT <= task <= GRAM or task == PAIRS


@kernel
def gradient_rows(task, n, k):
    """Rows of n numbers in a slab's sums: one for each class, or a matrix for each pair of classes."""
    return k * (k - 1) // 2 * n if task == PAIRS else k


def scratch_layout(job, width):
    """The `Layout` for registers of ``width`` numbers."""
    task, n, k, itemsize = job.task, job.n, job.k, job.result_itemsize
    ld = -(-job.block // width) * width
    n_padded = -(-n // width) * width
    targets = task <= GRADIENT and (job.soft or job.smoothing)
    elements = {
        "P": n_padded * ld,  # transposed squares may write past n
        "Q": TILE_VECTORS * width * ld,
        "S": 0 if job.kind == AS_IS else n_padded * ld + width,
        "H": 0 if task == GRAM else k * ld,
        "U": k * ld if targets or task in (HESSIAN, LOG_PROBA) else 0,
        "theta": 0 if task == GRAM else n * k,
        "direction": n * k if task == HESSIAN else 0,
        "bias": k,
        "direction_bias": k,
        "zeros": TILE_SCALARS,
        "labels": ld,
        "best": ld,
        "losses": ld,
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
        pointer(scratch + layout.w, np.float64(0)),
        pointer(scratch + layout.fetch, np.int64(0)),
        pointer(scratch + layout.W, zero),
        pointer(scratch + layout.fold_w, np.float64(0)),
    )


@kernel
def prepare(job, s, zero):
    """Lay the parameters out as the tiles read them."""
    if job.task == GRAM:
        return
    clear(s.zeros, TILE_SCALARS)
    pack_groups(pointer(job.theta, zero), job.n, job.k, job.k, TILE_SCALARS, s.theta)
    fill_bias(job.bias, job.k, s.bias, zero)
    if job.task == HESSIAN:
        pack_groups(pointer(job.direction, zero), job.n, job.k, job.k, TILE_SCALARS, s.direction)
        fill_bias(job.direction_bias, job.k, s.direction_bias, zero)


@kernel
def fill_bias(address, k, out, zero):
    for c in range(k):
        write(out, c, read(pointer(address, zero), c) if address else zero)


def make_take_slabs(do_block):
    """What a worker does, around ``do_block``: a function for an entry to call."""

    @inlined
    def do_slab(job, layout, s, p, last, run_sums, zero):
        """The blocks of slab p, in order. float32 sums its products over a run of rows, in ``run_sums``. Blocks are
        fetched ahead up to row ``last``, which lies in a later slab if the same worker does that next."""
        first = p * job.slab_rows
        end = min(first + job.slab_rows, job.rows)
        want_grad, size = has_gradient(job.task), gradient_rows(job.task, job.n, job.k) * job.n
        grad = job.grad + p * size * job.grad_itemsize
        in_runs = want_grad and layout.itemsize < job.grad_itemsize
        G = pointer(run_sums if in_runs else grad, zero)
        bias_grad = pointer(job.bias_grad + p * job.k * 8, np.float64(0))
        loss = 0.0
        for start in range(first, end, job.run):
            stop = min(start + job.run, end)
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
        s = make_space(layout, scratch, tile_table(zero), zero)
        prepare(job, s, zero)
        while True:
            first = take_ticket(job.ticket) * job.turn
            if first >= job.slabs:
                return
            end = min(first + job.turn, job.slabs)
            for p in range(first, end):
                do_slab(job, layout, s, p, min(end * job.slab_rows, job.rows), scratch + layout.G, zero)

    return take_slabs


@kernel
def clear(G, count):
    for i in range(count):
        write(G, i, 0.0)


@kernel
def add_run(G, count, grad):
    for i in range(count):
        write(grad, i, read(grad, i) + read(G, i))


@inlined
def do_block(job, layout, s, G, bias_grad, slab, row, r, last, zero):
    """Rows row .. row + r: what they add to G and bias_grad, or to the prediction; their loss."""
    n, k, ld, D, loss = job.n, job.k, layout.ld, s.H, 0.0
    b = load_block(job, s, row, r, last, zero)
    if job.task == GRAM:  # a Gram matrix has P, weighted, for its D
        D, ld = s.P, b.step
        weigh_rows(D, ld, n, r, s.w)
    else:
        forward(s.tiles, b.P, b.step, s.theta, s.bias, n, k, r, s.H, ld, s.fetch)
        if job.task == HESSIAN:
            forward(s.tiles, b.P, b.step, s.direction, s.direction_bias, n, k, r, s.U, ld, s.fetch)
        loss = use_logits(job, s, ld, row, r, zero)
    if GRADIENT <= job.task <= GRAM:
        add_gradient(job, s, b, D, ld, r, G, bias_grad)
    write_rows(job, s, ld, row, r, zero)
    return loss


@inlined
def load_block(job, s, row, r, last, zero):
    """The `Block`, with the labels and weights of its rows; the next one is asked for."""
    width = lanes(s.P)
    gram = job.task == GRAM
    packing = start_fetch(job, s, row, r, last, width)
    X, row_step, feature_step, in_place = block_of_X(job, s, row, r, s.S if gram else s.P, zero)
    c_order = feature_step == 1
    # X in another order is packed once: P is one panel then, and the backward product reads that.
    step = 0 if c_order and not (gram or job.task == PAIRS) else pieces(r, width) * width
    P = s.P
    if may_use_columns(job, r, width):
        P, step = X, feature_step
    elif job.kind == AS_IS or c_order or gram:
        most = step if step else TILE_VECTORS
        pack(X, feature_step, row_step, job.n, r, in_place, most, s.P, r * row_step if packing else np.int64(0))
    copy_rows(job, s, row, r, width)
    if not (c_order or gram):
        X, row_step, feature_step = P, 1, step
    return Block(X, row_step, feature_step, in_place, P, step)


@inlined
def load_logits(job, layout, s, row, r, last, zero):
    """The `Block`, with its logits in H."""
    b = load_block(job, s, row, r, last, zero)
    forward(s.tiles, b.P, b.step, s.theta, s.bias, job.n, job.k, r, s.H, layout.ld, s.fetch)
    return b


@inlined
def add_gradient(job, s, b, D, ld, r, G, bias_grad):
    add_column_sums(D, ld, job.k, r, bias_grad)
    gram = job.task == GRAM
    backward(s.tiles, b.X, b.row_step, b.feature_step, b.in_place, s.Q, D, ld, job.n, job.k, r, G, gram, s.fetch)


take_slabs = make_take_slabs(do_block)


def make_work(digest):
    """The entry; see the module's docstring for ``digest``."""

    def work(job, layout, scratch, zero):
        digest  # noqa: B018 - only so that it is part of the closure
        take_slabs(job, layout, scratch, zero)

    return work


@inlined
def use_logits(job, s, ld, row, r, zero):
    """What the task makes of the logits H of one model, and of U, those along the direction; their loss."""
    if job.task == HESSIAN:
        hessian_rows(s.H, s.U, ld, job.k, r, s.w)
        return 0.0
    if job.task <= GRADIENT:
        return loss_block(job, s, ld, row, r, zero)
    loss = not_finite(s.H, ld, job.k, r)
    predict_block(job, s, ld, row, r, zero)
    return loss


@kernel
def loss_block(job, s, ld, row, r, zero):
    want_grad = job.task == GRADIENT
    if job.row_label:
        label_rows(s.H, ld, job.k, r, s.best)
    if job.soft or job.smoothing:
        load_targets(job, row, r, s.labels, np.int64(0), job.k, s.U, ld, zero)
        return soft_loss_rows(s.H, s.U, ld, job.k, r, s.w, job.scale, want_grad, s.losses)
    return loss_rows(s.H, ld, job.k, r, s.labels, s.w, job.scale, want_grad, s.losses)


@kernel
def load_targets(job, row, r, labels, first, k, t, ld, zero):
    """Targets of classes first .. first + k, smoothed, for the rows of a block: t[c, i]."""
    eps, eps_share = job.smoothing, job.smoothing / job.k
    if not job.soft:
        label_targets(t, ld, k, r, labels, first, eps, eps_share)
        return
    width = lanes(t)
    soft = at(pointer(job.soft, zero), row * job.k + first)
    for i in range(0, r, width):
        if k >= width and r - i >= width:
            transpose_strip(at(soft, i * job.k), job.k, k, at(t, i), ld, np.int64(0))
        else:
            gather_strip(at(soft, i * job.k), np.int64(1), job.k, k, min(width, r - i), at(t, i), ld)
    if eps != 0.0:
        smooth(t, ld, k, r, eps, eps_share)


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


@kernel
def write_labels(best, row, r, out):
    for i in range(r):
        write(out, row + i, np.int64(read(best, i)))


@kernel
def predict_block(job, s, ld, row, r, zero):
    if job.task == LABEL:
        label_rows(s.H, ld, job.k, r, s.best)
        write_labels(s.best, row, r, pointer(job.out, np.int64(0)))
        return
    if job.task == PROBA:
        proba_rows(s.H, ld, job.k, r)
    elif job.task == LOG_PROBA:
        log_proba_rows(s.H, s.U, ld, job.k, r)
    store_rows(s.H, ld, job.k, r, 1.0, at(pointer(job.out, zero), row * job.k), job.k)


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
    if not by_row:
        out_step = pieces(r, width) * width
        out, lines, line_step, count, step = columns, n, step, r, row_step
        if r < out_step:
            clear(out, n * out_step)
    elif row_step == n and step == 1:
        lines, count = 1, r * n
    convert_lines(job.kind, job.X + row * row_step * size, lines, line_step * size, count, step * size, out, out_step)
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
def start_fetch(job, s, row, r, end, width):
    """Let the tiles fetch the next block, if it begins before row ``end``; whether `pack` should, too."""
    forwards = 2 if job.task == HESSIAN else 0 if job.task == GRAM else 1
    backwards = 1 if GRADIENT <= job.task <= GRAM else 0
    steps = tile_steps(job.n, job.k, r, width, forwards, backwards)
    size, row_bytes = job.itemsize, job.row_step * job.itemsize
    rows, address = min(r, end - row - r), job.X + (row + r) * row_bytes
    packing = fetch_block(s.fetch, address, rows, job.n, row_bytes, job.feature_step * size, size, steps, job.X)
    return packing and job.kind == AS_IS
