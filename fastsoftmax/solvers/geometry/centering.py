r"""Columns that lie far from zero, read from a value near their mean, so that no digit is lost to the distance.

A float32 column of mean 1000 and deviation 1 is known to 3e-5 and tells classes apart as well as the same column
around zero. But a pass over it takes differences of large numbers: theta is rounded to float32, which moves all logits
by as much as 6e-5; the gradient of the centred column is that of x less 1000 times that of the bias; and its variance,
by second moment less mean^2, has no digit left, so that it would be taken for constant.

The bias absorbs any shift. With x' = x - s and the bias b' = b + s theta the problem is the same, and between s / 2 and
2 s no difference is rounded (Sterbenz, 1974, "Floating-point computation", theorem 4.3.1). So a run goes by x', and
puts its bias back at the end. 5,000 x 5, k = 3, two columns so far off in float32; relative gap of what L-BFGS ended
with, and whether it said that it had converged:

=================  =================  =================  ===============
mean / deviation   as it is, l2 = 0   ... and l2 = 1e-6  shifted, either
=================  =================  =================  ===============
1e2                 2e-12  yes          6e-13  yes        1e-12  yes
1e3                 0.12   yes          1e-6   no         1e-12  yes
1e6                 0.12   yes          0.6    no         1e-12  yes
=================  =================  =================  ===============

Predictions read X as it is, in its dtype: at a ratio of 10^4 in float32 probabilities are right to about 1e-3, at 10^6
to 0.1. No bias could mend that: sums of terms that large are rounded by as much. In float64 there is no such loss.

s is a value of the column itself, so that one that is constant is zero then. X of more than `COPY_BYTES` is shifted a
chunk at a time, in every pass. Without an intercept there is nothing to absorb a shift.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...data.sources.memory import ArraySource
from ...objective.objective import Objective
from ...objective.passes import DensePasses
from .metric import Moments, moments

# A column is far from zero where its variance is below this many eps of its squared mean: a ratio of 92 in float32, of
# 2 10^6 in float64. In float32 a ratio of 50 costs no pass, 100 costs 27 in place of 20, 200 costs 56; below, a column
# that is 1 in 999 rows of 1,000 would be far. The second is for X whose passes a shift makes slower: in chunks, wider.
FAR, FAR_IF_COSTLY = 1e3, 250.0
# Constants above this are taken off X where a penalty has a say: with columns of 1,000 and 100,000 L-BFGS took 141 and
# 326 passes instead of 15. A column of ones, which is common, does no harm.
LARGE = 8.0
# Rows from which s is taken: that of them which is next to the mean.
ROWS = 64
# Bytes of a shifted copy. In chunks a pass takes three times as long: 48 ms instead of 16 for 10^6 x 54, k = 7, whose
# copy takes 44.
COPY_BYTES = 1 << 28


def centred(obj: Any) -> tuple[Any, Moments]:
    """An objective in which no column is far from zero, which is ``obj`` itself nearly always, and its moments."""
    found = moments(obj)
    # Passes of another kind than Objective's own know nothing of a shift.
    own = type(obj) is Objective and "value_and_grad" not in vars(obj)
    shift = _shift(obj, found) if own and isinstance(obj.source, ArraySource) else None
    if shift is None:
        return obj, found
    inner = Shifted(obj, shift)
    return inner, moments(inner)


def inward(obj: Any, theta: np.ndarray) -> np.ndarray:
    """Parameters for an objective of `centred`, of those for the one that it was made of."""
    return _with_bias(theta, obj.shift) if isinstance(obj, Shifted) else theta


def outward(obj: Any, theta: np.ndarray) -> np.ndarray:
    """The inverse of `inward`."""
    return _with_bias(theta, -obj.shift) if isinstance(obj, Shifted) else theta


def _with_bias(theta: np.ndarray, shift: np.ndarray) -> np.ndarray:
    out = theta.copy()
    out[-1] += shift @ theta[:-1]
    return out


class Shifted(Objective):
    """An objective over X - shift; its passes, and its l2, are those of the objective it was made of.

    Attributes
    ----------
    outer : Objective
    shift : float64 ndarray (n,)
    """

    def __init__(self, outer: Objective, shift: np.ndarray) -> None:
        self.outer, self.shift = outer, shift.astype(np.float64)
        vars(self).update({name: value for name, value in vars(outer).items() if name not in ("l2", "n_passes")})
        assert isinstance(outer._passes, DensePasses)
        self._passes = outer._passes.less(shift, copied=_bytes(outer.source) <= COPY_BYTES)
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


def _bytes(source: Any) -> int:
    """What a copy of X in the dtype of passes takes."""
    return int(source.X.size * source.dtype.itemsize)


def _shift(obj: Objective, found: Moments) -> np.ndarray | None:
    """s of each column, zero where it is not far from zero, in the dtype of passes; None where none is needed."""
    source: Any = obj.source
    if found.mean is None:
        return None
    costly = source.X.dtype != source.dtype or _bytes(source) > COPY_BYTES
    far = np.flatnonzero(found.variance < (FAR_IF_COSTLY if costly else FAR) * found.eps * found.mean**2)
    if not len(far):
        return None
    counted = np.arange(source.shape[0]) if source.w is None else np.flatnonzero(source.w)
    rows = counted[np.unique(np.linspace(0, len(counted) - 1, ROWS).astype(np.intp))]
    some = source.pick(rows)[:, far].astype(source.dtype)
    nearest = np.argmin(np.abs(some - found.mean[far]), axis=0)
    shift = np.zeros(source.shape[1], source.dtype)
    shift[far] = some[nearest, np.arange(len(far))]
    if obj.l2 > 0 and np.any(np.abs(shift) > LARGE):
        return shift
    moves = any(bool((np.asarray(rows.X)[:, far] != shift[far]).any()) for rows in source.chunks(obj.plan.chunk))
    return shift if moves else None
