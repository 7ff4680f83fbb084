"""Micro-kernels of few classes, for both products: rows of X are read in place, without a transposed copy.

    class_lane_tile   H[c, i] = bias[c] + sum_j X[i, j] theta[j, c]     class in the lanes
    narrow_tile       G[c, j] += sum_i D[c, i] X[i, j]                  feature in the lanes

A step of `class_lane_tile` takes one number of X from each of `ROWS` rows, straight from memory into a multiply-add,
and a vector of theta with a lane for each class, 4 lanes for 3 classes. Its sums are transposed at the end. The idle
lane costs less than a transposed copy of X as long as rows are short; where rows are long, `dot_tile.py` is better
still.

`narrow_tile` is a tile like that of `tile.py` whose vectors have 32 bytes: a short row seldom begins where a cache line
does, and seldom are its features a multiple of 64 bytes.

There is a function for each number of classes, compiled when first called for (`runtime/compile.py`).
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .memory import INT32, INT64, at, call_entry, emit_prefetch, emit_table, internal_function, kernel, read, write
from .prefetch import AT, STRIDE, Prefetcher, prefetch_of_tile
from .simd import (
    element_type,
    emit_fma,
    emit_load,
    emit_splat,
    emit_store,
    emit_transpose,
    lanes,
    lanes_of,
    tile_vectors,
    vector_bytes,
)
from .tile import ceil_div, cut

LEAST_LANES = 4
# Rows of a class_lane_tile side by side, which is the number of multiply-adds under way.
ROWS = 8
NARROW_BYTES = min(32, vector_bytes())
# Of a narrow_tile, the most classes, vectors and accumulators: 28 of 32 registers, 12 of 16.
NARROW_CLASSES, NARROW_VECTORS, NARROW_SUMS = (7, 7, 28) if tile_vectors() == 4 else (6, 6, 12)

FORWARD = "X row theta bias n H ld prefetch".split()
BACKWARD = "X row last D ld G ldg count repeated prefetch".split()
POINTERS = {"X", "theta", "bias", "H", "D", "G"}


def class_lanes(k: int) -> int:
    """Lanes of a vector that holds a number for each class."""
    return max(LEAST_LANES, 1 << (k - 1).bit_length())


def tile_rows(width: int) -> int:
    """Rows of a class_lane_tile side by side, for registers of ``width`` numbers."""
    return min(ROWS, width)


def forward_steps(n: int, r: int, width: int) -> int:
    """Steps of all tiles of the forward product of a block, over which its prefetches are spread."""
    return n * ceil_div(r, width) * (width // tile_rows(width))


def backward_steps(n: int, k: int, r: int, itemsize: int) -> int:
    """Steps of all tiles of the backward product of a block."""
    vectors, groups = ceil_div(n * itemsize, NARROW_BYTES), class_groups(k)
    sizes = [k // groups + (g < k % groups) for g in range(groups)]
    return r * sum(ceil_div(vectors, most_vectors(classes)) for classes in sizes)


def class_groups(k: int) -> int:
    """Into how many groups the classes are cut, one for each narrow_tile."""
    return ceil_div(k, NARROW_CLASSES)


def most_vectors(classes: int) -> int:
    """The most vectors of a narrow_tile of so many classes."""
    return min(NARROW_VECTORS, NARROW_SUMS // classes)


def function_type(dtype, names):
    pointers = dict.fromkeys(POINTERS, element_type(dtype).as_pointer()) | {"prefetch": INT64.as_pointer()}
    return ir.FunctionType(ir.VoidType(), [pointers.get(name, INT64) for name in names])


# ---------------------------------------------------------------------------- the forward product


@kernel
def widen_parameters(theta, n, k, out):
    """theta (n, k) as out[feature, lane], with zeros in the lanes past the last class."""
    size = 4
    while size < k:
        size *= 2
    for j in range(n):
        for c in range(size):
            write(out, j * size + c, read(theta, j * k + c) if c < k else 0.0)


def make_forward(digest, k):
    """The forward product of k classes; see `runtime/compile.py` for ``digest``."""

    def forward_by_class_lanes(X, row_step, theta, bias, n, r, H, ld, buffer, prefetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[j, c]; theta is laid out by `widen_parameters`. If the last rows do
        not fill a register, they are copied to ``buffer``, where the last row is repeated."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(X)
        for i in range(0, r, width):
            rows, step = at(X, i * row_step), row_step
            if r - i < width:
                for v in range(width):
                    for j in range(n):
                        write(buffer, v * n + j, read(rows, min(v, r - i - 1) * row_step + j))
                rows, step = buffer, n
            class_lane_tile(k, rows, step, theta, bias, n, at(H, i), ld, prefetch_of_tile(prefetch, tile_steps(X, n)))

    return forward_by_class_lanes


@intrinsic
def tile_steps(typingctx, p, n):
    """The steps of a class_lane_tile over n features."""

    def emit(context, builder, sig, args):
        width = lanes_of(p.dtype)
        return builder.mul(args[1], ir.Constant(INT64, width // tile_rows(width)))

    return types.intp(p, types.intp), emit


@intrinsic(prefer_literal=True)
def class_lane_tile(typingctx, k, X, row, theta, bias, n, H, ld, prefetch):
    """H^T of as many rows as a register holds numbers."""

    def emit(context, builder, sig, args):
        function = internal_function(builder.module, function_type(X.dtype, FORWARD), f"class_lanes_{X.dtype}")
        ClassLaneTile(function, X.dtype, k.literal_value).emit()
        builder.call(function, args[1:])

    return types.void(k, X, types.intp, X, X, types.intp, X, types.intp, prefetch), emit


class ClassLaneTile:
    """Writes the body of the LLVM function of a class_lane_tile."""

    def __init__(self, function, dtype, k):
        self.function, self.k, self.width = function, k, lanes_of(dtype)
        self.vector = ir.VectorType(element_type(dtype), class_lanes(k))
        self.args = dict(zip(FORWARD, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        # Only one prefetch a step: a `Prefetcher` would not leave enough registers for the rows.
        at, stride = (self.builder.gep(self.args["prefetch"], [ir.Constant(INT64, i)]) for i in (AT, STRIDE))
        self.prefetch_at = at
        self.stride = self.builder.load(stride)

    def emit(self):
        builder, args, rows = self.builder, self.args, tile_rows(self.width)
        sums, address, X = [], builder.load(self.prefetch_at), args["X"]
        for _ in range(0, self.width, rows):
            some, address = self.sum_rows(X, rows, address)
            sums += some
            X = builder.gep(X, [builder.mul(args["row"], ir.Constant(INT64, rows))])
        builder.store(address, self.prefetch_at)
        size = self.vector.count
        joined = [emit_join(builder, sums[i::size]) for i in range(size)]
        for c, column in enumerate(emit_transpose(builder, joined)[: self.k]):
            place = builder.mul(args["ld"], ir.Constant(INT64, c))
            emit_store(builder, column, builder.gep(args["H"], [place]))
        builder.ret_void()

    def sum_rows(self, X, rows, first_prefetch):
        """The vector of sums of each row, and the address to prefetch next."""
        builder, args, entry = self.builder, self.args, self.builder.block
        loop, end = (self.function.append_basic_block(name) for name in ("loop", "end"))
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        lines = [builder.gep(X, [builder.mul(args["row"], ir.Constant(INT64, r))]) for r in range(rows)]
        # Otherwise the compiler computes each row's address from that of the row before.
        lines = [emit_opaque(builder, line) for line in lines]
        builder.branch(loop)
        builder.position_at_end(loop)
        starts = [ir.Constant(INT64, 0), args["theta"], first_prefetch, *[zero] * rows]
        values = [builder.phi(value.type) for value in starts]
        j, t, address, *sums = values
        emit_prefetch(builder, address)
        t = emit_opaque(builder, t)
        t.attributes.add("convergent")  # prevents unrolling: two steps at once would wait for each other's sums
        parameters = emit_load(builder, self.vector, t)
        following = [
            builder.add(j, ir.Constant(INT64, 1)),
            builder.gep(t, [ir.Constant(INT64, self.vector.count)]),
            builder.add(address, self.stride),
        ]
        for r, total in enumerate(sums):
            number = builder.load(builder.gep(lines[r], [j]))
            following.append(emit_fma(builder, emit_splat(builder, self.vector, number), parameters, total))
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following[0], args["n"]), loop, end)
        builder.position_at_end(end)
        # The bias comes last, as in `tile.py`, so that a model fitted beside others has the same bits as alone.
        bias = emit_load(builder, self.vector, args["bias"])
        return [builder.fadd(bias, total) for total in following[3:]], following[2]


def emit_opaque(builder, value):
    """The value, in such a way that the compiler can derive nothing about it."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)


