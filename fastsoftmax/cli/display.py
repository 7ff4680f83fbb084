"""What the command line shows in a terminal: the progress bar, and the reports of `train`, `info` and `bench`."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rich.markup
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..data.sources.scan import Scan
from ..solvers.result import Step
from .bench import BenchTable
from .info import Machine

# Where a confusion matrix is wider than the terminal, this many of the most frequent mistakes are listed instead.
MISTAKES = 10


@contextmanager
def progress(tol: float, max_iter: int, data: Scan | None = None) -> Iterator[Callable[[Step], None]]:
    """A progress bar on stderr, if that is a terminal, and the callback of a solver that moves it.

    The bar shows the largest of three shares: how far the gradient norm has fallen from its first value to ``tol``, and
    the gap likewise, both on a logarithmic scale because they fall by factors; and the steps of ``max_iter``. For data
    that is read anew in each pass there is a second bar, for the rows of a pass.
    """
    console = Console(stderr=True)
    bar = Progress(
        BarColumn(bar_width=8),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
    )
    task = bar.add_task("training", total=1.0)
    first: dict[str, float] = {}
    done = 0.0

    def share(name: str, now: float | None) -> float:
        """How far a number has fallen from its first value to tol."""
        if now is None:
            return 0.0
        start = first.setdefault(name, now)
        fallen = math.log(start / now) if 0 < now < start else 0.0
        return min(1.0, fallen / (math.log(start / tol) if start > tol > 0 else 1.0))

    def advance(step: Step) -> None:
        nonlocal done
        done = max(done, share("norm", step.grad_norm), share("gap", step.gap_bound), step.iteration / max_iter)
        gap = "" if step.gap_bound is None else f"  gap {step.gap_bound:.0e}"
        text = f"step {step.iteration}  loss {step.value:.6f}  gradient {step.grad_norm:.1e}{gap}"
        bar.update(task, completed=done, description=f"{text}  {_count(step.n_passes, 'pass')}  {step.seconds:.2f} s")

    if data is not None:
        data.watch = _watcher(bar, data)
    with bar:
        yield advance


@contextmanager
def reading(data: Scan) -> Iterator[None]:
    """A bar for the rows of the first pass, if stderr is a terminal."""
    console = Console(stderr=True)
    bar = Progress(
        BarColumn(bar_width=8), TextColumn("{task.description}"), console=console, disable=not console.is_terminal
    )
    data.watch = _watcher(bar, data)
    with bar:
        yield


def _watcher(bar: Progress, data: Scan) -> Callable[[int, int | None], None]:
    """A bar for the rows of a pass: how many have been read, how fast, and how long the rest will take."""
    task = bar.add_task("reading", total=1.0)
    before, began = 0, time.perf_counter()

    def watch(rows: int, of: int | None) -> None:
        nonlocal before, began
        if rows < before:  # another pass
            began = time.perf_counter()
        before, seconds = rows, max(time.perf_counter() - began, 1e-9)
        if of is None:
            bar.update(task, total=None, description=f"{rows:,} rows  {seconds:.0f} s")
            return
        rate = "" if "facts" not in vars(data) else f"  {rows * data.row_bytes / seconds / 1e9:.2f} GB/s"
        left = f"{seconds * (of - rows) / rows:.0f} s left" if rows else ""
        bar.update(task, total=of, completed=rows, description=f"{rows:,} of {of:,} rows{rate}  {left}")

    return watch


def scan_report(report: dict[str, Any], as_json: bool) -> None:
    """Print what a first pass has found."""
    if as_json:
        print(json.dumps(report))
        return
    console = Console(highlight=False)
    for note in report["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    shown = {
        "data": f"{report['data']}: {report['rows']:,} rows, {report['features']:,} features, {report['dtype']}",
        "first pass": f"{report['seconds']:.3g} s",
    }
    _facts(console, shown)
    if "classes" in report:
        table = Table(rich.markup.escape(report["target"]), "rows")
        table.columns[1].justify = "right"
        for label, count in report["classes"].items():
            table.add_row(Text(label), f"{count:,}")
        console.print(table)
    if report["out"] is not None:
        console.print(f"kept in {report['out']}", soft_wrap=True)


@contextmanager
def sweep_progress() -> Iterator[Callable[[int, Any], None]]:
    """A bar over the values of a grid on stderr, if that is a terminal, with the time left; and the callback of a
    sweep that moves it: of the number of values and one that is done."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task("the first fit", total=None)

    def advance(count: int, value: Any) -> None:
        found = "ended early" if value.metrics is None else f"log loss {value.metrics['log_loss'].value:.4f}"
        bar.update(task, total=count, advance=1, description=f"l2 {value.l2:.2g}: {found}")

    with bar:
        yield advance


