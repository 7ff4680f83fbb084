"""The tables of the section on sparse X."""

from __future__ import annotations

from ...harness.records import Json
from ...peers import PEERS
from ..targets import best_peer, beyond_gradients, fit_gain, ms, ratio
from ..text import number, times


def case_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Milliseconds of all peers, and how ours compare."""
    records = section.get("cases", [])
    names = [name for name in PEERS if any("ms" in r["rivals"].get(name, {}) for r in records)]
    head = ["case (m × n, k)", "roof", *(PEERS[name].label for name in names)]
    head += ["Cython, × best peer", "× scikit-learn", "Numba, × best peer", "× scikit-learn", "Numba / Cython"]
    rows = []
    for r in records:
        peer = best_peer(r)
        row = [f"{r['case']} ({r['shape']})", number(r["roof_ms"])]
        row += [f"**{number(ms(r, n))}**" if peer and n == peer[0] else number(ms(r, n)) for n in names]
        for mine in ("cython", "numba"):
            row.append(times(ratio(peer[1] if peer else None, ms(r, mine))))
            row.append(times(ratio(ms(r, "sklearn_loss"), ms(r, mine))))
        rows.append([*row, times(ratio(ms(r, "numba"), ms(r, "cython")))])
    return head, rows


def memory_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """MB of a pass above what was in use before, and what is left of it without the gradients."""
    records = section.get("memory", [])
    names = [name for name in PEERS if any("extra_mb" in r["rivals"].get(name, {}) for r in records)]
    head = ["case", "X", "gradients", *(PEERS[name].label for name in names)]
    ours = [name for name in names if PEERS[name].ours]
    head += [f"{PEERS[name].label}, beyond gradients" for name in ours]
    rows = []
    for r in records:
        row = [r["case"], number(r["x_mb"]), f"{number(r['gradients_mb'])} + {number(r['result_mb'])}"]
        row += [number(r["rivals"].get(name, {}).get("extra_mb")) for name in names]
        rows.append(row + [number(beyond_gradients(r, name)) for name in ours])
    return head, rows


def fit_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """scikit-learn's fit, and ours with each tolerance tried."""
    fit = section["fit"]
    peer, runs, default = fit["peer"], fit["runs"], fit["default"]
    head = ["fit", "time", "passes", "objective", "largest element of the gradient", "proven gap"]
    rows = []
    if "seconds" in peer:
        told = f"> {peer['seconds']:.0f} s, cut short" if peer.get("cut") else f"{peer['seconds']:.1f} s"
        rows.append(["scikit-learn lbfgs, C = 1", told, str(peer["passes"]), *_quality(peer)])
    for name, run in [(f"ours, tol = {run['tol']:g}", run) for run in runs] + [("ours, default tol", default)]:
        rows.append([f"{name}: {run['solver']}", f"{run['seconds']:.2f} s", str(run["passes"]), *_quality(run)])
    return head, rows


def fit_text(section: Json) -> str:
    """One sentence: how much faster."""
    gain = fit_gain(section.get("fit"))
    if gain is None:
        return ""
    run = section["fit"]["runs"][-1]
    return f"With tol = {run['tol']:g} ours ends no worse than scikit-learn by either measure, {gain:.1f}× as fast."


def _quality(run: Json) -> list[str]:
    gradient, bound = run.get("gradient"), run.get("bound")
    value = f"{run['value']:.8f}" if run["value"] < float("inf") else "–"
    return [value, "–" if gradient is None else f"{gradient:.1e}", "–" if bound is None else f"{bound:.0e}"]
