"""The register tile: the inner loop of every product.

    out[s, lane] (+)= sum over t of A[t, lane] * B[t, s]

Forward, H^T = theta^T X^T: lanes are rows, t features, s classes. Backward, G += D^T X: lanes are
features, t rows, s classes. The accumulators, ``vectors`` x ``scalars`` registers, stay in registers
over the whole sum over t; a step of t loads ``vectors`` vectors of A, broadcasts ``scalars`` numbers
of B and does their outer product.

             B[t, 0]   B[t, 1]  ...            k = 7 is cut into 4 + 3 classes, k = 10 into 5 + 5:
    A[t, 0]  acc 0,0   acc 0,1                 `cut` makes pieces that differ by one at most, so
    A[t, 1]  acc 1,0   acc 1,1                 that no tile is left with a single column, whose
       .                                       few accumulators would wait for the latency of fma.

There is one LLVM function for each (vectors, scalars) pair, called through a table.

While it computes, a tile asks for lines that the next block of rows will need: see `numba_fetch`.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import (
    INT32,
    INT64,
    call,
    call_entry,
    element_type,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_splat,
    emit_store,
    emit_table,
    internal_function,
    kernel,
    lanes_of,
    pointer,
    suffix,
    tile_vectors,
    write,
)

TILE_VECTORS = tile_vectors()
TILE_SCALARS = 6  # 4 x 6 accumulators, 4 of A and a few of B fill 32 registers; 2 x 6 + 2 + 1 fill 16

ARGUMENTS = "A a_step B b_step b_next out out_step count valid bias assign fetch".split()
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
def tile(
    typingctx, table, vectors, scalars, A, a_step, B, b_step, b_next, out, out_step, count, valid, bias, assign, fetch
):  # fmt: skip
    """One tile; see the module's docstring.

    A[t, lane] is A[t * a_step + lane], B[t, s] is B[t * b_step + s * b_next], out[s, lane] is
    out[s * out_step + lane]; t < count. Of the last vector's lanes only the first ``valid`` are
    written. With ``assign`` the result is bias[s] + sum, else the sum is added to out. ``fetch`` is what
    `numba_fetch.turn` gives.
    """

    def emit(context, builder, sig, args):
        table, v, s, *arguments = args
        one, rows = ir.Constant(INT64, 1), ir.Constant(INT64, TILE_SCALARS)
        number = builder.add(builder.mul(builder.sub(v, one), rows), builder.sub(s, one))
        call_entry(builder, tile_type(A.dtype), table, number, *arguments)

    kinds = [A if name in POINTERS else types.boolean if name == "assign" else types.intp for name in ARGUMENTS]
    return types.void(types.intp, types.intp, types.intp, *kinds[:-1], fetch), emit


def make_table(digest):
    """The function; see `numba_pass` for ``digest``."""

    def table_of_tiles(X, address):
        """The address of a table of all tiles for the dtype of X, which is not read, written to ``address``."""
        digest  # noqa: B018 - only so that it is part of the closure
        write(pointer(address, np.int64(0)), 0, tile_table(X))

    return table_of_tiles


def tile_type(dtype):
    kinds = dict.fromkeys(POINTERS, element_type(dtype).as_pointer())
    kinds |= {"assign": ir.IntType(1), "fetch": INT64.as_pointer()}
    return ir.FunctionType(ir.VoidType(), [kinds.get(name, INT64) for name in ARGUMENTS])


def tile_function(module, dtype, vectors, scalars):
    """The LLVM function for one pair."""
    function = internal_function(module, tile_type(dtype), f"tile_{dtype}_{vectors}x{scalars}")
    Tile(function, dtype, vectors, scalars).emit()
    return function


class Tile:
    """Writes the body of one tile function."""

    def __init__(self, function, dtype, vectors, scalars):
        self.function, self.vectors, self.scalars = function, vectors, scalars
        self.vector = ir.VectorType(element_type(dtype), lanes_of(dtype))
        self.args = dict(zip(ARGUMENTS, function.args, strict=True))
        self.pairs = [(v, s) for s in range(scalars) for v in range(vectors)]
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def emit(self):
        builder, args = self.builder, self.args
        entry, loop = builder.block, self.function.append_basic_block("loop")
        start, assign, add = (self.function.append_basic_block(n) for n in ("end", "assign", "add"))
        ahead = Requests(builder, args["fetch"])
        builder.branch(loop)
        builder.position_at_end(loop)
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        starts = [ir.Constant(INT64, 0), args["A"], args["B"], *ahead.start, *[zero] * len(self.pairs)]
        values = [builder.phi(value.type) for value in starts]
        t, a, b, address, rest, *sums = values
        following = [
            builder.add(t, ir.Constant(INT64, 1)),
            builder.gep(a, [args["a_step"]]),
            builder.gep(b, [args["b_step"]]),
            *ahead.step(address, rest),
            *self.outer_product(a, b, sums),
        ]
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following[0], args["count"]), loop, start)
        builder.position_at_end(start)
        ahead.end(*following[3:5])
        builder.cbranch(args["assign"], assign, add)
        builder.position_at_end(assign)
        self.assign(following[5:])
        builder.ret_void()
        builder.position_at_end(add)
        self.add(following[5:])
        builder.ret_void()

    def outer_product(self, a, b, sums):
        builder, width = self.builder, self.vector.count
        columns = [
            emit_load(builder, self.vector, builder.gep(a, [ir.Constant(INT64, v * width)]))
            for v in range(self.vectors)
        ]
        offsets = [builder.mul(self.args["b_next"], ir.Constant(INT64, s)) for s in range(self.scalars)]
        scalars = [emit_splat(builder, self.vector, builder.load(builder.gep(b, [offset]))) for offset in offsets]
        return [emit_fma(builder, columns[v], scalars[s], x) for (v, s), x in zip(self.pairs, sums, strict=True)]

    def place(self, v, s):
        """The pointer to where accumulator v, s goes."""
        builder = self.builder
        row = builder.mul(self.args["out_step"], ir.Constant(INT64, s))
        offset = builder.add(row, ir.Constant(INT64, v * self.vector.count))
        return builder.gep(self.args["out"], [offset])

    def assign(self, sums):
        """out = bias + sums; whole vectors, the tile of logits has room for them."""
        builder = self.builder
        bias = self.args["bias"]
        for (v, s), x in zip(self.pairs, sums, strict=True):
            start = builder.load(builder.gep(bias, [ir.Constant(INT64, s)]))
            emit_store(builder, builder.fadd(x, emit_splat(builder, self.vector, start)), self.place(v, s))

    def add(self, sums):
        """out += sums; the last vector under a mask, for a row of a gradient ends with its features."""
        builder = self.builder
        for (v, s), x in zip(self.pairs, sums, strict=True):
            place = self.place(v, s)
            if v + 1 < self.vectors:
                emit_store(builder, builder.fadd(emit_load(builder, self.vector, place), x), place)
            else:
                self.add_masked(x, place)

    def add_masked(self, x, place):
        builder, vector = self.builder, self.vector
        integers = ir.VectorType(INT64, vector.count)
        numbers = ir.Constant(integers, list(range(vector.count)))
        mask = builder.icmp_signed("<", numbers, emit_splat(builder, integers, self.args["valid"]))
        place = builder.bitcast(place, vector.as_pointer())
        align = ir.Constant(INT32, 8 if vector.element == ir.DoubleType() else 4)
        zero = ir.Constant(vector, [0.0] * vector.count)
        old = call(builder, f"llvm.masked.load.{suffix(vector)}.p0", vector, place, align, mask, zero)
        new = builder.fadd(old, x)
        call(builder, f"llvm.masked.store.{suffix(vector)}.p0", ir.VoidType(), new, place, align, mask)


class Requests:
    """Writes what a loop asks memory for; see `numba_fetch` for the state that ``fetch`` points to."""

    def __init__(self, builder, fetch):
        self.builder = builder
        self.places = [builder.gep(fetch, [ir.Constant(INT64, i)]) for i in range(6)]
        at, rest, self.stride, self.second, self.jump, self.piece = (builder.load(place) for place in self.places)
        self.start = at, rest

    def step(self, at, rest):
        """Ask for two lines; where the next step asks."""
        builder = self.builder
        emit_prefetch(builder, at)
        emit_prefetch(builder, builder.add(at, self.second))
        rest = builder.sub(rest, ir.Constant(INT64, 1))
        ended = builder.icmp_signed("==", rest, ir.Constant(INT64, 0))
        at = builder.add(at, builder.select(ended, self.jump, self.stride))
        return at, builder.select(ended, self.piece, rest)

    def end(self, at, rest):
        self.builder.store(at, self.places[0])
        self.builder.store(rest, self.places[1])


@kernel
def pieces(whole, most):
    """Into how many pieces of at most ``most`` to cut."""
    return (whole + most - 1) // most


@kernel
def cut(whole, number, i):
    """Where piece i of ``number`` begins: sizes differ by one at most, larger ones first."""
    size = whole // number
    return i * size + min(i, whole - number * size)
