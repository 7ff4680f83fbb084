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
from typing import TYPE_CHECKING, Any

import numpy as np

from ..geometry.hessian import Design
from ..geometry.hessian_metric import HessianMetric

if TYPE_CHECKING:
    from ..methods.auto import Cost
    from ..run import Run

# A gradient norm of this times `tol` is where a Hessian is worth to be thought of.
REACH = 1000.0
# Steps with a Hessian, more as long as each multiplies the gradient norm by less than PACE, and most Hessians.
STEPS, PACE, HESSIANS = 3, 0.5, 3
# Operations of a step of L-BFGS for each parameter: digits take 0.19 ms a pass and 0.5 ms a step.
PER_PARAMETER = 5e3
# If the run was not near enough, the solver goes on until the gradient norm has fallen by AGAIN; so often.
AGAIN, ATTEMPTS = 0.1, 2
# Lengths tried for a step: beyond the first few rounding has the say.
TRIALS = 3
# The decrement, in standard errors, that the steps are to reach; and that a run without a penalty must reach even where
# a Hessian is not cheap.
ERROR, ERROR_MAX = 1e-6, 1e-3
# A Hessian may cost this share of the run so far, or so many operations of 0.04 ns.
SHARE, SMALL = 0.05, 2.5e7


class Finish:
    """Decides when a run is near its end, and brings it there.

    Parameters
    ----------
    cost : Cost
        What passes and Hessians cost.
    per_step : float
        Operations that a step takes beside its pass, and beside those that go with the number of ``parameters``.

    Attributes
    ----------
    active : bool
        Whether this file has still to do with the run.
    """

    def __init__(self, cost: Cost, per_step: float, parameters: int) -> None:
        self.step, self.hessian = cost.one_pass + per_step + PER_PARAMETER * parameters, cost.newton_step
        self.active = math.isfinite(self.hessian)
        self._finishing = self._fresh = False
        self._made = self._tried = 0
        self._reach = math.inf
        # What the run would have cost in all, predicted where it came within `REACH`.
        self._budget = 0.0

    def is_over(self, run: Run) -> bool:
        """Whether the solver, or this file's own steps, should stop at the current iterate."""
        if not self.active or len(run.history) == 1:
            return run.converged
        if self._finishing:
            return run.converged and (errors(run) <= ERROR if self._fresh else run.proven)
        if self._is_near(run):
            return True
        return run.converged and (run.obj.l2 > 0 or errors(run) <= ERROR_MAX)

    def defers_proof(self, run: Run) -> bool:
        """Whether there will be a Hessian at the end, so that the gap need not be proven by an earlier one."""
        return self.active and (self._finishing or self._is_cheap(run))

    def _is_near(self, run: Run) -> bool:
        if run.hessian_metric is not None:
            small = run.grad_norm**2 <= run.tol and self._is_cheap(run)
            return small and decrement(run) ** 2 <= 2.0 * run.tol * run.value
        if not run.tol < run.grad_norm <= min(REACH * run.tol, self._reach):
            return run.converged and self._is_cheap(run)
        fallen = math.log(max(run.history[0].grad_norm / run.grad_norm, 1.0))
        saved = self._spent(run) * math.log(run.grad_norm / run.tol) / fallen if fallen else 0.0
        self._budget = self._spent(run) + saved
        return self._is_cheap(run)

    def _spent(self, run: Run) -> float:
        made = self._made + (run.hessian_metric is not None)
        return (run.n_passes + 1) * self.step + made * self.hessian

    def _is_cheap(self, run: Run) -> bool:
        """Whether a Hessian costs less than the steps that it saves, or next to nothing."""
        spent = self._spent(run)
        return self.hessian + STEPS * self.step <= max(SHARE * spent, SMALL, self._budget - spent)

    def __call__(self, run: Run) -> bool:
        """Take the last steps and prove the gap, as far as that is cheap. Whether the run is over; else the solver is to
        go on."""
        from ..run import Stop

        if not self.active or len(run.history) == 1:
            return True
        self._finishing, given = True, run.hessian_metric
        with suppress(Stop):
            for _ in range(HESSIANS):
                self._fresh = self._has_fresh_hessian(run)
                old = run.hessian_metric is not None and self.step <= SHARE * self._spent(run)
                if not (self._fresh or (old and not run.proven)) or not self._try(run):
                    break
        self._finishing = False
        if run.hessian_metric is not None and run.grad_norm**2 <= run.tol and not run.proven and not run.why:
            run.prove()
        if not run.converged:
            self._tried += 1
            self.active, self._reach = self._tried < ATTEMPTS, AGAIN * run.grad_norm
            run.hessian_metric = given
        return run.converged

    def _has_fresh_hessian(self, run: Run) -> bool:
        """Compute the Hessian at the current iterate, unless it is there; False if it costs too much."""
        latest = run.hessian_metric
        if latest is None or latest.theta is not run.theta:
            if not self._is_cheap(run):
                return False
            design = Design(run.obj, run.metric) if latest is None else latest.design
            self._made += latest is not None
            run.hessian_metric = HessianMetric(run.obj, run.theta, design)
        assert run.hessian_metric is not None
        return bool(np.isfinite(run.hessian_metric.ridge))

    def _try(self, run: Run) -> bool:
        """Steps from the latest Hessian; whether another one may help. `Run.accept` raises `Stop` at the end."""
        from ..methods.lbfgs import search

        assert run.hessian_metric is not None
        if run.obj.l2 == 0 and self._fresh:
            run.prove()
        before = decrement(run)
        search(run, run.hessian_metric, STEPS, pace=PACE, trials=TRIALS)
        return decrement(run) < 0.5 * before


def decrement(run: Run) -> float:
    """The Newton decrement of a run's iterate, by the best approximation of the Hessian there is."""
    if run.hessian_metric is not None:
        return float(np.linalg.norm(run.hessian_metric.to_phi_gradient(run.grad)))
    metric = run.metric if run.curvature_metric is None else run.curvature_metric
    return metric.size(run.grad)


def errors(run: Run) -> float:
    """The decrement in standard errors of m rows: no parameter is farther from the minimum than so many of its own."""
    obj: Any = run.obj
    return decrement(run) * math.sqrt(max(obj.source.shape[0], obj.weight_sum))
