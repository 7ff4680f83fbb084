"""The first rows of a text cell by cell, and what a cell may be: from them the layout of a file is judged."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

import numpy as np

# What stands for a missing number: what pandas, R, SQL, SAS and the UCI repository write.
MISSING = frozenset(
    "#N/A|#N/A N/A|#NA|-1.#IND|-1.#QNAN|-NaN|-nan|1.#IND|1.#QNAN|N/A|NA|NULL|NaN|n/a|nan|null|Null|None|<NA>|NaT|?|.|"
    "#DIV/0!|#VALUE!".split("|")
) | {""}
TRUE, FALSE = frozenset(["true", "TRUE", "True"]), frozenset(["false", "FALSE", "False"])
# Numbers with any decimal mark and separators of thousands: which ones they are is judged later.
_NUMBER = re.compile(r"[+-]?(?=[.,']*\d)[\d.,']+([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)
_OPEN = re.compile(rb'[ \t]*"[^"]*(?:""[^"]*)*\Z')
# So much of a text is looked at, and so many rows at least and at most.
_HEAD, _FEWEST, _MOST = 1 << 16, 4, 50


class Cell(NamedTuple):
    """A cell without quotes and surrounding spaces (bytes that are no UTF-8 are lone surrogates), and its offset."""

    text: str
    quoted: bool
    offset: int


def is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def is_value(cell: str) -> bool:
    """Whether a cell may stand in a column of numbers."""
    return is_number(cell) or cell in MISSING or cell in TRUE or cell in FALSE


def parsed(text: bytes, sep: str) -> Iterator[tuple[int, list[Cell]]]:
    """The rows of a text, and the offset of each. Blank lines are left out; the separator " " is any run of blanks."""
    cell, gap = _patterns(sep)
    at, start, row = 0, 0, list[Cell]()
    while at < len(text):
        if sep == " " and not row and (blanks := gap.match(text, at)):
            at = blanks.end()
        match = cell.match(text, at)
        assert match is not None  # an empty cell matches
        row.append(_cell(match["quoted"], match["plain"], at))
        at = match.end()
        if separator := gap.match(text, at):
            at = separator.end()
            if at < len(text) and text[at] not in b"\r\n":
                continue
            if sep != " ":
                row.append(Cell("", False, at))
        if len(row) > 1 or row[0].text or row[0].quoted:
            yield start, row
        at += 2 if text.startswith(b"\r\n", at) else 1
        start, row = at, []


def _cell(quoted: bytes | None, plain: bytes | None, at: int) -> Cell:
    content = (plain or b"") if quoted is None else quoted.replace(b'""', b'"')
    return Cell(content.decode("utf-8", "surrogateescape").strip(), quoted is not None, at)


@lru_cache
def _patterns(sep: str) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """A cell, and what separates it from the next."""
    within = r" \t" if sep == " " else re.escape(sep)  # for a class of characters
    pad = "" if sep == " " else " *" if sep == "\t" else r"[ \t]*"
    cell = rf'{pad}"(?P<quoted>[^"]*(?:""[^"]*)*)"{pad}(?=[{within}\r\n]|\Z)|(?P<plain>[^{within}\r\n]*)'
    return re.compile(cell.encode()), re.compile(rf"[{within}]{'+' if sep == ' ' else ''}".encode())


def head(text: np.ndarray, sep: str) -> list[tuple[int, list[Cell]]]:
    """The first rows of a text, with their offsets."""
    size = _HEAD
    while True:
        piece = bytes(text[:size])
        found = list(islice(parsed(piece, sep), _MOST + 1))
        # A quote that is not closed in this piece may be closed behind it.
        doubtful = (cell for _, row in found for cell in row if cell.text.startswith('"') and not cell.quoted)
        cut = any(_OPEN.match(piece, cell.offset) for cell in doubtful)
        if size >= len(text) or (len(found) > _MOST and not cut):
            return found[:_MOST]
        if len(found) > _FEWEST and not cut:
            return found[:-1]  # the last may be cut off
        size *= 4


def column(rows: Iterable[list[Cell]], j: int) -> list[str]:
    """The cells of a column, those of shorter rows left out."""
    return [row[j].text for row in rows if j < len(row)]
