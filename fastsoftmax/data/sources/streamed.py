"""Sources of rows that are not in memory: a reader's blocks, cut into the chunks that a pass wants.

A thread reads ahead, or two where decoding takes longer than the work of the kernels. A chunk that lies within a block
is a view of it; any other is put together in one of two places in memory, which are used in turn. Chunks are those of X
in memory, as long as two of them take no more than a share of the budget, and so are all bits of what is computed; else
they are the largest that do.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...kernels.contract import Csr, Layout, Rows
from .first_pass import Facts, Targets
from .readers.cache import Cache, CacheReader
from .readers.read_ahead import read_ahead
from .readers.reader import Block, Reader, require_same
from .source import Labelled

# A chunk may take this share of the budget, or less where decoding takes much of it. There are two of them, and the
# rest is for blocks, sums and solvers.
CHUNK_SHARE = 0.15
# Kernels may wait for rows for this share of a pass before more threads decode.
PATIENCE = 0.2


class StreamedSource(Labelled):
    """The rows of a reader, with labels and weights that the first pass has found.

    Parameters
    ----------
    reader : Reader
    facts : Facts
    targets : Targets or None
        Those of ``facts``, or others that are made from them.
    smoothing : float
        Label smoothing, in [0, 1].
    reads : str
        Type characters of the dtypes that the kernels read.
    memory : int
        The budget in bytes.
    cache : Cache or None
        Where to keep a decoded copy, which later passes read.

    Attributes
    ----------
    layout : Layout
        How chunks lie in memory.
    """

    streamed = True

    def __init__(
        self,
        reader: Reader,
        facts: Facts,
        targets: Targets | None,
        *,
        smoothing: float,
        reads: str,
        memory: int,
        cache: Cache | None = None,
    ) -> None:
        super().__init__(None if targets is None else targets.y, None if targets is None else targets.w, smoothing)
        self._reader, self._facts, self._memory = reader, facts, memory
        self.shape = facts.rows, len(reader.names)
        self.dtype = reader.compute_dtype
        self._converts = reader.dtype.char not in reads or not reader.dtype.isnative
        self._read_dtype = self.dtype if self._converts else reader.dtype
        self.sparse = reader.sparse
        self.most_bytes = int(np.clip((memory - reader.block_bytes) / 4, memory / 64, CHUNK_SHARE * memory))
        self.layout = Layout(reader.by_column, self._read_dtype.itemsize, self._converts, self.most_bytes)
        self._marks: list[tuple[int, Block]] = []
        self._cache, self._planned = cache, 0
        self._cached: CacheReader | None = None
        self.watch: Callable[[int, int | None], None] | None = None

    @property
    def nnz(self) -> int:
        return self._facts.entries

    @property
    def is_widened(self) -> bool:
        return not self.sparse and self._reader.dtype != self.dtype

    @cached_property
    def load(self) -> np.ndarray:
        """load[j] is the number of entries in columns 0..j-1: int64 (n + 1,). See `kernels.contract.Csr`."""
        assert self._facts.column_entries is not None
        return np.concatenate([[0], np.cumsum(self._facts.column_entries)])

    def chunks(self, rows: int) -> Iterator[Rows]:
        cache = self._cache
        if cache is not None and self._cached is None:
            self._cached = cache.reader(self._planned or rows, lambda: self._decoded(cache.folder))
        require_same(self._facts.files, self._reader.state())
        start, waited = 0, 0.0
        asked = began = time.perf_counter()
        for X in read_ahead(self._cut(rows)):
            waited += time.perf_counter() - asked
            yield self._rows(X, start)
            start += len(X)
            if self.watch is not None:
                self.watch(start, self.shape[0])
            asked = time.perf_counter()
        require_same(self._facts.files, self._reader.state())
        # More threads to decode, from the next pass on, where the kernels have waited.
        if waited > PATIENCE * (time.perf_counter() - began):
            self._reader.parallel = True

    def pick(self, rows: np.ndarray) -> Any:
        """By a walk over all rows."""
        parts = []
        for part in self.chunks(self._planned or self._rows_of_walk()):
            a, b = np.searchsorted(rows, [part.start, part.start + len(part.X)])
            if a < b:
                inside = rows[a:b] - part.start
                parts.append(part.X.to_scipy()[inside] if isinstance(part.X, Csr) else np.asarray(part.X)[inside])
        if not self.sparse:
            return np.concatenate(parts)
        from scipy.sparse import vstack

        return vstack(parts, "csr")

    def place(self, row: int, column: int) -> str:
        at = bisect_right([start for start, _ in self._marks], row) - 1
        start, block = self._marks[at]
        where = f"{block.place(row - start)}, column {self._reader.names[column]!r}"
        return where if block.first + row - start == row else f"{where} (row {row} of all)"

    def prepare(self, chunk: int, sums: int) -> None:
        self._planned = chunk
        m, n = self.shape
        row = 12 * self.nnz // m if self.sparse else n * self._read_dtype.itemsize
        of_chunks = 2 * row * min(chunk, m)
        if self.sparse:
            of_chunks = min(of_chunks, 2 * self.most_bytes)
        need = of_chunks + self._reader.block_bytes + sums
        if need > self._memory:
            raise ValueError(
                f"memory={_megabytes(self._memory)} is too little: a pass over {self._reader.name} needs"
                f" {_megabytes(need)}, {_megabytes(of_chunks)} for two chunks of rows,"
                f" {_megabytes(self._reader.block_bytes)} to decode and {_megabytes(sums)} for gradients"
            )

    # ------------------------------------------------------------------------------------------- cutting

    def _cut(self, rows: int) -> Iterator[Any]:
        return self._sparse_chunks(rows) if self.sparse else self._dense_chunks(rows)

    def _decoded(self, folder: Path) -> CacheReader:
        """All rows, in the chunks that passes want."""
        size = self._read_dtype.itemsize
        need = (size + 4) * self.nnz + 8 * self.shape[0] if self.sparse else size * self.nnz
        return CacheReader(self._reader, read_ahead(self._cut(self._planned or self._rows_of_walk())), folder, need)

    def _rows_of_walk(self) -> int:
        row = max(1, 12 * self.nnz // self.shape[0]) if self.sparse else self.shape[1] * self._read_dtype.itemsize
        return max(1, self.most_bytes // row)

    def _blocks(self) -> Iterator[Block]:
        """The blocks of one walk; ValueError where they are not those of the first pass."""
        if self._cached is not None:
            yield from self._cached.blocks()
            return
        self._marks, start, checks = [], 0, self._facts.checks
        blocks = self._reader.blocks(labels=bool(checks))
        # Where decoding is what takes the time, blocks are copied into chunks by a thread of their own.
        for number, block in enumerate(read_ahead(blocks) if self._reader.parallel else blocks):
            if start + block.rows > self.shape[0]:
                raise ValueError(
                    f"{self._reader.name} had {self.shape[0]:,} rows in the first pass, and now at least"
                    f" {start + block.rows:,}; all passes need the same rows"
                )
            if checks and (number >= len(checks) or block.check() != checks[number]):
                raise ValueError(
                    f"{self._reader.name}: rows {start:,} to {start + block.rows - 1:,} have other labels or numbers,"
                    " or come in other blocks, than in the first pass; all passes need the same rows in the same order"
                )
            # What errors need of it, without its rows.
            self._marks.append((start, Block(block.rows, None, where=block.where, first=block.first)))
            start += block.rows
            yield block
        if start != self.shape[0]:
            raise ValueError(f"{self._reader.name} had {self.shape[0]:,} rows in the first pass, and now {start:,}")

    def _dense_chunks(self, rows: int) -> Iterator[np.ndarray]:
        places = [np.empty(0), np.empty(0)]
        start, filled, (m, n) = 0, 0, self.shape
        for block in self._blocks():
            at = 0
            while at < block.rows:
                wanted = min(rows, m - start)
                if not filled and block.rows - at >= wanted and self._is_readable(block.X):
                    yield block.X[at : at + wanted]  # type: ignore[index, misc]
                    at, start = at + wanted, start + wanted
                    continue
                if not filled:
                    places.reverse()
                    if len(places[0]) < wanted:
                        places[0] = np.empty((wanted, n), self._read_dtype, "F" if self.layout.by_column else "C")
                count = min(wanted - filled, block.rows - at)
                block.copy(at, at + count, places[0][filled : filled + count])
                at, filled = at + count, filled + count
                if filled == wanted:
                    yield places[0][:wanted]
                    start, filled = start + wanted, 0

    def _is_readable(self, X: Any) -> bool:
        return isinstance(X, np.ndarray) and X.dtype == self._read_dtype and X.flags.aligned

    def _sparse_chunks(self, rows: int) -> Iterator[Csr]:
        parts: list[Csr] = []
        entries = filled = start = 0
        most = max(1, self.most_bytes // 12)
        for block in self._blocks():
            at = 0
            while at < block.rows:
                assert isinstance(block.X, Csr)
                wanted = min(rows, self.shape[0] - start)
                part, at = _rows_within(block.X, at, wanted - filled, most - entries, bool(parts))
                if len(part):
                    parts.append(part)
                    entries, filled = entries + len(part.data), filled + len(part)
                if filled == wanted or (at < block.rows and filled):
                    yield _joined(parts, self.dtype)
                    start, parts, entries, filled = start + filled, [], 0, 0
        if parts:
            yield _joined(parts, self.dtype)


def _rows_within(X: Csr, at: int, rows: int, entries: int, may_be_none: bool) -> tuple[Csr, int]:
    """Rows of X from ``at`` on, at most so many, and with at most so many entries unless one row alone has more; and
    where they end."""
    most = int(X.indptr[at]) + max(entries, 0)
    end = min(at + rows, int(np.searchsorted(X.indptr, most, "right")) - 1)
    end = max(end, at if may_be_none else at + 1)
    first, last = int(X.indptr[at]), int(X.indptr[end])
    return Csr(X.indptr[at : end + 1] - first, X.indices[first:last], X.data[first:last], X.n), end


def _joined(parts: list[Csr], dtype: np.dtype) -> Csr:
    """Rows one below the other, with entries of a dtype."""
    indptr = [parts[0].indptr.astype(np.int64, copy=False)]
    for part in parts[1:]:
        indptr.append(part.indptr[1:] + indptr[-1][-1])
    if len(parts) == 1:
        return Csr(indptr[0], parts[0].indices, parts[0].data.astype(dtype, copy=False), parts[0].n)
    indices = np.concatenate([part.indices for part in parts])
    data = np.concatenate([part.data for part in parts], dtype=dtype, casting="same_kind")
    return Csr(np.concatenate(indptr), indices, data, parts[0].n)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
