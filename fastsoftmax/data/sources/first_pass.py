"""The one pass that comes before all others: how many rows there are, their classes, and their weights.

Labels and weights of all rows go into files without a name, which are mapped into memory: int32 numbers of classes, and
float64 weights. So later passes need not decode labels, whatever needs the label of some row has it, and memory is not
taken for them. Classes are sorted, as they are in memory; until the last row has come a label has the number of its
first appearance.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ...kernels.contract import Csr
from ..validation import nonfinite_place
from .readers.reader import Block, Reader, require_same
from .source import ROWS_AT_ONCE

# More distinct labels than this are no classes.
MOST_CLASSES = 1 << 20


class Spool:
    """An array that grows, in a file without a name that is mapped into memory once it is complete."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile(prefix="fastsoftmax-")
        self._count = 0

    def append(self, values: np.ndarray) -> None:
        try:
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
        except OSError as error:
            raise OSError(
                error.errno,
                f"no room for the labels and weights of {self._count:,} rows and more in {tempfile.gettempdir()}"
                f" ({error.strerror}); the environment variable TMPDIR names another folder",
            ) from None
        self._count += len(values)

    def array(self) -> np.ndarray:
        self._file.flush()
        out = np.memmap(self._file, self.dtype, "r+", shape=(self._count,))
        self._file.close()  # the map stays
        return np.asarray(out)

    def __del__(self) -> None:
        self._file.close()


@dataclass(frozen=True)
class Targets:
    """Labels and weights of all rows.

    Attributes
    ----------
    classes : ndarray (k,)
        The labels that occur, sorted.
    y : int32 ndarray (m,)
        The number of each row's class.
    w : float64 ndarray (m,) or None
        Weights, as `validation.check_weights` scales them.
    counts : int64 ndarray (k,)
        Rows of each class.
    weights : float64 ndarray (k,)
        The total weight of each class.
    """

    classes: np.ndarray
    y: np.ndarray
    w: np.ndarray | None
    counts: np.ndarray
    weights: np.ndarray

    @property
    def weight_sum(self) -> float:
        return float(len(self.y)) if self.w is None else float(self.w.sum())

    def times(self, by_class: np.ndarray) -> Targets:
        """With weights that are multiplied by one of each class."""
        largest = max(float(part.max()) for part in self._products(by_class))
        if not largest > 0:
            raise ValueError("sample_weight times class_weight is zero in every row; one positive weight is wanted")
        factor, w = 2.0 ** (1 - math.frexp(largest)[1]), Spool(np.float64)
        for part in self._products(by_class):
            w.append(part * factor)
        return replace(self, w=w.array(), weights=self.weights * by_class * factor)

    def _products(self, by_class: np.ndarray) -> Iterator[np.ndarray]:
        for a in range(0, len(self.y), ROWS_AT_ONCE):
            part = by_class[self.y[a : a + ROWS_AT_ONCE]]
            yield part if self.w is None else part * self.w[a : a + ROWS_AT_ONCE]

    def of_classes(self, present: np.ndarray) -> Targets:
        """Of some classes alone; rows of other classes, which have no weight, count as of the first."""
        y = self._numbered(np.where(present, np.cumsum(present) - 1, 0))
        return Targets(self.classes[present], y, self.w, self.counts[present], self.weights[present])

    def among(self, classes: np.ndarray) -> Targets:
        """With the numbers of ``classes``, sorted labels that all of these are among."""
        number = np.searchsorted(classes, self.classes).clip(max=len(classes) - 1)
        strange = self.classes[classes[number] != self.classes]
        if len(strange):
            raise ValueError(f"y must hold labels of classes; it holds {strange.tolist()[0]!r}")
        counts, sums = np.zeros(len(classes), np.int64), np.zeros(len(classes))
        counts[number], sums[number] = self.counts, self.weights
        return Targets(classes, self._numbered(number), self.w, counts, sums)

    def split(self, fraction: float, seed: int) -> tuple[Targets, Targets]:
        """With weight 0 for some rows, about this share of them, and with weight 0 for all others. Which rows these are
        depends on their numbers and the seed alone."""
        kept, held = Spool(np.float64), Spool(np.float64)
        for rows in _ranges(len(self.y)):
            w = np.ones(len(self.y[rows])) if self.w is None else self.w[rows]
            chosen = hashed(rows.start, len(w), seed) < fraction * 2.0**64
            kept.append(np.where(chosen, 0.0, w))
            held.append(np.where(chosen, w, 0.0))
        return self._weighted(kept.array()), self._weighted(held.array())

    def _weighted(self, w: np.ndarray) -> Targets:
        k, counts, sums = len(self.classes), np.zeros(len(self.classes), np.int64), np.zeros(len(self.classes))
        for rows in _ranges(len(w)):
            counts += np.bincount(self.y[rows][w[rows] > 0], minlength=k)
            sums += np.bincount(self.y[rows], weights=w[rows], minlength=k)
        return replace(self, w=w, counts=counts, weights=sums)

    def _numbered(self, number: np.ndarray) -> np.ndarray:
        y = Spool(np.int32)
        for a in range(0, len(self.y), ROWS_AT_ONCE):
            y.append(number[self.y[a : a + ROWS_AT_ONCE]])
        return y.array()


