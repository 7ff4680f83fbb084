"""What the kernels ask of the machine: its model, the sizes of its caches and the number of its cores."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

from .quota import quota_cores


@cache
def cache_bytes() -> dict[str, int]:
    """Sizes in bytes of the data caches that the first core uses, by level: {"L1": ..., "L2": ..., "L3": ...}.

    They are read from Linux's /sys. Elsewhere, and for a level it does not list, they are 32 KiB, 1 MiB and 16 MiB.
    """
    sizes = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            text = (index / "size").read_text().strip()
            level = "L" + (index / "level").read_text().strip()
            sizes[level] = int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0)
        except (OSError, ValueError):
            continue
    return sizes


@cache
def cpu_model() -> tuple[str, int, int]:
    """Vendor, family and model of the first core, as Linux's /proc/cpuinfo has them; ("", 0, 0) elsewhere."""
    fields = _first_core()
    try:
        return fields["vendor_id"], int(fields["cpu family"]), int(fields["model"])
    except (KeyError, ValueError):
        return "", 0, 0


def cpu_flags() -> frozenset[str]:
    """What the first core can do, in the names of Linux's /proc/cpuinfo; empty elsewhere."""
    return frozenset(_first_core().get("flags", "").split())


def _first_core() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def default_threads() -> int:
    """Number of threads to use when the caller gives none.

    As many as cores this process may run on (by its CPU affinity and by the CPU quotas of its control group and of
    those around it), or ``OMP_NUM_THREADS`` if that is smaller. joblib sets this variable in its workers, so that
    n_jobs processes do not start n_jobs times as many threads as there are cores.
    """
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        count = os.cpu_count() or 1
    count = min(count, _quota())
    wish = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(count, int(wish)) if wish.isdigit() and int(wish) > 0 else count


@cache
def _quota() -> int:
    """Cores that the CPU quota of the control groups amounts to. Read once, because the files take 0.2 ms."""
    return quota_cores() or sys.maxsize
