"""The table of backends, and `select`, which loads one of them.

To add a backend, write a module with everything that `contract.Kernels` names, and add a row to `BACKENDS`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, cast

from .contract import Kernels


@dataclass(frozen=True)
class Backend:
    """A row of the table.

    Attributes
    ----------
    name : str
        What users call it.
    module : str
        Import name of the module that is the backend.
    needs, install : str
        What it needs beyond NumPy, and the command that brings it: parts of the error where it does not load.
    """

    name: str
    module: str
    needs: str
    install: str

    def load(self) -> Kernels:
        """Import the module; ImportError where something is missing."""
        return cast(Kernels, importlib.import_module(self.module))


BACKENDS: dict[str, Backend] = {
    b.name: b
    for b in (
        Backend(
            "cython", "fastsoftmax.kernels.cython.backend", "a build with a C++ compiler", "pip install fastsoftmax"
        ),
        Backend("numba", "fastsoftmax.kernels.numba.backend", "numba", "pip install numba"),
        Backend("numpy", "fastsoftmax.kernels.numpy.backend", "nothing more", ""),
    )
}
# "auto" takes the first of these that loads: the faster ones first.
_AUTO = ("cython", "numba", "numpy")


def select(name: str = "auto") -> tuple[str, Kernels]:
    """The name and the module of a backend; "auto" is Cython where it is built, else Numba, else NumPy.

    Raises
    ------
    ValueError
        If there is no backend of that name.
    ImportError
        If that backend cannot be loaded; nothing else is used in its place.
    """
    if name == "auto":
        for candidate in _AUTO:
            try:
                return candidate, BACKENDS[candidate].load()
            except ImportError:
                continue
    if not isinstance(name, str) or name not in BACKENDS:
        raise ValueError(f"backend must be one of 'auto', {', '.join(map(repr, BACKENDS))}; got {name!r}")
    backend = BACKENDS[name]
    try:
        return name, backend.load()
    except ImportError as error:
        raise ImportError(f"backend {name!r} needs {backend.needs} ({backend.install}): {error}") from error


def backends() -> dict[str, dict[str, Any]]:
    """Which backends load here, and what each would run on.

    Returns
    -------
    dict
        {name: {"available": bool, "isa": str, "threads": str, "why": str}}: the instruction set and the kind of
        threads, both empty where the backend does not load. ``why`` then says what is missing and the command that
        installs it, and is empty otherwise.

    Examples
    --------
    >>> import fastsoftmax
    >>> table = fastsoftmax.backends()
    >>> list(table)
    ['cython', 'numba', 'numpy']
    >>> table["numpy"]
    {'available': True, 'isa': "NumPy's own", 'threads': 'BLAS', 'why': ''}
    """
    table: dict[str, dict[str, Any]] = {}
    for name, backend in BACKENDS.items():
        try:
            module = backend.load()
        except ImportError as error:
            why = f"{error}; needs {backend.needs}: {backend.install}"
            table[name] = {"available": False, "isa": "", "threads": "", "why": why}
        else:
            table[name] = {"available": True, "isa": module.isa(), "threads": module.threading(), "why": ""}
    return table
