// The products of a block, cut into tiles.
//
//     forward           H = X theta + bias      by register tiles, `dot_tile` or `class_lane_tile`
//     backward          G += D^T X              by register tiles, wide or narrow, or `dot_tile`
//     input_gradient    dX = scale D theta^T    by register tiles
//
// Which one is in `Pass::products`, the same for all blocks of a pass: strategy.py chooses by the order of X and by the
// numbers of features and classes.
#pragma once

#include "block/amx_products.hpp"
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

// Numbers that one theta takes, however it is laid out; after that, as matrix units read it.
template <class T>
ptrdiff_t vector_parameter_size(const Pass<T>& p) {
    return round_up<T>(std::max(round_up<T>(p.n, VL<T>) * p.k, p.n * p.products.class_lanes));
}
template <class T>
ptrdiff_t parameter_size(const Pass<T>& p) {
    return vector_parameter_size(p) + left_parameter_size(p);
}

// Numbers that theta and a direction take together, and theta once more where there is a dX.
template <class T>
ptrdiff_t all_parameters_size(const Pass<T>& p) {
    return 2 * parameter_size(p) + (p.dX ? round_up<T>(p.n) * p.k : 0) + RED_ZONE_BYTES / ptrdiff_t(sizeof(T));
}

// Numbers of scratch memory that a pass over slabs needs.
template <class T>
ptrdiff_t work_size(const Pass<T>& p, ptrdiff_t outputs) {
    return all_parameters_size(p) + scratch_size(p, outputs) * p.threads + VEC_BYTES / sizeof(T);
}

// The block of rows from `first` on, for both products.
template <class T>
Matrix<T> stage_block(ptrdiff_t first, int rows, const Pass<T>& p, T* buffer) {
    const ptrdiff_t size = sizeof(T);
    const bool same = p.X.type == (size == 8 ? FLOAT64 : FLOAT32);
    // Neither product reads past the end of a row then.
    if (same && p.products.forward == CLASS_LANE && p.X.feature_step == size && p.n >= Narrow<T>::LANES)
        return {(const T*)(p.X.data + first * p.X.row_step), p.X.row_step / size, 1, true, true};
    return stage(p.X, first, rows, p.m, p.n, buffer, p.products.transpose_bytes);
}

// Steps that the softmax of a vector of rows counts for. It prefetches too, or memory would be idle meanwhile:
// 500k x 50, k = 3, float64, takes 7.5 ms, was 8.0, and 7.2 ms, was 7.9, in F order; float32 gains little. With more
// classes the products take most of the time.
constexpr ptrdiff_t softmax_steps(ptrdiff_t k) { return k <= 16 ? 2 * k : 0; }

// Steps of all tiles of a shape of a backward product.
template <class Shape>
ptrdiff_t backward_steps(ptrdiff_t n, ptrdiff_t count, ptrdiff_t rows) {
    const Split scalars(count, Shape::SCALARS);
    ptrdiff_t tiles = 0;
    for (int part = 0; part < scalars.parts; ++part)
        tiles += Panels<Shape::LANES>(n, most_vectors<Shape>(scalars.size(part))).count();
    return tiles * rows;
}

