"""The tables that a file may contain: a class for each kind, which knows its column names before it reads the data.

`read_npz` and `read_svmlight` read files that say themselves which values are the labels.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import _extras
from ..validation import nonfinite_row
from . import text

# Most features of a sparse file. Each costs a row of theta and a name in the model, and one wrong digit in a damaged
# file would ask for 10^12 of them.
FEATURES_MAX = 1 << 24

_TABLES_NEED = "reading CSV and Parquet files"


@dataclass(frozen=True, eq=False)
class Data:
    """Samples from a file.

    Attributes
    ----------
    X : ndarray (m, n), or csr_array from svmlight files
        float32 or float64; from .npy and .npz files any real dtype.
    y : ndarray (m,) of integers or strings, or None
        Labels.
    feature_names : list of str (n,)
        Names of the columns of X; their numbers where the file has no names.
    target : str
        Name of the column that y came from, "" if there is none.
    """

    X: Any
    y: np.ndarray | None
    feature_names: list[str]
    target: str = ""


class CsvTable:
    """A CSV file. Its first line is read at once, so that a wrong target is an error before a long read."""

    def __init__(self, path: Path, header: bool) -> None:
        self.path, self.layout = path, text.layout(path, header)
        self.names = self.layout.names

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """Read the columns with these numbers, and the labels in column ``target``."""
        pyarrow, module = (_extras.load("pyarrow", _TABLES_NEED), _extras.load("pyarrow.csv", _TABLES_NEED))
        features = list(features)
        wanted = [self.names[j] for j in features]
        types = dict.fromkeys(wanted, pyarrow.float64())
        if target is not None:
            types[self.names[target]] = pyarrow.string()
        try:
            table = module.read_csv(
                str(self.path),
                module.ReadOptions(column_names=self.names, skip_rows=int(self.layout.header)),
                module.ParseOptions(delimiter=self.layout.delimiter),
                module.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=False),
            )
        except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError) as error:
            text.explain(self.path, self.layout, features, target)
            raise ValueError(f"{self.path.name}: {_first_line(error)}") from None
        X = _filled([table.column(name) for name in wanted], table.num_rows, np.dtype(np.float64))
        if nonfinite_row(X):
            text.explain(self.path, self.layout, features, target)
        if target is None:
            return Data(X, None, wanted)
        classes, codes = _encoded(table.column(self.names[target]))
        classes = np.char.strip(classes.astype(str))
        if "" in classes:
            text.explain(self.path, self.layout, features, target)
        return Data(X, _labels(classes, self.path, self.names[target])[codes], wanted, self.names[target])


class ParquetTable:
    """A Parquet file. Its schema is read at once."""

    def __init__(self, path: Path) -> None:
        pyarrow, module = (_extras.load("pyarrow", _TABLES_NEED), _extras.load("pyarrow.parquet", _TABLES_NEED))
        self.path, self.types = path, pyarrow.types
        try:
            self.file = module.ParquetFile(str(path))
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path.name} is not a sound Parquet file: {_first_line(error)}") from None
        self.names: list[str] = list(self.file.schema_arrow.names)
        text.require_names(self.names, path)

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """Read the columns with these numbers, and the labels in column ``target``."""
        schema, features = self.file.schema_arrow, list(features)
        wanted = [self.names[j] for j in features]
        for name in wanted:
            kind = schema.field(name).type
            if not (self.types.is_integer(kind) or self.types.is_floating(kind) or self.types.is_boolean(kind)):
                raise ValueError(f"{self.path.name}, column {name!r} holds {kind}; numbers are wanted")
        label = [] if target is None else [self.names[target]]
        pyarrow = _extras.load("pyarrow", _TABLES_NEED)
        try:
            table = self.file.read(columns=wanted + label)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{self.path.name} is damaged: {_first_line(error)}") from None
        single = all(self.types.is_float32(schema.field(name).type) for name in wanted)
        for name in wanted + label:
            if table.column(name).null_count:
                row = np.flatnonzero(table.column(name).is_null().to_numpy(zero_copy_only=False))[0]
                raise ValueError(f"{self.path.name}, row {row} (the first is 0), column {name!r} is empty")
        X = _filled([table.column(name) for name in wanted], table.num_rows, np.dtype("f4" if single else "f8"))
        if not label:
            return Data(X, None, wanted)
        classes, codes = _encoded(table.column(label[0]))
        return Data(X, _labels(classes, self.path, label[0])[codes], wanted, label[0])


class ArrayTable:
    """A 2-D array, whose columns have their numbers for names."""

    def __init__(self, X: np.ndarray, path: Path) -> None:
        self.X, self.path = X, path
        if X.ndim != 2 or X.dtype.kind not in "fiub":
            raise ValueError(
                f"{path.name} holds {X.dtype} of shape {X.shape}; real numbers of shape (rows, columns) are wanted"
            )
        self.names = [str(j) for j in range(X.shape[1])]

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """The columns with these numbers (a view where they are neighbours), and the labels in column ``target``."""
        features = list(features)
        names = [self.names[j] for j in features]
        y = None if target is None else _labels(np.asarray(self.X[:, target]), self.path, self.names[target])
        whole = features and features == list(range(features[0], features[0] + len(features)))
        X = self.X[:, features[0] : features[-1] + 1] if whole else self.X[:, features]
        return Data(X, y, names, "" if y is None else self.names[target])  # type: ignore[index]


def read_npy(path: Path) -> ArrayTable:
    """The array of a .npy file as a memory map. `open_memmap` reads no pickled objects."""
    try:
        X = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f"{path.name} is not a sound .npy file: {_first_line(error)}") from None
    return ArrayTable(X, path)


def read_npz(path: Path) -> Data:
    """The arrays X and, if there is one, y of a .npz file."""
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            # A file that is no archive np.load returns as an array, or takes for a pickle and refuses.
            names = archive.files if isinstance(archive, np.lib.npyio.NpzFile) else []
            arrays = {name: archive[name] for name in ("X", "y") if name in names}
        except (ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
            why = "it is no archive" if "pickled" in str(error) else _first_line(error)
            raise ValueError(f"{path.name} is not a sound .npz file: {why}") from None
    if "X" not in arrays:
        raise ValueError(f"{path.name} holds {listed(names) or 'no arrays'}; X (and y for training) are wanted")
    table = ArrayTable(arrays["X"], path)
    y = arrays.get("y")
    if y is None:
        return Data(table.X, None, table.names)
    if y.shape != table.X.shape[:1]:
        raise ValueError(f"{path.name}: y has shape {y.shape}; one label for each of the {len(table.X)} rows is wanted")
    return Data(table.X, _labels(y, path, "y"), table.names, "y")


def read_svmlight(path: Path, n: int | None = None, *, zero_based: bool | None = None) -> Data:
    """A sparse text file, whose lines are "label index:value index:value ...". "feature 7" is the name of index 7.

    Parameters
    ----------
    path : Path
    n : int, optional
        Number of features; as many as the largest index needs unless given.
    zero_based : bool, optional
        Whether indices start at 0. Unless given they do so if the file has a 0; otherwise at 1, as the format says.
    """
    rows, largest, smallest = text.svmlight_extent(path)
    first = 1 - (smallest == 0 if zero_based is None else zero_based)
    if smallest < first:
        raise ValueError(f"{path.name} has a feature 0; the model's features start at 1")
    found = largest + 1 - first
    if n is not None and found > n:
        raise ValueError(f"{path.name} has a feature {largest}; the model has {n}, from {first} on")
    n = n or found
    if not rows or not n:
        raise ValueError(f"{path.name} has {rows} rows of data and {n} features")
    if n > FEATURES_MAX:
        raise ValueError(f"{path.name} has a feature {largest}; at most {FEATURES_MAX} features are taken")
    from scipy.sparse import csr_array

    load = _extras.load("sklearn.datasets", "reading svmlight files").load_svmlight_file
    try:
        X, y = load(str(path), n_features=n, zero_based=first == 0)
    except (ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"{path.name}: {_first_line(error)}") from None
    names = [f"feature {j}" for j in range(first, first + n)]
    target = "first value of a line"
    return Data(csr_array(X), _labels(y, path, target), names, target)


def _encoded(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a pyarrow column and the number of each row's value: each text becomes Python's once."""
    array = column.dictionary_encode().unify_dictionaries().combine_chunks()
    return np.asarray(array.dictionary.to_pylist()), array.indices.to_numpy()


