"""The work of ``fastsoftmax train``: read the data, fit a model, measure it on rows held out, and report."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import _extras, datasets, solvers
from .._version import __version__
from ..data import files
from ..data.sources.scan import Scan
from ..kernels import backends
from ..model.model import Model
from ..objective.objective import Objective
from . import large
from .paths import MODEL_SUFFIXES, PLOT_SUFFIXES, writable


@dataclass(frozen=True)
class TrainOptions:
    """The options of ``fastsoftmax train``; its ``--help`` says what they mean."""

    data: str | None
    target: str | None
    test_fraction: float
    l2: float
    l1: float
    solver: str
    tol: float
    max_iter: int
    seed: int
    out: str | None
    plot: str | None
    checkpoint: str | None
    resume: bool
    checkpoint_minutes: float
    checkpoint_passes: int | None
    as_json: bool
    reading: files.ReadOptions
    room: large.Room
    precision: str
    backend: str
    threads: int | None


@dataclass
class Problem:
    """What a model is fitted to.

    Attributes
    ----------
    name, target : str
        Of the data and of its labels.
    classes : ndarray (k,)
    feature_names : list of str
    obj : Objective
        Of the rows to train on.
    rows : dict
        How many there are to train on, and held out.
    measure : callable
        Gets the model and theta, and measures them on the rows held out.
    notes : callable
        What was found out in reading, so far.
    scan : Scan or None
        The data, where it is read anew in each pass.
    """

    name: str
    target: str
    classes: np.ndarray
    feature_names: list[str]
    obj: Objective
    rows: dict[str, int]
    measure: Callable[[Model, np.ndarray], dict[str, Any]]
    notes: Callable[[], Sequence[str]]
    scan: Scan | None = None


def train_model(options: TrainOptions) -> None:
    """Run the command."""
    out, plot = _checked_outputs(options)
    is_large = options.data is not None and options.room.is_too_small_for(options.data, options.reading)
    problem = _on_disk(options) if is_large else _in_memory(options)
    obj, classes = problem.obj, problem.classes
    result = _minimize(obj, options, problem.scan, _checkpoint(options, problem.target, classes))
    model = Model(result.theta[:-1], result.theta[-1], classes=classes, feature_names=tuple(problem.feature_names))
    report: dict[str, Any] = {
        "data": problem.name,
        "target": problem.target,
        "notes": list(problem.notes()),
        "features": obj.n_features,
        "classes": classes.tolist(),
        "rows": problem.rows,
        **_fit_report(options, obj, result),
        "test": problem.measure(model, result.theta) if problem.rows["test"] else None,
        "out": None if out is None else str(out),
        "plot": None if plot is None else str(plot),
        "checkpoint": options.checkpoint,
        "resumed": result.resumed or None,
        "version": __version__,
    }
    if out is not None:
        model.save(out)
    if plot is not None:
        from .plot import save_plot

        save_plot(plot, result.history, len(classes))
    if options.as_json:
        click.echo(json.dumps(report))
    else:
        from .display import show_report

        show_report(report)


def _in_memory(options: TrainOptions) -> Problem:
    name, data = _training_data(options)
    assert data.y is not None
    classes, y = np.unique(data.y, return_inverse=True)
    _require_two(name, data.target, classes)
    rows, held_out = datasets.split_rows(y, options.test_fraction, options.seed)
    X = data.X if not len(held_out) else data.X[rows]
    obj = _objective(X, y[rows], len(classes), options, l2=options.l2, precision=options.precision)
    counts = {"train": len(rows), "test": len(held_out)}

    def measure(model: Model, theta: np.ndarray) -> dict[str, Any]:
        return _measure(model, theta, data.X[held_out], y[held_out], options)

    return Problem(name, data.target, classes, data.feature_names, obj, counts, measure, lambda: data.notes)


def _on_disk(options: TrainOptions) -> Problem:
    """Data that is read anew in each pass. Rows are held out by their numbers, and have weight 0."""
    assert options.data is not None
    data = options.room.scan(options.data, options.target, options.reading, last=True)
    with large.watched(data, options.as_json):
        classes = data.classes
    _require_two(data.name, data.target, classes)
    kept, held = data.targets.split(options.test_fraction, options.seed)
    lost = classes[kept.counts == 0]
    if len(lost):
        raise ValueError(
            f"{data.name}: all rows of class {lost[0]} are held out; another --seed, or --test-fraction 0, is wanted"
        )
    training = data.with_targets(kept)
    settings: dict[str, Any] = {"backend": options.backend, "n_threads": options.threads}
    obj = Objective(training, fit_intercept=True, l2=options.l2, precision=options.precision, **settings)
    counts = {"train": int(kept.counts.sum()), "test": int(held.counts.sum())}

    def measure(model: Model, theta: np.ndarray) -> dict[str, Any]:
        return large.measure(model, theta, data.with_targets(held), settings)

    def notes() -> list[str]:
        return [*data.notes, f"read anew in each pass, since it takes more than the {options.room.memory} of --memory"]

    return Problem(data.name, data.target, classes, data.feature_names, obj, counts, measure, notes, training)


def _require_two(name: str, target: str, classes: np.ndarray) -> None:
    if len(classes) < 2:
        raise ValueError(f"{name}, target {target!r} holds one class only ({classes[0]}); at least two are wanted")


def _checked_outputs(options: TrainOptions) -> tuple[Path | None, Path | None]:
    """Paths of the model and the plot. Raises what can be known to be wrong before a long read and a long fit."""
    solvers.select(options.solver)
    backends.select(options.backend)
    out = writable(options.out, MODEL_SUFFIXES, "a model", default=".npz")
    plot = writable(options.plot, PLOT_SUFFIXES, "a plot")
    if out is not None and out.suffix == ".safetensors":
        _extras.load("safetensors", "a .safetensors model")
    if options.checkpoint is not None:
        kept = writable(options.checkpoint, (), "a checkpoint")
        if kept is not None and kept.exists() and not options.resume:
            raise ValueError(f"{kept} is there already: --resume goes on from it, or give the checkpoint another name")
    elif options.resume or options.checkpoint_passes is not None:
        raise ValueError("--resume and --checkpoint-passes need --checkpoint FILE")
    if plot is not None:
        _extras.load("matplotlib.figure", "a plot")
    if not options.as_json:
        _extras.load("rich", "the display")
    return out, plot


def _training_data(options: TrainOptions) -> tuple[str, files.Data]:
    """The name of the data, and samples with labels: those of a file or, unless one is given, scikit-learn's digits."""
    if options.data is not None:
        name = Path(options.data).name
        return name, files.read(options.data, options.target, options=options.reading)
    if options.target is not None:
        raise ValueError("--target names a column of DATA; there is none, and the digits have their own labels")
    if options.reading != files.ReadOptions():
        raise ValueError("options that say how to read a file are given, and no DATA to read")
    X, y, feature_names = datasets.load_sample("digits")
    return "scikit-learn's digits", files.Data(X, y, feature_names, "digit")


