"""The class-parallel passes: many classes, one gradient, all threads on the same block of rows.

With n k in the millions, a gradient for each slab would not fit in memory. Classes are cut into groups of fixed size. A
group belongs to one thread at a time, which alone writes the group's logits and its rows of the gradient. Threads meet
where a row needs all of its classes, which is once in a block:

    LOAD              one thread   X -> P, and rows in R where X cannot be read in place
    FORWARD           groups       logits h, their maximum g over the group, e = exp(h - g), the sum of e
    COMBINE           one thread   maximum over the groups, f = exp(g - maximum), the sum of f times each group's sum;
                                   losses
    BACKWARD          groups       D from f e; the group's rows of the gradient += D^T X
    INPUT_GRADIENT    features     dX, transposed
    STORE             one thread   dX

Groups are combined in the order of their numbers, so the result depends neither on the number of threads nor on which
thread took which group. Taking the exponentials relative to the group's own maximum avoids a second meeting.

Each phase is a call from Python, which takes a few microseconds beside milliseconds of work.
"""

import numpy as np

from ..block.block import load_rows, may_read_past, stage
from ..block.convert import AS_IS
from ..block.job import GROUP, HESSIAN
from ..block.pack import pack, pack_parameters, store_rows
from ..block.products import backward, forward, input_gradient
from ..block.reduce import clear, flush
from ..block.softmax import (
    add_column_sums,
    add_loss,
    exponentials,
    half_loss,
    half_soft_loss,
    inner_product,
    label_rows,
    linear_loss,
    load_targets,
    maximum,
    subtract_labels,
    subtract_mean,
    subtract_targets,
    top_and_hit,
    top_logits,
)
from ..microkernels.math import exp, log
from ..microkernels.memory import address_at, at, given, inlined, kernel, pointer, read, take_ticket, write
from ..microkernels.prefetch import idle
from ..microkernels.simd import above, lanes, load, load_double, splat, store, sum_lanes, to_type_of, where
from ..microkernels.tile import TILE_SCALARS, ceil_div
from ..runtime.views import open_record
from .dense import fill_bias, store_dX, write_losses_and_labels

FEATURES = 8 * TILE_SCALARS  # of dX, that a thread takes at a time
LOAD, FORWARD, COMBINE, BACKWARD, INPUT_GRADIENT, STORE = range(6)


