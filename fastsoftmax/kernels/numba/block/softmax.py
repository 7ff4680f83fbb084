"""What happens to the logits of a block between the two products: softmax, residuals, losses, predictions.

H[c * ld + i] is the logit of class c and row i of the block. With rows in the lanes, the maximum, the exponentials and
their sum over the classes need no step across lanes, and one vectorised log serves as many rows as a register holds.
Rows past the end of the data repeat the last one with weight 0.

The labels of a block are numbers of the dtype of the computation, so that comparing them with c is a vector operation
too (exact up to 2^24 classes in float32).

A NaN logit may be lost in `maximum`, but exp then makes the sum NaN, and with it the loss and all of D. An infinite
logit gives inf - inf = NaN there, or makes the loss infinite.
"""

import numpy as np

from ..microkernels.math import exp, log
from ..microkernels.memory import at, given, kernel, pointer, read, write
from ..microkernels.simd import (
    above,
    equal,
    fma,
    lanes,
    load,
    load_double,
    splat,
    store,
    sum_lanes,
    to_double,
    to_type_of,
    where,
)
from .job import LABEL, LOG_PROBA, PROBA
from .pack import gather_strip, store_rows, transpose_strip


@kernel
def maximum(a, b):
    return where(above(b, a), b, a)


@kernel
def top_logits(H, ld, k, i):
    """The largest logit of each row, of one register of rows."""
    top = load(H, i)
    for c in range(1, k):
        top = maximum(top, load(H, c * ld + i))
    return top


@kernel
def exponentials(H, ld, k, i, top):
    """H becomes exp(H - top); returns its sum over the classes."""
    sums = splat(top, 0.0)
    for c in range(k):
        e = exp(load(H, c * ld + i) - top)
        store(H, c * ld + i, e)
        sums = sums + e
    return sums


@kernel
def residual_of_labels(H, ld, k, count, labels, w, scale, want_grad, losses):
    """H becomes D = w (Z - I), losses[i] = logsumexp(H) - H[y]; returns their weighted, scaled sum in float64."""
    loss = splat(load_double(w, 0, load(H, 0)), 0.0)
    for i in range(0, count, lanes(H)):
        label = load(labels, i)
        top, hit = top_and_hit(H, ld, k, i, label)
        sums = exponentials(H, ld, k, i, top)
        half = half_loss(top, hit, log(sums))
        loss = add_loss(half, w, i, scale, loss, losses, top)
        if want_grad:
            weight = to_type_of(load_double(w, i, top), top)
            subtract_labels(H, ld, k, i, label, weight, weight / sums)
    return sum_lanes(loss)


@kernel
def residual_of_soft(H, t, ld, k, count, w, scale, want_grad, losses):
    """The same for any targets t of total S: D = w (S Z - t), losses[i] = sum_c t_c (logsumexp(H) - H_c)."""
    loss = splat(load_double(w, 0, load(H, 0)), 0.0)
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        linear, mass = linear_loss(H, t, ld, k, i, top)
        sums = exponentials(H, ld, k, i, top)
        half = half_soft_loss(linear, mass, log(sums))
        loss = add_loss(half, w, i, scale, loss, losses, top)
        if want_grad:
            weight = to_type_of(load_double(w, i, top), top)
            subtract_targets(H, t, ld, k, i, weight, weight * mass / sums)
    return sum_lanes(loss)


@kernel
def half_loss(top, hit, logs):
    """Half of top - hit + logs, in float64: top - hit may overflow where the mean of the losses does not."""
    top, hit, logs = to_double(top), to_double(hit), to_double(logs)
    half = splat(top, 0.5)
    return (top * half - hit * half) + logs * half


@kernel
def half_soft_loss(linear, mass, logs):
    """The same for soft targets; ``linear`` and ``mass`` are what `linear_loss` returns."""
    logs = to_double(mass) * to_double(logs)
    return fma(logs, splat(logs, 0.5), to_double(linear))


@kernel
def add_loss(half, w, i, scale, loss, losses, like):
    """Store the loss of each row; returns ``loss`` with their weighted, scaled sum added."""
    store(losses, i, to_type_of(half + half, like))
    return fma(load_double(w, i, like) * splat(half, 2.0 * scale), half, loss)


