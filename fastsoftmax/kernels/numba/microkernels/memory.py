"""What Numba's Python lacks: numbers at an address, atomics, prefetches, and calls of a function by its address.

Arrays reach compiled code as addresses, which `pointer` turns into typed pointers. One compilation then serves every
memory layout, read-only arrays included; an array argument would need another for each of them. Nothing here knows of
vectors, which are in `simd.py`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic, register_jitable

INT32, INT64 = ir.IntType(32), ir.IntType(64)

# Both are for functions that only compiled code calls. Numba optimises a `kernel` once by itself and again inside each
# of its callers, so each level of kernels between the entry and the innermost loops adds to the compile time of all
# below it. Functions near the entry are `inlined` before types are inferred instead: with the first three of them, all
# passes together compile in 5 s, was 7 s.
kernel = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
inlined = njit(error_model="numpy", inline="always")

Function = TypeVar("Function", bound=Callable[..., Any])


def jitable(function: Function) -> Function:
    """For functions that both Python and compiled code call."""
    return register_jitable(error_model="numpy")(function)


# ------------------------------------------------------------------------ numbers at an address


@intrinsic
def pointer(typingctx, address, like):
    """The address as a pointer to numbers of the type of ``like``, or as a pointer like that one."""
    kind = like if isinstance(like, types.CPointer) else types.CPointer(like)

    def emit(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

    return kind(types.intp, like), emit


@intrinsic
def given(typingctx, p):
    """Whether the pointer points somewhere."""

    def emit(context, builder, sig, args):
        return builder.icmp_unsigned("!=", builder.ptrtoint(args[0], INT64), ir.Constant(INT64, 0))

    return types.boolean(p), emit


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
def prefetch_line(typingctx, p, i):
    """Prefetch the cache line of p[i]. This never faults, wherever p[i] is."""

    def emit(context, builder, sig, args):
        emit_prefetch(builder, builder.ptrtoint(builder.gep(args[0], [args[1]]), INT64))

    return types.void(p, types.intp), emit


def emit_prefetch(builder, address):
    """Prefetch a line into L2 for reading, even where it will be written.

    L2 and not L1, which has too few requests under way. For reading, since a prefetch that claims the line for writing
    (prefetchw) made a scatter into 60 MB take a fifth longer.
    """
    place = builder.inttoptr(address, cgutils.voidptr_t)
    for_reading, into_L2, data = (ir.Constant(INT32, i) for i in (0, 2, 1))
    call(builder, "llvm.prefetch.p0", ir.VoidType(), place, for_reading, into_L2, data)


# ------------------------------------------------------------------------------------- atomics


@intrinsic
def take_ticket(typingctx, counter):
    """Add one to the int64 that is pointed to, atomically; returns its value before."""

    def emit(context, builder, sig, args):
        return builder.atomic_rmw("add", args[0], ir.Constant(INT64, 1), "monotonic")

    return types.int64(counter), emit


@intrinsic
def swap(typingctx, address, value):
    """Store the value at the address, atomically; returns what was there."""

    def emit(context, builder, sig, args):
        return builder.atomic_rmw("xchg", as_int64(builder, args[0]), args[1], "seq_cst")

    return types.intp(types.intp, types.intp), emit


@intrinsic
def swap_if(typingctx, address, expected, value):
    """The same, but only if what is there is as expected; returns what was there."""

    def emit(context, builder, sig, args):
        pair = builder.cmpxchg(as_int64(builder, args[0]), args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 0)

    return types.intp(types.intp, types.intp, types.intp), emit


@intrinsic
def look(typingctx, address):
    """The int64 at the address, loaded anew each time: another thread may have changed it."""

    def emit(context, builder, sig, args):
        return builder.load_atomic(as_int64(builder, args[0]), "acquire", 8)

    return types.intp(types.intp), emit


def as_int64(builder, address):
    return builder.inttoptr(address, INT64.as_pointer())


# --------------------------------------------------------------------------------------- calls


@intrinsic
def call_address(typingctx, address, arguments):
    """Call the function at the address with a tuple of pointers, float64 and int64. It returns nothing."""
    kinds = [kind if isinstance(kind, (types.CPointer, types.Float)) else types.intp for kind in arguments]

    def emit(context, builder, sig, args):
        given = zip(cgutils.unpack_tuple(builder, args[1]), arguments, kinds, strict=True)
        values = [context.cast(builder, value, came, kind) for value, came, kind in given]
        function = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)

    return types.void(types.intp, arguments), emit


def call(builder, name, result, *args, fastmath=()):
    """Call the LLVM intrinsic ``name``."""
    function_type = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args, fastmath=fastmath)


def internal_function(module, kind, name):
    """An empty function that no other compilation sees."""
    function = ir.Function(module, kind, f"fastsoftmax_{name}")
    function.linkage = "internal"
    return function


def emit_table(builder, functions, name):
    """The address of a table of functions of one type.

    Only the outermost compiled function makes a table, and hands its address down. Numba optimises a function anew
    inside each of its callers: the 24 tiles, six levels down, took most of the compile time.
    """
    table = ir.Constant(ir.ArrayType(functions[0].type, len(functions)), functions)
    return builder.ptrtoint(cgutils.global_constant(builder, f"fastsoftmax_{name}", table), INT64)


def call_entry(builder, kind, table, number, *args):
    """Call function ``number`` of a table."""
    entries = builder.inttoptr(table, kind.as_pointer().as_pointer())
    builder.call(builder.load(builder.gep(entries, [number])), args)
