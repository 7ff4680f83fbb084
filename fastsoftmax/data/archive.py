"""Files that are whole or not there at all, and files of arrays with a JSON header, which hold no code.

An archive is a ``.npz`` file with two members of bytes: ``header``, JSON in UTF-8, and ``numbers``, the arrays laid
end to end. The header's ``arrays`` has dtype and shape of each. zip's checksums of both members tell damage; nothing is
ever unpickled.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the name ``path`` once all of it is on disk: see `whole_path`."""
    with whole_path(path) as part, part.open("wb") as file:
        yield file


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """The name of a file to write, which takes the name ``path`` once all of it is on disk.

    Until then it has another name in the same folder, ``.NAME.part``, and what ``path`` was before stays. Where an
    error ends the writing, such as a full disk, the part is removed; where the process is killed it stays, and the next
    writing begins it anew. An error of the system names ``path``.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def map_array(path: Path) -> np.ndarray:
    """The array of a .npy file as a read-only memory map.

    Raises
    ------
    ValueError
        For any other file, and one that holds Python objects; the message says what is wrong, not of which file.
    OSError
        If there is no such file, or it cannot be opened.
    """
    try:
        with np.errstate(over="ignore"):  # of sizes that no file has
            return np.lib.format.open_memmap(path, mode="r")
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # damage can make a parser fail in any way
        if "Python objects" in str(error):
            raise ValueError("it holds Python objects, which are not unpickled") from None
        raise ValueError(first_line(error)) from None


def load_arrays(file: BinaryIO, wanted: Iterable[str] | None = None) -> tuple[list[str], dict[str, np.ndarray]]:
    """The names of all arrays of a .npz file, and those arrays that are wanted and there (None: all).

    Raises
    ------
    ValueError
        As `map_array`; also for an array that asks for more memory than there is.
    """
    where, arrays = "it", {}
    try:
        with np.errstate(over="ignore"):
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):  # an array; what might be a pickle np.load refuses
                raise ValueError("it is no archive")
            for where in archive.files if wanted is None else [name for name in wanted if name in archive.files]:
                arrays[where] = archive[where]
                if not isinstance(arrays[where], np.ndarray):
                    raise ValueError(f"{where} is no array")
    except Exception as error:  # damage can make a parser fail in any way
        why = first_line(error)
        if "pickled" in why:
            why = "it is no archive"
        elif "Object arrays" in why:
            why = f"{where} holds Python objects, which are not unpickled; numbers or text are wanted"
        raise ValueError(why) from None
    return archive.files, arrays


def write_archive(path: Path, header: dict[str, Any], arrays: Sequence[np.ndarray]) -> None:
    """Write a header and arrays of numbers as a `whole_file`."""
    arrays = [np.asarray(array, array.dtype.newbyteorder("<"), order="C") for array in arrays]
    described = [[array.dtype.str, list(array.shape)] for array in arrays]
    text = json.dumps({**header, "arrays": described}).encode()
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        _write_member(archive, "header", [text], len(text))
        # memoryview casts no array without elements
        buffers = [array.data.cast("B") for array in arrays if array.size]
        _write_member(archive, "numbers", buffers, sum(map(len, buffers)))


def read_archive(path: Path, format_name: str, version: int) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and the arrays of a file that `write_archive` wrote.

    Raises
    ------
    ValueError
        If the file is damaged, no archive, one whose header does not say ``format_name`` under "format", or has a
        larger "format_version" than ``version``.
    """
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty; a {format_name} is wanted")
    try:
        with path.open("rb") as file:
            header = json.loads(load_arrays(file, ["header"])[1]["header"].tobytes())
            if not isinstance(header, dict) or header.get("format") != format_name:
                raise ValueError(f"its header does not say {format_name!r}")
            # Numbers of a later version may be arranged in another way.
            later = header["format_version"] > version
            arrays = [] if later else _split(load_arrays(file, ["numbers"])[1]["numbers"], header["arrays"])
    except Exception as error:  # damage can make a parser fail in any way
        raise ValueError(f"{path} is damaged or no {format_name}: {first_line(error)}") from error
    if later:
        raise ValueError(
            f"{path} has format version {header['format_version']}, this fastsoftmax reads up to {version}; a newer one"
            " is wanted"
        )
    return header, arrays


def _write_member(archive: zipfile.ZipFile, name: str, buffers: Sequence[Any], size: int) -> None:
    """Write buffers one behind the other as a member that NumPy reads as one array of bytes."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        described = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(member, described)
        for buffer in buffers:
            member.write(buffer)


def _split(numbers: np.ndarray, described: list[Any]) -> list[np.ndarray]:
    arrays, at = [], 0
    for dtype, shape in described:
        end = at + np.dtype(dtype).itemsize * math.prod(shape)
        arrays.append(numbers[at:end].view(dtype).reshape(shape))
        at = end
    if at != len(numbers):
        raise ValueError(f"it has {len(numbers)} bytes of numbers, its header describes {at}")
    return arrays


def _sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk; Windows has no such call, and does not need it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
