"""The kernels over CSR rows compute what the reference defines on the same rows in dense form."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from passes import (
    SparseProblem,
    check_every_sparse_pass,
    check_slab,
    hess_prod,
    sparse_problem,
    total_of,
    value_and_grad,
)
from tolerance import check_prediction, check_targets, check_value_and_grad

from fastsoftmax.kernels.contract import PREDICTIONS, Csr, RowOutputs, Rows

STRATEGIES = ("row-parallel", "feature-parallel")
CLASSES = (2, 3, 7, 8, 9, 17, 45, 130)
INDEX_TYPES = ("i4", "i8")


@pytest.fixture(scope="session", params=STRATEGIES)
def strategy(request):
    return request.param


@pytest.mark.parametrize("index", INDEX_TYPES)
@pytest.mark.parametrize("k", CLASSES)
def test_numbers_of_classes(module, dtype, strategy, k, index):
    s = sparse_problem(203, 37, k, dtype=dtype, weights=True, intercept=True)
    check_every_sparse_pass(module, s, s.plan(strategy), index)


def test_every_number_of_classes(module, dtype, strategy):
    for k in range(2, 41):
        s = sparse_problem(67, 5, k, dtype=dtype, intercept=True)
        check_value_and_grad(s.dense, *value_and_grad(module, s, s.plan(strategy)))


@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 1000, 3), (130, 1, 5), (65, 7, 1000), (300, 5000, 45)], ids=str)
def test_extreme_shapes(module, dtype, strategy, shape):
    s = sparse_problem(*shape, dtype=dtype, density=0.01)
    check_every_sparse_pass(module, s, s.plan(strategy))


def slab_gradient(sums, slab):
    one = None if sums.hot is None else replace(sums.hot, grad=sums.hot.grad[slab : slab + 1])
    return total_of(replace(sums, grad=sums.grad[slab : slab + 1], hot=one))


PROBLEMS = st.builds(
    sparse_problem,
    m=st.integers(1, 300),
    n=st.one_of(st.integers(1, 20), st.integers(100, 200)),
    k=st.one_of(st.integers(2, 12), st.sampled_from([15, 16, 17, 31, 32, 33, 70])),
    dtype=st.sampled_from(["f4", "f8"]),
    density=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 2**32 - 1),
    weights=st.booleans(),
    intercept=st.booleans(),
)


@given(s=PROBLEMS, tiles=st.integers(1, 3), slabs=st.integers(1, 9), index=st.sampled_from(INDEX_TYPES))
def test_random_problems(module, strategy, s, tiles, slabs, index):
    check_every_sparse_pass(module, s, s.plan(strategy, tiles=tiles, slabs=slabs), index)


@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("k", [2, 7, 45])
def test_targets_and_values_of_each_row(module, dtype, strategy, k, soft, eps):
    s = sparse_problem(150, 23, k, dtype=dtype, weights=True, intercept=True)
    targets = np.random.default_rng(k).dirichlet(np.ones(k), 150).astype(dtype) if soft else None
    outputs = RowOutputs(None, np.empty(150, dtype), np.empty(150, np.int64))
    options = {"soft": targets, "smoothing": eps, "y": None if soft else s.dense.y}
    value, grad = value_and_grad(module, s, s.plan(strategy), outputs=outputs, **options)
    check_targets(s.dense, targets, eps, value, grad, outputs)
    alone, _ = value_and_grad(module, s, s.plan(strategy), grad=False, **options)
    assert alone == value


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("k", [2, 8, 17, 130])
def test_predictions(module, dtype, strategy, kind, k):
    s = sparse_problem(203, 37, k, dtype=dtype, intercept=True)
    out = np.empty(203, np.int64) if kind == "label" else np.empty((203, k), dtype)
    plan = s.plan(strategy)
    sums = s.sums(plan, module, grad=False)
    module.predict(Rows(s.csr()), s.dense.parameters(), plan, kind, out, sums, 2)
    check_prediction(s.dense, kind, out)
    assert np.isfinite(sums.loss).all()


# ------------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("grad", [True, False])
def test_each_slab_adds_its_own_rows_to_what_is_there(module, dtype, grad):
    s = sparse_problem(200, 11, 6, dtype=dtype, weights=True, intercept=True)
    plan = s.plan("row-parallel", slabs=5)
    sums = s.sums(plan, module, grad=grad)
    sums.loss[:] = 1.0
    if grad:
        sums.grad[:], sums.bias[:] = 2.0, 3.0
    module.value_and_grad(s.rows(), s.dense.parameters(), plan, sums, 2)
    starts = plan.sparse_slabs(s.csr().indptr)
    for slab, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        if a == b:
            assert sums.loss[slab] == 1
            continue
        part = s.dense.but(X=s.dense.X[a:b], y=s.dense.y[a:b], w=s.dense.w[a:b])
        total = part.w.sum()
        grads = None if not grad else slab_gradient(sums, slab) - 2
        joined = np.vstack([grads, sums.bias[slab] - 3]) / total if grad else None
        check_slab(part, (sums.loss[slab] - 1) / (sums.scale * total), joined)


def test_one_gradient_is_added_to(module, dtype):
    s = sparse_problem(200, 11, 6, dtype=dtype, weights=True, intercept=True)
    plan = s.plan("feature-parallel")
    sums = s.sums(plan, module)
    sums.loss[:], sums.grad[:], sums.bias[:] = 1.0, 2.0, 3.0
    module.value_and_grad(s.rows(), s.dense.parameters(), plan, sums, 2)
    joined = np.vstack([slab_gradient(sums, 0) - 2, sums.bias[0] - 3]) * sums.scale
    check_slab(s.dense, sums.loss[0] - 1, joined)


@pytest.mark.parametrize("k", [2, 5, 9, 45])
@pytest.mark.parametrize("load", [True, False])
def test_no_bit_depends_on_threads_or_on_who_owns_a_column(module, dtype, strategy, k, load):
    s = sparse_problem(500, 61, k, dtype=dtype, weights=True, intercept=True)
    plan, csr = s.plan(strategy), s.csr(load=load)
    results = []
    for threads in (1, 2, 3, 4):
        value, grad = value_and_grad(module, s, plan, threads=threads, X=csr)
        product = hess_prod(module, s, plan, s.dense.theta, threads=threads, X=csr)
        sums = s.squares(plan)
        module.gram(replace(s.rows(), X=csr), plan, sums, threads)
        results.append([np.float64(value).tobytes(), grad.tobytes(), product.tobytes(), sums.grad.tobytes()])
    assert all(one == results[0] for one in results)


def test_a_chunk_may_have_no_entries_or_no_rows(module, dtype, strategy):
    s = sparse_problem(70, 5, 3, dtype=dtype, intercept=True)
    nothing = SparseProblem(s.dense.but(X=np.zeros_like(s.dense.X)), np.zeros_like(s.entries))
    check_every_sparse_pass(module, nothing, s.plan(strategy))
    plan = s.plan(strategy)
    sums = s.sums(plan, module)
    no_rows = Rows(Csr(np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, dtype), 5), np.zeros(0, np.int32))
    module.value_and_grad(no_rows, s.dense.parameters(), plan, sums, 2)
    assert sums.loss.sum() == 0 and (sums.grad == 0).all() and (sums.bias == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 99])
def test_what_is_not_finite_shows_in_the_loss(module, dtype, strategy, bad, row):
    s = sparse_problem(100, 5, 3, dtype=dtype)
    s.entries[row, 2] = True
    s.dense.X[row, 2] = bad
    with np.errstate(invalid="ignore", over="ignore"):
        value, _ = value_and_grad(module, s, s.plan(strategy))
    assert not np.isfinite(value)


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_predictions_mark_a_logit_that_is_not_finite(module, dtype, kind):
    s = sparse_problem(100, 5, 3, dtype=dtype)
    s.entries[7, 2] = True
    s.dense.X[7, 2] = np.inf
    out = np.zeros(100, np.int64) if kind == "label" else np.zeros((100, 3), dtype)
    plan = s.plan("row-parallel")
    sums = s.sums(plan, module, grad=False)
    with np.errstate(invalid="ignore", over="ignore"):
        module.predict(Rows(s.csr()), s.dense.parameters(), plan, kind, out, sums, 2)
    assert np.isnan(sums.loss).any()
