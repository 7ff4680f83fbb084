r"""A start from a subsample of the rows: its minimum and its exact Hessian there, which are nearly those of all rows.

With p parameters and s rows drawn at random, the loss of all rows at the subsample's minimum is about p / (2 s) above
its own minimum, and a step with the subsample's Hessian leaves a share of the gradient that goes with sqrt(n / s)
(Roosta-Khorasani and Mahoney, 2019, "Sub-sampled Newton methods", arXiv:1601.04737; that a subsample should be solved
only as closely as it agrees with the rest: Daneshmand, Lucchi and Hofmann, 2016, "Starting small", arXiv:1603.02839).
The twenty passes and the Hessians of Newton's method then read a 32nd of the rows, and what is left for all rows is
some steps of L-BFGS in the metric of that Hessian.

Passes over all rows and ms to a gap of 1e-6, with l2 = 1e-6:

===============================  ===========  =============
m x n, k                         from zero    subsampled
===============================  ===========  =============
50,000 x 10, 3, a rare class      26    32      17    21
100,000 x 10, 3, near separable   19    28       8    14
100,000 x 20, 5, bad scales       26    43       7    19
200,000 x 54, 7                   13    91       8    72
10^6 x 10, 3, a rare class        22   440       6    68
10^6 x 10, 3, nearly separable    19   332       6    62
10^6 x 54, 7                      13   463       6   287
===============================  ===========  =============

A run on a path starts where the previous one has ended and takes the subsample's Hessian there. Ten l2 on 300,000 x 20,
k = 10: 72 passes in 0.5 s, and 148 in 1.0 s without. Other runs that are given a start use no subsample: from random
starts they needed more passes with it.

A class with few rows is in the subsample with all of them, or with `FEW`, and the weights are such that each class has
its total weight among all rows. The coordinates are those of all rows, so that a column which happens to be constant in
the subsample is not taken for constant. Where its Gram matrix still differs much from that of all rows, as where most
columns are zero except in some rows, the subsample is not used.

A run that ends in the subsample's metric ends by its gradient norm. Its gap is then so small that the bound of
`geometry.hessian_metric` proves it with the subsample's Hessian alone, of which the Hessian of all rows is at least
`Part.share`. Newton's method without a penalty computes the latter at the end, to know that there is a minimum.
"""

from __future__ import annotations

import functools
from contextlib import suppress

import numpy as np
from scipy.linalg.lapack import dpotrf

from ...objective.objective import Objective
from ...objective.problem import Problem
from ..geometry.hessian import Design
from ..geometry.hessian_metric import HessianMetric
from ..run import Run, Stop
from . import newton

# A subsample has one of ONE_OF rows, but at least ROWS_EACH for each feature and at least ROWS_MIN ...
ONE_OF, ROWS_EACH, ROWS_MIN = 32, 40, 6000
# ... and at most so many that they take this many bytes in float64.
BYTES = 64 << 20
# If it would need more than one of so many rows, there is little to gain, and there is no subsample.
LEAST_OF = 8
# The rows of each class are counted in pieces of this many rows, since counting takes 8 bytes a row.
COUNTED = 1 << 20
# Rows of each class in the subsample at least, if the class has as many.
FEW = 200
# Its minimum is found to a relative gap of this times p / s.
CLOSE = 0.1
# Most steps on the subsample.
STEPS_MAX = 60
# In coordinates where the Gram matrix of all rows is 1, the eigenvalues of the subsample's must be between these.
ALIKE = 0.5, 2.0


class Part(Objective):
    """The objective of a subsample.

    Attributes
    ----------
    share : float
        Its Hessian times this is at most that of all rows.
    """

    share = 0.0


