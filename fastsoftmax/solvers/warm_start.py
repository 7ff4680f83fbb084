r"""What the runs along a path of penalties hand on: where to start at the next l2, and the curvature they have met.

Both are made from gradients of the loss alone, to which the next l2 adds its own penalty. Neither takes a pass.

*The start.* With theta_0 the last of the optima so far, theta_j the others, and g_j the loss's gradients there,

.. math:: \theta = \theta_0 + \sum_j c_j (\theta_j - \theta_0), \qquad
          \min_c \| g_0 + \lambda \theta_0 + \sum_j c_j (g_j - g_0 + \lambda (\theta_j - \theta_0)) \|_{M^{-1}}

where lambda is the next l2: the point at which the gradient, taken for linear between the optima, is smallest. If the
gradient were linear, this would be the rational Krylov method for (H + lambda) theta = b (Ruhe, 1984, "Rational Krylov
sequence methods for eigenvalue computation"), whose error falls geometrically with the number of optima. 60k x 784,
k = 10, ten l2 from 1e-1 to 1e-6, gradient norm at the start of the sixth run: 2e-3 at the previous optimum, 5e-3 on the
line through two optima (in log l2), 4e-6 at this start.

*The curvature.* L-BFGS begins with the pairs (step, gradient change) of the previous runs, in the metric of its own l2.
Those ten l2 take 58 passes with both; 79 with the start alone; 120 with the line through two optima as the start and no
pairs, which on digits takes 755 passes for ten l2, where both take 463.
"""

from __future__ import annotations

import numpy as np

from .geometry.line_search import change
from .geometry.metric import Metric
from .run import Run

# Pairs kept. Digits with 40, 80, 120: 821, 463, 443 passes in 0.38, 0.27, 0.29 s. Only `PAIRS_FAR` are kept where more
# would take above `CACHED_BYTES`, since pairs outside the cache cost more than they save: 5,000 x 300, k = 30, took
# 2.4 s with 40 and 2.8 s with 80.
PAIRS, PAIRS_FAR, CACHED_BYTES = 80, 40, 6 << 20
# Optima kept; and the most memory that they, or the pairs, may take.
POINTS, BYTES = 20, 1 << 28
# Optima are taken as linearly dependent where a singular value is below this share of the largest.
RCOND = 1e-8


class WarmStart:
    """The state that the runs of one model along a path share.

    Attributes
    ----------
    last : Run or None
        The previous run.
    points : list of (theta, loss, its gradient)
        Where each run ended, after where the first began.
    pairs : list of (step, change of the loss's gradient)
        In the units of theta, the latest last.
    """

    def __init__(self) -> None:
        self.last: Run | None = None
        self.points: list[tuple[np.ndarray, float, np.ndarray]] = []
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def start(self, run: Run) -> np.ndarray:
        """Where a run should start: the point of this file's head, or the last optimum if its value is lower."""
        if not self.points:
            return np.zeros(run.obj.shape)
        theta, loss, gradient = self.points[-1]
        value, slope = loss + run.penalty(theta), gradient + run.penalty_gradient(theta)
        guess = self._extrapolate(run, theta, gradient)
        if guess is not None:
            there, end = run.evaluate(guess)
            step = (guess - theta).ravel()
            if change(value, there, float(step @ slope.ravel()), float(step @ end.ravel())) <= 0:
                return guess
        run.remember(theta, value, slope)
        return theta

    def _extrapolate(self, run: Run, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray | None:
        """The point of this file's head; None with fewer than two points, and with l1.

        With l1 the gradient is not linear: extrapolating the parameters that are not 0 saved 3 % of the passes.
        """
        steps = [other - theta for other, _, _ in self.points[:-1]]
        if not steps or run.l1:
            return None
        slopes = [there - gradient for _, _, there in self.points[:-1]]
        changes = [slope + run.penalty_gradient(step) for slope, step in zip(slopes, steps, strict=True)]
        columns = run.metric.to_phi_gradient(np.hstack([gradient + run.penalty_gradient(theta), *changes]))
        columns = _one_per_row(columns, len(steps) + 1)
        lengths = np.linalg.norm(columns[1:], axis=1)
        lengths[lengths == 0] = 1.0
        share = np.linalg.lstsq(columns[1:].T / lengths, -columns[0], rcond=RCOND)[0] / lengths
        guess: np.ndarray = theta + sum(c * step for c, step in zip(share, steps, strict=True))
        return guess

    def keep(self, run: Run) -> None:
        """Take over what the next run needs of one that has ended."""
        first = run.first_iterate
        if not self.points and first is not None:
            self._add(run, *first)
        self._add(run, run.theta, run.value, run.grad)
        run.hessian_metric = run.sample_metric = None  # they may take hundreds of MB
        self.last = run

    def _add(self, run: Run, theta: np.ndarray, value: float, grad: np.ndarray) -> None:
        self.points.append((theta, value - run.penalty(theta), grad - run.penalty_gradient(theta)))
        del self.points[: -min(POINTS, _fitting(theta.size, BYTES))]

    def add_pair(self, run: Run, theta: np.ndarray, grad: np.ndarray) -> None:
        """Add the pair of the step from a run's current iterate to theta, where the gradient is ``grad``."""
        taken = theta - run.theta
        self.pairs.append((taken, grad - run.grad - run.penalty_gradient(taken)))
        del self.pairs[: -pairs_kept(taken.size)]

    def pairs_in(self, metric: Metric, run: Run) -> tuple[np.ndarray, np.ndarray]:
        """Steps and gradient changes in the coordinates of a metric, the latter with the l2 of a run: each
        (pairs, parameters)."""
        steps, changes = zip(*self.pairs, strict=True)
        S = metric.coordinates(np.hstack(steps))
        Y = metric.to_phi_gradient(np.hstack([y + run.penalty_gradient(s) for s, y in self.pairs]))
        return _one_per_row(S, len(steps)), _one_per_row(Y, len(changes))


def _one_per_row(columns: np.ndarray, count: int) -> np.ndarray:
    """Arrays (rows, k) that lie side by side in ``columns``, each flattened to a row: (count, rows k)."""
    rows = len(columns)
    return columns.reshape(rows, count, -1).transpose(1, 0, 2).reshape(count, -1)


def pairs_kept(size: int) -> int:
    """How many pairs are kept of a theta with ``size`` parameters."""
    return min(max(PAIRS_FAR, min(PAIRS, _fitting(size, CACHED_BYTES))), _fitting(size, BYTES))


def _fitting(size: int, room: int) -> int:
    """How many pairs of float64 arrays with ``size`` numbers fit into ``room`` bytes; one at least."""
    return max(1, room // (16 * size))
