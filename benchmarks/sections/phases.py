"""What a pass spends its time on, and so what separates it from the roofline.

There is no clock inside the kernels. Instead passes that do less and less are timed, all with the same plan: one over X
("all"), and others over an X of the same shape that stays in cache (`harness/repeated.py`). Their differences are the
phases:

    labels and loss - labels    softmax: exp, sums, log
    loss - softmax              packing of X and first product
    gradient - loss             residual and second product
    all - gradient              waiting for memory, the only thing that differs

The two floors, reading X and the multiply-adds at peak, are timed in the same rounds, because what a shared machine can
do changes within minutes: its bandwidth went from 30 to 59 GB/s.

The shortest time of each counts, not the median. Of 500k x 50, differences of medians of 15 rounds were off by 0.5 to
1 ns a row, those of shortest times by half as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax import Objective
from fastsoftmax.kernels import backends as kernel_backends
from fastsoftmax.kernels.contract import Parameters, RowOutputs, Sums
from fastsoftmax.kernels.machine import cache_bytes

from ..harness import roofline, timing
from ..harness.cases import CASES, MAIN_SHAPES, Case, Problem, make_problem
from ..harness.records import Json
from ..harness.repeated import repeated

# The X in cache takes this share of the last-level cache: more than L2, so that blocks still come from further away,
# and more than a block of any case, which would otherwise overlap itself. 500k x 50 takes the same with
# 256 kB and 8 MB.
SHARE = 0.25
# Seconds of rounds for each case, after the three that are always run; and milliseconds from which on a pass is not
# repeated untimed first (see `timing.WAKE_MS`), which saves time and costs all kinds of passes the same.
BUDGET = 30.0
WAKE_MS = 200.0
_FLOATS = ("f64", "f32")
PHASES = ("first", "softmax", "second", "memory")


def labels(objective: Objective, theta: np.ndarray, *, loss: bool) -> Callable[[], None]:
    """A pass that writes the label of each row, with the loss or without, and has no second product.

    It has the gradient's plan. The labels' memory is allocated beforehand: new pages for 4 MB would take a tenth of the
    time.
    """
    kernel, plan, threads = kernel_backends.select(objective.backend)[1], objective.plan, objective.threads
    params, out = Parameters(theta), np.zeros(objective.source.shape[0], np.int64)

    def call() -> None:
        sums = Sums.zeros(plan.slabs, objective.n_classes, 0, 1.0, grad=False)
        for rows in objective.source.chunks(plan.chunk):
            part = out[rows.start : rows.start + len(rows.X)]
            if loss:
                kernel.value_and_grad(rows, params, plan, sums, threads, RowOutputs(label=part))
            else:
                kernel.predict(rows, params, plan, "label", part, sums, threads)

    return call


def calls_of(problem: Problem, cached: np.ndarray | None, backend: str, n_threads: int) -> dict[str, Callable[[], Any]]:
    """What to time of a backend; ``cached`` is the X that stays in cache, or None."""
    case, theta = problem.case, problem.theta
    options: Json = {"backend": backend, "n_threads": n_threads}
    whole = Objective(problem.X, problem.y, case.k, **options)
    calls: dict[str, Callable[[], Any]] = {"all": partial(whole.value_and_grad, theta)}
    if cached is not None:
        near = Objective(cached, problem.y, case.k, **options)
        calls["labels"] = labels(near, theta, loss=False)
        calls["labels and loss"] = labels(near, theta, loss=True)
        calls["loss"] = partial(near.value, theta)
        calls["gradient"] = partial(near.value_and_grad, theta)
    return calls


def record(case: Case, backend: str, roof: roofline.Roof, times: Mapping[str, list[float]]) -> Json:
    """Nanoseconds a row by phase, None for what was not measured; from the milliseconds of each kind of pass."""
    ns = {name: 1e6 * min(each) / case.m for name, each in times.items()}
    phases: Json = dict.fromkeys(PHASES)
    if "gradient" in ns:
        softmax = ns["labels and loss"] - ns["labels"]
        parts = (ns["loss"] - softmax, softmax, ns["gradient"] - ns["loss"], ns["all"] - ns["gradient"])
        phases = dict(zip(PHASES, parts, strict=True))
    return {
        "case": case.name,
        "shape": case.shape,
        "backend": backend,
        "arithmetic": ns.get("arithmetic", case.flops() / case.m / roof.gflops[case.compute_dtype]),
        "reading": ns["reading"],
        **phases,
        "all": ns["all"],
        "median": 1e6 * timing.median(times["all"]) / case.m,
        "rounds": len(times["all"]),
    }


def phases_of(case: Case, backends: Sequence[str], roof: roofline.Roof, rounds: int, budget: float) -> list[Json]:
    """The records of a case, one for each backend, all timed in the same rounds."""
    problem = make_problem(case)
    cached = repeated(problem.X, int(SHARE * cache_bytes()["L3"]))
    with roofline.floors(problem.X, case.flops(), case.compute_dtype, roof.n_threads) as calls:
        for backend in backends:
            own = calls_of(problem, cached, backend, roof.n_threads)
            calls.update((f"{what}@{backend}", call) for what, call in own.items())
        times = timing.interleave(calls, rounds, pause=timing.OWN_PAUSE, wake_ms=WAKE_MS, budget=budget)
    out = []
    for backend in backends:
        own_times = {name.removesuffix(f"@{backend}"): each for name, each in times.items()}
        out.append(record(case, backend, roof, own_times))
    return out


def chosen(quick: bool) -> list[Case]:
    """The main cases, those of fewer than 1000 classes in both orders, and one of bytes, which memory bounds."""
    if quick:
        return [CASES[f"{base}-{dtype}"] for base in ("quick-tall", "quick-digits", "quick-many") for dtype in _FLOATS]
    names = [f"{base}-{dtype}" for base in MAIN_SHAPES for dtype in _FLOATS]
    turned = [f"{name}-F" for name in names if CASES[name].k < 1000]
    return [CASES[name] for name in [*names, *turned, "500k-u8"]]


def run(roof: roofline.Roof, rounds: int, budget: float, quick: bool, say: Callable[[str], None]) -> list[Json]:
    """Records of all cases, for those of Cython and Numba that load."""
    known = kernel_backends.backends()
    backends = [name for name in ("cython", "numba") if known[name]["available"]]
    out: list[Json] = []
    for case in chosen(quick):
        say(f"phases, {case.name}")
        out += phases_of(case, backends, roof, rounds, min(budget, BUDGET))
    return out
