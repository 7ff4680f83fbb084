r"""Whether there is no minimum: classes that can be told apart without error, all of them or some.

A direction V along which no row's own class loses against another, x_i^T (v_{y_i} - v_c) >= 0 for all rows i and
classes c, and some gains, is one along which the loss falls for ever (Albert and Anderson, 1984, "On the existence of
maximum likelihood estimates in logistic regression models"). If all rows gain, the loss falls to 0, and a small value
is proof enough. If only some do (quasi-separation: a class apart from others that overlap, a column that is not zero in
one class alone), it falls to the loss of the others, and a run without a penalty converges by its gradient to a theta
that means nothing: how large it is, only ``tol`` says.

Far out along V the loss of the rows that gain falls exponentially, and Newton's step from there is V but for what the
others have still to gain: so that step is put to the test. Where a minimum exists it moves logits hardly, and both
ways.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..geometry.hessian_metric import HessianMetric

# What a row gains along V, in logits, at least; Newton's step on exp(-t) is 1.
GAIN = 0.1
# What another may lose, as a share of what the best one gains: the others' last steps.
LOSS = 1e-3


def separable_below(obj: Any) -> float:
    """A value that proves that the classes can be told apart without error, so that there is no minimum.

    Where the sum of w_i loss_i is below log(2) times the least weight, every row's loss is below log 2: its own class
    has more than half of the probability. Scaling theta up then brings the loss as near to 0 as one likes.
    """
    source = getattr(obj, "source", None)
    if obj.l2 > 0 or source is None or source.y is None or source.smoothing > 0:
        return 0.0
    least = 1.0 if source.w is None else float(np.min(source.w, where=source.w > 0, initial=np.inf))
    return float(np.log(2.0) * least / obj.weight_sum)


def some_are_separable(obj: Any, at: HessianMetric, grad: np.ndarray) -> bool:
    """Whether Newton's step at the point of ``at`` is a direction V of this file's head. A pass over X."""
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
