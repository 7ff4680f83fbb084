// Both products of a block by matrix units.
//
//     forward     H^T += theta^T X^T    by groups of rows, whose X stays in L2 for all classes
//     backward    G^T += D^T X          by chunks of classes, whose D stays in L2 for all features
//
// H begins with the bias. Products have the parts that `Pass::products` asks for; see amx_tile.hpp.
#pragma once

#include "block/bfloat16.hpp"

namespace fastsoftmax {
namespace {

// Calls f with the units of a pass, which live as long as f runs.
template <class F>
void with_units(int units, F f) {
#if defined(__AVX512F__) && defined(__x86_64__)
    if (units == AMX) {
        Amx tiles;
        return f(tiles);
    }
    if (units == AVX512_BF16) {
        TilesInMemory<vector_dot> tiles;
        return f(tiles);
    }
#endif
    TilesInMemory<twin_dot> tiles;
    f(tiles);
}

// ---------------------------------------------------------------------------------------------- parameters

// Numbers of T that theta^T takes as a left operand.
template <class T>
ptrdiff_t left_parameter_size(const Pass<T>& p) {
    if (p.products.forward != AMX_TILE) return 0;
    const ptrdiff_t numbers = unit_lines(p.k) * unit_steps(p.n) * UNIT_SIZE;
    return round_up<T>(p.products.forward_parts * numbers / ptrdiff_t(sizeof(T) / sizeof(BFloat16)));
}

// The left operand that is packed at `at`.
template <class T>
Operand left_parameters(const T* at, const Pass<T>& p) {
    const ptrdiff_t line = unit_steps(p.n) * UNIT_SIZE;
    return {(BFloat16*)at, line, unit_lines(p.k) * line, p.products.forward_parts};
}

// out = theta^T, of theta (n, k).
inline void pack_left_parameters(const float* theta, ptrdiff_t n, ptrdiff_t k, const Operand& out) {
    float square[UNIT_SIZE];
    for (ptrdiff_t c = 0; c < k; c += UNIT_LINES)
        for (ptrdiff_t j = 0; j < n; j += UNIT_STEP) {
            const int classes = int(std::min<ptrdiff_t>(UNIT_LINES, k - c));
            const int features = int(std::min<ptrdiff_t>(UNIT_STEP, n - j));
            for (int f = 0; f < features; ++f)
                for (int l = 0; l < classes; ++l) square[l * UNIT_STEP + f] = theta[(j + f) * k + c + l];
            pack_left(square, UNIT_STEP, classes, features, out.from(c / UNIT_LINES, j / UNIT_STEP));
        }
}

// The pass, by the exact kernels if theta or the direction has numbers that parts cannot hold.
template <class T>
Pass<T> in_range_pass(Pass<T> p) {
    if constexpr (sizeof(T) == 4)
        if (p.products.forward == AMX_TILE && !(in_range(p.theta, p.n * p.k) &&
                                                (!p.direction || in_range(p.direction, p.n * p.k))))
            p.products.forward = p.products.backward = TILE;
    return p;
}

// -------------------------------------------------------------------------------------------------- a block

// Packs a block for both products, as far as the pass has them. False if it has numbers that parts cannot hold.
inline bool pack_units(const Matrix<float>& X, int rows, ptrdiff_t n, const UnitBuffers& u) {
    const ptrdiff_t step = X.by_row ? X.row_step : X.feature_step;
    const int lines = X.by_row ? rows : int(n), length = X.by_row ? int(n) : rows;
    const Operand &across = X.by_row ? u.backward_X : u.forward_X, &along = X.by_row ? u.forward_X : u.backward_X;
    bool fine = true;
    for (int l = 0; l < lines; l += UNIT_STEP)
        for (int j = 0; j < length; j += UNIT_STEP)
            fine &= pack_square(X.data + l * step + j, step, lines - l, length - j,
                                across.from(j / UNIT_LINES, l / UNIT_STEP), along.from(l / UNIT_LINES, j / UNIT_STEP));
    return fine;
}

// H = X theta + bias, or another such product.
inline void forward_by_amx(const Operand& theta, const float* bias, int rows, const Pass<float>& p,
                           const UnitBuffers& u, float* H) {
    for (ptrdiff_t c = 0; c < class_lines(p.k, p); ++c)
        std::fill_n(H + c * p.block, round_up<float>(rows, UNIT_LINES), bias && c < p.k ? bias[c] : 0.0f);
    const int classes = unit_lines(p.k), all = unit_lines(rows);
    const int group = p.products.row_group ? p.products.row_group / UNIT_LINES : all;
    with_units(p.products.units, [&](auto& units) {
        for (int first = 0; first < all; first += group)
            for (int c = 0; c < classes; c += 2)
                for (int r = first; r < std::min(all, first + group); r += 2)
                    run_amx_tile(units, std::min(2, classes - c), std::min(2, all - r), theta.from(c),
                                 u.forward_X.from(r), unit_steps(p.n), p.products.forward_parts,
                                 H + c * UNIT_LINES * p.block + r * UNIT_LINES, p.block);
    });
}

// u.D = the residuals of the lines of classes from .. to.
inline void pack_residuals(int from, int to, int rows, const Pass<float>& p, const UnitBuffers& u, const float* H) {
    for (int c = from; c < to; ++c)
        for (int r = 0; r < rows; r += UNIT_STEP)
            pack_left(H + c * UNIT_LINES * p.block + r, p.block, int(p.k) - c * UNIT_LINES, rows - r,
                      u.D.from(c - from, r / UNIT_STEP));
}

// G += D^T X.
inline void backward_by_amx(int rows, const Pass<float>& p, const UnitBuffers& u, const float* H, float* G) {
    const int classes = unit_lines(p.k), features = unit_lines(p.n);
    const int chunk = p.products.class_chunk ? p.products.class_chunk / UNIT_LINES : classes;
    const ptrdiff_t ldg = gradient_line(p);
    with_units(p.products.units, [&](auto& units) {
        for (int from = 0; from < classes; from += chunk) {
            const int to = std::min(classes, from + chunk);
            pack_residuals(from, to, rows, p, u, H);
            for (int f = 0; f < features; f += 2)
                for (int c = from; c < to; c += 2)
                    run_amx_tile(units, std::min(2, to - c), std::min(2, features - f), u.D.from(c - from),
                                 u.backward_X.from(f), unit_steps(rows), p.products.backward_parts,
                                 G + c * UNIT_LINES * ldg + f * UNIT_LINES, ldg);
        }
    });
}

}  // namespace
}  // namespace fastsoftmax
