# cython: language_level=3, freethreading_compatible=True
"""The functions of ``fastsoftmax.h``: pointers become arrays, errors become numbers and a text; `call` does the rest.

Each takes the GIL for as long as Python runs; the kernels release it while they do.
"""

from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t, intptr_t
from libc.string cimport memcpy, strlen

from . import call


cdef extern from "numpy/arrayobject.h":
    int import_numpy "_import_array"() except -1
    ctypedef Py_ssize_t npy_intp
    int NPY_ARRAY_WRITEABLE, NPY_FLOAT, NPY_DOUBLE, NPY_INT32, NPY_INT64
    int PyArray_Type
    object PyArray_New(const void*, int, npy_intp*, int, npy_intp*, void*, int, int, void*)

cdef extern from "fastsoftmax.h":
    int FASTSOFTMAX_ABI
    # A test compares the types that the header gives them with those of the functions below.
    ctypedef struct fastsoftmax_functions:
        int abi
        size_t size
        void* error
        void* loss_and_grad_f32
        void* loss_and_grad_f64
        void* hess_prod_f32
        void* hess_prod_f64
        void* predict_f32
        void* predict_f64
        void* predict_labels_f32
        void* predict_labels_f64

cdef extern from *:
    """
    static _Thread_local char fastsoftmax_message[512] = "";
    """
    char fastsoftmax_message[512]

import_numpy()

# Beside FASTSOFTMAX_LOGITS and the others, for functions of their own, which write integers.
cdef enum:
    LABELS = -1

# What a record says in place of a type and of the number of threads where there are none.
NONE = -(1 << 62)


cdef const char* error() noexcept nogil:
    return fastsoftmax_message


cdef int fail(exception) noexcept:
    """The number of an exception, whose text becomes that of `error`."""
    cdef bytes text
    cdef int length
    try:
        text = (str(exception) or type(exception).__name__).encode()
        length = min(len(text), sizeof(fastsoftmax_message) - 1)
        memcpy(fastsoftmax_message, <const char*>text, length)
        fastsoftmax_message[length] = 0
        return call.status_of(exception)
    except BaseException:
        fastsoftmax_message[0] = 0
        return FASTSOFTMAX_FAILED


cdef array(int type, const void* data, str name, int64_t rows, int64_t columns, int64_t row_stride,
           int64_t column_stride, int flags):
    """An array over memory of the caller, one-dimensional where there are no columns. Strides count elements."""
    cdef npy_intp[2] shape
    cdef npy_intp[2] strides
    cdef npy_intp size = 4 if type in (NPY_FLOAT, NPY_INT32) else 8
    if data == NULL:
        raise ValueError(f"{name} must not be NULL")
    shape[0], shape[1] = rows, columns
    strides[0], strides[1] = row_stride * size, column_stride * size
    return PyArray_New(&PyArray_Type, 2 if columns else 1, shape, type, strides, <void*>data, 0, flags, NULL)


cdef matrix(int type, const void* data, str name, int64_t rows, int64_t columns, int flags=0):
    """`array` in C order."""
    return array(type, data, name, rows, columns, columns, 1, flags)


cdef vector(int type, const void* data, str name, int64_t length, int flags=0):
    return array(type, data, name, length, 0, 1, 0, flags)


cdef optional(int type, const void* data, int64_t rows, int64_t columns, int flags=0):
    """An array in C order, or None where there is no memory."""
    return None if data == NULL else array(type, data, "", rows, columns, columns if columns else 1, 1, flags)


cdef parameters(int type, const void* theta, const void* bias, str name, int64_t n, int64_t k):
    """theta (n, k), or with a bias (n + 1, k): the caller's memory where the one follows the other, else a copy."""
    cdef npy_intp size = 4 if type == NPY_FLOAT else 8
    if bias == NULL:
        return matrix(type, theta, name, n, k)
    if theta != NULL and bias == <const char*>theta + n * k * size:
        return matrix(type, theta, name, n + 1, k)
    return call.joined(matrix(type, theta, name, n, k), vector(type, bias, name, k))


cdef check_sizes(int64_t m, int64_t n, int64_t k):
    if m < 1 or n < 1 or k < 2:
        raise ValueError(f"m = {m} rows, n = {n} features, k = {k} classes; at least 1, 1 and 2 are wanted")
    # No array of k and m or n elements, and none of the bias beside it, may overflow an address.
    if max(m, n + 1) > (1 << 60) // max(k, n):
        raise ValueError(f"m = {m} rows, n = {n} features, k = {k} classes are more than memory can hold")


