"""The end of a sparse gradient for the Numba backend: slabs added up, scaled, penalty, the result's dtype, in one pass.

As `finish` in sparse_sums.hpp: some values at a time, their sums in float64 in the L1 cache.
"""

from __future__ import annotations

import numpy as np

from . import Sums, numba_finish
from .numba_threads import compiled, in_threads

FINISH = 1024  # values at a time
LARGEST = np.finfo(np.float64).max
PARTS = 4  # for each thread, so that one that starts late does fewer


def sparse_gradient(
    sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int
) -> tuple[bool, bool]:
    """See `fastsoftmax.kernels`."""
    assert sums.grad is not None
    grad, result = sums.grad.reshape(len(sums.grad), -1), out.reshape(-1)
    penalty = result[:0] if theta is None else theta.reshape(-1)
    cuts = np.arange(PARTS * n_threads + 1) * out.size // (PARTS * n_threads)
    parts = list(zip(cuts[:-1], cuts[1:], strict=True))
    found: list[tuple[bool, bool]] = []
    work = compiled(numba_finish)

    def share() -> None:
        while True:
            try:
                begin, end = parts.pop()
            except IndexError:
                return
            found.append(work(grad, float(sums.scale), penalty, float(l2), result, begin, end))

    in_threads(share, n_threads)
    return all(finite for finite, _ in found), all(stored for _, stored in found)


def make_work(digest):
    """The entry; see `numba_pass` for ``digest``."""

    def work(grad, scale, theta, l2, out, begin, end):
        """Values begin..end - 1: whether the scaled sums are finite, and what is stored."""
        digest  # noqa: B018 - only so that it is part of the closure
        sums, largest = np.empty(FINISH), np.finfo(out.dtype).max
        wrong = wrongly_stored = 0
        for a in range(begin, end, FINISH):
            # Slices, so that no index may be negative: such loops run on vectors.
            b = min(a + FINISH, end)
            total, stored = sums[: b - a], out[a:b]
            total[:] = grad[0, a:b]
            for p in range(1, len(grad)):
                slab = grad[p, a:b]
                for i in range(len(total)):
                    total[i] += slab[i]
            for i in range(len(total)):
                total[i] *= scale
                wrong |= not abs(total[i]) <= LARGEST
            if len(theta):
                penalized = theta[a:b]
                for i in range(len(total)):
                    total[i] += l2 * penalized[i]
            for i in range(len(total)):
                stored[i] = total[i]
                wrongly_stored |= not abs(stored[i]) <= largest
        return wrong == 0, wrongly_stored == 0

    return work
