"""Time to the optimum: our `minimize` and scikit-learn's solvers, by the gap to a minimum known beforehand.

    python -m benchmarks --section solvers                  all of it
    python -m benchmarks.sections.solvers "rare class"      some sets again; the others are kept

The relative gap of a value is (value - minimum) / value. Newton's method, run down to rounding, finds the minimum,
which is kept in ``results/optima.json`` with a checksum of the data. A solver's time is that from the call of ``fit``
to the first iterate within `GAP`, with default settings everywhere: no stopping rule enters. What our own stopping rule
does is recorded beside it.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax import Objective, SoftmaxRegression, minimize, regularization_path
from fastsoftmax.datasets import make_problem
from fastsoftmax.kernels.machine import default_threads

from ..harness import machine, records, roofline, timing
from ..harness.cases.solver_sets import FULL, L2S, PEER_ROWS, QUICK, SETS, badly_scaled
from ..harness.records import Json, Say
from . import solver_peers
from .solver_peers import Course

GAP = 1e-6
# A peer gets `PATIENCE` times our seconds, between `LEAST` and `MOST`; one that has not arrived by then counts as that
# slow.
PATIENCE, LEAST, MOST = 80.0, 1.0, 12.0
# Points of a curve of gap against time that are kept for the plot.
CURVE = 24
# Rounds, and rounds where a fit of ours takes less than `SHORT` seconds, since noise matters more there (50,000 x 10
# took 23 to 103 ms in single runs). After `BUDGET` seconds only short fits are run again.
ROUNDS, ROUNDS_SHORT, SHORT, BUDGET = 3, 7, 0.3, 15.0
L1 = 1e-3
PATH = np.logspace(-1, -6, 10)


def optimum(name: str, X: np.ndarray, y: np.ndarray, l2: float) -> float:
    """The minimum of the objective, known or found now and saved."""
    path = records.RESULTS / "optima.json"
    known = records.load(path) if path.exists() else {}
    key = f"{name}, l2 = {l2:g}"
    checksum = zlib.crc32(np.ascontiguousarray(X).data, zlib.crc32(np.ascontiguousarray(y).data))
    if known.get(key, {}).get("checksum") != checksum:
        obj = Objective(X, y, fit_intercept=True, l2=l2)
        near = minimize(obj, tol=1e-9)
        best = minimize(obj, solver="newton", theta0=near.theta, tol=1e-13, max_iter=30)
        value = min(near.value, best.value)
        known[key] = {"value": value, "gap_bound": best.gap_bound, "grad_norm": best.grad_norm, "checksum": checksum}
        records.save(dict(sorted(known.items())), path)
    return float(known[key]["value"])


def ours(X: np.ndarray, y: np.ndarray, l2: float) -> Course:
    """The course of a fit with default settings, and what it reported."""
    course = Course()

    def see(step: Any) -> None:
        course.passes = step.n_passes
        course.note(step.value)

    estimator = SoftmaxRegression(l2=l2, callback=see)
    course.began = time.perf_counter()
    estimator.fit(X, y)
    course.result = estimator.result_
    return course


def arrival(course: Course, goal: float) -> tuple[float, int] | None:
    """Seconds and passes to the goal."""
    for seconds, passes, value in course.points:
        if value <= goal:
            return seconds, passes
    return None


def summary(courses: Sequence[Course], best: float) -> Json:
    """Median time to the gap, over the runs of a fit that arrived, and the curve of the first run."""
    goal = best / (1.0 - GAP)
    arrived = [found for course in courses if (found := arrival(course, goal))]
    points = courses[0].points
    keep = np.unique(np.linspace(0, len(points) - 1, CURVE).round().astype(int)) if points else []
    curve = [(points[i][0], points[i][1], max(0.0, 1.0 - best / points[i][2])) for i in keep]
    short = [[float(f"{number:.4g}") for number in point] for point in curve]
    out: Json = {"gap": curve[-1][2] if curve else None, "curve": short}
    if arrived:
        out |= {"seconds": timing.median([s for s, _ in arrived]), "passes": arrived[0][1]}
    return out


def race(calls: dict[str, Callable[[], Course]], goal: float, rounds: int) -> dict[str, list[Course]]:
    """The courses of all solvers' fits, in rounds in which each has its turn and another one is first.

    Before a fit comes a rest and, if the fit is short, the same fit untimed (see `timing`). A solver that has not
    arrived at the goal in the time it got takes no part in further rounds, which would show the same; nor, once
    `BUDGET` is spent, does one that is slow.
    """
    courses: dict[str, list[Course]] = {name: [] for name in calls}
    began = time.perf_counter()
    for number in range(rounds):
        late = time.perf_counter() - began > BUDGET
        turn = number % len(calls)
        for name in [*calls, *calls][turn : turn + len(calls)]:
            fit = calls[name]
            if number:
                before = arrival(courses[name][-1], goal)
                if not before or (late and before[0] > SHORT):
                    continue
            time.sleep(timing.PAUSE)
            course = fit()
            reached = arrival(course, goal)
            courses[name].append(fit() if reached and 1e3 * reached[0] < timing.WAKE_MS else course)
    return courses


def one(name: str, X: np.ndarray, y: np.ndarray, l2: float, rounds: int, most: float) -> Json:
    """The record of a set with one l2: all solvers in turn."""
    best = optimum(name, X, y, l2)
    goal = best / (1.0 - GAP)
    ours(X, y, l2)  # warm
    seconds = ours(X, y, l2).result.history[-1].seconds
    limit = min(max(PATIENCE * seconds, LEAST), most)
    names = solver_peers.available() if len(X) >= PEER_ROWS else ()
    calls: dict[str, Callable[[], Course]] = {"ours": partial(ours, X, y, l2)}
    calls |= {peer: partial(solver_peers.fit, X, y, l2, peer, limit=limit, goal=goal) for peer in names}
    courses = race(calls, goal, ROUNDS_SHORT if rounds > 1 and seconds < SHORT else rounds)
    runs = courses.pop("ours")
    own, result = summary(runs, best), runs[0].result
    own |= {
        "total_passes": result.n_passes,
        "total_seconds": timing.median([run.result.history[-1].seconds for run in runs]),
        "final_gap": max(0.0, 1.0 - best / result.value),
        "bound": result.gap_bound,
        "converged": result.converged,
        "solver": result.solver,
    }
    k = int(y.max()) + 1
    record: Json = {"set": name, "m": len(X), "shape": f"{len(X):,} × {X.shape[1]}, {k}", "l2": l2, "optimum": best}
    peers = {peer: summary(each, best) for peer, each in courses.items()}
    return record | {"ours": own, "peers": peers, "limit": limit}


def sets(names: Sequence[str], rounds: int, most: float, say: Say) -> list[Json]:
    out = []
    for name in names:
        X, y = SETS[name].make()
        for l2 in L2S:
            out.append(one(name, X, y, l2, rounds, most))
            say(line(out[-1]))
    return out


def line(record: Json) -> str:
    """A record in a line of text."""
    own = record["ours"]
    text = f"{record['set']} ({record['shape']}), l2 = {record['l2']:g}: {own['solver']}"
    if "seconds" in own:
        text += f" {own['passes']} passes {own['seconds']:.3f} s"
    text += f", in all {own['total_passes']} passes {own['total_seconds']:.3f} s to {own['final_gap']:.1e}"
    for name, row in record["peers"].items():
        told = f"{row['seconds']:.3f} s" if "seconds" in row else f"{row['gap']:.1e} after {record['limit']:.1f} s"
        text += f"; {name} {told}"
    return text


def l1(quick: bool, say: Say) -> list[Json]:
    """Our l1 method and saga, both to the gap of a minimum that ours finds with a tiny tol."""
    problems = {"badly scaled": badly_scaled(2_000 if quick else 10_000)}
    problems["well scaled"] = make_problem(2_000 if quick else 20_000, 54, 7, seed=3)[:2]
    out = []
    for name, (X, y) in problems.items():
        obj = Objective(X, y, fit_intercept=True)
        best = minimize(obj, l1=L1, tol=1e-9, max_iter=20_000)
        goal = best.value / (1.0 - GAP)
        runs = [minimize(obj, l1=L1) for _ in range(ROUNDS)]
        arrived = [next((s for s in run.history if s.value <= goal), None) for run in runs]
        own: Json = {"total_passes": runs[0].n_passes, "final_gap": max(0.0, 1.0 - best.value / runs[0].value)}
        own["zeros"] = float(np.mean(runs[0].theta[:-1] == 0))
        if arrived[0] is not None:
            own |= {"passes": arrived[0].n_passes, "seconds": timing.median([s.seconds for s in arrived if s])}

        def value(theta: np.ndarray, obj: Objective = obj) -> float:
            return obj.value(theta) + L1 * float(np.abs(theta[:-1]).sum())

        limit = max(LEAST, min(4.0 if quick else MOST, PATIENCE * runs[0].history[-1].seconds))
        fits = solver_peers.saga(X, y, L1, value, limit=limit, goal=goal)
        found = min((fit["seconds"] for fit in fits if fit["value"] <= goal), default=None)
        shape = f"{len(X):,} × {X.shape[1]}, {obj.n_classes}"
        record: Json = {"set": name, "shape": shape, "l1": L1, "optimum": best.value, "ours": own}
        out.append(record | {"saga": fits, "arrived": found})
        say(f"l1, {name}: ours {own.get('seconds')} s, {own['total_passes']} passes in all; saga {found or fits[-1]}")
    return out


def path(quick: bool, say: Say) -> Json:
    """A path over ten strengths of l2, and a fit with the weakest alone."""
    m, n, k = (2_000, 100, 10) if quick else (60_000, 784, 10)
    X, y, _ = make_problem(m, n, k)
    obj = Objective(X, y, fit_intercept=True, l2=float(PATH[-1]))
    obj.value_and_grad(np.zeros(obj.shape))  # warm
    times: list[tuple[float, float]] = []
    for _ in range(1 if quick else ROUNDS):
        began = time.perf_counter()
        hardest = minimize(obj)
        between = time.perf_counter()
        results = regularization_path(obj, PATH)
        times.append((between - began, time.perf_counter() - between))
    alone, seconds = (timing.median([pair[i] for pair in times]) for i in (0, 1))
    out: Json = {"shape": f"{m:,} × {n}, {k}", "l2s": PATH.tolist(), "seconds": seconds, "alone": alone}
    out |= {"passes": [res.n_passes for res in results], "alone_passes": hardest.n_passes}
    out["converged"] = all(res.converged for res in results)
    say(f"path: {seconds:.2f} s, {out['passes']} passes; the weakest l2 alone {alone:.2f} s, {hardest.n_passes} passes")
    return out


def run(quick: bool, say: Say) -> Json:
    """The section of the report."""
    chosen, rounds, most = (QUICK, 1, 2.0) if quick else (FULL, ROUNDS, MOST)
    return {"solvers": sets(chosen, rounds, most, say), "l1": l1(quick, say), "path": path(quick, say), "gap": GAP}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure some sets of the section again.")
    parser.add_argument("what", nargs="+", help=f"{', '.join(map(repr, SETS))}, 'l1' or 'path'")
    parser.add_argument("--quick", action="store_true", help="one round, short limits; nothing is saved")
    args = parser.parse_args()
    timing.fix_threads(default_threads())
    found: Json = {"date": machine.today(), "busy": machine.busy(patience=machine.PATIENCE)}
    names = [name for name in args.what if name not in ("l1", "path")]
    rounds, most = (1, 2.0) if args.quick else (ROUNDS, MOST)
    found["solvers"] = sets(names, rounds, most, print)
    found |= {name: {"l1": l1, "path": path}[name](args.quick, print) for name in args.what if name not in names}
    if not args.quick:
        merge(found)


def merge(found: Json) -> None:
    """Save what was measured in place of the old records of the same sets."""
    place = records.results_path(quick=False)
    saved = records.load(place)
    section = saved["sections"].setdefault("solvers", {"solvers": [], "gap": GAP})
    new = {(r["set"], r["l2"]): r for r in found.pop("solvers")}
    known = {(r["set"], r["l2"]): r for r in section["solvers"]} | new
    order = {name: i for i, name in enumerate(SETS)}
    section["solvers"] = sorted(known.values(), key=lambda r: (order[r["set"]], -r["l2"]))
    roof = roofline.measure(default_threads()).as_dict()
    section |= found | {"roof": roof}
    saved["sections"]["solvers"] = section
    records.save(saved, place)


if __name__ == "__main__":
    main()
