"""svmlight and libsvm: sparse text, whose lines are "label index:value index:value ... # comment"."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from ... import _extras
from ..archive import first_line
from .compression import HEAD, compression
from .data import DEFAULTS, Data, ReadOptions
from .labels import labels

# Most features of a sparse file. Each costs a row of theta and a name in the model, and one wrong digit in a damaged
# file would ask for 10^12 of them.
FEATURES_MAX = 1 << 24

_NUMBER = rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
# A sound line, or one without data. It is matched at about 10 times the speed of `_explain`, which then says what is
# wrong. A file of several labels a line, "1,2 1:0.5", is none of ours.
_LINE = re.compile(
    rb"[ \t]*(?:" + _NUMBER + rb"(?:[ \t]+qid:[^ \t\r\n#]*)?(?:[ \t]+[0-9]{1,18}:" + _NUMBER + rb")*[ \t]*)?"
    rb"(?:#[^\n]*)?\r?\n?"
)
_QUERY = re.compile(rb"[^#]*[ \t]qid:")
_BOM = b"\xef\xbb\xbf"


def read_svmlight(
    path: Path, options: ReadOptions = DEFAULTS, n: int | None = None, *, zero_based: bool | None = None
) -> Data:
    """A sparse text file, plain or compressed. "feature 7" is the name of index 7.

    Parameters
    ----------
    path : Path
    options : ReadOptions
        With ``extra_features="ignore"`` features beyond the first n are left out; they are an error otherwise.
    n : int, optional
        Number of features; as many as the largest index needs unless given.
    zero_based : bool, optional
        Whether indices start at 0. Unless given they do so if the file has a 0; otherwise at 1, as the format says.
    """
    if options.ignore:
        raise ValueError(f"{path.name} has no names of columns to ignore {options.ignore[0]!r} by; a table has them")
    if options.extra_features not in ("error", "ignore"):
        raise ValueError(f"extra_features is {options.extra_features!r}; 'error' or 'ignore' is wanted")
    X, y, notes = _load(path)
    smallest, largest = (int(X.indices.min()), int(X.indices.max())) if X.nnz else (1, 0)
    if zero_based is None:
        zero_based = smallest == 0
        notes.append("features count from 0" if zero_based else "features count from 1: none has the number 0")
    first = 0 if zero_based else 1
    if smallest < first:
        raise ValueError(f"{path.name} has a feature 0; the model's features start at 1")
    found = largest + 1 - first
    if n is not None and found > n:
        if options.extra_features != "ignore":
            raise ValueError(
                f"{path.name} has a feature {largest}; the model has {n}, from {first} on"
                " (--extra-features ignore leaves others out)"
            )
        notes.append(
            f"{np.count_nonzero(X.indices >= first + n)} values of features beyond the model's {n} are left out"
        )
    n = n or found
    if not len(y) or not n:
        raise ValueError(f"{path.name} has {len(y)} rows of data and {n} features")
    if n > FEATURES_MAX:
        raise ValueError(f"{path.name} has a feature {largest}; at most {FEATURES_MAX} features are taken")
    target = "first value of a line"
    names = [f"feature {j}" for j in range(first, first + n)]
    return Data(_columns(X, first, n), labels(y, path, target), names, target, tuple(notes))


def _columns(X: Any, first: int, n: int) -> Any:
    """The n columns of a CSR array from ``first`` on, where no entry is before it."""
    from scipy.sparse import csr_array

    if X.nnz and X.indices.max() >= first + n:
        X = X[:, : first + n]
    return csr_array((X.data, X.indices - X.indices.dtype.type(first), X.indptr), shape=(X.shape[0], n))


def _load(path: Path) -> tuple[Any, np.ndarray, list[str]]:
    """A CSR array whose column j is index j, the labels, and notes."""
    queries = False
    with opened(path) as file:
        for line in file:
            queries = queries or (b"qid:" in line and _QUERY.match(line) is not None)
    with opened(path) as lines, opened(path) as file:
        X, y = parsed_lines(file, lines, path)
    return X, y, ["qid (numbers of queries) are left out"] if queries else []


def parsed_lines(file: IO[bytes], lines: Iterable[bytes], path: Path) -> tuple[Any, np.ndarray]:
    """A CSR array whose column j is index j, and the labels, of a file with these lines, which are some of a path's.

    Raises
    ------
    ValueError
        For the first line of the path that is not sound, if one of these is not.
    """
    load = _extras.load("sklearn.datasets", "reading svmlight files").load_svmlight_file
    if not all(map(_LINE.fullmatch, lines)):
        _explain(path)
    try:
        X, y = load(file, zero_based=True)
    except (ValueError, IndexError, OverflowError) as error:
        _explain(path)
        raise ValueError(f"{path.name}: {first_line(error)}") from None
    if not (np.isfinite(X.data).all() and np.isfinite(y).all()):
        _explain(path)
    return X, y


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed (gzip, bzip2, xz, zstd, told by how it starts) and without a byte order mark.

    Raises
    ------
    ValueError
        Where the compressed data is damaged, also while the file is read.
    """
    with path.open("rb") as raw:
        try:
            file = _decompressed(raw)
            start = file.peek(len(_BOM))  # type: ignore[attr-defined]
            if start.startswith(_BOM):
                file.read(len(_BOM))
            yield file
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise ValueError(f"{path.name} is damaged: {first_line(error)}") from None


def _decompressed(raw: io.BufferedReader) -> IO[bytes]:
    kind = compression(raw.peek(HEAD)[:HEAD])
    if kind == "gzip":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]
    if kind == "bzip2":
        return bz2.BZ2File(raw)  # type: ignore[return-value]
    if kind == "xz":
        return lzma.LZMAFile(raw)  # type: ignore[return-value]
    if kind == "zstd":
        pyarrow = _extras.load("pyarrow", "reading .zst files")
        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.PythonFile(raw), "zstd"))
    return raw


def _explain(path: Path) -> None:
    """Raise ValueError for the first line that is not sound; return if none is."""
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            where = f"{path.name}, line {number}"
            cells = line.partition(b"#")[0].split()  # by ASCII's blanks, as scikit-learn does
            label, *pairs = [cell.decode("utf-8", "backslashreplace") for cell in cells] or [""]
            if not label:
                continue
            if not _is_finite(label):
                raise ValueError(f"{where} has the label {label[:40]!r}; one whole number is wanted")
            before = -1
            for place, pair in enumerate(pairs):
                index, _, value = pair.partition(":")
                if index == "qid" and place == 0:
                    continue
                if not (index.isascii() and index.isdigit() and _is_finite(value)):
                    raise ValueError(f"{where} holds {pair[:40]!r}; index:value, the value finite, is wanted")
                if len(index) > 18 or int(index) >= 1 << 31:
                    raise ValueError(f"{where} has a feature {index[:30]}; at most {FEATURES_MAX} features are taken")
                if int(index) <= before:
                    raise ValueError(f"{where} has the feature {index} after {before}; rising indices are wanted")
                before = int(index)


def _is_finite(cell: str) -> bool:
    return re.fullmatch(_NUMBER, cell.encode()) is not None and math.isfinite(float(cell))
