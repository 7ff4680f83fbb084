// The products of a block, cut into tiles.
//
//     forward           H = X theta + bias      by register tiles, `dot_tile` or `class_lane_tile`
//     backward          G += D^T X              by register tiles, `dot_tile` or `narrow_tile`
//     input_gradient    dX = scale D theta^T    by register tiles
//
// Which one is in `Pass::products`, the same for all blocks of a pass: strategy.py chooses by the order of X and by the
// numbers of features and classes.
#pragma once

#include "block/pass.hpp"
#include "microkernels/dot_tile.hpp"
#include "microkernels/few_classes.hpp"

namespace fastsoftmax {
namespace {

// theta (n, k) as [class][feature], with whole vectors for each class. The last vector of a class overlaps the one
// before; it holds zeros for the features that are there twice.
template <class T>
void transpose_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    const ptrdiff_t padded = round_up<T>(n, VL<T>), whole = n / VL<T> * VL<T>, overlap = padded - n;
    for (ptrdiff_t c = 0; c < k; ++c, out += padded) {
        for (ptrdiff_t j = 0; j < whole; ++j) out[j] = theta[j * k + c];
        for (ptrdiff_t j = whole; j < padded; ++j) out[j] = j < whole + overlap ? T(0) : theta[(j - overlap) * k + c];
    }
}

// G (k, ldg) += D^T X, with feature j at G[j]. A row has at least NARROW_LANES numbers, or finite ones follow it.
template <class T>
void backward_by_narrow_tiles(const Matrix<T>& X, int rows, const T* D, ptrdiff_t ldd, ptrdiff_t n, ptrdiff_t k, T* G,
                              ptrdiff_t ldg, Prefetcher& prefetch) {
    const Split classes(int(k), NARROW_CLASSES);
    for (int part = 0; part < classes.parts; ++part) {
        const int c = classes.begin(part), ns = classes.size(part);
        const Split panels = narrow_panels<T>(n, ns);
        for (int i = 0; i < panels.parts; ++i) {
            const int nv = panels.size(i);
            const ptrdiff_t begin = panels.begin(i) * NARROW_LANES<T>, at = begin + (nv - 1) * NARROW_LANES<T>;
            const ptrdiff_t early = std::max<ptrdiff_t>(std::min(at, n - NARROW_LANES<T>), 0);
            const NarrowPanel panel{begin, early - begin, int(at - early)};
            narrow_tile_of<T>(nv, ns)(X.data, X.row_step, panel, D + c * ldd, ldd, G + c * ldg, ldg, rows, prefetch);
        }
    }
}

// Numbers that one theta takes, however it is laid out.
template <class T>
ptrdiff_t parameter_size(const Pass<T>& p) {
    return round_up<T>(std::max(round_up<T>(p.n, VL<T>) * p.k, p.n * p.products.class_lanes));
}

// Numbers of scratch memory that a pass over slabs needs.
template <class T>
ptrdiff_t work_size(const Pass<T>& p, ptrdiff_t outputs) {
    return 2 * parameter_size(p) + Scratch<T>(nullptr, p, outputs).size * p.threads + VEC_BYTES / sizeof(T);
}

// The block of rows from `first` on, for both products.
template <class T>
Matrix<T> stage_block(ptrdiff_t first, int rows, const Pass<T>& p, T* buffer) {
    const ptrdiff_t size = sizeof(T);
    const bool same = p.X.type == (size == 8 ? FLOAT64 : FLOAT32);
    // Neither product reads past the end of a row then.
    if (same && p.products.forward == CLASS_LANE && p.X.feature_step == size && p.n >= NARROW_LANES<T>)
        return {(const T*)(p.X.data + first * p.X.row_step), p.X.row_step / size, 1, true, true};
    return stage(p.X, first, rows, p.m, p.n, buffer, p.products.transpose_bytes);
}

// Steps that the softmax of a vector of rows counts for. It prefetches too, or memory would be idle meanwhile:
// 500k x 50, k = 3, float64, takes 7.5 ms, was 8.0, and 7.2 ms, was 7.9, in F order; float32 gains little. With more
// classes the products take most of the time.
constexpr ptrdiff_t softmax_steps(ptrdiff_t k) { return k <= 16 ? 2 * k : 0; }

// Steps of all tiles of a block and of its softmax, over which the prefetches of the next block are spread.
template <class T>
ptrdiff_t block_steps(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t row_panels = (p.block + TILE_LANES<T> - 1) / TILE_LANES<T>;
    const ptrdiff_t scalars = Split(outputs, TILE_SCALARS).parts;
    const Products& products = p.products;
    const bool in_lanes = products.forward == CLASS_LANE;
    const ptrdiff_t once = in_lanes ? p.block / VL<T> * tile_steps<T>(p.n) : scalars * row_panels * p.n;
    const ptrdiff_t forward = p.theta ? once * (p.direction ? 2 : 1) : 0;
    const bool residuals = p.theta && (p.y || p.soft) && !p.direction && outputs == p.k;
    const ptrdiff_t softmax = residuals ? p.block / VL<T> * softmax_steps(p.k / p.models) * p.models : 0;
    const bool by_lines = products.backward == DOT;
    const ptrdiff_t tiles = by_lines ? (p.n + TILE_VECTORS - 1) / TILE_VECTORS : PanelsOf<T>(p.n).count;
    const ptrdiff_t summed = scalars * tiles * (by_lines ? p.block / VL<T> : p.block);
    const ptrdiff_t backward = !p.grad ? 0 : products.backward == NARROW ? narrow_steps<T>(p.n, p.k, p.block) : summed;
    const ptrdiff_t dX = p.dX ? Split(p.n, TILE_SCALARS).parts * row_panels * p.k : 0;
    return forward + softmax + backward / (p.theta ? 1 : 2) + dX;
}

// A block of more bytes leaves no room for the next block in L2. Tiles are idle then, and packing prefetches so many
// bytes ahead along the rows. 5,000 x 20,000, k = 5, float32, one thread: 21,000 cycles a row, 31,000 with the next
// block prefetched.
constexpr ptrdiff_t NEAR_BYTES = 1 << 20, PACKING_DISTANCE = 2 << 10;

template <class T>
bool is_wide(const Pass<T>& p) {
    return p.block * p.n * p.X.itemsize > NEAR_BYTES && p.X.feature_step == p.X.itemsize;
}

// Prefetches the block of rows from `first` on within so many steps.
template <class T>
Prefetcher prefetch_next_block(const Pass<T>& p, ptrdiff_t first, ptrdiff_t steps) {
    if (is_wide(p)) return Prefetcher::idle(p.X.data);
    const ptrdiff_t rows = std::min(p.block, p.m - first), size = p.X.itemsize;
    const char* next = p.X.data + first * p.X.row_step;
    if (rows > 0 && p.X.feature_step == size) return Prefetcher::pieces(next, rows, p.n * size, p.X.row_step, steps);
    // A column seldom begins where a cache line does. Its first line has come with the block before, so its last line
    // must come with this block. Forward product of 60k x 784, k = 10, float64: 810 cycles a row, without it 2,030.
    constexpr ptrdiff_t last = CACHE_LINE - 1;
    if (rows > 0 && p.X.row_step == size)
        return Prefetcher::pieces(next + last, p.n, rows * size, p.X.feature_step, steps);
    return Prefetcher::idle(p.X.data);
}

// H^T [k][block] = theta^T X^T + bias, or as much of it as the features from .. to contribute: from = 0 sets H to that
// and the bias, later features are added. `bias` may be null.
template <class T>
void forward(const View<T>& columns, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
             Prefetcher& prefetch, ptrdiff_t from, ptrdiff_t to) {
    const Split classes(p.k, TILE_SCALARS);
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    auto product = [&](int c, int v) {
        const int begin = classes.begin(c), ns = classes.size(c), nv = std::min(TILE_VECTORS, vectors - v);
        const T *theta = parameters + begin * p.n + from * ns, *start = bias ? bias + begin : nullptr;
        const T* A = columns.data + v / TILE_VECTORS * columns.panel;
        T* out = H + begin * p.block + v * VL<T>;
        if (from == 0)
            run_tile<T, false>(nv, ns, A, columns.ld, theta, ns, 1, out, p.block, start, to, prefetch);
        else
            run_tile<T, true>(nv, ns, A, columns.ld, theta, ns, 1, out, p.block, nullptr, to - from, prefetch);
    };
    if (columns.ld != TILE_LANES<T>) {  // X in place: a block is as large as L2, so a panel goes through all classes
        for (int v = 0; v < vectors; v += TILE_VECTORS)
            for (int c = 0; c < classes.parts; ++c) product(c, v);
        return;
    }
    const int panels = (vectors + TILE_VECTORS - 1) / TILE_VECTORS, group = p.products.row_group / TILE_LANES<T>;
    const Split groups(panels, p.products.row_group ? std::max(1, group) : panels);
    for (int g = 0; g < groups.parts; ++g) {
        const int begin = groups.begin(g) * TILE_VECTORS, end = std::min(vectors, begin + groups.size(g) * TILE_VECTORS);
        for (int c = 0; c < classes.parts; ++c)
            for (int v = begin; v < end; v += TILE_VECTORS) product(c, v);
    }
}

// Vectors of a row that the forward product walks before the next part of the row: 7 kB of each of TILE_VECTORS rows,
// which stay in L1 for all classes.
constexpr int L1_VECTORS = (7 << 10) / VEC_BYTES;

// H^T of a block by inner products of rows in place with those of the transposed theta.
template <class T>
void forward_by_dots(const Matrix<T>& X, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
                     Prefetcher& prefetch) {
    const ptrdiff_t padded = round_up<T>(p.n, VL<T>);
    const Split parts(int(p.n / VL<T>), L1_VECTORS), classes(p.k, TILE_SCALARS);
    for (int part = 0; part < parts.parts; ++part) {
        const ptrdiff_t from = parts.begin(part) * VL<T>;
        const ptrdiff_t length = part + 1 < parts.parts ? parts.size(part) * VL<T> : p.n - from;
        for (int r = 0; r < round_up<T>(rows, VL<T>); r += TILE_VECTORS) {  // lanes past the last row repeat it
            const int first = std::min(r, rows - 1);
            const Lines<T> lines{X.data + first * X.row_step + from, X.row_step,
                                 std::min(TILE_VECTORS, rows - first) - 1};
            for (int c = 0; c < classes.parts; ++c) {
                const int begin = classes.begin(c), ns = classes.size(c);
                const T *theta = parameters + begin * padded + from, *start = bias ? bias + begin : nullptr;
                T* out = H + begin * p.block + r;
                if (part == 0)
                    run_dot_tile<T, false>(ns, lines, theta, padded, out, p.block, start, length, prefetch);
                else
                    run_dot_tile<T, true>(ns, lines, theta, padded, out, p.block, nullptr, length, prefetch);
            }
        }
    }
}

// H^T of a block by tiles with classes in the lanes. If the last rows do not fill a tile, they are copied to `buffer`,
// where the last row is repeated.
template <class T>
void forward_by_class_lanes(const Matrix<T>& X, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
                            T* buffer, Prefetcher& prefetch) {
    T start[VL<T>] = {};
    if (bias) std::copy_n(bias, p.k, start);
    int r = 0;
    for (; r + VL<T> <= rows; r += VL<T>)
        run_class_lane_tile(X.data + r * X.row_step, X.row_step, parameters, start, p.n, H + r, p.block, int(p.k),
                            p.products.class_lanes, prefetch);
    if (r == rows) return;
    for (int i = 0; i < VL<T>; ++i) std::copy_n(X.data + std::min(r + i, rows - 1) * X.row_step, p.n, buffer + i * p.n);
    run_class_lane_tile(buffer, p.n, parameters, start, p.n, H + r, p.block, int(p.k), p.products.class_lanes, prefetch);
}

// The logits of a block, all features at once: H = X theta + bias and, where there is a direction, U = X direction +
// direction_bias.
template <class T>
void logits_at_once(const Matrix<T>& X, int rows, const T* theta, const T* direction, const Pass<T>& p, Scratch<T>& s,
                    Prefetcher& prefetch) {
    if (p.products.forward == DOT) {
        forward_by_dots(X, rows, theta, p.bias, p, s.H, prefetch);
        if (direction) forward_by_dots(X, rows, direction, p.direction_bias, p, s.U, prefetch);
        return;
    }
    if (p.products.forward == CLASS_LANE) {
        forward_by_class_lanes(X, rows, theta, p.bias, p, s.H, s.columns, prefetch);
        if (direction) forward_by_class_lanes(X, rows, direction, p.direction_bias, p, s.U, s.columns, prefetch);
        return;
    }
    // Where tiles have too few steps to prefetch the next block, packing prefetches it too. 500k x 50, float64: 106
    // cycles a row, was 110; 141 with packing alone.
    const ptrdiff_t to_next = is_wide(p)           ? PACKING_DISTANCE / ptrdiff_t(sizeof(T))
                              : prefetch.share > p.products.packing_share ? p.block * X.row_step
                                                   : 0;
    // All features at once, even where the copy is larger than L2: 20k x 1024, k = 1000, float64, takes 773 ms, but 791
    // in KC blocks of 256 kB, whose sums go through the cache again and again.
    const View<T> columns = pack_columns(X, rows, p.n, s.columns, X.in_place ? to_next : 0);
    forward(columns, rows, theta, p.bias, p, s.H, prefetch, 0, p.n);
    if (direction) forward(columns, rows, direction, p.direction_bias, p, s.U, prefetch, 0, p.n);
}

// What a backward product multiplies the rows of X by: D or, for a Gram matrix, the weighted X.
template <class T>
struct Scalars {
    const T* data;
    ptrdiff_t step, scalar;  // from one row to the next, from one scalar to the next
    int count;
    bool symmetric = false;  // the result is; panels that end before the diagonal are left out
};

// G += D^T X by inner products of columns in place with those of D, for the panels first .. last. 500k x 50, k = 3, in
// F order, one thread: 39 cycles a row, was 46, in float32; 72, was 82, in float64.
template <class T>
void backward_by_dots(const Matrix<T>& X, int rows, const Scalars<T>& D, const PanelsOf<T>& panels, int first, int last,
                      T* G, ptrdiff_t ldg, Prefetcher& prefetch) {
    const Split classes(D.count, TILE_SCALARS);
    const ptrdiff_t length = round_up<T>(rows, VL<T>);
    for (int i = first; i < last; ++i) {
        const Panel panel = panels[i];
        for (int j = 0; j < panel.vectors * VL<T> && panel.begin + j < panels.n; j += TILE_VECTORS) {
            const int left = int(std::min<ptrdiff_t>(TILE_VECTORS, panels.n - panel.begin - j));
            const Lines<T> lines{X.data + (panel.begin + j) * X.feature_step, X.feature_step, left - 1};
            for (int c = 0; c < classes.parts; ++c) {
                const int begin = classes.begin(c);
                run_dot_tile<T, true>(classes.size(c), lines, D.data + begin * D.scalar, D.scalar,
                                      G + begin * ldg + panel.slot + j, ldg, nullptr, length, prefetch);
            }
        }
    }
}

// G[s][slot of feature] += sum over rows of B[row, s] X[row, feature], by register tiles. X in rows is read in place, or
// packed panel by panel if `how.copy_panels`. `buffer` has room for a packed panel.
template <class T>
void backward(const Matrix<T>& X, int rows, const Scalars<T>& B, ptrdiff_t n, const Products& how, T* buffer, T* G,
              ptrdiff_t ldg, Prefetcher& prefetch) {
    const PanelsOf<T> panels(n);
    const Split scalars(B.count, TILE_SCALARS);
    auto product = [&](int part, const Panel& panel, const T* A, ptrdiff_t lda) {
        const int begin = scalars.begin(part);
        if (B.symmetric && panel.slot + panel.vectors * VL<T> <= begin) return;
        run_tile<T, true>(panel.vectors, scalars.size(part), A, lda, B.data + begin * B.scalar, B.step, B.scalar,
                          G + begin * ldg + panel.slot, ldg, nullptr, rows, prefetch);
    };
    if (X.by_row && !how.copy_panels) {
        for (int part = 0; part < scalars.parts; ++part)
            for (int i = 0; i < panels.count; ++i) product(part, panels[i], X.data + panels[i].begin, X.row_step);
        return;
    }
    const Split chunks(scalars.parts, how.class_chunk ? std::max(1, how.class_chunk / TILE_SCALARS) : scalars.parts);
    for (int chunk = 0; chunk < chunks.parts; ++chunk) {
        const int begin = chunks.begin(chunk), end = begin + chunks.size(chunk);
        for (int i = 0; i < panels.count; ++i) {  // a packed panel stays in L1 or L2 for all scalars
            X.by_row ? copy_panel(X, panels[i], rows, n, buffer) : pack_panel(X, panels[i], rows, n, buffer);
            for (int part = begin; part < end; ++part) product(part, panels[i], buffer, TILE_LANES<T>);
        }
    }
}

// dX^T (n, block) = theta D^T, in `columns`, for the feature tiles from .. to: the forward tile with classes as steps
// and features as scalars. Classes are taken so many at a time that their residuals stay in L2 for all features.
constexpr ptrdiff_t DX_CLASSES = 256;

template <class T>
void input_gradient(int from, int to, int rows, const Pass<T>& p, const BlockBuffers<T>& s, Prefetcher& prefetch) {
    const Split features(p.n, TILE_SCALARS);
    const ptrdiff_t R = p.block;
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (ptrdiff_t c = 0; c < p.k; c += DX_CLASSES) {
        const ptrdiff_t classes = std::min(DX_CLASSES, p.k - c);
        for (int part = from; part < to; ++part)
            for (int v = 0; v < vectors; v += TILE_VECTORS) {
                const ptrdiff_t begin = features.begin(part);
                const int nv = std::min(TILE_VECTORS, vectors - v), ns = features.size(part);
                const T *D = s.H + c * R + v * VL<T>, *theta = p.theta + begin * p.k + c;
                T* out = s.columns + begin * R + v * VL<T>;
                if (c == 0)
                    run_tile<T, false>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, prefetch);
                else
                    run_tile<T, true>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, prefetch);
            }
    }
}

}  // namespace
}  // namespace fastsoftmax
