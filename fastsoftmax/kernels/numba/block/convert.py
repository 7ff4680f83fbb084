"""Narrow X, float16, bfloat16 and integers of 8 and 16 bits, is converted block by block on its way into the cache.

So the traffic from memory is that of the narrow type. A block keeps the orientation that it comes in: rows become rows
one after the other, columns become columns of whole registers. Only rows of bytes may become columns
(`transpose_bytes`).

Few passes need these functions, so they are compiled when first called for (`runtime/compile.py`).
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from ..microkernels.memory import INT32, INT64, at, kernel, write
from ..microkernels.simd import (
    element_type,
    emit_store,
    emit_transpose,
    host_features,
    lanes,
    load,
    store,
    vector_bytes,
)
from ..microkernels.tile import ceil_div

AS_IS, UINT8, INT8, INT16, FLOAT16, BFLOAT16 = range(6)
ITEMSIZES = (0, 1, 1, 2, 2, 2)  # in bytes, by source type
SOURCE_TYPES = {"f": AS_IS, "d": AS_IS, "B": UINT8, "b": INT8, "h": INT16, "e": FLOAT16, "V": BFLOAT16}


def make_convert(digest):
    """The function that converts a block; see `runtime/compile.py` for ``digest``."""

    def convert_lines(source_type, address, lines, line_step, count, step, out, out_step):
        """out[l * out_step + i] = X[l * line_step + i * step] for i < count, l < lines; steps in bytes for X."""
        digest  # noqa: B018 - only so that it is part of the closure
        for line in range(lines):
            convert_line(source_type, address + line * line_step, count, step, at(out, line * out_step))

    return convert_lines


@kernel
def convert_line(source_type, source, count, step, out):
    if step != ITEMSIZES[source_type] or count < lanes(out):
        for i in range(count):
            write(out, i, convert_one(source_type, source + i * step, out))
    elif source_type == UINT8:
        convert_uint8(source, count, out)
    elif source_type == INT8:
        convert_int8(source, count, out)
    elif source_type == INT16:
        convert_int16(source, count, out)
    elif source_type == FLOAT16:
        convert_float16(source, count, out)
    else:
        convert_bfloat16(source, count, out)


def converter(source_type):
    """A function that converts a line of this source type, of one register at least: the last register overlaps the
    one before."""
    size = ITEMSIZES[source_type]

    @intrinsic
    def convert(typingctx, address, like):
        """The narrow numbers from the address on in the dtype of ``like``, as many as it has lanes."""

        def emit(context, builder, sig, args):
            return EMITTERS[source_type](
                builder, load_bits(builder, source_type, args[0], args[1].type.count), args[1].type
            )

        return like(address, like), emit

    @kernel
    def convert_registers(source, count, out):
        # There is a loop for each source type: a switch inside one loop made 500k x 50 of uint8 a tenth slower.
        width, like = lanes(out), load(out, 0)
        for i in range(0, count - 4 * width + 1, 4 * width):
            for v in range(4):
                store(out, i + v * width, convert(source + (i + v * width) * size, like))
        for i in range(count // (4 * width) * 4 * width, count, width):
            i = min(i, count - width)
            store(out, i, convert(source + i * size, like))

    return convert_registers


@intrinsic
def convert_one(typingctx, source_type, address, out):
    """The narrow number at the address in the dtype that ``out`` points to."""

    def emit(context, builder, sig, args):
        value = emit_convert(builder, args[0], args[1], ir.VectorType(element_type(out.dtype), 1))
        return builder.extract_element(value, ir.Constant(INT32, 0))

    return out.dtype(source_type, address, out), emit


def emit_convert(builder, source_type, address, vector):
    """The converted numbers, by a switch over the source types."""
    start, end = builder.block, builder.append_basic_block("converted")
    found = []
    for number, emit in EMITTERS.items():
        block = builder.append_basic_block("convert")
        builder.position_at_end(block)
        value = emit(builder, load_bits(builder, number, address, vector.count), vector)
        found.append((number, block, value, builder.block))
        builder.branch(end)
    builder.position_at_end(start)
    switch = builder.switch(source_type, found[-1][1])
    for number, block, _, _ in found[:-1]:
        switch.add_case(ir.Constant(source_type.type, number), block)
    builder.position_at_end(end)
    result = builder.phi(vector)
    for _, _, value, block in found:
        result.add_incoming(value, block)
    return result


def load_bits(builder, source_type, address, count):
    """As many numbers of the source type, as integers."""
    bits = ir.VectorType(ir.IntType(8 * ITEMSIZES[source_type]), count)
    return builder.load(builder.inttoptr(address, bits.as_pointer()), align=ITEMSIZES[source_type])


def emit_unsigned(builder, value, vector):
    return builder.uitofp(value, vector)


def emit_signed(builder, value, vector):
    return builder.sitofp(value, vector)


def emit_half(builder, bits, vector):
    single = emit_single(builder, bits, ir.VectorType(ir.FloatType(), vector.count))
    return single if single.type == vector else builder.fpext(single, vector)


def emit_single(builder, bits, single):
    """float16 to float32, by the CPU's own instruction or by moving fields."""
    count = single.count
    if host_features() & {"f16c", "avx512f", "aarch64", "arm64"}:
        return builder.fpext(builder.bitcast(bits, ir.VectorType(ir.HalfType(), count)), single)
    integers = ir.VectorType(INT32, count)

    def whole(x):
        return ir.Constant(integers, [x] * count)

    # Exponent and mantissa are moved into place. The multiplication corrects the exponent's bias, and makes subnormal
    # numbers right as well.
    h = builder.zext(bits, integers)
    magnitude = builder.and_(h, whole(0x7FFF))
    moved = builder.bitcast(builder.shl(magnitude, whole(13)), single)
    mended = builder.fmul(moved, ir.Constant(single, [2.0**112] * count))
    special = builder.icmp_unsigned(">=", magnitude, whole(0x7C00))
    result = builder.or_(builder.bitcast(mended, integers), builder.select(special, whole(0x7F800000), whole(0)))
    sign = builder.shl(builder.and_(h, whole(0x8000)), whole(16))
    return builder.bitcast(builder.or_(result, sign), single)


