"""Reading data files, and writing predictions to files.

The suffix says what is in a file, or ``format`` does:

==============================  ===========================================================
.csv .tsv .txt .data .dat .tab  a text table, its columns by name if it has a header; what
                                separates cells is found out. It and svmlight may be
                                compressed (.gz .bz2 .xz .zst)
.parquet .pq, or a folder       columns by name; of a folder the rows of all parts
.npy                            a 2-D array, columns numbered from 0
.npz                            arrays X and y
.svmlight .libsvm .svm          sparse text; X stays sparse
==============================  ===========================================================

What is wrong with a file is a ValueError with the file and the place: in text files the line (the first is 1) and the
column, in binary files the row (the first is 0). What is guessed is told in ``notes``. Nothing is ever unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..validation import check_X, nonfinite_place
from .arrays import open_npz, read_npy, read_npz
from .columns import listed
from .csv import CsvTable
from .data import DEFAULTS, Data, ReadOptions
from .parquet import ParquetTable
from .svmlight import read_svmlight
from .written import kind_to_write, write_chunks, write_columns

__all__ = [
    "FORMATS",
    "Data",
    "ReadOptions",
    "kind_of_file",
    "kind_to_write",
    "read",
    "read_features",
    "write_chunks",
    "write_columns",
]

_KINDS = {
    "csv": (".csv", ".tsv", ".txt", ".data", ".dat", ".tab"),
    "parquet": (".parquet", ".pq"),
    "npy": (".npy",),
    "npz": (".npz",),
    "svmlight": (".svmlight", ".libsvm", ".svm"),
}
FORMATS = tuple(_KINDS)
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# The kinds of files for which an option of ReadOptions has a meaning; an option without a row has one for all.
_MEANT_FOR = {
    **dict.fromkeys(("header", "sep", "decimal", "thousands", "encoding"), ("csv",)),
    "fill": ("csv", "parquet", "npy", "npz"),
    "extra_features": ("svmlight",),
}


def read(
    path: str | Path, target: str | int | None = None, *, options: ReadOptions = DEFAULTS, **settings: Any
) -> Data:
    """Read samples and their labels.

    Parameters
    ----------
    path : str or Path
        The types of file that are known are in the docstring of this module.
    target : str or int, optional
        Column of the labels, by name or by number from 0 (negative: from the end). The last column unless given. Not
        for .npz and svmlight files, which say themselves where the labels are.
    options : ReadOptions, optional
        How to read what the file does not say itself.
    **settings
        The same one by one: ``format``, ``header``, ``sep``, ``decimal``, ``thousands``, ``encoding``, ``ignore`` and
        ``fill``, as in `ReadOptions`.

    Returns
    -------
    Data
        X (m, n), y (m,) (integers if all labels are written as such, else strings), the names of the columns, and notes
        of what was guessed.

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
    path, kind, options = _opening(path, options, settings)
    if kind in ("npz", "svmlight"):
        if target is not None:
            raise ValueError(f"{path.name} says itself which values are the labels; leave out the target {target!r}")
        data = (read_npz if kind == "npz" else read_svmlight)(path, options)
        if data.y is None:
            raise ValueError(f"{path.name} holds no array y (the labels); it has X only")
        return _checked(data, path)
    table = _table(path, kind, options, [target] if isinstance(target, str) else [])
    usable = [j for j in range(len(table.names)) if j not in table.left_out]
    t = _position(table, usable, -1 if target is None else target, path)
    features = [j for j in usable if j != t]
    if not features:
        raise ValueError(
            f"{path.name} has one column only, {table.names[t]!r}; features and a target are wanted"
            + (" (--sep says what separates them)" if kind == "csv" else "")
        )
    _require_names(table.names, [*features, t], path)
    return _checked(table.data(features, t), path)


