"""The two micro-kernels of sparse X, over the entries x of rows, in columns j; classes in the lanes.

    gather     H[i, :] = bias + sum of x theta[j, :]        the sums of a row stay in registers
    scatter    G[j, :] += x D[i, :]                         D[i, :] stays in registers for all entries of a row

Both work on a panel of at most `PANEL` vectors of classes; with more classes they walk the entries once for each panel.
Rows of theta and G lie one after the other without padding, so the last vector of a row ends with the row and overlaps
the vector before:

    k = 21     |0 1 2 3 4 5 6 7|8 9 10 11 12 13 14 15|
                                          |13 14 .. 20|     lanes 13 to 15 get the same sums twice;
                                                            scatter reads all of them before it writes one

If k is less than a register, vectors are shorter: the largest power of two in k, used once or twice. So nothing is read
past theta, and nothing is written that belongs to another column of X, not even under a mask: loads wait for masked
stores to the same bytes (17 columns side by side in each of 2M rows, k = 5: 332 ms with masks, 96 without).

Each entry meets another row of an array that may be too large for the caches. So both prefetch the rows of the entries
that come ``distance`` entries later; 0 where the array is small, since then a prefetch takes longer than the addition.
``scatter`` may walk only the piece [low[i], high[i]) of each row, the columns of one thread; a second cursor then walks
the pieces ``distance`` entries before the first.

There is one LLVM function for each number of vectors, called through a table as in `tile.py`.
"""

from contextlib import contextmanager

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .memory import INT64, call_entry, emit_prefetch, emit_table, internal_function, kernel
from .simd import element_type, emit_fma, emit_load, emit_splat, emit_store, function_type, lanes_of, tile_vectors
from .tile import ceil_div, cut

# Vectors in a panel: `scatter` keeps as many of D, as many new sums, and one of x, in 16 or 32 registers. (14 would fit
# in 32 registers, but are no faster.)
PANEL = 8 if tile_vectors() == 4 else 7
LINE = 64

GATHER = "theta k low rows indices data end distance last bias out out_step".split()
POINTERS = {"theta", "data", "bias", "out", "G", "D"}
SCATTER = "G k low high rows indices data distance last D D_step".split()


# --------------------------------------------------------------------------- cutting classes


@kernel
def panels_of(k, width):
    """Into how many panels k classes are cut."""
    return ceil_div(ceil_div(k, width), PANEL)


@kernel
def panel(k, width, p):
    """Panel p: the number of its function in the table, its first class, and where its last vector begins after
    that."""
    number, size = 0, 2
    while size < width and 2 * size <= k:
        number, size = number + 2, 2 * size
    if size < width:
        return number + min(1, k - size), 0, k - size
    vectors, panels = ceil_div(k, width), panels_of(k, width)
    first, end = cut(vectors, panels, p), cut(vectors, panels, p + 1)
    return number + end - first - 1, first * width, min((end - 1) * width, k - width) - first * width


def shapes(width):
    """(lanes, vectors) of the functions in a table, by their number."""
    shorter = [(2 << i, v) for i in range(8) if 2 << i < width for v in (1, 2)]
    return shorter + [(width, v) for v in range(1, PANEL + 1)]


# ---------------------------------------------------------------------------------- tables


@intrinsic
def gather_table(typingctx, like, index):
    """The address of a table of all `gather` functions for numbers like ``like``; see `emit_table`."""

    def emit(context, builder, sig, args):
        return entry_table(builder, Gather, like, index)

    return types.intp(like, index), emit


@intrinsic
def scatter_table(typingctx, like, index):
    """The address of a table of all `scatter` functions."""

    def emit(context, builder, sig, args):
        return entry_table(builder, Scatter, like, index)

    return types.intp(like, index), emit


def entry_table(builder, writer, dtype, index):
    functions, kind, name = [], entry_type(writer.names, dtype, index), f"{writer.__name__.lower()}_{dtype}_{index}"
    for lanes, vectors in shapes(lanes_of(dtype)):
        functions.append(internal_function(builder.module, kind, f"{name}_{lanes}x{vectors}"))
        writer(functions[-1], dtype, lanes, vectors).emit()
    return emit_table(builder, functions, f"{name}s")


