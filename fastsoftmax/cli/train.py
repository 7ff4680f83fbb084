"""The work of ``fastsoftmax train``: read the data, fit a model, measure it on rows held out, and report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import _extras, datasets, solvers
from .._version import __version__
from ..data import files
from ..kernels import backends
from ..model.model import Model
from ..objective.objective import Objective
from .paths import MODEL_SUFFIXES, PLOT_SUFFIXES, writable

# A confusion matrix of more classes than this is not computed: it could be larger than the model.
_CONFUSION_CLASSES = 1000


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
    as_json: bool
    reading: files.ReadOptions
    precision: str
    backend: str
    threads: int | None


def train_model(options: TrainOptions) -> None:
    """Run the command."""
    out, plot = _checked_outputs(options)
    name, data = _training_data(options)
    assert data.y is not None
    classes, y = np.unique(data.y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{name}, target {data.target!r} holds one class only ({classes[0]}); at least two are wanted")
    rows, held_out = datasets.split_rows(y, options.test_fraction, options.seed)
    X = data.X if not len(held_out) else data.X[rows]
    obj = _objective(X, y[rows], len(classes), options, l2=options.l2, precision=options.precision)
    result = _minimize(obj, options)
    model = Model(result.theta[:-1], result.theta[-1], classes=classes, feature_names=tuple(data.feature_names))
    report: dict[str, Any] = {
        "data": name,
        "target": data.target,
        "notes": list(data.notes),
        "features": obj.n_features,
        "classes": classes.tolist(),
        "rows": {"train": len(rows), "test": len(held_out)},
        **_fit_report(options, obj, result),
        "test": _measure(model, result.theta, data.X[held_out], y[held_out], options) if len(held_out) else None,
        "out": None if out is None else str(out),
        "plot": None if plot is None else str(plot),
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


def _checked_outputs(options: TrainOptions) -> tuple[Path | None, Path | None]:
    """Paths of the model and the plot. Raises what can be known to be wrong before a long read and a long fit."""
    solvers.select(options.solver)
    backends.select(options.backend)
    out = writable(options.out, MODEL_SUFFIXES, "a model", default=".npz")
    plot = writable(options.plot, PLOT_SUFFIXES, "a plot")
    if out is not None and out.suffix == ".safetensors":
        _extras.load("safetensors", "a .safetensors model")
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


def _minimize(obj: Objective, options: TrainOptions) -> solvers.Result:
    """Fit, with a progress bar unless the output is JSON."""
    settings: dict[str, Any] = {
        "solver": options.solver,
        "l1": options.l1,
        "tol": options.tol,
        "max_iter": options.max_iter,
    }
    if options.as_json:
        return solvers.minimize(obj, **settings)
    from .display import progress

    with progress(options.tol, options.max_iter) as callback:
        return solvers.minimize(obj, callback=callback, **settings)


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
    if k <= _CONFUSION_CLASSES:
        confusion = np.bincount(y * k + predicted, minlength=k * k).reshape(k, k).tolist()
    return {
        "accuracy": float(np.mean(predicted == y)),
        # The objective's value, not -log of a probability, which may have rounded to 0.
        "log_loss": _objective(X, y, k, options).value(theta),
        "largest_class": float(np.bincount(y).max() / len(y)),
        "confusion": confusion,
    }
