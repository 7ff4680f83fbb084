"""Every test that takes `backend` runs once for each row of the table of backends.

A backend that does not load is a failure, or skipped with its reason where FASTSOFTMAX_SKIP_MISSING is 1. README.md
in this folder tells how the tests are organised.
"""

from __future__ import annotations

import os
import sys

# Set before OpenMP and BLAS start. Their threads wait by spinning, which on a machine with other work takes
# the time slice of the thread they wait for: thousands of calls of microseconds then took 80 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import checkout  # noqa: E402

# Before anything imports fastsoftmax.
sys.path[:], FOLDER = checkout.choose(sys.path)

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from problems import LAYOUTS  # noqa: E402

import fastsoftmax  # noqa: E402
from fastsoftmax.kernels import backends, machine  # noqa: E402

MOST_PROCESSES = 8

hypothesis.settings.register_profile("dev", deadline=None, max_examples=30)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure():
    if not (checkout.SKIP_MISSING or checkout.has_kernels(FOLDER)):
        raise pytest.UsageError(f"{FOLDER} {checkout.ADVICE}")


def pytest_report_header():
    where = "this checkout" if FOLDER == checkout.ROOT else FOLDER
    rows = fastsoftmax.backends().items()
    shown = [f"{name} ({row['isa']})" if row["available"] else f"{name} missing: {row['why']}" for name, row in rows]
    return [f"fastsoftmax {fastsoftmax.__version__} of {where}", f"backends: {', '.join(shown)}"]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Share a run of whole folders among as many processes as there are cores, eight at most, unless told otherwise.

    A file or a single test runs in this process: two more take three seconds to start. Each process begins with
    neighbours among the tests ("worksteal"), so that two seldom compile the same Numba function at the same time.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:  # this process is one of them, or the child of a test
        return
    option, cores = config.option, machine.default_threads()
    told = getattr(option, "numprocesses", 0) is not None or option.usepdb or option.trace or option.capture == "no"
    if not told and cores > 1 and all(map(os.path.isdir, config.args)):
        option.numprocesses, option.dist = min(cores, MOST_PROCESSES), "worksteal"


@pytest.fixture(scope="session", params=list(backends.BACKENDS))
def backend(request):
    """The name of a backend that loads."""
    try:
        backends.select(request.param)
    except ImportError as error:
        checkout.fail_or_skip(error)
    return request.param


@pytest.fixture(scope="session")
def module(backend):
    """The kernels of `backend`."""
    return backends.select(backend)[1]


@pytest.fixture(params=["f4", "f8"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=[*LAYOUTS, "memmap"])
def as_layout(request, tmp_path):
    """A function that puts a C-order array into one of the layouts, the values unchanged."""
    if request.param != "memmap":
        return LAYOUTS[request.param]

    def to_memmap(X):
        X.tofile(tmp_path / "X")
        return np.memmap(tmp_path / "X", X.dtype, mode="r", shape=X.shape)

    return to_memmap
