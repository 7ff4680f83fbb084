"""Matrix units: the twin rounds as AMX does, packing leaves nothing out, and passes are right by whichever units."""

from dataclasses import replace

import numpy as np
import pytest
from passes import check_every_pass
from problems import random_problem
from tolerance import assert_within, check_hess_prod, check_value_and_grad

from fastsoftmax import Objective, SoftmaxRegression, minimize
from fastsoftmax.kernels import units

# Each build with the twin, and the units of the machine that runs this.
KINDS = ["v4-twin", "v3-twin", "v2-twin", "generic-twin", "amx"]


@pytest.fixture(params=KINDS)
def module(request, loaded):
    """The Cython backend with matrix units that pay whatever the shape."""
    try:
        with loaded(request.param) as module, pytest.MonkeyPatch.context() as patch:
            patch.setitem(units.UNITS, module.UNITS, units.UNITS["twin"])
            yield module
    except ImportError as error:
        pytest.skip(str(error))


def with_precision(objective, precision):
    objective.plan = replace(objective.plan, precision=precision)
    return objective


# ------------------------------------------------------------------------------------------ the tile instruction


def parts_of(x, count):
    """Parts of float32 numbers, each rounded to bfloat16, to nearest even."""
    parts, x = [], x.astype(np.float32)
    for _ in range(count):
        bits = x.view(np.uint32)
        part = ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
        parts.append(part)
        x = x - part
    return parts


def flushed(x):
    return np.where(abs(x) < np.finfo(np.float32).tiny, np.float32(0), x).astype(np.float32)


def tile_product(C, A, B):
    """C + A B of 32 numbers a line, in the order that Intel documents for TDPBF16PS."""
    A, B, sums = flushed(A), flushed(B), [np.zeros_like(C), np.zeros_like(C)]
    for pair in range(16):
        for place in (0, 1):
            t = 2 * pair + place
            fused = sums[place].astype("f8") + A[:, t, None].astype("f8") * B[t].astype("f8")
            sums[place] = flushed(fused.astype(np.float32))
    return flushed(flushed(C) + flushed(sums[0] + sums[1]))


def logits_by_tiles(X, theta, parts):
    """X theta as the micro-kernel sums it: steps of 32 features, and in each the products of parts."""
    H = np.zeros((theta.shape[1], len(X)), np.float32)
    A, B = parts_of(theta.T, parts), parts_of(X.T, parts)
    for t in range(0, len(theta), 32):
        for i in range(parts):
            for j in range(parts - i):
                H = tile_product(H, A[i][:, t : t + 32], B[j][t : t + 32])
    return H.T


@pytest.mark.parametrize("precision", ["exact", "bfloat16", "bfloat16x3"])
@pytest.mark.parametrize("scale", [1.0, 1e-19])
def test_logits_are_those_of_the_documented_order_to_the_last_bit(module, precision, scale):
    """Products of numbers of 1e-19 are about the smallest normal ones: those below are flushed."""
    if scale < 1 and module.ISA in ("v2", "generic"):
        pytest.skip("without fused multiply-adds, subnormal products are rounded before they are flushed")
    p = random_problem(45, 96, 21, dtype="f4")
    X, theta = (scale * p.X).astype("f4"), (scale * p.theta).astype("f4")
    plan = replace(p.plan(gradient=False), precision=precision)
    out = np.empty((45, 21), np.float32)
    q = p.but(X=X, theta=theta)
    module.predict(q.rows(module), q.parameters(), plan, "logits", out, q.sums(plan, grad=False), 2)
    np.testing.assert_array_equal(out, logits_by_tiles(X, theta, units.PARTS[precision][0]))


# ------------------------------------------------------------------------------------------------- whole passes

# Tails in all directions: of tiles of 16, of pairs of them, of steps of 32, of groups of rows and chunks of classes.
SHAPES = [(300, 37, 7), (70, 70, 55), (33, 7, 18), (1, 1, 2), (580, 33, 3), (45, 31, 290)]


