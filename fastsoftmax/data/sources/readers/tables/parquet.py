"""Parquet files and folders of them, a batch of rows of one row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..... import _extras
from ....files.columns import TABLES_NEED, first_line
from ....files.data import ReadOptions
from ....files.labels import column_labels_of, encoded, plain_labels
from ....files.parquet import ParquetTable, Part, is_float32, numbers_of, require_columns
from ..reader import Block, Coded, Reader, state_of, weights

# A batch takes this share of the budget, and has at least so many rows and at most so many.
SHARE, LEAST, MOST = 1 / 16, 1 << 10, 1 << 17
# Bytes that are read at once of each column, within the same share of the budget.
BUFFER_LEAST, BUFFER_MOST = 1 << 12, 1 << 18


class ParquetReader(Reader):
    """The rows of a `files.ParquetTable`, all of them or those that pass filters.

    Parameters
    ----------
    path : Path
    target, weight : str or None
        Names of columns.
    columns : sequence of str or None
        The features; all other columns unless given.
    filters : list of (str, str, value), or list of such lists
        As pyarrow.parquet.read_table takes them. Row groups that their statistics exclude are not read.
    """

    by_column = True
    reads_labels_alone = True

    def __init__(
        self,
        path: Path,
        target: str | None,
        *,
        weight: str | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
        options: ReadOptions,
        dtype: np.dtype | None = None,
        memory: int,
    ) -> None:
        self._table = table = ParquetTable(path, options)
        self.path, self.notes, self._options = table.path, list(table.notes), options
        self.target, self._weight, self.weighted = target or "", weight, weight is not None
        beside = [name for name in (target, weight) if name is not None]
        usable = [name for j, name in enumerate(table.names) if j not in table.left_out and name not in beside]
        self.names = usable if columns is None else list(columns)
        if not self.names:
            raise ValueError(f"{path.name} has no column beside {' and '.join(map(repr, beside))}; features are wanted")
        self._parts = [part for part in table.parts if part.rows]
        for part in self._parts:
            require_columns(part, self.names, [*self.names, *beside])
        single = all(is_float32(part.types.get(name)) for part in self._parts for name in self.names)
        self.dtype = np.dtype("f4" if single else "f8") if dtype is None else dtype
        self._filters = None if filters is None else _Filters(filters)
        self.rows = None if filters is not None else sum(part.rows for part in self._parts)
        row = (len(self.names) + len(beside)) * 8
        self._batch = int(np.clip(SHARE * memory // row, LEAST, MOST))
        self._buffer = int(np.clip(SHARE * memory // len(self.names), BUFFER_LEAST, BUFFER_MOST))
        self.block_bytes = self._batch * row + self._buffer * len(self.names)

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        wanted = self.names if X else []
        beside = [name for name in (self.target, self._weight or "") if name] if labels else []
        needed = [] if self._filters is None else [n for n in self._filters.names if n not in (*wanted, *beside)]
        for part in self._parts:
            first = 0
            for group, batch in self._batches(part, [*wanted, *beside, *needed]):
                where, before = f"{part.name}, row group {group}", first
                first += batch.num_rows
                if self._filters is not None:
                    batch = self._filters.kept(batch)
                if not batch.num_rows:
                    continue
                block = Block(batch.num_rows, None, where=where, first=before)
                if X:
                    block.X = [self._numbers(part, group, before, name, batch.column(name)) for name in wanted]
                if labels and self.target:
                    part.require_filled(self.target, batch.column(self.target), "a label is wanted", before, group)
                    block.y = Coded(*encoded(plain_labels(batch.column(self.target), part.path, self.target)))
                if labels and self._weight:
                    part.require_filled(self._weight, batch.column(self._weight), "a weight is wanted", before, group)
                    block.w = weights(batch.column(self._weight).to_numpy(), where)
                yield block

    def state(self) -> dict[str, tuple[int, int]]:
        files = self._table.files_now() if self.path.is_dir() else [self.path]
        return state_of(files, self.path)

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        return column_labels_of(values, self.path, self.target, rows)

    def _numbers(self, part: Part, group: int, first: int, name: str, column: Any) -> np.ndarray:
        if self._options.fill is None:
            part.require_filled(
                name, column, "a number is wanted (fill says which stands for empty cells)", first, group
            )
        numbers = numbers_of(part, name, column)
        if self._options.fill is not None and (column.null_count or np.isnan(numbers).any()):
            numbers = np.where(np.isnan(numbers), self._options.fill, numbers)
        return numbers

    def _batches(self, part: Part, names: list[str]) -> Iterator[tuple[int, Any]]:
        """(Row group, table of some of its rows) of a part."""
        pyarrow, parquet = _extras.load("pyarrow", TABLES_NEED), _extras.load("pyarrow.parquet", TABLES_NEED)
        own = [name for name in names if name in part.types]
        group, column = 0, None
        try:
            with parquet.ParquetFile(str(part.path), buffer_size=self._buffer) as file:
                groups = range(file.num_row_groups) if self._filters is None else self._filters.groups(part)
                for group in groups:
                    options: Any = {"row_groups": [group], "columns": own, "use_threads": self.parallel}
                    for batch in file.iter_batches(self._batch, **options):
                        yield group, part.complete(pyarrow.Table.from_batches([batch]), names)
        except (pyarrow.ArrowException, OSError) as error:
            column = _damaged_column(part, group, own)
            where = f"{part.name}, row group {group}" + ("" if column is None else f", column {column!r}")
            raise ValueError(f"{where} is damaged: {first_line(error)}") from None


class _Filters:
    """Conditions on rows."""

    def __init__(self, filters: Any) -> None:
        parquet = _extras.load("pyarrow.parquet", TABLES_NEED)
        try:
            self._expression = parquet.filters_to_expression(filters)
            clauses = filters if isinstance(filters[0], list) else [filters]
            self.names = list(dict.fromkeys(str(name) for clause in clauses for name, _, _ in clause))
        except (TypeError, ValueError, IndexError) as error:
            raise ValueError(
                f"filters must be a list of (column, operator, value), as [('year', '>', 2020)]; got {filters!r}"
                f" ({first_line(error)})"
            ) from None

    def groups(self, part: Part) -> list[int]:
        """The row groups of a part that may have rows which pass."""
        if any(name not in part.types for name in self.names):
            return list(range(_count_groups(part)))
        dataset = _extras.load("pyarrow.dataset", TABLES_NEED)
        local = _extras.load("pyarrow.fs", TABLES_NEED).LocalFileSystem()
        fragment = dataset.ParquetFileFormat().make_fragment(str(part.path), local)
        return [group.id for group in fragment.subset(self._expression, schema=part.schema).row_groups]

    def kept(self, table: Any) -> Any:
        return table.filter(self._expression).combine_chunks()


def _count_groups(part: Part) -> int:
    with _extras.load("pyarrow.parquet", TABLES_NEED).ParquetFile(str(part.path)) as file:
        return int(file.num_row_groups)


def _damaged_column(part: Part, group: int, names: list[str]) -> str | None:
    """The first column of a row group that cannot be read."""
    pyarrow, parquet = _extras.load("pyarrow", TABLES_NEED), _extras.load("pyarrow.parquet", TABLES_NEED)
    for name in names:
        try:
            with parquet.ParquetFile(str(part.path), buffer_size=BUFFER_MOST) as file:
                for _ in file.iter_batches(LEAST, row_groups=[group], columns=[name]):
                    pass
        except (pyarrow.ArrowException, OSError):
            return name
    return None
