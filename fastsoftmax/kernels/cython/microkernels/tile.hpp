// The register tile: the micro-kernel of outer products, for both products of a block.
//
//     out[s][lane] (+)= sum over t of A[t][lane] * B[t][s]
//
//             lanes (vectors of A, contiguous)
//            +--------------------------------+
//      B  s  | accumulators: NS x NV vectors, |    forward:  t = feature, lane = row,     s = class
//            | in registers over the whole t  |    backward: t = row,     lane = feature, s = class
//            +--------------------------------+
//
// A step of t loads NV vectors of A, broadcasts NS numbers of B (AVX-512 does that within the multiply-add) and takes
// NV * NS multiply-adds; nothing is added across lanes. 4 x 6 accumulators fill 24 of the 32 AVX-512 registers.
#pragma once

#include "microkernels/prefetch.hpp"

namespace fastsoftmax {
namespace {

#if VEC_BYTES == 64
constexpr int TILE_VECTORS = 4;
#else
constexpr int TILE_VECTORS = 2;  // of 16 registers, 2 x 6 accumulators, 2 of A, 1 of B
#endif
constexpr int TILE_SCALARS = 6;

template <class T>
constexpr int TILE_LANES = TILE_VECTORS * VL<T>;  // lanes of a full panel

template <class T>
constexpr ptrdiff_t round_up(ptrdiff_t x, ptrdiff_t to = TILE_LANES<T>) {
    return (x + to - 1) / to * to;
}

// out = init[s] + sum (0 + sum if init is null), or out += sum; out[s] begins at s * ldo, A[t] at t * lda, and B[t][s]
// is at t * b_step + s * b_scalar. LINES is what each step prefetches.
template <class T, int NV, int NS, int LINES>
void tile(const T* A, ptrdiff_t lda, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar, T* out, ptrdiff_t ldo,
          const T* init, bool add, ptrdiff_t steps, Prefetcher& shared) {
    Prefetcher prefetch = shared;  // a copy stays in registers
    Vec<T> acc[NS][NV];
    if (add && prefetch.far)  // a large gradient is on its way while the products are summed
        for (int s = 0; s < NS; ++s)
            for (int v = 0; v < NV; ++v) __builtin_prefetch(out + s * ldo + v * VL<T>, 1, 3);
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) acc[s][v] = init ? splat<T>(init[s]) : Vec<T>{};
    for (ptrdiff_t t = 0; t < steps; ++t, A += lda, B += b_step) {
        if constexpr (LINES > 0) prefetch.next_line();
        if constexpr (LINES > 1) prefetch.next_line();
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
    if constexpr (LINES > 0) shared.at = prefetch.at, shared.rest = prefetch.rest;
}

template <class T>
using Tile = void (*)(const T*, ptrdiff_t, const T*, ptrdiff_t, ptrdiff_t, T*, ptrdiff_t, const T*, bool, ptrdiff_t,
                      Prefetcher&);

template <class T, int LINES, int NV>
Tile<T> tile_of(int ns) {
    static constexpr Tile<T> table[TILE_SCALARS] = {tile<T, NV, 1, LINES>, tile<T, NV, 2, LINES>,
                                                    tile<T, NV, 3, LINES>, tile<T, NV, 4, LINES>,
                                                    tile<T, NV, 5, LINES>, tile<T, NV, 6, LINES>};
    return table[ns - 1];
}
template <class T, int LINES>
Tile<T> tile_of(int nv, int ns) {
#if VEC_BYTES == 64
    if (nv == 4) return tile_of<T, LINES, 4>(ns);
    if (nv == 3) return tile_of<T, LINES, 3>(ns);
#endif
    return nv == 2 ? tile_of<T, LINES, 2>(ns) : tile_of<T, LINES, 1>(ns);
}

// Runs the tile of nv vectors x ns scalars, with as many prefetches as `lines_per_step` gives it.
template <class T, bool ADD>
INLINE void run_tile(int nv, int ns, const T* A, ptrdiff_t lda, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar,
                     T* out, ptrdiff_t ldo, const T* init, ptrdiff_t steps, Prefetcher& prefetch) {
    const int lines = prefetch.lines_per_step(steps);
    const Tile<T> tile = lines == 0   ? tile_of<T, 0>(nv, ns)
                         : lines == 1 ? tile_of<T, 1>(nv, ns)
                                      : tile_of<T, 2>(nv, ns);
    tile(A, lda, B, b_step, b_scalar, out, ldo, ADD ? nullptr : init, ADD, steps, prefetch);
}

// An even cut of a length into parts of at most `most`. 7 classes become 4 + 3 rather than 6 + 1, because a tile with a
// single scalar spends its time on loads.
struct Split {
    int parts, small, larger;  // the first `larger` parts hold small + 1
    Split(int length, int most)
        : parts((length + most - 1) / most), small(length / (parts ? parts : 1)), larger(length - small * parts) {}
    int begin(int i) const { return i * small + (i < larger ? i : larger); }
    int size(int i) const { return small + (i < larger); }
};

// The panels of n lanes; a panel is what one tile takes.
//
// So that no vector reads past the data and nothing is padded, the last of several panels begins early enough to end at
// n. Its first lanes overlap the panel before; they are computed twice and the second result is dropped. A single panel
// cannot begin earlier. Its last vector does read past n, where `stage` makes sure that there is something. (One panel
// of whole vectors and another for the rest: 500k x 50, float32, one thread, 12.6 ms instead of 9.8.)
struct Panel {
    ptrdiff_t begin;  // first lane read
    ptrdiff_t slot;   // where its results go; of the lanes begin, begin + 1, ... those from slot on count, up to n
    int vectors;
};
template <class T>
struct PanelsOf {
    ptrdiff_t n, vectors;
    int count;
    explicit PanelsOf(ptrdiff_t n)
        : n(n), vectors((n + VL<T> - 1) / VL<T>), count(int((vectors + TILE_VECTORS - 1) / TILE_VECTORS)) {}
    bool reads_past() const { return count == 1 && n % VL<T>; }
    Panel operator[](int i) const {
        const ptrdiff_t slot = i * TILE_LANES<T>;
        const int size = vectors - i * TILE_VECTORS < TILE_VECTORS ? int(vectors - i * TILE_VECTORS) : TILE_VECTORS;
        const ptrdiff_t early = n - size * VL<T>;
        return {i + 1 == count && early > 0 && early < slot ? early : slot, slot, size};
    }
};

}  // namespace
}  // namespace fastsoftmax
