// Transposes squares of VL x VL numbers by shuffles.
#pragma once

#include <utility>

#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

// One round of the transpose swaps the off-diagonal S x S squares of each 2 S x 2 S square; there are log2(VL) rounds.
template <class T, int S, int... L>
INLINE void swap_blocks(Vec<T>& a, Vec<T>& b, std::integer_sequence<int, L...>) {
    const Vec<T> x = a, y = b;
    a = __builtin_shufflevector(x, y, ((L & S) ? VL<T> + L - S : L)...);
    b = __builtin_shufflevector(x, y, ((L & S) ? VL<T> + L : L + S)...);
}
template <class T, int S, int COUNT = VL<T>>
INLINE void transpose_rounds(Vec<T>* r) {
#pragma GCC unroll 16
    for (int i = 0; i < COUNT; ++i)
        if (!(i & S)) swap_blocks<T, S>(r[i], r[i + S], std::make_integer_sequence<int, VL<T>>{});
    if constexpr (S > 1) transpose_rounds<T, S / 2, COUNT>(r);
}
// A vector of two halves from memory. They replace the first round of a transpose: inserting a half from memory needs a
// load port, and the shuffle port is the bottleneck.
template <class T, int... L>
INLINE Vec<T> join_halves(const char* low, const char* high, std::integer_sequence<int, L...>) {
    VecOf<T, VL<T> / 2> a, b;
    std::memcpy(&a, low, sizeof a);
    std::memcpy(&b, high, sizeof b);
    return __builtin_shufflevector(a, b, L...);
}
// r becomes the transpose of VL lines, `stride` bytes apart. Lines after line `last` repeat it. What lies
// `prefetch_distance` bytes further on is prefetched, unless that is 0.
template <class T>
INLINE void load_square(const char* src, ptrdiff_t stride, int last, Vec<T>* r, ptrdiff_t prefetch_distance = 0) {
    constexpr int S = VL<T> / 2, HALF = VEC_BYTES / 2;
    constexpr auto lanes = std::make_integer_sequence<int, VL<T>>{};
#pragma GCC unroll 8
    for (int i = 0; i < S; ++i) {
        const char *a = src + (i < last ? i : last) * stride, *b = src + (i + S < last ? i + S : last) * stride;
        if (prefetch_distance)
            __builtin_prefetch(a + prefetch_distance, 0, 2), __builtin_prefetch(b + prefetch_distance, 0, 2);
        r[i] = join_halves<T>(a, b, lanes);
        r[i + S] = join_halves<T>(a + HALF, b + HALF, lanes);
    }
    if constexpr (S > 1) transpose_rounds<T, S / 2>(r);
}
// dst[i][line] = src[line][i]; strides and the distance in elements.
template <class T>
INLINE void transpose_square(const T* src, ptrdiff_t src_stride, int last, T* dst, ptrdiff_t dst_stride,
                             ptrdiff_t prefetch_distance = 0) {
    Vec<T> r[VL<T>];
    constexpr ptrdiff_t size = sizeof(T);
    load_square<T>((const char*)src, src_stride * size, last, r, prefetch_distance * size);
#pragma GCC unroll 16
    for (int i = 0; i < VL<T>; ++i) store<T>(dst + i * dst_stride, r[i]);
}

}  // namespace
}  // namespace fastsoftmax
