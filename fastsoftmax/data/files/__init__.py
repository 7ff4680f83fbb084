"""Reading data files, and writing predictions to files.

The suffix says what is in a file:

==============================  ===========================================================
.csv .tsv .txt                  columns by name; comma, semicolon or tab, whichever the first
                                line has most of
.parquet .pq                    columns by name
.npy                            a 2-D array, columns numbered from 0
.npz                            arrays X and y
.svmlight .libsvm .svm          sparse text; X stays sparse
==============================  ===========================================================

What is wrong with a file is a ValueError with the file and the place: in text files the line (the first is 1) and the
column, in binary files the row (the first is 0). Nothing is ever unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ... import _extras
from ..validation import check_X, nonfinite_place
from .arrays import joined, open_npz, read_npy, read_npz
from .columns import listed
from .csv import CsvTable
from .data import DEFAULTS, Data, ReadOptions
from .parquet import ParquetTable
from .svmlight import read_svmlight

__all__ = ["Data", "ReadOptions", "kind_to_write", "read", "read_features", "write_columns"]

_KINDS = {
    "csv": (".csv", ".tsv", ".txt"),
    "parquet": (".parquet", ".pq"),
    "npy": (".npy",),
    "npz": (".npz",),
    "svmlight": (".svmlight", ".libsvm", ".svm"),
}


def read(
    path: str | Path,
    target: str | int | None = None,
    *,
    header: bool = True,
    options: ReadOptions = DEFAULTS,
) -> Data:
    """Read samples and their labels.

    Parameters
    ----------
    path : str or Path
        The types of file that are known are in the docstring of this module.
    target : str or int, optional
        Column of the labels, by name or by number from 0 (negative: from the end). The last column unless given. Not
        for .npz and svmlight files, which say themselves where the labels are.
    header : bool
        Whether the first line of a CSV file holds the names of the columns.

    Returns
    -------
    Data
        X (m, n), y (m,) (integers if all labels are whole numbers, else strings), and the names of the columns.

    Raises
    ------
    ValueError
        If the type of the file is unknown, the target is not in it, a cell is empty, not a number
        or not finite, labels are fractions, or the file is empty or damaged.
    OSError
        If it cannot be opened.
    ImportError
        If the package that reads it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastsoftmax.data import files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pets.csv")
    ...     size = path.write_text("kg,cm,animal\\n4.5,46,cat\\n30,90,dog\\n")
    ...     data = files.read(path, "animal")
    >>> data.feature_names, data.X.shape
    (['kg', 'cm'], (2, 2))
    >>> data.y
    array(['cat', 'dog'], dtype='<U3')
    """
    path, kind = _existing(path)
    if kind in ("npz", "svmlight"):
        if target is not None:
            raise ValueError(f"{path.name} says itself which values are the labels; leave out the target {target!r}")
        data = (read_npz if kind == "npz" else read_svmlight)(path, options)
        if data.y is None:
            raise ValueError(f"{path.name} holds no array y (the labels); it has X only")
    else:
        table = _open(path, kind, header, options)
        usable = [j for j in range(len(table.names)) if j not in table.left_out]
        t = _position(table.names, usable, -1 if target is None else target, path)
        features = [j for j in usable if j != t]
        if not features:
            raise ValueError(f"{path.name} has one column only, {table.names[t]!r}; features and a target are wanted")
        data = table.data(features, t)
    return _checked(data, path)


def read_features(
    path: str | Path,
    feature_names: Sequence[str] | None,
    n: int,
    *,
    header: bool = True,
    options: ReadOptions = DEFAULTS,
) -> Data:
    """Read the n columns that a model needs, in its order. Other columns, such as the target, are left out.

    Parameters
    ----------
    path : str or Path
    feature_names : sequence of str or None
        The columns by name. A file with numbers for names and exactly n columns is taken as it is.
    n : int
        The number of features.
    header : bool
        As in `read`.

    Returns
    -------
    Data
        X (rows, n) and the names of its columns; y is None.

    Raises
    ------
    ValueError, OSError, ImportError
        As `read`; also if columns are missing (the message lists them) or, for a model without names, if
        there are not exactly n.
    """
    path, kind = _existing(path)
    if kind == "svmlight":
        base = {"feature 0": True, "feature 1": False}.get(feature_names[0]) if feature_names else None
        data = read_svmlight(path, options, n, zero_based=base)
        return _checked(replace(data, y=None, target=""), path)
    table: Any = open_npz(path, options) if kind == "npz" else _open(path, kind, header, options)
    numbered = kind in ("npy", "npz") or not header
    if len(table.names) == n and (numbered or feature_names is None):
        return _checked(table.data(range(n)), path)
    if feature_names is None:
        raise ValueError(f"{path.name} has {len(table.names)} columns; the model wants {n} and knows no names for them")
    missing = [name for name in feature_names if name not in table.names]
    if missing:
        raise ValueError(
            f"{path.name} lacks {len(missing)} of the model's {n} columns: {listed(missing)}; "
            f"it has {listed(table.names)}"
        )
    place = {name: j for j, name in enumerate(table.names)}
    return _checked(table.data([place[name] for name in feature_names]), path)


def write_columns(path: str | Path, columns: dict[str, np.ndarray]) -> None:
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
    path = Path(path)
    kind = kind_to_write(path)
    if kind == "npy":
        np.save(path, joined(list(columns.values()), path), allow_pickle=False)
        return
    pyarrow = _extras.load("pyarrow", "writing CSV and Parquet files")
    native = {name: values.astype(values.dtype.newbyteorder("="), copy=False) for name, values in columns.items()}
    table = pyarrow.table({name: pyarrow.array(values) for name, values in native.items()})
    if kind == "csv":
        _extras.load("pyarrow.csv", "writing CSV files").write_csv(table, str(path))
    else:
        _extras.load("pyarrow.parquet", "writing Parquet files").write_table(table, str(path))


def kind_to_write(path: str | Path) -> str:
    """The kind of file that the suffix of a path stands for, "csv", "parquet" or "npy"; ValueError for any other."""
    suffix = Path(path).suffix.lower()
    for kind in ("csv", "parquet", "npy"):
        if suffix == _KINDS[kind][0]:
            return kind
    raise ValueError(f"{Path(path).name}: predictions are written as .csv, .parquet or .npy, not {suffix or 'this'!r}")


def _open(path: Path, kind: str, header: bool, options: ReadOptions) -> Any:
    if kind == "csv":
        return CsvTable(path, header)
    return ParquetTable(path, options) if kind == "parquet" else read_npy(path, options)


def _existing(path: str | Path) -> tuple[Path, str]:
    """A path and the kind of file its suffix stands for, or an error if it cannot be opened or is empty."""
    path = Path(path)
    if path.is_dir():
        return path, "parquet"
    kind = next((kind for kind, suffixes in _KINDS.items() if path.suffix.lower() in suffixes), None)
    if kind is None:
        known = " ".join(suffix for suffixes in _KINDS.values() for suffix in suffixes)
        raise ValueError(f"{path}: unknown type of file {path.suffix or path.name!r}; known are {known}")
    if path.is_file() and path.stat().st_size == 0:
        raise ValueError(f"{path.name} is empty")
    with path.open("rb"):  # so that a missing file is the same OSError whichever package reads it later
        return path, kind


def _checked(data: Data, path: Path) -> Data:
    """The same data, or an error if it has no rows, no columns or a value that is not finite."""
    if 0 in data.X.shape:
        raise ValueError(f"{path.name} has {data.X.shape[0]} rows of data and {data.X.shape[1]} feature columns")
    bad = nonfinite_place(check_X(data.X))
    if bad is not None:
        row, column, value = bad
        raise ValueError(
            f"{path.name}, row {row} (the first is 0), column {data.feature_names[column]!r} holds {value}"
        )
    return data


def _position(names: list[str], usable: list[int], target: str | int, path: Path) -> int:
    """The number of the target column: one of any name, else a number that counts the usable columns."""
    if target in names:
        return names.index(str(target))
    try:
        return usable[int(target)]
    except (ValueError, IndexError):
        raise ValueError(f"{path.name} has no column {target!r}; it has {listed(names)}") from None
