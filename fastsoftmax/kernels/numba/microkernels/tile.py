"""The register tile: the micro-kernel of outer products, for both products of a block.

    out[s, lane] (+)= sum over t of A[t, lane] * B[t, s]

    forward,   H^T = theta^T X^T:  lane = row,      t = feature,  s = class
    backward,  G += D^T X:         lane = feature,  t = row,      s = class

The ``vectors`` x ``scalars`` accumulators stay in registers over the whole sum over t. A step of t loads ``vectors``
vectors of A, broadcasts ``scalars`` numbers of B and adds their outer product.

             B[t, 0]   B[t, 1]  ...
    A[t, 0]  acc 0,0   acc 0,1
    A[t, 1]  acc 1,0   acc 1,1
       .

`cut` cuts k = 7 classes into tiles of 4 + 3, k = 10 into 5 + 5: sizes differ by one at most, so that no tile is left
with a single class, whose few accumulators would wait for the latency of the multiply-add.

There is one LLVM function for each pair (vectors, scalars), called through a table. While it computes, a tile
prefetches lines of the next block of rows (`prefetch.py`).
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .memory import INT64, call_entry, emit_table, internal_function, jitable, kernel, pointer, write
from .prefetch import Prefetcher
from .simd import (
    element_type,
    emit_fma,
    emit_lanes,
    emit_load,
    emit_loop,
    emit_masked_load,
    emit_masked_store,
    emit_splat,
    emit_store,
    function_type,
    lanes_of,
    tile_vectors,
)

TILE_VECTORS = tile_vectors()
# Of 32 registers, 4 x 6 accumulators, 4 vectors of A and some of B; of 16, 2 x 6 accumulators, 2 of A and 1 of B.
TILE_SCALARS = 6

ARGUMENTS = "A a_step B b_step b_next out out_step count valid bias assign prefetch".split()
POINTERS = {"A", "B", "out", "bias"}


@intrinsic
def tile_table(typingctx, like):
    """The address of a table of all tile functions for the dtype of this pointer; see `emit_table`."""

    def emit(context, builder, sig, args):
        functions = [
            tile_function(builder.module, like.dtype, v, s)
            for v in range(1, tile_vectors() + 1)
            for s in range(1, TILE_SCALARS + 1)
        ]
        return emit_table(builder, functions, "tiles")

    return types.intp(like), emit


@intrinsic
def run_tile(
    typingctx, table, vectors, scalars,
    A, a_step, B, b_step, b_next, out, out_step, count, valid, bias, assign, prefetch,
):  # fmt: skip
    """Run the tile of so many vectors and scalars; see the module's docstring.

    A[t, lane] is A[t * a_step + lane], B[t, s] is B[t * b_step + s * b_next], out[s, lane] is
    out[s * out_step + lane]; t < count. Only the first ``valid`` lanes of the last vector are added to ``out``. With
    ``assign`` the result is bias[s] + sum, in whole vectors; without, the sum is added to ``out``. ``prefetch`` is what
    `prefetch_of_tile` returns.
    """

    def emit(context, builder, sig, args):
        table, v, s, *arguments = args
        one, rows = ir.Constant(INT64, 1), ir.Constant(INT64, TILE_SCALARS)
        number = builder.add(builder.mul(builder.sub(v, one), rows), builder.sub(s, one))
        call_entry(builder, function_type(A.dtype, ARGUMENTS, POINTERS), table, number, *arguments)

    kinds = [A if name in POINTERS else types.boolean if name == "assign" else types.intp for name in ARGUMENTS]
    return types.void(types.intp, types.intp, types.intp, *kinds[:-1], prefetch), emit


def make_table(digest):
    """The function that finds the table of tiles; see `runtime/compile.py` for ``digest``."""

    def table_of_tiles(X, address):
        """Write the address of a table of all tiles for the dtype of X, which is not read, to ``address``."""
        digest  # noqa: B018 - only so that it is part of the closure
        write(pointer(address, np.int64(0)), 0, tile_table(X))

    return table_of_tiles


def tile_function(module, dtype, vectors, scalars):
    """The LLVM function of a tile of so many vectors and scalars."""
    kind = function_type(dtype, ARGUMENTS, POINTERS)
    function = internal_function(module, kind, f"tile_{dtype}_{vectors}x{scalars}")
    vector = ir.VectorType(element_type(dtype), lanes_of(dtype))
    Tile(function, ARGUMENTS, vector, vectors, scalars).emit()
    return function


class OuterProducts:
    """Writes the body of an LLVM function that adds up outer products and stores the sums: the loop of every
    micro-kernel but `dot_tile.py`. What differs is the width of a vector, where the vectors are, and the store."""

    def __init__(self, function, names, vector, vectors, scalars):
        self.vector, self.vectors, self.scalars = vector, vectors, scalars
        self.args = dict(zip(names, function.args, strict=True))
        self.pairs = [(v, s) for s in range(scalars) for v in range(vectors)]
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def add_up(self, A, a_step, B, b_step, b_next, count, prefetcher):
        """The sums over t < count of A[t, lane] B[t, s], pair by pair; A[t] is at A + t a_step, B[t, s] at B + t b_step
        + s b_next."""
        builder, one = self.builder, ir.Constant(INT64, 1)
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        self.next_scalars = [builder.mul(b_next, ir.Constant(INT64, s)) for s in range(self.scalars)]

        def step(t, a, b, *values):
            a = self.hold(a)
            state, sums = values[: len(prefetcher.start)], values[len(prefetcher.start) :]
            following = [
                builder.add(t, one),
                builder.gep(a, [a_step]),
                builder.gep(b, [b_step]),
                *prefetcher.step(*state),
            ]
            # Before the columns: after them, 4 x 7 accumulators spill (581k x 54, k = 7, float64: 1.06 of the time).
            numbers = [builder.load(place) for place in self.places_of_scalars(b, t)]
            scalars = [emit_splat(builder, self.vector, number) for number in numbers]
            columns = [emit_load(builder, self.vector, self.place(a, v)) for v in range(self.vectors)]
            sums = [emit_fma(builder, columns[v], scalars[s], x) for (v, s), x in zip(self.pairs, sums, strict=True)]
            return [*following, *sums], builder.icmp_signed("<", following[0], count)

        starts = [ir.Constant(INT64, 0), A, B, *prefetcher.start, *[zero] * len(self.pairs)]
        _, _, _, *values = emit_loop(builder, starts, step)
        prefetcher.end(*values[: len(prefetcher.start)])
        return values[len(prefetcher.start) :]

    def places_of_scalars(self, b, t):
        """Pointers to the numbers B[t]; the first is at ``b``."""
        return [self.builder.gep(b, [after]) for after in self.next_scalars]

    def hold(self, a):
        """The pointer to A[t], once in a step."""
        return a

    def place(self, start, v):
        """The pointer to vector v of those that begin at ``start``."""
        return self.builder.gep(start, [ir.Constant(INT64, v * self.vector.count)])

    def out(self, v, s):
        """The pointer to where the sum of vector v and scalar s goes."""
        row = self.builder.mul(self.args["out_step"], ir.Constant(INT64, s))
        return self.place(self.builder.gep(self.args["out"], [row]), v)

    def add(self, sums):
        """out += sums; `add_last` has the last vector of a row of ``out``."""
        for (v, s), x in zip(self.pairs, sums, strict=True):
            place = self.out(v, s)
            if v + 1 == self.vectors:
                self.add_last(x, place)
            else:
                old = emit_load(self.builder, self.vector, place)
                emit_store(self.builder, self.builder.fadd(old, x), place)


class Tile(OuterProducts):
    """Writes the body of the LLVM function of one tile."""

    def emit(self):
        builder, args = self.builder, self.args
        steps = (args[name] for name in ("A", "a_step", "B", "b_step", "b_next", "count"))
        sums = self.add_up(*steps, Prefetcher(builder, args["prefetch"]))
        with builder.if_else(args["assign"]) as (then, otherwise):
            with then:
                self.assign(sums)
            with otherwise:
                self.add(sums)
        builder.ret_void()

    def assign(self, sums):
        """out = bias + sums, in whole vectors: the block of logits has room for rows past its end."""
        builder, bias = self.builder, self.args["bias"]
        for (v, s), x in zip(self.pairs, sums, strict=True):
            start = builder.load(builder.gep(bias, [ir.Constant(INT64, s)]))
            emit_store(builder, builder.fadd(x, emit_splat(builder, self.vector, start)), self.out(v, s))

    def add_last(self, x, place):
        """A row of the gradient ends with its last feature, and so does what is read and written of it."""
        builder = self.builder
        mask = emit_lanes(builder, self.vector, "<", self.args["valid"])
        old = emit_masked_load(builder, self.vector, place, mask)
        emit_masked_store(builder, builder.fadd(old, x), place, mask)


@jitable
def ceil_div(whole: int, most: int) -> int:
    """How many parts of at most ``most`` make up the whole: whole / most, rounded up."""
    return (whole + most - 1) // most


@kernel
def cut(whole, parts, i):
    """Where part i of an even cut begins: sizes differ by one at most, larger parts come first."""
    size = whole // parts
    return i * size + min(i, whole - parts * size)
