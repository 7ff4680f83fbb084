"""What is compared: a module for each kind of section, and `run`, which measures and saves sections.

Results are saved by section, each with its date and the roofline measured with it, so that a single one can be measured
again (``python -m benchmarks --section memory``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ..harness import machine, roofline, timing
from ..harness.records import Effort, Json, Say, load, results_path, save

SECTIONS = (
    "main",
    "phases",
    "F-order",
    "narrow",
    "wide",
    "many classes",
    "line",
    "memory",
    "first call",
    "solvers",
    "sparse",
    "drop-in",
    "larger than memory",
    "sweeps",
    "PyTorch",
    "PyTorch memory",
    "training steps",
    "JAX",
    "precision",
    "accuracy",
)


# A quick run has no small cases of these.
_FULL_ONLY = ("wide", "many classes")
# What other programs do changes nothing in these.
_UNTIMED = ("accuracy",)


def run(sections: Sequence[str], effort: Effort, say: Say = print) -> Json:
    """Measure ``sections``, saving after each; returns all that is saved."""
    # Not at the top: some of these are commands as well, which Python would load twice.
    from . import accuracy, dense, drop_in, hosts, phases, precision, solvers, sparse, sweeps
    from .hosts import training
    from .scale import larger_than_memory

    timing.fix_threads(effort.n_threads)
    path = results_path(effort.quick)
    saved: Json = {}
    found: Json
    for section in sections:
        if effort.quick and section in _FULL_ONLY:
            continue
        if section in _UNTIMED:
            begin = time.perf_counter()
            found = {"date": machine.today()} | accuracy.run(effort, say)
            saved = _keep(section, found | {"seconds": time.perf_counter() - begin}, effort, path)
            continue
        busy = machine.busy(patience=0.0 if effort.quick else machine.PATIENCE)
        if busy:
            say(f"warning: {busy}")
        begin = time.perf_counter()
        roof = roofline.measure(effort.n_threads, quick=effort.quick)
        say(f"{section}: {roof}")
        found = {"date": machine.today(), "busy": busy, "roof": roof.as_dict()}
        if section == "line":
            found["line"] = dense.line(roof, effort, say)
        elif section == "memory":
            found["memory"] = dense.memory(effort, say)
        elif section == "first call":
            found["calls"] = dense.first_call(effort, say)
        elif section == "phases":
            found["phases"] = phases.run(roof, effort.rounds, effort.budget, effort.quick, say)
        elif section == "solvers":
            found |= solvers.run(effort.quick, say)
        elif section == "drop-in":
            found["programs"] = drop_in.run(drop_in.QUICK if effort.quick else list(drop_in.PROGRAMS), effort, say)
        elif section == "larger than memory":
            found |= larger_than_memory.run(effort, say)
        elif section == "sweeps":
            found |= sweeps.run(effort, say)
        elif section == "precision":
            found |= precision.run(effort, say)
        elif section == "sparse":
            found |= sparse.run(roof, effort, say)
        elif section == "PyTorch memory":
            found["memory"] = hosts.memory(effort, say)
        elif section == "training steps":
            found["steps"] = training.run(effort, say)
        elif section in ("PyTorch", "JAX"):
            found["cases"] = hosts.cases(section, roof, effort, say)
        else:
            found["cases"] = dense.timed(section, roof, effort, say)
        saved = _keep(section, found | {"seconds": time.perf_counter() - begin}, effort, path)
    return saved


def _keep(section: str, found: Json, effort: Effort, path: Path) -> Json:
    """Save a section; returns all that is saved."""
    saved: Json = load(path) if path.exists() else {"sections": {}}  # another run may have saved sections meanwhile
    saved["machine"] = machine.describe(effort.n_threads)
    saved["quick"] = effort.quick
    saved["sections"][section] = found
    save(saved, path)
    return saved
