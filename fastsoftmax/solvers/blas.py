"""One thread for BLAS while the kernels run on theirs.

A solver's own products are small: a matrix of n x n with k columns, some vectors of n k numbers. OpenBLAS wakes its
threads for many of them all the same, and these then spin for some 20 ms, on the cores that the next passes need.
Two cores, to default tol, with two threads for BLAS and with one: 200,000 x 54, k = 7, 250 and 153 ms; 100,000 x 10,
k = 3, 100 and 46 ms; 50,000 x 10, k = 3, 195 and 110 ms. threadpoolctl tells BLAS; it is imported with the first run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any


@cache
def _libraries() -> list[Any]:
    """What tells each BLAS of the process."""
    import scipy.linalg  # noqa: F401 - so that its BLAS is loaded and found
    from threadpoolctl import ThreadpoolController

    found: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return found


# Runs that overlap, and what BLAS had before the first of them.
_lock, _before = Lock(), list[tuple[Any, int]]()
_runs = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """While it lasts, BLAS has one thread. Of runs that overlap in several threads, the last gives the others back."""
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
