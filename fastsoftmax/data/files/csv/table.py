"""A text table, read by pyarrow."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .... import _extras
from ...archive import first_line
from ...validation import nonfinite_place
from ..columns import TABLES_NEED, filled, listed
from ..data import Data, ReadOptions
from ..labels import encoded, labels
from . import buffer
from .cells import FALSE, MISSING, TRUE, Cell, is_value, parsed
from .layout import layout
from .numbers import first_not_utf8, to_numbers
from .quotes import Quotes, UnclosedQuote, line_of

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
# The reader's block: a row must fit in it.
_BLOCK, _LARGEST_BLOCK = 1 << 20, (1 << 31) - 1


class CsvTable:
    """A text table. Its first rows are read at once, so that a wrong target is an error before a long read.

    Parameters
    ----------
    path : Path
    options : ReadOptions
    known : sequence of str
        Names of columns that are wanted, which help to tell whether the file has names.
    """

    def __init__(self, path: Path, options: ReadOptions, known: Sequence[str] = ()) -> None:
        self.path, self.options = path, options
        text = buffer.load(path, options.encoding)
        usual = "\t" if {".tsv", ".tab"} & set(path.suffixes) else ","
        try:
            made = layout(text, options, known, usual)
        except ValueError as error:
            raise ValueError(f"{path.name}, {error}") from None
        self.layout, self.names, self.header = made, made.names, made.header
        self.notes = made.notes
        if made.decimal == made.sep or made.decimal == options.thousands or len(made.decimal) != 1:
            raise ValueError(
                f"{path.name}: the decimal mark is {made.decimal!r}, the separator of cells {made.sep!r}, that of "
                f"thousands {options.thousands!r}; three different characters are wanted"
            )
        self.first_line = line_of(text, made.start)
        self.text = text[made.start : made.begin]
        self._check_quotes(lambda line: line.count(made.sep.encode()) == len(self.names) - 1)  # of the names
        self.ignored = _ignored(made.names, options.ignore, path)
        self.left_out = made.left_out | self.ignored
        self.first_line = line_of(text, made.begin)
        self.text = text[made.begin :]
        if not self.text.size or not bytes(self.text[:_BLOCK]).strip():
            raise ValueError(f"{path.name} has the names of {len(self.names)} columns and no rows of data")

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """Read the columns with these numbers, and the labels in column ``target``."""
        features = list(features)
        lost = [j for j in [*features, *([] if target is None else [target])] if j in self.ignored]
        if lost:
            raise ValueError(f"{self.path.name}: column {self.names[lost[0]]!r} is needed, and is to be ignored")
        names = [self.names[j] for j in features]
        X, coded = self.rows(features, target)
        if target is None or coded is None:
            return Data(X, None, names, "", tuple(self.notes))
        values, codes = coded
        y: np.ndarray = labels(values, self.path, self.names[target], len(codes))[codes]
        return Data(X, y, names, self.names[target], tuple(self.notes))

    def piece(self, begin: int, end: int) -> CsvTable:
        """The table of some whole rows, by their place in the text of all of them."""
        out = copy.copy(self)
        out.text, out.notes = self.text[begin:end], []
        out.first_line = self.first_line + line_of(self.text, begin) - 1
        return out

    def rows(self, features: list[int], target: int | None) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        """The numbers in some columns, and the distinct labels with the number of each row's."""
        if self.layout.sep == " ":
            self.text = _single_spaced(self.text)
        elif len(self.names) == 1:
            self.text = _without_last_line_ends(self.text)
        breaks = self._check_quotes(lambda line: self._is_row(line, features))
        columns, label = self._columns(features, target, breaks)
        columns = self._without_missing(columns, features)
        X = filled(columns, len(columns[0]) if columns else 0, np.dtype(np.float64))
        bad = nonfinite_place(X) if features else None
        if bad is not None:
            raise self._wrong_number(bad[0], features[bad[1]])
        return X, None if target is None else self._coded(label, target)

    # ------------------------------------------------------------------------------------ columns

    def _columns(self, features: list[int], target: int | None, breaks: int) -> tuple[list[Any], Any]:
        """The columns as pyarrow's, nulls for missing cells, and that of the labels. Each is a number, or it is bytes
        at first: only pyarrow's own notation of numbers is read in one go."""
        pyarrow = _extras.load("pyarrow", TABLES_NEED)
        types = {j: pyarrow.bool_() if j in self.layout.truths else pyarrow.float64() for j in features}
        label = {} if target is None else {target: pyarrow.string()}
        if not self.options.thousands:
            try:
                table = self._read(types | label, breaks)
                numbers = [table.column(str(j)).cast(pyarrow.float64()) for j in features]
                return numbers, None if target is None else table.column(str(target))
            except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError):
                self._require_same_width()
        try:
            table = self._read(dict.fromkeys(types | label, pyarrow.binary()), breaks)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError) as error:
            self._require_same_width()
            raise ValueError(f"{self.path.name} is no sound table: {first_line(error)[:200]!r}") from None
        found = [to_numbers(table.column(str(j)), self.layout.decimal, self.options.thousands) for j in features]
        bad = min(((row, j) for j, (_, row) in zip(features, found, strict=True) if row is not None), default=None)
        if bad is not None:
            raise self._wrong_number(*bad)
        return [column for column, _ in found], None if target is None else self._text(table, target)

    def _read(self, types: dict[int, Any], breaks: int, block: int = _BLOCK) -> Any:
        """The columns as pyarrow reads them. ArrowInvalid if a row has more or fewer cells, or one of another type."""
        pyarrow, module = _extras.load("pyarrow", TABLES_NEED), _extras.load("pyarrow.csv", TABLES_NEED)
        rows = None
        if breaks:
            rows, longest = self._extent()
            block = max(block, min(2 * longest, _LARGEST_BLOCK))
        numbers = [str(j) for j in range(len(self.names))]
        try:
            table = module.read_csv(
                pyarrow.BufferReader(pyarrow.py_buffer(self.text)),
                module.ReadOptions(column_names=numbers, block_size=block),
                module.ParseOptions(
                    delimiter=self.layout.sep, newlines_in_values=breaks > 0, ignore_empty_lines=len(numbers) > 1
                ),
                module.ConvertOptions(
                    column_types={str(j): kind for j, kind in types.items()},
                    include_columns=[str(j) for j in types],
                    null_values=sorted(MISSING),
                    true_values=sorted(TRUE),
                    false_values=sorted(FALSE),
                    decimal_point=self.layout.decimal,
                ),
            )
        except pyarrow.ArrowInvalid as error:
            if "straddl" not in str(error) or block > _BLOCK:
                raise
            return self._read(types, breaks, min(2 * self._extent()[1], _LARGEST_BLOCK))
        if rows is not None and table.num_rows != rows:
            raise ValueError(f"{self.path.name} has {rows} rows, and {table.num_rows} were read; please report it")
        return table

    def _without_missing(self, columns: list[Any], features: list[int]) -> list[Any]:
        """The columns with the number that stands for missing cells; ValueError for the first if there is none."""
        pc = _extras.load("pyarrow.compute", TABLES_NEED)
        missing = {j: column for j, column in zip(features, columns, strict=True) if column.null_count}
        if not missing:
            return columns
        if self.options.fill is None:
            row, j = min((pc.index(pc.is_null(column), True).as_py(), j) for j, column in missing.items())
            raise self._wrong_number(row, j)
        count = sum(column.null_count for column in missing.values())
        self.notes.append(f"{count:,} missing cell{'s' * (count > 1)} read as {self.options.fill:g}")
        return [column.fill_null(self.options.fill) if column.null_count else column for column in columns]

    def _text(self, table: Any, target: int) -> Any:
        """The labels as text."""
        pyarrow = _extras.load("pyarrow", TABLES_NEED)
        column = table.column(str(target))
        try:
            return column.cast(pyarrow.string())
        except pyarrow.ArrowInvalid:
            raise self._not_utf8(self._place(first_not_utf8(column), target)[0]) from None

    def _coded(self, column: Any, target: int) -> tuple[np.ndarray, np.ndarray]:
        values, codes = encoded(column)
        classes = [text.strip() for text in values]
        wrong = next((code for code, text in enumerate(classes) if not text or "\0" in text), None)
        if wrong is not None:  # NumPy drops NUL at the end of a text, and two labels might become one
            line, cell = self._place(int(np.flatnonzero(codes == wrong)[0]), target)
            holds = f"holds {cell!r}" if cell else "is empty"
            raise ValueError(f"{self.path.name}, line {line}, column {self.names[target]!r} {holds}; a label is wanted")
        return np.array(classes), codes

    # -------------------------------------------------------------------------------------- faults

    def _check_quotes(self, is_row: Callable[[bytes], bool]) -> int:
        """The number of line breaks within quotes; ValueError for a quote that is not closed where it should be."""
        sep, n = self.layout.sep, len(self.names)
        try:
            found = Quotes(self.text, sep).check(n, is_row)
        except UnclosedQuote as error:
            raise self._unclosed(error) from None
        if found.breaks:
            line = self.first_line + line_of(self.text, found.first) - 1
            where = (
                f"a line break in line {line} is"
                if found.breaks == 1
                else (f"{found.breaks:,} line breaks, the first in line {line}, are")
            )
            self.notes.append(f"{where} within quotes, and part of cells")
        if found.blanks:
            self.text = np.delete(self.text, found.blanks)
        return found.breaks

    def _is_row(self, line: bytes, features: list[int]) -> bool:
        """Whether a line alone would be a row: all its cells are there, and those of numbers are numbers."""
        cells = line.decode("utf-8", "replace").split(self.layout.sep)
        return len(cells) == len(self.names) and all(is_value(cells[j].strip()) or '"' in cells[j] for j in features)

    def _unclosed(self, error: UnclosedQuote) -> ValueError:
        """The error that says where a quote opens that is not closed."""
        before = self.text[: error.opened]  # the first fault is behind it
        starts = np.concatenate([[0], *Quotes(before, self.layout.sep).row_starts()])
        in_row = bytes(before[starts[-1] :]) if before.size and before[-1] not in b"\r\n" else b""
        row = next(parsed(in_row + b"x", self.layout.sep))[1]
        j = min(len(row), len(self.names)) - 1
        line = self.first_line + line_of(self.text, error.opened) - 1
        if error.followed is None:
            why = "is never closed"
        elif self.text[error.followed] in b"\r\n":
            last = self.first_line + line_of(self.text, error.followed + 1) - 1
            why = f"is not closed on its line, and line {last} is a row of its own"
        else:
            last = self.first_line + line_of(self.text, error.followed) - 1
            why = f"ends on line {last}, where more text follows; a quote within quotes is written twice"
        return ValueError(
            f"{self.path.name}, line {line}, column {self.names[j][:40]!r}: the quote that opens here {why}"
        )

    def _require_same_width(self) -> None:
        n = len(self.names)
        found = Quotes(self.text, self.layout.sep).first_row_of_other_width(n)
        if found is not None:
            line = self.first_line + line_of(self.text, found[0]) - 1
            raise ValueError(f"{self.path.name}, line {line} has {found[1]} cells; {n} are wanted")

    def _extent(self) -> tuple[int, int]:
        """The number of rows, and the length of the longest in bytes, at most."""
        rows, longest, before = 0, 0, 0
        for starts in Quotes(self.text, self.layout.sep).row_starts(len(self.names) == 1):
            rows += len(starts)
            longest = max(longest, int(np.diff(np.concatenate([[before], starts])).max(initial=0)))
            before = int(starts[-1]) if len(starts) else before
        return rows, max(longest, len(self.text) - before)

    def _place(self, row: int, j: int) -> tuple[int, str]:
        """The line and the text of a cell."""
        for starts in Quotes(self.text, self.layout.sep).row_starts(len(self.names) == 1):
            if row < len(starts):
                break
            row -= len(starts)
        begin, size, cells = int(starts[row]), 1 << 16, list[Cell]()
        if self.text[begin] in b"\r\n":  # an empty cell of a table of one column
            return self.first_line + line_of(self.text, begin) - 1, ""
        while len(cells) <= j + 1 and size < 4 * (self.text.size + (1 << 16)):  # the last may be cut off
            cells = next(parsed(bytes(self.text[begin : begin + size]), self.layout.sep))[1]
            size *= 4
        return self.first_line + line_of(self.text, begin + cells[j].offset) - 1, cells[j].text

    def _wrong_number(self, row: int, j: int) -> ValueError:
        line, cell = self._place(row, j)
        where = f"{self.path.name}, line {line}, column {self.names[j]!r}"
        if any("\udc80" <= character <= "\udcff" for character in cell):
            return self._not_utf8(line)
        if cell in MISSING:
            return ValueError(
                f"{where} {f'holds {cell!r}' if cell else 'is empty'}; a finite number is wanted: "
                "--fill NUMBER is read for missing cells, --ignore COLUMN leaves a column out"
            )
        hint = ": --ignore COLUMN leaves a column out"
        if self.layout.decimal != "," and _DECIMAL_COMMA.fullmatch(cell):
            hint = ": --decimal , takes a comma for the decimal mark, --thousands , for a separator of thousands"
        elif re.fullmatch(r"[+-]?\d{1,3}([., '\u00a0\u202f]\d{3})+([.,]\d*)?", cell):
            hint = ": --thousands and --decimal say what separates thousands and what is the decimal mark"
        return ValueError(f"{where} holds {cell!r}; a finite number is wanted{hint}")

    def _not_utf8(self, line: int) -> ValueError:
        return ValueError(
            f"{self.path.name}, line {line} is not UTF-8 text: --encoding says what it is, such as latin-1 or cp1252"
        )


