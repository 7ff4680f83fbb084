"""Sparse text files, whose lines are "label index:value index:value ..."."""

from __future__ import annotations

from pathlib import Path

from ... import _extras
from . import text
from .columns import first_line
from .data import Data
from .labels import labels

# Most features of a sparse file. Each costs a row of theta and a name in the model, and one wrong digit in a damaged
# file would ask for 10^12 of them.
FEATURES_MAX = 1 << 24


def read_svmlight(path: Path, n: int | None = None, *, zero_based: bool | None = None) -> Data:
    """A sparse text file, whose lines are "label index:value index:value ...". "feature 7" is the name of index 7.

    Parameters
    ----------
    path : Path
    n : int, optional
        Number of features; as many as the largest index needs unless given.
    zero_based : bool, optional
        Whether indices start at 0. Unless given they do so if the file has a 0; otherwise at 1, as the format says.
    """
    rows, largest, smallest = text.svmlight_extent(path)
    first = 1 - (smallest == 0 if zero_based is None else zero_based)
    if smallest < first:
        raise ValueError(f"{path.name} has a feature 0; the model's features start at 1")
    found = largest + 1 - first
    if n is not None and found > n:
        raise ValueError(f"{path.name} has a feature {largest}; the model has {n}, from {first} on")
    n = n or found
    if not rows or not n:
        raise ValueError(f"{path.name} has {rows} rows of data and {n} features")
    if n > FEATURES_MAX:
        raise ValueError(f"{path.name} has a feature {largest}; at most {FEATURES_MAX} features are taken")
    from scipy.sparse import csr_array

    load = _extras.load("sklearn.datasets", "reading svmlight files").load_svmlight_file
    try:
        X, y = load(str(path), n_features=n, zero_based=first == 0)
    except (ValueError, IndexError, OverflowError) as error:
        raise ValueError(f"{path.name}: {first_line(error)}") from None
    names = [f"feature {j}" for j in range(first, first + n)]
    target = "first value of a line"
    return Data(csr_array(X), labels(y, path, target), names, target)
