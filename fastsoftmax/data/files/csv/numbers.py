"""Columns of text to numbers, where they are written in another way than pyarrow's reader of CSV knows."""

from __future__ import annotations

import re
from typing import Any

from .... import _extras
from ..columns import TABLES_NEED
from .cells import FALSE, MISSING, TRUE

# What stands between thousands in French and Swiss tables beside a plain space.
_HARD_SPACES = ("\u00a0", "\u202f", "\u2009")


def to_numbers(cells: Any, decimal: str, thousands: str) -> tuple[Any, int | None]:
    """A pyarrow column of bytes as float64 with nulls for missing cells; the first row that is no number, or None."""
    pyarrow, pc = _extras.load("pyarrow", TABLES_NEED), _extras.load("pyarrow.compute", TABLES_NEED)
    try:
        cells = pc.utf8_trim_whitespace(cells.cast(pyarrow.string()))
    except pyarrow.ArrowInvalid:
        return cells, first_not_utf8(cells)
    cells = pc.if_else(pc.is_in(cells, value_set=pyarrow.array(sorted(MISSING))), None, cells)
    true, false = (pc.is_in(cells, value_set=pyarrow.array(sorted(words))) for words in (TRUE, FALSE))
    missing = pc.is_null(cells)
    if pc.all(pc.or_(pc.or_(true, false), missing)).as_py():
        return pc.if_else(missing, None, true.cast(pyarrow.float64())), None
    if thousands:
        cells = _without_thousands(pc, cells, decimal, thousands)
    mark = re.escape(decimal)
    sound = pc.match_substring_regex(cells, rf"^[+-]?(\d+({mark}\d*)?|{mark}\d+)([eE][+-]?\d+)?$")
    wrong = pc.index(pc.fill_null(sound, True), False).as_py()
    if wrong >= 0:
        return cells, wrong
    return pc.replace_substring(cells, decimal, ".").cast(pyarrow.float64()), None


def first_not_utf8(cells: Any) -> int:
    """The first row of a pyarrow column of bytes that is not UTF-8."""
    for row, cell in enumerate(cells.to_pylist()):
        try:
            cell.decode()
        except UnicodeDecodeError:
            return row
    raise ValueError("all cells are UTF-8")


def _without_thousands(pc: Any, cells: Any, decimal: str, thousands: str) -> Any:
    """Cells less their separators of thousands, where these stand between groups of three digits."""
    if thousands == " ":
        for space in _HARD_SPACES:
            cells = pc.replace_substring(cells, space, " ")
    between, mark = re.escape(thousands), re.escape(decimal)
    grouped = pc.match_substring_regex(cells, rf"^[+-]?\d{{1,3}}({between}\d{{3}})+({mark}\d*)?([eE][+-]?\d+)?$")
    return pc.if_else(grouped, pc.replace_substring(cells, thousands, ""), cells)
