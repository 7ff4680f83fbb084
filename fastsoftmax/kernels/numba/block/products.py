"""The products of a block, cut into register tiles.

    forward           H = X theta + bias
    backward          G += D^T X
    input_gradient    dX = D theta^T

Each walks panels of lanes and, for each panel, groups of at most `TILE_SCALARS` classes (or features), so that a panel
of A stays in the L1 cache from group to group, where it fits.

The other ways to make the first two products, by inner products and of few classes, are functions that are called by
address: few passes need them, and then they are compiled (`runtime/compile.py`).

Where a product would walk more features than a cache holds, it walks them in blocks. Inner products take as much of a
few rows as stays in L1. Where L2 does not hold a block of F-order X beside the next block, both products walk the
features in KC blocks, and L3 holds the block of rows in between:

    forward     KC block 0, 1, ... last    each prefetches the one after it, from memory
    backward    last, ... 1, 0             each prefetches the one before it, from L3; KC block 0 that of the next block

The last KC block is still in L2 when the backward product begins with it.
"""

import numpy as np

from ..microkernels.dot_tile import dot_tile_table, lines_of, run_dot_tile
from ..microkernels.few_classes import (
    NARROW_VECTORS,
    class_groups,
    class_lane_tile,
    most_vectors,
    narrow_lanes,
    narrow_table,
    narrow_tile,
    tile_steps,
)
from ..microkernels.memory import address_at, at, kernel, read, write
from ..microkernels.prefetch import idle, prefetch_of_tile, start_column_prefetch
from ..microkernels.simd import lanes, vector_bytes
from ..microkernels.tile import TILE_SCALARS, TILE_VECTORS, ceil_div, cut, run_tile
from .pack import pack

# Vectors of a row that the forward product by inner products walks at a time: 7 kB of each of a few rows, which stay in
# L1 for all classes.
L1_VECTORS = (7 << 10) // vector_bytes()


