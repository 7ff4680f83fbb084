r"""Truncated Newton: the Newton system solved roughly, by conjugate gradients on Hessian products.

One product is one pass over X, so the system is solved no more closely than its step is worth: until the
residual is below eta times the gradient, with eta shrinking as fast as the gradients did (Eisenstat and
Walker, 1996, "Choosing the forcing terms in an inexact Newton method", choice 2). Conjugate gradients are
preconditioned by S S^T, with S first of Böhning's bound, then of the rows' curvatures (`geometry.hessian.metric_at`).

A shift of all classes alike has no curvature. Gradients and products have no part along it except for rounding, and
nothing bounds the length of a step along such a part: in float32, a step of 30 products took the gradient norm from
5e-6 to 8e-5. With float32 data that part is therefore taken out of gradients and products.
"""

from __future__ import annotations

import math

import numpy as np

from ...objective import reduce
from ...objective.problem import has_products, has_rows
from ..geometry.metric import Metric
from ..run import Run
from . import newton

# Most products for one system.
INNER_MAX = 200
# The curvature metric is computed after so many steps, and once more after twice as many.
REFRESH = 3
ETA_MAX = 0.3


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run."""
    if not has_products(run.obj):
        raise TypeError("solver 'newton_cg' needs an objective with hess_prod, as Objective")
    if in_float32(run):
        newton.remove_class_shift(run)
    obj = run.obj if has_rows(run.obj) and run.obj.shape[1] > 1 else None
    metric = run.curvature_here() if obj is not None and run.theta.any() else run.metric
    eta, since = ETA_MAX, 0
    while True:
        before = metric.size(run.grad)
        run.descend(direction(run, metric, eta))
        after = metric.size(run.grad)
        # Eisenstat and Walker's safeguard: eta must not collapse after one lucky step.
        kept = 0.9 * eta**2
        eta = min(ETA_MAX, max(0.9 * (after / before) ** 2 if before else 0.0, kept if kept > 0.1 else 0.0, 1e-6))
        since += 1
        if obj is not None and since in (REFRESH, 2 * REFRESH):
            metric = run.curvature_here()


def direction(run: Run, metric: Metric, eta: float) -> np.ndarray:
    """A step d with |S^T (H d + gradient)| <= eta |S^T gradient|, or the best after `INNER_MAX` products. In any case
    a descent direction."""
    residual, single = -run.grad, in_float32(run)
    if single:
        remove_class_mean(residual)
    step = np.zeros(residual.shape)
    along = metric.precondition(residual)
    square = float(np.vdot(residual, along))
    if not math.isfinite(square):  # no system can be solved with that; downhill it goes all the same
        return along
    goal, towards = eta * eta * square, None
    for _ in range(INNER_MAX):
        product = _product(run, along)
        if single:
            remove_class_mean(product)
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


def _product(run: Run, v: np.ndarray) -> np.ndarray:
    """The Hessian at the current iterate times v."""
    obj = run.obj
    assert has_products(obj)
    product: np.ndarray = run.ask("product", v, lambda: (obj.hess_prod(run.theta, v),))[0]
    return product


def in_float32(run: Run) -> bool:
    """Whether passes are in float32."""
    return run.moments.eps > float(np.finfo(np.float64).eps)


def remove_class_mean(rows: np.ndarray) -> None:
    """Take out of each row its mean over the classes."""
    share = np.full(rows.shape[1], 1.0 / rows.shape[1])
    for a, b in reduce.blocks(rows):
        piece = rows[a:b]
        piece -= (piece @ share)[:, None]
