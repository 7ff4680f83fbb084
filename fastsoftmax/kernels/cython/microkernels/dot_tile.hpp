// The other micro-kernel: inner products of lines that lie in memory as they are, so that X needs no transposed copy.
//
//     out[s][line] (+)= sum over t of A[line][t] * B[s][t]
//
//     C order:  H^T = theta^T X^T    t = feature, line = row,     s = class
//     F order:  G += D^T X           t = row,     line = feature, s = class
//
// The accumulators are as many as in `tile`, but of partial sums, lane by lane, which are added across in the end. That
// takes 3 cycles a sum where a transposed copy takes 6 a vector of X, however many classes there are: lines that are long
// beside k are better off here (`few_sums`).
#pragma once

#include "microkernels/tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
namespace {

// Lanes of a and of b at distance S, added: a[i] + a[i + S] in the lanes i without bit S, b[i - S] + b[i] in the others.
// One of the two shuffles is a blend, which any port can do.
template <class T, int S, int... L>
INLINE Vec<T> add_pairs(Vec<T> a, Vec<T> b, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(a, b, ((L & S) ? VL<T> + L : L)...) +
           __builtin_shufflevector(a, b, ((L & S) ? VL<T> + L - S : L + S)...);
}

// Lane i: the sum of the lanes of a[i], for NV_MAX vectors. Two vectors become one until one is left; then come the sums
// within it.
template <class T, int S = 1, int... L>
INLINE Vec<T> add_across(Vec<T>* a, std::integer_sequence<int, L...> lanes) {
    if constexpr (S >= VL<T>) {
        return a[0];
    } else if constexpr (S < NV_MAX) {
#pragma GCC unroll 4
        for (int i = 0; i < NV_MAX; i += 2 * S) a[i] = add_pairs<T, S>(a[i], a[i + S], lanes);
        return add_across<T, 2 * S>(a, lanes);
    } else {
        a[0] += __builtin_shufflevector(a[0], a[0], ((L + S) % VL<T>)...);
        return add_across<T, 2 * S>(a, lanes);
    }
}

// The first NV_MAX lanes: one sum for each line. As a vector of their own: four scalar additions and stores for each of
// them, and the lines' addresses in vectors, cost the second product of 60k x 784, k = 10, in F order 960 cycles a row in
// place of 800 in float64, 490 and 420 in float32.
template <class T>
struct Sums {
    typedef T V __attribute__((vector_size(NV_MAX * sizeof(T))));
};
template <class T, int... L>
INLINE typename Sums<T>::V first_lanes(Vec<T> v, std::integer_sequence<int, L...>) {
    return __builtin_shufflevector(v, v, L...);
}

// Lines of which the later ones, past `last`, repeat it.
template <class T>
struct Lines {
    const T* data;
    ptrdiff_t step;
    int last;
};

// out[s][0..NV_MAX) = init[s] (null: 0) + sums, or out += sums. A length that is no multiple of VL ends with a vector
// that overlaps the one before: B holds zeros where A is read twice.
template <class T, int NS, int FETCH>
void dots(const Lines<T>& A, const T* B, ptrdiff_t ldb, T* out, ptrdiff_t ldo, const T* init, bool add, ptrdiff_t length,
          Ahead& shared) {
    Ahead ahead = shared;  // in registers
    Vec<T> acc[NS][NV_MAX] = {};
    const T* a[NV_MAX] = {A.data};
    for (int v = 1; v < NV_MAX; ++v) a[v] = a[v - 1] + (v <= A.last ? A.step : 0);
    auto step = [&](ptrdiff_t at, ptrdiff_t t) __attribute__((always_inline)) {
        if constexpr (FETCH > 0) ahead.fetch();
        if constexpr (FETCH > 1) ahead.fetch();
        Vec<T> x[NV_MAX];
#pragma GCC unroll 4
        for (int v = 0; v < NV_MAX; ++v) x[v] = load_once(a[v] + at);
#pragma GCC unroll 8
        for (int s = 0; s < NS; ++s) {
            const Vec<T> b = load(B + s * ldb + t);
#pragma GCC unroll 4
            for (int v = 0; v < NV_MAX; ++v) acc[s][v] += x[v] * b;
        }
    };
    ptrdiff_t t = 0;
    for (; t + VL<T> <= length; t += VL<T>) step(t, t);
    if (t < length) step(length - VL<T>, t);
#pragma GCC unroll 8
    for (int s = 0; s < NS; ++s) {
        const Vec<T> all = add_across<T>(acc[s], std::make_integer_sequence<int, VL<T>>{});
        typename Sums<T>::V sums = first_lanes<T>(all, std::make_integer_sequence<int, NV_MAX>{}), before{};
        T* o = out + s * ldo;
        if (add)
            std::memcpy(&before, o, sizeof before);
        else if (init)
            before = init[s] - before;
        sums += before;
        std::memcpy(o, &sums, sizeof sums);
    }
    if constexpr (FETCH > 0) shared.at = ahead.at, shared.rest = ahead.rest;
}

template <class T>
using Dots = void (*)(const Lines<T>&, const T*, ptrdiff_t, T*, ptrdiff_t, const T*, bool, ptrdiff_t, Ahead&);

template <class T, int FETCH>
Dots<T> dots_of(int ns) {
    static constexpr Dots<T> table[NS_MAX] = {dots<T, 1, FETCH>, dots<T, 2, FETCH>, dots<T, 3, FETCH>,
                                              dots<T, 4, FETCH>, dots<T, 5, FETCH>, dots<T, 6, FETCH>};
    return table[ns - 1];
}

// Runs the tile of NV_MAX lines x ns scalars, fetching ahead if it is this tile's turn.
template <class T, bool ADD>
INLINE void run_dots(int ns, const Lines<T>& A, const T* B, ptrdiff_t ldb, T* out, ptrdiff_t ldo, const T* init,
                     ptrdiff_t length, Ahead& ahead) {
    const int fetch = ahead.turn((length + VL<T> - 1) / VL<T>);
    const Dots<T> tile = fetch == 0 ? dots_of<T, 0>(ns) : fetch == 1 ? dots_of<T, 1>(ns) : dots_of<T, 2>(ns);
    tile(A, B, ldb, out, ldo, init, ADD, length, ahead);
}

}  // namespace
}  // namespace fastsoftmax
