"""Which reader is for which data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files import kind_of_file
from ...files.data import ReadOptions
from ...files.parquet import ParquetTable, is_float32
from .arrays import NpyReader, ZarrReader
from .csr_parts import CsrPartsReader
from .generator import GeneratorReader
from .reader import Reader
from .svmlight import SvmlightReader
from .tables.arrow import ArrowReader, stream_of
from .tables.csv import CsvReader
from .tables.parquet import ParquetReader

# Suffixes of Arrow IPC files.
ARROW = (".arrow", ".feather", ".ipc", ".arrows")
# The arguments of `scan` that have a meaning for a kind of data.
MEANT_FOR: dict[str, tuple[str, ...]] = {
    "parquet": ("columns", "weight", "dtype", "filters"),
    "arrow": ("columns", "weight", "dtype"),
    "csv": ("columns", "weight"),
    "npy": ("columns", "weight"),
    "zarr": ("columns", "weight"),
    "csr": ("weight",),
    "svmlight": ("columns",),
}


def open_reader(data: Any, target: Any, memory: int, options: ReadOptions, given: dict[str, Any]) -> Reader:
    """The reader of some data. ``given`` has the arguments of `scan` that are not for all of them."""
    if isinstance(data, str | Path) or hasattr(data, "__fspath__"):
        return _of_path(Path(data), target, memory, options, given)
    named = {name: given[name] for name in ("columns", "weight", "dtype")}
    if hasattr(type(data), "__arrow_c_stream__"):
        _refuse(given, type(data).__name__, tuple(named))
        path = Path(type(data).__name__)
        return ArrowReader(path, target, stream=stream_of(data), options=options, memory=memory, **named)
    if callable(data):
        _refuse({"target": target, **given}, f"{getattr(data, '__name__', 'the callable')}()", ())
        return GeneratorReader(data)
    if hasattr(data, "__next__"):
        raise TypeError(
            f"data is a {type(data).__name__}, which can be walked once, and each pass walks all rows: give the"
            " function that makes it"
        )
    raise TypeError(f"data is {type(data).__name__}; a path, a callable that yields (X, y), or Arrow data is wanted")


def _of_path(path: Path, target: Any, memory: int, options: ReadOptions, given: dict[str, Any]) -> Reader:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder")
    kind = kind_of(path, options)
    _refuse(given, path.name, MEANT_FOR.get(kind, ()))
    named = {name: given[name] for name in MEANT_FOR.get(kind, ())}
    if kind in ("npy", "zarr"):
        return (NpyReader if kind == "npy" else ZarrReader)(path, target, **named)
    if kind == "csr":
        return CsrPartsReader(path, target, **named)
    if kind == "svmlight":
        _refuse({"target": target}, path.name, ())
        return SvmlightReader(path, memory, extra_features=options.extra_features, **named)
    reader: Any = {"parquet": ParquetReader, "arrow": ArrowReader, "csv": CsvReader}.get(kind)
    if reader is None:
        raise ValueError(f"{path.name}: {kind} files are not scanned; a .npy file holds an array that can be")
    made: Reader = reader(path, target, options=options, memory=memory, **named)
    return made


def kind_of(path: Path, options: ReadOptions) -> str:
    """The kind of data at a path: one of those of `files`, "arrow", "zarr" or "csr"."""
    return "arrow" if path.suffix.lower() in ARROW else _kind_of_folder(path) or kind_of_file(path, options)


def decoded_bytes(path: Path, options: ReadOptions) -> float:
    """About how much memory X of a path takes where it is read as a whole; infinity for what only a scan reads, and 0
    for what no scan does."""
    if path.suffix.lower() in ARROW or _kind_of_folder(path):
        return float("inf")
    kind = kind_of_file(path, options)
    if kind == "npz" or not (path.is_file() or path.is_dir()):  # a pipe can be read once
        return 0
    if kind != "parquet":
        return path.stat().st_size
    table = ParquetTable(path, options)
    return sum(part.rows * sum(4 if is_float32(type_) else 8 for type_ in part.types.values()) for part in table.parts)


def _kind_of_folder(path: Path) -> str | None:
    """What a folder holds, unless it is Parquet."""
    if not path.is_dir():
        return None
    if any((path / name).exists() for name in (".zarray", "zarr.json")):
        return "zarr"
    return "csr" if any(path.glob("*.npz")) else None


def _refuse(given: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    """Raise ValueError for arguments that mean nothing for this kind of data."""
    for argument, value in given.items():
        if value is not None and argument not in known:
            raise ValueError(f"{argument} has no meaning for {name}; leave it out")
