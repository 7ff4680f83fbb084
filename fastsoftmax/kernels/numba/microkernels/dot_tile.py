"""The other register tile: inner products of lines that lie in memory as they are, so that X needs no transposed copy.

    out[s, line] (+)= sum over t of A[line, t] * B[s, t]

    C order:  H^T = theta^T X^T    t = feature, line = row,     s = class
    F order:  G += D^T X           t = row,     line = feature, s = class

The accumulators are as many as in `numba_tile`, but of partial sums, lane by lane, which are added across in the end.
That costs less than a transposed copy where lines are long beside the number of classes.

Few passes need the two products made of them, so these are functions of their own, compiled and cached when the first
such pass is run; `numba_pass` gets their addresses.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .prefetch import LINE, start_columns, stay_idle, turn
from .simd import (
    INT32,
    INT64,
    address_at,
    at,
    call,
    call_entry,
    element_type,
    emit_fma,
    emit_load,
    emit_splat,
    emit_table,
    internal_function,
    kernel,
    lanes,
    lanes_of,
    read,
    suffix,
    tile_vectors,
    vector_bytes,
)
from .tile import TILE_SCALARS, TILE_VECTORS, Requests, cut, pieces, tile

ARGUMENTS = "A line last B b_next out out_step count valid bias assign fetch".split()
POINTERS = {"A", "B", "out", "bias"}

# Registers a row must fill for the first product to take it as it lies, if classes are few enough as well.
LONG_ROW = 16
# Where L2 holds but one block of short pieces of columns, blocks have this many rows (by itemsize) all the same; both
# products walk a part of the features, of so many bytes, after the other, asking for the next part.
# 60k x 784, k = 10, in F order takes 11.1 ms in place of 13.1 in float32, 200k x 384, k = 20, 31.5 in place of 32.3;
# 60k x 784 in float64 21.3 ms with 384 rows, 21.6 with 320, 22.0 with 512. No power of two: logits of two classes would
# lie 2,048 bytes apart, and 60k x 784 in float32 takes 10.96 ms with 512 rows, 10.7 with 480, 544, 576. Parts of 192 kB
# take it from 21.0 to 21.2 ms in float64, 200k x 384 in float32 from 31.1 to 32.2; 96 kB are as good. 200k x 384 in
# float64, whose pieces are longer, gains nothing: 63.4 ms in place of 63.7.
PART_ROWS, PART_BYTES = {4: 544, 8: 384}, 128 << 10
# Registers of each of a few rows that stay in L1 for all classes: 7 kB.
LINE_REGISTERS = (7 << 10) // vector_bytes()


def dot_lines(dtype):
    """Lines of a tile: as many as give one vector of sums, at most."""
    return min(tile_vectors(), lanes_of(dtype))


@intrinsic
def lines_of(typingctx, p):
    """`dot_lines` for the dtype of this pointer; a constant."""

    def emit(context, builder, sig, args):
        return ir.Constant(INT64, dot_lines(p.dtype))

    return types.intp(p), emit


@intrinsic
def dots_table(typingctx, like):
    """The address of a table of these functions for the dtype of ``like``, by the number of scalars."""

    def emit(context, builder, sig, args):
        functions = [dots_function(builder.module, like, s) for s in range(1, TILE_SCALARS + 1)]
        return emit_table(builder, functions, "dots")

    return types.intp(like), emit


@intrinsic
def dots(typingctx, table, scalars, A, line, last, B, b_next, out, out_step, count, valid, bias, assign, fetch):
    """One tile; see the module's docstring.

    A[line, t] is A[min(line, last) * line + t], B[s, t] is B[s * b_next + t], out[s, line] is out[s * out_step + line];
    t < count, a register's worth at least: the last register overlaps the one before, if it must, and what was
    counted is left out. Of each row of ``out`` the first ``valid`` are written. ``assign``, ``bias``, ``fetch`` are as
    in `numba_tile.tile`.
    """

    def emit(context, builder, sig, args):
        table, s, *arguments = args
        call_entry(builder, dots_type(A.dtype), table, builder.sub(s, ir.Constant(INT64, 1)), *arguments)

    kinds = [A if name in POINTERS else types.boolean if name == "assign" else types.intp for name in ARGUMENTS]
    return types.void(types.intp, types.intp, *kinds[:-1], fetch), emit


def dots_type(dtype):
    kinds = dict.fromkeys(POINTERS, element_type(dtype).as_pointer())
    kinds |= {"assign": ir.IntType(1), "fetch": INT64.as_pointer()}
    return ir.FunctionType(ir.VoidType(), [kinds.get(name, INT64) for name in ARGUMENTS])


def dots_function(module, dtype, scalars):
    function = internal_function(module, dots_type(dtype), f"dots_{dtype}_{scalars}")
    Dots(function, dtype, scalars).emit()
    return function


class Dots:
    """Writes the body of one function."""

    def __init__(self, function, dtype, scalars):
        self.function, self.lines, self.scalars = function, dot_lines(dtype), scalars
        self.vector = ir.VectorType(element_type(dtype), lanes_of(dtype))
        self.args = dict(zip(ARGUMENTS, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.starts = [builder_line(self.builder, self.args, v) for v in range(self.lines)]

    def emit(self):
        builder, args = self.builder, self.args
        loop, rest, tail, end = (self.function.append_basic_block(name) for name in ("loop", "rest", "tail", "end"))
        width, entry = ir.Constant(INT64, self.vector.count), builder.block
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        ahead = Requests(builder, args["fetch"])
        builder.branch(loop)
        builder.position_at_end(loop)
        starts = [ir.Constant(INT64, 0), *ahead.start, *[zero] * (self.lines * self.scalars)]
        values = [builder.phi(value.type) for value in starts]
        t, address, left, *sums = values
        after = builder.add(t, width)
        following = [after, *ahead.step(address, left), *self.products(t, sums, None)]
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<=", builder.add(after, width), args["count"]), loop, rest)
        builder.position_at_end(rest)
        ahead.end(*following[1:3])
        builder.cbranch(builder.icmp_signed("<", after, args["count"]), tail, end)
        builder.position_at_end(tail)
        start = builder.sub(args["count"], width)
        last = self.products(start, following[3:], self.lanes_from(builder.sub(after, start)))
        builder.branch(end)
        builder.position_at_end(end)
        sums = []
        for whole, more in zip(following[3:], last, strict=True):
            sums.append(builder.phi(self.vector))
            sums[-1].add_incoming(whole, rest)
            sums[-1].add_incoming(more, tail)
        for s in range(self.scalars):
            self.finish(s, emit_sums(builder, sums[s * self.lines : (s + 1) * self.lines]))
        builder.ret_void()

    def products(self, t, sums, counts):
        """The sums with the products of a vector of each line and of each scalar, or of those lanes that count."""
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

    def lanes_from(self, first):
        integers = ir.VectorType(INT64, self.vector.count)
        numbers = ir.Constant(integers, list(range(self.vector.count)))
        return self.builder.icmp_signed(">=", numbers, emit_splat(self.builder, integers, first))

    def finish(self, s, sums):
        """out[s] = bias[s] + sums, or out[s] += sums."""
        builder, args, short = self.builder, self.args, sums.type
        integers = ir.VectorType(INT64, short.count)
        numbers = ir.Constant(integers, list(range(short.count)))
        mask = builder.icmp_signed("<", numbers, emit_splat(builder, integers, args["valid"]))
        place = builder.gep(args["out"], [builder.mul(args["out_step"], ir.Constant(INT64, s))])
        place = builder.bitcast(place, short.as_pointer())
        align = ir.Constant(INT32, 8 if short.element == ir.DoubleType() else 4)
        zero = ir.Constant(short, [0.0] * short.count)
        old = call(builder, f"llvm.masked.load.{suffix(short)}.p0", short, place, align, mask, zero)
        bias = emit_splat(builder, short, builder.load(builder.gep(args["bias"], [ir.Constant(INT64, s)])))
        new = builder.fadd(builder.select(args["assign"], bias, old), sums)
        call(builder, f"llvm.masked.store.{suffix(short)}.p0", ir.VoidType(), new, place, align, mask)


def builder_line(builder, args, v):
    """The pointer to line v, or to the last one."""
    number = ir.Constant(INT64, v)
    number = builder.select(builder.icmp_signed("<", number, args["last"]), number, args["last"])
    return builder.gep(args["A"], [builder.mul(number, args["line"])])


def emit_sums(builder, vectors):
    """Lane i: the sum of the lanes of vector i. At distance d lanes of a pair of vectors are exchanged and added; once
    all vectors are one, its halves are."""
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


def make_forward(digest):
    """The function; see `numba_pass` for ``digest``."""

    def forward_of_lines(X, row_step, theta, bias, n, k, r, H, ld, fetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[c, j], rows in place. Lanes past the last row repeat it."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, most = dots_table(read(X, 0)), lanes(X), lines_of(X)
        vectors, groups = n // width, pieces(k, TILE_SCALARS)
        parts = pieces(vectors, LINE_REGISTERS)
        for part in range(parts):
            first = cut(vectors, parts, part) * width
            count = (cut(vectors, parts, part + 1) * width if part + 1 < parts else n) - first
            for i in range(0, pieces(r, width) * width, most):
                row = min(i, r - 1)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    dots(
                        table, c_end - c,
                        at(X, row * row_step + first), row_step, min(most, r - row) - 1,
                        at(theta, c * n + first), n,
                        at(H, c * ld + i), ld,
                        count, most, at(bias, c), part == 0, turn(fetch, pieces(count, width)),
                    )  # fmt: skip

    return forward_of_lines


def make_forward_of_parts(digest):
    """The function; see `numba_pass` for ``digest``."""

    def forward_of_parts(tiles, X, step, theta, bias, n, k, r, H, ld, parts, fetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[j, c], columns in place, theta in groups of classes, and features a
        part at a time."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(X)
        vectors = pieces(r, width)
        panels, groups = pieces(vectors, TILE_VECTORS), pieces(k, TILE_SCALARS)
        for part in range(parts):
            j, j_end = part_begin(X, n, parts, part), part_begin(X, n, parts, part + 1)
            if part + 1 < parts:
                fetch_part(fetch, X, step, n, r, parts, part + 1, panels * groups * (j_end - j))
            else:
                stay_idle(fetch, address_at(X, 0))
            for p in range(panels):
                first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    tile(
                        tiles, end - first, c_end - c,
                        at(X, j * step + first * width), step,
                        at(theta, c * n + j * (c_end - c)), c_end - c, 1,
                        at(H, c * ld + first * width), ld,
                        j_end - j, width, at(bias, c), part == 0, turn(fetch, j_end - j),
                    )  # fmt: skip

    return forward_of_parts


@kernel
def part_begin(X, n, parts, part):
    """The first feature of a part: each has whole tiles of lines."""
    most = lines_of(X)
    return min(n, cut(pieces(n, most), parts, part) * most)


@kernel
def fetch_part(fetch, X, step, n, r, parts, part, steps):
    """Ask for one of so many parts of the columns, r rows of them from X on, last lines included; see `Fetch`."""
    j, j_end = part_begin(X, n, parts, part), part_begin(X, n, parts, part + 1)
    itemsize = address_at(X, 1) - address_at(X, 0)
    start_columns(fetch, address_at(X, j * step) + LINE - 1, j_end - j, r * itemsize, step * itemsize, steps)


def make_backward(digest):
    """The function; see `numba_pass` for ``digest``."""

    def backward_of_lines(X, feature_step, D, ld, n, k, count, parts, G, fetch):
        """G[c, j] += sum_i X[i, j] D[c, i] over ``count`` rows, a whole number of registers: D is 0 past the last.
        Parts go backwards, since the last ones are still in L2."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, most, groups = dots_table(read(X, 0)), lanes(X), lines_of(X), pieces(k, TILE_SCALARS)
        for part in range(parts - 1, -1, -1):
            first, end = part_begin(X, n, parts, part), part_begin(X, n, parts, part + 1)
            if parts > 1:  # the last one, before the block after this
                steps = groups * pieces(end - first, most) * (count // width)
                fetch_part(fetch, X if part else at(X, count), feature_step, n, count, parts, max(part - 1, 0), steps)
            for j in range(first, end, most):
                lines = min(most, end - j)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    dots(
                        table, c_end - c,
                        at(X, j * feature_step), feature_step, lines - 1,
                        at(D, c * ld), ld,
                        at(G, c * n + j), n,
                        count, lines, D, False, turn(fetch, count // width),
                    )  # fmt: skip

    return backward_of_lines
