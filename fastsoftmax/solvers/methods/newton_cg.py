r"""Truncated Newton: the Newton system solved roughly, by conjugate gradients on Hessian products.

One product is one pass over X, so the system is solved no more closely than its step is worth: until the
residual is below eta times the gradient, with eta shrinking as fast as the gradients did (Eisenstat and
Walker, 1996, "Choosing the forcing terms in an inexact Newton method", choice 2). Conjugate gradients are
preconditioned by S S^T: of the metric of Boehning's bound first, and then of that of the rows' own curvature (see
`lbfgs`). A shift of all classes alike has no curvature. Gradients and products have no part in it, but for their
rounding, along which a step would be as long as it likes: in float32 one of 30 products took the gradient norm from
5e-6 to 8e-5. There that part is taken out of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...objective import reduce
from ..geometry.hessian import can_walk, metric_at
from ..geometry.metric import Metric
from ..run import Run
from . import newton

# Products in one system at most.
INNER_MAX = 200
# Steps taken in the metric of the bound, and between the metrics that follow.
REFRESH = 3
ETA_MAX = 0.3


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run."""
    if not hasattr(run.obj, "hess_prod"):
        raise TypeError("solver 'newton_cg' needs an objective with hess_prod, as Objective")
    if in_single(run):
        newton.centre(run)
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
    residual, single = -run.grad, in_single(run)
    if single:
        apart(residual)
    step = np.zeros(residual.shape)
    along = metric.precondition(residual)
    square = float(np.vdot(residual, along))
    goal, towards = eta * eta * square, None
    for _ in range(INNER_MAX):
        product = obj.hess_prod(run.theta, along)
        if single:
            apart(product)
        curvature = float(np.vdot(along, product))
        if not curvature > 0:
            break
        length = square / curvature
        reduce.add(step, length, along)
        reduce.add(residual, -length, product)
        towards = metric.precondition(residual, out=towards)
        square, old = float(np.vdot(residual, towards)), square
        if square <= goal:
            break
        reduce.scale_and_add(along, square / old, towards)
    return step if step.any() else along


def in_single(run: Run) -> bool:
    """Whether passes are in float32."""
    return run.moments.eps > float(np.finfo(np.float64).eps)


def apart(rows: np.ndarray) -> None:
    """Take out of each row its mean over the classes."""
    share = np.full(rows.shape[1], 1.0 / rows.shape[1])
    for a, b in reduce.blocks(rows):
        piece = rows[a:b]
        piece -= (piece @ share)[:, None]
