"""Parts in this process: the reference for any other home of parts, and the shortest implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .answer import Answer, Forest
from .part import Part, Whole, ask, describe, naming
from .total import Total


class LocalParts:
    """Parts in this process, asked one after the other."""

    def __init__(self, whole: Whole, parts: list[Part]) -> None:
        self.whole, self._parts = whole, parts

    def ask(self, question: Callable[..., Answer], *arguments: Any) -> Answer:
        forest = Forest(len(self._parts))
        for part in self._parts:
            forest.add(part.share.number, ask(part, question, arguments))
        return forest.total

    def fold(self, question: Callable[..., Any], *arguments: Any, state: Any) -> Any:
        for part in self._parts:
            state = ask(part, question, (*arguments, state))
        return state


def total_of(
    chunks: Iterable[tuple[Any, ...]], n_classes: int | None = None, *, l2: float = 0.0, **options: Any
) -> Total:
    """The objective of all rows of some chunks, (X, y) or (X, y, sample_weight), each of which is a part.

    Other parameters are those of `Objective`. Results are those of one `Objective` of all rows but for the order of
    sums, and to the last bit those of any other home of the same parts.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.objective.parts.local import total_of
    >>> obj = total_of([([[1.0], [2.0]], [0, 1]), ([[3.0]], [2])], l2=0.1)
    >>> value, grad = obj.value_and_grad(np.zeros(obj.shape))
    >>> round(value, 6), grad.shape
    (1.098612, (1, 3))
    """
    rows = [(chunk[0], chunk[1], chunk[2] if len(chunk) > 2 else None) for chunk in chunks]
    facts = []
    for number, chunk in enumerate(rows):
        with naming(number):
            facts.append(describe(*chunk))
    whole = Whole.of(facts, n_classes, **options)
    return Total(LocalParts(whole, [Part(*chunk, whole.share(number)) for number, chunk in enumerate(rows)]), l2=l2)