def _labels(y: np.ndarray, path: Path, target: str) -> np.ndarray:
    """Labels as integers where all are whole numbers, else as strings; ValueError for fractions."""
    where = f"{path.name}, target column {target!r}"
    if y.dtype.kind in "biu":
        return y.astype(np.int64) if y.dtype.kind != "b" else y
    if y.dtype.kind in "US":
        try:
            numbers = y.astype(np.float64)
        except ValueError:
            return y.astype(str)
    elif y.dtype.kind == "f":
        numbers = y
    else:
        raise ValueError(f"{where} holds {y.dtype}; whole numbers or text are wanted as labels")
    fractions = np.flatnonzero(~(np.isfinite(numbers) & (np.floor(numbers) == numbers) & (abs(numbers) < 2**53)))
    if not len(fractions):
        return numbers.astype(np.int64)
    if y.dtype.kind in "US" and not np.isfinite(numbers).all():  # the text "nan" or "inf" beside numbers
        return y.astype(str)
    raise ValueError(f"{where} holds the number {y[fractions[0]]}; labels are whole numbers or text")


def _filled(columns: list[Any], m: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Columns as an array in F order, where each is contiguous: they are copied one by one, without a copy of all."""
    X = np.empty((m, len(columns)), dtype, order="F")
    for j, column in enumerate(columns):
        X[:, j] = column.to_numpy(zero_copy_only=False)
    return X


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for an error message: the first ``most`` and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
