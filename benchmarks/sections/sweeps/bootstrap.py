"""200 bootstrap fits: `minimize_many` beside our own solver one by one, of which some are timed."""

from __future__ import annotations

import time

import numpy as np

from fastsoftmax import Objective, minimize, minimize_many
from fastsoftmax.datasets import make_problem

from ...harness.records import Effort, Json, Say

M, N, K, FITS, ALONE = 100_000, 50, 5, 200, 10
QUICK_M, QUICK_FITS = 2_000, 12
L2 = 1e-4


def run(effort: Effort, say: Say) -> Json:
    """The record: seconds of all fits together, and of all one by one by the mean of some."""
    m, fits = (QUICK_M, QUICK_FITS) if effort.quick else (M, FITS)
    X, y, _ = make_problem(m, N, K)
    counts = np.random.default_rng(0).multinomial(m, np.full(m, 1.0 / m), size=fits).astype(np.uint8)
    obj = Objective(X, y, K, fit_intercept=True, l2=L2)
    minimize(obj)  # threads and memory
    begin = time.perf_counter()
    results = minimize_many(obj, sample_weight=counts)
    together = time.perf_counter() - begin
    each, higher = [], []
    for w, found in zip(counts[:ALONE], results[:ALONE], strict=True):
        begin = time.perf_counter()
        result = minimize(Objective(X, y, K, fit_intercept=True, l2=L2, sample_weight=w))
        each.append(time.perf_counter() - begin)
        higher.append(found.value / result.value - 1.0)
    alone = float(np.mean(each)) * fits
    say(f"bootstrap: {fits} fits in {together:.2f} s, one by one {alone:.2f} s")
    return {
        "shape": f"{m:,} × {N}, {K}",
        "fits": fits,
        "seconds": together,
        "alone": alone,
        "timed": len(each),
        "gain": alone / together,
        "passes": float(np.mean([result.n_passes for result in results])),
        "converged": all(result.converged for result in results),
        "higher": max(higher),
    }
