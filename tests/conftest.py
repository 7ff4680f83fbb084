"""Every test that takes `backend` runs once for each row of the table of backends.

A backend that does not load is skipped with its reason; where the environment variable
FASTSOFTMAX_REQUIRE_ALL is 1, as in CI, it is a failure.
"""

from __future__ import annotations

import os

# Set before OpenMP and BLAS start. Their threads wait by spinning, which on a machine with other work takes
# the time slice of the thread they wait for: thousands of calls of microseconds then took 80 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from problems import LAYOUTS  # noqa: E402

from fastsoftmax.kernels import backends  # noqa: E402

hypothesis.settings.register_profile("dev", deadline=None, max_examples=30)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(scope="session", params=list(backends.BACKENDS))
def backend(request):
    """The name of a backend that loads."""
    try:
        backends.select(request.param)
    except ImportError as error:
        if os.environ.get("FASTSOFTMAX_REQUIRE_ALL") == "1":
            pytest.fail(f"FASTSOFTMAX_REQUIRE_ALL=1, yet {error}")
        pytest.skip(str(error))
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