def hashed(first: int, count: int, seed: int = 0) -> np.ndarray:
    """Random numbers of 64 bits for the rows from ``first`` on, each made of its row's number alone: the finalizer of
    SplitMix64 (Steele, Lea and Flood, 2014)."""
    x = np.arange(first, first + count, dtype=np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    out: np.ndarray = x ^ (x >> np.uint64(31))
    return out


def hashed_folds(rows: int, folds: int) -> np.ndarray:
    """The number of the fold of each row, which the row's number decides: int32 (rows,), a map of a file."""
    out = Spool(np.int32)
    for part in _ranges(rows):
        out.append(hashed(part.start, min(part.stop, rows) - part.start) % np.uint64(folds))
    return out.array()


@dataclass
class Facts:
    """What the first pass found.

    Attributes
    ----------
    rows, entries : int
        Rows, and numbers of X that are stored.
    targets : Targets or None
        None where the data has no labels.
    files : dict
        `Reader.state` when the pass began.
    checks : list of (int, int)
        Of data without files: the rows of each block and a checksum of its labels.
    column_entries : int64 ndarray (n,) or None
        Entries of each column of sparse X.
    """

    rows: int = 0
    entries: int = 0
    targets: Targets | None = None
    files: dict[str, tuple[int, int]] = field(default_factory=dict)
    checks: list[tuple[int, int]] = field(default_factory=list)
    column_entries: np.ndarray | None = None


def first_pass(reader: Reader, *, watch: Callable[[int, int | None], None] = lambda rows, of: None) -> Facts:
    """Walk the rows once; without X where the reader can."""
    facts = Facts(files=reader.state())
    if reader.rows == 0:
        raise ValueError(f"{reader.name} has no rows")
    if not reader.target and reader.rows is not None and not reader.weighted and not reader.sparse:
        facts.rows = reader.rows
        facts.entries = facts.rows * len(reader.names)
        return facts
    numbers: dict[Any, int] = {}
    y, w = (Spool(np.int32) if reader.target else None), (Spool(np.float64) if reader.weighted else None)
    for block in reader.blocks(X=not reader.reads_labels_alone):
        _count(facts, block, reader)
        watch(facts.rows, reader.rows)
        if y is not None:
            assert block.y is not None
            y.append(_numbered(numbers, block))
            if not facts.files:
                facts.checks.append(block.check())
        if w is not None:
            w.append(_checked_weights(block))
    require_same(facts.files, reader.state())
    if not facts.rows:
        raise ValueError(f"{reader.name} has no rows")
    if not reader.sparse:
        facts.entries = facts.rows * len(reader.names)
    if y is not None:
        facts.targets = _targets(reader, numbers, y.array(), None if w is None else w.array())
    return facts


def _count(facts: Facts, block: Block, reader: Reader) -> None:
    facts.rows += block.rows
    if isinstance(block.X, Csr):
        facts.entries += len(block.X.data)
        if facts.column_entries is None:
            facts.column_entries = np.zeros(block.X.n, np.int64)
        facts.column_entries += np.bincount(block.X.indices, minlength=block.X.n)
    if isinstance(block.X, np.ndarray | Csr):
        place = nonfinite_place(block.X)
        if place is not None:
            row, column, value = place
            raise ValueError(f"{block.place(row)}, column {reader.names[column]!r} holds {value}")


def _numbered(numbers: dict[Any, int], block: Block) -> np.ndarray:
    """The labels of a block as numbers of the distinct ones, which are added to those that there are."""
    assert block.y is not None
    if block.y.values.dtype.kind not in "biufUSO":
        raise ValueError(f"{block.where} has {block.y.values.dtype} as labels; whole numbers or text are wanted")
    for code, value in enumerate(block.y.values.tolist()):
        if value != value:
            row = int(np.flatnonzero(block.y.codes == code)[0])
            raise ValueError(f"{block.place(row)} has {value} as label; a whole number or text is wanted")
        numbers.setdefault(value, len(numbers))
    if len(numbers) > MOST_CLASSES:
        raise ValueError(f"{block.where}: more than {MOST_CLASSES:,} different labels; a target has fewer classes")
    of_value = np.array([numbers[value] for value in block.y.values.tolist()], np.int32)
    out: np.ndarray = of_value[block.y.codes]
    return out


def _checked_weights(block: Block) -> np.ndarray:
    w = block.w
    assert w is not None
    wrong = np.flatnonzero(~(np.isfinite(w) & (w >= 0)))
    if len(wrong):
        raise ValueError(
            f"{block.place(int(wrong[0]))} has the weight {w[wrong[0]]}; finite ones of at least 0 are wanted"
        )
    return w


def _targets(reader: Reader, numbers: dict[Any, int], y: np.ndarray, w: np.ndarray | None) -> Targets:
    """The classes sorted, the rows by their numbers, the weights scaled."""
    values = list(numbers)
    text = isinstance(values[0], str)
    made = reader.labels(np.array(values, object if text else None), len(y))
    classes, order = np.unique(made, return_inverse=True)
    k, order = len(classes), order.astype(np.int32)
    largest = 1.0 if w is None else max(float(w[rows].max()) for rows in _ranges(len(w)))
    if not largest > 0:
        raise ValueError(f"{reader.name}: the weights are zero in every row; at least one positive weight is wanted")
    factor = 2.0 ** (1 - math.frexp(largest)[1])
    counts, sums = np.zeros(k, np.int64), np.zeros(k)
    for rows in _ranges(len(y)):
        y[rows] = order[y[rows]]
        counts += np.bincount(y[rows], minlength=k)
        if w is not None:
            w[rows] *= factor
            sums += np.bincount(y[rows], weights=w[rows], minlength=k)
    return Targets(classes, y, w, counts, counts.astype(np.float64) if w is None else sums)


def _ranges(m: int) -> Iterator[slice]:
    return (slice(a, a + ROWS_AT_ONCE) for a in range(0, m, ROWS_AT_ONCE))
