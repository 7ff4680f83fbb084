// What Cython fills in: one call of one pass, without types. The passes themselves are compiled in units, a file for each
// dtype and kind of rows, which this header does not need to see.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastsoftmax {

enum Operation { VALUE_AND_GRAD, HESS_PROD, GRAM, PREDICT, HESSIAN };  // of sparse X, GRAM is the diagonal alone
enum Prediction { LABEL, LOGITS, PROBA, LOG_PROBA };

enum SourceType { FLOAT64, FLOAT32, FLOAT16, UINT8, INT8, INT16 };

struct Source {  // X as NumPy describes it, strides in bytes
    const char* data;
    ptrdiff_t row, col;
    int type, itemsize;
};

// Columns of sparse X with too many entries to be summed in float32 to the end; see block/reduce.hpp.
struct Hot {
    const int64_t* columns;  // level by level, in each ascending
    const int64_t* starts;   // level l has columns[starts[l]]..columns[starts[l + 1]]
    ptrdiff_t levels;
    double* grad;  // per slab: (starts[levels], k)

    ptrdiff_t count() const { return levels ? starts[levels] : 0; }
};

// How a call over sparse X is cut.
struct SparseCut {
    const int64_t* starts;   // row-parallel: rows of slab p are starts[p]..starts[p + 1]
    const int64_t* columns;  // feature-parallel: of part t, columns[t]..columns[t + 1]; null: row-parallel
    ptrdiff_t parts;
    Hot hot;
};

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

// The end of a sparse gradient; it and its result may be float32.
struct Finish {
    const void* grad;
    ptrdiff_t slabs, size;
    bool single_grad, single_out;
    double scale, l2;
    const void* theta;  // null: no penalty
    void* out;
    int threads;
};
enum { SUMS_WRONG = 1, STORED_WRONG = 2 };

// In the units. T is the dtype of the computation.
template <class T>
void run_dense(const Call&);
template <class T>
ptrdiff_t dense_work_bytes(const Call&);
template <class T>
void run_sparse(const Call&);
template <class T>
ptrdiff_t sparse_work_bytes(const Call&);
int run_finish(const Finish&);
int openmp_threads();
int vector_bytes();

// Bytes the caller must provide as Call::work.
inline ptrdiff_t work_bytes(const Call& c) {
    if (c.sparse.indptr) return c.single ? sparse_work_bytes<float>(c) : sparse_work_bytes<double>(c);
    return c.single ? dense_work_bytes<float>(c) : dense_work_bytes<double>(c);
}
inline void run(const Call& c) {
    if (c.sparse.indptr) return c.single ? run_sparse<float>(c) : run_sparse<double>(c);
    c.single ? run_dense<float>(c) : run_dense<double>(c);
}

}  // namespace fastsoftmax
