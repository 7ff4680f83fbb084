"""Decoded chunks in a file without a name, which later passes map into memory.

The file is gone when the process ends, however it ends. Chunks are written as the kernels read them; those of float64
whose numbers are all exact in float32 are stored as such, and take half the room.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....kernels.contract import Csr
from .reader import Block, Reader, will_need


class _Stored(NamedTuple):
    """Where an array is in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    by_column: bool


class CacheReader(Reader):
    """Chunks of another reader, from the file that they are written to.

    Parameters
    ----------
    reader : Reader
    chunks : iterator of ndarray or Csr
        All of its rows.
    folder : Path
        Where the file is.
    need : int
        Bytes that the chunks take, at most: there must be room for them.
    """

    def __init__(self, reader: Reader, chunks: Iterator[np.ndarray | Csr], folder: Path, need: int) -> None:
        self.path, self.names, self.dtype, self.sparse = reader.path, reader.names, reader.dtype, reader.sparse
        self.by_column, self.notes, self._folder = reader.by_column, [], folder
        self._stored: list[list[_Stored]] = []
        self._size, start = 0, time.perf_counter()
        if not folder.is_dir():
            raise ValueError(f"cache: {folder} is no folder")
        free = shutil.disk_usage(folder).free
        if need > free:
            raise OSError(f"cache: {folder} has {free / 1e9:,.1f} GB of room; {reader.name} needs {need / 1e9:,.1f} GB")
        self._file = tempfile.TemporaryFile(prefix="fastsoftmax-", dir=folder)
        try:
            for chunk in chunks:
                arrays = [chunk.indptr, chunk.indices, chunk.data] if isinstance(chunk, Csr) else [chunk]
                self._stored.append([self._store(array) for array in arrays])
            self._file.flush()
        except BaseException:
            self._file.close()
            raise
        self._map = np.memmap(self._file, np.uint8, "r", shape=(self._size,))
        self._file.close()  # the map stays
        seconds = time.perf_counter() - start
        self.note = f"decoded once into {folder}: {self._size / 1e9:,.2f} GB in {seconds:,.1f} s"

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        for stored in self._stored:
            arrays = [self._loaded(each) for each in stored]
            rows = Csr(arrays[0], arrays[1], arrays[2], len(self.names)) if self.sparse else arrays[0]
            yield Block(len(rows), rows, where=self.name)

    def _store(self, array: np.ndarray) -> _Stored:
        by_column = array.ndim == 2 and self.by_column
        if array.dtype == np.float64:
            with np.errstate(over="ignore", invalid="ignore"):
                small = array.astype(np.float32)
            array = small if np.array_equal(small, array) else array
        lines = np.ascontiguousarray(array.T if by_column else array)
        stored = _Stored(self._size, array.shape, array.dtype, by_column)
        try:
            self._file.write(lines.data)
            padding = -lines.nbytes % 64
            self._file.write(bytes(padding))
        except OSError as error:
            raise OSError(
                error.errno, f"cache: no room in {self._folder} behind {self._size / 1e9:,.1f} GB ({error.strerror})"
            ) from None
        self._size += lines.nbytes + padding
        return stored

    def _loaded(self, stored: _Stored) -> np.ndarray:
        size = int(np.prod(stored.shape)) * stored.dtype.itemsize
        lines = np.asarray(self._map[stored.offset : stored.offset + size]).view(stored.dtype)
        will_need(lines)
        return lines.reshape(stored.shape[::-1]).T if stored.by_column else lines.reshape(stored.shape)


class Cache:
    """The caches of a scan in a folder, one for each size of chunks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._readers: dict[int, CacheReader] = {}

    def reader(self, rows: int, make: Callable[[], CacheReader]) -> CacheReader:
        if rows not in self._readers:
            self._readers[rows] = make()
        return self._readers[rows]

    @property
    def notes(self) -> list[str]:
        return [reader.note for reader in self._readers.values()]
