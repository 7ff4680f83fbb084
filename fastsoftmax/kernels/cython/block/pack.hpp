// Brings a block of rows of X into the two orientations that the tiles read. (`rows`, `narrow` and `dots` read rows as
// they lie, where that is faster.)
//
//     lanes = rows      for the forward product     [panel of WIDTH rows][feature][row in panel]
//     lanes = features  for the backward product    [panel of WIDTH features][row][feature in panel]
//
// One of the two is read in place wherever a vector can be loaded from X as it lies (C order: features in
// the lanes, F order: rows); the other is a transposed copy, made VL x VL values at a time by shuffles: at
// 581k x 54 a scalar transpose was half the time. What cannot be read in place (narrow types, other strides,
// fewer features than lanes, the last rows of an F-order slab) is first staged: converted into a block of
// T in cache, in the orientation it came in, so that memory traffic is that of X's own type. Rows of bytes may be
// staged as columns: four bytes a lane, a transpose of them costs a quarter of one of what they are converted to.
#pragma once

#include <algorithm>

#include "block/convert.hpp"

namespace fastsoftmax {
namespace {

template <class T>
struct Matrix {  // strides in elements
    const T* data;
    ptrdiff_t row, col;
    bool by_row;    // rows hold whole vectors of features; else columns hold whole vectors of rows
    bool in_place;  // X itself, no copy
};

// dst[panel][t][lane] = src[lane * src_stride + t] for panels of `length` steps: lines of the source become
// lanes. Lanes past the last one, up to a whole vector, repeat it. A line must hold VL values at least; if
// `steps` is fewer, dst has room for VL. What lies `further` elements on is fetched, unless that is 0.
template <class T>
void pack_transposed(const T* src, ptrdiff_t src_stride, int lanes, int steps, T* dst, ptrdiff_t length,
                     ptrdiff_t further = 0) {
    for (int l = 0; l < lanes; l += VL<T>) {
        const T* line = src + l * src_stride;
        T* out = dst + l / WIDTH<T> * (WIDTH<T> * length) + l % WIDTH<T>;
        const int last = (lanes - l < VL<T> ? lanes - l : VL<T>)-1;
        for (int t = 0; t < steps; t += VL<T>) {
            // The last square overlaps its neighbour and writes the same values again.
            const int at = t + VL<T> > steps && steps > VL<T> ? steps - VL<T> : t;
            transpose_square(line + at, src_stride, last, out + at * WIDTH<T>, WIDTH<T>, further);
        }
    }
}

// Values a staged block needs: rows, the last of which may be read past its end, or columns of whole vectors.
template <class T>
ptrdiff_t stage_size(ptrdiff_t block, ptrdiff_t n) {
    const ptrdiff_t by_rows = block * std::max<ptrdiff_t>(n, VL<T>) + VL<T>, by_columns = n * round_up<T>(block, VL<T>);
    return by_rows > by_columns ? by_rows : by_columns;
}

// Whether `pack_bytes` reads X.
inline bool rows_of_bytes(const Source& X, ptrdiff_t n) {
    return (X.type == UINT8 || X.type == INT8) && X.col == 1 && X.row >= n;
}

// The block of `rows` rows at `first`, of m: X itself where vectors can be loaded from it, else a copy in `buffer`,
// of columns where `across` and rows of bytes allow.
template <class T>
Matrix<T> stage(const Source& X, ptrdiff_t first, int rows, ptrdiff_t m, ptrdiff_t n, T* buffer, bool across = false) {
    const char* x = X.data + first * X.row;
    const bool same = X.type == (sizeof(T) == 8 ? FLOAT64 : FLOAT32);
    const ptrdiff_t size = sizeof(T);
    // What lies past the end of a row is the next row, if there is one.
    const bool inside = !PanelsOf<T>(n).reads_past() || (X.row >= n * size && first + rows < m);
    if (same && X.col == size && n >= VL<T> && inside) return {(const T*)x, X.row / size, 1, true, true};
    if (same && X.row == size && rows % VL<T> == 0) return {(const T*)x, 1, X.col / size, false, true};
    const ConvertLine<T> convert = convert_line_of<T>(X.type);
    if (X.row == X.itemsize && X.col != X.itemsize) {
        const ptrdiff_t ld = round_up<T>(rows, VL<T>);
        for (ptrdiff_t j = 0; j < n; ++j) convert(x + j * X.col, X.row, rows, buffer + j * ld, ld);
        return {buffer, 1, ld, false, false};
    }
    if constexpr (sizeof(T) == 4)
        if (across && rows_of_bytes(X, n) && (m - first - rows) * X.row + n >= VEC_BYTES) {
            const ptrdiff_t ld = round_up<T>(rows, VL<T>);
            (X.type == INT8 ? pack_bytes<T, true> : pack_bytes<T, false>)(x, X.row, rows, n, buffer, ld);
            return {buffer, 1, ld, false, false};
        }
    const ptrdiff_t ld = std::max<ptrdiff_t>(n, VL<T>);
    if (ld == n && X.col == X.itemsize && X.row == n * X.itemsize)
        convert(x, X.col, rows * n, buffer, rows * n);  // rows touch: one long line
    else
        for (int r = 0; r < rows; ++r) convert(x + r * X.row, X.col, n, buffer + r * ld, ld);
    return {buffer, ld, 1, true, false};
}

// -------------------------------------------------------------------------------- the two orientations

// Lane `at` of step t is data[at / WIDTH * panel + at % WIDTH + t * ld].
template <class T>
struct View {
    const T* data;
    ptrdiff_t panel, ld;
};

// Rows in the lanes.
template <class T>
View<T> pack_columns(const Matrix<T>& X, int rows, ptrdiff_t n, T* buffer, ptrdiff_t further = 0) {
    if (!X.by_row) return {X.data, WIDTH<T>, X.col};
    const ptrdiff_t length = n < VL<T> ? VL<T> : n;
    pack_transposed(X.data, X.row, rows, n, buffer, length, further);
    return {buffer, WIDTH<T> * length, WIDTH<T>};
}

// Features in the lanes: a panel of those of PanelsOf, so lanes that count twice are packed twice.
template <class T>
void pack_panel(const Matrix<T>& X, const Panel& panel, int rows, ptrdiff_t n, T* buffer) {
    const int lanes = int(std::min<ptrdiff_t>(panel.vectors * VL<T>, n));
    pack_transposed(X.data + panel.begin * X.col, X.col, lanes, rows, buffer, round_up<T>(rows, VL<T>));
}

// The same of a block whose features are in the lanes already.
template <class T>
void copy_panel(const Matrix<T>& X, const Panel& panel, int rows, ptrdiff_t n, T* buffer) {
    const ptrdiff_t lanes = std::min<ptrdiff_t>(panel.vectors * VL<T>, n);
    for (int r = 0; r < rows; ++r)
        std::memcpy(buffer + r * WIDTH<T>, X.data + panel.begin + r * X.row, lanes * sizeof(T));
}

// All panels, where threads share them.
template <class T>
View<T> pack_rows(const Matrix<T>& X, int rows, ptrdiff_t n, ptrdiff_t block, T* buffer) {
    if (X.by_row) return {X.data, 0, X.row};
    const PanelsOf<T> panels(n);
    const ptrdiff_t length = round_up<T>(block, VL<T>);
    for (int i = 0; i < panels.count; ++i) pack_panel(X, panels[i], rows, n, buffer + i * WIDTH<T> * length);
    return {buffer, WIDTH<T> * length, WIDTH<T>};
}

}  // namespace
}  // namespace fastsoftmax
