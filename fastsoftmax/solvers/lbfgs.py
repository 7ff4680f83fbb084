"""L-BFGS, SciPy's: the quasi-Newton method that needs one pass over X for most steps.

It is Byrd, Lu, Nocedal and Zhu's L-BFGS-B (1995) without bounds, on theta laid out flat in
float64. SciPy searches; `Run` sees each accepted iterate first and stops the run, so that SciPy's
own tests and its success flag decide nothing. Two of its endings remain: the value did not
change in a step, or the line search found no lower one. Both mean that rounding is larger than what
a step could still gain; it starts afresh for as long as that halves the gradient.

A line search compares values, and near the optimum their differences drown in rounding long before the
gradient does (as in Hager and Zhang, 2005, section 4): at once in float32. So small changes of
the value are taken from the gradients at both ends, see `_change`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .result import Run

# Pairs of steps and gradient changes kept. Passes to a gradient norm of 1e-6 (l2 = 1e-4), with 10 and 20
# pairs: iris 153, 102; digits 1891, 1848; and with columns scaled, iris 40, 37; wine 49, 45; breast_cancer
# 125, 91; digits 104, 101.
MEMORY = 20
# Relative change of the value below which float32 data could not tell it from rounding.
SMALL_CHANGE = 1e-6


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run, or SciPy does."""
    from scipy.optimize import minimize

    # Values as SciPy sees them: the sum of all changes since it started. Near 0 a float64 has room for tiny ones.
    accepted = tried = 0.0

    def value_and_grad(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal tried
        theta = flat.reshape(run.obj.shape)
        value, grad = run.evaluate(theta)
        tried = accepted + _change(run, theta, value, grad)
        return tried, grad.ravel()

    def accept(flat: np.ndarray) -> None:
        nonlocal accepted
        run.accept(flat.reshape(run.obj.shape))
        accepted = tried

    unlimited = int(np.iinfo(np.int32).max)
    options: Any = {"maxcor": MEMORY, "maxiter": unlimited, "maxfun": unlimited, "ftol": 0.0, "gtol": 0.0}
    callback: Any = accept
    before = np.inf
    while run.grad_norm < 0.5 * before:
        before, accepted = run.grad_norm, 0.0
        minimize(value_and_grad, run.theta.ravel(), jac=True, method="L-BFGS-B", callback=callback, options=options)
    run.stop_at_rounding()


def _change(run: Run, theta: np.ndarray, value: float, grad: np.ndarray) -> float:
    """Value at theta minus that of the current iterate.

    The objective is convex, so the change lies between step . (gradient there) and step . (gradient here). Where
    that interval is small, its middle (the trapezoid rule) is nearer to the truth than the
    difference of two rounded values.
    """
    step = (theta - run.theta).ravel()
    low, high = float(step @ run.grad.ravel()), float(step @ grad.ravel())
    if 0 <= high - low <= SMALL_CHANGE * abs(value):
        return 0.5 * (low + high)
    return value - run.value
