// The two products of a block, cut into register tiles.
#pragma once

#include "block/pass.hpp"
#include "microkernels/dot_tile.hpp"
#include "microkernels/few_classes.hpp"

namespace fastsoftmax {
namespace {

// Whether sums over lines of `length` for `count` scalars cost less than a transposed copy.
template <class T>
bool few_sums(ptrdiff_t length, ptrdiff_t count) {
    return count * VL<T> <= length;
}

// theta (n, k) to [class][feature], each class in whole vectors: the features a last vector overlaps are zeros.
template <class T>
void transpose_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    const ptrdiff_t padded = round_up<T>(n, VL<T>), whole = n / VL<T> * VL<T>, overlap = padded - n;
    for (ptrdiff_t c = 0; c < k; ++c, out += padded) {
        for (ptrdiff_t j = 0; j < whole; ++j) out[j] = theta[j * k + c];
        for (ptrdiff_t j = whole; j < padded; ++j) out[j] = j < whole + overlap ? T(0) : theta[(j - overlap) * k + c];
    }
}

// Panels of n features for so many classes at once.
template <class T>
Split narrow_panels(ptrdiff_t n, int classes) {
    return {int((n + NL<T> - 1) / NL<T>), narrow_vectors(classes)};
}

// Steps of all the tiles of a block, by which they fetch.
template <class T>
ptrdiff_t narrow_steps(ptrdiff_t n, ptrdiff_t k, ptrdiff_t rows) {
    const Split classes(int(k), NARROW_CLASSES);
    ptrdiff_t tiles = 0;
    for (int c = 0; c < classes.parts; ++c) tiles += narrow_panels<T>(n, classes.size(c)).parts;
    return tiles * rows;
}

// G (k, ldg) += D^T X of a block; feature j is at G[j]. A row has NL values at least, or is followed by what is finite.
template <class T>
void backward_of_rows(const Matrix<T>& X, int rows, const T* D, ptrdiff_t ldd, ptrdiff_t n, ptrdiff_t k, T* G,
                      ptrdiff_t ldg, Ahead& ahead) {
    const Split classes(int(k), NARROW_CLASSES);
    for (int part = 0; part < classes.parts; ++part) {
        const int c = classes.begin(part), ns = classes.size(part);
        const Split panels = narrow_panels<T>(n, ns);
        for (int i = 0; i < panels.parts; ++i) {
            const int nv = panels.size(i);
            const ptrdiff_t begin = panels.begin(i) * NL<T>, at = begin + (nv - 1) * NL<T>;
            const ptrdiff_t early = std::max<ptrdiff_t>(std::min(at, n - NL<T>), 0);
            const NarrowPanel panel{begin, early - begin, int(at - early)};
            narrow_tile_of<T>(nv, ns)(X.data, X.row, panel, D + c * ldd, ldd, G + c * ldg, ldg, rows, ahead);
        }
    }
}

// Values that the packed parameters of one theta take.
template <class T>
ptrdiff_t parameter_size(const Pass<T>& p) {
    return round_up<T>(std::max(round_up<T>(p.n, VL<T>) * p.k, p.n * lanes_for<T>(p.k)));
}

template <class T>
ptrdiff_t work_size(const Pass<T>& p, ptrdiff_t outputs) {
    return 2 * parameter_size(p) + Scratch<T>(nullptr, p, outputs).size * p.threads + VEC_BYTES / sizeof(T);
}

template <class T, int NS>
T* copy_scalars(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    for (ptrdiff_t j = 0; j < n; ++j, out += NS) std::memcpy(out, theta + j * k, NS * sizeof(T));
    return out;
}

// `count` classes of theta (n, k) from `begin` on to [class tile][feature][class in tile], so that a tile's
// scalars are contiguous.
template <class T>
void pack_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t count, T* out) {
    typedef T* (*Copy)(const T*, ptrdiff_t, ptrdiff_t, T*);
    static constexpr Copy copies[NS_MAX] = {copy_scalars<T, 1>, copy_scalars<T, 2>, copy_scalars<T, 3>,
                                            copy_scalars<T, 4>, copy_scalars<T, 5>, copy_scalars<T, 6>};
    const Split classes(count, NS_MAX);
    for (int c = 0; c < classes.parts; ++c) out = copies[classes.size(c) - 1](theta + begin + classes.begin(c), n, k, out);
}

