"""What a solver is given and what comes out: `Objective`'s interface, `Step`, `Result` and `Run`.

A `Run` is the part all solvers share: it evaluates the objective, records every accepted
iterate, calls the caller's callback, and decides when to stop. A solver only chooses the next point.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

# Passes without a new low of the value or of the gradient after which only rounding is left.
PATIENCE = 50


class Problem(Protocol):
    """All that a solver may use of an objective; `fastsoftmax.Objective` has it."""

    shape: tuple[int, int]
    n_passes: int
    l2: float

    def value_and_grad(self, theta: np.ndarray, /) -> tuple[float, np.ndarray]: ...

    def gram(self) -> np.ndarray: ...


@dataclass(frozen=True)
class Step:
    """One accepted iterate, as the callback gets it and `Result.history` keeps it.

    Attributes
    ----------
    iteration : int
        0 is the start.
    value : float
    grad_norm : float
        Largest absolute entry of the gradient.
    n_passes : int
        Passes over X since the start.
    seconds : float
        Wall time since the start.
    """

    iteration: int
    value: float
    grad_norm: float
    n_passes: int
    seconds: float


Callback = Callable[[Step], Any]


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of `fastsoftmax.minimize`.

    Attributes
    ----------
    theta : float64 ndarray, shape of the objective
    value : float
        The objective at theta.
    grad_norm : float
        Largest absolute entry of the gradient at theta.
    n_passes : int
        Passes over X, those for a step size included.
    n_iter : int
        Steps taken.
    converged : bool
        Whether ``grad_norm <= tol``; nothing else counts.
    message : str
        What happened, in a sentence.
    solver : str
        The method that ran.
    history : list of Step
        The start and every step.
    """

    theta: np.ndarray
    value: float
    grad_norm: float
    n_passes: int
    n_iter: int
    converged: bool
    message: str
    solver: str
    history: list[Step] = field(repr=False)


class Stop(Exception):
    """Raised by `Run.accept` where the run is over."""


class Run:
    """One minimisation: the objective, when to stop, and the iterates so far.

    Parameters
    ----------
    obj : Problem
    theta : float64 ndarray, shape of the objective
        The start; it is evaluated and recorded here, which may already `Stop` the run.
    """

    def __init__(self, obj: Problem, *, tol: float, max_iter: int, callback: Callback | None) -> None:
        self.obj, self.tol, self.max_iter, self.callback = obj, tol, max_iter, callback
        self.history: list[Step] = []
        self.why = ""
        self._passes_before = obj.n_passes
        self._began = time.perf_counter()
        self._tried: tuple[np.ndarray, float, np.ndarray] | None = None
        self._lowest_value = self._lowest_norm = np.inf
        self._lowest_at = 0

    def evaluate(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """Value and gradient; the last point asked for, and the last accepted, cost no second pass."""
        if self._tried is not None and np.array_equal(theta, self._tried[0]):
            return self._tried[1:]
        if self.history and np.array_equal(theta, self.theta):
            return self.value, self.grad
        value, grad = self.obj.value_and_grad(theta)
        # A copy: solvers overwrite their iterate in place.
        self._tried = theta.copy(), value, grad
        return value, grad

    def accept(self, theta: np.ndarray) -> None:
        """Make theta the current iterate, record it and tell the callback.

        Raises
        ------
        Stop
            If theta is good enough, the callback has had enough, or no iteration or `PATIENCE` is left.
        """
        self.value, self.grad = self.evaluate(theta)
        self.theta = theta.copy()
        self.grad_norm = float(np.abs(self.grad).max())
        step = Step(len(self.history), self.value, self.grad_norm, self.n_passes, time.perf_counter() - self._began)
        self.history.append(step)
        if self.callback is not None:
            try:
                self.callback(step)
            except StopIteration as error:
                reason = f" ({error})" if str(error) else ""
                self.stop(f"stopped by the callback{reason} after {_count(step.iteration, 'iteration')}")
        if self.grad_norm <= self.tol:
            raise Stop
        if step.iteration >= self.max_iter:
            self.stop(f"stopped at max_iter = {self.max_iter}")
        if self.value < self._lowest_value or self.grad_norm < self._lowest_norm:
            self._lowest_at = step.n_passes
        elif step.n_passes - self._lowest_at >= PATIENCE:
            self.stop_at_rounding()
        self._lowest_value = min(self.value, self._lowest_value)
        self._lowest_norm = min(self.grad_norm, self._lowest_norm)

    def stop(self, why: str) -> None:
        """End the run for a reason other than convergence."""
        self.why = why
        raise Stop

    def stop_at_rounding(self) -> None:
        """End the run where neither value nor gradient gets any smaller."""
        n_iter = _count(len(self.history) - 1, "iteration")
        self.stop(f"can make no more progress after {n_iter} because rounding hides any lower value")

    @property
    def n_passes(self) -> int:
        return self.obj.n_passes - self._passes_before

    def result(self, solver: str) -> Result:
        """Convergence and message are derived from the last accepted iterate, not from why the solver stopped."""
        n_iter = len(self.history) - 1
        converged = self.grad_norm <= self.tol
        if converged:
            counts = f"{_count(n_iter, 'iteration')} and {_count(self.n_passes, 'pass')}"
            message = f"{solver} converged after {counts}: gradient norm {self.grad_norm:.3g} <= tol {self.tol:.3g}"
        else:
            message = f"{solver} {self.why}, with gradient norm {self.grad_norm:.3g} > tol {self.tol:.3g}"
        return Result(
            theta=self.theta.reshape(self.obj.shape),
            value=self.value,
            grad_norm=self.grad_norm,
            n_passes=self.n_passes,
            n_iter=n_iter,
            converged=converged,
            message=message,
            solver=solver,
            history=self.history,
        )


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"
