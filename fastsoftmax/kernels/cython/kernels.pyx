# cython: language_level=3, freethreading_compatible=True
"""The functions of `fastsoftmax.kernels.contract` over the C++ passes; built once for each instruction set.

Arrays become addresses and strides in a `Call` (``call.hpp``); what they are is checked before.
"""

import os

import numpy as np

from .. import strategy
from ..contract import Csr
from ..machine.refused import warn_of_refused_threads

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t

cnp.import_array()


cdef extern from "call.hpp" namespace "fastsoftmax" nogil:
    ctypedef enum Operation:
        VALUE_AND_GRAD
        HESS_PROD
        GRAM
        PREDICT
        HESSIAN

    ctypedef struct Source:
        const char* data
        Py_ssize_t row_step, feature_step
        int type, itemsize

    ctypedef struct Hot:
        const int64_t* columns
        const int64_t* starts
        Py_ssize_t levels
        double* grad

    ctypedef enum Kernel:
        TILE
        DOT
        CLASS_LANE
        NARROW
        AMX_TILE

    ctypedef struct Products:
        int forward, backward
        int kc_block, class_lanes, row_group, class_chunk
        bint transpose_bytes, copy_panels
        double packing_share
        int units, forward_parts, backward_parts

    ctypedef struct SparseCut:
        const int64_t* starts
        const int64_t* column_cuts
        Py_ssize_t ranges
        Hot hot

    ctypedef struct SparseSource:
        const int64_t* indptr
        const void* indices
        const void* data
        bint wide
        SparseCut cut

    ctypedef struct Call:
        int operation, prediction, threads
        bint single, class_parallel, by_class, single_grad
        Source X
        SparseSource sparse
        Py_ssize_t m, n, k
        const int32_t* y
        const void* soft
        double smoothing
        const double* w
        const void* theta
        const void* bias
        const void* direction
        const void* direction_bias
        double* loss
        double* bias_grad
        void* grad
        void* out
        void* dX
        void* row_loss
        int64_t* row_label
        int models
        Py_ssize_t y_step, w_step
        const int32_t* fold
        const int32_t* left_out
        double* held
        double scale
        Py_ssize_t slabs, block, flush_rows, phase_rows
        Products products
        void* work

    ctypedef struct ReduceCall:
        void* grad
        double* bias
        Py_ssize_t slabs, n, k
        bint transposed, single_grad, single_out
        double scale, l2
        const void* theta
        void* out
        int threads

    Py_ssize_t work_bytes(const Call&)
    int run_reduce(const ReduceCall&)
    int SUMS_WRONG, STORED_WRONG
    void run_call "fastsoftmax::run"(const Call&)
    int openmp_threads()
    int granted_threads(int) except +
    int c_vector_bytes "fastsoftmax::vector_bytes"()

    ctypedef enum Function:
        EXP
        LOG

    void c_apply "fastsoftmax::apply"(Function, bint, const void*, void*, Py_ssize_t)

SOURCE_TYPES = {"d": 0, "f": 1, "e": 2, "B": 3, "b": 4, "h": 5, "V": 6}  # as enum SourceType in call.hpp
KERNELS = {"tile": TILE, "dot": DOT, "class_lane": CLASS_LANE, "narrow": NARROW, "amx_tile": AMX_TILE}
UNITS = {"amx": 0, "avx512_bf16": 1, "twin": 2, "": 2}  # as enum Units in call.hpp
PREDICTIONS = {"label": 0, "logits": 1, "proba": 2, "log_proba": 3}  # as enum Prediction in call.hpp


_units = ""


def use_units(name):
    """Have later plans use these matrix units, of `fastsoftmax.kernels.units.UNITS`, where they pay."""
    global _units
    _units = name


def vector_bytes():
    """Bytes of the vectors that this build computes with."""
    return c_vector_bytes()


def apply(name, x):
    """exp of x <= 0 or log of x >= 1, element by element, as passes compute it; x is contiguous. No pass calls this: it
    is there to measure their errors."""
    out = np.empty_like(x)
    c_apply({"exp": EXP, "log": LOG}[name], x.dtype.char == "f", _address(x), _address(out), x.size)
    return out


def max_threads():
    """Threads that OpenMP would use, which threadpoolctl can lower; 0 in a build without OpenMP."""
    return openmp_threads()


_forked = False


def _note_fork():
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


cdef int _usable(int n_threads) except -1:
    """``n_threads``, or as many as the system grants. 1 in a forked process: GNU's OpenMP would wait for threads that
    only its parent has."""
    if _forked or not openmp_threads():
        return 1
    cdef int granted = granted_threads(n_threads)
    if granted < n_threads:
        warn_of_refused_threads(granted, n_threads)
    return granted


