"""That a build with sanitizers would say something, if there were anything to say: see `.ci/sanitize`."""

import ctypes
import os

import child
import pytest

PREPARE = """
from dataclasses import replace
import numpy as np
from problems import random_problem
from fastsoftmax.kernels import backends
module = backends.select("cython")[1]
p = random_problem(5000, 20, 3)
rows, theta, plan = p.rows(module), p.parameters(), p.plan()
"""
RUN = "module.value_and_grad(rows, theta, plan, p.sums(plan), 2)\n"
MISTAKES = {
    "labels that end before the rows do": ("address", "rows = replace(rows, y=rows.y[:4000].copy())\n"),
    "parameters at an odd address": (
        "address",
        "theta = replace(theta, theta=np.frombuffer(bytearray(481), 'f8', 60, 1).reshape(20, 3))\n",
    ),
    "a gradient that two threads write": ("thread", ""),
}
REPORTS = {
    "labels that end before the rows do": "AddressSanitizer: heap-buffer-overflow",
    "parameters at an odd address": "runtime error: load of misaligned address",
    "a gradient that two threads write": "ThreadSanitizer: data race",
}
TWICE = """
import threading
sums = p.sums(plan)
gate = threading.Barrier(2)
def work():
    for _ in range(20):
        gate.wait()
        module.value_and_grad(rows, theta, plan, sums, 1)
threads = [threading.Thread(target=work) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def runtime():
    """The sanitizer that this process was started with."""
    if os.name != "posix":
        return None
    names = {"address": "__asan_init", "thread": "__tsan_init"}
    return next((kind for kind, name in names.items() if hasattr(ctypes.CDLL(None), name)), None)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported(mistake):
    kind, spoil = MISTAKES[mistake]
    if runtime() != kind:
        pytest.skip(f"not a run under the sanitizer for {kind}")
    done = child.python("-c", PREPARE + spoil + (TWICE if kind == "thread" else RUN))
    assert done.returncode and REPORTS[mistake] in done.stderr, done.stderr
    assert not child.python("-c", PREPARE + RUN).returncode
