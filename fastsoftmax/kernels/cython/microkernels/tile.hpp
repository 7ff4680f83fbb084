// The register tile: the micro-kernel of outer products.
//
//     out[s][lane] (+)= sum over t of A[t][lane] * B[t][s]
//
//             lanes (vectors of A, contiguous)
//            +--------------------------------+    forward:  t = feature, lane = row,     s = class
//      B  s  | accumulators: NS x NV vectors, |    backward: t = row,     lane = feature, s = class
//            | in registers over the whole t  |    dX:       t = class,   lane = feature, s = row
//            +--------------------------------+    few classes, forward:
//                                                            t = feature, lane = class,   s = row
//
// A step of t loads NV vectors of A, broadcasts NS numbers of B (AVX-512 does that within the multiply-add) and takes
// NV * NS multiply-adds; nothing is added across lanes. There are two shapes of tiles, `Wide` and `Narrow`; the tile of
// `few_classes.hpp` has the same loop and ends in another store.
#pragma once

#include <utility>

#include "microkernels/prefetch.hpp"

namespace fastsoftmax {
namespace {

#if VEC_BYTES == 64
constexpr int TILE_VECTORS = 4;
#else
constexpr int TILE_VECTORS = 2;  // of 16 registers, 2 x 6 accumulators, 2 of A, 1 of B
#endif
constexpr int TILE_SCALARS = 6;
constexpr int NARROW_BYTES = VEC_BYTES < 32 ? VEC_BYTES : 32;

// A shape of tiles: the lanes of a vector; scalars, vectors and accumulators at most; how many numbers of lines to
// prefetch have a tile of their own, 1 if there is one for any. Whole vectors: 4 x 6 accumulators fill 24 of the 32
// AVX-512 registers.
template <class T>
struct Wide {
    static constexpr int LANES = VL<T>, SCALARS = TILE_SCALARS, VECTORS = TILE_VECTORS, SUMS = SCALARS * VECTORS;
    static constexpr int LINES = 3;
};
// Vectors of 32 bytes, for short rows in place. Such rows seldom begin where a cache line does: a load of 64 bytes then
// touches two lines each time and takes three cycles, a load of 32 bytes touches two lines every other time. Features
// are seldom a multiple of 64 bytes either: of 50 in float64, 32 bytes at a time waste 2 lanes, 64 bytes 6. 500k x 50,
// k = 3, one thread: 15 cycles a row, were 26, in float64; 7, were 15, in float32.
template <class T>
struct Narrow {
    static constexpr int LANES = NARROW_BYTES / int(sizeof(T)), SCALARS = VEC_BYTES == 64 ? 7 : 6, VECTORS = SCALARS;
    static constexpr int SUMS = VEC_BYTES == 64 ? 28 : 12;  // of 32 registers, of 16
    static constexpr int LINES = 1;
};

// The most vectors of a tile of so many scalars.
template <class Shape>
constexpr int most_vectors(int scalars) {
    return Shape::SUMS / scalars < Shape::VECTORS ? Shape::SUMS / scalars : Shape::VECTORS;
}

template <class T>
constexpr int TILE_LANES = TILE_VECTORS * VL<T>;  // lanes of a full panel

template <class T>
constexpr ptrdiff_t round_up(ptrdiff_t x, ptrdiff_t to = TILE_LANES<T>) {
    return (x + to - 1) / to * to;
}

// An even cut of a length into parts of at most `most`. 7 classes become 4 + 3 rather than 6 + 1, because a tile with a
// single scalar spends its time on loads.
struct Split {
    int parts, small, larger;  // the first `larger` parts hold small + 1
    Split(ptrdiff_t length, int most)
        : parts(int((length + most - 1) / most)),
          small(int(length / (parts ? parts : 1))),
          larger(int(length - small * ptrdiff_t(parts))) {}
    int begin(int i) const { return i * small + (i < larger ? i : larger); }
    int size(int i) const { return small + (i < larger); }
};

// The lanes of a tile, of the n that a line has. Vectors follow each other, but the last vector of a line begins early,
// so that it ends with the line: no vector reads past the data and nothing is padded. Its first lanes overlap the
// vector before; they are computed twice and added once. Only a line that is shorter than a vector is read past its
// end, where `stage` makes sure that there is something.
struct Panel {
    ptrdiff_t begin;  // the first lane
    int vectors;
    ptrdiff_t last;  // where the last vector begins, counted from there: less than 0 if it is the only one
    int repeated;    // lanes of the last vector that do not count

    ptrdiff_t first() const { return begin + (last < 0 ? last : 0); }  // the first lane that is read
};

// A panel of whole vectors, without a tail: of rows, which a block is padded to.
template <class T>
Panel whole_vectors(int count) {
    return {0, count, (count - 1) * ptrdiff_t(VL<T>), 0};
}

// The panels of n lanes, each of at most so many vectors of L lanes.
template <int L>
struct Panels {
    ptrdiff_t n;
    Split split;
    explicit Panels(ptrdiff_t n, int most = TILE_VECTORS) : n(n), split((n + L - 1) / L, most) {}
    int count() const { return split.parts; }
    ptrdiff_t end(int i) const { return i + 1 < count() ? split.begin(i + 1) * ptrdiff_t(L) : n; }
    Panel operator[](int i) const {
        const ptrdiff_t begin = split.begin(i) * ptrdiff_t(L), at = (split.size(i) - 1) * L;
        const ptrdiff_t early = n < L ? 0 : n - L - begin;
        const ptrdiff_t last = at < early ? at : early;
        return {begin, split.size(i), last, int(at - last)};
    }
};

// The scalars of tiles: B[t][s] is data[t * step + s * scalar].
template <class T>
struct Scalars {
    const T* data;
    ptrdiff_t step, scalar;

