"""What ``fastsoftmax info`` tells: the backends, the machine, and the versions of the packages."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np

from .. import _extras
from .._version import __version__
from ..data.bfloat16 import BFLOAT16
from ..jax import build
from ..kernels.backends import BACKENDS, backends
from ..kernels.machine import cache_bytes, default_threads
from ..objective.passes import describe_plan

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
    "onnx": "onnx",
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
    jax : str
        How XLA calls the kernels: "ffi (FILE)", or "callback (WHY)"; see `fastsoftmax.jax.build`.
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
    jax: str
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
        jax=build.describe(),
        packages=packages,
        missing=missing,
    )


def describe_plans(size: str, dtype: str, order: str) -> dict[str, str]:
    """How each backend that loads here computes a pass over X: {name: one line}.

    Parameters
    ----------
    size : str
        "500000x50x3": rows, features and classes.
    dtype : str
        Name of the dtype of X.
    order : {"C", "F"}
    """
    numbers = size.lower().split("x")
    if len(numbers) != 3 or not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise ValueError(f"--plan must be ROWSxFEATURESxCLASSES, such as 500000x50x3; got {size!r}")
    m, n, k = map(int, numbers)
    if k < 2:
        raise ValueError(f"--plan must have at least 2 classes; got {size!r}")
    if n * max(m, k) > sys.maxsize // 16:
        raise ValueError(f"--plan must be a size that memory can have; got {size!r}")
    try:
        kind = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind.kind not in "fiub" and kind != BFLOAT16:
        raise ValueError(f"--dtype must name a real dtype, such as float32; got {dtype!r}")
    loaded = {name: BACKENDS[name].load() for name, row in backends().items() if row["available"]}
    return {name: describe_plan(m, n, k, kind, order, kernels) for name, kernels in loaded.items()}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