def _objective(X: np.ndarray, y: np.ndarray, k: int, options: TrainOptions, **others: Any) -> Objective:
    return Objective(X, y, k, fit_intercept=True, backend=options.backend, n_threads=options.threads, **others)


def _checkpoint(options: TrainOptions, target: str | None, classes: np.ndarray) -> solvers.Checkpoint | None:
    """The checkpoint that the options ask for; it also keeps what a fit in numbers does not tell."""
    if options.checkpoint is None:
        return None
    checkpoint = solvers.Checkpoint(
        options.checkpoint,
        resume=options.resume,
        passes=options.checkpoint_passes,
        minutes=options.checkpoint_minutes,
        facts={"target": target, "test_fraction": options.test_fraction, "seed": options.seed},
    )
    return checkpoint.of_classes(classes)


def _minimize(
    obj: Objective, options: TrainOptions, data: Scan | None, checkpoint: solvers.Checkpoint | None
) -> solvers.Result:
    """Fit, with a progress bar unless the output is JSON."""
    settings: dict[str, Any] = {
        "checkpoint": checkpoint,
        "solver": options.solver,
        "l1": options.l1,
        "tol": options.tol,
        "max_iter": options.max_iter,
    }
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: print(f"fastsoftmax: {message}", file=sys.stderr)
            if options.as_json:
                return solvers.minimize(obj, **settings)
            from .display import progress

            with progress(options.tol, options.max_iter, data) as callback:
                return solvers.minimize(obj, callback=callback, **settings)
    except KeyboardInterrupt as error:
        for note in getattr(error, "__notes__", ()):
            print(f"fastsoftmax: {note} The same command with --resume goes on from it.", file=sys.stderr)
        raise


def _fit_report(options: TrainOptions, obj: Objective, result: solvers.Result) -> dict[str, Any]:
    """What the report says of the fit."""
    return {
        "l2": options.l2,
        "l1": options.l1,
        "solver": result.solver,
        "backend": obj.backend,
        "isa": backends.select(obj.backend)[1].isa(),
        "threads": obj.threads,
        "converged": result.converged,
        "message": result.message,
        "loss": result.value,
        "grad_norm": result.grad_norm,
        "gap_bound": result.gap_bound,
        "iterations": result.n_iter,
        "passes": result.n_passes,
        "seconds": result.history[-1].seconds,
    }


def _measure(model: Model, theta: np.ndarray, X: np.ndarray, y: np.ndarray, options: TrainOptions) -> dict[str, Any]:
    """Accuracy and loss on rows held out."""
    k = model.n_classes
    predicted = np.searchsorted(model.classes, model.predict(X, backend=options.backend, n_threads=options.threads))
    confusion = None
    if k <= large.CONFUSION_CLASSES:
        confusion = np.bincount(y * k + predicted, minlength=k * k).reshape(k, k).tolist()
    return {
        "accuracy": float(np.mean(predicted == y)),
        # The objective's value, not -log of a probability, which may have rounded to 0.
        "log_loss": _objective(X, y, k, options).value(theta),
        "largest_class": float(np.bincount(y).max() / len(y)),
        "confusion": confusion,
    }