cdef int run_loss_and_grad(
    int type, int backend, int64_t m, int64_t n, int64_t k, const void* X, int64_t row_stride, int64_t column_stride,
    const int32_t* y, const double* sample_weight, const void* theta, const void* bias, double l2,
    double label_smoothing, int n_threads, double* value, void* grad, void* grad_bias, void* dX, void* row_loss,
) noexcept with gil:
    cdef int out = NPY_ARRAY_WRITEABLE
    try:
        check_sizes(m, n, k)
        if value == NULL:
            raise ValueError("value must not be NULL")
        if grad_bias != NULL and bias == NULL:
            raise ValueError("grad_bias must be NULL where bias is")
        value[0] = call.loss_and_grad(
            array(type, X, "X", m, n, row_stride, column_stride, 0),
            vector(NPY_INT32, y, "y", m),
            optional(NPY_DOUBLE, sample_weight, m, 0),
            parameters(type, theta, bias, "theta", n, k), bias != NULL, l2, label_smoothing, n_threads, backend,
            optional(type, grad, n, k, out),
            optional(type, grad_bias, k, 0, out),
            optional(type, dX, m, n, out),
            optional(type, row_loss, m, 0, out),
        )
    except BaseException as exception:
        return fail(exception)
    return FASTSOFTMAX_OK


cdef int run_hess_prod(
    int type, int backend, int64_t m, int64_t n, int64_t k, const void* X, int64_t row_stride, int64_t column_stride,
    const double* sample_weight, const void* theta, const void* bias, const void* v, const void* v_bias, double l2,
    int n_threads, void* product, void* product_bias,
) noexcept with gil:
    cdef int out = NPY_ARRAY_WRITEABLE
    try:
        check_sizes(m, n, k)
        if (bias == NULL) != (v_bias == NULL) or (bias == NULL) != (product_bias == NULL):
            raise ValueError("bias, v_bias and product_bias must all be NULL, or none of them")
        call.hess_prod(
            array(type, X, "X", m, n, row_stride, column_stride, 0),
            optional(NPY_DOUBLE, sample_weight, m, 0),
            parameters(type, theta, bias, "theta", n, k), parameters(type, v, v_bias, "v", n, k), bias != NULL,
            l2, n_threads, backend,
            matrix(type, product, "product", n, k, out),
            optional(type, product_bias, k, 0, out),
        )
    except BaseException as exception:
        return fail(exception)
    return FASTSOFTMAX_OK


cdef int run_predict(
    int type, int backend, int64_t m, int64_t n, int64_t k, const void* X, int64_t row_stride, int64_t column_stride,
    const void* theta, const void* bias, int n_threads, int what, void* out,
) noexcept with gil:
    try:
        check_sizes(m, n, k)
        if what == LABELS:
            written = vector(NPY_INT64, out, "labels", m, NPY_ARRAY_WRITEABLE)
        else:
            written = matrix(type, out, "out", m, k, NPY_ARRAY_WRITEABLE)
        call.predict(
            array(type, X, "X", m, n, row_stride, column_stride, 0),
            parameters(type, theta, bias, "theta", n, k), bias != NULL, n_threads, backend, what, written,
        )
    except BaseException as exception:
        return fail(exception)
    return FASTSOFTMAX_OK


cdef described(const int64_t* part, int flags=0):
    """An array of a record: address, type, rows, columns (-1: it is a vector), and their strides in bytes."""
    cdef npy_intp[2] shape
    cdef npy_intp[2] strides
    if part[1] == NONE:
        return None
    shape[0], shape[1], strides[0], strides[1] = part[2], part[3], part[4], part[5]
    return PyArray_New(&PyArray_Type, 1 if part[3] < 0 else 2, shape, <int>part[1], strides, <void*>part[0], 0, flags,
                       NULL)


cdef int run_record(const int64_t* record, double l2, double label_smoothing, double* value) noexcept with gil:
    """A call of `fastsoftmax.numba.loss_and_grad`: five arrays, as `described`, and some numbers."""
    try:
        X, y = described(record), described(record + 6)
        theta, sample_weight = described(record + 12), described(record + 18)
        value[0] = call.loss_and_grad_like_python(
            X, y, theta, sample_weight, described(record + 24, NPY_ARRAY_WRITEABLE), <bint>record[30], record[31],
            None if record[32] == NONE else record[32], l2, label_smoothing,
        )
    except BaseException as exception:
        return fail(exception)
    return FASTSOFTMAX_OK


cdef int run_batch(
    int bits, int64_t m, int64_t n, int64_t k, const void* X, const int32_t* labels, const void* soft, const double* w,
    const void* theta, const void* bias, double label_smoothing, int n_threads, double* value, void* grad,
    void* grad_bias, void* dX, void* row_loss,
) noexcept with gil:
    """A call of `fastsoftmax.jax`, by numbers of so many bits: `call.batch_loss`, by labels or, if NULL, by `soft`."""
    cdef int out = NPY_ARRAY_WRITEABLE
    cdef int type = NPY_FLOAT if bits == 32 else NPY_DOUBLE
    try:
        value[0] = call.batch_loss(
            matrix(type, X, "x", m, n),
            matrix(type, soft, "labels", m, k) if labels == NULL else vector(NPY_INT32, labels, "labels", m),
            vector(NPY_DOUBLE, w, "sample_weight", m),
            matrix(type, theta, "w", n, k), optional(type, bias, k, 0), label_smoothing, n_threads,
            optional(type, grad, n, k, out),
            optional(type, grad_bias, k, 0, out),
            optional(type, dX, m, n, out),
            optional(type, row_loss, m, 0, out),
        )
    except BaseException as exception:
        return fail(exception)
    return FASTSOFTMAX_OK


