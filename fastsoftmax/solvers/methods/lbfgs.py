"""L-BFGS in the metric of the Hessian's bound: one pass over X a step, some tens of steps.

It is Liu and Nocedal's method (1989) in the compact form of Byrd, Nocedal and Schnabel (1994, "Representations of
quasi-Newton matrices", theorem 2.2), on phi, theta = base + S phi. S comes from Boehning's bound at first (see
`metric`). That bound takes every row for undecided; once most rows are classified
without doubt, their curvature has gone while that of the penalty has stayed, and the bound misleads: raw digits
(l2 = 1e-4) needed 1,377 passes for a relative gap of 1e-6. So after some steps S is made anew, with each
row weighted by the curvature it has now (see `curvature`): 135 passes.

SciPy's L-BFGS-B takes 0.2 ms of a step whose pass takes 0.08 ms (5,000 x 10), and 225 ns a parameter and step: on
sparse X with 168,000 columns and 45 classes 1.7 s beside a pass of 0.1 s. In the compact form a step is two products
with all pairs at once, whatever the memory, and some systems of 20 unknowns.

The search along a direction accepts a length that lowers the value and flattens the slope (weak Wolfe conditions), by
bisection and doubling; nearly always that is length 1, since in this metric curvature is near 1 from the first step on.
Where it finds none, rounding is larger than what a step could still gain; the method starts afresh for as
long as that halves the gradient. Values are compared by what `Run.change` measures.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dtrtrs

from ..geometry.hessian import can_walk, metric_at
from ..geometry.hessian_metric import HessianMetric
from ..geometry.line_search import change
from ..geometry.metric import Metric
from ..run import Run
from ..warm_start import pairs_kept

# Pairs of steps and gradient changes kept; fewer where they would take more than `MEMORY_BYTES`.
MEMORY, MEMORY_MIN = 20, 5
MEMORY_BYTES = 1 << 29
# Steps after which the metric is made anew, once more, and no more.
REFRESH = (20, 20)
# The same where the metric is that of the run before, at another l2.
REFRESH_NEAR = (40,)
# Wolfe: the share of its slope's promise that a step gains at least, and of the slope that it leaves at most.
GAIN, FLAT = 1e-4, 0.9
# Lengths tried along a direction at most.
TRIALS = 40
EPS = float(np.finfo(np.float64).eps)


def solve(run: Run, steps: int | None = None, *, pairs: Pairs | None = None) -> None:
    """Step until `Run.accept` stops the run; or return after that many steps. ``pairs``: of a search to go on with."""
    closer = can_walk(run.obj) and run.obj.shape[1] > 1
    metric = run.metric
    refresh: tuple[int, ...] = REFRESH if closer else ()
    if closer and run.closer is not None:
        metric, refresh = run.closer.with_l2(run.obj.l2), REFRESH_NEAR
    elif closer and run.theta.any() and not (pairs or (run.trail and run.trail.pairs)):
        # A start other than zero is taken to be one that knows something.
        metric = run.closer = metric_at(run.obj, run.theta)
    last = len(run.history) + (steps or run.max_iter + 1)
    for count in refresh:
        search(run, metric, min(count, last - len(run.history)), pairs=pairs)
        pairs = None
        if len(run.history) >= last:
            return
        metric = run.closer = metric_at(run.obj, run.theta)
    before = np.inf
    while run.grad_norm < 0.5 * before:
        before = run.grad_norm
        search(run, metric, last - len(run.history))
        if len(run.history) >= last:
            return
        if run.trail is not None:
            run.trail.pairs.clear()  # or it would not be afresh
    run.stop_at_rounding()


def search(
    run: Run,
    metric: Metric | HessianMetric,
    steps: int,
    *,
    pace: float = 0.0,
    trials: int = TRIALS,
    pairs: Pairs | None = None,
) -> Pairs:
    """At most that many steps in a metric from the current iterate; fewer where no length along a direction will do.

    More while the last two have brought the gradient norm down to ``pace`` squared of what it was. Returns the pairs,
    with which a search in the same metric may go on.
    """
    grad = metric.to_phi_gradient(run.grad).ravel()
    pairs = remembered(run, metric, grad) if pairs is None else pairs
    norms = [run.grad_norm]
    while len(norms) <= steps or (pace and len(norms) > 2 and norms[-1] < pace * pace * norms[-3]):
        along = pairs.direction(grad)
        slope = float(along @ grad)
        if not slope < 0:
            return pairs
        found = step_along(run, metric, along, grad, slope, trials)
        if found is None:
            return pairs
        length, theta, value, gradient, new = found
        pairs.add(length * along, new - grad, new)
        grad = new
        if run.trail is not None:
            run.trail.step(run, theta, gradient)
        run.accept(theta, (value, gradient))
        norms.append(run.grad_norm)
    return pairs


def remembered(run: Run, metric: Metric | HessianMetric, grad: np.ndarray) -> Pairs:
    """The pairs to begin with: along a path those of its trail, else none."""
    if run.trail is None:
        return Pairs(grad.size)
    pairs = Pairs(grad.size, max(MEMORY, pairs_kept(grad.size)))
    if run.trail.pairs and isinstance(metric, Metric):
        pairs.fill(*run.trail.pairs_in(metric, run), grad)
    return pairs


Found = tuple[float, np.ndarray, float, np.ndarray, np.ndarray]


def step_along(
    run: Run, metric: Metric | HessianMetric, along: np.ndarray, grad: np.ndarray, slope: float, trials: int = TRIALS
) -> Found | None:
    """A length, and theta, value, gradient and the gradient of phi there; None where no length is good enough."""
    step = metric.to_theta(along.reshape(run.theta.shape))
    low, high, length = 0.0, np.inf, 1.0
    good: Found | None = None
    for _ in range(trials):
        theta = run.theta + step if length == 1.0 else run.theta + length * step
        value, gradient = run.measure(theta)
        new = metric.to_phi_gradient(gradient).ravel()
        there = float(along @ new)
        gained = change(run.value, value, length * slope, length * there)
        if not gained <= GAIN * length * slope:
            high = length
            # Where the parabola through what is known has its minimum, but well within the bracket.
            bend = 2.0 * (gained - length * slope)
            guess = -slope * length * length / bend if bend > 0 and np.isfinite(bend) else 0.0
            length = min(max(guess, low + 0.1 * (high - low)), low + 0.5 * (high - low))
            continue
        good = length, theta, value, gradient, new
        if there >= FLAT * slope:
            return good
        low = length
        length = 2.0 * length if np.isinf(high) else 0.5 * (low + high)
    return good


class Pairs:
    """Steps s and gradient changes y of the last iterations, and the inverse Hessian they stand for."""

    def __init__(self, size: int, most: int = MEMORY) -> None:
        self.most = max(MEMORY_MIN, min(most, MEMORY_BYTES // (16 * size)))
        # Places of SY in use, oldest first: 0, 1, ... or, once the oldest make room, a rotation of it.
        self.order: list[int] = []
        # s and y of each pair, side by side so that one product takes both.
        self.SY = np.empty((self.most, 2, size))
        # s_i . y_j (i <= j counts) and y_i . y_j; then s_i . gradient and y_i . gradient. Oldest first.
        self.sy, self.yy = np.zeros((self.most, self.most)), np.zeros((self.most, self.most))
        self.sg = self.yg = np.zeros(0)

    def fill(self, S: np.ndarray, Y: np.ndarray, grad: np.ndarray) -> None:
        """Pairs at once, oldest first, a row each; ``grad`` as in `add`."""
        kept = np.einsum("ij,ij->i", S, Y) > EPS * np.einsum("ij,ij->i", Y, Y)
        S, Y = S[kept][-self.most :], Y[kept][-self.most :]
        c = len(S)
        self.order = list(range(c))
        self.SY[:c, 0], self.SY[:c, 1] = S, Y
        self.sy[:c, :c], self.yy[:c, :c] = S @ Y.T, Y @ Y.T
        self.sg, self.yg = S @ grad, Y @ grad

    def add(self, s: np.ndarray, y: np.ndarray, grad: np.ndarray) -> None:
        """A new pair, for the oldest if there is no room; ``grad`` is the gradient that `direction` gets next."""
        kept = float(s @ y) > EPS * float(y @ y)
        if kept:
            if len(self.order) == self.most:
                self.order.append(self.order.pop(0))
                for products in (self.sy, self.yy):
                    products[:-1, :-1] = products[1:, 1:].copy()
            else:
                self.order.append(len(self.order))
            self.SY[self.order[-1], 0], self.SY[self.order[-1], 1] = s, y
        c = len(self.order)
        if not c:
            return
        # Of s and of y (axis 1) with y and with the gradient (axis 2).
        by = (self.SY[:c].reshape(2 * c, -1) @ np.array([y, grad]).T).reshape(c, 2, 2)
        if self.order[0]:
            by = by[self.order]
        if kept:
            self.sy[:c, c - 1] = by[:, 0, 0]
            self.yy[:c, c - 1] = self.yy[c - 1, :c] = by[:, 1, 0]
        self.sg, self.yg = by[:, 0, 1], by[:, 1, 1]

    def direction(self, grad: np.ndarray) -> np.ndarray:
        """Minus the inverse Hessian times the gradient."""
        c = len(self.order)
        if not c:
            return -grad
        R, YY = self.sy[:c, :c], self.yy[:c, :c]
        gamma = float(R[-1, -1] / YY[-1, -1])
        u = dtrtrs(R, self.sg)[0]
        v = dtrtrs(R, R.diagonal() * u + gamma * (YY @ u - self.yg), trans=1)[0]
        shares, at = np.empty((c, 2)), self.order if self.order[0] else slice(None)
        shares[at, 0], shares[at, 1] = -v, gamma * u
        out: np.ndarray = shares.reshape(-1) @ self.SY[:c].reshape(2 * c, -1)
        out -= gamma * grad
        return out
