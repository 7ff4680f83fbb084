// The fused passes over dense X. For each block of rows: pack, forward, softmax to residual, backward.
//
//     X block --pack--> columns --tile(theta)--> H^T --softmax--> D^T --tile--> G += D^T X
//        \------------> rows ------------------------------------------^
//
// Of few classes and of long rows neither product wants the columns: see `rows` and `dots`.
// All of it stays in the L2 cache; X comes from memory once. H^T and D^T share one buffer [class][row].
// Slabs of rows are worked on in parallel, each with a loss and gradient of its own, so that sums do not
// depend on the number of threads.
#pragma once

#include <atomic>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "block/kc_blocks.hpp"
#include "passes/models.hpp"

namespace fastsoftmax {
namespace {

// A row of G, panel by panel, onto its features in float64.
template <class T>
void add_features(const T* row, const PanelsOf<T>& panels, double* out) {
    for (int i = 0; i < panels.count; ++i) {
        const Panel panel = panels[i];
        const ptrdiff_t end = std::min(panels.n, panel.begin + panel.vectors * VL<T>);
        const T* G = row + panel.slot - panel.begin;
        for (ptrdiff_t j = panel.slot; j < end; ++j) out[j] += double(G[j]);
    }
}

template <class T>
void clear(ptrdiff_t outputs, const Pass<T>& p, Scratch<T>& s) {
    std::fill_n(s.G, outputs * round_up<T>(p.n), T(0));
    if (p.grad_bias) std::fill_n(s.bias, std::max(outputs * VL<T>, round_up<T>(p.n)), T(0));
}

// The running sums of a block run, in T, into the float64 slab; then zero again.
template <class T>
void flush(ptrdiff_t outputs, const Pass<T>& p, Scratch<T>& s, double* grad, double* grad_bias) {
    const ptrdiff_t wide = round_up<T>(p.n);
    const PanelsOf<T> panels(p.n);
    for (ptrdiff_t c = 0; c < outputs; ++c) {
        if (!s.plain) add_features(s.G + c * wide, panels, grad + c * p.n);
        for (ptrdiff_t j = 0; s.plain && j < p.n; ++j) grad[c * p.n + j] += double(s.G[c * wide + j]);
    }
    if (!p.theta) add_features(s.bias, panels, grad_bias);
    for (ptrdiff_t c = 0; p.theta && grad_bias && c < outputs; ++c) grad_bias[c] += sum_lanes<T>(load(s.bias + c * VL<T>));
    clear(outputs, p, s);
}

template <class T>
void gradient_of_block(const Matrix<T>& X, int rows, const Pass<T>& p, Scratch<T>& s, Ahead& ahead) {
    s.plain = classes_in_lanes(p);
    if (s.plain)
        backward_of_rows(X, rows, s.H, p.block, p.n, p.k, s.G, round_up<T>(p.n), ahead);
    else if (in_parts(X, rows, p))
        backward_of_parts(X, rows, {s.H, 1, p.block, int(p.k)}, p, s.G, round_up<T>(p.n), ahead);
    else
        backward(X, rows, {s.H, 1, p.block, int(p.k)}, p.n, s.panel, s.G, round_up<T>(p.n), ahead);
    add_column_sums(rows, p, s);
}

// w x, in the orientation of the block.
template <class T>
void scale_rows(const Matrix<T>& X, int rows, ptrdiff_t n, const T* w, T* out) {
    if (X.by_row) {
        for (int r = 0; r < rows; ++r)
            for (ptrdiff_t j = 0; j < n; ++j) out[r * n + j] = w[r] * X.data[r * X.row + j];
    } else {
        for (ptrdiff_t j = 0; j < n; ++j)
            for (int r = 0; r < rows; ++r) out[j * rows + r] = w[r] * X.data[j * X.col + r];
    }
}

// G[i][j] += sum_r w_r x_ri x_rj for the panels j that reach the diagonal; `gram` mirrors them. The column sums
// are one more scalar, w itself.
template <class T>
void gram_of_block(const Matrix<T>& X, int rows, const Pass<T>& p, Scratch<T>& s, Ahead& ahead) {
    const ptrdiff_t wide = round_up<T>(p.n);
    Scalars<T> scaled{X.data, X.row, X.col, int(p.n), true};
    if (p.w) {
        scale_rows(X, rows, p.n, s.wt, s.columns);
        scaled = {s.columns, X.by_row ? p.n : 1, X.by_row ? 1 : rows, int(p.n), true};
    }
    backward(X, rows, scaled, p.n, s.panel, s.G, wide, ahead);
    backward(X, rows, {s.wt, 1, 0, 1}, p.n, s.panel, s.bias, wide, ahead);
}

// First row of a slab, as in `Plan.slab_ranges`.
template <class T>
ptrdiff_t slab_start(int slab, const Pass<T>& p) {
    return std::min(slab * ((p.m + p.block - 1) / p.block) / p.slabs * p.block, p.m);
}

// Calls block(first, rows, slab, scratch, ahead) for each block of a slab and flushes each run. Meanwhile the block at
// after(first + p.block) is fetched: the next one or, where a thread's turn ends, the first of its next turn.
template <class T, class After, class Block>
void do_slab(int slab, const Pass<T>& p, ptrdiff_t outputs, Scratch<T>& s, After after, Block block) {
    double* grad = p.grad ? (double*)p.grad + slab * outputs * p.n : nullptr;
    double* grad_bias = p.grad_bias ? p.grad_bias + slab * outputs : nullptr;
    if (grad) clear(outputs, p, s);
    const ptrdiff_t end = slab_start(slab + 1, p), steps = tile_steps(p, outputs);
    ptrdiff_t unflushed = 0;
    for (ptrdiff_t first = slab_start(slab, p); first < end; first += p.block) {
        const ptrdiff_t next = after(first + p.block);
        Ahead ahead = p.part ? fetch_first_part(next, p) : fetch_block(p, next, steps);
        ahead.far = outputs * p.n * ptrdiff_t(sizeof(T)) > FAR_BYTES;
        block(first, int(std::min(p.block, end - first)), slab, s, ahead);
        unflushed += p.block;
        if (grad && (unflushed >= p.flush_rows || first + p.block >= end)) {
            flush(outputs, p, s, grad, grad_bias);
            unflushed = 0;
        }
    }
}

// Turns a thread takes slabs in: neighbours, because memory is read best in the order it lies in.
constexpr int TURNS = 8;

// All slabs, shared by the threads. A thread asks for its next turn before the last block of the one it is at.
template <class T, class Block>
void for_slabs(const Pass<T>& p, ptrdiff_t outputs, Block block) {
    T* work = parameter_space(p) + 2 * parameter_size(p);
    const ptrdiff_t size = Scratch<T>(nullptr, p, outputs).size;
    const int slabs = int(p.slabs), threads = std::max(1, std::min(p.threads, slabs));
    const int turn = std::max(1, slabs / (TURNS * threads));
    std::atomic<int> next{0};
    (void)size;
#pragma omp parallel num_threads(threads)
    {
#ifdef _OPENMP
        Scratch<T> s(work + size * omp_get_thread_num(), p, outputs);
#else
        Scratch<T> s(work, p, outputs);
#endif
        for (int begin = next.fetch_add(turn), then = slabs; begin < slabs; begin = then) {
            const int end = std::min(slabs, begin + turn);
            const ptrdiff_t last = slab_start(end, p);
            auto after = [&](ptrdiff_t row) {
                if (row < last) return row;
                then = next.fetch_add(turn);
                return slab_start(then, p);
            };
            for (int slab = begin; slab < end; ++slab) do_slab(slab, p, outputs, s, after, block);
        }
    }
}

template <class T>
void value_and_grad(const Pass<T>& p) {
    const T* theta = prepare(p.theta, p, parameter_space(p));
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int slab, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage_block(first, rows, p, s.staged);
        logits_of_block<T>(X, rows, theta, nullptr, p, s, ahead);
        if (p.row_label) label_rows(first, rows, p, s, p.row_label);
        if (p.models > 1 || p.fold) {
            residuals_of_models(first, rows, slab, p, s, ahead);
        } else {
            residual(first, rows, p, s, ahead);
            p.loss[slab] += block_loss(rows, s);
        }
        if (p.row_loss) write_losses(first, rows, p, s);
        if (p.grad) gradient_of_block(X, rows, p, s, ahead);
        if (!p.dX) return;
        dX_of_features(0, Split(p.n, NS_MAX).parts, rows, p, s, ahead);
        store_dX(first, rows, p, s);
    });
}

