"""Benchmarks on the user's machine: this package's backends beside the other libraries (peers) that are installed.

They are those of the project's benchmarks/ directory, which wheels include as `fastsoftmax.benchmarks`. Times are also
divided by the roofline: the least time that the memory and the arithmetic of the machine allow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...kernels.machine import default_threads
from .harness import modules


@dataclass(frozen=True)
class BenchTable:
    """What `run_bench` measured.

    Attributes
    ----------
    title : str
        The limits of the machine, measured in the same run.
    kind : {"passes", "solvers"}
        What was timed.
    columns : tuple of str
        Headings of the rows.
    rows : list of tuple of str
        A line for each case and each backend or peer, ready to print.
    notes : list of str
        Which peers were not run and why; a warning if other programs kept the machine busy.
    records : list of dict
        All results as numbers, for JSON.
    machine, roof : dict
        Processor, versions, threads; and the limits as numbers.
    """

    title: str
    kind: str = "passes"
    columns: tuple[str, ...] = ("case", "shape", "rival", "ms", "× roofline", "best peer / this")
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=dict)
    roof: dict[str, Any] = field(default_factory=dict)


def run_bench(
    quick: bool = False,
    cases: Sequence[str] = (),
    *,
    peers: Sequence[str] = (),
    problem: Any = None,
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
        Names ("500k-f32"), shapes ("500k", "1e6x54x7:f32:F") or groups ("main", "wide", "many classes"); the main or
        the quick cases unless given.
    peers : sequence of str
        The user's own peers, ``module:function`` each.
    problem : Problem, optional
        Of the user's own data (`harness.own_problem`), in place of cases.
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
        For an unknown case, of which the message lists the known ones, and a peer that cannot be loaded.
    ImportError
        If the benchmarks are not installed.
    """
    catalogue, machine, rivals, dense, records, roofline, timing = modules(
        "harness.cases",
        "harness.machine",
        "peers",
        "sections.dense",
        "harness.records",
        "harness.roofline",
        "harness.timing",
    )
    own = {peer: rivals.own(peer) for peer in peers}
    chosen = catalogue.select(cases or (["quick"] if quick else ["main"])) if problem is None else [problem.case]
    threads = n_threads or default_threads()
    busy = machine.busy()
    timing.fix_threads(threads)
    roof = roofline.measure(threads, quick=quick)
    effort = records.Effort(rounds or (5 if quick else 15), 2.0 if quick else 60.0, quick, threads)
    table = BenchTable(title=str(roof), notes=[busy] if busy else [], machine=machine.describe(threads))
    table.roof.update(roof.as_dict())
    known = {name: rivals.PEERS[name] for name in rivals.LOSSES} | own
    for case in chosen:
        if progress is not None:
            progress(f"{case.name} ({case.shape})")
        make = catalogue.make_problem if problem is None else lambda case: problem
        table.records.extend(dense.together([case], known, roof, effort, make))
    _fill(table, known)
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
