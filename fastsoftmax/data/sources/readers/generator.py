"""A function that yields chunks of rows afresh each time it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ....kernels.contract import Csr
from ...bfloat16 import as_numbers
from ...frames import column_names, is_frame, opened
from ...validation import check_X
from ...validation_labels import check_labels
from .reader import Block, Coded, Reader, weights


class GeneratorReader(Reader):
    """What ``make()`` yields: X, (X, y) or (X, y, w) of some rows at a time.

    Parameters
    ----------
    make : callable without arguments
        Returns an iterable of new arrays, since a chunk is still in use when the next one is made. X as
        `fastsoftmax.Objective` takes it, in every chunk of one dtype and with as many columns, dense in all of them or
        sparse; labels y (rows,), weights w (rows,).
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.path, self._make, self.notes = Path(getattr(make, "__name__", type(make).__name__)), make, []
        first = next(iter(self._chunks()), None)
        if first is None:
            raise ValueError(f"{self._name} yields nothing; (X, y) or (X, y, w) of some rows at a time is wanted")
        self._parts = len(first)
        X, self.names = self._checked(first[0], self._name)
        self.target, self.weighted = "y" * (self._parts > 1), self._parts == 3
        self.dtype, self.sparse = X.dtype, isinstance(X, Csr)
        self.by_column = isinstance(X, np.ndarray) and X.flags.f_contiguous and not X.flags.c_contiguous
        self.block_bytes = 3 * (12 * len(X.data) if isinstance(X, Csr) else X.nbytes)

    @property
    def _name(self) -> str:
        return f"{self.path.name}()"

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        start, memory = 0, None
        for number, given in enumerate(self._chunks()):
            where = f"{self._name}, chunk {number} (the first is 0)"
            if len(given) != self._parts:
                raise ValueError(f"{where} has {len(given)} parts, and the first one has {self._parts}")
            rows, names = self._checked(given[0], where)
            if names != self.names or rows.dtype != self.dtype or isinstance(rows, Csr) != self.sparse:
                raise ValueError(
                    f"{where}: X is {_kind(isinstance(rows, Csr), rows.dtype, len(names))}; the first chunk has"
                    f" {_kind(self.sparse, self.dtype, len(self.names))}, and all are to be alike"
                )
            before, memory = memory, rows.data if isinstance(rows, Csr) else rows
            if len(rows) and before is not None and _address(before) == _address(memory):
                raise ValueError(
                    f"{where}: X lies in the memory of the chunk before, which is still in use; new arrays are wanted"
                )
            block = Block(len(rows), rows, where=where)
            if self._parts > 1:
                block.y = Coded.of(_of_rows(check_labels(given[1]), len(rows), f"{where}: y"))
            if self._parts == 3:
                block.w = _of_rows(weights(given[2], where), len(rows), f"{where}: w")
            yield block
            start += len(rows)

    def labels(self, values: np.ndarray, rows: int) -> np.ndarray:
        if values.dtype.kind == "O" and not any(text.endswith("\0") for text in values):
            values = values.astype(str)
        wrong = values[values != np.floor(values)] if values.dtype.kind == "f" else []
        if len(wrong) or values.dtype.kind not in "biufUO":
            what = wrong[0] if len(wrong) else values.dtype
            raise ValueError(f"{self._name}: y holds {what}; labels are whole numbers or text")
        return values

    def _chunks(self) -> Iterator[tuple[Any, ...]]:
        made = self._make()
        if not hasattr(made, "__iter__"):
            raise TypeError(f"{self._name} returns {type(made).__name__}; an iterable of (X, y) or (X, y, w) is wanted")
        for number, given in enumerate(made):
            parts = given if isinstance(given, tuple) else (given,)
            if not 1 <= len(parts) <= 3:
                raise ValueError(f"{self._name}, chunk {number} has {len(parts)} parts; (X, y) or (X, y, w) is wanted")
            shape: tuple[int, ...] = getattr(parts[0], "shape", ())
            if len(shape) == 2 and shape[0] == 0:
                continue  # a filter may leave none of a chunk's rows
            yield parts

    @staticmethod
    def _checked(X: Any, where: str) -> tuple[np.ndarray | Csr, list[str]]:
        frame = opened(X) if is_frame(X) else None
        try:
            checked = check_X(X if frame is None else frame)
            array = checked if isinstance(checked, Csr) else as_numbers(checked)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None
        names = range(array.shape[1]) if frame is None else column_names(frame)
        return array.view(np.uint8) if array.dtype == np.bool_ else array, [str(name) for name in names]  # type: ignore


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _kind(sparse: bool, dtype: np.dtype, n: int) -> str:
    return f"{'sparse' if sparse else 'dense'} {dtype} with {n} columns"


def _of_rows(values: Any, rows: int, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (rows,):
        raise ValueError(f"{what} has shape {array.shape}; ({rows},), one for each row of X, is wanted")
    return array
