"""`minimize`: what it says of its result is true."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastsoftmax import Objective, minimize, reference
from fastsoftmax.solvers.minimize import SOLVERS

from .. import draw
from ..verdict import require


def solve(rng: np.random.Generator, folder: Path) -> bool:
    m, n, k = (int(rng.integers(low, high)) for low, high in ((2, 60), (1, 6), (2, 5)))
    X = rng.standard_normal((m, n)) * 10.0 ** rng.uniform(-3, 3, n) + draw.one_of(rng, (0.0, 10.0))
    if rng.random() < 0.3:
        X[:, rng.integers(n)] = draw.one_of(rng, (0.0, 1.0, X[:, 0]))  # constant and repeated columns
    y = rng.integers(k, size=m) if rng.random() < 0.7 else np.clip((X[:, 0] > 0).astype(int), 0, k - 1)
    w = rng.random(m) + 1e-3 if rng.random() < 0.4 else None
    options = {"fit_intercept": bool(rng.integers(2)), "l2": float(10.0 ** rng.uniform(-6, 1))}
    obj = Objective(X, y, k, sample_weight=w, n_threads=1, **options)
    solver, tol = draw.one_of(rng, ("auto", "auto", *SOLVERS)), float(10.0 ** rng.uniform(-8, -2))
    result = minimize(obj, solver=solver, tol=tol, max_iter=int(rng.integers(1, 60)))
    value, grad = reference.value_and_grad(X, y, result.theta, sample_weight=w, **options)
    size = max(value, 1.0) * m * np.finfo(float).eps * 4
    scale = 1 + abs(X).max() * abs(result.theta).max()  # of the logits, whose roundings the loss has
    require(abs(result.value - value) <= size * scale, f"the value {value!r} is said to be {result.value!r}")
    require(np.isfinite(result.theta).all() and result.n_passes >= 1 and result.message, "no sound result")
    if result.converged and result.gap_bound is not None and result.gap_bound <= tol:
        # By strong convexity in the penalized parameters a value cannot lie further above the minimum than
        # ||gradient||^2 / (2 l2) says; the proven bound must not be below what another run reaches.
        best = minimize(obj, solver="newton", theta0=result.theta, tol=1e-12, max_iter=50)
        slack = size * scale / value
        require((result.value - best.value) / result.value <= tol + slack, f"a gap of {tol} was proven, and is larger")
    return False
