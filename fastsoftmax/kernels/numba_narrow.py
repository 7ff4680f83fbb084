"""Narrow X, float16 and integers of 8 and 16 bits, converted a block at a time on its way into the cache.

Memory traffic is that of the narrow type. The block keeps the orientation it comes in: rows become rows one
after the other, columns become columns of whole registers.

A function of its own, since few passes need it; see `numba_threads.compiled_function`.
"""

from llvmlite import ir
from numba.extending import intrinsic

from .numba_lanes import INT32, at, element_type, host_features, kernel, lanes, load, store, write

AS_IS, UINT8, INT8, INT16, FLOAT16 = range(5)
ITEMSIZES = (0, 1, 1, 2, 2)  # bytes
KINDS = {"f": AS_IS, "d": AS_IS, "B": UINT8, "b": INT8, "h": INT16, "e": FLOAT16}


def make_convert(digest):
    """The function; see `numba_pass` for ``digest``."""

    def convert_lines(kind, address, lines, line_step, count, step, out, out_step):
        """out[l * out_step + i] = X[l * line_step + i * step] for i < count, l < lines; steps in bytes for X."""
        digest  # noqa: B018 - only so that it is part of the closure
        for line in range(lines):
            convert_line(kind, address + line * line_step, count, step, at(out, line * out_step))

    return convert_lines


@kernel
def convert_line(kind, source, count, step, out):
    width, like = lanes(out), load(out, 0)
    if step == ITEMSIZES[kind] and count >= width:
        for i in range(0, count, width):
            i = min(i, count - width)
            store(out, i, convert(kind, source + i * step, like))
    else:
        for i in range(count):
            write(out, i, convert_one(kind, source + i * step, out))


@intrinsic
def convert(typingctx, kind, address, like):
    """The narrow numbers from the address on in the dtype of ``like``, as many as it has lanes."""

    def emit(context, builder, sig, args):
        return emit_convert(builder, args[0], args[1], args[2].type)

    return like(kind, address, like), emit


@intrinsic
def convert_one(typingctx, kind, address, out):
    """The narrow number at the address in the dtype that ``out`` points to."""

    def emit(context, builder, sig, args):
        value = emit_convert(builder, args[0], args[1], ir.VectorType(element_type(out.dtype), 1))
        return builder.extract_element(value, ir.Constant(INT32, 0))

    return out.dtype(kind, address, out), emit


def emit_convert(builder, kind, address, vector):
    """A switch over the kinds: in a loop over many numbers the compiler takes it outside."""
    start, end = builder.block, builder.append_basic_block("converted")
    found = []
    for number, emit in ((UINT8, emit_unsigned), (INT8, emit_signed), (INT16, emit_signed), (FLOAT16, emit_half)):
        block = builder.append_basic_block("convert")
        builder.position_at_end(block)
        bits = ir.VectorType(ir.IntType(8 * ITEMSIZES[number]), vector.count)
        place = builder.inttoptr(address, bits.as_pointer())
        value = emit(builder, builder.load(place, align=ITEMSIZES[number]), vector)
        found.append((number, block, value, builder.block))
        builder.branch(end)
    builder.position_at_end(start)
    switch = builder.switch(kind, found[-1][1])
    for number, block, _, _ in found[:-1]:
        switch.add_case(ir.Constant(kind.type, number), block)
    builder.position_at_end(end)
    result = builder.phi(vector)
    for _, _, value, block in found:
        result.add_incoming(value, block)
    return result


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

    # Exponent and mantissa move into place; multiplying mends the exponent's bias, of subnormals too.
    h = builder.zext(bits, integers)
    magnitude = builder.and_(h, whole(0x7FFF))
    moved = builder.bitcast(builder.shl(magnitude, whole(13)), single)
    mended = builder.fmul(moved, ir.Constant(single, [2.0**112] * count))
    special = builder.icmp_unsigned(">=", magnitude, whole(0x7C00))
    result = builder.or_(builder.bitcast(mended, integers), builder.select(special, whole(0x7F800000), whole(0)))
    sign = builder.shl(builder.and_(h, whole(0x8000)), whole(16))
    return builder.bitcast(builder.or_(result, sign), single)
