// Narrow X, float16, bfloat16 and integers of 8 and 16 bits, is converted block by block on its way into the cache: line
// by line, or, to get columns from rows of bytes, by transposed squares.
#pragma once

#include <algorithm>
#include <type_traits>

#include "call.hpp"
#include "microkernels/tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
namespace {

// Byte `which` of each lane, as a number.
template <class T, bool SIGNED>
INLINE Vec<T> byte_of_lanes(Vec<T> bytes, int which) {
    typedef uint32_t Bits __attribute__((vector_size(VEC_BYTES)));
    const IVec<T> all = (IVec<T>)bytes;
    const IVec<T> top = (IVec<T>)((Bits)bytes >> 24);  // needs no mask
    const IVec<T> one = SIGNED ? all << (24 - 8 * which) >> 24 : which == 3 ? top : all >> 8 * which & 255;
    return __builtin_convertvector(one, Vec<T>);
}

// dst[feature][row], float32, from rows of n bytes. Bytes are transposed before they are converted, four features of a
// row in each lane, which takes a quarter of the shuffles that the converted numbers would take. Rows past the last
// one, up to a whole vector, repeat it. At least VEC_BYTES are read of each row.
template <class T, bool SIGNED>
void transpose_bytes(const char* src, ptrdiff_t stride, int rows, ptrdiff_t n, T* dst, ptrdiff_t ld) {
    static_assert(sizeof(T) == 4, "a lane holds four bytes");
    constexpr ptrdiff_t wide = 4 * VL<T>;
    for (int row = 0; row < rows; row += VL<T>) {
        const int last = std::min(rows - row, VL<T>) - 1;
        for (ptrdiff_t t = 0; t < n; t += wide) {
            const ptrdiff_t at = std::max<ptrdiff_t>(std::min(t, n - wide), 0), done = t - at, count = n - at;
            Vec<T> r[VL<T>];
            load_square<T>(src + row * stride + at, stride, last, r);
            T* out = dst + at * ld + row;
#pragma GCC unroll 16
            for (int i = 0; i < VL<T>; ++i) {
                if (4 * i + 4 <= done) continue;
#pragma GCC unroll 4
                for (int b = 0; b < 4; ++b)
                    if (4 * i + b < count) store<T>(out + (4 * i + b) * ld, byte_of_lanes<T, SIGNED>(r[i], b));
            }
        }
    }
}

INLINE float half_to_float(uint16_t h) {
    // Exponent and mantissa are moved into place. The multiplication corrects the exponent's bias, and makes subnormal
    // numbers right as well. Infinity and NaN get all exponent bits.
    uint32_t bits = uint32_t(h & 0x7fff) << 13;
    float f;
    std::memcpy(&f, &bits, 4);
    f *= 0x1p112f;
    std::memcpy(&bits, &f, 4);
    if ((h & 0x7c00) == 0x7c00) bits |= 0x7f800000;
    bits |= uint32_t(h & 0x8000) << 16;
    std::memcpy(&f, &bits, 4);
    return f;
}
struct Half {
    uint16_t bits;
    operator float() const { return half_to_float(bits); }
    operator double() const { return half_to_float(bits); }
};

struct UpperHalf {  // bfloat16
    uint16_t bits;
    operator float() const {
        const uint32_t whole = uint32_t(bits) << 16;
        float f;
        std::memcpy(&f, &whole, 4);
        return f;
    }
    operator double() const { return float(*this); }
};

// Converts as many whole vectors as there are with the processor's instruction and returns how many numbers they hold.
// Without it 500k x 50 took one thread 12 cycles a row for the conversion. The builtin of GCC and Clang is called by its
// own name, since <immintrin.h> takes a third of a second to compile, in every unit.
inline ptrdiff_t convert_halves(const Half* line, ptrdiff_t count, float* dst) {
    ptrdiff_t i = 0;
#ifdef __F16C__
    typedef short Halves __attribute__((vector_size(16)));
    for (; i + 8 <= count; i += 8) {
        Halves halves;
        std::memcpy(&halves, line + i, sizeof halves);
        const auto floats = __builtin_ia32_vcvtph2ps256(halves);
        std::memcpy(dst + i, &floats, sizeof floats);
    }
#endif
    return i;
}

// Converts `count` numbers of type S, `stride` bytes apart, to T, and writes zeros after them up to `padded`.
template <class T, class S>
void convert_line(const char* src, ptrdiff_t stride, ptrdiff_t count, T* dst, ptrdiff_t padded) {
    if (stride == sizeof(S)) {
        const S* line = (const S*)src;
        ptrdiff_t done = 0;
        if constexpr (std::is_same_v<S, Half> && sizeof(T) == 4) done = convert_halves(line, count, dst);
        for (ptrdiff_t i = done; i < count; ++i) dst[i] = T(line[i]);
    } else {
        for (ptrdiff_t i = 0; i < count; ++i) dst[i] = T(*(const S*)(src + i * stride));
    }
    for (ptrdiff_t i = count; i < padded; ++i) dst[i] = T(0);
}

template <class T>
using ConvertLine = void (*)(const char*, ptrdiff_t, ptrdiff_t, T*, ptrdiff_t);

template <class T>
ConvertLine<T> convert_line_of(int type) {
    static constexpr ConvertLine<T> table[] = {convert_line<T, double>, convert_line<T, float>,
                                               convert_line<T, Half>,   convert_line<T, uint8_t>,
                                               convert_line<T, int8_t>, convert_line<T, int16_t>,
                                               convert_line<T, UpperHalf>};
    return table[type];
}

}  // namespace
}  // namespace fastsoftmax
