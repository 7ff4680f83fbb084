// Micro-kernels of few classes, for both products: rows of X are read in place, without a transposed copy.
//
//     class_lane_tile   H[row][class] = bias[class] + sum over features of X[row][feature] * theta[feature][class]
//                       class in the lanes
//     narrow_tile       G[class][feature] += sum over rows of D[class][row] * X[row][feature]
//                       feature in the lanes
//
// A step of class_lane_tile takes one number of X from each of 8 rows, straight from memory into a multiply-add, and a
// vector of theta with a lane for each class, 4 lanes for 3 classes. Its sums are transposed at the end. The idle lanes
// cost less than a transposed copy of X (6 cycles a vector) as long as rows are short; where rows are long, `dot_tile`
// is better still. A row may be shorter than a vector. Features are summed in the order in which `tile` sums them, so
// the bits are the same.
//
// narrow_tile is a tile like that of `tile.hpp` with vectors of 32 bytes. Short rows seldom begin where a cache line
// does: a load of 64 bytes then touches two lines each time and takes three cycles, a load of 32 bytes touches two
// lines every other time. Features are seldom a multiple of 64 bytes either: of 50 in float64, 32 bytes at a time waste
// 2 lanes, 64 bytes 6. 500k x 50, k = 3, one thread: 15 cycles a row, were 26, in float64; 7, were 15, in float32.
#pragma once

#include "microkernels/tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
namespace {

// Rows of a class_lane_tile that are summed side by side, each a chain of multiply-adds. 16 rows were a tenth slower; 8
// rows with two sums each were no faster.
template <class T>
constexpr int ROWS = VL<T> < 8 ? VL<T> : 8;

// The sums of ROWS<T> rows, each with the L classes in its lanes.
template <class T, int L, int LINES>
INLINE void sum_rows(const T* X, ptrdiff_t row_step, const T* theta, VecOf<T, L> start, ptrdiff_t n, VecOf<T, L>* out,
                     Prefetcher& prefetch) {
    VecOf<T, L> acc[ROWS<T>], t;
#pragma GCC unroll 8
    for (int r = 0; r < ROWS<T>; ++r) acc[r] = start;
    for (ptrdiff_t j = 0; j < n; ++j) {
        if constexpr (LINES > 0) prefetch.next_line();
        if constexpr (LINES > 1) prefetch.next_line();
        std::memcpy(&t, theta + j * L, sizeof t);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS<T>; ++r) acc[r] += t * X[r * row_step + j];
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS<T>; ++r) out[r] = acc[r];
}

// v[0], v[L], v[2 L], ... of L lanes each, side by side in a vector of LANES lanes.
template <class T, int L, int LANES, int... I>
INLINE VecOf<T, LANES> join_classes(const VecOf<T, L>* v, std::integer_sequence<int, I...>) {
    if constexpr (L == LANES) {
        return v[0];
    } else {
        constexpr int HALF = LANES / 2;
        constexpr auto half = std::make_integer_sequence<int, HALF>{};
        return __builtin_shufflevector((join_classes<T, L, HALF>(v, half)), (join_classes<T, L, HALF>(v + HALF, half)),
                                       I...);
    }
}

// H^T of VL rows and k classes, for which a vector has L lanes.
template <class T, int L, int LINES>
void class_lane_tile(const T* X, ptrdiff_t row_step, const T* theta, const T* bias, ptrdiff_t n, T* H, ptrdiff_t ld,
                     int k, Prefetcher& shared) {
    Prefetcher prefetch = shared;  // a copy stays in registers
    typedef VecOf<T, L> V;
    V sums[VL<T>], start;
    std::memcpy(&start, bias, sizeof start);
#pragma GCC unroll 4
    for (int r = 0; r < VL<T>; r += ROWS<T>)
        sum_rows<T, L, LINES>(X + r * row_step, row_step, theta, start, n, sums + r, prefetch);
    Vec<T> out[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) out[i] = join_classes<T, L, VL<T>>(sums + i, std::make_integer_sequence<int, VL<T>>{});
    transpose_rounds<T, L / 2, L>(out);
#pragma GCC unroll 16
    for (int c = 0; c < L; ++c)
        if (c < k) store<T>(H + c * ld, out[c]);
    if constexpr (LINES > 0) shared.at = prefetch.at, shared.rest = prefetch.rest;
}

// Steps of a class_lane_tile over n features, each of which may prefetch.
template <class T>
constexpr ptrdiff_t tile_steps(ptrdiff_t n) {
    return VL<T> / ROWS<T> * n;
}

template <class T>
using ClassLaneTile = void (*)(const T*, ptrdiff_t, const T*, const T*, ptrdiff_t, T*, ptrdiff_t, int, Prefetcher&);

template <class T, int L>
ClassLaneTile<T> class_lane_tile_of(int lanes, int lines) {
    static constexpr ClassLaneTile<T> table[] = {class_lane_tile<T, L, 0>, class_lane_tile<T, L, 1>,
                                                 class_lane_tile<T, L, 2>};
    if constexpr (2 * L <= VL<T>)
        if (lanes > L) return class_lane_tile_of<T, 2 * L>(lanes, lines);
    return table[lines];
}

