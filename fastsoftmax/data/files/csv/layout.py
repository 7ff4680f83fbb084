"""The layout of a text table: its separator, its names, where its rows begin, and what was guessed of that."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..columns import listed
from ..data import ReadOptions
from .cells import FALSE, MISSING, TRUE, Cell, column, head, is_number, is_value, parsed
from .header import has_names, row_names
from .quotes import CHUNK, line_ends, line_of

_SEPARATORS = {"\t": "tabs", ";": "semicolons", "|": "vertical bars", ",": "commas", " ": "spaces"}
_SPELLED = {r"\t": "\t", "tab": "\t", "space": " ", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass
class Layout:
    """How a text table is laid out.

    Attributes
    ----------
    sep, decimal : str
        The separator (" " for runs of spaces and tabs) and the decimal mark.
    start, begin : int
        Offsets of the first row and of the first row of data.
    names : list of str
        Names of all columns; their numbers where the file has none.
    header : bool
        Whether the file has names.
    truths : set of int
        Columns that hold True and False in the first rows.
    left_out : set of int
        Columns that are no features: an index, and columns without name and content.
    notes : list of str
        What was guessed.
    """

    sep: str
    start: int
    begin: int = 0
    names: list[str] = field(default_factory=list)
    header: bool = False
    decimal: str = "."
    truths: set[int] = field(default_factory=set)
    left_out: set[int] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def layout(text: np.ndarray, options: ReadOptions, known: Sequence[str] = (), usual: str = ",") -> Layout:
    """The layout of a text table, from its first rows alone. Errors say the line, and not the file.

    Parameters
    ----------
    text : ndarray of uint8
    options : ReadOptions
    known : sequence of str
        Names of columns that are wanted.
    usual : str
        The separator that need not be told.
    """
    sep, start = _told_separator(text, options)
    start, comment = _after_comments(text, start)
    if start == len(text) or text[start] in b"\r\n":
        raise ValueError(f"line {line_of(text, start)} is empty; the names of the columns, or data, are wanted")
    made = Layout(sep or _best_separator(text[start:]), start)
    if comment and (left := line_of(text, start) - line_of(text, comment[0])):
        made.notes.append(f"{left} line{'s' * (left > 1)} before the first row, beginning with #, left out")
    if sep is None and made.sep != usual:
        made.notes.append(f"cells are separated by {_SEPARATORS[made.sep]} (--sep says otherwise)")
    data = _read_names(made, text, options, known, comment[1] if comment else b"")
    _read_decimal(made, data, options)
    made.truths = {j for j in range(len(made.names)) if _holds_truth(column(data, j))}
    _leave_out(made, data)
    return made


def _told_separator(text: np.ndarray, options: ReadOptions) -> tuple[str | None, int]:
    """The separator that the person or the first line ("sep=;", which Excel reads) says, and where the rest begins."""
    first = re.match(rb"sep=([^\w\"\r\n])\r?\n", bytes(text[:16]), re.IGNORECASE)
    told = first[1].decode("latin-1") if first else None
    sep = _SPELLED.get(options.sep or "", options.sep) if options.sep is not None else told
    if sep is not None and (len(sep) != 1 or not sep.isascii() or sep in '"\r\n\0' or sep.isalnum()):
        raise ValueError(f"the separator is {sep!r}; one character is wanted, such as , ; | or tab, or space")
    return sep, first.end() if first else 0


def _after_comments(text: np.ndarray, start: int) -> tuple[int, tuple[int, bytes] | None]:
    """The offset behind leading lines that begin with #; where these begin and the last of them, if there are any."""
    begin, last = start, b""
    while start < len(text) and text[start] == ord("#"):
        ends = line_ends(text, start, min(start + CHUNK, len(text)))
        stop = int(ends[0]) + 1 if len(ends) else len(text)
        last, start = bytes(text[start:stop]), stop
    # Rows whose first cells begin with # are no comments: then all lines do.
    return (start, (begin, last)) if last and start < len(text) else (begin, None)


def _best_separator(text: np.ndarray) -> str:
    """The separator by which most of the first rows have the same number of cells, and most cells are numbers."""
    best, best_score = ",", 0.0
    for sep in _SEPARATORS:
        rows = [row for _, row in head(text, sep)]
        width, share = _width(rows)
        if width == 1 or share <= 0.5:
            continue
        cells = [cell.text for row in rows[1:] if len(row) == width for cell in row if cell.text not in MISSING]
        numbers = sum(map(is_value, cells)) / (len(cells) or 1)
        score = share**2 * (0.1 + numbers)
        if score > best_score:
            best, best_score = sep, score
    return best