def value_and_grad(rows, params, plan, sums, int n_threads, outputs=None):
    """See `fastsoftmax.kernels.contract`."""
    _run(VALUE_AND_GRAD, rows, params, None, plan, sums, n_threads, None, 0, outputs)


def hess_prod(rows, params, direction, plan, sums, int n_threads):
    """See `fastsoftmax.kernels.contract`."""
    _run(HESS_PROD, rows, params, direction, plan, sums, n_threads)


def gram(rows, plan, sums, int n_threads):
    """See `fastsoftmax.kernels.contract`."""
    _run(GRAM, rows, None, None, plan, sums, n_threads)


def hessian(rows, params, plan, sums, int n_threads):
    """See `fastsoftmax.kernels.contract`."""
    _run(HESSIAN, rows, params, None, plan, sums, n_threads)


def gradient(sums, theta, double l2, out, int n_threads):
    """See `fastsoftmax.kernels.contract`."""
    cdef ReduceCall call
    cdef int wrong
    grad = sums.grad
    call.grad, call.slabs, call.transposed = _address(grad), len(grad), not sums.by_feature
    call.n, call.k = (len(out), out.shape[1]) if sums.by_feature else (grad.shape[2], grad.shape[1])
    call.bias = <double*>_address(sums.bias) if call.transposed and len(out) > call.n else NULL
    call.single_grad, call.single_out = grad.dtype.char == "f", out.dtype.char == "f"
    call.scale, call.l2, call.theta = sums.scale, l2, _address(theta)
    call.out, call.threads = _address(out), 1 if call.transposed else _usable(n_threads)
    with nogil:
        wrong = run_reduce(call)
    return not wrong & SUMS_WRONG, not wrong & STORED_WRONG


def predict(rows, params, plan, kind, out, sums, int n_threads):
    """See `fastsoftmax.kernels.contract`."""
    _run(PREDICT, rows, params, None, plan, sums, n_threads, out, PREDICTIONS[kind])


cdef void* _address(array) noexcept:
    """The address of an array's data; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef void* _of(owner, str name) except? NULL:
    """The address of an array that is an attribute; NULL where the attribute or its owner is None."""
    return NULL if owner is None else _address(getattr(owner, name))


cdef void _describe_dense(Source* source, cnp.ndarray X):
    """Fills in ``source``."""
    source.data = <const char*>cnp.PyArray_DATA(X)
    source.row_step, source.feature_step = X.strides[0], X.strides[1]
    source.type, source.itemsize = SOURCE_TYPES[X.dtype.char], X.itemsize


cdef class _Cut:
    """What `strategy.choose_products` answered, in the terms of C++."""

    cdef Products products
    cdef Py_ssize_t block, flush_rows

    def __init__(self, chosen):
        self.products.forward, self.products.backward = KERNELS[chosen.forward], KERNELS[chosen.backward]
        self.products.kc_block, self.products.class_lanes = chosen.kc_block, chosen.class_lanes
        self.products.row_group, self.products.class_chunk = chosen.row_group, chosen.class_chunk
        self.products.transpose_bytes, self.products.copy_panels = chosen.transpose_bytes, chosen.copy_panels
        self.products.packing_share = chosen.packing_share
        self.products.units = UNITS[chosen.units]
        self.products.forward_parts, self.products.backward_parts = chosen.forward_parts, chosen.backward_parts
        self.block, self.flush_rows = chosen.block, chosen.flush_rows


cdef _cut(int operation, plan, cnp.ndarray X, Py_ssize_t outputs, bint grad):
    """The `_Cut` of a pass over dense rows, chosen once for each shape of a pass with a plan."""
    key = (operation, grad, X.shape[0], X.shape[1], X.strides[0], X.strides[1], X.descr.type_num, outputs, _units)
    cut = plan.chosen.get(key)
    if cut is None:
        shape, strides = (<object>X).shape, (<object>X).strides
        chosen = _choose(operation, shape, strides, X.dtype, plan, outputs, grad)
        cut = plan.chosen[key] = _Cut(chosen)
    return cut


def products(shape, strides, dtype, plan, outputs):
    """See `fastsoftmax.kernels.contract`."""
    return _choose(VALUE_AND_GRAD, shape, strides, dtype, plan, outputs, True)


cdef _choose(int operation, shape, strides, dtype, plan, Py_ssize_t outputs, bint grad):
    """The products of a pass. Rows that are neither contiguous nor columns are staged as rows."""
    block = strategy.Block(
        n=shape[1],
        outputs=outputs,
        rows=shape[0],
        row_step=strides[0],
        feature_step=strides[1],
        itemsize=dtype.itemsize,
        by_column=strides[0] == dtype.itemsize,
        size=8 if dtype.char == "d" else 4,
        vector=vector_bytes(),
        forward=operation != GRAM,
        backward=grad and operation != HESSIAN,
        splits=operation != HESSIAN,
        units="" if dtype.char == "d" or operation in (GRAM, HESSIAN) else _units,
        exact_parts=3 if dtype.char == "f" else 1 if dtype.char in "BbV" else 2,
    )
    return strategy.choose_products(plan, block, "cython")


cdef _describe_sparse(SparseSource* source, X, plan, hot, int threads, bint feature_parallel):
    """Fills in ``source``; the arrays that it returns must live as long."""
    starts = plan.sparse_slabs(X.indptr)
    column_cuts = _column_cuts(X, threads) if feature_parallel else None
    source.indptr = <const int64_t*>_address(X.indptr)
    source.indices, source.data = _address(X.indices), _address(X.data)
    source.wide = X.indices.itemsize == 8
    source.cut.starts, source.cut.column_cuts = <const int64_t*>_address(starts), <const int64_t*>_address(column_cuts)
    source.cut.ranges = threads
    source.cut.hot.levels = 0
    if hot is not None:
        source.cut.hot.columns = <const int64_t*>_address(hot.columns)
        source.cut.hot.starts = <const int64_t*>_address(hot.starts)
        source.cut.hot.levels, source.cut.hot.grad = len(hot.starts) - 1, <double*>_address(hot.grad)
    return starts, column_cuts


def _column_cuts(X, ranges):
    """Where each thread's range of columns begins, and n: ranges of equal cost. Results do not depend on the cuts."""
    shares = np.arange(ranges + 1) / ranges
    cuts = X.n * shares if X.load is None else np.searchsorted(X.load, X.load[X.n] * shares)
    cuts = cuts.astype(np.int64)
    cuts[0], cuts[ranges] = 0, X.n
    return cuts


