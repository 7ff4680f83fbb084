"""SIMD vectors as Numba values: loads, stores, arithmetic, and a transpose by shuffles.

A `Lanes` value is one LLVM vector, as wide as the host's registers (`vector_bytes`): eight float64
or sixteen float32 with AVX-512. Kernels compute with it as with a number,

    h = load(H, i) - top          # i counts elements; H is a typed pointer

so that what runs is what is written, and no loop waits for the auto-vectoriser to like it. Data
come as typed pointers made from addresses: one compilation then serves every layout, read-only
arrays included. Loads and stores promise no alignment beyond the element's own.

No operation here carries a fast-math flag: NaN and infinity go through as IEEE 754 says. (`fma`
fuses where the CPU can, and `total` adds lanes in an order of the compiler's choice, the same in
every run.)
"""

import functools
import operator

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

INT32, INT64 = ir.IntType(32), ir.IntType(64)

# Functions called from compiled code only. Numba optimises a `kernel` once by itself and again inside
# each caller, so every level between the entry and the leaves is paid for by all below it: those near the
# entry are `inlined` before typing instead (the first three of them: 5 s in place of 7 to compile the lot).
kernel = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(error_model="numpy", inline="always")


# ------------------------------------------------------------------------------ the host


@functools.cache
def host_features() -> frozenset[str]:
    """CPU features Numba compiles for. They are part of the key of its disk cache, so that code
    compiled for one machine (and vectors as wide as its own) is never loaded on another."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    found = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    return frozenset(found | {triple.split("-")[0]})


def vector_bytes() -> int:
    features = host_features()
    return 64 if "avx512f" in features else 32 if "avx2" in features else 16


def tile_vectors() -> int:
    """Vectors in a register tile: 4 where there are 32 vector registers, else 2 of the 16."""
    return 4 if host_features() & {"avx512f", "aarch64", "arm64"} else 2


def lanes_of(dtype) -> int:
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


def call(builder, name, result, *args, fastmath=()):
    """Call the LLVM intrinsic ``name``."""
    function_type = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args, fastmath=fastmath)


def suffix(vector):
    """The ending of the intrinsics for this vector type, such as v8f64."""
    return f"v{vector.count}{'f64' if vector.element == ir.DoubleType() else 'f32'}"


def emit_fma(builder, a, b, c):
    """a * b + c, fused where the CPU can (llvm.fma would call a function where it cannot)."""
    return call(builder, f"llvm.fmuladd.{suffix(a.type)}", a.type, a, b, c)


def emit_splat(builder, vector, scalar):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(INT32, 0))
    zeros = ir.Constant(ir.VectorType(INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, one, zeros)


def emit_load(builder, vector, pointer):
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=_element_bytes(vector))


def emit_store(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=_element_bytes(value.type))


def _element_bytes(vector):
    return 8 if vector.element == ir.DoubleType() else 4


def internal_function(module, kind, name):
    """An empty function that no other compilation sees."""
    function = ir.Function(module, kind, f"fastsoftmax_{name}")
    function.linkage = "internal"
    return function


def emit_table(builder, functions, name):
    """The address of a table of functions of one type.

    Only the outermost compiled function asks for one and hands it down: Numba optimises a function
    anew inside each of its callers, and the 24 tiles, six levels down, took most of the compile time.
    """
    table = ir.Constant(ir.ArrayType(functions[0].type, len(functions)), functions)
    return builder.ptrtoint(cgutils.global_constant(builder, f"fastsoftmax_{name}", table), INT64)


def call_entry(builder, kind, table, number, *args):
    """Call one of them."""
    entries = builder.inttoptr(table, kind.as_pointer().as_pointer())
    builder.call(builder.load(builder.gep(entries, [number])), args)


@intrinsic
def call_address(typingctx, address, arguments):
    """Call the function at the address, which gives nothing back, with a tuple of pointers, float64 and int64."""
    kinds = [kind if isinstance(kind, (types.CPointer, types.Float)) else types.intp for kind in arguments]

    def emit(context, builder, sig, args):
        given = zip(cgutils.unpack_tuple(builder, args[1]), arguments, kinds, strict=True)
        values = [context.cast(builder, value, came, kind) for value, came, kind in given]
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)

    return types.void(types.intp, arguments), emit


# ------------------------------------------------------------------------ pointers, memory


@intrinsic
def pointer(typingctx, address, like):
    """The address as a pointer to numbers of the type of ``like``."""

    def emit(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return types.CPointer(like)(types.intp, like), emit


@intrinsic
def at(typingctx, p, i):
    """The pointer i elements on."""

    def emit(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return p(p, types.intp), emit


@intrinsic
def address_at(typingctx, p, i):
    """The address of p[i]."""

    def emit(context, builder, sig, args):
        return builder.ptrtoint(builder.gep(args[0], [args[1]]), INT64)

    return types.intp(p, types.intp), emit


@intrinsic
def read(typingctx, p, i):
    """The number p[i]."""

    def emit(context, builder, sig, args):
        return builder.load(builder.gep(args[0], [args[1]]))

    return p.dtype(p, types.intp), emit


@intrinsic
def write(typingctx, p, i, value):
    """p[i] = value, converted to the pointer's dtype."""

    def emit(context, builder, sig, args):
        builder.store(args[2], builder.gep(args[0], [args[1]]))

    return types.void(p, types.intp, p.dtype), emit