    Scalars from(ptrdiff_t s) const { return {data + s * scalar, step, scalar}; }
};

// Where the sums of a tile go: those of scalar s begin at data[s * ld]. They are added to what is there or, without
// `add`, to init[s], or to nothing if init is null.
template <class T>
struct Out {
    T* data;
    ptrdiff_t ld;
    bool add = true;
    const T* init = nullptr;
};

// acc[s * NV + v] += sum over t of A[t][v] * B[t][s], where A[t] begins at t * lda and its last vector at `last` from
// there. Whichever are fewer, the vectors or the scalars of a step, stay in registers.
template <class T, int L, int NV, int NS, int LINES>
INLINE void add_products(const T* A, ptrdiff_t lda, ptrdiff_t last, Scalars<T> B, ptrdiff_t steps, VecOf<T, L>* acc,
                         Prefetcher& shared) {
    typedef VecOf<T, L> V;
    PrefetchedLines<LINES> prefetch(shared);
    for (ptrdiff_t t = 0; t < steps; ++t, A += lda, B.data += B.step) {
        prefetch.step();
        if constexpr (NV <= NS) {
            V a[NV];
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) a[v] = load_once<T, L>(v + 1 < NV ? A + v * L : A + last);
#pragma GCC unroll 8
            for (int s = 0; s < NS; ++s) {
                const V b = B.data[s * B.scalar] - V{};
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) acc[s * NV + v] += a[v] * b;
            }
        } else {
            V b[NS];
#pragma GCC unroll 8
            for (int s = 0; s < NS; ++s) b[s] = B.data[s * B.scalar] - V{};
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) {
                const V a = load_once<T, L>(v + 1 < NV ? A + v * L : A + last);
#pragma GCC unroll 8
                for (int s = 0; s < NS; ++s) acc[s * NV + v] += a * b[s];
            }
        }
    }
    prefetch.put_back(shared);
}

// v with zeros in its first lanes.
template <class T, int L>
INLINE VecOf<T, L> clear_lanes(VecOf<T, L> v, int count) {
    typedef typename Lanes<T>::Int Int;
    VecOf<Int, L> lane;
    for (int i = 0; i < L; ++i) lane[i] = i;
    return lane >= Int(count) ? v : VecOf<T, L>{};
}

// The products of the lanes of a panel and NS scalars; A, B and out begin with the panel's first lane.
template <class T, int L, int NV, int NS, int LINES>
void tile(const T* A, ptrdiff_t lda, const Panel& panel, const Scalars<T>& B, const Out<T>& to, ptrdiff_t steps,
          Prefetcher& prefetch) {
    typedef VecOf<T, L> V;
    const Out<T> out = to;  // copies stay in registers
    const ptrdiff_t last = panel.last;
    V acc[NS * NV];
    if (out.add && prefetch.far)  // a large gradient is on its way while the products are summed
        for (int s = 0; s < NS; ++s)
            for (int v = 0; v < NV; ++v) __builtin_prefetch(out.data + s * out.ld + v * L, 1, 3);
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) acc[s * NV + v] = out.init ? out.init[s] - V{} : V{};
    add_products<T, L, NV, NS, LINES>(A, lda, last, B, steps, acc, prefetch);
    if (out.add && panel.repeated)
#pragma GCC unroll 8
        for (int s = 0; s < NS; ++s) acc[s * NV + NV - 1] = clear_lanes<T, L>(acc[s * NV + NV - 1], panel.repeated);
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) {
            T* o = out.data + s * out.ld + (v + 1 < NV ? v * L : last);
            store<T, L>(o, out.add ? load<T, L>(o) + acc[s * NV + v] : acc[s * NV + v]);
        }
}

template <class T>
using Tile = void (*)(const T*, ptrdiff_t, const Panel&, const Scalars<T>&, const Out<T>&, ptrdiff_t, Prefetcher&);

// The tile of a shape, for I = (LINES * VECTORS + NV - 1) * SCALARS + NS - 1; null if it has too many accumulators.
template <class T, class Shape, int I>
constexpr Tile<T> tile_of() {
    constexpr int NS = I % Shape::SCALARS + 1, NV = I / Shape::SCALARS % Shape::VECTORS + 1;
    constexpr int LINES = Shape::LINES == 1 ? ANY_LINES : I / Shape::SCALARS / Shape::VECTORS;
    if constexpr (NV <= most_vectors<Shape>(NS))
        return tile<T, Shape::LANES, NV, NS, LINES>;
    else
        return nullptr;
}
template <class T, class Shape, int... I>
INLINE Tile<T> tile_of(int lines, int nv, int ns, std::integer_sequence<int, I...>) {
    static constexpr Tile<T> table[] = {tile_of<T, Shape, I>()...};
    return table[((Shape::LINES == 1 ? 0 : lines) * Shape::VECTORS + nv - 1) * Shape::SCALARS + ns - 1];
}

// Runs the tile of a panel and ns scalars, with as many prefetches as `lines_per_step` gives it.
template <class Shape, class T>
INLINE void run_tile(int ns, const T* A, ptrdiff_t lda, const Panel& panel, const Scalars<T>& B, const Out<T>& out,
                     ptrdiff_t steps, Prefetcher& prefetch) {
    constexpr auto all = std::make_integer_sequence<int, Shape::LINES * Shape::VECTORS * Shape::SCALARS>{};
    const int lines = prefetch.lines_per_step(steps);
    tile_of<T, Shape>(lines, panel.vectors, ns, all)(A, lda, panel, B, out, steps, prefetch);
}

}  // namespace
}  // namespace fastsoftmax
