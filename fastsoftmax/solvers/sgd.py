r"""Averaged stochastic gradients, for data that are read a few times or come as a stream: `partial_fit` is made of it.

.. math:: \theta \leftarrow \theta - \gamma M^{-1} \nabla_b(\theta), \qquad
          \bar\theta \leftarrow \bar\theta + \tfrac{2}{t + 1} (\theta - \bar\theta)

with the gradient of a mini-batch, a constant step and averaged iterates, as in Bach and Moulines (2013,
"Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n)"); the weights, which forget the
start, are those of Lacoste-Julien, Schmidt and Bach (2012, arXiv:1212.2002).

Three things make it work on columns as they come. M is the metric of Boehning's bound (see `metric`) from the moments
of the rows seen so far, so that scales and correlations have no part in the step; each time those rows have doubled
it is made anew. While they are few, their Gram matrix is no guide to rows not seen yet: its diagonal is raised
by n over their number. And gamma is 1 over the largest eigenvalue of the bound of one mini-batch in that
metric, which is what Bach and Moulines bound by R^2: no constant is left to be tuned.

A mini-batch is every s-th row of a chunk: data sorted by class do no harm, and nothing is copied or drawn.
With `minimize`, a walk over X is followed by a pass for the value at the average, where the next walk starts, with
twice the gamma: the bound is far above the curvature where rows are classified without doubt. If the value has not
fallen, gamma is halved, as where a constant step has come down to its noise (Bottou, Curtis and Nocedal, 2018, section
4.2), and that walk is not counted as a step, though its passes are. Where rows are many, a few walks come within 1 %
of the minimum (100,000 badly scaled ones, k = 5: two); the last digits are another solver's work.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..kernels import Rows, Sums, select
from ..kernels.plan import make_plan
from ..objective import explain_nonfinite
from .metric import Metric, Moments
from .result import Run

# Rows of a mini-batch: 1/32 of the chunk within these bounds. A kernel call costs what some hundred rows cost.
BATCH_MIN, BATCH_MAX = 32, 1024
# Features up to which M is a full matrix, and rows for each of them that go into it before it is sampled:
# then one row in SAMPLED keeps it up to date.
FULL_MAX, ROWS_EACH, SAMPLED = 500, 20, 8
# Factor on gamma after a walk that lowered the value.
GROWTH = 2.0
# Halvings of gamma in a row after which a walk that lowers the value is not to be expected.
HALVINGS = 10


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run; a step is a walk over X that lowers the value."""
    require_rows(run.obj)
    stream = Stream.start(run.theta)
    failures = 0
    while failures < HALVINGS:
        stream.restart(run.theta)
        stream.walk(run.obj)
        value, _ = run.evaluate(stream.average)
        if value < run.value:
            run.accept(stream.average)
            stream.factor, failures = GROWTH * stream.factor, 0
        else:
            stream.factor, failures = 0.5 * stream.factor, failures + 1
    run.stop(f"found no lower value in {HALVINGS} walks with smaller and smaller steps: another solver gets further")


def require_rows(obj: Any) -> None:
    """Mini-batches need an objective's rows, as arrays."""
    if not hasattr(obj, "source") or not isinstance(getattr(obj.source, "X", None), np.ndarray):
        raise TypeError("solver 'sgd' needs an objective with dense rows to walk over, as Objective makes of an array")


