"""Whether the first row of a table holds names or data, where nobody says so.

What is judged is how the first row differs from those below it. Where that leaves a doubt the answer is None, and the
person is asked: to take a row of data for names loses it, and to take names for data trains on them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .cells import MISSING, Cell, column, is_number, is_value

# Fewer rows than these say nothing of the range of a column's values.
_RANGE_ROWS = 5
_COUNTED = 5


def has_names(rows: Sequence[list[Cell]], known: Sequence[str] = ()) -> bool | None:
    """Whether the first of the rows holds names; None if that is in doubt.

    Parameters
    ----------
    rows : sequence of list of Cell
        The first rows of the table.
    known : sequence of str
        Names that are wanted of the table. If all are in the first row, and not all are numbers, it holds names.
    """
    first, rest = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    texts = [cell.text for cell in first]
    if known and set(known) <= set(texts) and not all(map(is_number, known)):
        return True
    if not rest:
        return None if any(map(is_number, texts)) else True
    columns = [[cell for cell in column(rest, j) if cell not in MISSING] for j in range(len(first))]
    numeric = [j for j, cells in enumerate(columns) if cells and all(map(is_value, cells))]
    words = [j for j in numeric if not is_value(texts[j])]
    numbers = [j for j in numeric if is_value(texts[j]) and texts[j] not in MISSING]
    # A label of the first row that occurs again below is no name.
    words_below = set(range(len(first))) - set(numeric)
    seen = any(texts[j] in columns[j] for j in words_below if not is_value(texts[j]))
    if not numbers:
        return True if words else (False if seen else None if numeric else True)
    if 2 * len(words) >= len(numeric) or _only_names_are_quoted(rows, numbers):
        return True
    likeness = _names_of_numbers([texts[j] for j in numbers])
    counting = [texts[j] for j in numbers] == [str(i) for i in range(len(numbers))]
    if words or (texts[0] == "" and counts(column(rest, 0))):
        return True if (likeness or counting) and not seen else None
    if seen or likeness is False:
        return False
    data = _in_range([first[j].text for j in numbers], [columns[j] for j in numbers])
    if likeness:
        return True if not data or (counting and len(numbers) > 7) else None
    return False if data else None


def counts(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers in turn, from 0 or 1, as row numbers are; at least a few of them."""
    return len(cells) > 0 and any(list(cells) == [str(i + k) for i in range(len(cells))] for k in (0, 1))


def row_names(names: Sequence[str], rows: Sequence[list[Cell]], header: bool) -> int:
    """How many columns, from the first on, are an index: row numbers or names, as pandas and R write them.

    They have no name (or the one that pandas gives a column without a name), and no value twice. Where no column has a
    name, the first is an index if it counts.
    """
    if not header:
        return int(len(rows) >= _COUNTED and len(names) > 2 and counts(column(rows, 0)))
    number = 0
    while number < len(names) and re.fullmatch(r"(Unnamed: \d+(_level_\d+)?(\.\d+)*)?", names[number]):
        cells = column(rows, number)
        if len(set(cells)) < len(cells) or "" in cells:
            break
        number += 1
    return number


def _only_names_are_quoted(rows: Sequence[list[Cell]], numbers: list[int]) -> bool:
    return all(rows[0][j].quoted for j in numbers) and not any(
        row[j].quoted for row in rows[1:] for j in numbers if j < len(row)
    )


def _names_of_numbers(texts: list[str]) -> bool | None:
    """Whether numbers look like names (wavelengths, years, 1 to n), could be some, or (False) cannot."""
    whole = all(re.fullmatch(r"\d+", text) for text in texts)
    try:
        values = [float(text) for text in texts]
    except ValueError:  # a decimal comma, or True and False
        return False
    steps = [b - a for a, b in zip(values, values[1:], strict=False)]
    rising = bool(steps) and (min(steps) > 0 or max(steps) < 0)
    even = bool(steps) and max(steps) - min(steps) <= 1e-6 * max(map(abs, values), default=0)
    if len(set(values)) < len(values) or min(values) < 0 or not (whole or rising):
        return False
    return True if len(values) > 2 and rising and (whole or even) else None


def _in_range(texts: list[str], columns: list[list[str]]) -> bool:
    """Whether most numbers of the first row lie within those of their columns, as a row of data does."""
    within = 0
    for text, cells in zip(texts, columns, strict=True):
        try:
            values = [float(cell) for cell in cells]
            within += len(values) >= _RANGE_ROWS and min(values) <= float(text) <= max(values)
        except ValueError:
            pass
    return 4 * within >= 3 * len(texts)
