"""Data frames of any library: the names of their columns, and their numbers as an array.

A frame is known by what it offers, so that none of these libraries need be installed: pandas, polars, pyarrow and those
that look like them are read column by column, narwhals hands out what it wraps, and others hand their columns over as
Arrow data, to pyarrow. Columns of one dtype that lie one behind the other in memory are an array in F order, which the
kernels take as it is; others are copied to such an array, once.
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
# What frames have and arrays have not.
_COLUMNS = ("columns", "column_names", "data_vars", "__dataframe__")


def is_frame(X: Any) -> bool:
    """Whether X is a table with columns, and no array. Of what only hands over Arrow data a table is expected."""
    kind = type(X)  # whose attributes nothing computes: a lazy frame would look for its columns
    arrow = hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__")
    return has_columns(X) or (arrow and not hasattr(kind, "__array__"))


def has_columns(y: Any) -> bool:
    """Whether y has columns with names, also where it may be a column itself."""
    kind = type(y)
    return kind is not np.ndarray and any(hasattr(kind, what) for what in _COLUMNS)


def opened(frame: Any, name: str = "X") -> Any:
    """A frame whose columns are in memory: the frame itself, or what is in it. A stream is read, which may be possible
    only once.

    Raises
    ------
    TypeError
        For a frame without rows in memory, or with columns that cannot be read.
    """
    kind = type(frame)
    if hasattr(kind, "collect"):
        raise TypeError(f"{name} is a {kind.__name__}, whose rows are not in memory yet; {name}.collect() reads them")
    if hasattr(kind, "to_native"):  # narwhals
        return opened(frame.to_native(), name)
    if hasattr(kind, "data_vars"):
        return _dataset(frame, name)
    by_columns = any(hasattr(kind, way) for way in ("iloc", "column", "get_column"))
    # scikit-learn finds no names in a batch of Arrow rows, but in a table.
    return frame if by_columns and not hasattr(kind, "__arrow_c_array__") else _table(frame, name)


def column_names(frame: Any) -> list[Any]:
    """The names of the columns of an `opened` frame, as they are: most are str, those of pandas may be anything."""
    # The `columns` of pyarrow are the columns themselves.
    return list(frame.column_names if hasattr(frame, "column_names") else frame.columns)


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
    """The numbers of an `opened` frame: an array (rows, columns) of the dtype that holds them all, or a sparse one of
    SciPy where all columns of a pandas frame are sparse. Missing values are NaN.

    Raises
    ------
    TypeError
        For a column that holds neither numbers nor booleans, which is named.
    """
    dtypes = _dtypes(frame)
    if dtypes and all(getattr(dtype, "fill_value", None) == 0 for dtype in dtypes):
        return frame.sparse.to_coo()
    if hasattr(frame, "iloc") and len(set(dtypes)) == 1 and isinstance(dtypes[0], np.dtype):
        array = np.asarray(frame)  # at once: taking the columns of a pandas frame is slow
        if array.ndim == 2 and array.dtype.kind in "fiub":
            return array
    labelled = zip(_columns(frame), column_names(frame), strict=True)
    columns = [[_numbers(chunk, label, name) for chunk in _chunks(column)] for column, label in labelled]
    joined = _one_behind_the_other(columns)
    return _copied(columns, len(frame)) if joined is None else joined


class _Joined:
    """Columns that lie one behind the other, as the array in F order that they are; it keeps them alive."""

    def __init__(self, columns: list[np.ndarray]) -> None:
        m, itemsize = len(columns[0]), columns[0].itemsize
        self.columns = columns
        self.__array_interface__ = {
            "version": 3,
            "typestr": columns[0].dtype.str,
            "data": (_address(columns[0]), True),
            "shape": (m, len(columns)),
            "strides": (itemsize, m * itemsize),
        }


def _one_behind_the_other(chunked: list[list[np.ndarray]]) -> np.ndarray | None:
    """The array in F order that the columns are in memory, or None if they are none. It is read-only."""
    columns = [chunks[0] for chunks in chunked if len(chunks) == 1]
    if not columns or len(columns) < len(chunked) or len({column.dtype for column in columns}) > 1:
        return None
    first, size = _address(columns[0]), columns[0].nbytes
    for i, column in enumerate(columns if size else ()):
        if not column.flags.c_contiguous or _address(column) != first + i * size:
            return None
    return np.asarray(_Joined(columns))


def _address(column: np.ndarray) -> int:
    address: int = column.__array_interface__["data"][0]
    return address


def _copied(columns: list[list[np.ndarray]], m: int) -> np.ndarray:
    """The columns, each in its chunks, in a new array in F order."""
    dtypes = {chunk.dtype for chunks in columns for chunk in chunks}
    out = np.empty((m, len(columns)), np.result_type(*dtypes) if dtypes else np.float64, order="F")
    for i, chunks in enumerate(columns):
        start = 0
        for chunk in chunks:
            out[start : start + len(chunk), i] = chunk
            start += len(chunk)
        chunks.clear()  # some are copies themselves
    return out


def _dtypes(frame: Any) -> list[Any]:
    """The dtype of each column, as the frame's library has it."""
    if hasattr(frame, "dtypes"):
        return list(frame.dtypes)
    schema = frame.schema
    return list(schema.types if hasattr(schema, "types") else schema.values())


def _columns(frame: Any) -> list[Any]:
    """The columns in their order, not by name, since names may occur twice."""
    if hasattr(frame, "get_columns"):
        return list(frame.get_columns())
    take = (lambda i: frame.iloc[:, i]) if hasattr(frame, "iloc") else frame.column
    return [take(i) for i in range(frame.shape[1])]


def _chunks(column: Any) -> list[Any]:
    """The parts of a column of pyarrow or polars, which as a whole would be copied; others are one part."""
    if hasattr(column, "get_chunks"):
        return list(column.get_chunks())
    return list(column.chunks) if hasattr(column, "num_chunks") else [column]


def _numbers(column: Any, label: Any, name: str) -> np.ndarray:
    """A column as an array of numbers or booleans."""
    # Of 784 columns of polars 0.5 ms, and 33 by np.asarray.
    array = column.to_numpy() if hasattr(column, "get_chunks") else np.asarray(column)
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


def _table(frame: Any, name: str) -> Any:
    """The Arrow table of a frame that NumPy cannot read by columns."""
    kind = type(frame)
    purpose = f"a frame of type {kind.__name__}"
    if hasattr(kind, "__arrow_c_stream__") or hasattr(kind, "__arrow_c_array__"):
        return _extras.load("pyarrow", purpose).table(frame)
    if not hasattr(kind, "__dataframe__"):
        raise TypeError(f"{name} is a {kind.__name__}, whose columns cannot be read; an array or a frame is wanted")
    return _extras.load("pyarrow.interchange", purpose).from_dataframe(frame)


def _dataset(dataset: Any, name: str) -> Any:
    """The variables of a Dataset of xarray as columns of a frame of pandas, which xarray needs anyway."""
    columns = dict(dataset.data_vars)
    dimensions = {variable.dims for variable in columns.values()}
    if len(dimensions) != 1 or len(next(iter(dimensions))) != 1:
        shown = ", ".join(map(str, sorted(dimensions, key=str)))
        raise TypeError(
            f"{name} is a {type(dataset).__name__} of variables with the dimensions {shown}; one and the same is wanted"
        )
    frame = _extras.load("pandas", f"a {type(dataset).__name__}").DataFrame
    return frame({label: variable.values for label, variable in columns.items()}, copy=False)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(repr, names[:LISTED])) + more
