// Matrix units: the tile registers of Intel's AMX, and two stand-ins with the same operations, for tests on any machine
// and for processors that have only vectors of bfloat16.
//
//     load<R>(from, stride)    tile register R from 16 lines of 64 bytes, `stride` bytes apart
//     store<R>(to, stride)
//     dot<C, A, B>()           C[r][c] += sum over pairs t of A[r][2t] B[t][2c] + A[r][2t+1] B[t][2c+1]
//
// C holds 16 x 16 float32, A 16 x 32 bfloat16, and B 16 rows of 16 pairs of bfloat16. Registers 0 to 3 hold sums, 4 to 7
// operands. A bfloat16 is the upper half of a float32: 8 bits of mantissa. Assembly in place of the intrinsics needs
// neither <immintrin.h>, a third of a second in every unit, nor a flag for what only some processors have.
#pragma once

#include <cmath>

#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

typedef uint16_t BFloat16;
constexpr int UNIT_LINES = 16, UNIT_STEP = 32;            // lines of a tile, and numbers of a line of an operand
constexpr int UNIT_SIZE = UNIT_LINES * UNIT_STEP;         // numbers of an operand
constexpr int UNIT_SUMS = 4, UNIT_STRIDE = 64;            // registers of sums; bytes of a line

#if defined(__AVX512F__) && defined(__x86_64__)
struct Amx {
    // Configures the tiles of this thread for as long as it lives: eight of 16 lines of 64 bytes.
    Amx() {
        struct {
            uint8_t palette = 1, start = 0, reserved[14] = {};
            uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t lines[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } config;
        asm volatile("ldtilecfg %0" : : "m"(config));
    }
    ~Amx() { asm volatile("tilerelease"); }
    Amx(const Amx&) = delete;

    template <int R>
    INLINE void load(const void* from, ptrdiff_t stride) {
        asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(R) : "memory");
    }
    template <int R>
    INLINE void store(void* to, ptrdiff_t stride) {
        asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(R) : "memory");
    }
    template <int C, int A, int B>
    INLINE void dot() {
        asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
    }
};
#endif

// Tiles in memory; DOT makes their products.
template <void (*DOT)(float*, const BFloat16*, const BFloat16*)>
struct TilesInMemory {
    alignas(64) float sums[UNIT_SUMS][UNIT_LINES * UNIT_LINES];
    const BFloat16* operands[UNIT_SUMS];  // where they lie; their lines follow each other

    template <int R>
    INLINE void load(const void* from, ptrdiff_t stride) {
        if constexpr (R < UNIT_SUMS)
            for (int r = 0; r < UNIT_LINES; ++r)
                std::memcpy(sums[R] + r * UNIT_LINES, (const char*)from + r * stride, UNIT_STRIDE);
        else
            operands[R - UNIT_SUMS] = (const BFloat16*)from;
    }
    template <int R>
    INLINE void store(void* to, ptrdiff_t stride) {
        for (int r = 0; r < UNIT_LINES; ++r)
            std::memcpy((char*)to + r * stride, sums[R] + r * UNIT_LINES, UNIT_STRIDE);
    }
    template <int C, int A, int B>
    INLINE void dot() {
        DOT(sums[C], operands[A - UNIT_SUMS], operands[B - UNIT_SUMS]);
    }
};

INLINE float flush_subnormal(float x) { return std::abs(x) < std::numeric_limits<float>::min() ? 0.0f : x; }
INLINE float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return flush_subnormal(x);
}

// What `tdpbf16ps` computes, in the order of Intel's manual: numbers of even and of odd place are summed apart, each by
// fused multiply-adds, and added to each other, then to C. It rounds to nearest, and subnormal numbers count as 0. (A
// product of two bfloat16 is exact in float32, so that it need not be fused here.)
inline void twin_dot(float* C, const BFloat16* A, const BFloat16* B) {
    for (int r = 0; r < UNIT_LINES; ++r) {
        float even[UNIT_LINES] = {}, odd[UNIT_LINES] = {};
        for (int t = 0; t < UNIT_LINES; ++t) {
            const float a = float_of(uint32_t(A[r * UNIT_STEP + 2 * t]) << 16);
            const float b = float_of(uint32_t(A[r * UNIT_STEP + 2 * t + 1]) << 16);
            uint32_t pairs[UNIT_LINES];
            std::memcpy(pairs, B + t * UNIT_STEP, sizeof pairs);
            for (int c = 0; c < UNIT_LINES; ++c) {
                even[c] = flush_subnormal(even[c] + a * float_of(pairs[c] << 16));
                odd[c] = flush_subnormal(odd[c] + b * float_of(pairs[c] & 0xffff0000));
            }
        }
        for (int c = 0; c < UNIT_LINES; ++c) {
            float& sum = C[r * UNIT_LINES + c];
            sum = flush_subnormal(flush_subnormal(sum) + flush_subnormal(even[c] + odd[c]));
        }
    }
}

#if defined(__AVX512F__) && defined(__x86_64__)
// The same by the vector instruction `vdpbf16ps`, which takes pairs one after the other: 512 GF on a Zen 5, where
// float32 has 242 GF. (On a Sapphire Rapids it has half of float32's.)
typedef uint32_t __attribute__((may_alias)) Pair;
inline void vector_dot(float* C, const BFloat16* A, const BFloat16* B) {
    Vec<float> sums[UNIT_LINES];
#pragma GCC unroll 16
    for (int r = 0; r < UNIT_LINES; ++r) sums[r] = load(C + r * UNIT_LINES);
    for (int t = 0; t < UNIT_LINES; ++t) {
        const Vec<float> b = load((const float*)(B + t * UNIT_STEP));
        const auto* pairs = (const Pair*)(A + 2 * t);
#pragma GCC unroll 16
        for (int r = 0; r < UNIT_LINES; ++r)
            asm("vdpbf16ps %2%{1to16%}, %1, %0" : "+v"(sums[r]) : "v"(b), "m"(pairs[r * UNIT_LINES]));
    }
#pragma GCC unroll 16
    for (int r = 0; r < UNIT_LINES; ++r) store<float>(C + r * UNIT_LINES, sums[r]);
}
#endif

}  // namespace
}  // namespace fastsoftmax
