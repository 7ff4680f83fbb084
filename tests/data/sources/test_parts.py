"""Rows in several arrays: chunks are views, end where parts do, and are widened where nothing reads them."""

import numpy as np

from fastsoftmax.data.sources.parts import PartsSource

X = np.random.default_rng(0).standard_normal((300, 5))
Y = np.arange(300, dtype=np.int32) % 3


def test_chunks_end_where_parts_do():
    source = PartsSource([X[:7], X[7:50], X[50:]], Y, np.arange(300.0), reads="fd")
    chunks = list(source.chunks(40))
    assert [len(rows.X) for rows in chunks] == [7, 40, 3, *[40] * 6, 10]
    np.testing.assert_array_equal(np.vstack([rows.X for rows in chunks]), X)
    np.testing.assert_array_equal(np.concatenate([rows.w for rows in chunks]), np.arange(300.0))
    assert np.shares_memory(chunks[0].X, X) and [rows.start for rows in chunks[:4]] == [0, 7, 47, 50]
    assert source.shape == (300, 5) and not source.layout.converted


def test_narrow_parts_are_converted_where_kernels_do_not_read_them():
    source = PartsSource([X[:200].astype("f2"), X[200:].astype("f2")], Y, reads="fd")
    assert source.dtype == np.float32 and source.layout.converted
    assert [rows.X.dtype for rows in source.chunks(200)] == [np.float32, np.float32]
    assert not PartsSource([X.astype("f2")], Y, reads="fde").layout.converted


def test_bits_of_bfloat16_are_widened():
    bits = (X.astype("f4").view(np.uint32) >> 16).astype(np.uint16)
    (rows,) = PartsSource([bits.view("V2")], Y).chunks(300)
    np.testing.assert_array_equal(rows.X, (bits.astype(np.uint32) << 16).view(np.float32))


def test_a_place_is_named_by_its_part():
    assert PartsSource([X[:7], X[7:]], Y).place(7, 2) == "part 1, row 0, column 2"
    assert PartsSource([X[:7], X[7:]], Y, names=["a.npy", "b.npy"]).place(6, 0) == "part 0 (a.npy), row 6, column 0"


def test_rows_are_picked_from_the_parts_they_lie_in():
    rows = np.array([0, 6, 7, 49, 50, 299])
    source = PartsSource([X[:7], X[7:50], X[50:]], Y)
    np.testing.assert_array_equal(source.pick(rows), X[rows])
    assert not source.is_widened
    narrow = PartsSource([X.astype("f2")], Y)
    assert narrow.is_widened and narrow.pick(rows).dtype == np.float32
