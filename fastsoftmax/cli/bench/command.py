"""The command ``fastsoftmax bench`` and its part ``compare``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from ... import _extras
from ..paths import PLOT_SUFFIXES, writable
from .passes import BenchTable


@click.group(invoke_without_command=True)
@click.option("--quick", is_flag=True, help="Small cases and few rounds.")
@click.option(
    "--case",
    "cases",
    multiple=True,
    metavar="NAME",
    help="A case, a group of cases, or a shape such as 1e6x54x7:f32:F; may be repeated.",
)
@click.option("--data", metavar="FILE", help="Your own data in place of cases, as train reads them.")
@click.option("--target", metavar="COLUMN", help="With --data: the column of the labels; the last unless given.")
@click.option(
    "--peer", "peers", multiple=True, metavar="MODULE:FUNCTION", help="Your own rival; may be repeated. See the README."
)
@click.option("--solvers", is_flag=True, help="Time solvers to the minimum, and not passes.")
@click.option("--l2", type=click.FloatRange(min=0), help="With --solvers: strength of the penalty; 1e-4 unless given.")
@click.option("--plot", metavar="FILE", help="With --solvers: draw gap against time, as .png, .pdf or .svg.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@click.pass_context
def bench(context: click.Context, /, **options: Any) -> None:
    """Time loss and gradient by every backend and every installed peer, in turn, beside the machine's limits.

    With --solvers, the time that solvers take to come within a gap of the minimum.
    """
    if context.invoked_subcommand is None:
        _show(_timed(**options), options["as_json"])


@bench.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def compare(first: str, second: str, as_json: bool) -> None:
    """Ratios of the times in SECOND over those in FIRST, which bench --json has printed, and which are only noise."""
    from .compare import compare, read

    _show(compare(read(first), read(second)), as_json)


def _timed(
    *,
    quick: bool,
    cases: tuple[str, ...],
    data: str | None,
    target: str | None,
    peers: tuple[str, ...],
    solvers: bool,
    l2: float | None,
    plot: str | None,
    threads: int | None,
    as_json: bool,
) -> BenchTable:
    from .harness import own_problem

    if data is not None and cases:
        raise click.UsageError("--data and --case exclude each other")
    if data is None and target is not None:
        raise click.UsageError("--target names a column of --data; there is none")
    if not solvers and (l2 is not None or plot is not None):
        raise click.UsageError("--l2 and --plot go with --solvers")
    picture = writable(plot, PLOT_SUFFIXES, "a plot")
    if picture is not None:
        _extras.load("matplotlib.figure", "a plot")
    given: dict[str, Any] = {"peers": peers, "n_threads": threads, "progress": lambda line: click.echo(line, err=True)}
    given["problem"] = None if data is None else own_problem(data, target)
    if not solvers:
        from .passes import run_bench

        return run_bench(quick, cases, **given)
    from .races import run_races, save_picture

    table = run_races(quick, cases, l2=1e-4 if l2 is None else l2, **given)
    if picture is not None:
        save_picture(picture, table)
        table.notes.append(f"plot written to {picture}")
    return table


def _show(table: BenchTable, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(table), default=str))
        return
    _extras.load("rich", "the display")
    from ..display import show_bench

    show_bench(table)
