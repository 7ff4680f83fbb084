"""The functions of ``fastsoftmax.h`` for Cython, which says what they do. `cimport` them from the package around it."""

from libc.stdint cimport int32_t, int64_t


cdef enum:
    FASTSOFTMAX_OK = 0
    FASTSOFTMAX_INVALID = 1
    FASTSOFTMAX_OVERFLOW = 2
    FASTSOFTMAX_NO_MEMORY = 3
    FASTSOFTMAX_INTERRUPTED = 4
    FASTSOFTMAX_FAILED = 5

cdef enum:
    FASTSOFTMAX_LOGITS = 1
    FASTSOFTMAX_PROBA = 2
    FASTSOFTMAX_LOG_PROBA = 3

cdef const char* error() noexcept nogil

cdef int loss_and_grad_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const int32_t* y, const double* sample_weight, const float* theta, const float* bias, double l2,
    double label_smoothing, int n_threads, double* value, float* grad, float* grad_bias, float* dX, float* row_loss,
) noexcept nogil

cdef int loss_and_grad_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const int32_t* y, const double* sample_weight, const double* theta, const double* bias, double l2,
    double label_smoothing, int n_threads, double* value, double* grad, double* grad_bias, double* dX, double* row_loss,
) noexcept nogil

cdef int hess_prod_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const double* sample_weight, const float* theta, const float* bias, const float* v, const float* v_bias,
    double l2, int n_threads, float* product, float* product_bias,
) noexcept nogil

cdef int hess_prod_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const double* sample_weight, const double* theta, const double* bias, const double* v, const double* v_bias,
    double l2, int n_threads, double* product, double* product_bias,
) noexcept nogil

cdef int predict_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const float* theta, const float* bias, int n_threads, int what, float* out,
) noexcept nogil

cdef int predict_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const double* theta, const double* bias, int n_threads, int what, double* out,
) noexcept nogil

cdef int predict_labels_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const float* theta, const float* bias, int n_threads, int64_t* labels,
) noexcept nogil

cdef int predict_labels_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const double* theta, const double* bias, int n_threads, int64_t* labels,
) noexcept nogil