// Vectors a row must hold for the first product to take it as it lies. With fewer, tails and loads across cache lines
// count: one thread takes 60k x 784, k = 10, 1,610 cycles a row in place of 1,880 (float64; 830 and 960 in float32), but
// 500k x 50, k = 3, 119 in place of 90.
constexpr int LINE_VECTORS = 16;

// Every block then has its rows in the order of memory, as they lie or staged.
template <class T>
bool rows_as_lines(const Pass<T>& p) {
    return p.X.row != p.X.itemsize && p.n >= LINE_VECTORS * VL<T> && few_sums<T>(p.n, p.k);
}

// Whether a block of bytes is best staged as columns, which both products take in place: 500k x 50, k = 3, takes one
// thread 47 cycles a row in place of 66 with rows and a transposed copy; of float32 58.
template <class T>
bool bytes_across(const Pass<T>& p) {
    return p.X.itemsize == 1 && !rows_as_lines(p) && few_sums<T>(p.block, p.k);
}

// Whether the first product has its classes in the lanes. 500k x 50, k = 3, takes it 21 cycles a row in place of 41
// with a transposed copy in float64, 21 and 23 in float32; 581k x 54, k = 7, 38 and 62, 23 and 34.
template <class T>
bool classes_in_lanes(const Pass<T>& p) {
    return p.X.row != p.X.itemsize && lanes_for<T>(p.k) && !rows_as_lines(p) && !bytes_across(p);
}

// theta for `products_of_block`.
template <class T>
T* prepare(const T* theta, const Pass<T>& p, T* out) {
    if (rows_as_lines(p))
        transpose_parameters(theta, p.n, p.k, out);
    else if (classes_in_lanes(p))
        widen_parameters(theta, p.n, p.k, out);
    else
        pack_parameters(theta, p.n, p.k, 0, p.k, out);
    return out;
}

// A block of X, for both products.
template <class T>
Matrix<T> stage_block(ptrdiff_t first, int rows, const Pass<T>& p, T* buffer) {
    const ptrdiff_t size = sizeof(T);
    const bool same = p.X.type == (size == 8 ? FLOAT64 : FLOAT32);
    if (same && classes_in_lanes(p) && p.X.col == size && p.n >= NL<T>)  // neither product reads past a row
        return {(const T*)(p.X.data + first * p.X.row), p.X.row / size, 1, true, true};
    return stage(p.X, first, rows, p.m, p.n, buffer, bytes_across(p));
}

// Steps of a tile that a vector of rows counts for while it goes through softmax. Memory would be idle then: 500k x 50,
// k = 3, takes 7.5 ms in place of 8.0 in float64, 7.2 in place of 7.9 in F order; float32 gains little. With more
// classes products are most of the time.
constexpr ptrdiff_t softmax_steps(ptrdiff_t k) { return k <= 16 ? 2 * k : 0; }

// Steps of all the tiles of a block and of its softmax: the time there is to fetch the next one.
template <class T>
ptrdiff_t tile_steps(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t row_panels = (p.block + WIDTH<T> - 1) / WIDTH<T>, scalars = Split(outputs, NS_MAX).parts;
    const bool in_lanes = p.theta && outputs == p.k && classes_in_lanes(p);
    const ptrdiff_t once = in_lanes ? p.block / VL<T> * row_steps<T>(p.n) : scalars * row_panels * p.n;
    const ptrdiff_t forward = p.theta ? once * (p.along ? 2 : 1) : 0;
    const bool residuals = p.theta && (p.y || p.soft) && !p.along && outputs == p.k;
    const ptrdiff_t softmax = residuals ? p.block / VL<T> * softmax_steps(p.k / p.models) * p.models : 0;
    const bool by_lines = p.theta && few_sums<T>(p.block, outputs) && (p.X.row == p.X.itemsize || bytes_across(p));
    const ptrdiff_t tiles = by_lines ? (p.n + NV_MAX - 1) / NV_MAX : PanelsOf<T>(p.n).count;
    const ptrdiff_t summed = scalars * tiles * (by_lines ? p.block / VL<T> : p.block);
    const ptrdiff_t backward = !p.grad ? 0 : in_lanes ? narrow_steps<T>(p.n, p.k, p.block) : summed;
    const ptrdiff_t dX = p.dX ? Split(p.n, NS_MAX).parts * row_panels * p.k : 0;
    return forward + softmax + backward / (p.theta ? 1 : 2) + dX;
}

