// The exact Hessian: a weighted Gram matrix for each pair of classes.
//
// A row contributes (diag(z) - z z^T) (x) x x^T. Block (c, d) of the Hessian is minus the Gram matrix with the weights
// w z_c z_d. Block (c, c) is the sum of the Gram matrices of all pairs that c is in, since the rows of diag(z) - z z^T
// add up to zero. So k (k - 1) / 2 matrices are enough, without negative weights and without the cancellation in
// 1 - z_c. Each is symmetric, so that half of its tiles are enough.
//
// They are made of inner products of columns: whole vectors of rows are weighted, and few lanes are wasted where
// features are few. Nanoseconds a row, one thread, with those of `backward` in brackets: 10 features and 3 classes, 23
// (31); 10 and 10, 240 (400); 54 and 7, 1,600 (2,240); 300 and 3, 5,840 (6,340).
#pragma once

#include "passes/dense.hpp"

namespace fastsoftmax {
namespace {

// The number of pairs of k classes.
inline ptrdiff_t pairs_of(ptrdiff_t k) { return k * (k - 1) / 2; }

// The columns of X, `ld` apart. Rows past the last one, up to a whole vector, repeat it.
template <class T>
void copy_columns(const Matrix<T>& X, int rows, ptrdiff_t n, T* out, ptrdiff_t ld) {
    for (int r = 0; r < rows; r += VL<T>)
        for (ptrdiff_t j = 0; j < n; j += VL<T>) {
            const ptrdiff_t at = std::max<ptrdiff_t>(std::min(j, n - VL<T>), 0);
            transpose_square(X.data + r * X.row_step + at, X.row_step, std::min(rows - r, VL<T>) - 1, out + at * ld + r,
                             ld);
        }
}

// G[pair][feature][feature] += X^T diag(w z_c z_d) X for all pairs c < d, on and above the diagonal: inner products of
// the columns of X with weighted columns, for which `weighted` has room.
template <class T>
void pair_grams(const T* X, ptrdiff_t ld, int rows, const Pass<T>& p, Scratch<T>& s, T* weighted,
                Prefetcher& prefetch) {
    const ptrdiff_t n = p.n, wide = round_up<T>(n), R = p.block, length = round_up<T>(rows, VL<T>);
    const Split scalars(int(n), TILE_SCALARS);
    T* G = s.G;
    for (ptrdiff_t c = 0; c < p.k; ++c)
        for (ptrdiff_t d = c + 1; d < p.k; ++d, G += n * wide) {
            for (int r = 0; r < rows; r += VL<T>) {
                const Vec<T> weight = load(s.wt + r) * load(s.H + c * R + r) * load(s.H + d * R + r);
                for (ptrdiff_t j = 0; j < n; ++j) store<T>(weighted + j * R + r, weight * load(X + j * ld + r));
            }
            for (int part = 0; part < scalars.parts; ++part) {
                const int i = scalars.begin(part), count = scalars.size(part);
                for (ptrdiff_t j = i / TILE_VECTORS * TILE_VECTORS; j < n; j += TILE_VECTORS) {
                    const Lines<T> lines{X + j * ld, ld, int(std::min<ptrdiff_t>(TILE_VECTORS, n - j)) - 1};
                    run_dot_tile(count, lines, weighted + i * R, R, {G + i * wide + j, wide}, length, prefetch);
                }
            }
        }
}

// The pass of `dense.hpp` with `pair_grams` for the softmax and the backward product.
template <class T>
void hessian(const Pass<T>& p) {
    const T* theta = prepare_parameters(p.theta, p, parameter_space(p));
    for_slabs(p, pairs_of(p.k) * p.n, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Prefetcher& prefetch) {
        const Matrix<T> X = stage(p.X, first, rows, p.m, p.n, s.staged);
        logits_at_once<T>(X, rows, theta, nullptr, p, s, prefetch);
        load_rows(p, first, rows, s);
        proba_rows<T, false>(rows, p, s);
        if (X.by_row) {
            copy_columns(X, rows, p.n, s.columns, p.block);
            pair_grams<T>(s.columns, p.block, rows, p, s, s.staged, prefetch);
        } else {
            pair_grams<T>(X.data, X.feature_step, rows, p, s, s.columns, prefetch);
        }
    });
}

}  // namespace
}  // namespace fastsoftmax
