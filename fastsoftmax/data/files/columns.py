"""What the readers of tables share: columns to an array, and what an error message says of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import _extras

TABLES_NEED = "reading CSV and Parquet files"


def filled(columns: list[Any], m: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Columns as an array in F order, where each is contiguous: they are copied one by one, without a copy of all."""
    X = np.empty((m, len(columns)), dtype, order="F")
    for j, column in enumerate(columns):
        X[:, j] = column.to_numpy(zero_copy_only=False)
    return X


def kind_of(type_: Any) -> str:
    """What a pyarrow type holds: "integer", "float", "bool", "decimal", "text", "binary", "null" or "other".

    A dictionary holds what its values are.
    """
    types = _extras.load("pyarrow", TABLES_NEED).types
    if types.is_dictionary(type_):
        return kind_of(type_.value_type)
    kinds = {
        "integer": ("is_integer",),
        "float": ("is_floating",),
        "bool": ("is_boolean",),
        "decimal": ("is_decimal",),
        "text": ("is_string", "is_large_string", "is_string_view"),
        "binary": ("is_binary", "is_large_binary", "is_fixed_size_binary", "is_binary_view"),
        "null": ("is_null",),
    }
    for kind, tests in kinds.items():  # the views are newer than the oldest pyarrow that will do
        if any(getattr(types, test, lambda _: False)(type_) for test in tests):
            return kind
    return "other"


def ignored(names: Sequence[str], ignore: Sequence[str], path: Path) -> frozenset[int]:
    """The numbers of the columns to leave out, by name; ValueError for a name that is not there."""
    unknown = [name for name in ignore if name not in names]
    if unknown:
        raise ValueError(f"{path.name} has no column {unknown[0]!r} to ignore; it has {listed(names)}")
    return frozenset(j for j, name in enumerate(names) if name in ignore)


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for an error message: the first ``most`` and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name if name.isprintable() else repr(name) for name in names[:most]) + rest
