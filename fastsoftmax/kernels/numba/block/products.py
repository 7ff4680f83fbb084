"""The products of a block, cut into register tiles.

All walk panels of lanes, and for each panel groups of at most `TILE_SCALARS` classes (or features), so that
a panel of A stays in the L1 cache from group to group where it fits.
"""

import numpy as np

from ..microkernels.prefetch import turn
from ..microkernels.simd import at, kernel, lanes, read, write
from ..microkernels.tile import TILE_SCALARS, TILE_VECTORS, cut, pieces, tile
from .pack import pack


@kernel
def forward(tiles, P, step, theta, bias, n, k, r, H, ld, fetch):
    """H[c, i] = bias[c] + sum_j P[j, i] theta[j, c]: theta in groups of classes, P as one panel with
    ``step`` between its features or, with step 0, in panels of a tile's width."""
    width = lanes(P)
    vectors = pieces(r, width)
    panels, groups = pieces(vectors, TILE_VECTORS), pieces(k, TILE_SCALARS)
    for p in range(panels):
        first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
        i, i_end = first * width, end * width
        for g in range(groups):
            c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
            tile(
                tiles, end - first, c_end - c,
                at(P, i if step else i * n), step if step else i_end - i,
                at(theta, c * n), c_end - c, 1,
                at(H, c * ld + i), ld,
                n, width, at(bias, c), True, turn(fetch, n),
            )  # fmt: skip


@kernel
def backward(tiles, A, row_step, feature_step, in_place, Q, D, ld, n, k, r, G, symmetric, fetch):
    """G[c, j] += sum_i A[i, j] D[c, i], A being X or P: read in place, or a panel at a time through Q.

    With ``symmetric`` (k = n, a Gram matrix) tiles wholly below the diagonal are left to `mirror`.
    """
    width = lanes(A)
    vectors = pieces(n, width)
    panels, groups = pieces(vectors, TILE_VECTORS), pieces(k, TILE_SCALARS)
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
            tile(
                tiles, end - first, c_end - c,
                panel, step,
                at(D, c * ld), 1, ld,
                at(G, c * n + j), n,
                r, min(width, n - j_end + width), D, False, turn(fetch, r),
            )  # fmt: skip


@kernel
def residual_to_input(tiles, D, ld, theta, k, first, end, r, zeros, out, fetch):
    """out[j, i] = sum_c D[c, i] theta[j, c] for features first <= j < end: rows in the lanes once more, over
    the classes now. theta lies in C order, so that each feature is a stream of its own."""
    width = lanes(D)
    vectors = pieces(r, width)
    panels, groups = pieces(vectors, TILE_VECTORS), pieces(end - first, TILE_SCALARS)
    for p in range(panels):
        v, v_end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
        for g in range(groups):
            j, j_end = first + cut(end - first, groups, g), first + cut(end - first, groups, g + 1)
            tile(
                tiles, v_end - v, j_end - j,
                at(D, v * width), ld,
                at(theta, j * k), 1, k,
                at(out, j * ld + v * width), ld,
                k, width, zeros, True, turn(fetch, k),
            )  # fmt: skip


@kernel
def mirror(G, n):
    """Copy what lies above the diagonal of G (n, n) to below."""
    for c in range(n):
        for j in range(c):
            write(G, c * n + j, read(G, j * n + c))
