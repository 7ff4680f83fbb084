"""Sparse X gives what the same X gives as a dense array, within errors that `tolerance` derives, with every backend.

The expected values are computed from ``X.toarray()``.
"""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from problems import random_csr, random_problem
from tolerance import assert_within, check_hess_prod, check_prediction, check_targets, check_value_and_grad, terms

from fastsoftmax import Model, Objective, predict_proba, reference
from fastsoftmax.data.validation import compute_dtype
from fastsoftmax.kernels.contract import PREDICTIONS, RowOutputs
from fastsoftmax.kernels.plan import make_sparse_plan

FORMATS = [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.csc_matrix, sp.coo_array, sp.coo_matrix, sp.bsr_array]
FORMATS += [sp.lil_array, sp.dok_array]


def scattered(shape, entries, dtype, seed, *, repeat=True):
    """Coordinates and values of entries in any order; some share their place, and some are 0."""
    rng = np.random.default_rng(seed)
    m, n = shape
    row, col = rng.integers(m, size=entries), rng.integers(n, size=entries)
    if repeat and entries > 3:
        row[-2:], col[-2:] = row[:2], col[:2]
    value = rng.integers(-3, 4, entries) if np.dtype(dtype).kind == "f" else rng.integers(0, 3, entries)
    return row, col, value.astype(dtype) / (4 if np.dtype(dtype).kind == "f" else 1)


