r"""l1 and elastic net: L-BFGS-B on theta split into two parts that are not negative.

.. math:: \min_{u, v \ge 0} f(S(u - v)) + l_1 \sum_{jc} s_j (u_{jc} + v_{jc})

With theta = S (u - v), and u and v at least 0, the absolute value is linear and all that is left are bounds, which
L-BFGS-B was made for (Byrd, Lu, Nocedal and Zhu, 1995). A parameter is exactly 0 where both its parts are at their
bound. The penalty is one of every single parameter, so S may scale columns and centre them, by way of the bias,
but not mix them: it is the diagonal part of the metric. The gradient norm here is that of the subgradient of
least norm, in that metric.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .metric import Metric
from .result import Run

MEMORY = 30


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run, or SciPy does."""
    before = np.inf
    while run.grad_norm < 0.5 * before:
        before = run.grad_norm
        _search(run)
    run.stop_at_rounding()


def _search(run: Run) -> None:
    from scipy.optimize import minimize

    metric: Metric = run.metric
    n, k = len(metric.scale), run.obj.shape[1]
    held = np.where(metric.scale[:, None] > 0, 0.0, run.theta[:n])
    weight = run.l1 * metric.scale[:, None]

    def to_theta(x: np.ndarray) -> np.ndarray:
        parts = x.reshape(-1, k)
        theta = metric.to_theta(np.vstack([parts[:n] - parts[n : 2 * n], parts[2 * n :]]))
        theta[:n] += held
        return theta

    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = run.evaluate(to_theta(x))
        phi = metric.to_phi_gradient(grad)
        u, v = x[: 2 * n * k].reshape(2, n, k)
        # Where both parts are above 0, their sum exceeds the absolute value.
        excess = 2.0 * float(np.sum(weight * np.minimum(u, v)))
        return value - start + excess, np.vstack([phi[:n] + weight, weight - phi[:n], phi[n:]]).ravel()

    def accept(x: np.ndarray) -> None:
        run.accept(to_theta(x))

    start = run.value
    unlimited = int(np.iinfo(np.int32).max)
    options: Any = {"maxcor": MEMORY, "maxiter": unlimited, "maxfun": unlimited, "ftol": 0.0, "gtol": 0.0}
    callback: Any = accept
    phi = np.divide(run.theta[:n], metric.scale[:, None], out=np.zeros((n, k)), where=metric.scale[:, None] > 0)
    bias = run.theta[n:]
    if metric.mean is not None:
        bias = (bias + metric.mean @ run.theta[:n]) * np.sqrt(metric.curvature)
    x = np.vstack([np.maximum(phi, 0.0), np.maximum(-phi, 0.0), bias]).ravel()
    bounds = [(0.0, None)] * (2 * n * k) + [(None, None)] * bias.size
    minimize(value_and_grad, x, jac=True, method="L-BFGS-B", bounds=bounds, callback=callback, options=options)
