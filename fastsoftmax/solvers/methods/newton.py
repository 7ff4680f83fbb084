r"""Newton's method with the exact Hessian, which L-BFGS updates for some steps before it is computed anew.

The Hessian takes one walk over X (see `geometry.hessian`), in the coordinates of Böhning's bound: there it is at most 1
in every direction, and Cholesky meets neither badly scaled nor collinear columns. In the coordinates of its factor (see
`geometry.hessian_metric`) minus the gradient is Newton's step, and so the first step of L-BFGS there is Newton's. The
steps that follow take only a pass each, whose gradient corrects the Hessian. A Hessian costs as much as several passes,
so that fewer Hessians make a run faster though it takes more steps. Hessians + passes and ms to the end, by the number
of steps for each Hessian:

===========================  ==========  ==========  ==========  ==========  ==========
steps                            1           2           4           6           8
===========================  ==========  ==========  ==========  ==========  ==========
5,000 x 10, k = 3             11+12  9.4   7+15  8.8   4+16  7.7   3+16  7.5   3+18  8.1
50,000 x 10, a rare class     15+16   71   9+19   49   6+22   49   4+24   41   4+29   56
iris, l2 = 1e-4               11+12  5.1   7+14  5.1   4+14  4.7   3+16  4.8   3+18  5.3
===========================  ==========  ==========  ==========  ==========  ==========

(Newton's method that keeps its matrix for some steps is Shamanskii's: Kelley, 1995, "Iterative methods for linear and
nonlinear equations", section 5.4. Convergence is still faster than linear near the optimum, which suits nearly
separable data.) At theta = 0 all rows have the same curvature and the Hessian follows from the Gram matrix: the first
one costs nothing.

A shift of all classes alike changes no difference of logits: the loss has neither curvature nor slope along it. At the
minimum the penalty makes that shift zero, so it is taken out of the start before the first step.
"""

from __future__ import annotations

import numpy as np

from ...objective.problem import has_hessian, has_rows
from ..geometry.hessian import Design
from ..geometry.hessian_metric import HessianMetric
from ..geometry.metric import Metric
from ..run import Run
from .lbfgs import search

# Most parameters: the Hessian takes 8 (n k)^2 bytes, 0.8 GB here.
SIZE_MAX = 10_000
# Steps for each Hessian: half as many as the passes that it costs, within these bounds.
STEPS_MIN, STEPS_MAX = 5, 20
# ... and more for as long as each step multiplies the gradient norm by at most this. 50,000 x 8, k = 8, without signal,
# then converges in 15 passes without a Hessian; 50,000 x 20, k = 4, needs one Hessian instead of two.
PACE = 0.5
# A shift of all classes below this share of the largest parameter is rounding.
SHIFT = 1e-12


def solve(run: Run, design: Design | None = None) -> None:
    """Step until `Run.accept` stops the run. ``design``: the rows in the coordinates of ``run.metric``, if at hand."""
    obj = run.obj
    if not has_rows(obj):
        raise TypeError(
            "solver 'newton' needs an objective with sweeps over its rows (objective.problem), as Objective"
        )
    if not has_hessian(obj):
        raise ValueError(
            "solver 'newton' needs dense X, since the exact Hessian is dense; X is sparse: use 'newton_cg'"
        )
    size = obj.shape[0] * obj.shape[1]
    if size > SIZE_MAX:
        raise ValueError(f"solver 'newton' takes at most {SIZE_MAX} parameters; theta has {size}: use 'newton_cg'")
    steps = steps_each(run)
    if not run.theta.any():
        search(run, first_metric(run), steps, pace=PACE)
    remove_class_shift(run)
    latest = run.hessian_metric
    if design is None:
        design = run.design(run.metric) if latest is None else latest.design
    while True:
        before, last = run.grad_norm, len(run.history)
        if latest is None or latest.theta is not run.theta:
            latest = HessianMetric(obj, run.theta, design)
        run.hessian_metric = latest
        run.stop_if_proven()
        search(run, run.hessian_metric, steps, pace=PACE)
        if len(run.history) < last + steps and not run.grad_norm < 0.5 * before:
            run.stop_at_rounding()


def first_metric(run: Run) -> Metric:
    """The Hessian at theta = 0, where each row's curvature is 1 / k in all directions but the shift of all classes."""
    return Metric(run.moments, run.obj.l2, curvature=1.0 / run.obj.shape[1])


def steps_each(run: Run) -> int:
    """Steps for each Hessian."""
    rows, k = run.obj.shape
    passes = rows * (k - 1) / 8
    return int(min(max(0.5 * passes, STEPS_MIN), STEPS_MAX))


def remove_class_shift(run: Run) -> None:
    """Take the shift of all classes alike out of the run's theta, if there is a penalty that makes it zero."""
    n = len(run.metric.scale)
    mean = run.theta[:n].mean(axis=1, keepdims=True)
    if run.obj.l2 > 0 and float(np.abs(mean).max(initial=0.0)) > SHIFT * float(np.abs(run.theta[:n]).max(initial=0.0)):
        theta = run.theta.copy()
        theta[:n] -= mean
        run.accept(theta)