def unsorted_csr(shape, row, col, value, index):
    """A CSR array with the entries of each row in the given order, repetitions not added up."""
    order = np.argsort(row, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
    X = sp.csr_array(shape, dtype=value.dtype)
    X.indptr, X.indices, X.data = indptr.astype(index), col[order].astype(index), value[order].copy()
    return X


@st.composite
def problems(draw):
    """A dense problem and the same X in one of the sparse forms."""
    m, n, k = draw(st.integers(1, 200)), draw(st.integers(1, 60)), draw(st.sampled_from([2, 3, 7, 8, 9, 16, 17, 33]))
    dtype = draw(st.sampled_from(["f4", "f8", "f4", "f8", "u1", "i2", "?"]))
    entries = draw(st.sampled_from([0, 1, m, 5 * m, m * n]))
    row, col, value = scattered((m, n), entries, "u1" if dtype == "?" else dtype, draw(st.integers(0, 2**32 - 1)))
    value = value.astype(dtype)
    rows = draw(st.integers(1, m))
    index = draw(st.sampled_from(["i4", "i8"]))
    X = unsorted_csr((m, n), row % rows, col, value, index)
    container = draw(st.sampled_from([None, *FORMATS]))
    dense = X.toarray()
    if container is not None:
        X = container(X)
        dense = X.toarray()
    options = {
        "weights": draw(st.booleans()),
        "intercept": draw(st.booleans()),
        "l2": draw(st.sampled_from([0.0, 0.1])),
    }
    p = random_problem(m, n, k, dtype=compute_dtype(dense.dtype), seed=draw(st.integers(0, 99)), **options)
    return p.but(X=dense), X


def check_every_pass(p, X, backend, **plan):
    obj = p.but(X=X).objective(backend)
    if plan:
        m, n = X.shape
        obj.plan = make_sparse_plan(m, n, p.k, obj.source.nnz, p.dtype, **plan)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    check_value_and_grad(p, obj.value(p.theta))
    v = np.random.default_rng(9).standard_normal(p.theta.shape).astype(p.dtype)
    check_hess_prod(p, v, obj.hess_prod(p.theta, v))
    check_diagonal(p, *obj.gram_diagonal())


def check_diagonal(p, second, first):
    n = p.X.shape[1]
    ones = p.but(X=p.X.astype(p.dtype))
    w = np.ones(len(p.X)) if p.w is None else p.w
    for got, power in ((second, 2), (first, 1)):
        truth, plain = (
            np.sum(X**power * (w / w.sum()).astype(X.dtype)[:, None], axis=0) for X in _wide_and_plain(ones)
        )
        scale = np.sum(abs(ones.X.astype(np.longdouble)) ** power * (w / w.sum())[:, None], axis=0)
        assert got.shape == (n,) and got.dtype == np.float64
        assert_within(got, truth, plain, scale, p.dtype, terms=terms(p))


def _wide_and_plain(p):
    return p.X.astype(np.longdouble), p.X


@given(case=problems())
def test_random_matrices_of_every_kind(backend, case):
    p, X = case
    before = X.copy()
    check_every_pass(p, X, backend)
    assert X.format == before.format and (abs(X.tocsr() - before.tocsr())).sum() == 0


@given(case=problems(), slabs=st.integers(1, 5), chunk=st.integers(1, 300), parallel=st.booleans())
def test_random_cuts_by_either_strategy(backend, case, slabs, chunk, parallel):
    p, X = case
    strategy = "feature-parallel" if parallel else "row-parallel"
    check_every_pass(p, X, backend, slabs=None if parallel else slabs, chunk=chunk, strategy=strategy)


@given(case=problems(), kind=st.sampled_from(PREDICTIONS))
def test_predictions(backend, case, kind):
    p, X = case
    n = X.shape[1]
    model = Model(p.theta[:n], p.theta[n] if p.fit_intercept else None)
    names = {"label": "predict", "logits": "decision_function", "proba": "predict_proba"}
    got = getattr(model, names.get(kind, "predict_log_proba"))(X, backend=backend)
    check_prediction(p, kind, got)
    if kind == "proba":
        again = predict_proba(X, p.theta, fit_intercept=p.fit_intercept, backend=backend)
        np.testing.assert_array_equal(again, got)


EXTREMES = {
    "wide": (40, 3000, 5, 0.01),
    "tall": (3000, 4, 3, 0.2),
    "one feature": (300, 1, 2, 0.5),
    "no entries": (50, 7, 3, 0.0),
    "full": (130, 30, 17, 1.0),
    "many classes": (60, 50, 700, 0.1),
}


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
@pytest.mark.parametrize("what", EXTREMES)
def test_extremes(backend, dtype, what, strategy):
    m, n, k, density = EXTREMES[what]
    X = random_csr(m, n, density, 5, dtype)
    p = random_problem(m, n, k, dtype=dtype, weights=True, intercept=True, l2=0.1).but(X=X.toarray())
    check_every_pass(p, X, backend, strategy=strategy)


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
def test_a_full_row_and_a_full_column(backend, dtype, strategy):
    m, n = 700, 900
    dense = np.zeros((m, n), dtype)
    dense[400], dense[:, 3] = 0.5, 0.25
    p = random_problem(m, n, 6, dtype=dtype, intercept=True).but(X=dense)
    check_every_pass(p, sp.csr_array(dense), backend, strategy=strategy)


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
def test_no_bit_depends_on_the_number_of_threads(backend, dtype, strategy):
    m, n, k = 5000, 2000, 9
    X = random_csr(m, n, 0.01, 1, dtype)
    p = random_problem(m, n, k, dtype=dtype, intercept=True, weights=True)
    results = []
    for n_threads in (1, 2, 3):
        obj = p.but(X=X).objective(backend, n_threads=n_threads)
        obj.plan = make_sparse_plan(m, n, k, X.nnz, p.dtype, strategy=strategy)
        results.append((*obj.value_and_grad(p.theta), obj.hess_prod(p.theta, p.theta), *obj.gram_diagonal()))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_targets_and_values_of_each_row(backend, dtype, soft, eps):
    m, n, k = 300, 40, 7
    X = random_csr(m, n, 0.1, 2, dtype)
    p = random_problem(m, n, k, dtype=dtype, weights=True, intercept=True).but(X=X.toarray())
    rng = np.random.default_rng(3)
    t = rng.random((m, k)).astype(dtype) if soft else None
    options = {"fit_intercept": True, "sample_weight": p.w, "label_smoothing": eps, "backend": backend}
    got = Objective(X, p.y if t is None else t, k, **options).evaluate(p.theta, row_loss=True, label=True)
    dense = Objective(p.X, p.y if t is None else t, k, **options).evaluate(p.theta, dX=True)
    check_targets(p, t, eps, got.value, got.grad, RowOutputs(dense.dX, got.row_loss, got.label))


@pytest.mark.parametrize("call", ["value", "value_and_grad", "hess_prod", "gram_diagonal", "predict"])
def test_nan_is_named_by_row_and_column(backend, call):
    X = random_csr(5000, 30, 0.2, 1)
    entry = X.indptr[4321] + 1
    X.data[entry] = np.nan
    obj = Objective(X, np.arange(5000) % 2, backend=backend)
    theta = np.ones(obj.shape)
    calls = {
        "value": lambda: obj.value(theta),
        "value_and_grad": lambda: obj.value_and_grad(theta),
        "hess_prod": lambda: obj.hess_prod(theta, theta),
        "gram_diagonal": obj.gram_diagonal,
        "predict": lambda: Model(theta).predict(X, backend=backend),
    }
    with pytest.raises(ValueError, match=f"X must be finite; row 4321, column {X.indices[entry]} holds nan"):
        calls[call]()


def test_what_needs_dense_x_says_so(backend):
    obj = Objective(sp.eye_array(4).tocsr(), [0, 1, 0, 1], backend=backend)
    with pytest.raises(TypeError, match="gram.. needs dense X.*gram_diagonal"):
        obj.gram()
    with pytest.raises(ValueError, match="dX=True needs dense X"):
        obj.evaluate(np.zeros((4, 2)), dX=True)


def test_gram_diagonal_of_dense_x_is_that_of_gram(backend, dtype):
    p = random_problem(300, 9, 3, dtype=dtype, weights=True, intercept=True)
    check_diagonal(p, *p.objective(backend).gram_diagonal())


def test_flat_theta_of_another_dtype_gives_a_gradient_like_it(backend):
    X = random_csr(30, 8, 0.3, 0)
    p = random_problem(30, 8, 3, intercept=True, l2=0.1).but(X=X.toarray())
    theta = p.theta.astype("f4")
    value, grad = p.but(X=X).objective(backend).value_and_grad(theta.ravel())
    wanted = reference.value_and_grad(p.X, p.y, theta.astype("f8"), fit_intercept=True, l2=0.1)
    assert grad.dtype == np.float32 and grad.shape == theta.size * np.ones(1, int)
    assert_within(grad, wanted[1].astype("f4").ravel(), wanted[1].astype("f4").ravel(), abs(wanted[1]).ravel(), "f4")


def test_nothing_is_made_dense(backend):
    m, n, k = 20_000, 3_000, 4  # 480 MB as a dense array
    X = random_csr(m, n, 1e-3, 0)
    y = np.arange(m) % k
    Objective(X[:100], y[:100], backend=backend).value_and_grad(np.zeros((n, k)))
    tracemalloc.start()
    try:
        obj = Objective(X, y, fit_intercept=True, backend=backend)
        obj.value_and_grad(np.zeros(obj.shape))
        obj.gram_diagonal()
        Model(np.zeros((n, k))).predict_proba(X, backend=backend)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < m * n * 8 / 20
