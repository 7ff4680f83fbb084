// The micro-kernel of matrix units: 2 x 2 tiles of sums, of operands that are sums of bfloat16 numbers.
//
//     C[l][c] += sum over t of A[l][t] B[t][c]      with A = A_0 + A_1 + A_2, B = B_0 + B_1 + B_2
//
// A float32 is the sum of three bfloat16, its parts, of 8 bits each: what is left of 24 once the parts before are taken
// off. Of the nine products of parts those with i + j < `parts` are made:
//
//     parts   products   error of a product, about
//       3        6       2^-24: float32's own
//       2        3       2^-16
//       1        1       2^-8
//
// Factors with fewer parts, such as bytes, which are exact in one, have fewer products. Operands lie in tiles that follow
// each other (`UNIT_SIZE` numbers), so that every load reads 1 kB: tile t of a line of tiles, then the next line.
#pragma once

#include <algorithm>

#include "microkernels/amx.hpp"

namespace fastsoftmax {
namespace {

// Tile t of line l of part i begins at data[i * part + l * line + t * UNIT_SIZE].
struct Operand {
    BFloat16* data;
    ptrdiff_t line, part;
    int parts;

    Operand from(ptrdiff_t l, ptrdiff_t t = 0) const { return {data + l * line + t * UNIT_SIZE, line, part, parts}; }
};

// Lines of tiles that hold so many rows, features or classes.
inline int unit_lines(ptrdiff_t count) { return int((count + UNIT_LINES - 1) / UNIT_LINES); }
inline ptrdiff_t unit_steps(ptrdiff_t count) { return (count + UNIT_STEP - 1) / UNIT_STEP; }

// NA lines of A with NB lines of B, each 1 or 2.
template <int NA, int NB, class U>
void amx_tile(U& units, const Operand& A, const Operand& B, ptrdiff_t steps, int parts, float* C, ptrdiff_t ldc) {
    const ptrdiff_t stride = ldc * ptrdiff_t(sizeof(float));
    float *right = C + UNIT_LINES, *below = C + UNIT_LINES * ldc;
    units.template load<0>(C, stride);
    if constexpr (NB > 1) units.template load<1>(right, stride);
    if constexpr (NA > 1) units.template load<2>(below, stride);
    if constexpr (NA > 1 && NB > 1) units.template load<3>(below + UNIT_LINES, stride);
    const int of_A = std::min(parts, A.parts);
    for (ptrdiff_t t = 0; t < steps; ++t)
        for (int i = 0; i < of_A; ++i) {
            const BFloat16* a = A.data + i * A.part + t * UNIT_SIZE;
            units.template load<4>(a, UNIT_STRIDE);
            if constexpr (NA > 1) units.template load<5>(a + A.line, UNIT_STRIDE);
            const int of_B = std::min(parts - i, B.parts);
            for (int j = 0; j < of_B; ++j) {
                const BFloat16* b = B.data + j * B.part + t * UNIT_SIZE;
                units.template load<6>(b, UNIT_STRIDE);
                if constexpr (NB > 1) units.template load<7>(b + B.line, UNIT_STRIDE);
                units.template dot<0, 4, 6>();
                if constexpr (NB > 1) units.template dot<1, 4, 7>();
                if constexpr (NA > 1) units.template dot<2, 5, 6>();
                if constexpr (NA > 1 && NB > 1) units.template dot<3, 5, 7>();
            }
        }
    units.template store<0>(C, stride);
    if constexpr (NB > 1) units.template store<1>(right, stride);
    if constexpr (NA > 1) units.template store<2>(below, stride);
    if constexpr (NA > 1 && NB > 1) units.template store<3>(below + UNIT_LINES, stride);
}

// Runs the tile of so many lines of A and B.
template <class U>
INLINE void run_amx_tile(U& units, int na, int nb, const Operand& A, const Operand& B, ptrdiff_t steps, int parts,
                         float* C, ptrdiff_t ldc) {
    if (na > 1)
        (nb > 1 ? amx_tile<2, 2, U> : amx_tile<2, 1, U>)(units, A, B, steps, parts, C, ldc);
    else
        (nb > 1 ? amx_tile<1, 2, U> : amx_tile<1, 1, U>)(units, A, B, steps, parts, C, ldc);
}

}  // namespace
}  // namespace fastsoftmax
