// What Cython fills in: one call of one pass, without types; `run` picks the template.
#pragma once

#include "dense.hpp"

namespace {

enum Operation { VALUE_AND_GRAD, HESS_PROD, GRAM, PREDICT };

struct Call {
    int operation, kind, threads;
    bool single;  // float32
    Source X;
    ptrdiff_t m, n, k;
    const int32_t* y;
    const double* w;
    const void *theta, *bias, *along, *along_bias;
    double *loss, *grad, *grad_bias;
    void* out;
    double scale;
    ptrdiff_t slabs, slab_rows, block, run;
    void* work;
};

template <class T>
Pass<T> pass_of(const Call& c) {
    Pass<T> p;
    p.X = c.X;
    p.m = c.m, p.n = c.n, p.k = c.k;
    p.y = c.y, p.w = c.w;
    p.theta = (const T*)c.theta, p.bias = (const T*)c.bias;
    p.along = (const T*)c.along, p.along_bias = (const T*)c.along_bias;
    p.loss = c.loss, p.grad = c.grad, p.grad_bias = c.grad_bias;
    p.scale = c.scale;
    p.slabs = c.slabs, p.slab_rows = c.slab_rows, p.block = c.block, p.run = c.run;
    p.threads = c.threads;
    p.work = (T*)c.work;
    return p;
}

template <class T>
void run_as(const Call& c) {
    const Pass<T> p = pass_of<T>(c);
    switch (c.operation) {
        case VALUE_AND_GRAD: return value_and_grad(p);
        case HESS_PROD: return hess_prod(p);
        case GRAM: return gram(p);
        case PREDICT: return predict(p, Kind(c.kind), c.out);
    }
}

// Bytes the caller must provide as Call::work.
ptrdiff_t work_bytes(const Call& c) {
    const ptrdiff_t outputs = c.operation == GRAM ? c.n : c.k;
    return c.single ? 4 * work_size(pass_of<float>(c), outputs) : 8 * work_size(pass_of<double>(c), outputs);
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
