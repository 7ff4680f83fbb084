"""Objectives that are made from another one: of X with shifted columns, or of some of the rows and classes."""

from __future__ import annotations

import numpy as np

from ..data.sources.memory import ArraySource, SparseSource
from ..kernels.contract import Csr
from .absent import renumbered
from .objective import Objective
from .passes import DensePasses, Passes, SparsePasses

# What an objective over other rows or columns shares with the one that it is made from.
SHARED = "n_features n_classes shape plan precision backend n_threads fit_intercept sparse weight_sum _kernels".split()


class Derived(Objective):
    """An objective over other passes, with the options of another one, and its own l2 and count of passes."""

    def __init__(self, outer: Objective, passes: Passes) -> None:
        for name in SHARED:
            setattr(self, name, getattr(outer, name))
        self._passes, self.source = passes, passes.source


class Shifted(Derived):
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
            super().__init__(outer, SparsePasses(_shifted_sparse(outer._passes.source, shift), outer._kernels))
        self.plan = self.make_plan()

    @property
    def l2(self) -> float:
        return self.outer.l2

    @l2.setter
    def l2(self, value: float) -> None:
        self.outer.l2 = value

    @property
    def n_passes(self) -> int:
        return self.outer.n_passes

    @n_passes.setter
    def n_passes(self, value: int) -> None:
        self.outer.n_passes = value


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


def of_classes(obj: Objective, rows: np.ndarray, present: np.ndarray) -> Objective:
    """The objective, without a penalty, of those of some rows that are of ``present`` classes. Dense X is not copied:
    its other rows get weight 0."""
    source, y = obj.source, obj.y
    assert y is not None
    rows = np.asarray(rows)
    rows = rows[present[y[rows]]]
    w = np.ones(len(rows)) if obj.w is None else obj.w[rows]
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
