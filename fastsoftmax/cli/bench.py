"""Benchmarks on the user's machine: our backends against whatever peers are installed, and against the machine.

The harness is the project's own benchmarks/ directory, which wheels carry as `fastsoftmax.benchmarks`.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..kernels.machine import default_threads


@dataclass(frozen=True)
class BenchTable:
    """What `run_bench` measured.

    Attributes
    ----------
    title : str
        The machine's limits, measured in the same run.
    columns : tuple of str
    rows : list of tuple of str
        A line for each case and rival, ready to print.
    notes : list of str
        Who took no part and why; a warning if other programs kept the machine busy.
    records : list of dict
        The same in full, as numbers: for JSON.
    """

    title: str
    columns: tuple[str, ...] = ("case", "shape", "rival", "ms", "× roofline", "best peer / this")
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)


def run_bench(
    quick: bool = False,
    cases: Sequence[str] = (),
    *,
    n_threads: int | None = None,
    rounds: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> BenchTable:
    """Time loss and gradient by every backend and every installed peer, in turn; each is checked first.

    Parameters
    ----------
    quick : bool
        Small cases and few rounds: seconds rather than minutes.
    cases : sequence of str
        Names ("500k-f32"), shapes ("500k") or groups ("main", "wide", "many classes"); the main or the
        quick cases unless given.
    n_threads : int, optional
        Threads for everybody; the process's cores unless given.
    rounds : int, optional
        Rounds in which every rival runs once; 15, or 5 if ``quick``.
    progress : callable, optional
        Gets a line of text as each case begins.

    Raises
    ------
    ValueError
        For an unknown case; the known ones are listed.
    ImportError
        If the benchmarks are not installed.
    """
    package = _harness()
    catalogue, machine, peers, dense, records, roofline, timing = (
        importlib.import_module(f"{package}.{name}")
        for name in (
            "harness.cases",
            "harness.machine",
            "peers",
            "sections.dense",
            "harness.records",
            "harness.roofline",
            "harness.timing",
        )
    )
    chosen = catalogue.select(cases or (["quick"] if quick else ["main"]))
    threads = n_threads or default_threads()
    busy = machine.busy()
    timing.fix_threads(threads)
    roof = roofline.measure(threads, quick=quick)
    effort = records.Effort(rounds or (5 if quick else 15), 2.0 if quick else 60.0, quick, threads)
    table = BenchTable(title=str(roof), notes=[busy] if busy else [])
    for case in chosen:
        if progress is not None:
            progress(f"{case.name} ({case.shape})")
        table.records.extend(dense.together([case], tuple(peers.PEERS), roof, effort))
    _fill(table, peers.PEERS)
    return table


def _fill(table: BenchTable, peers: dict[str, Any]) -> None:
    """Make the lines to print from the records."""
    missing: dict[str, list[str]] = {}
    for record in table.records:
        timed = {name: row for name, row in record["rivals"].items() if "ms" in row}
        others = [row["ms"] for name, row in timed.items() if not peers[name].ours]
        for name, row in sorted(timed.items(), key=lambda item: float(item[1]["ms"])):
            gain = f"{min(others) / row['ms']:.2f}" if others and peers[name].ours else ""
            numbers = (f"{row['ms']:.3g}", f"{row['ms'] / record['roof_ms']:.2f}", gain)
            table.rows.append((record["case"], record["shape"], peers[name].label, *numbers))
        for name, row in record["rivals"].items():
            if "missing" in row:
                missing.setdefault(f"{peers[name].label}: {row['missing']}", []).append(record["case"])
    for why, where in missing.items():
        table.notes.append(why if len(where) == len(table.records) else f"{why} ({', '.join(where)})")


def _harness() -> str:
    """Import name of the benchmarks: inside the package where installed, beside it in a checkout."""
    if importlib.util.find_spec("fastsoftmax.benchmarks") is not None:
        return "fastsoftmax.benchmarks"
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks" / "harness").exists():
        raise ImportError("the benchmarks are not part of this installation; pip install fastsoftmax brings them")
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return "benchmarks"
