r"""Centering: columns of X that lie far from zero are shifted to be near it, so that passes lose no digits.

A float32 column of mean 1000 and standard deviation 1 is precise to 3e-5 and tells classes apart as well as the same
column around zero. But a pass over it subtracts large numbers from each other: theta is rounded to float32, which moves
all logits by as much as 6e-5; the gradient of the centered column is that of x minus 1000 times that of the bias; and
the variance, second moment minus mean^2, has no digit left, so that the column would be taken for constant.

The bias absorbs any shift. With x' = x - s and the bias b' = b + s theta the problem is the same, and x - s is exact
for x between s / 2 and 2 s (Sterbenz, 1974, "Floating-point computation", theorem 4.3.1). So a run works on x', and
converts its bias back at the end. 5,000 x 5, k = 3, float32, two columns at the given distance from zero: the relative
gap where L-BFGS ended, and whether it reported convergence:

=================  =================  =================  ===============
mean / deviation   unshifted, l2 = 0  ... and l2 = 1e-6  shifted, either
=================  =================  =================  ===============
1e2                 2e-12  yes          6e-13  yes        1e-12  yes
1e3                 0.12   yes          1e-6   no         1e-12  yes
1e6                 0.12   yes          0.6    no         1e-12  yes
=================  =================  =================  ===============

Predictions read X unshifted, in its dtype: at a ratio of 10^4 in float32 probabilities are right to about 1e-3, at 10^6
to 0.1. No choice of the bias helps, since sums of such large terms are rounded by as much. In float64 there is no such
loss.

s is a value of the column itself, so that a constant column becomes exactly zero. X of more than `COPY_BYTES` is
shifted a chunk at a time, in every pass. A sparse column that far from zero has an entry in nearly every row, and
sparse X gets a shifted copy with an entry in every one of them.

Without an intercept nothing can absorb a shift, and there is none. One such column then stands for an intercept, and
what its rows differ by hardly matters. Two of them have a combination that does vary, which metrics may not see: see
`geometry.parallel`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...data.sources.memory import ArraySource, SparseSource
from ...kernels.contract import Csr
from ...objective.objective import Objective
from ...objective.passes import DensePasses, SparsePasses
from .metric import Moments, moments

# A column is far from zero where its variance is below this many eps of its squared mean: mean / deviation above 92 in
# float32, above 2e6 in float64. Passes of a float32 fit without the shift: at a ratio of 50 as many as with it, at 100
# 27 instead of 20, at 200 56. A lower limit would shift columns that are 1 in 999 rows of 1,000. The second factor is
# for X whose passes become slower with a shift: X that is shifted in chunks, or has to be widened.
FAR, FAR_IF_COSTLY = 1e3, 250.0
# With a penalty, constant columns are shifted as well if they are above this: with constants of 1,000 and 100,000
# L-BFGS took 141 and 326 passes instead of 15. A column of ones, which is common, does no harm.
LARGE = 8.0
# s is the value next to the mean among this many rows.
ROWS = 64
# Largest shifted copy, in bytes. 10^6 x 54, k = 7: a pass over the copy takes 16 ms, a pass that shifts in chunks
# 48 ms, and the copy itself 44 ms.
COPY_BYTES = 1 << 28


def centered(obj: Any) -> tuple[Any, Moments]:
    """An objective in which no column is far from zero, nearly always ``obj`` itself, and its moments."""
    found = moments(obj)
    # A subclass, or an objective whose passes are wrapped, may compute something that a shift would change.
    own = type(obj) is Objective and "value_and_grad" not in vars(obj)
    shift = _shift(obj, found) if own and isinstance(obj.source, ArraySource | SparseSource) else None
    if shift is None:
        return obj, found
    inner = Shifted(obj, shift)
    return inner, moments(inner)


def to_centered(obj: Any, theta: np.ndarray) -> np.ndarray:
    """Theta for an objective that `centered` returned, from theta for the original objective."""
    return _with_bias(theta, obj.shift) if isinstance(obj, Shifted) else theta


def to_original(obj: Any, theta: np.ndarray) -> np.ndarray:
    """The inverse of `to_centered`."""
    return _with_bias(theta, -obj.shift) if isinstance(obj, Shifted) else theta


def _with_bias(theta: np.ndarray, shift: np.ndarray) -> np.ndarray:
    out = theta.copy()
    out[-1] += shift @ theta[:-1]
    return out


class Shifted(Objective):
    """An objective over X - shift. It shares l2 and the count of passes with the original objective.

    Attributes
    ----------
    outer : Objective
        The original.
    shift : float64 ndarray (n,)
    """

    def __init__(self, outer: Objective, shift: np.ndarray) -> None:
        self.outer, self.shift = outer, shift.astype(np.float64)
        vars(self).update({name: value for name, value in vars(outer).items() if name not in ("l2", "n_passes")})
        if isinstance(outer._passes, DensePasses):
            self._passes = outer._passes.shifted(shift, copied=_bytes(outer.source) <= COPY_BYTES)
        else:
            self._passes = SparsePasses(_shifted_sparse(outer.source, shift), outer._kernels)
        self.source = self._passes.source
        self.plan = self._passes.plan(self.n_classes)

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


def _shifted_sparse(source: Any, shift: np.ndarray) -> SparseSource:
    """Sparse rows with an entry x - s in each far column, x = 0 where there was none."""
    from scipy.sparse import csr_array

    m, far = source.shape[0], np.flatnonzero(shift)
    indices, indptr = np.tile(far, m), np.arange(m + 1) * len(far)
    shifts = csr_array((np.tile(-shift[far], m), indices, indptr), shape=source.shape)
    X = source.X.to_scipy().astype(source.dtype, copy=False) + shifts
    moved = Csr(X.indptr.astype(np.int64, copy=False), X.indices, X.data, source.X.n)
    targets = source.soft if source.y is None else source.y
    return SparseSource(moved, targets, source.w, smoothing=source.smoothing)


def _bytes(source: Any) -> int:
    """Bytes of a copy of X in the dtype of passes."""
    return int(source.X.size * source.dtype.itemsize)


def _columns(source: Any, far: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some columns of some rows, dense and in the dtype of passes."""
    if isinstance(source, SparseSource):
        picked: np.ndarray = source.X.to_scipy()[rows][:, far].toarray()
    else:
        picked = source.pick(rows)[:, far]
    return picked.astype(source.dtype, copy=False)


