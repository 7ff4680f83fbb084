// The first product of few classes, by rows of X as they lie: no transposed copy of X is made, but one of its products.
//
//     out[row][class] = sum over features of X[row][feature] * theta[feature][class]     class in the lanes
//
// A step takes a number of X for each of 8 rows, from memory straight into a multiply-add, and a vector of theta that
// holds as many lanes as there are classes, 4 rather than 3. What lanes too many cost is less than a transposed copy of
// X does, 6 cycles a vector, as long as rows are short; where they are long, `dots` is better still. A row may be
// shorter than a vector. Sums are in the order of the features: their bits are those of `tile`.
#pragma once

#include "dots.hpp"

namespace {

// As many classes as lanes: all of a vector, or a part of it.
template <class T, int LANES>
struct Classes {
    typedef T V __attribute__((vector_size(LANES * sizeof(T))));
};

// Rows side by side: multiply-adds under way. 16 were slower by a tenth, two sums of each of 8 no faster.
template <class T>
constexpr int ROWS = VL<T> < 8 ? VL<T> : 8;

template <class T, int L, int FETCH>
INLINE void sum_rows(const T* X, ptrdiff_t row, const T* theta, typename Classes<T, L>::V start, ptrdiff_t n,
                     typename Classes<T, L>::V* out, Ahead& ahead) {
    typename Classes<T, L>::V acc[ROWS<T>], t;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS<T>; ++r) acc[r] = start;
    for (ptrdiff_t j = 0; j < n; ++j) {
        if constexpr (FETCH > 0) ahead.fetch();
        if constexpr (FETCH > 1) ahead.fetch();
        std::memcpy(&t, theta + j * L, sizeof t);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS<T>; ++r) acc[r] += t * X[r * row + j];
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS<T>; ++r) out[r] = acc[r];
}

// Vectors of L lanes, L apart, side by side in a whole one.
template <class T, int L, int LANES, int... I>
INLINE typename Classes<T, LANES>::V join(const typename Classes<T, L>::V* v, std::integer_sequence<int, I...>) {
    if constexpr (L == LANES) {
        return v[0];
    } else {
        constexpr int HALF = LANES / 2;
        constexpr auto half = std::make_integer_sequence<int, HALF>{};
        return __builtin_shufflevector((join<T, L, HALF>(v, half)), (join<T, L, HALF>(v + HALF, half)), I...);
    }
}

// H^T of VL rows.
template <class T, int L, int FETCH>
void row_tile(const T* X, ptrdiff_t row, const T* theta, const T* bias, ptrdiff_t n, T* H, ptrdiff_t ld, int k,
              Ahead& shared) {
    Ahead ahead = shared;  // in registers
    typedef typename Classes<T, L>::V V;
    V sums[VL<T>], start;
    std::memcpy(&start, bias, sizeof start);
#pragma GCC unroll 4
    for (int r = 0; r < VL<T>; r += ROWS<T>) sum_rows<T, L, FETCH>(X + r * row, row, theta, start, n, sums + r, ahead);
    Vec<T> out[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) out[i] = join<T, L, VL<T>>(sums + i, std::make_integer_sequence<int, VL<T>>{});
    transpose_rounds<T, L / 2, L>(out);
#pragma GCC unroll 16
    for (int c = 0; c < L; ++c)
        if (c < k) store<T>(H + c * ld, out[c]);
    if constexpr (FETCH > 0) shared.at = ahead.at, shared.rest = ahead.rest;
}

// Lanes for k classes: 0 if they are too many for a vector.
template <class T>
constexpr int lanes_for(ptrdiff_t k) {
    for (int lanes = 4; lanes <= VL<T>; lanes *= 2)
        if (k <= lanes) return lanes;
    return 0;
}

// Steps of a tile, by which it fetches.
template <class T>
constexpr ptrdiff_t row_steps(ptrdiff_t n) {
    return VL<T> / ROWS<T> * n;
}

template <class T>
using RowTile = void (*)(const T*, ptrdiff_t, const T*, const T*, ptrdiff_t, T*, ptrdiff_t, int, Ahead&);

template <class T, int L>
RowTile<T> row_tile_of(int lanes, int fetch) {
    static constexpr RowTile<T> table[] = {row_tile<T, L, 0>, row_tile<T, L, 1>, row_tile<T, L, 2>};
    if constexpr (2 * L <= VL<T>)
        if (lanes > L) return row_tile_of<T, 2 * L>(lanes, fetch);
    return table[fetch];
}

// Runs the tile of VL rows x k classes, fetching ahead if it is this tile's turn.
template <class T>
INLINE void run_rows(const T* X, ptrdiff_t row, const T* theta, const T* bias, ptrdiff_t n, T* H, ptrdiff_t ld, int k,
                     Ahead& ahead) {
    if constexpr (VL<T> >= 4)
        row_tile_of<T, 4>(lanes_for<T>(k), ahead.turn(row_steps<T>(n)))(X, row, theta, bias, n, H, ld, k, ahead);
}

// theta (n, k) to [feature][lane].
template <class T>
void widen_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    const int lanes = lanes_for<T>(k);
    for (ptrdiff_t j = 0; j < n; ++j)
        for (int c = 0; c < lanes; ++c) out[j * lanes + c] = c < k ? theta[j * k + c] : T(0);
}

}  // namespace
