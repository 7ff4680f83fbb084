"""The class-parallel strategy: many classes, one gradient, all threads on the same block of rows.

With n k in the millions a gradient for each slab would not fit. Classes go in groups of fixed size; a group
belongs to one thread at a time, which alone writes its logits and its rows of the gradient. Threads meet
once in a block, where a row needs all of its classes:

    BEGIN      one thread    X -> P, or rows in R where X cannot be read in place
    FORWARD    groups        logits h, their maximum g over the group, e = exp(h - g), the sum of e
    COMBINE    one thread    maximum over the groups, f = exp(g - maximum), sum of f times each group's sum; losses
    BACKWARD   groups        D from f e; the group's rows of the gradient += D^T X
    TO_INPUT   features      dX, transposed
    STORE      one thread    dX

Groups are combined in the order of their numbers, so the result depends on neither the number of threads
nor on who took which group. Taking exp against the group's own maximum spares a third meeting.

The phases are calls from Python, each a few microseconds beside milliseconds of work.
"""

from collections import namedtuple

import numpy as np

from ..block.block import block_of_X, clear, copy_rows, may_read_past
from ..block.convert import AS_IS
from ..block.job import HESSIAN, JOB_BYTES, Job, place_parts
from ..block.pack import pack, pack_groups, store_rows
from ..block.products import backward, forward, residual_to_input
from ..block.softmax import (
    add_column_sums,
    add_loss,
    curve,
    exponentials,
    half_loss,
    half_soft_loss,
    inner_product,
    label_rows,
    linear_loss,
    load_targets,
    maximum,
    subtract_labels,
    subtract_targets,
    top_and_own,
    top_logits,
    write_labels,
)
from ..microkernels.math import exp, log
from ..microkernels.prefetch import FETCH_BYTES, stay_idle
from ..microkernels.simd import (
    above,
    at,
    inlined,
    kernel,
    lanes,
    load,
    load_wide,
    narrow,
    pointer,
    read,
    spread,
    store,
    take_ticket,
    total,
    where,
    write,
)
from ..microkernels.tile import TILE_SCALARS, pieces
from ..runtime.record import LINE, PHASE, ROW, record_bytes, unpack
from .dense import add_run, fill_bias

GROUP = 16 * TILE_SCALARS  # classes: theta's part (196 kB at n = 512 in float32) stays in L2
FEATURES = 8 * TILE_SCALARS  # of dX at a time
BEGIN, FORWARD, COMBINE, BACKWARD, TO_INPUT, STORE = range(6)

# What all threads share. By group: tops (then factors f), sums, own and mass are (groups, ld). `own` holds the
# logit of the label, or half of sum t (g - h), or sum e u; `mass` holds sum t.
Shared = namedtuple("Shared", "P S R H U labels w losses share mean tops sums own mass best top_label")
SharedLayout = namedtuple("SharedLayout", (*Shared._fields, "ld", "size"))
SHARED_BYTES = record_bytes(SharedLayout)
# A thread's own.
Own = namedtuple("Own", "tiles theta bias zeros targets Q G fetch")
OwnLayout = namedtuple("OwnLayout", (*Own._fields[1:], "size"))


