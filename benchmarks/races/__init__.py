"""Races: how long solvers take to come within a gap of the minimum, on any data, against whatever is installed.

The relative gap of a value is (value - minimum) / value, with the minimum found beforehand by Newton's method or L-BFGS
down to rounding, or by a racer that gets lower. All solve one objective: ours, with a bias and a penalty
l2 / 2 |theta|^2 that leaves the bias out. Of ours and of scikit-learn's solvers the values are those that they compute
themselves. Other racers tell every theta, and the clock stands still while `Objective` finds its value, so that no one
races to another minimum. A racer is ended at the smallest gap, or after a time.

A racer of one's own is a function ``prepare(X, y, l2, n_threads)`` that converts the data and returns a function
``solve(tell)``, which is timed and calls ``tell(theta)`` with each of its iterates, (n + 1, k), the bias last:

    def prepare(X, y, l2, n_threads):
        def solve(tell):
            for theta in iterates(X, y, l2):
                tell(theta)
        return solve
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax import Objective, minimize

from ..harness import timing
from ..harness.records import Json, Say
from ..peers import MissingError
from ..sections import solver_peers
from ..sections.solver_peers import Course, LimitError
from ..sections.solvers import arrival, race

OURS = ("auto", "lbfgs", "newton", "newton_cg")
# Racers in files of this folder: name, label.
PEERS = {"torch_lbfgs": "PyTorch L-BFGS", "scipy_lbfgsb": "SciPy L-BFGS-B, NumPy"}
# Gaps of the table, the smallest of which ends a fit.
GAPS = (1e-2, 1e-4, 1e-6)
# A racer gets so many times the seconds of "auto", and so many at least.
PATIENCE, LEAST = 80.0, 2.0
Prepare = Callable[..., Callable[[Callable[[np.ndarray], None]], Any]]


def ours(obj: Objective, solver: str, goal: float, limit: float) -> Course:
    """The course of `minimize`."""
    course = Course(limit, goal)

    def see(step: Any) -> None:
        course.passes = step.n_passes
        course.note(step.value)
        if time.perf_counter() - course.began > limit:
            raise LimitError

    course.began = time.perf_counter()
    try:
        minimize(obj, solver=solver, tol=1e-10, max_iter=100_000, callback=see)
    except LimitError:
        pass
    return course


def told(obj: Objective, solve: Callable[[Callable[[np.ndarray], None]], Any], goal: float, limit: float) -> Course:
    """The course of a racer that tells its iterates, by values of our objective."""
    course = Course(limit, goal)

    def tell(theta: np.ndarray) -> None:
        stopped = time.perf_counter()
        value = obj.value(np.asarray(theta, np.float64).reshape(obj.shape))
        course.began += time.perf_counter() - stopped  # the clock stood still
        course.count()
        course.note(value)

    course.began = time.perf_counter()
    try:
        solve(tell)
    except LimitError:
        pass
    return course


def minimum(obj: Objective) -> float:
    """The lowest value that ours finds: to rounding, where a Hessian can be had."""
    best = minimize(obj, tol=1e-9, max_iter=10_000)
    for solver in ("newton", "lbfgs"):
        try:
            return min(best.value, minimize(obj, solver=solver, theta0=best.theta, tol=1e-13, max_iter=100).value)
        except ValueError:  # too many parameters for Newton's method, or sparse X
            continue
    return best.value


def run(
    X: Any,
    y: np.ndarray,
    l2: float,
    n_threads: int,
    own: Mapping[str, Prepare],
    rounds: int,
    say: Say,
    limit: float = 0.0,
) -> Json:
    """The rivals of a record: for each its median time to each of `GAPS` and the curve of its first fit.

    ``limit``: seconds that each fit gets; by `PATIENCE` unless given.
    """
    obj = Objective(X, y, fit_intercept=True, l2=l2, n_threads=n_threads)
    best = minimum(obj)
    say(f"minimum {best:.10g}")
    goal = best / (1.0 - min(GAPS))
    ours(obj, "auto", goal, 1e9)  # warm
    seconds = ours(obj, "auto", goal, 1e9).points[-1][0]
    limit = limit or max(LEAST, PATIENCE * seconds)
    calls: dict[str, Callable[[], Course]] = {name: partial(ours, obj, name, goal, limit) for name in OURS}
    calls |= {
        f"sklearn {name}": partial(solver_peers.fit, X, y, l2, name, limit=limit, goal=goal)
        for name in solver_peers.available()
    }
    missing: Json = {}
    for name, prepare in {**{label: _prepare(file) for file, label in PEERS.items()}, **own}.items():
        try:
            calls[name] = partial(told, obj, prepare(X, y, l2, n_threads), goal, limit)
        except (ImportError, MissingError) as error:
            missing[name] = {"missing": str(error)}
    able = {}
    for name, call in calls.items():
        say(name)
        try:
            call()  # warm, and whether it can do this at all
            able[name] = call
        except Exception as error:  # a racer that breaks must not end the race; the table says so
            missing[name] = {"missing": f"{type(error).__name__}: {error}"[:200]}
    courses = race(able, goal, rounds)
    best = min([best, *(course.points[-1][2] for each in courses.values() for course in each if course.points)])
    return {name: _summary(each, best) for name, each in courses.items()} | missing


def _prepare(file: str) -> Prepare:
    def prepare(*arguments: Any) -> Any:
        import importlib

        return importlib.import_module(f"{__name__}.{file}").prepare(*arguments)

    return prepare


def _summary(courses: list[Course], best: float) -> Json:
    """Median milliseconds to each gap, and the curve of the first fit: seconds, passes or iterates, gap."""
    curve = [(s, n, max(0.0, 1.0 - best / value)) for s, n, value in courses[0].points]
    out: Json = {"curve": curve, "gap": curve[-1][2] if curve else None, "to": {}}
    for gap in GAPS:
        arrived = [1e3 * found[0] for course in courses if (found := arrival(course, best / (1.0 - gap)))]
        if arrived:
            out["to"][f"{gap:.0e}"] = timing.median(arrived)
            if gap == min(GAPS):
                out |= {"ms": timing.median(arrived), "spread": timing.spread(arrived), "rounds": len(arrived)}
    return out
