"""The two products of few classes, by rows of X as they lie: no transposed copy of X is made.

    H[c, i] = bias[c] + sum_j X[i, j] theta[j, c]     class in the lanes
    G[c, j] += sum_i D[c, i] X[i, j]                  feature in the lanes

The first takes a number of X for each of `ROWS` rows, from memory straight into a multiply-add, and a vector of theta
with as many lanes as there are classes, 4 rather than 3; its sums are transposed. Lanes too many cost less than a
transposed copy, as long as rows are short; where they are long, `numba_dots` is better still.

The second is a tile like that of `numba_tile`, of vectors of 32 bytes: a short row seldom begins where a cache line
does, and seldom are its features a multiple of 64 bytes.

Functions of their own for each number of classes; see `numba_compile.compiled_function`.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .prefetch import AT, STRIDE, turn
from .simd import (
    INT32,
    INT64,
    at,
    call_entry,
    element_type,
    emit_fma,
    emit_load,
    emit_prefetch,
    emit_splat,
    emit_store,
    emit_table,
    emit_transpose,
    internal_function,
    kernel,
    lanes,
    lanes_of,
    read,
    tile_vectors,
    vector_bytes,
    write,
)
from .tile import Requests, cut, pieces

LEAST_LANES = 4
ROWS = 8
NARROW_BYTES = min(32, vector_bytes())
# Classes of a tile at most, its vectors, and accumulators: 28 of 32 registers, 12 of 16.
NARROW_CLASSES, NARROW_VECTORS, NARROW_SUMS = (7, 7, 28) if tile_vectors() == 4 else (6, 6, 12)

FORWARD = "X row theta bias n H ld fetch".split()
BACKWARD = "X row last D ld G ldg count repeated fetch".split()
POINTERS = {"X", "theta", "bias", "H", "D", "G"}


def class_lanes(k):
    """Lanes of a vector that holds a number for each class."""
    return max(LEAST_LANES, 1 << (k - 1).bit_length())


def has_lanes(k, n, itemsize):
    """Whether a vector has lanes for the classes, and a row fills a narrow one."""
    return class_lanes(k) * itemsize <= vector_bytes() and n * itemsize >= NARROW_BYTES


def tile_rows(width):
    """Rows of a tile side by side: multiply-adds under way."""
    return min(ROWS, width)


def forward_steps(n, r, width):
    """Steps of all tiles of a block, by which they fetch."""
    return n * -(-r // width) * (width // tile_rows(width))


def backward_steps(n, k, r, itemsize):
    vectors, parts = -(-n * itemsize // NARROW_BYTES), class_parts(k)
    sizes = [k // parts + (part < k % parts) for part in range(parts)]
    return r * sum(-(-vectors // most_vectors(classes)) for classes in sizes)


def class_parts(k):
    return -(-k // NARROW_CLASSES)


def most_vectors(classes):
    """Vectors of a tile of so many classes."""
    return min(NARROW_VECTORS, NARROW_SUMS // classes)


def function_type(dtype, names):
    pointers = dict.fromkeys(POINTERS, element_type(dtype).as_pointer()) | {"fetch": INT64.as_pointer()}
    return ir.FunctionType(ir.VoidType(), [pointers.get(name, INT64) for name in names])


# ------------------------------------------------------------------------------ the first product


@kernel
def widen(theta, n, k, out):
    """theta (n, k) to out[feature, lane]."""
    size = 4
    while size < k:
        size *= 2
    for j in range(n):
        for c in range(size):
            write(out, j * size + c, read(theta, j * k + c) if c < k else 0.0)


def make_forward(digest, k):
    """The function for k classes; see `numba_pass` for ``digest``."""

    def forward_of_rows(X, row_step, theta, bias, n, r, H, ld, buffer, fetch):
        """H[c, i] = bias[c] + sum_j X[i, j] theta[j, c]; theta as `widen` makes it. Last rows that do not fill a
        register go through the buffer, with the last of them repeated."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(X)
        for i in range(0, r, width):
            rows, step = at(X, i * row_step), row_step
            if r - i < width:
                for v in range(width):
                    for j in range(n):
                        write(buffer, v * n + j, read(rows, min(v, r - i - 1) * row_step + j))
                rows, step = buffer, n
            row_tile(k, rows, step, theta, bias, n, at(H, i), ld, turn(fetch, tile_steps(X, n)))

    return forward_of_rows


