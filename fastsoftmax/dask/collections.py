"""Dask collections as lists of chunks of rows, each of which is computed by one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import dask.dataframe as dd
import numpy as np
from dask.delayed import Delayed, delayed
from distributed import Future

COLLECTIONS = (da.Array, dd.DataFrame, dd.Series)


def is_collection(X: Any) -> bool:
    """Whether X is a Dask array, data frame or series, or a list of delayed chunks or futures."""
    if isinstance(X, list | tuple):
        return bool(X) and isinstance(X[0], Delayed | Future)
    return isinstance(X, COLLECTIONS)


def chunks(X: Any, y: Any, sample_weight: Any = None) -> list[tuple[Any, ...]]:
    """(X, y, sample_weight) of each partition, all of them delayed; None for no weights.

    Raises
    ------
    TypeError
        For X that is no collection.
    ValueError
        For collections with other rows, or another number of partitions, than X.
    """
    if not is_collection(X):
        kind = type(X).__name__
        raise TypeError(f"X must be a Dask array or data frame, or a list of delayed chunks; got {kind}")
    if isinstance(X, da.Array) and X.ndim != 2:
        raise ValueError(f"X has shape {X.shape}; a 2-D array (rows, features) is wanted")
    rows = None
    if isinstance(X, da.Array) and not np.isnan(X.chunks[0]).any():
        rows = X.chunks[0]
    parts = blocks(X)
    columns = [_beside(given, name, parts, rows) for given, name in ((y, "y"), (sample_weight, "sample_weight"))]
    return list(zip(parts, *columns, strict=True))


def blocks(X: Any) -> list[Any]:
    """The partitions of a collection, delayed. Chunks of an array that are side by side are made one."""
    if isinstance(X, list | tuple):
        return [delayed(part) for part in X]
    if isinstance(X, da.Array):
        whole = X.rechunk({1: -1}) if X.ndim == 2 and X.numblocks[1] > 1 else X
        # Without optimizing: Dask then loses keys of arrays that are made of its data frames.
        return list(whole.to_delayed(optimize_graph=False).ravel())
    return list(X.to_delayed())


def _beside(given: Any, name: str, parts: Sequence[Any], rows: tuple[int, ...] | None) -> list[Any]:
    """The partitions of what stands beside X, cut as X is where its ``rows`` are known."""
    if given is None:
        return [None] * len(parts)
    if not is_collection(given):
        if rows is None:
            kind = type(given).__name__
            raise TypeError(
                f"{name} must be a Dask collection where the rows of X's partitions are unknown; got {kind}"
            )
        given = da.from_array(np.asarray(given), chunks=-1)
    if isinstance(given, da.Array) and rows is not None and not np.isnan(given.chunks[0]).any():
        if given.shape[0] != sum(rows):
            raise ValueError(f"{name} has {given.shape[0]} rows; one for each of the {sum(rows)} rows of X is wanted")
        given = given.rechunk({0: rows})
    found = blocks(given)
    if len(found) != len(parts):
        raise ValueError(f"{name} has {len(found)} partitions and X has {len(parts)}; as many of each are wanted")
    return found
