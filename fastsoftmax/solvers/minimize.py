"""`minimize`, and the table of methods behind it.

A method is a module with one function, ``solve(run)``: from ``run.theta`` it chooses points, asks ``run.evaluate`` for
value and gradient and hands every new iterate to ``run.accept``, which raises `Stop` where the run is over. A new
method is a file in ``methods`` and a row of the table.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data import validation
from ..objective.objective import Objective
from ..objective.problem import Problem, has_hessian
from .checkpoint import Checkpoint
from .checkpoint.journal import Journal
from .checkpoint.keep import kept
from .geometry.centering import to_centered
from .geometry.hessian import has_own_passes
from .result import Callback, Result
from .run import Run, Stop
from .run.blas import one_thread
from .stages.finish import Finish
from .stages.first_steps import ends_early, take_first_steps, take_first_steps_alone


@dataclass(frozen=True)
class Solver:
    """A row of the table: a method's name, its module, and a line on what it does."""

    name: str
    module: str
    what: str

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


SOLVERS: dict[str, Solver] = {
    s.name: s
    for s in (
        Solver("lbfgs", "fastsoftmax.solvers.methods.lbfgs", "limited-memory quasi-Newton"),
        Solver("newton", "fastsoftmax.solvers.methods.newton", "exact Hessian, and L-BFGS between two of them"),
        Solver("newton_cg", "fastsoftmax.solvers.methods.newton_cg", "truncated Newton on Hessian products"),
        Solver("sgd", "fastsoftmax.solvers.methods.sgd", "averaged mini-batch gradients"),
        Solver("gradient_descent", "fastsoftmax.solvers.methods.gradient_descent", "constant step 1/L"),
    )
}


def select(name: str = "auto") -> tuple[str, ModuleType]:
    """The name and module of a solver. "auto" is `methods.auto`, which chooses a method for the problem it gets.

    Raises
    ------
    ValueError
        If there is no solver of that name.
    """
    if name == "auto":
        return name, importlib.import_module("fastsoftmax.solvers.methods.auto")
    if not isinstance(name, str) or name not in SOLVERS:
        raise ValueError(f"solver must be one of 'auto', {', '.join(map(repr, SOLVERS))}; got {name!r}")
    return name, SOLVERS[name].load()


def minimize(
    obj: Problem,
    *,
    solver: str = "auto",
    l1: float = 0.0,
    theta0: ArrayLike | None = None,
    tol: float = 1e-6,
    max_iter: int = 1000,
    callback: Callback | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
    precision: str | None = None,
) -> Result:
    """Minimize an objective over theta, to a relative gap that does not depend on the units of X.

    A run has converged where one of two numbers is at most ``tol``: ``gap_bound``, a proven upper bound on
    (value - minimum) / value, which needs a penalty or an exact Hessian; or ``grad_norm``,
    sqrt(g^T M^-1 g / (2 value)) with M a bound on the Hessian, the size of the gradient independent of the units of
    X. The second is no proof, but the gap goes with its square: see `solvers.run.stopping`. Whatever the solver,
    the run ends with the steps and the proof of an exact Hessian where that is cheap (`solvers.stages.finish`), so
    that theta of small problems has six right digits or more with any ``tol``. ``message`` says where nothing is
    proven. Where an objective has passes that are cheaper and less precise, first steps of L-BFGS may go by these
    (`solvers.stages.first_steps`); what decides and what is returned never does. Of an objective with
    ``precision="bfloat16"`` the run ends there.

    Parameters
    ----------
    obj : Objective
        Or anything with ``shape``, ``n_passes``, ``l2``, ``fit_intercept``, ``value_and_grad`` and ``gram``; newton_cg
        also needs ``hess_prod``, newton sweeps over the rows, sgd the rows: see `fastsoftmax.objective.problem`. X may
        be sparse. Where there is an intercept
        and columns lie far from zero (90 standard deviations in float32), passes read a centered copy: see
        `solvers.geometry.centering`.
    solver : {"auto", "lbfgs", "newton", "newton_cg", "sgd", "gradient_descent"}
        "auto" takes newton or lbfgs, whichever is predicted to be faster, and newton after lbfgs where that converges
        slowly; for sparse X, newton_cg or lbfgs. ``message`` says what it took and why. newton needs dense X. "sgd"
        comes within 1 % of the minimum in a few passes where there are many rows, but not to 1e-6: give it a
        ``max_iter`` (each of its steps is a walk over X) or a larger ``tol``.
    l1 : float
        Strength of a penalty l1 sum |theta_jc| (bias left out) beside the objective's own l2. Above 0 it makes some
        parameters exactly 0, and has a method of its own (``solver`` must be "auto"). ``value`` includes it.
    theta0 : array_like, shape of obj or flat, optional
        The start; zeros unless given.
    tol : float
        Tolerance as described above; positive. Where rounding makes it unreachable the run ends all the same, with
        ``converged`` false and the reason in ``message``.
    max_iter : int
        Most steps.
    callback : callable, optional
        Called with a `Step` for the start and after every step. Raising StopIteration ends the
        run; its text becomes part of the message. A run that goes on from a checkpoint calls it for the steps before
        as well.
    checkpoint : path or Checkpoint, optional
        A file to keep the run in while it goes on, so that another call can go on where this one was interrupted: see
        `Checkpoint`.
    precision : {"exact", "bfloat16"}, optional
        Of an `Objective`, in place of its own. "bfloat16": the run ends where passes in bfloat16 tell no more, if this
        machine has faster ones.

    Returns
    -------
    Result
        theta (float64, shape of obj), value, grad_norm, gap_bound, n_passes, n_iter, converged, message,
        solver, history. Separable classes have no minimum without a penalty: then ``converged`` is false and the
        message says why. Where only some classes are separable from the others, newton detects it.

    Raises
    ------
    TypeError, ValueError
        For an unknown solver, or an argument of a wrong type, shape or value; for a checkpoint of other data or
        options, and for one that is damaged.
    FileExistsError
        If the checkpoint is there already and is not to be gone on from.

    Examples
    --------
    >>> import fastsoftmax
    >>> obj = fastsoftmax.Objective([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1], fit_intercept=True)
    >>> res = fastsoftmax.minimize(obj)
    >>> res.converged, res.theta.shape
    (True, (2, 2))
    """
    check_options(solver, l1, tol, max_iter, callback)
    if precision is not None and not isinstance(obj, Objective):
        raise TypeError(f"precision is an option of an Objective; obj is a {type(obj).__name__}")
    asked: Any = nullcontext(obj) if precision is None else obj.in_precision(precision)  # type: ignore[attr-defined]
    with asked as problem:
        return minimize_from(
            problem,
            _start(obj, theta0),
            lambda run: callback,
            solver=solver,
            l1=l1,
            tol=tol,
            max_iter=max_iter,
            checkpoint=checkpoint,
        )


