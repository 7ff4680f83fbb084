"""Runs targets, each in a process of its own, and counts what came of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .table import TARGETS, Target

ROOT = Path(__file__).parents[2]
# Inputs of one seed; another seed begins where these end.
PER_SEED = 10**9
# An input that takes longer than so many seconds hangs. A first one may wait for Numba to compile.
LONGEST, LONGEST_FIRST = 60.0, 300.0
# So many faults of one target end it, since most will be one fault.
MOST_FAULTS = 200


@dataclass
class Count:
    """What came of a target."""

    done: int = 0
    refused: int = 0
    seconds: float = 0.0
    faults: list[dict] = field(default_factory=list)

    def places(self) -> dict[str, list[dict]]:
        """The faults by where they were raised."""
        out: dict[str, list[dict]] = {}
        for fault in self.faults:
            out.setdefault(fault["place"], []).append(fault)
        return out


def run_target(target: Target, seed: int, *, seconds: float = np.inf, inputs: int = PER_SEED) -> Count:
    """Run inputs of one target until time or inputs are used up; after a crash or a hang with the next input."""
    count, first, began = Count(), seed * PER_SEED, time.monotonic()
    last = first + -(-inputs // target.weight)
    while first < last and time.monotonic() - began < seconds and len(count.faults) < MOST_FAULTS:
        with tempfile.TemporaryDirectory() as folder:
            left = seconds - (time.monotonic() - began)
            first = _run_worker(target, first, last - first, left, Path(folder), count)
    count.seconds = time.monotonic() - began
    return count


def _run_worker(target: Target, first: int, number: int, seconds: float, folder: Path, count: Count) -> int:
    """One process; the number of the input to go on with."""
    command = [sys.executable, "-m", "tests.fuzz.worker", target.name, str(first), str(number), str(seconds)]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([*command, str(folder)], cwd=ROOT, stdout=output, stderr=output)
        at, hung = _watch(process, folder)
    done = _state(folder)
    count.done += int(done[1])
    count.refused += int(done[2])
    if (folder / "faults.jsonl").exists():
        count.faults += map(json.loads, (folder / "faults.jsonl").read_text().splitlines())
    if done[3]:
        return first + number
    said = (folder / "output").read_text(errors="replace")[-4000:]
    if not at:
        raise RuntimeError(f"the worker of {target.name} did not start: {said}")
    what = "hang" if hung else f"crash ({process.returncode})"
    count.faults.append({"input": at, "place": what, "error": said[-600:], "trace": said})
    return at + 1


def _watch(process: subprocess.Popen, folder: Path) -> tuple[int, bool]:
    """Wait for the end; the input that the process was at, and whether it was killed for taking too long."""
    at, since, starting = -1, time.monotonic(), True
    while process.poll() is None:
        time.sleep(0.2)
        now = _state(folder)
        if tuple(now[:2]) != at:
            starting, at, since = at in (-1, (0, 0)), tuple(now[:2]), time.monotonic()
        if time.monotonic() - since > (LONGEST_FIRST if starting else LONGEST):
            process.kill()
            process.wait()
            return int(now[0]), True
    return int(_state(folder)[0]), False


def _state(folder: Path) -> np.ndarray:
    file = folder / "state"
    return np.fromfile(file, np.int64) if file.exists() and file.stat().st_size == 32 else np.zeros(4, np.int64)


def run_targets(names: list[str], seed: int, *, seconds: float | None, inputs: int | None) -> dict[str, Count]:
    """Each target in turn; seconds are shared by the targets' parts of the time."""
    parts, counts = sum(TARGETS[name].part for name in names), {}
    for name in names:
        target = TARGETS[name]
        own = np.inf if seconds is None else seconds * target.part / parts
        counts[name] = run_target(target, seed, seconds=own, inputs=PER_SEED if inputs is None else inputs)
        show(name, counts[name])
    return counts


def show(name: str, count: Count) -> None:
    """A line for the target and some for each fault."""
    faults = count.places()
    said = f"{len(faults)} faults" if faults else "no fault"
    print(f"{name:12} {count.done:9,} inputs, {count.refused:9,} refused, {count.seconds:7.1f} s, {said}", flush=True)
    for place, found in faults.items():
        print(f"  {place}: {len(found)} times, --input {name}:{found[0]['input']}\n    {found[0]['error']}", flush=True)
