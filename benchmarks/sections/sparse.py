"""Sparse X: passes against peers, memory of a pass, and a fit to the end.

    python -m benchmarks --section sparse                 all of it
    python -m benchmarks.sections.sparse cases memory     parts again, the others are kept; also single cases by name

The fit is that of the case "sparse-text": scikit-learn's LogisticRegression(solver="lbfgs") with its default tol and
C = 1 against `SoftmaxRegression` with the same penalty. Ours ends by another rule, so it is run with smaller and
smaller tol until it ends no worse than scikit-learn: at no higher a value of the objective and with no larger an
element of the gradient, both computed by the same code. The time of that run is compared. Where scikit-learn is cut
short, ours has to end below the value scikit-learn had come to, and with no element of the gradient above 1e-4, which
is what its default tol asks for.
"""

from __future__ import annotations

import argparse
import gc
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastsoftmax import Objective, SoftmaxRegression
from fastsoftmax.kernels.machine import default_threads
from fastsoftmax.kernels.plan import make_sparse_plan

from ..harness import machine, records, roofline, timing
from ..harness.cases import CASES, SPARSE_SHAPES, SparseCase, make_problem
from ..harness.records import Effort, Json, Say
from ..peers import LOSSES, PEERS
from . import dense, solver_peers, worker

NAMES = tuple(f"{base}-{dtype}" for base in SPARSE_SHAPES for dtype in ("f64", "f32"))
QUICK = ("quick-sparse-f64", "quick-sparse-f32")
# Seconds of rounds for each case, after the three that are always run, and seconds that scikit-learn's fit gets.
BUDGET, FIT_LIMIT = 8.0, 150.0
TOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# Our fit is repeated in `ROUNDS` where it takes less than `SHORT` seconds. `GRADIENT` is scikit-learn's default tol.
ROUNDS, SHORT = 3, 3.0
GRADIENT = 1e-4


def cases(names: Sequence[str], roof: roofline.Roof, effort: Effort, say: Say) -> list[Json]:
    """Loss and gradient by all peers that take CSR."""
    short = Effort(effort.rounds, min(effort.budget, BUDGET), effort.quick, effort.n_threads)
    out = []
    for name in names:
        began = time.perf_counter()
        out += dense.together([CASES[name]], LOSSES, roof, short)
        gc.collect()
        row = {peer: round(r["ms"], 1) if "ms" in r else r["missing"] for peer, r in out[-1]["rivals"].items()}
        say(f"{name} ({time.perf_counter() - began:.0f} s): {row}")
    return out


def memory(names: Sequence[str], effort: Effort, say: Say) -> list[Json]:
    """Extra memory of a pass, and the part of it that gradients take: those of the plan's slabs, and the result."""
    out = []
    for name in names:
        case = CASES[name]
        assert isinstance(case, SparseCase)
        able = [
            peer for peer in LOSSES if PEERS[peer].takes(case) and (PEERS[peer].ours or name.startswith("sparse-text"))
        ]
        found = {peer: worker.run("memory", case, peer, effort.n_threads) for peer in able}
        plan = make_sparse_plan(case.m, case.n, case.k, int(case.entries), np.dtype(case.dtype))
        one = case.n * case.k * np.dtype(case.dtype).itemsize / 1e6
        # A single slab's sum becomes the result itself.
        result = 0.0 if plan.slabs == 1 else one
        record: Json = {"case": name, "shape": case.shape, "rivals": found, "strategy": plan.strategy}
        x_mb = (case.entries * (np.dtype(case.dtype).itemsize + 4) + 4 * case.m) / 1e6
        out.append(record | {"x_mb": x_mb, "gradients_mb": plan.slabs * one, "result_mb": result})
        say(f"memory, {name}: {found}, gradients {plan.slabs * one:.0f} + {result:.0f} MB")
    return out


