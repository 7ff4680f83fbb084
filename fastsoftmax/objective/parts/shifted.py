"""A sum of parts over X - shift: each part keeps its own shifted objective, `derived.Shifted`, beside its rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from ..derived import SharesCount
from .answer import Answer
from .part import Part
from .total import Parts, Total


class ShiftedParts:
    """Parts that answer for X - shift."""

    def __init__(self, parts: Parts, shift: np.ndarray, most: int) -> None:
        self.whole, self._parts, self._shift = parts.whole, parts, (uuid.uuid4().hex, shift, most)

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        return self._parts.ask(_of_shifted, self._shift, question, arguments)

    def fold(self, question: Callable[..., Any], *arguments: Any, state: Any) -> Any:
        return self._parts.fold(_fold_shifted, self._shift, question, arguments, state=state)


def _of_shifted(
    part: Part, shift: tuple[str, np.ndarray, int], question: Callable[..., Answer], arguments: tuple[Any, ...]
) -> Answer:
    return question(part.shifted(*shift), *arguments)


def _fold_shifted(
    part: Part, shift: tuple[str, np.ndarray, int], question: Callable[..., Any], arguments: tuple[Any, ...], state: Any
) -> Any:
    return question(part.shifted(*shift), *arguments, state)


class ShiftedTotal(SharesCount, Total):  # type: ignore[misc]  # properties in place of attributes
    """A total over X - shift. It shares l2 and the count of passes with the original one.

    Parameters
    ----------
    outer : Total
        The original.
    shift : ndarray (n,) of the dtype of the computation
        Subtracted from each row.
    most : int
        A part keeps a shifted copy of its rows if that takes at most so many bytes; else they are shifted a chunk at a
        time, in every pass.

    Attributes
    ----------
    outer, shift
        As given; the latter in float64.
    """

    def __init__(self, outer: Total, shift: np.ndarray, most: int) -> None:
        self.outer, self.shift = outer, shift.astype(np.float64)
        passes = outer.n_passes
        super().__init__(ShiftedParts(outer.parts, shift, most), l2=outer.l2)
        self.n_passes = passes
