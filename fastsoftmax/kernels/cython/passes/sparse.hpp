// The fused passes over sparse X (CSR); the counterpart of `dense.hpp`. For each block of rows:
//
//     gather       H[i, :] = bias + sum of x theta[j, :] over the entries x of row i     classes in the lanes
//     transpose    H [row][class] -> H^T [class][row]                                    rows in the lanes
//     softmax      H^T becomes the residual D^T; the loss; the code of the dense passes
//     transpose    D^T -> D [row][class]
//     scatter      G[j, :] += x D[i, :]                                                  classes in the lanes
//
// There are two strategies for G (n, k):
//
//   row-parallel      Threads take slabs of rows, each with a gradient of its own.
//   feature-parallel  There is one gradient. The rows are worked on in phases of `phase_rows`: first the residuals of
//                     its blocks, which go to whichever thread is free; then each thread scatters the entries in the
//                     columns that it owns. So each row of G is summed by one thread, in the order of X, without locks
//                     or atomics, and the result does not depend on which thread that is.
//
//     phase 0:  residuals  | columns
//     phase 1:             |          residuals  | columns
//                       barrier               barrier
//
// The residuals of two phases are kept, so a thread that is done with its columns goes on to the residuals of the next
// phase. There is one barrier in a phase, and a thread with fewer entries in its columns takes more blocks.
#pragma once

#include "block/reduce.hpp"
#include "block/softmax.hpp"
#include "microkernels/sparse_rows.hpp"

