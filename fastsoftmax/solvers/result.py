"""What a run tells: `Step`, after each step, and `Result`, at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Step:
    """One accepted iterate, as the callback gets it and `Result.history` keeps it.

    Attributes
    ----------
    iteration : int
        0 is the start.
    value : float
    grad_norm : float
        Size of the gradient, independent of the units of X: sqrt(g^T M^-1 g / (2 value)), see `solvers.run.stopping`.
    n_passes : int
        Passes over X since the start.
    seconds : float
        Wall time since the start.
    gap_bound : float or None
        (value - minimum) / value is at most this. None where no bound is known, as without a penalty until an exact
        Hessian has been computed.
    """

    iteration: int
    value: float
    grad_norm: float
    n_passes: int
    seconds: float
    gap_bound: float | None = None


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
        Size of the gradient at theta, independent of the units of X: sqrt(g^T M^-1 g / (2 value)).
    gap_bound : float or None
        (value - minimum) / value is at most this, by duality or by an exact Hessian; None where neither gives a bound.
    n_passes : int
        Passes over X, including those for Gram and Hessian matrices.
    n_iter : int
        Steps taken.
    converged : bool
        Whether ``grad_norm <= tol`` or ``gap_bound <= tol``; always False where a minimum is known not to exist.
    message : str
        What happened, in a sentence.
    solver : str
        The method that ran.
    history : list of Step
        The start and every step.
    resumed : str
        Where the run went on from a checkpoint, and whether its bits are those of a run without the interruption; empty
        if it began anew.
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
    gap_bound: float | None = None
    resumed: str = ""


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural unless the number is 1."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{'' if number == 1 else plural}"