def entry_type(names, dtype, index):
    places = {"low": INT64.as_pointer(), "high": INT64.as_pointer(), "indices": ir.IntType(index.bitwidth).as_pointer()}
    return function_type(dtype, names, POINTERS, **places)


@intrinsic
def gather(typingctx, table, number, theta, k, low, rows, indices, data, end, distance, last, bias, out, out_step):
    """Call function ``number`` of a `panel`: out[i * out_step + c] = bias[c] + sum over the entries e of row i of
    data[e] theta[indices[e] * k + c], low[i] <= e < low[i + 1], i < rows. The last vector begins at ``last``; ``end``
    is the last entry that may be prefetched for."""

    def emit(context, builder, sig, args):
        call_entry(builder, entry_type(GATHER, theta.dtype, indices.dtype), *args)

    return types.void(*map(as_argument, (table, number, theta, k, low, rows)), indices, data, *3 * (types.intp,),
                      bias, out, types.intp), emit  # fmt: skip


@intrinsic
def scatter(typingctx, table, number, G, k, low, high, rows, indices, data, distance, last, D, D_step):
    """Call function ``number`` of a `panel`: G[indices[e] * k + c] += data[e] D[i * D_step + c] for the entries e of
    row i, low[i] <= e < high[i], i < rows."""

    def emit(context, builder, sig, args):
        call_entry(builder, entry_type(SCATTER, data.dtype, indices.dtype), *args)

    return types.void(*map(as_argument, (table, number, G, k, low, high, rows)), indices, data, *2 * (types.intp,),
                      D, types.intp), emit  # fmt: skip


def as_argument(kind):
    return kind if isinstance(kind, types.CPointer) else types.intp


# -------------------------------------------------------------------------------- functions


class EntryLoop:
    """Writes the body of an LLVM function that loops over rows and their entries.

    Variables live on the stack until LLVM moves them into registers.
    """

    names: list[str]

    def __init__(self, function, dtype, lanes, vectors):
        self.function, self.vectors = function, vectors
        self.vector = ir.VectorType(element_type(dtype), lanes)
        self.args = dict(zip(self.names, function.args, strict=True))
        self.builder = ir.IRBuilder(function.append_basic_block("entry"))

    def variable(self, value):
        place = cgutils.alloca_once(self.builder, value.type)
        self.builder.store(value, place)
        return place

    def add(self, a, b):
        return self.builder.add(a, ir.Constant(INT64, b) if isinstance(b, int) else b)

    @contextmanager
    def counting(self, start, stop):
        """A loop from ``start`` to before ``stop``; yields the counter."""
        with cgutils.for_range(self.builder, stop, start) as loop:
            yield loop.index

    def read(self, name, i):
        return self.builder.load(self.builder.gep(self.args[name], [i]))

    def column(self, e):
        index = self.read("indices", e)
        return index if index.type == INT64 else self.builder.sext(index, INT64)

    def row_of(self, name, e):
        """Where the row of theta or G that entry e meets begins."""
        return self.builder.gep(self.args[name], [self.builder.mul(self.column(e), self.args["k"])])

    def prefetch_row(self, name, e):
        """Prefetch what is used of the row that entry e meets: a line for each vector, and the line of the last
        byte."""
        builder = self.builder
        row = builder.ptrtoint(self.row_of(name, e), INT64)
        size = self.vector.count * (8 if self.vector.element == ir.DoubleType() else 4)
        for line in range(0, size * self.vectors, LINE):
            emit_prefetch(builder, self.add(row, line))
        emit_prefetch(builder, self.add(row, size * self.vectors - 1))

    def places(self, start):
        """Pointers to the vectors of a panel that begins at ``start``."""
        offsets = [ir.Constant(INT64, v * self.vector.count) for v in range(self.vectors)]
        offsets[-1] = self.args["last"]
        return [self.builder.gep(start, [offset]) for offset in offsets]

    def splat(self, value, vector):
        return emit_splat(self.builder, vector, value)


