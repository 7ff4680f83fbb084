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

import numpy as np

from ...objective.problem import Problem, ProblemWithRows, has_rows
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

# The best row must gain this much along V, in logits; Newton's step on exp(-t) gains 1.
GAIN = 0.1
# Other rows may lose at most this share of the best row's gain, since V has a part of their last steps to the minimum.
LOSS = 1e-3


def separable_below(obj: Problem) -> float:
    """A value below this proves that all classes are separable, so that there is no minimum; 0 where nothing would.

    Where the sum of w_i loss_i is below log(2) times the smallest positive weight, every row's loss is below log 2:
    its own class has more than half of the probability. Scaling theta up then brings the loss as near to 0 as one
    likes.
    """
    if obj.l2 > 0 or not has_rows(obj) or not obj.has_labels:
        return 0.0
    return float(np.log(2.0) * obj.least_weight() / obj.weight_sum)


def absent_class(obj: Problem) -> int | None:
    """The first class that no row of positive weight has, of an objective with an intercept; None if there is none.

    Its bias falls for ever, whatever l2 is, so that there is no minimum.
    """
    if not obj.fit_intercept or not has_rows(obj):
        return None
    present = obj.present_classes()
    return None if present.all() else int(present.argmin())


def some_are_separable(obj: ProblemWithRows, at: HessianMetric, grad: np.ndarray) -> bool:
    """Whether Newton's step from the point of ``at`` is a direction V of this file's head. Takes a pass over X."""
    if obj.l2 > 0 or not obj.has_labels:
        return False
    gained, lost = obj.margins(at.to_theta(-at.to_phi_gradient(grad)))
    return gained >= GAIN and lost <= LOSS * gained
