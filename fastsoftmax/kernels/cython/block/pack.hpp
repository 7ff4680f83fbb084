// Packing: a block of X in the two orientations that the tiles read. (`class_lane_tile`, narrow tiles and `dot_tile`
// read X where it is; products.hpp says when.)
//
//     rows in the lanes      for the forward product     [panel of TILE_LANES rows][feature][row in panel]
//     features in the lanes  for the backward product    [panel of TILE_LANES features][row][feature in panel]
//
// One of the two is X itself wherever vectors can be loaded from it: features in the lanes in C order, rows in the
// lanes in F order. The other is a transposed copy, made by shuffles of VL x VL squares (a scalar transpose took half
// of a pass over 581k x 54). X that cannot be read in place is staged first: narrow types, other strides, fewer
// features than lanes, the last rows of a slab in F order. Staging converts a block into T in the cache, in the
// orientation that it comes in, so the traffic from memory is that of X's own type. Rows of bytes may be staged as
// columns (`transpose_bytes`).
#pragma once

#include <algorithm>

#include "block/convert.hpp"

namespace fastsoftmax {
namespace {

template <class T>
struct Matrix {  // strides in elements
    const T* data;
    ptrdiff_t row_step, feature_step;
    bool by_row;    // vectors of features can be loaded from rows; else vectors of rows from columns
    bool in_place;  // X itself rather than a copy
};

// dst[panel][t][lane] = src[lane * src_stride + t] for panels of `length` steps: lines of the source become lanes.
// Lanes past the last one, up to a whole vector, repeat it. A line has at least VL numbers, and dst room for VL steps,
// even if `steps` is less. What lies `prefetch_distance` elements on is prefetched, unless that is 0.
template <class T>
void pack_transposed(const T* src, ptrdiff_t src_stride, int lanes, int steps, T* dst, ptrdiff_t length,
                     ptrdiff_t prefetch_distance = 0) {
    for (int l = 0; l < lanes; l += VL<T>) {
        const T* line = src + l * src_stride;
        T* out = dst + l / TILE_LANES<T> * (TILE_LANES<T> * length) + l % TILE_LANES<T>;
        const int last = (lanes - l < VL<T> ? lanes - l : VL<T>)-1;
        for (int t = 0; t < steps; t += VL<T>) {
            // The last square overlaps the one before and writes the same numbers again.
            const int at = t + VL<T> > steps && steps > VL<T> ? steps - VL<T> : t;
            transpose_square(line + at, src_stride, last, out + at * TILE_LANES<T>, TILE_LANES<T>, prefetch_distance);
        }
    }
}

// Numbers of a staged block: rows, of which the last may be read past its end, or columns of whole vectors.
template <class T>
ptrdiff_t stage_size(ptrdiff_t block, ptrdiff_t n) {
    const ptrdiff_t by_rows = block * std::max<ptrdiff_t>(n, VL<T>) + VL<T>, by_columns = n * round_up<T>(block, VL<T>);
    return by_rows > by_columns ? by_rows : by_columns;
}

// Whether `transpose_bytes` can read X.
inline bool rows_of_bytes(const Source& X, ptrdiff_t n) {
    return (X.type == UINT8 || X.type == INT8) && X.feature_step == 1 && X.row_step >= n;
}

// Rows first .. first + rows of m: X itself where vectors can be loaded from it, else a converted copy in `buffer`.
// With `bytes_to_columns`, rows of bytes become columns.
template <class T>
Matrix<T> stage(const Source& X, ptrdiff_t first, int rows, ptrdiff_t m, ptrdiff_t n, T* buffer,
                bool bytes_to_columns = false) {
    const char* x = X.data + first * X.row_step;
    const bool same = X.type == (sizeof(T) == 8 ? FLOAT64 : FLOAT32);
    const ptrdiff_t size = sizeof(T);
    if (same && X.feature_step == size && n >= VL<T>) return {(const T*)x, X.row_step / size, 1, true, true};
    if (same && X.row_step == size && rows % VL<T> == 0) return {(const T*)x, 1, X.feature_step / size, false, true};
    const ConvertLine<T> convert = convert_line_of<T>(X.type);
    if (X.row_step == X.itemsize && X.feature_step != X.itemsize) {
        const ptrdiff_t ld = round_up<T>(rows, VL<T>);
        for (ptrdiff_t j = 0; j < n; ++j) convert(x + j * X.feature_step, X.row_step, rows, buffer + j * ld, ld);
        return {buffer, 1, ld, false, false};
    }
    if constexpr (sizeof(T) == 4)
        if (bytes_to_columns && rows_of_bytes(X, n) && (m - first - rows) * X.row_step + n >= VEC_BYTES) {
            const ptrdiff_t ld = round_up<T>(rows, VL<T>);
            (X.type == INT8 ? transpose_bytes<T, true> : transpose_bytes<T, false>)(x, X.row_step, rows, n, buffer, ld);
            return {buffer, 1, ld, false, false};
        }
    const ptrdiff_t ld = std::max<ptrdiff_t>(n, VL<T>);
    if (ld == n && X.feature_step == X.itemsize && X.row_step == n * X.itemsize)
        convert(x, X.feature_step, rows * n, buffer, rows * n);  // rows that touch are one long line
    else
        for (int r = 0; r < rows; ++r) convert(x + r * X.row_step, X.feature_step, n, buffer + r * ld, ld);
    return {buffer, ld, 1, true, false};
}

// -------------------------------------------------------------------------------- the two orientations

// A packed block, or X in place: lane l of step t is data[l / TILE_LANES * panel + l % TILE_LANES + t * ld].
template <class T>
struct View {
    const T* data;
    ptrdiff_t panel, ld;
};

// The block with rows in the lanes, copied into `buffer` if X has features in the lanes.
template <class T>
View<T> pack_columns(const Matrix<T>& X, int rows, ptrdiff_t n, T* buffer, ptrdiff_t prefetch_distance = 0) {
    if (!X.by_row) return {X.data, TILE_LANES<T>, X.feature_step};
    const ptrdiff_t length = n < VL<T> ? VL<T> : n;
    pack_transposed(X.data, X.row_step, rows, n, buffer, length, prefetch_distance);
    return {buffer, TILE_LANES<T> * length, TILE_LANES<T>};
}

// The lanes of one panel of features, from rows or columns; those that overlap another panel are copied twice.
template <class T>
void pack_panel(const Matrix<T>& X, const Panel& panel, int rows, ptrdiff_t n, T* buffer) {
    const ptrdiff_t lanes = std::min(panel.begin + panel.vectors * VL<T>, n) - panel.first();
    const T* data = X.data + panel.first() * X.feature_step;
    if (!X.by_row)
        return pack_transposed(data, X.feature_step, int(lanes), rows, buffer, round_up<T>(rows, VL<T>));
    for (int r = 0; r < rows; ++r) std::memcpy(buffer + r * TILE_LANES<T>, data + r * X.row_step, lanes * sizeof(T));
}

// All panels with features in the lanes, where threads share them.
template <class T>
View<T> pack_rows(const Matrix<T>& X, int rows, ptrdiff_t n, ptrdiff_t block, T* buffer) {
    if (X.by_row) return {X.data, 0, X.row_step};
    const Panels<VL<T>> panels(n);
    const ptrdiff_t length = round_up<T>(block, VL<T>);
    for (int i = 0; i < panels.count(); ++i) pack_panel(X, panels[i], rows, n, buffer + i * TILE_LANES<T> * length);
    return {buffer, TILE_LANES<T> * length, TILE_LANES<T>};
}

// ----------------------------------------------------------------------------------- parameters

template <class T, int NS>
T* copy_scalars(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    for (ptrdiff_t j = 0; j < n; ++j, out += NS) std::memcpy(out, theta + j * k, NS * sizeof(T));
    return out;
}

// `count` classes of theta (n, k) from `begin` on, as [tile of classes][feature][class in tile], so that the scalars of
// a tile are contiguous.
template <class T>
void pack_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t count, T* out) {
    typedef T* (*Copy)(const T*, ptrdiff_t, ptrdiff_t, T*);
    static constexpr Copy copies[TILE_SCALARS] = {copy_scalars<T, 1>, copy_scalars<T, 2>, copy_scalars<T, 3>,
                                                  copy_scalars<T, 4>, copy_scalars<T, 5>, copy_scalars<T, 6>};
    const Split classes(count, TILE_SCALARS);
    for (int c = 0; c < classes.parts; ++c)
        out = copies[classes.size(c) - 1](theta + begin + classes.begin(c), n, k, out);
}

}  // namespace
}  // namespace fastsoftmax
