"""BLAS has one thread while a solver runs on compiled kernels, and what it had before afterwards, whatever happens."""

import threading

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - loads SciPy's BLAS, one of the libraries whose threads are counted
import threadpoolctl

from fastsoftmax import Objective, minimize, regularization_path


def threads():
    return {row["num_threads"] for row in threadpoolctl.threadpool_info() if row["user_api"] == "blas"}


def objective(backend="auto", m=200):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((m, 3))
    return Objective(X, np.argmax(X + rng.gumbel(size=X.shape), axis=1), l2=1e-3, backend=backend)


@pytest.fixture(autouse=True)
def two_threads():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip(f"BLAS does not take two threads here but {threads()}")
        yield


@pytest.mark.parametrize("solve", [minimize, lambda obj, callback: regularization_path(obj, [1.0], callback=callback)])
def test_blas_has_one_thread_during_a_run_and_its_own_after(backend, solve):
    seen = []
    solve(objective(backend), callback=lambda step: seen.append(threads()))
    # The NumPy backend's own passes use BLAS, which therefore keeps its threads.
    assert seen and all(each == ({2} if backend == "numpy" else {1}) for each in seen)
    assert threads() == {2}


def test_an_error_gives_the_threads_back():
    def fail(step):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        minimize(objective("cython"), callback=fail)
    assert threads() == {2}


def test_runs_that_overlap_give_all_threads_back():
    """The second begins while the first is under way and ends after it."""
    first_is_running, second_is_running, first_is_over = (threading.Event() for _ in range(3))

    def first(step):
        first_is_running.set()
        assert second_is_running.wait(30)

    def second(step):
        second_is_running.set()
        assert first_is_over.wait(30)

    def run_first():
        minimize(objective("cython"), callback=first)
        first_is_over.set()

    def run_second():
        assert first_is_running.wait(30)
        minimize(objective("cython"), callback=second)

    workers = [threading.Thread(target=target) for target in (run_first, run_second)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert first_is_over.is_set() and threads() == {2}
