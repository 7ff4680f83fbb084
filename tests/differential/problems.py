"""Problems on which solvers have a hard time: separable classes, repeated columns, weights of many scales."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.optimize

KINDS = ("plain", "separable", "nearly separable", "duplicated", "constant", "one row per class", "weights", "scales")


@dataclass(frozen=True, eq=False)
class Case:
    """A problem with an intercept; ``exists`` is whether it has a minimum."""

    kind: str
    X: np.ndarray
    y: np.ndarray
    k: int
    w: np.ndarray | None
    l2: float
    l1: float
    exists: bool


def draw(seed: int) -> Case:
    """The problem of a number."""
    rng = np.random.default_rng((20260, seed))
    kind = KINDS[seed % len(KINDS)]
    m, n, k = int(rng.integers(12, 60)), int(rng.integers(1, 5)), int(rng.integers(2, 5))
    X, w = rng.standard_normal((m, n)), None
    logits = X @ rng.standard_normal((n, k))
    y = np.argmax(logits + (0 if "separable" in kind else rng.gumbel(size=(m, k))), axis=1)
    if kind == "one row per class":
        X, y = X[:k], np.arange(k)
    y[:k] = np.arange(k)
    if kind == "separable":
        y = np.clip(np.digitize(X[:, 0], np.linspace(-0.5, 0.5, k - 1)), 0, k - 1)
        present, y = np.unique(y, return_inverse=True)
        k = max(2, len(present))
        if len(present) < 2:
            y[0] = 1 - y[0]
    if kind == "duplicated":
        X = np.hstack([X, X[:, :1] * rng.choice([1.0, -2.0])])
    if kind == "constant":
        X = np.hstack([X, np.full((len(X), 1), rng.choice([0.0, 1.0, 1e3]))])
    if kind == "scales":
        X = X * 10.0 ** rng.uniform(-3, 3, X.shape[1])
    if kind == "weights":
        w = 10.0 ** rng.uniform(-6, 6, len(X))
    l2 = float(rng.choice([0.0, 1e-4, 1e-2, 1.0]))
    l1 = float(10.0 ** rng.uniform(-3, -1)) if rng.random() < 0.15 else 0.0
    return Case(kind, X, y, k, w, l2, l1, l2 > 0 or l1 > 0 or not separable(X, y, k))


def separable(X: np.ndarray, y: np.ndarray, k: int) -> bool:
    """Whether some direction loses no margin of any row and gains one, by a linear program: then no minimum exists."""
    A = np.hstack([X / np.maximum(abs(X).max(axis=0), 1e-300), np.ones((len(X), 1))])
    rows = []
    for x, own in zip(A, y, strict=True):
        for c in range(k):
            if c != own:
                row = np.zeros((A.shape[1], k))
                row[:, own], row[:, c] = x, -x
                rows.append(row.ravel())
    margins = np.array(rows)
    found = scipy.optimize.linprog(-margins.sum(axis=0), A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=(-1, 1))
    return bool(found.status == 0 and -found.fun > 1e-7)
