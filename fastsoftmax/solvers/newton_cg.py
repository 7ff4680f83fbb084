r"""Truncated Newton: the Newton system solved roughly, by conjugate gradients on Hessian products.

One product is one pass over X, so the system is solved no more closely than its step is worth: until the
residual is below eta times the gradient, with eta shrinking as fast as the gradients did (Eisenstat and
Walker, 1996, "Choosing the forcing terms in an inexact Newton method", choice 2). Conjugate gradients run in phi,
theta = S phi: the metric of Boehning's bound first, and then that of the rows' own curvature (see `lbfgs`).
They never leave the span of the gradients, which the null space (a shift of all classes) is not part of.
"""

from __future__ import annotations

from typing import Any

import numpy as np

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
        before = float(np.linalg.norm(metric.to_phi_gradient(run.grad)))
        run.descend(direction(run, metric, eta))
        after = float(np.linalg.norm(metric.to_phi_gradient(run.grad)))
        # The safeguard keeps eta from dropping in one lucky step.
        kept = 0.9 * eta**2
        eta = min(ETA_MAX, max(0.9 * (after / before) ** 2 if before else 0.0, kept if kept > 0.1 else 0.0, 1e-6))
        since += 1
        if closer and since in (REFRESH, 2 * REFRESH):
            metric = metric_at(run.obj, run.theta)


def direction(run: Run, metric: Metric, eta: float) -> np.ndarray:
    """A step d with ||H d + gradient|| <= eta ||gradient||, norms in phi; a descent direction however it ends."""
    obj: Any = run.obj
    residual = -metric.to_phi_gradient(run.grad)
    step = np.zeros_like(residual)
    along, square = residual.copy(), float(np.vdot(residual, residual))
    goal = eta * eta * square
    for _ in range(INNER_MAX):
        product = metric.to_phi_gradient(obj.hess_prod(run.theta, metric.to_theta(along)))
        curvature = float(np.vdot(along, product))
        if not curvature > 0:
            break
        length = square / curvature
        step += length * along
        residual -= length * product
        square, old = float(np.vdot(residual, residual)), square
        if square <= goal:
            break
        along = residual + square / old * along
    return metric.to_theta(step if step.any() else residual)
