"""``fastsoftmax bench --solvers``: time to the minimum, by our solvers and those of other libraries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...kernels.machine import default_threads
from .harness import modules
from .passes import BenchTable

CASE, QUICK = "200000x54x7:f64", "5000x20x5:f64"


def run_races(
    quick: bool = False,
    cases: Sequence[str] = (),
    *,
    peers: Sequence[str] = (),
    problem: Any = None,
    l2: float = 1e-4,
    n_threads: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> BenchTable:
    """Time solvers to gaps of 1e-2, 1e-4 and 1e-6, in turn.

    Parameters
    ----------
    quick, cases, peers, problem, n_threads, progress
        As `passes.run_bench` takes them; `benchmarks.races` says what a peer is.
    l2 : float
        Strength of the penalty.

    Returns
    -------
    BenchTable
        ``records`` have, for each solver, the curve of seconds, passes and gap.
    """
    catalogue, machine, rivals, races, roofline, timing = modules(
        "harness.cases", "harness.machine", "peers", "races", "harness.roofline", "harness.timing"
    )
    own = {peer: rivals.load(peer) for peer in peers}
    given = cases or [QUICK if quick else CASE]
    problems = (catalogue.make_problem(case) for case in catalogue.select(given)) if problem is None else [problem]
    threads = n_threads or default_threads()
    busy = machine.busy()
    timing.fix_threads(threads)
    roof = roofline.measure(threads, quick=quick)
    columns = ("case", "solver", *(f"{gap:.0e}" for gap in races.GAPS), "× auto")
    title = f"{roof}\nMilliseconds to a relative gap to the minimum, l2 = {l2:g}"
    table = BenchTable(title=title, columns=columns, kind="solvers", notes=[busy] if busy else [])
    table.machine.update(machine.describe(threads))
    table.roof.update(roof.as_dict())
    for made in problems:
        case = made.case
        progress(f"{case.name} ({case.shape})")
        found = races.run(made.X, made.y, l2, threads, own, 1 if quick else 3, progress)
        table.records.append({"case": case.name, "shape": case.shape, "l2": l2, "rivals": found})
    for record in table.records:
        _fill(table, record, [f"{gap:.0e}" for gap in races.GAPS])
    return table


def _fill(table: BenchTable, record: dict[str, Any], gaps: list[str]) -> None:
    """Add the rows of a record, the fastest first."""
    timed = {name: row for name, row in record["rivals"].items() if "to" in row}
    first = timed.get("auto", {}).get("ms")
    for name, row in sorted(timed.items(), key=lambda item: float(item[1].get("ms", float("inf")))):
        times = [_number(row["to"].get(gap)) for gap in gaps]
        table.rows.append((record["case"], name, *times, f"{row['ms'] / first:.2f}" if first and "ms" in row else "–"))
        if "ms" not in row:
            where = f"a gap of {row['gap']:.0e}" if row["gap"] is not None else "no value"
            table.notes.append(f"{name}, {record['case']}: came to {where} in the time it got")
    table.notes.extend(f"{name}: {row['missing']}" for name, row in record["rivals"].items() if "missing" in row)


def _number(ms: float | None) -> str:
    """In three digits, or whole."""
    return "–" if ms is None else f"{ms:.3g}" if ms < 1000 else f"{ms:.0f}"


def save_picture(path: Path, table: BenchTable) -> None:
    """Draw the gap of each solver against seconds, a panel for each case."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8 * len(table.records)), layout="constrained")
    for number, record in enumerate(table.records, 1):
        axes = figure.add_subplot(len(table.records), 1, number)
        for name, row in record["rivals"].items():
            points = [(seconds, gap) for seconds, _, gap in row.get("curve", ()) if gap > 0]
            if points:
                axes.loglog(*zip(*points, strict=True), marker=".", linewidth=1.2, label=name)
        title = f"{record['case']} ({record['shape']}), l2 = {record['l2']:g}"
        axes.set(title=title, xlabel="seconds", ylabel="relative gap to the minimum")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
