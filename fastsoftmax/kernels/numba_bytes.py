"""Rows of bytes to columns of float32, which both products take in place.

A lane takes four bytes of its row, so that a transpose costs a quarter of one of the numbers they are converted to.

A function of its own, since few passes need it; see `numba_compile.compiled_function`.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .numba_lanes import INT32, INT64, at, emit_store, emit_transpose, kernel, lanes, load, vector_bytes
from .numba_narrow import INT8
from .numba_tile import pieces

# Bytes of a row that are read at least.
WIDE_BYTES = vector_bytes()


def make_across(digest):
    """The function; see `numba_pass` for ``digest``."""

    def bytes_across(kind, address, row_bytes, r, n, out, out_step, buffer):
        """out[j, i] = X[i, j] for j < n, or a few more, and i < r; up to a whole register, the last row is repeated.
        A transposed square lies in ``buffer`` meanwhile."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(out)
        for i in range(0, r, width):
            for start in range(0, n, WIDE_BYTES):
                j = max(0, min(start, n - WIDE_BYTES))  # a last square overlaps the one before
                transpose_bytes(address + i * row_bytes + j, row_bytes, min(width, r - i) - 1, buffer)
                first, end = (start - j) // 4, pieces(min(WIDE_BYTES, n - j), 4)
                place = at(out, j * out_step + i)
                if kind == INT8:
                    convert_signed(buffer, first, end, place, out_step)
                else:
                    convert_unsigned(buffer, first, end, place, out_step)

    return bytes_across


@intrinsic
def transpose_bytes(typingctx, address, row_bytes, last, out):
    """out[j * lanes + i] = the j-th four bytes of row min(i, last)."""

    def emit(context, builder, sig, args):
        address, row_bytes, last, out = args
        vector = ir.VectorType(out.type.pointee, WIDE_BYTES // 4)
        rows = []
        for i in range(vector.count):
            if i:
                more = builder.icmp_signed("<=", ir.Constant(INT64, i), last)
                address = builder.add(address, builder.select(more, row_bytes, ir.Constant(INT64, 0)))
            rows.append(builder.load(builder.inttoptr(address, vector.as_pointer()), align=1))
        for i, column in enumerate(emit_transpose(builder, rows)):
            emit_store(builder, column, builder.gep(out, [ir.Constant(INT64, i * vector.count)]))

    return types.void(types.intp, types.intp, types.intp, out), emit


def converter(signed):
    """A function for the lines ``first`` to ``end`` of a transposed square."""

    @intrinsic
    def store_four(typingctx, fours, out, step):
        """out[b * step + i] = byte b of lane i."""

        def emit(context, builder, sig, args):
            fours, out, step = args
            integers = ir.VectorType(INT32, fours.type.count)
            bits = builder.bitcast(fours, integers)
            down = builder.ashr if signed else builder.lshr
            to_float = builder.sitofp if signed else builder.uitofp

            def by(count):
                return ir.Constant(integers, [count] * integers.count)

            for b in range(4):
                byte = down(builder.shl(bits, by(24 - 8 * b)), by(24))
                place = builder.gep(out, [builder.mul(step, ir.Constant(INT64, b))])
                emit_store(builder, to_float(byte, fours.type), place)

        return types.void(fours, out, types.intp), emit

    @kernel
    def convert(square, first, end, out, step):
        for line in range(first, end):
            store_four(load(square, line * lanes(square)), at(out, 4 * line * step), step)

    return convert


convert_signed, convert_unsigned = converter(True), converter(False)
