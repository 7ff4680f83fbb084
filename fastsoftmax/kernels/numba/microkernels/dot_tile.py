"""The micro-kernel of inner products: lines of X are read where they are, so that X needs no transposed copy.

    out[s, line] (+)= sum over t of A[line, t] * B[s, t]

    C order:  H^T = theta^T X^T    t = feature, line = row,     s = class
    F order:  G += D^T X           t = row,     line = feature, s = class

There are as many accumulators as in `tile.py`, but of partial sums, one in each lane, which are added up at the end.
That costs less than a transposed copy where lines are long beside the number of classes.

"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .memory import INT32, INT64, call_entry, emit_table, internal_function
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
    function_type,
    lanes_of,
    tile_vectors,
)
from .tile import TILE_SCALARS

ARGUMENTS = "A line last B b_next out out_step count valid bias assign prefetch".split()
POINTERS = {"A", "B", "out", "bias"}


def dot_lines(dtype):
    """Lines of a tile: at most as many as give one vector of sums."""
    return min(tile_vectors(), lanes_of(dtype))


@intrinsic
def lines_of(typingctx, p):
    """`dot_lines` for the dtype of this pointer; a constant."""

    def emit(context, builder, sig, args):
        return ir.Constant(INT64, dot_lines(p.dtype))

    return types.intp(p), emit


@intrinsic
def dot_tile_table(typingctx, like):
    """The address of a table of the tiles for the dtype of ``like``, by the number of scalars."""

    def emit(context, builder, sig, args):
        functions = [dot_tile_function(builder.module, like, s) for s in range(1, TILE_SCALARS + 1)]
        return emit_table(builder, functions, "dot_tiles")

    return types.intp(like), emit


@intrinsic
def run_dot_tile(
    typingctx, table, scalars,
    A, line, last, B, b_next, out, out_step, count, valid, bias, assign, prefetch,
):  # fmt: skip
    """Run the tile of so many scalars; see the module's docstring.

    A[line, t] is A[min(line, last) * line + t], B[s, t] is B[s * b_next + t], out[s, line] is
    out[s * out_step + line]; t < count, which is at least one register. If ``count`` is no multiple of a register, the
    last vector overlaps the one before, and its lanes that have been added already are left out. Only the first
    ``valid`` numbers of each row of ``out`` are written. ``assign``, ``bias`` and ``prefetch`` are as in `run_tile`.
    """

    def emit(context, builder, sig, args):
        table, s, *arguments = args
        kind, number = function_type(A.dtype, ARGUMENTS, POINTERS), builder.sub(s, ir.Constant(INT64, 1))
        call_entry(builder, kind, table, number, *arguments)

    kinds = [A if name in POINTERS else types.boolean if name == "assign" else types.intp for name in ARGUMENTS]
    return types.void(types.intp, types.intp, *kinds[:-1], prefetch), emit


def dot_tile_function(module, dtype, scalars):
    function = internal_function(module, function_type(dtype, ARGUMENTS, POINTERS), f"dot_tile_{dtype}_{scalars}")
    DotTile(function, dtype, scalars).emit()
    return function


class DotTile:
    """Writes the body of the LLVM function of one tile."""

    def __init__(self, function, dtype, scalars):
        self.lines, self.scalars = dot_lines(dtype), scalars
        self.vector = ir.VectorType(element_type(dtype), lanes_of(dtype))
        self.args = dict(zip(ARGUMENTS, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.starts = [builder_line(self.builder, self.args, v) for v in range(self.lines)]

    def emit(self):
        builder, count, width = self.builder, self.args["count"], ir.Constant(INT64, self.vector.count)
        prefetcher = Prefetcher(builder, self.args["prefetch"])

        def step(t, address, left, *sums):
            after = builder.add(t, width)
            following = [after, *prefetcher.step(address, left), *self.products(t, sums, None)]
            return following, builder.icmp_signed("<=", builder.add(after, width), count)

        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        starts = [ir.Constant(INT64, 0), *prefetcher.start, *[zero] * (self.lines * self.scalars)]
        after, address, left, *sums = emit_loop(builder, starts, step)
        prefetcher.end(address, left)
        sums = self.add_rest(after, sums)
        for s in range(self.scalars):
            self.store(s, emit_sums(builder, sums[s * self.lines : (s + 1) * self.lines]))
        builder.ret_void()

    def add_rest(self, after, sums):
        """The sums with the products from ``after`` on added, fewer than a register has."""
        builder, count, whole = self.builder, self.args["count"], self.builder.block
        with builder.if_then(builder.icmp_signed("<", after, count)):
            start = builder.sub(count, ir.Constant(INT64, self.vector.count))
            left_out = builder.sub(after, start)
            added = self.products(start, sums, emit_lanes(builder, self.vector, ">=", left_out))
            tail = builder.block
        totals = [builder.phi(self.vector) for _ in sums]
        for total, before, more in zip(totals, sums, added, strict=True):
            total.add_incoming(before, whole)
            total.add_incoming(more, tail)
        return totals

    def products(self, t, sums, counts):
        """The sums with the products of a vector of each line and of each scalar added, in the lanes where the mask
        ``counts`` is true (all for None)."""
        builder = self.builder
        lines = [emit_load(builder, self.vector, builder.gep(start, [t])) for start in self.starts]
        if counts is not None:
            zero = ir.Constant(self.vector, [0.0] * self.vector.count)
            lines = [builder.select(counts, line, zero) for line in lines]
        out = []
        for s in range(self.scalars):
            place = builder.add(builder.mul(self.args["b_next"], ir.Constant(INT64, s)), t)
            scalar = emit_load(builder, self.vector, builder.gep(self.args["B"], [place]))
            out += [emit_fma(builder, x, scalar, sums[s * self.lines + v]) for v, x in enumerate(lines)]
        return out

    def store(self, s, sums):
        """out[s] = bias[s] + sums, or out[s] += sums."""
        builder, args, short = self.builder, self.args, sums.type
        mask = emit_lanes(builder, short, "<", args["valid"])
        place = builder.gep(args["out"], [builder.mul(args["out_step"], ir.Constant(INT64, s))])
        old = emit_masked_load(builder, short, place, mask)
        bias = emit_splat(builder, short, builder.load(builder.gep(args["bias"], [ir.Constant(INT64, s)])))
        emit_masked_store(builder, builder.fadd(builder.select(args["assign"], bias, old), sums), place, mask)


def builder_line(builder, args, v):
    """The pointer to line v, or to the last one."""
    number = ir.Constant(INT64, v)
    number = builder.select(builder.icmp_signed("<", number, args["last"]), number, args["last"])
    return builder.gep(args["A"], [builder.mul(number, args["line"])])


def emit_sums(builder, vectors):
    """Lane i: the sum of the lanes of vector i.

    A round exchanges lanes at distance d within each pair of vectors and adds the two, which makes one vector of the
    pair. Once a single vector is left, its halves are added.
    """
    n, most = vectors[0].type.count, len(vectors)

    def pick(a, b, order):
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(INT32, len(order)), order))

    d = 1
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        even = [n + j - d if j & d else j for j in range(n)]
        odd = [n + j if j & d else j + d for j in range(n)]
        vectors = [builder.fadd(pick(a, b, even), pick(a, b, odd)) for a, b in pairs]
        d *= 2
    (sums,) = vectors
    while (n := n // 2) >= most:
        sums = builder.fadd(pick(sums, sums, list(range(n))), pick(sums, sums, list(range(n, 2 * n))))
    return sums
