// What Cython fills in: one call of one pass, without types; `run` picks the template.
#pragma once

#include "passes/class_parallel.hpp"
#include "passes/hessian.hpp"
#include "passes/sparse.hpp"

namespace {

enum Operation { VALUE_AND_GRAD, HESS_PROD, GRAM, PREDICT, HESSIAN };  // of sparse X, GRAM is the diagonal alone

struct SparseSource {  // X in CSR; indptr is null if X is dense
    const int64_t* indptr;
    const void *indices, *data;
    bool wide;  // indices are int64
    SparseCut cut;
};

struct Call {
    int operation, kind, threads;
    bool single;  // computed in float32
    bool by_classes, single_grad;
    Source X;
    SparseSource sparse;
    ptrdiff_t m, n, k;
    const int32_t* y;
    const void* soft;
    double smoothing;
    const double* w;
    const void *theta, *bias, *along, *along_bias;
    double *loss, *grad_bias;
    void *grad, *out;
    void *dX, *row_loss;
    int64_t* row_label;
    int models;
    const int32_t *fold, *left_out;
    double* held;
    double scale;
    ptrdiff_t slabs, block, flush_rows, phase_rows;
    ptrdiff_t L2, L3;  // bytes of a core's cache and of the one cores share
    void* work;
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
    const bool walks = c.operation != GRAM && c.operation != HESSIAN;
    if (walks && !c.sparse.indptr && !c.by_classes) choose_parts(p, c.L2, c.L3);
    return p;
}

template <class T, class I>
void run_sparse(const Call& c, const Pass<T>& p) {
    const SparseCut& cut = c.sparse.cut;
    const Csr<T, I> X{c.sparse.indptr, (const I*)c.sparse.indices, (const T*)c.sparse.data, c.m, c.n};
    switch (c.operation) {
        case VALUE_AND_GRAD:
        case HESS_PROD: return cut.columns ? sparse_by_features(X, p, cut) : sparse_by_rows(X, p, cut);
        case GRAM: return sparse_gram_diagonal(X, p, cut);
        case PREDICT: return sparse_predict(X, p, cut, Kind(c.kind), c.out);
    }
}

template <class T>
void run_as(const Call& c) {
    const Pass<T> p = pass_of<T>(c);
    if (c.sparse.indptr) return c.sparse.wide ? run_sparse<T, int64_t>(c, p) : run_sparse<T, int32_t>(c, p);
    if (c.by_classes && c.operation <= HESS_PROD)
        return c.single_grad ? by_classes<T, float>(p) : by_classes<T, double>(p);
    switch (c.operation) {
        case VALUE_AND_GRAD: return value_and_grad(p);
        case HESS_PROD: return hess_prod(p);
        case GRAM: return gram(p);
        case PREDICT: return predict(p, Kind(c.kind), c.out);
        case HESSIAN: return hessian(p);
    }
}

template <class T>
ptrdiff_t work_bytes_as(const Call& c) {
    const Pass<T> p = pass_of<T>(c);
    if (c.sparse.indptr) return ptrdiff_t(sizeof(T)) * sparse_work_size(p, c.sparse.cut);
    const ptrdiff_t outputs = c.operation == GRAM ? c.n : c.operation == HESSIAN ? pairs_of(c.k) * c.n : c.k;
    const bool classes = c.by_classes && c.operation <= HESS_PROD;
    return ptrdiff_t(sizeof(T)) * (classes ? class_work_size(p) : work_size(p, outputs));
}

// A sparse gradient's end: G and O are float or double.
struct Finish {
    const void* grad;
    ptrdiff_t slabs, size;
    bool single_grad, single_out;
    double scale, l2;
    const void* theta;  // null: no penalty
    void* out;
    int threads;
};

template <class G, class O>
int finish_as(const Finish& f) {
    return finish((const G*)f.grad, f.slabs, f.size, f.scale, f.l2, (const O*)f.theta, (O*)f.out, f.threads);
}
int run_finish(const Finish& f) {
    if (f.single_grad) return f.single_out ? finish_as<float, float>(f) : finish_as<float, double>(f);
    return f.single_out ? finish_as<double, float>(f) : finish_as<double, double>(f);
}

// Bytes the caller must provide as Call::work.
ptrdiff_t work_bytes(const Call& c) {
    return c.single ? work_bytes_as<float>(c) : work_bytes_as<double>(c);
}

void run(const Call& c) { c.single ? run_as<float>(c) : run_as<double>(c); }

int openmp_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 0;
#endif
}

}  // namespace
