"""Optional packages: imported when first needed, or one sentence that says how to get them."""

from __future__ import annotations

import importlib
from types import ModuleType

# Import name -> the extra of this package that brings it.
EXTRAS = {
    "click": "cli",
    "matplotlib": "cli",
    "numba": "numba",
    "pyarrow": "cli",
    "rich": "cli",
    "safetensors": "safetensors",
    "sklearn": "sklearn",
}


def load(module: str, purpose: str) -> ModuleType:
    """Import ``module``; ``purpose`` begins the sentence of the error if that fails.

    Raises
    ------
    ImportError
        "<purpose> needs <package>: pip install 'fastsoftmax[<extra>]'".
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{purpose} needs {package}: {install_command(package)} ({error})") from error


def install_command(package: str) -> str:
    """The command that installs the extra with this package."""
    return f"pip install 'fastsoftmax[{EXTRAS.get(package, 'cli')}]'"
