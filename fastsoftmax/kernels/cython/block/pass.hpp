// One call of a pass, and a thread's buffers.
#pragma once

#include "block/pack.hpp"
#include "call.hpp"

namespace fastsoftmax {
namespace {

// One call's input, cut and outputs, as `Call` without types has them. Pointers may be null where noted.
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

template <class T>
Pass<T> pass_of(const Call& c) {
    Pass<T> p;
    p.X = c.X;
    p.m = c.m, p.n = c.n, p.k = c.k;
    p.y = c.y, p.w = c.w;
    p.soft = (const T*)c.soft, p.smoothing = T(c.smoothing);
    p.dX = (T*)c.dX, p.row_loss = (T*)c.row_loss, p.row_label = c.row_label;
    p.theta = (const T*)c.theta, p.bias = (const T*)c.bias;
    p.along = (const T*)c.along, p.along_bias = (const T*)c.along_bias;
    p.loss = c.loss, p.grad = c.grad, p.grad_bias = c.grad_bias, p.single_grad = c.single_grad;
    p.models = c.models, p.fold = c.fold, p.left_out = c.left_out, p.held = c.held;
    p.scale = c.scale;
    p.slabs = c.slabs, p.block = c.block, p.flush_rows = c.flush_rows, p.phase_rows = c.phase_rows;
    p.threads = c.threads;
    p.work = (T*)c.work;
    p.part = 0;
    return p;
}

// Where the parameters are laid out: the beginning of Pass::work, on a cache line.
template <class T>
T* parameter_space(const Pass<T>& p) {
    return (T*)((uintptr_t(p.work) + VEC_BYTES - 1) / VEC_BYTES * VEC_BYTES);
}

// What softmax works on: the logits of a block and what it needs of each row, whoever owns them.
template <class T>
struct BlockBuffers {
    typedef typename Lanes<T>::Int Int;
    T *H, *U, *columns, *bias;      // U: the logits of a direction, or soft targets
    T *wt, *top, *hit, *logs;       // by row
    double* w;
    Int* label;
};

// A thread's buffers, cut from Pass::work; every piece starts on a cache line.
template <class T>
struct Scratch : BlockBuffers<T> {
    using Base = BlockBuffers<T>;
    using typename Base::Int;
    using Base::H, Base::U, Base::columns, Base::bias, Base::wt, Base::top, Base::hit, Base::logs, Base::w, Base::label;
    T *staged, *panel, *G;
    bool plain = false;  // G has each feature at its number, not in panels
    double* fold_w;
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
}  // namespace fastsoftmax
