"""`fastsoftmax.numba.loss_and_grad` from Python, from compiled code, from threads and loops of it, and from a cache."""

import child
import numpy as np
import pytest
from checkout import fail_or_skip

import fastsoftmax

numba = pytest.importorskip("numba")
MISSING = None
try:
    from fastsoftmax.numba import loss_and_grad
except ImportError as error:  # a checkout without its compiled modules
    loss_and_grad, MISSING = None, error


@pytest.fixture(autouse=True)
def built():
    if MISSING:
        fail_or_skip(MISSING)


@numba.njit
def call(X, y, theta, w, backend, l2, n_threads):
    return loss_and_grad(X, y, theta, True, w, l2, label_smoothing=0.05, backend=backend, n_threads=n_threads)


def python(X, y, theta, w, backend, l2, n_threads):
    return fastsoftmax.loss_and_grad(X, y, theta, fit_intercept=True, sample_weight=w, l2=l2, label_smoothing=0.05,
                                     backend=backend, n_threads=n_threads)  # fmt: skip


def problem(dtype=np.float64, m=333, n=7, k=4):
    rng = np.random.default_rng(0)
    X, theta = rng.normal(size=(m, n)).astype(dtype), rng.normal(size=(n + 1, k)).astype(dtype)
    return X, rng.integers(0, k, m), theta, rng.random(m)


def same(one, other):
    return one[0] == other[0] and np.array_equal(one[1], other[1]) and one[1].dtype == other[1].dtype


def test_compiled_code_gets_every_bit_that_python_gets(backend):
    assert same(call(*problem(), backend, 0.1, 2), python(*problem(), backend, 0.1, 2))


def test_arrays_of_any_layout_and_type_are_read_where_they_are():
    X, y, theta, w = problem(np.float32)
    strided = np.zeros((2 * len(X), 3 * X.shape[1]), np.float32)[::2, ::3]
    strided[...] = X
    strided.flags.writeable = False
    arguments = strided, np.repeat(y, 2).astype(np.uint8)[::2], np.asfortranarray(theta), w
    assert same(call(*arguments, "auto", 0.1, 1), python(*arguments, "auto", 0.1, 1))


def test_python_may_call_it_too():
    X, y, theta, w = problem()
    assert same(loss_and_grad(X, y, theta, True, w, l2=0.1), fastsoftmax.loss_and_grad(
        X, y, theta, fit_intercept=True, sample_weight=w, l2=0.1))  # fmt: skip


BAD = [
    (dict(y=slice(5)), ValueError, "y has shape (5,); one label for each of the 333 rows of X, (333,), is wanted"),
    (dict(theta=slice(5)), ValueError, "theta has shape (5, 4); (8, 4) (the last row is the bias) or (32,) is wanted"),
    (dict(w=slice(5)), ValueError, "sample_weight has shape (5,); one weight for each of the 333 rows"),
    (dict(X=slice(0)), ValueError, "X has shape (0, 7); at least one row and one feature are wanted"),
    (dict(backend="fortran"), ValueError, "backend must be one of 'auto', 'cython'"),
    (dict(l2=-1.0), ValueError, "l2 must be finite and at least 0; got -1.0"),
    (dict(n_threads=0), ValueError, "n_threads must be at least 1; got 0"),
]


@pytest.mark.parametrize(("changes", "error", "text"), BAD, ids=lambda value: str(value)[:12])
def test_errors_are_those_of_python(changes, error, text):
    arguments = dict(zip(("X", "y", "theta", "w"), problem(), strict=True)) | dict(backend="auto", l2=0.1, n_threads=1)
    for name, change in changes.items():
        arguments[name] = arguments[name][change] if isinstance(change, slice) else change
    with pytest.raises(error) as caught:
        call(*arguments.values())
    assert text in str(caught.value)


def test_what_the_arrays_hold_is_checked():
    X, y, theta, w = problem()
    y[3] = 1 << 40
    with pytest.raises(ValueError, match="row 3 holds 1099511627776"):
        call(X, y, theta, w, "auto", 0.1, 1)
    y[3], X[2, 1], theta[1, 1] = 0, 1e308, 1e308
    with pytest.raises(FloatingPointError, match="overflows float64"):
        call(X, y, theta, w, "auto", 0.0, 1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (dict(X=np.zeros(3)), "X is array(float64, 1d, C); an array of 2 dimensions is wanted"),
        (dict(y=1.5), "y is float64; an array of 1 dimension is wanted"),
        (dict(w=0), "sample_weight is int64; an array of 1 dimension is wanted"),
    ],
)
def test_wrong_types_are_errors_when_it_is_compiled(changes, text):
    arguments = dict(zip(("X", "y", "theta", "w"), problem(), strict=True)) | changes
    with pytest.raises(numba.TypingError) as caught:
        call(*arguments.values(), "auto", 0.1, 1)
    assert text in str(caught.value)


@numba.njit(parallel=True)
def many(X, y, thetas):
    values, grads = np.empty(len(thetas)), np.empty_like(thetas)
    for i in numba.prange(len(thetas)):
        values[i], grads[i] = loss_and_grad(X, y, thetas[i], n_threads=1)
    return values, grads


def test_a_parallel_loop():
    X, y, theta, _ = problem()
    thetas = np.stack([theta[:-1] * scale for scale in np.linspace(-1, 1, 50)])
    for i, result in enumerate(zip(*many(X, y, thetas), strict=True)):
        assert same(result, fastsoftmax.loss_and_grad(X, y, thetas[i]))


CACHED = """
import numpy as np
from numba import njit
from fastsoftmax.numba import loss_and_grad

@njit(cache=True)
def cached(X, y, theta):
    return loss_and_grad(X, y, theta)

value, grad = cached(np.eye(5), np.arange(5), np.eye(5))
print(value.hex(), grad.sum(), len(cached.stats.cache_hits))
"""


def test_numbas_cache_serves_another_process(tmp_path):
    (tmp_path / "program.py").write_text(CACHED)
    runs = [child.python("program.py", cwd=tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache")) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    (first, second) = [run.stdout.split() for run in runs]
    value, _ = fastsoftmax.loss_and_grad(np.eye(5), np.arange(5), np.eye(5))
    assert first[0] == second[0] == value.hex()
    assert (first[2], second[2]) == ("0", "1")
