"""Optional packages: imported when first needed. Where one is missing the error says how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

# Import name -> the extra of this package that brings it.
EXTRAS = {
    "click": "cli",
    "distributed": "dask",
    "jax": "jax",
    "matplotlib": "cli",
    "numba": "numba",
    "onnx": "onnx",
    "pyarrow": "cli",
    "rich": "cli",
    "safetensors": "safetensors",
    "sklearn": "sklearn",
    "torch": "torch",
    "zarr": "zarr",
}


def load(module: str, purpose: str) -> ModuleType:
    """Import a module of an optional package.

    Parameters
    ----------
    module : str
        Import name.
    purpose : str
        What needs it: the subject of the error's sentence.

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
    """The command that installs a package (by its import name) with the extra that brings it."""
    return f"pip install 'fastsoftmax[{EXTRAS.get(package, 'cli')}]'"
