"""The table of backends, and `select`, which loads one of them."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Backend:
    """A row of the table: where a backend lives and what it needs."""

    name: str
    module: str
    needs: str
    install: str

    def load(self) -> ModuleType:
        return importlib.import_module(self.module)


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


_AUTO = ("cython", "numba", "numpy")


def select(name: str = "auto") -> tuple[str, ModuleType]:
    """The backend called ``name`` and its name; "auto" takes Cython where it is built, else Numba.

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
        {name: {"available": bool, "isa": str, "threads": str, "why": str}}; ``why`` says what
        is missing and the command that installs it, and is empty where nothing is.
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