def _width(rows: Sequence[list[Cell]]) -> tuple[int, float]:
    """The number of cells that most rows have, more than one if any, and the share of these rows."""
    width, count = max(Counter(map(len, rows)).items(), key=lambda item: (item[0] > 1, item[1]))
    return width, count / len(rows)


def _read_names(
    made: Layout, text: np.ndarray, options: ReadOptions, known: Sequence[str], comment: bytes
) -> list[list[Cell]]:
    """Set names, header and begin; return the first rows of data."""
    found = head(text[made.start :], made.sep)
    offsets, rows = [offset for offset, _ in found], [row for _, row in found]
    line, width = line_of(text, made.start), _width(rows)[0]
    _require_text([cell.text for cell in rows[0]], line)
    if len(rows) > 1 and len(rows[0]) == width - 1 and options.header is not False:
        rows[0].insert(0, Cell("", True, 0))  # write.table of R gives its row names no name
    shown = listed([cell.text for cell in rows[0][:6]])[:40]
    header = options.header
    if header is None:
        header = has_names(rows, known)
    if header is None:
        raise ValueError(f"line {line} ({shown}) may hold names or data: --header or --no-header says which")
    commented = next(rows_of(comment.lstrip(b"#"), made.sep), []) if options.header is not False and not header else []
    made.header = header or len(commented) == width
    if header:
        made.begin = made.start + offsets[1] if len(rows) > 1 else len(text)
        made.names = [cell.text for cell in rows[0]]
    else:
        made.begin = made.start
        made.names = [cell.text for cell in commented] if made.header else [str(j) for j in range(len(rows[0]))]
    if options.header is None:
        _tell_header(made, header, line, shown)
    return rows[1:] if header else rows


def _tell_header(made: Layout, first: bool, line: int, shown: str) -> None:
    """Say what was guessed of the header where it might be otherwise."""
    if first and any(map(is_number, made.names)):
        made.notes.append(f"line {line} ({shown}) holds the names of the columns (--no-header if it is data)")
    elif made.header and not first:
        made.notes.append(f"line {line - 1}, which begins with #, holds the names of the columns (--no-header if not)")
    elif not made.header:
        made.notes.append(f"line {line} ({shown}) is data: columns are numbered from 0 (--header if it holds names)")


def _read_decimal(made: Layout, data: Sequence[list[Cell]], options: ReadOptions) -> None:
    """Set the decimal mark. It is guessed to be a comma where cells cannot be numbers otherwise."""
    made.decimal = options.decimal or "."
    if options.decimal is not None or options.thousands or made.sep == ",":
        return
    numbers = [cell.text for row in data for cell in row if is_number(cell.text)]
    commas = [cell for cell in numbers if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", cell)]
    points = any("." in cell for cell in numbers)
    if not points and any(not re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell) for cell in commas):
        made.decimal = ","
        made.notes.append(f"the decimal mark is a comma, as in {commas[0]} (--decimal says otherwise)")


def _holds_truth(cells: Sequence[str]) -> bool:
    values = {cell for cell in cells if cell not in MISSING}
    return bool(values) and values <= TRUE | FALSE


def _leave_out(made: Layout, data: Sequence[list[Cell]]) -> None:
    """Leave out an index, and columns without name or content, as a separator at the ends of lines makes them."""
    index = row_names(made.names, data, made.header)
    made.left_out.update(range(index))
    if index:
        called = "has no name and holds row names" if made.header else "counts the rows"
        made.notes.append(f"the first column {called}: left out (a name in the header keeps it)")
    for j in range(index, len(made.names)):
        if made.names[j] == "" and data and not any(column(data, j)):
            made.left_out.add(j)
            made.notes.append(f"column {j} (the first is 0) has no name and no content: left out")


def rows_of(line: bytes, sep: str) -> Iterator[list[Cell]]:
    return (row for _, row in parsed(line, sep))


def _require_text(cells: Sequence[str], line: int) -> None:
    if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell):
        raise ValueError(f"line {line} is not UTF-8 text: --encoding says what it is, such as latin-1 or cp1252")
