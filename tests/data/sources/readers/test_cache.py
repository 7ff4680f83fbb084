"""A decoded copy on disk: passes read it, it has no name, and a full disk leaves nothing behind."""

import errno

import numpy as np
import pytest
import scipy.sparse
from problems import chunks_of, fitted, lettered_problem, write_parquet

import fastsoftmax
from fastsoftmax.data.sources.readers import cache

X, LABELS = lettered_problem()
CODES = np.unique(LABELS, return_inverse=True)[1]


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_bits_are_those_without_a_cache(tmp_path, kind):
    numbers = X.astype(kind) / (3 if kind == "f8" else 1)  # not exact in float32
    path = write_parquet(tmp_path / "t.parquet", numbers, LABELS)
    (tmp_path / "cache").mkdir()
    data = fastsoftmax.scan(path, "y", cache=tmp_path / "cache")
    np.testing.assert_array_equal(fitted(data), fitted(fastsoftmax.scan(path, "y")))
    assert not list((tmp_path / "cache").iterdir())
    assert data.notes[-1].startswith(f"decoded once into {tmp_path / 'cache'}: 0.00 GB")


def test_decoding_happens_once(tmp_path):
    walks = []

    def chunks():
        walks.append(0)
        yield from chunks_of(X, LABELS)()

    np.testing.assert_array_equal(fitted(fastsoftmax.scan(chunks, cache=tmp_path)), fitted(X, CODES))
    assert len(walks) == 3  # what the columns are, the first pass, and the copy


def test_chunks_are_views_of_the_file_and_of_other_sizes_copies(tmp_path):
    source = fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", X, LABELS), "y", cache=tmp_path).source()
    source.prepare(1000, 0)
    for rows in (1000, 500, 900):
        parts = list(source.chunks(rows))
        np.testing.assert_array_equal(parts[-1].X, X[-len(parts[-1].X) :])
        assert not parts[0].X.flags.writeable or rows == 900


def test_numbers_that_float32_holds_take_half_the_room(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", X.astype("f8"), LABELS)
    source = fastsoftmax.scan(path, "y", cache=tmp_path).source()
    source.prepare(1000, 0)
    (part, *_) = source.chunks(1000)
    assert part.X.dtype == np.float64 and source._cached._size == -(-X[:1000].size * 4 // 64) * 64 * 3


def test_sparse_rows(tmp_path):
    thin = scipy.sparse.random_array((900, 30), density=0.2, format="csr", rng=0)
    data = fastsoftmax.scan(chunks_of(thin, CODES[:900]), cache=tmp_path)
    np.testing.assert_array_equal(fitted(data), fitted(thin, CODES[:900]))


def test_a_disk_without_room_is_an_error_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(OSError, match=r"cache: .* has 0.0 GB of room; chunks needs 0.0 GB"):
        fitted(fastsoftmax.scan(chunks_of(X, LABELS), cache=tmp_path))


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    class Full:
        """A file on a disk with room for 20,000 bytes."""

        def __init__(self, **_):
            self.size, self.closed = 0, False
            files.append(self)

        def write(self, content):
            self.size += memoryview(content).nbytes
            if self.size > 20_000:
                raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            self.closed = True

    files = []
    obj = fastsoftmax.Objective(fastsoftmax.scan(chunks_of(X, LABELS), cache=tmp_path))
    monkeypatch.setattr(cache.tempfile, "TemporaryFile", Full)
    with pytest.raises(OSError, match=f"cache: no room in {tmp_path} behind 0.0 GB .No space left on device"):
        obj.value_and_grad(np.zeros(obj.shape))
    assert files[0].closed and not list(tmp_path.iterdir())


def test_what_has_no_cache(tmp_path):
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(ValueError, match="cache has no meaning for X.npy, which is mapped"):
        fastsoftmax.scan(tmp_path / "X.npy", CODES, cache=tmp_path)
    with pytest.raises(ValueError, match="cache: .*none is no folder"):
        fitted(fastsoftmax.scan(chunks_of(X, LABELS), cache=tmp_path / "none"))