def _shift(obj: Objective, found: Moments) -> np.ndarray | None:
    """s of each column in the dtype of passes, 0 for columns that are not far from zero; None if none is."""
    source: Any = obj.source
    if found.mean is None:
        return None
    costly = not isinstance(source, SparseSource) and (source.X.dtype != source.dtype or _bytes(source) > COPY_BYTES)
    far = np.flatnonzero(found.variance < (FAR_IF_COSTLY if costly else FAR) * found.eps * found.mean**2)
    if not len(far):
        return None
    counted = np.arange(source.shape[0]) if source.w is None else np.flatnonzero(source.w)
    rows = counted[np.unique(np.linspace(0, len(counted) - 1, ROWS).astype(np.intp))]
    some = _columns(source, far, rows)
    nearest = np.argmin(np.abs(some - found.mean[far]), axis=0)
    shift = np.zeros(source.shape[1], source.dtype)
    shift[far] = some[nearest, np.arange(len(far))]
    if obj.l2 > 0 and np.any(np.abs(shift) > LARGE):
        return shift
    return shift if any(bool((part != shift[far]).any()) for part in _walk(obj, far)) else None


def _walk(obj: Any, columns: np.ndarray) -> Iterator[np.ndarray]:
    """Some columns of the rows that have weight, dense, a chunk at a time."""
    for rows in obj.source.chunks(obj.plan.chunk):
        part = rows.X.to_scipy()[:, columns].toarray() if isinstance(rows.X, Csr) else np.asarray(rows.X)[:, columns]
        yield part if rows.w is None else part[rows.w > 0]
