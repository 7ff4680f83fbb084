"""What a pass spends its time on, and so what separates it from the roofline.

The same kernel runs over all rows and, again and again, over so few that they stay in cache; and with the gradient and
without. Differences tell the phases apart without a clock inside the kernels:

    in cache, loss alone        packing, first product, softmax
    in cache, the rest          second product
    all rows - in cache         waiting for memory
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastsoftmax import Objective, kernels
from fastsoftmax.kernels.plan import cache_bytes

from . import roofline, timing
from .cases import CASES, MAIN_SHAPES, Case, Problem, make_problem

Json = dict[str, Any]
# Share of the last cache that "in cache" takes.
SHARE = 0.25
# Calls in a row over cached rows, of which the shortest counts.
REPEATS = 5
_FLOATS = ("f64", "f32")
_TIMED = ("all", "cached", "cached loss")


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


def calls_of(problem: Problem, backend: str, n_threads: int) -> tuple[dict[str, Callable[[], Any]], int]:
    """What to time, and how many of the rows stay in cache."""
    case, theta = problem.case, problem.theta
    options: Json = {"backend": backend, "n_threads": n_threads}
    every = Objective(problem.X, problem.y, case.k, **options)
    # One slab for each thread, all of whole blocks: else some threads would wait for others.
    step = n_threads * every.plan.block
    few = max(1, int(SHARE * cache_bytes()["L3"] * case.m / case.bytes) // step) * step
    few = min(few, case.m)
    # A copy: columns of the whole X would still be pages apart.
    some = Objective(problem.X[:few].copy("K"), problem.y[:few], case.k, **options)
    some.plan = replace(every.plan, slabs=n_threads, chunk=few)
    calls = (
        lambda: every.value_and_grad(theta),
        cached(lambda: some.value_and_grad(theta)),
        cached(lambda: some.value(theta)),
    )
    return dict(zip(_TIMED, calls, strict=True)), few


def phases_of(case: Case, backends: Sequence[str], roof: roofline.Roof, rounds: int, budget: float) -> list[Json]:
    """Nanoseconds a row by phase, a record for each backend."""
    problem = make_problem(case)
    calls, few = {}, {}
    for backend in backends:
        own, few[backend] = calls_of(problem, backend, roof.n_threads)
        calls.update((f"{what}@{backend}", call) for what, call in own.items())
    times = timing.interleave(calls, rounds, budget=budget)
    records = []
    for backend, rows in few.items():
        whole, both, loss = (1e6 * timing.median(times[f"{what}@{backend}"]) for what in _TIMED)
        records.append(
            {
                "case": case.name,
                "shape": case.shape,
                "backend": backend,
                "cached_rows": rows,
                "roof_flops": case.flops() / case.m / roof.gflops[case.compute_dtype],
                "roof_bytes": case.bytes / case.m / roof.gbytes,
                "loss": loss / rows,
                "gradient": (both - loss) / rows,
                "memory": whole / case.m - both / rows,
                "all": whole / case.m,
            }
        )
    return records


def chosen(quick: bool) -> list[Case]:
    """The main cases, those of few classes in both orders, and bytes where X is bound by memory."""
    if quick:
        return [CASES[f"{base}-{dtype}"] for base in ("quick-tall", "quick-digits", "quick-many") for dtype in _FLOATS]
    names = [f"{base}-{dtype}" for base in MAIN_SHAPES for dtype in _FLOATS]
    turned = [f"{name}-F" for name in names if CASES[name].k < 100]
    return [CASES[name] for name in [*names, *turned, "500k-u8"]]


def run(roof: roofline.Roof, rounds: int, budget: float, quick: bool, say: Callable[[str], None]) -> list[Json]:
    """Cython and Numba, as far as they are there."""
    known = kernels.backends()
    backends = [name for name in ("cython", "numba") if known[name]["available"]]
    out: list[Json] = []
    for case in chosen(quick):
        say(f"phases, {case.name}")
        out += phases_of(case, backends, roof, rounds, budget)
    return out
