# cython: language_level=3, freethreading_compatible=True
"""The kernel contract over the C++ passes of dense.hpp; built once for each instruction set."""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t

cnp.import_array()


cdef extern from "call.hpp" nogil:
    const int VEC_BYTES

    ctypedef enum Operation:
        VALUE_AND_GRAD
        HESS_PROD
        GRAM
        PREDICT
        HESSIAN

    ctypedef struct Source:
        const char* data
        Py_ssize_t row, col
        int type, itemsize

    ctypedef struct Call:
        int operation, kind, threads
        bint single, by_classes, single_grad
        Source X
        Py_ssize_t m, n, k
        const int32_t* y
        const void* soft
        double smoothing
        const double* w
        const void* theta
        const void* bias
        const void* along
        const void* along_bias
        double* loss
        double* grad_bias
        void* grad
        void* out
        void* dX
        void* row_loss
        int64_t* row_label
        int models
        const int32_t* fold
        const int32_t* left_out
        double* held
        double scale
        Py_ssize_t slabs, slab_rows, block, run
        void* work

    Py_ssize_t work_bytes(const Call&)
    void run_call "run"(const Call&)
    int openmp_threads()

SOURCE_TYPES = {"d": 0, "f": 1, "e": 2, "B": 3, "b": 4, "h": 5}  # as enum SourceType in pack.hpp
KINDS = {"label": 0, "logits": 1, "proba": 2, "log_proba": 3}  # as enum Kind in dense.hpp


def vector_bytes():
    """Width of the vectors this build computes with."""
    return VEC_BYTES


def max_threads():
    """Threads OpenMP would use (threadpoolctl can lower it); 0 in a build without OpenMP."""
    return openmp_threads()


def dense_value_and_grad(rows, params, plan, sums, int n_threads, outputs=None):
    """See `fastsoftmax.kernels`."""
    _run(VALUE_AND_GRAD, rows, params, None, plan, sums, n_threads, None, 0, outputs)


def dense_hess_prod(rows, params, direction, plan, sums, int n_threads):
    """See `fastsoftmax.kernels`."""
    _run(HESS_PROD, rows, params, direction, plan, sums, n_threads)


def dense_gram(rows, plan, sums, int n_threads):
    """See `fastsoftmax.kernels`."""
    _run(GRAM, rows, None, None, plan, sums, n_threads)


def dense_hessian(rows, params, plan, sums, int n_threads):
    """See `fastsoftmax.kernels`."""
    _run(HESSIAN, rows, params, None, plan, sums, n_threads)


def predict(rows, params, plan, kind, out, sums, int n_threads):
    """See `fastsoftmax.kernels`."""
    _run(PREDICT, rows, params, None, plan, sums, n_threads, out, KINDS[kind])


cdef void* _address(array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef _run(Operation operation, rows, params, direction, plan, sums, int n_threads, out=None, int kind=0, outputs=None):
    cdef Call call
    cdef cnp.ndarray X = rows.X
    call.operation, call.kind, call.single = operation, kind, X.dtype.char != "d"
    call.threads = n_threads if openmp_threads() else 1
    call.X.data = <const char*>cnp.PyArray_DATA(X)
    call.X.row, call.X.col = X.strides[0], X.strides[1]
    call.X.type, call.X.itemsize = SOURCE_TYPES[X.dtype.char], X.itemsize
    call.m, call.n = X.shape[0], X.shape[1]
    call.k = X.shape[1] if params is None else params.theta.shape[1]
    call.y, call.w = <const int32_t*>_address(rows.y), <const double*>_address(rows.w)
    call.theta = _address(None if params is None else params.theta)
    call.bias = _address(None if params is None else params.bias)
    call.along = _address(None if direction is None else direction.theta)
    call.along_bias = _address(None if direction is None else direction.bias)
    call.loss, call.scale = <double*>_address(sums.loss), sums.scale
    call.grad, call.grad_bias = _address(sums.grad), <double*>_address(sums.bias)
    call.by_classes = plan.strategy == "class-parallel"
    call.single_grad = sums.grad is not None and sums.grad.dtype == np.float32
    call.out = _address(out)
    call.soft, call.smoothing = _address(rows.soft), rows.smoothing
    call.dX = _address(None if outputs is None else outputs.dX)
    call.row_loss = _address(None if outputs is None else outputs.loss)
    call.row_label = <int64_t*>_address(None if outputs is None else outputs.label)
    call.models = 1 if params is None else params.models
    call.left_out = <const int32_t*>_address(None if params is None else params.left_out)
    call.fold = <const int32_t*>_address(None if call.left_out == NULL else rows.fold)
    call.held = <double*>_address(sums.held)
    call.slabs, call.slab_rows = plan.slabs, plan.slab_rows(X.shape[0])
    call.block, call.run = plan.block, plan.run
    work = np.empty(work_bytes(call), np.uint8)  # scratch of this call alone: calls may overlap
    call.work = _address(work)
    with nogil:
        run_call(call)
