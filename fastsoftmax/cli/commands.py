"""The command line: `train`, `probe`, `predict`, `scan`, `export`, `info` and `bench`.

A user's mistake ends in one line on stderr and the exit code 2. Results go to stdout, the progress bar to stderr. With
``--json`` stdout has one JSON object and nothing else.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import click

from .. import _extras, solvers
from .._version import __version__
from ..data import files
from ..kernels import backends
from ..kernels.units import PRECISIONS
from ..model.model import Model
from .bench.command import bench
from .info import collect, describe_plans
from .large import Room, show_scan
from .paths import MODEL_SUFFIXES, with_suffix, writable
from .train import TrainOptions, train_model

# Errors that mean bad input, a missing package, a full disk or too little memory. Any other is a fault of this program,
# and shows its traceback.
_EXPECTED = (ValueError, TypeError, OSError, ImportError, FloatingPointError, MemoryError)


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, 0, or 2 for bad input. Ctrl-C raises KeyboardInterrupt."""
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
    """Print a message as one line, and return the exit code of bad input."""
    print("fastsoftmax:", " ".join(message.split()), file=sys.stderr)
    return 2


def _sentence(error: BaseException) -> str:
    """What went wrong, without the error numbers of the operating system."""
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
    for option in (  # the last is the first in --help
        click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given."),
        click.option("--backend", default="auto", show_default=True, help="auto, cython, numba or numpy."),
        *_reading_options(),
    ):
        command = option(command)
    return command


def _reading_options() -> list[Any]:
    """Options that say how to read a file; those of one kind of file are an error for another."""
    return [
        click.option("--fill", type=float, metavar="NUMBER", help="What missing cells of features are read as."),
        click.option("--ignore", multiple=True, metavar="COLUMN", help="A column to leave out; may be repeated."),
        click.option("--encoding", help="Encoding of a text table: latin-1, cp1252, utf-16, ..."),
        click.option("--thousands", metavar="MARK", default="", help="What separates thousands in a text table."),
        click.option("--decimal", metavar="MARK", help="Decimal mark of a text table."),
        click.option("--sep", metavar="MARK", help="What separates its cells: , ; | tab, or space for runs of spaces."),
        click.option(
            "--header/--no-header",
            default=None,
            help="Whether the first line of a text table holds the names of its columns; else they are 0, 1, ...",
        ),
        click.option(
            "--format",
            type=click.Choice(files.FORMATS),
            help="What is in the file; its suffix says so unless given.",
        ),
    ]


def _room_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options for data that is larger than memory."""
    for option in (
        click.option("--cache", metavar="FOLDER", help="Keep a decoded copy there for all passes after the first."),
        click.option(
            "--memory",
            metavar="SIZE",
            default="512MB",
            show_default=True,
            help="A file that takes more is read anew in each pass, within this much memory.",
        ),
    ):
        command = option(command)
    return command


def _with_room(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a command, those for large data as one Room under the name ``room``."""
    return options | {"room": Room(options.pop("memory"), options.pop("cache"))}


