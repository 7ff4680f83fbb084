"""The two products of a block, cut into register tiles.

Both walk panels of lanes, and for each panel groups of at most `TILE_SCALARS` classes, so that
a panel of A stays in the L1 cache from group to group where it fits. Each returns the address up
to which the next block has been prefetched; `next_block` spreads that over all tiles of a block.
"""

from .numba_lanes import at, kernel, lanes, read, tile_vectors, write
from .numba_pack import pack
from .numba_tile import TILE_SCALARS, cut, pieces, tile

TILE_VECTORS = tile_vectors()


@kernel
def forward(tiles, P, step, theta, bias, n, k, r, H, ld, ahead, stride):
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
                n, width, at(bias, c), True, ahead, stride,
            )  # fmt: skip
            ahead += n * stride
    return ahead


@kernel
def backward(tiles, A, row_step, feature_step, in_place, Q, D, ld, n, k, r, G, symmetric, ahead, stride):
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
            pack(panel, row_step, feature_step, r, min(step, n - j), r >= width, TILE_VECTORS, Q, 0)
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
                r, min(width, n - j_end + width), D, False, ahead, stride,
            )  # fmt: skip
            ahead += r * stride
    return ahead


@kernel
def mirror(G, n):
    """Copy what lies above the diagonal of G (n, n) to below."""
    for c in range(n):
        for j in range(c):
            write(G, c * n + j, read(G, j * n + c))


@kernel
def prefetch_stride(n, k, r, width, forwards, backwards, size):
    """Bytes to prefetch for each step t so that the tiles of a block cover ``size`` bytes.

    ``forwards`` and ``backwards`` count the products. More than 128 bytes a step would leave gaps.
    """
    groups = pieces(k, TILE_SCALARS)
    steps = forwards * n * groups * pieces(pieces(r, width), TILE_VECTORS)
    steps += backwards * r * groups * pieces(pieces(n, width), TILE_VECTORS)
    return min(128, pieces(size, steps))
