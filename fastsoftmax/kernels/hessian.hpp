// The exact Hessian, as one weighted Gram matrix for each pair of classes.
//
// A row's share is (diag(z) - z z^T) (x) x x^T: block (c, d) is minus the Gram matrix with the weights w z_c z_d. As the
// rows of diag(z) - z z^T add up to zero, block (c, c) is the sum of the Gram matrices of all pairs that c is in. So
// k (k - 1) / 2 of them are enough, without negative weights and without the cancellation in 1 - z_c; each is symmetric,
// so that half of its tiles are.
#pragma once

#include "dense.hpp"

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

// G of each pair += X^T diag(w z_c z_d) X. The transposed copy of X has served, and makes room for the weighted rows.
template <class T>
void pairs_of_block(const Matrix<T>& X, int rows, const Pass<T>& p, Scratch<T>& s, Ahead& ahead) {
    const ptrdiff_t wide = round_up<T>(p.n), R = p.block;
    const Scalars<T> weighted{s.columns, X.by_row ? p.n : 1, X.by_row ? 1 : rows, int(p.n), true};
    T* G = s.G;
    for (ptrdiff_t c = 0; c < p.k; ++c)
        for (ptrdiff_t d = c + 1; d < p.k; ++d, G += p.n * wide) {
            for (int r = 0; r < rows; r += VL<T>)
                store<T>(s.top + r, load(s.wt + r) * load(s.H + c * R + r) * load(s.H + d * R + r));
            scale_rows(X, rows, p.n, s.top, s.columns);
            backward(X, rows, weighted, p.n, s.panel, G, wide, ahead);
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
        pairs_of_block(X, rows, p, s, ahead);
    });
}

}  // namespace
