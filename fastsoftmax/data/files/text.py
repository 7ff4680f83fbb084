"""Text files line by line: their layout, and the line and column of an error, which the fast readers don't tell."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

# Bytes that are no UTF-8, as the error handler "surrogateescape" decodes them.
_BYTES = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True)
class Layout:
    """How to read a CSV file: the names of its columns, the delimiter, and whether line 1 has the names."""

    names: list[str]
    delimiter: str
    header: bool


def layout(path: Path, header: bool) -> Layout:
    """The layout of a CSV file, from its first line alone. The delimiter is a comma, semicolon or tab.

    Raises
    ------
    ValueError
        If the line is empty, not UTF-8 text, looks like data where names belong, or has a name twice.
    """
    with _opened(path) as file:
        line = file.readline()
    _require_text(line, f"{path.name}, line 1")
    if not line.strip():
        raise ValueError(f"{path.name}, line 1 is empty; {'the names of the columns' if header else 'data'} are wanted")
    delimiter = max(",;\t", key=line.count)
    cells = next(csv.reader([line], delimiter=delimiter))
    if not header:
        return Layout([str(j) for j in range(len(cells))], delimiter, header)
    # pandas writes the names 0, 1, 2, ... where columns have none. Other numbers are data.
    numbers = [cell for cell in cells if _is_number(cell)]
    counting = [str(j) for j in range(len(numbers))]
    if 2 * len(numbers) >= len(cells) and numbers != counting:
        raise ValueError(f"{path.name}, line 1 looks like data ({line.strip()[:40]}), not names: add --no-header")
    require_names(cells, path)
    return Layout(cells, delimiter, header)


def require_names(names: list[str], path: Path) -> None:
    """Raise ValueError unless every column has a name of its own."""
    if "" in names:
        raise ValueError(f"{path.name}, column {names.index('')} (the first is 0) has no name: give it one, or drop it")
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        raise ValueError(f"{path.name} has {count} columns named {name!r}")


def explain(path: Path, layout: Layout, features: Iterable[int], target: int | None) -> None:
    """Raise ValueError with line and column for the first cell that is wrong; return if none is."""
    features, rows = list(features), 0
    with _opened(path) as file:
        reader = csv.reader(file, delimiter=layout.delimiter)
        try:
            for number, cells in enumerate(reader):
                if cells and not (layout.header and number == 0):
                    rows += 1
                    _check_cells(f"{path.name}, line {reader.line_num}", cells, layout.names, features, target)
        except csv.Error as error:
            raise ValueError(f"{path.name}, line {reader.line_num}: {error}") from None
    if not rows:
        raise ValueError(f"{path.name} has the names of {len(layout.names)} columns and no rows of data")


def _check_cells(where: str, cells: list[str], names: list[str], features: list[int], target: int | None) -> None:
    _require_text("".join(cells), where)
    if len(cells) != len(names):
        raise ValueError(f"{where} has {len(cells)} cells; {len(names)} are wanted")
    for j in features:
        if not cells[j].strip():
            raise ValueError(f"{where}, column {names[j]!r} is empty; a number is wanted")
        if not _is_finite(cells[j]):
            raise ValueError(f"{where}, column {names[j]!r} holds {cells[j]!r}; a finite number is wanted")
    if target is not None and not cells[target].strip():
        raise ValueError(f"{where}, column {names[target]!r} is empty; a label is wanted")


def _opened(path: Path) -> TextIO:
    """A file opened for reading. Bytes that are no UTF-8 become lone surrogates, so that `_require_text` can say in
    which line they are; a decoding error would come earlier, when a block of lines is read."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def _require_text(text: str, where: str) -> None:
    if not text.isascii() and _BYTES.search(text):
        raise ValueError(f"{where} is not UTF-8 text")


def _is_finite(cell: str) -> bool:
    return _is_number(cell) and math.isfinite(float(cell))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell
