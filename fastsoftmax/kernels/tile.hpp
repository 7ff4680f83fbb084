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

#include "vec.hpp"

namespace {

#if VEC_BYTES == 64
constexpr int NV_MAX = 4;
#else
constexpr int NV_MAX = 2;  // 16 registers: 2 x 6 accumulators, 2 of A, 1 of B
#endif
constexpr int NS_MAX = 6;

template <class T>
constexpr int WIDTH = NV_MAX * VL<T>;  // lanes of a full panel

// out = init + sum (init may be null: 0), or out += sum. Strides in elements.
template <class T, int NV, int NS, bool ADD>
void tile(const T* A, ptrdiff_t lda, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar, T* out, ptrdiff_t ldo,
          const T* init, ptrdiff_t steps) {
    Vec<T> acc[NS][NV];
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[s][v] = (!ADD && init) ? splat<T>(init[s]) : Vec<T>{};
    for (ptrdiff_t t = 0; t < steps; ++t, A += lda, B += b_step) {
        Vec<T> a[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) a[v] = load(A + v * VL<T>);
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
            store<T>(o, ADD ? load(o) + acc[s][v] : acc[s][v]);
        }
}

template <class T>
using Tile = void (*)(const T*, ptrdiff_t, const T*, ptrdiff_t, ptrdiff_t, T*, ptrdiff_t, const T*, ptrdiff_t);

template <class T, bool ADD, int NV>
Tile<T> tile_of(int ns) {
    static constexpr Tile<T> table[NS_MAX] = {tile<T, NV, 1, ADD>, tile<T, NV, 2, ADD>, tile<T, NV, 3, ADD>,
                                              tile<T, NV, 4, ADD>, tile<T, NV, 5, ADD>, tile<T, NV, 6, ADD>};
    return table[ns - 1];
}

// The tile of nv vectors x ns scalars.
template <class T, bool ADD>
Tile<T> tile_of(int nv, int ns) {
#if VEC_BYTES == 64
    if (nv == 4) return tile_of<T, ADD, 4>(ns);
    if (nv == 3) return tile_of<T, ADD, 3>(ns);
#endif
    return nv == 2 ? tile_of<T, ADD, 2>(ns) : tile_of<T, ADD, 1>(ns);
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

}  // namespace
