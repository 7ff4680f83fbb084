"""Packing: copies of a block of X, and of the parameters, in the order in which the micro-kernels read them.

A panel of X holds A[t, lane] for up to `TILE_VECTORS` vectors of lanes: one t after the other, its lanes contiguous.
It is built strip by strip; a strip is one vector of lanes:

    lanes contiguous in X     copy whole vectors
    t contiguous in X         transpose squares by shuffles (a scalar transpose took half of the time of a pass at
                              n = 54)
    neither, or a ragged end  copy number by number

Nothing is read past the data. A last square overlaps the one before. Lanes past the last one repeat it, so that they
hold numbers of the data, whose results are never used.
"""

from ..microkernels.memory import at, kernel, prefetch_line, read, write
from ..microkernels.simd import lanes, load, splat, store, transpose
from ..microkernels.tile import ceil_div, cut


@kernel
def pack(X, t_step, lane_step, T, L, wide_reads, most, out, prefetch_distance):
    """Pack A[t, lane] = X[t * t_step + lane * lane_step], t < T, lane < L, into panels.

    ``most`` is the number of vectors in a panel; panel i begins at out[T * (its first lane)]. ``wide_reads`` says that
    a whole register may be read from the start of any row of X. What lies ``prefetch_distance`` elements on is
    prefetched, unless that is 0.
    """
    width = lanes(X)
    vectors, whole = ceil_div(L, width), L // width
    panels = ceil_div(vectors, most)
    for i in range(panels):
        first, end = cut(vectors, panels, i), cut(vectors, panels, i + 1)
        step = (end - first) * width
        for v in range(first, end):
            strip = at(X, v * width * lane_step)
            place = at(out, first * width * T + (v - first) * width)
            if v < whole and lane_step == 1:
                copy_strip(strip, t_step, T, place, step, prefetch_distance)
            elif v < whole and t_step == 1 and (T >= width or wide_reads):
                transpose_strip(strip, lane_step, T, place, step, prefetch_distance)
            else:
                gather_strip(strip, t_step, lane_step, T, min(width, L - v * width), place, step)


@kernel
def copy_strip(X, t_step, T, out, out_step, prefetch_distance):
    """Copy vectors. One strip follows the other, although that visits each column of X several times: with all strips
    side by side 60k x 784 took 1,350 ns a row, so 1,130 (side by side is faster only where X is in cache)."""
    for t in range(T):
        if prefetch_distance:
            prefetch_line(X, t * t_step + prefetch_distance)
        store(out, t * out_step, load(X, t * t_step))


@kernel
def transpose_strip(X, lane_step, T, out, out_step, prefetch_distance):
    """Transpose squares along t. If T is less than a square, what is written past it is overwritten by the strips that
    follow, or lies in the padding at the end."""
    width = lanes(X)
    for t in range(0, T, width):
        t = max(0, min(t, T - width))
        if prefetch_distance:
            for lane in range(width):
                prefetch_line(X, lane * lane_step + t + prefetch_distance)
        transpose(at(X, t), lane_step, at(out, t * out_step), out_step)


@kernel
def gather_strip(X, t_step, lane_step, T, number, out, out_step):
    """Copy number by number; there are ``number`` lanes, the others repeat the last one."""
    for t in range(T):
        for lane in range(lanes(X)):
            write(out, t * out_step + lane, read(X, t * t_step + min(lane, number - 1) * lane_step))


@kernel
def pack_parameters(theta, n, step, k, most, out):
    """k columns of theta (n, step) by groups of classes, one group after the other: theta[j, classes of the group] is
    contiguous.

    The tiles of a group then read one stream. From theta itself they would read another page every few features, once
    k is in the hundreds. Whole registers are written even where only a few classes count: the excess is overwritten by
    the next feature, until the last features are written number by number.
    """
    groups, width = ceil_div(k, most), lanes(theta)
    small, whole = k // groups, n - width
    larger = k - small * groups
    for j in range(n):
        first = 0
        for g in range(groups):
            size = small + 1 if g < larger else small
            place, source = first * n + j * size, j * step + first
            if j < whole:
                for s in range(0, size, width):
                    store(out, place + s, load(theta, source + s))
            else:
                for s in range(size):
                    write(out, place + s, read(theta, source + s))
            first += size


@kernel
def store_rows(P, ld, n, r, factor, out, out_step):
    """out[i, j] = factor * P[j, i] for i < r, j < n: P transposed, and scaled in place before. Rows of ``out`` are
    ``out_step`` apart."""
    width = lanes(P)
    if factor != 1.0:
        for j in range(n):
            for i in range(0, r, width):
                h = load(P, j * ld + i)
                store(P, j * ld + i, h * splat(h, factor))
    if n < width or r < width:
        for i in range(r):
            for j in range(n):
                write(out, i * out_step + j, read(P, j * ld + i))
        return
    for i in range(0, r, width):
        i = min(i, r - width)
        for j in range(0, n, width):
            j = min(j, n - width)
            transpose(at(P, j * ld + i), ld, at(out, i * out_step + j), out_step)
