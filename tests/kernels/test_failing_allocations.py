"""Each allocation of a call fails once: MemoryError or, where Python does without, the answer; the next call is right.

A library that is preloaded counts the allocations of the whole process, of NumPy, Python and C++ alike.
"""

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path

import child
import numpy as np
import pytest
from problems import random_csr, random_problem

import fastsoftmax

SOURCE = Path(__file__).parents[1] / "fixtures" / "sanitizers" / "failing_malloc.c"
MOST = 20_000  # allocations of one of the calls: some hundreds


def calls(backend):
    """By name, functions that answer with arrays."""
    p = random_problem(300, 7, 4, dtype="f4", weights=True)
    X = random_csr(300, 7, 0.3, seed=0, dtype="f4")
    models = {"backend": backend, "n_threads": 2}
    kept = p.objective(backend, n_threads=2)
    return {
        "loss_and_grad": lambda: fastsoftmax.loss_and_grad(p.X, p.y, p.theta, **models),
        "loss_and_grad, sparse": lambda: fastsoftmax.loss_and_grad(X, p.y, p.theta, **models),
        "class-parallel": lambda: fastsoftmax.loss_and_grad(p.X[:, :1], p.y, np.zeros((1, 400), "f4"), **models),
        "value_and_grad": lambda: kept.value_and_grad(p.theta),
        "hess_prod": lambda: (kept.hess_prod(p.theta, p.theta),),
        "gram": lambda: (kept.gram(),),
        "predict_proba": lambda: (fastsoftmax.predict_proba(p.X, p.theta, backend=backend),),
    }


def unsaid(error):
    """Whether it is CPython's word for a function in C that failed and did not say why, as functions of NumPy do."""
    return isinstance(error, SystemError) and "without" in str(error) and "exception" in str(error)


def fail_each(backend):
    """Called in the child process."""
    library = ctypes.CDLL(None)
    arm, left = library.fail_allocation, library.allocations_left
    for name, call in calls(backend).items():
        wanted = [np.array(part) for part in (call(), call())[1]]
        refused = 0
        for n in range(1, MOST):
            try:
                arm(n)
                got = call()
                unfailed = left() > 0
                arm(0)
            except (MemoryError, SystemError) as error:
                assert isinstance(error, MemoryError) or unsaid(error), f"{name}, allocation {n}: {error!r}"
                got, unfailed, refused = None, False, refused + 1
            arm(0)
            for answer in (got, call()):
                if answer is not None:
                    for part, same in zip(answer, wanted, strict=True):
                        np.testing.assert_array_equal(part, same, err_msg=f"{name}, allocation {n}")
            if unfailed:
                break
        assert unfailed and refused > 1, (name, n, refused)
        print(f"{backend} {name}: {n - 1} allocations, {refused} errors", flush=True)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The path of the library, built here."""
    if platform.libc_ver()[0] != "glibc" or not shutil.which("cc"):
        pytest.skip("wants glibc and a C compiler")
    if "libasan" in os.environ.get("LD_PRELOAD", "") or "libtsan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("sanitizers have an allocator of their own")
    built = tmp_path_factory.mktemp("failing") / "failing_malloc.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", SOURCE, "-o", built], check=True, capture_output=True)
    return built


def test_a_call_that_runs_out_of_memory_leaves_everything_usable(backend, library):
    if backend == "numpy":
        pytest.skip("NumPy 2.4's own X[rows, columns] = 1 ends the process where it finds no memory")
    code = f"import test_failing_allocations as t; t.fail_each({backend!r})"
    done = child.python("-c", code, beside=__file__, LD_PRELOAD=str(library))
    assert done.returncode == 0, f"{done.stdout[-500:]}\n{done.stderr[-3000:]}"
    assert len(done.stdout.splitlines()) == len(calls(backend)), done.stdout
