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

s is a value of the column itself, so that a constant column becomes exactly zero. X of more than `COPY_BYTES`, or that
is not in memory, is shifted a chunk at a time, in every pass. A sparse column that far from zero has an entry in nearly
every row, and sparse X gets a shifted copy with an entry in every one of them, if it is in memory; else no shift.

Without an intercept nothing can absorb a shift, and there is none. One such column then stands for an intercept, and
what its rows differ by hardly matters. Two of them have a combination that does vary, which metrics may not see: see
`geometry.parallel`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ...objective.derived import Shifted
from ...objective.objective import Objective
from ...objective.parts.shifted import ShiftedTotal
from ...objective.parts.total import Total
from ...objective.problem import Problem
from ..checkpoint.journal import Ask, directly
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


def centered(obj: Problem, ask: Ask = directly) -> tuple[Problem, Moments]:
    """An objective in which no column is far from zero, nearly always ``obj`` itself, and its moments."""
    found = moments(obj, ask)
    if isinstance(obj, Total):
        shift = _shift_of_total(obj, found)
        if shift is None:
            return obj, found
        moved = ShiftedTotal(obj, shift, COPY_BYTES)
        return moved, moments(moved, ask)
    # A subclass, or an objective whose passes are wrapped, may compute something that a shift would change.
    if type(obj) is not Objective or "value_and_grad" in vars(obj) or (obj.sparse and obj.streamed):
        return obj, found
    shift = _shift(obj, found)
    if shift is None:
        return obj, found
    inner = Shifted(obj, shift, copied=not obj.streamed and _bytes(obj) <= COPY_BYTES)
    return inner, moments(inner, ask)


def to_centered(obj: Problem, theta: np.ndarray) -> np.ndarray:
    """Theta for an objective that `centered` returned, from theta for the original objective."""
    return _with_bias(theta, obj.shift) if isinstance(obj, Shifted | ShiftedTotal) else theta


def to_original(obj: Problem, theta: np.ndarray) -> np.ndarray:
    """The inverse of `to_centered`."""
    return _with_bias(theta, -obj.shift) if isinstance(obj, Shifted | ShiftedTotal) else theta


def _with_bias(theta: np.ndarray, shift: np.ndarray) -> np.ndarray:
    out = theta.copy()
    out[-1] += shift @ theta[:-1]
    return out


def _bytes(obj: Objective | Total) -> int:
    """Bytes of a dense copy of X in the dtype of passes."""
    return int(obj.n_rows * obj.n_features * obj.dtype.itemsize)


def _far(found: Moments, *, costly: bool) -> np.ndarray:
    """Numbers of the columns that are far from zero; none without an intercept."""
    if found.mean is None:
        return np.zeros(0, np.intp)
    return np.flatnonzero(found.variance < (FAR_IF_COSTLY if costly else FAR) * found.eps * found.mean**2)


def _shift_of_total(obj: Total, found: Moments) -> np.ndarray | None:
    """`_shift` where rows are elsewhere; s is then the value next to the mean among all rows."""
    far = _far(found, costly=not obj.sparse and _bytes(obj) > COPY_BYTES)
    if found.mean is None or not len(far):
        return None
    shift = np.zeros(obj.n_features, obj.dtype)
    shift[far] = obj.nearest(far, found.mean[far])
    if obj.l2 > 0 and np.any(np.abs(shift) > LARGE):
        return shift
    (others,) = obj.sum_columns(partial(_differing, shift[far]), far)
    return shift if others else None


def _differing(values: np.ndarray, X: Any, w: np.ndarray, start: int) -> tuple[np.ndarray, ...]:
    """How many numbers of columns, in rows that have weight, are others than these."""
    part = X if isinstance(X, np.ndarray) else X.toarray()
    return (np.count_nonzero(part[w > 0] != values, keepdims=True),)  # type: ignore[return-value, unused-ignore]


def _shift(obj: Objective, found: Moments) -> np.ndarray | None:
    """s of each column in the dtype of passes, 0 for columns that are not far from zero; None if none is."""
    far = _far(found, costly=obj.is_widened or (not obj.sparse and (obj.streamed or _bytes(obj) > COPY_BYTES)))
    if found.mean is None or not len(far):
        return None
    counted = np.arange(obj.n_rows) if obj.w is None else np.flatnonzero(obj.w)
    rows = counted[np.unique(np.linspace(0, len(counted) - 1, ROWS).astype(np.intp))]
    picked = obj.pick(rows)[:, far]
    some = (picked.toarray() if obj.sparse else picked).astype(obj.dtype, copy=False)
    nearest = np.argmin(np.abs(some - found.mean[far]), axis=0)
    shift = np.zeros(obj.n_features, obj.dtype)
    shift[far] = some[nearest, np.arange(len(far))]
    if obj.l2 > 0 and np.any(np.abs(shift) > LARGE):
        return shift
    return shift if _vary(obj, far, shift[far]) else None


def _vary(obj: Objective, columns: np.ndarray, values: np.ndarray) -> bool:
    """Whether some columns have other numbers than these in a row that has weight."""
    for X, w, _ in obj.columns(columns):
        part = (X.toarray() if obj.sparse else X)[w > 0]
        if bool((part != values).any()):
            return True
    return False
