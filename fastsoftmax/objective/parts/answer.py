"""What parts answer, and the tree by which answers are summed.

Parts are the leaves, in the order of their numbers, and two neighbours have a parent, level by level:

    level 2          0
    level 1      0       1
    level 0    0   1   2          a node without a neighbour takes its parent's place

A sum of floats depends on the order of its terms. Here that is the tree's, whoever answers first: a node is the sum of
its two children, left plus right, wherever and whenever both have come together. A process that has several parts sums
as many whole branches as it can, and passes on a `Forest` of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class SomeRows:
    """An array (count, k) of zeros but for some of its rows: the gradient of sparse rows that have entries in few of
    very many columns. Adding two of them gives a third, or an array where that takes less memory.

    Attributes
    ----------
    numbers : int ndarray (r,)
        Of the rows, ascending.
    values : ndarray (r, k)
    count : int
    """

    numbers: np.ndarray
    values: np.ndarray
    count: int

    @property
    def nbytes(self) -> int:
        return int(self.numbers.nbytes + self.values.nbytes)

    @property
    def dense(self) -> np.ndarray:
        out = np.zeros((self.count, self.values.shape[1]))
        out[self.numbers] = self.values
        return out

    @classmethod
    def of(cls, array: np.ndarray, numbers: np.ndarray) -> SomeRows | np.ndarray:
        """An array whose other rows are zero; the array itself where it takes less memory."""
        count, k = array.shape
        if not _pays(len(numbers), count, k):
            return array
        return cls(numbers, array[numbers], count)

    def plus(self, other: SomeRows) -> SomeRows | np.ndarray:
        numbers = np.union1d(self.numbers, other.numbers)
        if not _pays(len(numbers), self.count, self.values.shape[1]):
            out: np.ndarray = add(self.dense, other)
            return out
        values = np.zeros((len(numbers), self.values.shape[1]))
        values[np.searchsorted(numbers, self.numbers)] = self.values
        values[np.searchsorted(numbers, other.numbers)] += other.values
        return SomeRows(numbers, values, self.count)


def _pays(rows: int, count: int, k: int) -> bool:
    """Whether so many rows of k numbers take less memory with their numbers than all rows do without."""
    return rows * (k + 1) < count * k


def add(a: Any, b: Any) -> Any:
    """a + b, in new memory: numbers, arrays or `SomeRows`."""
    if isinstance(a, SomeRows) and isinstance(b, SomeRows):
        return a.plus(b)
    if isinstance(b, SomeRows):
        a, b = b, a
    if isinstance(a, SomeRows):
        out = b.copy()
        out[a.numbers] += a.values
        return out
    return a + b


@dataclass(frozen=True, eq=False)
class Answer:
    """What parts answer: numbers and arrays that are added up, and others of which the largest counts."""

    added: tuple[Any, ...] = ()
    largest: tuple[Any, ...] = ()

    def plus(self, other: Answer) -> Answer:
        return Answer(
            tuple(map(add, self.added, other.added)),
            tuple(map(np.maximum, self.largest, other.largest)),
        )

    @property
    def nbytes(self) -> int:
        return sum(getattr(part, "nbytes", 8) for part in (*self.added, *self.largest))


@dataclass(eq=False)
class Forest:
    """Branches of the tree that have been summed so far.

    Attributes
    ----------
    parts : int
        Leaves of the whole tree.
    branches : dict
        Level and number of a node: its answer. No two of them are neighbours.
    sent : int
        Bytes of the forests that have been joined to this one.
    """

    parts: int
    branches: dict[tuple[int, int], Answer] = field(default_factory=dict)
    sent: int = 0

    def add(self, number: int, answer: Answer, level: int = 0) -> None:
        """Add a node, a part's own answer unless a ``level`` is given, and sum what it completes."""
        while (last := (self.parts - 1) >> level) > 0:
            if number < last or number % 2:
                other = self.branches.pop((level, number ^ 1), None)
                if other is None:
                    break
                answer = other.plus(answer) if number % 2 else answer.plus(other)
            level, number = level + 1, number // 2
        self.branches[level, number] = answer

    def join(self, other: Forest) -> None:
        """Add all nodes of another forest, which has come from elsewhere."""
        self.sent += other.sent + other.nbytes
        for (level, number), answer in other.branches.items():
            self.add(number, answer, level)

    @property
    def nbytes(self) -> int:
        return sum(answer.nbytes for answer in self.branches.values())

    @property
    def total(self) -> Answer:
        """The answer of all parts."""
        ((_, answer),) = self.branches.items()
        return answer


def joined(forests: list[Forest]) -> Forest:
    """One forest of several; bits do not depend on their order."""
    out = Forest(forests[0].parts)
    for forest in forests:
        out.join(forest)
    return out
