"""What a measurement in a process of its own needs."""

import os
import sys


def own_modules() -> dict[str, str]:
    """The environment for a process that is to import the modules of this one, whatever lies in the current folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONSAFEPATH": "1"}
