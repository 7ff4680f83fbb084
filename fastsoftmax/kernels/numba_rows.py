"""What happens to a tile of logits between the two products; rows in the lanes.

H[c * ld + i] is the logit of class c and row i of the block. With rows in the lanes, max, exp and
sum over the classes are vertical: no step crosses lanes, and one vectorised log serves as many
rows as a register holds. Rows past the end of the data repeat the last one with weight 0.

The labels of the block are numbers of the dtype of X, so that comparing them with c is one more
vertical step (exact up to 2^24 classes in float32).

A NaN logit may slip through `maximum`, but exp then makes the sum NaN, and with it the loss and
all of D. An infinite one meets inf - inf there, or makes the loss infinite.
"""

from .numba_lanes import (
    above,
    equal,
    fma,
    kernel,
    lanes,
    load,
    load_wide,
    narrow,
    read,
    spread,
    store,
    total,
    where,
    wide,
    write,
)
from .numba_math import exp, log


@kernel
def maximum(a, b):
    return where(above(b, a), b, a)


@kernel
def top_logits(H, ld, k, i):
    """The largest logit of each row."""
    top = load(H, i)
    for c in range(1, k):
        top = maximum(top, load(H, c * ld + i))
    return top


@kernel
def exponentials(H, ld, k, i, top):
    """H becomes exp(H - top); its sum over the classes."""
    sums = spread(top, 0.0)
    for c in range(k):
        e = exp(load(H, c * ld + i) - top)
        store(H, c * ld + i, e)
        sums = sums + e
    return sums


@kernel
def loss_rows(H, ld, k, count, labels, w, scale, want_grad):
    """H becomes D = w (Z - I); the sum of w scale (logsumexp(H) - H[y]) over the rows, in float64."""
    losses = spread(load_wide(w, 0, load(H, 0)), 0.0)
    for i in range(0, count, lanes(H)):
        label = load(labels, i)
        top, own = top_and_own(H, ld, k, i, label)
        sums = exponentials(H, ld, k, i, top)
        weight = load_wide(w, i, top)
        # Halves: top - own may overflow where the mean does not.
        half = spread(weight, 0.5)
        loss = (wide(top) * half - wide(own) * half) + wide(log(sums)) * half
        losses = fma(weight * spread(weight, 2.0 * scale), loss, losses)
        if want_grad:
            subtract_labels(H, ld, k, i, label, narrow(weight, top), sums)
    return total(losses)


@kernel
def top_and_own(H, ld, k, i, label):
    """The largest logit of each row, and that of its label."""
    top = own = load(H, i)
    c = one = spread(top, 1.0)
    for j in range(1, k):
        h = load(H, j * ld + i)
        top = maximum(top, h)
        own = where(equal(label, c), h, own)
        c = c + one
    return top, own


@kernel
def subtract_labels(H, ld, k, i, label, weight, sums):
    """H, the exponentials, becomes D."""
    share = weight / sums
    c = none = spread(sums, 0.0)
    one = spread(sums, 1.0)
    for j in range(k):
        z = load(H, j * ld + i) * share
        store(H, j * ld + i, z - where(equal(label, c), weight, none))
        c = c + one


@kernel
def hessian_rows(H, U, ld, k, count, w):
    """H becomes D = w Z (U - sum_c Z U)."""
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        sums = exponentials(H, ld, k, i, top)
        mean = spread(top, 0.0)
        for c in range(k):
            mean = fma(load(H, c * ld + i), load(U, c * ld + i), mean)
        mean = mean / sums
        share = narrow(load_wide(w, i, top), top) / sums
        for c in range(k):
            store(H, c * ld + i, load(H, c * ld + i) * share * (load(U, c * ld + i) - mean))


@kernel
def weigh_rows(P, ld, n, count, w):
    """P, the block of X itself, becomes diag(w) X."""
    for i in range(0, count, lanes(P)):
        like = load(P, i)
        weight = narrow(load_wide(w, i, like), like)
        for j in range(n):
            store(P, j * ld + i, load(P, j * ld + i) * weight)


@kernel
def add_column_sums(D, ld, k, count, out):
    """out[c] += sum of D[c] over the rows (those past the end have weight 0)."""
    for c in range(k):
        sums = load(D, c * ld)
        for i in range(lanes(D), count, lanes(D)):
            sums = sums + load(D, c * ld + i)
        write(out, c, read(out, c) + total(sums))


@kernel
def not_finite(H, ld, k, count):
    """0.0, or NaN if a logit is not finite."""
    zero = spread(load(H, 0), 0.0)
    sums = zero
    for c in range(k):
        for i in range(0, count, lanes(H)):
            sums = fma(load(H, c * ld + i), zero, sums)
    return total(sums)


@kernel
def label_rows(H, ld, k, count, best):
    """best[i] = the class of the largest logit of row i, the first of equals."""
    for i in range(0, count, lanes(H)):
        top = load(H, i)
        found = spread(top, 0.0)
        c = one = spread(top, 1.0)
        for j in range(1, k):
            h = load(H, j * ld + i)
            better = above(h, top)
            top = where(better, h, top)
            found = where(better, c, found)
            c = c + one
        store(best, i, found)


@kernel
def proba_rows(H, ld, k, count):
    """H becomes Z."""
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        sums = exponentials(H, ld, k, i, top)
        for c in range(k):
            store(H, c * ld + i, load(H, c * ld + i) / sums)


@kernel
def log_proba_rows(H, U, ld, k, count):
    """H becomes log Z; U is overwritten with exponentials."""
    for i in range(0, count, lanes(H)):
        top = top_logits(H, ld, k, i)
        for c in range(k):
            difference = load(H, c * ld + i) - top
            store(H, c * ld + i, difference)
            store(U, c * ld + i, difference)
        logs = log(exponentials(U, ld, k, i, top - top))
        for c in range(k):
            store(H, c * ld + i, load(H, c * ld + i) - logs)
