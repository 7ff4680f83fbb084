"""One thread for BLAS while the kernels run on theirs.

A solver's own products are small: an n x n matrix times k columns, some vectors of n k numbers. OpenBLAS wakes its
threads for many of them all the same, and these spin for some 20 ms on the cores that the next passes need. Fits to
default tol on two cores, with two threads for BLAS and with one: 200,000 x 54, k = 7, 250 and 153 ms; 100,000 x 10,
k = 3, 100 and 46 ms; 50,000 x 10, k = 3, 195 and 110 ms. threadpoolctl, imported with the first run, sets the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any


@cache
def _libraries() -> list[Any]:
    """A controller for each BLAS library in the process."""
    import scipy.linalg  # noqa: F401 - loads SciPy's BLAS, so that it is found
    from threadpoolctl import ThreadpoolController

    found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


# How many runs overlap, and the number of threads that each library had before the first of them.
_lock, _before = Lock(), list[tuple[Any, int]]()
_runs = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """A context in which BLAS has one thread. Where contexts of several threads overlap, the last to end restores the
    former numbers."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _runs
    with _lock:
        if _runs == 0:
            _before.extend((library, library.get_num_threads()) for library in _libraries())
            for library, _ in _before:
                library.set_num_threads(1)
        _runs += 1


def _leave() -> None:
    global _runs
    with _lock:
        _runs -= 1
        while _runs == 0 and _before:
            library, count = _before.pop()
            library.set_num_threads(count)