def minimize_from(
    obj: Problem,
    theta: np.ndarray,
    callback_of: Callable[[Run], Callback | None],
    *,
    solver: str,
    l1: float,
    tol: float,
    max_iter: int,
    checkpoint: str | Path | Checkpoint | None,
) -> Result:
    """`minimize` with options that `check_options` has passed, and a callback that is made for the run."""

    def run_from(start: np.ndarray | None, steps: int, journal: Journal | None = None) -> Result:
        """``start``: in the coordinates of the run; None for theta."""
        run = Run(obj, tol=tol, max_iter=steps, callback=None, l1=l1, journal=journal)
        run.callback = callback_of(run)
        if start is None:
            start = theta if run.obj is obj else to_centered(run.obj, theta)
        return run_solver(run, start, solver)

    # Sums of squares of huge gradients overflow to infinity, which every test of a step and of a bound takes as it is.
    with blas_for(obj), np.errstate(over="ignore"):
        if checkpoint is None:
            return run_from(None, max_iter)
        options = {"solver": solver, "l1": l1, "tol": tol}
        return kept(Checkpoint.of(checkpoint), obj, theta, options, max_iter, run_from)


def check_options(solver: str, l1: float, tol: float, max_iter: int, callback: Callback | None) -> None:
    """Raise TypeError or ValueError for options that `minimize` does not take."""
    validation.check_real(tol, "tol", positive=True)
    validation.check_count(max_iter, "max_iter")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable or None; got {callback!r}")
    validation.check_real(l1, "l1")
    select(solver)
    if l1 > 0 and solver != "auto":
        raise ValueError(f"solver must be 'auto' where l1 is above 0, which takes a method of its own; got {solver!r}")


def blas_for(obj: Problem) -> AbstractContextManager[Any]:
    """The context of a run: `run.blas.one_thread`, unless the objective's own passes may be BLAS, as NumPy's are."""
    return one_thread() if getattr(obj, "backend", "numpy") != "numpy" else nullcontext()


def run_solver(run: Run, theta: np.ndarray, solver: str, *, finished: bool = True) -> Result:
    """Run a solver from theta to the end; with ``finished`` it takes the last steps of `finish`. The
    caller has entered `blas_for`."""
    name, module = ("l1", importlib.import_module("fastsoftmax.solvers.methods.l1")) if run.l1 else select(solver)
    # A run that has converged at the start chose no method: for "auto" it reports the most frequent one.
    run.solver = "lbfgs" if name == "auto" else name
    early = ends_early(run)
    if finished and not run.l1 and not early and has_hessian(run.obj) and has_own_passes(run.obj):
        run.finish = Finish(run.obj)
    with suppress(Stop):
        run.accept(theta)
        if early:
            take_first_steps_alone(run)
        if name == "lbfgs":
            module.solve(run, pairs=take_first_steps(run))
        else:
            module.solve(run)
    while run.finish is not None and not run.why and not run.finish(run):
        with suppress(Stop):
            module.solve(run)
    return run.result()


def _start(obj: Problem, theta0: ArrayLike | None) -> np.ndarray:
    """theta0 as float64 in the objective's shape."""
    rows, k = obj.shape
    if theta0 is None:
        return np.zeros((rows, k))
    bias = bool(getattr(obj, "fit_intercept", False))
    return validation.check_theta(theta0, rows - bias, k, bias, "theta0").astype(np.float64)
