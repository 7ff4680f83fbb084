r"""What the runs along a path hand on: where to start at the next l2, and the curvature they have met.

Both rest on gradients of the loss alone, to which any other l2 adds its own penalty, and neither takes a pass.

*The start.* From the optima so far, theta_0 the last of them, and the loss's gradients there, g_j, comes

.. math:: \theta = \theta_0 + \sum_j c_j (\theta_j - \theta_0), \qquad
          \min_c \| g_0 + \lambda \theta_0 + \sum_j c_j (g_j - g_0 + \lambda (\theta_j - \theta_0)) \|_{M^{-1}}

with the gradient taken for linear between the points. Were it so everywhere, this were the rational Krylov method for
(H + lambda) theta = b (Ruhe, 1984, "Rational Krylov sequence methods for eigenvalue computation"), the error of which
falls geometrically with the number of optima. 60k x 784, k = 10, ten l2 from 1e-1 to 1e-6: the gradient norm at the
start of the sixth was 2e-3 at the optimum before, 5e-3 on the line through two (in log l2), and is 4e-6 here.

*The curvature.* L-BFGS begins with the steps and gradient changes of the runs before, in the metric of its own l2.
Together 58 passes for those ten l2; with the start alone 79, with neither (but the line) 120. Ten l2 on digits: 463 and
755.
"""

from __future__ import annotations

import numpy as np

from .geometry.line_search import change
from .geometry.metric import Metric
from .run import Run

# Pairs kept: 40, 80, 120 took 821, 463, 443 passes on digits, and 0.38, 0.27, 0.29 s. Where they leave the cache they
# cost more than they save: 5,000 x 300, k = 30, took 2.4 s with 40, 2.8 with 80.
PAIRS, PAIRS_FAR, CACHED_BYTES = 80, 40, 6 << 20
# Optima kept, and bytes that these, or the pairs, may take.
POINTS, BYTES = 20, 1 << 28
# Singular values below this share of the largest come from optima that depend on each other.
RCOND = 1e-8


class WarmStart:
    """What is known of one model at the l2 so far.

    Attributes
    ----------
    last : Run or None
        The run before.
    points : list of (theta, loss, its gradient)
        Where the runs ended, and where the first began.
    pairs : list of (step, change of the loss's gradient)
        Of theta itself, in no metric; the latest last.
    """

    def __init__(self) -> None:
        self.last: Run | None = None
        self.points: list[tuple[np.ndarray, float, np.ndarray]] = []
        self.pairs: list[tuple[np.ndarray, np.ndarray]] = []

    def start(self, run: Run) -> np.ndarray:
        """Where to start: as this file's head says, or at the last optimum where that has the lower value."""
        if not self.points:
            return np.zeros(run.obj.shape)
        theta, loss, gradient = self.points[-1]
        value, slope = loss + run.penalty(theta), gradient + run.penalty_gradient(theta)
        ahead = self._ahead(run, theta, gradient)
        if ahead is not None:
            there, end = run.evaluate(ahead)
            step = (ahead - theta).ravel()
            if change(value, there, float(step @ slope.ravel()), float(step @ end.ravel())) <= 0:
                return ahead
        run.know(theta, value, slope)
        return theta

    def _ahead(self, run: Run, theta: np.ndarray, gradient: np.ndarray) -> np.ndarray | None:
        """The point where the gradient, linear between optima, is least; None where they tell nothing.

        Nor do they with l1, where it is not linear: among the parameters that are not 0 it saved 3 % of the passes.
        """
        steps = [other - theta for other, _, _ in self.points[:-1]]
        if not steps or run.l1:
            return None
        slopes = [there - gradient for _, _, there in self.points[:-1]]
        changes = [slope + run.penalty_gradient(step) for slope, step in zip(slopes, steps, strict=True)]
        columns = run.metric.to_phi_gradient(np.hstack([gradient + run.penalty_gradient(theta), *changes]))
        columns = _one_a_row(columns, len(steps) + 1)
        lengths = np.linalg.norm(columns[1:], axis=1)
        lengths[lengths == 0] = 1.0
        share = np.linalg.lstsq(columns[1:].T / lengths, -columns[0], rcond=RCOND)[0] / lengths
        ahead: np.ndarray = theta + sum(c * step for c, step in zip(share, steps, strict=True))
        return ahead

    def keep(self, run: Run) -> None:
        """The end of a run, from where the next will go on."""
        first = run.first
        if not self.points and first is not None:
            self._add(run, *first)
        self._add(run, run.theta, run.value, run.grad)
        run.local = None  # a Hessian may take hundreds of MB
        self.last = run

    def _add(self, run: Run, theta: np.ndarray, value: float, grad: np.ndarray) -> None:
        self.points.append((theta, value - run.penalty(theta), grad - run.penalty_gradient(theta)))
        del self.points[: -min(POINTS, _fitting(theta.size, BYTES))]

    def step(self, run: Run, theta: np.ndarray, grad: np.ndarray) -> None:
        """A step from a run's current iterate to theta."""
        taken = theta - run.theta
        self.pairs.append((taken, grad - run.grad - run.penalty_gradient(taken)))
        del self.pairs[: -pairs_kept(taken.size)]

    def pairs_in(self, metric: Metric, run: Run) -> tuple[np.ndarray, np.ndarray]:
        """The pairs in the coordinates of a metric and with the penalty of a run: (pairs, parameters) each."""
        steps, changes = zip(*self.pairs, strict=True)
        S = metric.coordinates(np.hstack(steps))
        Y = metric.to_phi_gradient(np.hstack([y + run.penalty_gradient(s) for s, y in self.pairs]))
        return _one_a_row(S, len(steps)), _one_a_row(Y, len(changes))


def _one_a_row(columns: np.ndarray, count: int) -> np.ndarray:
    """Arrays (rows, k) that lie side by side, each as a row."""
    rows = len(columns)
    return columns.reshape(rows, count, -1).transpose(1, 0, 2).reshape(count, -1)


def pairs_kept(size: int) -> int:
    """Pairs of steps in that many parameters that are kept."""
    return min(max(PAIRS_FAR, min(PAIRS, _fitting(size, CACHED_BYTES))), _fitting(size, BYTES))


def _fitting(size: int, room: int) -> int:
    """How many pairs of arrays of so many numbers fit into that many bytes; one at least."""
    return max(1, room // (16 * size))