def show_report(report: dict[str, Any]) -> None:
    """Print the outcome of a training run, given what `train --json` prints."""
    console = Console(highlight=False)
    test, rows = report["test"], report["rows"]
    for note in report["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    _facts(
        console,
        {
            "data": f"{report['data']}, target {report['target']!r}: {rows['train'] + rows['test']:,} rows, "
            f"{report['features']:,} features, {len(report['classes']):,} classes",
            "split": f"{rows['train']:,} rows to train on, {rows['test']:,} held out",
            "ran on": f"{report['backend']} ({report['isa']}), {_count(report['threads'], 'thread')}",
            "training": f"{report['seconds']:.3g} s, {_count(report['passes'], 'pass')} over the data, "
            f"{_count(report['iterations'], 'iteration')}",
            **({"resumed": report["resumed"]} if report["resumed"] else {}),
            "outcome": report["message"],
            "loss": f"{report['loss']:.6f} on the rows trained on, penalty included",
        },
    )
    if test is None:
        console.print("No rows were held out, so there is no accuracy to show.", soft_wrap=True)
    else:
        _facts(
            console,
            {
                "accuracy": f"{test['accuracy']:.4f} on held-out rows (the largest class alone: "
                f"{test['largest_class']:.4f})",
                "log loss": f"{test['log_loss']:.4f} on held-out rows",
            },
        )
        if test["confusion"] is not None:
            _show_confusion(console, [str(label) for label in report["classes"]], np.array(test["confusion"]))
    for what in ("out", "plot"):
        if report[what] is not None:
            console.print(f"{'model' if what == 'out' else what} written to {report[what]}", soft_wrap=True)


def show_info(machine: Machine) -> None:
    """Print backends, machine, versions, and the commands that install what is missing."""
    console = Console(highlight=False)
    caches = ", ".join(f"{level} {_bytes(size)}" for level, size in sorted(machine.caches.items()))
    _facts(
        console,
        {
            "fastsoftmax": machine.version,
            "python": machine.python,
            "system": machine.system,
            "threads": str(machine.threads),
            "caches": caches,
            "jax": machine.jax,
        },
    )
    backends = Table("backend", "instruction set", "threads")
    for name, row in machine.backends.items():
        backends.add_row(name, *((row["isa"], row["threads"]) if row["available"] else ("not available", "")))
    packages = Table("package", "version")
    for name, version in machine.packages.items():
        packages.add_row(name, version or "not installed")
    console.print()
    console.print(backends)
    console.print(packages)
    for what, how in machine.missing.items():
        console.print(f"missing: {what}: {how}", markup=False, soft_wrap=True)
    if not machine.missing:
        console.print("Nothing is missing.")


def show_bench(table: BenchTable) -> None:
    """Print the times of a benchmark run."""
    console = Console()
    out = Table(*table.columns)
    # Else, at 80 characters, the dtype in a case's name or the exponent of a time is cut off.
    for whole in (0, 2, 3) if table.kind == "passes" else range(len(table.columns)):
        out.columns[whole].no_wrap = True
    for column in out.columns[3 if table.kind == "passes" else 2 :]:
        column.justify = "right"
    for row in table.rows:
        out.add_row(*row)
    console.print(table.title, markup=False, soft_wrap=True)
    console.print(out)
    for note in table.notes:
        console.print(note, markup=False, soft_wrap=True)


def _facts(console: Console, facts: dict[str, str]) -> None:
    """Print a line for each fact, the names in a column."""
    for name, value in facts.items():
        console.print(Text(f"{name:<12}{value}"), soft_wrap=True)


def _show_confusion(console: Console, labels: list[str], confusion: np.ndarray) -> None:
    """Print the confusion matrix where it fits the terminal, else the most frequent mistakes."""
    table = Table()
    table.add_column("", no_wrap=True)
    for label in labels:
        table.add_column(Text(label), justify="right", no_wrap=True)
    for c, counts in enumerate(confusion):
        cells = [Text(str(count) if count else "·", style="bold" if c == d else "") for d, count in enumerate(counts)]
        table.add_row(Text(labels[c]), *cells)
    console.print()
    if console.measure(table, options=console.options.update(width=10**6)).maximum <= console.width:
        console.print("confusion matrix (rows: the true class, columns: the predicted one)")
        console.print(table)
        return
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    table = Table("true", "predicted", "rows")
    for place in np.argsort(-wrong, axis=None, kind="stable")[:MISTAKES]:
        c, d = divmod(int(place), len(labels))
        if wrong[c, d]:
            table.add_row(Text(labels[c]), Text(labels[d]), str(wrong[c, d]))
    console.print("most frequent mistakes" if table.row_count else "No row was classified wrongly.")
    if table.row_count:
        console.print(table)


def _bytes(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 1 << 20 else f"{size / 2**10:g} KiB"


def _count(number: int, noun: str) -> str:
    plural = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"