@pytest.mark.parametrize("layout", ["C", "F", "strided both"])
@pytest.mark.parametrize("narrow", ["f4", "u1", "i2", "V"])
def test_every_pass_is_as_right_as_float32(module, layout, narrow):
    for shape in SHAPES:
        p = random_problem(*shape, dtype=narrow, layout=layout, weights=True, intercept=True)
        check_every_pass(p, "cython")
    chosen = module.products(p.X.shape, p.X.strides, np.dtype("f4"), p.plan(), p.k)
    assert chosen.forward == chosen.backward == "amx_tile" and "3 and 3 parts" in str(chosen)


def test_float64_has_no_parts(module):
    p = random_problem(50, 9, 5, dtype="f8")
    assert module.products(p.X.shape, p.X.strides, p.X.dtype, p.plan(), p.k).forward != "amx_tile"
    check_every_pass(p, "cython")


@pytest.mark.parametrize("dtype", ["f4", "u1"])
def test_bits_do_not_depend_on_the_number_of_threads(module, dtype):
    p = random_problem(3000, 40, 17, dtype=dtype, weights=True, intercept=True)
    for precision in units.PRECISIONS:
        results = []
        for threads in (1, 2, 5):
            obj = with_precision(p.objective("cython", n_threads=threads), precision)
            obj.plan = replace(obj.plan, threads=5)
            value, grad = obj.value_and_grad(p.theta)
            results.append((value, grad.tobytes()))
        assert len(set(results)) == 1


@pytest.mark.parametrize("factors", [(1e30, 1e-30), (1e-35, 1), (1, 1e-30)], ids=str)
def test_numbers_that_parts_cannot_hold_go_by_the_exact_kernels(module, factors):
    """A feature of other units: its gradient is as right as the others'."""
    p = random_problem(700, 20, 3, dtype="f4", intercept=True)
    X, theta = p.X.copy(), p.theta.copy()
    X[:, 3] *= np.float32(factors[0])
    theta[3] *= np.float32(factors[1])
    q = p.but(X=X, theta=theta)
    check_value_and_grad(q, *q.objective("cython").value_and_grad(theta))


def test_a_number_that_rounds_to_infinity_goes_by_the_exact_kernels(module):
    p = random_problem(700, 20, 3, dtype="f4", intercept=True)
    X, theta = p.X.copy(), p.theta.copy()
    X[650, 3], theta[3] = 3.4e38, 0
    q = p.but(X=X, theta=theta)
    check_value_and_grad(q, *q.objective("cython").value_and_grad(theta))
    check_hess_prod(q, theta, q.objective("cython").hess_prod(theta, theta))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.uint32(0x7FFFFFFF).view("f4")])
def test_what_is_not_finite_is_found(module, bad):
    p = random_problem(700, 20, 3, dtype="f4")
    p.X[650, 3] = bad
    with pytest.raises(ValueError, match="row 650, column 3 holds"):
        p.objective("cython").value_and_grad(p.theta)


def test_soft_targets_and_values_of_rows(module):
    p = random_problem(200, 20, 9, dtype="f4", weights=True)
    soft = np.random.default_rng(1).dirichlet(np.ones(9), 200)
    options = {"sample_weight": p.w, "label_smoothing": 0.1}
    ours = Objective(p.X, soft, backend="cython", **options).evaluate(p.theta, dX=True, row_loss=True, label=True)
    truth = Objective(p.X.astype("f8"), soft, backend="numpy", **options)
    truth = truth.evaluate(p.theta.astype("f8"), dX=True, row_loss=True, label=True)
    for name in ("value", "grad", "dX", "row_loss"):
        got, wanted = getattr(ours, name), getattr(truth, name)
        assert_within(got, wanted, wanted, np.max(np.abs(wanted)), "f4", terms=200)
    np.testing.assert_array_equal(ours.label, truth.label)


# ------------------------------------------------------------------------------------------------- precision


def errors(p, precision):
    """Relative errors of value and gradient."""
    value, grad = with_precision(p.objective("cython"), precision).value_and_grad(p.theta)
    truth, true_grad = Objective(p.X.astype("f8"), p.y, p.k).value_and_grad(p.theta.astype("f8"))
    return abs(value / truth - 1), np.linalg.norm(grad - true_grad) / np.linalg.norm(true_grad)


