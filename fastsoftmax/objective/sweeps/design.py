"""The rows of dense X in the coordinates of a metric, and the sweeps over them that exact Hessians take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ...data.bfloat16 import as_numbers
from ...kernels.contract import Parameters, Rows, Sums
from ...kernels.plan import THREAD_FLOPS, Plan, make_hessian_plan
from ..passes import weighted_by_mass
from .facts import Facts

# Largest design matrix, in bytes, that is kept from one sweep to the next. 50,000 x 10, k = 3: computing it takes 7
# of the 10 ms of a Hessian.
DESIGN_BYTES = 64 << 20


def hessian_plan(obj: Facts) -> Plan:
    """How the rows are cut for exact Hessians."""
    rows, k = obj.shape
    plan = make_hessian_plan(obj.n_rows, rows, k)
    # The plan does not know that the work goes with the pairs of classes: threads for that much arithmetic.
    flops = min(obj.n_rows, plan.chunk) * rows * rows * k * (k - 1) / 2
    return replace(plan, threads=max(plan.threads, int(flops / THREAD_FLOPS)))


class ChunkedDesign:
    """The design matrix: kept if it takes at most `DESIGN_BYTES`, else computed a chunk at a time in every sweep.

    Attributes and methods are those of `problem.DesignMatrix`. Each sweep counts as a pass of the objective.
    """

    def __init__(
        self, obj: Facts, coordinates: Callable[[np.ndarray], np.ndarray], left_out: np.ndarray, plan: Plan
    ) -> None:
        self._obj, self._coordinates, self._left_out, self._plan = obj, coordinates, left_out, plan
        self.longest = 0.0
        self._keeps = 8 * obj.n_rows * obj.shape[0] <= DESIGN_BYTES
        self._kept: list[Rows] = []

    def pair_grams(self, phi: np.ndarray) -> np.ndarray:
        obj, plan, (rows, k) = self._obj, self._plan, self._obj.shape
        pairs = k * (k - 1) // 2
        sums = Sums(np.zeros(plan.slabs), np.zeros((plan.slabs, pairs * rows, rows)), None, 1.0 / obj.weight_sum)
        params = Parameters(np.ascontiguousarray(phi))
        for part in self._chunks():
            obj._kernels.hessian(part, params, plan, sums, min(obj.n_threads, plan.threads))
        assert sums.grad is not None
        sums.scratch = None
        grams: np.ndarray = np.add.reduce(sums.grad, axis=0).reshape(pairs, rows, rows)
        grams *= sums.scale
        if len(self._left_out):
            grams[:, self._left_out] = 0.0
            grams[:, :, self._left_out] = 0.0
        return grams

    def range(self, phi: np.ndarray) -> float:
        largest = 0.0
        for rows in self._chunks():
            H = phi.T @ as_numbers(rows.X).T
            ranges = H.max(axis=0) - H.min(axis=0)
            largest = max(largest, float(np.max(ranges, where=True if rows.w is None else rows.w > 0, initial=0.0)))
        return largest

    def gram(self, factor: float) -> np.ndarray:
        size = self._obj.shape[0]
        out = np.zeros((size, size))
        for rows in self._chunks():
            X = as_numbers(rows.X)
            w = np.ones(len(X)) if rows.w is None else rows.w
            out += X.T @ (X * (w[:, None] * (factor / self._obj.weight_sum)))
        return out

    def _chunks(self) -> Iterator[Rows]:
        """The rows of one sweep."""
        self._obj.n_passes += 1
        if self._kept:
            yield from self._kept
            return
        kept = []
        for part in self._obj.source.chunks(self._plan.chunk):
            rows = Rows(self._coordinates(as_numbers(part.X)), w=weighted_by_mass(part).w, start=part.start)
            self._measure(rows)
            if self._keeps:
                kept.append(rows)
            yield rows
        self._kept = kept

    def _measure(self, rows: Rows) -> None:
        X = as_numbers(rows.X)
        if len(self._left_out):
            X = X.copy()
            X[:, self._left_out] = 0.0
        squares = np.einsum("ij,ij->i", X, X)
        if rows.w is not None:
            squares = squares[rows.w > 0]
        self.longest = max(self.longest, float(np.sqrt(squares.max(initial=0.0))))
