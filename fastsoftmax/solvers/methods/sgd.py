r"""Averaged stochastic gradients, for data that are read a few times or come as a stream; `partial_fit` uses it.

.. math:: \theta \leftarrow \theta - \gamma M^{-1} \nabla_b(\theta), \qquad
          \bar\theta \leftarrow \bar\theta + \tfrac{2}{t + 1} (\theta - \bar\theta)

with the gradient of a mini-batch, a constant step and averaged iterates, as in Bach and Moulines (2013,
"Non-strongly-convex smooth stochastic approximation with convergence rate O(1/n)"); the weights, which forget the
start, are those of Lacoste-Julien, Schmidt and Bach (2012, arXiv:1212.2002).

Three things make it work on columns of any scale. M is the metric of Böhning's bound (see `geometry.metric`) from the
moments of the rows seen so far, so that steps do not depend on scales and correlations; it is computed anew each time
those rows have doubled. While the rows are few, their Gram matrix says little about rows to come, and its diagonal is
raised by n over their number; a column that has not varied yet has no scale, and its parameters wait until it has. And
gamma is 1 over the largest eigenvalue of one mini-batch's bound in that metric, the quantity that Bach and Moulines
bound by R^2, so that no constant has to be tuned. The eigenvalue comes from products with the rows, so that neither a
Gram matrix of the mini-batch nor a dense copy of sparse rows is made.

A mini-batch is every s-th row of a chunk: data sorted by class do no harm, nothing is drawn at random, and dense rows
are not copied. A step touches all of theta, and a row of theta costs as much as some entries of sparse X in the
kernels, so that mini-batches are larger where there are few entries for each column.

In `minimize`, a walk over X is followed by a pass for the value at the average, which is where the next walk starts,
with gamma doubled: the bound is far above the curvature where rows are classified without doubt. If the value has not
fallen, the constant step has come down to its noise (Bottou, Curtis and Nocedal, 2018, section 4.2). Then gamma is
halved, and the walk does not count as a step, though its passes are counted. Where rows are many, a few walks come
within 1 % of the minimum (two for 100,000 badly scaled rows, k = 5). For more digits take another solver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...data.bfloat16 import as_numbers
from ...kernels.contract import Csr, Rows
from ...objective import reduce
from ...objective.problem import ProblemWithRows, RowsInOrder, has_order, is_here
from ..geometry.metric import Metric, Moments, summed_in_float64
from ..run import Run

# Rows of a mini-batch: 1/32 of the chunk within these bounds. A kernel call costs as much as some hundred rows.
BATCH_MIN, BATCH_MAX = 32, 1024
# Sparse mini-batches have at least this many entries for each column, since a step's own work on theta (zeros for the
# gradient, penalty, metric, average) costs as much as some ten entries for each column. 118k x 168k, k = 45, 12 entries
# a column: 90 ms a step and 65 ms a pass. With 2, 6, 12 a walk takes 0.66, 0.35, 0.45 s in 6, 2, 1 steps, and the value
# falls about equally in the same time.
COLUMN_ENTRIES = 6
# Up to FULL_MAX features M is a full matrix. Once ROWS_EACH rows for each feature have gone into it, only one row in
# SAMPLED does.
FULL_MAX, ROWS_EACH, SAMPLED = 500, 20, 8
# Steps of power iteration, for an eigenvalue that is right to some percent.
POWER = 20
# Factor on gamma after a walk that lowered the value.
GROWTH = 2.0
# After so many halvings of gamma in a row the run gives up.
HALVINGS = 10
# The numbers of a `Stream`.
NUMBERS = "steps rows factor sampled weight made_at gamma gamma_rows".split()


def solve(run: Run) -> None:
    """Step until `Run.accept` stops the run; a step is a walk over X that lowers the value."""
    if not has_order(run.obj):
        raise TypeError("solver 'sgd' needs an objective whose rows can be walked (objective.problem), as Objective")
    stream = Stream.start(run.theta)
    failures = 0
    while failures < HALVINGS:
        stream.restart(run.theta)
        stream = _walk(run, stream)
        value, _ = run.evaluate(stream.average)
        if value < run.value:
            run.accept(stream.average)
            stream.factor, failures = GROWTH * stream.factor, 0
        else:
            stream.factor, failures = 0.5 * stream.factor, failures + 1
    run.stop(f"found no lower value in {HALVINGS} walks with smaller and smaller steps: another solver gets further")


def _walk(run: Run, stream: Stream) -> Stream:
    """The state after a walk over the rows. What a journal has of it, all or its first chunks, is not walked again."""
    obj, journal, start = run.obj, run.journal, run.theta
    assert has_order(obj)
    if journal is None:
        return obj.fold(walked, stream)
    repeated = True

    def walk() -> tuple[Any, ...]:
        nonlocal stream, repeated
        repeated, done = False, 0
        if not is_here(obj):  # a walk on other machines is kept where it has ended
            stream = obj.fold(walked, stream)
            return stream.state()
        if (begun := journal.walk_begun(start)) is not None:
            done = int(begun[0])
            stream.restore(begun[1:])
        stream.walk(obj, done, lambda count: journal.between_chunks(start, (float(count), *stream.state())))
        return stream.state()

    state = run.ask("walk", start, walk)
    if repeated:
        stream.restore(state)
    return stream


def walked(obj: RowsInOrder, stream: Stream) -> Stream:
    """The state after a walk over an objective's rows."""
    stream.walk(obj)
    return stream


