"""What this machine and this installation have: the content of ``fastsoftmax info``."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from .. import _extras
from .._version import __version__
from ..kernels.backends import backends
from ..kernels.machine import cache_bytes, default_threads

# Distribution name -> import name, in the order they are shown.
PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "numba": "numba",
    "scikit-learn": "sklearn",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "click": "click",
    "rich": "rich",
    "matplotlib": "matplotlib",
}


@dataclass(frozen=True)
class Machine:
    """Attributes
    ----------
    version, python, system : str
    backends : dict
        As `fastsoftmax.backends` returns it.
    threads : int
        Used unless another number is asked for.
    caches : dict of int
        Bytes of the data caches of one core.
    packages : dict
        Distribution name: version, or None where it is not installed.
    missing : dict of str
        What cannot be used here, and the command that changes it.
    """

    version: str
    python: str
    system: str
    backends: dict[str, dict[str, Any]]
    threads: int
    caches: dict[str, int]
    packages: dict[str, str | None]
    missing: dict[str, str]


def collect() -> Machine:
    """Look at everything once."""
    table = backends()
    packages = {name: _version(name) for name in PACKAGES}
    missing = {f"backend {name}": row["why"] for name, row in table.items() if not row["available"]}
    missing |= {name: _extras.install_command(PACKAGES[name]) for name, found in packages.items() if found is None}
    return Machine(
        version=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        system=f"{platform.system()} {platform.machine()}",
        backends=table,
        threads=default_threads(),
        caches=cache_bytes(),
        packages=packages,
        missing=missing,
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
