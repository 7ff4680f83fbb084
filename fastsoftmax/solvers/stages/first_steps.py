"""The first steps of a run by cheap passes, which are less precise: bfloat16 on matrix units, see `kernels.units`.

Far from the minimum a step need not know its gradient to float32's accuracy. How wrong the gradient of a cheap pass is,
is measured: where a round of steps begins, and where it ends, the same point gets an exact pass as well. Their
difference, in the units of the gradient norm (`run.stopping`), is the error. Steps go by cheap passes while the norm is
well above it; the run then goes on from an exact pass, as if it had begun there. So the iterates of a run, its values,
its proof and its convergence are exact: this file only finds a better start.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any, cast

import numpy as np

from ...objective.problem import Problem, ProblemWithCheapPasses, has_cheap_passes, has_rows, is_rough
from ..geometry.hessian import metric_at
from ..methods import lbfgs
from ..result import Step
from ..run import Run, Stop

# The gradient norm of steps by cheap passes is at least this times its error.
CLEAR = 10.0
# Steps of a round, at the end of which the error is measured anew; most rounds, after so many of which the metric is
# computed anew, as `lbfgs` does; and the factor by which a round must be able to lower the norm, to be worth it.
STEPS, ROUNDS, REFRESH, GAIN = 10, 6, 2, 0.5

ENDS = "stopped where the error of cheap passes hides the rest"


class Cheap:
    """A problem whose passes are the cheap ones of another one."""

    precision = "exact"  # whatever the other asks for: no pass is to replace these

    def __init__(self, obj: ProblemWithCheapPasses) -> None:
        self._obj = obj

    def __getattr__(self, name: str) -> Any:
        return getattr(self._obj, name)

    def value_and_grad(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        return self._obj.cheap_value_and_grad(theta)


def take_first_steps(run: Run) -> lbfgs.Pairs | None:
    """Bring a run nearer to the minimum by cheap passes, if its problem has any and their gradients are right enough.

    `Run.accept` gets the point where each round ends, and may raise `Stop`. Returns the pairs of the steps, for L-BFGS
    to go on from; None where it is to begin without.
    """
    if run.l1 or run.warm_start is not None or not has_cheap_passes(run.obj):
        return None
    inner = Run(cast(Problem, Cheap(run.obj)), tol=run.tol, max_iter=STEPS * ROUNDS, callback=None, similar_run=run)
    with suppress(Stop, FloatingPointError):  # which the exact passes need not raise
        inner.accept(run.theta)
    metric, pairs = run.metric, lbfgs.Pairs(run.theta.size)
    for number in range(ROUNDS if inner.history else 0):
        least = CLEAR * error(run, inner)
        if not least < GAIN * run.grad_norm:
            break
        if number == REFRESH and has_rows(run.obj):
            metric, pairs = metric_at(run.obj, run.theta), lbfgs.Pairs(run.theta.size)
            run.curvature_metric = inner.curvature_metric = metric
        inner.callback = _until(least)
        with suppress(Stop, FloatingPointError):
            lbfgs.search(inner, metric, STEPS, pairs=pairs)
        value, grad = run.measure(inner.theta)
        if not value < run.value:
            return None
        run.accept(inner.theta, (value, grad))
    return pairs.turned_to(metric.to_phi_gradient(run.grad).ravel()) if metric is run.metric and pairs.order else None


def ends_early(run: Run) -> bool:
    """Whether a run is to end where cheap passes tell no more, because its problem asks for no more precision."""
    return is_rough(run.obj) and has_cheap_passes(run.obj) and not run.l1 and run.warm_start is None


def take_first_steps_alone(run: Run) -> None:
    """The first steps of a run that then ends."""
    run.solver = "lbfgs"
    take_first_steps(run)
    run.stop(ENDS)


def error(run: Run, inner: Run) -> float:
    """The error of the gradient of a cheap pass, in the units of the gradient norm; both runs are at the same point."""
    wrong = run.metric.size(inner.grad - run.grad)
    return wrong / math.sqrt(2.0 * run.value) if run.value > 0 and math.isfinite(wrong) else math.inf


def _until(least: float) -> Any:
    """A callback that ends a run where the gradient norm is below ``least``."""

    def stop(step: Step) -> None:
        if step.grad_norm < least:
            raise StopIteration

    return stop
