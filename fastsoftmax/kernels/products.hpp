// One call of a pass, a thread's buffers, and the two products of a block by register tiles.
#pragma once

#include <algorithm>
#include <utility>

#include "pack.hpp"

namespace {

// One call's input, cut and outputs; filled in by Cython. Pointers may be null where noted.
template <class T>
struct Pass {
    Source X;
    ptrdiff_t m, n, k;
    const int32_t* y;             // null for predict, gram and soft targets
    const T* soft;                // (m, k) in C order, or null
    T smoothing;                  // this share of each target is spread evenly over the classes
    const double* w;              // null: all ones
    const T *theta, *bias;        // (n, k) in C order; bias (k,) or null
    const T *along, *along_bias;  // direction of hess_prod, like theta
    double *loss, *grad_bias;     // per slab: 1, k; grad_bias null: not wanted
    void* grad;                   // per slab: (k, n), float64; null: loss only
    bool single_grad;             // class-parallel: the gradient is float32
    double scale;
    T *dX, *row_loss;  // (m, n) in C order; (m,); null if not wanted
    int64_t* row_label;  // (m,) or null
    int models;                      // k is of all of them together; above 1, or with fold: see stacked.hpp
    const int32_t *fold, *left_out;  // (m,), (models,); or null
    double* held;                    // per slab: (models, 2); or null
    ptrdiff_t slabs, slab_rows, block, run;
    int threads;
    T* work;  // work_size() values
};

// A thread's buffers, cut from Pass::work; every piece starts on a cache line.
template <class T>
struct Scratch {
    typedef typename Lanes<T>::Int Int;
    T *staged, *columns, *rows, *H, *U, *G, *bias, *wt, *top, *hit, *logs;
    Int* label;
    double *w, *fold_w;
    T* fold_wt;
    int64_t* guess;
    ptrdiff_t size;
    Scratch(T* at, const Pass<T>& p, ptrdiff_t outputs) {
        T* start = at;
        const ptrdiff_t R = p.block, wide = round_up<T>(p.n);
        auto take = [&](ptrdiff_t count) {
            T* piece = at;
            at += round_up<T>(count);
            return piece;
        };
        staged = take(stage_size<T>(R, p.n));
        columns = take(round_up<T>(R) * std::max<ptrdiff_t>(p.n, VL<T>));
        rows = take(round_up<T>(R) * (wide + WIDTH<T>));
        H = take(R * p.k);
        U = take(p.along || p.soft ? R * p.k : 0);
        G = take(p.grad ? outputs * wide : 0);
        bias = take(p.grad_bias ? std::max(outputs * VL<T>, wide) : 0);  // gram: one row of column sums
        wt = take(R), top = take(R), hit = take(R), logs = take(R);
        label = (Int*)take(R);
        w = (double*)take(R * (sizeof(double) / sizeof(T)));
        fold_wt = take(p.fold ? R : 0);
        fold_w = (double*)take(p.fold ? R * (sizeof(double) / sizeof(T)) : 0);
        guess = (int64_t*)take(p.held ? R * (sizeof(int64_t) / sizeof(T)) : 0);
        size = at - start;
    }
};

template <class T>
ptrdiff_t work_size(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t parameters = round_up<T>(p.n * p.k) * 2;
    return parameters + Scratch<T>(nullptr, p, outputs).size * p.threads + VEC_BYTES / sizeof(T);
}

template <class T, int NS>
T* copy_scalars(const T* theta, ptrdiff_t n, ptrdiff_t k, T* out) {
    for (ptrdiff_t j = 0; j < n; ++j, out += NS) std::memcpy(out, theta + j * k, NS * sizeof(T));
    return out;
}

// `count` classes of theta (n, k) from `begin` on to [class tile][feature][class in tile], so that a tile's
// scalars are contiguous.
template <class T>
void pack_parameters(const T* theta, ptrdiff_t n, ptrdiff_t k, ptrdiff_t begin, ptrdiff_t count, T* out) {
    typedef T* (*Copy)(const T*, ptrdiff_t, ptrdiff_t, T*);
    static constexpr Copy copies[NS_MAX] = {copy_scalars<T, 1>, copy_scalars<T, 2>, copy_scalars<T, 3>,
                                            copy_scalars<T, 4>, copy_scalars<T, 5>, copy_scalars<T, 6>};
    const Split classes(count, NS_MAX);
    for (int c = 0; c < classes.parts; ++c) out = copies[classes.size(c) - 1](theta + begin + classes.begin(c), n, k, out);
}

// Steps of all the tiles of a block: the time there is to fetch the next one.
template <class T>
ptrdiff_t tile_steps(const Pass<T>& p, ptrdiff_t outputs) {
    const ptrdiff_t row_panels = (p.block + WIDTH<T> - 1) / WIDTH<T>, scalars = Split(outputs, NS_MAX).parts;
    const ptrdiff_t forward = p.theta ? scalars * row_panels * p.n * (p.along ? 2 : 1) : 0;
    const ptrdiff_t backward = p.grad ? scalars * PanelsOf<T>(p.n).count * p.block : 0;
    const ptrdiff_t dX = p.dX ? Split(p.n, NS_MAX).parts * row_panels * p.k : 0;
    return forward + backward / (p.theta ? 1 : 2) + dX;
}

// A gradient larger than this does not stay in L2 beside the rest of a block.
constexpr ptrdiff_t FAR_BYTES = 256 << 10;

// The block after the one at `first`, to be fetched while this one is computed.
template <class T>
Ahead next_block(const Pass<T>& p, ptrdiff_t first, ptrdiff_t end, ptrdiff_t steps) {
    const ptrdiff_t rows = std::min(p.block, end - first - p.block), size = p.X.itemsize;
    const char* next = p.X.data + (first + p.block) * p.X.row;
    if (rows > 0 && p.X.col == size) return Ahead::pieces(next, rows, p.n * size, p.X.row, steps);
    if (rows > 0 && p.X.row == size) return Ahead::pieces(next, p.n, rows * size, p.X.col, steps);
    return Ahead::nothing(p.X.data);
}

// H^T [k][R] = theta^T X^T + bias for the rows of a block.
template <class T>
void forward(const View<T>& columns, int rows, const T* parameters, const T* bias, const Pass<T>& p, T* H,
             Ahead& ahead) {
    const Split classes(p.k, NS_MAX);
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (int c = 0; c < classes.parts; ++c) {
        const int begin = classes.begin(c), ns = classes.size(c);
        for (int v = 0; v < vectors; v += NV_MAX)
            run_tile<T, false>(std::min(NV_MAX, vectors - v), ns, columns.data + v / NV_MAX * columns.panel, columns.ld,
                               parameters + begin * p.n, ns, 1, H + begin * p.block + v * VL<T>, p.block,
                               bias ? bias + begin : nullptr, p.n, ahead);
    }
}

// G[s][slot] += sum over rows of B[row, s] X[row, feature], for the scalars `begin`.. and features from `from` on.
template <class T>
void backward(const View<T>& X, int rows, const T* B, ptrdiff_t b_step, ptrdiff_t b_scalar, int begin, int ns,
              ptrdiff_t from, ptrdiff_t n, T* G, ptrdiff_t ldg, Ahead& ahead) {
    const PanelsOf<T> panels(n);
    for (int i = 0; i < panels.count; ++i) {
        const Panel panel = panels[i];
        if (panel.slot + panel.vectors * VL<T> <= from) continue;
        const T* A = X.data + (X.panel ? i * X.panel : panel.begin);
        run_tile<T, true>(panel.vectors, ns, A, X.ld, B + begin * b_scalar, b_step, b_scalar,
                          G + begin * ldg + panel.slot, ldg, nullptr, rows, ahead);
    }
}

// dX = scale D theta^T: the forward tile once more, with classes as steps and features as scalars. Classes go in
// runs whose residuals stay in L2 while the feature tiles [from, to) pass over them.
constexpr ptrdiff_t DX_CLASSES = 256;

template <class T, class Buffers>
void dX_of_features(int from, int to, int rows, const Pass<T>& p, const Buffers& s, Ahead& ahead) {
    const Split features(p.n, NS_MAX);
    const ptrdiff_t R = p.block;
    const int vectors = (rows + VL<T> - 1) / VL<T>;
    for (ptrdiff_t c = 0; c < p.k; c += DX_CLASSES) {
        const ptrdiff_t classes = std::min(DX_CLASSES, p.k - c);
        for (int part = from; part < to; ++part)
            for (int v = 0; v < vectors; v += NV_MAX) {
                const ptrdiff_t begin = features.begin(part);
                const int nv = std::min(NV_MAX, vectors - v), ns = features.size(part);
                const T *D = s.H + c * R + v * VL<T>, *theta = p.theta + begin * p.k + c;
                T* out = s.columns + begin * R + v * VL<T>;
                if (c == 0)
                    run_tile<T, false>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, ahead);
                else
                    run_tile<T, true>(nv, ns, D, R, theta, 1, p.k, out, R, nullptr, classes, ahead);
            }
    }
}
template <class T, class Buffers>
void store_dX(ptrdiff_t first, int rows, const Pass<T>& p, const Buffers& s) {
    for (int r = 0; r < rows; ++r)
        for (ptrdiff_t j = 0; j < p.n; ++j) p.dX[(first + r) * p.n + j] = s.columns[j * p.block + r] * T(p.scale);
}

}  // namespace
