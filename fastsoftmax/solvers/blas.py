"""One thread for BLAS while the kernels run on theirs.

A solver's own products are small: a matrix of n x n with k columns, some vectors of n k numbers. OpenBLAS wakes its
threads for many of them all the same, and these then spin for some 20 ms, on the cores that the next passes need.
Two cores, to default tol, with two threads for BLAS and with one: 200,000 x 54, k = 7, 250 and 153 ms; 100,000 x 10,
k = 3, 100 and 46 ms; 50,000 x 10, k = 3, 195 and 110 ms. threadpoolctl tells BLAS; it is imported with the first run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


@cache
def _controller() -> Any:
    """What tells every BLAS of the process."""
    import scipy.linalg  # noqa: F401 - so that its BLAS is loaded and found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def one_thread() -> AbstractContextManager[Any]:
    """While it lasts, BLAS has one thread. Of runs that overlap in several threads, the first decides."""
    limited: AbstractContextManager[Any] = _controller().limit(limits=1)
    return limited