// Runs the tile of VL rows x k classes in so many lanes, with as many prefetches as `lines_per_step` gives it.
template <class T>
INLINE void run_class_lane_tile(const T* X, ptrdiff_t row_step, const T* theta, const T* bias, ptrdiff_t n, T* H,
                                ptrdiff_t ld, int k, int lanes, Prefetcher& prefetch) {
    if constexpr (VL<T> >= 4)
        class_lane_tile_of<T, 4>(lanes, prefetch.lines_per_step(tile_steps<T>(n)))(X, row_step, theta, bias,
                                                                                               n, H, ld, k, prefetch);
}

// theta (n, k) as [feature][lane], with zeros in the lanes past the last class.
template <class T>
void widen_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, int lanes, T* out) {
    for (ptrdiff_t j = 0; j < n; ++j)
        for (int c = 0; c < lanes; ++c) out[j * lanes + c] = c < k ? theta[j * k + c] : T(0);
}

// ------------------------------------------------------------------------------- the backward product

constexpr int NARROW_BYTES = VEC_BYTES < 32 ? VEC_BYTES : 32;

template <class T>
constexpr int NARROW_LANES = NARROW_BYTES / int(sizeof(T));

// Of a narrow_tile, the most classes, vectors and accumulators: 28 of 32 registers, 12 of 16.
constexpr int NARROW_CLASSES = VEC_BYTES == 64 ? 7 : 6, NARROW_VECTORS = NARROW_CLASSES;
constexpr int NARROW_SUMS = VEC_BYTES == 64 ? 28 : 12;

// The most vectors of a narrow_tile of so many classes.
constexpr int most_vectors(int classes) {
    return NARROW_SUMS / classes < NARROW_VECTORS ? NARROW_SUMS / classes : NARROW_VECTORS;
}

// Features of a narrow_tile. Vectors follow each other, but the last vector of a row begins early, so that it ends with
// the row. Its first lanes overlap the vector before and do not count.
struct NarrowPanel {
    ptrdiff_t begin, last;  // the first feature, and the last vector's first feature counted from there
    int repeated;  // lanes of the last vector that do not count
};

// G[s] += sum over rows r of D[s][r] X[r] for the features of a panel.
template <class T, int NV, int NS>
void narrow_tile(const T* X, ptrdiff_t row_step, const NarrowPanel& panel, const T* D, ptrdiff_t ldd, T* G,
                 ptrdiff_t ldg, ptrdiff_t rows, Prefetcher& shared) {
    typedef VecOf<T, NARROW_LANES<T>> V;
    Prefetcher prefetch = shared;  // a copy stays in registers
    const int lines = prefetch.lines_per_step(rows);
    const T* last = X + panel.begin + panel.last;
    V acc[NS][NV] = {};
    X += panel.begin;
    for (ptrdiff_t r = 0; r < rows; ++r, X += row_step, last += row_step) {
        for (int i = 0; i < lines; ++i) prefetch.next_line();
        V d[NS];
#pragma GCC unroll 8
        for (int s = 0; s < NS; ++s) d[s] = D[s * ldd + r] - V{};
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            V x;
            std::memcpy(&x, v + 1 < NV ? X + v * NARROW_LANES<T> : last, sizeof x);
#pragma GCC unroll 8
            for (int s = 0; s < NS; ++s) acc[s][v] += x * d[s];
        }
    }
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s) {
        T sums[NARROW_LANES<T>], *g = G + s * ldg + panel.begin;
        std::memcpy(sums, &acc[s][NV - 1], sizeof sums);
        for (int i = 0; i < panel.repeated; ++i) sums[i] = 0;
        std::memcpy(&acc[s][NV - 1], sums, sizeof sums);
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            T* at = v + 1 < NV ? g + v * NARROW_LANES<T> : g + panel.last;
            V sum;
            std::memcpy(&sum, at, sizeof sum);
            sum += acc[s][v];
            std::memcpy(at, &sum, sizeof sum);
        }
    }
    shared = prefetch;
}

template <class T>
using NarrowTile = void (*)(const T*, ptrdiff_t, const NarrowPanel&, const T*, ptrdiff_t, T*, ptrdiff_t, ptrdiff_t,
                            Prefetcher&);

template <class T, int NV = 1, int NS = 1>
NarrowTile<T> narrow_tile_of(int nv, int ns) {
    if constexpr (NS < NARROW_CLASSES)
        if (ns > NS) return narrow_tile_of<T, NV, NS + 1>(nv, ns);
    if constexpr (NV < most_vectors(NS))
        if (nv > NV) return narrow_tile_of<T, NV + 1, NS>(nv, ns);
    return narrow_tile<T, NV, NS>;
}

// The cut of the vectors of a row into the panels of narrow_tiles of so many classes.
template <class T>
Split narrow_panels(ptrdiff_t n, int classes) {
    return {int((n + NARROW_LANES<T> - 1) / NARROW_LANES<T>), most_vectors(classes)};
}

// Steps of all narrow_tiles of a block, each of which may prefetch.
template <class T>
ptrdiff_t narrow_steps(ptrdiff_t n, ptrdiff_t k, ptrdiff_t rows) {
    const Split classes(int(k), NARROW_CLASSES);
    ptrdiff_t tiles = 0;
    for (int c = 0; c < classes.parts; ++c) tiles += narrow_panels<T>(n, classes.size(c)).parts;
    return tiles * rows;
}

}  // namespace
}  // namespace fastsoftmax