@kernel
def top_and_hit(H, ld, k, i, label):
    """The largest logit of each row, and that of its label, or 0 if the label is not in 0 .. k-1."""
    top = load(H, i)
    c = none = splat(top, 0.0)
    one = splat(top, 1.0)
    hit = where(equal(label, c), top, none)
    for j in range(1, k):
        c = c + one
        h = load(H, j * ld + i)
        top = maximum(top, h)
        hit = where(equal(label, c), h, hit)
    return top, hit


@kernel
def linear_loss(H, t, ld, k, i, top):
    """Half of sum_c t_c (top - H_c), and the mass sum_c t_c."""
    linear = mass = splat(top, 0.0)
    half = splat(top, 0.5)
    half_top = top * half
    for c in range(k):
        target = load(t, c * ld + i)
        mass = mass + target
        linear = fma(target, half_top - load(H, c * ld + i) * half, linear)
    return linear, mass


@kernel
def subtract_labels(H, ld, k, i, label, weight, share):
    """H, the exponentials, becomes share H - weight I."""
    c = none = splat(share, 0.0)
    one = splat(share, 1.0)
    for j in range(k):
        z = load(H, j * ld + i) * share
        store(H, j * ld + i, z - where(equal(label, c), weight, none))
        c = c + one


@kernel
def subtract_targets(H, t, ld, k, i, weight, share):
    """H, the exponentials, becomes share H - weight t."""
    for c in range(k):
        store(H, c * ld + i, load(H, c * ld + i) * share - load(t, c * ld + i) * weight)


@kernel
def label_targets(t, ld, k, count, labels, first, eps, eps_share):
    """t[c, i] = (1 - eps) [label i = first + c] + eps / (all classes)."""
    for i in range(0, count, lanes(t)):
        label = load(labels, i)
        one = splat(label, 1.0)
        rest = splat(label, eps_share)
        own = splat(label, 1.0 - eps) + rest
        c = splat(label, first)
        for j in range(k):
            store(t, j * ld + i, where(equal(label, c), own, rest))
            c = c + one


@kernel
def smooth(t, ld, k, count, eps, eps_share):
    """t becomes (1 - eps) t + eps / (all classes)."""
    for i in range(0, count, lanes(t)):
        keep, rest = splat(load(t, i), 1.0 - eps), splat(load(t, i), eps_share)
        for c in range(k):
            store(t, c * ld + i, fma(keep, load(t, c * ld + i), rest))


@kernel
def hessian_residual(H, U, ld, k, count, w):
    """H becomes D = w Z (U - sum_c Z U), the residual of a Hessian product."""
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        sums = exponentials(H, ld, k, i, top)
        mean = inner_product(H, U, ld, k, i) / sums
        subtract_mean(H, U, ld, k, i, to_type_of(load_double(w, i, top), top) / sums, mean)


@kernel
def inner_product(H, U, ld, k, i):
    """sum_c H U of each row."""
    sums = splat(load(H, i), 0.0)
    for c in range(k):
        sums = fma(load(H, c * ld + i), load(U, c * ld + i), sums)
    return sums


@kernel
def subtract_mean(H, U, ld, k, i, share, mean):
    """H, the exponentials, becomes share H (U - mean)."""
    for c in range(k):
        store(H, c * ld + i, load(H, c * ld + i) * share * (load(U, c * ld + i) - mean))


@kernel
def scale_rows(P, ld, n, count, w):
    """P, which is the block of X, becomes diag(w) X."""
    for i in range(0, count, lanes(P)):
        like = load(P, i)
        weight = to_type_of(load_double(w, i, like), like)
        for j in range(n):
            store(P, j * ld + i, load(P, j * ld + i) * weight)


@kernel
def add_column_sums(D, ld, k, count, out):
    """out[c] += sum of D[c] over the rows; those past the end have weight 0."""
    for c in range(k):
        sums = load(D, c * ld)
        for i in range(lanes(D), count, lanes(D)):
            sums = sums + load(D, c * ld + i)
        write(out, c, read(out, c) + sum_lanes(sums))


