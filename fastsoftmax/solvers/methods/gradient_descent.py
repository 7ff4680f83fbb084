r"""Gradient descent with the constant step 1/L: the simplest method, here to be read and compared with.

.. math:: \theta \leftarrow \theta - \tfrac{1}{L} \nabla, \qquad
          L = \tfrac12 \lambda_{\max}\!\Big(\frac{X^T W X}{\sum_i w_i}\Big) + l_2

The step is safe because the Hessian is nowhere above L. Per row it is
(diag(z) - z z^T) (x) x x^T, and diag(z) - z z^T is at most half the identity (Böhning, 1992,
"Multinomial logistic regression algorithm"): every step lowers the value by at least
||gradient||^2 / (2 L). With an intercept X includes its column of ones, so that the bound holds for the
bias as well. Where columns differ in scale it takes thousands of passes.
"""

from __future__ import annotations

import numpy as np

from ..geometry.metric import Moments
from ..run import Run

# Eigenvalues of an n x n matrix take about 10 n^3 operations: a second at n = 1000.
GRAM_MAX = 1000


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run."""
    L = lipschitz_bound(run.moments, run.obj.l2)
    while True:
        run.accept(run.theta - run.grad / L)


def lipschitz_bound(moments: Moments, l2: float) -> float:
    """L of this file's head, or a number above it.

    Up to `GRAM_MAX` features it is L itself, from the Gram matrix. Above, where the eigenvalue would cost
    more than many steps, the trace sum_i w_i ||x_i||^2 / sum(w) takes its place, which is at least as large
    and at most n times as large.
    """
    if len(moments.diagonal) > GRAM_MAX or moments.second.ndim == 1:
        return 0.5 * (float(moments.diagonal.sum()) + (moments.mean is not None)) + l2
    from scipy.linalg import eigvalsh

    gram = moments.second
    if moments.mean is not None:
        gram = np.block([[gram, moments.mean[:, None]], [moments.mean, np.ones(1)]])
    last = len(gram) - 1
    return 0.5 * float(eigvalsh(gram, subset_by_index=[last, last])[0]) + l2
