"""Prefetching the next block of rows while the micro-kernels work on this one.

Without it a core waits for memory while it packs a block, and memory is idle while the core computes. So each step of a
micro-kernel prefetches two cache lines, at the addresses ``AT`` and ``AT + SECOND``. Then ``AT`` moves on by ``STRIDE``
bytes or, at the end of a piece of ``PIECE`` steps, by ``JUMP``.

    rows one after the other      one endless piece, spread evenly over all tiles of the block; packing prefetches too
    columns, or rows far apart    piece after piece, in as many tiles as it takes, spread evenly; other tiles are idle

A piece is prefetched to its end before the next begins: a sweep over all pieces, one line of each, makes DRAM open a
page for every line (500k x 50 in F order, k = 3, float32: 9.1 ms, with whole pieces 6.4).

The state is an array of int64 in a worker's scratch: six numbers that a tile reads, those that `prefetch_of_tile`
counts, and six more for tiles that are to be idle, which prefetch the same line again and again. A `PrefetchPlan` is
what it is to be when a block begins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir

from .memory import INT64, at, emit_prefetch, jitable, kernel, read, write

AT, REST, STRIDE, SECOND, JUMP, PIECE, LEFT, TOTAL, STEPS, CREDIT, PACKING = range(11)
IDLE = 10  # where the six numbers of idle tiles begin
PREFETCH_NUMBERS = 16
ENDLESS = 1 << 60
LINE = 64


class PrefetchPlan(NamedTuple):
    """The state when a block begins, and whether `pack` is to prefetch as well; distances in bytes."""

    at: int  # from the beginning of the block to the first line
    rest: int  # steps of the piece that are left
    stride: int  # from one step to the next
    second: int  # from the first line of a step to its second
    jump: int  # from the last step of a piece to the first of the next
    piece: int  # steps of a piece
    left: int  # steps that prefetch, at the beginning of a block
    total: int  # total / steps: the share of the block's steps that prefetch
    steps: int
    credit: int
    packing: int


def plan_block(rows: int, n: int, row_bytes: int, feature_bytes: int, itemsize: int, steps: int) -> PrefetchPlan:
    """How to prefetch so many rows within ``steps`` steps.

    Packing prefetches as well where rows lie one after the other and there is little to compute (500k x 50 in float64,
    k = 3: 8.7 ms, was 10.4), and for columns (15k x 784, k = 10: 15.7 ms, was 16.6).
    """
    if feature_bytes == itemsize and 0 < row_bytes <= 2 * n * itemsize:
        stride = min(2 * LINE, -(-rows * row_bytes // steps))
        return plan_endless(stride, stride // 2, stride >= LINE)
    if feature_bytes == itemsize:
        return plan_pieces(rows, n * itemsize, row_bytes, steps, 0, False)
    if row_bytes == itemsize:
        # A column seldom begins where a cache line does. Its first line has come with the block before, so its last
        # line must come with this block. 60k x 784, k = 10, float32: 11.1 ms, without the last line 12.4.
        return plan_pieces(n, rows * itemsize, feature_bytes, steps, LINE - 1, True)
    return PrefetchPlan(0, ENDLESS, 0, 0, 0, ENDLESS, 0, 0, 1, 0, True)


def plan_rows(rows: int, row_bytes: int, steps: int) -> PrefetchPlan:
    """How to prefetch so many rows, one after the other, where some steps prefetch only one line."""
    return plan_endless(min(LINE, -(-rows * row_bytes // steps)), 0, False)


def plan_endless(stride: int, second: int, packing: bool) -> PrefetchPlan:
    """One piece, of which each step takes its part."""
    return PrefetchPlan(0, ENDLESS, stride, second, stride, ENDLESS, ENDLESS, 1, 1, 0, packing)


@jitable
def plan_pieces(count: int, size: int, step: int, steps: int, offset: int, packing: int) -> PrefetchPlan:
    """How to prefetch ``count`` pieces of ``size`` bytes, ``step`` apart, within ``steps`` steps."""
    stride = LINE if count * -(-size // LINE) <= steps else 2 * LINE
    piece = -(-size // stride)
    jump = step - (piece - 1) * stride
    return PrefetchPlan(
        offset, piece, stride, stride - LINE, jump, piece, count * piece, count * piece, steps, 0, packing
    )


@kernel
def idle(prefetch: Any, address: int) -> None:
    """Let all tiles be idle: prefetch the line at the address and no other."""
    write(at(prefetch, IDLE), AT, address)
    write(at(prefetch, IDLE), REST, ENDLESS)
    for i in range(STRIDE, PIECE):
        write(at(prefetch, IDLE), i, 0)
    write(at(prefetch, IDLE), PIECE, ENDLESS)
    write(prefetch, LEFT, 0)
    write(prefetch, TOTAL, 0)
    write(prefetch, STEPS, 1)
    write(prefetch, CREDIT, 0)


@kernel
def start_prefetch(prefetch: Any, address: int, plan: Any) -> None:
    """Let the tiles prefetch the block at the address; ``plan`` is a pointer to the numbers of a `PrefetchPlan`."""
    idle(prefetch, address)
    for i in range(AT, PACKING):
        write(prefetch, i, read(plan, i))
    write(prefetch, AT, address + read(plan, AT))


@kernel
def start_column_prefetch(prefetch: Any, address: int, count: int, size: int, step: int, steps: int) -> None:
    """Let the tiles prefetch ``count`` pieces of columns of ``size`` bytes, ``step`` apart, within so many steps."""
    idle(prefetch, address)
    plan = plan_pieces(count, size, step, steps, LINE - 1, 0)
    for i in range(AT, PACKING):
        write(prefetch, i, plan[i])
    write(prefetch, AT, address + plan.at)


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
        self.start: tuple[Any, ...] = at, rest

    def step(self, at: Any, rest: Any) -> tuple[Any, ...]:
        """Prefetch two lines; returns the address and the rest of the piece for the next step."""
        builder = self.builder
        emit_prefetch(builder, at)
        emit_prefetch(builder, builder.add(at, self.second))
        rest = builder.sub(rest, ir.Constant(INT64, 1))
        ended = builder.icmp_signed("==", rest, ir.Constant(INT64, 0))
        at = builder.add(at, builder.select(ended, self.jump, self.stride))
        return at, builder.select(ended, self.piece, rest)

    def end(self, *state: Any) -> None:
        """Save where the next tile goes on."""
        self.start = state
        for value, place in zip(state, self.places, strict=False):
            self.builder.store(value, place)


class LinePrefetcher(Prefetcher):
    """One line a step, of one endless piece: for loops that have no registers for more."""

    def __init__(self, builder: Any, prefetch: Any) -> None:
        super().__init__(builder, prefetch)
        self.start = self.start[:1]

    def step(self, at: Any, rest: Any = None) -> tuple[Any, ...]:
        """Prefetch a line; returns the address for the next step."""
        emit_prefetch(self.builder, at)
        return (self.builder.add(at, self.stride),)
