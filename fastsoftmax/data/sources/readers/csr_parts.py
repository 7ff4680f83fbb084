"""A folder of .npz files that scipy.sparse.save_npz wrote: the rows of one matrix, part by part."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ....kernels.contract import Csr
from ...archive import first_line
from ...validation import check_X
from .arrays import beside
from .reader import Block, Coded, Reader, state_of, weights

ARRAYS = ("indptr", "indices", "data")
# Bytes of the head of a file in a ZIP archive, whose last two numbers are the lengths of what comes before its content.
LOCAL_HEAD = 30


class CsrPartsReader(Reader):
    """The parts in the order of their names. Arrays that are stored without compression are mapped into memory.

    Parameters
    ----------
    path : Path
        The folder.
    target, weight : array (m,), path of its .npy file, or None
    """

    sparse = True

    def __init__(self, path: Path, target: Any, *, weight: Any = None) -> None:
        self.path, self.notes, self._sound = path, [], set[Path]()
        self._files = self._parts()
        shapes = [_shape(file) for file in self._files]
        wide = next((i for i, shape in enumerate(shapes) if shape[1] != shapes[0][1]), None)
        if wide is not None:
            raise ValueError(
                f"{self._files[wide].name} has {shapes[wide][1]} columns, and {self._files[0].name} has {shapes[0][1]}"
            )
        self.rows, self.names = sum(shape[0] for shape in shapes), [str(j) for j in range(shapes[0][1])]
        self._y, self._w = beside(target, self.rows, "target"), beside(weight, self.rows, "weight")
        self._files_beside = [Path(given) for given in (target, weight) if isinstance(given, str | Path)]
        self.identity = f"labels {target}, weights {weight}" if np.ndim(target) + np.ndim(weight) == 0 else "?"
        self.target, self.weighted = "" if self._y is None else "target", self._w is not None
        self.dtype = np.result_type(*(_load(file)["data"].dtype for file in self._files[:1]))

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        start = 0
        for file in self._files:
            part = self._part(file)
            rows = slice(start, start + len(part))
            block = Block(len(part), part, where=f"{self.name}/{file.name}")
            if self._y is not None and labels:
                block.y = Coded.of(np.asarray(self._y[rows]))
            if self._w is not None and labels:
                block.w = weights(self._w[rows], self.name)
            start = rows.stop
            yield block

    def state(self) -> dict[str, tuple[int, int]]:
        return state_of(self._parts(), self.path) | state_of(self._files_beside, self.path)

    def _parts(self) -> list[Path]:
        files = sorted(self.path.glob("*.npz"))
        if not files:
            raise ValueError(f"{self.name} is a folder without .npz or .parquet files")
        return files

    def _part(self, file: Path) -> Csr:
        """The rows of a part, which are checked when it is first read."""
        arrays, n = _load(file), len(self.names)
        indptr = np.asarray(arrays["indptr"]).astype(np.int64, copy=False)
        made = Csr(indptr, np.asarray(arrays["indices"]), np.asarray(arrays["data"]), n)
        if file in self._sound:
            return made
        try:
            checked = check_X(made.to_scipy())
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.name}/{file.name} is damaged: {first_line(error)}") from None
        assert isinstance(checked, Csr)
        if np.shares_memory(checked.indices, made.indices):
            self._sound.add(file)
        return checked


def _shape(file: Path) -> tuple[int, int]:
    arrays = _load(file)
    missing = [name for name in (*ARRAYS, "shape", "format") if name not in arrays]
    kind = b"" if missing else bytes(arrays["format"])
    if missing or kind != b"csr":
        what = f"lacks {missing[0]}" if missing else f"holds {kind.decode()}"
        raise ValueError(f"{file.name} {what}; CSR rows as scipy.sparse.save_npz writes them are wanted")
    m, n = arrays["shape"]
    return int(m), int(n)


def _load(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a part, maps of the file where they are not compressed."""
    out = {}
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if member.compress_type == zipfile.ZIP_STORED and name in ARRAYS:
                    out[name] = _mapped(file, member.header_offset)
                else:
                    with archive.open(member) as stream:
                        out[name] = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # damage can make a parser fail in any way
        raise ValueError(f"{file.parent.name}/{file.name} is not a sound .npz file: {first_line(error)}") from None
    return out


def _mapped(file: Path, offset: int) -> np.ndarray:
    """The array that begins at an offset, behind its head in the archive and its own."""
    with file.open("rb") as raw:
        raw.seek(offset)
        head = raw.read(LOCAL_HEAD)
        raw.seek(offset + LOCAL_HEAD + sum(struct.unpack("<HH", head[26:30])))
        version = np.lib.format.read_magic(raw)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(raw)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are not unpickled")
        if not np.prod(shape):
            return np.empty(shape, dtype)
        return np.memmap(raw, dtype, "r", raw.tell(), shape)
