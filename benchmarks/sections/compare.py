"""Time our backends side by side while tuning them.

    python -m benchmarks.sections.compare --case 500k --backend cython,numba --rounds 15
    python -m benchmarks.sections.compare --case 60k-f32,60k-f32-F --backend cython --block 64,96,128
    python -m benchmarks.sections.compare --case main --backend cython --peer torch_eager,sklearn_loss

Backends, values of a constant of the plan, and peers take turns in one process. A line of the table has the median and
the shortest time in ms, the spread (half the distance between the quartiles, over the median), and the median over the
roofline measured just before and over the first line's median. To compare two revisions: ``benchmarks.revisions``.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from fastsoftmax.kernels.machine import default_threads

from ..harness import check, timing
from ..harness.cases import Problem, make_problem, select

OPERATIONS = ("value_and_grad", "value", "hess_prod", "gram", "predict")


def operation(objective: Any, name: str, X: Any, theta: np.ndarray) -> Callable[[], Any]:
    """One pass of the kind called ``name`` as a function without arguments."""
    if name == "hess_prod":
        return partial(objective.hess_prod, theta, theta[::-1].copy())
    if name == "gram":
        return objective.gram
    if name == "predict":
        from fastsoftmax.model.model import predict_proba

        options = {"backend": objective.backend, "n_threads": objective.n_threads}
        return partial(predict_proba, X, theta, **options)
    return partial(getattr(objective, name), theta)


def variants(problem: Problem, args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The lines of one table: backends with each choice of the plan's constants, then peers."""
    from fastsoftmax import Objective
    from fastsoftmax.kernels.plan import make_plan

    case = problem.case
    names = [name for name in ("block", "slabs", "chunk") if getattr(args, name)]
    for backend in args.backend:
        for values in itertools.product(*(getattr(args, name) for name in names)):
            objective = Objective(problem.X, problem.y, case.k, backend=backend, n_threads=args.threads)
            chosen = dict(zip(names, values, strict=True))
            if chosen:
                objective.plan = make_plan(case.m, case.n, case.k, objective.source.dtype, **chosen)
            label = " ".join([backend, *(f"{name}={value}" for name, value in chosen.items())])
            yield label, operation(objective, args.op, problem.X, problem.theta)
    if args.peer:
        from ..peers import PEERS

        for name in args.peer:
            yield name, PEERS[name].prepare(problem.X, problem.y, problem.theta, args.threads)


def compare(problem: Problem, calls: dict[str, Callable[[], Any]], args: argparse.Namespace, roof: float) -> None:
    """Print the table of one case."""
    case = problem.case
    wrong = {}
    if args.op == "value_and_grad" and not args.no_check:
        truth = check.truth(problem)
        wrong = {name: truth.error(*call()) for name, call in calls.items() if name != "sklearnex_fit"}
    times = timing.interleave(calls, args.rounds, warmup=2, pause=args.pause)
    print(f"\n{case.name}  ({case.shape})  {args.op}, roof {roof:.2f} ms, {args.rounds} rounds")
    print(f"  {'':32s}{'median':>9s}{'best':>9s}{'spread':>8s}{'x roof':>8s}{'x first':>9s}")
    first = None
    for name, each in times.items():
        middle = timing.median(each)
        first = first or middle
        note = "" if wrong.get(name, 0) <= 1 else f"  WRONG ANSWER ({wrong[name]:.3g} x tolerance)"
        print(
            f"  {name:32s}{middle:9.2f}{min(each):9.2f}{timing.spread(each):8.1%}"
            f"{middle / roof:8.2f}{middle / first:9.2f}{note}",
            flush=True,
        )


def parser() -> argparse.ArgumentParser:
    def words(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    out = argparse.ArgumentParser(
        prog="python -m benchmarks.sections.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = out.add_argument
    add("--case", type=words, default=["500k"], help="names (500k-f32), shapes (500k: both floats), groups (main)")
    add("--backend", type=words, default=["cython", "numba"], help="comma-separated; default cython,numba")
    add("--peer", type=words, default=[], help="peers to time as well, by their keys in benchmarks/peers")
    add("--op", choices=OPERATIONS, default="value_and_grad", help="kind of pass")
    add("--rounds", type=int, default=15)
    add("--threads", type=int, default=default_threads())
    add("--block", type=numbers, help="rows per block to try, comma-separated")
    add("--slabs", type=numbers, help="slabs to try")
    add("--chunk", type=numbers, help="rows per chunk to try")
    add("--pause", type=float, default=timing.PAUSE, help="seconds of sleep before each timed call")
    add("--no-check", action="store_true", help="skip the comparison with the float64 truth")
    return out


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    timing.fix_threads(args.threads)
    from ..harness import roofline

    roof = roofline.measure(args.threads, quick=True)
    print(roof)
    for case in select(args.case):
        problem = make_problem(case)
        compare(problem, dict(variants(problem, args)), args, roof.ms(case, args.op))


if __name__ == "__main__":
    main()
