"""A text file as one array of UTF-8 bytes, whatever its compression and encoding.

A plain UTF-8 file is mapped into memory and not copied. Others are decompressed and decoded whole, because pyarrow's
reader, the search for quotes and the messages of errors all walk over the same bytes.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .... import _extras
from ...archive import first_line
from ..columns import TABLES_NEED
from ..compression import HEAD, compression

# Encodings that a byte order mark tells; UTF-32 goes first, because its mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEAD = 4096


def load(path: Path, encoding: str | None) -> np.ndarray:
    """The text of a file, uint8 without a byte order mark.

    Raises
    ------
    ValueError
        If the file is damaged, is empty, is no text, or is not in the encoding.
    """
    data = _decompressed(path)
    head = bytes(memoryview(data)[:_HEAD])
    if not head:
        raise ValueError(f"{path.name} is empty")
    mark, marked = next(((mark, name) for mark, name in _MARKS.items() if head.startswith(mark)), (b"", "utf-8"))
    name = _codec(encoding) if encoding else marked
    if name in ("utf-8", "utf-8-sig"):
        if head.count(0) > len(head) // 8:
            raise ValueError(f"{path.name} holds NUL bytes: no UTF-8 text; if it is UTF-16, add --encoding utf-16")
        return np.frombuffer(data, np.uint8)[len(mark) if marked == "utf-8" else 0 :]
    return np.frombuffer(_decoded(path, bytes(memoryview(data)), name).encode(), np.uint8)


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "ignore").count("\n") + 1
        raise ValueError(f"{path.name}, line {line} is not {encoding} text ({error.reason})") from None


def _codec(encoding: str) -> str:
    try:
        b"a".decode(encoding, "ignore")  # LookupError also for a codec that is not one of text
        return codecs.lookup(encoding).name
    except LookupError:
        raise ValueError(
            f"unknown encoding {encoding!r}; utf-8, utf-16, latin-1 and cp1252 are among the known"
        ) from None


def _decompressed(path: Path) -> Any:
    """The bytes of a file, told from its first ones and not from its name whether they are compressed."""
    if path.is_file():
        data = _extras.load("pyarrow", TABLES_NEED).memory_map(str(path)).read_buffer()
    else:
        data = path.read_bytes()  # a pipe can be opened once only
    kind = compression(bytes(memoryview(data)[:HEAD]))
    if kind is None:
        return data
    if kind == "zip":
        raise ValueError(f"{path.name} is a ZIP archive (a spreadsheet is one, too); unpack it, or save it as CSV")
    try:
        return _DECOMPRESS[kind](memoryview(data))
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{path.name} is not a sound {kind} file: {first_line(error)}") from None


def _zstd(data: Any) -> bytes:
    pyarrow = _extras.load("pyarrow", TABLES_NEED)
    return bytes(pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd").read())


_DECOMPRESS: dict[str, Callable[[Any], bytes]] = {
    "gzip": gzip.decompress,
    "bzip2": bz2.decompress,
    "xz": lzma.decompress,
    "zstd": _zstd,
}
