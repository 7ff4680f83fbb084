"""`batch.evaluate` by every backend: theta by class, gradients of all three, weights of any sign, made targets."""

import numpy as np
import pytest

from fastsoftmax.objective import batch

# m, n, k: row-parallel with few and many features, and class-parallel with several parts of dX.
SHAPES = [(700, 7, 3), (300, 200, 40), (5, 1, 1), (300, 130, 20_000), (70, 50, 60_000)]


def expected(X, W, bias, T, w):
    """Value, losses and gradients by the formulas, in float64."""
    H = X @ W.T + bias
    lse = np.logaddexp.reduce(H, axis=1, keepdims=True)
    losses = (T * (lse - H)).sum(axis=1)
    D = w[:, None] * (T.sum(axis=1, keepdims=True) * np.exp(H - lse) - T)
    return w @ losses, losses, D @ W, D.T @ X, D.sum(axis=0)


def assert_close(found, wanted, dtype, w):
    """Errors in units of the rounding of the largest number, or weight; sums have hundreds of terms."""
    for a, b in zip((found.value, found.row_loss, found.dX, found.dW, found.db), wanted, strict=True):
        assert np.abs(a - b).max() <= 200 * np.finfo(dtype).eps * (np.abs(b).max() + np.abs(w).max())


@pytest.fixture(params=SHAPES, ids=str)
def problem(request):
    m, n, k = request.param
    rng = np.random.default_rng(0)
    X, W, bias = rng.normal(size=(m, n)), rng.normal(size=(k, n)) / np.sqrt(n), rng.normal(size=k)
    return X, W, bias, rng.integers(0, k, m).astype(np.int32), rng.normal(size=m) / m


def one_hot(y, k, smoothing=0.0):
    T = np.full((len(y), k), smoothing / k)
    T[np.arange(len(y)), y] += 1 - smoothing
    return T


def evaluate(backend, *args, **options):
    return batch.evaluate(
        batch.Batch(*args), dX=True, grad=True, row_loss=True, n_threads=2, backend=backend, **options
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_value_losses_and_gradients(problem, backend, dtype, order):
    X, W, bias, y, w = (a.astype(dtype) if a.dtype == "f8" else a for a in problem)
    found = evaluate(backend, X, np.asarray(W, order=order), bias, y, w.astype("f8"), 0.1)
    wide = [a.astype("f8") for a in (X, W, bias)]
    assert_close(found, expected(*wide, one_hot(y, len(W), 0.1), w.astype("f8")), dtype, w)


def test_made_targets_of_a_chunk_at_a_time(problem, backend):
    X, W, bias, y, w = problem
    T = one_hot(y, len(W)) * np.linspace(0.5, 2.0, len(W))
    found = evaluate(backend, X, W, bias, lambda a, b: T[a:b], w)
    assert_close(found, expected(X, W, bias, T, w), np.float64, w)


def test_bits_of_bfloat16_are_read(backend):
    rng = np.random.default_rng(0)
    bits = (rng.normal(size=(300, 20)).astype("f4").view(np.uint32) >> 16).astype(np.uint16)
    W, y, w = rng.normal(size=(6, 20)).astype("f4"), rng.integers(0, 6, 300).astype(np.int32), np.ones(300)
    found = evaluate(backend, bits.view("V2"), W, None, y, w)
    X = (bits.astype(np.uint32) << 16).view(np.float32)
    same = evaluate(backend, X, W, None, y, w)
    np.testing.assert_array_equal(found.dW, same.dW)
    np.testing.assert_array_equal(found.dX, same.dX)


def test_the_number_of_threads_changes_nothing(problem, backend):
    X, W, bias, y, w = problem
    rows = batch.Batch(X, W, bias, y, w)
    results = [
        batch.evaluate(rows, dX=True, grad=True, row_loss=True, n_threads=threads, backend=backend)
        for threads in (1, 3)
    ]
    for name in ("value", "row_loss", "dX", "dW", "db"):
        np.testing.assert_array_equal(*(getattr(result, name) for result in results))


def test_the_loss_alone_and_parts_of_the_gradient(problem, backend):
    X, W, bias, y, w = problem
    rows = batch.Batch(X, W, bias, y, w)
    alone = batch.evaluate(rows, dX=False, grad=False, row_loss=False, n_threads=2, backend=backend)
    whole = evaluate(backend, X, W, bias, y, w)
    assert alone.value == pytest.approx(whole.value, rel=1e-13)
    assert alone.dX is alone.dW is alone.db is alone.row_loss is None
