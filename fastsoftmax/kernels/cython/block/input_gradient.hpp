// Products with theta by class, (k, n), as layers of neural networks have it: logits without a packed copy, and dX.
//
//     logits            H^T [class][row]   the forward tile, whose scalars are 6 rows of theta in place
//     input_gradient    dX = D theta       features in the lanes, classes as steps, rows as scalars: [row][feature]
//
// dX is the third product of a training step, and as large as the others. With rows in the lanes it came transposed, and
// theta was read across its classes: 512 x 512 with 128,000 classes took 1,500 ms more with dX than without.
#pragma once

#include "block/products.hpp"

namespace fastsoftmax {
namespace {

// H^T of a pass's classes, whose parameters are W (k, n) in C order.
template <class T>
void forward_by_class(const View<T>& columns, int rows, const T* W, const T* bias, const Pass<T>& p, T* H,
                      Prefetcher& prefetch) {
    const Split classes(int(p.k), TILE_SCALARS);
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (int c = 0; c < classes.parts; ++c)
        for (int v = 0; v < vectors; v += TILE_VECTORS) {
            const int begin = classes.begin(c), nv = std::min(TILE_VECTORS, vectors - v);
            run_tile<T, false>(nv, classes.size(c), columns.data + v / TILE_VECTORS * columns.panel, columns.ld,
                               W + begin * p.n, 1, p.n, H + begin * p.block + v * VL<T>, p.block,
                               bias ? bias + begin : nullptr, p.n, prefetch);
        }
}

// out [row][slot of feature], each row `ldo` long, (+)= D W for some classes; D^T is [class][p.block]. The residuals of
// a tile are packed, because those of one row are a block apart. `packed` has room for rows x classes numbers.
template <class T, bool ADD>
void add_input_gradient(const T* D, const T* W, ptrdiff_t classes, int rows, const Pass<T>& p, T* packed, T* out,
                        ptrdiff_t ldo, Prefetcher& prefetch) {
    const PanelsOf<T> panels(p.n);
    const Split tiles(rows, TILE_SCALARS);
    pack_parameters(D, classes, p.block, 0, rows, packed);
    for (int i = 0; i < panels.count; ++i)
        for (int part = 0; part < tiles.parts; ++part) {
            const int begin = tiles.begin(part), ns = tiles.size(part);
            run_tile<T, ADD>(panels[i].vectors, ns, W + panels[i].begin, p.n, packed + begin * classes, ns, 1,
                             out + begin * ldo + panels[i].slot, ldo, nullptr, classes, prefetch);
        }
}

// Bytes of theta up to which whole rows of dX are written one after the other; else a panel of theta stays in cache for
// all rows. 60,000 x 784, k = 10, float32, panel by panel: 58 ms, was 10 without dX.
constexpr ptrdiff_t WHOLE_ROWS_BYTES = 256 << 10;

// Rows first .. of dX, tile by tile. Reads W up to a whole vector past its end.
template <class T>
void input_gradient(ptrdiff_t first, int rows, const Pass<T>& p, const T* D, T* packed, T* tile, Prefetcher& prefetch) {
    const PanelsOf<T> panels(p.n);
    const Split tiles(rows, TILE_SCALARS);
    pack_parameters(D, p.k, p.block, 0, rows, packed);
    auto product = [&](int part, int i) {
        const Panel panel = panels[i];
        const ptrdiff_t end = std::min(p.n, panel.begin + panel.vectors * VL<T>);
        const int begin = tiles.begin(part), ns = tiles.size(part);
        const bool direct = p.scale == 1.0 && end - panel.slot == panel.vectors * VL<T>;  // no lane overlaps
        run_tile<T, false>(panel.vectors, ns, p.by_class + panel.begin, p.n, packed + begin * p.k, ns, 1,
                           direct ? p.dX + (first + begin) * p.n + panel.slot : tile, direct ? p.n : TILE_LANES<T>,
                           nullptr, p.k, prefetch);
        if (direct) return;
        for (int s = 0; s < ns; ++s) {
            T* dX = p.dX + (first + begin + s) * p.n;
            const T* from = tile + s * TILE_LANES<T> - panel.begin;
            for (ptrdiff_t j = panel.slot; j < end; ++j) dX[j] = T(p.scale) * from[j];
        }
    };
    if (p.k * p.n * ptrdiff_t(sizeof(T)) <= WHOLE_ROWS_BYTES) {
        for (int part = 0; part < tiles.parts; ++part)
            for (int i = 0; i < panels.count; ++i) product(part, i);
    } else {
        for (int i = 0; i < panels.count; ++i)
            for (int part = 0; part < tiles.parts; ++part) product(part, i);
    }
}

}  // namespace
}  // namespace fastsoftmax
