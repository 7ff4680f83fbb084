"""Measurements that need a process of their own: peak memory of a pass, and time of a first call.

    python -m benchmarks.sections.worker memory 500k-f32 torch_eager 2
    python -m benchmarks.sections.worker first-call quick-tall-f32 numba 2

The last word is the number of threads. A line of JSON is printed; `run` starts such a process and reads it.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ..harness import timing
from ..harness.cases import CASES, LINE, Case, make_problem
from ..peers import PEERS, MissingError

# glibc's malloc gives freed arrays back to the system at once, so that what is measured is what is in use.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
_WARM_ROWS = 64


def run(task: str, case: Case, peer: str, n_threads: int, **environment: str) -> dict[str, Any]:
    """Result of a task in a new process; {"missing": why} if it cannot be done."""
    path = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-m", f"{__package__}.worker", task, case.name, peer, str(n_threads)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": path, **environment}
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return {"missing": f"failed: {last}"[:200]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def memory(case: Case, peer: str, n_threads: int) -> dict[str, Any]:
    """Most memory in use during a pass, above what was in use before it, in MB.

    X, and whatever copy of it the peer made beforehand, are not counted; the gradient is. A small problem comes first,
    so that thread pools and compiled code are not counted either.
    """
    if not Path("/proc/self/clear_refs").exists():
        return {"missing": "peak memory is read from Linux's /proc"}
    problem, row = make_problem(case), PEERS[peer]
    few = min(case.m, _WARM_ROWS)
    row.prepare(problem.X[:few], problem.y[:few], problem.theta, n_threads, dx=case.dx)()
    call = row.prepare(problem.X, problem.y, problem.theta, n_threads, dx=case.dx)
    ctypes.CDLL(None).malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak, VmHWM, back to what is in use, VmRSS
    for _ in range(2):
        call()
    return {"extra_mb": round((_status("VmHWM") - before) / 1e6, 1)}


def first_call(case: Case, peer: str, n_threads: int) -> dict[str, Any]:
    """Seconds from the arrays to the first answer, without the import of Numba, which is reported on its own."""
    problem = make_problem(case)
    begin = time.perf_counter()
    if peer == "numba":
        import numba  # noqa: F401 - imported for the time it takes
    imported = time.perf_counter()
    PEERS[peer].prepare(problem.X, problem.y, problem.theta, n_threads)()
    return {"seconds": time.perf_counter() - imported, "import_seconds": imported - begin}


def _status(field: str) -> int:
    """A field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def main() -> None:
    task, name, peer, threads = sys.argv[1:]
    timing.fix_threads(int(threads))
    case = LINE if name == LINE.name else CASES[name]
    try:
        result = {"memory": memory, "first-call": first_call}[task](case, peer, int(threads))
    except MissingError as error:
        result = {"missing": str(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
