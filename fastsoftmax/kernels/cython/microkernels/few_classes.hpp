// The first product of few classes, by rows of X as they lie: no transposed copy of X is made, but one of its products.
//
//     out[row][class] = sum over features of X[row][feature] * theta[feature][class]     class in the lanes
//
// A step takes a number of X for each of 8 rows, from memory straight into a multiply-add, and a vector of theta that
// holds as many lanes as there are classes, 4 rather than 3. What lanes too many cost is less than a transposed copy of
// X does, 6 cycles a vector, as long as rows are short; where they are long, `dots` is better still. A row may be
// shorter than a vector. Sums are in the order of the features: their bits are those of `tile`.
//
// The second product of few classes and short rows: a tile like that of `tile.hpp`, of narrower vectors, but more.
//
//     G[class][feature] += sum over rows of D[class][row] * X[row][feature]     feature in the lanes
//
// Short rows seldom begin where a cache line does. A load of 64 bytes then takes two lines each time and three cycles
// in place of one, one of 32 bytes two lines every other time. Seldom, too, are features a multiple of lanes: of 50 in
// float64, 32 bytes at a time waste 2, 64 bytes 6. One thread takes 500k x 50, k = 3, 15 cycles a row in place of 26
// in float64 and 7 in place of 15 in float32.
#pragma once

#include "microkernels/tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
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

// ------------------------------------------------------------------------------- the second product

constexpr int NARROW_BYTES = VEC_BYTES < 32 ? VEC_BYTES : 32;

template <class T>
constexpr int NL = NARROW_BYTES / int(sizeof(T));

template <class T>
struct Narrow {
    typedef T V __attribute__((vector_size(NARROW_BYTES)));
};

// Classes of a tile at most, and vectors beside so many of them: 28 of 32 registers, 12 of 16.
constexpr int NARROW_CLASSES = VEC_BYTES == 64 ? 7 : 6;
constexpr int narrow_vectors(int classes) {
    const int registers = VEC_BYTES == 64 ? 28 : 12, most = VEC_BYTES == 64 ? 7 : 6;
    return registers / classes < most ? registers / classes : most;
}

// The vectors of a panel: each follows the one before, but the last of all begins early rather than end late. Of that
// one, the first lanes repeat others and do not count.
struct NarrowPanel {
    ptrdiff_t begin, last;  // the first feature; from there to the first of the last vector
    int repeated;
};

template <class T, int NV, int NS>
void narrow_tile(const T* X, ptrdiff_t row, const NarrowPanel& panel, const T* D, ptrdiff_t ldd, T* G, ptrdiff_t ldg,
                 ptrdiff_t rows, Ahead& shared) {
    typedef typename Narrow<T>::V V;
    Ahead ahead = shared;  // in registers
    const int lines = ahead.turn(rows);
    const T* last = X + panel.begin + panel.last;
    V acc[NS][NV] = {};
    X += panel.begin;
    for (ptrdiff_t r = 0; r < rows; ++r, X += row, last += row) {
        for (int i = 0; i < lines; ++i) ahead.fetch();
        V d[NS];
#pragma GCC unroll 8
        for (int s = 0; s < NS; ++s) d[s] = D[s * ldd + r] - V{};
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            V x;
            std::memcpy(&x, v + 1 < NV ? X + v * NL<T> : last, sizeof x);
#pragma GCC unroll 8
            for (int s = 0; s < NS; ++s) acc[s][v] += x * d[s];
        }
    }
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s) {
        T sums[NL<T>], *g = G + s * ldg + panel.begin;
        std::memcpy(sums, &acc[s][NV - 1], sizeof sums);
        for (int i = 0; i < panel.repeated; ++i) sums[i] = 0;
        std::memcpy(&acc[s][NV - 1], sums, sizeof sums);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            T* at = v + 1 < NV ? g + v * NL<T> : g + panel.last;
            V sum;
            std::memcpy(&sum, at, sizeof sum);
            sum += acc[s][v];
            std::memcpy(at, &sum, sizeof sum);
        }
    }
    shared = ahead;
}

template <class T>
using NarrowTile = void (*)(const T*, ptrdiff_t, const NarrowPanel&, const T*, ptrdiff_t, T*, ptrdiff_t, ptrdiff_t,
                            Ahead&);

template <class T, int NV = 1, int NS = 1>
NarrowTile<T> narrow_tile_of(int nv, int ns) {
    if constexpr (NS < NARROW_CLASSES)
        if (ns > NS) return narrow_tile_of<T, NV, NS + 1>(nv, ns);
    if constexpr (NV < narrow_vectors(NS))
        if (nv > NV) return narrow_tile_of<T, NV + 1, NS>(nv, ns);
    return narrow_tile<T, NV, NS>;
}

}  // namespace
}  // namespace fastsoftmax
