"""Rows of which a part is made a chunk at a time: X in bfloat16, which NumPy has no dtype for, and soft targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ...kernels.contract import CONVERTED_BYTES, Layout, Rows
from .memory import ArraySource, RelabelledSource

# The soft targets (rows, k) of the rows from the first number to the second.
MakeTargets = Callable[[int, int], np.ndarray]


class BfloatSource(ArraySource):
    """Rows of X in bfloat16, given as its bits: uint16 (m, n), the upper half of a float32. Chunks are float32."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.dtype, self._converts = np.dtype(np.float32), True
        self.layout = Layout(self.layout.by_column, self.dtype.itemsize, True)

    def pick(self, rows: np.ndarray) -> np.ndarray:
        return widened(super().pick(rows))

    def chunks(self, rows: int) -> Iterator[Rows]:
        for start in range(0, self.shape[0], rows):
            yield self._rows(widened(self.X[start : start + rows]), start)


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


def widened(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers of an array of bfloat16 bits, in an array of the same layout."""
    out = np.empty_like(bits, np.uint32)
    np.left_shift(bits, 16, out=out, casting="unsafe", dtype=np.uint32)
    numbers: np.ndarray = out.view(np.float32)
    return numbers
