r"""A `Run` is the part that all solvers share: it evaluates the objective, records every accepted iterate, calls the
caller's callback, and decides when to stop. A solver only chooses the next point.

Where to stop is asked in numbers that do not depend on the units of X's columns. With M the bound on the
Hessian of `metric`, which needs one pass,

.. math:: \frac{\nabla^T M^{-1} \nabla}{2 f} \;\le\; \frac{f - \min f}{f} \;\le\; \text{gap\_bound}

The square root of the left side is the *gradient norm* here: a step of M itself would gain that much. The right
side is the duality gap of `gap`, which needs a penalty, or what an exact Hessian proves (see `local`), which does not;
it is asked for where the left side is at most ``tol``. A run has converged where the gradient norm or the bound is
at most ``tol``: the second is a proof; the first bounds nothing but is squared in the value. At 1e-6 the gap was at
most 1e-6 on every set tried, nearly separable ones included. With l1, or beyond `metric.CHOLESKY_MAX` features, M is
its diagonal: the same kind of number, but no longer below the gap.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .certificates.duality_gap import TINY, GapBound
from .certificates.separation import separable_below, some_are_separable
from .geometry.centering import centred, outward
from .geometry.hessian_metric import HessianMetric
from .geometry.line_search import change
from .geometry.metric import Metric, Moments
from .result import Callback, Problem, Result, Step

# Passes without a new low of the value or of the gradient after which only rounding is left.
PATIENCE = 50


# With l1, where steps that only bring parameters to their bounds may be many: with 50 a rare class of 20,000 x 10,
# l1 = 1e-5, ended after 127 steps at a norm of 1e-3, with 200 it is there after 787.
PATIENCE_L1 = 200


SEPARABLE = (
    "stopped because the classes are separable: every row is classified rightly, so that the loss falls towards 0 as"
    " theta grows and has no minimum; l2 > 0 gives it one"
)


QUASI_SEPARABLE = (
    "stopped because some classes are separable from the others: along one direction of theta no row is classified"
    " worse and some rows ever better, so that the loss has no minimum; l2 > 0 gives it one"
)


class Stop(Exception):
    """Raised by `Run.accept` where the run is over."""


class Earlier(Protocol):
    """What a run, and its solver, may ask of the runs before it: see `warm_start.WarmStart`."""

    last: Any
    pairs: list[tuple[np.ndarray, np.ndarray]]

    def step(self, run: Any, theta: np.ndarray, grad: np.ndarray) -> None: ...

    def pairs_in(self, metric: Metric, run: Any) -> tuple[np.ndarray, np.ndarray]: ...


class Run:
    """One minimisation: the objective, when to stop, and the iterates so far.

    Parameters
    ----------
    obj : Problem
    tol, max_iter, callback
        As `minimize` takes them.
    l1 : float
        Strength of the absolute values of theta without the bias. Values then include them, gradients do not.
    trail : Earlier, optional
        What runs on the same data at other l2 have found: the moments of X, the gradient at zero, a closer metric, and
        what `warm_start` describes. A solver may add to it.
    known : Run, optional
        A run on nearly the same data (without a fold, say), whose moments and closer metric will do. Any would: they
        set how fast a run gets there, and in which units its gradient norm is, but not where to.
    moments : Moments, optional
        Those of an objective that is `centred` already.
    """

    def __init__(
        self,
        obj: Problem,
        *,
        tol: float,
        max_iter: int,
        callback: Callback | None,
        l1: float = 0.0,
        trail: Earlier | None = None,
        known: Run | None = None,
        moments: Moments | None = None,
    ) -> None:
        self.tol, self.max_iter, self.callback = tol, max_iter, callback
        self.history: list[Step] = []
        self.why = ""
        self.solver = ""
        self.chosen = ""
        self._passes_before = obj.n_passes
        self._began = time.perf_counter()
        self.trail = trail
        # Where it began, on a trail: theta, value and gradient.
        self.first: tuple[np.ndarray, float, np.ndarray] | None = None
        before: Run | None = trail.last if trail is not None else None
        known = before if known is None else known
        # What a solver sees may be another form of it: see `offset`.
        self.given = obj
        self.obj: Problem
        self.moments: Moments
        if known is None:
            self.obj, self.moments = centred(obj) if moments is None else (obj, moments)
        else:
            self.obj, self.moments = known.obj if known.given is obj else obj, known.moments
        obj = self.obj
        self.l1 = l1
        shared = known is not None and known.l1 == 0 == l1 and known.metric.l2 == obj.l2
        self.metric: Metric = known.metric if known and shared else Metric(self.moments, obj.l2, diagonal=l1 > 0)
        # The latest metric of the rows' own curvature (see `lbfgs`).
        self.closer: Metric | None = None if known is None else known.closer
        # The latest exact Hessian (see `local`).
        self.local: HessianMetric | None = None
        self._bound = GapBound(obj, self.metric, self.moments.eps, l1)
        if before is not None:
            self._bound.origin = before._bound.origin
        self._some_separable = False
        self._separable_below = 0.0 if l1 else separable_below(obj)
        self._tried: tuple[np.ndarray, float, np.ndarray] | None = None
        self._lowest_value = self._lowest_norm = np.inf
        self._lowest_at = 0

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the last point asked for, and the last accepted, cost no second pass."""
        if self._tried is not None and np.array_equal(theta, self._tried[0]):
            return self._tried[1:]
        if self.history and np.array_equal(theta, self.theta):
            return self.value, self.grad
        value, grad = self.measure(theta)
        # A copy: solvers overwrite their iterate in place.
        self._tried = theta.copy(), value, grad
        return value, grad

    def measure(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient by a pass, for solvers that never ask for the same point twice."""
        value, grad = self.obj.value_and_grad(theta)
        if self.l1:
            value += self.l1_of(theta)
        return value, grad

    def l1_of(self, theta: np.ndarray) -> float:
        """The part of l1 in the value."""
        return self.l1 * float(np.abs(self._penalised(theta)).sum())

    def know(self, theta: np.ndarray, value: float, grad: np.ndarray) -> None:
        """Value and gradient at a point that the run may start from, which then takes no pass."""
        self._tried = theta.copy(), value, grad

    def penalty(self, theta: np.ndarray) -> float:
        """All of the value that is not loss."""
        weights = self._penalised(theta)
        return 0.5 * self.obj.l2 * float(np.vdot(weights, weights)) + self.l1 * float(np.abs(weights).sum())

    def penalty_gradient(self, theta: np.ndarray) -> np.ndarray:
        """What l2 adds to the gradient."""
        out = np.zeros_like(theta)
        np.multiply(self._penalised(theta), self.obj.l2, out=self._penalised(out))
        return out

    def accept(self, theta: np.ndarray, known: tuple[float, np.ndarray] | None = None) -> None:
        """Make theta the current iterate, record it and tell the callback.

        ``known`` are value and gradient if the solver has them; theta is then its own array no longer.

        Raises
        ------
        Stop
            If theta is good enough, the callback has had enough, or no iteration or `PATIENCE` is left.
        """
        self.value, self.grad = self.evaluate(theta) if known is None else known
        self.theta = theta.copy() if known is None else theta
        if self.trail is not None and self.first is None:
            self.first = self.theta, self.value, self.grad
        self.grad_norm = self._norm()
        self.gap_bound = self._bound(self.theta, self.value, self.grad, self._local_gap())
        seconds = time.perf_counter() - self._began
        step = Step(len(self.history), self.value, self.grad_norm, self.n_passes, seconds, self.gap_bound)
        self.history.append(step)
        if self.callback is not None:
            try:
                self.callback(step)
            except StopIteration as error:
                reason = f" ({error})" if str(error) else ""
                self.stop(f"stopped by the callback{reason} after {_count(step.iteration, 'iteration')}")
        if self.value < self._separable_below:
            self.stop(SEPARABLE)
        if self.converged:
            self._stop_if_some_are_separable()
            raise Stop
        if step.iteration >= self.max_iter:
            self.stop(f"stopped at max_iter = {self.max_iter}")
        if self.value < self._lowest_value or self.grad_norm < self._lowest_norm:
            self._lowest_at = step.n_passes
        elif step.n_passes - self._lowest_at >= (PATIENCE_L1 if self.l1 else PATIENCE):
            self.stop_at_rounding()
        self._lowest_value = min(self.value, self._lowest_value)
        self._lowest_norm = min(self.grad_norm, self._lowest_norm)

    def _local_gap(self) -> float:
        """What the exact Hessian proves, asked for only where the gap may be within ``tol``: see this file's head."""
        if self.local is None or self.grad_norm**2 > self.tol:
            return np.inf
        return self.local.gap(self.theta, self.value, self.grad, self.tol * self.value)

    def stop_if_proven(self) -> None:
        """End the run if the exact Hessian, just made where it is, proves that it may end, or if it had converged."""
        self.gap_bound = self._bound(self.theta, self.value, self.grad, self._local_gap())
        self.history[-1] = replace(self.history[-1], gap_bound=self.gap_bound)
        if self.converged:
            self._stop_if_some_are_separable()
            raise Stop

    def _stop_if_some_are_separable(self) -> None:
        """Asked of what the gradient alone says has converged, where there is an exact Hessian to tell."""
        proven = self.gap_bound is not None and self.gap_bound <= self.tol
        if proven or self.local is None or self.obj.l2 > 0:
            return
        here = HessianMetric(self.obj, self.theta, self.local.design)
        if some_are_separable(self.obj, here, self.grad):
            self._some_separable = True
            self.stop(QUASI_SEPARABLE)

    @property
    def converged(self) -> bool:
        """Either of the two numbers of this file's head; never where there is no minimum to converge to."""
        proven = self.gap_bound is not None and self.gap_bound <= self.tol
        no_minimum = self._some_separable or self.value < self._separable_below
        return (proven or self.grad_norm <= self.tol) and not no_minimum

    def _penalised(self, theta: np.ndarray) -> np.ndarray:
        """theta, or a gradient, without the row of the bias: a view."""
        return theta[: len(self.moments.diagonal)]

    def _norm(self) -> float:
        """The gradient norm of this file's head; with l1 that of the subgradient of least length in S's coordinates.

        There columns are centred, and so is the gradient before l1 holds what it can of it where a parameter is 0.
        Centred afterwards, what is left of the bias's would be in the held ones as well, times their columns' means:
        with columns 10^4 deviations from zero the norm stayed at 5e-3 while the value had come to its last digit.
        """
        if not self.l1:
            with np.errstate(over="ignore"):
                root = self.metric.size(self.grad)
        else:
            theta, slope = self._penalised(self.theta), self.metric.centred(self.grad)
            held = np.sign(slope) * np.maximum(np.abs(slope) - self.l1, 0.0)
            free = np.where(theta != 0, slope + self.l1 * np.sign(theta), held) * self.metric.scale[:, None]
            bias = self.grad[len(theta) :]
            root = math.sqrt(np.vdot(free, free) + np.vdot(bias, bias) / self.metric.curvature)
        return root / math.sqrt(2.0 * max(self.value, TINY)) if root else 0.0

    def change(self, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
        """Value at theta minus that of the current iterate, as the function `change` tells it."""
        step = (theta - self.theta).ravel()
        return change(self.value, value, float(step @ self.grad.ravel()), float(step @ grad.ravel()))

    def descend(self, direction: np.ndarray) -> None:
        """Accept the first of theta + direction, + direction / 2, ... that gains 1e-4 of what its slope promises."""
        slope = float(np.vdot(direction, self.grad))
        length = 1.0
        # Shorter ones do not move theta as passes read it, though its penalty may be lower ever after.
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
        """End the run where neither value nor gradient gets any smaller."""
        n_iter = _count(len(self.history) - 1, "iteration")
        why = "because rounding hides any lower value"
        if self.l1:
            why = "because of rounding, or columns that nearly depend on each other: l2 > 0 or a larger tol helps"
        self.stop(f"can make no more progress after {n_iter} {why}")

    @property
    def n_passes(self) -> int:
        return self.obj.n_passes - self._passes_before

    def result(self) -> Result:
        """Convergence and message are derived from the last accepted iterate, not from why the solver stopped."""
        n_iter, solver, theta = len(self.history) - 1, self.solver, self.theta.reshape(self.obj.shape)
        norm = f"gradient norm {self.grad_norm:.3g}"
        if self.converged:
            counts = f"{_count(n_iter, 'iteration')} and {_count(self.n_passes, 'pass')}"
            reached = norm if self.grad_norm <= self.tol else f"relative gap at most {self.gap_bound:.3g}"
            message = f"{solver} converged after {counts}: {reached} <= tol {self.tol:.3g}"
        else:
            sign = ">" if self.grad_norm > self.tol else "<="
            message = f"{solver} {self.why}, with {norm} {sign} tol {self.tol:.3g}"
        return Result(
            theta=theta if self.obj is self.given else outward(self.obj, theta),
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


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"
