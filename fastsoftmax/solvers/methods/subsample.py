r"""A start from a sample of the rows: its minimum and its exact Hessian there, which are nearly those of all rows.

With p parameters and s rows drawn by chance, the minimum of the sample is one of all rows but for some p / (2 s) in the
loss, and a step by the sample's Hessian leaves a share of the gradient that goes with sqrt(n / s) (Roosta-Khorasani and
Mahoney, 2019, "Sub-sampled Newton methods", arXiv:1601.04737; that a sample be solved only as closely as it agrees with
the rest: Daneshmand, Lucchi and Hofmann, 2016, "Starting small", arXiv:1603.02839). The twenty passes and the Hessians
of Newton's method then read a 32nd part of the rows, and all rows are left with some steps of L-BFGS in that metric.

Passes over all rows and ms to a gap of 1e-6, with l2 = 1e-6:

===============================  ===========  =============
m x n, k                         from zero    from a sample
===============================  ===========  =============
50,000 x 10, 3, a rare class      26    32      17    21
100,000 x 10, 3, near separable   19    28       8    14
100,000 x 20, 5, bad scales       26    43       7    19
200,000 x 54, 7                   13    91       8    72
10^6 x 10, 3, a rare class        22   440       6    68
10^6 x 10, 3, nearly separable    19   332       6    62
10^6 x 54, 7                      13   463       6   287
===============================  ===========  =============

A run on a path starts where the one before has ended and takes the sample's Hessian there: ten l2 on 300,000 x 20,
k = 10, took 148 passes and 1.0 s, and take 72 and 0.5. Other runs that are given a start take no sample: from chance
ones they came to the minimum in more passes with it.

A class with few rows is in the sample with all of them, or with `FEW`, and the rows of each class weigh as much as
those of the whole class do. The coordinates are those of all rows, so that no column is taken for constant because it
is in the sample. Where the sample's Gram matrix is not like that of all rows all the same, as where most columns are
zero but for some rows, the sample is not used.

A sample proves nothing about all rows: a run that ends in its metric ends by its gradient norm, or by duality. The
proof of `local` takes the Hessian of all rows, (n + 1)(k - 1) / 8 passes where a run takes ten; only those of Newton's
method without a penalty, which have no other, end with it.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from typing import Any, cast

import numpy as np
from scipy.linalg.lapack import dpotrf

from ...data.sources.memory import ArraySource
from ...objective.objective import Objective
from ..geometry.hessian import Design
from ..geometry.hessian_metric import HessianMetric
from ..run import Run, Stop
from . import newton

# Rows of a sample: one of so many, but so many for each feature, and so many, at least. Bytes that they
# take in float64 at most.
ONE_OF, ROWS_EACH, ROWS_MIN = 32, 40, 6000
BYTES = 64 << 20
# A sample has at most one of so many rows: else there is little to gain.
LEAST_OF = 8
# Rows whose classes are counted at a time, since that takes 8 bytes each.
COUNTED = 1 << 20
# Rows of a class that are in the sample at least, if it has them.
FEW = 200
# The sample's minimum is found to a relative gap of this times p / s.
CLOSE = 0.1
# Steps on the sample at most.
STEPS_MAX = 60
# Eigenvalues of the sample's Gram matrix over those of all rows', within which they are alike.
ALIKE = 0.5, 2.0


def size(obj: Any) -> int | None:
    """How many rows a sample should have; None where it would not pay, or where rows cannot be picked."""
    if not isinstance(obj, Objective) or not isinstance(obj.source, ArraySource) or obj.source.y is None:
        return None
    m, n = obj.source.shape
    most = min(m // LEAST_OF, BYTES // (8 * obj.shape[0]))
    least = max(ROWS_EACH * n, ROWS_MIN)
    return max(least, min(m // ONE_OF, most)) if least <= most else None


def take(obj: Objective, count: int) -> Objective | None:
    """The objective of some rows, the same ones each time.

    None where rare classes would be most of it, or if all rows of some class that are in it weigh 0.
    """
    source: Any = obj.source
    m, k = source.shape[0], obj.n_classes
    rng = np.random.default_rng(0)
    rows = np.unique(rng.integers(0, m, count))
    parts = (np.bincount(source.y[a : a + COUNTED], minlength=k) for a in range(0, m, COUNTED))
    of_class = functools.reduce(np.add, parts)
    rare = of_class * count < FEW * m
    if np.minimum(of_class[rare], FEW).sum() > count:
        return None
    rows = np.sort(np.concatenate([rows[~rare[source.y[rows]]], *_rows_of(source.y, rare, rng)]))
    y = source.y[rows]
    w = np.ones(len(rows)) if source.w is None else source.w[rows]
    whole = of_class if source.w is None else np.bincount(source.y, weights=source.w, minlength=k)
    taken = np.bincount(y, weights=w, minlength=k)
    if np.any((taken == 0) & (whole > 0)):
        return None
    return Objective(
        source.pick(rows),
        y,
        k,
        fit_intercept=obj.fit_intercept,
        sample_weight=w * (whole / np.where(taken > 0, taken, 1.0))[y],
        l2=obj.l2,
        label_smoothing=source.smoothing,
        backend=obj.backend,
        n_threads=obj.n_threads,
    )


def _rows_of(y: np.ndarray, rare: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """All rows of each class that is rare, or `FEW`."""
    rows = np.flatnonzero(rare[y])
    own = [rows[y[rows] == each] for each in np.unique(y[rows])]
    return [each if len(each) <= FEW else rng.choice(each, FEW, replace=False) for each in own]


def start(run: Run, part: Objective, *, anew: bool = True) -> HessianMetric | None:
    """The Hessian of a sample, at its minimum, to where the run goes, or where the run is unless ``anew``.

    None, and the run stays, where the sample is not like all rows.
    """
    design = Design(part, run.metric)
    alike = is_like(part, design)
    theta = None if not alike else _minimum(run, part, design) if anew else run.theta
    near = None if theta is None else HessianMetric(part, theta, design)
    # In passes over all rows, rounded up; the Gram matrix is one over those of the sample.
    read = (part.n_passes + 1) * part.source.shape[0]
    run.obj.n_passes += -(-read // cast(Objective, run.obj).source.shape[0])
    if theta is None or near is None or not np.isfinite(near.ridge):
        return None
    if theta is not run.theta:
        value, grad = run.measure(theta)
        if not value < run.value:
            return None
        run.accept(theta, (value, grad))
    return near


def _minimum(run: Run, part: Objective, design: Design) -> np.ndarray | None:
    """Where a sample has its minimum, roughly; None where that is not to be found, as where it is separable."""
    p, s = run.theta.size - len(run.theta), part.source.shape[0]
    inner = Run(part, tol=max(run.tol, CLOSE * p / s), max_iter=STEPS_MAX, callback=None, known=run)
    with suppress(Stop, FloatingPointError):
        inner.accept(np.zeros(part.shape))
        newton.solve(inner, design)
    return inner.theta if inner.history and inner.converged else None


def is_like(part: Objective, design: Design) -> bool:
    """Whether a sample's Gram matrix is that of all rows, nearly, which is 1 in their metric."""
    gram = design.penalty.copy()
    for rows in design.chunks():
        X, w = np.asarray(rows.X), cast(np.ndarray, rows.w)
        gram += X.T @ (X * (w[:, None] * (design.metric.curvature / part.weight_sum)))
    out = design.left_out
    gram[out], gram[:, out] = 0.0, 0.0
    gram[out, out] = 1.0
    one = np.eye(len(gram))
    low, high = ALIKE
    return not dpotrf(gram - low * one)[1] and not dpotrf(high * one - gram)[1]
