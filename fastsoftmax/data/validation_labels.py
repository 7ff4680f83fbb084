"""Labels of any kind, as the one array in which each is what it was.

``np.asarray`` makes text of 1 beside "a", and one float of two integers beyond 2^53: labels that differ become one.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import as_array, offers_memory
from .frames import has_columns


def check_labels(y: Any, name: str = "y") -> Any:
    """Labels as an array of integers, booleans, floats or text, or ``y`` itself where it holds none of these.

    Lists, arrays of objects and what other libraries call an array are looked at label by label.

    Raises
    ------
    ValueError
        If labels are of more than one kind, a missing value among text included, or are integers that 64 bits do not
        hold together.
    """
    if offers_memory(y) and not has_columns(y):
        y = as_array(y, name)
    listed = isinstance(y, (list, tuple))
    array: Any = None
    if listed:
        values = y
    elif hasattr(y, "__array__") and len(getattr(y, "shape", (0,))) == 1:
        array = as_array(y, name)
        if array.dtype.kind not in "OT":
            return array
        array = array.astype(object)
        values = array.tolist()
    else:
        return y
    kinds = {type_: _kind(type_) for type_ in set(map(type, values))}
    found = set(kinds.values())
    if found == {"integer", "float"}:
        return _floats(values, name)
    if len(found) > 1:
        first = kinds[type(values[0])]
        row = next(i for i, value in enumerate(values) if kinds[type(value)] != first)
        raise ValueError(
            f"{name} must hold labels of one kind; row 0 holds {values[0]!r}, and row {row} {values[row]!r}"
        )
    if found == {"integer"}:
        return _integers(values, name) if listed or not _beyond(values) else array
    if found == {"text"}:
        # Arrays of text drop what NUL characters it ends in.
        return np.array(values, object) if not listed or any(text.endswith("\0") for text in values) else np.asarray(y)
    return y if "other" in found or not found else np.asarray(values)


def _kind(type_: type) -> str:
    kinds = {"text": str, "boolean": (bool, np.bool_), "integer": numbers.Integral, "float": (float, np.floating)}
    return next((kind for kind, types in kinds.items() if issubclass(type_, types)), "other")  # type: ignore[arg-type]


def _beyond(values: Sequence[Any]) -> bool:
    """Whether no integer type of 64 bits holds all of these."""
    low, high = int(min(values)), int(max(values))
    return low < -(1 << 63) or high >= 1 << 64 or (low < 0 and high >= 1 << 63)


def _integers(values: Sequence[Any], name: str) -> np.ndarray:
    if _beyond(values):
        raise ValueError(f"{name} holds integers from {min(values)} to {max(values)}; 64 bits are wanted for all")
    array = np.asarray(values)
    wide = np.uint64 if max(values) >= 1 << 63 else np.int64
    return array if array.dtype.kind in "iu" else np.array(list(map(int, values)), wide)


def _floats(values: Sequence[Any], name: str) -> np.ndarray:
    array = np.array(values, np.float64)
    whole = [i for i, value in enumerate(values) if isinstance(value, numbers.Integral)]
    row = next((i for i in whole if int(array[i]) != int(values[i])), None)
    if row is not None:
        raise ValueError(
            f"{name} holds floats, and in row {row} {values[row]!r}, which no float is; one kind is wanted"
        )
    return array