// Steps of all tiles of a block and of its softmax, over which the prefetches of the next block are spread.
template <class T>
ptrdiff_t block_steps(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t row_panels = (p.block + TILE_LANES<T> - 1) / TILE_LANES<T>, vectors = p.block / VL<T>;
    const ptrdiff_t scalars = Split(outputs, TILE_SCALARS).parts;
    const bool in_lanes = p.products.forward == CLASS_LANE;
    const ptrdiff_t once = in_lanes ? vectors * tile_steps<T>(p.n) : scalars * row_panels * p.n;
    const ptrdiff_t forward = p.theta ? once * (p.direction ? 2 : 1) : 0;
    const bool residuals = p.theta && (p.y || p.soft) && !p.direction && outputs == p.k;
    const ptrdiff_t softmax = residuals ? vectors * softmax_steps(p.k / p.models) * p.models : 0;
    const ptrdiff_t dots = scalars * ((p.n + TILE_VECTORS - 1) / TILE_VECTORS) * vectors;
    const ptrdiff_t backward = !p.grad                         ? 0
                               : p.products.backward == NARROW ? backward_steps<Narrow<T>>(p.n, outputs, p.block)
                               : p.products.backward == TILE   ? backward_steps<Wide<T>>(p.n, outputs, p.block)
                                                               : dots;
    const ptrdiff_t dX = p.dX ? Split(p.block, TILE_SCALARS).parts * Panels<VL<T>>(p.n).count() * p.k : 0;
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
// and the bias, later features are added. `bias` may be null. The parameters are packed, or theta by class as it is.
template <class T>
void forward(const View<T>& columns, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
             Prefetcher& prefetch, ptrdiff_t from, ptrdiff_t to) {
    const Split classes(p.k, TILE_SCALARS);
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    auto product = [&](int c, int v) {
        const int begin = classes.begin(c), ns = classes.size(c), nv = std::min(TILE_VECTORS, vectors - v);
        const T* at = parameters + begin * p.n;
        const Scalars<T> theta = p.by_class ? Scalars<T>{at + from, 1, p.n} : Scalars<T>{at + from * ns, ns, 1};
        const Out<T> out{H + begin * p.block + v * VL<T>, p.block, from > 0, bias && !from ? bias + begin : nullptr};
        run_tile<Wide<T>>(ns, columns.data + v / TILE_VECTORS * columns.panel, columns.ld, whole_vectors<T>(nv), theta,
                          out, to - from, prefetch);
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
                const int begin = classes.begin(c);
                const T* start = bias && part == 0 ? bias + begin : nullptr;
                run_dot_tile(classes.size(c), lines, parameters + begin * padded + from, padded,
                             {H + begin * p.block + r, p.block, part > 0, start}, length, prefetch);
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

// What a backward product multiplies the rows of X by: D or, for a Gram matrix, the weighted X. A Gram matrix is
// symmetric; panels that end before the diagonal are left out.
template <class T>
struct Factor {
    Scalars<T> scalars;
    int count;
    bool symmetric = false;
};

// G += D^T X for the features from .. to, by inner products of columns in place with those of D. 500k x 50, k = 3, in
// F order, one thread: 39 cycles a row, was 46, in float32; 72, was 82, in float64.
template <class T>
void backward_by_dots(const Matrix<T>& X, int rows, const Factor<T>& D, ptrdiff_t from, ptrdiff_t to, T* G,
                      ptrdiff_t ldg, Prefetcher& prefetch) {
    const Split classes(D.count, TILE_SCALARS);
    for (ptrdiff_t j = from; j < to; j += TILE_VECTORS) {
        const Lines<T> lines{X.data + j * X.feature_step, X.feature_step,
                             int(std::min<ptrdiff_t>(TILE_VECTORS, to - j)) - 1};
        for (int c = 0; c < classes.parts; ++c) {
            const int begin = classes.begin(c);
            run_dot_tile(classes.size(c), lines, D.scalars.from(begin).data, D.scalars.scalar,
                         {G + begin * ldg + j, ldg}, round_up<T>(rows, VL<T>), prefetch);
        }
    }
}

// G += D^T X by tiles of one shape, for rows in place.
template <class Shape, class T>
void backward_in_place(const Matrix<T>& X, int rows, const Factor<T>& D, ptrdiff_t n, T* G, ptrdiff_t ldg,
                       Prefetcher& prefetch) {
    const Split scalars(D.count, Shape::SCALARS);
    for (int part = 0; part < scalars.parts; ++part) {
        const int begin = scalars.begin(part), ns = scalars.size(part);
        const Panels<Shape::LANES> panels(n, most_vectors<Shape>(ns));
        for (int i = 0; i < panels.count(); ++i) {
            const Panel panel = panels[i];
            if (D.symmetric && panels.end(i) <= begin) continue;
            run_tile<Shape>(ns, X.data + panel.begin, X.row_step, panel, D.scalars.from(begin),
                            {G + begin * ldg + panel.begin, ldg}, rows, prefetch);
        }
    }
}

// G += D^T X by tiles, from packed panels. `buffer` has room for one.
template <class T>
void backward_packed(const Matrix<T>& X, int rows, const Factor<T>& D, ptrdiff_t n, ptrdiff_t class_chunk, T* buffer,
                     T* G, ptrdiff_t ldg, Prefetcher& prefetch) {
    const Panels<VL<T>> panels(n);
    const Split scalars(D.count, TILE_SCALARS);
    const Split chunks(scalars.parts, class_chunk ? std::max(1, int(class_chunk) / TILE_SCALARS) : scalars.parts);
    for (int chunk = 0; chunk < chunks.parts; ++chunk)
        for (int i = 0; i < panels.count(); ++i) {  // a packed panel stays in L1 or L2 for all scalars
            const Panel panel = panels[i];
            const T* lanes = buffer + (panel.begin - panel.first());
            pack_panel(X, panel, rows, n, buffer);
            for (int part = chunks.begin(chunk); part < chunks.begin(chunk) + chunks.size(chunk); ++part) {
                const int begin = scalars.begin(part);
                if (D.symmetric && panels.end(i) <= begin) continue;
                run_tile<Wide<T>>(scalars.size(part), lanes, TILE_LANES<T>, panel, D.scalars.from(begin),
                                  {G + begin * ldg + panel.begin, ldg}, rows, prefetch);
            }
        }
}

// G[s][feature] += sum over rows of D[row, s] X[row, feature], by register tiles. X in rows is read in place, or packed
// panel by panel if `how.copy_panels`.
template <class T>
void backward(const Matrix<T>& X, int rows, const Factor<T>& D, ptrdiff_t n, const Products& how, T* buffer, T* G,
              ptrdiff_t ldg, Prefetcher& prefetch) {
    if (how.backward == NARROW)
        backward_in_place<Narrow<T>>(X, rows, D, n, G, ldg, prefetch);
    else if (X.by_row && !how.copy_panels)
        backward_in_place<Wide<T>>(X, rows, D, n, G, ldg, prefetch);
    else
        backward_packed(X, rows, D, n, how.class_chunk, buffer, G, ldg, prefetch);
}

// theta times `scale` as `input_gradient` reads it: [panel of TILE_LANES features][class][feature in panel].
template <class T>
T* pack_features(const Pass<T>& p, T* out) {
    const Panels<VL<T>> panels(p.n);
    for (int i = 0; i < panels.count(); ++i) {
        const ptrdiff_t first = panels[i].first(), lanes = panels.end(i) - first;
        const T* theta = p.theta + first * p.k;
        T* panel = out + i * p.k * TILE_LANES<T>;
        for (ptrdiff_t j = 0; j < lanes; ++j)
            for (ptrdiff_t c = 0; c < p.k; ++c) panel[c * TILE_LANES<T> + j] = theta[j * p.k + c] * T(p.scale);
    }
    return out;
}

// dX = scale D theta^T for the rows of a block, straight into the caller's array: features are in the lanes, classes are
// steps, rows are scalars. Classes are taken DX_CLASSES at a time, and their residuals packed, so that both factors of a
// tile stay in cache. Rows that are shorter than a vector go by way of `columns`.
template <class T>
void input_gradient(ptrdiff_t first, int rows, const T* theta, const Pass<T>& p, const Scratch<T>& s,
                    Prefetcher& prefetch) {
    const Panels<VL<T>> panels(p.n);
    const Split tiles(rows, TILE_SCALARS);
    const bool in_place = p.n >= VL<T>;
    T *dX = p.dX + first * p.n, *out = in_place ? dX : s.columns;
    const ptrdiff_t ld = in_place ? p.n : VL<T>;
    for (ptrdiff_t c = 0; c < p.k; c += DX_CLASSES) {
        const ptrdiff_t classes = std::min(DX_CLASSES, p.k - c);
        pack_parameters(s.H + c * p.block, classes, p.block, 0, rows, s.residuals);
        for (int i = 0; i < panels.count(); ++i) {
            const Panel panel = panels[i];
            const T* lanes = theta + (i * p.k + c) * TILE_LANES<T> + (panel.begin - panel.first());
            for (int part = 0; part < tiles.parts; ++part) {
                const int begin = tiles.begin(part), ns = tiles.size(part);
                run_tile<Wide<T>>(ns, lanes, TILE_LANES<T>, panel, {s.residuals + begin * classes, ns, 1},
                                  {out + begin * ld + panel.begin, ld, c > 0}, classes, prefetch);
            }
        }
    }
    if (in_place) return;
    for (int r = 0; r < rows; ++r) std::copy_n(out + r * ld, p.n, dX + r * p.n);
}

}  // namespace
}  // namespace fastsoftmax