class Gather(EntryLoop):
    names = GATHER

    def emit(self):
        builder, args = self.builder, self.args
        with self.counting(ir.Constant(INT64, 0), args["rows"]) as i:
            places = self.places(args["bias"])
            sums = [self.variable(emit_load(builder, self.vector, place)) for place in places]
            with self.counting(self.read("low", i), self.read("low", self.add(i, 1))) as e:
                self.add_entry(e, sums)
            start = builder.gep(args["out"], [builder.mul(i, args["out_step"])])
            for place, value in zip(self.places(start), sums, strict=True):
                emit_store(builder, builder.load(value), place)
        builder.ret_void()

    def add_entry(self, e, sums):
        builder, distance, end = self.builder, self.args["distance"], self.args["end"]
        with builder.if_then(builder.icmp_signed(">", distance, ir.Constant(INT64, 0))):
            later = self.add(e, distance)
            later = builder.select(builder.icmp_signed("<", later, end), later, end)
            self.prefetch_row("theta", later)
        x = self.splat(self.read("data", e), self.vector)
        for place, value in zip(self.places(self.row_of("theta", e)), sums, strict=True):
            builder.store(emit_fma(builder, x, emit_load(builder, self.vector, place), builder.load(value)), value)


class Scatter(EntryLoop):
    names = SCATTER

    def emit(self):
        builder, args, zero = self.builder, self.args, ir.Constant(INT64, 0)
        # The cursor of the prefetches: its row (``rows`` where there is no further entry), entry, and the end of the
        # row's piece.
        cursor = [self.variable(zero), self.variable(self.read("low", zero)), self.variable(self.read("high", zero))]
        builder.store(self.add(builder.load(cursor[1]), -1), cursor[1])
        prefetching = builder.icmp_signed(">", args["distance"], zero)
        with self.counting(zero, args["distance"]):
            self.advance(*cursor)
        with self.counting(zero, args["rows"]) as i:
            start = builder.gep(args["D"], [builder.mul(i, args["D_step"])])
            D = [emit_load(builder, self.vector, place) for place in self.places(start)]
            with self.counting(self.read("low", i), self.read("high", i)) as e:
                with builder.if_then(prefetching):
                    self.advance(*cursor)
                self.add_entry(e, D)
        builder.ret_void()

    def advance(self, row, entry, stop):
        """Move the cursor to the next entry and prefetch its row of G."""
        builder, rows = self.builder, self.args["rows"]
        test, next_row, enter, prefetch, after = (
            self.function.append_basic_block(name) for name in ("test", "next_row", "enter", "prefetch", "after")
        )
        builder.cbranch(builder.icmp_signed("<", builder.load(row), rows), test, after)
        builder.position_at_end(test)
        following = self.add(builder.load(entry), 1)
        builder.store(following, entry)
        builder.cbranch(builder.icmp_signed("<", following, builder.load(stop)), prefetch, next_row)
        builder.position_at_end(next_row)
        i = self.add(builder.load(row), 1)
        builder.store(i, row)
        builder.cbranch(builder.icmp_signed("<", i, rows), enter, after)
        builder.position_at_end(enter)
        builder.store(self.add(self.read("low", i), -1), entry)
        builder.store(self.read("high", i), stop)
        builder.branch(test)
        builder.position_at_end(prefetch)
        self.prefetch_row("G", builder.load(entry))
        builder.branch(after)
        builder.position_at_end(after)

    def add_entry(self, e, D):
        builder = self.builder
        x = self.splat(self.read("data", e), self.vector)
        places = self.places(self.row_of("G", e))
        values = [
            emit_fma(builder, x, d, emit_load(builder, self.vector, place)) for place, d in zip(places, D, strict=True)
        ]
        for place, value in zip(places, values, strict=True):
            emit_store(builder, value, place)