namespace fastsoftmax {
namespace {

// A thread's buffers.
template <class T>
struct SparseScratch : BlockBuffers<T> {
    ptrdiff_t ld, size;
    T* row_H;       // [row][ld]: logits, then residuals D
    Piece* pieces;  // the entries of each row that are in a range of columns
    SparseScratch(Cutter<T> cut, const Pass<T>& p)
        : SparseScratch(cut, p, p.block * std::max<ptrdiff_t>(p.k, VL<T>)) {}
    SparseScratch(Cutter<T>& cut, const Pass<T>& p, ptrdiff_t logits)
        : BlockBuffers<T>(cut, logits, p.direction || p.soft ? logits : 0, p), ld(round_up<T>(p.k, VL<T>)) {
        row_H = cut.take(p.block * ld);
        pieces = cut.template take<Piece>(p.block);
        size = cut.size();
    }
};

// What a feature-parallel pass keeps of a phase.
template <class T>
struct Phase {
    T* D;  // [row][ld]
    double *loss, *bias;  // of each block: the loss, and the column sums of D
    Phase(Cutter<T>& cut, const Pass<T>& p) {
        const ptrdiff_t blocks = p.phase_rows / p.block;
        D = cut.take(p.phase_rows * round_up<T>(p.k, VL<T>));
        loss = cut.template take<double>(blocks);
        bias = cut.template take<double>(blocks * p.k);
    }
};

template <class T>
ptrdiff_t sparse_scratch_size(const Pass<T>& p) {
    return SparseScratch<T>(Cutter<T>(nullptr), p).size;
}

// Numbers of scratch memory that a pass needs.
template <class T>
ptrdiff_t sparse_work_size(const Pass<T>& p, const SparseCut& cut) {
    Cutter<T> phases(nullptr);
    if (cut.column_cuts) Phase<T>(phases, p), Phase<T>(phases, p);
    return phases.size() + sparse_scratch_size(p) * p.threads + VEC_BYTES / sizeof(T);
}

// H^T [class][row] = theta^T X^T + bias for a block.
template <class T, class I>
void sparse_logits(const Csr<T, I>& X, ptrdiff_t first, int rows, const T* theta, const T* bias, const Pass<T>& p,
                   const SparseScratch<T>& s, T* H) {
    sparse_forward(X, first, rows, theta, bias, p.k, s.row_H, s.ld);
    to_classes(s.row_H, s.ld, rows, p.k, H, p.block);
}

// D [row][ld] of a block, if a gradient is wanted, and bias_grad += its column sums. Returns the loss.
template <class T, class I>
double sparse_residual(const Csr<T, I>& X, ptrdiff_t first, int rows, const Pass<T>& p, SparseScratch<T>& s, T* D,
                       double* bias_grad) {
    Prefetcher idle = Prefetcher::idle(nullptr);
    sparse_logits(X, first, rows, p.theta, p.bias, p, s, s.H);
    if (p.direction) sparse_logits(X, first, rows, p.direction, p.direction_bias, p, s, s.U);
    const double loss = residual(first, rows, p, s, idle);
    if (!p.grad) return loss;
    add_column_sums(0, p.k, rows, p, s, bias_grad);
    to_rows(s.H, p.block, rows, p.k, D, s.ld);
    return loss;
}

// Calls do_block(first, rows, slab, scratch, last) for the blocks of all slabs; `last` of a slab's last block.
template <class T, class Block>
void for_sparse_slabs(const Pass<T>& p, const SparseCut& cut, Block do_block) {
    const ptrdiff_t size = sparse_scratch_size(p);
    const int slabs = int(p.slabs);
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::min(p.threads, slabs))
    for (int slab = 0; slab < slabs; ++slab) {
        SparseScratch<T> s(Cutter<T>(parameter_space(p) + size * thread_number()), p);
        const ptrdiff_t start = cut.starts[slab], end = cut.starts[slab + 1];
        for (ptrdiff_t first = start; first < end; first += p.block)
            do_block(first, int(std::min(p.block, end - first)), slab, s);
    }
}

// The pass for the loss and for the Hessian product, row-parallel.
template <class T, class I>
void sparse_row_parallel(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut) {
    for_sparse_slabs(p, cut, [&](ptrdiff_t first, int rows, int slab, SparseScratch<T>& s) {
        const double loss = sparse_residual(X, first, rows, p, s, s.row_H, p.bias_grad + slab * p.k);
        if (!p.direction) p.loss[slab] += loss;
        if (!p.grad) return;
        T* grad = (T*)p.grad + slab * X.n * p.k;
        sparse_backward(Range<T, I>{X, 0, X.n}, first, rows, s.row_H, s.ld, grad, p.k, s.pieces);
        const bool last = first + rows == cut.starts[slab + 1];
        const ptrdiff_t blocks = last ? 0 : (first - cut.starts[slab]) / p.block + 1;
        flush_hot_columns(cut.hot, blocks, 0, X.n, p.k, grad, cut.hot.grad + slab * cut.hot.count() * p.k);
    });
}

// Scatters the entries of a phase that are in a range of columns. `D` is that of the phase.
template <class T, class I>
void do_range(const Range<T, I>& range, ptrdiff_t start, ptrdiff_t phase_rows, const T* D, const Pass<T>& p,
              const Hot& hot, const SparseScratch<T>& s) {
    for (ptrdiff_t at = 0; at < phase_rows; at += p.block) {
        const int rows = int(std::min(p.block, phase_rows - at));
        sparse_backward(range, start + at, rows, D + at * s.ld, s.ld, (T*)p.grad, p.k, s.pieces);
        const ptrdiff_t blocks = start + at + rows < range.X.m ? (start + at) / p.block + 1 : 0;
        flush_hot_columns(hot, blocks, range.from, range.to, p.k, (T*)p.grad, hot.grad);
    }
}

// The same, feature-parallel.
template <class T, class I>
void sparse_feature_parallel(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut) {
    Cutter<T> space(parameter_space(p));
    const Phase<T> even(space, p), odd(space, p);
    const ptrdiff_t size = sparse_scratch_size(p);
#pragma omp parallel num_threads(p.threads)
    {
        SparseScratch<T> s(Cutter<T>(space.at + size * thread_number()), p);
        for (ptrdiff_t start = 0; start < X.m; start += p.phase_rows) {
            const Phase<T>& phase = start / p.phase_rows % 2 ? odd : even;
            const ptrdiff_t phase_rows = std::min(p.phase_rows, X.m - start);
            const int blocks = int((phase_rows + p.block - 1) / p.block);
#pragma omp for schedule(dynamic, 1)
            for (int b = 0; b < blocks; ++b) {
                const ptrdiff_t at = b * p.block;
                double* bias = phase.bias + b * p.k;
                std::fill_n(bias, p.k, 0.0);
                phase.loss[b] = sparse_residual(X, start + at, int(std::min(p.block, phase_rows - at)), p, s,
                                                phase.D + at * s.ld, bias);
            }
            if (thread_number() == 0)
                for (int b = 0; b < blocks; ++b) {
                    if (!p.direction) *p.loss += phase.loss[b];
                    if (p.grad) move_sums(phase.bias + b * p.k, p.k, p.bias_grad);
                }
            if (!p.grad) continue;
            for (ptrdiff_t t = thread_number(); t < cut.ranges; t += team_size())
                do_range(Range<T, I>{X, cut.column_cuts[t], cut.column_cuts[t + 1]}, start, phase_rows, phase.D, p,
                         cut.hot, s);
        }
    }
}

// grad[j] += (sum_i w_i x_ij^2, sum_i w_i x_ij) for the rows first .. end and the columns of a range: the diagonal of a
// Gram matrix, and the column sums of diag(w) X.
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
    const int parts = int(cut.column_cuts ? cut.ranges : p.slabs);
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::min(p.threads, parts))
    for (int t = 0; t < parts; ++t)
        if (cut.column_cuts)
            add_squares(Range<T, I>{X, cut.column_cuts[t], cut.column_cuts[t + 1]}, 0, X.m, p.w, grad);
        else
            add_squares(Range<T, I>{X, 0, X.n}, cut.starts[t], cut.starts[t + 1], p.w, grad + 2 * X.n * t);
}

// One of the predictions for each row. `out` is int64 (m,) for LABEL, else T (m, k) in C order.
template <class T, class I>
void sparse_predict(const Csr<T, I>& X, const Pass<T>& p, const SparseCut& cut, Prediction kind, void* out) {
    for_sparse_slabs(p, cut, [&](ptrdiff_t first, int rows, int slab, SparseScratch<T>& s) {
        sparse_logits(X, first, rows, p.theta, p.bias, p, s, s.H);
        p.loss[slab] += not_finite(rows, p, s);
        if (kind == LABEL) return label_rows(first, rows, p, s, (int64_t*)out);
        if (kind != LOGITS) {
            predict_rows(rows, kind, p, s);
            to_rows(s.H, p.block, rows, p.k, s.row_H, s.ld);
        }
        for (int r = 0; r < rows; ++r) std::copy_n(s.row_H + r * s.ld, p.k, (T*)out + (first + r) * p.k);
    });
}

}  // namespace
}  // namespace fastsoftmax
