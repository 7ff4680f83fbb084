"""Chunks are views where they can be, cover every row once and cost one chunk of memory where not."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse
from expect import peak_bytes
from problems import random_csr

from fastsoftmax import Objective
from fastsoftmax.data.sources import memory
from fastsoftmax.data.sources.memory import ArraySource, SparseSource
from fastsoftmax.data.validation import check_X
from fastsoftmax.kernels import backends
from fastsoftmax.kernels.contract import Csr, Layout
from fastsoftmax.kernels.plan import make_sparse_plan
from fastsoftmax.objective.passes import SparsePasses

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

    def read():
        for _ in source.chunks(rows):
            pass

    # One chunk is still held by the loop while the next one is made.
    assert peak_bytes(read) <= 2 * rows * 32 * 4 + 10_000


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


# ------------------------------------------------------------------------------------------ sparse X


def sparse_source(m=200, n=30, dtype="f8", index="i4", **options):
    X = random_csr(m, n, 0.2, 0)
    X.data = (X.data * 100).astype(dtype)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    return X, SparseSource(check_X(X), np.arange(m, dtype=np.int32) % 3, np.arange(1.0, m + 1), **options)


@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("rows", [1, 7, 200, 1000])
def test_sparse_chunks_are_the_rows_in_order(dtype, index, rows):
    X, source = sparse_source(dtype=dtype, index=index)
    chunks = list(source.chunks(rows))
    assert [c.start for c in chunks] == list(range(0, 200, rows))
    assert all(len(c.X) == len(c.y) == len(c.w) <= rows for c in chunks)
    for c in chunks:
        assert isinstance(c.X, Csr) and c.X.indptr.dtype == np.int64 and c.X.indptr[0] == 0
        assert c.X.indptr[-1] == len(c.X.indices) == len(c.X.data)
        if len(c.X.data):  # a row may have no entries
            assert np.shares_memory(c.X.indices, X.indices) and np.shares_memory(c.X.data, X.data)
        part = scipy.sparse.csr_array((c.X.data, c.X.indices, c.X.indptr), shape=c.X.shape).toarray()
        np.testing.assert_array_equal(part, X.toarray()[c.start : c.start + rows])


@pytest.mark.parametrize("given", ["u1", "i2", "i4", "i8", ">f4", ">f8", "g"])
def test_sparse_data_of_other_dtypes_are_converted_by_chunks(given, monkeypatch):
    monkeypatch.setattr(memory, "CONVERTED_BYTES", 400)
    X, source = sparse_source(dtype=given)
    assert source.dtype == (np.float32 if given in ("u1", "i2", ">f4") else np.float64)
    chunks = list(source.chunks(100))
    assert all(c.X.data.nbytes <= 400 or len(c.X) == 1 for c in chunks) and len(chunks) > 2
    assert all(c.X.data.dtype == source.dtype and c.X.data.dtype.isnative for c in chunks)
    np.testing.assert_array_equal(np.concatenate([c.X.data for c in chunks]), X.data)
    assert sum(len(c.X) for c in chunks) == 200


def test_load_counts_the_entries_of_the_columns_before():
    X, source = sparse_source()
    np.testing.assert_array_equal(np.diff(source.load), [np.sum(X.indices == j) for j in range(30)])
    assert source.load.dtype == np.int64 and source.load[0] == 0 and source.load[-1] == source.nnz == X.nnz
    assert source.load is source.load, "made once"


def test_only_a_feature_parallel_pass_makes_the_load():
    _, source = sparse_source()
    passes = SparsePasses(source, backends.select("numpy")[1])
    row, feature = (
        make_sparse_plan(200, 30, 3, source.nnz, source.dtype, strategy=name)
        for name in ("row-parallel", "feature-parallel")
    )
    assert all(rows.X.load is None for rows in passes.chunks(row))
    assert all(rows.X.load is source.load for rows in passes.chunks(feature))


@pytest.mark.parametrize(("order", "by_column"), [("C", False), ("F", True)])
@pytest.mark.parametrize(
    ("dtype", "itemsize", "converted"),
    [("u1", 1, False), ("?", 1, False), ("f2", 4, True), ("i1", 4, True), ("i8", 8, True), (">f8", 8, True)],
)
def test_a_source_says_how_its_X_lies(order, by_column, dtype, itemsize, converted):
    source = ArraySource(np.zeros((3, 4), dtype, order=order), reads="fdB")
    assert source.layout == Layout(by_column, itemsize, converted)
