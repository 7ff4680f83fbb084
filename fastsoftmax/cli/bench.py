"""Benchmarks on the user's machine: this package's backends beside the other libraries (peers) that are installed.

They are those of the project's benchmarks/ directory, which wheels include as `fastsoftmax.benchmarks`. Times are also
divided by the roofline: the least time that the memory and the arithmetic of the machine allow.
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
        The limits of the machine, measured in the same run.
    columns : tuple of str
        Headings of the rows.
    rows : list of tuple of str
        A line for each case and each backend or peer, ready to print.
    notes : list of str
        Which peers were not run and why; a warning if other programs kept the machine busy.
    records : list of dict
        All results as numbers, for JSON.
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
    """Time loss and gradient by every backend and every installed peer, one after the other in each round.

    The answers of all are checked first.

    Parameters
    ----------
    quick : bool
        Small cases and few rounds: seconds rather than minutes.
    cases : sequence of str
        Names ("500k-f32"), shapes ("500k") or groups ("main", "wide", "many classes"); the main or the
        quick cases unless given.
    n_threads : int, optional
        Number of threads for all; that of the cores this process may use unless given.
    rounds : int, optional
        Number of rounds, in each of which every backend and peer runs once; 15, or 5 if ``quick``.
    progress : callable, optional
        Called with a line of text when a case begins.

    Returns
    -------
    BenchTable

    Raises
    ------
    ValueError
        For an unknown case; the message lists the known ones.
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
        table.records.extend(dense.together([case], peers.LOSSES, roof, effort))
    _fill(table, peers.PEERS)
    return table


def _fill(table: BenchTable, peers: dict[str, Any]) -> None:
    """Add rows and notes, made from the records."""
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
    """Import name of the benchmarks: they are in the package where it is installed, and beside it in a checkout."""
    if importlib.util.find_spec("fastsoftmax.benchmarks") is not None:
        return "fastsoftmax.benchmarks"
    root = Path(__file__).resolve().parents[2]
    if not (root / "benchmarks" / "harness").exists():
        raise ImportError("the benchmarks are not part of this installation; pip install fastsoftmax brings them")
    if str(root) not in sys.path:
        sys.path.append(str(root))
    return "benchmarks"
