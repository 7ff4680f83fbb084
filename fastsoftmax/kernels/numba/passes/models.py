"""Several models in one pass: parameters side by side, theta (n, L k), and so the logits of a block.

Each model's share of H is a tile of logits of its own. Cross-validation leaves rows out of a model by their fold: one
number a row and one a model, in place of L weights a row.

The pass is that of `numba_pass` but for `do_block`, with an entry of its own.
"""

import numpy as np

from ..block.job import GRADIENT, open_record
from ..block.softmax import label_rows, loss_rows
from ..microkernels.simd import at, inlined, kernel, lanes, pointer, read, write
from .dense import add_gradient, load_logits, make_take_slabs


@inlined
def do_block(job, layout, s, G, bias_grad, slab, row, r, last, zero):
    """Rows row .. row + r: what they add to G and bias_grad, and to the losses, by model; so no loss of all."""
    want_grad = job.task == GRADIENT
    b = load_logits(job, layout, s, row, r, last, zero)
    residuals(job, s, layout.ld, slab, row, r, want_grad)
    if want_grad:
        add_gradient(job, s, b, s.H, layout.ld, r, G, bias_grad)
    return 0.0


take_slabs = make_take_slabs(do_block)


def make_work(digest, zeros):
    """The entry; see `numba_pass`."""
    (zero,) = zeros

    def work(record, worker):
        digest  # noqa: B018 - only so that it is part of the closure
        job, layout, scratch = open_record(record, worker)
        take_slabs(job, layout, scratch, zero)

    return work


@inlined
def residuals(job, s, ld, slab, row, r, want_grad):
    """H becomes D, model by model; losses are added up by model."""
    k = job.k // job.models
    losses = pointer(job.loss + slab * job.models * 8, np.float64(0))
    left_out = pointer(job.left_out, np.int32(0))
    for model in range(job.models):
        H, w, fold = at(s.H, model * k * ld), s.w, np.int64(-1)
        if job.left_out:
            fold = np.int64(read(left_out, model))
        if fold >= 0:
            if job.held:
                label_rows(H, ld, k, r, s.best)
            w = s.fold_w
            weigh_fold(job, row, r, fold, False, s.w, w, lanes(H))
        loss = loss_rows(H, ld, k, r, s.labels, w, job.scale, want_grad, s.losses)
        write(losses, model, read(losses, model) + loss)
        if fold >= 0 and job.held:
            weigh_fold(job, row, r, fold, True, s.w, w, lanes(H))
            add_held(job, s, r, w, pointer(job.held + (slab * job.models + model) * 16, np.float64(0)))


@kernel
def weigh_fold(job, row, r, left_out, held, w, out, width):
    """The weights that a model's rows have, or (held) those of the rows it leaves out."""
    fold = at(pointer(job.fold, np.int32(0)), row)
    for i in range((r + width - 1) // width * width):
        counts = i < r and (read(fold, min(i, r - 1)) == left_out) == held
        write(out, i, read(w, i) if counts else 0.0)


@kernel
def add_held(job, s, r, w, held):
    """Loss and weight of right labels of the rows a model leaves out, both scaled."""
    loss, right = 0.0, 0.0
    for i in range(r):
        weight = read(w, i) * job.scale
        if weight != 0.0:
            loss += weight * read(s.losses, i)
            if read(s.best, i) == read(s.labels, i):
                right += weight
    write(held, 0, read(held, 0) + loss)
    write(held, 1, read(held, 1) + right)
