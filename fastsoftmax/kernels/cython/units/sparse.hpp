// Runs a call over sparse X; compiled once for each dtype of the computation.
#pragma once

#include "passes/sparse.hpp"

namespace fastsoftmax {
namespace {

template <class T, class I>
void run_sparse_of(const Call& c) {
    const Pass<T> p = pass_of<T>(c);
    const SparseCut& cut = c.sparse.cut;
    const Csr<T, I> X{c.sparse.indptr, (const I*)c.sparse.indices, (const T*)c.sparse.data, c.m, c.n};
    switch (c.operation) {
        case VALUE_AND_GRAD:
        case HESS_PROD: return cut.column_cuts ? sparse_feature_parallel(X, p, cut) : sparse_row_parallel(X, p, cut);
        case GRAM: return sparse_gram_diagonal(X, p, cut);
        case PREDICT: return sparse_predict(X, p, cut, Prediction(c.prediction), c.out);
    }
}

}  // namespace

template <class T>
void run_sparse(const Call& c) {
    c.sparse.wide ? run_sparse_of<T, int64_t>(c) : run_sparse_of<T, int32_t>(c);
}

template <class T>
ptrdiff_t sparse_work_bytes(const Call& c) {
    return ptrdiff_t(sizeof(T)) * sparse_work_size(pass_of<T>(c), c.sparse.cut);
}

}  // namespace fastsoftmax
