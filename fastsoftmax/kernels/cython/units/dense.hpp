// Runs a call over dense X; compiled once for each dtype of the computation.
#pragma once

#include "passes/class_parallel.hpp"
#include "passes/hessian.hpp"

namespace fastsoftmax {
namespace {

bool is_class_parallel(const Call& c) { return c.class_parallel && c.operation <= HESS_PROD; }

}  // namespace

template <class T>
void run_dense(const Call& c) {
    const Pass<T> p = pass_of<T>(c);
    if (is_class_parallel(c)) {
        if constexpr (sizeof(T) == 4)
            if (c.single_grad) return class_parallel<T, float>(p);
        return class_parallel<T, double>(p);
    }
    switch (c.operation) {
        case VALUE_AND_GRAD:
        case HESS_PROD: return value_and_grad(p);
        case GRAM: return gram(p);
        case PREDICT: return predict(p, Prediction(c.prediction), c.out);
        case HESSIAN: return hessian(p);
    }
}

template <class T>
ptrdiff_t dense_work_bytes(const Call& c) {
    const Pass<T> p = pass_of<T>(c);
    const ptrdiff_t outputs = c.operation == GRAM ? c.n : c.operation == HESSIAN ? pairs_of(c.k) * c.n : c.k;
    return ptrdiff_t(sizeof(T)) * (is_class_parallel(c) ? class_work_size(p) : work_size(p, outputs));
}

}  // namespace fastsoftmax
