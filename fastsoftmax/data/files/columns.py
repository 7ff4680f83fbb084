"""What the readers of tables share: columns to an array, and what an error message says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TABLES_NEED = "reading CSV and Parquet files"


def filled(columns: list[Any], m: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Columns as an array in F order, where each is contiguous: they are copied one by one, without a copy of all."""
    X = np.empty((m, len(columns)), dtype, order="F")
    for j, column in enumerate(columns):
        X[:, j] = column.to_numpy(zero_copy_only=False)
    return X


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for an error message: the first ``most`` and the number of the others."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
