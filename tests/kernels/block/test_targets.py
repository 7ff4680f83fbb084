"""Soft targets, smoothed labels, values of each row and narrow X: every backend, strategy, dtype and order."""

import numpy as np
import pytest
from problems import random_problem
from tolerance import assert_within, check_hess_prod, check_targets, check_value_and_grad

from fastsoftmax.data.bfloat16 import BFLOAT16, as_numbers
from fastsoftmax.kernels.contract import RowOutputs, Rows

SHAPES = [(300, 33, 17), (130, 5, 3), (67, 64, 101), (1, 1, 2), (257, 20, 200), (70, 3, 2)]
KINDS = {
    "labels": (False, 0.0),
    "smoothed labels": (False, 0.1),
    "soft": (True, 0.0),
    "smoothed soft": (True, 0.3),
    "uniform": (False, 1.0),
}


@pytest.fixture(params=["row-parallel", "class-parallel"])
def strategy(request, module):
    if request.param not in module.STRATEGIES:
        pytest.skip("this backend does not have it")
    return request.param


@pytest.fixture(params=list(KINDS))
def targets(request):
    return KINDS[request.param]


def soft_targets(p, seed=3):
    """Not all rows sum to one; some shares are zero."""
    rng = np.random.default_rng(seed)
    t = rng.random((len(p.X), p.k)) * rng.choice([0.0, 1.0, 1.0], size=(len(p.X), p.k))
    return (t * rng.choice([1 / p.k, 1.0], size=(len(p.X), 1))).astype(p.dtype)


def empty_outputs(p):
    m = len(p.X)
    return RowOutputs(np.full(p.X.shape, np.nan, p.dtype), np.full(m, np.nan, p.dtype), np.full(m, -1))


def run(module, p, strategy, soft=None, eps=0.0, *, n_threads=2, grad=True, outputs=True, **cut):
    """(value, gradient or None, outputs) of one pass, the gradient joined with that of the bias."""
    plan = p.plan(strategy=strategy, **cut)
    sums, wanted = p.sums(plan, grad=grad), empty_outputs(p) if outputs else None
    if wanted is not None and not grad:
        wanted = RowOutputs(None, wanted.loss, wanted.label)
    X = p.X if p.X.dtype.char in module.READS else p.X.astype(p.dtype)
    rows = Rows(X, None if soft is not None else p.y, p.w, soft=soft, smoothing=eps)
    module.value_and_grad(rows, p.parameters(), plan, sums, n_threads, wanted)
    value = float(np.add.reduce(sums.loss))
    if not grad:
        return value, None, wanted
    G, bias = sums.total()
    return value, np.vstack([G, bias]) if p.fit_intercept else np.ascontiguousarray(G), wanted


