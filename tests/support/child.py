"""Python in a process of its own, with the package under test, whichever that is, and the modules of the tests."""

import os
import subprocess
import sys
from pathlib import Path

import fastsoftmax


def python(*arguments, cwd=None, timeout=None, beside=None, **variables):
    """The ended process, its output as text. It can import what lies beside the file ``beside``; a variable of the
    environment that is None is not set."""
    # The installed package, not the source tree of the current folder.
    path = [str(Path(file).parent) for file in (__file__, beside) if file]
    path += [str(Path(fastsoftmax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    wanted = {"PYTHONPATH": os.pathsep.join(filter(None, path)), "PYTHONFAULTHANDLER": "1", "PYTHONSAFEPATH": "1"}
    environment = {name: value for name, value in (os.environ | wanted | variables).items() if value is not None}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, timeout=timeout, env=environment
    )