def emit_upper_half(builder, bits, vector):
    """bfloat16 to float32, whose upper half it is, or on to float64."""
    integers = ir.VectorType(INT32, vector.count)
    moved = builder.shl(builder.zext(bits, integers), ir.Constant(integers, [16] * vector.count))
    single = builder.bitcast(moved, ir.VectorType(ir.FloatType(), vector.count))
    return single if single.type == vector else builder.fpext(single, vector)


EMITTERS = {
    UINT8: emit_unsigned,
    INT8: emit_signed,
    INT16: emit_signed,
    FLOAT16: emit_half,
    BFLOAT16: emit_upper_half,
}
convert_uint8, convert_int8, convert_int16, convert_float16, convert_bfloat16 = map(converter, EMITTERS)


# ------------------------------------------------------------ rows of bytes to columns

# Bytes are transposed before they are converted, four bytes of a row in each lane: a quarter of the shuffles that the
# converted numbers would take.

# Bytes of a row that one square takes, the least that are read.
SQUARE_BYTES = vector_bytes()


def make_transpose_bytes(digest):
    """The function that stages rows of bytes as columns; see `runtime/compile.py` for ``digest``."""

    def transpose_bytes(source_type, address, row_bytes, r, n, out, out_step, buffer):
        """out[j, i] = X[i, j] for i < r and j < n (and a few more features). Rows past the last one, up to a whole
        register, repeat it. ``buffer`` holds one transposed square at a time."""
        digest  # noqa: B018 - only so that it is part of the closure
        width = lanes(out)
        for i in range(0, r, width):
            for start in range(0, n, SQUARE_BYTES):
                j = max(0, min(start, n - SQUARE_BYTES))  # a last square overlaps the one before
                transpose_square(address + i * row_bytes + j, row_bytes, min(width, r - i) - 1, buffer)
                first, end = (start - j) // 4, ceil_div(min(SQUARE_BYTES, n - j), 4)
                place = at(out, j * out_step + i)
                if source_type == INT8:
                    convert_signed(buffer, first, end, place, out_step)
                else:
                    convert_unsigned(buffer, first, end, place, out_step)

    return transpose_bytes


@intrinsic
def transpose_square(typingctx, address, row_bytes, last, out):
    """out[j * lanes + i] = the j-th four bytes of row min(i, last)."""

    def emit(context, builder, sig, args):
        address, row_bytes, last, out = args
        vector = ir.VectorType(out.type.pointee, SQUARE_BYTES // 4)
        rows = []
        for i in range(vector.count):
            if i:
                more = builder.icmp_signed("<=", ir.Constant(INT64, i), last)
                address = builder.add(address, builder.select(more, row_bytes, ir.Constant(INT64, 0)))
            rows.append(builder.load(builder.inttoptr(address, vector.as_pointer()), align=1))
        for i, column in enumerate(emit_transpose(builder, rows)):
            emit_store(builder, column, builder.gep(out, [ir.Constant(INT64, i * vector.count)]))

    return types.void(types.intp, types.intp, types.intp, out), emit


def byte_converter(signed):
    """A function that converts the lines first .. end of a transposed square, four features from each."""

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


convert_signed, convert_unsigned = byte_converter(True), byte_converter(False)
