// One call of a pass, and a thread's buffers.
#pragma once

#include "block/pack.hpp"

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
    ptrdiff_t slabs, block, flush_rows, phase_rows;
    int part;  // panels of features that the products take at a time, or 0; see parts.hpp
    int threads;
    T* work;  // work_size() values
};

// A thread's buffers, cut from Pass::work; every piece starts on a cache line.
template <class T>
struct Scratch {
    typedef typename Lanes<T>::Int Int;
    T *staged, *columns, *panel, *H, *U, *G, *bias, *wt, *top, *hit, *logs;
    bool plain = false;  // G has each feature at its number, not in panels
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
        panel = take(round_up<T>(R) * WIDTH<T>);
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

}  // namespace