@intrinsic
def tile_steps(typingctx, p, n):
    """The steps of a tile over n features."""

    def emit(context, builder, sig, args):
        width = lanes_of(p.dtype)
        return builder.mul(args[1], ir.Constant(INT64, width // tile_rows(width)))

    return types.intp(p, types.intp), emit


@intrinsic(prefer_literal=True)
def row_tile(typingctx, k, X, row, theta, bias, n, H, ld, fetch):
    """H^T of a register's worth of rows."""

    def emit(context, builder, sig, args):
        function = internal_function(builder.module, function_type(X.dtype, FORWARD), f"rows_{X.dtype}")
        RowTile(function, X.dtype, k.literal_value).emit()
        builder.call(function, args[1:])

    return types.void(k, X, types.intp, X, X, types.intp, X, types.intp, fetch), emit


class RowTile:
    """Writes the body of that function."""

    def __init__(self, function, dtype, k):
        self.function, self.k, self.width = function, k, lanes_of(dtype)
        self.vector = ir.VectorType(element_type(dtype), class_lanes(k))
        self.args = dict(zip(FORWARD, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        # Of the requests of `numba_tile.Requests`, one line a step: all of them would not leave registers for the rows.
        self.asks, stride = (self.builder.gep(self.args["fetch"], [ir.Constant(INT64, i)]) for i in (AT, STRIDE))
        self.stride = self.builder.load(stride)

    def emit(self):
        builder, args, rows = self.builder, self.args, tile_rows(self.width)
        sums, asked, X = [], builder.load(self.asks), args["X"]
        for _ in range(0, self.width, rows):
            some, asked = self.sum_rows(X, rows, asked)
            sums += some
            X = builder.gep(X, [builder.mul(args["row"], ir.Constant(INT64, rows))])
        builder.store(asked, self.asks)
        size = self.vector.count
        joined = [emit_join(builder, sums[i::size]) for i in range(size)]
        for c, column in enumerate(emit_transpose(builder, joined)[: self.k]):
            place = builder.mul(args["ld"], ir.Constant(INT64, c))
            emit_store(builder, column, builder.gep(args["H"], [place]))
        builder.ret_void()

    def sum_rows(self, X, rows, asked):
        """A vector for each of the rows, and the address to ask for after that."""
        builder, args, entry = self.builder, self.args, self.builder.block
        loop, end = (self.function.append_basic_block(name) for name in ("loop", "end"))
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        lines = [builder.gep(X, [builder.mul(args["row"], ir.Constant(INT64, r))]) for r in range(rows)]
        # Else the compiler makes each address from the one before.
        lines = [emit_opaque(builder, line) for line in lines]
        builder.branch(loop)
        builder.position_at_end(loop)
        starts = [ir.Constant(INT64, 0), args["theta"], asked, *[zero] * rows]
        values = [builder.phi(value.type) for value in starts]
        j, t, address, *sums = values
        emit_prefetch(builder, address)
        t = emit_opaque(builder, t)
        t.attributes.add("convergent")  # not to be unrolled: two steps at once wait for each other's sums
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
        # In the end, as `numba_tile` has it: other models beside one do not change its last bits.
        bias = emit_load(builder, self.vector, args["bias"])
        return [builder.fadd(bias, total) for total in following[3:]], following[2]


def emit_opaque(builder, value):
    """The value, of which the compiler knows nothing."""
    return builder.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)


def emit_join(builder, vectors):
    """One vector of the lanes of all."""
    while len(vectors) > 1:
        order = ir.Constant(ir.VectorType(INT32, 2 * vectors[0].type.count), list(range(2 * vectors[0].type.count)))
        vectors = [builder.shuffle_vector(a, b, order) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


# ------------------------------------------------------------------------------ the second product


def make_backward(digest, k):
    """The function for k classes; see `numba_pass` for ``digest``."""
    parts = class_parts(k)

    def backward_of_rows(X, row_step, D, ld, n, r, G, fetch):
        """G[c, j] += sum_i D[c, i] X[i, j]. Vectors follow each other, but the last one of all begins early rather
        than end late: its first lanes, which repeat others, do not count."""
        digest  # noqa: B018 - only so that it is part of the closure
        table, width, least = narrow_table(X, k), narrow_lanes(X), k // parts
        vectors = pieces(n, width)
        for part in range(parts):
            c, c_end = cut(k, parts, part), cut(k, parts, part + 1)
            panels = pieces(vectors, min(NARROW_VECTORS, NARROW_SUMS // (c_end - c)))
            for p in range(panels):
                first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
                last = min((end - 1) * width, n - width)
                narrow_tile(
                    table, (c_end - c - least) * NARROW_VECTORS + end - first - 1,
                    at(X, first * width), row_step, last - first * width,
                    at(D, c * ld), ld,
                    at(G, c * n + first * width), n,
                    r, (end - 1) * width - last, turn(fetch, r),
                )  # fmt: skip

    return backward_of_rows


@intrinsic
def narrow_lanes(typingctx, p):
    """How many elements of this pointer's dtype a narrow vector holds; a constant."""

    def emit(context, builder, sig, args):
        return ir.Constant(INT64, NARROW_BYTES * 8 // p.dtype.bitwidth)

    return types.intp(p), emit


@intrinsic(prefer_literal=True)
def narrow_table(typingctx, p, k):
    """The address of a table of tiles for k classes, of so many vectors, for each number of classes in a part."""

    def emit(context, builder, sig, args):
        parts, functions = class_parts(k.literal_value), []
        least, larger = divmod(k.literal_value, parts)
        for classes in (least, least + 1) if larger else (least,):
            most = most_vectors(classes)
            some = [narrow_function(builder.module, p.dtype, v, classes) for v in range(1, most + 1)]
            functions += some + some[-1:] * (NARROW_VECTORS - most)
        return emit_table(builder, functions, "narrow")

    return types.intp(p, k), emit


@intrinsic
def narrow_tile(typingctx, table, number, X, row, last, D, ld, G, ldg, count, repeated, fetch):
    """One tile: G[s * ldg + j] += sum_i D[s * ld + i] X[i * row + j], i < count. The last vector begins at j = last;
    its first ``repeated`` lanes do not count."""

    def emit(context, builder, sig, args):
        call_entry(builder, function_type(X.dtype, BACKWARD), *args)

    size = types.intp
    return types.void(size, size, X, size, size, X, size, X, size, size, size, fetch), emit


def narrow_function(module, dtype, vectors, classes):
    function = internal_function(module, function_type(dtype, BACKWARD), f"narrow_{dtype}_{vectors}x{classes}")
    NarrowTile(function, dtype, vectors, classes).emit()
    return function


class NarrowTile:
    """Writes the body of one function."""

    def __init__(self, function, dtype, vectors, classes):
        self.function, self.vectors, self.classes = function, vectors, classes
        self.vector = ir.VectorType(element_type(dtype), NARROW_BYTES * 8 // dtype.bitwidth)
        self.args = dict(zip(BACKWARD, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def emit(self):
        builder, args, entry = self.builder, self.args, self.builder.block
        loop, end = (self.function.append_basic_block(name) for name in ("loop", "end"))
        ahead = Requests(builder, args["fetch"])
        builder.branch(loop)
        builder.position_at_end(loop)
        zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        starts = [ir.Constant(INT64, 0), args["X"], args["D"], *ahead.start, *[zero] * (self.vectors * self.classes)]
        values = [builder.phi(value.type) for value in starts]
        i, x, d, address, rest, *sums = values
        following = [
            builder.add(i, ir.Constant(INT64, 1)),
            builder.gep(x, [args["row"]]),
            builder.gep(d, [ir.Constant(INT64, 1)]),
            *ahead.step(address, rest),
            *self.outer_product(x, d, sums),
        ]
        for phi, first, later in zip(values, starts, following, strict=True):
            phi.add_incoming(first, entry)
            phi.add_incoming(later, loop)
        builder.cbranch(builder.icmp_signed("<", following[0], args["count"]), loop, end)
        builder.position_at_end(end)
        ahead.end(*following[3:5])
        self.add(following[5:])
        builder.ret_void()

    def outer_product(self, x, d, sums):
        builder = self.builder
        numbers = [builder.load(builder.gep(d, [self.times("ld", s)])) for s in range(self.classes)]
        scalars = [emit_splat(builder, self.vector, number) for number in numbers]
        columns = [emit_load(builder, self.vector, self.place(x, v)) for v in range(self.vectors)]
        pairs = [(scalar, column) for scalar in scalars for column in columns]
        return [emit_fma(builder, column, scalar, x) for (scalar, column), x in zip(pairs, sums, strict=True)]

    def add(self, sums):
        """G += sums, without the lanes that repeat others."""
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
