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

from collections import namedtuple

from .simd import at, kernel, read, write

AT, REST, STRIDE, SECOND, JUMP, PIECE, LEFT, TOTAL, STEPS, CREDIT = range(10)
IDLE = 10
FETCH_BYTES = 16 * 8
ENDLESS = 1 << 60
LINE = 64

# How to ask for a block: what a tile reads, steps that ask, their share of all, whether `pack` is to ask as well, and
# how many bytes from its beginning on. A column's piece seldom begins where a cache line does: its first line came with
# the block before, its last one must come with this one. 60k x 784, k = 10, took 12.4 ms in float32 without, 11.1 with.
Fetch = namedtuple("Fetch", "stride second jump piece left total steps packing offset")


def fetch_pieces(count, size, step, steps, packing, offset=0):
    """That many pieces of so many bytes, ``step`` apart, within ``steps`` steps."""
    stride = LINE if count * -(-size // LINE) <= steps else 2 * LINE
    piece = -(-size // stride)
    jump = step - (piece - 1) * stride
    return Fetch(stride, stride - LINE, jump, piece, count * piece, count * piece, steps, packing, offset)


def fetch_of(rows, n, row_bytes, feature_bytes, itemsize, steps):
    """How to ask for that many rows within ``steps`` steps.

    Packing asks as well where rows lie one after the other and there is little to compute (500k x 50 in float64, k = 3,
    takes 8.7 ms in place of 10.4), and for columns (15k x 784, k = 10: 15.7 in place of 16.6).
    """
    if feature_bytes == itemsize and 0 < row_bytes <= 2 * n * itemsize:
        stride = min(2 * LINE, -(-rows * row_bytes // steps))
        return Fetch(stride, stride // 2, stride, ENDLESS, ENDLESS, 1, 1, stride >= LINE, 0)
    if feature_bytes == itemsize:
        return fetch_pieces(rows, n * itemsize, row_bytes, steps, False)
    if row_bytes == itemsize:
        return fetch_pieces(n, rows * itemsize, feature_bytes, steps, True, LINE - 1)
    return Fetch(0, 0, 0, ENDLESS, 0, 0, 1, True, 0)


def fetch_lines(rows, row_bytes, steps):
    """How to ask for that many rows, one after the other, within so many steps, of which some ask for one line only."""
    return Fetch(min(LINE, -(-rows * row_bytes // steps)), 0, 0, ENDLESS, ENDLESS, 1, 1, False, 0)


@kernel
def ask(fetch, address, stride, second, jump, piece):
    write(fetch, AT, address)
    write(fetch, REST, piece)
    write(fetch, STRIDE, stride)
    write(fetch, SECOND, second)
    write(fetch, JUMP, jump)
    write(fetch, PIECE, piece)


@kernel
def stay_idle(fetch, address):
    """Ask for the line at the address only."""
    ask(at(fetch, IDLE), address, 0, 0, 0, ENDLESS)
    write(fetch, LEFT, 0)
    write(fetch, TOTAL, 0)
    write(fetch, STEPS, 1)
    write(fetch, CREDIT, 0)


@kernel
def start_fetch(fetch, address, how):
    """Ask for the block at the address."""
    stay_idle(fetch, address)
    ask(fetch, address, how.stride, how.second, how.jump, how.piece)
    write(fetch, LEFT, how.left)
    write(fetch, TOTAL, how.total)
    write(fetch, STEPS, how.steps)


@kernel
def start_columns(fetch, address, count, size, step, steps):
    """Ask for ``count`` pieces of columns of ``size`` bytes, ``step`` apart, within so many steps."""
    stride = LINE if count * (size // LINE) <= steps else 2 * LINE
    piece = size // stride
    stay_idle(fetch, address)
    ask(fetch, address, stride, stride - LINE, step - (piece - 1) * stride, piece)
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
