"""What the numbers were measured on: processor, memory, versions, date, and how busy it was."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import time
from pathlib import Path
from typing import Any

import fastsoftmax
from fastsoftmax.kernels.machine import cache_bytes

PACKAGES = ("numpy", "scipy", "numba", "scikit-learn", "torch", "jax", "scikit-learn-intelex")
# Other programs may take this share of the cores; a run waits so many seconds for them to take no more.
BUSY = 0.1
PATIENCE = 60.0


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


def core_times() -> tuple[float, float] | None:
    """Busy time and all time of the cores together since the system started; None where /proc/stat is missing."""
    try:
        times = [float(number) for number in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return sum(times) - times[3] - times[4], sum(times)  # fields 3 and 4: idle, and waiting for a disk


def cores_taken(seconds: float) -> float:
    """Cores that other programs keep busy, measured over some seconds; else the load average of the last minute."""
    cores = os.cpu_count() or 1
    before = core_times()
    if before is None:
        return min(cores, os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0.0
    time.sleep(seconds)
    after = core_times()
    assert after is not None
    return cores * (after[0] - before[0]) / max(1e-9, after[1] - before[1])


def busy(seconds: float = 2.0, patience: float = 0.0) -> str:
    """A warning if other programs still keep cores busy after ``patience`` seconds; else an empty string."""
    cores, begin = os.cpu_count() or 1, time.monotonic()
    while (taken := cores_taken(seconds)) > BUSY * cores:
        if time.monotonic() - begin >= patience:
            return f"other programs kept {taken:.1f} of {cores} cores busy just before: these timings mean little"
        time.sleep(min(1.0, patience))
    return ""


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
