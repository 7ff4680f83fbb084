"""Properties that need no reference, and results that must not depend on how the work is cut."""

import functools
import threading

import numpy as np
import pytest
from problems import random_problem
from tolerance import (
    assert_within,
    check_gram,
    check_hess_prod,
    check_value_and_grad,
    plain_value_and_grad,
    terms,
    true_value_and_grad,
    value_and_grad_scales,
)

from fastsoftmax.objective import passes


def assert_same_bits(a, b):
    """Equal results of value_and_grad (or of whatever gives floats and arrays), to the last bit."""
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


def every_pass(obj, theta):
    return (*obj.value_and_grad(theta), obj.value(theta), obj.hess_prod(theta, theta[::-1]), obj.gram())


# ---------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("layout", ["C", "F"])
def test_weights_are_repeated_rows(backend, dtype, layout):
    p = random_problem(300, 11, 5, dtype=dtype, intercept=True)
    times = np.random.default_rng(1).integers(0, 4, size=300)
    repeated = p.but(X=np.array(np.repeat(p.X, times, axis=0), order=layout), y=np.repeat(p.y, times))
    weighted = p.but(X=np.array(p.X, order=layout), w=times.astype(float))
    # Each answer is right for the other problem.
    check_value_and_grad(repeated, *weighted.objective(backend).value_and_grad(p.theta))
    check_value_and_grad(weighted, *repeated.objective(backend).value_and_grad(p.theta))
    check_gram(repeated, weighted.objective(backend).gram())


@pytest.mark.parametrize("factor", [2.0**-1000, 0.25, 2.0**900])
def test_a_common_factor_of_the_weights_changes_nothing(backend, dtype, factor):
    p = random_problem(200, 7, 4, dtype=dtype, weights=True)
    scaled = p.but(w=p.w * factor)
    assert_same_bits(*(every_pass(q.objective(backend), p.theta) for q in (p, scaled)))


def test_rows_of_weight_zero_are_ignored(backend, dtype):
    p = random_problem(300, 9, 4, dtype=dtype, weights=True)
    other = p.X.copy()
    other[p.w == 0] = 1000 * np.random.default_rng(5).standard_normal((np.sum(p.w == 0), 9))
    labels = np.where(p.w == 0, 0, p.y)
    assert 50 < np.sum(p.w == 0) < 250
    assert_same_bits(*(every_pass(q.objective(backend), p.theta) for q in (p, p.but(X=other, y=labels))))


def test_one_row_with_weight_gives_its_loss_alone(backend, dtype):
    p = random_problem(300, 9, 4, dtype=dtype)
    for row in (0, 127, 299):
        w = np.zeros(300)
        w[row] = 7.0
        value, grad = p.but(w=w).objective(backend).value_and_grad(p.theta)
        check_value_and_grad(p.but(X=p.X[[row]], y=p.y[[row]]), value, grad)


def test_a_vector_added_to_every_class_changes_nothing(backend, dtype):
    p = random_problem(257, 13, 6, dtype=dtype, weights=True, intercept=True)
    p = p.but(theta=np.round(p.theta * 64) / 64)  # so that the sum below is exact
    shifted = p.but(theta=p.theta + np.round(np.random.default_rng(2).standard_normal((14, 1)) * 64).astype(dtype) / 64)
    value, grad = shifted.objective(backend).value_and_grad(shifted.theta)
    # Judged by the scales of the shifted problem, whose logits are larger, and by the truth of the first.
    truth, plain = true_value_and_grad(p), plain_value_and_grad(shifted)
    scales = value_and_grad_scales(shifted)
    assert_within(value, truth[0], plain[0], scales[0], dtype, terms=terms(p))
    assert_within(grad, truth[1], plain[1], scales[1], dtype, terms=terms(p))


@pytest.mark.parametrize("k", [2, 7, 16, 33])
def test_gradient_sums_to_zero_over_the_classes(backend, dtype, k):
    p = random_problem(300, 21, k, dtype=dtype, weights=True, intercept=True)
    obj = p.objective(backend)
    zeros = np.zeros(22)
    scale = value_and_grad_scales(p)[1].sum(axis=1)
    plain = plain_value_and_grad(p)[1].sum(axis=1)
    assert_within(obj.value_and_grad(p.theta)[1].sum(axis=1), zeros, plain, scale, dtype, terms=terms(p))


def test_permuting_the_classes_permutes_the_gradient(backend, dtype):
    p = random_problem(150, 8, 11, dtype=dtype)
    order = np.random.default_rng(3).permutation(11)
    permuted = p.but(theta=p.theta[:, order], y=np.argsort(order)[p.y].astype(np.int32))
    value, grad = permuted.objective(backend).value_and_grad(permuted.theta)
    check_value_and_grad(p, value, grad[:, np.argsort(order)])


# -------------------------------------------------------------------- threads, slabs and blocks

