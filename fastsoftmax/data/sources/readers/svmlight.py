"""svmlight files, some million bytes of lines at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....kernels.contract import Csr
from ...files.labels import labels as checked_labels
from ...files.svmlight import FEATURES_MAX, opened, parsed_lines
from .reader import Block, Coded, Reader, state_of

# Lines that are parsed together take this share of the budget, as text.
SHARE, LEAST, MOST = 1 / 64, 1 << 16, 1 << 24


class _Range(NamedTuple):
    """The smallest and the largest index."""

    smallest: int
    largest: int


class SvmlightReader(Reader):
    """The rows of a svmlight file.

    Parameters
    ----------
    path : Path
    columns : sequence of str or None
        "feature 1", "feature 2" and so on. Unless they are given only a walk tells how many there are, which is made
        when that is asked for.
    extra_features : {"error", "ignore"}
        What to do with features beyond ``columns``.
    """

    sparse = True

    def __init__(
        self, path: Path, memory: int, *, columns: Sequence[str] | None = None, extra_features: str = "error"
    ) -> None:
        if columns is not None:
            first = {"feature 0": 0, "feature 1": 1}.get(str(columns[0]) if len(columns) else "")
            if first is None or list(columns) != [f"feature {j}" for j in range(first, first + len(columns))]:
                raise ValueError(f"{path.name} has the columns 'feature 1', 'feature 2' and so on; got {columns!r}")
            self.names, self._first = list(columns), first
        self._ignores = extra_features == "ignore"
        self.path, self.notes, self.target, self.dtype = path, [], "first value of a line", np.dtype(np.float64)
        self._size = int(np.clip(SHARE * memory, LEAST, MOST))
        self.block_bytes = 8 * self._size

    @cached_property
    def names(self) -> list[str]:  # type: ignore[override]
        first, n = self._first, self._range.largest + 1 - self._first
        if not 0 < n <= FEATURES_MAX:
            raise ValueError(f"{self.name} has {n} features; 1 to {FEATURES_MAX} are taken")
        return [f"feature {j}" for j in range(first, first + n)]

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        n, start = len(self.names), 0
        for rows, y in self._parsed():
            made = self._of_columns(rows, n, start)
            yield Block(len(y), made, Coded.of(y), where=self.name, first=start)
            start += len(y)

    def _of_columns(self, rows: Any, n: int, start: int) -> Csr:
        """Rows whose column j is index j, as rows of the features."""
        indices = rows.indices - rows.indices.dtype.type(self._first)
        known = (indices >= 0) & (indices < n)
        if not known.all():
            wrong = int(np.flatnonzero(~known)[0])
            if not self._ignores or indices[wrong] < 0:
                row = start + int(np.searchsorted(rows.indptr, wrong, "right")) - 1
                raise ValueError(
                    f"{self.name}, row {row} (the first is 0) has a feature {rows.indices[wrong]}; there are {n}, from"
                    f" {self._first} on"
                )
            indptr = np.concatenate([[0], np.cumsum(known)])[rows.indptr]
            return Csr(indptr, indices[known], rows.data[known], n)
        return Csr(rows.indptr.astype(np.int64), indices, rows.data, n)

    def state(self) -> dict[str, tuple[int, int]]:
        return state_of([self.path], self.path)

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        return checked_labels(values, self.path, self.target, rows)

    @cached_property
    def _range(self) -> _Range:
        smallest, largest = 1, 0
        for rows, _ in self._parsed():
            if rows.nnz:
                smallest = min(smallest, int(rows.indices.min()))
                largest = max(largest, int(rows.indices.max()))
        return _Range(smallest, largest)

    @cached_property
    def _first(self) -> int:
        """The index of the first feature: 0 if there is one, else 1, as the format says."""
        return 0 if self._range.smallest == 0 else 1

    def _parsed(self) -> Iterator[tuple[Any, np.ndarray]]:
        with opened(self.path) as file:
            while lines := file.readlines(self._size):
                rows, y = parsed_lines(io.BytesIO(b"".join(lines)), lines, self.path)
                if len(y):
                    yield rows, y
