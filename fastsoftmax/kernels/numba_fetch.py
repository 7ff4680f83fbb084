"""What the tiles ask memory for while they compute: the next block of rows.

Left alone, a core waits for memory while it packs and leaves memory idle while it computes. So each step of
a tile requests two cache lines, at ``AT`` and ``SECOND`` bytes further on, and moves on by ``STRIDE`` bytes.

    rows one after the other      spread evenly over all tiles of the block; packing asks too
    columns, or rows far apart    one sweep over the pieces for every 128 bytes of them:

        piece 0   [1 1|2 2|3 3|..]        the numbers say in which sweep a line is asked for;
        piece 1   [1 1|2 2|3 3|..]        a step asks for two lines of one piece

The state is six int64 in a worker's scratch.
"""

from .numba_lanes import kernel, read, write
from .numba_tile import TILE_SCALARS, TILE_VECTORS, pieces

AT, STRIDE, SECOND, LEFT, SWEEP, SWEEPS = range(6)  # bytes or steps; LEFT of this sweep, SWEEPS to come
FETCH_BYTES = 64
ENDLESS = 1 << 60


@kernel
def set_fetch(fetch, at, stride, second, sweep, sweeps):
    write(fetch, AT, at)
    write(fetch, STRIDE, stride)
    write(fetch, SECOND, second)
    write(fetch, LEFT, sweep)
    write(fetch, SWEEP, sweep)
    write(fetch, SWEEPS, sweeps)


@kernel
def advance(fetch, steps):
    """A tile has made that many steps."""
    stride, left, sweeps = read(fetch, STRIDE), read(fetch, LEFT) - steps, read(fetch, SWEEPS)
    at = read(fetch, AT) + steps * stride
    if left <= 0:
        sweep = read(fetch, SWEEP)
        if sweeps > 0:
            at += 128 - (sweep - left) * stride
            left = sweep
            write(fetch, SWEEPS, sweeps - 1)
        else:
            left = ENDLESS
            write(fetch, STRIDE, 0)
            write(fetch, SECOND, 0)
    write(fetch, AT, at)
    write(fetch, LEFT, left)


@kernel
def fetch_block(fetch, address, rows, n, row_bytes, feature_bytes, itemsize, steps):
    """Prepare to fetch that many rows at the address within ``steps`` steps; whether `pack` should ask as well.

    Both, where rows lie one after the other and there is little to compute (500k x 50 in float64, k = 3, takes
    8.7 ms in place of 10.4), and for columns (15k x 784, k = 10: 15.7 in place of 16.6).
    """
    if rows <= 0 or steps == 0:
        set_fetch(fetch, 0, 0, 0, ENDLESS, 0)
        return False
    if feature_bytes == itemsize and 0 < row_bytes <= 2 * n * itemsize:
        stride = min(128, pieces(rows * row_bytes, steps))
        set_fetch(fetch, address, stride, stride // 2, ENDLESS, 0)
        return stride >= 64
    if feature_bytes == itemsize:
        set_fetch(fetch, address, row_bytes, 64, rows, pieces(n * itemsize, 128) - 1)
    elif row_bytes == itemsize:
        set_fetch(fetch, address, feature_bytes, 64, n, pieces(rows * itemsize, 128) - 1)
        return True
    else:
        set_fetch(fetch, 0, 0, 0, ENDLESS, 0)
        return True
    return False


@kernel
def tile_steps(n, k, r, width, forwards, backwards):
    """Steps of all tiles of a block with so many products of each kind."""
    groups = pieces(k, TILE_SCALARS)
    steps = forwards * n * groups * pieces(pieces(r, width), TILE_VECTORS)
    return steps + backwards * r * groups * pieces(pieces(n, width), TILE_VECTORS)
