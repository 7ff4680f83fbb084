"""Arrays of rows: .npy files, which are mapped into memory, and zarr arrays, which are decoded chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .... import _extras
from ...archive import map_array
from ...files.arrays import read_npy
from ...files.data import DEFAULTS
from ...files.labels import labels as checked_labels
from .reader import Block, Coded, Reader, state_of, weights

# Rows of labels that are looked at together.
ROWS = 1 << 20


class ArrayReader(Reader):
    """The base of readers of one array (m, columns), whose columns have their numbers for names.

    Parameters
    ----------
    path : Path
    array : array (m, columns) that is sliced by rows
    target : int, str, Path, array or None
        The number of the column of labels; or labels beside X, an array (m,) or the .npy file of one.
    weight : likewise
    columns : sequence of int or None
        The features; all other columns unless given.
    """

    reads_labels_alone = True

    def __init__(
        self, path: Path, array: Any, target: Any, *, weight: Any = None, columns: Sequence[int] | None = None
    ) -> None:
        self.path, self.array, self.notes = path, array, []
        self.rows, count = array.shape
        self._y, self._w = self._beside(target, "target"), self._beside(weight, "weight")
        self._files_beside = [Path(given) for given in (target, weight) if _is_file(given)]
        self.target = "" if target is None else f"{self._y}" if isinstance(self._y, int) else "target"
        self.weighted = weight is not None
        self.identity = f"labels {target}, weights {weight}" if _is_named(target) and _is_named(weight) else "?"
        beside = [at for at in (self._y, self._w) if isinstance(at, int)]
        found = [j for j in range(count) if j not in beside] if columns is None else [int(j) for j in columns]
        wrong = next((j for j in found if not 0 <= j < count), None)
        if wrong is not None or not found:
            raise ValueError(f"{self.name} has {count} columns; columns={columns!r} names {wrong} of them")
        self.names = [str(j) for j in found]
        whole = found == list(range(found[0], found[0] + len(found)))
        self.columns: Any = slice(found[0], found[-1] + 1) if whole else found
        self.dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else np.dtype(array.dtype)

    def _beside(self, given: Any, name: str) -> Any:
        """The number of a column, or an array (m,)."""
        assert self.rows is not None
        if given is None or _is_file(given) or np.ndim(given):
            return beside(given, self.rows, name)
        count = self.array.shape[1]
        if not -count <= int(given) < count:
            raise ValueError(f"{self.name} has {count} columns, and no column {given} for {name}")
        return int(given) % count

    def _part(self, of: Any, rows: slice) -> np.ndarray:
        return np.asarray(self.array[rows, of] if isinstance(of, int) else of[rows])

    def _labelled(self, block: Block, rows: slice) -> Block:
        if self._y is not None:
            block.y = Coded.of(self._part(self._y, rows))
        if self._w is not None:
            block.w = weights(self._part(self._w, rows), self.name)
        return block

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        return checked_labels(values.astype(str) if values.dtype.kind == "O" else values, self.path, self.target, rows)

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        assert self.rows is not None
        step = self.rows_of_block if X else ROWS
        for a in range(0, self.rows, step):
            rows = slice(a, min(a + step, self.rows))
            block = Block(rows.stop - a, self.decoded(rows) if X else None, where=self.name, first=a)
            yield self._labelled(block, rows) if labels else block

    @property
    def rows_of_block(self) -> int:
        raise NotImplementedError

    def decoded(self, rows: slice) -> np.ndarray:
        """X of some rows."""
        raise NotImplementedError


class NpyReader(ArrayReader):
    """A .npy file. Its pages are mapped into memory, and nothing is copied."""

    def __init__(self, path: Path, target: Any, **options: Any) -> None:
        super().__init__(path, read_npy(path, DEFAULTS).X, target, **options)

    @property
    def X(self) -> np.ndarray:
        """The features of all rows: a view if they are neighbours."""
        if isinstance(self.columns, list):
            raise ValueError(f"{self.name}: columns must be neighbours in a .npy file, as a copy of others is as large")
        X: np.ndarray = self.array[:, self.columns]
        return X.view(np.uint8) if X.dtype == np.bool_ else X

    def state(self) -> dict[str, tuple[int, int]]:
        return state_of([self.path, *self._files_beside], self.path)

    @property
    def rows_of_block(self) -> int:
        return ROWS

    def decoded(self, rows: slice) -> np.ndarray:
        return self.X[rows]


class ZarrReader(ArrayReader):
    """A zarr array, in the chunks that it is stored in."""

    def __init__(self, path: Path, target: Any, **options: Any) -> None:
        zarr = _extras.load("zarr", "reading zarr arrays")
        try:
            array = zarr.open_array(str(path), mode="r")
        except Exception as error:  # of any of its storages and formats
            raise ValueError(f"{path.name} is no sound zarr array: {type(error).__name__}: {error}") from None
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise ValueError(f"{path.name} holds {array.dtype} of shape {array.shape}; (rows, columns) is wanted")
        super().__init__(path, array, target, **options)
        self.block_bytes = 2 * self.rows_of_block * array.shape[1] * array.dtype.itemsize

    @property
    def rows_of_block(self) -> int:
        return int(self.array.chunks[0])

    def decoded(self, rows: slice) -> np.ndarray:
        try:
            X = np.asarray(self.array[rows])[:, self.columns]
        except Exception as error:
            raise ValueError(
                f"{self.name} is damaged in rows {rows.start:,} to {rows.stop - 1:,}: {type(error).__name__}: {error}"
            ) from None
        return X.view(np.uint8) if X.dtype == np.bool_ else X

    def state(self) -> dict[str, tuple[int, int]]:
        inside = sorted(file for file in self.path.rglob("*") if file.is_file())
        return state_of(inside, self.path) | state_of(self._files_beside, self.path)


def _is_file(given: Any) -> bool:
    """Whether labels or weights are in a file of their own."""
    return isinstance(given, Path) or (isinstance(given, str) and not given.lstrip("-").isdigit())


def _is_named(given: Any) -> bool:
    """Whether labels or weights are none, a column, or a file, and not an array, which may be another one later."""
    return isinstance(given, str | Path | int | None)


def beside(given: Any, rows: int, name: str) -> np.ndarray | None:
    """Labels or weights beside X: an array (m,), or the .npy file of one."""
    if given is None:
        return None
    values = _opened(Path(given)) if isinstance(given, str | Path) else np.asarray(given)
    if values.shape != (rows,):
        raise ValueError(f"{name} has shape {values.shape}; ({rows},), one for each row, is wanted")
    return values


def _opened(path: Path) -> np.ndarray:
    """The array (m,) of a .npy file."""
    try:
        return map_array(path)
    except ValueError as error:
        raise ValueError(f"{path.name} is not a sound .npy file: {error}") from None
