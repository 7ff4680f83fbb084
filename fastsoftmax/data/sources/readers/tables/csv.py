"""Text tables, some million bytes of whole rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ....files.compression import HEAD, compression
from ....files.csv import CsvTable
from ....files.data import ReadOptions
from ....files.labels import labels as checked_labels
from ..reader import Block, Coded, Reader, position, state_of

# A piece of text takes this share of the budget: its cells take about four times as much while they are read.
SHARE, LEAST, MOST = 1 / 64, 1 << 16, 1 << 24
# A row that has not ended after so many pieces has a quote that is not closed.
LONGEST = 8


class CsvReader(Reader):
    """The rows of a `files.csv.CsvTable`, which is mapped into memory and read piece by piece."""

    by_column = True

    def __init__(
        self,
        path: Path,
        target: str | int | None,
        *,
        weight: str | None = None,
        columns: Sequence[str] | None = None,
        options: ReadOptions,
        memory: int,
    ) -> None:
        self._require_plain(path, memory)
        self.path, self.dtype = path, np.dtype(np.float64)
        self._table = table = CsvTable(path, options, [name for name in (target, weight) if isinstance(name, str)])
        self.notes = list(table.notes)
        whole = [j for j in range(len(table.names)) if j not in table.left_out]
        self._target = None if target is None else position(target, table.names, whole, path.name)
        self._weight = None if weight is None else position(weight, table.names, whole, path.name)
        self.target, self.weighted = "" if self._target is None else table.names[self._target], weight is not None
        beside = (self._target, self._weight)
        others = [j for j in whole if j not in beside]
        every = range(len(table.names))
        self._features = others if columns is None else [position(c, table.names, every, path.name) for c in columns]
        self.names = [table.names[j] for j in self._features]
        if not self.names:
            raise ValueError(f"{path.name} has no features beside {self.target!r}")
        self.identity = f"weight {self._weight}, {options}"
        self._size = int(np.clip(SHARE * memory, LEAST, MOST))
        self.block_bytes = 16 * self._size

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        first, wanted = 0, [*self._features, *([] if self._weight is None else [self._weight])]
        for begin, end in self._pieces():
            numbers, coded = self._table.piece(begin, end).rows(wanted, self._target)
            n = len(self._features)
            block = Block(len(numbers), numbers[:, :n], where=self.name, first=first)
            block.y = None if coded is None else Coded(*coded)
            block.w = numbers[:, n] if self._weight is not None else None
            first += len(numbers)
            yield block

    def state(self) -> dict[str, tuple[int, int]]:
        return state_of([self.path], self.path)

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        return checked_labels(values.astype(str), self.path, self.target, rows)

    def _pieces(self) -> Iterator[tuple[int, int]]:
        """Where pieces of whole rows begin and end: at a line end with an even number of quotes before it."""
        text, begin = self._table.text, 0
        while begin < len(text):
            end, quotes, last = begin, 0, 0
            while True:
                part = text[end : end + self._size]
                ends = np.flatnonzero(part == ord("\n"))
                quotes_before = quotes + np.cumsum(part == ord('"'))[ends] if len(ends) else ends
                whole = ends[quotes_before % 2 == 0]
                if len(whole):
                    end += int(whole[-1]) + 1
                    break
                last = end + int(ends[-1]) + 1 if len(ends) else last
                quotes += int(np.count_nonzero(part == ord('"')))
                end += len(part)
                if end >= len(text):
                    break
                if end - begin > LONGEST * self._size and last:  # a quote that is none: its row says so
                    end = last
                    break
            yield begin, end
            begin = end

    @staticmethod
    def _require_plain(path: Path, memory: int) -> None:
        """Raise ValueError for a compressed file that would have to be decompressed into too much memory."""
        with path.open("rb") as file:
            kind = compression(file.read(HEAD))
        if kind is not None and path.stat().st_size > memory / 8:
            raise ValueError(
                f"{path.name} is compressed ({kind}), and is decompressed whole; of so large a file the text itself is"
                " wanted, or Parquet"
            )
