"""Which reader is for which data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files import FORMATS, kind_of_file
from ...files.data import ReadOptions
from .arrays import NpyReader, ZarrReader
from .generator import GeneratorReader
from .reader import Reader
from .tables.parquet import ParquetReader


def open_reader(data: Any, target: Any, memory: int, options: ReadOptions, given: dict[str, Any]) -> Reader:
    """The reader of some data. ``given`` has the arguments of `scan` that are not for all of them."""
    if isinstance(data, str | Path) or hasattr(data, "__fspath__"):
        return _of_path(Path(data), target, memory, options, given)
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
    kind = kind_of_file(path, options)
    named = {"columns": given["columns"], "weight": given["weight"]}
    if kind == "npy":
        _refuse(given, path.name, ("columns", "weight"))
        return NpyReader(path, target, **named)
    if kind == "zarr":
        _refuse(given, path.name, ("columns", "weight"))
        return ZarrReader(path, target, **named)
    if kind == "parquet":
        return ParquetReader(path, target, options=options, memory=memory, **given)
    raise ValueError(f"{path.name}: {kind} files are not scanned; known are {', '.join(FORMATS)}")


def _refuse(given: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    """Raise ValueError for arguments that mean nothing for this kind of data."""
    for argument, value in given.items():
        if value is not None and argument not in known:
            raise ValueError(f"{argument} has no meaning for {name}; leave it out")