// A block of so many features that the next one cannot wait in L2. Packing then fetches a little ahead of itself, along
// the rows: 5,000 x 20,000, k = 5, float32 on one thread takes 21,000 cycles a row, with the next block fetched 31,000.
constexpr ptrdiff_t NEAR_BYTES = 1 << 20, PACKING_AHEAD = 2 << 10;

template <class T>
bool is_wide(const Pass<T>& p) {
    return p.block * p.n * p.X.itemsize > NEAR_BYTES && p.X.col == p.X.itemsize;
}

// The block at `first`, to be fetched while another one is computed.
template <class T>
Ahead fetch_block(const Pass<T>& p, ptrdiff_t first, ptrdiff_t steps) {
    if (is_wide(p)) return Ahead::nothing(p.X.data);
    const ptrdiff_t rows = std::min(p.block, p.m - first), size = p.X.itemsize;
    const char* next = p.X.data + first * p.X.row;
    if (rows > 0 && p.X.col == size) return Ahead::pieces(next, rows, p.n * size, p.X.row, steps);
    // A column seldom begins where a cache line does. Its first line came with the block before, its last one must come
    // with this one: left out, it cost 60k x 784, k = 10, in float64 2,030 cycles a row of the first product, not 810.
    constexpr ptrdiff_t last = CACHE_LINE - 1;
    if (rows > 0 && p.X.row == size) return Ahead::pieces(next + last, p.n, rows * size, p.X.col, steps);
    return Ahead::nothing(p.X.data);
}

// H^T [k][R] = theta^T X^T + bias for the rows of a block, or the part of it that the features from `from` to `to`
// make; the first part brings the bias, later ones are added to it.
template <class T>
void forward(const View<T>& columns, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
             Ahead& ahead, ptrdiff_t from, ptrdiff_t to) {
    const Split classes(p.k, NS_MAX);
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    auto product = [&](int c, int v) {
        const int begin = classes.begin(c), ns = classes.size(c), nv = std::min(NV_MAX, vectors - v);
        const T *theta = parameters + begin * p.n + from * ns, *start = bias ? bias + begin : nullptr;
        const T* A = columns.data + v / NV_MAX * columns.panel;
        T* out = H + begin * p.block + v * VL<T>;
        if (from == 0)
            run_tile<T, false>(nv, ns, A, columns.ld, theta, ns, 1, out, p.block, start, to, ahead);
        else
            run_tile<T, true>(nv, ns, A, columns.ld, theta, ns, 1, out, p.block, nullptr, to - from, ahead);
    };
    if (columns.ld != WIDTH<T>) {  // in place, a block of columns is as large as L2, a panel of it is not
        for (int v = 0; v < vectors; v += NV_MAX)
            for (int c = 0; c < classes.parts; ++c) product(c, v);
        return;
    }
    for (int c = 0; c < classes.parts; ++c)
        for (int v = 0; v < vectors; v += NV_MAX) product(c, v);
}

// Features of NV_MAX rows that stay in L1 for all classes, in bytes of one.
constexpr ptrdiff_t LINE_BYTES = 7 << 10;

// The whole of H^T, by inner products of rows in place with the transposed theta.
template <class T>
void forward_of_lines(const Matrix<T>& X, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
                      Ahead& ahead) {
    const ptrdiff_t padded = round_up<T>(p.n, VL<T>);
    const Split parts(int(p.n / VL<T>), int(LINE_BYTES / VEC_BYTES)), classes(p.k, NS_MAX);
    for (int part = 0; part < parts.parts; ++part) {
        const ptrdiff_t from = parts.begin(part) * VL<T>;
        const ptrdiff_t length = part + 1 < parts.parts ? parts.size(part) * VL<T> : p.n - from;
        for (int r = 0; r < round_up<T>(rows, VL<T>); r += NV_MAX) {  // lanes past the last row repeat it
            const int first = std::min(r, rows - 1);
            const Lines<T> lines{X.data + first * X.row + from, X.row, std::min(NV_MAX, rows - first) - 1};
            for (int c = 0; c < classes.parts; ++c) {
                const int begin = classes.begin(c), ns = classes.size(c);
                const T *theta = parameters + begin * padded + from, *start = bias ? bias + begin : nullptr;
                T* out = H + begin * p.block + r;
                if (part == 0)
                    run_dots<T, false>(ns, lines, theta, padded, out, p.block, start, length, ahead);
                else
                    run_dots<T, true>(ns, lines, theta, padded, out, p.block, nullptr, length, ahead);
            }
        }
    }
}

