r"""The end of a run: the last steps and the proof, by one exact Hessian, where that is cheap beside the run.

A run that has converged is within ``tol`` of the minimum, which says little of theta: the loss of m rows may be m tol
too large, and a standard error corresponds to 1/2. `anes96` (944 x 5, k = 7, Stata's coefficients are known) ended
3e-3 away in one of them. And L-BFGS ends by its gradient norm, since duality proves the gap only some hundred passes
later, if l2 is small.

With the Hessian at the point where a run has come near the minimum, a step or two find it, and the gradient there is so
small that duality, which goes with its square, proves the gap. Without a penalty the Hessian itself does (see
`geometry.hessian_metric`). So wherever a Hessian costs less than the steps that it saves, or next to nothing, a solver
stops once it is *near*, and this file goes on:

- with a Hessian at hand, near is where half of the squared Newton decrement is at most ``tol`` times the value, which
  is the gap if the Hessian still holds; else, where the gradient norm is at most `REACH` times ``tol`` and the Hessian
  costs less than what the norm has still to fall.
- The steps are those of L-BFGS from the Hessian, the first of which is Newton's, until the decrement is `ERROR`
  standard errors (at most that in each parameter), or rounding ends them.

Where the run is then not proven after all, the solver goes on and ends by itself.
"""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np

from ...objective.problem import ProblemWithRows, has_hessian, has_rows
from ..geometry.hessian_metric import ROUNDING_GRADIENT, HessianMetric
from ..methods.auto import PER_STEP, predict
from ..methods.lbfgs import search
from ..methods.newton import remove_class_shift
from ..run import Run, Stop

# A gradient norm of this times `tol` is where a Hessian is worth to be thought of.
REACH = 1000.0
# Steps with a Hessian, more as long as each multiplies the gradient norm by less than PACE, and most Hessians.
STEPS, PACE, HESSIANS = 3, 0.5, 3
# Operations of a step of L-BFGS for each parameter: digits take 0.19 ms a pass and 0.5 ms a step.
PER_PARAMETER = 5e3
# Operations of 0.04 ns for each number of the design matrix, which a Hessian makes of X: 43 ms for 10^6 x 11, where the
# kernel takes 21. Without them "nearly separable" with 10^6 rows took 140 ms in place of 65.
PER_NUMBER = 125.0
# If the run was not near enough, the solver goes on until the gradient norm has fallen by AGAIN; so often.
AGAIN, ATTEMPTS = 0.1, 2
# Lengths tried for a step: beyond the first few rounding has the say.
TRIALS = 3
# The decrement, in standard errors, that the steps are to reach; and that a run without a penalty must reach even where
# a Hessian is not cheap.
ERROR, ERROR_MAX = 1e-6, 1e-3
# A Hessian may cost this share of the run so far, or so many operations of 0.04 ns. Without a penalty it may cost more,
# since nothing else tells how far off theta is: lbfgs on "rare class" ended 0.04 standard errors away.
SHARE, SHARE_FREE, SMALL = 0.05, 0.15, 2.5e7