def same_bits(a, b):
    for one, other in ((a.dX, b.dX), (a.loss, b.loss), (a.label, b.label)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("variant", [{}, {"weights": True, "intercept": True}], ids=str)
def test_value_gradient_and_rows(module, strategy, dtype, order, targets, variant):
    soft, eps = targets
    for i, shape in enumerate(SHAPES):
        p = random_problem(*shape, dtype=dtype, layout=order, seed=i, **variant)
        t = soft_targets(p) if soft else None
        check_targets(p, t, eps, *run(module, p, strategy, t, eps))


@pytest.mark.parametrize("layout", ["strided both", "negative both", "F strided rows", "read-only"])
def test_layouts(module, strategy, dtype, layout):
    p = random_problem(211, 37, 9, dtype=dtype, layout=layout, weights=True, intercept=True)
    t = soft_targets(p)
    check_targets(p, t, 0.2, *run(module, p, strategy, t, 0.2))


@pytest.mark.parametrize("cut", [{"tiles": 1}, {"tiles": 3}])
def test_cuts(module, strategy, dtype, cut, targets):
    soft, eps = targets
    p = random_problem(333, 19, 23, dtype=dtype, weights=True)
    t = soft_targets(p) if soft else None
    slabs = {} if strategy == "class-parallel" else {"slabs": 3}
    check_targets(p, t, eps, *run(module, p, strategy, t, eps, **cut, **slabs))


def test_the_loss_alone(module, strategy, dtype, targets):
    soft, eps = targets
    p = random_problem(150, 12, 101, dtype=dtype, weights=True, intercept=True)
    t = soft_targets(p) if soft else None
    value, grad, rows = run(module, p, strategy, t, eps)
    alone, none, alone_rows = run(module, p, strategy, t, eps, grad=False)
    assert none is None and alone == value
    np.testing.assert_array_equal(alone_rows.loss, rows.loss)
    np.testing.assert_array_equal(alone_rows.label, rows.label)
    without = run(module, p, strategy, t, eps, outputs=False)
    assert without[0] == value
    np.testing.assert_array_equal(without[1], grad)


@pytest.mark.parametrize("shape", [(300, 33, 17), (260, 40, 300), (1000, 50, 5)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_number_of_threads_does_not_change_a_bit(module, strategy, dtype, order, shape, targets):
    soft, eps = targets
    p = random_problem(*shape, dtype=dtype, layout=order, weights=True, intercept=True)
    t = soft_targets(p) if soft else None
    value, grad, rows = run(module, p, strategy, t, eps, n_threads=1)
    for n_threads in (2, 3):
        value_again, grad_again, rows_again = run(module, p, strategy, t, eps, n_threads=n_threads)
        assert value_again == value
        np.testing.assert_array_equal(grad_again, grad)
        same_bits(rows, rows_again)


def test_one_hot_targets_are_labels(module, strategy, dtype):
    p = random_problem(300, 21, 130, dtype=dtype, weights=True, intercept=True)
    t = np.zeros((300, p.k), dtype)
    t[np.arange(300), p.y] = 1
    check_value_and_grad(p, *run(module, p, strategy, t)[:2])
    check_targets(p, None, 0.0, *run(module, p, strategy, t))


def test_rows_of_weight_zero_add_nothing(module, strategy, dtype, targets):
    soft, eps = targets
    p = random_problem(300, 9, 6, dtype=dtype, weights=True)
    t = soft_targets(p) if soft else None
    other = p.but(X=p.X.copy())
    other.X[p.w == 0] *= -100
    value, grad, rows = run(module, p, strategy, t, eps)
    value_too, grad_too, rows_too = run(module, other, strategy, t, eps)
    assert value == value_too
    np.testing.assert_array_equal(grad, grad_too)
    np.testing.assert_array_equal(rows.dX, rows_too.dX)
    assert (rows.dX[p.w == 0] == 0).all()
    assert np.isfinite(rows_too.loss).all()


def test_the_label_is_the_first_of_equals(module, strategy, dtype):
    rng = np.random.default_rng(0)
    for k in (2, 9, 100, 250):
        X, theta = rng.integers(-2, 3, (90, 3)).astype(dtype), rng.integers(-1, 2, (3, k)).astype(dtype)
        p = random_problem(90, 3, k, dtype=dtype).but(X=X, theta=theta)
        np.testing.assert_array_equal(run(module, p, strategy)[2].label, np.argmax(X @ theta, axis=1))


@pytest.mark.parametrize("eps", [0.0, 0.25])
@pytest.mark.parametrize("soft", [False, True])
def test_huge_logits(module, backend, strategy, dtype, soft, eps):
    top = np.finfo(dtype).max / 4
    theta = np.zeros((1, 120), dtype)
    theta[0, [3, 110]] = top, -top
    p = random_problem(70, 1, 120, dtype=dtype).but(X=np.ones((70, 1), dtype), theta=theta, y=np.full(70, 3, np.int32))
    t = None
    if soft:
        t = np.zeros((70, 120), dtype)
        t[:, 3] = 1
    value, grad, rows = run(module, p, strategy, t, eps)
    wanted = float(top) * eps  # the other 119 are lower by top, one of them by twice as much, a share of eps / 120 each
    # Equal terms round alike: the roundings of 120 additions add up as they are, not as a random walk does.
    assert_within(value, wanted, wanted, wanted + 1, dtype, terms=120**2)
    assert np.isfinite(grad).all() and np.isfinite(rows.loss).all() and (rows.label == 3).all()


# ------------------------------------------------------------------------------------ narrow X


def all_values(char):
    if char == "V":
        bits = np.arange(1 << 16).astype(np.uint16).view(BFLOAT16)
        return np.ascontiguousarray(bits[np.isfinite(as_numbers(bits))])
    dtype = np.dtype(char)
    bits = np.arange(2 ** (8 * dtype.itemsize)).astype(f"u{dtype.itemsize}").view(dtype)
    return bits if dtype.kind != "f" else np.ascontiguousarray(bits[np.isfinite(bits)])


@pytest.mark.parametrize("n", [1, 7, 16, 33])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("char", ["e", "V", "B", "b", "h"])
def test_every_value_of_a_narrow_type(module, char, order, n):
    if char not in module.READS:
        pytest.skip("this backend does not read it")
    values = all_values(char)
    values = values[: len(values) // n * n]
    X = values.reshape(-1, n, order=order)
    # Column j of the identity takes feature j out as it is; a product with zero adds nothing.
    theta = np.eye(n, max(n, 2), dtype=np.float32)
    p = random_problem(len(X), n, max(n, 2), dtype="f4").but(X=X, theta=theta)
    out = np.empty((len(X), max(n, 2)), np.float32)
    plan = p.plan()
    module.predict(Rows(X), p.parameters(), plan, "logits", out, p.sums(plan, grad=False), 2)
    np.testing.assert_array_equal(out[:, :n], p.numbers.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float16, BFLOAT16], ids=str)
@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E00, 0x7C01, 0x7F80, 0xFF80, 0xFFFF], ids=hex)
def test_infinity_and_nan_of_narrow_floats(module, bits, dtype, order):
    if np.dtype(dtype).char not in module.READS:
        pytest.skip("this backend does not read it")
    bits = np.full((100, 1), bits, np.uint16, order=order)
    bits[1::7] = 0
    X = bits.view(dtype)
    p = random_problem(100, 1, 3, dtype="f4").but(X=X, theta=np.array([[1.0, 2.0, 3.0]], np.float32))
    out = np.empty((100, 3), np.float32)
    plan = p.plan()
    sums = p.sums(plan, grad=False)
    with np.errstate(invalid="ignore"):
        module.predict(Rows(X), p.parameters(), plan, "logits", out, sums, 1)
        np.testing.assert_array_equal(out, p.numbers.astype(np.float32) @ p.theta)
    assert np.isnan(sums.loss).any() or np.isfinite(out).all()


@pytest.mark.parametrize("layout", ["C", "F", "strided both", "strided rows", "negative both", "F strided rows"])
@pytest.mark.parametrize("char", ["e", "V", "B", "b", "h"])
def test_narrow_types(module, strategy, char, layout):
    if char not in module.READS:
        pytest.skip("this backend does not read it")
    for shape in [(211, 37, 5), (70, 64, 130), (33, 7, 18), (3, 1, 2), (129, 100, 20)]:
        p = random_problem(*shape, dtype=char, layout=layout, weights=True, intercept=True)
        t = soft_targets(p)
        check_targets(p, t, 0.1, *run(module, p, strategy, t, 0.1))
        check_targets(p, None, 0.0, *run(module, p, strategy))
        plan = p.plan(strategy=strategy)
        sums = p.sums(plan)
        params = p.parameters()
        module.hess_prod(Rows(p.X, p.y, p.w), params, params, plan, sums, 2)
        G, bias = sums.total()
        check_hess_prod(p, p.theta, np.vstack([G, bias]))


@pytest.mark.parametrize("char", ["e", "V", "B", "b", "h"])
def test_a_narrow_type_gives_what_float32_gives(module, strategy, char):
    if char not in module.READS:
        pytest.skip("this backend does not read it")
    p = random_problem(300, 40, 23, dtype=char)
    full = p.but(X=p.numbers.astype(np.float32))
    value, grad, rows = run(module, p, strategy)
    full_value, full_grad, full_rows = run(module, full, strategy)
    assert value == full_value
    np.testing.assert_array_equal(grad, full_grad)
    same_bits(rows, full_rows)


def test_hessian_products_have_no_smoothing(module, strategy, dtype):
    """The Hessian is that of labels; what `Rows` says of smoothing belongs to the loss."""
    p = random_problem(200, 15, 140, dtype=dtype, intercept=True)
    plan = p.plan(tiles=1, slabs=1 if strategy == "class-parallel" else 3, strategy=strategy)
    along = p.parameters(p.theta[::-1].copy())
    both = []
    for eps in (0.0, 0.2):
        sums = p.sums(plan)
        module.hess_prod(Rows(p.X, p.y, p.w, smoothing=eps), p.parameters(), along, plan, sums, 1)
        both.append(sums.grad)
    np.testing.assert_array_equal(*both)
