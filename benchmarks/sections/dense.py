"""Dense X: every peer on every case, in turn, each checked first. The sections on sparse X use `together` as well."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..harness import check, roofline, timing
from ..harness.cases import CASES, LINE, LINE_ROWS, MAIN_SHAPES, Case, Problem, make_problem
from ..harness.records import Effort, Json, Say
from ..peers import LOSSES, PEERS, MissingError, Peer
from . import worker

OURS = tuple(name for name in LOSSES if PEERS[name].ours)


def prepare(
    problem: Problem, names: Sequence[str], n_threads: int, peers: Mapping[str, Peer] = PEERS
) -> tuple[dict[str, Callable[[], Any]], Json]:
    """The timed function of each peer that can do the case, checked and warm; and a record for each.

    A peer that is missing, or whose answer is wrong, is recorded as such and not timed.
    """
    truth = check.truth(problem)
    calls: dict[str, Callable[[], Any]] = {}
    records: Json = {}
    for name in names:
        try:
            call = peers[name].prepare(problem.X, problem.y, problem.theta, n_threads, dx=problem.case.dx)
            answer = call()
        except MissingError as error:
            records[name] = {"missing": str(error)}
            continue
        except Exception as error:  # a peer that breaks must not end a long run; the report says so
            records[name] = {"missing": f"{type(error).__name__}: {error}"[:200]}
            continue
        records[name] = {}
        if not peers[name].per_iteration:
            error = truth.error(*answer)
            records[name] = {"error_in_tolerances": error, "relative_error": truth.relative(answer[1])}
            if not error <= 1:
                records[name]["missing"] = f"wrong answer: {error:.3g} times the tolerance"
                continue
        calls[name] = call
    return calls, records


def together(
    cases: Sequence[Case],
    names: Sequence[str] | Mapping[str, Peer],
    roof: roofline.Roof,
    effort: Effort,
    make: Callable[[Case], Problem] = make_problem,
) -> list[Json]:
    """Time all peers on all ``cases`` in the same rounds; one record per case. ``names``: of `PEERS`, or a mapping from
    names to peers."""
    peers = names if isinstance(names, Mapping) else {name: PEERS[name] for name in names}
    calls: dict[str, Callable[[], Any]] = {}
    records = {}
    for case in cases:
        able = [name for name, peer in peers.items() if peer.takes(case)]
        own, rivals = prepare(make(case), able, effort.n_threads, peers)
        calls.update((f"{name}@{case.name}", call) for name, call in own.items())
        records[case.name] = {
            "case": case.name,
            "beside": cases[0].name,
            "shape": case.shape,
            "dtype": case.dtype,
            "order": case.order,
            "roof_ms": roof.ms(case),
            "intensity": case.flops() / case.bytes,
            "gflop": case.flops() / 1e9,
            "rivals": rivals,
        }
    pause = timing.OWN_PAUSE if set(peers) <= set(OURS) else timing.PAUSE
    times = timing.interleave(calls, effort.rounds, pause=pause, budget=effort.budget)
    for key, each in times.items():
        name, case_name = key.split("@", 1)
        records[case_name]["rivals"][name].update(
            ms=timing.median(each), best_ms=min(each), spread=timing.spread(each), rounds=len(each)
        )
    return list(records.values())


def _groups(section: str, quick: bool) -> list[list[Case]]:
    """The cases of a section; those in one list are timed in the same rounds."""
    floats = ("f64", "f32")
    if section == "main":
        bases = ("quick-tall", "quick-digits", "quick-many") if quick else MAIN_SHAPES
        return [[CASES[f"{base}-{d}"]] for base in bases for d in floats]
    if section == "F-order":
        names = ["quick-tall-f32"] if quick else [f"{base}-{d}" for base in MAIN_SHAPES for d in floats]
        return [[CASES[name], CASES[name + "-F"]] for name in names]
    if section == "narrow":
        if quick:
            return [[CASES["quick-tall-f32"], CASES["quick-tall-u8"]]]
        return [[CASES[f"{b}-{d}"] for d in ("f32", "f16", "i16", "i8", "u8")] for b in ("500k", "60k")]
    return [[case] for case in CASES.values() if case.group == section]


def timed(section: str, roof: roofline.Roof, effort: Effort, say: Say) -> list[Json]:
    """A section of cases: by all peers, or by our backends alone where one layout of X is compared with another."""
    names = OURS if section in ("F-order", "narrow") else LOSSES
    out = []
    for cases in _groups(section, effort.quick):
        say(" with ".join(case.name for case in cases))
        out += together(cases, names, roof, effort)
        gc.collect()
    return out


def line(roof: roofline.Roof, effort: Effort, say: Say) -> Json:
    """Cost against the number of rows: passes over the first m rows of one large X."""
    rows = [m for m in LINE_ROWS if not effort.quick or m <= 300_000]
    problem = make_problem(LINE.rows(rows[-1]))
    names = [name for name in LOSSES if PEERS[name].takes(LINE) and not PEERS[name].per_iteration]
    out: list[Json] = []
    for m in rows:
        say(f"line, {m:,} rows")
        case = LINE.rows(m)
        part = Problem(case, problem.X[:m], problem.y[:m], problem.theta)
        calls, _ = prepare(part, names, effort.n_threads)
        times = timing.interleave(calls, effort.rounds, warmup=2, budget=effort.budget)
        rounds = min(len(each) for each in times.values())
        medians = {name: timing.median(each) for name, each in times.items()}
        out.append({"m": m, "roof_ms": roof.ms(case), "ms": medians, "rounds": rounds})
    return {"n": LINE.n, "k": LINE.k, "dtype": LINE.dtype, "points": out}


def memory(effort: Effort, say: Say) -> list[Json]:
    """Extra memory of a pass."""
    names = ["quick-tall-f64"] if effort.quick else ["500k-f64", LINE.name, "16k-classes-f32", "16k-classes-f32-dX"]
    return memory_of(names, LOSSES, effort, say)


def memory_of(names: Sequence[str], peers: Sequence[str], effort: Effort, say: Say) -> list[Json]:
    """Extra memory of a pass on the cases of these names, each peer in a process of its own."""
    out = []
    for name in names:
        case = LINE if name == LINE.name else CASES[name]
        found = {}
        for peer in (name for name in peers if PEERS[name].takes(case)):
            say(f"memory, {name}, {peer}")
            found[peer] = worker.run("memory", case, peer, effort.n_threads)
        x_mb = case.m * case.n * (8 if case.dtype == "float64" else 4) / 1e6
        out.append({"case": name, "shape": case.shape, "dtype": case.dtype, "x_mb": x_mb, "rivals": found})
    return out


def first_call(effort: Effort, say: Say) -> list[Json]:
    """The first call in Numba, in new processes: with an empty cache, and with one that has what it needs."""
    out = []
    for name in ("quick-tall-f32",) if effort.quick else ("quick-tall-f64", "quick-tall-f32"):
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("empty", "full"):
                say(f"first call, {name}, cache {cache}")
                record = worker.run("first-call", CASES[name], "numba", effort.n_threads, NUMBA_CACHE_DIR=folder)
                out.append({"case": name, "cache": cache, **record})
    return out
