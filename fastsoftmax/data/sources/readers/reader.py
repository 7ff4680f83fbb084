"""What a reader is: the page to read before writing one for another kind of file.

A reader walks the rows of a file, of a folder or of what a function yields, in blocks of its own choice, as often as it
is asked to. All else is done elsewhere: `first_pass` learns what labels there are, and `streamed` cuts blocks into the
chunks that kernels want.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ....kernels.contract import Csr
from ...files.columns import listed
from ...validation import compute_dtype
from ...validation_labels import check_labels


class Coded(NamedTuple):
    """Labels: the distinct values, and the number of each row's value."""

    values: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray) -> Coded:
        return cls(*np.unique(labels, return_inverse=True))

    def checksum(self) -> int:
        text = "\0".join(map(str, self.values.tolist())).encode()
        return zlib.crc32(self.codes.astype(np.int32).tobytes(), zlib.crc32(text))


@dataclass(slots=True)
class Block:
    """Some rows that follow each other.

    Attributes
    ----------
    rows : int
    X : ndarray (rows, n), Csr, list of n ndarrays (rows,), or None
        None where X was not asked for. A list has the columns.
    y : Coded or None
    w : ndarray (rows,) or None
    where : str
        The file, and what part of it: for error messages.
    first : int
        The number of the first row in the file.
    """

    rows: int
    X: np.ndarray | Csr | list[np.ndarray] | None
    y: Coded | None = None
    w: np.ndarray | None = None
    where: str = ""
    first: int = 0

    def check(self) -> tuple[int, int]:
        """What tells these rows from others: their number, and a checksum of their labels and of the first of them."""
        assert self.y is not None
        first = b""
        if isinstance(self.X, Csr):
            first = self.X.data[: self.X.indptr[min(1, self.rows)] - self.X.indptr[0]].tobytes()
        elif isinstance(self.X, np.ndarray):
            first = self.X[:1].tobytes()
        return self.rows, zlib.crc32(first, self.y.checksum())

    def copy(self, a: int, b: int, out: np.ndarray) -> None:
        """Write dense rows a..b-1 to ``out``."""
        if isinstance(self.X, list):
            for j, column in enumerate(self.X):
                out[:, j] = column[a:b]
        else:
            out[:] = self.X[a:b]  # type: ignore[index]

    def place(self, row: int) -> str:
        """What to call a row of the block in an error."""
        return f"{self.where}, row {self.first + row} (the first is 0)"


class Reader:
    """The base of all readers, which set the attributes.

    Attributes
    ----------
    path : Path
        Of the data, or a name for it.
    names : list of str (n,)
        Of the features.
    target : str
        Name of what the labels come from, "" if there are none.
    weighted : bool
        Whether rows have weights.
    dtype : dtype
        Of X in dense blocks, unless these are lists of columns, which are converted to it; of the entries of sparse X.
    sparse : bool
        Whether blocks are `Csr`.
    by_column : bool
        Whether chunks are made in F order.
    rows : int or None
        How many there are, where that is known without reading them.
    reads_labels_alone : bool
        Whether labels and weights can be read without X, for less.
    once : bool
        Whether there can be only one walk.
    block_bytes : int
        Memory that the reader takes, about: a block and the next one, and what they are decoded from.
    parallel : bool
        Set by the caller: whether more threads than one shall decode, where that takes longer than the work on it.
    notes : list of str
        What the reader found out or left out by itself, a line each.
    identity : str
        What else than files, features and target decides which rows, labels and weights there are.
    """

    path: Path
    names: list[str]
    target: str = ""
    weighted: bool = False
    dtype: np.dtype
    sparse = False
    by_column = False
    rows: int | None = None
    reads_labels_alone = False
    once = False
    block_bytes = 0
    parallel = False
    notes: list[str]
    identity: str = ""

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        """All rows, from the first on; without ``X`` or without ``labels`` and weights where these are not wanted,
        which a reader need not heed."""
        raise NotImplementedError

    def state(self) -> dict[str, tuple[int, int]]:
        """Name, size and time of the last change of each file. Rows that come from elsewhere have none."""
        return {}

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        """The labels that distinct values stand for, of which there are so many rows."""
        return np.asarray(check_labels(values))

    @property
    def compute_dtype(self) -> np.dtype:
        return compute_dtype(self.dtype)

    @property
    def name(self) -> str:
        return self.path.name or str(self.path)


def state_of(files: list[Path], whole: Path) -> dict[str, tuple[int, int]]:
    """`Reader.state` of some files."""
    found = {}
    for file in files:
        try:
            about = file.stat()
        except FileNotFoundError:
            continue
        inside = file != whole and file.is_relative_to(whole)
        name = f"{whole.name}/{file.relative_to(whole).as_posix()}" if inside else file.name
        found[name] = about.st_size, about.st_mtime_ns
    return found


def require_same(before: dict[str, tuple[int, int]], now: dict[str, tuple[int, int]]) -> None:
    """Raise ValueError where files have changed, vanished or appeared since they were first looked at."""
    for name in before:
        if name not in now:
            raise ValueError(f"{name} has vanished since the data was first read; all passes need the same rows")
    for name, state in now.items():
        if name not in before:
            raise ValueError(f"{name} has appeared since the data was first read; all passes need the same rows")
        if state != before[name]:
            raise ValueError(
                f"{name} has changed since the data was first read (it had {before[name][0]:,} bytes and has"
                f" {state[0]:,}); all passes need the same rows"
            )


def position(name: str | int, names: Sequence[str], usable: Sequence[int], whole: str) -> int:
    """The number of a column: one of any name, else a number that counts the usable columns, negative from the end."""
    if name in names:
        return list(names).index(str(name))
    try:
        return usable[int(name)]
    except (ValueError, IndexError):
        raise ValueError(f"{whole} has no column {name!r}; it has {listed(names)}") from None


def weights(values: Any, block: str) -> np.ndarray:
    """The weights of a block as float64."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{block}: the weights have dtype {array.dtype}; real numbers are wanted")
    return array.astype(np.float64, copy=False)


def will_need(X: np.ndarray) -> None:
    """Let the system read the pages of a part of a map, if X is one."""
    base: Any = X
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, mmap.mmap) or not hasattr(base, "madvise") or not X.size or not X.flags.forc:
        return
    start = X.ctypes.data - np.frombuffer(base, np.uint8).ctypes.data
    page = start // mmap.PAGESIZE * mmap.PAGESIZE
    base.madvise(mmap.MADV_WILLNEED, page, start + X.nbytes - page)
