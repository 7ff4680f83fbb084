// The exact Hessian, as one weighted Gram matrix for each pair of classes.
//
// A row's share is (diag(z) - z z^T) (x) x x^T: block (c, d) is minus the Gram matrix with the weights w z_c z_d. As
// the rows of diag(z) - z z^T add up to zero, block (c, c) is the sum of the Gram matrices of all pairs that c is in.
// So k (k - 1) / 2 of them are enough, without negative weights and without the cancellation in 1 - z_c; each is
// symmetric, so that half of its tiles are.
//
// They are inner products of columns: whole vectors of rows are weighted, and few lanes are wasted where there are few
// features. One thread, ns a row, in place of what it took with `backward`: n = 10, k = 3 23 and 31; n = 10, k = 10 240
// and 400; n = 54, k = 7 1,600 and 2,240; n = 300, k = 3 5,840 and 6,340.
#pragma once

#include "passes/dense.hpp"

namespace fastsoftmax {
namespace {

inline ptrdiff_t pairs_of(ptrdiff_t k) { return k * (k - 1) / 2; }

// H^T becomes Z^T, in place.
template <class T>
void probabilities(int rows, const Pass<T>& p, Scratch<T>& s) {
    for (int r = 0; r < rows; r += VL<T>) {
        T* H = s.H + r;
        const Vec<T> by = splat<T>(T(1)) / exp_rows(H, p.block, p.k).sum;
        for (ptrdiff_t c = 0; c < p.k; ++c) store<T>(H + c * p.block, load(H + c * p.block) * by);
    }
}

// X by columns, `ld` apart; rows past the last one, up to a whole vector, repeat it.
template <class T>
void copy_columns(const Matrix<T>& X, int rows, ptrdiff_t n, T* out, ptrdiff_t ld) {
    for (int r = 0; r < rows; r += VL<T>)
        for (ptrdiff_t j = 0; j < n; j += VL<T>) {
            const ptrdiff_t at = std::max<ptrdiff_t>(std::min(j, n - VL<T>), 0);
            transpose_square(X.data + r * X.row + at, X.row, std::min(rows - r, VL<T>) - 1, out + at * ld + r, ld);
        }
}

// G of each pair, [feature][feature], += X^T diag(w z_c z_d) X, from the diagonal on: products of the columns of X with
// weighted ones, for which `weighted` has room.
template <class T>
void pairs_of_block(const T* X, ptrdiff_t ld, int rows, const Pass<T>& p, Scratch<T>& s, T* weighted, Ahead& ahead) {
    const ptrdiff_t n = p.n, wide = round_up<T>(n), R = p.block, length = round_up<T>(rows, VL<T>);
    const Split scalars(int(n), NS_MAX);
    T* G = s.G;
    for (ptrdiff_t c = 0; c < p.k; ++c)
        for (ptrdiff_t d = c + 1; d < p.k; ++d, G += n * wide) {
            for (int r = 0; r < rows; r += VL<T>) {
                const Vec<T> weight = load(s.wt + r) * load(s.H + c * R + r) * load(s.H + d * R + r);
                for (ptrdiff_t j = 0; j < n; ++j) store<T>(weighted + j * R + r, weight * load(X + j * ld + r));
            }
            for (int part = 0; part < scalars.parts; ++part) {
                const int i = scalars.begin(part), count = scalars.size(part);
                for (ptrdiff_t j = i / NV_MAX * NV_MAX; j < n; j += NV_MAX) {
                    const Lines<T> lines{X + j * ld, ld, int(std::min<ptrdiff_t>(NV_MAX, n - j)) - 1};
                    run_dots<T, true>(count, lines, weighted + i * R, R, G + i * wide + j, wide, nullptr, length,
                                      ahead);
                }
            }
        }
}

template <class T>
void hessian(const Pass<T>& p) {
    const T* theta = prepare(p.theta, p, parameter_space(p));
    for_slabs(p, pairs_of(p.k) * p.n, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage(p.X, first, rows, p.m, p.n, s.staged);
        products_of_block<T>(X, rows, theta, nullptr, p, s, ahead);
        load_rows(p, first, rows, s);
        probabilities(rows, p, s);
        if (X.by_row) {
            copy_columns(X, rows, p.n, s.columns, p.block);
            pairs_of_block<T>(s.columns, p.block, rows, p, s, s.staged, ahead);
        } else {
            pairs_of_block<T>(X.data, X.col, rows, p, s, s.columns, ahead);
        }
        s.plain = true;
    });
}

}  // namespace
}  // namespace fastsoftmax
