r"""`Run`, the part that all solvers share: it evaluates the objective, records iterates and decides when to stop.

A solver only chooses the next point. The run then calls the caller's callback, and raises `Stop` where it is over.

The criteria for stopping do not depend on the units of X's columns. With M the upper bound on the Hessian that
`geometry.metric` computes in one pass,

.. math:: \frac{\nabla^T M^{-1} \nabla}{2 f} \;\le\; \frac{f - \min f}{f} \;\le\; \text{gap\_bound}

The square root of the left side is the *gradient norm*; the left side itself is what one step with M as the Hessian is
sure to gain. The right side is the duality gap (`certificates.duality_gap`), which needs a penalty, or the bound that
an exact Hessian proves (`geometry.hessian_metric`), which does not; the latter is computed only where the left side is
at most ``tol``. A run has converged where the gradient norm or the gap bound is at most ``tol``. The gap bound is a
proof, which `certificates.finish` seeks at the end. The gradient norm is none, but the gap goes with its square: with
tol 1e-6 the gap was at most 1e-6 on every data set tried, nearly separable ones included. With l1, or beyond
`geometry.metric.CHOLESKY_MAX` features, M is diagonal: the gradient norm then is a number of the same kind, but its
square is no longer a lower bound on the gap. Where columns are so nearly parallel that M does not tell what they may
gain (`geometry.parallel`), a gradient norm at most ``tol`` is no convergence either, unless it is smaller by as much.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..objective.problem import Problem, has_rows
from .certificates.duality_gap import TINY, GapBound
from .certificates.separation import (
    ABSENT,
    QUASI_SEPARABLE,
    SEPARABLE,
    absent_class,
    separable_below,
    some_are_separable,
)
from .geometry.centering import centered, to_original
from .geometry.hessian_metric import HessianMetric
from .geometry.line_search import change
from .geometry.metric import NOISE, Metric, Moments
from .geometry.parallel import Parallel, parallel
from .result import Callback, Ending, PreviousRuns, Result, Step, counted

# After so many passes without a new lowest value or gradient norm, rounding is taken to hide any progress.
PATIENCE = 50
# With l1 there may be many steps that only bring parameters to their bounds. 20,000 x 10 with a rare class, l1 = 1e-5:
# with 50 the run ended after 127 steps at a gradient norm of 1e-3, with 200 it converged after 787.
PATIENCE_L1 = 200

# The Hessian near the minimum is taken to be at least this share of its bound M, where a small gradient norm must tell
# the gap (`Run._is_small`).
CURVED = 0.1


class Stop(Exception):
    """Raised by `Run` where the run is over, whether it has converged or not."""


class Run:
    """One minimization: the objective, when to stop, and the iterates so far.

    Parameters
    ----------
    obj : Problem
    tol, max_iter, callback
        As `minimize` takes them.
    l1 : float
        Strength of the penalty l1 sum |theta_jc|, the bias left out. Values include it, gradients do not.
    warm_start : PreviousRuns, optional
        The runs on the same data at other l2. This run takes from them the moments of X, the gradient at zero and the
        curvature metric; solvers take, and add, what `warm_start` describes.
    similar_run : Run, optional
        A run on nearly the same data (all rows, where this one is without a fold), to share its moments and curvature
        metric. These set how fast a run converges and the units of its gradient norm, but not its minimum.
    moments : Moments, optional
        Moments of ``obj``, which then must have gone through `centering.centered` already.

    Attributes
    ----------
    given, obj : Problem
        The caller's objective, and the one that solvers see: the same, or its form with X's columns centered.
    metric : Metric
        M of this file's head, as a change of variable.
    curvature_metric : Metric or None
        The latest metric in which rows weigh by their curvature at some theta (`hessian.metric_at`).
    hessian_metric : HessianMetric or None
        The latest exact Hessian, set by the solver that made it.
    sample_metric : HessianMetric or None
        That of a subsample, near whose minimum the run began.
    theta, value, grad, grad_norm, gap_bound
        The current iterate: the last one accepted.
    finish : Ending or None
        What takes the last steps, if any does. It then says where the solver is to stop.
    first_iterate : tuple or None
        Theta, value and gradient where the run began; kept only with ``warm_start``.
    solver, chosen : str
        The method that runs, and why "auto" chose it.
    """

    def __init__(
        self,
        obj: Problem,
        *,
        tol: float,
        max_iter: int,
        callback: Callback | None,
        l1: float = 0.0,
        warm_start: PreviousRuns | None = None,
        similar_run: Run | None = None,
        moments: Moments | None = None,
    ) -> None:
        self.tol, self.max_iter, self.callback = tol, max_iter, callback
        self.history: list[Step] = []
        self.why = ""
        self.solver = ""
        self.chosen = ""
        self.finish: Ending | None = None
        self._passes_before = obj.n_passes
        self._began = time.perf_counter()
        self.warm_start = warm_start
        self.first_iterate: tuple[np.ndarray, float, np.ndarray] | None = None
        previous: Run | None = warm_start.last if warm_start is not None else None
        donor = previous if similar_run is None else similar_run
        self.given = obj
        self.obj: Problem
        self.moments: Moments
        if donor is None:
            self.obj, self.moments = centered(obj) if moments is None else (obj, moments)
        else:
            self.obj, self.moments = donor.obj if donor.given is obj else obj, donor.moments
        obj = self.obj
        self.l1 = l1
        shared = donor is not None and donor.l1 == 0 == l1 and donor.metric.l2 == obj.l2
        self.metric: Metric = donor.metric if donor and shared else Metric(self.moments, obj.l2, diagonal=l1 > 0)
        self.curvature_metric: Metric | None = None if donor is None else donor.curvature_metric
        self.hessian_metric: HessianMetric | None = None
        self.sample_metric: HessianMetric | None = None
        self._bound = GapBound(obj, self.metric, self.moments.eps, l1)
        if previous is not None:
            self._bound.origin = previous._bound.origin
        self._some_separable = False
        self._separable_below = 0.0 if l1 else separable_below(obj)
        self._cached: tuple[np.ndarray, float, np.ndarray] | None = None
        self._lowest_value = self._lowest_norm = np.inf
        self._lowest_at = 0

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the point evaluated last and the current iterate take no second pass."""
        if self._cached is not None and np.array_equal(theta, self._cached[0]):
            return self._cached[1:]
        if self.history and np.array_equal(theta, self.theta):
            return self.value, self.grad
        value, grad = self.measure(theta)
        # A copy: solvers overwrite their iterate in place.
        self._cached = theta.copy(), value, grad
        return value, grad

    def measure(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient by a pass, without the cache of `evaluate`: for solvers that never repeat a point."""
        value, grad = self.obj.value_and_grad(theta)
        if self.l1:
            value += self.l1_of(theta)
        return value, grad

    def l1_of(self, theta: np.ndarray) -> float:
        """The term l1 sum |theta_jc| of the value."""
        return self.l1 * float(np.abs(self._penalized(theta)).sum())

    def remember(self, theta: np.ndarray, value: float, grad: np.ndarray) -> None:
        """Store value and gradient at a point, so that `evaluate` takes no pass there."""
        self._cached = theta.copy(), value, grad

    def penalty(self, theta: np.ndarray) -> float:
        """The l2 and l1 terms of the value."""
        weights = self._penalized(theta)
        return 0.5 * self.obj.l2 * float(np.vdot(weights, weights)) + self.l1 * float(np.abs(weights).sum())

    def penalty_gradient(self, theta: np.ndarray) -> np.ndarray:
        """The l2 term of the gradient."""
        out = np.zeros_like(theta)
        np.multiply(self._penalized(theta), self.obj.l2, out=self._penalized(out))
        return out

    def accept(self, theta: np.ndarray, evaluated: tuple[float, np.ndarray] | None = None) -> None:
        """Make theta the current iterate, record it and call the callback.

        A solver that has value and gradient at theta passes them as ``evaluated``. The run then keeps theta itself
        instead of a copy, and the solver must not write to it any more.

        Raises
        ------
        Stop
            If the run has converged, the callback asks for it, ``max_iter`` is reached, or there was no progress for
            `PATIENCE` passes.
        """
        self.value, self.grad = self.evaluate(theta) if evaluated is None else evaluated
        self.theta = theta.copy() if evaluated is None else theta
        if self.warm_start is not None and self.first_iterate is None:
            self.first_iterate = self.theta, self.value, self.grad
        self.grad_norm = self._norm()
        self.gap_bound = self._bound(self.theta, self.value, self.grad, self._hessian_gap())
        seconds = time.perf_counter() - self._began
        step = Step(len(self.history), self.value, self.grad_norm, self.n_passes, seconds, self.gap_bound)
        self.history.append(step)
        if self.callback is not None:
            try:
                self.callback(step)
            except StopIteration as error:
                reason = f" ({error})" if str(error) else ""
                self.stop(f"stopped by the callback{reason} after {counted(step.iteration, 'iteration')}")
        if self.value < self._separable_below:
            self.stop(SEPARABLE)
        if (self.proven or self.grad_norm <= self.tol) and self._absent_class is not None:
            self.stop(ABSENT.format(self._absent_class))
        self._stop_if_over()
        if step.iteration >= self.max_iter:
            self.stop(f"stopped at max_iter = {self.max_iter}")
        if self.value < self._lowest_value or self.grad_norm < self._lowest_norm:
            self._lowest_at = step.n_passes
        elif step.n_passes - self._lowest_at >= (PATIENCE_L1 if self.l1 else PATIENCE):
            self.stop_at_rounding()
        self._lowest_value = min(self.value, self._lowest_value)
        self._lowest_norm = min(self.grad_norm, self._lowest_norm)

    def _stop_if_over(self) -> None:
        """Raise `Stop` if the run has converged; if it is to be finished, where `finish` says so, which then proves."""
        if self.finish is not None and self.finish.active:
            if self.finish.is_over(self):
                raise Stop
        elif self.converged:
            self.prove()
            raise Stop

    def _hessian_gap(self, *, asked: bool = False) -> float:
        """The gap that the exact Hessian proves, computed only where the gap may be within ``tol`` (this file's head);
        else infinity. A run that is to be finished computes it at the end, where it is ``asked`` for."""
        if not asked and self.finish is not None and self.grad_norm**2 <= self.tol and self.finish.defers_proof(self):
            return np.inf
        if self.hessian_metric is None or self.grad_norm**2 > self.tol:
            return np.inf
        if len(self.hessian_metric.design.left_out) and self._parallel is not None:
            return np.inf
        return self.hessian_metric.gap(self.theta, self.value, self.grad, self.tol * self.value)

    def stop_if_proven(self) -> None:
        """Called after the Hessian was made at the current iterate: end the run if that proves the gap to be within
        ``tol``, or if it had converged before."""
        self._set_gap_bound(self._hessian_gap())
        self._stop_if_over()

    def prove(self) -> None:
        """Prove the gap of a run that is near its end by the Hessians that there are, as far as that can be done.
        Without a penalty and a proof, test for quasi-separation, which the gradient norm cannot tell from
        convergence."""
        if not self.proven and self.sample_metric is not None and self._parallel is None:
            goal = self.tol * self.value
            self._set_gap_bound(self.sample_metric.gap(self.theta, self.value, self.grad, goal))
        if self.proven or self.hessian_metric is None:
            return
        self._set_gap_bound(self._hessian_gap(asked=True))
        if not self.proven and self.obj.l2 == 0 and has_rows(self.obj):
            if self.hessian_metric.theta is not self.theta:
                self.hessian_metric = HessianMetric(self.obj, self.theta, self.hessian_metric.design)
                self._set_gap_bound(self._hessian_gap(asked=True))
            if not self.proven and some_are_separable(self.obj, self.hessian_metric, self.grad):
                self._some_separable = True
                self.stop(QUASI_SEPARABLE)

    def _set_gap_bound(self, hessian_gap: float) -> None:
        self.gap_bound = self._bound(self.theta, self.value, self.grad, hessian_gap)
        self.history[-1] = replace(self.history[-1], gap_bound=self.gap_bound)

    @property
    def converged(self) -> bool:
        """Whether the gradient norm or the gap bound is at most ``tol``; never where there is no minimum."""
        no_minimum = self._some_separable or self.value < self._separable_below
        near = (self.proven or self._is_small(self.grad_norm)) and not no_minimum
        return near and self._absent_class is None

    @property
    def proven(self) -> bool:
        """Whether the gap bound is at most ``tol``."""
        return self.gap_bound is not None and self.gap_bound <= self.tol

    def _is_small(self, norm: float) -> bool:
        """Whether a gradient norm is at most ``tol`` and tells that the gap is small."""
        if norm > self.tol or self._parallel is None:
            return norm <= self.tol
        return self.metric.factor is None and norm * norm <= CURVED * self.tol * self._parallel.share

    @cached_property
    def _absent_class(self) -> int | None:
        """A class without rows, for which there is no minimum. Asked for only near the end of a run."""
        return absent_class(self.obj)

    @cached_property
    def _parallel(self) -> Parallel | None:
        """The columns of which the metric does not tell what they may gain. Asked for only near the end of a run."""
        noise = NOISE * self.moments.eps * len(self.moments.diagonal)
        floor = self.tol / CURVED if self.metric.factor is None else noise
        return parallel(self.obj, self.moments, self.obj.l2, floor) if has_rows(self.obj) else None

    def _penalized(self, theta: np.ndarray) -> np.ndarray:
        """theta, or a gradient, without the row of the bias: a view."""
        return theta[: len(self.moments.diagonal)]

    def _norm(self) -> float:
        """The gradient norm of this file's head; with l1 that of the shortest subgradient in S's coordinates.

        The gradient is centered before l1 is taken off the entries whose parameters are 0. Centered afterwards, those
        entries would get the bias's remaining gradient times their columns' means: with columns 10^4 deviations from
        zero the norm stayed at 5e-3 while the value was right to the last digit.
        """
        if not self.l1:
            with np.errstate(over="ignore"):
                root = self.metric.size(self.grad)
        else:
            theta, slope = self._penalized(self.theta), self.metric.centered(self.grad)
            held = np.sign(slope) * np.maximum(np.abs(slope) - self.l1, 0.0)
            free = np.where(theta != 0, slope + self.l1 * np.sign(theta), held) * self.metric.scale[:, None]
            bias = self.grad[len(theta) :]
            root = math.sqrt(np.vdot(free, free) + np.vdot(bias, bias) / self.metric.curvature)
        return root / math.sqrt(2.0 * max(self.value, TINY)) if root else 0.0

    def change(self, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
        """Value at theta minus that of the current iterate, by `line_search.change`."""
        step = (theta - self.theta).ravel()
        return change(self.value, value, float(step @ self.grad.ravel()), float(step @ grad.ravel()))

    def descend(self, direction: np.ndarray) -> None:
        """Accept the first of theta + direction, theta + direction / 2, ... that meets the Armijo condition, a gain of
        1e-4 of the slope times the length."""
        slope = float(np.vdot(direction, self.grad))
        length = 1.0
        # Shorter steps do not move theta in the dtype of passes, though the penalty would go on falling.
        with np.errstate(divide="ignore", invalid="ignore"):
            shortest = self.moments.eps * float(np.nanmin(np.abs(self.theta / direction)))
        while slope < 0 and length > max(shortest, 1e-12):
            theta = self.theta + length * direction
            value, grad = self.measure(theta)
            if self.change(theta, value, grad) <= 1e-4 * length * slope:
                return self.accept(theta, (value, grad))
            length *= 0.5
        self.stop_at_rounding()

    def stop(self, why: str) -> None:
        """End the run for a reason other than convergence."""
        self.why = why
        raise Stop

    def stop_at_rounding(self) -> None:
        """End the run where rounding hides any further progress."""
        n_iter = counted(len(self.history) - 1, "iteration")
        why = "because rounding hides any lower value"
        if self.l1:
            why = "because of rounding, or columns that nearly depend on each other: l2 > 0 or a larger tol helps"
        self.stop(f"can make no more progress after {n_iter} {why}")

    @property
    def n_passes(self) -> int:
        return self.obj.n_passes - self._passes_before

    def result(self) -> Result:
        """The outcome. Convergence is that of the last iterate, for whatever reason the solver stopped."""
        n_iter, solver, theta = len(self.history) - 1, self.solver, self.theta.reshape(self.obj.shape)
        norm = f"gradient norm {self.grad_norm:.3g}"
        if self.converged:
            counts = f"{counted(n_iter, 'iteration')} and {counted(self.n_passes, 'pass')}"
            gap = "" if self.gap_bound is None else f"relative gap at most {self.gap_bound:.3g}"
            doubt = "" if self.proven else f", which does not prove it{gap and f' ({gap})'}"
            message = f"{solver} converged after {counts}: {gap if self.proven else norm} <= tol {self.tol:.3g}{doubt}"
        else:
            sign = ">" if self.grad_norm > self.tol else "<="
            message = f"{solver} {self.why}, with {norm} {sign} tol {self.tol:.3g}"
            message += f"; {self._parallel}" if self.grad_norm <= self.tol and self._parallel else ""
        return Result(
            theta=theta if self.obj is self.given else to_original(self.obj, theta),
            value=self.value,
            grad_norm=self.grad_norm,
            n_passes=self.n_passes,
            n_iter=n_iter,
            converged=self.converged,
            message=f"{message} ({self.chosen})" if self.chosen else message,
            solver=solver,
            history=self.history,
            gap_bound=self.gap_bound,
        )
