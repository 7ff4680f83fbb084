r"""Newton's method with the exact Hessian, which L-BFGS keeps up to date for some steps before it is made anew.

The Hessian is made by one walk over X (see `curvature`), in the coordinates of the bound's metric: there it is at most
1 in every direction, and Cholesky meets neither scales nor collinear columns. In the coordinates of its factor (see
`local`) minus the gradient is Newton's step, and so the first step of L-BFGS there is one. The steps that follow have
only a pass each, whose gradient corrects the Hessian along the way. A Hessian costs as much as
several passes, and with fewer of them a run takes less time though it takes more steps. Steps for each Hessian, and
Hessians + passes + ms to the end:

===========================  ==========  ==========  ==========  ==========  ==========
steps                            1           2           4           6           8
===========================  ==========  ==========  ==========  ==========  ==========
5,000 x 10, k = 3             11+12  9.4   7+15  8.8   4+16  7.7   3+16  7.5   3+18  8.1
50,000 x 10, a rare class     15+16   71   9+19   49   6+22   49   4+24   41   4+29   56
iris, l2 = 1e-4               11+12  5.1   7+14  5.1   4+14  4.7   3+16  4.8   3+18  5.3
===========================  ==========  ==========  ==========  ==========  ==========

(Newton's method that keeps its matrix for some steps is Shamanskii's: Kelley, 1995, "Iterative methods for linear and
nonlinear equations", section 5.4. Convergence is still faster than linear near the optimum, which suits nearly
separable data.) At theta = 0 all rows have the same curvature, and the Hessian is that of the Gram matrix: the first
costs nothing.

A shift of all classes alike changes no logit's difference: the loss has no curvature there and no slope. The penalty
alone has an opinion, which is that the shift be zero, and so a start is put right before the first step.
"""

from __future__ import annotations

import numpy as np

from ..geometry.hessian import Design, can_walk, has_hessian
from ..geometry.hessian_metric import HessianMetric
from ..geometry.metric import Metric
from ..run import Run
from .lbfgs import search

# Unknowns at most: the Hessian takes 8 (n k)^2 bytes, 0.8 GB here.
SIZE_MAX = 10_000
# Steps for each Hessian: half of the passes that it costs, in these bounds.
STEPS_MIN, STEPS_MAX = 5, 20
# ... and more as long as each brings the gradient norm down to this share: 50,000 x 8, k = 8, without signal is done
# after 15 passes without a Hessian, 50,000 x 20, k = 4 needs one instead of two.
PACE = 0.5
# A mean over the classes that is rounding, as a share of theta.
SHIFT = 1e-12


def solve(run: Run, design: Design | None = None) -> None:
    """Step until `Run.accept` stops the run. ``design``: the rows in the coordinates of the run's metric, if known."""
    if not can_walk(run.obj):
        raise TypeError("solver 'newton' needs an objective with rows to walk over (source, weight_sum), as Objective")
    if not has_hessian(run.obj):
        raise ValueError(
            "solver 'newton' needs dense X, since the exact Hessian is dense; X is sparse: use 'newton_cg'"
        )
    size = run.obj.shape[0] * run.obj.shape[1]
    if size > SIZE_MAX:
        raise ValueError(f"solver 'newton' takes at most {SIZE_MAX} parameters; theta has {size}: use 'newton_cg'")
    steps = steps_each(run)
    if not run.theta.any():
        search(run, first_metric(run), steps, pace=PACE)
    centre(run)
    design = Design(run.obj, run.metric) if design is None else design
    while True:
        before, last = run.grad_norm, len(run.history)
        run.local = HessianMetric(run.obj, run.theta, design)
        run.stop_if_proven()
        search(run, run.local, steps, pace=PACE)
        if len(run.history) < last + steps and not run.grad_norm < 0.5 * before:
            run.stop_at_rounding()


def first_metric(run: Run) -> Metric:
    """The Hessian at theta = 0, but for a shift of all classes."""
    return Metric(run.moments, run.obj.l2, curvature=1.0 / run.obj.shape[1])


def steps_each(run: Run) -> int:
    """Steps for each Hessian."""
    rows, k = run.obj.shape
    passes = rows * (k - 1) / 8
    return int(min(max(0.5 * passes, STEPS_MIN), STEPS_MAX))


def centre(run: Run) -> None:
    """Take out of theta the shift of all classes that the penalty would have zero."""
    n = len(run.metric.scale)
    mean = run.theta[:n].mean(axis=1, keepdims=True)
    if run.obj.l2 > 0 and float(np.abs(mean).max(initial=0.0)) > SHIFT * float(np.abs(run.theta[:n]).max(initial=0.0)):
        theta = run.theta.copy()
        theta[:n] -= mean
        run.accept(theta)
