"""Prefetching the next block of rows while the micro-kernels work on this one.

Without it a core waits for memory while it packs a block, and memory is idle while the core computes. So each step of a
micro-kernel prefetches two cache lines, at the addresses ``AT`` and ``AT + SECOND``. Then ``AT`` moves on by ``STRIDE``
bytes or, at the end of a piece of ``PIECE`` steps, by ``JUMP``.

    rows one after the other      one endless piece, spread evenly over all tiles of the block; packing prefetches too
    columns, or rows far apart    piece after piece, in as many tiles as it takes, spread evenly; other tiles are idle

A piece is prefetched to its end before the next begins: a sweep over all pieces, one line of each, makes DRAM open a
page for every line (500k x 50 in F order, k = 3, float32: 9.1 ms, with whole pieces 6.4).

The state is an array of int64 in a worker's scratch: six numbers that a tile reads, those that `prefetch_of_tile`
counts, and six more for tiles that are to be idle, which prefetch the same line again and again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir

from .memory import INT64, at, emit_prefetch, kernel, read, write

AT, REST, STRIDE, SECOND, JUMP, PIECE, LEFT, TOTAL, STEPS, CREDIT = range(10)
IDLE = 10  # where the six numbers of idle tiles begin
PREFETCH_BYTES = 16 * 8
ENDLESS = 1 << 60
LINE = 64


class PrefetchPlan(NamedTuple):
    """How the blocks of a pass are prefetched; distances in bytes."""

    stride: int  # from one step to the next
    second: int  # from the first line of a step to its second
    jump: int  # from the last step of a piece to the first of the next
    piece: int  # steps of a piece
    left: int  # steps that prefetch, at the beginning of a block
    total: int  # total / steps: the share of the block's steps that prefetch
    steps: int
    packing: int  # whether `pack` is to prefetch as well
    offset: int  # from the beginning of the block to the first line


def plan_block(rows: int, n: int, row_bytes: int, feature_bytes: int, itemsize: int, steps: int) -> PrefetchPlan:
    """How to prefetch so many rows within ``steps`` steps.

    Packing prefetches as well where rows lie one after the other and there is little to compute (500k x 50 in float64,
    k = 3: 8.7 ms, was 10.4), and for columns (15k x 784, k = 10: 15.7 ms, was 16.6).
    """
    if feature_bytes == itemsize and 0 < row_bytes <= 2 * n * itemsize:
        stride = min(2 * LINE, -(-rows * row_bytes // steps))
        return PrefetchPlan(stride, stride // 2, stride, ENDLESS, ENDLESS, 1, 1, stride >= LINE, 0)
    if feature_bytes == itemsize:
        return plan_pieces(rows, n * itemsize, row_bytes, steps, False)
    if row_bytes == itemsize:
        # A column seldom begins where a cache line does. Its first line has come with the block before, so its last
        # line must come with this block. 60k x 784, k = 10, float32: 11.1 ms, without the last line 12.4.
        return plan_pieces(n, rows * itemsize, feature_bytes, steps, True, LINE - 1)
    return PrefetchPlan(0, 0, 0, ENDLESS, 0, 0, 1, True, 0)


def plan_pieces(count: int, size: int, step: int, steps: int, packing: bool, offset: int = 0) -> PrefetchPlan:
    """How to prefetch ``count`` pieces of ``size`` bytes, ``step`` apart, within ``steps`` steps."""
    stride = LINE if count * -(-size // LINE) <= steps else 2 * LINE
    piece = -(-size // stride)
    jump = step - (piece - 1) * stride
    return PrefetchPlan(stride, stride - LINE, jump, piece, count * piece, count * piece, steps, packing, offset)


def plan_rows(rows: int, row_bytes: int, steps: int) -> PrefetchPlan:
    """How to prefetch so many rows, one after the other, where some steps prefetch only one line."""
    return PrefetchPlan(min(LINE, -(-rows * row_bytes // steps)), 0, 0, ENDLESS, ENDLESS, 1, 1, False, 0)


@kernel
def write_state(prefetch: Any, address: int, stride: int, second: int, jump: int, piece: int) -> None:
    """The six numbers that a tile reads."""
    write(prefetch, AT, address)
    write(prefetch, REST, piece)
    write(prefetch, STRIDE, stride)
    write(prefetch, SECOND, second)
    write(prefetch, JUMP, jump)
    write(prefetch, PIECE, piece)


@kernel
def idle(prefetch: Any, address: int) -> None:
    """Let all tiles be idle: prefetch the line at the address and no other."""
    write_state(at(prefetch, IDLE), address, 0, 0, 0, ENDLESS)
    write(prefetch, LEFT, 0)
    write(prefetch, TOTAL, 0)
    write(prefetch, STEPS, 1)
    write(prefetch, CREDIT, 0)


@kernel
def start_prefetch(prefetch: Any, address: int, plan: PrefetchPlan) -> None:
    """Let the tiles prefetch the block whose first line is at the address."""
    idle(prefetch, address)
    write_state(prefetch, address, plan.stride, plan.second, plan.jump, plan.piece)
    write(prefetch, LEFT, plan.left)
    write(prefetch, TOTAL, plan.total)
    write(prefetch, STEPS, plan.steps)


@kernel
def start_column_prefetch(prefetch: Any, address: int, count: int, size: int, step: int, steps: int) -> None:
    """Let the tiles prefetch ``count`` pieces of columns of ``size`` bytes, ``step`` apart, within so many steps."""
    stride = LINE if count * (size // LINE) <= steps else 2 * LINE
    piece = size // stride
    idle(prefetch, address)
    write_state(prefetch, address, stride, stride - LINE, step - (piece - 1) * stride, piece)
    write(prefetch, LEFT, count * piece)
    write(prefetch, TOTAL, count * piece)
    write(prefetch, STEPS, steps)


@kernel
def prefetch_of_tile(prefetch: Any, steps: int) -> Any:
    """The state for the next tile, which has so many steps: that of the prefetch, or that of idle tiles.

    Each step earns ``TOTAL`` of ``STEPS`` parts of a prefetching step; a tile prefetches where half of its steps or
    more have been earned.
    """
    left, whole = read(prefetch, LEFT), read(prefetch, STEPS) * steps
    credit = read(prefetch, CREDIT) + read(prefetch, TOTAL) * steps
    if left > 0 and 2 * credit >= whole:
        write(prefetch, CREDIT, credit - whole)
        write(prefetch, LEFT, left - steps)
        return prefetch
    write(prefetch, CREDIT, credit)
    return at(prefetch, IDLE)


class Prefetcher:
    """Writes the LLVM code of a loop's prefetches; ``prefetch`` is the state that `prefetch_of_tile` returns."""

    def __init__(self, builder: Any, prefetch: Any) -> None:
        self.builder = builder
        self.places = [builder.gep(prefetch, [ir.Constant(INT64, i)]) for i in range(6)]
        at, rest, self.stride, self.second, self.jump, self.piece = (builder.load(place) for place in self.places)
        self.start = at, rest

    def step(self, at: Any, rest: Any) -> tuple[Any, Any]:
        """Prefetch two lines; returns the address and the rest of the piece for the next step."""
        builder = self.builder
        emit_prefetch(builder, at)
        emit_prefetch(builder, builder.add(at, self.second))
        rest = builder.sub(rest, ir.Constant(INT64, 1))
        ended = builder.icmp_signed("==", rest, ir.Constant(INT64, 0))
        at = builder.add(at, builder.select(ended, self.jump, self.stride))
        return at, builder.select(ended, self.piece, rest)

    def end(self, at: Any, rest: Any) -> None:
        """Save where the next tile goes on."""
        self.builder.store(at, self.places[0])
        self.builder.store(rest, self.places[1])