def _ignored(names: list[str], ignore: Sequence[str], path: Path) -> set[int]:
    """The numbers of the columns to leave out: those of a name, or else that of a number."""
    numbers = {str(j) for j in range(len(names))}
    unknown = [name for name in ignore if name not in names and name not in numbers]
    if unknown:
        raise ValueError(f"{path.name} has no column {unknown[0]!r} to ignore; it has {listed(names)}")
    return {j for j, name in enumerate(names) if name in ignore or (str(j) in ignore and str(j) not in names)}


def _single_spaced(text: np.ndarray) -> np.ndarray:
    """A text with one space for each run of spaces and tabs, none at the ends of lines. Quoted cells stay."""
    content = bytes(text)
    if b'"' not in content:
        return np.frombuffer(b"\n".join(b" ".join(line.split()) for line in content.splitlines()), np.uint8)
    content = re.sub(rb'(?<!\S)("[^"]*(?:""[^"]*)*")(?!\S)|[ \t]+', lambda match: match[1] or b" ", content)
    return np.frombuffer(re.sub(rb"(?m)^ +| +(?=[\r\n]|\Z)", b"", content), np.uint8)


def _without_last_line_ends(text: np.ndarray) -> np.ndarray:
    """A text less line ends at its end: in a table of one column other empty lines are empty cells."""
    end = len(text)
    while end and text[end - 1] in b"\r\n":
        end -= 1
    return text[:end]
