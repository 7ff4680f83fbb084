"""Sparse problems of any size in seconds: CSR rows whose columns follow Zipf's law, as words and users do.

A row with c entries draws c columns by their rank in frequency. The probability of a rank is proportional to 1 / rank;
its range is cut into c strata of equal probability, and one rank comes from each. Equal ranks are then moved up until
they differ, so no column is in a row twice. At last a permutation turns ranks into column numbers: real columns are
ordered by name or by hash, not by frequency.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from . import drawing

# Entries that are made at a time; each such block of rows has a generator of its own, whatever the number of threads.
_BLOCK_ENTRIES = 1 << 20


def make(case: Any, seed: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """X (a csr_array with int32 indices), y int64 (m,) and theta (n, k) of a `SparseCase`."""
    rng = np.random.default_rng(seed)
    counts = _counts(case, rng)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    indices, data = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], case.dtype)
    names = rng.permutation(case.n)
    starts = np.searchsorted(indptr, np.arange(0, indptr[-1], _BLOCK_ENTRIES))

    def fill(part: tuple[int, int], rng: np.random.Generator) -> None:
        start, end = part
        at = slice(indptr[start], indptr[end])
        indices[at] = _columns(counts[start:end], names, rng)
        # Rows have about unit length: each entry is 1 / sqrt(entries of the row) times 1/2 to 3/2.
        size = np.repeat(1.0 / np.sqrt(np.maximum(counts[start:end], 1)), counts[start:end])
        data[at] = size * rng.uniform(0.5, 1.5, len(size))

    drawing.in_parts(fill, list(zip(starts, [*starts[1:], case.m], strict=True)), seed)
    X = scipy.sparse.csr_array((data, indices, indptr.astype(np.int32)), shape=(case.m, case.n))
    theta = _theta(case, seed + 2)
    return X, drawing.labels(X, theta, 3.0, seed + 1), theta


def _theta(case: Any, seed: int) -> np.ndarray:
    """Standard normal parameters, on all cores: a single generator takes 1.2 s for 10^8 of them."""
    theta = np.empty((case.n, case.k), case.dtype)
    drawing.fill(theta, lambda part, rng: rng.standard_normal(out=part, dtype=case.dtype), seed)
    return theta


def _counts(case: Any, rng: np.random.Generator) -> np.ndarray:
    """Entries of each row: all the same, or log-normal, so that some rows have none."""
    if not case.spread:
        return np.full(case.m, int(case.per_row))
    drawn = rng.lognormal(np.log(case.per_row) - case.spread**2 / 2, case.spread, case.m)
    return np.minimum(drawn.round().astype(np.int64), case.n // 2)


def _columns(counts: np.ndarray, names: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The columns of some rows, ascending in each."""
    n, most = len(names), int(counts.max(initial=0))
    row = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (place + rng.random(len(row))) / counts[row]
    rank = np.exp(share * np.log(n + 1)).astype(np.int64) - 1
    # To ascend strictly, ranks less their place in the row must never descend: a running maximum sees to it. row * span
    # keeps the rows apart, so that one call does it for all of them.
    span = n + most
    rank = np.maximum.accumulate(row * span + most + rank - place) - row * span - most + place
    rank = np.minimum(rank, n - counts[row] + place)
    key = row * n + names[rank]
    key.sort()
    columns: np.ndarray = key - row * n
    return columns