cdef int64_t copy_error(char* text, int64_t size) noexcept nogil:
    """The bytes of `error`, how many they are."""
    cdef int64_t length = min(<int64_t>strlen(fastsoftmax_message), size)
    memcpy(text, fastsoftmax_message, length)
    return length


cdef int loss_and_grad_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const int32_t* y, const double* sample_weight, const float* theta, const float* bias, double l2,
    double label_smoothing, int n_threads, double* value, float* grad, float* grad_bias, float* dX, float* row_loss,
) noexcept nogil:
    return run_loss_and_grad(NPY_FLOAT, 0, m, n, k, X, row_stride, column_stride, y, sample_weight, theta, bias, l2,
                             label_smoothing, n_threads, value, grad, grad_bias, dX, row_loss)


cdef int loss_and_grad_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const int32_t* y, const double* sample_weight, const double* theta, const double* bias, double l2,
    double label_smoothing, int n_threads, double* value, double* grad, double* grad_bias, double* dX, double* row_loss,
) noexcept nogil:
    return run_loss_and_grad(NPY_DOUBLE, 0, m, n, k, X, row_stride, column_stride, y, sample_weight, theta, bias, l2,
                             label_smoothing, n_threads, value, grad, grad_bias, dX, row_loss)


cdef int hess_prod_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const double* sample_weight, const float* theta, const float* bias, const float* v, const float* v_bias,
    double l2, int n_threads, float* product, float* product_bias,
) noexcept nogil:
    return run_hess_prod(NPY_FLOAT, 0, m, n, k, X, row_stride, column_stride, sample_weight, theta, bias, v, v_bias,
                         l2, n_threads, product, product_bias)


cdef int hess_prod_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const double* sample_weight, const double* theta, const double* bias, const double* v, const double* v_bias,
    double l2, int n_threads, double* product, double* product_bias,
) noexcept nogil:
    return run_hess_prod(NPY_DOUBLE, 0, m, n, k, X, row_stride, column_stride, sample_weight, theta, bias, v, v_bias,
                         l2, n_threads, product, product_bias)


cdef int predict_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const float* theta, const float* bias, int n_threads, int what, float* out,
) noexcept nogil:
    return run_predict(NPY_FLOAT, 0, m, n, k, X, row_stride, column_stride, theta, bias, n_threads, what, out)


cdef int predict_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const double* theta, const double* bias, int n_threads, int what, double* out,
) noexcept nogil:
    return run_predict(NPY_DOUBLE, 0, m, n, k, X, row_stride, column_stride, theta, bias, n_threads, what, out)


cdef int predict_labels_f32(
    int64_t m, int64_t n, int64_t k, const float* X, int64_t row_stride, int64_t column_stride,
    const float* theta, const float* bias, int n_threads, int64_t* labels,
) noexcept nogil:
    return run_predict(NPY_FLOAT, 0, m, n, k, X, row_stride, column_stride, theta, bias, n_threads, LABELS, labels)


cdef int predict_labels_f64(
    int64_t m, int64_t n, int64_t k, const double* X, int64_t row_stride, int64_t column_stride,
    const double* theta, const double* bias, int n_threads, int64_t* labels,
) noexcept nogil:
    return run_predict(NPY_DOUBLE, 0, m, n, k, X, row_stride, column_stride, theta, bias, n_threads, LABELS, labels)


cdef fastsoftmax_functions table

table.abi, table.size = FASTSOFTMAX_ABI, sizeof(fastsoftmax_functions)
table.error = <void*>error
table.loss_and_grad_f32, table.loss_and_grad_f64 = <void*>loss_and_grad_f32, <void*>loss_and_grad_f64
table.hess_prod_f32, table.hess_prod_f64 = <void*>hess_prod_f32, <void*>hess_prod_f64
table.predict_f32, table.predict_f64 = <void*>predict_f32, <void*>predict_f64
table.predict_labels_f32, table.predict_labels_f64 = <void*>predict_labels_f32, <void*>predict_labels_f64
# What `fastsoftmax_import` of the header looks for.
capsule = PyCapsule_New(&table, "fastsoftmax_functions", NULL)
# For code that is compiled at run time.
ADDRESSES = {
    "run_record": <intptr_t>&run_record,
    "run_batch": <intptr_t>&run_batch,
    "copy_error": <intptr_t>&copy_error,
    "error": <intptr_t>&error,
}
