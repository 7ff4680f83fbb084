"""Objectives that are made from another one, or over any source: of shifted, scaled or otherwise transformed rows, or
of some of the rows and classes.

X is never copied whole, but for `Shifted`. A transformed chunk is a copy that lives as long as the kernel reads it.
Where each column is multiplied by a number, passes for values and gradients need not even that, since
X diag(d) theta = X (diag(d) theta).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..data.bfloat16 import as_numbers
from ..data.sources.memory import ArraySource, RelabelledSource, SparseSource
from ..kernels.backends import select
from ..kernels.contract import Csr, RowOutputs, Rows
from ..kernels.machine import default_threads
from ..kernels.plan import Plan
from .absent import renumbered
from .objective import Objective
from .passes import DensePasses, Passes, SparsePasses, passes_of

# Dense rows, or a `Csr`, as the kernels get them, to others of the dtype of the computation.
Transform = Callable[[Any], Any]
# What an objective over other rows or columns shares with the one that it is made from.
SHARED = "n_features n_classes shape plan precision backend n_threads fit_intercept sparse weight_sum _kernels".split()


class Derived(Objective):
    """An objective over other passes, with the options of another one, and its own l2 and count of passes."""

    def __init__(self, outer: Objective, passes: Passes) -> None:
        for name in SHARED:
            setattr(self, name, getattr(outer, name))
        self._passes, self.source = passes, passes.source


class SharesCount:
    """l2 and the count of passes are those of ``outer``."""

    outer: Any

    @property
    def l2(self) -> float:
        return float(self.outer.l2)

    @l2.setter
    def l2(self, value: float) -> None:
        self.outer.l2 = value

    @property
    def n_passes(self) -> int:
        return int(self.outer.n_passes)

    @n_passes.setter
    def n_passes(self, value: int) -> None:
        self.outer.n_passes = value


class Shifted(SharesCount, Derived):  # type: ignore[misc]  # properties in place of attributes
    """An objective over X - shift. It shares l2 and the count of passes with the original objective.

    Parameters
    ----------
    outer : Objective
        The original.
    shift : ndarray (n,) of the dtype of the computation
        Subtracted from each row.
    copied : bool
        Whether a copy of dense X is shifted; else it is shifted a chunk at a time, in every pass. Sparse X gets a copy.

    Attributes
    ----------
    outer, shift
        As given; the latter in float64.
    """

    def __init__(self, outer: Objective, shift: np.ndarray, *, copied: bool) -> None:
        self.outer, self.shift = outer, shift.astype(np.float64)
        if isinstance(outer._passes, DensePasses):
            super().__init__(outer, outer._passes.shifted(shift, copied=copied))
        else:
            source = outer._passes.source
            assert isinstance(source, SparseSource)
            super().__init__(outer, SparsePasses(_shifted_sparse(source, shift), outer._kernels))
        self.plan = self.make_plan()


def _shifted_sparse(source: SparseSource, shift: np.ndarray) -> SparseSource:
    """Sparse rows with an entry x - s in each far column, x = 0 where there was none."""
    from scipy.sparse import csr_array

    m, far = source.shape[0], np.flatnonzero(shift)
    indices, indptr = np.tile(far, m), np.arange(m + 1) * len(far)
    shifts = csr_array((np.tile(-shift[far], m), indices, indptr), shape=source.shape)
    X = source.X.to_scipy().astype(source.dtype, copy=False) + shifts
    moved = Csr(X.indptr.astype(np.int64, copy=False), X.indices, X.data, source.X.n)
    targets = source.soft if source.y is None else source.y
    return SparseSource(moved, targets, source.w, smoothing=source.smoothing)


class OfStream(Derived):
    """The objective of some of the rows of a stream, which have other weights, and of some classes. All others have
    weight 0, and are read all the same."""

    def __init__(self, outer: Objective, rows: np.ndarray, of_rows: np.ndarray, present: np.ndarray) -> None:
        assert outer.y is not None
        w = np.zeros(outer.n_rows)
        w[rows] = of_rows
        source = RelabelledSource(outer.source, renumbered(outer.y, present), w)
        super().__init__(outer, passes_of(source, outer._kernels))
        self.n_classes, self.weight_sum = int(present.sum()), float(w.sum())
        self.shape = self.shape[0], self.n_classes
        self.plan, self.l2, self.n_passes = self.make_plan(), 0.0, 0


def of_classes(obj: Objective, rows: np.ndarray, present: np.ndarray) -> Objective:
    """The objective, without a penalty, of those of some rows that are of ``present`` classes. Dense X is not copied:
    its other rows get weight 0."""
    source, y = obj.source, obj.y
    assert y is not None
    rows = np.asarray(rows)
    rows = rows[present[y[rows]]]
    w = np.ones(len(rows)) if obj.w is None else obj.w[rows]
    if source.streamed:
        return OfStream(obj, rows, w, present)
    if isinstance(source, ArraySource):
        X, of_rows = source.X, w
        w = np.zeros(len(y))
        w[rows] = of_rows
    else:
        X, y = obj.pick(rows), y[rows]
    return Objective(
        X,
        renumbered(y, present),
        int(present.sum()),
        fit_intercept=obj.fit_intercept,
        sample_weight=None if obj.sparse and obj.w is None else w,
        backend=obj.backend,
        n_threads=obj.n_threads,
    )


# ------------------------------------------------------------------------- rows made a chunk at a time


class OverSource(Objective):
    """An objective over the rows of a dense source.

    Parameters
    ----------
    source : DenseSource
        With labels and weights.
    n_classes, fit_intercept, l2, backend, n_threads
        As `Objective` takes them.
    """

    def __init__(
        self,
        source: Any,
        n_classes: int,
        *,
        fit_intercept: bool = False,
        l2: float = 0.0,
        backend: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.backend, self._kernels = select(backend)
        self._passes = DensePasses(source, self._kernels)
        self.source, self.sparse, self.n_classes = source, False, n_classes
        self.n_features = source.shape[1]
        self.weight_sum = float(source.shape[0] if source.w is None else source.w.sum())
        self.fit_intercept, self.l2, self.n_passes, self.precision = fit_intercept, l2, 0, "exact"
        self.n_threads = default_threads() if n_threads is None else n_threads
        self.plan = self.make_plan()
        self.shape = (self.n_features + fit_intercept, n_classes)


class TransformedSource(RelabelledSource):
    """The rows of a source after a transform."""

    def __init__(self, source: Any, transform: Transform) -> None:
        super().__init__(source, source.targets, source.w, source.smoothing)
        self._transform = transform
        if not source.sparse:
            self.layout = replace(source.layout, itemsize=source.dtype.itemsize, converted=True)

    def pick(self, rows: np.ndarray) -> Any:
        picked = self._source.pick(rows)
        return self._transform(_csr(picked)).to_scipy() if self.sparse else self._transform(picked)

    def chunks(self, rows: int) -> Iterator[Rows]:
        for part in self._source.chunks(rows):
            yield replace(part, X=self._transform(part.X))


class SubsetSource(RelabelledSource):
    """Some rows of a source, with weight 1 each.

    Parameters
    ----------
    source : Source
    rows : ascending int array
        Their numbers.
    y : int32 ndarray (len(rows),)
        Their labels.
    """

    def __init__(self, source: Any, rows: np.ndarray, y: np.ndarray) -> None:
        super().__init__(source, y)
        self._numbers = rows
        self.shape = (len(rows), source.shape[1])
        if not source.sparse:
            self.layout = replace(source.layout, converted=True)

    def pick(self, rows: np.ndarray) -> Any:
        return self._source.pick(self._numbers[rows])

    def place(self, row: int, column: int) -> str:
        return str(self._source.place(int(self._numbers[row]), column))

    def chunks(self, rows: int) -> Iterator[Rows]:
        assert self.y is not None
        for part in self._source.chunks(rows):
            begin, end = np.searchsorted(self._numbers, (part.start, part.start + len(part.X)))
            if begin == end:
                continue
            inside = self._numbers[begin:end] - part.start
            X = taken(part.X, inside)
            y = self.y[begin:end]
            yield replace(part, X=X, y=y, soft=None, smoothing=0.0, w=None, start=int(begin))


def taken(X: np.ndarray | Csr, rows: np.ndarray) -> np.ndarray | Csr:
    """A copy of some rows."""
    if not isinstance(X, Csr):
        some_dense: np.ndarray = np.asarray(X)[rows]
        return some_dense
    return _csr(X.to_scipy()[rows])


def _csr(X: Any) -> Csr:
    return Csr(X.indptr.astype(np.int64, copy=False), X.indices, X.data, X.shape[1])


class Transformed(Derived):
    """An objective over transformed rows.

    Parameters
    ----------
    outer : Objective
        Of the rows as they are.
    transform : Transform
    """

    def __init__(self, outer: Objective, transform: Transform) -> None:
        super().__init__(outer, passes_of(TransformedSource(outer.source, transform), outer._kernels))
        self.plan = self.make_plan()
        self.l2, self.n_passes = outer.l2, 0


class Scaled(Transformed):
    """An objective over X diag(factors).

    Parameters
    ----------
    outer : Objective
        Of X. Its own l2 is set to 0: the penalty is that of this objective's theta.
    factors : float64 ndarray (n,)

    Attributes
    ----------
    outer, factors
        As given.
    """

    def __init__(self, outer: Objective, factors: np.ndarray) -> None:
        single = factors.astype(outer.dtype)
        super().__init__(outer, lambda X: scaled_columns(X, single))
        self.outer, self.factors = outer, factors
        outer.l2 = 0.0

    def to_outer(self, theta: np.ndarray) -> np.ndarray:
        """Theta of the outer objective, with the same logits."""
        out: np.ndarray = np.array(theta, np.float64)
        out[: self.n_features] *= self.factors[:, None]
        return out

    def _pass(
        self, theta: np.ndarray, wanted: RowOutputs | None = None, *, grad: bool = True, plan: Plan | None = None
    ) -> tuple[float, np.ndarray | None]:
        self.n_passes += 1
        outer_plan = None if plan is None else replace(self.outer.plan, precision=plan.precision)
        value, out = self.outer._pass(self.to_outer(theta), wanted, grad=grad, plan=outer_plan)
        if wanted is not None and wanted.dX is not None:  # with respect to the scaled columns
            np.divide(wanted.dX, self.factors, out=wanted.dX)
        if out is not None:
            out[: self.n_features] *= self.factors[:, None]
            out[: self.n_features] += self.l2 * theta[: self.n_features]
        return value + self._penalty(theta), out


class Subset(Derived):
    """An objective over some rows of another one, each with weight 1: see `SubsetSource`."""

    def __init__(self, outer: Objective, rows: np.ndarray, y: np.ndarray) -> None:
        super().__init__(outer, passes_of(SubsetSource(outer.source, rows, y), outer._kernels))
        self.weight_sum, self.l2, self.n_passes = float(len(rows)), 0.0, 0
        self.plan = self.make_plan()


def scaled_columns(X: Any, factors: np.ndarray) -> Any:
    """X diag(factors), in their dtype."""
    if isinstance(X, Csr):
        return replace(X, data=X.data * factors[X.indices])
    return np.multiply(X, factors, dtype=factors.dtype)


def unit_rows(X: Any, dtype: np.dtype) -> Any:
    """Rows divided by their norms, in the dtype of the computation; rows of zeros as they are."""
    if isinstance(X, Csr):
        lengths = np.diff(X.indptr)
        squares = np.add.reduceat(np.append(X.data.astype(np.float64) ** 2, 0.0), X.indptr[:-1])
        by = _inverse_roots(np.where(lengths > 0, squares, 0.0))
        return replace(X, data=(X.data * np.repeat(by, lengths)).astype(dtype))
    X = np.asarray(as_numbers(X), dtype)
    by = _inverse_roots(np.einsum("ij,ij->i", X, X, dtype=np.float64))
    return X * by[:, None].astype(dtype)


def _inverse_roots(squares: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.divide(1.0, np.sqrt(squares), out=np.ones(len(squares)), where=squares > 0)
    return out
