"""The work of ``fastsoftmax probe``: a sweep over the penalty on features that lie in files, and its report."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import click

from .. import _extras
from ..kernels import backends
from ..probe import LinearProbe
from ..probe.sweep import Value
from .paths import MODEL_SUFFIXES, PLOT_SUFFIXES, writable

Progress = Callable[[int, Value], Any]


@dataclass(frozen=True)
class ProbeOptions:
    """The options of ``fastsoftmax probe``; its ``--help`` says what they mean."""

    features: str
    labels: str
    val: tuple[str, str] | None
    held_out: float
    folds: int | None
    grid: str
    l2s: tuple[float, ...]
    cs: tuple[float, ...]
    scoring: str
    rule: str
    standardize: bool
    normalize: bool
    early: bool
    refit: bool
    solver: str
    tol: float
    max_iter: int
    seed: int
    checkpoint: str | None
    out: str | None
    plot: str | None
    as_json: bool
    backend: str
    threads: int | None


def probe_features(options: ProbeOptions) -> None:
    """Run the command."""
    backends.select(options.backend)
    out = writable(options.out, MODEL_SUFFIXES, "a model", default=".npz")
    plot = writable(options.plot, PLOT_SUFFIXES, "a plot")
    if plot is not None:
        _extras.load("matplotlib", "--plot")
    if options.val is not None and options.folds is not None:
        raise click.UsageError("--val and --folds exclude each other")
    with _progress(options) as callback:
        probe = _estimator(options, callback).fit(options.features, options.labels, validation=options.val)
    if out is not None:
        probe.model_.save(out)
    if plot is not None:
        probe.report_.plot(plot)
    if options.as_json:
        click.echo(probe.report_.to_json())
        return
    click.echo(probe.report_.table())
    chosen = probe.values_[probe.best_index_]
    click.echo(f"chosen: C = {chosen.C:.4g}, l2 = {chosen.l2:.4g}")
    for what, path in (("model", out), ("plot", plot)):
        if path is not None:
            click.echo(f"{what} written to {path}")


def _estimator(options: ProbeOptions, callback: Progress | None) -> LinearProbe:
    return LinearProbe(
        grid=int(options.grid) if options.grid.isdigit() else options.grid,
        l2s=options.l2s or None,
        Cs=options.cs or None,
        held_out=options.held_out,
        cv=options.folds,
        scoring=options.scoring.replace("-", "_"),
        rule=options.rule.replace("-", "_"),
        standardize=options.standardize,
        normalize=options.normalize,
        early=options.early,
        refit=options.refit,
        checkpoint=options.checkpoint,
        callback=callback,
        random_state=options.seed,
        solver=options.solver,
        tol=options.tol,
        max_iter=options.max_iter,
        backend=options.backend,
        n_threads=options.threads,
    )


def _progress(options: ProbeOptions) -> AbstractContextManager[Progress | None]:
    """A bar over the grid on stderr, with the time left; none with ``--json``."""
    if options.as_json:
        return nullcontext()
    _extras.load("rich", "the display")
    from .display import sweep_progress

    return sweep_progress()
