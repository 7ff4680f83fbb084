"""Classes that no row of positive weight has.

Such a class has no minimum with an intercept: its bias falls for ever, and the loss with it, towards that of the other
classes alone. Where a solver stops, and so the probability of the class, only ``tol`` decides. So the model is fitted
to the other classes, and this one gets the probability 0, which is the limit.
"""

from __future__ import annotations

import numpy as np

# The logit of an absent class, less the mean of the others' logits: the probability is at most e^-1000, which is 0.
LOGIT = -1000.0


def renumbered(y: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Labels 0, 1, ... of the present classes alone: int32 (m,). Rows of other classes, which have no weight, get 0."""
    number = np.where(present, np.cumsum(present) - 1, 0).astype(np.int32)
    out: np.ndarray = number[y]
    return out


def with_absent(
    theta: np.ndarray, bias: np.ndarray | None, present: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Parameters (n, k) and bias (k,) of all classes, from those of the present ones; the others' probability is 0.

    The logit of an absent class is the mean of the others' less 1000, for every row, and so at least 1000 below the
    largest. If there are any, there is a bias, even where the present classes have none.
    """
    if present.all():
        return theta, bias
    own = np.zeros(theta.shape[1]) if bias is None else bias
    all_theta = np.repeat(theta.mean(axis=1, keepdims=True), len(present), axis=1)
    all_bias = np.full(len(present), own.mean() + LOGIT)
    all_theta[:, present], all_bias[present] = theta, own
    return all_theta, all_bias
