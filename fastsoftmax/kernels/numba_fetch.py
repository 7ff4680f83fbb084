"""What the tiles ask memory for while they compute: the next block of rows.

Left alone, a core waits for memory while it packs and leaves memory idle while it computes. So each step of
a tile requests two cache lines, at ``AT`` and ``SECOND`` bytes further on, and moves on by ``STRIDE`` bytes, or after
``PIECE`` steps by ``JUMP``.

    rows one after the other      spread evenly over all tiles of the block; packing asks too
    columns, or rows far apart    piece after piece, in as many tiles as it takes, spread evenly; the others stay idle

Pieces one after the other: a sweep that asks for a line of each costs DRAM a page for every line, and took 500k x 50 in
F order, k = 3, float32, from 6.4 ms to 9.1.

The state is int64 numbers in a worker's scratch: six that a tile reads, what `turn` counts, and six for a tile that
is to stay idle (it asks for the same line again and again).
"""

from .numba_lanes import at, kernel, read, write
from .numba_tile import TILE_SCALARS, TILE_VECTORS, pieces

AT, REST, STRIDE, SECOND, JUMP, PIECE, LEFT, TOTAL, STEPS, CREDIT = range(10)
IDLE = 10
FETCH_BYTES = 2 * IDLE * 8
ENDLESS = 1 << 60
LINE = 64


@kernel
def set_fetch(fetch, address, stride, second, jump, piece):
    """Ask from the address on in every tile."""
    write(fetch, AT, address)
    write(fetch, REST, piece)
    write(fetch, STRIDE, stride)
    write(fetch, SECOND, second)
    write(fetch, JUMP, jump)
    write(fetch, PIECE, piece)
    write(fetch, LEFT, ENDLESS)
    write(fetch, TOTAL, 0)
    write(fetch, STEPS, 0)
    write(fetch, CREDIT, 0)


@kernel
def stay_idle(fetch, address):
    set_fetch(fetch, address, 0, 0, 0, ENDLESS)


@kernel
def fetch_pieces(fetch, address, count, size, step, steps):
    """Ask for that many pieces of so many bytes, ``step`` apart, within ``steps`` steps."""
    stay_idle(at(fetch, IDLE), address)
    total = count * pieces(size, LINE)
    stride = 2 * LINE if total > steps else LINE
    piece = pieces(size, stride)
    set_fetch(fetch, address, stride, stride - LINE, step - (piece - 1) * stride, piece)
    write(fetch, LEFT, count * piece)
    write(fetch, TOTAL, count * piece)
    write(fetch, STEPS, steps)


@kernel
def turn(fetch, steps):
    """What a tile of so many steps is to do."""
    left, whole = read(fetch, LEFT), read(fetch, STEPS) * steps
    credit = read(fetch, CREDIT) + read(fetch, TOTAL) * steps
    if left > 0 and 2 * credit >= whole:
        write(fetch, CREDIT, credit - whole)
        write(fetch, LEFT, left - steps)
        return fetch
    write(fetch, CREDIT, credit)
    return at(fetch, IDLE)


@kernel
def fetch_block(fetch, address, rows, n, row_bytes, feature_bytes, itemsize, steps, idle):
    """Prepare to fetch that many rows at the address within ``steps`` steps; whether `pack` should ask as well.

    Both, where rows lie one after the other and there is little to compute (500k x 50 in float64, k = 3, takes
    8.7 ms in place of 10.4), and for columns (15k x 784, k = 10: 15.7 in place of 16.6). With nothing to fetch
    the tiles ask for the line at ``idle``.
    """
    if rows <= 0 or steps == 0:
        stay_idle(fetch, idle)
        return False
    if feature_bytes == itemsize and 0 < row_bytes <= 2 * n * itemsize:
        stride = min(128, pieces(rows * row_bytes, steps))
        set_fetch(fetch, address, stride, stride // 2, stride, ENDLESS)
        return stride >= 64
    if feature_bytes == itemsize:
        fetch_pieces(fetch, address, rows, n * itemsize, row_bytes, steps)
    elif row_bytes == itemsize:
        fetch_pieces(fetch, address, n, rows * itemsize, feature_bytes, steps)
        return True
    else:
        stay_idle(fetch, idle)
        return True
    return False


@kernel
def tile_steps(n, k, r, width, forwards, backwards):
    """Steps of all tiles of a block with so many products of each kind."""
    groups = pieces(k, TILE_SCALARS)
    steps = forwards * n * groups * pieces(pieces(r, width), TILE_VECTORS)
    return steps + backwards * r * groups * pieces(pieces(n, width), TILE_VECTORS)
