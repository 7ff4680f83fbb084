"""Passes of float32 without matrix units, exact with them, and in bfloat16, in turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastsoftmax import Objective
from fastsoftmax.kernels import backends

from ...harness import timing
from ...harness.records import Effort, Json, Say

SIZES = ((20_000, 1024, 1000), (50_000, 512, 100), (50_000, 512, 64), (50_000, 512, 32), (50_000, 512, 16))
QUICK = ((2_000, 64, 64),)


def calls_of(size: tuple[int, int, int], effort: Effort) -> dict[str, Callable[[], Any]]:
    """A pass by each; two of them are the same where matrix units do not pay for a precision."""
    m, n, k = size
    rng, kernels = np.random.default_rng(0), backends.select("cython")[1]
    X, y, theta = rng.standard_normal((m, n), "f4"), rng.integers(k, size=m), 0.03 * rng.standard_normal((n, k))

    def call(units: str, precision: str) -> Callable[[], Any]:
        obj = Objective(X, y, k, precision=precision, backend="cython", n_threads=effort.n_threads)

        def one_pass() -> None:
            kernels.use_units(units)
            obj.value_and_grad(theta)

        return one_pass

    own = kernels.UNITS
    return {"float32": call("", "exact"), "exact": call(own, "exact"), "bfloat16": call(own, "bfloat16")}


def run(effort: Effort, say: Say) -> list[Json]:
    """Median milliseconds by size."""
    kernels, records = backends.select("cython")[1], []
    for size in QUICK if effort.quick else SIZES:
        times = timing.interleave(calls_of(size, effort), effort.rounds, budget=effort.budget)
        ms = {name: timing.median(each) for name, each in times.items()}
        records.append({"shape": "{:,} × {}, {}".format(*size), "ms": ms})
        say(f"{records[-1]['shape']}: " + ", ".join(f"{name} {t:.3g} ms" for name, t in ms.items()))
    kernels.use_units(kernels.UNITS)
    return records
