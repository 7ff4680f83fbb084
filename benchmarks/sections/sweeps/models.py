"""A pass that serves several models beside passes of one: X is read and packed once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastsoftmax import Objective
from fastsoftmax.objective.stacked import StackedObjective

from ...harness.records import Effort, Json, Say

# Rows, features, classes, models.
CASES = ((60_000, 784, 10, 10), (50_000, 512, 50, 5), (100_000, 50, 5, 20))
QUICK = ((2_000, 50, 5, 4),)
ROUNDS = 9


def run(effort: Effort, say: Say) -> list[Json]:
    """For each case the milliseconds of a pass of one model and of one for all, in float32, each with its weights."""
    out = []
    for m, n, k, models in QUICK if effort.quick else CASES:
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((m, n), np.float32), rng.integers(k, size=m).astype(np.int32)
        obj = Objective(X, y, k, fit_intercept=True, n_threads=effort.n_threads)
        stacked = StackedObjective(obj, weights=rng.integers(3, size=(models, m), dtype=np.uint8))
        thetas = [0.1 * rng.standard_normal(obj.shape) for _ in range(models)]
        one, together = alternated(
            lambda obj=obj, thetas=thetas: obj.value_and_grad(thetas[0]),
            lambda stacked=stacked, thetas=thetas: stacked.value_and_grads(thetas),
        )
        say(f"{models} models of {m:,} × {n}, {k}: {together / one:.2f} passes")
        out.append({"shape": f"{m:,} × {n}, {k}", "models": models, "one": one, "together": together})
    return out


def alternated(*calls: Callable[[], Any]) -> list[float]:
    """The least milliseconds of each call, taken in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, found in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            found.append(1e3 * (time.perf_counter() - begin))
    return [min(found) for found in times]
