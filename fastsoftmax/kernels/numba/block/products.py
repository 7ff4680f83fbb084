"""The products of a block, cut into register tiles.

    forward           H = X theta + bias
    backward          G += D^T X
    input_gradient    dX = D theta^T

Each walks panels of lanes and, for each panel, groups of at most `TILE_SCALARS` classes (or features), so that a panel
of A stays in the L1 cache from group to group, where it fits. The other ways to make the first two products are in
`microkernels/dot_tile.py` and `microkernels/few_classes.py`.
"""

import numpy as np

from ..microkernels.memory import at, kernel, read, write
from ..microkernels.prefetch import prefetch_of_tile
from ..microkernels.simd import lanes
from ..microkernels.tile import TILE_SCALARS, TILE_VECTORS, ceil_div, cut, run_tile
from .pack import pack


@kernel
def forward(tiles, P, step, theta, bias, n, k, r, H, ld, row_group, prefetch):
    """H[c, i] = bias[c] + sum_j P[j, i] theta[j, c].

    ``theta`` is laid out by `pack_parameters`. P is a single panel with ``step`` between its features or, with step 0,
    in panels as wide as a tile. Panels of ``row_group`` rows stay in the L2 cache while theta passes by.
    """
    width = lanes(P)
    vectors = ceil_div(r, width)
    panels, groups = ceil_div(vectors, TILE_VECTORS), ceil_div(k, TILE_SCALARS)
    most = max(1, row_group // (width * TILE_VECTORS))
    for begin in range(0, panels, most):
        for g in range(groups):
            c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
            for p in range(begin, min(begin + most, panels)):
                first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                i, i_end = first * width, end * width
                run_tile(
                    tiles, end - first, c_end - c,
                    at(P, i if step else i * n), step if step else i_end - i,
                    at(theta, c * n), c_end - c, 1,
                    at(H, c * ld + i), ld,
                    n, width, at(bias, c), True, prefetch_of_tile(prefetch, n),
                )  # fmt: skip


@kernel
def backward(tiles, A, row_step, feature_step, in_place, Q, D, ld, n, k, r, G, symmetric, prefetch):
    """G[c, j] += sum_i A[i, j] D[c, i]; A is X or P, read in place or packed into Q, one panel at a time.

    With ``symmetric`` (k = n, a Gram matrix) tiles wholly below the diagonal are left to `mirror`.
    """
    width = lanes(A)
    vectors = ceil_div(n, width)
    panels, groups = ceil_div(vectors, TILE_VECTORS), ceil_div(k, TILE_SCALARS)
    for p in range(panels):
        first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
        j, j_end = first * width, end * width
        panel, step = at(A, j * feature_step), row_step
        if not in_place:
            step = j_end - j
            pack(panel, row_step, feature_step, r, min(step, n - j), r >= width, np.int64(TILE_VECTORS), Q, np.int64(0))
            panel = Q
        for g in range(groups):
            c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
            if symmetric and j_end <= c:
                break
            run_tile(
                tiles, end - first, c_end - c,
                panel, step,
                at(D, c * ld), 1, ld,
                at(G, c * n + j), n,
                r, min(width, n - j_end + width), D, False, prefetch_of_tile(prefetch, r),
            )  # fmt: skip


@kernel
def input_gradient(tiles, D, ld, theta, k, first, end, r, zeros, out, prefetch):
    """out[j, i] = sum_c D[c, i] theta[j, c] for features first <= j < end.

    Rows are in the lanes, as in `forward`, but the sum is over the classes. theta is in C order, so that each feature
    is a stream of its own.
    """
    width = lanes(D)
    vectors = ceil_div(r, width)
    panels, groups = ceil_div(vectors, TILE_VECTORS), ceil_div(end - first, TILE_SCALARS)
    for p in range(panels):
        v, v_end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
        for g in range(groups):
            j, j_end = first + cut(end - first, groups, g), first + cut(end - first, groups, g + 1)
            run_tile(
                tiles, v_end - v, j_end - j,
                at(D, v * width), ld,
                at(theta, j * k), 1, k,
                at(out, j * ld + v * width), ld,
                k, width, zeros, True, prefetch_of_tile(prefetch, k),
            )  # fmt: skip


@kernel
def mirror(G, n):
    """Copy what is above the diagonal of G (n, n) to below it."""
    for c in range(n):
        for j in range(c):
            write(G, c * n + j, read(G, j * n + c))
