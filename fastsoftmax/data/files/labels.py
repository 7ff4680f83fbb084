"""Labels: what a file holds, as integers, booleans or text."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ... import _extras
from .columns import TABLES_NEED, kind_of

# Text that an integer is written as: no sign +, no leading zero, digits of ASCII alone. Other text is not turned into a
# number, because 7 and 07, or 1000 and 1E3, would become one class.
_INTEGER = re.compile("0|-?[1-9][0-9]{0,19}")
# Text such as "4.5" may be a label, a version or a grade. So many of them are a measured quantity.
_MOST_FRACTIONS = 100


def labels(y: np.ndarray, path: Path, target: str, rows: int | None = None) -> np.ndarray:
    """Labels as they came: integers and booleans in their own dtype, whole floats as int64, and text.

    Text becomes integers (int64, or uint64 where that is too small) only if every label is what an integer is written
    as. All labels, or the distinct ones of so many ``rows``, decide it together.

    Raises
    ------
    ValueError
        For floats that are fractions, not finite or beyond 2^53, where not every integer is a float; for text that
        looks like a measured quantity; for bytes that are no UTF-8; and for any other dtype.
    """
    where = f"{path.name}, target column {target!r}"
    if y.dtype.kind in "biu":
        return y.astype(y.dtype.newbyteorder("="), copy=False)
    if y.dtype.kind == "f":
        y = y.astype(np.promote_types(y.dtype, np.float64))  # 2^53 is no float16
        with np.errstate(invalid="ignore"):  # a file may hold signalling NaN
            wrong = np.flatnonzero(~(np.isfinite(y) & (np.floor(y) == y) & (abs(y) < 2**53)))
        if len(wrong):
            raise ValueError(
                f"{where} holds the number {y[wrong[0]]}; labels are whole numbers or text (floats below 2^53 only)"
            )
        return y.astype(np.int64)
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{where} holds bytes that are no UTF-8; whole numbers or text are wanted") from None
    if y.dtype.kind != "U":
        raise ValueError(f"{where} holds {y.dtype}; whole numbers or text are wanted as labels")
    y = y.astype(y.dtype.newbyteorder("="), copy=False)
    if y.dtype.itemsize and np.ascontiguousarray(y).view(np.uint32).max(initial=0) > sys.maxunicode:
        raise ValueError(f"{where} holds text with numbers that are no characters; whole numbers or text are wanted")
    distinct = set(y.tolist())
    if all(map(_INTEGER.fullmatch, distinct)):
        return _as_integers(y, [int(text) for text in distinct])
    if len(distinct) > min(_MOST_FRACTIONS, (rows or len(y)) // 2) and all(map(_is_finite, distinct)):
        fraction = next((text for text in y.tolist() if float(text) % 1), None)
        if fraction is not None:
            raise ValueError(
                f"{where} holds {len(distinct)} different numbers, as {fraction}; labels are whole numbers or text"
            )
    return y


def _as_integers(y: np.ndarray, values: list[int]) -> np.ndarray:
    """The text ``y`` as integers, or as it is where 64 bits do not hold all of the values."""
    for dtype in (np.int64, np.uint64):
        if not values or (np.iinfo(dtype).min <= min(values) and max(values) <= np.iinfo(dtype).max):
            return y.astype(dtype)
    return y


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def encoded(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a pyarrow column, text as Python's, and the number of each row's value."""
    array = column.dictionary_encode().unify_dictionaries().combine_chunks()
    values = array.dictionary
    text = kind_of(values.type) == "text"
    return np.array(values.to_pylist(), object) if text else values.to_numpy(False), array.indices.to_numpy()


def column_labels(parts: list[Any], path: Path, target: str) -> np.ndarray:
    """Labels of a pyarrow column without nulls or dictionaries, of which each of the ``parts`` has some rows."""
    where = f"{path.name}, target column {target!r}"
    values, codes = encoded(_joined([_plain(part, where) for part in parts], where))
    return np.take(column_labels_of(values, path, target, len(codes)), codes)


def column_labels_of(values: np.ndarray, path: Path, target: str, rows: int) -> np.ndarray:
    """The labels that the distinct values of a column stand for, which has so many rows."""
    if values.dtype.kind == "O":
        cut = next((text for text in values if text.endswith("\0")), None)
        if cut is not None:  # NumPy would drop the end, and two labels might become one
            where = f"{path.name}, target column {target!r}"
            raise ValueError(f"{where} holds {cut!r}; text that ends in a NUL character cannot be a label")
        values = values.astype(str)
    return labels(values, path, target, rows)


def plain_labels(column: Any, path: Path, target: str) -> Any:
    """A column of labels without nulls or dictionaries as integers, floats, booleans or large_string."""
    return _plain(column, f"{path.name}, target column {target!r}")


def _plain(column: Any, where: str) -> Any:
    """A column as integers, floats, booleans or large_string, whatever stores them."""
    pyarrow = _extras.load("pyarrow", TABLES_NEED)
    kind = kind_of(column.type)
    if kind in ("integer", "float", "bool"):
        return column
    if kind in ("text", "binary"):
        column, wrong = _cast(column, [pyarrow.string()]), "bytes that are no UTF-8"
    elif kind == "decimal":
        column, wrong = _cast(column, _wide("integer")), f"{column.type} that are no integers of 64 bits"
    else:
        column, wrong = None, str(column.type)
    if column is None:
        raise ValueError(f"{where} holds {wrong}; whole numbers or text are wanted as labels")
    return column.cast(pyarrow.large_string()) if kind in ("text", "binary") else column


def _joined(columns: list[Any], where: str) -> Any:
    """Columns one below the other. Integers or floats of different widths get the wider type."""
    pyarrow = _extras.load("pyarrow", TABLES_NEED)
    types = list({column.type for column in columns})
    kinds = {kind_of(type_) for type_ in types}
    wide = types if len(types) == 1 else _wide(kinds.pop()) if len(kinds) == 1 else []
    for type_ in wide:
        parts = [_cast(column, [type_]) for column in columns]
        if all(part is not None for part in parts):
            return pyarrow.chunked_array([chunk for part in parts for chunk in part.chunks], type_)
    raise ValueError(f"{where} holds {' and '.join(map(str, types))} in different parts; one type is wanted")


def _wide(kind: str) -> list[Any]:
    """The types to try for columns of one kind and several widths."""
    pyarrow = _extras.load("pyarrow", TABLES_NEED)
    return {"integer": [pyarrow.int64(), pyarrow.uint64()], "float": [pyarrow.float64()]}.get(kind, [])


def _cast(column: Any, types: list[Any]) -> Any:
    """The column as the first of the types that holds every value, or None."""
    pyarrow = _extras.load("pyarrow", TABLES_NEED)
    for type_ in types:
        try:
            return column.cast(type_)
        except pyarrow.ArrowInvalid:
            continue
    return None
