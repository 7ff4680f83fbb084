"""SIMD vectors as Numba values: loads, stores, arithmetic, and a transpose by shuffles.

A `Lanes` value is one LLVM vector, as wide as the host's registers (`vector_bytes`): eight float64
or sixteen float32 with AVX-512. Kernels compute with it as with a number,

    h = load(H, i) - top          # i counts elements; H is a typed pointer

so that the vector instructions which run are those that are written; nothing is left to the auto-vectoriser. Data come
as typed pointers (`memory.py`). Loads and stores assume no alignment beyond that of one element.

Operations carry no fast-math flags: NaN and infinity propagate as IEEE 754 says. There are two exceptions to plain
IEEE 754: `fma` is fused where the CPU can, and `sum_lanes` adds in an order that the compiler chooses, the same in
every run.
"""

import functools
import operator

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .memory import INT32, INT64, call

# ------------------------------------------------------------------------------ the host


@functools.cache
def host_features() -> frozenset[str]:
    """The CPU features that Numba compiles for, and the name of the architecture.

    They are part of the key of Numba's disk cache, so that code compiled for one machine, with vectors as wide as its
    registers, is never loaded on another.
    """
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    found = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    return frozenset(found | {triple.split("-")[0]})


def vector_bytes() -> int:
    """Bytes of a vector register."""
    features = host_features()
    return 64 if "avx512f" in features else 32 if "avx2" in features else 16


def tile_vectors() -> int:
    """Vectors in a register tile: 4 where there are 32 vector registers, else 2 of the 16."""
    return 4 if host_features() & {"avx512f", "aarch64", "arm64"} else 2


def lanes_of(dtype) -> int:
    """How many numbers of this Numba dtype a register holds."""
    return vector_bytes() * 8 // dtype.bitwidth


# ------------------------------------------------------------------------------ the type


class Lanes(types.Type):
    """A vector of ``count`` numbers (or truth values) of one Numba dtype."""

    def __init__(self, dtype, count):
        self.dtype, self.count = dtype, count
        super().__init__(name=f"Lanes({dtype}, {count})")


@register_model(Lanes)
class LanesModel(models.PrimitiveModel):
    def __init__(self, manager, lanes):
        super().__init__(manager, lanes, ir.VectorType(element_type(lanes.dtype), lanes.count))


def element_type(dtype):
    """The LLVM type of a Numba dtype."""
    return {"float64": ir.DoubleType(), "float32": ir.FloatType(), "bool": ir.IntType(1)}[dtype.name]


def native(dtype):
    """The lanes of one register."""
    return Lanes(dtype, lanes_of(dtype))


def arithmetic(symbol, instruction):
    """Give ``symbol`` a meaning between two equal Lanes."""

    @infer_global(symbol)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]:
                return signature(args[0], *args)

    @lower_builtin(symbol, Lanes, Lanes)
    def emit(context, builder, sig, args):
        return getattr(builder, instruction)(*args)


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    arithmetic(_symbol, _instruction)


# ------------------------------------------------------- helpers for code that emits LLVM


def suffix(vector):
    """The ending of the intrinsics for this vector type, such as v8f64."""
    return f"v{vector.count}{'f64' if vector.element == ir.DoubleType() else 'f32'}"


def emit_fma(builder, a, b, c):
    """a * b + c, fused where the CPU can. (llvm.fma would call a library function where it cannot.)"""
    return call(builder, f"llvm.fmuladd.{suffix(a.type)}", a.type, a, b, c)


def emit_splat(builder, vector, scalar):
    """The number in every lane of a vector of this type."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(INT32, 0))
    zeros = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, zeros)


def emit_load(builder, vector, pointer):
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=_element_bytes(vector))


def emit_store(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=_element_bytes(value.type))


def _element_bytes(vector):
    return 8 if vector.element == ir.DoubleType() else 4


def emit_lanes(builder, vector, comparison, number):
    """The mask of the lanes of this vector type whose numbers compare so with ``number``: "<" for the first ones."""
    integers = ir.VectorType(INT64, vector.count)
    numbers = ir.Constant(integers, list(range(vector.count)))
    return builder.icmp_signed(comparison, numbers, emit_splat(builder, integers, number))


def emit_masked_load(builder, vector, pointer, mask):
    """The lanes where the mask is true, 0 in the others, which are not read."""
    place, align = builder.bitcast(pointer, vector.as_pointer()), ir.Constant(INT32, _element_bytes(vector))
    zero = ir.Constant(vector, [0.0] * vector.count)
    return call(builder, f"llvm.masked.load.{suffix(vector)}.p0", vector, place, align, mask, zero)


def emit_masked_store(builder, value, pointer, mask):
    """Store the lanes where the mask is true."""
    vector = value.type
    place, align = builder.bitcast(pointer, vector.as_pointer()), ir.Constant(INT32, _element_bytes(vector))
    call(builder, f"llvm.masked.store.{suffix(vector)}.p0", ir.VoidType(), value, place, align, mask)


def emit_loop(builder, starts, step):
    """A loop over values that stay in registers, ``starts`` at first. ``step`` writes what is done with them; it
    returns the next values and whether there is another step. Returns the last values."""
    entry, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.branch(loop)
    builder.position_at_end(loop)
    values = [builder.phi(value.type) for value in starts]
    following, goes_on = step(*values)
    for phi, first, later in zip(values, starts, following, strict=True):
        phi.add_incoming(first, entry)
        phi.add_incoming(later, builder.block)
    builder.cbranch(goes_on, loop, end)
    builder.position_at_end(end)
    return following


def function_type(dtype, names, pointers, **others):
    """The type of a micro-kernel whose arguments have these names. The ``pointers`` are to numbers of the dtype,
    ``prefetch`` is to the state of `prefetch.py`, ``assign`` is a truth value; all but ``others`` are int64."""
    kinds = dict.fromkeys(pointers, element_type(dtype).as_pointer())
    kinds |= {"assign": ir.IntType(1), "prefetch": INT64.as_pointer()} | others
    return ir.FunctionType(ir.VoidType(), [kinds.get(name, INT64) for name in names])


# ------------------------------------------------------------------------ loads, stores


@intrinsic
def lanes(typingctx, p):
    """How many elements of this pointer's dtype a register holds; a constant."""

    def emit(context, builder, sig, args):
        return ir.Constant(INT64, lanes_of(p.dtype))

    return types.intp(p), emit


