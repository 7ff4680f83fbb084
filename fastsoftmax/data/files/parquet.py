"""Parquet: a file, or a folder of parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from ... import _extras
from ..archive import first_line
from ..validation import nonfinite_row
from .columns import TABLES_NEED, ignored, kind_of, listed
from .data import DEFAULTS, Data, ReadOptions
from .labels import column_labels

_SUFFIXES = (".parquet", ".pq")
# What Hive and Spark write for a missing value in the name of a folder.
_MISSING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Part:
    """A Parquet file, and the values that the names of its folders give to all of its rows, as in ``year=2020/``."""

    path: Path
    name: str
    rows: int
    schema: Any
    types: dict[str, Any]
    folders: dict[str, str | None]

    def read(self, names: list[str]) -> dict[str, Any]:
        """These columns, without dictionaries. No other column is read, whatever is in it."""
        own = [name for name in names if name in self.types]
        try:
            with _parquet().ParquetFile(str(self.path)) as file:
                table = file.read(columns=own)
        except (_pyarrow().ArrowException, OSError) as error:
            raise ValueError(f"{self.name} is damaged: {first_line(error)}") from None
        whole = self.complete(table, names, self.rows)
        return {name: whole.column(name) for name in names}

    def complete(self, table: Any, names: list[str], rows: int | None = None) -> Any:
        """A table of some rows of the file, without dictionaries and with the columns that folders stand for."""
        plain = not any(_pyarrow().types.is_dictionary(type_) for type_ in table.schema.types)
        if plain and table.column_names == names:
            return table
        rows = table.num_rows if rows is None else rows
        columns = {}
        for name in names:
            if name in self.types:
                columns[name] = decoded(table.column(name))
            else:
                value = _pyarrow().scalar(self.folders[name], _pyarrow().string())
                columns[name] = _pyarrow().chunked_array([_pyarrow().repeat(value, rows)])
        return _pyarrow().table(columns)


class ParquetTable:
    """A Parquet file, or a folder with the parts of one: their rows follow each other in the order of the parts' names.

    Attributes
    ----------
    names : list of str
        All columns: those that the names of folders stand for, and then those of the files.
    left_out : frozenset of int
        The columns to ignore, and the index of a pandas frame. They are neither features nor the target unless that is
        asked for by name.
    """

    def __init__(self, path: Path, options: ReadOptions = DEFAULTS) -> None:
        path = path if path.name else path.resolve()
        self.path, self.fill = path, options.fill
        files, self.notes = _files(path) if path.is_dir() else ([path], [])
        self.parts = [_part(file, path) for file in files]
        first = self.parts[0]
        known = {name: None for part in self.parts for name in part.types}  # in order, as a set is not
        folders = [name for name in {name: None for part in self.parts for name in part.folders} if name not in known]
        if folders:
            self.notes.append(f"from the names of the folders: {listed(folders)}")
        self.names = [*folders, *first.schema.names, *(name for name in known if name not in first.types)]
        self.ignored = ignored(self.names, options.ignore, path)
        told = {name for part in self.parts for name in _index_columns(part.schema)}
        index = {j for j, name in enumerate(self.names) if name in told} - self.ignored
        if index:
            found = listed([self.names[j] for j in sorted(index)])
            self.notes.append(f"left out as the index of a pandas frame: {found}")
        self.left_out = self.ignored | index

    def files_now(self) -> list[Path]:
        """The parts that a folder has at this moment."""
        return _files(self.path)[0]

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """Read the columns with these numbers, and the labels in column ``target``."""
        features = list(features)
        lost = [self.names[j] for j in [*features, *([] if target is None else [target])] if j in self.ignored]
        if lost:
            raise ValueError(f"{self.path.name}: column {lost[0]!r} is wanted, and is to be ignored; one of them goes")
        wanted = [self.names[j] for j in features]
        label = None if target is None else self.names[target]
        parts = [part for part in self.parts if part.rows]
        for part in parts:
            require_columns(part, wanted, wanted if label is None else [*wanted, label])
        single = all(is_float32(part.types.get(name)) for part in parts for name in wanted)
        X = np.empty((sum(part.rows for part in parts), len(wanted)), "f4" if single else "f8", order="F")
        start, empty, y = 0, Counter[str](), []
        for part in parts:
            columns = part.read(wanted if label is None else [*wanted, label])
            rows = X[start : start + part.rows]
            for j, name in enumerate(wanted):
                rows[:, j] = self._numbers(part, name, columns[name])
                empty[name] += self._fill_in(rows[:, j])
            if part.path != self.path:  # else the row is that of the whole, which the caller looks for
                _require_finite(rows, part, wanted)
            if label is not None:
                require_filled(part.name, label, columns[label], "a label is wanted")
                y.append(columns[label])
            start += part.rows
        notes = (*self.notes, *self._filled(empty))
        if label is None:
            return Data(X, None, wanted, notes=notes)
        return Data(X, column_labels(y, self.path, label) if y else np.empty(0, int), wanted, label, notes)

    def _numbers(self, part: Part, name: str, column: Any) -> np.ndarray:
        """A column as floats, empty cells as NaN."""
        if self.fill is None:
            require_filled(part.name, name, column, "a number is wanted (--fill says which stands for empty cells)")
        return numbers_of(part.name, name, column)

    def _fill_in(self, numbers: np.ndarray) -> int:
        """Put the number for empty cells into them; how many these are."""
        if self.fill is None:
            return 0
        empty = np.isnan(numbers)
        numbers[empty] = self.fill
        return int(np.count_nonzero(empty))

    def _filled(self, empty: Counter[str]) -> Iterator[str]:
        found = [f"{name} ({count})" for name, count in empty.items() if count]
        if found:
            yield f"empty cells are read as {self.fill:g}: {listed(found)}"


def require_filled(where: str, name: str, column: Any, wanted: str, first: int = 0) -> None:
    """Raise ValueError for the first empty cell of a column, the first row of which has a number in ``where``."""
    if column.null_count:
        row = first + np.flatnonzero(column.is_null().to_numpy())[0]
        raise ValueError(f"{where}, row {row} (the first is 0), column {name!r} is empty; {wanted}")


def numbers_of(where: str, name: str, column: Any) -> np.ndarray:
    """A column as floats, empty cells as NaN."""
    pyarrow = _pyarrow()
    if kind_of(column.type) == "decimal":  # not divided by a power of ten, which would round once more
        column = column.cast(pyarrow.string())
    if not pyarrow.types.is_float32(column.type):
        try:
            column = column.cast(pyarrow.float64(), safe=False)
        except pyarrow.ArrowInvalid as error:  # the text in the name of a folder
            raise ValueError(f"{where}, column {name!r}: {first_line(error)}; numbers are wanted") from None
    numbers: np.ndarray = column.to_numpy()
    return numbers


def _pyarrow() -> Any:
    return _extras.load("pyarrow", TABLES_NEED)


def _parquet() -> Any:
    return _extras.load("pyarrow.parquet", TABLES_NEED)


def _files(folder: Path) -> tuple[list[Path], list[str]]:
    """The parts in a folder, by name, and a note of what else is in it.

    As for pyarrow and Spark, names that start with a dot or an underline are not data (``_SUCCESS``, ``.part-0.crc``).
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path.relative_to(folder))]
    parts = [path for path in files if path.suffix.lower() in _SUFFIXES]
    if not parts:
        found = listed([str(path.relative_to(folder)) for path in files]) or "no files"
        raise ValueError(f"{folder.name} is a folder without .parquet files; it has {found}")
    other = [str(path.relative_to(folder)) for path in files if path not in set(parts)]
    notes = [f"{len(parts)} Parquet files, read in the order of their names"] if len(parts) > 1 else []
    return parts, [*notes, f"left out because they are not .parquet: {listed(other)}"] if other else notes


