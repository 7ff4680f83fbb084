"""The tables of the section on solvers."""

from __future__ import annotations

from ...harness.records import Json
from ...sections.solver_peers import SOLVERS
from ..targets import ratio, solver_gain


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"


def _gap(value: float | None) -> str:
    return "–" if value is None else "0" if value == 0 else f"{value:.0e}"


def ours_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Passes and seconds of our default settings, to the gap and to our own stop."""
    head = ["set (m × n, k)", "l2", "method", "passes", "time", "passes in all", "time in all", "gap", "proven gap"]
    rows = []
    for r in section["solvers"]:
        own = r["ours"]
        row = [f"{r['set']} ({r['shape']})", f"{r['l2']:.0e}", own["solver"]]
        row += [str(own.get("passes", "–")), _seconds(own.get("seconds"))]
        row += [str(own["total_passes"]), _seconds(own["total_seconds"]), _gap(own["final_gap"]), _gap(own["bound"])]
        rows.append(row)
    return head, rows


def peer_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Seconds of all solvers to the gap; where a solver did not get there, the gap it had in the time it got."""
    head = ["set (m × n, k)", "l2", "fastsoftmax", *(f"scikit-learn {name}" for name in SOLVERS), "× fastest peer"]
    rows = []
    for r in section["solvers"]:
        if not r["peers"]:
            continue
        row = [f"{r['set']} ({r['shape']})", f"{r['l2']:.0e}", _seconds(r["ours"].get("seconds"))]
        for name in SOLVERS:
            found = r["peers"][name]
            told = _seconds(found["seconds"]) if "seconds" in found else f"{_gap(found['gap'])} in {r['limit']:.2g} s"
            row.append(told)
        gain, reached = solver_gain(r)
        row.append("–" if gain is None else f"{'' if reached else '> '}{gain:.1f}×")
        rows.append(row)
    return head, rows


def l1_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Seconds to the gap; saga's gap where it did not get there."""
    head = ["set (m × n, k)", "l1", "zeros", "passes", "fastsoftmax", "saga", "× saga", "passes in all", "gap"]
    rows = []
    for r in section.get("l1", []):
        own, last = r["ours"], r["saga"][-1]
        gain = ratio(r["arrived"] or last["seconds"], own.get("seconds"))
        short = f"{_gap(1 - r['optimum'] / last['value'])} in {_seconds(last['seconds'])}"
        row = [f"{r['set']} ({r['shape']})", f"{r['l1']:.0e}", f"{own['zeros']:.0%}", str(own.get("passes", "–"))]
        row += [_seconds(own.get("seconds")), _seconds(r["arrived"]) if r["arrived"] else short]
        row.append("–" if gain is None else f"{'' if r['arrived'] else '> '}{gain:.1f}×")
        rows.append([*row, str(own["total_passes"]), _gap(own["final_gap"])])
    return head, rows


def path_text(section: Json) -> str:
    """One sentence on the path."""
    p = section.get("path")
    if not p:
        return ""
    strengths = f"{len(p['l2s'])} l2 from {p['l2s'][0]:.0e} to {p['l2s'][-1]:.0e}"
    return (
        f"`regularization_path` over {strengths} on {p['shape']}: {_seconds(p['seconds'])}, "
        f"{' + '.join(map(str, p['passes']))} passes. The last of them alone: {_seconds(p['alone'])}, "
        f"{p['alone_passes']} passes; the path takes {p['seconds'] / p['alone']:.1f}× its time."
    )
