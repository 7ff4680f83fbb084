// KC blocking of X in F order: where L2 does not hold a block of rows beside the next block, both products walk the
// features in KC blocks, and L3 holds the block of rows in between.
//
//     forward     KC block 0, 1, ... last    each prefetches the one after it, from memory
//     backward    last, ... 1, 0             each prefetches the one before it, from L3; KC block 0 that of the next
//     block
//
// The last KC block is still in L2 when the backward product begins with it. Since L2 does not hold such a block of
// rows anyway, it has more rows than others, for longer pieces of columns.
#pragma once

#include "block/products.hpp"

namespace fastsoftmax {
namespace {

// The cut of the features into KC blocks, in units of TILE_LANES.
template <class T>
Split kc_blocks_of(const Pass<T>& p) {
    return Split((p.n + TILE_LANES<T> - 1) / TILE_LANES<T>, std::max(1, p.products.kc_block / TILE_LANES<T>));
}

// The first feature of KC block b.
template <class T>
ptrdiff_t kc_block_begin(int b, const Pass<T>& p) {
    return std::min(p.n, kc_blocks_of(p).begin(b) * ptrdiff_t(TILE_LANES<T>));
}

// Whether this block of rows goes by KC blocks. The last rows of a slab may have to be staged.
template <class T>
bool by_kc_blocks(const Matrix<T>& X, const Pass<T>& p) {
    return p.products.kc_block && X.in_place;
}

// Steps of the tiles of one product with KC block b.
template <class T>
ptrdiff_t kc_block_steps(int b, ptrdiff_t rows, bool backward, const Pass<T>& p) {
    const ptrdiff_t features = kc_block_begin(b + 1, p) - kc_block_begin(b, p), vectors = (rows + VL<T> - 1) / VL<T>;
    const ptrdiff_t tiles = backward ? (features + TILE_VECTORS - 1) / TILE_VECTORS * vectors
                                     : (vectors + TILE_VECTORS - 1) / TILE_VECTORS * features * (p.direction ? 2 : 1);
    return Split(p.k, TILE_SCALARS).parts * tiles;
}

// Prefetches KC block b of the rows at X within so many steps. For the last lines of columns see `prefetch_next_block`.
template <class T>
Prefetcher prefetch_kc_block(const char* X, ptrdiff_t rows, int b, const Pass<T>& p, ptrdiff_t steps) {
    const ptrdiff_t from = kc_block_begin(b, p), to = kc_block_begin(b + 1, p);
    return Prefetcher::pieces(X + from * p.X.feature_step + CACHE_LINE - 1, to - from, rows * ptrdiff_t(sizeof(T)),
                              p.X.feature_step, steps);
}

// Prefetches the first KC block of the rows from `first` on, while the last KC block of the rows before is worked on.
template <class T>
Prefetcher prefetch_first_kc_block(ptrdiff_t first, const Pass<T>& p) {
    const ptrdiff_t rows = std::min(p.block, p.m - first);
    if (rows <= 0) return Prefetcher::idle(p.X.data);
    const int last = p.grad ? 0 : kc_blocks_of(p).parts - 1;
    return prefetch_kc_block(p.X.data + first * p.X.row_step, rows, 0, p, kc_block_steps(last, p.block, p.grad, p));
}

// H = X theta + bias and, where there is a direction, U = X direction + direction_bias. `prefetch` is for what comes
// after the last product with X.
template <class T>
void forward_by_kc_blocks(const Matrix<T>& X, int rows, const T* theta, const T* direction, const Pass<T>& p,
                          Scratch<T>& s, Prefetcher& prefetch) {
    const int kc_blocks = kc_blocks_of(p).parts;
    for (int b = 0; b < kc_blocks; ++b) {
        const ptrdiff_t from = kc_block_begin(b, p), to = kc_block_begin(b + 1, p);
        Prefetcher next = p.grad ? Prefetcher::idle((const char*)X.data) : prefetch;
        if (b + 1 < kc_blocks)
            next = prefetch_kc_block((const char*)X.data, rows, b + 1, p, kc_block_steps(b, rows, false, p));
        const View<T> columns{X.data + from * X.feature_step, TILE_LANES<T>, X.feature_step};
        forward(columns, rows, theta, p.bias, p, s.H, next, from, to);
        if (direction) forward(columns, rows, direction, p.direction_bias, p, s.U, next, from, to);
    }
}

// The same by matrix units, for the products of the parameters that `prepare_parameters` has packed.
inline void logits_by_amx(int rows, const float* theta, const float* direction, const Pass<float>& p,
                          Scratch<float>& s) {
    const ptrdiff_t left = vector_parameter_size(p);
    forward_by_amx(left_parameters(theta + left, p), p.bias, rows, p, s.units, s.H);
    if (direction) forward_by_amx(left_parameters(direction + left, p), p.direction_bias, rows, p, s.units, s.U);
}

// The logits of a block: H = X theta + bias and, where there is a direction, U = X direction + direction_bias.
template <class T>
void logits_of_block(const Matrix<T>& X, int rows, const T* theta, const T* direction, const Pass<T>& p, Scratch<T>& s,
                     Prefetcher& prefetch) {
    if constexpr (sizeof(T) == 4) {
        s.units.filled = p.products.forward == AMX_TILE && pack_units(X, rows, p.n, s.units);
        if (s.units.filled) return logits_by_amx(rows, theta, direction, p, s);
    }
    if (by_kc_blocks(X, p))
        forward_by_kc_blocks(X, rows, theta, direction, p, s, prefetch);
    else
        logits_at_once(X, rows, theta, direction, p, s, prefetch);
}

// G += D^T X.
template <class T>
void backward_by_kc_blocks(const Matrix<T>& X, int rows, const Factor<T>& D, const Pass<T>& p, T* G, ptrdiff_t ldg,
                           Prefetcher& prefetch) {
    for (int b = kc_blocks_of(p).parts - 1; b >= 0; --b) {
        Prefetcher next = prefetch;
        if (b) next = prefetch_kc_block((const char*)X.data, rows, b - 1, p, kc_block_steps(b, rows, true, p));
        backward_by_dots(X, rows, D, kc_block_begin(b, p), kc_block_begin(b + 1, p), G, ldg, next);
    }
}

}  // namespace
}  // namespace fastsoftmax
