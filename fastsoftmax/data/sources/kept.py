"""What the first pass has found, kept in files: a small JSON file and, beside it, the rows' classes and weights.

They hold for the files that they are of, by size and time of change, and for the same features, labels and weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..archive import first_line, map_array, whole_path
from .first_pass import Facts, Spool, Targets
from .readers.reader import Reader
from .source import ROWS_AT_ONCE

VERSION = 1
SUFFIX = ".scan.json"


def place_of(reader: Reader) -> Path:
    """Where the facts of some data are kept unless another place is named: beside it."""
    return reader.path.with_name(reader.path.name + SUFFIX)


def keep(path: Path, reader: Reader, facts: Facts) -> None:
    """Write the files; ValueError for data without files, of which nobody can tell whether it is the same later."""
    if not facts.files or reader.identity == "?":
        raise ValueError(f"{reader.name}: findings can be kept only where rows, labels and weights are files")
    about: dict[str, Any] = {"version": VERSION, "of": _identity(reader, facts.files)}
    about |= {"rows": facts.rows, "entries": facts.entries}
    targets = facts.targets
    if targets is not None:
        about["classes"], about["dtype"] = targets.classes.tolist(), targets.classes.dtype.str
        about["counts"], about["weights"] = targets.counts.tolist(), targets.weights.tolist()
        narrow = np.min_scalar_type(max(len(targets.classes) - 1, 1))
        _save(_beside(path, "y"), targets.y, narrow)
        if targets.w is not None:
            _save(_beside(path, "w"), targets.w, np.dtype(np.float64))
    if facts.column_entries is not None:
        about["column_entries"] = facts.column_entries.tolist()
    with whole_path(path) as temporary:
        temporary.write_text(json.dumps(about))


def kept(path: Path, reader: Reader) -> Facts:
    """The facts of a reader's data; ValueError if what is kept is of other data, or damaged."""
    try:
        about = json.loads(path.read_text())
        files = {name: (int(size), int(time)) for name, (size, time) in about["of"]["files"].items()}
        if about["version"] != VERSION or about["of"] != json.loads(json.dumps(_identity(reader, reader.state()))):
            raise ValueError(f"{path.name} is of other data than {reader.name} is now, or of other columns of it")
        facts = Facts(int(about["rows"]), int(about["entries"]), files=files)
        if "column_entries" in about:
            facts.column_entries = np.array(about["column_entries"], np.int64)
        if "classes" in about:
            y, w = _load(_beside(path, "y"), np.int32, facts.rows), None
            if reader.weighted:
                w = _load(_beside(path, "w"), np.float64, facts.rows)
            classes = np.array(about["classes"], np.dtype(about["dtype"]))
            facts.targets = Targets(classes, y, w, np.array(about["counts"]), np.array(about["weights"], np.float64))
    except Exception as error:  # damage can make a parser fail in any way
        if type(error) is ValueError and str(error).startswith(path.name.removesuffix(SUFFIX)):
            raise
        raise ValueError(f"{path.name} does not hold what a first pass has found: {first_line(error)}") from None
    return facts


def _identity(reader: Reader, files: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """What must be the same: the files, and what of them is read."""
    return {"files": files, "features": reader.names, "target": reader.target, "options": reader.identity}


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name.removesuffix('.json')}.{what}.npy")


def _save(path: Path, array: np.ndarray, dtype: np.dtype) -> None:
    with whole_path(path) as temporary:
        out = np.lib.format.open_memmap(temporary, "w+", dtype, array.shape)
        for a in range(0, len(array), ROWS_AT_ONCE):
            out[a : a + ROWS_AT_ONCE] = array[a : a + ROWS_AT_ONCE]
        out.flush()


def _load(path: Path, dtype: Any, rows: int) -> np.ndarray:
    array = map_array(path)
    if array.shape != (rows,):
        raise ValueError(f"{path.name} has shape {array.shape}; ({rows},) is wanted")
    out = Spool(dtype)
    for a in range(0, rows, ROWS_AT_ONCE):
        out.append(array[a : a + ROWS_AT_ONCE])
    return out.array()
