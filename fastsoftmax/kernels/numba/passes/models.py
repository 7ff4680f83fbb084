"""Several models in one pass: their parameters lie side by side, theta (n, L k), and so do the logits of a block.

    H [model][class][row]    one forward product, L softmaxes, one backward product

Models may have labels and weights of their own. In cross-validation a model leaves rows out by their fold: that takes
one number for each row and one for each model, where weights would take L numbers for each row.

The pass is that of `dense.py` but for `do_block`, compiled apart.
"""

import numpy as np

from ..block.block import load_block, load_rows
from ..block.job import GRADIENT
from ..block.softmax import label_rows, residual_of_labels
from ..microkernels.memory import at, given, inlined, kernel, read, write
from ..microkernels.simd import lanes
from ..microkernels.tile import ceil_div
from ..runtime.views import open_record
from .dense import gradient_of_block, logits_of_block, make_for_slabs


@inlined
def do_block(job, s, G, bias_grad, slab, row, r, prefetch_end):
    """Rows row .. row + r: adds what they contribute to G, to bias_grad and to the losses of the models. There is no
    loss of all models to return."""
    want_grad = job.task == GRADIENT
    b = load_block(job, s, row, r, prefetch_end)
    logits_of_block(job, s, b, s.theta, s.bias, r, s.H, job.ld)
    residuals_of_models(job, s, job.ld, slab, row, r, want_grad)
    if want_grad:
        gradient_of_block(job, s, b, s.H, job.ld, r, G, bias_grad)
    return 0.0


for_slabs = make_for_slabs(do_block)


def make_work(digest, zeros):
    """What threads call; see `dense.make_work`."""
    (zero,) = zeros

    def work(record, worker):
        digest  # noqa: B018 - only so that it is part of the closure
        job, s = open_record(record, worker, zero, zero)
        for_slabs(job, s)

    return work


@inlined
def residuals_of_models(job, s, ld, slab, row, r, want_grad):
    """H becomes D, model by model; losses are added up by model."""
    k = job.k // job.models
    losses = at(job.loss, slab * job.models)
    for model in range(job.models):
        if model > 0 and (job.y_step > 0 or job.w_step > 0):
            load_rows(job, s, model, row, r, lanes(s.H))
        H, w, fold = at(s.H, model * k * ld), s.w, np.int64(-1)
        if given(job.left_out):
            fold = np.int64(read(job.left_out, model))
        held = fold >= 0 and given(job.held)
        if fold >= 0:
            if held:
                label_rows(H, ld, k, r, s.best)
            w = s.fold_w
            weigh_fold(job, row, r, fold, False, s.w, w, lanes(H))
        loss = residual_of_labels(H, ld, k, r, s.labels, w, job.scale, want_grad, s.losses)
        write(losses, model, read(losses, model) + loss)
        if held:
            weigh_fold(job, row, r, fold, True, s.w, w, lanes(H))
            add_held(job, s, r, w, at(job.held, (slab * job.models + model) * 2))


@kernel
def weigh_fold(job, row, r, left_out, held, w, out, width):
    """The weights of the rows that a model keeps or, with ``held``, of those that it leaves out; 0 for the others."""
    fold = at(job.fold, row)
    for i in range(ceil_div(r, width) * width):
        counts = i < r and (read(fold, min(i, r - 1)) == left_out) == held
        write(out, i, read(w, i) if counts else 0.0)


@kernel
def add_held(job, s, r, w, held):
    """Of the rows that a model leaves out: adds their loss, and the weight of those classified rightly, both scaled."""
    loss, right = 0.0, 0.0
    for i in range(r):
        weight = read(w, i) * job.scale
        if weight != 0.0:
            loss += weight * read(s.losses, i)
            if read(s.best, i) == read(s.labels, i):
                right += weight
    write(held, 0, read(held, 0) + loss)
    write(held, 1, read(held, 1) + right)
