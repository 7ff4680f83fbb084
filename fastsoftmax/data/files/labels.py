"""Labels: from what a file holds to integers or text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def encoded(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values of a pyarrow column and the number of each row's value: each text becomes Python's once."""
    array = column.dictionary_encode().unify_dictionaries().combine_chunks()
    return np.asarray(array.dictionary.to_pylist()), array.indices.to_numpy()


def labels(y: np.ndarray, path: Path, target: str) -> np.ndarray:
    """Labels as integers where all are whole numbers, else as strings; ValueError for fractions."""
    where = f"{path.name}, target column {target!r}"
    if y.dtype.kind in "biu":
        return y.astype(np.int64) if y.dtype.kind != "b" else y
    if y.dtype.kind in "US":
        try:
            numbers = y.astype(np.float64)
        except ValueError:
            return y.astype(str)
    elif y.dtype.kind == "f":
        numbers = y
    else:
        raise ValueError(f"{where} holds {y.dtype}; whole numbers or text are wanted as labels")
    fractions = np.flatnonzero(~(np.isfinite(numbers) & (np.floor(numbers) == numbers) & (abs(numbers) < 2**53)))
    if not len(fractions):
        return numbers.astype(np.int64)
    if y.dtype.kind in "US" and not np.isfinite(numbers).all():  # the text "nan" or "inf" beside numbers
        return y.astype(str)
    raise ValueError(f"{where} holds the number {y[fractions[0]]}; labels are whole numbers or text")