def _hidden(path: Path) -> bool:
    return any(name.startswith(".") or (name.startswith("_") and "=" not in name) for name in path.parts)


def _part(path: Path, whole: Path) -> Part:
    """A part with its schema, which is in the last bytes of the file."""
    name, folders = path.name, {}
    if path != whole:
        inside = path.relative_to(whole)
        name = f"{whole.name}/{inside.as_posix()}"
        for folder in inside.parts[:-1]:
            key, equals, value = folder.partition("=")
            if equals:
                folders[unquote(key)] = None if value == _MISSING else unquote(value)
    try:
        with _parquet().ParquetFile(str(path)) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (_pyarrow().ArrowException, OSError) as error:
        raise ValueError(f"{name} is not a sound Parquet file: {first_line(error)}") from None
    return Part(path, name, rows, schema, {field.name: field.type for field in schema}, folders)


def _index_columns(schema: Any) -> list[str]:
    """The columns that hold the index of the pandas frame which the file was written from.

    pandas says so in its metadata. Programs that drop these keep the names that it gives to an index without one.
    """
    try:
        told = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # no JSON
        told = []
    unnamed = [name for name in schema.names if name.startswith("__index_level_") and name.endswith("__")]
    return [name for name in told if isinstance(name, str)] + unnamed  # a RangeIndex is a dict and has no column


def require_columns(part: Part, wanted: list[str], needed: list[str]) -> None:
    """Raise ValueError unless a part has the columns ``needed``, and numbers in those ``wanted`` as features."""
    count = Counter(part.schema.names)
    twice = next((name for name in needed if count[name] > 1), None)
    if twice is not None:
        raise ValueError(f"{part.name} has {count[twice]} columns named {twice!r}; --ignore leaves them out")
    missing = [name for name in needed if name not in part.types and name not in part.folders]
    if missing:
        raise ValueError(
            f"{part.name} lacks {listed(missing)}, which other parts have; --ignore leaves a column out of all"
        )
    numeric = ("integer", "float", "bool", "decimal", "null")
    other = [name for name in wanted if name in part.types and kind_of(part.types[name]) not in numeric]
    if other:
        held = listed([f"{name!r} holds {str(part.types[name])[:60]}" for name in other])
        advice = " ".join(f"--ignore {name}" for name in other[:20])
        raise ValueError(f"{part.name}, column {held}; numbers are wanted ({advice} leaves out what has none)")


def is_float32(type_: Any) -> bool:
    types = _pyarrow().types
    if type_ is None:
        return False
    return bool(types.is_float32(type_.value_type if types.is_dictionary(type_) else type_))


def decoded(column: Any) -> Any:
    """A column without a dictionary, which may hold nulls and values that no row has."""
    return column.cast(column.type.value_type) if _pyarrow().types.is_dictionary(column.type) else column


def _require_finite(X: np.ndarray, part: Part, names: list[str]) -> None:
    bad = nonfinite_row(X)
    if bad is not None:
        row, column = bad
        raise ValueError(f"{part.name}, row {row} (the first is 0), column {names[column]!r} holds {X[bad]}")
