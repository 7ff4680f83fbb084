"""What the numbers were measured on: processor, memory, versions, date, and how busy it was."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import fastsoftmax
from fastsoftmax.kernels.plan import cache_bytes

PACKAGES = ("numpy", "scipy", "numba", "scikit-learn", "torch", "jax", "scikit-learn-intelex")


def processor() -> str:
    """Model name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def version(package: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def busy() -> str:
    """A warning if other programs keep the cores busy, else an empty string."""
    cores = os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return f"load average {load:.1f} on {cores} cores: these timings mean little" if load > 0.5 * cores else ""


def describe(n_threads: int) -> dict[str, Any]:
    """Everything a reader needs to judge a number."""
    backends = {name: row for name, row in fastsoftmax.backends().items() if row["available"]}
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": n_threads,
        "caches": cache_bytes(),
        "memory": memory_bytes(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "fastsoftmax": fastsoftmax.__version__,
        "packages": {name: version(name) for name in PACKAGES},
        "backends": {name: f"{row['isa']}, {row['threads']}" for name, row in backends.items()},
    }


def today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()