def _with_reading(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a command, those of reading as one ReadOptions under the name ``reading``."""
    names = {field.name for field in fields(files.ReadOptions)} & set(options)
    reading = files.ReadOptions(**{name: options.pop(name) for name in names})
    return options | {"reading": reading}


# ------------------------------------------------------------------------------------------- train


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
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default="exact",
    show_default=True,
    help="bfloat16: end where passes in bfloat16 tell no more, if this machine has faster ones.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the split.")
@click.option("--out", metavar="FILE", help="Write the model: .safetensors or .npz (.npz where there is no suffix).")
@click.option(
    "--plot", metavar="FILE", help="Draw the gap by passes and by seconds, and the loss curve: .png, .pdf or .svg."
)
@click.option("--checkpoint", metavar="FILE", help="Keep the run in FILE while it goes on; see --resume.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint if it is there, to the same bits.")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Write the checkpoint after so many minutes ...",
)
@click.option(
    "--checkpoint-passes", type=click.IntRange(min=1), metavar="N", help="... or after N passes over the data."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@_room_options
@_data_options
def train(**options: Any) -> None:
    """Fit a model to DATA: CSV and other text tables, Parquet, .npy, .npz or svmlight.

    Without DATA it is scikit-learn's bundled digits. Rows held out show how well the model does on
    what it has not seen. What is guessed of a file is said, and an option says otherwise. A file
    that takes more than --memory is read anew in each pass; so are Arrow files and zarr arrays.
    """
    train_model(TrainOptions(**_with_room(_with_reading(options))))


# ------------------------------------------------------------------------------------------- probe


@cli.command()
@click.argument("features")
@click.argument("labels")
@click.option("--val", nargs=2, metavar="FEATURES LABELS", help="Rows to measure on; else some are held out.")
@click.option("--held-out", type=click.FloatRange(0, 1, True, True), default=0.2, show_default=True, help="That share.")
@click.option("--folds", type=click.IntRange(min=2), help="Folds in place of one held-out part.")
@click.option(
    "--grid", default="dinov2", show_default=True, help="dinov2, clip, or a number of values of l2 from 1 to 1e-8."
)
@click.option("--l2", "l2s", type=float, multiple=True, help="A strength to try, in place of --grid; may be repeated.")
@click.option("--C", "cs", type=float, multiple=True, help="The same as scikit-learn's C: l2 = 1 / (C rows).")
@click.option(
    "--scoring",
    type=click.Choice(["log-loss", "top1", "top5", "mean-per-class"]),
    default="log-loss",
    show_default=True,
    help="What to choose by.",
)
@click.option(
    "--rule",
    type=click.Choice(["best", "one-se"]),
    default="best",
    show_default=True,
    help="The best value, or the strongest penalty within a standard error of it.",
)
@click.option("--standardize", is_flag=True, help="Penalize as if columns had the standard deviation 1.")
@click.option("--normalize", is_flag=True, help="Divide rows by their norms.")
@click.option("--early/--no-early", default=True, help="End fits that provably cannot become the best.")
@click.option("--refit/--no-refit", default=True, help="Fit the model to all rows at the end.")
@click.option("--solver", default="auto", show_default=True, help=f"auto, {', '.join(solvers.SOLVERS)}.")
@click.option("--tol", type=click.FloatRange(0, min_open=True), default=1e-5, show_default=True, help="As in train.")
@click.option("--max-iter", type=click.IntRange(min=1), default=300, show_default=True, help="Steps of a fit at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the rows held out.")
@click.option("--checkpoint", metavar="FOLDER", help="Keep what is done, and go on from there.")
@click.option("--out", metavar="FILE", help="Write the model: .safetensors or .npz.")
@click.option("--plot", metavar="FILE", help="Draw the metrics by l2: .png, .pdf or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@click.option("--backend", default="auto", show_default=True, help="auto, cython, numba or numpy.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads; all cores unless given.")
def probe(**options: Any) -> None:
    """Sweep the penalty of a linear probe: FEATURES and LABELS are .npy files, or folders of .npy parts.

    For each value the log loss, top-1 and top-5 accuracy and the mean accuracy of the classes on
    rows that were not fitted, each with its standard error. FEATURES may be float16, bfloat16,
    float32, float64 or small integers, and are never copied.
    """
    _extras.load("sklearn", "a probe")
    from .probe import ProbeOptions, probe_features

    probe_features(ProbeOptions(**options))


# ----------------------------------------------------------------------------------------- predict


@dataclass(frozen=True)
class PredictOptions:
    """The options of ``fastsoftmax predict``; its ``--help`` says what they mean."""

    model: str
    data: str
    out: str
    proba: bool
    top: int | None
    reading: files.ReadOptions
    room: Room
    backend: str
    threads: int | None


@cli.command()
@click.argument("model")
@click.argument("data")
@click.option("--out", required=True, metavar="FILE", help="Write the predictions: .csv, .parquet or .npy.")
@click.option("--proba", is_flag=True, help="Also the probability of every class.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="The N most probable classes instead, best first.")
@click.option(
    "--extra-features",
    type=click.Choice(["error", "ignore"]),
    default="error",
    show_default=True,
    help="What to do with features of an svmlight file beyond the model's.",
)
@_room_options
@_data_options
def predict(**options: Any) -> None:
    """Predict the classes of the rows of DATA with a MODEL that `train --out` wrote.

    Columns are found by the names the model was trained with; others, such as the target, are
    left out.
    """
    _predict(PredictOptions(**_with_room(_with_reading(options))))


def _predict(options: PredictOptions) -> None:
    if options.proba and options.top is not None:
        raise click.UsageError("--proba and --top exclude each other")
    backends.select(options.backend)
    files.kind_to_write(options.out)
    out = writable(options.out, (), "predictions")
    assert out is not None
    source = with_suffix(options.model, MODEL_SUFFIXES, "a model", default=".npz")
    model = Model.load(source)
    if options.room.is_too_small_for(options.data, options.reading):
        X: Any = options.room.scan_features(options.data, model.feature_names, options.reading)
        notes: Sequence[str] = X.notes
    else:
        data = files.read_features(options.data, model.feature_names, model.n_features, options=options.reading)
        X, notes = data.X, data.notes
    for note in notes:
        click.echo(f"note: {note}")
    settings: dict[str, Any] = {"backend": options.backend, "n_threads": options.threads}
    count = model.write_predictions(out, X, proba=options.proba, top=options.top, **settings)
    click.echo(f"{count} predictions written to {out}")


# ------------------------------------------------------------------------------------------- scan


@cli.command()
@click.argument("data")
@click.option("--target", metavar="COLUMN", help="Column of the labels, by name or number from 0.")
@click.option("--keep/--no-keep", default=True, show_default=True, help="Write it beside DATA, for later commands.")
@click.option("--out", metavar="FILE", help="Write it there instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@_room_options
@_data_options
def scan(data: str, target: str | None, keep: bool, out: str | None, as_json: bool, **options: Any) -> None:
    """Read all rows of DATA once, however large it is, and say what is in it: rows, features, classes.

    What is found is kept in DATA.scan.json and files beside it. Commands that read the same files
    anew in each pass take it from there.
    """
    chosen = _with_room(_with_reading(options))
    room: Room = chosen["room"]
    path = None if out is None else writable(out, (".json",), "what is found", default=".json")
    show_scan(room.scan(data, target, chosen["reading"]), as_json, path, keep=keep or out is not None)


# ------------------------------------------------------------------------------------------ export


@cli.command()
@click.argument("model")
@click.argument("out")
def export(model: str, out: str) -> None:
    """Write a MODEL that `train --out` wrote as an ONNX file, OUT.

    It predicts "label" and "probabilities" from "X", the columns in the order of training.
    """
    path = writable(out, (".onnx",), "an ONNX model", default=".onnx")
    assert path is not None
    read = Model.load(with_suffix(model, MODEL_SUFFIXES, "a model", default=".npz"))
    read.to_onnx(path)
    click.echo(f"{read.n_features} features, {read.n_classes} classes written to {path}")


# -------------------------------------------------------------------------------------------- info


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout and nothing else.")
@click.option("--plan", metavar="ROWSxFEATURESxCLASSES", help="Show how each backend computes a pass of this size.")
@click.option("--dtype", help="With --plan: the dtype of X; float64 unless given.")
@click.option("--order", type=click.Choice(["C", "F"]), help="With --plan: how X lies in memory; C unless given.")
def info(as_json: bool, plan: str | None, dtype: str | None, order: str | None) -> None:
    """Show backends, instruction sets, threads, caches, versions, and how to install what is missing."""
    if plan is None and (dtype or order):
        raise click.UsageError("--dtype and --order say what X of --plan is; there is no --plan")
    if plan is not None:
        plans = describe_plans(plan, dtype or "float64", order or "C")
        lines = [json.dumps(plans)] if as_json else [f"{name}: {line}" for name, line in plans.items()]
        return click.echo("\n".join(lines))
    machine = collect()
    if as_json:
        click.echo(json.dumps(asdict(machine)))
        return
    _extras.load("rich", "the display")
    from .display import show_info

    show_info(machine)


cli.add_command(bench)
