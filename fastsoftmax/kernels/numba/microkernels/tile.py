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

from .memory import (
    INT32,
    INT64,
    call,
    call_entry,
    emit_table,
    internal_function,
    jitable,
    kernel,
    pointer,
    write,
)
from .prefetch import Prefetcher
from .simd import element_type, emit_fma, emit_load, emit_splat, emit_store, lanes_of, suffix, tile_vectors

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
        call_entry(builder, tile_type(A.dtype), table, number, *arguments)

    kinds = [A if name in POINTERS else types.boolean if name == "assign" else types.intp for name in ARGUMENTS]
    return types.void(types.intp, types.intp, types.intp, *kinds[:-1], prefetch), emit


def make_table(digest):
    """The function that finds the table of tiles; see `runtime/compile.py` for ``digest``."""

    def table_of_tiles(X, address):
        """Write the address of a table of all tiles for the dtype of X, which is not read, to ``address``."""
        digest  # noqa: B018 - only so that it is part of the closure
        write(pointer(address, np.int64(0)), 0, tile_table(X))

    return table_of_tiles


def tile_type(dtype):
    kinds = dict.fromkeys(POINTERS, element_type(dtype).as_pointer())
    kinds |= {"assign": ir.IntType(1), "prefetch": INT64.as_pointer()}
    return ir.FunctionType(ir.VoidType(), [kinds.get(name, INT64) for name in ARGUMENTS])


def tile_function(module, dtype, vectors, scalars):
    """The LLVM function of a tile of so many vectors and scalars."""
    function = internal_function(module, tile_type(dtype), f"tile_{dtype}_{vectors}x{scalars}")
    Tile(function, dtype, vectors, scalars).emit()
    return function


class Tile:
    """Writes the body of the LLVM function of one tile."""

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
        prefetcher = Prefetcher(builder, args["prefetch"])
        builder.branch(loop)
        builder.position_at_end(loop)
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        starts = [ir.Constant(INT64, 0), args["A"], args["B"], *prefetcher.start, *[zero] * len(self.pairs)]
        values = [builder.phi(value.type) for value in starts]
        t, a, b, address, rest, *sums = values
        following = [
            builder.add(t, ir.Constant(INT64, 1)),
            builder.gep(a, [args["a_step"]]),
            builder.gep(b, [args["b_step"]]),
            *prefetcher.step(address, rest),
            *self.outer_product(a, b, sums),
        ]
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following[0], args["count"]), loop, start)
        builder.position_at_end(start)
        prefetcher.end(*following[3:5])
        builder.cbranch(args["assign"], assign, add)
        builder.position_at_end(assign)
        self.assign(following[5:])
        builder.ret_void()
        builder.position_at_end(add)
        self.add(following[5:])
        builder.ret_void()

    def outer_product(self, a, b, sums):
        """The sums with the products of one step added."""
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
        """out = bias + sums, in whole vectors: the block of logits has room for rows past its end."""
        builder = self.builder
        bias = self.args["bias"]
        for (v, s), x in zip(self.pairs, sums, strict=True):
            start = builder.load(builder.gep(bias, [ir.Constant(INT64, s)]))
            emit_store(builder, builder.fadd(x, emit_splat(builder, self.vector, start)), self.place(v, s))

    def add(self, sums):
        """out += sums. The last vector is masked, since a row of the gradient ends with its last feature."""
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


@jitable
def ceil_div(whole: int, most: int) -> int:
    """How many parts of at most ``most`` make up the whole: whole / most, rounded up."""
    return (whole + most - 1) // most


@kernel
def cut(whole, parts, i):
    """Where part i of an even cut begins: sizes differ by one at most, larger parts come first."""
    size = whole // parts
    return i * size + min(i, whole - parts * size)
