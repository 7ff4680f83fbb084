"""Solvers: `minimize`, and the table of methods behind it.

A solver is a module with one function, ``solve(run)``: from ``run.theta`` it chooses points, asks
``run.evaluate`` for value and gradient and hands every new iterate to ``run.accept``, which ends the
run. A new method is a file and a row of the table.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike

from .. import validation
from .result import Callback, Problem, Result, Run, Step, Stop

__all__ = ["SOLVERS", "Result", "Step", "minimize", "select"]


@dataclass(frozen=True)
class Solver:
    """A row of the table: where a method lives and what it is."""

    name: str
    module: str
    what: str

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


SOLVERS: dict[str, Solver] = {
    s.name: s
    for s in (
        Solver("lbfgs", "fastsoftmax.solvers.lbfgs", "limited-memory quasi-Newton"),
        Solver("gradient_descent", "fastsoftmax.solvers.gradient_descent", "constant step 1/L"),
    )
}
_AUTO = "lbfgs"


def select(name: str = "auto") -> tuple[str, ModuleType]:
    """The solver called ``name`` and its name; "auto" is L-BFGS.

    Raises
    ------
    ValueError
        If there is no solver of that name.
    """
    name = _AUTO if name == "auto" else name
    if not isinstance(name, str) or name not in SOLVERS:
        raise ValueError(f"solver must be one of 'auto', {', '.join(map(repr, SOLVERS))}; got {name!r}")
    return name, SOLVERS[name].load()


def minimize(
    obj: Problem,
    *,
    solver: str = "auto",
    theta0: ArrayLike | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    callback: Callback | None = None,
) -> Result:
    """Solve for theta: minimise an objective until the largest entry of its gradient is at most ``tol``.

    The objective is a weighted mean over rows plus the penalty, so ``tol`` does not depend on the
    number of rows; it does depend on the scale of X's columns.

    Parameters
    ----------
    obj : Objective
        Or anything with ``shape``, ``n_passes``, ``l2``, ``value_and_grad`` and ``gram``.
    solver : {"auto", "lbfgs", "gradient_descent"}
        "auto" is "lbfgs".
    theta0 : array_like, shape of obj or flat, optional
        The start; zeros unless given.
    tol : float
        Bound on max |gradient| at which to stop, above 0. Where rounding makes it unreachable the run
        ends all the same, with ``converged`` false and the reason in ``message``.
    max_iter : int
        Steps at most.
    callback : callable, optional
        Called with a `Step` for the start and after every step. Raising StopIteration ends the
        run; its text becomes part of the message.

    Returns
    -------
    Result
        theta (float64, shape of obj), value, grad_norm, n_passes, n_iter, converged, message,
        solver, history. ``converged`` is ``grad_norm <= tol`` at the theta returned.

    Raises
    ------
    TypeError, ValueError
        For an unknown solver, or an argument of a wrong type, shape or value.

    Examples
    --------
    >>> import fastsoftmax
    >>> obj = fastsoftmax.Objective([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], fit_intercept=True)
    >>> res = fastsoftmax.minimize(obj)
    >>> res.converged, res.theta.shape
    (True, (2, 2))
    """
    name, module = select(solver)
    tol = validation.check_real(tol, "tol", positive=True)
    max_iter = validation.check_count(max_iter, "max_iter")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")
    run = Run(obj, tol=tol, max_iter=max_iter, callback=callback)
    try:
        run.accept(_start(obj, theta0))
        module.solve(run)
    except Stop:
        pass
    return run.result(name)


def _start(obj: Problem, theta0: ArrayLike | None) -> np.ndarray:
    """theta0 as float64 in the objective's shape."""
    rows, k = obj.shape
    if theta0 is None:
        return np.zeros((rows, k))
    bias = bool(getattr(obj, "fit_intercept", False))
    return validation.check_theta(theta0, rows - bias, k, bias, "theta0").astype(np.float64)