// The whole of H^T by tiles with classes in the lanes. A last tile of fewer rows takes a copy, its last row repeated.
template <class T>
void forward_of_rows(const Matrix<T>& X, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
                     T* buffer, Ahead& ahead) {
    T start[VL<T>] = {};
    if (bias) std::copy_n(bias, p.k, start);
    int r = 0;
    for (; r + VL<T> <= rows; r += VL<T>)
        run_rows(X.data + r * X.row, X.row, parameters, start, p.n, H + r, p.block, int(p.k), ahead);
    if (r == rows) return;
    for (int i = 0; i < VL<T>; ++i) std::copy_n(X.data + std::min(r + i, rows - 1) * X.row, p.n, buffer + i * p.n);
    run_rows(buffer, p.n, parameters, start, p.n, H + r, p.block, int(p.k), ahead);
}

// H = X theta + bias of a block and, where there is a direction, U = X along + along_bias.
template <class T>
void products_of_block(const Matrix<T>& X, int rows, const T* theta, const T* along, const Pass<T>& p, Scratch<T>& s,
                       Ahead& ahead) {
    if (rows_as_lines(p)) {
        forward_of_lines(X, rows, theta, p.bias, p, s.H, ahead);
        if (along) forward_of_lines(X, rows, along, p.along_bias, p, s.U, ahead);
        return;
    }
    if (classes_in_lanes(p)) {
        forward_of_rows(X, rows, theta, p.bias, p, s.H, s.columns, ahead);
        if (along) forward_of_rows(X, rows, along, p.along_bias, p, s.U, s.columns, ahead);
        return;
    }
    // Where the tiles are too few to fetch the next block, packing asks for it too: 500k x 50 in float64 takes 106
    // cycles a row in place of 110 (with packing alone, 141).
    const ptrdiff_t to_next = is_wide(p) ? PACKING_AHEAD / ptrdiff_t(sizeof(T)) : ahead.share > 1 ? p.block * X.row : 0;
    // All features at once, though the copy may be larger than L2: 20k x 1024, k = 1000, float64 takes 773 ms, and 791 in
    // parts of 256 kB, whose sums go through the cache again and again.
    const View<T> columns = pack_columns(X, rows, p.n, s.columns, X.in_place ? to_next : 0);
    forward(columns, rows, theta, p.bias, p, s.H, ahead, 0, p.n);
    if (along) forward(columns, rows, along, p.along_bias, p, s.U, ahead, 0, p.n);
}

// The numbers that rows of X are multiplied by in a backward product: D or, for a Gram matrix, X itself, weighted.
template <class T>
struct Scalars {
    const T* data;
    ptrdiff_t step, scalar;  // from row to row, from one scalar to the next
    int count;
    bool upper = false;  // of a symmetric result: panels that end before the diagonal are left out
};

// G += D^T X by inner products of columns in place with those of D: 500k x 50, k = 3, in F order takes one thread 39
// cycles a row in place of 46 in float32, 72 and 82 in float64. Panels from `first` to before `last`.
template <class T>
void backward_of_lines(const Matrix<T>& X, int rows, const Scalars<T>& D, const PanelsOf<T>& panels, int first,
                       int last, T* G, ptrdiff_t ldg, Ahead& ahead) {
    const Split classes(D.count, NS_MAX);
    const ptrdiff_t length = round_up<T>(rows, VL<T>);
    for (int i = first; i < last; ++i) {
        const Panel panel = panels[i];
        for (int j = 0; j < panel.vectors * VL<T> && panel.begin + j < panels.n; j += NV_MAX) {
            const int past = int(std::min<ptrdiff_t>(NV_MAX, panels.n - panel.begin - j));
            const Lines<T> lines{X.data + (panel.begin + j) * X.col, X.col, past - 1};
            for (int c = 0; c < classes.parts; ++c) {
                const int begin = classes.begin(c);
                run_dots<T, true>(classes.size(c), lines, D.data + begin * D.scalar, D.scalar,
                                  G + begin * ldg + panel.slot + j, ldg, nullptr, length, ahead);
            }
        }
    }
}

