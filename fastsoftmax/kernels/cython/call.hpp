// One call of one pass, as Cython fills it in, without the types of C++. The passes are compiled in units, a file for
// each dtype and each kind of rows.
#pragma once

#include <cstddef>
#include <cstdint>
#ifndef NDEBUG
#include <cstring>
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace fastsoftmax {

// For AddressSanitizer scratch memory is one array. It is told of the pieces as they are cut.
#ifdef __SANITIZE_ADDRESS__
constexpr ptrdiff_t RED_ZONE_BYTES = 1024;
inline void forbid(const void* from, const void* to) {
    __asan_poison_memory_region(from, (const char*)to - (const char*)from);
}
inline void allow(const void* from, ptrdiff_t bytes) { __asan_unpoison_memory_region(from, bytes); }
#else
constexpr ptrdiff_t RED_ZONE_BYTES = 0;
inline void forbid(const void*, const void*) {}
inline void allow(const void*, ptrdiff_t) {}
#endif

#ifndef NDEBUG
// In a build with assertions every pass begins with scratch memory full of NaN: what is read before it is written
// spoils a result.
struct ScratchCheck {
    void* start;
    ptrdiff_t bytes;
    ScratchCheck(void* start, ptrdiff_t bytes) : start(start), bytes(bytes) { std::memset(start, 0xFF, bytes); }
    ~ScratchCheck() { allow(start, bytes); }
};
#endif

enum Operation { VALUE_AND_GRAD, HESS_PROD, GRAM, PREDICT, HESSIAN };  // GRAM of sparse X is the diagonal alone
enum Prediction { LABEL, LOGITS, PROBA, LOG_PROBA };

enum SourceType { FLOAT64, FLOAT32, FLOAT16, UINT8, INT8, INT16, BFLOAT16 };

struct Source {  // X as NumPy describes it, strides in bytes
    const char* data;
    ptrdiff_t row_step, feature_step;
    int type, itemsize;
};

// Columns of sparse X with too many entries for float32 sums; see block/reduce.hpp.
struct Hot {
    const int64_t* columns;  // level by level, ascending in each
    const int64_t* starts;   // level l is columns[starts[l]] to columns[starts[l + 1] - 1]
    ptrdiff_t levels;
    double* grad;  // of each slab: (starts[levels], k)

    ptrdiff_t count() const { return levels ? starts[levels] : 0; }
};

// How the products of a block of dense rows are made: `Products` in strategy.py, which says what the fields mean.
enum Kernel { TILE, DOT, CLASS_LANE, NARROW, AMX_TILE };
enum Units { AMX, AVX512_BF16, TWIN };  // what `AMX_TILE` runs on

struct Products {
    int forward = TILE, backward = TILE;  // enum Kernel
    int kc_block = 0, class_lanes = 0, row_group = 0, class_chunk = 0;
    bool transpose_bytes = false, copy_panels = false;
    double packing_share = 1;
    int units = TWIN, forward_parts = 0, backward_parts = 0;  // of `AMX_TILE`
};

// How a call over sparse X is cut up.
struct SparseCut {
    const int64_t* starts;       // row-parallel: slab p has rows starts[p] to starts[p + 1] - 1
    const int64_t*
        column_cuts;  // feature-parallel: range t has columns column_cuts[t] to column_cuts[t + 1] - 1; else null
    ptrdiff_t ranges;            // of columns, one for each thread
    Hot hot;
};

struct SparseSource {  // X as a `Csr`; indptr is null if X is dense
    const int64_t* indptr;
    const void *indices, *data;
    bool wide;  // indices are int64
    SparseCut cut;
};

// N is the dtype of the computation in a `Pass` and void in the `Call` that Cython fills in. Pointers are null where
// there is nothing or nothing is wanted.
template <class N>
struct CallOf {
    int operation, prediction, threads;
    bool single;                          // the dtype of the computation is float32
    bool class_parallel;
    bool by_class, single_grad;           // of a class-parallel pass: how theta lies; the gradient is float32
    Source X;
    SparseSource sparse;
    ptrdiff_t m, n, k;                    // k is of all models together
    const int32_t* y;
    const N* soft;                        // targets (m, k) in C order
    double smoothing;                     // this share of each target is spread evenly over the classes
    const double* w;                      // weights; null: all are 1
    const N *theta, *bias;                // (n, k) in C order, (k, n) if `by_class`; (k,)
    const N *direction, *direction_bias;  // of a Hessian product, like theta
    double *loss, *bias_grad;             // of each slab: 1 number, k numbers
    void* grad;                           // of each slab: see `Sums`
    void* out;                            // predictions: int64 (m,) for LABEL, else (m, k) in C order
    N *dX, *row_loss;                     // (m, n) in C order and (m,)
    int64_t* row_label;                   // (m,)
    int models;                           // see passes/models.hpp
    ptrdiff_t y_step, w_step;             // from one model's labels and weights to the next's; 0: they share them
    const int32_t *fold, *left_out;       // (m,) and (models,)
    double* held;                         // of each slab: (models, 2)
    double scale;
    ptrdiff_t slabs, block, flush_rows, phase_rows;
    Products products;  // of dense X; those of sparse X are not used
    N* work;            // scratch memory of `work_bytes` bytes
};
struct Call : CallOf<void> {};

// The reduction of the slabs of a gradient: out (n, k) = scale * (their sum) + l2 * theta.
struct ReduceCall {
    void* grad;   // (slabs, n, k) of sparse X, float32 or float64; transposed, (slabs, k, n), of dense X, float64
    double* bias;  // of dense X: (slabs, k), which becomes row n of `out`; or null
    ptrdiff_t slabs, n, k;
    bool transposed, single_grad, single_out;
    double scale, l2;
    const void* theta;  // null: no penalty
    void* out;
    int threads;
};
enum { SUMS_WRONG = 1, STORED_WRONG = 2 };

// What the units define; T is the dtype of the computation.
template <class T>
void run_dense(const Call&);
template <class T>
ptrdiff_t dense_work_bytes(const Call&);
template <class T>
void run_sparse(const Call&);
template <class T>
ptrdiff_t sparse_work_bytes(const Call&);
int run_reduce(const ReduceCall&);
int openmp_threads();
// Threads that the system lets the calling thread have for a pass, itself included: `wanted`, or fewer.
int granted_threads(int wanted);
int vector_bytes();
// out = f(x), as passes compute it; log takes x >= 1 and exp x <= 0. For whoever measures their errors.
enum Function { EXP, LOG };
void apply(Function f, bool single, const void* x, void* out, ptrdiff_t count);

// Bytes that the caller must provide as Call::work.
inline ptrdiff_t work_bytes(const Call& c) {
    if (c.sparse.indptr) return c.single ? sparse_work_bytes<float>(c) : sparse_work_bytes<double>(c);
    return c.single ? dense_work_bytes<float>(c) : dense_work_bytes<double>(c);
}
inline void run(const Call& c) {
#ifndef NDEBUG
    const ScratchCheck check(c.work, work_bytes(c));
#endif
    if (c.sparse.indptr) return c.single ? run_sparse<float>(c) : run_sparse<double>(c);
    c.single ? run_dense<float>(c) : run_dense<double>(c);
}

}  // namespace fastsoftmax
