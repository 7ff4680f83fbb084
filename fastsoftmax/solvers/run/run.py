"""`Run`, the loop that all solvers share: it evaluates the objective, records iterates and ends where it is over.

A solver only chooses the next point. The run then calls the caller's callback, asks `stopping.StoppingRule` whether it
is over, and raises `Stop` if so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from ...objective.problem import Problem, has_rows, is_rough
from ..certificates.separation import QUASI_SEPARABLE
from ..checkpoint.journal import Journal, Parts, RepeatedDesign
from ..geometry.centering import centered, to_original
from ..geometry.hessian import Design, metric_at
from ..geometry.hessian_metric import HessianMetric
from ..geometry.line_search import change
from ..geometry.metric import Metric, Moments
from ..result import Callback, Result, Step, counted
from .stopping import Iterate, StoppingRule


class Stop(Exception):
    """Raised by `Run` where the run is over, whether it has converged or not."""


class PreviousRuns(Protocol):
    """What a run and its solver use of the runs at other l2 before it. `warm_start.WarmStart` is the implementation;
    it imports `Run`, so that `Run` cannot import it."""

    last: Run | None
    pairs: list[tuple[np.ndarray, np.ndarray]]

    def add_pair(self, run: Run, theta: np.ndarray, grad: np.ndarray) -> None: ...

    def pairs_in(self, metric: Metric, run: Run) -> tuple[np.ndarray, np.ndarray]: ...


class Ending(Protocol):
    """What a run asks of `stages.finish.Finish`, which imports `Run` as well."""

    active: bool

    def __call__(self, run: Run) -> bool: ...

    def is_over(self, run: Run) -> bool: ...

    def defers_proof(self, run: Run) -> bool: ...


class Run:
    """One minimization: the objective, the iterates so far, and the rule that says when it is over.

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
    journal : Journal, optional
        Where the objective's answers are kept, for a checkpoint, and come from, in a run that goes on from one.

    Attributes
    ----------
    given, obj : Problem
        The caller's objective, and the one that solvers see: the same, or its form with X's columns centered.
    metric : Metric
        M of `stopping`'s head, as a change of variable.
    curvature_metric : Metric or None
        The latest metric in which rows weigh by their curvature at some theta (`hessian.metric_at`).
    hessian_metric : HessianMetric or None
        The latest exact Hessian, set by the solver that made it.
    sample_metric : HessianMetric or None
        That of a subsample, near whose minimum the run began.
    rule : StoppingRule
    at : Iterate
        The current iterate: the last one accepted. Also as ``theta``, ``value``, ``grad``, ``grad_norm``,
        ``gap_bound``.
    history : list of Step
    finish : Ending or None
        What takes the last steps, if any does. It then says where the solver is to stop.
    first_iterate : tuple or None
        Theta, value and gradient where the run began; kept only with ``warm_start``.
    solver, chosen : str
        The method that runs, and why "auto" chose it.
    why : str
        Why the run is over, unless it has converged.
    """

    at: Iterate

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
        journal: Journal | None = None,
    ) -> None:
        self.journal = journal
        self.tol, self.max_iter, self.l1, self.callback = tol, max_iter, l1, callback
        self.history: list[Step] = []
        self.why = self.solver = self.chosen = ""
        self.finish: Ending | None = None
        self._passes_before, self._began = obj.n_passes, time.perf_counter()
        self.warm_start = warm_start
        self.first_iterate: tuple[np.ndarray, float, np.ndarray] | None = None
        previous = None if warm_start is None else warm_start.last
        donor = previous if similar_run is None else similar_run
        self.given = self.obj = obj
        self.obj, self.moments = self._centered(moments, donor)
        shared = donor is not None and donor.l1 == 0 == l1 and donor.metric.l2 == self.obj.l2
        self.metric: Metric = donor.metric if donor and shared else Metric(self.moments, self.obj.l2, diagonal=l1 > 0)
        self.curvature_metric: Metric | None = None if donor is None else donor.curvature_metric
        self.hessian_metric: HessianMetric | None = None
        self.sample_metric: HessianMetric | None = None
        self.rule = StoppingRule(self.obj, self.metric, self.moments, tol=tol, max_iter=max_iter, l1=l1)
        if previous is not None:
            self.rule.bound.origin = previous.rule.bound.origin
        self._cached: tuple[np.ndarray, float, np.ndarray] | None = None

    # ------------------------------------------------------------------------------------------ values at a point

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the point evaluated last and the current iterate take no second pass."""
        if self._cached is not None and np.array_equal(theta, self._cached[0]):
            return self._cached[1:]
        if self.history and np.array_equal(theta, self.theta):
            return self.value, self.grad
        value, grad = self.measure(theta)
        self.remember(theta, value, grad)
        return value, grad

    def measure(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient by a pass, without the cache of `evaluate`: for solvers that never repeat a point."""
        obj = self.obj
        exact = obj.exact_value_and_grad if is_rough(obj) else obj.value_and_grad
        value, grad = self.ask("value", theta, lambda: exact(theta))
        if self.l1:
            value += self.l1_of(theta)
        return value, grad

    def ask(self, what: str, point: np.ndarray, compute: Callable[[], Parts]) -> Parts:
        """What ``compute`` returns, arrays and floats, or its answer of the same run before an interruption.

        What a solver asks of the objective in this way is not asked again by a run that goes on from a checkpoint.
        """
        return compute() if self.journal is None else self.journal.ask(self.obj, what, point, compute)

    def curvature_here(self) -> Metric:
        """`hessian.metric_at` the current iterate. Takes a pass."""
        assert has_rows(self.obj)
        return metric_at(self.obj, self.theta, self.ask)

    def design(self, metric: Metric) -> Design:
        """`hessian.Design` of the run's objective."""
        assert has_rows(self.obj)
        design = Design(self.obj, metric)
        if self.journal is not None:
            design.rows = RepeatedDesign(design.rows, self.ask)
        return design

    def remember(self, theta: np.ndarray, value: float, grad: np.ndarray) -> None:
        """Store value and gradient at a point, so that `evaluate` takes no pass there."""
        self._cached = theta.copy(), value, grad  # a copy, since solvers overwrite their iterate in place

    def l1_of(self, theta: np.ndarray) -> float:
        """The term l1 sum |theta_jc| of the value."""
        return self.l1 * float(np.abs(self._penalized(theta)).sum())

    def penalty(self, theta: np.ndarray) -> float:
        """The l2 and l1 terms of the value."""
        weights = self._penalized(theta)
        return 0.5 * self.obj.l2 * float(np.vdot(weights, weights)) + self.l1 * float(np.abs(weights).sum())

    def penalty_gradient(self, theta: np.ndarray) -> np.ndarray:
        """The l2 term of the gradient."""
        out = np.zeros_like(theta)
        np.multiply(self._penalized(theta), self.obj.l2, out=self._penalized(out))
        return out

    def _penalized(self, theta: np.ndarray) -> np.ndarray:
        """theta, or a gradient, without the row of the bias: a view."""
        return theta[: len(self.moments.diagonal)]

    def change(self, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
        """Value at theta minus that of the current iterate, by `line_search.change`."""
        step = (theta - self.theta).ravel()
        return change(self.value, value, float(step @ self.grad.ravel()), float(step @ grad.ravel()))

    # ----------------------------------------------------------------------------------------------------- the loop

    def accept(self, theta: np.ndarray, evaluated: tuple[float, np.ndarray] | None = None) -> None:
        """Make theta the current iterate, record it and call the callback.

        A solver that has value and gradient at theta passes them as ``evaluated``. The run then keeps theta itself
        instead of a copy, and the solver must not write to it any more.

        Raises
        ------
        Stop
            If the run has converged, the callback asks for it, or `StoppingRule` has another reason.
        """
        value, grad = self.evaluate(theta) if evaluated is None else evaluated
        at = self.at = self.rule.iterate(theta.copy() if evaluated is None else theta, value, grad)
        if self.warm_start is not None and self.first_iterate is None:
            self.first_iterate = at.theta, value, grad
        self.rule.bound_gap(at, self._hessian_for_proof())
        step = Step(len(self.history), value, at.grad_norm, self.n_passes, self.seconds, at.gap_bound)
        self.history.append(step)
        if self.journal is not None:
            self.journal.iterate, self.journal.steps = self._iterate, step.iteration
        if self.callback is not None:
            self._call(self.callback, step)
        why = self.rule.no_minimum(at)
        if why is None:
            self._stop_if_over()
            why = self.rule.no_progress(at, step)
        if why is not None:
            self.stop(why)

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

    def stop_if_proven(self) -> None:
        """Called after the Hessian was made at the current iterate: end the run if that proves the gap to be within
        ``tol``, or if it had converged before."""
        self.rule.bound_gap(self.at, self._hessian_for_proof())
        self._record_gap()
        self._stop_if_over()

    def prove(self) -> None:
        """Prove the gap of a run that is near its end, as `StoppingRule.prove` does."""
        self.hessian_metric = self.rule.prove(self.at, self.hessian_metric, self.sample_metric)
        self._record_gap()
        if self.rule.some_separable:
            self.stop(QUASI_SEPARABLE)

    def stop(self, why: str) -> None:
        """End the run for a reason other than convergence."""
        self.why = why
        raise Stop

    def stop_at_rounding(self) -> None:
        """End the run where rounding hides any further progress."""
        self.stop(self.rule.rounding(len(self.history) - 1))

    def _call(self, callback: Callback, step: Step) -> None:
        """Call the callback, which may end the run."""
        try:
            callback(step)
        except StopIteration as error:
            reason = f" ({error})" if str(error) else ""
            self.stop(f"stopped by the callback{reason} after {counted(step.iteration, 'iteration')}")

    def _stop_if_over(self) -> None:
        """Raise `Stop` if the run has converged; if it is to be finished, where `finish` says so, which then proves."""
        if self.finish is not None and self.finish.active:
            if self.finish.is_over(self):
                raise Stop
        elif self.converged:
            self.prove()
            raise Stop

    def _hessian_for_proof(self) -> HessianMetric | None:
        """The exact Hessian, unless the gap will be proven by a later one at the end of a run that is finished."""
        if self.finish is not None and self.grad_norm**2 <= self.tol and self.finish.defers_proof(self):
            return None
        return self.hessian_metric

    def _record_gap(self) -> None:
        self.history[-1] = replace(self.history[-1], gap_bound=self.gap_bound)

    # -------------------------------------------------------------------------------------------- where the run is

    @property
    def theta(self) -> np.ndarray:
        return self.at.theta

    @property
    def value(self) -> float:
        return self.at.value

    @property
    def grad(self) -> np.ndarray:
        return self.at.grad

    @property
    def grad_norm(self) -> float:
        return self.at.grad_norm

    @property
    def gap_bound(self) -> float | None:
        return self.at.gap_bound

    @property
    def converged(self) -> bool:
        """Whether the current iterate has converged: see `StoppingRule.has_converged`."""
        return self.rule.has_converged(self.at)

    @property
    def proven(self) -> bool:
        """Whether the gap bound is at most ``tol``."""
        return self.rule.is_proven(self.at)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began if self.journal is None else self.journal.seconds

    def _centered(self, moments: Moments | None, donor: Run | None) -> tuple[Problem, Moments]:
        """The objective that solvers see, and its moments: as given, as those of a run to take them from, or by a
        pass."""
        obj = self.given
        if donor is not None:
            return donor.obj if donor.given is obj else obj, donor.moments
        return centered(obj, self.ask) if moments is None else (obj, moments)

    def _iterate(self) -> tuple[np.ndarray, float, np.ndarray]:
        """Theta, and what the objective answered there: without l1."""
        return self.theta, self.value - (self.l1_of(self.theta) if self.l1 else 0.0), self.grad

    @property
    def n_passes(self) -> int:
        repeated = 0 if self.journal is None else self.journal.passes
        return self.obj.n_passes - self._passes_before + repeated

    def result(self) -> Result:
        """The outcome. Convergence is that of the last iterate, for whatever reason the solver stopped."""
        theta = self.theta.reshape(self.obj.shape)
        return Result(
            theta=theta if self.obj is self.given else to_original(self.obj, theta),
            value=self.value,
            grad_norm=self.grad_norm,
            n_passes=self.n_passes,
            n_iter=len(self.history) - 1,
            converged=self.converged,
            message=self._message(),
            solver=self.solver,
            history=self.history,
            gap_bound=self.gap_bound,
        )

    def _message(self) -> str:
        counts = f"{counted(len(self.history) - 1, 'iteration')} and {counted(self.n_passes, 'pass')}"
        end = f"converged after {counts}: " if self.converged else f"{self.why}, with "
        message = f"{self.solver} {end}{self.rule.evidence(self.at)}"
        return f"{message} ({self.chosen})" if self.chosen else message
