"""Interleaved timing, and the thread counts that make it fair."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# Seconds of rest before each timed call. Idle threads spin for a while before they sleep, those of Intel's OpenMP for
# 200 ms, and on few cores whoever comes next pays for it: 500k x 50 in float64 took 9.1, at times 16 ms when it began
# 20 ms after a call of scikit-learn-intelex, and 7.2 to 7.5 ms when it began 100 ms after or later.
PAUSE = 0.25
# The same where only our own backends are timed: their threads spin for a few milliseconds at most.
OWN_PAUSE = 0.02
# After the rest a call is repeated untimed for this many seconds: training makes pass after pass, whereas cores that
# have slept wake slowly. On a virtual machine whose kernel first puts both threads on one core, the first passes over
# 30,000 x 50 took 6.3, 3.9 and 0.5 ms, all later ones 0.4 ms.
WAKE_SECONDS = 0.02
# Calls of more milliseconds than this are not repeated untimed: waking the cores is a small part of them.
WAKE_MS = 2000.0
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")


class Milliseconds(float):
    """Returned by a call that measured its own time."""


def fix_threads(n_threads: int) -> None:
    """Let every library use ``n_threads`` threads; to be called before they are imported.

    The environment is what thread pools read when they start (NPROC is XLA's). Where the system
    has it, the process is also tied to that many cores, which no library can overlook.
    """
    for name in _VARIABLES:
        if name == "NUMBA_NUM_THREADS" and "numba" in sys.modules:
            continue  # Numba reads it again at each compilation and objects to a change
        os.environ[name] = str(n_threads)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        if n_threads < len(cores):
            os.sched_setaffinity(0, cores[:n_threads])
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(n_threads)
    if "threadpoolctl" in sys.modules:
        sys.modules["threadpoolctl"].threadpool_limits(n_threads)


def interleave(
    calls: Mapping[str, Callable[[], Any]],
    rounds: int,
    *,
    warmup: int = 1,
    pause: float = PAUSE,
    wake_ms: float = WAKE_MS,
    budget: float = float("inf"),
) -> dict[str, list[float]]:
    """Milliseconds of each call. In every round each runs once; the next round starts with the next one.

    Parameters
    ----------
    calls : mapping of name to function
    rounds : int
    warmup : int
        Untimed rounds that come first.
    pause : float
        Seconds of rest before each call.
    wake_ms : float
        A call that took more milliseconds the last time is not repeated untimed before it is timed.
    budget : float
        Seconds after which no further round starts, from the third round on.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    names, latest = list(calls), dict[str, float]()
    begin = time.perf_counter()
    gc_was_on = gc.isenabled()
    gc.collect()
    gc.freeze()  # else each gc.collect() below searches all modules: 0.3 s with PyTorch and JAX
    try:
        for number in range(-warmup, rounds):
            if number >= 3 and time.perf_counter() - begin > budget:
                break
            first = number % max(1, len(names))
            for name in names[first:] + names[:first]:
                gc.collect()
                gc.disable()
                time.sleep(pause)
                if latest.get(name, 0.0) < wake_ms:
                    wake(calls[name])
                start = time.perf_counter()
                result = calls[name]()
                latest[name] = spent = 1e3 * (time.perf_counter() - start)
                if gc_was_on:
                    gc.enable()
                if number >= 0:
                    times[name].append(result if isinstance(result, Milliseconds) else spent)
                del result  # else it is still in memory during the next call
    finally:
        gc.unfreeze()
        if gc_was_on:
            gc.enable()
    return times


def wake(call: Callable[[], Any]) -> None:
    """Repeat a call for `WAKE_SECONDS`, once at least."""
    begin = time.perf_counter()
    call()
    while time.perf_counter() - begin < WAKE_SECONDS:
        call()


def median(times: list[float]) -> float:
    return float(np.median(times))


def spread(times: list[float]) -> float:
    """Half the distance between the quartiles, over the median."""
    low, middle, high = np.percentile(times, [25, 50, 75])
    return float((high - low) / (2 * middle))
