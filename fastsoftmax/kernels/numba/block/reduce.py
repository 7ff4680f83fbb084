"""The end of a gradient: its slabs are added up and scaled and the penalty is added, in one pass over memory.

Gradients of sparse X may be large. Threads reduce `REDUCE_VALUES` values at a time, whose float64 sums stay in the L1
cache, and store the result in its own dtype. Gradients of dense X are small and transposed besides: one compiled
function, where NumPy's ten calls took 15 us, as long as a whole pass over 1,000 x 50 in float32, k = 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import carray

from ...contract import Sums
from ..microkernels.memory import kernel, pointer, take_ticket, write
from ..microkernels.tile import ceil_div
from ..runtime.compile import compiled, compiled_for_python
from ..runtime.pool import MAX_THREADS, run
from ..runtime.record import LINE, Record, address_of, unpack

REDUCE_VALUES = 1024
LARGEST = np.finfo(np.float64).max
PIECES = 4  # for each thread, so that a thread that starts late reduces fewer of them


class ReduceJob(NamedTuple):
    """What the threads work on; arrays are addresses."""

    ticket: int
    scratch: int
    grad: int  # (slabs, size)
    slabs: int
    size: int
    theta: int
    out: int
    pieces: int  # into which the values are cut; threads take one at a time
    scale: float
    l2: float


# Whether a scaled sum is not finite, and whether a stored value is not: places in the record's first line, and flags.
WRONG, WRONGLY_STORED = 1, 2


def gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int) -> tuple[bool, bool]:
    """See `fastsoftmax.kernels.contract`."""
    return (_by_feature if sums.by_feature else _transposed)(sums, theta, l2, out, n_threads)


def _by_feature(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int) -> tuple[bool, bool]:
    """The gradient of sparse X, by several threads."""
    assert sums.grad is not None
    entry = compiled(make_work, sums.grad.dtype, out.dtype)
    n_threads = min(n_threads, ceil_div(out.size, REDUCE_VALUES), MAX_THREADS)
    arrays = (address_of(sums.grad), len(sums.grad), out.size, address_of(theta), address_of(out))
    values = (*arrays, PIECES * n_threads, sums.scale, l2)
    record = Record(ReduceJob, values, scratch=n_threads * REDUCE_VALUES * 8)
    run(entry, record.address, n_threads)
    return record.first[WRONG] == 0, record.first[WRONGLY_STORED] == 0


def make_work(digest: str, zeros: tuple[Any, ...]) -> Callable[[int, int], None]:
    """What threads call to reduce a sparse gradient; ``zeros`` have the dtypes of the sums and of the result. See
    `runtime/compile.py` for ``digest``."""
    zero, stored = zeros
    largest = np.finfo(stored.dtype).max

    def work(record: int, worker: int) -> None:
        """Take pieces of the values until there are none."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, found = unpack(record + LINE, ReduceJob), pointer(record, np.int64(0))
        sums = carray(pointer(job.scratch + worker * REDUCE_VALUES * 8, np.float64(0)), REDUCE_VALUES)
        grad = carray(pointer(job.grad, zero), (job.slabs, job.size))
        theta = carray(pointer(job.theta, stored), job.size if job.theta else 0)
        out = carray(pointer(job.out, stored), job.size)
        while True:
            piece = take_ticket(job.ticket)
            if piece >= job.pieces:
                return
            begin, end = piece * job.size // job.pieces, (piece + 1) * job.size // job.pieces
            finite, fits = reduce_gradient(grad, job.scale, theta, job.l2, out, begin, end, sums, largest)
            if not finite:
                write(found, WRONG, 1)
            if not fits:
                write(found, WRONGLY_STORED, 1)

    return work


@kernel
def reduce_gradient(
    grad: np.ndarray,
    scale: float,
    theta: np.ndarray,
    l2: float,
    out: np.ndarray,
    begin: int,
    end: int,
    sums: np.ndarray,
    largest: float,
) -> tuple[bool, bool]:
    """out = scale * (sum of the slabs of grad) + l2 theta for the values from ``begin`` to before ``end``; returns
    whether the scaled sums are finite, and whether what is stored is."""
    wrong = wrongly_stored = 0
    for a in range(begin, end, REDUCE_VALUES):
        # Slices have no negative indices, which lets the compiler vectorise these loops.
        b = min(a + REDUCE_VALUES, end)
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


def _transposed(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int) -> tuple[bool, bool]:
    """The gradient of dense X, which is small, by one thread."""
    assert sums.grad is not None
    reduce_transposed = compiled_for_python(make_reduce_transposed)
    slabs, k, n = sums.grad.shape
    grad, scale, target = address_of(sums.grad), float(sums.scale), address_of(out)
    wrong = reduce_transposed(grad, slabs, k, n, scale, address_of(theta), float(l2), target)
    if len(out) > n:
        wrong |= reduce_transposed(address_of(sums.bias), slabs, k, 1, scale, 0, 0.0, target + 8 * n * k)
    return not wrong & WRONG, not wrong & WRONGLY_STORED


def make_reduce_transposed(digest: str) -> Callable[..., int]:
    """The function that reduces a dense gradient; see `runtime/compile.py` for ``digest``."""

    def reduce_transposed(grad: int, slabs: int, k: int, n: int, scale: float, theta: int, l2: float, out: int) -> int:
        """out (n, k) = scale * (sum of the slabs of grad (k, n), transposed) + l2 theta; returns 0, or `WRONG` where
        a scaled sum is not finite, plus `WRONGLY_STORED` where a stored value is not."""
        digest  # noqa: B018 - only so that it is part of the closure
        sums = carray(pointer(grad, np.float64(0)), (slabs, k * n))
        penalized = carray(pointer(theta, np.float64(0)), (n, k) if theta else (0, 0))
        result, wrong, wrongly_stored = carray(pointer(out, np.float64(0)), (n, k)), False, False
        total = sums[0]
        for p in range(1, slabs):
            for i in range(k * n):
                total[i] += sums[p, i]
        for j in range(n):
            for c in range(k):
                value = scale * total[c * n + j]
                wrong |= not abs(value) <= LARGEST
                result[j, c] = value + l2 * penalized[j, c] if theta else value
                wrongly_stored |= not abs(result[j, c]) <= LARGEST
        return WRONG * wrong + WRONGLY_STORED * wrongly_stored

    return reduce_transposed
