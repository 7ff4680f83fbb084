"""What a pass spends its time on, and so what separates it from the roofline.

The same kernel runs over all rows and, again and again, over so few that they stay in cache; and with the gradient and
without. Differences tell the phases apart without a clock inside the kernels:

    in cache, loss alone        packing, first product, softmax
    in cache, the rest          second product
    all rows - in cache         waiting for memory
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastsoftmax import Objective
from fastsoftmax.kernels.plan import cache_bytes

from . import roofline, timing
from .cases import CASES, MAIN_SHAPES, Case, make_problem

Json = dict[str, Any]
# Share of the last cache that "in cache" takes.
SHARE = 0.25
# Calls in a row over cached rows, of which the shortest counts.
REPEATS = 5


def cached(call: Callable[[], Any]) -> Callable[[], timing.Milliseconds]:
    """The shortest of some calls in a row, so that what ran before has left the cache."""

    def shortest() -> timing.Milliseconds:
        best = float("inf")
        for _ in range(REPEATS):
            start = time.perf_counter()
            call()
            best = min(best, time.perf_counter() - start)
        return timing.Milliseconds(1e3 * best)

    return shortest


def phases_of(case: Case, backend: str, roof: roofline.Roof, rounds: int, budget: float) -> Json:
    """Nanoseconds a row, by phase."""
    problem = make_problem(case)
    options: Json = {"backend": backend, "n_threads": roof.n_threads}
    every = Objective(problem.X, problem.y, case.k, **options)
    # One slab for each thread, all of whole blocks: else some threads would wait for others.
    step = roof.n_threads * every.plan.block
    few = max(1, int(SHARE * cache_bytes()["L3"] * case.m / case.bytes) // step) * step
    few = min(few, case.m)
    some = Objective(problem.X[:few], problem.y[:few], case.k, **options)
    some.plan = replace(every.plan, slabs=roof.n_threads, chunk=few)
    theta = problem.theta
    times = timing.interleave(
        {
            "all": lambda: every.value_and_grad(theta),
            "cached": cached(lambda: some.value_and_grad(theta)),
            "cached loss": cached(lambda: some.value(theta)),
        },
        rounds,
        budget=budget,
    )
    ns = {name: 1e6 * timing.median(each) for name, each in times.items()}
    return {
        "case": case.name,
        "shape": case.shape,
        "backend": backend,
        "cached_rows": few,
        "roof_flops": case.flops() / case.m / roof.gflops[case.compute_dtype],
        "roof_bytes": case.bytes / case.m / roof.gbytes,
        "loss": ns["cached loss"] / few,
        "gradient": (ns["cached"] - ns["cached loss"]) / few,
        "memory": ns["all"] / case.m - ns["cached"] / few,
        "all": ns["all"] / case.m,
    }


def run(roof: roofline.Roof, rounds: int, budget: float, quick: bool, say: Callable[[str], None]) -> list[Json]:
    """All main cases in Cython, or where that is not built in Numba."""
    bases = ("quick-tall", "quick-digits", "quick-many") if quick else MAIN_SHAPES
    out = []
    for base in bases:
        for dtype in ("f64", "f32"):
            say(f"phases, {base}-{dtype}")
            out.append(phases_of(CASES[f"{base}-{dtype}"], "auto", roof, rounds, budget))
    return out
