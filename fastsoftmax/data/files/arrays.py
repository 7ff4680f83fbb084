"""NumPy's own files: .npy, and .npz with arrays X and y."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .columns import first_line, ignored, listed
from .data import DEFAULTS, Data, ReadOptions
from .labels import labels


class ArrayTable:
    """A 2-D array, whose columns have their numbers for names; ``left_out`` are those to ignore."""

    def __init__(self, X: np.ndarray, path: Path, options: ReadOptions = DEFAULTS) -> None:
        self.X, self.path = X, path
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
        return Data(X, y, names, "" if y is None else self.names[target])  # type: ignore[index]


def read_npy(path: Path, options: ReadOptions = DEFAULTS) -> ArrayTable:
    """The array of a .npy file as a memory map. `open_memmap` reads no pickled objects."""
    try:
        X = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, SyntaxError) as error:
        why = (
            "it holds Python objects, which are not unpickled" if "Python objects" in str(error) else first_line(error)
        )
        raise ValueError(f"{path.name} is not a sound .npy file: {why}") from None
    return ArrayTable(X, path, options)


def read_npz(path: Path, options: ReadOptions = DEFAULTS, *, with_labels: bool = True) -> Data:
    """The array X of a .npz file and, if there is one and it is wanted, y. No other array is read."""
    names, arrays = _load(path, ("X", "y") if with_labels else ("X",))
    if "X" not in arrays:
        raise ValueError(f"{path.name} holds {listed(names) or 'no arrays'}; X (and y for training) are wanted")
    table = ArrayTable(arrays["X"], path, options)
    features = [j for j in range(len(table.names)) if j not in table.left_out]
    data, y = table.data(features), arrays.get("y")
    if y is None:
        return data
    notes = [f"y has the shape {y.shape}; its column is the labels"] if y.shape == (len(table.X), 1) else []
    y = y[:, 0] if notes else y
    if y.shape != table.X.shape[:1]:
        raise ValueError(f"{path.name}: y has shape {y.shape}; one label for each of the {len(table.X)} rows is wanted")
    return Data(data.X, labels(y, path, "y"), data.feature_names, "y", tuple(notes))


def _load(path: Path, wanted: Iterable[str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of all arrays of a .npz file, and those that are wanted."""
    where, arrays = "it", {}
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
            # A file that is no archive np.load returns as an array, or takes for a pickle and refuses.
            names = archive.files if isinstance(archive, np.lib.npyio.NpzFile) else []
            for where in [name for name in wanted if name in names]:
                arrays[where] = archive[where]
        except (ValueError, EOFError, KeyError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
            why = first_line(error)
            if "pickled" in why:
                why = "it is no archive"
            elif "Object arrays" in why:
                why = f"{where} holds Python objects, which are not unpickled; numbers or text are wanted"
            raise ValueError(f"{path.name} is not a sound .npz file: {why}") from None
    return names, arrays


def joined(columns: list[np.ndarray], path: Path) -> np.ndarray:
    """Columns as one array to write, 1-D for a single one. ValueError where labels would become other ones."""
    if len(columns) == 1:
        return columns[0]
    array = np.stack(columns, axis=1)
    mixed = len({np.issubdtype(column.dtype, np.number) for column in columns}) > 1
    if mixed or not all(_same(array[:, j], column) for j, column in enumerate(columns) if column.dtype.kind in "iu"):
        raise ValueError(f"{path.name}: a .npy file cannot hold labels beside numbers; .csv and .parquet can")
    return array


def _same(stored: np.ndarray, integers: np.ndarray) -> bool:
    """Whether integers come back from what is stored, which may be floats."""
    with np.errstate(invalid="ignore"):
        return bool((stored.astype(integers.dtype) == integers).all())
