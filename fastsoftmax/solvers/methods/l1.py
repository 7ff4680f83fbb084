r"""l1 and elastic net: L-BFGS-B on theta split into two nonnegative parts.

.. math:: \min_{u, v \ge 0} f(S(u - v)) + l_1 \sum_{jc} s_j (u_{jc} + v_{jc})

With theta = S (u - v), and u and v at least 0, the absolute value becomes linear and only bounds remain, which
L-BFGS-B is made for (Byrd, Lu, Nocedal and Zhu, 1995). A parameter is exactly 0 where both its parts are at their
bound. Since the penalty is a sum over single parameters, S may scale columns and center them, by way of the bias,
but not mix them: it is the diagonal form of the metric. The gradient norm is that of the shortest subgradient in
that metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..geometry.line_search import change
from ..geometry.metric import Metric
from ..run import Run

# Pairs that L-BFGS-B keeps.
MEMORY = 30
# Where its line search fails, L-BFGS-B is started again, as long as a start lowers the value by this share or halves
# the gradient norm.
GAIN = 1e-9


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run, or SciPy does."""
    gained = True
    while gained:
        norm, value = run.grad_norm, run.value
        _search(run)
        gained = run.grad_norm < 0.5 * norm or run.value < (1.0 - GAIN) * value
    run.stop_at_rounding()


@dataclass
class Point:
    """A point that L-BFGS-B has evaluated: loss with l2 term, their gradient, and l1 times the sum of u and v.

    ``total`` is the objective minus that at the start, added up from step to step by `line_search.change`. Near the end
    two values differ by rounding only, above all in float32: with values themselves L-BFGS-B gave up at gradient norms
    of 1e-5.
    """

    theta: np.ndarray
    value: float
    grad: np.ndarray
    parts: float
    total: float = 0.0

    def since(self, before: Point) -> float:
        """The objective here minus that at another point."""
        step = (self.theta - before.theta).ravel()
        low, high = float(step @ before.grad.ravel()), float(step @ self.grad.ravel())
        return change(before.value, self.value, low, high) + self.parts - before.parts


def _search(run: Run) -> None:
    """One start of L-BFGS-B from the current iterate."""
    from scipy.optimize import minimize

    metric: Metric = run.metric
    n, k = len(metric.scale), run.obj.shape[1]
    weight = run.l1 * metric.scale[:, None]

    def to_theta(x: np.ndarray) -> np.ndarray:
        parts = x.reshape(-1, k)
        return metric.to_theta(np.vstack([parts[:n] - parts[n : 2 * n], parts[2 * n :]]))

    at: Any = None
    tried: Any = None

    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal tried
        theta = to_theta(x)
        value, grad = run.evaluate(theta)
        phi = metric.to_phi_gradient(grad)
        tried = Point(theta, value - run.l1_of(theta), grad, float(np.sum(weight * x[: 2 * n * k].reshape(2, n, k))))
        tried.total = at.total + tried.since(at) if at else 0.0
        return tried.total, np.vstack([phi[:n] + weight, weight - phi[:n], phi[n:]]).ravel()

    def accept(x: np.ndarray) -> None:
        nonlocal at
        if not np.array_equal(to_theta(x), tried.theta):  # SciPy nearly always accepts the point it evaluated last
            value_and_grad(x)
        at = tried
        run.accept(at.theta)

    unlimited = int(np.iinfo(np.int32).max)
    options: Any = {"maxcor": MEMORY, "maxiter": unlimited, "maxfun": unlimited, "ftol": 0.0, "gtol": 0.0}
    callback: Any = accept
    phi = np.divide(run.theta[:n], metric.scale[:, None], out=np.zeros((n, k)), where=metric.scale[:, None] > 0)
    bias = run.theta[n:]
    if metric.mean is not None:
        bias = (bias + metric.mean @ run.theta[:n]) * np.sqrt(metric.curvature)
    x = np.vstack([np.maximum(phi, 0.0), np.maximum(-phi, 0.0), bias]).ravel()
    bounds = [(0.0, None)] * (2 * n * k) + [(None, None)] * bias.size
    value_and_grad(x)
    at = tried
    minimize(value_and_grad, x, jac=True, method="L-BFGS-B", bounds=bounds, callback=callback, options=options)
