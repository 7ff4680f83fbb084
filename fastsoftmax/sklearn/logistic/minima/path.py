"""Minima for a list of C, as scikit-learn's ``_logistic_regression_path`` returns them.

Small problems are for `small`; what is said here is of the rest, and of what does not go smoothly there.

The strongest penalty comes first, and each run goes on from what those before it found (`solvers.warm_start`). A run
ends where both criteria hold: our own, a relative gap of `TOL`, and scikit-learn's, no entry of the gradient above tol.
Where only the first does, the run goes on from there.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ....solvers.certificates.separation import separable_below
from ....solvers.geometry.centering import to_centered, to_original
from ....solvers.minimize import blas_for, run_solver
from ....solvers.result import Step
from ....solvers.run import Run
from ....solvers.run.blas import one_thread
from ....solvers.warm_start import WarmStart
from ..call import FEW_STEPS, Call, few_steps
from ..objective import Data, Logistic, data, logistic
from ..progress import Progress, wants_progress
from .absent import of_present, present_of, with_absent
from .polish import polished
from .small import Minimum, Small, small

# Our own tolerance, for a relative gap of the objective.
TOL = 1e-6
# Where the gradient is still too large, the tolerance falls by what is missing and by this, to no less than SMALLEST;
# and the run ends where that lowered the gradient to no less than PROGRESS of what it was.
MARGIN, SMALLEST, PROGRESS = 0.3, 1e-15, 0.7
# Separable classes without a penalty: theta grows until the gradient is this share of tol, so that the loss, about as
# large, is below that of a solver which ends at tol.
FAR_OUT = 0.1


class Declined(Exception):
    """Raised where scikit-learn's own code may end lower: after few steps of lbfgs, unless the problem is small; and
    where a run can make no more progress though neither criterion holds, as without a penalty on float32 columns that
    depend on each other."""


def fit_path(call: Call) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (Cs, ...), the Cs, and steps (Cs,) of each, as scikit-learn's function returns them."""
    Cs = np.asarray(np.logspace(-4, 4, call.Cs) if np.ndim(call.Cs) == 0 else call.Cs)
    rows = data(call)
    present = present_of(call, rows)
    if present.all():
        coefs, n_iter = _minima(call, rows, Cs)
    elif present.sum() > 1:
        coefs, _, n_iter = fit_path(of_present(call, rows, Cs, present))
        coefs = with_absent(coefs, rows, present)
    else:
        zeros, n_iter = np.zeros((len(Cs), 1, rows.X.shape[1] + 1), call.X.dtype), np.zeros(len(Cs), np.int32)
        coefs = with_absent(zeros, rows, present)
    return coefs, Cs, n_iter


