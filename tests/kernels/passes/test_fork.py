"""Passes in a process forked after passes with threads: what multiprocessing does on Linux."""

import os

import child
import pytest

COMPILING = 300  # seconds: Numba may have to compile the passes, on a busy machine


def parent_and_child(backend):
    """Called in a process of its own: passes with two threads, then the same in a forked child."""
    import numpy as np
    from problems import random_problem

    p = random_problem(60_000, 40, 7, weights=True)
    obj = p.objective(backend, n_threads=2)
    assert obj.threads == 2
    value, grad = obj.value_and_grad(p.theta)
    forked = os.fork()
    if forked == 0:
        again = obj.value_and_grad(p.theta)
        fresh = p.objective(backend, n_threads=2).value_and_grad(p.theta)
        same = all(one[0] == value and np.array_equal(one[1], grad) for one in (again, fresh))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0, "other bits in the child"
    assert np.array_equal(obj.value_and_grad(p.theta)[1], grad)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("policy", [None, "passive"], ids=["spinning", "blocking"])
def test_a_forked_process_goes_on(backend, policy):
    code = f"import test_fork; test_fork.parent_and_child({backend!r})"
    done = child.python("-c", code, timeout=COMPILING, beside=__file__, OMP_WAIT_POLICY=policy)
    assert done.returncode == 0, done.stderr
