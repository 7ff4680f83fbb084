"""`Sweeps`: what solvers make of the rows of an objective besides values and gradients. Each counts its own passes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from ...data import validation
from ...data.bfloat16 import as_numbers
from ...kernels.contract import Csr, Parameters, Rows
from ..passes import explain_nonfinite, passes_over
from ..problem import ColumnSums, CurvatureSums, RowsInOrder, State
from . import curvature
from .design import ChunkedDesign, hessian_plan
from .facts import Facts


class Sweeps(Facts):
    """The part of `Objective` that `problem.ProblemWithRows` asks for beside value and gradient."""

    def walk(self) -> Iterator[Rows]:
        """All rows in order, a chunk at a time, as one pass."""
        self.n_passes += 1
        return self.source.chunks(self.plan.chunk)

    def fold(self, function: Callable[[RowsInOrder, State], State], state: State) -> State:
        """What ``function`` makes of a state and the rows, which are all here: see `problem.ProblemInOrder`."""
        return function(cast(RowsInOrder, self), state)

    def gradient_on(self, rows: Rows, theta: np.ndarray) -> np.ndarray:
        """The gradient at theta of the objective that some of the rows make, in new memory. It is part of a `walk`, and
        counts as no pass of its own."""
        targets = rows.y if rows.soft is None else rows.soft
        passes = passes_over(rows.X, self._kernels, targets, rows.w, smoothing=rows.smoothing)
        plan, params = passes.plan(self.n_classes), self._parameters(theta)
        total = float(len(rows.X)) if rows.w is None else float(rows.w.sum())
        sums, threads = passes.sums(plan, self.n_classes, 1.0 / total), min(self.n_threads, plan.threads)
        for part in passes.chunks(plan):
            passes.value_and_grad(part, params, plan, sums, threads)
        grad, finite, _ = passes.gradient(sums, theta, self.l2, threads)
        if not (finite and np.isfinite(sums.loss).all()):
            explain_nonfinite(self.source, self.plan.chunk, "loss")
        return grad

    def curvature_gram(self, theta: np.ndarray, *, diagonal: bool) -> CurvatureSums:
        """Sums over the rows of u x x^T (or of its diagonal), u x and u, where u is w / sum(w) times the row's mean
        curvature at theta. Of sparse X the diagonal alone. One pass over X."""
        self.n_passes += 1
        checked = self._check(theta)
        if self.sparse:
            return curvature.sparse_diagonal(self, self._parameters(checked))
        if diagonal:
            return curvature.dense_diagonal(self, checked)
        return curvature.dense_gram(self, self._parameters(checked))

    def design_matrix(self, coordinates: Callable[[np.ndarray], np.ndarray], left_out: np.ndarray) -> ChunkedDesign:
        """The rows of dense X in the coordinates of a metric: see `problem.ProblemWithRows`. Takes no pass itself."""
        return ChunkedDesign(self, coordinates, left_out, hessian_plan(self))

    def margins(self, direction: np.ndarray) -> tuple[float, float]:
        """The most that a margin of a row gains, and the most that one loses, along a direction of theta: margins are
        x_i^T (v_{y_i} - v_c), for rows of positive weight and all classes c. Needs labels and dense X. One pass."""
        self.n_passes += 1
        n, gained, lost = self.n_features, 0.0, 0.0
        for rows in self.source.chunks(hessian_plan(self).chunk):
            assert rows.y is not None
            H = as_numbers(rows.X) @ direction[:n] + (direction[n] if self.fit_intercept else 0.0)
            margin = np.take_along_axis(H, rows.y[:, None].astype(np.int64), axis=1) - H
            if rows.w is not None:
                margin = margin[rows.w > 0]
            gained = max(gained, float(margin.max(initial=0.0)))
            lost = max(lost, -float(margin.min(initial=0.0)))
        return gained, lost

    def columns(self, numbers: np.ndarray, most: int | None = None) -> Iterator[tuple[Any, np.ndarray, int]]:
        """Some columns of all rows in float64, dense or as a csr_array, the rows' weights, and the number of the first
        row; at most ``most`` rows at a time.

        It is for few columns, and does not count as a pass.
        """
        chunk = self.plan.chunk if most is None else min(self.plan.chunk, most)
        for rows in self.source.chunks(chunk):
            X = rows.X.to_scipy() if isinstance(rows.X, Csr) else as_numbers(rows.X)
            w = np.ones(len(rows.X)) if rows.w is None else rows.w
            yield X[:, numbers].astype(np.float64), w, rows.start

    def sum_columns(self, function: ColumnSums, numbers: np.ndarray, most: int | None = None) -> tuple[np.ndarray, ...]:
        """The sums over all rows of what ``function`` makes of some columns, a chunk of `columns` at a time."""
        made = (function(*part) for part in self.columns(numbers, most))
        return functools.reduce(lambda a, b: tuple(map(np.add, a, b)), made)

    def pick(self, rows: np.ndarray) -> Any:
        """A copy of X of the rows with these ascending numbers, a csr_array if X is sparse."""
        return self.source.pick(rows)

    def count_subset(self, part: Sweeps) -> None:
        """Count the passes that were made over a subset of the rows as the share of a pass that they are, rounded
        up."""
        self.n_passes += -(-part.n_passes * part.n_rows // self.n_rows)

    def _parameters(self, theta: np.ndarray) -> Parameters:
        if theta.dtype != self.source.dtype:
            with np.errstate(over="ignore"):  # an overflow makes the loss infinite, which is checked
                theta = theta.astype(self.source.dtype)
        theta = np.ascontiguousarray(theta)
        if self.fit_intercept:
            return Parameters(theta[:-1], theta[-1])
        return Parameters(theta)

    def _check(self, theta: ArrayLike, name: str = "theta") -> np.ndarray:
        return validation.check_theta(theta, self.n_features, self.n_classes, self.fit_intercept, name)

    def _require_finite(self, result: float | np.ndarray, what: str) -> None:
        """Raise for a non-finite result, naming the row of X that caused it if one did."""
        if not validation.all_finite(result):
            explain_nonfinite(self.source, self.plan.chunk, what)