def make_work(digest, zeros):
    """What threads call; see `dense.make_work`."""
    (zero,) = zeros

    def work(record, worker):
        """One phase of the block that begins at the record's row: all of it, or groups until there are none."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, s = open_record(record, worker, zero, zero)
        phase, row = job.phase, job.row
        r = min(job.block, job.rows - row)
        idle(s.prefetch, address_at(job.X, 0))
        clear(s.zeros, TILE_SCALARS)
        if phase == LOAD:
            load_shared_block(job, s, row, r)
        elif phase == COMBINE:
            combine(job, s, job.ld, row, r)
        elif phase == STORE:
            store_dX(job, s.P, job.ld, row, r)
        else:
            do_groups(job, s, phase, row, r)

    return work


@kernel
def load_shared_block(job, s, row, r):
    """P, a single panel with rows in the lanes, and R, the rows of X, if they cannot be read in place."""
    width = lanes(s.P)
    step = ceil_div(r, width) * width
    X, row_step, feature_step, in_place = stage(job, s, row, r, s.S)
    pack(X, feature_step, row_step, job.n, r, in_place, step, s.P, np.int64(0))
    if not in_place:
        store_rows(s.P, step, job.n, r, 1.0, s.R, job.n)
        clear(at(s.R, r * job.n), width)
    load_rows(job, s, 0, row, r, width)


@inlined
def do_groups(job, s, phase, row, r):
    """Take groups of classes (of features for dX) until there are none."""
    whole, most = (job.n, FEATURES) if phase == INPUT_GRADIENT else (job.k, GROUP)
    while True:
        g = take_ticket(job.ticket)
        first = g * most
        if first >= whole:
            return
        size = min(most, whole - first)
        if phase == FORWARD:
            group_forward(job, s, job.ld, g, first, size, row, r)
        elif phase == BACKWARD:
            group_backward(job, s, job.ld, g, first, size, row, r)
        else:
            end = first + size
            input_gradient(job.tiles, s.H, job.ld, job.theta, job.k, first, end, r, s.zeros, s.P, s.prefetch)


@kernel
def rows_of_X(job, s, row, r):
    """The block as rows, each of which may be read to a whole number of registers, and the step between them."""
    if job.source_type == AS_IS and may_read_past(job, row, r, lanes(s.R)):
        return at(job.X, row * job.row_step), job.row_step
    by_columns = job.row_step == 1 and job.feature_step != 1
    return (s.R if job.source_type == AS_IS or by_columns else s.S), job.n


@kernel
def logits_of_group(job, s, theta, bias, first, size, r, H, ld):
    """H = X theta + bias for the classes first .. first + size."""
    width = lanes(H)
    pack_parameters(at(theta, first), job.n, job.k, size, TILE_SCALARS, s.theta)
    fill_bias(bias, first, size, s.bias)
    step = ceil_div(r, width) * width
    forward(job.tiles, s.P, step, s.theta, s.bias, job.n, size, r, H, ld, 0, 0, job.n, s.prefetch)


@kernel
def group_forward(job, s, ld, g, first, size, row, r):
    """Logits, exponentials and sums of a group."""
    H, U, offset = at(s.H, first * ld), at(s.U, first * ld), g * ld
    logits_of_group(job, s, job.theta, job.bias, first, size, r, H, ld)
    if given(job.row_label):
        label_rows(H, ld, size, r, at(s.best, offset))
    if job.task == HESSIAN:
        logits_of_group(job, s, job.direction, job.direction_bias, first, size, r, U, ld)
    if job.targets:
        load_targets(job.soft, job.smoothing, job.k, row, r, s.labels, first, size, s.targets, ld)
    for i in range(0, r, lanes(H)):
        if job.targets:
            top = top_logits(H, ld, size, i)
            more, mass = linear_loss(H, s.targets, ld, size, i, top)
            store(s.mass, offset + i, mass)
        else:
            label = load(s.labels, i)
            top, more = top_and_hit(H, ld, size, i, label - splat(label, first))
        store(s.sums, offset + i, exponentials(H, ld, size, i, top))
        store(s.tops, offset + i, top)
        store(s.more, offset + i, inner_product(H, U, ld, size, i) if job.task == HESSIAN else more)


@kernel
def combine(job, s, ld, row, r):
    """What needs all classes of a row: its loss, and what its exponentials are to be multiplied by."""
    loss = splat(load_double(s.w, 0, load(s.tops, 0)), 0.0)
    for i in range(0, r, lanes(s.tops)):
        top, label = top_of_groups(s, ld, ceil_div(job.k, GROUP), i, given(job.row_label))
        store(s.top_label, i, label)
        sums, more, mass = sum_of_groups(job, s, ld, i, top)
        weight = to_type_of(load_double(s.w, i, top), top)
        if job.targets:
            loss = add_loss(half_soft_loss(more, mass, log(sums)), s.w, i, job.scale, loss, s.losses, top)
            weight = weight * mass
        elif job.task == HESSIAN:
            store(s.mean, i, more / sums)
        else:
            loss = add_loss(half_loss(top, more, log(sums)), s.w, i, job.scale, loss, s.losses, top)
        store(s.share, i, weight / sums)
    if job.task != HESSIAN:
        write(job.loss, 0, read(job.loss, 0) + sum_lanes(loss))
    write_losses_and_labels(job, s.losses, s.top_label, row, r)


@kernel
def top_of_groups(s, ld, groups, i, want_label):
    """The largest logit of each row, and its class."""
    top = load(s.tops, i)
    label = splat(top, 0.0)
    if want_label:
        label = load(s.best, i)
    for g in range(1, groups):
        h = load(s.tops, g * ld + i)
        if want_label:
            label = where(above(h, top), load(s.best, g * ld + i) + splat(top, g * GROUP), label)
        top = maximum(top, h)
    return top, label


@kernel
def sum_of_groups(job, s, ld, i, top):
    """The sums of the groups relative to the maximum of the row; ``tops`` becomes the factors of the groups."""
    half = splat(top, 0.5)
    sums = more = mass = splat(top, 0.0)
    for g in range(ceil_div(job.k, GROUP)):
        group_top, group_more = load(s.tops, g * ld + i), load(s.more, g * ld + i)
        factor = exp(group_top - top)
        store(s.tops, g * ld + i, factor)
        sums = sums + factor * load(s.sums, g * ld + i)
        if job.task == HESSIAN:
            group_more = group_more * factor
        elif job.targets:
            group_mass = load(s.mass, g * ld + i)
            group_more = group_more + group_mass * (top * half - group_top * half)
            mass = mass + group_mass
        more = more + group_more
    return sums, more, mass


@kernel
def group_backward(job, s, ld, g, first, size, row, r):
    """D of a group, and its rows of the gradient."""
    n, itemsize = job.n, job.grad_itemsize
    D, U = at(s.H, first * ld), at(s.U, first * ld)
    if job.targets:
        load_targets(job.soft, job.smoothing, job.k, row, r, s.labels, first, size, s.targets, ld)
    for i in range(0, r, lanes(D)):
        share = load(s.tops, g * ld + i) * load(s.share, i)
        weight = to_type_of(load_double(s.w, i, share), share)
        if job.task == HESSIAN:
            subtract_mean(D, U, ld, size, i, share, load(s.mean, i))
        elif job.targets:
            subtract_targets(D, s.targets, ld, size, i, weight, share)
        else:
            label = load(s.labels, i)
            subtract_labels(D, ld, size, i, label - splat(label, first), weight, share)
    add_column_sums(D, ld, size, r, at(job.bias_grad, first))
    X, row_step = rows_of_X(job, s, row, r)
    grad, flushes = job.grad + first * n * itemsize, job.result_itemsize < itemsize
    G = s.G if flushes else pointer(grad, s.G)
    if flushes:
        clear(G, size * n)
    backward(job.tiles, X, row_step, 1, True, s.Q, D, ld, n, size, r, G, False, s.prefetch)
    if flushes:
        flush(G, size * n, pointer(grad, np.float64(0)))
