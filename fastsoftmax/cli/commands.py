"""The command line: `train`, `predict`, `info` and `bench`.

Whatever the user can get wrong ends in one line on stderr and exit code 2; results go to stdout, the
progress bar to stderr. With ``--json`` stdout holds one JSON object and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
from .info import collect

# Errors that mean bad input, a missing package or a full disk or memory, not a fault of this program.
_EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)

_PLOT_SUFFIXES = (".png", ".pdf", ".svg")
_MODEL_SUFFIXES = (".safetensors", ".npz")
# A confusion matrix of more classes than this is not computed: it would be larger than the model.
_CONFUSION_CLASSES = 1000


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 2 for bad input, 130 after Ctrl-C."""
    try:
        code = cli.main(args, prog_name="fastsoftmax", standalone_mode=False)
    except click.UsageError as error:
        where = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _fail(error.format_message() + where)
    except click.ClickException as error:
        return _fail(error.format_message())
    except click.Abort:
        raise KeyboardInterrupt from None
    except _EXPECTED as error:
        return _fail(_sentence(error))
    return code if isinstance(code, int) else 0


def _fail(message: str) -> int:
    print("fastsoftmax:", " ".join(message.split()), file=sys.stderr)
    return 2


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or ("no memory is left" if isinstance(error, MemoryError) else type(error).__name__)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fastsoftmax", message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Softmax regression in one pass over the data."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options of every command that reads data and computes."""
    for option in (
        click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given."),
        click.option("--backend", default="auto", show_default=True, help="auto, cython, numba or numpy."),
        click.option("--no-header", is_flag=True, help="The first line of a CSV file is data; columns are 0, 1, ..."),
    ):
        command = option(command)
    return command


# ------------------------------------------------------------------------------------------- train


@dataclass(frozen=True)
class TrainOptions:
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
    no_header: bool
    backend: str
    threads: int | None


@cli.command()
@click.argument("data", required=False)
@click.option(
    "--target", metavar="COLUMN", help="Column of the labels, by name or number from 0; the last unless given."
)
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.2,
    show_default=True,
    help="Share of rows held out to measure accuracy; 0 for none.",
)
@click.option("--l2", type=click.FloatRange(min=0), default=1e-4, show_default=True, help="Strength of the penalty.")
@click.option(
    "--l1",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Strength of the penalty that makes zeros.",
)
@click.option("--solver", default="auto", show_default=True, help=f"auto, {', '.join(solvers.SOLVERS)}.")
@click.option(
    "--tol",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-6,
    show_default=True,
    help="Relative gap to the minimum, or scale-free gradient norm, at which to stop.",
)
@click.option("--max-iter", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the split.")
@click.option("--out", metavar="FILE", help="Write the model: .safetensors or .npz (.npz where there is no suffix).")
@click.option(
    "--plot", metavar="FILE", help="Draw the gap by passes and by seconds, and the loss curve: .png, .pdf or .svg."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@_data_options
def train(**options: Any) -> None:
    """Fit a model to DATA: CSV, Parquet, .npy, .npz or svmlight.

    Without DATA it is scikit-learn's bundled digits. Rows held out show how well the model does on
    what it has not seen.
    """
    _train(TrainOptions(**options))


def _train(options: TrainOptions) -> None:
    # All that can be known to be wrong before a long read and a long fit.
    solvers.select(options.solver)
    backends.select(options.backend)
    out = _writable(options.out, _MODEL_SUFFIXES, "a model", default=".npz")
    plot = _writable(options.plot, _PLOT_SUFFIXES, "a plot")
    if out is not None and out.suffix == ".safetensors":
        _extras.load("safetensors", "a .safetensors model")
    if plot is not None:
        _extras.load("matplotlib.figure", "a plot")
    if not options.as_json:
        _extras.load("rich", "the display")

    name, data = _training_data(options)
    assert data.y is not None
    classes, y = np.unique(data.y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{name}, target {data.target!r} holds one class only ({classes[0]}); at least two are wanted")
    rows, held_out = datasets.split_rows(y, options.test_fraction, options.seed)
    X = data.X if not len(held_out) else data.X[rows]
    obj = _objective(X, y[rows], len(classes), options, l2=options.l2)
    result = _minimize(obj, options)
    model = Model(result.theta[:-1], result.theta[-1], classes=classes, feature_names=tuple(data.feature_names))
    report: dict[str, Any] = {
        "data": name,
        "target": data.target,
        "features": obj.n_features,
        "classes": classes.tolist(),
        "rows": {"train": len(rows), "test": len(held_out)},
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


def _training_data(options: TrainOptions) -> tuple[str, files.Data]:
    if options.data is not None:
        name = Path(options.data).name
        return name, files.read(options.data, options.target, header=not options.no_header)
    if options.target is not None:
        raise ValueError("--target names a column of DATA; there is none, and the digits have their own labels")
    X, y, feature_names = datasets.load_sample("digits")
    return "scikit-learn's digits", files.Data(X, y, feature_names, "digit")


def _objective(X: np.ndarray, y: np.ndarray, k: int, options: TrainOptions, l2: float = 0.0) -> Objective:
    return Objective(X, y, k, fit_intercept=True, l2=l2, backend=options.backend, n_threads=options.threads)


def _minimize(obj: Objective, options: TrainOptions) -> solvers.Result:
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


def _measure(model: Model, theta: np.ndarray, X: np.ndarray, y: np.ndarray, options: TrainOptions) -> dict[str, Any]:
    """How the model does on rows it has not seen."""
    k = model.n_classes
    predicted = np.searchsorted(model.classes, model.predict(X, backend=options.backend, n_threads=options.threads))
    confusion = None
    if k <= _CONFUSION_CLASSES:
        confusion = np.bincount(y * k + predicted, minlength=k * k).reshape(k, k).tolist()
    return {
        "accuracy": float(np.mean(predicted == y)),
        # The objective itself, not -log of a probability, which may have vanished.
        "log_loss": _objective(X, y, k, options).value(theta),
        "largest_class": float(np.bincount(y).max() / len(y)),
        "confusion": confusion,
    }


# ----------------------------------------------------------------------------------------- predict


@dataclass(frozen=True)
class PredictOptions:
    model: str
    data: str
    out: str
    proba: bool
    top: int | None
    no_header: bool
    backend: str
    threads: int | None


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--out", required=True, metavar="FILE", help="Write the predictions: .csv, .parquet or .npy.")
@click.option("--proba", is_flag=True, help="Also the probability of every class.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="The N most probable classes instead, best first.")
@_data_options
def predict(**options: Any) -> None:
    """Predict the classes of the rows of DATA with a MODEL that `train --out` wrote.

    Columns are found by the names the model was trained with; others, such as the target, are
    left out.
    """
    _predict(PredictOptions(**options))


def _predict(options: PredictOptions) -> None:
    if options.proba and options.top is not None:
        raise click.UsageError("--proba and --top exclude each other")
    backends.select(options.backend)
    files.kind_to_write(options.out)
    out = _writable(options.out, (), "predictions")
    assert out is not None
    source = _with_suffix(options.model, _MODEL_SUFFIXES, "a model", default=".npz")
    model = Model.load(source)
    names, n = model.feature_names, model.n_features
    data = files.read_features(options.data, names, n, header=not options.no_header)
    files.write_columns(out, _predictions(model, data.X, options))
    click.echo(f"{data.X.shape[0]} predictions written to {out}")


def _predictions(model: Model, X: np.ndarray, options: PredictOptions) -> dict[str, np.ndarray]:
    """The columns to write, by name."""
    settings: dict[str, Any] = {"backend": options.backend, "n_threads": options.threads}
    if options.top is not None:
        labels, proba = model.top_k(X, options.top, **settings)
        ranked = [(f"top_{i + 1}", labels[:, i], f"p_{i + 1}", proba[:, i]) for i in range(labels.shape[1])]
        return {name: values for row in ranked for name, values in (row[:2], row[2:])}
    if options.proba:
        proba = model.predict_proba(X, **settings)
        columns = {f"p({label})": proba[:, c] for c, label in enumerate(model.classes.tolist())}
        # An array of probabilities has no room for a column of labels.
        if files.kind_to_write(options.out) == "npy":
            return columns
        return {"prediction": model.classes[np.argmax(proba, axis=1)]} | columns
    return {"prediction": model.predict(X, **settings)}


# -------------------------------------------------------------------------------------------- info


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def info(as_json: bool) -> None:
    """Show backends, instruction sets, threads, caches, versions, and how to install what is missing."""
    machine = collect()
    if as_json:
        click.echo(json.dumps(asdict(machine)))
        return
    _extras.load("rich", "the display")
    from .display import show_info

    show_info(machine)


def _writable(given: str | None, suffixes: tuple[str, ...], what: str, default: str = "") -> Path | None:
    """The path to write to, checked before the work and not after it."""
    if given is None:
        return None
    path = _with_suffix(given, suffixes, what, default)
    if not path.parent.is_dir():
        raise ValueError(f"{path}: there is no directory {path.parent} to write {what} to")
    if path.is_dir():
        raise ValueError(f"{path} is a directory; a file to write {what} to is wanted")
    return path


def _with_suffix(given: str, suffixes: tuple[str, ...], what: str, default: str = "") -> Path:
    """The path; ``default`` is its suffix where it has none."""
    path = Path(given)
    if not path.suffix and default:
        path = path.with_name(path.name + default)
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: {what} is a {' or '.join(suffixes)} file")
    return path


@cli.command()
@click.option("--quick", is_flag=True, help="Small cases and few rounds.")
@click.option("--case", "cases", multiple=True, metavar="NAME", help="A case or group of cases; may be repeated.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
def bench(quick: bool, cases: tuple[str, ...], threads: int | None, as_json: bool) -> None:
    """Time loss and gradient by every backend and every installed peer, in turn, beside the machine's limits."""
    from .bench import run_bench

    def progress(line: str) -> None:
        click.echo(line, err=True)

    table = run_bench(quick, cases, n_threads=threads, progress=progress)
    if as_json:
        click.echo(json.dumps(asdict(table), default=str))
        return
    _extras.load("rich", "the display")
    from .display import show_bench

    show_bench(table)
