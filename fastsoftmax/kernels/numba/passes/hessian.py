"""The exact Hessian of a block: a weighted Gram matrix for each pair of classes.

A row's share is (diag(z) - z z^T) (x) x x^T: block (c, d) is minus the Gram matrix with weights w z_c z_d, and block
(c, c) the sum of those of all pairs that c is in, since the rows of diag(z) - z z^T add up to zero. So no pair
(c, c) is needed and no weight is negative; each matrix is symmetric, so that half of its tiles are enough.

The pass is that of `numba_pass` but for `do_block`, with an entry of its own.
"""

from ..block.job import open_record
from ..block.products import backward
from ..block.softmax import proba_rows
from ..microkernels.simd import at, inlined, kernel, lanes, load, load_wide, narrow, store
from .dense import load_logits, make_take_slabs


@inlined
def do_block(job, layout, s, G, bias_grad, slab, row, r, last, zero):
    """What rows row .. row + r add to G; their loss is not asked for."""
    n, k, ld = job.n, job.k, layout.ld
    b = load_logits(job, layout, s, row, r, last, zero)
    proba_rows(s.H, ld, k, r)
    pair_grams(
        s.tiles, b.X, b.row_step, b.feature_step, b.in_place, s.Q, b.P, b.step, s.W, s.losses, s.H, ld,
        n, k, r, G, s.w, s.fetch,
    )  # fmt: skip
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
def pair_grams(tiles, X, row_step, feature_step, in_place, Q, P, step, W, u, Z, ld, n, k, r, G, w, fetch):
    """G[c, d] += X^T diag(w z_c z_d) X for c < d; P[j * step + i] is X as columns, W and u are scratch."""
    width = lanes(P)
    ld_weighted = (r + width - 1) // width * width
    pair = 0
    for c in range(k):
        for d in range(c + 1, k):
            weights_of_pair(at(Z, c * ld), at(Z, d * ld), r, w, u)
            weigh_columns(P, step, n, r, u, W, ld_weighted)
            backward(
                tiles, X, row_step, feature_step, in_place, Q, W, ld_weighted, n, n, r, at(G, pair * n * n), True, fetch
            )  # fmt: skip
            pair += 1


@kernel
def weights_of_pair(first, second, count, w, u):
    """u = w z_c z_d for the rows of the block."""
    for i in range(0, count, lanes(u)):
        z = load(first, i)
        store(u, i, narrow(load_wide(w, i, z), z) * z * load(second, i))


@kernel
def weigh_columns(P, step, n, count, u, W, ld):
    """W[j, i] = P[j, i] u[i]."""
    for j in range(n):
        for i in range(0, count, lanes(P)):
            store(W, j * ld + i, load(P, j * step + i) * load(u, i))
