"""L-BFGS, SciPy's, in the metric of the Hessian's bound: one pass over X a step, some tens of steps.

It is Byrd, Lu, Nocedal and Zhu's L-BFGS-B (1995) without bounds, on phi, theta = base + S phi. S comes from
Boehning's bound at first (see `metric`). That bound takes every row for undecided; once most rows are classified
without doubt, their curvature has gone while that of the penalty has stayed, and the bound misleads: raw digits
(l2 = 1e-4) needed 1,377 passes for a relative gap of 1e-6. So after some steps S is made anew, with each
row weighted by the curvature it has now (see `curvature`): 135 passes.

SciPy searches; `Run` sees each accepted iterate first and stops the run, so that SciPy's own tests and its
success flag decide nothing. Two of its endings remain: the value did not change in a step, or the line search found no
lower one. Both mean that rounding is larger than what a step could still gain; it starts afresh for as
long as that halves the gradient. What it sees of values are the changes that `Run.change` measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .curvature import can_walk, metric_at
from .metric import Metric
from .result import Run

# Pairs of steps and gradient changes kept.
MEMORY = 20
# Steps after which the metric is made anew, once more, and no more.
REFRESH = (20, 20)
# The same where the metric is that of the run before, at another l2.
REFRESH_NEAR = (40,)


def solve(run: Run, steps: int | None = None) -> None:
    """Step until `Run.accept` stops the run, or SciPy does; or return after that many steps."""
    closer = can_walk(run.obj) and run.obj.shape[1] > 1
    metric = run.metric
    refresh: tuple[int, ...] = REFRESH if closer else ()
    if closer and run.closer is not None:
        metric, refresh = run.closer.with_l2(run.obj.l2), REFRESH_NEAR
    elif closer and run.theta.any():
        # A start other than zero is taken to be one that knows something.
        metric = run.closer = metric_at(run.obj, run.theta)
    last = len(run.history) + (steps or run.max_iter + 1)
    for count in refresh:
        search(run, metric, min(count, last - len(run.history)))
        if len(run.history) >= last:
            return
        metric = run.closer = metric_at(run.obj, run.theta)
    before = np.inf
    while run.grad_norm < 0.5 * before:
        before = run.grad_norm
        search(run, metric, last - len(run.history))
        if len(run.history) >= last:
            return
    run.stop_at_rounding()


def search(run: Run, metric: Metric, steps: int) -> None:
    """At most that many steps of L-BFGS-B in a metric, from the current iterate."""
    from scipy.optimize import minimize

    base, first = run.theta, len(run.history)
    # Values as SciPy sees them: the sum of all changes since it started. Near 0 a float64 has room for tiny ones.
    accepted = tried = 0.0

    def to_theta(phi: np.ndarray) -> np.ndarray:
        return base + metric.to_theta(phi.reshape(base.shape)) if phi.any() else base

    def value_and_grad(phi: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal tried
        theta = to_theta(phi)
        value, grad = run.evaluate(theta)
        tried = accepted + run.change(theta, value, grad)
        return tried, metric.to_phi_gradient(grad).ravel()

    def accept(phi: np.ndarray) -> None:
        nonlocal accepted
        run.accept(to_theta(phi))
        accepted = tried
        if len(run.history) - first >= steps:
            raise StopIteration

    unlimited = int(np.iinfo(np.int32).max)
    options: Any = {"maxcor": MEMORY, "maxiter": unlimited, "maxfun": unlimited, "ftol": 0.0, "gtol": 0.0}
    callback: Any = accept
    minimize(value_and_grad, np.zeros(base.size), jac=True, method="L-BFGS-B", callback=callback, options=options)