@kernel
def not_finite(H, ld, k, count):
    """0.0, or NaN if a logit is not finite."""
    zero = splat(load(H, 0), 0.0)
    sums = zero
    for c in range(k):
        for i in range(0, count, lanes(H)):
            sums = fma(load(H, c * ld + i), zero, sums)
    return sum_lanes(sums)


@kernel
def label_rows(H, ld, k, count, best):
    """best[i] = the class of the largest logit of row i, the first of equal ones."""
    for i in range(0, count, lanes(H)):
        top = load(H, i)
        found = splat(top, 0.0)
        c = one = splat(top, 1.0)
        for j in range(1, k):
            h = load(H, j * ld + i)
            better = above(h, top)
            top = where(better, h, top)
            found = where(better, c, found)
            c = c + one
        store(best, i, found)


@kernel
def proba_rows(H, ld, k, count):
    """H becomes Z, the probabilities."""
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        sums = exponentials(H, ld, k, i, top)
        for c in range(k):
            store(H, c * ld + i, load(H, c * ld + i) / sums)


@kernel
def log_proba_rows(H, U, ld, k, count):
    """H becomes log Z; U is scratch for exponentials."""
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        for c in range(k):
            difference = load(H, c * ld + i) - top
            store(H, c * ld + i, difference)
            store(U, c * ld + i, difference)
        logs = log(exponentials(U, ld, k, i, top - top))
        for c in range(k):
            store(H, c * ld + i, load(H, c * ld + i) - logs)


# ------------------------------------------------------------ predictions

# A function of its own, since only predictions need it: it would take 1 s of the time to compile the first pass.


def make_predict(digest):
    """The function that turns logits into predictions; see `runtime/compile.py` for ``digest``."""

    def predict_rows(task, H, U, ld, k, row, r, best, place):
        """Write labels (int64), or whatever the task asks for, to rows row .. row + r of the array at the address
        ``place``. U and best are scratch."""
        digest  # noqa: B018 - only so that it is part of the closure
        if task == LABEL:
            label_rows(H, ld, k, r, best)
            write_labels(best, row, r, pointer(place, np.int64(0)))
            return
        if task == PROBA:
            proba_rows(H, ld, k, r)
        elif task == LOG_PROBA:
            log_proba_rows(H, U, ld, k, r)
        store_rows(H, ld, k, r, 1.0, at(pointer(place, read(H, 0)), row * k), k)

    return predict_rows


@kernel
def write_labels(best, row, r, out):
    """Labels of a block as int64, from out[row] on."""
    for i in range(r):
        write(out, row + i, np.int64(read(best, i)))


# ------------------------------------------------------------ soft and smoothed targets

# A function of its own, since few passes need it: it would take 1.3 s of the time to compile the first pass.


def make_residual_of_targets(digest):
    """The softmax step of soft and smoothed targets; see `runtime/compile.py` for ``digest``."""

    def residual_of_targets(soft, smoothing, row, r, labels, k, U, H, ld, w, scale, want_grad, losses, loss):
        """H becomes D; writes the loss of each row, and in ``loss`` their weighted, scaled sum. U is scratch for the
        targets."""
        digest  # noqa: B018 - only so that it is part of the closure
        load_targets(soft, smoothing, k, row, r, labels, np.int64(0), k, U, ld)
        write(loss, 0, residual_of_soft(H, U, ld, k, r, w, scale, want_grad != 0, losses))

    return residual_of_targets


@kernel
def load_targets(soft, smoothing, all_classes, row, r, labels, first, k, t, ld):
    """t[c, i] = the smoothed targets of classes first .. first + k for the rows of a block. ``soft`` points to an array
    (m, all_classes), or nowhere for labels."""
    eps_share = smoothing / all_classes
    if not given(soft):
        label_targets(t, ld, k, r, labels, first, smoothing, eps_share)
        return
    width = lanes(t)
    start = at(soft, row * all_classes + first)
    for i in range(0, r, width):
        if k >= width and r - i >= width:
            transpose_strip(at(start, i * all_classes), all_classes, k, at(t, i), ld, np.int64(0))
        else:
            gather_strip(at(start, i * all_classes), np.int64(1), all_classes, k, min(width, r - i), at(t, i), ld)
    if smoothing != 0.0:
        smooth(t, ld, k, r, smoothing, eps_share)