@dataclass
class Stream:
    """All that is known after some mini-batches.

    Attributes
    ----------
    theta, average : ndarray (n [+ 1], k)
        The iterate, and the weighted mean of all since the start: the answer.
    steps : int
        Mini-batches since the start.
    rows : float
        Rows seen.
    second, first : ndarray
        Sums of w x x^T, or of its diagonal, and of w x over `sampled` rows of total weight `weight`.
    factor : float
        On the step.
    """

    theta: np.ndarray
    average: np.ndarray
    steps: int = 0
    rows: float = 0.0
    factor: float = 1.0
    sampled: float = 0.0
    weight: float = 0.0
    second: np.ndarray = field(default_factory=lambda: np.zeros(0))
    first: np.ndarray = field(default_factory=lambda: np.zeros(0))
    metric: Metric | None = None
    made_at: float = 0.0
    gamma: float = 0.0
    gamma_rows: int = 1

    @classmethod
    def start(cls, theta: np.ndarray) -> Stream:
        return cls(theta.copy(), theta.copy())

    def restart(self, theta: np.ndarray) -> None:
        """Go on from theta; what is known of X stays."""
        self.theta, self.average, self.steps = theta.copy(), theta.copy(), 0

    def walk(self, obj: Any) -> None:
        """One pass over an objective's rows, in mini-batches."""
        n, k = obj.n_features, obj.n_classes
        obj.n_passes += 1
        kernels = select(obj.backend)[1]
        for chunk in obj.source.chunks(obj.plan.chunk):
            for rows in mini_batches(chunk):
                count = len(rows.X)
                total = float(count) if rows.w is None else float(rows.w.sum())
                if not total > 0.0:
                    continue
                plan = make_plan(count, n, k, obj.source.dtype, strategy="row-parallel")
                sums = Sums.zeros(plan.slabs, k, n, 1.0 / total)
                params = obj._parameters(self.theta)
                kernels.dense_value_and_grad(rows, params, plan, sums, min(obj.n_threads, plan.threads))
                if not np.isfinite(sums.loss).all():
                    explain_nonfinite(obj.source, obj.plan.chunk, "loss")
                self._learn(rows, total, obj)
                grad, bias = sums.total()
                grad = grad + obj.l2 * self.theta[:n]
                self._step(np.vstack([grad, bias]) if obj.fit_intercept else grad, count)

    def _step(self, grad: np.ndarray, count: int) -> None:
        assert self.metric is not None
        # The gradient of fewer rows than gamma was found for is the noisier.
        step = self.factor * self.gamma * min(1.0, count / self.gamma_rows)
        self.theta = self.theta - step * self.metric.to_theta(self.metric.to_phi_gradient(grad))
        self.steps += 1
        self.average = self.average + 2.0 / (self.steps + 1.0) * (self.theta - self.average)

    def _learn(self, rows: Rows, total: float, obj: Any) -> None:
        """Add a mini-batch to the moments where they need it, and make the metric anew where they have doubled."""
        n = obj.n_features
        self.rows += len(rows.X)
        if self.sampled > max(ROWS_EACH * n, self.rows / SAMPLED):
            return
        X = np.asarray(rows.X, np.float64)
        weighted = X if rows.w is None else rows.w[:, None] * X
        full = n <= FULL_MAX
        if not self.sampled:
            self.second, self.first = np.zeros((n, n) if full else n), np.zeros(n)
        self.second += weighted.T @ X if full else np.einsum("ij,ij->j", weighted, X)
        self.first += weighted.sum(axis=0)
        self.sampled += len(X)
        self.weight += total
        if self.sampled >= 2.0 * self.made_at:
            self._measure(X, rows.w, total, obj)

    def _measure(self, X: np.ndarray, w: np.ndarray | None, total: float, obj: Any) -> None:
        """Metric and gamma from the moments so far and one mini-batch."""
        second, first = self.second / self.weight, self.first / self.weight
        eps = float(np.finfo(obj.source.dtype).eps)
        if second.ndim == 2:
            variance = np.diagonal(second) - (first**2 if obj.fit_intercept else 0.0)
            second[np.diag_indices_from(second)] += len(first) / self.sampled * np.maximum(variance, 0.0)
        self.metric = Metric(Moments(second, first if obj.fit_intercept else None, eps), obj.l2)
        A = self.metric.design(X) * np.sqrt(0.5 / total if w is None else 0.5 * w / total)[..., None]
        largest = float(np.linalg.eigvalsh(A @ A.T if len(A) < A.shape[1] else A.T @ A)[-1])
        self.gamma, self.gamma_rows, self.made_at = 1.0 / max(1.0, largest), len(X), self.sampled


def mini_batches(chunk: Rows) -> Iterator[Rows]:
    """A chunk in interleaved parts: every s-th row, from the first, the second, ... on; views."""
    assert isinstance(chunk.X, np.ndarray)
    count = len(chunk.X)
    size = min(max(BATCH_MIN, count // 32), BATCH_MAX)
    stride = max(1, count // size)
    for first in range(stride):
        every = slice(first, None, stride)
        y, w, soft = (
            None if part is None else np.ascontiguousarray(part[every]) for part in (chunk.y, chunk.w, chunk.soft)
        )
        yield replace(chunk, X=chunk.X[every], y=y, w=w, soft=soft, start=chunk.start + first)