class Finish:
    """Decides when a run is near its end, and brings it there.

    Parameters
    ----------
    obj : ProblemWithRows

    Attributes
    ----------
    active : bool
        Whether this file has still to do with the run.
    """

    def __init__(self, obj: ProblemWithRows) -> None:
        cost = predict(obj)
        self.step: float = cost.one_pass + PER_STEP + PER_PARAMETER * obj.shape[0] * obj.shape[1]
        self.hessian: float = cost.newton_step + PER_NUMBER * obj.n_rows * obj.shape[0]
        self.active = math.isfinite(self.hessian)
        self._finishing = self._fresh = False
        self._made = self._tried = 0
        self._reach = math.inf
        # What the run would have cost in all, predicted where it came within `REACH`.
        self._budget = 0.0

    def is_over(self, run: Run) -> bool:
        """Whether the solver, or this file's own steps, should stop at the current iterate."""
        if not self._may_step(run):
            return run.converged
        if self._finishing:
            precise = not self._fresh or errors(run) <= max(ERROR, rounding(run))
            return run.converged and precise and (run.proven or run.obj.l2 == 0)
        if self._is_near(run):
            return True
        return run.converged and (run.obj.l2 > 0 or errors(run) <= max(ERROR_MAX, rounding(run)))

    def _may_step(self, run: Run) -> bool:
        """Not where a run is over at its start, or has made all of its steps."""
        return self.active and 1 < len(run.history) <= run.max_iter

    def defers_proof(self, run: Run) -> bool:
        """Whether there will be a Hessian at the end, so that the gap need not be proven by an earlier one."""
        return self._may_step(run) and (self._finishing or self._is_cheap(run))

    def _is_near(self, run: Run) -> bool:
        if run.hessian_metric is not None:
            small = run.grad_norm**2 <= run.tol and self._is_cheap(run)
            return small and decrement(run) ** 2 <= 2.0 * run.tol * run.value
        if not run.tol < run.grad_norm <= min(REACH * run.tol, self._reach):
            return run.converged and self._is_cheap(run)
        fallen = math.log(max(run.history[0].grad_norm / run.grad_norm, 1.0))
        saved = self._spent(run) * math.log(run.grad_norm / run.tol) / fallen if fallen else 0.0
        # In the metric of a sample the gradient falls faster near the end: "rare class", l2 = 1e-6, takes 20 to 24 ms
        # with the Hessian as early as for other runs.
        saved *= 0.5 if run.sample_metric is not None else 1.0
        self._budget = self._spent(run) + saved
        return self._is_cheap(run)

    def _spent(self, run: Run) -> float:
        made = self._made + (run.hessian_metric is not None)
        return (run.n_passes + 1) * self.step + made * self.hessian

    def _is_cheap(self, run: Run) -> bool:
        """Whether a Hessian costs less than the steps that it saves, or next to nothing."""
        spent, share = self._spent(run), SHARE if run.obj.l2 > 0 else SHARE_FREE
        return self.hessian + STEPS * self.step <= max(share * spent, SMALL, self._budget - spent)

    def __call__(self, run: Run) -> bool:
        """Take the last steps and prove the gap, as far as that is cheap. False if the solver is to go on."""
        if not self._may_step(run):
            if self.active and run.converged and not run.why:
                with suppress(Stop):
                    run.prove()
            return True
        given, had, at = run.hessian_metric, run.converged, (run.theta, run.value, run.grad)
        with suppress(Stop):
            self._finishing = True
            self._steps(run)
        self._finishing = False
        if had and not run.converged and not run.why:  # rounding led away, as where the value goes to 0
            self.active = False
            with suppress(Stop):
                run.accept(at[0], (at[1], at[2]))
        with suppress(Stop):
            if (run.converged or decrement(run) ** 2 <= 2.0 * run.tol * run.value) and not run.why:
                run.prove()
        if not run.converged:
            self._tried += 1
            self.active &= self._tried < ATTEMPTS
            self._reach, run.hessian_metric = AGAIN * run.grad_norm, given and run.hessian_metric
        return run.converged or bool(run.why)

    def _steps(self, run: Run) -> None:
        """Steps from one Hessian or some; `Run.accept` raises `Stop` at the end."""
        newtons = run.hessian_metric is not None
        for _ in range(HESSIANS):
            self._fresh = self._has_fresh_hessian(run)
            if run.hessian_metric is None or not (self._fresh or self.step <= SHARE * self._spent(run)):
                return
            if newtons and self._fresh and run.obj.l2 == 0:
                run.prove()
                if not run.proven:  # there may be no minimum, which is for the solver to find out
                    self.active = False
                    return
            before = decrement(run)
            search(run, run.hessian_metric, STEPS, pace=PACE, trials=TRIALS)
            if not decrement(run) < 0.5 * before:
                return

    def _has_fresh_hessian(self, run: Run) -> bool:
        """Compute the Hessian at the current iterate, unless it is there; False if it costs too much."""
        latest = run.hessian_metric
        if latest is None or latest.theta is not run.theta:
            if not self._is_cheap(run):
                return False
            remove_class_shift(run)  # which the Hessian's metric leaves as it is
            assert has_hessian(run.obj)
            design = run.design(run.metric) if latest is None else latest.design
            self._made += latest is not None
            run.hessian_metric = HessianMetric(run.obj, run.theta, design)
        assert run.hessian_metric is not None
        return bool(np.isfinite(run.hessian_metric.ridge))


def decrement(run: Run) -> float:
    """The Newton decrement of a run's iterate, by the best approximation of the Hessian there is."""
    exact = run.sample_metric if run.hessian_metric is None else run.hessian_metric
    if exact is not None:
        return float(np.linalg.norm(exact.to_phi_gradient(run.grad)))
    if run.curvature_metric is not None:
        return run.curvature_metric.size(run.grad)
    # Where no class is likelier than another the curvature is 1 / k in place of the bound's 1 / 2.
    return run.metric.size(run.grad) * math.sqrt(0.5 * run.theta.shape[1])


def errors(run: Run) -> float:
    """The decrement in standard errors of m rows: no parameter is farther from the minimum than so many of its own."""
    return decrement(run) * _root_rows(run)


def rounding(run: Run) -> float:
    """What the rounding of the gradient may make of `errors`: a row's residual has a norm of at most sqrt(2 loss)."""
    return ROUNDING_GRADIENT * run.moments.eps * math.sqrt(2.0 * run.value * run.theta.size) * _root_rows(run)


def _root_rows(run: Run) -> float:
    assert has_rows(run.obj)
    return math.sqrt(max(run.obj.n_rows, run.obj.weight_sum))
