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
#include <type_traits>

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "tile.hpp"

namespace {

enum SourceType { FLOAT64, FLOAT32, FLOAT16, UINT8, INT8, INT16 };

struct Source {  // X as NumPy describes it, strides in bytes
    const char* data;
    ptrdiff_t row, col;
    int type, itemsize;
};

template <class T>
struct Matrix {  // strides in elements
    const T* data;
    ptrdiff_t row, col;
    bool by_row;    // rows hold whole vectors of features; else columns hold whole vectors of rows
    bool in_place;  // X itself, no copy
};

// ------------------------------------------------------------------------------- transposed copies

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

// The four bytes that each lane holds, each to a vector.
template <class T, bool SIGNED>
INLINE Vec<T> byte_of_lanes(Vec<T> bytes, int which) {
    typedef uint32_t Bits __attribute__((vector_size(VEC_BYTES)));
    const IVec<T> all = (IVec<T>)bytes;
    const IVec<T> top = (IVec<T>)((Bits)bytes >> 24);  // without a mask
    const IVec<T> one = SIGNED ? all << (24 - 8 * which) >> 24 : which == 3 ? top : all >> 8 * which & 255;
    return __builtin_convertvector(one, Vec<T>);
}

// dst[feature][row], float32, of rows of n bytes, which are converted after being transposed four features at a time.
// Rows past the last one, up to a whole vector, repeat it. VEC_BYTES of a row are read at least.
template <class T, bool SIGNED>
void pack_bytes(const char* src, ptrdiff_t stride, int rows, ptrdiff_t n, T* dst, ptrdiff_t ld) {
    static_assert(sizeof(T) == 4, "a lane holds four bytes");
    constexpr ptrdiff_t wide = 4 * VL<T>;
    for (int row = 0; row < rows; row += VL<T>) {
        const int last = std::min(rows - row, VL<T>) - 1;
        for (ptrdiff_t t = 0; t < n; t += wide) {
            const ptrdiff_t at = std::max<ptrdiff_t>(std::min(t, n - wide), 0), done = t - at, count = n - at;
            Vec<T> r[VL<T>];
            load_square<T>(src + row * stride + at, stride, last, r);
            T* out = dst + at * ld + row;
#pragma GCC unroll 16
            for (int i = 0; i < VL<T>; ++i) {
                if (4 * i + 4 <= done) continue;
#pragma GCC unroll 4
                for (int b = 0; b < 4; ++b)
                    if (4 * i + b < count) store<T>(out + (4 * i + b) * ld, byte_of_lanes<T, SIGNED>(r[i], b));
            }
        }
    }
}

// --------------------------------------------------------------------------------------- staging

INLINE float half_to_float(uint16_t h) {
    // Exponent and mantissa move into place, the exponent's bias is mended by a multiplication (which also
    // makes subnormals right); infinity and NaN get all exponent bits.
    uint32_t bits = uint32_t(h & 0x7fff) << 13;
    float f;
    std::memcpy(&f, &bits, 4);
    f *= 0x1p112f;
    std::memcpy(&bits, &f, 4);
    if ((h & 0x7c00) == 0x7c00) bits |= 0x7f800000;
    bits |= uint32_t(h & 0x8000) << 16;
    std::memcpy(&f, &bits, 4);
    return f;
}
struct Half {
    uint16_t bits;
    operator float() const { return half_to_float(bits); }
    operator double() const { return half_to_float(bits); }
};

// Whole vectors of a line of halves by the processor's own instruction, and how many values they hold: 500k x 50 took
// one thread 12 cycles a row without it.
inline ptrdiff_t convert_halves(const Half* line, ptrdiff_t count, float* dst) {
    ptrdiff_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= count; i += 8) {
        const __m128i halves = _mm_loadu_si128((const __m128i*)(line + i));
        _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(halves));
    }
#endif
    return i;
}

// `count` values of S, `stride` bytes apart, to T, then zeros up to `padded`.
template <class T, class S>
void convert_line(const char* src, ptrdiff_t stride, ptrdiff_t count, T* dst, ptrdiff_t padded) {
    if (stride == sizeof(S)) {
        const S* line = (const S*)src;
        ptrdiff_t done = 0;
        if constexpr (std::is_same_v<S, Half> && sizeof(T) == 4) done = convert_halves(line, count, dst);
        for (ptrdiff_t i = done; i < count; ++i) dst[i] = T(line[i]);
    } else {
        for (ptrdiff_t i = 0; i < count; ++i) dst[i] = T(*(const S*)(src + i * stride));
    }
    for (ptrdiff_t i = count; i < padded; ++i) dst[i] = T(0);
}

template <class T>
using ConvertLine = void (*)(const char*, ptrdiff_t, ptrdiff_t, T*, ptrdiff_t);

template <class T>
ConvertLine<T> convert_line_of(int type) {
    static constexpr ConvertLine<T> table[] = {convert_line<T, double>,  convert_line<T, float>,
                                               convert_line<T, Half>,    convert_line<T, uint8_t>,
                                               convert_line<T, int8_t>,  convert_line<T, int16_t>};
    return table[type];
}

template <class T>
constexpr ptrdiff_t round_up(ptrdiff_t x, ptrdiff_t to = WIDTH<T>) {
    return (x + to - 1) / to * to;
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
