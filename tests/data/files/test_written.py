"""A file gets its name when it is complete, and what was there before stays until then."""

import numpy as np
import pyarrow.parquet
import pytest

from fastsoftmax.data import archive
from fastsoftmax.data.files import write_chunks

SUFFIXES = (".csv", ".parquet", ".npy")


def chunks():
    for start in range(0, 90, 30):
        yield {"p": np.arange(start, start + 30) / 2}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_chunks_follow_each_other(tmp_path, suffix):
    path = tmp_path / f"p{suffix}"
    write_chunks(path, chunks(), 90)
    read = {
        ".csv": lambda: np.loadtxt(path, skiprows=1),
        ".parquet": lambda: pyarrow.parquet.read_table(path)["p"].to_numpy(),
        ".npy": lambda: np.load(path),
    }[suffix]
    np.testing.assert_array_equal(read(), np.arange(90) / 2)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_ends_the_work_leaves_the_old_file_and_no_other(tmp_path, suffix, error):
    path = tmp_path / f"p{suffix}"
    path.write_text("old")

    def failing():
        yield from list(chunks())[:2]
        raise error("stopped")

    with pytest.raises(error, match="stopped"):
        write_chunks(path, failing(), 90)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for suffix in SUFFIXES:
        with pytest.raises(FileNotFoundError, match="none"):
            write_chunks(tmp_path / "none" / f"p{suffix}", chunks(), 90)


def test_a_name_is_taken_by_a_rename(tmp_path, monkeypatch):
    renamed = []
    monkeypatch.setattr(archive.os, "replace", lambda old, new: renamed.append((old, new)))
    write_chunks(tmp_path / "p.npy", chunks(), 90)
    assert renamed == [(tmp_path / ".p.npy.part", tmp_path / "p.npy")] and list(tmp_path.iterdir()) == [renamed[0][0]]
