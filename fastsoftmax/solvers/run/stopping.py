r"""When a run is over: `StoppingRule`, which gets the facts of an iterate and says whether to go on.

The criteria do not depend on the units of X's columns. With M the upper bound on the Hessian that `geometry.metric`
computes in one pass,

.. math:: \frac{\nabla^T M^{-1} \nabla}{2 f} \;\le\; \frac{f - \min f}{f} \;\le\; \text{gap\_bound}

The square root of the left side is the *gradient norm*; the left side itself is what one step with M as the Hessian is
sure to gain. The right side is the duality gap (`certificates.duality_gap`), which needs a penalty, or the bound that
an exact Hessian proves (`geometry.hessian_metric`), which does not; the latter is computed only where the left side is
at most ``tol``. A run has converged where the gradient norm or the gap bound is at most ``tol``. The gap bound is a
proof, which `finish` seeks at the end. The gradient norm is none, but the gap goes with its square: with tol 1e-6 the
gap was at most 1e-6 on every data set tried, nearly separable ones included. With l1, or beyond
`geometry.metric.CHOLESKY_MAX` features, M is diagonal: the gradient norm then is a number of the same kind, but its
square is no longer a lower bound on the gap. Where columns are so nearly parallel that M does not tell what they may
gain (`geometry.parallel`), a gradient norm at most ``tol`` is no convergence either, unless it is smaller by as much.

A run that has not converged is over where there is no minimum (`certificates.separation`), after ``max_iter`` steps,
and where nothing has fallen for so many passes that rounding must hide any progress.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...objective.problem import Problem, has_rows
from ..certificates.duality_gap import TINY, GapBound
from ..certificates.separation import ABSENT, SEPARABLE, absent_class, separable_below, some_are_separable
from ..geometry.hessian_metric import HessianMetric
from ..geometry.metric import NOISE, Metric, Moments
from ..geometry.parallel import Parallel, parallel
from ..result import Step, counted

# After so many passes without a new lowest value or gradient norm, rounding is taken to hide any progress. A step too
# short to change theta takes no pass, and counts as one.
PATIENCE = 50
# With l1 there may be many steps that only bring parameters to their bounds. 20,000 x 10 with a rare class, l1 = 1e-5:
# with 50 the run ended after 127 steps at a gradient norm of 1e-3, with 200 it converged after 787.
PATIENCE_L1 = 200

# The Hessian near the minimum is taken to be at least this share of its bound M, where a small gradient norm must tell
# the gap (`StoppingRule._is_small`).
CURVED = 0.1


@dataclass(slots=True)
class Iterate:
    """A point of a run and what is known of it.

    Attributes
    ----------
    theta, value, grad
        With l1 the value includes it, the gradient does not.
    grad_norm : float
        The gradient norm of this file's head.
    gap_bound : float or None
        (value - minimum) / value is at most this; None where no bound is known.
    """

    theta: np.ndarray
    value: float
    grad: np.ndarray
    grad_norm: float
    gap_bound: float | None = None


class StoppingRule:
    """When a run is over.

    Parameters
    ----------
    obj : Problem
        The one that solvers see.
    metric : Metric
        M of this file's head, as a change of variable.
    moments : Moments
        Of ``obj``.
    tol, max_iter, l1
        As `minimize` takes them.

    Attributes
    ----------
    bound : GapBound
        The duality gap, and the largest lower bound on the minimum so far.
    some_separable : bool
        Whether `prove` has found some classes to be separable from the others, so that there is no minimum.
    """

    def __init__(
        self, obj: Problem, metric: Metric, moments: Moments, *, tol: float, max_iter: int, l1: float = 0.0
    ) -> None:
        self.obj, self.metric, self.moments = obj, metric, moments
        self.tol, self.max_iter, self.l1 = tol, max_iter, l1
        self.bound = GapBound(obj, metric, moments.eps, l1)
        self.some_separable = False
        self._separable_below = 0.0 if l1 else separable_below(obj)
        self._lowest_value = self._lowest_norm = np.inf
        self._n_passes = self._in_vain = 0

    # ------------------------------------------------------------------------------- what is known of an iterate

    def iterate(self, theta: np.ndarray, value: float, grad: np.ndarray) -> Iterate:
        """A point with its gradient norm, and without a bound on its gap."""
        return Iterate(theta, value, grad, self._norm(theta, value, grad))

    def bound_gap(self, at: Iterate, exact: HessianMetric | None) -> None:
        """Set the gap bound of an iterate, by duality and by an exact Hessian if there is one."""
        at.gap_bound = self.bound(at.theta, at.value, at.grad, self._hessian_gap(at, exact))

    def prove(self, at: Iterate, exact: HessianMetric | None, of_sample: HessianMetric | None) -> HessianMetric | None:
        """Prove the gap of an iterate near the end by the Hessians that there are, as far as that can be done: the
        latest exact one, and that of a subsample. Returns the exact one at the end, which may be a new one.

        Without a penalty and a proof, test for quasi-separation, which the gradient norm cannot tell from convergence:
        see ``some_separable``.
        """
        if not self.is_proven(at) and of_sample is not None and self.parallel is None:
            gap = of_sample.gap(at.theta, at.value, at.grad, self.tol * at.value)
            at.gap_bound = self.bound(at.theta, at.value, at.grad, gap)
        if self.is_proven(at) or exact is None:
            return exact
        self.bound_gap(at, exact)
        if self.is_proven(at) or self.obj.l2 > 0 or not has_rows(self.obj):
            return exact
        if exact.theta is not at.theta:
            exact = HessianMetric(self.obj, at.theta, exact.design)
            self.bound_gap(at, exact)
        if not self.is_proven(at) and some_are_separable(self.obj, exact, at.grad):
            self.some_separable = True
        return exact

    # ------------------------------------------------------------------------------------- whether the run is over

    def is_proven(self, at: Iterate) -> bool:
        """Whether the gap bound is at most ``tol``."""
        return at.gap_bound is not None and at.gap_bound <= self.tol

    def has_converged(self, at: Iterate) -> bool:
        """Whether the gradient norm or the gap bound is at most ``tol``; never where there is no minimum."""
        no_minimum = self.some_separable or at.value < self._separable_below
        near = (self.is_proven(at) or self._is_small(at.grad_norm)) and not no_minimum
        return near and self.absent_class is None

    def no_minimum(self, at: Iterate) -> str | None:
        """Why there is no minimum, as far as the iterate tells; None otherwise."""
        if at.value < self._separable_below:
            return SEPARABLE
        if (self.is_proven(at) or at.grad_norm <= self.tol) and self.absent_class is not None:
            return ABSENT.format(self.absent_class)
        return None

    def no_progress(self, at: Iterate, step: Step) -> str | None:
        """Why a run that has not converged should not go on after this step; None where it should. Called once for each
        step."""
        if step.iteration >= self.max_iter:
            return f"stopped at max_iter = {self.max_iter}"
        if at.value < self._lowest_value or at.grad_norm < self._lowest_norm:
            self._in_vain = 0
        else:
            self._in_vain += max(1, step.n_passes - self._n_passes)
        if self._in_vain >= (PATIENCE_L1 if self.l1 else PATIENCE):
            return self.rounding(step.iteration)
        self._n_passes = step.n_passes
        self._lowest_value = min(at.value, self._lowest_value)
        self._lowest_norm = min(at.grad_norm, self._lowest_norm)
        return None

    def rounding(self, n_iter: int) -> str:
        """That rounding hides any further progress."""
        why = "because rounding hides any lower value"
        if self.l1:
            why = "because of rounding, or columns that nearly depend on each other: l2 > 0 or a larger tol helps"
        return f"can make no more progress after {counted(n_iter, 'iteration')} {why}"

    def evidence(self, at: Iterate) -> str:
        """What was compared with ``tol``, for people."""
        norm = f"gradient norm {at.grad_norm:.3g}"
        if not self.has_converged(at):
            sign = ">" if at.grad_norm > self.tol else "<="
            blind = f"; {self.parallel}" if at.grad_norm <= self.tol and self.parallel else ""
            return f"{norm} {sign} tol {self.tol:.3g}{blind}"
        gap = "" if at.gap_bound is None else f"relative gap at most {at.gap_bound:.3g}"
        proven = self.is_proven(at)
        doubt = "" if proven else f", which does not prove it{gap and f' ({gap})'}"
        return f"{gap if proven else norm} <= tol {self.tol:.3g}{doubt}"

    @cached_property
    def absent_class(self) -> int | None:
        """A class without rows, for which there is no minimum. Asked for only near the end of a run."""
        return absent_class(self.obj)

    @cached_property
    def parallel(self) -> Parallel | None:
        """The columns of which the metric does not tell what they may gain. Asked for only near the end of a run."""
        noise = NOISE * self.moments.eps * len(self.moments.diagonal)
        floor = self.tol / CURVED if self.metric.factor is None else noise
        return parallel(self.obj, self.moments, self.obj.l2, floor) if has_rows(self.obj) else None

    def _is_small(self, norm: float) -> bool:
        """Whether a gradient norm is at most ``tol`` and tells that the gap is small."""
        if norm > self.tol or self.parallel is None:
            return norm <= self.tol
        return self.metric.factor is None and norm * norm <= CURVED * self.tol * self.parallel.share

    def _hessian_gap(self, at: Iterate, exact: HessianMetric | None) -> float:
        """The gap that an exact Hessian proves, computed only where the gap may be within ``tol`` (this file's head);
        else infinity."""
        if exact is None or at.grad_norm**2 > self.tol:
            return np.inf
        if len(exact.design.left_out) and self.parallel is not None:
            return np.inf
        return exact.gap(at.theta, at.value, at.grad, self.tol * at.value)

    def _norm(self, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
        """The gradient norm of this file's head; with l1 that of the shortest subgradient in S's coordinates.

        The gradient is centered before l1 is taken off the entries whose parameters are 0. Centered afterwards, those
        entries would get the bias's remaining gradient times their columns' means: with columns 10^4 deviations from
        zero the norm stayed at 5e-3 while the value was right to the last digit.
        """
        if not self.l1:
            with np.errstate(over="ignore"):
                root = self.metric.size(grad)
        else:
            n = len(self.moments.diagonal)
            weights, slope = theta[:n], self.metric.centered(grad)
            held = np.sign(slope) * np.maximum(np.abs(slope) - self.l1, 0.0)
            free = np.where(weights != 0, slope + self.l1 * np.sign(weights), held) * self.metric.scale[:, None]
            bias = grad[n:]
            root = math.sqrt(np.vdot(free, free) + np.vdot(bias, bias) / self.metric.curvature)
        return root / math.sqrt(2.0 * max(value, TINY)) if root else 0.0
