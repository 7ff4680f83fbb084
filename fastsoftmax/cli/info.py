"""What ``fastsoftmax info`` tells: the backends, the machine, and the versions of the packages."""

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
    """This machine and this installation.

    Attributes
    ----------
    version, python, system : str
        Versions of this package and of Python; operating system and architecture.
    backends : dict
        What `fastsoftmax.backends` returns.
    threads : int
        Number of threads that are used unless another is asked for.
    caches : dict of str to int
        Bytes of the data caches that the first core uses, by level.
    packages : dict of str to str or None
        Distribution name: version, or None where it is not installed.
    missing : dict of str to str
        What cannot be used here, and how to install it.
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
    """Ask for all of it, now."""
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
