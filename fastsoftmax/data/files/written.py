"""Columns to a file, some rows at a time. The file gets its name when it is complete, and not before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ... import _extras
from ..archive import whole_path
from .arrays import joined

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".npy": "npy"}
Columns = dict[str, np.ndarray]


def write_columns(path: str | Path, columns: Columns) -> None:
    """Write columns of the same length.

    Parameters
    ----------
    path : str or Path
        A .csv or .parquet file gets a table; a .npy file gets one array, 1-D for a single column.
    columns : dict of str to ndarray (rows,)

    Raises
    ------
    ValueError
        If the suffix is another one, or if text and numbers would share one .npy array.
    OSError
        If the file cannot be written.
    ImportError
        If pyarrow is needed and not installed.
    """
    write_chunks(path, [columns], len(next(iter(columns.values()))))


def write_chunks(path: str | Path, chunks: Iterable[Columns], rows: int) -> None:
    """`write_columns` of so many rows that come chunk by chunk, with the same columns in each."""
    path = Path(path)
    kind = kind_to_write(path)
    with whole_path(path) as temporary:
        if kind == "npy":
            _write_array(temporary, chunks, rows, path)
        else:
            _write_table(temporary, chunks, kind)


def kind_to_write(path: str | Path) -> str:
    """The kind of file that the suffix of a path stands for, "csv", "parquet" or "npy"; ValueError for any other."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(
            f"{Path(path).name}: predictions are written as .csv, .parquet or .npy, not {suffix or 'this'!r}"
        )
    return SUFFIXES[suffix]


def _write_table(path: Path, chunks: Iterable[Columns], kind: str) -> None:
    pyarrow = _extras.load("pyarrow", "writing CSV and Parquet files")
    make: Callable[..., Any] = (
        _extras.load("pyarrow.csv", "writing CSV files").CSVWriter
        if kind == "csv"
        else _extras.load("pyarrow.parquet", "writing Parquet files").ParquetWriter
    )
    writer: Any = None
    try:
        for columns in chunks:
            native = {
                name: values.astype(values.dtype.newbyteorder("="), copy=False) for name, values in columns.items()
            }
            table = pyarrow.table({name: pyarrow.array(values) for name, values in native.items()})
            writer = make(str(path), table.schema) if writer is None else writer
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _write_array(path: Path, chunks: Iterable[Columns], rows: int, named: Path) -> None:
    """One array; the first chunk says of what."""
    out: Any = None
    start = 0
    for columns in chunks:
        part = joined(list(columns.values()), named)
        if out is None:
            shape = (rows, *part.shape[1:])
            out = np.lib.format.open_memmap(path, "w+", part.dtype, shape)
        out[start : start + len(part)] = part
        start += len(part)
    out.flush()
