"""Rows whose soft targets are made a chunk at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ...kernels.contract import CONVERTED_BYTES, Rows
from .memory import ArraySource, RelabelledSource

# The soft targets (rows, k) of the rows from the first number to the second.
MakeTargets = Callable[[int, int], np.ndarray]


class MadeTargets(RelabelledSource):
    """A source whose soft targets are made when a chunk needs them: an (m, k) array may be larger than all else.

    Parameters
    ----------
    source : ArraySource without targets
    make : MakeTargets
        May return the same memory each time.
    """

    def __init__(self, source: ArraySource, make: MakeTargets) -> None:
        super().__init__(source, None, source.w, source.smoothing)
        self._make = make

    def chunks(self, rows: int) -> Iterator[Rows]:
        for chunk in self._source.chunks(rows):
            yield replace(chunk, soft=self._make(chunk.start, chunk.start + len(chunk.X)))

    @staticmethod
    def rows_of_chunk(k: int, itemsize: int, block: int) -> int:
        """So many rows that their targets take `CONVERTED_BYTES`; whole blocks, and one at least."""
        return max(1, CONVERTED_BYTES // (k * itemsize) // block) * block
