// What matrix units read: numbers split into bfloat16 parts, in tiles.
//
// A block of X is packed for both products by one read, in squares of 32 lines x 32 numbers, a line being a row of X or,
// in F order, a column:
//
//     `across`   pairs of lines, side by side      [pair of lines][number]        interleaved
//     `along`    pairs of numbers of a line        [pair of numbers][line]        transposed, two numbers at a time
//
//     forward    H^T = theta^T X^T    B is [pair of features][row]: along rows, across columns
//     backward   G^T = D^T X          B is [pair of rows][feature]: across rows, along columns
//
// The left operands theta^T and D^T have their lines, classes, as they are; D needs no transposing.
//
// Parts flush what is subnormal, and a number near the largest float32 rounds up to infinity. A block with such numbers,
// or with infinity or NaN, goes by the exact kernels, and so does a pass whose theta has them.
#pragma once

#include "block/pass.hpp"
#include "microkernels/amx_tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
namespace {

typedef uint32_t Bits __attribute__((vector_size(VEC_BYTES)));
typedef uint16_t HalfBits __attribute__((vector_size(VEC_BYTES / 2)));

// Bits of 2^-96 and 2^64. Parts of numbers between them are exact, and so are their products but for underflow that is
// nothing beside the largest of them.
constexpr uint32_t LEAST_BITS = (127 - 96) << 23, MOST_BITS = (127 + 64) << 23;

// -1 in the lanes whose number is neither 0 nor between the two.
INLINE IVec<float> out_of_range(Vec<float> x) {
    const Bits size = (Bits)x & 0x7fffffff;
    return (IVec<float>)((size != 0) & (size - LEAST_BITS > MOST_BITS - LEAST_BITS));
}

INLINE bool any_lane(IVec<float> v) {
    int any = 0;
    for (int i = 0; i < VL<float>; ++i) any |= v[i];
    return any;
}

inline bool in_range(const float* x, ptrdiff_t count) {
    IVec<float> wrong{};
    ptrdiff_t i = 0;
    for (; i + VL<float> <= count; i += VL<float>) wrong |= out_of_range(load(x + i));
    for (; i < count; ++i) wrong |= out_of_range(splat<float>(x[i]));
    return !any_lane(wrong);
}

// Takes the next part off x: x rounded to bfloat16, to nearest even, in the upper half of each lane.
INLINE Bits next_part(Vec<float>& x) {
    const Bits bits = (Bits)x, part = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    x -= (Vec<float>)part;
    return part;
}
INLINE void store_lower(BFloat16* to, Bits part) {
    const HalfBits halves = __builtin_convertvector(part >> 16, HalfBits);
    std::memcpy(to, &halves, sizeof halves);
}

constexpr int MOST_PARTS = 3;

// `wanted` lines of 32 numbers: those of `src`, or a copy in `buffer` with zeros past the last line and number.
struct Square {
    const float* data;
    ptrdiff_t stride;
};
inline Square whole_lines(const float* src, ptrdiff_t stride, int lines, int length, int wanted, float* buffer) {
    if (lines >= wanted && length >= UNIT_STEP) return {src, stride};
    std::fill_n(buffer, wanted * UNIT_STEP, 0.0f);
    for (int l = 0; l < std::min(lines, wanted); ++l)
        std::memcpy(buffer + l * UNIT_STEP, src + l * stride, std::min(length, UNIT_STEP) * sizeof(float));
    return {buffer, UNIT_STEP};
}

// dst[pair][line] = src[line][pair], for as many lines as a vector has lanes.
inline void transpose_pairs(const BFloat16* src, BFloat16* dst) {
    constexpr int last = VL<float> - 1;
    for (int pair = 0; pair < UNIT_LINES; pair += VL<float>)
        transpose_square((const float*)(src + 2 * pair), UNIT_LINES, last, (float*)(dst + pair * UNIT_STEP), UNIT_LINES);
}

// A tile of a left operand from 16 lines of 32 numbers.
inline void pack_left(const float* src, ptrdiff_t stride, int lines, int length, const Operand& out) {
    float buffer[UNIT_SIZE];
    const Square from = whole_lines(src, stride, lines, length, UNIT_LINES, buffer);
    for (int l = 0; l < UNIT_LINES; ++l)
        for (int j = 0; j < UNIT_STEP; j += VL<float>) {
            Vec<float> x = load(from.data + l * from.stride + j);
            for (int i = 0; i < out.parts; ++i) store_lower(out.data + i * out.part + l * UNIT_STEP + j, next_part(x));
        }
}

// Tiles of two neighbouring lines of right operands, `across` and `along`, from a square of 32 lines x 32 numbers. An
// operand without parts is left out. Returns whether all numbers are in range.
inline bool pack_square(const float* src, ptrdiff_t stride, int lines, int length, const Operand& across,
                        const Operand& along) {
    float buffer[UNIT_STEP * UNIT_STEP];
    alignas(VEC_BYTES) BFloat16 straight[MOST_PARTS][UNIT_STEP * UNIT_STEP];
    const Square from = whole_lines(src, stride, lines, length, UNIT_STEP, buffer);
    IVec<float> wrong{};
    for (int l = 0; l < UNIT_STEP; l += 2)
        for (int j = 0; j < UNIT_STEP; j += VL<float>) {
            Vec<float> x = load(from.data + l * from.stride + j), y = load(from.data + (l + 1) * from.stride + j);
            wrong |= out_of_range(x) | out_of_range(y);
            BFloat16* pairs = across.data + j / UNIT_LINES * across.line + l / 2 * UNIT_STEP + j % UNIT_LINES * 2;
            for (int i = 0; i < std::max(across.parts, along.parts); ++i) {
                const Bits a = next_part(x), b = next_part(y), pair = a >> 16 | b;
                if (i < across.parts) std::memcpy(pairs + i * across.part, &pair, sizeof pair);
                store_lower(straight[i] + l * UNIT_STEP + j, a);
                store_lower(straight[i] + (l + 1) * UNIT_STEP + j, b);
            }
        }
    for (int i = 0; i < along.parts; ++i)
        for (int l = 0; l < UNIT_STEP; l += VL<float>)
            transpose_pairs(straight[i] + l * UNIT_STEP,
                            along.data + i * along.part + l / UNIT_LINES * along.line + l % UNIT_LINES * 2);
    return !any_lane(wrong);
}

}  // namespace
}  // namespace fastsoftmax
