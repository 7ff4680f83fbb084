"""Data frames of any library: the names of their columns, and their numbers as an array.

A frame is known by what it offers, so that none of these libraries need be installed: pandas, polars, pyarrow, narwhals
and those that look like them are read column by column; others hand their columns over as Arrow data, to pyarrow.
Where all columns have one dtype, NumPy reads the frame at once, which of most pandas frames takes no copy.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from .. import _extras

# So many names are listed in a message.
LISTED = 5


def is_frame(X: Any) -> bool:
    """Whether X is a table with columns, and no array."""
    kind = type(X)  # whose attributes nothing computes: a lazy frame would look for its columns
    if kind is np.ndarray:
        return False
    named = hasattr(kind, "columns") or hasattr(kind, "column_names") or hasattr(kind, "__dataframe__")
    return named or (hasattr(kind, "__arrow_c_stream__") and not hasattr(kind, "__array__"))


def column_names(frame: Any) -> list[Any]:
    """The names of a frame's columns, as they are: most are str, those of pandas may be anything."""
    _require_rows(frame)
    if hasattr(frame, "column_names"):  # first: the `columns` of pyarrow are the columns themselves
        return list(frame.column_names)
    return list(frame.columns if hasattr(frame, "columns") else _table(frame).column_names)


def columns_in_order(given: Sequence[Any], wanted: Sequence[str]) -> list[int] | None:
    """For each column of a frame, the number of its name among those that are wanted; None if the frame has no names.

    Columns that are numbered 0, 1, 2, ... and not so called in ``wanted`` have no names: pandas numbers those of an
    array so.

    Raises
    ------
    ValueError
        For names that are missing, unknown or given twice.
    """
    names = [str(name) for name in given]
    if names == list(wanted):
        return list(range(len(names)))
    missing, unknown = [w for w in wanted if w not in set(names)], [n for n in names if n not in set(wanted)]
    if unknown and list(given) == list(range(len(given))):
        return None
    if missing or unknown:
        parts = [f"lacks {_listed(missing)}"] * bool(missing)
        parts += [f"has {_listed(unknown)}, which the model does not know"] * bool(unknown)
        raise ValueError(f"X {' and '.join(parts)}; the model's columns are {_listed(wanted)}, in any order")
    for owner, those in (("X", names), ("the model", list(wanted))):
        if len(set(those)) < len(those):
            twice = next(name for name in those if those.count(name) > 1)
            raise ValueError(f"{owner} has several columns {twice!r}; names that occur once are wanted")
    number = {name: i for i, name in enumerate(wanted)}
    return [number[name] for name in names]


def frame_values(frame: Any, name: str = "X") -> Any:
    """The numbers of a frame: an array (rows, columns) of the dtype that holds them all, or a sparse one of SciPy where
    all columns of a pandas frame are sparse. Missing values are NaN.

    Raises
    ------
    TypeError
        For a column that holds neither numbers nor booleans, which is named, and for a frame without rows in memory.
    """
    _require_rows(frame)
    if not any(hasattr(frame, way) for way in ("iloc", "column", "get_column")):
        frame = _table(frame)
    dtypes = _dtypes(frame)
    if dtypes and all(getattr(dtype, "fill_value", None) == 0 for dtype in dtypes):
        return frame.sparse.to_coo()
    if len(set(map(str, dtypes))) == 1:
        array = np.asarray(frame)
        if array.ndim == 2 and array.dtype.kind in "fiub":
            return array
    columns = [_numbers(_column(frame, i), label, name) for i, label in enumerate(column_names(frame))]
    out = np.empty((len(frame), len(columns)), np.result_type(*columns) if columns else np.float64, order="F")
    for i, column in enumerate(columns):
        out[:, i] = column
    return out


def _require_rows(frame: Any) -> None:
    """Raise for a lazy frame."""
    if hasattr(type(frame), "collect"):
        raise TypeError(f"X is a {type(frame).__name__}, whose rows are not in memory yet; X.collect() reads them")


def _dtypes(frame: Any) -> list[Any]:
    """The dtype of each column, as the frame's library has it."""
    if hasattr(frame, "dtypes"):
        return list(frame.dtypes)
    schema = frame.schema
    return list(schema.types if hasattr(schema, "types") else schema.values())


def _column(frame: Any, i: int) -> Any:
    """A column by its number, since names may occur twice."""
    if hasattr(frame, "iloc"):
        return frame.iloc[:, i]
    return frame.column(i) if hasattr(frame, "column") else frame.get_column(frame.columns[i])


def _numbers(column: Any, label: Any, name: str) -> np.ndarray:
    """A column as an array of numbers or booleans."""
    array = np.asarray(column)
    if array.dtype.kind == "O":  # decimals, and columns of dtypes that NumPy lacks with values missing
        values = [np.nan if _is_missing(value) else value for value in array.tolist()]
        if all(isinstance(value, (numbers.Real, Decimal)) for value in values):
            return np.array(values, np.float64)
    if array.dtype.kind not in "fiub":
        dtype = getattr(column, "dtype", getattr(column, "type", array.dtype))
        raise TypeError(f"{name} has a column {label!r} of dtype {dtype}; numbers or booleans are wanted")
    return array


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType"


def _table(frame: Any) -> Any:
    """The Arrow table of a frame that NumPy cannot read by columns."""
    purpose = f"a frame of type {type(frame).__name__}"
    if hasattr(frame, "__arrow_c_stream__"):
        return _extras.load("pyarrow", purpose).table(frame)
    if not hasattr(frame, "__dataframe__"):
        raise TypeError(
            f"X is a {type(frame).__name__}, whose columns cannot be read; an array or a data frame is wanted"
        )
    return _extras.load("pyarrow.interchange", purpose).from_dataframe(frame)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more
