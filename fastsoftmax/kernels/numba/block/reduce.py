"""The end of a gradient for the Numba backend: slabs added up, scaled, penalty, in one pass.

Of sparse X, whose gradients may be large, as `finish` in sparse_sums.hpp: some values at a time, their sums in float64
in the L1 cache, in threads, the result in its own dtype. Of dense X small ones, which are transposed besides: NumPy's
ten calls took 15 us, as long as 1,000 x 50 in float32, k = 3.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np
from numba import carray

from ...contract import Sums
from ..microkernels.simd import kernel, pointer, take_ticket, write
from ..runtime.compile import compiled, compiled_for_python
from ..runtime.pool import MOST, run
from ..runtime.record import LINE, Record, address_of, unpack

FINISH = 1024  # values at a time
LARGEST = np.finfo(np.float64).max
PARTS = 4  # for each thread, so that one that starts late does fewer

FinishJob = namedtuple("FinishJob", "ticket scratch grad slabs size theta out parts scale l2")
# Of the record's first line: whether any scaled sum is not finite, and any value that is stored.
WRONG, WRONGLY_STORED = 1, 2


def sparse_gradient(
    sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray, n_threads: int
) -> tuple[bool, bool]:
    """See `fastsoftmax.kernels.contract`."""
    assert sums.grad is not None
    entry = compiled(make_work, sums.grad.dtype, out.dtype)
    n_threads = min(n_threads, -(-out.size // FINISH), MOST)
    record = Record(
        FinishJob._fields,
        (
            address_of(sums.grad),
            len(sums.grad),
            out.size,
            address_of(theta),
            address_of(out),
            PARTS * n_threads,
            sums.scale,
            l2,
        ),
        scratch=n_threads * FINISH * 8,
    )
    run(entry, record.address, n_threads)
    return record.first[WRONG] == 0, record.first[WRONGLY_STORED] == 0


def dense_gradient(sums: Sums, theta: np.ndarray | None, l2: float, out: np.ndarray) -> bool:
    """See `fastsoftmax.kernels.contract`."""
    assert sums.grad is not None
    add_up = compiled_for_python(make_add_up)
    slabs, k, n = sums.grad.shape
    grad, scale, target = address_of(sums.grad), float(sums.scale), address_of(out)
    finite = bool(add_up(grad, slabs, k, n, scale, address_of(theta), float(l2), target))
    if len(out) > n:
        finite &= bool(add_up(address_of(sums.bias), slabs, k, 1, scale, 0, 0.0, target + 8 * n * k))
    return finite


def make_add_up(digest):
    def add_up(grad, slabs, k, n, scale, theta, l2, out):
        """out (n, k) = scale * (sum of the slabs of grad (k, n), transposed) + l2 theta; whether the former is
        finite."""
        digest  # noqa: B018 - see `numba_pass`
        sums = carray(pointer(grad, np.float64(0)), (slabs, k * n))
        penalized = carray(pointer(theta, np.float64(0)), (n, k) if theta else (0, 0))
        result, wrong = carray(pointer(out, np.float64(0)), (n, k)), 0
        total = sums[0]
        for p in range(1, slabs):
            for i in range(k * n):
                total[i] += sums[p, i]
        for j in range(n):
            for c in range(k):
                value = scale * total[c * n + j]
                wrong |= not abs(value) <= LARGEST
                result[j, c] = value + l2 * penalized[j, c] if theta else value
        return wrong == 0

    return add_up


def make_work(digest, zeros):
    """The entry; see `numba_pass`. ``zeros`` have the dtypes of the sums and of the result."""
    zero, stored = zeros
    largest = np.finfo(stored.dtype).max

    def work(record, worker):
        """Take parts of the values until there are none."""
        digest  # noqa: B018 - only so that it is part of the closure
        job, found = unpack(record + LINE, FinishJob), pointer(record, np.int64(0))
        sums = carray(pointer(job.scratch + worker * FINISH * 8, np.float64(0)), FINISH)
        grad = carray(pointer(job.grad, zero), (job.slabs, job.size))
        theta = carray(pointer(job.theta, stored), job.size if job.theta else 0)
        out = carray(pointer(job.out, stored), job.size)
        while True:
            part = take_ticket(job.ticket)
            if part >= job.parts:
                return
            begin, end = part * job.size // job.parts, (part + 1) * job.size // job.parts
            finite, fits = finish(grad, job.scale, theta, job.l2, out, begin, end, sums, largest)
            if not finite:
                write(found, WRONG, 1)
            if not fits:
                write(found, WRONGLY_STORED, 1)

    return work


@kernel
def finish(grad, scale, theta, l2, out, begin, end, sums, largest):
    """Values begin..end - 1: whether the scaled sums are finite, and what is stored."""
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
