// Squares of VL x VL values, transposed by shuffles.
#pragma once

#include <utility>

#include "microkernels/simd.hpp"

namespace fastsoftmax {
namespace {

// A VL x VL transpose: at distance s, swap the off-diagonal s x s blocks; log2(VL) rounds.
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
// Half a vector, and two of them side by side. The first round of a transpose is done by loading halves: an insert
// from memory runs on a load port, where shuffles are the bottleneck.
template <class T>
struct Halves {
    typedef T V __attribute__((vector_size(VEC_BYTES / 2)));
};
template <class T, int... L>
INLINE Vec<T> join_halves(const char* low, const char* high, std::integer_sequence<int, L...>) {
    typename Halves<T>::V a, b;
    std::memcpy(&a, low, sizeof a);
    std::memcpy(&b, high, sizeof b);
    return __builtin_shufflevector(a, b, L...);
}
// r becomes the transpose of VL lines, `stride` bytes apart, of which the later ones, past `last`, repeat it.
template <class T>
INLINE void load_square(const char* src, ptrdiff_t stride, int last, Vec<T>* r, ptrdiff_t further = 0) {
    constexpr int S = VL<T> / 2, HALF = VEC_BYTES / 2;
    constexpr auto lanes = std::make_integer_sequence<int, VL<T>>{};
#pragma GCC unroll 8
    for (int i = 0; i < S; ++i) {
        const char *a = src + (i < last ? i : last) * stride, *b = src + (i + S < last ? i + S : last) * stride;
        if (further) __builtin_prefetch(a + further, 0, 2), __builtin_prefetch(b + further, 0, 2);
        r[i] = join_halves<T>(a, b, lanes);
        r[i + S] = join_halves<T>(a + HALF, b + HALF, lanes);
    }
    if constexpr (S > 1) transpose_rounds<T, S / 2>(r);
}
template <class T>
INLINE void transpose_square(const T* src, ptrdiff_t src_stride, int last, T* dst, ptrdiff_t dst_stride,
                             ptrdiff_t further = 0) {
    Vec<T> r[VL<T>];
    constexpr ptrdiff_t size = sizeof(T);
    load_square<T>((const char*)src, src_stride * size, last, r, further * size);
#pragma GCC unroll 16
    for (int i = 0; i < VL<T>; ++i) store<T>(dst + i * dst_stride, r[i]);
}

}  // namespace
}  // namespace fastsoftmax
