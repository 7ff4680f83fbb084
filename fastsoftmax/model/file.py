"""The file formats of a `Model`: named arrays and texts, in a ``.npz`` or a ``.safetensors`` file.

Arrays are ``theta`` and, if the model has one, ``bias``, both little-endian. The text ``header`` is JSON::

    {"format": "fastsoftmax model", "format_version": 1, "package_version": "0.1.0",
     "classes": {"dtype": "<U5", "values": ["cat", "dog"]}, "feature_names": null, "metadata": {}}

The text ``checksum`` is the SHA-256 of the header and the arrays, so that damage is found in either format. Nothing is
ever unpickled.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import _extras
from .._version import __version__
from ..data.archive import first_line, load_arrays, whole_file

FORMAT = "fastsoftmax model"
FORMAT_VERSION = 1
ARRAYS = ("theta", "bias")


def write(
    path: Path, arrays: dict[str, np.ndarray], classes: np.ndarray, names: list[str] | None, metadata: dict[str, str]
) -> None:
    """Write the arrays and a header of the rest to ``path``, in the format that its suffix stands for.

    Raises
    ------
    ValueError
        For another suffix, or labels that JSON cannot represent exactly.
    ImportError
        If a .safetensors file is asked for, and the package is not installed.
    """
    header = json.dumps(
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "package_version": __version__,
            "classes": _pack_labels(classes),
            "feature_names": names,
            "metadata": metadata,
        }
    )
    arrays = {name: np.ascontiguousarray(a, dtype=a.dtype.newbyteorder("<")) for name, a in arrays.items()}
    texts = {"header": header, "checksum": _checksum(header, arrays)}
    if _suffix(path) == ".safetensors":
        data = _safetensors().save(arrays, metadata=texts)
    else:
        buffer = io.BytesIO()
        # NumPy 2.0 takes allow_pickle=False for one more array to save; nothing here is of objects, which are pickled.
        entries: dict[str, Any] = {k: np.frombuffer(v.encode(), np.uint8) for k, v in texts.items()} | arrays
        np.savez(buffer, **entries)
        data = buffer.getvalue()
    with whole_file(path) as file:
        file.write(data)


def read(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray, list[str] | None, dict[str, str]]:
    """Arrays, classes, feature names and metadata of a file that `write` wrote.

    Raises
    ------
    ValueError
        For any other file, and for one that has changed since.
    ImportError
        If it is a .safetensors file, and the package is not installed.
    """
    unpack = _unpack_safetensors if _suffix(path) == ".safetensors" else _unpack_npz
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path} is empty; a fastsoftmax model is wanted")
    try:
        texts, arrays = unpack(data)
    except ImportError:
        raise
    except Exception as error:  # a damaged file can make its parser fail in any way
        raise ValueError(f"{path} is damaged or no {_suffix(path)} file: {first_line(error)}") from error
    if not texts.keys() >= {"header", "checksum"}:
        raise ValueError(f"{path} is no fastsoftmax model: it has no header")
    header = _parse_header(path, texts["header"])
    if texts["checksum"] != _checksum(texts["header"], arrays):
        raise ValueError(f"{path} is damaged: its checksum does not match its contents")
    try:
        return arrays, _unpack_labels(header["classes"]), header["feature_names"], header["metadata"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} has a header that cannot be read: {error}") from error


def _parse_header(path: Path, text: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its header is not JSON: {error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path} is no fastsoftmax model: its header does not say {FORMAT!r}")
    version = header.get("format_version")
    if not isinstance(version, int):
        raise ValueError(f"{path} is damaged: its format version is {version!r}; a whole number is wanted")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {version}, this fastsoftmax reads up to {FORMAT_VERSION}; a newer one is wanted"
        )
    return header


def _unpack_npz(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"{damaged} has a wrong CRC")
    found = load_arrays(io.BytesIO(data), ("header", "checksum", *ARRAYS))[1]
    texts = {name: array.tobytes().decode() for name, array in found.items() if name not in ARRAYS}
    return texts, {name: array for name, array in found.items() if name in ARRAYS}


def _unpack_safetensors(data: bytes) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    arrays = _safetensors().load(data)
    # safetensors returns metadata of files only, not of bytes. They are in the JSON that follows its length in 8 bytes.
    length = int.from_bytes(data[:8], "little")
    texts = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    return texts, {name: arrays[name] for name in ARRAYS if name in arrays}


def _safetensors() -> ModuleType:
    return _extras.load("safetensors.numpy", "a .safetensors file")


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in (".npz", ".safetensors"):
        raise ValueError(f"path must end in .npz or .safetensors; got {str(path)!r}")
    return suffix


def _checksum(header: str, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(header.encode())
    for name in ARRAYS:
        if name in arrays:
            array = arrays[name]
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(array.tobytes())  # not its buffer, which dates do not have: a damaged file may hold any
    return digest.hexdigest()


def _pack_labels(classes: np.ndarray) -> dict[str, Any]:
    """Labels as JSON, which is exact for integers, floats up to 64 bits, booleans and strings."""
    values = classes.tolist()
    plain = classes.dtype.kind in "biuU" or (classes.dtype.kind == "f" and classes.dtype.itemsize <= 8)
    if classes.dtype.kind == "O":
        values = [value.item() if isinstance(value, np.generic) else value for value in values]
        plain = all(isinstance(value, (bool, int, float, str)) for value in values)
    if not plain:
        raise ValueError(f"classes have dtype {classes.dtype}; only int, float, bool and str labels can be saved")
    return {"dtype": classes.dtype.str, "values": values}


def _unpack_labels(packed: dict[str, Any]) -> np.ndarray:
    return np.array(packed["values"], dtype=np.dtype(packed["dtype"]))