def _minima(call: Call, rows: Data, Cs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`fit_path` for each of some Cs, of classes that all have rows."""
    n_iter = np.zeros(len(Cs), np.int32)
    coefs: dict[int, np.ndarray] = {}
    quick, path = _Quick.of(call, rows), None
    for i in np.argsort(Cs, kind="stable"):
        found = None if quick is None else quick.minimum(float(Cs[i]))
        if found is not None:
            coef, n_iter[i] = found.coef[0] if rows.k == 2 else found.coef, found.n_iter
        else:
            if call.max_iter <= FEW_STEPS and not call.has_callbacks:
                raise Declined(few_steps(call))
            path = _Path(call, logistic(call, rows)) if path is None else path
            with blas_for(path.model.obj):
                theta, n_iter[i] = path.minimum(float(Cs[i]), None if quick is None else quick.progress)
            coef = path.model.to_coef(theta)
        coefs[i] = coef.astype(call.X.dtype)
    return np.stack([coefs[i] for i in range(len(Cs))]), np.minimum(n_iter, call.max_iter)


def fit_objective(call: Call, model: Logistic) -> tuple[np.ndarray, int]:
    """Coefficients with the intercept last, as `Logistic.to_coef` has them, and steps, for the only C of a call whose
    rows are elsewhere: X and y are not read."""
    with blas_for(model.obj):
        theta, n_iter = _Path(call, model).minimum(float(call.Cs[0]))
    return model.to_coef(theta), n_iter


class _Quick:
    """The minima of a problem that is small, each found from the one before.

    ``progress`` is what the last one was told to, if anybody listens.
    """

    def __init__(self, call: Call, rows: Data, problem: Small) -> None:
        self.call, self.rows, self.problem = call, rows, problem
        self.progress: Progress | None = None
        self._start: np.ndarray | None = None

    @classmethod
    def of(cls, call: Call, rows: Data) -> _Quick | None:
        """None for a problem that is large, is not smooth, or does not begin at zero."""
        if call.coef is not None or call.l1_share or rows.column is not None or not isinstance(rows.X, np.ndarray):
            return None
        with one_thread():
            problem = small(rows.X, rows.codes, rows.k, rows.w, rows.bias)
        return None if problem is None else cls(call, rows, problem)

    def minimum(self, C: float) -> Minimum | None:
        """As `Small.minimum`, with scikit-learn's warning."""
        call = self.call
        wanted, began = wants_progress(call), time.perf_counter()
        progress = self.progress = Progress(call, logistic(call, self.rows)) if wanted else None

        def told(step: int, value: float, coef: np.ndarray) -> None:
            assert progress is not None
            progress.tell(step, value, time.perf_counter() - began, coef)

        with one_thread():
            strength = 1.0 / (C * self.rows.weight_sum)
            # Steps of Newton's method need be no more than those of lbfgs.
            most = call.max_iter if call.solver == "lbfgs" else call.most_steps
            found = self.problem.minimum(strength, self._start, call.tol, most, told if wanted else None)
        if found is None:
            return None
        self._start = found.c
        if progress is not None:
            progress.close_at(found.coef)
        if found.slope > call.tol and not (progress is not None and progress.stopped):
            _warn(call, found.value, found.n_iter, found.slope)
        return found


class _Path:
    """The runs of one objective for several C, from the smallest C to the largest."""

    def __init__(self, call: Call, model: Logistic) -> None:
        self.call, self.model = call, model
        self.warm_start = WarmStart() if np.size(call.Cs) > 1 or np.ndim(call.Cs) == 0 else None

    def minimum(self, C: float, progress: Progress | None = None) -> tuple[np.ndarray, int]:
        """Theta, and the steps to it. ``progress``: what has been told of this C already."""
        call, model = self.call, self.model
        l1 = model.set_C(C)
        progress = Progress(call, model) if progress is None else progress
        run, done, tol, before, most = None, 0, TOL, np.inf, call.most_steps
        while True:
            run, converged = self._run(run, tol, most - done, l1, progress)
            done = min(done + len(run.history) - 1, most)
            slope = model.slope(run.theta, run.grad, l1)
            stuck = slope > PROGRESS * before or run.value == 0.0 or tol <= SMALLEST
            if slope <= call.tol or done >= most or progress.stopped or stuck:
                break
            before, tol = slope, max(_smaller(run, call.tol / slope), SMALLEST)
        theta = to_original(run.obj, run.theta)
        if done < most and run.value < separable_below(run.obj):
            theta, slope, steps = self._scaled(theta, slope, most - done)
            done += steps
        if l1 and slope > call.tol and done < most and model.column is None:
            theta, slope = polished(model, theta, l1, call.tol)
        progress.close(theta)
        if self.warm_start is not None:
            self.warm_start.keep(run)
        if not (slope <= call.tol or (converged and stuck) or progress.stopped):
            if done < most and not l1 and progress.tasks is None:
                raise Declined(f"rounding ended the fit where an entry of the gradient was {slope:.2g}")
            _warn(call, run.value, done, slope)
        return theta, done

    def _scaled(self, theta: np.ndarray, slope: float, most: int) -> tuple[np.ndarray, float, int]:
        """Theta that tells all rows apart, scaled up until the gradient is small, which then falls exponentially; that
        gradient; and the steps. scikit-learn's solvers end at such a theta too, where there is no minimum."""
        steps = 0
        while slope > FAR_OUT * self.call.tol and steps < most:
            theta, steps = 2.0 * theta, steps + 1
            slope = self.model.slope(theta, self.model.obj.value_and_grad(theta)[1], 0.0)
        return theta, slope, steps

    def _run(self, last: Run | None, tol: float, steps: int, l1: float, progress: Progress) -> tuple[Run, bool]:
        """A run to a tolerance, from the end of the last one if there was one. It then ends where no entry of the
        gradient is above scikit-learn's tol."""

        def callback(step: Step) -> None:
            if progress.wanted:
                progress(step, to_original(run.obj, run.theta))
            if last is not None and self.model.slope(run.theta, run.grad, l1) <= self.call.tol:
                raise StopIteration("no entry of the gradient is above tol")

        run = Run(
            self.model.obj,
            tol=tol,
            max_iter=steps,
            callback=callback if progress.wanted or last is not None else None,
            l1=l1,
            warm_start=self.warm_start,
            similar_run=last,
        )
        if last is not None:
            theta = last.theta
            run.remember(theta, last.value, last.grad)
        elif self.warm_start is not None and self.warm_start.points:
            theta = self.warm_start.start(run)
        else:
            theta = to_centered(run.obj, self.model.to_theta(self.call.coef))
        return run, run_solver(run, theta, "auto").converged


def _smaller(run: Run, share: float) -> float:
    """The tolerance at which a run's gradient is expected to be that share of what it is."""
    norm = run.grad_norm * share
    gap = np.inf if run.gap_bound is None else run.gap_bound * share * share
    return MARGIN * min(norm, gap, run.tol)


# How scikit-learn's warnings begin, by solver.
_WARNINGS = {
    "lbfgs": "lbfgs failed to converge after {done} iteration(s) (status=1): ",
    "newton-cg": "newton-cg failed to converge at loss = {value:.6g}. Increase the number of iterations. ",
    "newton-cholesky": "Newton solver did not converge after {done} iterations. ",
    "sag": "The max_iter was reached which means the coef_ did not converge. ",
}
_WARNINGS["liblinear"] = "Liblinear failed to converge, increase the number of iterations. "
_WARNINGS["saga"] = _WARNINGS["sag"]


def _warn(call: Call, value: float, done: int, slope: float) -> None:
    text = _WARNINGS[call.solver].format(done=min(done, call.max_iter), value=value)
    text += f"The largest entry of the gradient is {slope:.3g}, where tol={call.tol:.3g} was asked for.\n"
    if done >= call.most_steps:
        text += f"Increase the number of iterations to improve the convergence (max_iter={call.max_iter}).\n"
    text += (
        "You might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html\n"
        "Please also refer to the documentation for alternative solver options:\n"
        "    https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression"
    )
    warnings.warn(text, ConvergenceWarning, stacklevel=2)