template <class T>
void hess_prod(const Pass<T>& p) {
    const T* theta = prepare(p.theta, p, parameter_space(p));
    const T* along = prepare(p.along, p, parameter_space(p) + parameter_size(p));
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage_block(first, rows, p, s.staged);
        logits_of_block(X, rows, theta, along, p, s, ahead);
        load_rows(p, first, rows, s);
        curvature(rows, p, s);
        gradient_of_block(X, rows, p, s, ahead);
    });
}

template <class T>
void gram(const Pass<T>& p) {
    for_slabs(p, p.n, [&](ptrdiff_t first, int rows, int, Scratch<T>& s, Ahead& ahead) {
        load_rows(p, first, rows, s);
        gram_of_block(stage(p.X, first, rows, p.m, p.n, s.staged), rows, p, s, ahead);
    });
    for (ptrdiff_t slab = 0; slab < p.slabs; ++slab) {
        double* g = (double*)p.grad + slab * p.n * p.n;
        for (ptrdiff_t i = 0; i < p.n; ++i)
            for (ptrdiff_t j = i + 1; j < p.n; ++j) g[j * p.n + i] = g[i * p.n + j];
    }
}

// ------------------------------------------------------------------------------------ predict

// out is int64 (m,) for LABEL, else T (m, k) in C order.
template <class T>
void predict(const Pass<T>& p, Prediction kind, void* out) {
    const T* theta = prepare(p.theta, p, parameter_space(p));
    for_slabs(p, p.k, [&](ptrdiff_t first, int rows, int slab, Scratch<T>& s, Ahead& ahead) {
        const Matrix<T> X = stage_block(first, rows, p, s.staged);
        logits_of_block<T>(X, rows, theta, nullptr, p, s, ahead);
        p.loss[slab] += finite_or_nan(rows, p, s);
        if (kind == LABEL) return label_rows(first, rows, p, s, (int64_t*)out);
        if (kind != LOGITS) softmax_rows(rows, kind, p, s);
        T* Z = (T*)out + first * p.k;
        for (int r = 0; r < rows; ++r)
            for (ptrdiff_t c = 0; c < p.k; ++c) Z[r * p.k + c] = s.H[c * p.block + r];
    });
}

}  // namespace
}  // namespace fastsoftmax
