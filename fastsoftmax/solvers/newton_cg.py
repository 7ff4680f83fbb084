r"""Truncated Newton: the Newton system solved roughly, by conjugate gradients on Hessian products.

One product is one pass over X, so the system is solved no more closely than its step is worth: until the
residual is below eta times the gradient, with eta shrinking as fast as the gradients did (Eisenstat and
Walker, 1996, "Choosing the forcing terms in an inexact Newton method", choice 2). Conjugate gradients are
preconditioned by S S^T: of the metric of Boehning's bound first, and then of that of the rows' own curvature (see
`lbfgs`). They never leave the span of the gradients, which the null space (a shift of all classes) is not part of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import blockwise
from .curvature import can_walk, metric_at
from .metric import Metric
from .result import Run

# Products in one system at most.
INNER_MAX = 200
# Steps taken in the metric of the bound, and between the metrics that follow.
REFRESH = 3
ETA_MAX = 0.3


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run."""
    if not hasattr(run.obj, "hess_prod"):
        raise TypeError("solver 'newton_cg' needs an objective with hess_prod, as Objective")
    closer = can_walk(run.obj) and run.obj.shape[1] > 1
    metric = metric_at(run.obj, run.theta) if closer and run.theta.any() else run.metric
    eta, since = ETA_MAX, 0
    while True:
        before = metric.size(run.grad)
        run.descend(direction(run, metric, eta))
        after = metric.size(run.grad)
        # The safeguard keeps eta from dropping in one lucky step.
        kept = 0.9 * eta**2
        eta = min(ETA_MAX, max(0.9 * (after / before) ** 2 if before else 0.0, kept if kept > 0.1 else 0.0, 1e-6))
        since += 1
        if closer and since in (REFRESH, 2 * REFRESH):
            metric = metric_at(run.obj, run.theta)


def direction(run: Run, metric: Metric, eta: float) -> np.ndarray:
    """A step d with ||H d + gradient|| <= eta ||gradient||, norms of S^T; a descent direction however it ends."""
    obj: Any = run.obj
    residual = -run.grad
    step = np.zeros(residual.shape)
    along = metric.precondition(residual)
    square = float(np.vdot(residual, along))
    goal, towards = eta * eta * square, None
    for _ in range(INNER_MAX):
        product = obj.hess_prod(run.theta, along)
        curvature = float(np.vdot(along, product))
        if not curvature > 0:
            break
        length = square / curvature
        blockwise.add(step, length, along)
        blockwise.add(residual, -length, product)
        towards = metric.precondition(residual, out=towards)
        square, old = float(np.vdot(residual, towards)), square
        if square <= goal:
            break
        blockwise.scale_and_add(along, square / old, towards)
    return step if step.any() else along
