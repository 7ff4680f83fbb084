"""``python -m fastsoftmax.accel``: runs a program with ours in the place of scikit-learn's logistic regression."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from .._version import __version__
from . import install, install_torch, report, run
from .pytorch import VARIABLE

HELP = """\
usage: python -m fastsoftmax.accel [--report] [--torch] SCRIPT [ARGUMENT ...]
       python -m fastsoftmax.accel [--report] [--torch] -m MODULE [ARGUMENT ...]
       python -m fastsoftmax.accel [--report] [--torch] -c CODE [ARGUMENT ...]

Runs a program, unchanged, with fastsoftmax in the place of scikit-learn's LogisticRegression and LogisticRegressionCV,
in the processes that it starts as well. SCRIPT may be a file, a folder or zip file with a __main__.py, or - for
standard input.

  --report   print at the end, on standard error, which fits ran where, how long they took, and why any fell back
  --torch    have torch.nn.functional.linear_cross_entropy computed by fastsoftmax too, for tensors of the CPU;
             scikit-learn need not be installed then
  --version  print the version of fastsoftmax
  --help     print this
"""
WITH_VALUE: dict[str, Callable[[str], run.Program]] = {"-m": run.find_module, "-c": run.find_command}
STARTUP = Path(__file__).parent / "startup"


class UsageError(Exception):
    """The command line is not one."""


def main(arguments: Sequence[str]) -> None:
    """Run the command line and end as the program does."""
    try:
        options, find, rest = parse(arguments)
    except UsageError as error:
        return _fail(f"fastsoftmax.accel: {error}; --help says what is wanted", 2)
    if find is None:
        print(HELP if rest[0] == "--help" else f"fastsoftmax {__version__}", end="" if rest[0] == "--help" else "\n")
        return None
    try:
        _install("--torch" in options)
    except ImportError as error:
        return _fail(str(error), 2)
    if "--report" in options:
        _report_at_exit()
    try:
        program = find()
    except run.NotFound as error:
        return _fail(str(error), error.code)
    _tell_children()
    run.run(program, rest)
    return None


def _install(in_torch: bool) -> None:
    """Install ours in scikit-learn, which may be missing where PyTorch is what it is about."""
    if in_torch:
        install_torch()
        os.environ[VARIABLE] = "1"
    try:
        install()
    except ImportError:
        if not in_torch:
            raise


def parse(arguments: Sequence[str]) -> tuple[set[str], Callable[[], run.Program] | None, list[str]]:
    """The options, what finds the program, and the program's own arguments.

    Without a program (``--help`` and ``--version``) the last holds the option.
    """
    options, rest = set[str](), list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("--report", "--torch"):
            options.add(word)
        elif word in ("--help", "-h", "--version"):
            return options, None, ["--help" if word == "-h" else word]
        elif word[:2] in WITH_VALUE:
            value = word[2:] or (rest.pop(0) if rest else None)
            if value is None:
                raise UsageError(f"{word} wants a value")
            finder = WITH_VALUE[word[:2]]
            return options, partial(finder, value), rest
        elif word == "-":
            return options, run.find_standard_input, rest
        elif word.startswith("-") and word != "--":
            raise UsageError(f"there is no option {word}")
        else:
            script = word if word != "--" else (rest.pop(0) if rest else None)
            if script is None:
                break
            return options, partial(run.find_script, script), rest
    raise UsageError("there is no program to run")


def _report_at_exit() -> None:
    """Print the report when this process ends, after whatever the program prints then."""
    folder, process = tempfile.mkdtemp(prefix="fastsoftmax-report-"), os.getpid()
    os.environ[report.VARIABLE] = folder
    report.watch_if_asked()

    def end() -> None:
        if os.getpid() == process:  # not in a fork that ends as this process does
            print(report.text_of_folder(folder), file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)


def _tell_children() -> None:
    """Let Python processes that the program starts install ours: they find ``startup/sitecustomize.py``."""
    package = STARTUP.parents[1]
    entries = [str(STARTUP), os.environ.get("PYTHONPATH", "")]
    # Python is told by -m to look in the current folder, which it shall not for a script elsewhere.
    if str(package.parent) == sys.path[0] and not sys.flags.safe_path:
        sys.path.append(str(package.parent))
        entries.insert(1, str(package.parent))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, entries))


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