@dataclass
class Stream:
    """The state after some mini-batches: the iterate, its average, and the moments of the rows seen.

    Attributes
    ----------
    theta, average : ndarray (n [+ 1], k)
        The iterate, and the weighted mean of all iterates since the start, which is the result.
    steps : int
        Mini-batches since the start.
    rows : float
        Rows seen.
    factor : float
        Factor on gamma; a caller may change it between walks.
    second, first : ndarray
        Sums of w x x^T, or of its diagonal, and of w x over ``sampled`` rows of total weight ``weight``.
    metric : Metric or None
        M, from the moments of the first ``made_at`` rows that were sampled.
    still : bool ndarray (n,)
        The columns that had not varied then, which M leaves out.
    gamma, gamma_rows
        The step that one mini-batch of ``gamma_rows`` rows allows.
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
    still: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    made_at: float = 0.0
    gamma: float = 0.0
    gamma_rows: int = 1

    @classmethod
    def start(cls, theta: np.ndarray) -> Stream:
        return cls(theta.copy(), theta.copy())

    def restart(self, theta: np.ndarray) -> None:
        """Begin a new average at theta; moments and metric stay."""
        self.theta, self.average, self.steps = theta.copy(), theta.copy(), 0

    def state(self) -> tuple[Any, ...]:
        """All of this object as arrays and floats, for `restore`."""
        metric, arrays = self.metric, (self.theta, self.average, self.second, self.first)
        numbers = tuple(float(getattr(self, name)) for name in NUMBERS)
        if metric is None:
            return (*arrays, *numbers)
        moments, mean = metric.moments, () if metric.mean is None else (metric.mean,)
        summed = moments.eps if moments.summed is None else moments.summed
        return (*arrays, *numbers, moments.eps, summed, metric.l2, moments.second, self.still, *mean)

    def restore(self, state: tuple[Any, ...]) -> None:
        """Become what an object was when it returned a state."""
        count = 4 + len(NUMBERS)
        self.theta, self.average, self.second, self.first = state[:4]
        for name, number in zip(NUMBERS, state[4:count], strict=True):
            setattr(self, name, number)
        self.steps, self.gamma_rows, self.metric = int(self.steps), int(self.gamma_rows), None
        if len(state) > count:
            eps, summed, l2, second, still, *mean = state[count:]
            self.still = still.astype(bool)
            self.metric = Metric(Moments(second, mean[0] if mean else None, eps, summed), l2)
            self.metric.hold(self.still)

    def walk(self, obj: RowsInOrder, done: int = 0, after: Callable[[int], None] = lambda count: None) -> None:
        """One pass over an objective's rows, in mini-batches.

        Without its first ``done`` chunks; ``after`` is called after each of the others, with the number of chunks done.
        """
        for count, chunk in enumerate(obj.walk(), 1):
            if count <= done:
                continue
            for rows in mini_batches(chunk):
                total = float(len(rows.X)) if rows.w is None else float(rows.w.sum())
                if not total > 0.0:
                    continue
                grad = obj.gradient_on(rows, self.theta)
                self._learn(rows, total, obj)
                self._step(grad, len(rows.X))
            after(count)

    def _step(self, grad: np.ndarray, count: int) -> None:
        assert self.metric is not None
        # A gradient of fewer rows than gamma was made for is noisier: a shorter step.
        step = self.factor * self.gamma * min(1.0, count / self.gamma_rows)
        direction = self.metric.precondition(grad, out=grad)
        self.steps += 1
        share = 2.0 / (self.steps + 1.0)
        for a, b in reduce.blocks(direction):
            theta, average = self.theta[a:b], self.average[a:b]
            theta -= step * direction[a:b]
            average += share * (theta - average)

    def _learn(self, rows: Rows, total: float, obj: ProblemWithRows) -> None:
        """Add a mini-batch to the moments if they need more rows, and compute the metric anew once those have
        doubled."""
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

    def _measure(self, X: Any, w: np.ndarray, obj: ProblemWithRows) -> None:
        """Metric and gamma from the moments so far and one mini-batch."""
        second, first = self.second / self.weight, self.first / self.weight
        eps = float(np.finfo(obj.dtype).eps)
        mean = first if obj.fit_intercept else None
        moments = Moments(second, mean, eps, summed_in_float64(eps, int(self.sampled)))
        variance = moments.variance
        still = variance <= moments.noise
        if second.ndim == 2:
            second[np.diag_indices_from(second)] += len(first) / self.sampled * variance
        self.metric, self.still = Metric(moments, obj.l2), still
        # Else l2 alone would scale a column that has not varied yet: a step as long as 1 / l2 where it first does.
        self.metric.hold(still)
        largest = largest_eigenvalue(X, 0.5 * w, self.metric)
        self.gamma, self.gamma_rows, self.made_at = 1.0 / max(1.0, largest), len(w), self.sampled


def mini_batches(chunk: Rows) -> Iterator[Rows]:
    """A chunk in interleaved parts: every s-th row from the first on, from the second on, ... Dense rows are views."""
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
    """The rows of a slice: a view of dense X, a copy of the entries of sparse X."""
    if not isinstance(X, Csr):
        return X[every]
    part = X.to_scipy()[every]
    return Csr(part.indptr.astype(np.int64, copy=False), part.indices, part.data, X.n)


def in_float64(X: np.ndarray | Csr) -> Any:
    """Rows as a float64 ndarray or csr_array."""
    if not isinstance(X, Csr):
        return np.asarray(as_numbers(X), np.float64)
    return X.to_scipy().astype(np.float64, copy=False)


def weighted_squares(X: Any, w: np.ndarray, *, full: bool) -> np.ndarray:
    """X^T diag(w) X as a dense (n, n) array if ``full``, else its diagonal."""
    out: np.ndarray
    if isinstance(X, np.ndarray):
        out = (w[:, None] * X).T @ X if full else np.einsum("i,ij,ij->j", w, X, X)
    else:
        out = (X.multiply(w[:, None]).tocsr().T @ X).toarray() if full else X.power(2).T @ w
    return out


def largest_eigenvalue(X: Any, w: np.ndarray, metric: Metric) -> float:
    """Largest eigenvalue of X_phi^T diag(w) X_phi, X_phi the rows in the coordinates of a metric: power iteration."""
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
