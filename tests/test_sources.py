"""Chunks are views where they can be, cover every row once and cost one chunk of memory where not."""

import tracemalloc

import numpy as np
import pytest

from fastsoftmax import Objective
from fastsoftmax.sources import ArraySource

NARROW = ["?", "i1", "u1", "i2", "u2", "f2"]
WIDE = ["i4", "u4", "i8", "u8", "f8", ">f8", "g"]


@pytest.mark.parametrize("rows", [1, 7, 10, 100])
@pytest.mark.parametrize("m", [1, 7, 20])
def test_chunks_cover_every_row_once_and_in_order(m, rows):
    X, y, w = np.arange(2.0 * m).reshape(m, 2), np.arange(m, dtype=np.int32), np.arange(1.0, m + 1)
    chunks = list(ArraySource(X, y, w).chunks(rows))
    assert [c.start for c in chunks] == list(range(0, m, rows))
    assert all(len(c.X) == len(c.y) == len(c.w) <= rows for c in chunks)
    np.testing.assert_array_equal(np.concatenate([c.X for c in chunks]), X)
    np.testing.assert_array_equal(np.concatenate([c.y for c in chunks]), y)
    np.testing.assert_array_equal(np.concatenate([c.w for c in chunks]), w)


def test_labels_and_weights_may_be_missing():
    (chunk,) = ArraySource(np.zeros((3, 2))).chunks(5)
    assert chunk.y is None and chunk.w is None


def test_float_chunks_are_views_in_every_aligned_layout(as_layout, dtype):
    X = as_layout(np.arange(60, dtype=dtype).reshape(20, 3))
    for chunk in ArraySource(X).chunks(6):
        assert chunk.X.dtype == dtype
        assert type(chunk.X) is np.ndarray
        assert chunk.X.flags.aligned
        assert np.shares_memory(chunk.X, X) == X.flags.aligned
        np.testing.assert_array_equal(chunk.X, X[chunk.start : chunk.start + 6])


@pytest.mark.parametrize("given", NARROW + WIDE)
def test_other_dtypes_are_converted_without_loss(given):
    X = (np.arange(60) % (2 if given == "?" else 100)).reshape(20, 3).astype(given)
    source = ArraySource(X)
    assert source.dtype == (np.float32 if given in NARROW else np.float64)
    for chunk in source.chunks(6):
        assert chunk.X.dtype == source.dtype and chunk.X.dtype.isnative
        np.testing.assert_array_equal(chunk.X, X[chunk.start : chunk.start + 6])


@pytest.mark.parametrize("given", NARROW)
def test_dtypes_the_kernels_read_stay_as_they_are(given):
    X = np.ones((20, 3), given)
    for chunk in ArraySource(X, reads="fdeBbHh").chunks(6):
        assert chunk.X.dtype == ("u1" if given == "?" else given)  # kernels read a bool as a byte
        assert np.shares_memory(chunk.X, X)
    assert ArraySource(X, reads="fdeBbHh").dtype == np.float32


def test_big_endian_float32_stays_single_precision():
    assert ArraySource(np.zeros((2, 2), ">f4")).dtype == np.float32


def test_converting_int8_takes_the_memory_of_two_chunks_at_most():
    X = np.ones((100_000, 32), np.int8)  # 12.8 MB as float32
    source = ArraySource(X)
    rows = 4096
    tracemalloc.start()
    try:
        for _ in source.chunks(rows):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # One chunk is still held by the loop while the next one is made.
    assert peak <= 2 * rows * 32 * 4 + 10_000


def test_an_objective_over_float_data_copies_nothing_as_large_as_x(tmp_path):
    m, n = 50_000, 40
    X = np.memmap(tmp_path / "X", np.float32, mode="w+", shape=(m, n))  # 8 MB
    X.flush()
    X = np.memmap(tmp_path / "X", np.float32, mode="r", shape=(m, n))
    y = np.arange(m, dtype=np.int32) % 3
    Objective(X, y, backend="numpy")  # the import of the backend is not what is measured
    tracemalloc.start()
    try:
        obj = Objective(X, y, backend="numpy")
        chunks = [c.X for c in obj.source.chunks(obj.plan.chunk)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert all(np.shares_memory(c, X) for c in chunks)
    assert peak < X.nbytes / 10
