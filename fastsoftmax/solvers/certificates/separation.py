r"""Whether there is no minimum, because all or some classes can be told apart without error (separation).

Let V be a direction along which no row's own class loses against another, x_i^T (v_{y_i} - v_c) >= 0 for all rows i and
classes c, and at least one row gains. Along V the loss falls for ever (Albert and Anderson, 1984, "On the existence of
maximum likelihood estimates in logistic regression models"). If all rows gain, the loss falls to 0, and a small value
is proof enough. If only some rows gain (quasi-separation: a class apart from others that overlap, or a column that is
nonzero in one class alone), the loss falls to that of the other rows. Without a penalty the gradient norm then still
falls below any ``tol``, at a theta whose size only ``tol`` determines and which means nothing.

Far out along V the loss of the rows that gain falls exponentially, and Newton's step from there is V plus what the
other rows have still to gain. So Newton's step is the candidate that is tested. Where a minimum exists, that step
hardly changes any logit, and margins move both ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.hessian_metric import HessianMetric

SEPARABLE = (
    "stopped because the classes are separable: every row is classified rightly, so that the loss falls towards 0 as"
    " theta grows and has no minimum; l2 > 0 gives it one"
)
ABSENT = (
    "stopped because class {} has no row of positive weight: its bias falls for ever, so that the loss has no minimum;"
    " leave the class out"
)
QUASI_SEPARABLE = (
    "stopped because some classes are separable from the others: along one direction of theta no row is classified"
    " worse and some rows ever better, so that the loss has no minimum; l2 > 0 gives it one"
)

# Rows in which all classes are looked for first: nearly always they are there.
HEAD_ROWS = 4096
# The best row must gain this much along V, in logits; Newton's step on exp(-t) gains 1.
GAIN = 0.1
# Other rows may lose at most this share of the best row's gain, since V has a part of their last steps to the minimum.
LOSS = 1e-3


def separable_below(obj: Any) -> float:
    """A value below this proves that all classes are separable, so that there is no minimum; 0 where nothing would.

    Where the sum of w_i loss_i is below log(2) times the smallest positive weight, every row's loss is below log 2:
    its own class has more than half of the probability. Scaling theta up then brings the loss as near to 0 as one
    likes.
    """
    source = getattr(obj, "source", None)
    if obj.l2 > 0 or source is None or source.y is None or source.smoothing > 0:
        return 0.0
    least = 1.0 if source.w is None else float(np.min(source.w, where=source.w > 0, initial=np.inf))
    return float(np.log(2.0) * least / obj.weight_sum)


def absent_class(obj: Any) -> int | None:
    """The first class that no row of positive weight has, of an objective with an intercept; None if there is none.

    Its bias falls for ever, whatever l2 is, so that there is no minimum.
    """
    source = getattr(obj, "source", None)
    if source is None or not obj.fit_intercept or source.smoothing > 0:
        return None
    targets, w = source.soft if source.y is None else source.y, source.w

    def has_rows(c: int, rows: slice) -> bool:
        found = targets[rows] == c if targets.ndim == 1 else targets[rows, c] > 0
        return bool((found if w is None else found & (w[rows] > 0)).any())

    head, everything = slice(0, HEAD_ROWS), slice(None)
    return next((c for c in range(obj.shape[1]) if not has_rows(c, head) and not has_rows(c, everything)), None)


def some_are_separable(obj: Any, at: HessianMetric, grad: np.ndarray) -> bool:
    """Whether Newton's step from the point of ``at`` is a direction V of this file's head. Takes a pass over X."""
    if obj.l2 > 0 or obj.source.y is None or obj.source.smoothing > 0:
        return False
    V = at.to_theta(-at.to_phi_gradient(grad))
    n = obj.source.shape[1]
    obj.n_passes += 1
    gained, lost = 0.0, 0.0
    for rows in obj.source.chunks(at.design.plan.chunk):
        H = rows.X @ V[:n] + (V[n] if obj.fit_intercept else 0.0)
        margin = np.take_along_axis(H, rows.y[:, None].astype(np.int64), axis=1) - H
        if rows.w is not None:
            margin = margin[rows.w > 0]
        gained = max(gained, float(margin.max(initial=0.0)))
        lost = max(lost, -float(margin.min(initial=0.0)))
    return gained >= GAIN and lost <= LOSS * gained
