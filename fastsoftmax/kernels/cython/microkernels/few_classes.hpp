// The micro-kernel of few classes, for the forward product: rows of X are read in place, without a transposed copy.
//
//     H[row][class] = bias[class] + sum over features of X[row][feature] * theta[feature][class]    class in the lanes
//
// It is the loop of `tile.hpp` with another store. A step takes one number of X from each of 8 rows, straight from
// memory into a multiply-add, and a vector of theta with a lane for each class, 4 lanes for 3 classes. The sums are
// transposed at the end. The idle lanes cost less than a transposed copy of X (6 cycles a vector) as long as rows are
// short; where rows are long, `dot_tile` is better still. A row may be shorter than a vector. Features are summed in
// the order in which `tile` sums them, so the bits are the same.
#pragma once

#include "microkernels/tile.hpp"
#include "microkernels/transpose.hpp"

namespace fastsoftmax {
namespace {

// Rows that are summed side by side, each a chain of multiply-adds. 16 rows were a tenth slower; 8 rows with two sums
// each were no faster.
template <class T>
constexpr int ROWS = VL<T> < 8 ? VL<T> : 8;

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

// Steps of a class_lane_tile over n features, each of which may prefetch.
template <class T>
constexpr ptrdiff_t tile_steps(ptrdiff_t n) {
    return VL<T> / ROWS<T> * n;
}

// H^T of VL rows and k classes, for which a vector has L lanes.
template <class T, int L, int LINES>
void class_lane_tile(const T* X, ptrdiff_t row_step, const T* theta, const T* bias, ptrdiff_t n, T* H, ptrdiff_t ld,
                     int k, Prefetcher& prefetch) {
    const VecOf<T, L> start = load<T, L>(bias);
    VecOf<T, L> sums[VL<T>];
#pragma GCC unroll 4
    for (int r = 0; r < VL<T>; r += ROWS<T>) {
#pragma GCC unroll 8
        for (int i = 0; i < ROWS<T>; ++i) sums[r + i] = start;
        add_products<T, L, 1, ROWS<T>, LINES>(theta, L, 0, {X + r * row_step, 1, row_step}, n, sums + r, prefetch);
    }
    Vec<T> out[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) out[i] = join_classes<T, L, VL<T>>(sums + i, std::make_integer_sequence<int, VL<T>>{});
    transpose_rounds<T, L / 2, L>(out);
#pragma GCC unroll 16
    for (int c = 0; c < L; ++c)
        if (c < k) store<T>(H + c * ld, out[c]);
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
    if constexpr (VL<T> >= 4) {
        const int lines = prefetch.lines_per_step(tile_steps<T>(n));
        class_lane_tile_of<T, 4>(lanes, lines)(X, row_step, theta, bias, n, H, ld, k, prefetch);
    }
}

// theta (n, k) as [feature][lane], with zeros in the lanes past the last class.
template <class T>
void widen_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, int lanes, T* out) {
    for (ptrdiff_t j = 0; j < n; ++j)
        for (int c = 0; c < lanes; ++c) out[j * lanes + c] = c < k ? theta[j * k + c] : T(0);
}

}  // namespace
}  // namespace fastsoftmax
