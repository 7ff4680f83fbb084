"""The exact Hessian: a weighted Gram matrix for each pair of classes.

A row contributes (diag(z) - z z^T) (x) x x^T. Block (c, d) of the Hessian is minus the Gram matrix with the weights
w z_c z_d. Block (c, c) is the sum of the Gram matrices of all pairs that c is in, since the rows of diag(z) - z z^T add
up to zero. So no pair (c, c) is needed, and no weight is negative. Each matrix is symmetric, so that half of its tiles
are enough.

The pass is that of `dense.py` but for `do_block`, compiled apart.
"""

from ..block.block import load_block
from ..block.products import backward
from ..block.softmax import proba_rows
from ..microkernels.memory import at, inlined, kernel
from ..microkernels.simd import lanes, load, load_double, store, to_type_of
from ..microkernels.tile import ceil_div
from ..runtime.views import open_record
from .dense import logits_of_block, make_for_slabs


@inlined
def do_block(job, s, G, bias_grad, slab, row, r, prefetch_end):
    """Rows row .. row + r: adds to G what they contribute. Their loss is not wanted."""
    n, k, ld = job.n, job.k, job.ld
    b = load_block(job, s, row, r, prefetch_end)
    logits_of_block(job, s, b, s.theta, s.bias, r, s.H, ld)
    proba_rows(s.H, ld, k, r)
    pair_grams(
        job.tiles, b.X, b.row_step, b.feature_step, b.in_place, s.Q, b.P, b.step, s.W, s.losses, s.H, ld,
        n, k, r, G, s.w, s.prefetch,
    )  # fmt: skip
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
def pair_grams(tiles, X, row_step, feature_step, in_place, Q, P, step, W, u, Z, ld, n, k, r, G, w, prefetch):
    """G[c, d] += X^T diag(w z_c z_d) X for c < d. P[j * step + i] is X with rows in the lanes; W and u are scratch."""
    width = lanes(P)
    ld_weighted = ceil_div(r, width) * width
    pair = 0
    for c in range(k):
        for d in range(c + 1, k):
            weights_of_pair(at(Z, c * ld), at(Z, d * ld), r, w, u)
            weigh_columns(P, step, n, r, u, W, ld_weighted)
            out = at(G, pair * n * n)
            backward(
                tiles, X, row_step, feature_step, in_place, Q, W, ld_weighted, n, n, r, out, True, prefetch
            )  # fmt: skip
            pair += 1


@kernel
def weights_of_pair(first, second, count, w, u):
    """u = w z_c z_d for the rows of a block."""
    for i in range(0, count, lanes(u)):
        z = load(first, i)
        store(u, i, to_type_of(load_double(w, i, z), z) * z * load(second, i))


@kernel
def weigh_columns(P, step, n, count, u, W, ld):
    """W[j, i] = P[j, i] u[i]."""
    for j in range(n):
        for i in range(0, count, lanes(P)):
            store(W, j * ld + i, load(P, j * step + i) * load(u, i))
