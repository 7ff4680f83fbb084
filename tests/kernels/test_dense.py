"""Every backend computes what the reference defines, within the errors `tolerance` derives.

Each test here runs for each row of the table of backends; registering one makes it tested.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from passes import check_every_pass, check_slab
from problems import LAYOUTS, random_problem
from tolerance import (
    assert_within,
    check_gram,
    check_hess_prod,
    check_prediction,
    check_value_and_grad,
    exact_value_and_grad,
    value_and_grad_scales,
)

from fastsoftmax.kernels.contract import PREDICTIONS, Rows, Sums

SHAPES = st.tuples(
    st.integers(1, 300),
    st.one_of(st.integers(1, 20), st.sampled_from([31, 32, 33, 63, 64, 65, 80])),
    st.one_of(st.integers(2, 12), st.sampled_from([15, 16, 17, 31, 32, 33, 40])),
)
PROBLEMS = st.builds(
    lambda shape, **options: random_problem(*shape, **options),
    shape=SHAPES,
    dtype=st.sampled_from(["f4", "f8", "f4", "f8", "f2", "i1", "u1", "i2"]),
    seed=st.integers(0, 2**32 - 1),
    weights=st.booleans(),
    intercept=st.booleans(),
    l2=st.sampled_from([0.0, 0.1]),
    layout=st.sampled_from(list(LAYOUTS)),
    positive=st.booleans(),
)


@given(p=PROBLEMS)
def test_random_problems(backend, p):
    check_every_pass(p, backend)


@given(p=PROBLEMS, tiles=st.integers(1, 4), slabs=st.integers(1, 9), chunk=st.integers(1, 300))
def test_random_cuts(backend, p, tiles, slabs, chunk):
    check_every_pass(p, backend, tiles=tiles, slabs=slabs, chunk=chunk)


def test_layouts(backend, dtype, as_layout):
    p = random_problem(211, 37, 5, dtype=dtype, weights=True, intercept=True)
    p = p.but(X=as_layout(p.X))
    before = p.X.copy()
    check_every_pass(p, backend)
    np.testing.assert_array_equal(p.X, before)


@pytest.mark.parametrize("layout", ["C", "F", "strided both", "negative both", "read-only", "unaligned"])
@pytest.mark.parametrize("narrow", ["?", "u1", "i1", "u2", "i2", "f2"])
def test_narrow_dtypes(backend, narrow, layout):
    for shape in [(211, 37, 5), (70, 64, 3), (33, 7, 18), (3, 1, 2)]:
        check_every_pass(random_problem(*shape, dtype=narrow, layout=layout, weights=True, intercept=True), backend)


@pytest.mark.parametrize("axes", [(1, 23), (150, 1), (1, 1)])
def test_repeated_rows_of_stride_zero(backend, dtype, axes):
    p = random_problem(150, 23, 3, dtype=dtype, weights=True)  # equal rows of equal weight would all round alike
    check_every_pass(p.but(X=np.broadcast_to(p.X[: axes[0], : axes[1]], p.X.shape)), backend)


# Many features for the number of classes: rows, or columns in F order, are taken as they lie. 1,801 go in two parts.
LONG = [(1, 261, 2), (5, 300, 3), (101, 259, 7), (131, 1801, 5), (260, 512, 16)]


@pytest.mark.parametrize("layout", ["C", "F", "strided both", "negative both", "unaligned"])
@pytest.mark.parametrize("shape", LONG, ids=str)
def test_long_rows(backend, dtype, shape, layout):
    p = random_problem(*shape, dtype=dtype, layout=layout, weights=True, intercept=True)
    obj = p.objective(backend)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    v = np.random.default_rng(9).standard_normal(p.theta.shape).astype(p.dtype)
    check_hess_prod(p, v, obj.hess_prod(p.theta, v))


@pytest.mark.parametrize("shape", [(1024, 1101, 1), (1100, 1101, 1), (1700, 400, 3)], ids=str)
def test_columns_too_many_for_the_cache(backend, dtype, shape, monkeypatch):
    """They are then walked a part of the features after the other, where slabs have rows enough."""
    rows, features, slabs = shape
    p = random_problem(rows, features, 7, dtype=dtype, layout="F", weights=True, intercept=True)
    v = np.random.default_rng(9).standard_normal(p.theta.shape).astype(p.dtype)
    obj = p.objective(backend)
    obj.plan = p.plan(tiles=1, slabs=slabs)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    check_value_and_grad(p, obj.value(p.theta))
    check_hess_prod(p, v, obj.hess_prod(p.theta, v))


@pytest.mark.parametrize("narrow", ["u1", "f2"])
@pytest.mark.parametrize("shape", LONG, ids=str)
def test_long_narrow_rows(backend, shape, narrow):
    p = random_problem(*shape, dtype=narrow, weights=True, intercept=True)
    check_value_and_grad(p, *p.objective(backend).value_and_grad(p.theta))


@pytest.mark.parametrize("n", [20, 300])
def test_what_memory_held_before_does_not_matter(backend, dtype, n):
    """Lanes past the last row are computed with: scratch memory that still holds NaN must not reach a sum."""
    for m in (1, 5, 97, 101):
        p = random_problem(m, n, 3, dtype=dtype, intercept=True)
        obj = p.objective(backend)
        for _ in range(3):
            held = [np.full(size, np.nan) for size in (1 << 10, 1 << 13, 1 << 15, 1 << 17)]
            del held
            check_value_and_grad(p, *obj.value_and_grad(p.theta))


TAILS = [(1000, 257, 101), (513, 1030, 37), (130, 3, 1000), (300, 1, 2), (77, 513, 513), (1, 1, 2), (5, 1030, 2)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", TAILS, ids=str)
def test_large_shapes_with_tails(backend, dtype, shape, order):
    p = random_problem(*shape, dtype=dtype, layout=order, weights=True, intercept=True)
    obj = p.objective(backend)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))


@pytest.mark.parametrize("shape", [(513, 257, 37), *TAILS[2:4]], ids=str)
def test_large_shapes_with_tails_hessian_and_gram(backend, dtype, shape):
    p = random_problem(*shape, dtype=dtype)
    obj = p.objective(backend)
    check_hess_prod(p, p.theta, obj.hess_prod(p.theta, p.theta))
    check_gram(p, obj.gram())


@pytest.mark.parametrize("order", ["C", "F"])
def test_very_many_features(backend, dtype, order):
    """Blocks of one vector of rows; logits are summed a part of the features at a time."""
    p = random_problem(37, 70_003, 3, dtype=dtype, weights=True, intercept=True, layout=order)
    obj = p.objective(backend)
    check_value_and_grad(p, *obj.value_and_grad(p.theta))
    v = np.random.default_rng(9).standard_normal(p.theta.shape).astype(dtype)
    check_hess_prod(p, v, obj.hess_prod(p.theta, v))


@pytest.mark.parametrize("k", range(2, 41))
def test_every_number_of_classes(backend, dtype, k):
    p = random_problem(67, 5, k, dtype=dtype, intercept=True)
    check_value_and_grad(p, *p.objective(backend).value_and_grad(p.theta))


@pytest.mark.parametrize("n", range(1, 41))
def test_every_number_of_features(backend, dtype, n):
    p = random_problem(67, n, 3, dtype=dtype, intercept=True)
    check_value_and_grad(p, *p.objective(backend).value_and_grad(p.theta))


@pytest.mark.parametrize("variant", [{}, {"weights": True, "intercept": True, "l2": 0.3}], ids=str)
def test_small_problems_by_mpmath(backend, dtype, variant):
    p = random_problem(9, 4, 5, dtype=dtype, **variant)
    value, grad = p.objective(backend).value_and_grad(p.theta)
    exact_value, exact_grad = exact_value_and_grad(p)
    value_scale, grad_scale = value_and_grad_scales(p)
    assert_within(value, exact_value, exact_value, value_scale, dtype)
    assert_within(grad, exact_grad, exact_grad, grad_scale, dtype)


# ------------------------------------------------------------------------------------ contract


@pytest.mark.parametrize("grad", [True, False])
def test_each_slab_adds_its_own_rows_to_what_is_there(module, dtype, grad):
    p = random_problem(200, 11, 6, dtype=dtype, weights=True, intercept=True)
    plan = p.plan(tiles=1, slabs=5)
    sums = p.sums(plan, grad=grad)
    sums.loss[:] = 1.0
    if grad:
        sums.grad[:], sums.bias[:] = 2.0, 3.0
    module.value_and_grad(p.rows(module), p.parameters(), plan, sums, 2)
    for slab, a, b in plan.slab_ranges(200):
        part = p.but(X=p.X[a:b], y=p.y[a:b], w=p.w[a:b])
        total = p.w[a:b].sum()
        joined = np.vstack([sums.grad[slab].T - 2, sums.bias[slab] - 3]) / total if grad else None
        check_slab(part, (sums.loss[slab] - 1) / (sums.scale * total), joined)
    used = len(plan.slab_ranges(200))
    assert (sums.loss[used:] == 1).all()


def test_labels_and_weights_are_not_needed_by_gram_or_predictions(module, dtype):
    p = random_problem(100, 5, 3, dtype=dtype)
    plan = p.plan()
    rows = Rows(p.X)
    sums = p.sums(plan, k=5)
    module.gram(rows, plan, sums, 2)
    check_gram(p, np.ascontiguousarray(sums.total()[0]))
    assert (sums.loss == 0).all()
    out = np.empty((100, 3), dtype)
    module.predict(rows, p.parameters(), plan, "proba", out, p.sums(plan), 2)
    check_prediction(p, "proba", out)


@given(p=PROBLEMS, kind=st.sampled_from(PREDICTIONS))
def test_predictions(module, p, kind):
    m = len(p.X)
    out = np.empty(m, np.int64) if kind == "label" else np.empty((m, p.k), p.dtype)
    plan = p.plan(tiles=2, slabs=3)
    sums = Sums.zeros(plan.slabs, p.k, p.X.shape[1], 1.0, grad=False)
    module.predict(p.rows(module), p.parameters(), plan, kind, out, sums, 2)
    check_prediction(p, kind, out)
    assert np.isfinite(sums.loss).all()


def predict(module, p, kind, out):
    plan = p.plan()
    sums = Sums.zeros(plan.slabs, p.k, p.X.shape[1], 1.0, grad=False)
    with np.errstate(invalid="ignore", over="ignore"):
        module.predict(p.rows(module), p.parameters(), plan, kind, out, sums, 2)
    return out, sums.loss


@pytest.mark.parametrize("k", [2, 5, 8, 9, 16, 37])
def test_label_is_the_first_of_equal_logits(module, dtype, k):
    p = random_problem(300, 3, k, dtype=dtype)
    rng = np.random.default_rng(k)
    X, theta = rng.integers(-2, 3, (300, 3)).astype(dtype), rng.integers(-1, 2, (3, k)).astype(dtype)
    labels, _ = predict(module, p.but(X=X, theta=theta), "label", np.empty(300, np.int64))
    np.testing.assert_array_equal(labels, np.argmax(X @ theta, axis=1))


@pytest.mark.parametrize("kind", PREDICTIONS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 99])
def test_predictions_mark_the_slab_of_a_logit_that_is_not_finite(module, dtype, kind, bad, row):
    p = random_problem(100, 5, 3, dtype=dtype)
    p.X[row, 4] = bad
    out = np.zeros(100, np.int64) if kind == "label" else np.zeros((100, 3), dtype)
    _, loss = predict(module, p, kind, out)
    assert np.isnan(loss).any()


@pytest.mark.parametrize("kind", ["proba", "log_proba"])
def test_probabilities_of_huge_logits(module, dtype, kind):
    top = np.finfo(dtype).max / 2
    theta = np.array([[top, -top, top, 0.0]], dtype)
    p = random_problem(70, 1, 4, dtype=dtype).but(X=np.ones((70, 1), dtype), theta=theta)
    out, loss = predict(module, p, kind, np.empty((70, 4), dtype))
    proba = np.array([0.5, 0, 0.5, 0], dtype)
    with np.errstate(divide="ignore"):
        wanted = proba if kind == "proba" else np.array([np.log(proba[0]), -2 * top, np.log(proba[2]), -top], dtype)
    np.testing.assert_array_equal(out, np.tile(wanted, (70, 1)))
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("slabs", [1, 5])
@pytest.mark.parametrize("bias", [False, True])
def test_a_small_gradient_is_finished_by_the_formula(module, slabs, bias):
    rng = np.random.default_rng(slabs)
    grad, bias_grad, theta = (rng.standard_normal(shape) for shape in ((slabs, 3, 7), (slabs, 3), (7 + bias, 3)))
    wanted = np.vstack([grad.sum(axis=0).T, bias_grad.sum(axis=0)])[: 7 + bias] * 0.3
    penalty = np.vstack([0.7 * theta[:7], np.zeros((1, 3))])[: 7 + bias]
    size = np.vstack([abs(grad).sum(axis=0).T, abs(bias_grad).sum(axis=0)])[: 7 + bias] * 0.3 + abs(penalty)
    for l2 in (0.7, 0.0):
        out = np.empty(theta.shape)
        sums = Sums(np.zeros(slabs), grad.copy(), bias_grad.copy(), 0.3)
        assert module.gradient(sums, theta if l2 else None, l2, out, 2) == (True, True)
        added = penalty if l2 else 0.0
        assert (abs(out - wanted - added) <= (slabs + 3) * np.finfo(float).eps * size).all()


@pytest.mark.parametrize("at", [(1, 2, 6), (0, 0, 0)])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_small_gradient_tells_what_is_not_finite(module, at, bad):
    for spoilt in (0, 1):
        grad, bias_grad = np.ones((2, 3, 7)), np.ones((2, 3))
        (grad, bias_grad)[spoilt][at[: 3 - spoilt]] = bad
        sums = Sums(np.zeros(2), grad, bias_grad, 1.0)
        assert module.gradient(sums, None, 0.0, np.empty((8, 3)), 2) == (False, False)


def test_a_small_gradient_tells_that_its_penalty_overflows(module):
    sums, theta = Sums(np.zeros(2), np.ones((2, 3, 7)), np.ones((2, 3)), 1.0), np.full((8, 3), 1e300)
    with np.errstate(over="ignore"):
        assert module.gradient(sums, theta, 1e300, np.empty((8, 3)), 2) == (True, False)