CASES = [(5000, 7, 3, "C"), (5000, 50, 17, "F"), (700, 129, 33, "strided both"), (3, 5, 2, "C")]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_number_of_threads_does_not_change_a_bit(backend, dtype, case):
    m, n, k, layout = case
    p = random_problem(m, n, k, dtype=dtype, layout=layout, weights=True, intercept=True)
    first = every_pass(p.objective(backend, n_threads=1), p.theta)
    for n_threads in (2, 3, 8, None):
        obj = p.objective(backend, n_threads=n_threads)
        assert_same_bits(first, every_pass(obj, p.theta))
        assert_same_bits(first, every_pass(obj, p.theta))


def test_the_number_of_threads_does_not_change_a_bit_of_many_columns(backend, dtype):
    """Blocks are larger there than a plan's, and slabs begin where they do."""
    p = random_problem(2500, 505, 7, dtype=dtype, layout="F", weights=True, intercept=True)
    results = []
    for n_threads in (1, 2, 3):
        obj = p.objective(backend, n_threads=n_threads)
        obj.plan = p.plan(slabs=4)
        results.append(every_pass(obj, p.theta))
        assert_same_bits(results[0], results[-1])


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("cut", [(1, 1, 1), (1, 3, 64), (2, 5, 100), (2, 1, 10**6), (3, 64, 333), (4, 2, 128)])
def test_blocks_slabs_and_chunks_change_the_answer_by_rounding_alone(backend, dtype, cut, layout):
    tiles, slabs, chunk = cut
    p = random_problem(1003, 19, 6, dtype=dtype, layout=layout, weights=True)
    obj = p.objective(backend)
    obj.plan = p.plan(tiles=tiles, slabs=slabs, chunk=chunk)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    check_gram(p, obj.gram())


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("shape", [(300, 33, 17), (1000, 5, 3), (130, 64, 1000), (77, 513, 513)], ids=str)
def test_one_shared_gradient_is_right_and_does_not_depend_on_the_threads(backend, dtype, shape, layout):
    p = random_problem(*shape, dtype=dtype, layout=layout, weights=True, intercept=True)
    results = []
    for n_threads in (1, 2, 3, 8):
        obj = p.objective(backend, n_threads=n_threads)
        obj.plan = p.plan(strategy="class-parallel")
        results.append((*obj.value_and_grad(p.theta), obj.hess_prod(p.theta, p.theta)))
        assert_same_bits(results[0], results[-1])
    check_value_and_grad(p, *results[0][:2])
    check_hess_prod(p, p.theta, results[0][2])


@pytest.mark.parametrize("strategy", ["row-parallel", "class-parallel"])
def test_smoothing_leaves_the_hessian_alone(backend, dtype, strategy):
    p = random_problem(300, 20, 40, dtype=dtype, intercept=True)
    obj = p.objective(backend, label_smoothing=0.1)
    obj.plan = p.plan(strategy=strategy)
    check_hess_prod(p, p.theta, obj.hess_prod(p.theta, p.theta))


@pytest.mark.parametrize("layout", ["F", "strided both", "negative both", "unaligned"])
def test_layout_changes_the_answer_by_rounding_alone(backend, dtype, layout):
    p = random_problem(600, 33, 9, dtype=dtype, layout=layout)
    check_value_and_grad(p.but(X=np.ascontiguousarray(p.X)), *p.objective(backend).value_and_grad(p.theta))


@pytest.mark.parametrize("shape", [(4000, 30, 7), (1100, 200, 180)], ids=["small", "kept sums"])
def test_two_python_threads_share_an_objective(backend, dtype, shape, monkeypatch):
    """With a small gradient, and with one so large that its sums wait for the next pass."""
    monkeypatch.setattr(passes, "KEPT_BYTES", 32 << 10)
    p = random_problem(*shape, dtype=dtype, weights=True)
    thetas = [p.theta, p.theta[::-1].copy()]
    obj = p.objective(backend, n_threads=2)
    wanted = [every_pass(p.objective(backend, n_threads=2), theta) for theta in thetas]
    found, start = [[], []], threading.Barrier(2)

    def work(i):
        start.wait()
        for _ in range(10):
            found[i].append(every_pass(obj, thetas[i]))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for i in range(2):
        assert len(found[i]) == 10
        for result in found[i]:
            assert_same_bits(wanted[i], result)


@functools.cache
def many_rows(layout, positive):
    p = random_problem(400_000, 20, 5, dtype="f4", seed=6, layout=layout, positive=positive, intercept=True)
    return p, true_value_and_grad(p)


@pytest.mark.parametrize("slabs", [None, 1])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_the_error_of_float32_does_not_grow_with_the_rows(backend, layout, positive, slabs):
    p, (truth_value, truth) = many_rows(layout, positive)
    obj = p.objective(backend)
    obj.plan = p.plan(slabs=slabs)
    value, grad = obj.value_and_grad(p.theta.astype(np.float64))
    assert np.linalg.norm(grad - truth) < 3e-7 * np.linalg.norm(truth)
    assert abs(value - truth_value) < 3e-7 * truth_value
