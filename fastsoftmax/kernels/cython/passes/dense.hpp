// The fused passes over dense X: the file to read first, from top to bottom.
//
// A pass reads X once, for loss and gradient, a Hessian product, a Gram matrix or predictions. Its rows are cut up:
//
//     chunk    rows of one call from Python, about a tenth of a second of work
//     +--------------------------------------------------------------------------------------------+
//     | slab: rows with a loss and a gradient of their own     | slab            | slab            |
//     | +-----------------------------+----------------------+ |                 |                 |
//     | | block: rows that go through | block                | |                 |                 |
//     | | the cache together          |                      | |                 |                 |
//     | |   tile: the part of a       |                      | |                 |                 |
//     | |   product in registers      |                      | |                 |                 |
//     | +-----------------------------+----------------------+ |                 |                 |
//     +--------------------------------------------------------------------------------------------+
//
// For each block, of r rows i, n features j and k classes c:
//
//     pack        X converted where it is narrow, and transposed for the product that needs     `stage_block`,
//                 its other index in the lanes                                                  `pack_columns`
//     forward     H[c, i] = bias[c] + sum_j X[i, j] theta[j, c]                                 `logits_of_block`
//     softmax     H becomes the probabilities Z, then the residual D = w (Z - I), where
//                 I[c, i] is 1 for the label of row i; the loss                                 `residual`
//     backward    G[c, j] += sum_i D[c, i] X[i, j]                                              `gradient_of_block`
//
// For each slab, after every `flush_rows` rows:
//
//     flush       the sums G, in the dtype of the computation, go into the float64 gradient     `flush`
//
// At the end of the last chunk:
//
//     reduce      the gradients of the slabs are added up                                       `reduce_gradient`
//
// The other passes differ in the softmax step: a Hessian product has another D, predictions stop there, and a Gram
// matrix has only a backward product. H and D share one buffer [class][row]. All of a block stays in the L2 cache, and
// while it is worked on, the tiles prefetch the next one.
//
// Threads claim slabs by their numbers until there are none. A slab is summed by one thread, in the order of its rows,
// into sums of its own. So the result depends neither on which thread claims it nor on the number of threads.
//
// The functions below follow in the order in which they are called, from the top. C++ finds a template that is defined
// after its use by the types of the arguments.
#pragma once

#include <atomic>

#include "block/kc_blocks.hpp"
#include "block/reduce.hpp"
#include "passes/models.hpp"

namespace fastsoftmax {
namespace {

// ------------------------------------------------------------------------------------ the passes

// Loss and gradient, or the loss alone, and what is wanted of each row besides; with a direction, the Hessian times it.
template <class T>
void value_and_grad(const Pass<T>& given) {
    const Pass<T> p = in_range_pass(given);
    const T* theta = prepare_parameters(p.theta, p, parameter_space(p));
    const T* direction = prepare_parameters(p.direction, p, parameter_space(p) + parameter_size(p));
    const T* features = p.dX ? pack_features(p, parameter_space(p) + 2 * parameter_size(p)) : nullptr;
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int slab, Scratch<T>& s, Prefetcher& prefetch) {
        const Matrix<T> X = stage_block(first, rows, p, s.staged);
        logits_of_block(X, rows, theta, direction, p, s, prefetch);
        if (p.models > 1 || p.fold)
            residuals_of_models(first, rows, slab, p, s, prefetch);
        else
            p.loss[slab] += residual(first, rows, p, s, prefetch);
        if (p.grad) gradient_of_block(X, rows, p, s, prefetch);
        if (p.dX) input_gradient(first, rows, features, p, s, prefetch);
    });
}

// The Gram matrix X^T diag(w) X and the column sums of diag(w) X.
template <class T>
void gram(const Pass<T>& p) {
    for_slabs(p, p.n, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Prefetcher& prefetch) {
        load_rows(p, first, rows, s);
        gram_of_block(stage(p.X, first, rows, p.m, p.n, s.staged), rows, p, s, prefetch);
    });
    for (ptrdiff_t slab = 0; slab < p.slabs; ++slab) {
        double* g = (double*)p.grad + slab * p.n * p.n;
        for (ptrdiff_t i = 0; i < p.n; ++i)
            for (ptrdiff_t j = i + 1; j < p.n; ++j) g[j * p.n + i] = g[i * p.n + j];
    }
}

