"""The micro-kernel of inner products: lines of X are read where they are, so that X needs no transposed copy.

    out[s, line] (+)= sum over t of A[line, t] * B[s, t]

    C order:  H^T = theta^T X^T    t = feature, line = row,     s = class
    F order:  G += D^T X           t = row,     line = feature, s = class

There are as many accumulators as in `tile.py`, but of partial sums, one in each lane, which are added up at the end.
That costs less than a transposed copy where lines are long beside the number of classes.

Few passes need these products. So they are functions of their own, compiled and cached when the first such pass runs,
and called by address.

KC blocking: where L2 does not hold a block of F-order X beside the next block, both products walk the features in
KC blocks, and L3 holds the block in between.

    forward     KC block 0, 1, ... last    each prefetches the one after it, from memory
    backward    last, ... 1, 0             each prefetches the one before it, from L3; KC block 0 that of the next block

The last KC block is still in L2 when the backward product begins with it.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .memory import INT32, INT64, address_at, at, call, call_entry, emit_table, internal_function, kernel, read
from .prefetch import LINE, Prefetcher, idle, prefetch_of_tile, start_column_prefetch
from .simd import element_type, emit_fma, emit_load, emit_splat, lanes, lanes_of, suffix, tile_vectors, vector_bytes
from .tile import TILE_SCALARS, TILE_VECTORS, ceil_div, cut, run_tile

ARGUMENTS = "A line last B b_next out out_step count valid bias assign prefetch".split()
POINTERS = {"A", "B", "out", "bias"}

# Vectors of a row that the forward product walks before the next part of the row: 7 kB of each of a few rows, which
# stay in L1 for all classes.
L1_VECTORS = (7 << 10) // vector_bytes()


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
        call_entry(builder, dot_tile_type(A.dtype), table, builder.sub(s, ir.Constant(INT64, 1)), *arguments)

    kinds = [A if name in POINTERS else types.boolean if name == "assign" else types.intp for name in ARGUMENTS]
    return types.void(types.intp, types.intp, *kinds[:-1], prefetch), emit


def dot_tile_type(dtype):
    kinds = dict.fromkeys(POINTERS, element_type(dtype).as_pointer())
    kinds |= {"assign": ir.IntType(1), "prefetch": INT64.as_pointer()}
    return ir.FunctionType(ir.VoidType(), [kinds.get(name, INT64) for name in ARGUMENTS])


def dot_tile_function(module, dtype, scalars):
    function = internal_function(module, dot_tile_type(dtype), f"dot_tile_{dtype}_{scalars}")
    DotTile(function, dtype, scalars).emit()
    return function


class DotTile:
    """Writes the body of the LLVM function of one tile."""

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
        prefetcher = Prefetcher(builder, args["prefetch"])
        builder.branch(loop)
        builder.position_at_end(loop)
        starts = [ir.Constant(INT64, 0), *prefetcher.start, *[zero] * (self.lines * self.scalars)]
        values = [builder.phi(value.type) for value in starts]
        t, address, left, *sums = values
        after = builder.add(t, width)
        following = [after, *prefetcher.step(address, left), *self.products(t, sums, None)]
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<=", builder.add(after, width), args["count"]), loop, rest)
        builder.position_at_end(rest)
        prefetcher.end(*following[1:3])
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
            self.store(s, emit_sums(builder, sums[s * self.lines : (s + 1) * self.lines]))
        builder.ret_void()

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

    def lanes_from(self, first):
        """The mask of the lanes from ``first`` on."""
        integers = ir.VectorType(INT64, self.vector.count)
        numbers = ir.Constant(integers, list(range(self.vector.count)))
        return self.builder.icmp_signed(">=", numbers, emit_splat(self.builder, integers, first))

    def store(self, s, sums):
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


def make_forward(digest):
    """The forward product by inner products; see `runtime/compile.py` for ``digest``."""

    def forward_by_dots(X, row_step, theta, bias, n, k, r, H, ld, prefetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[c, j] for rows in place; ``theta`` is transposed. Lanes past the last
        row repeat it."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, most = dot_tile_table(read(X, 0)), lanes(X), lines_of(X)
        vectors, groups = n // width, ceil_div(k, TILE_SCALARS)
        parts = ceil_div(vectors, L1_VECTORS)
        for part in range(parts):
            first = cut(vectors, parts, part) * width
            count = (cut(vectors, parts, part + 1) * width if part + 1 < parts else n) - first
            for i in range(0, ceil_div(r, width) * width, most):
                row = min(i, r - 1)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    run_dot_tile(
                        table, c_end - c,
                        at(X, row * row_step + first), row_step, min(most, r - row) - 1,
                        at(theta, c * n + first), n,
                        at(H, c * ld + i), ld,
                        count, most, at(bias, c), part == 0, prefetch_of_tile(prefetch, ceil_div(count, width)),
                    )  # fmt: skip

    return forward_by_dots


def make_forward_by_kc_blocks(digest):
    """The forward product by KC blocks; see `runtime/compile.py` for ``digest``."""

    def forward_by_kc_blocks(tiles, X, step, theta, bias, n, k, r, H, ld, kc_blocks, prefetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[j, c] for columns in place, theta in groups of classes; one KC block
        of the features after the other."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(X)
        vectors = ceil_div(r, width)
        panels, groups = ceil_div(vectors, TILE_VECTORS), ceil_div(k, TILE_SCALARS)
        for b in range(kc_blocks):
            j, j_end = kc_block_begin(X, n, kc_blocks, b), kc_block_begin(X, n, kc_blocks, b + 1)
            if b + 1 < kc_blocks:
                prefetch_kc_block(prefetch, X, step, n, r, kc_blocks, b + 1, panels * groups * (j_end - j))
            else:
                idle(prefetch, address_at(X, 0))
            for p in range(panels):
                first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    run_tile(
                        tiles, end - first, c_end - c,
                        at(X, j * step + first * width), step,
                        at(theta, c * n + j * (c_end - c)), c_end - c, 1,
                        at(H, c * ld + first * width), ld,
                        j_end - j, width, at(bias, c), b == 0, prefetch_of_tile(prefetch, j_end - j),
                    )  # fmt: skip

    return forward_by_kc_blocks


@kernel
def kc_block_begin(X, n, kc_blocks, b):
    """The first feature of KC block b, so that each has whole tiles of lines."""
    most = lines_of(X)
    return min(n, cut(ceil_div(n, most), kc_blocks, b) * most)


@kernel
def prefetch_kc_block(prefetch, X, step, n, r, kc_blocks, b, steps):
    """Let the tiles prefetch KC block b of the r rows at X, within so many steps. The last lines of its columns are
    among them, as in `plan_block`."""
    j, j_end = kc_block_begin(X, n, kc_blocks, b), kc_block_begin(X, n, kc_blocks, b + 1)
    itemsize = address_at(X, 1) - address_at(X, 0)
    first = address_at(X, j * step) + LINE - 1
    start_column_prefetch(prefetch, first, j_end - j, r * itemsize, step * itemsize, steps)


def make_backward(digest):
    """The backward product by inner products; see `runtime/compile.py` for ``digest``."""

    def backward_by_dots(X, feature_step, D, ld, n, k, count, kc_blocks, G, prefetch):
        """G[c, j] += sum_i X[i, j] D[c, i] for columns in place, over ``count`` rows: whole registers, D is 0 past the
        last row. KC blocks are walked from the last to the first, since the last ones are still in L2."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, most, groups = dot_tile_table(read(X, 0)), lanes(X), lines_of(X), ceil_div(k, TILE_SCALARS)
        for b in range(kc_blocks - 1, -1, -1):
            first, end = kc_block_begin(X, n, kc_blocks, b), kc_block_begin(X, n, kc_blocks, b + 1)
            if kc_blocks > 1:  # KC block 0 prefetches its like of the next block of rows
                steps = groups * ceil_div(end - first, most) * (count // width)
                rows = X if b else at(X, count)
                prefetch_kc_block(prefetch, rows, feature_step, n, count, kc_blocks, max(b - 1, 0), steps)
            for j in range(first, end, most):
                lines = min(most, end - j)
                for g in range(groups):
                    c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
                    run_dot_tile(
                        table, c_end - c,
                        at(X, j * feature_step), feature_step, lines - 1,
                        at(D, c * ld), ld,
                        at(G, c * n + j), n,
                        count, lines, D, False, prefetch_of_tile(prefetch, count // width),
                    )  # fmt: skip

    return backward_by_dots
