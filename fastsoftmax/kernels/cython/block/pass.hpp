// What a pass works on, and the buffers of a thread.
#pragma once

#include "block/pack.hpp"
#include "call.hpp"

namespace fastsoftmax {
namespace {

// One call: its input, cut and outputs, as in the untyped `Call`. Pointers may be null where noted.
template <class T>
struct Pass {
    Source X;
    ptrdiff_t m, n, k;
    const int32_t* y;                     // null for predict, gram and soft targets
    const T* soft;                        // targets (m, k) in C order, or null
    T smoothing;                          // this share of each target is spread evenly over the classes
    const double* w;                      // weights; null: all are 1
    const T *theta, *bias;                // (n, k) in C order; bias (k,) or null
    const T *direction, *direction_bias;  // of a Hessian product, like theta; null for other passes
    double *loss, *bias_grad;             // of each slab: 1 number, and k numbers or null
    void* grad;                           // of each slab: (k, n), float64; null where only the loss is wanted
    bool single_grad;                     // class-parallel: the gradient is float32
    double scale;
    T *dX, *row_loss;                // (m, n) in C order and (m,), null where not wanted
    int64_t* row_label;              // (m,) or null
    int models;                      // k is of all models together; see passes/models.hpp
    const int32_t *fold, *left_out;  // (m,) and (models,), or null
    double* held;                    // of each slab: (models, 2); or null
    ptrdiff_t slabs, block, flush_rows, phase_rows;
    Products products;
    int threads;
    T* work;  // scratch memory
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
    p.direction = (const T*)c.direction, p.direction_bias = (const T*)c.direction_bias;
    p.loss = c.loss, p.grad = c.grad, p.bias_grad = c.bias_grad, p.single_grad = c.single_grad;
    p.models = c.models, p.fold = c.fold, p.left_out = c.left_out, p.held = c.held;
    p.scale = c.scale;
    p.slabs = c.slabs, p.block = c.block, p.flush_rows = c.flush_rows, p.phase_rows = c.phase_rows;
    p.threads = c.threads;
    p.work = (T*)c.work;
    p.products = c.products;
    return p;
}

// The beginning of the scratch memory, on a cache line. Packed parameters come first.
template <class T>
T* parameter_space(const Pass<T>& p) {
    return (T*)((uintptr_t(p.work) + VEC_BYTES - 1) / VEC_BYTES * VEC_BYTES);
}

// What the softmax of a block works on, whichever pass owns it.
template <class T>
struct BlockBuffers {
    typedef typename Lanes<T>::Int Int;
    T *H, *U;        // [class][row]: logits, then residuals D; logits along the direction, or soft targets
    T* columns;      // X with rows in the lanes
    T* bias;         // running column sums of D, a vector for each class
    T *wt, *top, *hit, *logs;  // of each row: weight, largest logit, logit of the label, log of the sum of exponentials
    double* w;  // of each row: weight times `scale`
    Int* label;
};

// A thread's buffers, cut from Pass::work. Each begins on a cache line.
template <class T>
struct Scratch : BlockBuffers<T> {
    using Base = BlockBuffers<T>;
    using Base::H, Base::U, Base::columns, Base::bias, Base::wt, Base::top, Base::hit, Base::logs, Base::w, Base::label;
    using typename Base::Int;
    T *staged, *panel;  // a converted block of X; a panel of X with features in the lanes
    T* G;  // running sums of the gradient since the last flush
    bool plain = false;  // whether feature j of G is at j rather than where `PanelsOf` has its slot
    double* fold_w;  // w and wt without the rows that a model leaves out
    T* fold_wt;
    int64_t* best;  // the class of the largest logit of each row
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
        panel = take(round_up<T>(R) * TILE_LANES<T>);
        H = take(R * p.k);
        U = take(p.direction || p.soft ? R * p.k : 0);
        G = take(p.grad ? outputs * wide : 0);
        bias = take(p.bias_grad ? std::max(outputs * VL<T>, wide) : 0);  // of a Gram matrix: one row
        wt = take(R), top = take(R), hit = take(R), logs = take(R);
        label = (Int*)take(R);
        w = (double*)take(R * (sizeof(double) / sizeof(T)));
        fold_wt = take(p.fold ? R : 0);
        fold_w = (double*)take(p.fold ? R * (sizeof(double) / sizeof(T)) : 0);
        best = (int64_t*)take(p.held ? R * (sizeof(int64_t) / sizeof(T)) : 0);
        size = at - start;
    }
};

}  // namespace
}  // namespace fastsoftmax
