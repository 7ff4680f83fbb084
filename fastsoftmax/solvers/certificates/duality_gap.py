r"""An upper bound on value - minimum: the duality gap, from numbers that every step has anyway.

The dual problem of softmax regression has one distribution alpha_i over the classes for each row. Its value,

.. math:: \sum_i w_i \operatorname{Ent}(\alpha_i) - \frac{1}{2 l_2} \| \operatorname{soft}(A, l_1) \|^2, \qquad
          A = X^T W (\alpha - I), \quad 1^T W (\alpha - I) = 0

is at most the minimum for every alpha. (The weights w sum to 1; soft moves each entry by l1 towards 0; I holds the
targets; with l2 = 0 no entry of A may exceed l1.) With alpha = Z this needs nothing but the gradient, for A is the
gradient of the loss, and Ent(z) = loss - <theta, A>. Without a bias, and with l1 = 0, the bound is
||gradient||^2 / (2 l2), as strong convexity gives it. Soft targets must sum to 1 in each row; else there is no bound.

The bias adds a constraint: alpha must have the classes' shares p, whereas Z has q = p + (gradient of the bias). Mixing
every row with one distribution r, alpha = (1 - t) Z + t r with (1 - t) q + t r = p, meets it. t is the least for which
r is not negative, and the entropy of the mixture is bounded from below because entropy is concave. With l2 = 0, alpha =
(1 - s) I + s Z scales A by s until no entry exceeds l1. Columns are taken as centered, since the bias absorbs any
shift, so that A of a constant column is 0.

A lower bound on the minimum found at one iterate holds at all that follow. The largest so far is kept, whether it comes
from duality or from an exact Hessian (see `geometry.hessian_metric`).
"""

from __future__ import annotations

import math

import numpy as np

from ...objective.problem import Problem, has_rows
from ..geometry.metric import Metric

# Two values, each rounded to eps, have a difference that is certain to this many eps only.
ROUNDINGS = 4.0
# Takes the place of a divisor that may be 0: positive, and below any value that matters.
TINY = float(np.finfo(np.float64).tiny)


class GapBound:
    """Upper bounds on (value - minimum) / value of one objective, at the iterates of a run.

    Parameters
    ----------
    obj : Problem
    metric : Metric
        For the means of X's columns.
    eps : float
        Rounding of the numbers that the objective computes with: the bound is never below `ROUNDINGS` of these.
    l1 : float

    Attributes
    ----------
    dual : float
        The largest lower bound on the minimum so far.
    origin : tuple or None
        What `_at_origin` returns; runs at another l2 on the same data may share it.
    """

    def __init__(self, obj: Problem, metric: Metric, eps: float, l1: float = 0.0) -> None:
        self.floor = ROUNDINGS * eps
        self.obj, self.metric, self.l1, self.l2 = obj, metric, l1, float(obj.l2)
        self.has_dual = not has_rows(obj) or obj.has_distributions()
        self.origin: tuple[np.ndarray, list[float]] | None = None
        self.dual = -np.inf

    def __call__(self, theta: np.ndarray, value: float, grad: np.ndarray, hessian_gap: float = np.inf) -> float | None:
        """The bound at theta, or None where there is none.

        ``value`` includes the l1 term, ``grad`` does not. ``hessian_gap`` is a bound on value - minimum from elsewhere.
        """
        if not value > 0.0:
            return None
        gap = min(hessian_gap, self._duality_gap(theta, value, grad))
        self.dual = max(self.dual, value - gap)
        if not math.isfinite(self.dual):
            return None
        return max(0.0, min(gap, value - self.dual)) / value + self.floor

    def _duality_gap(self, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
        if (self.l2 == 0.0 and self.l1 == 0.0) or not self.has_dual:
            return np.inf
        if self.l1 == 0.0:
            return self._smooth_gap(theta, value, grad)
        n = len(theta) - bool(self.obj.fit_intercept)
        weights = theta[:n]
        A = self.metric.centered(grad) - self.l2 * weights
        penalty = 0.5 * self.l2 * float(np.vdot(weights, weights)) + self.l1 * float(np.abs(weights).sum())
        loss, t, entropy = value - penalty, 0.0, 0.0
        # loss - Ent: <weights, A>, then the part of the bias, then what mixing adds.
        excess = float(np.vdot(weights, A))
        if self.obj.fit_intercept:
            assert self.metric.mean is not None
            bias = theta[n] + self.metric.mean @ weights
            excess += float((bias - np.add.reduce(bias) / len(bias)) @ grad[n])
            if self.origin is None:
                self.origin = self._at_origin(theta, grad)
            t, entropy = self._mix(grad[n].tolist())
            if t:
                A *= 1.0 - t
                A += t * self.origin[0]
        excess = (1.0 - t) * excess + t * (loss - entropy)
        return excess + penalty + self._dual_penalty(A, loss - excess)

    def _smooth_gap(self, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
        """The gap without l1, in a form in which large terms have cancelled. With V = A + l2 theta, the centered
        gradient where t = 0, the penalty, its dual and <theta, A> sum to ||V||^2 / (2 l2) - t <theta, A at 0>."""
        V = self.metric.centered(grad)
        if self.metric.mean is None:
            return float(np.vdot(V, V)) / (2.0 * self.l2)
        weights, slope = theta[:-1], grad[-1].tolist()
        if self.origin is None:
            self.origin = self._at_origin(theta, grad)
        t, entropy = self._mix(slope)
        bias = (theta[-1] + np.dot(self.metric.mean, weights)).tolist()
        middle = sum(bias) / len(bias)
        excess: float = (1.0 - t) * sum((b - middle) * s for b, s in zip(bias, slope, strict=True))
        if t:
            start = self.origin[0]
            loss = value - 0.5 * self.l2 * float(np.vdot(weights, weights))
            excess += t * (loss - entropy - float(np.vdot(weights, start)))
            V *= 1.0 - t
            V += t * start
            V += (t * self.l2) * weights
        return excess + float(np.vdot(V, V)) / (2.0 * self.l2)

    def _dual_penalty(self, A: np.ndarray, entropy: float) -> float:
        if self.l2 > 0.0:
            beyond = np.maximum(np.abs(A) - self.l1, 0.0)
            return float(np.vdot(beyond, beyond)) / (2.0 * self.l2)
        largest = float(np.abs(A).max(initial=0.0))
        return max(0.0, 1.0 - self.l1 / largest) * entropy if largest > 0 else 0.0

    def _mix(self, slope: list[float]) -> tuple[float, float]:
        """t of this file's head, and the entropy of r; ``slope`` is the gradient of the bias.

        Plain loops: with few classes they are faster than NumPy, with many a pass takes far longer than they do.
        """
        assert self.origin is not None
        p = self.origin[1]
        q = [a + s for a, s in zip(p, slope, strict=True)]
        # s / b is (q - p) / q, the share of a class in Z that is too much.
        t = min(max([s / b for s, b in zip(slope, q, strict=True) if b > 0.0], default=0.0), 1.0)
        entropy = 0.0
        if not t > 0.0:
            return 0.0, entropy
        for a, b in zip(p, q, strict=True):
            r = (a - (1.0 - t) * b) / t
            if r > 0.0:
                entropy -= r * math.log(r)
        return t, entropy

    def _at_origin(self, theta: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The centered gradient at theta = 0, and the classes' shares p, from its bias row. Takes a pass unless
        theta is 0."""
        at = grad if not theta.any() else self.obj.value_and_grad(np.zeros(theta.shape))[1]
        return self.metric.centered(at), np.maximum(1.0 / theta.shape[1] - at[-1], 0.0).tolist()