// One of the predictions for each row. `out` is int64 (m,) for LABEL, else T (m, k) in C order.
template <class T>
void predict(const Pass<T>& given, Prediction kind, void* out) {
    const Pass<T> p = in_range_pass(given);
    const T* theta = prepare_parameters(p.theta, p, parameter_space(p));
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int slab, Scratch<T>& s, Prefetcher& prefetch) {
        const Matrix<T> X = stage_block(first, rows, p, s.staged);
        logits_of_block<T>(X, rows, theta, nullptr, p, s, prefetch);
        p.loss[slab] += not_finite(rows, p, s);
        if (kind == LABEL) return label_rows(first, rows, p, s, (int64_t*)out);
        if (kind != LOGITS) predict_rows(rows, kind, p, s);
        T* Z = (T*)out + first * p.k;
        for (int r = 0; r < rows; ++r)
            for (ptrdiff_t c = 0; c < p.k; ++c) Z[r * p.k + c] = s.H[c * p.block + r];
    });
}

// ----------------------------------------------------------------------------- slabs of a chunk

// theta as the forward product of this pass reads it, written to `out`, which is returned; null if theta is.
template <class T>
T* prepare_parameters(const T* theta, const Pass<T>& p, T* out) {
    if (!theta) return nullptr;
    if (p.products.forward == DOT)
        transpose_parameters(theta, p.n, p.k, out);
    else if (p.products.forward == CLASS_LANE)
        widen_parameters(theta, p.n, p.k, p.products.class_lanes, out);
    else
        pack_parameters(theta, p.n, p.k, 0, p.k, out);
    if constexpr (sizeof(T) == 4)
        if (p.products.forward == AMX_TILE)
            pack_left_parameters(theta, p.n, p.k, left_parameters(out + vector_parameter_size(p), p));
    return out;
}

// Claims of a thread in a chunk, on average. A claim is a few slabs next to each other, because memory is read fastest
// in the order of its addresses.
constexpr int CLAIMS = 8;

// All slabs, `outputs` rows of gradient in each. A thread claims its next slabs before the last block of those that it
// has, so that this block can prefetch the first of them.
template <class T, class Block>
void for_slabs(const Pass<T>& p, ptrdiff_t outputs, Block do_block) {
    T* work = parameter_space(p) + all_parameters_size(p);
    forbid((char*)work - RED_ZONE_BYTES, work);
    const ptrdiff_t size = scratch_size(p, outputs);
    const int slabs = int(p.slabs), threads = std::max(1, std::min(p.threads, slabs));
    const int claim = std::max(1, slabs / (CLAIMS * threads));
    std::atomic<int> next{0};
#pragma omp parallel num_threads(threads)
    {
        Scratch<T> s(Cutter<T>(work + size * thread_number()), p, outputs);
        for (int begin = next.fetch_add(claim), then = slabs; begin < slabs; begin = then) {
            const int end = std::min(slabs, begin + claim);
            const ptrdiff_t last = slab_start(end, p);
            auto next_row = [&](ptrdiff_t row) {
                if (row < last) return row;
                then = next.fetch_add(claim);
                return slab_start(then, p);
            };
            for (int slab = begin; slab < end; ++slab) do_slab(slab, p, outputs, s, next_row, do_block);
        }
    }
}

// Calls do_block(first, rows, slab, scratch, prefetch) for each block of a slab, in order, and flushes the sums. Each
// block prefetches the one at row next_row(its end): the next one or, at the end of a thread's claim, the first of its
// next claim.
template <class T, class NextRow, class Block>
void do_slab(int slab, const Pass<T>& p, ptrdiff_t outputs, Scratch<T>& s, NextRow next_row, Block do_block) {
    double* grad = p.grad ? (double*)p.grad + slab * outputs * p.n : nullptr;
    double* bias_grad = p.bias_grad ? p.bias_grad + slab * outputs : nullptr;
    if (grad) std::fill_n(s.G, class_lines(outputs, p) * gradient_line(p), T(0));
    if (bias_grad) std::fill_n(s.bias, std::max(outputs * VL<T>, round_up<T>(p.n)), T(0));
    const ptrdiff_t end = slab_start(slab + 1, p), steps = block_steps(p, outputs);
    ptrdiff_t unflushed = 0;
    for (ptrdiff_t first = slab_start(slab, p); first < end; first += p.block) {
        const ptrdiff_t next = next_row(first + p.block);
        Prefetcher prefetch =
            p.products.kc_block ? prefetch_first_kc_block(next, p) : prefetch_next_block(p, next, steps);
        prefetch.far = outputs * p.n * ptrdiff_t(sizeof(T)) > FAR_BYTES;
        do_block(first, int(std::min(p.block, end - first)), slab, s, prefetch);
        unflushed += p.block;
        if (grad && (unflushed >= p.flush_rows || first + p.block >= end)) {
            flush(outputs, p, s, grad, bias_grad);
            unflushed = 0;
        }
    }
}

