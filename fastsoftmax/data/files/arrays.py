"""NumPy's own files: .npy, and .npz with arrays X and y."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .columns import first_line, listed
from .data import Data
from .labels import labels


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
        y = None if target is None else labels(np.asarray(self.X[:, target]), self.path, self.names[target])
        whole = features and features == list(range(features[0], features[0] + len(features)))
        X = self.X[:, features[0] : features[-1] + 1] if whole else self.X[:, features]
        return Data(X, y, names, "" if y is None else self.names[target])  # type: ignore[index]


def read_npy(path: Path) -> ArrayTable:
    """The array of a .npy file as a memory map. `open_memmap` reads no pickled objects."""
    try:
        X = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, SyntaxError) as error:
        raise ValueError(f"{path.name} is not a sound .npy file: {first_line(error)}") from None
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
            why = "it is no archive" if "pickled" in str(error) else first_line(error)
            raise ValueError(f"{path.name} is not a sound .npz file: {why}") from None
    if "X" not in arrays:
        raise ValueError(f"{path.name} holds {listed(names) or 'no arrays'}; X (and y for training) are wanted")
    table = ArrayTable(arrays["X"], path)
    y = arrays.get("y")
    if y is None:
        return Data(table.X, None, table.names)
    if y.shape != table.X.shape[:1]:
        raise ValueError(f"{path.name}: y has shape {y.shape}; one label for each of the {len(table.X)} rows is wanted")
    return Data(table.X, labels(y, path, "y"), table.names, "y")