def emit_join(builder, vectors):
    """One vector of the lanes of all vectors, one after the other."""
    while len(vectors) > 1:
        order = ir.Constant(ir.VectorType(INT32, 2 * vectors[0].type.count), list(range(2 * vectors[0].type.count)))
        vectors = [builder.shuffle_vector(a, b, order) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


# --------------------------------------------------------------------------- the backward product


def make_backward(digest, k):
    """The backward product of k classes; see `runtime/compile.py` for ``digest``."""
    groups = class_groups(k)

    def backward_by_narrow_tiles(X, row_step, D, ld, n, r, G, prefetch):
        """G[c, j] += sum_i D[c, i] X[i, j]. Vectors follow each other; only the last vector of a row begins early, so
        that it ends with the row. Its first lanes, which overlap the vector before, are left out."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, least = narrow_table(X, k), narrow_lanes(X), k // groups
        vectors = ceil_div(n, width)
        for g in range(groups):
            c, c_end = cut(k, groups, g), cut(k, groups, g + 1)
            panels = ceil_div(vectors, min(NARROW_VECTORS, NARROW_SUMS // (c_end - c)))
            for p in range(panels):
                first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                last = min((end - 1) * width, n - width)
                narrow_tile(
                    table, (c_end - c - least) * NARROW_VECTORS + end - first - 1,
                    at(X, first * width), row_step, last - first * width,
                    at(D, c * ld), ld,
                    at(G, c * n + first * width), n,
                    r, (end - 1) * width - last, prefetch_of_tile(prefetch, r),
                )  # fmt: skip

    return backward_by_narrow_tiles


@intrinsic
def narrow_lanes(typingctx, p):
    """How many elements of this pointer's dtype a narrow vector holds; a constant."""

    def emit(context, builder, sig, args):
        return ir.Constant(INT64, NARROW_BYTES * 8 // p.dtype.bitwidth)

    return types.intp(p), emit


@intrinsic(prefer_literal=True)
def narrow_table(typingctx, p, k):
    """The address of a table of tiles for k classes: of 1, 2, ... vectors, for each size of a group of classes."""

    def emit(context, builder, sig, args):
        groups, functions = class_groups(k.literal_value), []
        least, larger = divmod(k.literal_value, groups)
        for classes in (least, least + 1) if larger else (least,):
            most = most_vectors(classes)
            some = [narrow_function(builder.module, p.dtype, v, classes) for v in range(1, most + 1)]
            functions += some + some[-1:] * (NARROW_VECTORS - most)
        return emit_table(builder, functions, "narrow")

    return types.intp(p, k), emit


@intrinsic
def narrow_tile(typingctx, table, number, X, row, last, D, ld, G, ldg, count, repeated, prefetch):
    """Run tile ``number`` of the table: G[s * ldg + j] += sum_i D[s * ld + i] X[i * row + j], i < count. The last
    vector begins at j = last; its first ``repeated`` lanes overlap the vector before and are left out."""

    def emit(context, builder, sig, args):
        call_entry(builder, function_type(X.dtype, BACKWARD), *args)

    size = types.intp
    return types.void(size, size, X, size, size, X, size, X, size, size, size, prefetch), emit


def narrow_function(module, dtype, vectors, classes):
    function = internal_function(module, function_type(dtype, BACKWARD), f"narrow_{dtype}_{vectors}x{classes}")
    NarrowTile(function, dtype, vectors, classes).emit()
    return function


class NarrowTile:
    """Writes the body of the LLVM function of a narrow_tile."""

    def __init__(self, function, dtype, vectors, classes):
        self.function, self.vectors, self.classes = function, vectors, classes
        self.vector = ir.VectorType(element_type(dtype), NARROW_BYTES * 8 // dtype.bitwidth)
        self.args = dict(zip(BACKWARD, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def emit(self):
        builder, args, entry = self.builder, self.args, self.builder.block
        loop, end = (self.function.append_basic_block(name) for name in ("loop", "end"))
        prefetcher = Prefetcher(builder, args["prefetch"])
        builder.branch(loop)
        builder.position_at_end(loop)
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        starts = [
            ir.Constant(INT64, 0),
            args["X"],
            args["D"],
            *prefetcher.start,
            *[zero] * (self.vectors * self.classes),
        ]
        values = [builder.phi(value.type) for value in starts]
        i, x, d, address, rest, *sums = values
        following = [
            builder.add(i, ir.Constant(INT64, 1)),
            builder.gep(x, [args["row"]]),
            builder.gep(d, [ir.Constant(INT64, 1)]),
            *prefetcher.step(address, rest),
            *self.outer_product(x, d, sums),
        ]
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following[0], args["count"]), loop, end)
        builder.position_at_end(end)
        prefetcher.end(*following[3:5])
        self.add(following[5:])
        builder.ret_void()

    def outer_product(self, x, d, sums):
        """The sums with the products of one row added."""
        builder = self.builder
        numbers = [builder.load(builder.gep(d, [self.times("ld", s)])) for s in range(self.classes)]
        scalars = [emit_splat(builder, self.vector, number) for number in numbers]
        columns = [emit_load(builder, self.vector, self.place(x, v)) for v in range(self.vectors)]
        pairs = [(scalar, column) for scalar in scalars for column in columns]
        return [emit_fma(builder, column, scalar, x) for (scalar, column), x in zip(pairs, sums, strict=True)]

    def add(self, sums):
        """G += sums, without the lanes that overlap the vector before."""
        builder = self.builder
        integers = ir.VectorType(INT64, self.vector.count)
        numbers = ir.Constant(integers, list(range(self.vector.count)))
        counts = builder.icmp_signed(">=", numbers, emit_splat(builder, integers, self.args["repeated"]))
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        for s in range(self.classes):
            for v in range(self.vectors):
                total = sums[s * self.vectors + v]
                if v + 1 == self.vectors:
                    total = builder.select(counts, total, zero)
                place = self.place(builder.gep(self.args["G"], [self.times("ldg", s)]), v)
                emit_store(builder, builder.fadd(emit_load(builder, self.vector, place), total), place)

    def times(self, name, number):
        return self.builder.mul(self.args[name], ir.Constant(INT64, number))

    def place(self, start, v):
        """The pointer to vector v of a row."""
        offset = ir.Constant(INT64, v * self.vector.count)
        return self.builder.gep(start, [self.args["last"] if v + 1 == self.vectors else offset])
