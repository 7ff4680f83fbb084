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

from .memory import INT32, INT64, call_entry, emit_table, internal_function, jitable, kernel, read, write
from .prefetch import LinePrefetcher, Prefetcher
from .simd import (
    element_type,
    emit_lanes,
    emit_load,
    emit_store,
    emit_transpose,
    function_type,
    lanes_of,
    tile_vectors,
    vector_bytes,
)
from .tile import OuterProducts, ceil_div

LEAST_LANES = 4
# Rows of a class_lane_tile side by side, which is the number of multiply-adds under way.
ROWS = 8
NARROW_BYTES = min(32, vector_bytes())
# Of a narrow_tile, the most classes, vectors and accumulators: 28 of 32 registers, 12 of 16.
NARROW_CLASSES, NARROW_VECTORS, NARROW_SUMS = (7, 7, 28) if tile_vectors() == 4 else (6, 6, 12)

FORWARD = "X row theta bias n out out_step prefetch".split()
BACKWARD = "X row last D ld out out_step count repeated prefetch".split()
POINTERS = {"X", "theta", "bias", "out", "D"}


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


@jitable
def most_vectors(classes: int) -> int:
    """The most vectors of a narrow_tile of so many classes."""
    return min(NARROW_VECTORS, NARROW_SUMS // classes)


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
        kind = function_type(X.dtype, FORWARD, POINTERS)
        function = internal_function(builder.module, kind, f"class_lanes_{X.dtype}")
        ClassLaneTile(function, X.dtype, k.literal_value).emit()
        builder.call(function, args[1:])

    return types.void(k, X, types.intp, X, X, types.intp, X, types.intp, prefetch), emit


class ClassLaneTile(OuterProducts):
    """Writes the body of the LLVM function of a class_lane_tile: theta is the vector, the rows of X are the scalars."""

    def __init__(self, function, dtype, k):
        self.k, self.width = k, lanes_of(dtype)
        vector = ir.VectorType(element_type(dtype), class_lanes(k))
        super().__init__(function, FORWARD, vector, 1, tile_rows(self.width))

    def emit(self):
        builder, args, X, sums = self.builder, self.args, self.args["X"], []
        prefetcher = LinePrefetcher(builder, args["prefetch"])
        for _ in range(0, self.width, self.scalars):
            sums += self.sum_rows(X, prefetcher)
            X = builder.gep(X, [builder.mul(args["row"], ir.Constant(INT64, self.scalars))])
        size = self.vector.count
        joined = [emit_join(builder, sums[i::size]) for i in range(size)]
        for c, column in enumerate(emit_transpose(builder, joined)[: self.k]):
            emit_store(builder, column, self.out(0, c))
        builder.ret_void()

    def sum_rows(self, X, prefetcher):
        """The vector of sums of each of the rows that are side by side."""
        builder, args, one = self.builder, self.args, ir.Constant(INT64, 1)
        rows = [builder.gep(X, [builder.mul(args["row"], ir.Constant(INT64, r))]) for r in range(self.scalars)]
        # Otherwise the compiler computes each row's address from that of the row before.
        self.rows = [emit_opaque(builder, row) for row in rows]
        a_step = ir.Constant(INT64, self.vector.count)
        sums = self.add_up(args["theta"], a_step, X, one, args["row"], args["n"], prefetcher)
        # The bias comes last, as in `tile.py`, so that a model fitted beside others has the same bits as alone.
        bias = emit_load(builder, self.vector, args["bias"])
        return [builder.fadd(bias, total) for total in sums]

    def places_of_scalars(self, b, t):
        return [self.builder.gep(row, [t]) for row in self.rows]

    def hold(self, a):
        a = emit_opaque(self.builder, a)
        a.attributes.add("convergent")  # prevents unrolling: two steps at once would wait for each other's sums
        return a


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
        call_entry(builder, function_type(X.dtype, BACKWARD, POINTERS), *args)

    size = types.intp
    return types.void(size, size, X, size, size, X, size, X, size, size, size, prefetch), emit


def narrow_function(module, dtype, vectors, classes):
    kind = function_type(dtype, BACKWARD, POINTERS)
    function = internal_function(module, kind, f"narrow_{dtype}_{vectors}x{classes}")
    vector = ir.VectorType(element_type(dtype), NARROW_BYTES * 8 // dtype.bitwidth)
    NarrowTile(function, BACKWARD, vector, vectors, classes).emit()
    return function


class NarrowTile(OuterProducts):
    """Writes the body of the LLVM function of a narrow_tile."""

    def emit(self):
        args, one = self.args, ir.Constant(INT64, 1)
        prefetcher = Prefetcher(self.builder, args["prefetch"])
        self.add(self.add_up(args["X"], args["row"], args["D"], one, args["ld"], args["count"], prefetcher))
        self.builder.ret_void()

    def place(self, start, v):
        """The last vector ends with the row."""
        return self.builder.gep(start, [self.args["last"]]) if v + 1 == self.vectors else super().place(start, v)

    def add_last(self, x, place):
        """The lanes that overlap the vector before are left out."""
        builder, vector = self.builder, self.vector
        counts = emit_lanes(builder, vector, ">=", self.args["repeated"])
        total = builder.select(counts, x, ir.Constant(vector, [0.0] * vector.count))
        emit_store(builder, builder.fadd(emit_load(builder, vector, place), total), place)
