"""A worked estimate of a sweep over ImageNet, 1.28 million × 768, k = 1000: from measured passes, no more.

Seconds of a pass over some of the rows, in float16 as a memory map would be read, are scaled by the rows. The number of
passes is that of the sweeps measured here, at fewer classes. More cores share a pass, which is bound by arithmetic,
with the `EFFICIENCY` assumed; the steps of the solver between passes, which are measured, stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from fastsoftmax import Objective

from ...harness.records import Effort, Json, Say
from .probe import summary

ROWS, N, K, SAMPLE, QUICK_SAMPLE = 1_281_167, 768, 1000, 20_000, 500
CORES, EFFICIENCY = (2, 16, 64), 0.85
# Passes where no sweep was measured; numbers of parameters read or written in a step of L-BFGS with 20 pairs.
PASSES, STEP = 400.0, 100


def run(probes: Sequence[Json], effort: Effort, say: Say) -> Json:
    """The record: seconds of a pass and a step, passes, and hours by the number of cores."""
    m = QUICK_SAMPLE if effort.quick else SAMPLE
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, N), np.float32).astype(np.float16)
    obj = Objective(X, rng.integers(K, size=m), K, fit_intercept=True, n_threads=effort.n_threads)
    theta = 0.01 * rng.standard_normal(obj.shape)
    times = []
    for _ in range(2 if effort.quick else 4):
        begin = time.perf_counter()
        obj.value_and_grad(theta)
        times.append(time.perf_counter() - begin)
    one = min(times) * ROWS / m
    vectors = np.ones((40, theta.size))  # not zeros, whose pages the system makes up
    begin = time.perf_counter()
    vectors @ theta.ravel()
    step = (time.perf_counter() - begin) * STEP / 40
    passes = summary(probes) or PASSES
    hours = {
        c: passes * (one * effort.n_threads / c * (1.0 if c <= 2 else 1.0 / EFFICIENCY) + step) / 3600 for c in CORES
    }
    say("imagenet: " + ", ".join(f"{cores} cores {value:.2f} h" for cores, value in hours.items()))
    return {"pass": one, "step": step, "passes": passes, "threads": effort.n_threads, "hours": hours}
