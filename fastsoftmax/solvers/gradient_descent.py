r"""Gradient descent with the constant step 1/L: the source notes' own way to solve for theta.

.. math:: \theta \leftarrow \theta - \tfrac{1}{L} \nabla, \qquad
          L = \tfrac12 \lambda_{\max}\!\Big(\frac{X^T W X}{\sum_i w_i}\Big) + l_2

The step is safe because the Hessian is nowhere above L. Per row it is
(diag(z) - z z^T) (x) x x^T, and diag(z) - z z^T is at most half the identity (Boehning, 1992,
"Multinomial logistic regression algorithm"): every step lowers the value by at least
||gradient||^2 / (2 L). With an intercept X has its column of ones, so the bound holds for the
bias as well. Expect thousands of passes where columns differ in scale: this method is here to be read
and compared with.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .result import Problem, Run

# Eigenvalues of an n x n matrix take about 10 n^3 operations: a second at n = 1000.
GRAM_MAX = 1000


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run."""
    L = lipschitz_bound(run.obj)
    while True:
        run.accept(run.theta - run.grad / L)


def lipschitz_bound(obj: Problem) -> float:
    """L of this file's head, or a number above it, from one pass over X.

    Up to `GRAM_MAX` rows of theta it is exact, from the Gram matrix. Above, where that matrix would cost
    more than many steps, the eigenvalue gives way to the trace sum_i w_i ||x_i||^2 / sum(w), which
    is at least as large and at most n times so; an objective without a ``source`` has the matrix only.
    """
    rows = obj.shape[0]
    if rows > GRAM_MAX and hasattr(obj, "source"):
        return 0.5 * _gram_trace(obj) + obj.l2
    from scipy.linalg import eigvalsh

    return 0.5 * float(eigvalsh(obj.gram(), subset_by_index=[rows - 1, rows - 1])[0]) + obj.l2


def _gram_trace(obj: Any) -> float:
    """Trace of ``obj.gram()``: the weighted mean of ||x_i||^2, and 1 for the intercept."""
    obj.n_passes += 1
    total = 0.0
    for rows in obj.source.chunks(obj.plan.chunk):
        # Rows in float32 are summed in float64 as they are read, without a copy of the chunk.
        squares = np.einsum("ij,ij->i", rows.X, rows.X, dtype=np.float64, casting="safe")
        total += float(squares.sum() if rows.w is None else squares @ rows.w)
    trace: float = total / obj.weight_sum + bool(obj.fit_intercept)
    if not np.isfinite(trace):
        raise FloatingPointError("the Lipschitz bound overflows: X is too large for a constant step")
    return trace