def fit(name: str, limit: float, say: Say) -> Json:
    """Both fits from beginning to end, as the head of this file says."""
    problem = make_problem(CASES[name])
    X, y = problem.X, problem.y
    l2 = 1.0 / len(y)
    obj = Objective(X, y, problem.case.k, fit_intercept=True, l2=l2)

    def quality(coef: np.ndarray, intercept: np.ndarray) -> tuple[float, float]:
        value, grad = obj.value_and_grad(np.vstack([coef.T, intercept]))
        return value, float(np.abs(grad).max())

    peer = _peer(X, y, limit)
    if "theta" in peer:
        value, gradient = quality(*peer.pop("theta"))
        peer |= {"value": value, "gradient": gradient}
    goal = peer.get("value", np.inf), peer.get("gradient", GRADIENT)
    say(f"fit, scikit-learn: {peer}")
    SoftmaxRegression(l2=l2, max_iter=1).fit(X[:1000], y[:1000])  # warm
    runs = []
    for tol in TOLS:
        runs.append(_ours(X, y, l2, tol, 1, quality))
        say(f"fit, tol {tol:g}: {runs[-1]}")
        if runs[-1]["value"] <= goal[0] and runs[-1]["gradient"] <= goal[1]:
            break
    if runs[-1]["seconds"] < SHORT:
        runs[-1] = _ours(X, y, l2, runs[-1]["tol"], ROUNDS, quality)
    default = _ours(X, y, l2, 1e-6, 1, quality)
    say(f"fit, ours: {runs[-1]}; default tol: {default}")
    return {"case": name, "shape": problem.case.shape, "l2": l2, "peer": peer, "runs": runs, "default": default}


def _peer(X: Any, y: np.ndarray, limit: float) -> Json:
    """scikit-learn's fit to its own stop, or to the limit."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        return {"missing": str(error)}
    estimator = LogisticRegression(C=1.0, solver="lbfgs", max_iter=10**6)
    course = solver_peers.Course(limit)
    with solver_peers.watched(course), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        try:
            estimator.fit(X, y)
        except solver_peers.LimitError:
            value = course.points[-1][2] if course.points else np.inf
            return {"seconds": time.perf_counter() - began, "passes": course.passes, "cut": True, "value": value}
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "passes": course.passes, "theta": (estimator.coef_, estimator.intercept_)}


def _ours(X: Any, y: np.ndarray, l2: float, tol: float, rounds: int, quality: Any) -> Json:
    """Our fit: the median of its times, and how good it is."""
    times = []
    for _ in range(rounds):
        estimator = SoftmaxRegression(l2=l2, tol=tol)
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y)
        times.append(time.perf_counter() - began)
    result = estimator.result_
    value, gradient = quality(estimator.coef_, estimator.intercept_)
    out: Json = {"tol": tol, "seconds": timing.median(times), "passes": result.n_passes, "solver": result.solver}
    return out | {"value": value, "gradient": gradient, "bound": result.gap_bound, "converged": result.converged}


def run(roof: roofline.Roof, effort: Effort, say: Say) -> Json:
    """The section of the report."""
    names = QUICK if effort.quick else NAMES
    return {
        "cases": cases(names, roof, effort, say),
        "memory": memory(names, effort, say),
        "fit": fit(names[0], 5.0 if effort.quick else FIT_LIMIT, say),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure some parts of the section again.")
    parser.add_argument("what", nargs="+", help=f"cases, memory, fit, or of the cases: {', '.join(NAMES)}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--limit", type=float, default=FIT_LIMIT, help="seconds that scikit-learn's fit gets")
    args = parser.parse_args()
    timing.fix_threads(default_threads())
    busy, roof = machine.busy(patience=machine.PATIENCE), roofline.measure(default_threads())
    effort = Effort(rounds=args.rounds, n_threads=default_threads())
    path = records.results_path(quick=False)
    section = records.load(path)["sections"].get("sparse", {})
    names = NAMES if "cases" in args.what else [name for name in NAMES if name in args.what]
    if names:
        new = {record["case"]: record for record in cases(names, roof, effort, print)}
        known = {record["case"]: record for record in section.get("cases", [])} | new
        section["cases"] = [known[name] for name in NAMES if name in known]
    if "memory" in args.what:
        section["memory"] = memory(NAMES, effort, print)
    if "fit" in args.what:
        section["fit"] = fit(NAMES[0], args.limit, print)
    saved = records.load(path)
    saved["sections"]["sparse"] = section | {"date": machine.today(), "busy": busy, "roof": roof.as_dict()}
    records.save(saved, path)


if __name__ == "__main__":
    main()