def test_errors_go_down_with_the_parts(module):
    """By some eight bits each, until they are float32's own."""
    p = random_problem(3000, 64, 16, dtype="f4")
    one, two, three = (errors(p, precision)[1] for precision in ("bfloat16", "bfloat16x3", "exact"))
    assert 1e-4 < one < 2e-2
    assert 1e-7 < two < 2e-4 and two < one / 30
    assert three < 1e-6 and three < two / 3


def test_vectors_of_bfloat16_are_the_twin_but_for_rounding(loaded):
    p = random_problem(700, 130, 70, dtype="f4", weights=True, intercept=True)
    results = []
    for isa in ("avx512_bf16", "v4-twin"):
        try:
            with loaded(isa) as module:
                obj = with_precision(p.objective("cython"), "bfloat16")
                chosen = module.products(p.X.shape, p.X.strides, p.X.dtype, obj.plan, p.k)
                assert chosen.units == isa.removeprefix("v4-")
                results.append(obj.value_and_grad(p.theta))
        except ImportError as error:
            pytest.skip(str(error))
    (value, grad), (other, twin) = results
    assert abs(value / other - 1) < 1e-5
    # A residual that is rounded to another bfloat16 differs in its ninth bit.
    assert np.linalg.norm(grad - twin) < 1e-3 * np.linalg.norm(twin)


def test_bfloat16_is_asked_for_by_its_name(module):
    p = random_problem(300, 40, 20, dtype="f4")
    rough = p.objective("cython", precision="bfloat16").value_and_grad(p.theta)
    cheap = p.objective("cython").cheap_value_and_grad(p.theta)
    exact = p.objective("cython").value_and_grad(p.theta)
    assert rough[0] == cheap[0] != exact[0]
    np.testing.assert_array_equal(rough[1], cheap[1])
    assert p.objective("cython").has_cheap_passes and not p.objective("numpy").has_cheap_passes


def test_a_fit_is_exact_whatever_its_first_steps(module):
    p = random_problem(400, 10, 5, dtype="f4", l2=1e-3)
    result = minimize(p.objective("cython"), solver="lbfgs", tol=1e-5)
    truth = minimize(Objective(p.X.astype("f8"), p.y, p.k, l2=1e-3, backend="numpy"), tol=1e-9)
    assert result.converged and result.value == p.objective("cython").value(result.theta)
    assert abs(result.value / truth.value - 1) < 1e-5


def test_a_fit_in_bfloat16_ends_near_the_minimum_without_a_warning(module):
    p = random_problem(900, 10, 5, dtype="f4")
    options = {"solver": "lbfgs", "l2": 1e-3, "backend": "cython"}
    rough, exact = (SoftmaxRegression(precision=name, **options).fit(p.X, p.y) for name in units.PRECISIONS[::-1])
    assert exact.result_.converged and not rough.result_.converged
    assert rough.result_.value == p.but(l2=1e-3, fit_intercept=True).objective("cython").value(rough.result_.theta)
    assert abs(rough.result_.value / exact.result_.value - 1) < 1e-3


# ------------------------------------------------------------------------------------------------- where they pay


@pytest.mark.parametrize(
    ("kind", "precision", "exact_parts", "n", "k", "parts"),
    [
        ("amx", "exact", 3, 512, 63, None),
        ("amx", "exact", 3, 512, 64, (3, 3)),
        ("amx", "exact", 3, 32, 255, None),
        ("amx", "exact", 3, 32, 256, (3, 3)),
        ("amx", "exact", 1, 512, 32, (3, 3)),
        ("amx", "bfloat16", 3, 512, 15, None),
        ("amx", "bfloat16", 3, 512, 16, (1, 1)),
        ("avx512_bf16", "exact", 1, 512, 1000, None),
        ("avx512_bf16", "bfloat16", 3, 512, 1000, (1, 1)),
        ("avx512_bf16", "bfloat16", 3, 127, 1000, None),
        ("", "bfloat16", 3, 512, 1000, None),
    ],
)
def test_parts_that_pay(kind, precision, exact_parts, n, k, parts):
    assert units.parts_that_pay(kind, precision, exact_parts, n, k) == parts


def test_a_number_of_products_of_parts():
    assert [units.products_of(3, x) for x in (1, 2, 3)] == [3, 5, 6]
    assert [units.products_of(x, x) for x in (1, 2)] == [1, 3]
