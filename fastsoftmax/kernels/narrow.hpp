// The second product of few classes and short rows: a tile like that of `tile.hpp`, of narrower vectors, but more.
//
//     G[class][feature] += sum over rows of D[class][row] * X[row][feature]     feature in the lanes
//
// Short rows seldom begin where a cache line does. A load of 64 bytes then takes two lines each time and three cycles
// in place of one, one of 32 bytes two lines every other time. Seldom, too, are features a multiple of lanes: of 50 in
// float64, 32 bytes at a time waste 2, 64 bytes 6. One thread takes 500k x 50, k = 3, 15 cycles a row in place of 26
// in float64 and 7 in place of 15 in float32.
#pragma once

#include "pack.hpp"

namespace {

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

// Panels of n features for so many classes at once.
template <class T>
Split narrow_panels(ptrdiff_t n, int classes) {
    return {int((n + NL<T> - 1) / NL<T>), narrow_vectors(classes)};
}

// Steps of all the tiles of a block, by which they fetch.
template <class T>
ptrdiff_t narrow_steps(ptrdiff_t n, ptrdiff_t k, ptrdiff_t rows) {
    const Split classes(int(k), NARROW_CLASSES);
    ptrdiff_t tiles = 0;
    for (int c = 0; c < classes.parts; ++c) tiles += narrow_panels<T>(n, classes.size(c)).parts;
    return tiles * rows;
}

// G (k, ldg) += D^T X of a block; feature j is at G[j]. A row has NL values at least, or is followed by what is finite.
template <class T>
void backward_of_rows(const Matrix<T>& X, int rows, const T* D, ptrdiff_t ldd, ptrdiff_t n, ptrdiff_t k, T* G,
                      ptrdiff_t ldg, Ahead& ahead) {
    const Split classes(int(k), NARROW_CLASSES);
    for (int part = 0; part < classes.parts; ++part) {
        const int c = classes.begin(part), ns = classes.size(part);
        const Split panels = narrow_panels<T>(n, ns);
        for (int i = 0; i < panels.parts; ++i) {
            const int nv = panels.size(i);
            const ptrdiff_t begin = panels.begin(i) * NL<T>, at = begin + (nv - 1) * NL<T>;
            const ptrdiff_t early = std::max<ptrdiff_t>(std::min(at, n - NL<T>), 0);
            const NarrowPanel panel{begin, early - begin, int(at - early)};
            narrow_tile_of<T>(nv, ns)(X.data, X.row, panel, D + c * ldd, ldd, G + c * ldg, ldg, rows, ahead);
        }
    }
}

}  // namespace
