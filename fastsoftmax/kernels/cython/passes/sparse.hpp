// The fused passes over sparse X (CSR). For each block of rows:
//
//     theta --rows of entries--> H [row][class] --transpose--> H^T --softmax--> D^T --transpose--> D --> rows of G
//
// Softmax is the dense code. Two strategies for G (n, k):
//
//   row-parallel      slabs of rows are worked on in parallel, each with a gradient of its own.
//   feature-parallel  one gradient. A run of rows is worked on in two phases: residuals of its blocks, whoever
//                     takes them; then each thread adds the entries of the columns it owns, rows ascending. So a
//                     row of G is summed in the order of X whoever owns it, without a lock or an atomic.
//
//     run 0:  residuals  | add columns
//     run 1:             |             residuals  | add columns
//                       barrier                 barrier
//
// Residuals of two runs are kept, so that a thread that is done with its columns goes on to the next run: one barrier
// a run, and what one thread owns more of, another makes up for by taking blocks.
#pragma once

#ifdef _OPENMP
#include <omp.h>
#endif

#include "block/reduce.hpp"
#include "block/softmax.hpp"
#include "microkernels/sparse_rows.hpp"

namespace fastsoftmax {
namespace {

// A thread's buffers.
template <class T>
struct SparseScratch : BlockBuffers<T> {
    using Base = BlockBuffers<T>;
    using typename Base::Int;
    using Base::H, Base::U, Base::bias, Base::wt, Base::top, Base::hit, Base::logs, Base::w, Base::label;
    T* lines;
    Piece* pieces;
    ptrdiff_t ld, size;  // values from one row of `lines` to the next
    SparseScratch(T* at, const Pass<T>& p) : ld(round_up<T>(p.k, VL<T>)) {
        T* start = at;
        const ptrdiff_t R = p.block;
        auto take = [&](ptrdiff_t count) {
            T* piece = at;
            at += round_up<T>(count);
            return piece;
        };
        lines = take(R * ld);
        H = take(R * std::max<ptrdiff_t>(p.k, VL<T>));
        U = take(p.along || p.soft ? R * std::max<ptrdiff_t>(p.k, VL<T>) : 0);
        bias = take(p.k * VL<T>);
        wt = take(R), top = take(R), hit = take(R), logs = take(R);
        label = (Int*)take(R);
        w = (double*)take(R * (sizeof(double) / sizeof(T)));
        pieces = (Piece*)take(R * (sizeof(Piece) / sizeof(T)));
        size = at - start;
    }
};

// What a feature-parallel call keeps of a run; two of them.
template <class T>
struct Run {
    T* D;  // [row][ld]
    double *loss, *bias;  // of each block
    ptrdiff_t size;
    Run(T* at, const Pass<T>& p) {
        T* start = at;
        const ptrdiff_t blocks = p.phase_rows / p.block, doubles = sizeof(double) / sizeof(T);
        D = at, at += round_up<T>(p.phase_rows * round_up<T>(p.k, VL<T>));
        loss = (double*)at, at += round_up<T>(blocks * doubles);
        bias = (double*)at, at += round_up<T>(blocks * p.k * doubles);
        size = at - start;
    }
};

template <class T>
ptrdiff_t sparse_work_size(const Pass<T>& p, const SparseCut& cut) {
    const ptrdiff_t runs = cut.columns ? 2 * Run<T>(nullptr, p).size : 0;
    return runs + SparseScratch<T>(nullptr, p).size * p.threads + VEC_BYTES / sizeof(T);
}

int thread_number() {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}
int team_size() {
#ifdef _OPENMP
    return omp_get_num_threads();
#else
    return 1;
#endif
}

template <class T, class I>
void sparse_logits(const Csr<T, I>& X, ptrdiff_t first, int rows, const T* theta, const T* bias, const Pass<T>& p,
                   const SparseScratch<T>& s, T* H) {
    sparse_forward(X, first, rows, theta, bias, p.k, s.lines, s.ld);
    to_classes(s.lines, s.ld, rows, p.k, H, p.block);
}

// Residuals of a block to D [row][ld], if a gradient is wanted, their sums added to `grad_bias`; returns the loss.
template <class T, class I>
double sparse_residual(const Csr<T, I>& X, ptrdiff_t first, int rows, const Pass<T>& p, SparseScratch<T>& s, T* D,
                       double* grad_bias) {
    double loss = 0;
    sparse_logits(X, first, rows, p.theta, p.bias, p, s, s.H);
    if (p.along) {
        sparse_logits(X, first, rows, p.along, p.along_bias, p, s, s.U);
        load_rows(p, first, rows, s);
        curvature(rows, p, s);
    } else {
        if (p.row_label) label_rows(first, rows, p, s, p.row_label);
        Ahead nothing = Ahead::nothing(nullptr);
        residual(first, rows, p, s, nothing);
        loss = block_loss(rows, s);
        if (p.row_loss) write_losses(first, rows, p, s);
    }
    if (!p.grad) return loss;
    std::fill_n(s.bias, p.k * VL<T>, T(0));
    add_column_sums(rows, p, s);
    for (ptrdiff_t c = 0; c < p.k; ++c) grad_bias[c] += sum_lanes<T>(load(s.bias + c * VL<T>));
    to_rows(s.H, p.block, rows, p.k, D, s.ld);
    return loss;
}

template <class T, class I>
void sparse_by_rows(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut) {
    const ptrdiff_t size = SparseScratch<T>(nullptr, p).size;
    const int slabs = int(p.slabs);
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::min(p.threads, slabs))
    for (int slab = 0; slab < slabs; ++slab) {
        SparseScratch<T> s(parameter_space(p) + size * thread_number(), p);
        T* grad = p.grad ? (T*)p.grad + slab * X.n * p.k : nullptr;
        double* grad_bias = p.grad ? p.grad_bias + slab * p.k : nullptr;
        double* hot_grad = cut.hot.grad + slab * cut.hot.count() * p.k;
        ptrdiff_t blocks = 0;
        const ptrdiff_t end = cut.starts[slab + 1];
        for (ptrdiff_t first = cut.starts[slab]; first < end; first += p.block) {
            const int rows = int(std::min(p.block, end - first));
            const double loss = sparse_residual(X, first, rows, p, s, s.lines, grad_bias);
            if (!p.along) p.loss[slab] += loss;
            if (!grad) continue;
            sparse_backward(Range<T, I>{X, 0, X.n}, first, rows, s.lines, s.ld, grad, p.k, s.pieces);
            settle(cut.hot, first + p.block < end ? ++blocks : 0, 0, X.n, p.k, grad, hot_grad);
        }
    }
}

// The entries of a run in a range of columns.
template <class T, class I>
void add_columns(const Range<T, I>& range, ptrdiff_t start, ptrdiff_t run_rows, const T* D, const Pass<T>& p,
                 const Hot& hot, const SparseScratch<T>& s) {
    for (ptrdiff_t at = 0; at < run_rows; at += p.block) {
        const int rows = int(std::min(p.block, run_rows - at));
        sparse_backward(range, start + at, rows, D + at * s.ld, s.ld, (T*)p.grad, p.k, s.pieces);
        const ptrdiff_t blocks = start + at + rows < range.X.m ? (start + at) / p.block + 1 : 0;
        settle(hot, blocks, range.from, range.to, p.k, (T*)p.grad, hot.grad);
    }
}

template <class T, class I>
void sparse_by_features(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut) {
    const Run<T> even(parameter_space(p), p), odd(parameter_space(p) + even.size, p);
    T* owned = parameter_space(p) + 2 * even.size;
    const ptrdiff_t size = SparseScratch<T>(nullptr, p).size;
#pragma omp parallel num_threads(p.threads)
    {
        SparseScratch<T> s(owned + size * thread_number(), p);
        for (ptrdiff_t start = 0; start < X.m; start += p.phase_rows) {
            const Run<T>& run = start / p.phase_rows % 2 ? odd : even;
            const ptrdiff_t run_rows = std::min(p.phase_rows, X.m - start);
            const int blocks = int((run_rows + p.block - 1) / p.block);
#pragma omp for schedule(dynamic, 1)
            for (int b = 0; b < blocks; ++b) {
                const ptrdiff_t at = b * p.block;
                double* bias = run.bias + b * p.k;
                std::fill_n(bias, p.k, 0.0);
                run.loss[b] = sparse_residual(X, start + at, int(std::min(p.block, run_rows - at)), p, s,
                                              run.D + at * s.ld, bias);
            }
            if (thread_number() == 0)
                for (int b = 0; b < blocks; ++b) {
                    if (!p.along) *p.loss += run.loss[b];
                    for (ptrdiff_t c = 0; p.grad && c < p.k; ++c) p.grad_bias[c] += run.bias[b * p.k + c];
                }
            if (!p.grad) continue;
            for (ptrdiff_t t = thread_number(); t < cut.parts; t += team_size())
                add_columns(Range<T, I>{X, cut.columns[t], cut.columns[t + 1]}, start, run_rows, run.D, p, cut.hot, s);
        }
    }
}

// grad[j] += (sum_i w_i x_ij^2, sum_i w_i x_ij) for some rows and the columns of a range.
template <class T, class I>
void add_squares(const Range<T, I>& range, ptrdiff_t first, ptrdiff_t end, const double* w, double* grad) {
    for (ptrdiff_t r = first; r < end; ++r) {
        const Piece piece = range.of(r);
        const double wt = w ? w[r] : 1.0;
        for (int64_t e = piece.begin; e < piece.end; ++e) {
            const double x = double(range.X.data[e]), wx = wt * x;
            double* g = grad + 2 * range.X.indices[e];
            g[0] += wx * x;
            g[1] += wx;
        }
    }
}

template <class T, class I>
void sparse_gram_diagonal(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut) {
    double* grad = (double*)p.grad;
    const int parts = int(cut.columns ? cut.parts : p.slabs);
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::min(p.threads, parts))
    for (int t = 0; t < parts; ++t)
        if (cut.columns)
            add_squares(Range<T, I>{X, cut.columns[t], cut.columns[t + 1]}, 0, X.m, p.w, grad);
        else
            add_squares(Range<T, I>{X, 0, X.n}, cut.starts[t], cut.starts[t + 1], p.w, grad + 2 * X.n * t);
}

template <class T, class I>
void sparse_predict(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut, Prediction kind, void* out) {
    const ptrdiff_t size = SparseScratch<T>(nullptr, p).size;
    const int slabs = int(p.slabs);
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::min(p.threads, slabs))
    for (int slab = 0; slab < slabs; ++slab) {
        SparseScratch<T> s(parameter_space(p) + size * thread_number(), p);
        const ptrdiff_t end = cut.starts[slab + 1];
        for (ptrdiff_t first = cut.starts[slab]; first < end; first += p.block) {
            const int rows = int(std::min(p.block, end - first));
            sparse_logits(X, first, rows, p.theta, p.bias, p, s, s.H);
            p.loss[slab] += finite_or_nan(rows, p, s);
            if (kind == LABEL) {
                label_rows(first, rows, p, s, (int64_t*)out);
                continue;
            }
            if (kind != LOGITS) {
                softmax_rows(rows, kind, p, s);
                to_rows(s.H, p.block, rows, p.k, s.lines, s.ld);
            }
            for (int r = 0; r < rows; ++r)
                std::copy_n(s.lines + r * s.ld, p.k, (T*)out + (first + r) * p.k);
        }
    }
}

}  // namespace
}  // namespace fastsoftmax