def shared_layout(job, width):
    """Where the parts of the shared scratch begin."""
    n, itemsize = job.n, job.result_itemsize
    ld, groups = -(-job.block // width) * width, -(-job.k // GROUP)
    n_padded = -(-n // width) * width
    elements = {
        "P": n_padded * ld,
        "S": n_padded * (ld + width),
        "R": n * ld + width,
        "H": job.k * ld,
        "U": job.k * ld if job.task == HESSIAN else 0,
        "w": ld * 8 // itemsize,
    }
    elements |= dict.fromkeys(("labels", "losses", "share", "mean", "top_label"), ld)
    elements |= dict.fromkeys(("tops", "sums", "own", "mass", "best"), groups * ld)
    return SharedLayout(**place_parts(elements, itemsize), ld=ld)


def own_layout(job, width):
    """Where the parts of a thread's scratch begin."""
    size, itemsize, ld = min(GROUP, job.k), job.result_itemsize, -(-job.block // width) * width
    elements = {
        "theta": size * job.n,
        "bias": size,
        "zeros": TILE_SCALARS,
        "targets": size * ld if job.soft or job.smoothing else 0,
        "Q": width,
        "G": size * job.n if itemsize < job.grad_itemsize else 0,
        "fetch": FETCH_BYTES // itemsize,
    }
    return OwnLayout(**place_parts(elements, itemsize))


def make_work(digest, zeros):
    """The entry; see `numba_pass`."""
    (zero,) = zeros

    def work(record, worker):
        """One phase of the block that begins at ``row``: all of it, or groups until there are none."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, shared = unpack(record + LINE, Job), unpack(record + LINE + JOB_BYTES, SharedLayout)
        own = unpack(record + LINE + JOB_BYTES + SHARED_BYTES, OwnLayout)
        phase, row = read(pointer(record, np.int64(0)), PHASE), read(pointer(record, np.int64(0)), ROW)
        s = make_shared(shared, job.scratch, zero)
        o = make_own(own, job.scratch + shared.size + worker * own.size, job.tiles, zero)
        r = min(job.block, job.rows - row)
        stay_idle(o.fetch, job.X)
        clear(o.zeros, TILE_SCALARS)
        if phase == BEGIN:
            begin(job, s, row, r, zero)
        elif phase == COMBINE:
            combine(job, s, shared.ld, row, r, zero)
        elif phase == STORE:
            out = at(pointer(job.dX, zero), row * job.n)
            store_rows(s.P, shared.ld, job.n, r, job.scale, out, job.n)
        else:
            share_phase(job, s, o, shared, phase, row, r, zero)

    return work


@kernel
def make_shared(layout, scratch, zero):
    return Shared(
        pointer(scratch + layout.P, zero),
        pointer(scratch + layout.S, zero),
        pointer(scratch + layout.R, zero),
        pointer(scratch + layout.H, zero),
        pointer(scratch + layout.U, zero),
        pointer(scratch + layout.labels, zero),
        pointer(scratch + layout.w, np.float64(0)),
        pointer(scratch + layout.losses, zero),
        pointer(scratch + layout.share, zero),
        pointer(scratch + layout.mean, zero),
        pointer(scratch + layout.tops, zero),
        pointer(scratch + layout.sums, zero),
        pointer(scratch + layout.own, zero),
        pointer(scratch + layout.mass, zero),
        pointer(scratch + layout.best, zero),
        pointer(scratch + layout.top_label, zero),
    )


@kernel
def make_own(layout, scratch, tiles, zero):
    return Own(
        tiles,
        pointer(scratch + layout.theta, zero),
        pointer(scratch + layout.bias, zero),
        pointer(scratch + layout.zeros, zero),
        pointer(scratch + layout.targets, zero),
        pointer(scratch + layout.Q, zero),
        pointer(scratch + layout.G, zero),
        pointer(scratch + layout.fetch, np.int64(0)),
    )


@kernel
def begin(job, s, row, r, zero):
    """P, one panel of features by rows, and R, rows of X, if they cannot be read where they are."""
    width = lanes(s.P)
    step = pieces(r, width) * width
    X, row_step, feature_step, in_place = block_of_X(job, s, row, r, s.S, zero)
    pack(X, feature_step, row_step, job.n, r, in_place, step, s.P, np.int64(0))
    if not in_place:
        store_rows(s.P, step, job.n, r, 1.0, s.R, job.n)
        clear(at(s.R, r * job.n), width)
    copy_rows(job, s, row, r, width)


@inlined
def share_phase(job, s, o, shared, phase, row, r, zero):
    """Take groups until there are none."""
    whole, most = (job.n, FEATURES) if phase == TO_INPUT else (job.k, GROUP)
    while True:
        g = take_ticket(job.ticket)
        first = g * most
        if first >= whole:
            return
        size = min(most, whole - first)
        if phase == FORWARD:
            group_forward(job, s, o, shared.ld, g, first, size, row, r, zero)
        elif phase == BACKWARD:
            group_backward(job, s, o, shared, g, first, size, row, r, zero)
        else:
            theta = pointer(job.theta, zero)
            residual_to_input(o.tiles, s.H, shared.ld, theta, job.k, first, first + size, r, o.zeros, s.P, o.fetch)


@kernel
def rows_of_X(job, s, row, r, zero):
    """The block as rows that may be read to a whole number of registers, and the step between them."""
    if job.kind == AS_IS and may_read_past(job, row, r, lanes(s.R)):
        return at(pointer(job.X, zero), row * job.row_step), job.row_step
    by_columns = job.row_step == 1 and job.feature_step != 1
    return (s.R if job.kind == AS_IS or by_columns else s.S), job.n


@kernel
def logits(job, s, o, theta, bias, itemsize, first, size, r, H, ld, zero):
    width = lanes(H)
    pack_groups(at(pointer(theta, zero), first), job.n, job.k, size, TILE_SCALARS, o.theta)
    fill_bias(bias + first * itemsize if bias else 0, size, o.bias, zero)
    forward(o.tiles, s.P, pieces(r, width) * width, o.theta, o.bias, job.n, size, r, H, ld, o.fetch)


@kernel
def has_targets(job):
    """Whether the loss has a target for each class: Hessian products have labels at most."""
    return job.task != HESSIAN and (job.soft != 0 or job.smoothing != 0.0)


@kernel
def group_forward(job, s, o, ld, g, first, size, row, r, zero):
    """Logits, exponentials and sums of a group."""
    H, U, part, itemsize = at(s.H, first * ld), at(s.U, first * ld), g * ld, job.result_itemsize
    logits(job, s, o, job.theta, job.bias, itemsize, first, size, r, H, ld, zero)
    if job.row_label:
        label_rows(H, ld, size, r, at(s.best, part))
    if job.task == HESSIAN:
        logits(job, s, o, job.direction, job.direction_bias, itemsize, first, size, r, U, ld, zero)
    soft = has_targets(job)
    if soft:
        load_targets(job.soft, job.smoothing, job.k, row, r, s.labels, first, size, o.targets, ld)
    for i in range(0, r, lanes(H)):
        if soft:
            top = top_logits(H, ld, size, i)
            own, mass = linear_loss(H, o.targets, ld, size, i, top)
            store(s.mass, part + i, mass)
        else:
            label = load(s.labels, i)
            top, own = top_and_own(H, ld, size, i, label - spread(label, first))
        store(s.sums, part + i, exponentials(H, ld, size, i, top))
        store(s.tops, part + i, top)
        store(s.own, part + i, inner_product(H, U, ld, size, i) if job.task == HESSIAN else own)


@kernel
def combine(job, s, ld, row, r, zero):
    """What needs all classes of a row: the loss, and by what its exponentials are to be multiplied."""
    loss = spread(load_wide(s.w, 0, load(s.tops, 0)), 0.0)
    for i in range(0, r, lanes(s.tops)):
        top, label = top_of_groups(s, ld, pieces(job.k, GROUP), i, job.row_label != 0)
        store(s.top_label, i, label)
        sums, own, mass = sum_of_groups(job, s, ld, i, top)
        weight = narrow(load_wide(s.w, i, top), top)
        if has_targets(job):
            loss = add_loss(half_soft_loss(own, mass, log(sums)), s.w, i, job.scale, loss, s.losses, top)
            weight = weight * mass
        elif job.task == HESSIAN:
            store(s.mean, i, own / sums)
        else:
            loss = add_loss(half_loss(top, own, log(sums)), s.w, i, job.scale, loss, s.losses, top)
        store(s.share, i, weight / sums)
    if job.task != HESSIAN:
        losses = pointer(job.loss, np.float64(0))
        write(losses, 0, read(losses, 0) + total(loss))
    if job.row_loss:
        losses = pointer(job.row_loss, zero)
        for i in range(r):
            write(losses, row + i, read(s.losses, i))
    if job.row_label:
        write_labels(s.top_label, row, r, pointer(job.row_label, np.int64(0)))


@kernel
def top_of_groups(s, ld, groups, i, want_label):
    """The largest logit of each row, and its class."""
    top = load(s.tops, i)
    label = spread(top, 0.0)
    if want_label:
        label = load(s.best, i)
    for g in range(1, groups):
        h = load(s.tops, g * ld + i)
        if want_label:
            label = where(above(h, top), load(s.best, g * ld + i) + spread(top, g * GROUP), label)
        top = maximum(top, h)
    return top, label


@kernel
def sum_of_groups(job, s, ld, i, top):
    """The sums of the groups, brought to the maximum of the row; tops becomes their factors."""
    half = spread(top, 0.5)
    sums = own = mass = spread(top, 0.0)
    for g in range(pieces(job.k, GROUP)):
        group_top, group_own = load(s.tops, g * ld + i), load(s.own, g * ld + i)
        factor = exp(group_top - top)
        store(s.tops, g * ld + i, factor)
        sums = sums + factor * load(s.sums, g * ld + i)
        if job.task == HESSIAN:
            group_own = group_own * factor
        elif has_targets(job):
            group_mass = load(s.mass, g * ld + i)
            group_own = group_own + group_mass * (top * half - group_top * half)
            mass = mass + group_mass
        own = own + group_own
    return sums, own, mass


@kernel
def group_backward(job, s, o, shared, g, first, size, row, r, zero):
    """D of a group, and its rows of the gradient."""
    n, ld, itemsize = job.n, shared.ld, job.grad_itemsize
    D, U = at(s.H, first * ld), at(s.U, first * ld)
    soft = has_targets(job)
    if soft:
        load_targets(job.soft, job.smoothing, job.k, row, r, s.labels, first, size, o.targets, ld)
    for i in range(0, r, lanes(D)):
        share = load(s.tops, g * ld + i) * load(s.share, i)
        weight = narrow(load_wide(s.w, i, share), share)
        if job.task == HESSIAN:
            curve(D, U, ld, size, i, share, load(s.mean, i))
        elif soft:
            subtract_targets(D, o.targets, ld, size, i, weight, share)
        else:
            label = load(s.labels, i)
            subtract_labels(D, ld, size, i, label - spread(label, first), weight, share)
    add_column_sums(D, ld, size, r, at(pointer(job.bias_grad, np.float64(0)), first))
    X, row_step = rows_of_X(job, s, row, r, zero)
    grad = job.grad + first * n * itemsize
    if job.result_itemsize == itemsize:
        backward(o.tiles, X, row_step, 1, True, o.Q, D, ld, n, size, r, pointer(grad, zero), False, o.fetch)
    else:
        clear(o.G, size * n)
        backward(o.tiles, X, row_step, 1, True, o.Q, D, ld, n, size, r, o.G, False, o.fetch)
        add_run(o.G, size * n, pointer(grad, np.float64(0)))
