"""Found by Python processes that a program under ``python -m fastsoftmax.accel`` starts: installs ours there too.

The folder of this file is then the first of PYTHONPATH, and Python imports a module of this name, if there is one, when
it starts. One of the same name that this hides is run as well.
"""

import importlib.util
import sys
from importlib.machinery import PathFinder
from pathlib import Path


def run_hidden() -> None:
    """Run the module of this name that would have been found without this one."""
    here = Path(__file__).resolve().parent
    spec = PathFinder.find_spec("sitecustomize", [entry for entry in sys.path if Path(entry).resolve() != here])
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def accelerate() -> None:
    """Install ours, unless this Python has no fastsoftmax or no scikit-learn."""
    try:
        from fastsoftmax.accel import install
        from fastsoftmax.accel.pytorch import install_torch_if_asked
        from fastsoftmax.accel.report import watch_if_asked

        install_torch_if_asked()
        install()
    except ImportError:
        return
    watch_if_asked()


accelerate()
run_hidden()
