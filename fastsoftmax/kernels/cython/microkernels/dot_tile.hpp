// The micro-kernel of inner products: lines of X are read where they are, so that X needs no transposed copy.
//
//     out[s][line] (+)= sum over t of A[line][t] * B[s][t]
//
//     C order:  H^T = theta^T X^T    t = feature, line = row,     s = class
//     F order:  G += D^T X           t = row,     line = feature, s = class
//
// There are as many accumulators as in `tile.hpp`, but of partial sums, one in each lane, which are added up at the
// end. That takes 3 cycles a sum; a transposed copy takes 6 cycles a vector of X, however many classes there are. So
// inner products cost less where lines are long beside the number of classes.
#pragma once

#include "microkernels/tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
namespace {

// Adds lanes at distance S: a[i] + a[i + S] in the lanes i without bit S, b[i - S] + b[i] in the others. One of the two
// shuffles is a blend, which does not need the shuffle port.
template <class T, int S, int... L>
INLINE Vec<T> add_pairs(Vec<T> a, Vec<T> b, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(a, b, ((L & S) ? VL<T> + L : L)...) +
           __builtin_shufflevector(a, b, ((L & S) ? VL<T> + L - S : L + S)...);
}

// Lane i becomes the sum of the lanes of a[i], for TILE_VECTORS vectors. Pairs of vectors become one until a single one
// is left, whose halves are then added.
template <class T, int S = 1, int... L>
INLINE Vec<T> sum_of_lanes(Vec<T>* a, std::integer_sequence<int, L...> lanes) {
    if constexpr (S >= VL<T>) {
        return a[0];
    } else if constexpr (S < TILE_VECTORS) {
#pragma GCC unroll 4
        for (int i = 0; i < TILE_VECTORS; i += 2 * S) a[i] = add_pairs<T, S>(a[i], a[i + S], lanes);
        return sum_of_lanes<T, 2 * S>(a, lanes);
    } else {
        a[0] += __builtin_shufflevector(a[0], a[0], ((L + S) % VL<T>)...);
        return sum_of_lanes<T, 2 * S>(a, lanes);
    }
}

// The first TILE_VECTORS lanes, one sum for each line, as a shorter vector. Backward product of 60k x 784, k = 10, in F
// order: 800 cycles a row in float64 and 420 in float32, with scalar additions and stores of the sums 960 and 490.
template <class T, int... L>
INLINE VecOf<T, TILE_VECTORS> first_lanes(Vec<T> v, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(v, v, L...);
}

// TILE_VECTORS lines, `step` elements apart. Those after line `last` repeat it.
template <class T>
struct Lines {
    const T* data;
    ptrdiff_t step;
    int last;
};

// The products of the lines with NS scalars, a sum of each line. If the length is no
// multiple of VL, the last vector of A overlaps the one before, and B holds zeros where A is read for the second time.
template <class T, int LINES, int NS>
void dot_tile(const Lines<T>& A, const T* B, ptrdiff_t ldb, const Out<T>& to, ptrdiff_t length, Prefetcher& shared) {
    typedef VecOf<T, TILE_VECTORS> Sums;
    PrefetchedLines<LINES> prefetch(shared);
    const Out<T> out = to;  // a copy stays in registers
    Vec<T> acc[NS][TILE_VECTORS] = {};
    const T* a[TILE_VECTORS] = {A.data};
    for (int v = 1; v < TILE_VECTORS; ++v) a[v] = a[v - 1] + (v <= A.last ? A.step : 0);
    auto step = [&](ptrdiff_t at, ptrdiff_t t) __attribute__((always_inline)) {
        prefetch.step();
        Vec<T> x[TILE_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < TILE_VECTORS; ++v) x[v] = load_once(a[v] + at);
#pragma GCC unroll 8
        for (int s = 0; s < NS; ++s) {
            const Vec<T> b = load(B + s * ldb + t);
#pragma GCC unroll 4
            for (int v = 0; v < TILE_VECTORS; ++v) acc[s][v] += x[v] * b;
        }
    };
    ptrdiff_t t = 0;
    for (; t + VL<T> <= length; t += VL<T>) step(t, t);
    if (t < length) step(length - VL<T>, t);
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s) {
        const Vec<T> all = sum_of_lanes<T>(acc[s], std::make_integer_sequence<int, VL<T>>{});
        const Sums sums = first_lanes<T>(all, std::make_integer_sequence<int, TILE_VECTORS>{});
        T* o = out.data + s * out.ld;
        const Sums before = out.add ? load<T, TILE_VECTORS>(o) : out.init ? out.init[s] - Sums{} : Sums{};
        store<T, TILE_VECTORS>(o, sums + before);
    }
    prefetch.put_back(shared);
}

template <class T>
using DotTile = void (*)(const Lines<T>&, const T*, ptrdiff_t, const Out<T>&, ptrdiff_t, Prefetcher&);

template <class T, int... I>
INLINE DotTile<T> dot_tile_of(int lines, int ns, std::integer_sequence<int, I...>) {
    static constexpr DotTile<T> table[] = {dot_tile<T, I / TILE_SCALARS, I % TILE_SCALARS + 1>...};
    return table[lines * TILE_SCALARS + ns - 1];
}

// Runs the tile of TILE_VECTORS lines x ns scalars, with as many prefetches as `lines_per_step` gives it.
template <class T>
INLINE void run_dot_tile(int ns, const Lines<T>& A, const T* B, ptrdiff_t ldb, const Out<T>& out, ptrdiff_t length,
                         Prefetcher& prefetch) {
    const int lines = prefetch.lines_per_step((length + VL<T> - 1) / VL<T>);
    constexpr auto all = std::make_integer_sequence<int, 3 * TILE_SCALARS>{};
    dot_tile_of<T>(lines, ns, all)(A, B, ldb, out, length, prefetch);
}

}  // namespace
}  // namespace fastsoftmax