cdef _run(
    Operation operation, rows, params, direction, plan, sums, int n_threads, out=None, int prediction=0, outputs=None
):
    """Fills in a `Call` and runs it without the GIL."""
    cdef Call call
    cdef _Cut cut
    cdef Py_ssize_t block, flush_rows, whole_blocks
    X = rows.X
    m, n = X.shape
    call.operation, call.prediction, call.single = operation, prediction, X.dtype.char != "d"
    call.threads = _usable(n_threads)
    call.m, call.n = m, n
    call.k = n if params is None else params.theta.shape[1]
    call.sparse.indptr = NULL
    call.class_parallel = plan.strategy == "class-parallel"
    block, flush_rows = plan.block, plan.flush_rows
    if isinstance(X, Csr):
        feature_parallel = plan.strategy == "feature-parallel" and operation != PREDICT
        _alive = _describe_sparse(&call.sparse, X, plan, sums.hot, call.threads, feature_parallel)
        call.k = 2 if params is None else call.k
        call.slabs = plan.slabs
    else:
        _describe_dense(&call.X, X)
        call.slabs = plan.slabs_of(m)
        cut = _cut(operation, plan, X, call.k, sums.grad is not None)
        call.products, block, flush_rows = cut.products, cut.block, cut.flush_rows
    call.y, call.soft, call.w = <const int32_t*>_of(rows, "y"), _of(rows, "soft"), <const double*>_of(rows, "w")
    call.smoothing = rows.smoothing
    call.theta, call.bias = _of(params, "theta"), _of(params, "bias")
    call.by_class = params is not None and not params.theta.flags.c_contiguous
    call.direction, call.direction_bias = _of(direction, "theta"), _of(direction, "bias")
    call.loss, call.held, call.scale = <double*>_of(sums, "loss"), <double*>_of(sums, "held"), sums.scale
    call.grad, call.bias_grad = _of(sums, "grad"), <double*>_of(sums, "bias")
    call.single_grad = sums.grad is not None and sums.grad.dtype == np.float32
    call.out, call.dX, call.row_loss = _address(out), _of(outputs, "dX"), _of(outputs, "loss")
    call.row_label = <int64_t*>_of(outputs, "label")
    call.models, call.left_out = 1 if params is None else params.models, <const int32_t*>_of(params, "left_out")
    call.fold = <const int32_t*>_of(None if call.left_out == NULL else rows, "fold")
    call.y_step = m if rows.y is not None and rows.y.ndim == 2 else 0
    call.w_step = m if rows.w is not None and rows.w.ndim == 2 else 0
    whole_blocks = (call.m + block - 1) // block * block
    call.block = block
    call.flush_rows, call.phase_rows = min(flush_rows, whole_blocks), min(plan.phase_rows, whole_blocks)
    if sums.scratch is None or len(sums.scratch) < work_bytes(call):
        sums.scratch = np.empty(work_bytes(call), np.uint8)
    call.work = _address(sums.scratch)
    with nogil:
        run_call(call)