def size(obj: Problem) -> int | None:
    """How many rows a subsample should have; None where it would not pay."""
    if not isinstance(obj, Objective) or obj.sparse or obj.y is None:
        return None
    m, n = obj.n_rows, obj.n_features
    most = min(m // LEAST_OF, BYTES // (8 * obj.shape[0]))
    least = max(ROWS_EACH * n, ROWS_MIN)
    return max(least, min(m // ONE_OF, most)) if least <= most else None


def take(obj: Objective, count: int) -> Part | None:
    """The objective of a subsample of about ``count`` rows, the same rows in every call.

    None where rare classes would be most of it, or where a class has weight but none in the subsample.
    """
    labels, weights, m, k = obj.y, obj.w, obj.n_rows, obj.n_classes
    assert labels is not None
    rng = np.random.default_rng(0)
    rows = np.unique(rng.integers(0, m, count))
    parts = (np.bincount(labels[a : a + COUNTED], minlength=k) for a in range(0, m, COUNTED))
    of_class = functools.reduce(np.add, parts)
    rare = of_class * count < FEW * m
    if np.minimum(of_class[rare], FEW).sum() > count:
        return None
    rows = np.sort(np.concatenate([rows[~rare[labels[rows]]], *_rows_of(labels, rare, rng)]))
    y = labels[rows]
    w = np.ones(len(rows)) if weights is None else weights[rows]
    whole = of_class if weights is None else np.bincount(labels, weights=weights, minlength=k)
    taken = np.bincount(y, weights=w, minlength=k)
    if np.any((taken == 0) & (whole > 0)):
        return None
    raised = whole / np.where(taken > 0, taken, 1.0)
    part = Part(
        obj.pick(rows),
        y,
        k,
        fit_intercept=obj.fit_intercept,
        sample_weight=w * raised[y],
        l2=obj.l2,
        label_smoothing=obj.smoothing,
        backend=obj.backend,
        n_threads=obj.n_threads,
    )
    part.share = 1.0 / float(raised.max())
    return part


def _rows_of(y: np.ndarray, rare: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """For each rare class the numbers of all its rows, or of `FEW` of them."""
    rows = np.flatnonzero(rare[y])
    own = [rows[y[rows] == each] for each in np.unique(y[rows])]
    return [each if len(each) <= FEW else rng.choice(each, FEW, replace=False) for each in own]


def start(run: Run, part: Objective, *, from_zero: bool = True) -> HessianMetric | None:
    """The Hessian of a subsample: at its minimum, to which the run moves, or at the run's theta unless ``from_zero``.

    None, and the run stays where it is, if the subsample is not like all rows or has no minimum.
    """
    design = Design(part, run.metric)
    alike = is_like(design)
    theta = None if not alike else _minimum(run, part, design) if from_zero else run.theta
    near = None if theta is None else HessianMetric(part, theta, design)
    assert isinstance(run.obj, Objective)
    run.obj.count_subset(part)
    if theta is None or near is None or not np.isfinite(near.ridge):
        return None
    if theta is not run.theta:
        value, grad = run.measure(theta)
        if not value < run.value:
            return None
        run.accept(theta, (value, grad))
    return near


def _minimum(run: Run, part: Objective, design: Design) -> np.ndarray | None:
    """About the minimum of a subsample; None where the run does not converge, as with separable classes."""
    p, s = run.theta.size - len(run.theta), part.n_rows
    inner = Run(part, tol=max(run.tol, CLOSE * p / s), max_iter=STEPS_MAX, callback=None, similar_run=run)
    with suppress(Stop, FloatingPointError):
        inner.accept(np.zeros(part.shape))
        newton.solve(inner, design)
    return inner.theta if inner.history and inner.converged else None


def is_like(design: Design) -> bool:
    """Whether a subsample's Gram matrix is nearly that of all rows, which is 1 in the coordinates of its metric."""
    gram, out = design.penalty + design.rows.gram(design.metric.curvature), design.left_out
    gram[out], gram[:, out] = 0.0, 0.0
    gram[out, out] = 1.0
    one = np.eye(len(gram))
    low, high = ALIKE
    return not dpotrf(gram - low * one)[1] and not dpotrf(high * one - gram)[1]
