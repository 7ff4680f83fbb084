"""A pass over X that predicts, for all rows at once or a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..data import validation
from ..data.sources.scan import Scan
from ..kernels.backends import select
from ..kernels.contract import Csr, Parameters, Sums
from ..kernels.machine import default_threads
from ..kernels.plan import Plan
from ..objective.passes import explain_nonfinite, passes_of, passes_over


class Prediction:
    """A pass over checked X that predicts: source, plan, parameters and kernels."""

    def __init__(
        self,
        X: np.ndarray | Csr | Scan,
        theta: np.ndarray,
        bias: np.ndarray | None,
        backend: str,
        n_threads: int | None,
    ) -> None:
        n, self.k = theta.shape
        self.m, features = X.shape
        if features != n:
            raise ValueError(f"X has {features} features, but the model was fitted with {n} features")
        self.kernels = select(backend)[1]
        if isinstance(X, Scan):
            self.passes = passes_of(X.source(reads=self.kernels.READS, labels=False), self.kernels)
        else:
            self.passes = passes_over(X, self.kernels)
        self.source = self.passes.source
        self.n_threads = default_threads() if n_threads is None else validation.check_count(n_threads, "n_threads")
        dtype = self.source.dtype
        with np.errstate(over="ignore"):  # an overflow shows in the logits
            self.params = Parameters(
                np.ascontiguousarray(theta, dtype=dtype),
                None if bias is None else np.ascontiguousarray(bias, dtype=dtype),
            )
        self.plan = self.make_plan()
        self.source.prepare(self.plan.chunk, 0)
        self.n_threads = min(self.n_threads, self.plan.threads)

    def make_plan(self) -> Plan:
        return self.passes.plan(self.k, gradient=False)

    def whole(self, kind: str, out: np.ndarray | None = None) -> np.ndarray:
        """One of the `kernels.contract.PREDICTIONS` for all rows; in ``out``, if given, of its shape and dtype."""
        if out is None:
            out = np.empty(self.m, np.int64) if kind == "label" else np.empty((self.m, self.k), self.source.dtype)
        sums = self._sums()
        for rows in self.passes.chunks(self.plan):
            end = rows.start + len(rows.X)
            self.kernels.predict(rows, self.params, self.plan, kind, out[rows.start : end], sums, self.n_threads)
        self._require_finite(sums, self.plan)
        return out

    def pieces(self, most: int, kind: str = "logits") -> Iterator[tuple[slice, np.ndarray]]:
        """A prediction of at most ``most`` rows at a time, each with the slice of rows that it belongs to."""
        plan = replace(self.plan, chunk=min(most, self.plan.chunk))
        sums = self._sums()
        for rows in self.passes.chunks(plan):
            count = len(rows.X)
            out = np.empty(count, np.int64) if kind == "label" else np.empty((count, self.k), self.source.dtype)
            self.kernels.predict(rows, self.params, plan, kind, out, sums, self.n_threads)
            self._require_finite(sums, plan)
            yield slice(rows.start, rows.start + count), out

    def _sums(self) -> Sums:
        return Sums.zeros(self.plan.slabs, self.k, 0, 1.0, grad=False)

    def _require_finite(self, sums: Sums, plan: Plan) -> None:
        if not np.isfinite(sums.loss).all():
            explain_nonfinite(self.source, plan.chunk, "prediction")