// First row of a slab, as in `Plan.slab_ranges`.
template <class T>
ptrdiff_t slab_start(int slab, const Pass<T>& p) {
    return std::min(slab * ((p.m + p.block - 1) / p.block) / p.slabs * p.block, p.m);
}

// Adds the running sums to the float64 sums of the slab and sets them to zero.
template <class T>
void flush(ptrdiff_t outputs, const Pass<T>& p, Scratch<T>& s, double* grad, double* bias_grad) {
    for (ptrdiff_t c = 0; c < outputs; ++c) move_sums(s.G + c * gradient_line(p), p.n, grad + c * p.n);
    if (bias_grad) p.theta ? move_lanes(s.bias, outputs, bias_grad) : move_sums(s.bias, p.n, bias_grad);
}

// ------------------------------------------------------------------------------------ one block

// G += D^T X and bias += the column sums of D.
template <class T>
void gradient_of_block(const Matrix<T>& X, int rows, const Pass<T>& p, Scratch<T>& s, Prefetcher& prefetch) {
    const Factor<T> D{{s.H, 1, p.block}, int(p.k)};
    const ptrdiff_t wide = gradient_line(p);
    if constexpr (sizeof(T) == 4)
        if (s.units.filled) {
            backward_by_amx(rows, p, s.units, s.H, s.G);
            return add_column_sums(rows, p, s);
        }
    if (p.products.backward != DOT || X.by_row)  // the last rows of bytes are not staged as columns
        backward(X, rows, D, p.n, p.products, s.panel, s.G, wide, prefetch);
    else if (by_kc_blocks(X, p))
        backward_by_kc_blocks(X, rows, D, p, s.G, wide, prefetch);
    else
        backward_by_dots(X, rows, D, 0, p.n, s.G, wide, prefetch);
    add_column_sums(rows, p, s);
}

// G += X^T diag(w) X, for the panels that reach the diagonal; `gram` mirrors them. The column sums of diag(w) X
// are a backward product with w for D.
template <class T>
void gram_of_block(const Matrix<T>& X, int rows, const Pass<T>& p, Scratch<T>& s, Prefetcher& prefetch) {
    const ptrdiff_t wide = round_up<T>(p.n);
    Factor<T> scaled{{X.data, X.row_step, X.feature_step}, int(p.n), true};
    if (p.w) {
        scale_rows(X, rows, p.n, s.wt, s.columns);
        scaled.scalars = {s.columns, X.by_row ? p.n : 1, X.by_row ? 1 : rows};
    }
    const Factor<T> weights{{s.wt, 1, 0}, 1};
    backward(X, rows, scaled, p.n, p.products, s.panel, s.G, wide, prefetch);
    if (X.by_row)
        backward(X, rows, weights, p.n, {}, s.panel, s.bias, wide, prefetch);
    else
        backward_by_dots(X, rows, weights, 0, p.n, s.bias, wide, prefetch);
}

// out = diag(w) X, in the orientation of the block.
template <class T>
void scale_rows(const Matrix<T>& X, int rows, ptrdiff_t n, const T* w, T* out) {
    if (X.by_row) {
        for (int r = 0; r < rows; ++r)
            for (ptrdiff_t j = 0; j < n; ++j) out[r * n + j] = w[r] * X.data[r * X.row_step + j];
    } else {
        for (ptrdiff_t j = 0; j < n; ++j)
            for (int r = 0; r < rows; ++r) out[j * rows + r] = w[r] * X.data[j * X.feature_step + r];
    }
}

}  // namespace
}  // namespace fastsoftmax