@intrinsic
def lanes(typingctx, p):
    """How many elements of this pointer's dtype a register holds; a constant."""

    def emit(context, builder, sig, args):
        return ir.Constant(INT64, lanes_of(p.dtype))

    return types.intp(p), emit


@intrinsic
def load(typingctx, p, i):
    """The register's worth of numbers that starts at p[i]."""

    def emit(context, builder, sig, args):
        return emit_load(builder, context.get_value_type(sig.return_type), builder.gep(args[0], [args[1]]))

    return native(p.dtype)(p, types.intp), emit


@intrinsic
def load_wide(typingctx, p, i, like):
    """As many float64 as ``like`` has lanes, from p[i] on."""

    def emit(context, builder, sig, args):
        return emit_load(builder, context.get_value_type(sig.return_type), builder.gep(args[0], [args[1]]))

    return Lanes(types.float64, like.count)(p, types.intp, like), emit


@intrinsic
def store(typingctx, p, i, value):
    def emit(context, builder, sig, args):
        emit_store(builder, args[2], builder.gep(args[0], [args[1]]))

    return types.void(p, types.intp, value), emit


@intrinsic
def prefetch(typingctx, p, i):
    """Ask for the cache line of p[i], to be read into L2. Never faults, wherever that is."""

    def emit(context, builder, sig, args):
        emit_prefetch(builder, builder.ptrtoint(builder.gep(args[0], [args[1]]), INT64))

    return types.void(p, types.intp), emit


def emit_prefetch(builder, address):
    """Ask for a line to be read into L2, to be written or not: L1 has too few requests under way, and asking to own
    the line (prefetchw) took a scatter into 60 MB a fifth longer."""
    place = builder.inttoptr(address, cgutils.voidptr_t)
    read, keep, data = (ir.Constant(INT32, i) for i in (0, 2, 1))
    call(builder, "llvm.prefetch.p0", ir.VoidType(), place, read, keep, data)


@intrinsic
def take_ticket(typingctx, address):
    """Add one to the int64 at the address, atomically; its value before."""

    def emit(context, builder, sig, args):
        place = builder.inttoptr(args[0], INT64.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(INT64, 1), "monotonic")

    return types.int64(types.intp), emit


# ------------------------------------------------------------------------------ arithmetic


@intrinsic
def spread(typingctx, like, number):
    """The number in every lane, as ``like``."""

    def emit(context, builder, sig, args):
        scalar = context.cast(builder, args[1], number, like.dtype)
        return emit_splat(builder, args[0].type, scalar)

    return like(like, number), emit


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c."""

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
def wide(typingctx, a):
    """The lanes as float64."""

    def emit(context, builder, sig, args):
        if a.dtype == types.float64:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(sig.return_type))

    return Lanes(types.float64, a.count)(a), emit


@intrinsic
def narrow(typingctx, a, like):
    """The lanes in the dtype of ``like``."""

    def emit(context, builder, sig, args):
        return args[0] if a == like else builder.fptrunc(args[0], args[1].type)

    return like(a, like), emit


@intrinsic
def total(typingctx, a):
    """The sum of the lanes."""

    def emit(context, builder, sig, args):
        scalar = element_type(a.dtype)
        name = f"llvm.vector.reduce.fadd.{suffix(args[0].type)}"
        return call(builder, name, scalar, ir.Constant(scalar, -0.0), args[0], fastmath=("reassoc",))

    return a.dtype(a), emit


@intrinsic
def transpose(typingctx, source, source_step, out, out_step):
    """Transpose a square of numbers, one register on a side.

    Row i is read from source[i * source_step:], column i is written to out[i * out_step:].
    """

    def emit(context, builder, sig, args):
        vector = context.get_value_type(native(source.dtype))
        kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
        name = f"fastsoftmax_transpose_{source.dtype}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        if function.is_declaration:
            # One copy in a program, never inlined: sixteen callers' worth of shuffles took seconds to compile.
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
    """Squares side by side, as many rows as are given: log2 of that many rounds of two-input shuffles; the round for d
    swaps bit d of row and column number."""
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
