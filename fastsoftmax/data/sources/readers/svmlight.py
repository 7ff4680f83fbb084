"""svmlight files, some million bytes of lines at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
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
    """The rows of a svmlight file. How many features there are only a walk tells, which is made when asked for."""

    sparse = True

    def __init__(self, path: Path, memory: int) -> None:
        self.path, self.notes, self.target, self.dtype = path, [], "first value of a line", np.dtype(np.float64)
        self._size = int(np.clip(SHARE * memory, LEAST, MOST))
        self.block_bytes = 4 * self._size

    @cached_property
    def names(self) -> list[str]:  # type: ignore[override]
        first, n = self._first, self._range.largest + 1 - self._first
        if not 0 < n <= FEATURES_MAX:
            raise ValueError(f"{self.name} has {n} features; 1 to {FEATURES_MAX} are taken")
        return [f"feature {j}" for j in range(first, first + n)]

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        n, start = len(self.names), 0
        for rows, y in self._parsed():
            indptr = rows.indptr.astype(np.int64)
            made = Csr(indptr, rows.indices - rows.indices.dtype.type(self._first), rows.data, n)
            yield Block(len(y), made, Coded.of(y), where=self.name, first=start)
            start += len(y)

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

    @property
    def _first(self) -> int:
        """The index of the first feature: 0 if there is one, else 1, as the format says."""
        return 0 if self._range.smallest == 0 else 1

    def _parsed(self) -> Iterator[tuple[Any, np.ndarray]]:
        with opened(self.path) as file:
            while lines := file.readlines(self._size):
                rows, y = parsed_lines(io.BytesIO(b"".join(lines)), lines, self.path)
                if len(y):
                    yield rows, y
