r"""Newton's method with the exact Hessian: some ten steps, each a Cholesky factorisation of all n k unknowns.

.. math:: \nabla^2 f(\theta)\, d = -\nabla f(\theta), \qquad \theta \leftarrow \theta + t d

with the first t of 1, 1/2, 1/4, ... that lowers the value enough. The Hessian is made by one walk over X (see
`curvature`), in the coordinates of the bound's metric: there it is at most 1 in every direction, and Cholesky meets
neither scales nor collinear columns. A shift of all classes alike
changes no logit's difference: the loss has no curvature there and no slope. The penalty alone has an opinion, which is
that the shift be zero, and so that part of a step is known without a system. Convergence is quadratic near the
optimum (Nocedal and Wright, "Numerical optimization", section 3.3), which suits nearly separable data.
"""

from __future__ import annotations

import numpy as np

from .curvature import Design, can_walk, has_hessian, hessian
from .result import Run

# Unknowns at most: the Hessian takes 8 (n k)^2 bytes, 0.8 GB here.
SIZE_MAX = 10_000


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run."""
    if not can_walk(run.obj):
        raise TypeError("solver 'newton' needs an objective with rows to walk over (source, weight_sum), as Objective")
    if not has_hessian(run.obj):
        raise ValueError(
            "solver 'newton' needs dense X, since the exact Hessian is dense; X is sparse: use 'newton_cg'"
        )
    size = run.obj.shape[0] * run.obj.shape[1]
    if size > SIZE_MAX:
        raise ValueError(f"solver 'newton' takes at most {SIZE_MAX} parameters; theta has {size}: use 'newton_cg'")
    design = Design(run.obj, run.metric)
    while True:
        run.descend(direction(run, design))


def direction(run: Run, design: Design) -> np.ndarray:
    """Newton's step from the current iterate."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    rows, k = run.obj.shape
    grad = run.metric.to_phi_gradient(run.grad)
    grad = grad - grad.mean(axis=1, keepdims=True)
    H = hessian(run.obj, run.theta, design)
    diagonal = np.einsum("ii->i", H)
    step = -grad
    # Where rounding leaves an eigenvalue below zero; a direction without curvature has no slope either.
    for ridge in (1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4):
        diagonal += ridge
        try:
            step = -cho_solve(cho_factor(H, lower=True, check_finite=False), grad.T.ravel()).reshape(k, rows).T
            break
        except LinAlgError:
            continue
    out = run.metric.to_theta(step)
    if run.obj.l2 > 0:
        n = rows - run.obj.fit_intercept
        out[:n] -= run.theta[:n].mean(axis=1, keepdims=True)
    return out
