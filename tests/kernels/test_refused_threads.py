"""Passes where the system refuses threads: fewer threads, the same bits, and one warning; never the end of the process.

Each test limits a process of its own, in one of the ways in which systems do.
"""

import ctypes
import os
import struct
import sys
import threading
import warnings
from pathlib import Path

import child
import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limits are Linux's")
COMPILING = 300  # seconds: Numba may have to compile the passes, on a busy machine
SKIPPED = 77  # exit status of a process that may not limit itself
WANTED = 8


def limit_processes(more):
    """As `ulimit -u`, which binds all threads of a user, except root."""
    import resource

    if os.getuid() == 0:
        os.setuid(60_000 + os.getpid() % 5_000)  # a user without other processes
        more += len(os.listdir("/proc/self/task"))
    else:
        more = 1  # how many the user runs elsewhere is not known
    resource.setrlimit(resource.RLIMIT_NPROC, (more, more))


def limit_memory(more):
    """As `ulimit -v`; a thread reserves a stack."""
    import resource

    threading.stack_size(0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (more * 8 << 20) + (4 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def limit_pids(more):
    """As a container's pids limit."""
    parent = next(folder for folder in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if folder.exists())
    group = parent / f"fastsoftmax-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "pids.max").write_text(str(len(os.listdir("/proc/self/task")) + more))
        (group / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        os._exit(SKIPPED)


def refuse_clone(more):
    """As a container's seccomp filter: clone and clone3 fail, for x86-64's numbers of calls."""
    if os.uname().machine != "x86_64":
        os._exit(SKIPPED)
    load, equal, end = 0x20, 0x15, 0x06
    refused, allowed = 0x00050000 | 1, 0x7FFF0000  # EPERM
    code = [(load, 0, 0, 0), (equal, 2, 0, 56), (equal, 1, 0, 435), (end, 0, 0, allowed), (end, 0, 0, refused)]
    instructions = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(instructions)
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, set_filter, all_threads = 38, 317, 1, 1
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) or libc.syscall(seccomp, set_filter, all_threads, program):
        os._exit(SKIPPED)


LIMITS = {"processes": limit_processes, "memory": limit_memory, "pids": limit_pids, "seccomp": refuse_clone}


def leave_group():
    """What `limit_pids` made is removed by the process that it does not limit."""
    for parent in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        for group in Path(parent).glob("fastsoftmax-test-*"):
            if not (group / "cgroup.procs").read_text():
                group.rmdir()


def passes(backend, limit, callers):
    """Called in a process of its own. What Numba compiles, and the threads that call, are there before the limit."""
    from problems import random_problem

    p = random_problem(400_000, 10, 3)
    value, grad = p.objective(backend, n_threads=2).value_and_grad(p.theta)
    objectives = [p.objective(backend, n_threads=WANTED - i % 2) for i in range(max(1, callers))]
    assert objectives[0].threads == WANTED
    gate, wrong = threading.Barrier(callers + 1), []

    def call(obj):
        gate.wait(COMPILING)
        for _ in range(20):
            found, gradient = obj.value_and_grad(p.theta)
            if (found, gradient.tobytes()) != (value, grad.tobytes()):
                wrong.append(found)

    threads = [threading.Thread(target=call, args=(obj,)) for obj in objectives[:callers]]
    for thread in threads:
        thread.start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LIMITS[limit](3)
        if callers:
            gate.wait(COMPILING)
        else:
            gate = threading.Barrier(1)
            call(objectives[0])
        for thread in threads:
            thread.join()
    assert not wrong, wrong
    (warning,) = caught
    assert warning.category is RuntimeWarning and "threads asked for" in str(warning.message), warning


@pytest.mark.parametrize("callers", [0, 3])
@pytest.mark.parametrize("limit", LIMITS)
def test_a_pass_has_fewer_threads_where_the_system_refuses_them(backend, limit, callers):
    if backend == "numpy":
        pytest.skip("it starts no threads")
    code = f"import test_refused_threads as t; t.passes({backend!r}, {limit!r}, {callers})"
    done = child.python("-c", code, timeout=COMPILING, beside=__file__, OPENBLAS_NUM_THREADS="1")
    if limit == "pids":
        leave_group()
    if done.returncode == SKIPPED:
        pytest.skip(f"this process may not limit itself: {limit}")
    assert done.returncode == 0, done.stderr
