"""exp and log of `Lanes`, as straight-line LLVM code; both within 1 ulp.

exp(x), x <= 0:  x = e ln2 + r, |r| <= ln2 / 2, exp(x) = 2^e (1 + r + r^2 p(r)).
    Adding 1.5 * 2^52 + 1023 rounds x / ln2 to a whole number and leaves e + 1023, the exponent field of 2^e, in the low
    bits. (Fast-math would delete that addition.) The result is 0 below the logarithm of the smallest normal number,
    and for -inf; NaN stays NaN.
log(x), x >= 1:  x = 2^e v, v in [sqrt(1/2), sqrt(2)), s = (v - 1) / (v + 1),
    log(x) = e ln2 + 2 s + s^3 q(s^2). NaN stays NaN.

q interpolates at Chebyshev nodes: relative error 0.1 ulp before rounding. p is that of the C++ wing, whose file says
how it was chosen (microkernels/simd.hpp).
"""

from dataclasses import dataclass

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .simd import emit_fma, emit_splat


@dataclass(frozen=True)
class Constants:
    """Of one floating-point type."""

    bits: int
    mantissa: int  # bits of the stored mantissa
    bias: int  # of the exponent field
    root_half: int  # sqrt(1/2) as an integer
    smallest: float  # exp flushes to 0 below this
    ln2_high: float  # short enough that e * ln2_high is exact
    ln2_low: float
    exp: tuple[float, ...]  # p, lowest power first
    log: tuple[float, ...]  # q


LOG2_E = 1.4426950408889634

FLOAT64 = Constants(
    bits=64,
    mantissa=52,
    bias=1023,
    root_half=0x3FE6A09E667F3BCD,
    smallest=-708.3964185322641,
    ln2_high=0.6931471803691238,
    ln2_low=1.9082149292705877e-10,
    exp=(
        0.5000000000000007,
        0.16666666666665814,
        0.041666666666554907,
        0.008333333333891586,
        0.0013888888938300185,
        0.00019841268633890522,
        2.4801497880787154e-05,
        2.7558369946840834e-06,
        2.762872141514845e-07,
        2.4751930833799725e-08,
    ),
    log=(
        0.666666666666667,
        0.3999999999989889,
        0.28571428626253864,
        0.22222211089376664,
        0.181828924326972,
        0.153316117176995,
        0.1461780719892111,
    ),
)
FLOAT32 = Constants(
    bits=32,
    mantissa=23,
    bias=127,
    root_half=0x3F3504F3,
    smallest=-87.33654,
    ln2_high=0.693359375,
    ln2_low=-0.00021219444005469057,
    exp=(0.49999973, 0.16666524, 0.041673817, 0.008368386, 0.0013492238),
    log=(0.6666668653488159, 0.3998875916004181, 0.29580986499786377),
)


class Emitter:
    """Writes constants and polynomials of one vector type."""

    def __init__(self, builder, dtype, vector):
        self.builder, self.vector = builder, vector
        self.table = FLOAT64 if dtype == types.float64 else FLOAT32
        self.integers = ir.VectorType(ir.IntType(self.table.bits), vector.count)

    def number(self, value):
        return emit_splat(self.builder, self.vector, ir.Constant(self.vector.element, float(value)))

    def integer(self, value):
        return ir.Constant(self.integers, [value] * self.vector.count)

    def fma(self, a, b, c):
        return emit_fma(self.builder, a, b, c)

    def polynomial(self, x, coefficients):
        value = self.number(coefficients[-1])
        for coefficient in coefficients[-2::-1]:
            value = self.fma(value, x, self.number(coefficient))
        return value


@intrinsic
def exp(typingctx, x):
    """exp(x) for x <= 0; see the module's docstring."""

    def emit(context, builder, sig, args):
        (value,) = args
        e = Emitter(builder, x.dtype, value.type)
        t = e.table
        magic = e.number(1.5 * 2.0**t.mantissa + t.bias)
        shifted = e.fma(value, e.number(LOG2_E), magic)
        whole = builder.fsub(shifted, magic)
        r = e.fma(whole, e.number(-t.ln2_high), value)
        r = e.fma(whole, e.number(-t.ln2_low), r)
        tail = e.fma(builder.fmul(r, r), e.polynomial(r, t.exp), r)
        field = builder.shl(builder.bitcast(shifted, e.integers), e.integer(t.mantissa))
        power = builder.bitcast(field, e.vector)
        result = e.fma(tail, power, power)
        tiny = builder.fcmp_ordered("<", value, e.number(t.smallest))
        return builder.select(tiny, e.number(0.0), result)

    return x(x), emit


@intrinsic
def log(typingctx, x):
    """log(x) for finite x >= 1; NaN for anything not finite."""

    def emit(context, builder, sig, args):
        (value,) = args
        e = Emitter(builder, x.dtype, value.type)
        t = e.table
        offset = builder.sub(builder.bitcast(value, e.integers), e.integer(t.root_half))
        exponent = builder.lshr(offset, e.integer(t.mantissa))
        # Converted by way of 32 bits, since AVX2 has no conversion from 64-bit integers.
        if t.bits == 64:
            exponent = builder.trunc(exponent, ir.VectorType(ir.IntType(32), e.vector.count))
        power = builder.sitofp(exponent, e.vector)
        fraction = builder.and_(offset, e.integer((1 << t.mantissa) - 1))
        v = builder.bitcast(builder.add(fraction, e.integer(t.root_half)), e.vector)
        one = e.number(1.0)
        f = builder.fsub(v, one)
        s = builder.fdiv(f, builder.fadd(v, one))
        square = builder.fmul(s, s)
        # 2 s = f - s f. The rest is small, so that no digit of f is lost.
        rest = builder.fmul(s, builder.fsub(builder.fmul(square, e.polynomial(square, t.log)), f))
        rest = e.fma(power, e.number(t.ln2_low), rest)
        result = e.fma(power, e.number(t.ln2_high), builder.fadd(f, rest))
        return builder.fadd(result, builder.fsub(value, value))  # NaN, which the bit operations lose

    return x(x), emit
