// The only code that touches X: it brings a block of rows into the two orientations the tiles read.
//
//     lanes = rows     "columns": [panel of WIDTH rows][feature][row in panel]        for the forward product
//     lanes = features "rows":    [panel of WIDTH features][row][feature in panel]    for the backward product
//
// One of the two can often be read in place (C order: rows, F order: columns); the other is a
// transposed copy, made VL x VL values at a time by shuffles: at 581k x 54 a scalar transpose was half
// the time. Vectors past the end of a panel are never computed with; lanes past the end within the
// last vector hold copies of the last valid value (rows) or zeros (features), never memory beyond X.
#pragma once

#include "tile.hpp"

namespace {

// A VL x VL transpose: at distance s, swap the off-diagonal s x s blocks; log2(VL) rounds.
template <class T, int S, int... L>
INLINE void swap_blocks(Vec<T>& a, Vec<T>& b, std::integer_sequence<int, L...>) {
    const Vec<T> x = a, y = b;
    a = __builtin_shufflevector(x, y, ((L & S) ? VL<T> + L - S : L)...);
    b = __builtin_shufflevector(x, y, ((L & S) ? VL<T> + L : L + S)...);
}
template <class T, int S>
INLINE void transpose_rounds(Vec<T>* r) {
#pragma GCC unroll 16
    for (int i = 0; i < VL<T>; ++i)
        if (!(i & S)) swap_blocks<T, S>(r[i], r[i + S], std::make_integer_sequence<int, VL<T>>{});
    if constexpr (S > 1) transpose_rounds<T, S / 2>(r);
}
template <class T>
INLINE void transpose_square(const T* src, ptrdiff_t src_stride, int last, T* dst, ptrdiff_t dst_stride) {
    Vec<T> r[VL<T>];
#pragma GCC unroll 16
    for (int i = 0; i < VL<T>; ++i) r[i] = load(src + (i < last ? i : last) * src_stride);
    transpose_rounds<T, VL<T> / 2>(r);
#pragma GCC unroll 16
    for (int i = 0; i < VL<T>; ++i) store<T>(dst + i * dst_stride, r[i]);
}

// Where element (t, lane) of a packed panel sits; panels follow each other.
template <class T>
struct Panels {
    T* data;
    ptrdiff_t length;  // steps t in a panel
    T* panel(ptrdiff_t lane) const { return data + lane / WIDTH<T> * (WIDTH<T> * length) + lane % WIDTH<T>; }
};

// dst(t, lane) = src[lane * src_stride + t]: source lines (contiguous in t) become lanes.
template <class T>
void pack_transposed(const T* src, ptrdiff_t src_stride, int lanes, int steps, Panels<T> dst) {
    for (int l = 0; l < lanes; l += VL<T>) {
        const T* line = src + l * src_stride;
        T* out = dst.panel(l);
        const int last = (lanes - l < VL<T> ? lanes - l : VL<T>)-1;
        if (steps < VL<T>) {  // too short for a vector
            for (int i = 0; i < VL<T>; ++i)
                for (int t = 0; t < steps; ++t) out[t * WIDTH<T> + i] = line[(i < last ? i : last) * src_stride + t];
            continue;
        }
        int t = 0;
        for (; t + VL<T> <= steps; t += VL<T>)
            transpose_square(line + t, src_stride, last, out + t * WIDTH<T>, WIDTH<T>);
        if (t < steps) {  // the last square overlaps its neighbour and writes the same values again
            t = steps - VL<T>;
            transpose_square(line + t, src_stride, last, out + t * WIDTH<T>, WIDTH<T>);
        }
    }
}

// dst(t, lane) = src[t * step_stride + lane * lane_stride] for any strides; lanes past the end are 0.
template <class T>
void pack_strided(const T* src, ptrdiff_t step_stride, ptrdiff_t lane_stride, int lanes, int steps, Panels<T> dst) {
    for (int l = 0; l < lanes; l += VL<T>) {
        T* out = dst.panel(l);
        const int valid = lanes - l < VL<T> ? lanes - l : VL<T>;
        const T* line = src + l * lane_stride;
        for (int t = 0; t < steps; ++t, line += step_stride, out += WIDTH<T>) {
            if (lane_stride == 1 && valid == VL<T>) {
                store<T>(out, load(line));
                continue;
            }
            for (int i = 0; i < VL<T>; ++i) out[i] = i < valid ? line[i * lane_stride] : T(0);
        }
    }
}

}  // namespace
