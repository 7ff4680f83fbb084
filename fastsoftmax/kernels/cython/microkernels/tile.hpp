// The register-tiled micro-kernel, used twice: H^T = theta^T X^T and G += D^T X.
//
//     out[s][lane] (+)= sum over t of A[t][lane] * B[t][s]
//
//             lanes (vectors of A, contiguous)
//            +--------------------------------+
//      B  s  | accumulators: NS x NV vectors, |    forward:  t = feature, lane = row,     s = class
//            | in registers over the whole t  |    backward: t = row,     lane = feature, s = class
//            +--------------------------------+
//
// A sum of outer products: per step NV loads of A, NS broadcasts of B (folded into the multiply-add
// on AVX-512), NV * NS multiply-adds, no horizontal step. 4 x 6 fills 24 of 32 AVX-512 registers.
#pragma once

#include "microkernels/prefetch.hpp"

namespace fastsoftmax {
namespace {

#if VEC_BYTES == 64
constexpr int NV_MAX = 4;
#else
constexpr int NV_MAX = 2;  // 16 registers: 2 x 6 accumulators, 2 of A, 1 of B
#endif
constexpr int NS_MAX = 6;

template <class T>
constexpr int WIDTH = NV_MAX * VL<T>;  // lanes of a full panel

template <class T>
constexpr ptrdiff_t round_up(ptrdiff_t x, ptrdiff_t to = WIDTH<T>) {
    return (x + to - 1) / to * to;
}

// out = init + sum (init may be null: 0), or out += sum. Strides in elements.
template <class T, int NV, int NS, int FETCH>
void tile(const T* A, ptrdiff_t lda, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar, T* out, ptrdiff_t ldo,
          const T* init, bool add, ptrdiff_t steps, Ahead& shared) {
    Ahead ahead = shared;  // in registers
    Vec<T> acc[NS][NV];
    if (add && ahead.far)  // a large gradient arrives while the products are summed, not after
        for (int s = 0; s < NS; ++s)
            for (int v = 0; v < NV; ++v) __builtin_prefetch(out + s * ldo + v * VL<T>, 1, 3);
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[s][v] = init ? splat<T>(init[s]) : Vec<T>{};
    for (ptrdiff_t t = 0; t < steps; ++t, A += lda, B += b_step) {
        if constexpr (FETCH > 0) ahead.fetch();
        if constexpr (FETCH > 1) ahead.fetch();
        Vec<T> a[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) a[v] = load_once(A + v * VL<T>);
#pragma GCC unroll 8
        for (int s = 0; s < NS; ++s) {
            const Vec<T> b = splat<T>(B[s * b_scalar]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) acc[s][v] += a[v] * b;
        }
    }
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            T* o = out + s * ldo + v * VL<T>;
            store<T>(o, add ? load(o) + acc[s][v] : acc[s][v]);
        }
    if constexpr (FETCH > 0) shared.at = ahead.at, shared.rest = ahead.rest;
}

template <class T>
using Tile = void (*)(const T*, ptrdiff_t, const T*, ptrdiff_t, ptrdiff_t, T*, ptrdiff_t, const T*, bool, ptrdiff_t,
                      Ahead&);

template <class T, int FETCH, int NV>
Tile<T> tile_of(int ns) {
    static constexpr Tile<T> table[NS_MAX] = {tile<T, NV, 1, FETCH>, tile<T, NV, 2, FETCH>,
                                              tile<T, NV, 3, FETCH>, tile<T, NV, 4, FETCH>,
                                              tile<T, NV, 5, FETCH>, tile<T, NV, 6, FETCH>};
    return table[ns - 1];
}
template <class T, int FETCH>
Tile<T> tile_of(int nv, int ns) {
#if VEC_BYTES == 64
    if (nv == 4) return tile_of<T, FETCH, 4>(ns);
    if (nv == 3) return tile_of<T, FETCH, 3>(ns);
#endif
    return nv == 2 ? tile_of<T, FETCH, 2>(ns) : tile_of<T, FETCH, 1>(ns);
}

// Runs the tile of nv vectors x ns scalars, fetching ahead if it is this tile's turn.
template <class T, bool ADD>
INLINE void run_tile(int nv, int ns, const T* A, ptrdiff_t lda, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar,
                     T* out, ptrdiff_t ldo, const T* init, ptrdiff_t steps, Ahead& ahead) {
    const int fetch = ahead.turn(steps);
    const Tile<T> tile = fetch == 0   ? tile_of<T, 0>(nv, ns)
                         : fetch == 1 ? tile_of<T, 1>(nv, ns)
                                      : tile_of<T, 2>(nv, ns);
    tile(A, lda, B, b_step, b_scalar, out, ldo, ADD ? nullptr : init, ADD, steps, ahead);
}

// Cuts a length into parts of at most `most`, as even as can be: 7 by 6 is 4 + 3, not 6 + 1,
// because a tile of one column spends its time on loads.
struct Split {
    int parts, small, larger;  // the first `larger` parts hold small + 1
    Split(int length, int most)
        : parts((length + most - 1) / most), small(length / (parts ? parts : 1)), larger(length - small * parts) {}
    int begin(int i) const { return i * small + (i < larger ? i : larger); }
    int size(int i) const { return small + (i < larger); }
};

// The lanes of a length n, panel by panel. The last of several panels starts early rather than end late: its first
// lanes repeat the previous panel's, are computed twice and dropped in the end, so that no vector
// reads past the data and nothing is padded. A single panel has nowhere to start: its last vector does read past n,
// and `stage` sees to it that something lies there. (A panel for the whole vectors and one for the rest, in its
// place, took 500k x 50 in float32 from 9.8 to 12.6 ms on one thread.)
struct Panel {
    ptrdiff_t begin;  // first lane read
    ptrdiff_t slot;   // where its results go; lane begin + l counts if it is at least slot, and begin + l < n
    int vectors;
};
template <class T>
struct PanelsOf {
    ptrdiff_t n, vectors;
    int count;
    explicit PanelsOf(ptrdiff_t n)
        : n(n), vectors((n + VL<T> - 1) / VL<T>), count(int((vectors + NV_MAX - 1) / NV_MAX)) {}
    bool reads_past() const { return count == 1 && n % VL<T>; }
    Panel operator[](int i) const {
        const ptrdiff_t slot = i * WIDTH<T>;
        const int size = vectors - i * NV_MAX < NV_MAX ? int(vectors - i * NV_MAX) : NV_MAX;
        const ptrdiff_t early = n - size * VL<T>;
        return {i + 1 == count && early > 0 && early < slot ? early : slot, slot, size};
    }
};

}  // namespace
}  // namespace fastsoftmax