@intrinsic
def load(typingctx, p, i):
    """One register of numbers, from p[i] on."""

    def emit(context, builder, sig, args):
        return emit_load(builder, context.get_value_type(sig.return_type), builder.gep(args[0], [args[1]]))

    return native(p.dtype)(p, types.intp), emit


@intrinsic
def load_double(typingctx, p, i, like):
    """As many float64 numbers as ``like`` has lanes, from p[i] on."""

    def emit(context, builder, sig, args):
        return emit_load(builder, context.get_value_type(sig.return_type), builder.gep(args[0], [args[1]]))

    return Lanes(types.float64, like.count)(p, types.intp, like), emit


@intrinsic
def store(typingctx, p, i, value):
    """Store the lanes from p[i] on."""

    def emit(context, builder, sig, args):
        emit_store(builder, args[2], builder.gep(args[0], [args[1]]))

    return types.void(p, types.intp, value), emit


# ------------------------------------------------------------------------------ arithmetic


@intrinsic
def splat(typingctx, like, number):
    """The number in every lane of a vector like ``like``."""

    def emit(context, builder, sig, args):
        scalar = context.cast(builder, args[1], number, like.dtype)
        return emit_splat(builder, args[0].type, scalar)

    return like(like, number), emit


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, fused where the CPU can."""

    def emit(context, builder, sig, args):
        return emit_fma(builder, *args)

    return a(a, b, c), emit


@intrinsic
def above(typingctx, a, b):
    """a > b, false where either is NaN."""

    def emit(context, builder, sig, args):
        return builder.fcmp_ordered(">", *args)

    return Lanes(types.boolean, a.count)(a, b), emit


@intrinsic
def equal(typingctx, a, b):
    """a == b, false where either is NaN."""

    def emit(context, builder, sig, args):
        return builder.fcmp_ordered("==", *args)

    return Lanes(types.boolean, a.count)(a, b), emit


@intrinsic
def where(typingctx, mask, a, b):
    """a where the mask is true, else b."""

    def emit(context, builder, sig, args):
        return builder.select(*args)

    return a(mask, a, b), emit


@intrinsic
def to_double(typingctx, a):
    """The lanes converted to float64: as many of them, so that float32 fills two registers."""

    def emit(context, builder, sig, args):
        if a.dtype == types.float64:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(sig.return_type))

    return Lanes(types.float64, a.count)(a), emit


@intrinsic
def to_type_of(typingctx, a, like):
    """The lanes converted to the dtype of ``like``, which has as many."""

    def emit(context, builder, sig, args):
        return args[0] if a == like else builder.fptrunc(args[0], args[1].type)

    return like(a, like), emit


@intrinsic
def sum_lanes(typingctx, a):
    """The sum of the lanes."""

    def emit(context, builder, sig, args):
        scalar = element_type(a.dtype)
        name = f"llvm.vector.reduce.fadd.{suffix(args[0].type)}"
        return call(builder, name, scalar, ir.Constant(scalar, -0.0), args[0], fastmath=("reassoc",))

    return a.dtype(a), emit


@intrinsic
def transpose(typingctx, source, source_step, out, out_step):
    """Transpose a square of numbers, as many on a side as a register holds.

    Row i is read from source[i * source_step:], column i is written to out[i * out_step:].
    """

    def emit(context, builder, sig, args):
        vector = context.get_value_type(native(source.dtype))
        kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
        name = f"fastsoftmax_transpose_{source.dtype}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        if function.is_declaration:
            # One copy for all callers, never inlined: the shuffles of sixteen callers took seconds to compile.
            function.linkage = "linkonce_odr"
            function.attributes.add("noinline")
            transpose_function(function, vector)
        builder.call(function, args)

    return types.void(source, types.intp, out, types.intp), emit


def transpose_function(function, vector):
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    source, source_step, out, out_step = function.args
    rows = [
        emit_load(builder, vector, builder.gep(source, [builder.mul(source_step, ir.Constant(INT64, i))]))
        for i in range(vector.count)
    ]
    for i, column in enumerate(emit_transpose(builder, rows)):
        emit_store(builder, column, builder.gep(out, [builder.mul(out_step, ir.Constant(INT64, i))]))
    builder.ret_void()


def emit_transpose(builder, rows):
    """Transpose squares that lie side by side, each of as many rows as are given.

    Of s rows it takes log2(s) rounds of two-input shuffles: the round for d swaps bit d of the row's number with bit d
    of the column's.
    """
    size, n = len(rows), rows[0].type.count
    d = 1
    while d < size:
        first = [j if not j & d else n + j - d for j in range(n)]
        second = [j + d if not j & d else n + j for j in range(n)]
        swapped = list(rows)
        for i in range(size):
            if not i & d:
                for target, order in ((i, first), (i + d, second)):
                    mask = ir.Constant(ir.VectorType(INT32, n), order)
                    swapped[target] = builder.shuffle_vector(rows[i], rows[i + d], mask)
        rows = swapped
        d *= 2
    return rows
