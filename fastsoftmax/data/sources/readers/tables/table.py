"""What readers of tables share: which columns are features, and blocks from tables of Arrow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..... import _extras
from ....files.columns import TABLES_NEED, kind_of, listed
from ....files.labels import column_labels_of, encoded, plain_labels
from ....files.parquet import decoded, is_float32, numbers_of, require_filled
from ..reader import Block, Coded, Reader, position, weights

NUMERIC = ("integer", "float", "bool", "decimal", "null")
# A batch takes this share of the budget, and has at least so many rows and at most so many.
SHARE, LEAST, MOST = 1 / 24, 1 << 10, 1 << 17


class TableReader(Reader):
    """The base of readers whose rows come as tables of Arrow."""

    by_column = True
    weight: str
    beside: list[str]
    reads_labels_alone = True

    def __init__(self, path: Path, fill: float | None) -> None:
        self.path, self.notes, self.fill = path, [], fill

    def choose(
        self,
        all_names: Sequence[str],
        usable: Sequence[int],
        target: str | int | None,
        weight: str | int | None,
        columns: Sequence[str] | None,
        types: Callable[[str], list[Any]],
        dtype: np.dtype | None,
        memory: int,
    ) -> None:
        """Set names, dtype and the size of batches: ``types`` gives those of a column in all parts."""
        for name, given in (("target", target), ("weight", weight)):
            if not isinstance(given, str | int | None):
                raise TypeError(
                    f"{self.name}: {name} must be the name or number of a column; got {type(given).__name__}"
                )
            found = "" if given is None else all_names[position(given, all_names, usable, self.name)]
            setattr(self, name, found)
        self.weighted, self.beside = weight is not None, [name for name in (self.target, self.weight) if name]
        others = [all_names[j] for j in usable if all_names[j] not in self.beside]
        self.names = others if columns is None else [str(name) for name in columns]
        if not self.names:
            raise ValueError(f"{self.name} has no features beside {listed(self.beside) or 'none'}")
        single = all(all(map(is_float32, types(name))) for name in self.names)
        self.dtype = np.dtype("f4" if single else "f8") if dtype is None else dtype
        row = (len(self.names) + len(self.beside)) * 8
        self.batch = int(np.clip(SHARE * memory // row, LEAST, MOST))
        self.block_bytes = 2 * self.batch * row

    def require_columns(self, names: Sequence[str], types: Sequence[Any]) -> None:
        """Raise ValueError unless a table has the columns that are wanted, and numbers in the features."""
        missing = [name for name in (*self.names, *self.beside) if list(names).count(name) != 1]
        if missing:
            count = list(names).count(missing[0])
            raise ValueError(f"{self.name} has {count or 'no'} columns {missing[0]!r}; it has {listed(names)}")
        kinds = dict(zip(names, types, strict=True))
        other = next((name for name in self.names if kind_of(kinds[name]) not in NUMERIC), None)
        if other is not None:
            raise ValueError(
                f"{self.name}, column {other!r} holds {str(kinds[other])[:60]}; numbers are wanted (columns=... or"
                " ignore=... choose the features)"
            )

    def block(self, table: Any, where: str, first: int, *, X: bool, labels: bool) -> Block:
        """The rows of a table without dictionaries, the first of which has a number in its file."""
        out = Block(table.num_rows, None, where=where, first=first)
        if X:
            out.X = [self._numbers(table.column(name), name, where, first) for name in self.names]
        if labels and self.target:
            column = decoded(table.column(self.target))
            require_filled(where, self.target, column, "a label is wanted", first)
            out.y = Coded(*encoded(plain_labels(column, self.path, self.target)))
        if labels and self.weight:
            column = table.column(self.weight)
            require_filled(where, self.weight, column, "a weight is wanted", first)
            out.w = weights(column.to_numpy(), where)
        return out

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        return column_labels_of(values, self.path, self.target, rows)

    def _numbers(self, column: Any, name: str, where: str, first: int) -> np.ndarray:
        # Of 100 columns in batches of 26,000 rows the tests below take as long as half of the decoding.
        if column.num_chunks == 1 and not column.null_count and column.type in _floats() and self.fill is None:
            plain: np.ndarray = column.chunk(0).to_numpy()
            return plain
        if self.fill is None:
            wanted = "a number is wanted (fill says which stands for empty cells)"
            require_filled(where, name, column, wanted, first)
        numbers = numbers_of(where, name, decoded(column))
        if self.fill is not None:
            empty = np.isnan(numbers)
            if empty.any():
                numbers = np.where(empty, self.fill, numbers)
        return numbers


@cache
def _floats() -> tuple[Any, Any]:
    return pyarrow().float32(), pyarrow().float64()


def pyarrow() -> Any:
    return _extras.load("pyarrow", TABLES_NEED)