// A block of more than this, walked by this many tiles of scalars or more, is packed panel by panel: read in place it
// would come from beyond L2 each time. 20k x 1024, k = 1000, float64 in blocks of 256 rows takes the second product of
// one thread 100,000 cycles a row in place of 108,000.
constexpr ptrdiff_t CROWDED_BYTES = 512 << 10;
constexpr int CROWD = 8;

// G[s][slot] += sum over rows of B[row, s] X[row, feature].
template <class T>
void backward(const Matrix<T>& X, int rows, const Scalars<T>& B, ptrdiff_t n, T* buffer, T* G, ptrdiff_t ldg,
              Ahead& ahead) {
    const PanelsOf<T> panels(n);
    const Split scalars(B.count, NS_MAX);
    auto product = [&](int part, const Panel& panel, const T* A, ptrdiff_t lda) {
        const int begin = scalars.begin(part);
        if (B.upper && panel.slot + panel.vectors * VL<T> <= begin) return;
        run_tile<T, true>(panel.vectors, scalars.size(part), A, lda, B.data + begin * B.scalar, B.step, B.scalar,
                          G + begin * ldg + panel.slot, ldg, nullptr, rows, ahead);
    };
    const bool crowded = scalars.parts >= CROWD && rows * n * ptrdiff_t(sizeof(T)) > CROWDED_BYTES;
    if (X.by_row && !crowded) {
        for (int part = 0; part < scalars.parts; ++part)
            for (int i = 0; i < panels.count; ++i) product(part, panels[i], X.data + panels[i].begin, X.row);
        return;
    }
    if (!X.by_row && B.step == 1 && !B.upper && few_sums<T>(rows, B.count))
        return backward_of_lines(X, rows, B, panels, 0, panels.count, G, ldg, ahead);
    for (int i = 0; i < panels.count; ++i) {  // a packed panel stays in L1, or L2, for all scalars
        X.by_row ? copy_panel(X, panels[i], rows, n, buffer) : pack_panel(X, panels[i], rows, n, buffer);
        for (int part = 0; part < scalars.parts; ++part) product(part, panels[i], buffer, WIDTH<T>);
    }
}

// dX = scale D theta^T: the forward tile once more, with classes as steps and features as scalars. Classes go in
// runs whose residuals stay in L2 while the feature tiles [from, to) pass over them.
constexpr ptrdiff_t DX_CLASSES = 256;

template <class T>
void dX_of_features(int from, int to, int rows, const Pass<T>& p, const BlockBuffers<T>& s, Ahead& ahead) {
    const Split features(p.n, NS_MAX);
    const ptrdiff_t R = p.block;
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (ptrdiff_t c = 0; c < p.k; c += DX_CLASSES) {
        const ptrdiff_t classes = std::min(DX_CLASSES, p.k - c);
        for (int part = from; part < to; ++part)
            for (int v = 0; v < vectors; v += NV_MAX) {
                const ptrdiff_t begin = features.begin(part);
                const int nv = std::min(NV_MAX, vectors - v), ns = features.size(part);
                const T *D = s.H + c * R + v * VL<T>, *theta = p.theta + begin * p.k + c;
                T* out = s.columns + begin * R + v * VL<T>;
                if (c == 0)
                    run_tile<T, false>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, ahead);
                else
                    run_tile<T, true>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, ahead);
            }
    }
}
template <class T>
void store_dX(ptrdiff_t first, int rows, const Pass<T>& p, const BlockBuffers<T>& s) {
    for (int r = 0; r < rows; ++r)
        for (ptrdiff_t j = 0; j < p.n; ++j) p.dX[(first + r) * p.n + j] = s.columns[j * p.block + r] * T(p.scale);
}

}  // namespace
}  // namespace fastsoftmax
