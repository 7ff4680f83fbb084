"""L-BFGS in the metric of the Hessian's bound: one pass over X a step, some tens of steps.

It is Liu and Nocedal's method (1989) in the compact form of Byrd, Nocedal and Schnabel (1994, "Representations of
quasi-Newton matrices", theorem 2.2), on phi, theta = base + S phi. At first S comes from Böhning's bound (see
`geometry.metric`), which takes every row for undecided. Once most rows are classified without doubt, the loss has lost
most of its curvature and the penalty has not, and the bound misleads: raw digits, l2 = 1e-4, needed 1,377 passes to a
relative gap of 1e-6. So after some steps S is computed anew, with each row weighted by its curvature at the current
theta (`geometry.hessian.metric_at`): 135 passes.

SciPy's L-BFGS-B takes 0.2 ms of a step whose pass takes 0.08 ms (5,000 x 10), and 225 ns per parameter and step: on
sparse X with 168,000 columns and 45 classes 1.7 s beside a pass of 0.1 s. In the compact form a step is two products
with all pairs at once, whatever their number, and some systems of 20 unknowns.

The line search accepts a length that lowers the value and flattens the slope (weak Wolfe conditions), by bisection and
doubling. Nearly always that is length 1, since in this metric the curvature is near 1 from the first step on. Where it
finds none, rounding exceeds what a step could still gain, and the method restarts without pairs for as long as that
halves the gradient norm. Values are compared by `line_search.change`.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dtrtrs

from ...objective.problem import has_rows
from ..geometry.hessian_metric import HessianMetric
from ..geometry.line_search import change
from ..geometry.metric import Metric
from ..run import Run
from ..warm_start import pairs_kept

# Pairs of steps and gradient changes kept; fewer where they would take more than `MEMORY_BYTES`.
MEMORY, MEMORY_MIN = 20, 5
MEMORY_BYTES = 1 << 29
# The metric is computed anew after so many steps, once more after so many, and then kept.
REFRESH = (20, 20)
# The same for a run that begins with the curvature metric of the previous run, at another l2.
REFRESH_NEAR = (40,)
# Wolfe conditions: a step gains at least the share GAIN of slope times length, and leaves at most FLAT of the slope.
GAIN, FLAT = 1e-4, 0.9
# Most lengths that are tried along a direction.
TRIALS = 40
EPS = float(np.finfo(np.float64).eps)


def solve(run: Run, steps: int | None = None, *, pairs: Pairs | None = None) -> None:
    """Step until `Run.accept` stops the run, or return after ``steps``. ``pairs``: those of a search to go on from."""
    obj = run.obj if has_rows(run.obj) and run.obj.shape[1] > 1 else None
    metric = run.metric
    refresh: tuple[int, ...] = REFRESH if obj is not None else ()
    if obj is not None and run.curvature_metric is not None:
        metric, refresh = run.curvature_metric.with_l2(obj.l2), REFRESH_NEAR
    elif obj is not None and run.theta.any() and not (pairs or (run.warm_start and run.warm_start.pairs)):
        # A start other than zero is assumed to be near the minimum, so that its curvatures are worth a pass.
        metric = run.curvature_metric = run.curvature_here()
    last = len(run.history) + (steps or run.max_iter + 1)
    for count in refresh:
        search(run, metric, min(count, last - len(run.history)), pairs=pairs)
        pairs = None
        if len(run.history) >= last:
            return
        metric = run.curvature_metric = run.curvature_here()
    before = np.inf
    while run.grad_norm < 0.5 * before:
        before = run.grad_norm
        search(run, metric, last - len(run.history))
        if len(run.history) >= last:
            return
        if run.warm_start is not None:
            run.warm_start.pairs.clear()  # so that the next search begins without pairs
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
    """Take at most ``steps`` steps in a metric; fewer where no length along a direction is acceptable.

    With ``pace`` it goes on beyond ``steps`` as long as each two steps multiply the gradient norm by less than
    ``pace`` squared. Returns the pairs, from which a search in the same metric may go on.
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
        if run.warm_start is not None:
            run.warm_start.add_pair(run, theta, gradient)
        run.accept(theta, (value, gradient))
        norms.append(run.grad_norm)
    return pairs


def remembered(run: Run, metric: Metric | HessianMetric, grad: np.ndarray) -> Pairs:
    """The pairs to begin with: those of the warm start along a path, else none."""
    if run.warm_start is None:
        return Pairs(grad.size)
    pairs = Pairs(grad.size, max(MEMORY, pairs_kept(grad.size)))
    if run.warm_start.pairs and isinstance(metric, Metric):
        pairs.fill(*run.warm_start.pairs_in(metric, run), grad)
    return pairs


Found = tuple[float, np.ndarray, float, np.ndarray, np.ndarray]


def step_along(
    run: Run, metric: Metric | HessianMetric, along: np.ndarray, grad: np.ndarray, slope: float, trials: int = TRIALS
) -> Found | None:
    """The line search: a length with theta, value, gradient and phi's gradient there; None where none is acceptable."""
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
            # The minimum of the parabola through value, slope and new value, kept well within the bracket.
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
    """Steps s and gradient changes y of the last iterations, and the inverse Hessian that they approximate."""

    def __init__(self, size: int, most: int = MEMORY) -> None:
        self.most = max(MEMORY_MIN, min(most, MEMORY_BYTES // (16 * size)))
        # Indices into SY in use, oldest first: 0, 1, ..., and a rotation of that once pairs are replaced.
        self.order: list[int] = []
        # s and y of each pair, side by side so that one product takes both.
        self.SY = np.empty((self.most, 2, size))
        # s_i . y_j (only i <= j is used) and y_i . y_j; then s_i . gradient and y_i . gradient. Oldest first.
        self.sy, self.yy = np.zeros((self.most, self.most)), np.zeros((self.most, self.most))
        self.sg = self.yg = np.zeros(0)

    def fill(self, S: np.ndarray, Y: np.ndarray, grad: np.ndarray) -> None:
        """Set the pairs from rows of S and Y, oldest first; ``grad`` as in `add`."""
        kept = np.einsum("ij,ij->i", S, Y) > EPS * np.einsum("ij,ij->i", Y, Y)
        S, Y = S[kept][-self.most :], Y[kept][-self.most :]
        c = len(S)
        self.order = list(range(c))
        self.SY[:c, 0], self.SY[:c, 1] = S, Y
        self.sy[:c, :c], self.yy[:c, :c] = S @ Y.T, Y @ Y.T
        self.sg, self.yg = S @ grad, Y @ grad

    def turned_to(self, grad: np.ndarray) -> Pairs:
        """A copy for another gradient that `direction` gets next."""
        out, at = Pairs(grad.size, self.most), self.order
        out.fill(self.SY[at, 0], self.SY[at, 1], grad)
        return out

    def add(self, s: np.ndarray, y: np.ndarray, grad: np.ndarray) -> None:
        """Add a pair, in place of the oldest if there is no room; ``grad`` is the gradient that `direction` gets next.

        A pair without curvature, s . y not above rounding, is left out.
        """
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
        # Products of each s and y (axis 1) with the new y and the gradient (axis 2).
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
