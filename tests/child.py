"""The environment of a child process: the package under test, whichever that is, and the modules of the tests."""

import os
from pathlib import Path

import fastsoftmax


def environment():
    path = [str(Path(__file__).parent), str(Path(fastsoftmax.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    # The installed package, not the source tree of the current folder.
    return os.environ | {"PYTHONPATH": os.pathsep.join(path), "PYTHONFAULTHANDLER": "1", "PYTHONSAFEPATH": "1"}
