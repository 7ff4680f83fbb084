r"""Averaged stochastic gradients, for data that are read a few times or come as a stream: `partial_fit` is made of it.

.. math:: \theta \leftarrow \theta - \gamma M^{-1} \nabla_b(\theta), \qquad
          \bar\theta \leftarrow \bar\theta + \tfrac{2}{t + 1} (\theta - \bar\theta)

with the gradient of a mini-batch, a constant step and averaged iterates, as in Bach and Moulines (2013,
"Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n)"); the weights, which forget the
start, are those of Lacoste-Julien, Schmidt and Bach (2012, arXiv:1212.2002).

Three things make it work on columns as they come. M is the metric of Boehning's bound (see `metric`) from the moments
of the rows seen so far, so that scales and correlations have no part in the step; each time those rows have doubled
it is made anew. While they are few, their Gram matrix is no guide to rows not seen yet: its diagonal is raised
by n over their number; a column that has not varied yet has no scale, and its parameters wait until it has. And gamma
is 1 over the largest eigenvalue of the bound of one mini-batch in that metric, which is what Bach and Moulines bound by
R^2: no constant is left to be tuned. Products with the rows find it, so that neither a Gram matrix of the mini-batch
nor a dense copy of sparse rows is made.

A mini-batch is every s-th row of a chunk: data sorted by class do no harm, and nothing is drawn; of dense rows nothing
is copied. A step touches all of theta, a row of which costs what some entries of sparse X cost in the kernels: where
entries are few beside columns, mini-batches have more rows.
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

from ...kernels.backends import select
from ...kernels.contract import Csr, Kernels, Rows
from ...objective import reduce
from ...objective.objective import explain_nonfinite
from ...objective.passes import passes_over
from ..geometry.metric import Metric, Moments, summed_in_float64
from ..run import Run

# Rows of a mini-batch: 1/32 of the chunk within these bounds. A kernel call costs what some hundred rows cost.
BATCH_MIN, BATCH_MAX = 32, 1024
# ... but this many entries for each column at least. A step's own work on theta (zeros for the gradient, penalty,
# metric, average) costs what some ten do: 118k x 168k with 12 a column, k = 45, 90 ms a step, and 65 a pass.
# With 2, 6, 12 a walk takes 0.66, 0.35, 0.45 s in 6, 2, 1 steps; the value falls about as far in the same time.
COLUMN_ENTRIES = 6
# Features up to which M is a full matrix, and rows for each of them that go into it before it is sampled:
# then one row in SAMPLED keeps it up to date.
FULL_MAX, ROWS_EACH, SAMPLED = 500, 20, 8
# Products with the rows of a mini-batch and their transpose, for an eigenvalue to some percent.
POWER = 20
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
    if not hasattr(obj, "source") or not isinstance(getattr(obj.source, "X", None), np.ndarray | Csr):
        raise TypeError("solver 'sgd' needs an objective with rows to walk over, as Objective makes of an array")


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
        obj.n_passes += 1
        kernels = select(obj.backend)[1]
        for chunk in obj.source.chunks(obj.plan.chunk):
            for rows in mini_batches(chunk):
                total = float(len(rows.X)) if rows.w is None else float(rows.w.sum())
                if not total > 0.0:
                    continue
                grad = self._gradient(rows, total, obj, kernels)
                self._learn(rows, total, obj)
                self._step(grad, len(rows.X))

    def _gradient(self, rows: Rows, total: float, obj: Any, kernels: Kernels) -> np.ndarray:
        """Of the objective on a mini-batch, at theta."""
        targets = rows.y if rows.soft is None else rows.soft
        passes = passes_over(rows.X, kernels, targets, rows.w, smoothing=rows.smoothing)
        plan, params = passes.plan(obj.n_classes), obj._parameters(self.theta)
        sums, threads = passes.sums(plan, obj.n_classes, 1.0 / total), min(obj.n_threads, plan.threads)
        for part in passes.chunks(plan):
            passes.value_and_grad(part, params, plan, sums, threads)
        grad, finite, _ = passes.gradient(sums, self.theta, obj.l2, threads)
        if not (finite and np.isfinite(sums.loss).all()):
            explain_nonfinite(obj.source, obj.plan.chunk, "loss")
        return grad

    def _step(self, grad: np.ndarray, count: int) -> None:
        assert self.metric is not None
        # The gradient of fewer rows than gamma was found for is the noisier.
        step = self.factor * self.gamma * min(1.0, count / self.gamma_rows)
        direction = self.metric.precondition(grad, out=grad)
        self.steps += 1
        share = 2.0 / (self.steps + 1.0)
        for a, b in reduce.blocks(direction):
            theta, average = self.theta[a:b], self.average[a:b]
            theta -= step * direction[a:b]
            average += share * (theta - average)

    def _learn(self, rows: Rows, total: float, obj: Any) -> None:
        """Add a mini-batch to the moments where they need it, and make the metric anew where they have doubled."""
        n = obj.n_features
        self.rows += len(rows.X)
        if self.sampled > max(ROWS_EACH * n, self.rows / SAMPLED):
            return
        X = in_float64(rows.X)
        w = np.ones(len(rows.X)) if rows.w is None else rows.w
        if not self.sampled:
            self.second, self.first = np.zeros((n, n) if n <= FULL_MAX else n), np.zeros(n)
        self.second += weighted_squares(X, w, full=self.second.ndim == 2)
        self.first += X.T @ w
        self.sampled += len(w)
        self.weight += total
        if self.sampled >= 2.0 * self.made_at:
            self._measure(X, w / total, obj)

    def _measure(self, X: Any, w: np.ndarray, obj: Any) -> None:
        """Metric and gamma from the moments so far and one mini-batch."""
        second, first = self.second / self.weight, self.first / self.weight
        eps = float(np.finfo(obj.source.dtype).eps)
        mean = first if obj.fit_intercept else None
        moments = Moments(second, mean, eps, summed_in_float64(eps, int(self.sampled)))
        variance = moments.variance
        still = variance <= moments.noise
        if second.ndim == 2:
            second[np.diag_indices_from(second)] += len(first) / self.sampled * variance
        self.metric = Metric(moments, obj.l2)
        # The penalty alone would give a column not seen to vary a step as long as 1 / l2 where it first does.
        self.metric.hold(still)
        largest = largest_eigenvalue(X, 0.5 * w, self.metric)
        self.gamma, self.gamma_rows, self.made_at = 1.0 / max(1.0, largest), len(w), self.sampled


def mini_batches(chunk: Rows) -> Iterator[Rows]:
    """A chunk in interleaved parts: every s-th row, from the first, the second, ... on; views, but of sparse rows."""
    count = len(chunk.X)
    size = min(max(BATCH_MIN, count // 32), BATCH_MAX)
    if isinstance(chunk.X, Csr):
        size = max(size, COLUMN_ENTRIES * chunk.X.n * count // max(1, len(chunk.X.data)))
    stride = max(1, count // size)
    for first in range(stride):
        every = slice(first, None, stride)
        y, w, soft = (
            None if part is None else np.ascontiguousarray(part[every]) for part in (chunk.y, chunk.w, chunk.soft)
        )
        yield replace(chunk, X=every_row(chunk.X, every), y=y, w=w, soft=soft, start=chunk.start + first)


def every_row(X: np.ndarray | Csr, every: slice) -> np.ndarray | Csr:
    """Those rows: a view, or a copy of the entries of sparse ones."""
    if not isinstance(X, Csr):
        return X[every]
    part = X.to_scipy()[every]
    return Csr(part.indptr.astype(np.int64, copy=False), part.indices, part.data, X.n)


def in_float64(X: np.ndarray | Csr) -> Any:
    """Rows as an array, or an array of SciPy, for products in float64."""
    if not isinstance(X, Csr):
        return np.asarray(X, np.float64)
    return X.to_scipy().astype(np.float64, copy=False)


def weighted_squares(X: Any, w: np.ndarray, *, full: bool) -> np.ndarray:
    """X^T diag(w) X, or its diagonal; a dense (n, n) at most."""
    out: np.ndarray
    if isinstance(X, np.ndarray):
        out = (w[:, None] * X).T @ X if full else np.einsum("i,ij,ij->j", w, X, X)
    else:
        out = (X.multiply(w[:, None]).tocsr().T @ X).toarray() if full else X.power(2).T @ w
    return out


def largest_eigenvalue(X: Any, w: np.ndarray, metric: Metric) -> float:
    """Of X_phi^T diag(w) X_phi with X_phi the rows in the coordinates of `metric`, by power iteration."""
    n = X.shape[1]
    phi = np.random.default_rng(0).standard_normal((n + (metric.mean is not None), 1))
    value = 0.0
    for _ in range(POWER):
        length = float(np.linalg.norm(phi))
        if not length:
            break
        theta = metric.to_theta(phi / length)
        logits = X @ theta[:n, 0] + (0.0 if metric.mean is None else theta[n, 0])
        value = float(w @ logits**2)
        grad = np.append(X.T @ (w * logits), w @ logits)[: len(phi), None]
        phi = metric.to_phi_gradient(grad)
    return value
