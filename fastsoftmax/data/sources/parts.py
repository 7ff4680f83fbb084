"""Rows that lie in several arrays, one behind the other: the parts of a data set that was written piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...kernels.contract import Layout, Rows
from ..bfloat16 import as_numbers
from ..validation import compute_dtype
from .source import Labelled


class PartsSource(Labelled):
    """Rows of arrays or memory maps with as many columns each, and one dtype. Chunks are views where the kernels read
    it, as those of `memory.ArraySource`, and end where a part ends.

    Parameters
    ----------
    parts : sequence of ndarray (rows, n)
    targets, w, smoothing, reads
        As `memory.ArraySource` takes them, of all rows.
    names : sequence of str, optional
        What to call the parts in errors.
    """

    def __init__(
        self,
        parts: Sequence[np.ndarray],
        targets: np.ndarray | None = None,
        w: np.ndarray | None = None,
        *,
        smoothing: float = 0.0,
        reads: str = "fd",
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(targets, w, smoothing)
        first = parts[0]
        self._parts, self._names = parts, names
        self._ends = np.cumsum([len(part) for part in parts])
        self.shape = (sum(len(part) for part in parts), first.shape[1])
        self.dtype = compute_dtype(first.dtype)
        readable = all(part.dtype.char in reads and part.dtype.isnative and part.flags.aligned for part in parts)
        self._converts = not readable
        self.layout = Layout(False, (self.dtype if self._converts else first.dtype).itemsize, self._converts)

    @property
    def is_widened(self) -> bool:
        return self._parts[0].dtype != self.dtype

    def pick(self, rows: np.ndarray) -> np.ndarray:
        ends = np.searchsorted(rows, self._ends)
        starts = np.append(0, ends[:-1])
        firsts = self._ends - [len(part) for part in self._parts]
        picked = zip(self._parts, firsts, starts, ends, strict=True)
        return np.concatenate(
            [np.asarray(as_numbers(part[rows[a:b] - first]), self.dtype) for part, first, a, b in picked]
        )

    def chunks(self, rows: int) -> Iterator[Rows]:
        start = 0
        for part in self._parts:
            for begin in range(0, len(part), rows):
                X = part[begin : begin + rows]
                yield self._rows(self._readable(X), start + begin)
            start += len(part)

    def place(self, row: int, column: int) -> str:
        """What to call a number of X in an error."""
        part = int(np.searchsorted(self._ends, row, side="right"))
        name = "" if self._names is None else f" ({self._names[part]})"
        return f"part {part}{name}, row {row - int(self._ends[part]) + len(self._parts[part])}, column {column}"

    def _readable(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(as_numbers(X), self.dtype) if self._converts else np.asarray(X)
