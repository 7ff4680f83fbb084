"""Parquet files and folders of them, a batch of rows of one row group at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ..... import _extras
from ....archive import first_line
from ....files.columns import TABLES_NEED
from ....files.data import ReadOptions
from ....files.parquet import ParquetTable, Part, require_columns
from ..read_ahead import read_ahead
from ..reader import Block, state_of
from .table import LEAST, SHARE, TableReader, pyarrow

# Bytes that are read at once of each column, within the same share of the budget as a batch.
BUFFER_LEAST, BUFFER_MOST = 1 << 12, 1 << 18
# What writers make a page of, nearly all of them. While a column is decoded, a page of it is in memory: 60 columns of
# float32 in row groups of 200,000 rows took 50 MB. Allocators keep some more.
PAGE, SLACK = 1 << 20, 1.5
# Threads that each decode some of the columns.
READERS = 2


class ParquetReader(TableReader):
    """The rows of a `files.ParquetTable`, all of them or those that pass filters.

    Parameters
    ----------
    path : Path
    target, weight : str, int or None
        Names or numbers of columns.
    columns : sequence of str or None
        The features; all other columns unless given.
    filters : list of (str, str, value), or list of such lists
        As pyarrow.parquet.read_table takes them. Row groups that their statistics exclude are not read.
    """

    def __init__(
        self,
        path: Path,
        target: str | int | None,
        *,
        weight: str | int | None = None,
        columns: Sequence[str] | None = None,
        filters: Any = None,
        options: ReadOptions,
        dtype: np.dtype | None = None,
        memory: int,
    ) -> None:
        table = ParquetTable(path, options)
        super().__init__(table.path, options.fill)
        self._table, self.notes = table, list(table.notes)
        self._parts = [part for part in table.parts if part.rows]
        usable = [j for j in range(len(table.names)) if j not in table.left_out]

        def types(name: str) -> list[Any]:
            return [part.types.get(name) for part in self._parts]

        self.choose(table.names, usable, target, weight, columns, types, dtype, memory)
        for part in self._parts:
            require_columns(part, self.names, [*self.names, *self.beside])
        self._filters = None if filters is None else _Filters(filters)
        self.identity = f"weight {self.weight}, filters {filters}"
        self.rows = None if filters is not None else sum(part.rows for part in self._parts)
        self._buffer = int(np.clip(SHARE * memory // len(self.names), BUFFER_LEAST, BUFFER_MOST))
        pages = max((_page_bytes(part, self.names) for part in self._parts), default=0)
        self.block_bytes += int(SLACK * (pages + self._buffer * len(self.names)))

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        wanted = [*self.names * X, *self.beside * labels]
        needed = [] if self._filters is None else [name for name in self._filters.names if name not in wanted]
        for part in self._parts:
            first = 0
            for group, table in self._tables(part, [*wanted, *needed]):
                where, before = f"{part.name}, row group {group}", first
                first += table.num_rows
                if self._filters is not None:
                    table = self._filters.kept(table)
                if table.num_rows:
                    yield self.block(table, where, before, X=X, labels=labels)

    def state(self) -> dict[str, tuple[int, int]]:
        files = self._table.files_now() if self.path.is_dir() else [self.path]
        return state_of(files, self.path)

    def _tables(self, part: Part, names: list[str]) -> Iterator[tuple[int, Any]]:
        """`_batches`; where decoding is what takes the time, by two threads, each of which has half of the columns.

        pyarrow's own threads meet after each batch: on two cores, 2.5 million rows of 100 columns took 1.15 s a pass.
        """
        half = len(names) // 2
        if not self.parallel or not half:
            yield from self._batches(part, names)
            return
        with closing(read_ahead(self._batches(part, names[:half]))) as left:
            with closing(read_ahead(self._batches(part, names[half:]))) as right:
                for (group, table), (_, other) in zip(left, right, strict=True):
                    yield group, pyarrow().Table.from_arrays([*table.columns, *other.columns], names)

    def _batches(self, part: Part, names: list[str]) -> Iterator[tuple[int, Any]]:
        """(Row group, table of some of its rows) of a part."""
        own = [name for name in names if name in part.types]
        group, many = 0, self.parallel and (os.cpu_count() or 1) > READERS
        try:
            with _opened(part, self._buffer) as file:
                groups = range(file.num_row_groups) if self._filters is None else self._filters.groups(part)
                for group in groups:
                    for batch in file.iter_batches(self.batch, row_groups=[group], columns=own, use_threads=many):
                        yield group, part.complete(pyarrow().Table.from_batches([batch]), names)
            batch = None  # what this thread has freed is no use to the next walk's
            pyarrow().default_memory_pool().release_unused()
        except (pyarrow().ArrowException, OSError) as error:
            column = _damaged_column(part, group, own)
            where = f"{part.name}, row group {group}" + ("" if column is None else f", column {column!r}")
            raise ValueError(f"{where} is damaged: {first_line(error)}") from None


def _opened(part: Part, buffer: int) -> Any:
    """The file of a part; where its pages have checksums, damage to numbers is found too."""
    parquet = _extras.load("pyarrow.parquet", TABLES_NEED)
    return parquet.ParquetFile(str(part.path), buffer_size=buffer, page_checksum_verification=True)


def _page_bytes(part: Part, names: list[str]) -> int:
    """Bytes of the pages that are decoded together, one of each column: at most the whole of its largest row group."""
    with _extras.load("pyarrow.parquet", TABLES_NEED).ParquetFile(str(part.path)) as file:
        about, wanted, most = file.metadata, set(names), 0
        for number in range(about.num_row_groups):
            group = about.row_group(number)
            sizes = [group.column(j) for j in range(group.num_columns)]
            total = sum(min(c.total_uncompressed_size, PAGE) for c in sizes if c.path_in_schema in wanted)
            most = max(most, total)
    return most


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
        unknown = [name for name in self.names if name not in part.types and name not in part.folders]
        if unknown:
            raise ValueError(f"{part.name} has no column {unknown[0]!r} to filter by")
        local = _extras.load("pyarrow.fs", TABLES_NEED).LocalFileSystem()
        fragment = _extras.load("pyarrow.dataset", TABLES_NEED).ParquetFileFormat().make_fragment(str(part.path), local)
        if all(name in part.types for name in self.names):
            fragment = fragment.subset(self._expression, schema=part.schema)
        return [group.id for group in fragment.row_groups]

    def kept(self, table: Any) -> Any:
        return table.filter(self._expression)


def _damaged_column(part: Part, group: int, names: list[str]) -> str | None:
    """The first column of a row group that cannot be read."""
    for name in names:
        try:
            with _opened(part, BUFFER_MOST) as file:
                for _ in file.iter_batches(LEAST, row_groups=[group], columns=[name]):
                    pass
        except (pyarrow().ArrowException, OSError):
            return name
    return None
