"""NumPy's own files: .npy, and .npz with arrays X and y."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..archive import load_arrays, map_array
from .columns import ignored, listed
from .data import DEFAULTS, Data, ReadOptions
from .labels import labels


class ArrayTable:
    """A 2-D array, whose columns have their numbers for names; ``left_out`` are those to ignore."""

    def __init__(self, X: np.ndarray, path: Path, options: ReadOptions = DEFAULTS) -> None:
        self.X, self.path, self.fill = X, path, options.fill
        if X.ndim != 2 or X.dtype.kind not in "fiub":
            kind = "a structured array" if X.dtype.names else str(X.dtype)
            raise ValueError(
                f"{path.name} holds {kind} of shape {X.shape}; real numbers of shape (rows, columns) are wanted"
            )
        self.names = [str(j) for j in range(X.shape[1])]
        self.left_out = ignored(self.names, options.ignore, path)

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """The columns with these numbers (a view where they are neighbours), and the labels in column ``target``."""
        features = list(features)
        names = [self.names[j] for j in features]
        y = None if target is None else labels(np.asarray(self.X[:, target]), self.path, self.names[target])
        whole = features and features == list(range(features[0], features[0] + len(features)))
        X = self.X[:, features[0] : features[-1] + 1] if whole else self.X[:, features]
        X, notes = self._filled(X)
        return Data(X, y, names, "" if y is None else self.names[target], notes)  # type: ignore[index]

    def _filled(self, X: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """X with the number that stands for NaN, which is what an array has for an empty cell."""
        empty = np.isnan(X) if self.fill is not None and X.dtype.kind == "f" else np.False_
        count = np.count_nonzero(empty)
        if not count:
            return X, ()
        X = np.array(X)
        X[empty] = self.fill
        return X, (f"empty cells are read as {self.fill:g}: {count}",)


def read_npy(path: Path, options: ReadOptions = DEFAULTS) -> ArrayTable:
    """The array of a .npy file as a memory map."""
    try:
        X = map_array(path)
    except ValueError as error:
        raise ValueError(f"{path.name} is not a sound .npy file: {error}") from None
    return ArrayTable(X, path, options)


def read_npz(path: Path, options: ReadOptions = DEFAULTS) -> Data:
    """The arrays X and, if there is one, y of a .npz file."""
    table, y = _npz(path, options, ("X", "y"))
    data = table.data([j for j in range(len(table.names)) if j not in table.left_out])
    if y is None:
        return data
    notes = [f"y has the shape {y.shape}; its column is the labels"] if y.shape == (len(table.X), 1) else []
    y = y[:, 0] if notes else y
    if y.shape != table.X.shape[:1]:
        raise ValueError(f"{path.name}: y has shape {y.shape}; one label for each of the {len(table.X)} rows is wanted")
    return Data(data.X, labels(y, path, "y"), data.feature_names, "y", (*data.notes, *notes))


def open_npz(path: Path, options: ReadOptions = DEFAULTS) -> ArrayTable:
    """The array X of a .npz file. No other is read, whatever is in it."""
    return _npz(path, options, ("X",))[0]


def _npz(path: Path, options: ReadOptions, wanted: tuple[str, ...]) -> tuple[ArrayTable, np.ndarray | None]:
    names, arrays = _load(path, wanted)
    if "X" not in arrays:
        raise ValueError(f"{path.name} holds {listed(names) or 'no arrays'}; X (and y for training) are wanted")
    return ArrayTable(arrays["X"], path, options), arrays.get("y")


def _load(path: Path, wanted: Iterable[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of all arrays of a .npz file, and those that are wanted."""
    with path.open("rb") as file:
        try:
            return load_arrays(file, wanted)
        except ValueError as error:
            raise ValueError(f"{path.name} is not a sound .npz file: {error}") from None


def joined(columns: list[np.ndarray], path: Path) -> np.ndarray:
    """Columns as one array to write, 1-D for a single one. ValueError where labels would become other ones."""
    if len(columns) == 1:
        text = columns[0].dtype.kind == "O" and all(isinstance(value, str) for value in columns[0])
        return columns[0].astype(str) if text else columns[0]
    array = np.stack(columns, axis=1)
    mixed = len({np.issubdtype(column.dtype, np.number) for column in columns}) > 1
    if mixed or not all(_same(array[:, j], column) for j, column in enumerate(columns) if column.dtype.kind in "iu"):
        raise ValueError(f"{path.name}: a .npy file cannot hold labels beside numbers; .csv and .parquet can")
    return array


def _same(stored: np.ndarray, integers: np.ndarray) -> bool:
    """Whether integers come back from what is stored, which may be floats."""
    with np.errstate(invalid="ignore"):
        return bool((stored.astype(integers.dtype) == integers).all())