def read_features(
    path: str | Path,
    feature_names: Sequence[str] | None,
    n: int,
    *,
    options: ReadOptions = DEFAULTS,
    **settings: Any,
) -> Data:
    """Read the n columns that a model needs, in its order. Others, such as the target, are left out whatever they hold.

    Parameters
    ----------
    path : str or Path
    feature_names : sequence of str or None
        The columns by name. A file with numbers for names and exactly n columns is taken as it is.
    n : int
        The number of features.
    options, **settings
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
    path, kind, options = _opening(path, options, settings)
    if kind == "svmlight":
        base = {"feature 0": True, "feature 1": False}.get(feature_names[0]) if feature_names else None
        data = read_svmlight(path, options, n, zero_based=base)
        return _checked(replace(data, y=None, target=""), path)
    table = open_npz(path, options) if kind == "npz" else _table(path, kind, options, feature_names or ())
    usable = [j for j in range(len(table.names)) if j not in table.left_out]
    if len(usable) == n and (feature_names is None or not getattr(table, "header", kind == "parquet")):
        return _checked(table.data(usable), path)
    if feature_names is None:
        raise ValueError(f"{path.name} has {len(usable)} columns; the model wants {n} and knows no names for them")
    place = {name: j for j, name in reversed(list(enumerate(table.names)))}
    missing = [name for name in feature_names if name not in place and name.strip() not in place]
    if missing:
        raise ValueError(
            f"{path.name} lacks {len(missing)} of the model's {n} columns: {listed(missing)}; "
            f"it has {listed(table.names)}{_doubt(table)}"
        )
    wanted = [place[name if name in place else name.strip()] for name in feature_names]
    _require_names(table.names, wanted, path)
    return _checked(table.data(wanted), path)


def _table(path: Path, kind: str, options: ReadOptions, known: Sequence[str]) -> Any:
    """A file whose columns are read by their numbers; ``known`` are names that it should have."""
    if kind == "csv":
        return CsvTable(path, options, known)
    return ParquetTable(path, options) if kind == "parquet" else read_npy(path, options)


def kind_of_file(path: Path, options: ReadOptions) -> str:
    """The kind of file that is at a path: what ``format`` says, or else the suffix."""
    return options.format or _kind(path)


def _opening(path: str | Path, options: ReadOptions, settings: dict[str, Any]) -> tuple[Path, str, ReadOptions]:
    """A path, the kind of file it is and how to read it; an error if it cannot be opened or is empty."""
    path, options = Path(path), replace(options, **settings)
    kind = kind_of_file(path, options)
    if kind not in _KINDS:
        raise ValueError(f"unknown format {kind!r}; known are {', '.join(_KINDS)}")
    for option in fields(options):
        if getattr(options, option.name) != option.default and kind not in _MEANT_FOR.get(option.name, _KINDS):
            raise ValueError(
                f"{path.name} is read as {kind}, for which {option.name.replace('_', '-')} has no meaning; it is for "
                f"{' and '.join(_MEANT_FOR[option.name])}"
            )
    if path.is_dir():
        if kind != "parquet":
            raise ValueError(f"{path.name} is a folder; of folders only the Parquet files in them are read")
    elif path.is_file() or not path.exists():  # a pipe is opened once
        with path.open("rb") as file:  # so that a missing file is the same OSError whichever package reads it later
            if not file.read(1):
                raise ValueError(f"{path.name} is empty")
    return path, kind, options


def _kind(path: Path) -> str:
    """The kind of file that the suffix stands for."""
    if path.is_dir():
        return "parquet"
    *before, suffix = ["", *path.suffixes]
    packed = suffix.lower() in _COMPRESSED
    suffix = (before[-1] if packed else suffix).lower()
    kind = next((kind for kind, suffixes in _KINDS.items() if suffix in suffixes), None)
    if kind is None:
        known = " ".join(suffix for suffixes in _KINDS.values() for suffix in suffixes)
        raise ValueError(
            f"{path}: unknown type of file {path.suffix or path.name!r}; known are {known}; --format says what it is"
        )
    if packed and kind not in ("csv", "svmlight"):
        raise ValueError(f"{path.name}: compressed files are read if they are text; decompress this one first")
    return kind


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


def _position(table: Any, usable: list[int], target: str | int, path: Path) -> int:
    """The number of the target column: one of any name, else a number that counts the usable columns."""
    if target in table.names:
        return int(table.names.index(target))
    try:
        return usable[int(target)]
    except (ValueError, IndexError):
        raise ValueError(f"{path.name} has no column {target!r}; it has {listed(table.names)}{_doubt(table)}") from None


def _doubt(table: Any) -> str:
    """A reminder that the missing names may be in a line that was taken for data."""
    return "" if getattr(table, "header", True) else " (--header if its first line holds the names)"


def _require_names(names: Sequence[str], wanted: Sequence[int], path: Path) -> None:
    """Raise ValueError unless each wanted column has a name that no other has."""
    for j in wanted:
        if not names[j]:
            raise ValueError(f"{path.name}, column {j} (the first is 0) has no name: give it one, or --ignore {j}")
    count = Counter(names)
    twice = next((names[j] for j in wanted if count[names[j]] > 1), None)
    if twice is not None:
        raise ValueError(f"{path.name} has {count[twice]} columns named {twice!r}: rename one, or --ignore them")
