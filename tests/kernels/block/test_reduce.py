"""Sums of sparse gradients: float32 ones with hot columns, and their end, by every backend."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from passes import sparse_problem
from tolerance import assert_within

from fastsoftmax import Objective
from fastsoftmax.kernels import backends
from fastsoftmax.kernels.contract import Sums
from fastsoftmax.kernels.plan import FLOAT32_TERMS, FLUSH_ROWS, hot_columns, make_sparse_plan


def skip_without_float32_sums(module):
    if not module.FLOAT32_SUMS:
        pytest.skip("sums float32 X in float64")


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
def test_hot_columns_move_after_their_blocks(module, strategy):
    skip_without_float32_sums(module)
    s = sparse_problem(1100, 40, 5, dtype="f4")
    plan = s.plan(strategy, slabs=1)
    sums = s.sums(plan, module)
    module.value_and_grad(s.rows(), s.dense.parameters(), plan, sums, 2)
    blocks = -(-1100 // plan.block)
    hot, G = sums.hot, sums.grad[0]
    for level, (a, b) in enumerate(zip(hot.starts[:-1], hot.starts[1:], strict=True)):
        assert (G[hot.columns[a:b]] == 0).all(), f"level {level} has not moved all where the rows end"
        assert (hot.grad[0, a:b] != 0).any()
    assert blocks % 4 == 2  # the third level would not have moved its last rows by itself


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
@pytest.mark.parametrize("value", [1.0, 1 / 3])
@pytest.mark.parametrize("chunk", [None, 2048])
def test_the_error_does_not_grow_with_the_rows(backend, strategy, value, chunk):
    """Equal terms are rounded all to one side: a float32 sum of all rows would be wrong by thousands of units."""
    m, n, k = 60_000, 40, 3
    dense = np.zeros((m, n), "f4")
    dense[:, 3], dense[::2, 17], dense[::100, 5] = value, value, value
    obj = Objective(sp.csr_array(dense), np.zeros(m, int), k, backend=backend)
    obj.plan = make_sparse_plan(m, n, k, obj.source.nnz, dense.dtype, strategy=strategy, chunk=chunk)
    grad = obj.value_and_grad(np.zeros((n, k)))[1]
    x = dense.astype("f8").mean(axis=0)
    residual = np.float32(1 / 3) - np.array([1.0, 0.0, 0.0])
    truth, scale = np.outer(x, residual), np.outer(abs(x), abs(residual) + 1)
    assert_within(grad, truth, truth, scale, "f4", terms=FLOAT32_TERMS)


@given(
    counts=st.lists(st.integers(0, 10**6), min_size=1, max_size=60),
    block=st.sampled_from([64, 128, 4096, 8192]),
    slabs=st.integers(1, 16),
)
def test_hot_columns(counts, block, slabs):
    rows = max(counts) + 1
    plan = replace(make_sparse_plan(10, 10, 3, 10, np.dtype("f4")), block=block, slabs=slabs)
    columns, starts = hot_columns(np.concatenate([[0], np.cumsum(counts)]), rows, plan)
    assert starts[0] == 0 and starts[-1] == len(columns)
    assert sorted(columns) == [j for j, count in enumerate(counts) if count > FLOAT32_TERMS * slabs]
    for level, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
        part, between = columns[a:b], 2**level * block
        assert (np.diff(part) > 0).all()
        assert between <= max(block, FLUSH_ROWS)
        if level:  # as many entries as wanted or fewer, where they are spread evenly
            assert (np.asarray(counts)[part] * between <= FLOAT32_TERMS * rows).all()


@given(
    n=st.integers(1, 2000),
    k=st.integers(2, 9),
    slabs=st.integers(1, 4),
    sums_dtype=st.sampled_from(["f4", "f8"]),
    dtype=st.sampled_from(["f4", "f8"]),
    l2=st.sampled_from([0.0, 0.7]),
    threads=st.integers(1, 3),
)
def test_gradient_is_the_formula(module, n, k, slabs, sums_dtype, dtype, l2, threads):
    rng = np.random.default_rng(n)
    grad = rng.standard_normal((slabs, n, k)).astype(sums_dtype)
    theta, out = rng.standard_normal((n, k)).astype(dtype), np.full((n, k), np.nan, dtype)
    sums = Sums(np.zeros(slabs), grad, np.zeros((slabs, k)), 0.3, by_feature=True)
    wanted = grad[0].astype("f8")
    for one in grad[1:]:
        wanted = wanted + one
    wanted = 0.3 * wanted
    size = abs(wanted) + abs(l2 * theta.astype("f8"))
    if l2:
        wanted += l2 * theta.astype("f8")
    assert module.gradient(sums, theta if l2 else None, l2, out, threads) == (True, True)
    # The sum and the penalty may be rounded once, together, or each.
    assert_within(out, wanted, wanted, size, dtype)
    if slabs == 1 and sums_dtype == dtype:
        assert module.gradient(sums, theta if l2 else None, l2, grad[0], threads) == (True, True)
        np.testing.assert_array_equal(grad[0], out)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.7])
@pytest.mark.parametrize(("n", "k", "slabs"), [(1, 2, 1), (50, 3, 4), (1500, 4, 3), (3, 1100, 2)])
def test_gradient_of_dense_rows_is_the_formula(module, n, k, slabs, l2, bias):
    """Sums of dense X are transposed, and those of the bias come last."""
    rng = np.random.default_rng(n)
    grad, of_bias = rng.standard_normal((slabs, k, n)), rng.standard_normal((slabs, k))
    theta, out = rng.standard_normal((n + bias, k)), np.full((n + bias, k), np.nan)
    wanted = 0.3 * grad.sum(axis=0).T + l2 * theta[:n]
    size = 0.3 * abs(grad).sum(axis=0).T + l2 * abs(theta[:n])
    if bias:
        wanted, size = (np.vstack([a, 0.3 * b.sum(axis=0)]) for a, b in ((wanted, of_bias), (size, abs(of_bias))))
    sums = Sums(np.zeros(slabs), grad, of_bias, 0.3)
    assert module.gradient(sums, theta if l2 else None, l2, out, 2) == (True, True)
    assert_within(out, wanted, wanted, size, out.dtype)


def test_gradients_of_several_callers_do_not_mix(module):
    """Whatever memory a backend keeps between calls belongs to one of them at a time, and starts clean."""

    def reduced(number):
        grad = np.full((2, 700, 3), float(number))
        grad[1, 5, 1] = np.inf if number % 3 == 0 else grad[1, 5, 1]
        out = np.empty((700, 3))
        told = module.gradient(Sums(np.zeros(2), grad, np.zeros((2, 3)), 0.5, by_feature=True), None, 0.0, out, 1)
        return told, np.delete(out.ravel(), 16)

    with ThreadPoolExecutor(4) as pool:
        for number, (told, out) in enumerate(pool.map(reduced, range(200))):
            assert told == ((False, False) if number % 3 == 0 else (True, True))
            np.testing.assert_array_equal(out, number)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 70_000, 199_999])
@pytest.mark.parametrize("slab", [0, 1])
def test_gradient_tells_what_is_not_finite(module, dtype, bad, at, slab):
    grad = np.ones((2, 200_000, 2), dtype)
    grad[slab, at, 1] = bad
    sums = Sums(np.zeros(2), grad, np.zeros((2, 2)), 1.0, by_feature=True)
    assert module.gradient(sums, None, 0.0, np.empty(grad[0].shape), 2) == (False, False)


def test_gradient_tells_what_overflows_as_float32(module):
    sums = Sums(np.zeros(1), np.full((1, 50, 2), 1e200), np.zeros((1, 2)), 1.0, by_feature=True)
    with np.errstate(over="ignore"):
        assert module.gradient(sums, None, 0.0, np.empty((50, 2), "f4"), 2) == (True, False)
    assert module.gradient(sums, None, 0.0, np.empty((50, 2)), 2) == (True, True)


@pytest.mark.parametrize("theta_dtype", ["f4", "f8"])
@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
def test_results_are_the_callers(backend, dtype, theta_dtype, strategy):
    """No later pass writes into a result, whatever memory a pass reuses."""
    s = sparse_problem(700, 90, 7, dtype=dtype, intercept=True)
    X = sp.csr_array(s.dense.X)
    obj = Objective(X, s.dense.y, 7, fit_intercept=True, l2=0.1, backend=backend)
    obj.plan = make_sparse_plan(700, 90, 7, X.nnz, np.dtype(dtype), strategy=strategy)
    theta = s.dense.theta.astype(theta_dtype)
    first, product = obj.value_and_grad(theta)[1], obj.hess_prod(theta, theta)
    kept = first.copy(), product.copy()
    again = obj.value_and_grad(theta)[1]
    obj.value_and_grad(2 * theta)
    np.testing.assert_array_equal(first, kept[0])
    np.testing.assert_array_equal(product, kept[1])
    np.testing.assert_array_equal(again, first)
    assert first.dtype == theta_dtype


@pytest.mark.parametrize("strategy", ["row-parallel", "feature-parallel"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_hot_column_that_is_not_finite_shows_in_the_total(module, strategy, bad):
    skip_without_float32_sums(module)
    s = sparse_problem(300, 12, 3, dtype="f4")
    plan = s.plan(strategy)
    s.entries[7, 6] = True  # of level 0
    s.dense.X[7, 6] = bad
    sums = s.sums(plan, module)
    module.value_and_grad(s.rows(), s.dense.parameters(), plan, sums, 2)
    assert not np.isfinite(sums.hot_total()).all() and not np.isfinite(sums.loss).all()


def test_every_backend_says_how_it_sums(backend):
    assert backends.select(backend)[1].FLOAT32_SUMS in (True, False)