@kernel
def forward(tiles, P, step, theta, bias, n, k, r, H, ld, row_group, first, end, prefetch):
    """H[c, i] = bias[c] + sum_j P[j, i] theta[j, c] for features j < end; with first > 0, H += the sum from there on.

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
                v, v_end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                i, panel_step = v * width, step if step else (v_end - v) * width
                run_tile(
                    tiles, v_end - v, c_end - c,
                    at(P, (i if step else i * n) + first * panel_step), panel_step,
                    at(theta, c * n + first * (c_end - c)), c_end - c, 1,
                    at(H, c * ld + i), ld,
                    end - first, width, at(bias, c), first == 0, prefetch_of_tile(prefetch, end - first),
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


@kernel
def feature_begin(n, blocks, b, unit):
    """The first feature of block b, so that each but the last is a whole number of units."""
    return min(n, cut(ceil_div(n, unit), blocks, b) * unit)


# ------------------------------------------------------------------------- by inner products


def make_forward_by_dots(digest):
    """The forward product by inner products; see `runtime/compile.py` for ``digest``."""

    def forward_by_dots(X, row_step, theta, bias, n, k, r, H, ld, prefetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[c, j] for rows in place; ``theta`` is transposed. Lanes past the last
        row repeat it."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, most = dot_tile_table(read(X, 0)), lanes(X), lines_of(X)
        groups, blocks = ceil_div(k, TILE_SCALARS), ceil_div(n, L1_VECTORS * width)
        for b in range(blocks):
            first = feature_begin(n, blocks, b, width)
            count = feature_begin(n, blocks, b + 1, width) - first
            for i in range(0, ceil_div(r, width) * width, most):
                row = min(i, r - 1)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    run_dot_tile(
                        table, c_end - c,
                        at(X, row * row_step + first), row_step, min(most, r - row) - 1,
                        at(theta, c * n + first), n,
                        at(H, c * ld + i), ld,
                        count, most, at(bias, c), b == 0, prefetch_of_tile(prefetch, ceil_div(count, width)),
                    )  # fmt: skip

    return forward_by_dots


def make_backward_by_dots(digest):
    """The backward product by inner products; see `runtime/compile.py` for ``digest``."""

    def backward_by_dots(X, feature_step, D, ld, n, k, count, kc_blocks, G, prefetch):
        """G[c, j] += sum_i X[i, j] D[c, i] for columns in place, over ``count`` rows: whole registers, D is 0 past the
        last row. KC blocks are walked from the last to the first, since the last ones are still in L2."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, most, groups = dot_tile_table(read(X, 0)), lanes(X), lines_of(X), ceil_div(k, TILE_SCALARS)
        for b in range(kc_blocks - 1, -1, -1):
            first, end = kc_block(X, n, kc_blocks, b)
            if kc_blocks > 1:  # KC block 0 prefetches its like of the next block of rows
                steps = groups * ceil_div(end - first, most) * (count // width)
                rows = X if b else at(X, count)
                prefetch_kc_block(prefetch, rows, feature_step, n, count, kc_blocks, max(b - 1, 0), steps)
            for j in range(first, end, most):
                lines = min(most, end - j)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    run_dot_tile(
                        table, c_end - c,
                        at(X, j * feature_step), feature_step, lines - 1,
                        at(D, c * ld), ld,
                        at(G, c * n + j), n,
                        count, lines, D, False, prefetch_of_tile(prefetch, count // width),
                    )  # fmt: skip

    return backward_by_dots


# ---------------------------------------------------------------------------- by KC blocks


def make_forward_by_kc_blocks(digest):
    """The forward product by KC blocks; see `runtime/compile.py` for ``digest``."""

    def forward_by_kc_blocks(tiles, X, step, theta, bias, n, k, r, H, ld, kc_blocks, prefetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[j, c] for columns in place, theta in groups of classes; one KC block
        of the features after the other."""
        digest  # noqa: B018 - only so that it is part of the closure
        tiles_each = ceil_div(ceil_div(r, lanes(X)), TILE_VECTORS) * ceil_div(k, TILE_SCALARS)
        for b in range(kc_blocks):
            first, end = kc_block(X, n, kc_blocks, b)
            if b + 1 < kc_blocks:
                prefetch_kc_block(prefetch, X, step, n, r, kc_blocks, b + 1, tiles_each * (end - first))
            else:
                idle(prefetch, address_at(X, 0))
            forward(tiles, X, step, theta, bias, n, k, r, H, ld, 0, first, end, prefetch)

    return forward_by_kc_blocks


@kernel
def kc_block(X, n, kc_blocks, b):
    """The first feature of KC block b and that after its last, so that each block has whole tiles of lines."""
    return feature_begin(n, kc_blocks, b, lines_of(X)), feature_begin(n, kc_blocks, b + 1, lines_of(X))


@kernel
def prefetch_kc_block(prefetch, X, step, n, r, kc_blocks, b, steps):
    """Let the tiles prefetch KC block b of the r rows at X, within so many steps."""
    first, end = kc_block(X, n, kc_blocks, b)
    itemsize = address_at(X, 1) - address_at(X, 0)
    start_column_prefetch(prefetch, address_at(X, first * step), end - first, r * itemsize, step * itemsize, steps)


# --------------------------------------------------------------------------- of few classes


def make_forward_by_class_lanes(digest, k):
    """The forward product of k classes; see `runtime/compile.py` for ``digest``."""

    def forward_by_class_lanes(X, row_step, theta, bias, n, r, H, ld, buffer, prefetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[j, c]; theta is laid out by `widen_parameters`. If the last rows do
        not fill a register, they are copied to ``buffer``, where the last row is repeated."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(X)
        for i in range(0, r, width):
            rows, step = at(X, i * row_step), row_step
            if r - i < width:
                for v in range(width):
                    for j in range(n):
                        write(buffer, v * n + j, read(rows, min(v, r - i - 1) * row_step + j))
                rows, step = buffer, n
            class_lane_tile(k, rows, step, theta, bias, n, at(H, i), ld, prefetch_of_tile(prefetch, tile_steps(X, n)))

    return forward_by_class_lanes


def make_backward_by_narrow_tiles(digest, k):
    """The backward product of k classes; see `runtime/compile.py` for ``digest``."""
    groups = class_groups(k)

    def backward_by_narrow_tiles(X, row_step, D, ld, n, r, G, prefetch):
        """G[c, j] += sum_i D[c, i] X[i, j]. Vectors follow each other; only the last vector of a row begins early, so
        that it ends with the row. Its first lanes, which overlap the vector before, are left out."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, least = narrow_table(X, k), narrow_lanes(X), k // groups
        vectors = ceil_div(n, width)
        for g in range(groups):
            c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
            panels = ceil_div(vectors, most_vectors(c_end - c))
            for p in range(panels):
                first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                last = min((end - 1) * width, n - width)
                narrow_tile(
                    table, (c_end - c - least) * NARROW_VECTORS + end - first - 1,
                    at(X, first * width), row_step, last - first * width,
                    at(D, c * ld), ld,
                    at(G, c * n + first * width), n,
                    r, (end - 1) * width - last, prefetch_of_tile(prefetch, r),
                )  # fmt: skip

    return backward_by_narrow_tiles
